//! What reaches people who do not sit here: webhooks and e-mail.

use std::path::Path;
use std::sync::Arc;

use cascade::alert::{Alert, Alerts};
use cascade::base::clock::SystemClock;
use cascade::config::{AlertEvent, Variables, parse};
use serde_json::Value;

use crate::support::certificate::Certificate;
use crate::support::mail::{MailServer, Mode, PASSWORD};
use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::receiver::{KEY, Receiver};
use crate::support::watched::Watched;
use crate::support::{Output, Sandbox, output};

/// What nobody may ever see.
const SECRETS: [&str; 3] = ["hunter2", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "aHVudGVyMi9AOiU0MQ"];

const WEBHOOK: &str = "{ desktop: false, webhook: { url: \"${HOOK}\", secret: \"${KEY}\" } }";

/// A pipeline that alerts as `notify` says.
fn alerting(notify: &str) -> Pipeline {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let text = pipeline.read("cascade-sync.yaml").replace("{ desktop: false }", notify);
    pipeline.write("cascade-sync.yaml", text);
    pipeline.save("Notify");
    pipeline
}

/// Runs cascade with the variables of all channels, and looks whether it keeps them to itself.
#[track_caller]
fn run(sandbox: &Sandbox, words: &[&str], hook: &str, trusted: Option<&Path>) -> Output {
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_cascade"), words);
    command.env("HOOK", hook).env("KEY", KEY).env("PASSWORD", PASSWORD).env("CASCADE_LOG", "trace");
    command.envs(trusted.map(|path| ("SSL_CERT_FILE", path)));
    let told = output(command, b"");
    for secret in SECRETS {
        assert!(!told.stdout.contains(secret) && !told.stderr.contains(secret), "{told:#?}");
    }
    told
}

/// Answers the id of an environment's newest promotion.
#[track_caller]
fn newest(pipeline: &Pipeline, environment: &str) -> String {
    let history = run(pipeline, &["history", environment, "--json"], "", None).expect_code(0).json();
    history[0]["id"].as_str().unwrap().to_owned()
}

fn undelivered(told: &Output) -> usize {
    told.stderr.matches("an alert was not delivered").count()
}

#[test]
fn a_promotion_that_waits_posts_a_signed_webhook_before_the_command_exits() {
    let (pipeline, receiver) = (alerting(WEBHOOK), Receiver::start(&["204 Done"]));
    run(&pipeline, &["promote", "staging"], &receiver.url(), None).expect_code(0);
    run(&pipeline, &["promote", "production"], &receiver.url(), None).expect_code(3);
    let posted = receiver.all();
    let events: Vec<Value> = posted.iter().map(|posted| posted.json()["event"].clone()).collect();
    assert_eq!(events, ["promoted", "awaiting_approval"]);
    let waits = &posted[1];
    assert_eq!(waits.line, "POST /hooks/cascade?token=hunter2 HTTP/1.1");
    assert_eq!(waits.headers["content-type"], "application/json");
    assert_eq!(waits.headers["x-cascade-event"], "awaiting_approval");
    assert!(waits.headers["webhook-id"].starts_with("msg_") && waits.is_signed(), "{waits:?}");
    let id = newest(&pipeline, "production");
    let json = waits.json();
    assert_eq!(
        (&json["promotion"], &json["environment"], &json["project"]),
        (&id.as_str().into(), &"production".into(), &"shop".into())
    );
    assert_eq!((&json["title"], &json["urgent"]), (&"shop: production waits".into(), &true.into()));
    assert!(json["body"].as_str().unwrap().contains(&format!("cascade approve {id}")), "{json}");
    json["at"].as_str().unwrap().parse::<cascade::base::Timestamp>().unwrap();
}

#[test]
fn a_receiver_in_trouble_gets_the_same_message_again() {
    let (pipeline, receiver) = (alerting(WEBHOOK), Receiver::start(&["500 Oh", "503 Oh\r\nretry-after: 0", "200 Ok"]));
    let told = run(&pipeline, &["promote", "staging"], &receiver.url(), None).expect_code(0);
    let posted = receiver.all();
    assert_eq!(posted.len(), 3);
    assert!(
        posted.iter().all(|again| again.headers["webhook-id"] == posted[0].headers["webhook-id"] && again.is_signed())
    );
    assert_eq!(undelivered(&told), 0, "{told:#?}");
}

#[test]
fn a_receiver_that_refuses_is_asked_once_and_the_promotion_goes_on() {
    for answer in
        [&["410 Gone"], &["400 Bad"], &["302 Found\r\nlocation: /elsewhere"], &["429 Slow\r\nretry-after: 600"]]
    {
        let (pipeline, receiver) = (alerting(WEBHOOK), Receiver::start(answer));
        let told = run(&pipeline, &["promote", "staging"], &receiver.url(), None).expect_code(0);
        assert_eq!(receiver.all().len(), 1, "{answer:?}");
        assert_eq!(undelivered(&told), 1, "{told:#?}");
        assert!(told.stderr.contains(&format!("answers with status {}", &answer[0][..3])), "{told:#?}");
    }
}

#[test]
fn without_a_receiver_the_log_says_what_was_not_delivered() {
    let pipeline = alerting("{ desktop: false, webhook: { url: \"${HOOK}\" } }");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = run(&pipeline, &["promote", "staging"], &format!("http://{nobody}/hunter2"), None).expect_code(0);
    assert_eq!(undelivered(&told), 1, "{told:#?}");
    assert!(told.stderr.contains("staging is live") && told.stderr.contains("connection refused"), "{told:#?}");
}

#[test]
fn the_watcher_sends_what_it_has_to_tell_before_it_ends() {
    // Who is in trouble at first is sent it again, which takes longer than to stop.
    let receiver = Receiver::start(&["500 Oh", "204 Done"]);
    let more = "notify: { desktop: false, webhook: { url: \"${HOOK:-}\" } }";
    let watched = Watched::ready("1s", "");
    let text = watched.read("cascade-sync.yaml").replace("notify: { desktop: false }", more);
    watched.write("cascade-sync.yaml", text);
    watched.commit("Notify");
    watched.write(".git/info/exclude", ".env\n");
    watched.write(".env", format!("HOOK={}\n", receiver.url()));
    watched.start();
    let found = concat!("AKIA", "QYLPMN5HHHFPZAM2");
    watched.write("settings", format!("aws_key = {found}\n"));
    watched.stop();
    let posted = receiver.all();
    assert_eq!(posted.len(), 2, "{posted:?}\n{}", watched.log());
    assert_eq!(posted[1].headers["x-cascade-event"], "secret_found");
    assert!(!posted[1].body.contains(found) && !watched.log().contains("hunter2"));
}

/// Alerts as the library makes them, with nobody in between.
fn alerts(notify: &str, hook: &str) -> Alerts {
    let variables = [("HOOK", hook), ("KEY", KEY), ("PASSWORD", PASSWORD)];
    let variables = Variables::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let text = format!("version: 1\nproject: shop\nnotify: {notify}\n");
    Alerts::new(&parse(&text, "cascade-sync.yaml", &variables).unwrap(), Arc::new(SystemClock))
}

#[tokio::test]
async fn a_storm_becomes_a_few_messages_and_one_that_counts_the_rest() {
    let receiver = Receiver::start(&["204 Done"]);
    let alerts = alerts(WEBHOOK, &receiver.url());
    for number in 0..50 {
        alerts.send(Alert::new(AlertEvent::Health, format!("alert {number}"), ""));
    }
    alerts.finish().await;
    let titles: Vec<Value> = receiver.all().iter().map(|posted| posted.json()["title"].clone()).collect();
    assert_eq!(titles.len(), 21);
    assert_eq!(
        (&titles[0], &titles[19], &titles[20]),
        (&"alert 0".into(), &"alert 19".into(), &"shop: and 30 more".into())
    );
}

#[tokio::test]
async fn events_go_where_they_are_wanted() {
    let (receiver, server) = (Receiver::start(&["204 Done"]), MailServer::start(Mode::Plain, &[]));
    let notify = format!(
        "{{ desktop: false, on: [promoted], webhook: {{ url: \"${{HOOK}}\" }}, email: {{ smtp: \"smtp://localhost:{}\", \
         tls: off, from: cascade@example.org, to: [ops@example.org], on: [failed] }} }}",
        server.port
    );
    let alerts = alerts(&notify, &receiver.url());
    for event in [AlertEvent::Failed, AlertEvent::Promoted, AlertEvent::Health] {
        alerts.send(Alert::new(event, event.as_str(), ""));
    }
    alerts.finish().await;
    let posted: Vec<Value> = receiver.all().iter().map(|posted| posted.json()["title"].clone()).collect();
    assert_eq!(posted, ["promoted"]);
    let letters = server.all();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].text.contains("\r\nSubject: failed\r\n"), "{letters:?}");
}

fn by_mail(scheme: &str, port: u16, more: &str) -> String {
    format!(
        "{{ desktop: false, email: {{ smtp: \"{scheme}://ada@example.org:${{PASSWORD}}@localhost:{port}\", from: \
         \"cascade <cascade@example.org>\", to: [ops@example.org, \"Bob <bob@example.org>\"]{more} }} }}"
    )
}

#[test]
fn a_promotion_sends_a_letter_before_the_command_exits() {
    let server = MailServer::start(Mode::Plain, &[]);
    let pipeline = alerting(&by_mail("smtp", server.port, ", tls: off"));
    run(&pipeline, &["promote", "staging"], "", None).expect_code(0);
    let letters = server.all();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (letter.from.as_str(), &letter.to[..]),
        ("cascade@example.org", &["ops@example.org", "bob@example.org"].map(String::from)[..])
    );
    assert_eq!(letter.user.as_deref(), Some("ada@example.org"));
    let id = newest(&pipeline, "staging");
    for part in
        ["From: cascade <cascade@example.org>\r\n", "\r\nSubject: shop: staging is live: ready for production\r\n"]
    {
        assert!(letter.text.contains(part), "{letter:?}");
    }
    assert!(letter.text.contains(&format!("\r\nenvironment: staging\r\npromotion: {id}\r\n")), "{letter:?}");
}

#[tokio::test]
async fn hostile_words_reach_nobody_but_the_recipients() {
    let server = MailServer::start(Mode::Plain, &[]);
    let alerts = alerts(&by_mail("smtp", server.port, ", tls: off"), "");
    let hostile = "x\r\nBcc: eve@example.org\r\n\r\n.\r\nMAIL FROM:<eve@example.org>\r\n\u{202e}";
    alerts.send(Alert::new(AlertEvent::Failed, hostile, hostile));
    alerts.finish().await;
    let letters = server.all();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let (head, body) = letters[0].text.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("\r\nBcc") && letters[0].to.len() == 2, "{letters:?}");
    assert!(body.contains("MAIL FROM:<eve@example.org>"), "{body}");
    assert_eq!(server.commands().iter().filter(|word| *word == "MAIL").count(), 1);
}

#[tokio::test]
async fn one_bad_address_does_not_keep_the_letter_from_the_others() {
    let refusals = [("ops@example.org", "550 no such user"), ("bob@example.org", "450 come back")];
    let server = MailServer::start(Mode::Plain, &refusals);
    let alerts = alerts(&by_mail("smtp", server.port, ", tls: off"), "");
    alerts.send(Alert::new(AlertEvent::Failed, "title", ""));
    alerts.finish().await;
    let letters = server.all();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].to, ["bob@example.org"]);
    assert_eq!(server.commands().iter().filter(|word| *word == "RCPT").count(), 3, "who refused is not asked again");
}

/// What `cascade notify --json` says of the one channel that is on.
#[track_caller]
fn notify(pipeline: &Pipeline, code: i32, trusted: Option<&Path>) -> Value {
    let document = run(pipeline, &["notify", "--json"], "", trusted).expect_code(code).json();
    let channels = document["channels"].as_array().unwrap();
    channels.iter().find(|channel| channel["state"] != "off").unwrap().clone()
}

#[test]
fn letters_travel_encrypted_to_a_server_that_is_trusted() {
    let certificate = Certificate::new();
    for (scheme, mode) in [("smtps", Mode::Tls(certificate.clone())), ("smtp", Mode::StartTls(certificate.clone()))] {
        let server = MailServer::start(mode, &[]);
        let pipeline = alerting(&by_mail(scheme, server.port, ""));
        let trusted = certificate.write(pipeline.base());
        assert_eq!(notify(&pipeline, 0, Some(&trusted))["state"], "delivered");
        let letter = server.next();
        assert!(letter.is_encrypted && letter.user.as_deref() == Some("ada@example.org"), "{letter:?}");
        server.commands();
        let stranger = notify(&pipeline, 1, None);
        assert!(stranger["reason"].as_str().unwrap().contains("certificate"), "{stranger}");
        assert!(!server.commands().contains(&"AUTH".to_owned()), "a stranger was told the password");
    }
}

#[test]
fn a_server_without_encryption_is_told_nothing() {
    let server = MailServer::start(Mode::Plain, &[]);
    let pipeline = alerting(&by_mail("smtp", server.port, ""));
    let told = notify(&pipeline, 1, None);
    assert!(told["reason"].as_str().unwrap().contains("STARTTLS"), "{told}");
    assert!(server.commands().iter().all(|word| word == "EHLO" || word == "QUIT"));
}

#[test]
fn a_server_that_repeats_the_password_does_not_give_it_away() {
    let server = MailServer::start(Mode::Plain, &[]);
    let wrong = by_mail("smtp", server.port, ", tls: off").replace("${PASSWORD}", "${PASSWORD}wrong");
    let told = notify(&alerting(&wrong), 1, None);
    assert!(
        told["reason"].as_str().unwrap().starts_with("the mail server says 535 5.7.8 cannot log in with"),
        "{told}"
    );
    assert!(told["advice"].as_str().unwrap().contains("notify.email.smtp"), "{told}");
}

#[test]
fn a_test_message_goes_to_every_channel_that_is_on() {
    let (pipeline, receiver) = (alerting(WEBHOOK), Receiver::start(&["204 Done", "410 Gone"]));
    let told = run(&pipeline, &["notify"], &receiver.url(), None).expect_code(0);
    insta::assert_snapshot!(told.stdout, @"
    -  desktop  off        `notify.desktop` is false
    ✓  webhook  delivered
    -  email    off        there is no `notify.email`
    ");
    let posted = receiver.next();
    assert!(posted.is_signed() && posted.json()["event"] == "test", "{posted:?}");
    let told = run(&pipeline, &["notify", "webhook"], &receiver.url(), None).expect_code(1);
    insta::assert_snapshot!(told.stdout, @"
    ✗  webhook  failed  the receiver answers with status 410

    webhook: the receiver answers with status 410
      → the receiver is gone: put another address into `notify.webhook.url`
    ");
    let told = run(&pipeline, &["notify", "email"], &receiver.url(), None).expect_code(2);
    insta::assert_snapshot!(told.stderr, @"
    error: nobody would be told: there is no `notify.email`
      hint: set `notify.webhook` or `notify.email` in cascade-sync.yaml: `cascade config schema` tells how
    ");
}

#[test]
fn webhooks_travel_encrypted_to_a_receiver_that_is_trusted() {
    let (pipeline, certificate) = (alerting(WEBHOOK), Certificate::new());
    let receiver = Receiver::start_encrypted(certificate.clone());
    let (url, trusted) = (format!("https://localhost:{}/hunter2", receiver.port), certificate.write(pipeline.base()));
    let refused = run(&pipeline, &["notify"], &url, None).expect_code(1);
    assert!(refused.stdout.contains("certificate") && receiver.all().is_empty(), "{refused:#?}");
    run(&pipeline, &["notify"], &url, Some(&trusted)).expect_code(0);
    assert!(receiver.next().is_signed());
}

#[test]
fn a_channel_without_its_variable_stops_nothing_but_itself() {
    let pipeline = alerting("{ desktop: false, webhook: { url: \"https://${NO_SUCH_HOOK}/x\" } }");
    let warned = |words: &[&str], code: i32| {
        let told = pipeline.cascade(words).expect_code(code);
        assert!(told.stderr.contains("notify.webhook.url: the variable `NO_SUCH_HOOK` is not set"), "{told:#?}");
        told
    };
    pipeline.save_file("page", "one\n");
    for words in [&["promote", "staging"][..], &["status"], &["rollback", "staging"], &["history"]] {
        warned(words, 0);
    }
    assert!(warned(&["status", "--json"], 0).json()["environments"].is_array());
    warned(&["config", "check"], 2);
    let tried = warned(&["notify"], 2);
    assert!(tried.stdout.contains("a variable of it is not set"), "{tried:#?}");
}
