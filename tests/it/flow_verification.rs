//! Verification after landing, through the built binary against real services: what is blamed on a release and what is
//! not.

use cascade::check::Answer;
use cascade::config::AlertEvent;
use cascade::promote::{self, Attempts, Event, Observer, Request, Running};
use cascade::store::{CheckPhase, Promotion, Step};
use serde_json::Value;

use crate::fault_promote::{MOMENTS_LIMIT, kill_at};
use crate::support::pipeline::Pipeline;
use crate::support::service::Service;

/// Verdicts come fast, and by one failure.
const FAST: &str = "failures: 1";

fn environments(more: &str) -> String {
    format!(
        "\n  staging: {{ from: develop, branch: staging }}\n  production: {{ from: staging, branch: main, {more} }}\n"
    )
}

/// A pipeline with one release in production; `verify` are the keys of production.
fn released(has_remote: bool, more: &str, checks: &str) -> Pipeline {
    let pipeline = Pipeline::new(has_remote, &environments(more), checks);
    release(&pipeline, "one", 0);
    pipeline
}

/// Saves a page and promotes it through; production answers `code`.
fn release(pipeline: &Pipeline, content: &str, code: i32) -> crate::support::Output {
    pipeline.save_file("page", content);
    pipeline.promote("staging", 0);
    pipeline.promote("production", code)
}

fn page(pipeline: &Pipeline) -> String {
    pipeline.git(&["show", "main:page"])
}

fn production(pipeline: &Pipeline) -> Value {
    pipeline.cascade(&["status", "--json"]).expect_code(0).json()["environments"][1].clone()
}

fn outcomes(promotion: &Value, phase: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = promotion["checks"].as_array().unwrap().iter().filter(|check| check["phase"] == phase);
    checks.map(|check| (text(&check["name"]), text(&check["outcome"]))).collect()
}

fn pair(name: &str, outcome: &str) -> (String, String) {
    (name.to_owned(), outcome.to_owned())
}

#[test]
fn what_failed_before_the_promotion_pauses_it_and_is_not_blamed_on_it() {
    for has_remote in [false, true] {
        let service = Service::well();
        let pipeline = released(has_remote, "verify: [up]", &service.check("up", FAST));
        service.set_well(false);
        let paused = release(&pipeline, "two", 3);
        assert!(paused.stderr.contains("cascade resume production"), "{paused:?}");
        assert!(paused.stderr.contains("cascade rollback production"), "{paused:?}");
        assert_eq!(page(&pipeline), "two", "it stays where it is");
        let promotion = pipeline.newest("production");
        assert_eq!((&promotion["state"], &promotion["paused"]), (&"verifying".into(), &true.into()));
        assert_eq!(outcomes(&promotion, "before"), [pair("up", "fail")]);
        assert_eq!(outcomes(&promotion, "verify"), [pair("up", "fail")]);
        let status = production(&pipeline);
        assert_eq!(status["held"], Value::Null);
        assert_eq!(status["health"], "fail");
        assert_eq!(status["promotion"]["waiting_for"][0]["gate"], "verification");
        let why = pipeline.cascade(&["why", "production", "--json"]).expect_code(0).json();
        assert_eq!(why["next"], "cascade resume production");
        assert!(why["summary"].as_str().unwrap().contains("paused"), "{why}");
        service.set_well(true);
        pipeline.cascade(&["resume", "production"]).expect_code(0);
        assert_eq!(pipeline.newest("production")["state"], "promoted");
        assert_eq!(production(&pipeline)["promotion"], Value::Null);
    }
}

#[tokio::test]
async fn people_are_told_of_a_pause_and_of_both_ways_on() {
    let service = Service::well();
    let pipeline = released(false, "verify: [up]", &service.check("up", FAST));
    service.set_well(false);
    pipeline.save_file("page", "two");
    pipeline.promote("staging", 0);
    let mut ctx = pipeline.context(std::sync::Arc::new(cascade::base::clock::SystemClock)).await;
    let (alerts, told) = cascade::alert::Alerts::recording(std::sync::Arc::clone(&ctx.clock));
    ctx.alerts = std::sync::Arc::new(alerts);
    let lock = promote::lock(&ctx, false).await.unwrap();
    let request = promote::Request { environment: "production".to_owned(), ..promote::Request::default() };
    promote::promote(&ctx, &lock, &request, &mut promote::Silent).await.unwrap();
    let told = told.lock().unwrap();
    let [alert] = &told[..] else { panic!("{told:?}") };
    assert_eq!((alert.event, alert.title.as_str()), (AlertEvent::Paused, "shop: production is paused"));
    for part in ["status 503", "as before the promotion", "cascade resume production", "cascade rollback production"] {
        assert!(alert.body.contains(part), "{alert:?}");
    }
}

#[test]
fn what_failed_before_and_passes_afterwards_is_promoted() {
    let pipeline = Pipeline::new(false, &environments(""), "");
    // The release itself brings the service up.
    let root = pipeline.root();
    let is_live = move || {
        let shown = std::process::Command::new("git").arg("-C").arg(&root).args(["show", "main:page"]).output();
        shown.unwrap().stdout == b"two"
    };
    let service = Service::answering(is_live);
    pipeline.configure(&environments("verify: [up]"), &service.check("up", FAST));
    pipeline.save("a service");
    release(&pipeline, "two", 0);
    let promotion = pipeline.newest("production");
    assert_eq!(outcomes(&promotion, "before"), [pair("up", "fail")]);
    assert_eq!(outcomes(&promotion, "verify"), [pair("up", "pass")]);
}

/// A service that is well until what is live has a file `broken`.
fn breakable(pipeline: &Pipeline) -> Service {
    let root = pipeline.root();
    Service::answering(move || {
        let look =
            std::process::Command::new("git").arg("-C").arg(&root).args(["cat-file", "-e", "main:broken"]).output();
        !look.unwrap().status.success()
    })
}

#[test]
fn what_passed_before_and_fails_now_is_rolled_back_beside_what_failed_already() {
    let pipeline = Pipeline::new(true, &environments(""), "");
    let (down, breakable) = (Service::down(), breakable(&pipeline));
    let checks = format!("{}{}", down.check("down", FAST), breakable.check("breakable", FAST));
    pipeline.configure(&environments("verify: [down, breakable]"), &checks);
    pipeline.save("two services");
    down.set_well(true);
    release(&pipeline, "good", 0);
    down.set_well(false);
    pipeline.save_file("broken", "");
    let failed = release(&pipeline, "bad", 6);
    assert!(failed.stderr.contains("`breakable` failed"), "{failed:?}");
    assert_eq!(page(&pipeline), "good");
    let promotion = pipeline.newest("production");
    assert_eq!(outcomes(&promotion, "verify"), [pair("breakable", "fail")], "the verdict did not wait for the other");
    assert_eq!(outcomes(&promotion, "rollback"), [pair("down", "fail"), pair("breakable", "pass")]);
}

#[test]
fn after_a_rollback_it_is_told_what_still_fails_and_nothing_goes_back_further() {
    for mode in ["reset", "restore"] {
        let service = Service::well();
        let more = format!("verify: [up], rollback: {mode}");
        let pipeline = Pipeline::new(true, &environments(&more), &service.check("up", FAST));
        release(&pipeline, "one", 0);
        release(&pipeline, "two", 0);
        // It breaks for good while the release lands: only the question before that is answered well.
        service.well_for(1);
        let failed = release(&pipeline, "three", 6);
        assert!(failed.stderr.contains("after the rollback check `up` failed"), "{failed:?}");
        assert_eq!(page(&pipeline), "two");
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
        assert_eq!(pipeline.newest("production")["state"], "rolled_back");
        assert_eq!(outcomes(&pipeline.newest("production"), "rollback"), [pair("up", "fail")]);
        let all = pipeline.cascade(&["history", "production", "--json"]).expect_code(0).json();
        assert_eq!(all[1]["state"], "promoted", "{all}");
    }
}

#[test]
fn a_hold_that_comes_while_probes_are_asked_stops_the_promotion() {
    let pipeline = Pipeline::new(false, &environments(""), "");
    let hold = std::sync::Mutex::new(pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["hold", "production", "-q"]));
    let service = Service::answering(move || hold.lock().unwrap().status().unwrap().success());
    pipeline.configure(&environments("verify: [up]"), &service.check("up", FAST));
    pipeline.save("a service");
    let main = pipeline.tip("main");
    let waiting = release(&pipeline, "one", 3);
    assert!(waiting.stderr.contains("held by"), "{waiting:?}");
    assert_eq!((pipeline.tip("main"), service.asked()), (main, 1));
}

#[test]
fn a_pause_is_verified_again_by_the_same_wish_and_undone_by_a_person() {
    let service = Service::well();
    let pipeline = released(true, "verify: [up]", &service.check("up", FAST));
    service.set_well(false);
    release(&pipeline, "two", 3);
    let paused = pipeline.newest("production")["id"].clone();
    pipeline.promote("production", 3);
    assert_eq!(pipeline.newest("production")["id"], paused);
    let back = pipeline.cascade(&["rollback", "production"]).expect_code(4);
    assert!(back.stderr.contains("production is back, and"), "{back:?}");
    assert_eq!(page(&pipeline), "one");
    assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
    assert_eq!(pipeline.newest("production")["state"], "rolled_back");
    pipeline.promote("production", 3);
    assert_eq!(page(&pipeline), "one", "it stays back");
    service.set_well(true);
    release(&pipeline, "three", 0);
}

#[test]
fn what_lands_on_a_pause_ends_it_and_goes_back_past_it() {
    let pipeline = Pipeline::new(true, &environments(""), "");
    let (flaky, breakable) = (Service::well(), breakable(&pipeline));
    let checks = format!("{}{}", flaky.check("flaky", FAST), breakable.check("breakable", FAST));
    pipeline.configure(&environments("verify: [flaky, breakable]"), &checks);
    pipeline.save("two services");
    release(&pipeline, "verified", 0);
    flaky.set_well(false);
    release(&pipeline, "unverified", 3);
    let unverified = pipeline.newest("production")["source"].as_str().unwrap().to_owned();
    pipeline.save_file("broken", "");
    release(&pipeline, "broken", 6);
    assert_eq!(page(&pipeline), "verified");
    let all = pipeline.cascade(&["history", "production", "--json"]).expect_code(0).json();
    assert_eq!([&all[0]["state"], &all[1]["state"], &all[2]["state"]], ["rolled_back", "superseded", "promoted"]);
    assert_eq!(production(&pipeline)["promotion"], Value::Null);
    assert!(quarantined(&pipeline).contains(&unverified), "what was never verified does not come back by itself");
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    release(&pipeline, "fixed", 3);
    flaky.set_well(true);
    pipeline.cascade(&["resume", "production"]).expect_code(0);
    assert_eq!(page(&pipeline), "fixed");
}

#[test]
fn what_is_not_verified_upstream_goes_no_further() {
    let service = Service::well();
    let staging = "\n  staging: { from: develop, branch: staging, verify: [up] }\n  production: { from: staging, branch: main }\n";
    let pipeline = Pipeline::new(false, staging, &service.check("up", FAST));
    release(&pipeline, "one", 0);
    service.set_well(false);
    pipeline.save_file("page", "two");
    pipeline.promote("staging", 3);
    let refused = pipeline.promote("production", 3);
    assert!(
        refused.stderr.contains("not verified there") && refused.stderr.contains("cascade resume staging"),
        "{refused:?}"
    );
    assert_eq!(page(&pipeline), "one");
    service.set_well(true);
    pipeline.cascade(&["resume", "staging"]).expect_code(0);
    pipeline.promote("production", 0);
    assert_eq!(page(&pipeline), "two");
}

#[test]
fn a_pause_ends_by_itself_while_the_watcher_runs() {
    let service = Service::well();
    let pipeline = released(true, "verify: [up]", &service.check("up", FAST));
    service.set_well(false);
    release(&pipeline, "two", 3);
    let _watcher = pipeline.watcher();
    let asked = service.asked();
    pipeline.until("the service is asked again", || service.asked() > asked);
    assert_eq!(pipeline.newest("production")["state"], "verifying");
    service.set_well(true);
    pipeline.until("the pause ends", || pipeline.newest("production")["state"] == "promoted");
    assert_eq!(page(&pipeline), "two");
}

#[test]
fn waiting_ends_with_the_pause() {
    let service = Service::well();
    let pipeline = released(false, "verify: [up]", &service.check("up", FAST));
    service.set_well(false);
    pipeline.save_file("page", "two");
    pipeline.promote("staging", 0);
    let waiting = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "production", "--wait", "-q"]);
    let mut waiting = { waiting }.spawn().unwrap();
    pipeline.until("it is paused", || pipeline.newest("production")["state"] == "verifying");
    service.set_well(true);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(pipeline.newest("production")["state"], "promoted");
}

/// Killed at every moment of a promotion that comes to rest unverified, it rests there all the same and goes on from
/// there.
#[test]
fn killed_at_every_step_of_a_pause_it_still_rests_and_goes_on() {
    for moment in 0..MOMENTS_LIMIT {
        let service = Service::well();
        let pipeline = released(true, "verify: [up]", &service.check("up", FAST));
        service.set_well(false);
        pipeline.save_file("page", "two");
        pipeline.promote("staging", 0);
        let was_killed = kill_at(&pipeline, moment);
        if was_killed {
            pipeline.promote("production", 3);
        }
        let paused = pipeline.newest("production");
        assert_eq!((&paused["state"], page(&pipeline).as_str()), (&"verifying".into(), "two"), "killed at {moment}");
        assert_eq!(outcomes(&paused, "before"), [pair("up", "fail")], "killed at {moment}");
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"), "killed at {moment}");
        service.set_well(true);
        pipeline.cascade(&["resume", "production"]).expect_code(0);
        assert_eq!(pipeline.newest("production")["state"], "promoted", "killed at {moment}");
        if !was_killed {
            assert!(moment >= 16, "only {moment} moments");
            return;
        }
    }
    panic!("a promotion has more than {MOMENTS_LIMIT} moments");
}

/// What must be the same with and without a kill while a release is watched.
fn watched_and_broken(is_killed: bool) -> (Value, String, bool, bool) {
    let service = Service::well();
    let pipeline = released(true, "verify: [up], watch_for: 1h", &service.check("up", FAST));
    release(&pipeline, "two", 0);
    let watcher = pipeline.watcher();
    let asked = service.asked();
    pipeline.until("it is watched", || service.asked() > asked);
    let _watcher = if is_killed {
        watcher.kill();
        pipeline.watcher()
    } else {
        watcher
    };
    service.set_well(false);
    pipeline.until("it is rolled back", || pipeline.newest("production")["state"] == "rolled_back");
    let is_everywhere = pipeline.remote_tip("main") == pipeline.tip("main");
    let history = pipeline.cascade(&["history", "production", "--json"]).expect_code(0).json();
    assert_eq!(history[1]["state"], "promoted", "nothing goes back further: {history}");
    (history[0]["reason"].clone(), page(&pipeline), is_everywhere, production(&pipeline)["held"].is_object())
}

#[test]
fn what_fails_while_it_is_watched_is_rolled_back_by_itself_even_after_a_kill() {
    let undisturbed = watched_and_broken(false);
    let reason = undisturbed.0.as_str().unwrap();
    assert!(reason.contains("`up` failed") && reason.contains("while it was watched"), "{reason}");
    assert_eq!((undisturbed.1.as_str(), undisturbed.2, undisturbed.3), ("one", true, true));
    assert_eq!(watched_and_broken(true), undisturbed);
}

#[test]
fn a_single_failure_while_it_is_watched_changes_nothing() {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let service = Service::answering(move || turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2));
    let pipeline = released(false, "verify: [up], watch_for: 4s", &service.check("up", "failures: 2"));
    pipeline.save_file("page", "two");
    pipeline.promote("staging", 0);
    let watched = pipeline.cascade(&["promote", "production", "--wait"]).expect_code(0);
    let failed = |line: &str| line.contains("✗ up") && !line.contains("before anything moved");
    assert!(watched.stderr.lines().any(failed), "it failed now and then: {watched:?}");
    let promotion = pipeline.newest("production");
    assert_eq!((&promotion["state"], &promotion["watching_until"]), (&"promoted".into(), &Value::Null));
    let id = promotion["id"].as_str().unwrap();
    let shown = pipeline.cascade(&["show", id, "--json"]).expect_code(0).json();
    assert_eq!(shown["journal"].as_array().unwrap().last().unwrap()["name"], "watched");
}

#[test]
fn waiting_watches_where_no_watcher_runs_and_rolls_back() {
    let service = Service::well();
    let checks = format!("{}\n  command: {{ run: \"true\", every: 1s }}", service.check("up", FAST));
    let pipeline = released(true, "verify: [up, command], watch_for: 1h", &checks);
    pipeline.save_file("page", "two");
    pipeline.promote("staging", 0);
    // Asked before landing, after it, and while it is watched.
    service.well_for(3);
    let failed = pipeline.cascade(&["promote", "production", "--wait"]).expect_code(6);
    assert!(failed.stderr.contains("while it was watched"), "{failed:?}");
    assert_eq!(page(&pipeline), "one");
    let watched = outcomes(&pipeline.newest("production"), "watch");
    assert!(watched.contains(&pair("up", "fail")) && watched.contains(&pair("command", "pass")), "{watched:?}");
}

#[test]
fn what_was_promoted_before_can_be_watched_too() {
    let service = Service::well();
    let pipeline = released(false, "verify: [up], watch_for: 1h", &service.check("up", FAST));
    let told = release(&pipeline, "two", 0);
    assert!(told.stderr.contains("nobody verifies it again") && told.stderr.contains("--wait"), "{told:?}");
    assert!(production(&pipeline)["watching_until"].is_string());
    let status = pipeline.cascade(&["status"]).expect_code(0).stdout;
    assert!(status.contains("but nobody verifies it"), "{status}");
    service.set_well(false);
    let rolled_back = pipeline.cascade(&["promote", "production", "--wait"]).expect_code(6);
    assert!(rolled_back.stderr.contains("rolled back"), "{rolled_back:?}");
    assert_eq!(page(&pipeline), "one");
    assert_eq!(production(&pipeline)["watching_until"], Value::Null);
}

#[test]
fn what_lands_later_ends_the_watch_of_what_landed_before() {
    let service = Service::well();
    let pipeline = released(false, "verify: [up], watch_for: 1h", &service.check("up", FAST));
    let first = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    release(&pipeline, "two", 0);
    let older = pipeline.cascade(&["show", &first, "--json"]).expect_code(0).json();
    assert_eq!((&older["state"], &older["watching_until"]), (&"promoted".into(), &Value::Null));
    assert_eq!(older["journal"].as_array().unwrap().last().unwrap()["name"], "watch_ended");
    assert!(pipeline.newest("production")["watching_until"].is_string());
}

/// The sources that may not come back to production.
fn quarantined(pipeline: &Pipeline) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ctx = pipeline.context(std::sync::Arc::new(cascade::base::clock::SystemClock)).await;
        let entries = ctx.store.quarantined("production").await.unwrap();
        ctx.store.close().await;
        entries.into_iter().map(|entry| entry.source.to_string()).collect()
    })
}

/// Keeps what it is told of verifications that are under way.
#[derive(Default)]
struct Onlooker(Vec<Attempts>);

impl Observer for Onlooker {
    fn step(&mut self, _: &Promotion, _: Step) {}
    fn performed(&mut self, _: &Promotion, _: Step, _: &Event) {}
    fn known(&mut self, _: &Promotion, _: &str) {}
    fn asking(&mut self, _: &Promotion, _: CheckPhase, _: &str) {}
    fn answered(&mut self, _: &Promotion, _: CheckPhase, _: &str, _: &Answer) {}
    fn running(&mut self, _: &Promotion, running: &[Running]) {
        self.0.extend(running.iter().filter_map(|check| check.attempts.clone()));
    }
}

#[tokio::test]
async fn whoever_looks_on_is_told_how_far_a_verification_is() {
    let up = "\n  up: { run: \"true\", every: 1s, successes: 2, deadline: 50s }";
    let pipeline = Pipeline::new(false, "\n  staging: { from: develop, branch: staging, verify: [up] }\n", up);
    let ctx = pipeline.context(std::sync::Arc::new(cascade::base::clock::SystemClock)).await;
    let lock = promote::lock(&ctx, false).await.unwrap();
    let mut onlooker = Onlooker::default();
    promote::promote(&ctx, &lock, &Request::to("staging"), &mut onlooker).await.unwrap();
    let second = onlooker.0.iter().find(|attempts| attempts.number == 2);
    let second = second.unwrap_or_else(|| panic!("{:?}", onlooker.0));
    assert_eq!((second.passed, second.successes, second.last.as_str()), (1, 2, "exit code 0"));
    assert_eq!(second.deadline.to_string(), "50s");
}
