//! What checks of candidates may do, and what they cannot: through the built binary, on real repositories.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::support::Output;
use crate::support::pipeline::Pipeline;
use crate::support::small_disk::SmallDisk;

/// A pipeline whose staging asks these checks, each with what `cascade-sync.yaml` says of it; `$OUT` is a directory
/// outside of all checkouts.
fn pipeline(more: &str, checks: &[(&str, &str)]) -> Pipeline {
    let names: Vec<&str> = checks.iter().map(|(name, _)| *name).collect();
    let environments = format!("\n  staging: {{ from: develop, branch: staging, checks: [{}] }}", names.join(", "));
    let pipeline = Pipeline::new(false, "\n  staging: { from: develop, branch: staging }", "");
    std::fs::create_dir(out(&pipeline, "")).unwrap();
    let place = out(&pipeline, "").display().to_string();
    let lines = checks.iter().map(|(name, spec)| format!("\n  {name}: {{ {} }}", spec.replace("$OUT", &place)));
    pipeline.configure(&environments, &format!("{}\n{more}", lines.collect::<String>()));
    pipeline.save("checks");
    // The rules are those that the environment's own branch has.
    pipeline.git(&["branch", "--quiet", "--force", "staging", "develop"]);
    pipeline.save_file("page", "one");
    pipeline
}

fn out(pipeline: &Pipeline, name: &str) -> PathBuf {
    pipeline.base().join("outside").join(name)
}

fn written(pipeline: &Pipeline, name: &str) -> String {
    std::fs::read_to_string(out(pipeline, name)).unwrap_or_default()
}

fn fifo(pipeline: &Pipeline, name: &str) {
    let path = out(pipeline, name);
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// The answers of the newest promotion's checks: name, outcome, detail.
fn answers(pipeline: &Pipeline) -> Vec<[String; 3]> {
    let newest = pipeline.newest("staging");
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let checks = newest["checks"].as_array().unwrap().iter();
    checks.map(|check| ["name", "outcome", "detail"].map(|key| text(check, key))).collect()
}

fn owned(answers: &[[&str; 3]]) -> Vec<[String; 3]> {
    answers.iter().map(|answer| answer.map(str::to_owned)).collect()
}

/// The process whose number a check wrote.
fn process(pipeline: &Pipeline, name: &str) -> Pid {
    pipeline.until("a check writes its process", || written(pipeline, name).ends_with('\n'));
    Pid::from_raw(written(pipeline, name).trim().parse().unwrap()).unwrap()
}

/// A process that ended and that nobody has waited for yet is gone too.
fn is_gone(process: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    let is_zombie = state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    is_zombie || test_kill_process(process).is_err()
}

#[test]
fn checks_run_at_the_same_time_each_in_a_checkout_of_its_own() {
    let pipeline = pipeline(
        "parallel_checks: 2",
        &[
            ("one", "run: \"pwd > $OUT/one && echo > $OUT/there && cat < $OUT/back\", timeout: 30s"),
            ("two", "run: \"cat < $OUT/there && pwd > $OUT/two && echo > $OUT/back\", timeout: 30s"),
        ],
    );
    // Each end of a FIFO waits for the other one: one after the other they would wait until their time is over.
    fifo(&pipeline, "there");
    fifo(&pipeline, "back");
    pipeline.promote("staging", 0);
    let (one, two) = (written(&pipeline, "one"), written(&pipeline, "two"));
    assert!(!one.is_empty() && !two.is_empty() && one != two, "{one} {two}");
    assert_eq!(answers(&pipeline), owned(&[["one", "pass", "exit code 0"], ["two", "pass", "exit code 0"]]));
}

#[test]
fn one_at_a_time_they_share_what_is_built() {
    let pipeline = pipeline(
        "parallel_checks: 1",
        &[("build", "run: \"echo built > result.o\""), ("test", "run: \"grep built result.o\"")],
    );
    pipeline.write(".gitignore", "*.o\n");
    pipeline.save("what is built");
    pipeline.promote("staging", 0);
}

#[test]
fn answers_are_told_in_the_order_of_the_configuration() {
    let pipeline = pipeline(
        "parallel_checks: 2",
        &[
            ("slow", "run: \"cat < $OUT/quick-ended; false\", timeout: 30s"),
            ("quick", "run: \"exit 7\""),
            ("never", "run: \"echo > $OUT/never\""),
        ],
    );
    fifo(&pipeline, "quick-ended");
    let child = begin(&pipeline);
    // The first one ends only after the second one has.
    pipeline.until("the quick one has answered", || answers_so_far(&pipeline).contains(&json!("quick")));
    std::fs::write(out(&pipeline, "quick-ended"), "\n").unwrap();
    let failed = end(child).expect_code(4);
    assert_eq!(answers(&pipeline), owned(&[["slow", "fail", "exit code 1"], ["quick", "fail", "exit code 7"]]));
    let reason = "check `slow` failed: exit code 1; check `quick` failed: exit code 7";
    assert!(failed.stderr.contains(reason), "{failed:#?}");
    assert!(!out(&pipeline, "never").exists(), "nothing begins once something failed");
}

fn answers_so_far(pipeline: &Pipeline) -> Vec<Value> {
    let newest = pipeline.newest("staging");
    newest["checks"].as_array().into_iter().flatten().map(|check| check["name"].clone()).collect()
}

/// Begins a promotion to staging.
fn begin(pipeline: &Pipeline) -> Child {
    let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for its end.
fn end(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const DAEMON: &str = "run: \"setsid sh -c 'echo $$ > $OUT/daemon; exec sleep 1000' > /dev/null 2>&1 & \
                      until test -s $OUT/daemon; do sleep 0.01; done\"";

#[test]
fn a_daemon_does_not_outlive_its_check() {
    let pipeline = pipeline("", &[("daemon", DAEMON)]);
    pipeline.promote("staging", 0);
    assert!(is_gone(process(&pipeline, "daemon")));
}

#[test]
fn who_ignores_the_wish_to_end_is_killed_and_opens_nothing() {
    let stubborn = "run: \"trap '' TERM; echo $$ > $OUT/stubborn; while :; do sleep 1; done\", timeout: 300ms";
    let pipeline = pipeline("", &[("stubborn", stubborn)]);
    let before = pipeline.tip("staging");
    let failed = pipeline.promote("staging", 4);
    assert!(failed.stderr.contains("check `stubborn` could not answer: took longer than 300ms"), "{failed:#?}");
    assert!(is_gone(process(&pipeline, "stubborn")));
    assert_eq!((answers(&pipeline)[0][1].as_str(), pipeline.tip("staging")), ("unknown", before));
}

const PATIENT: &str = "run: \"trap '' TERM; setsid sleep 1000 & echo $! > $OUT/away; echo $$ > $OUT/here; wait; wait\"";

#[test]
fn a_signal_ends_the_checks_and_the_promotion() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let pipeline = pipeline("", &[("patient", PATIENT)]);
        let child = begin(&pipeline);
        let (here, away) = (process(&pipeline, "here"), process(&pipeline, "away"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        end(child).expect_code(4);
        assert!(is_gone(here) && is_gone(away));
        let newest = pipeline.newest("staging");
        let reason = format!("check `patient` could not answer: stopped by {name}");
        assert_eq!((&newest["state"], &newest["reason"]), (&json!("failed"), &json!(reason)));
    }
}

#[test]
fn what_a_killed_cascade_left_running_is_ended_by_the_next_promotion() {
    let pipeline = pipeline("", &[("patient", &format!("{PATIENT}, timeout: 1h"))]);
    let child = begin(&pipeline);
    let (here, away) = (process(&pipeline, "here"), process(&pipeline, "away"));
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    end(child);
    assert!(!is_gone(here) && !is_gone(away));
    for name in ["here", "away"] {
        std::fs::remove_file(out(&pipeline, name)).unwrap();
    }
    let next = begin(&pipeline);
    process(&pipeline, "here");
    assert!(is_gone(here) && is_gone(away));
    kill_process(Pid::from_child(&next), Signal::INT).unwrap();
    let stopped = end(next).expect_code(1);
    assert!(stopped.stderr.contains("error: stopped by SIGINT"), "{stopped:#?}");
    assert_eq!(pipeline.cascade(&["history", "--json"]).json().as_array().unwrap().len(), 1, "nothing else begins");
}

#[test]
fn endless_output_is_kept_by_both_its_ends() {
    let loud = "run: \"echo first; yes | head -c 20000000; echo last\"";
    let pipeline = pipeline("", &[("loud", loud)]);
    pipeline.promote("staging", 0);
    let log = PathBuf::from(pipeline.newest("staging")["checks"][0]["log"].as_str().unwrap());
    let kept = std::fs::read_to_string(&log).unwrap();
    assert!(
        kept.starts_with("first\ny\n") && kept.ends_with("y\nlast\n") && kept.contains(" bytes are left out here ")
    );
    assert!(kept.len() < 5 << 20, "{}", kept.len());
    let show = pipeline.cascade(&["show", pipeline.newest("staging")["id"].as_str().unwrap()]).expect_code(0);
    assert!(show.stdout.contains(&format!("log {}", log.display())), "{show:#?}");
}

#[test]
fn a_check_that_fills_the_disk_fails_and_what_it_wrote_goes() {
    let glutton = "run: \"test -e allowed || dd if=/dev/zero of=fill bs=1M\"";
    let pipeline = pipeline("", &[("glutton", glutton)]);
    let Some(_disk) = SmallDisk::mount(&pipeline.base().join("cascade"), 24) else { return };
    let before = pipeline.tip("staging");
    let failed = pipeline.promote("staging", 4);
    assert!(failed.stderr.contains("check `glutton` failed: exit code 1"), "{failed:#?}");
    assert_eq!(pipeline.tip("staging"), before);
    assert_eq!(answers(&pipeline), owned(&[["glutton", "fail", "exit code 1"]]));
    pipeline.save_file("allowed", "");
    pipeline.promote("staging", 0);
}

#[test]
fn a_check_may_delete_its_checkout() {
    let pipeline =
        pipeline("parallel_checks: 1", &[("vandal", "run: \"rm -rf $PWD\""), ("after", "run: \"test -f page\"")]);
    pipeline.promote("staging", 0);
    pipeline.save_file("page", "two");
    pipeline.promote("staging", 0);
    assert_eq!(pipeline.git(&["show", "staging:page"]), "two");
    assert_eq!(pipeline.git(&["status", "--porcelain"]), "");
}

#[test]
fn checks_do_not_see_what_is_none_of_their_business() {
    let more = "secrets: { variables: [\"*_TOKEN\"] }";
    let pipeline = pipeline(
        more,
        &[("plain", "run: \"env > $OUT/plain\""), ("asking", "run: \"env > $OUT/asking\", env: [NPM_TOKEN, WEBHOOK]")],
    );
    pipeline.write(".git/info/exclude", ".env\n");
    pipeline.write(".env", "WEBHOOK=hunter-from-dotenv\n");
    let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
    command.env("NPM_TOKEN", "hunter-of-npm").env("CASCADE_WEBHOOK", "hunter-of-cascade").env("HARMLESS", "yes");
    let promoted = crate::support::output(command, b"").expect_code(0);
    let (plain, asking) = (written(&pipeline, "plain"), written(&pipeline, "asking"));
    assert!(plain.contains("HARMLESS=yes") && plain.contains("CASCADE_ENVIRONMENT=staging"), "{plain}");
    assert!(!plain.contains("hunter") && !plain.contains("CASCADE_HOME"), "{plain}");
    assert!(asking.contains("NPM_TOKEN=hunter-of-npm") && asking.contains("WEBHOOK=hunter-from-dotenv"), "{asking}");
    assert!(!asking.contains("hunter-of-cascade") && !format!("{promoted:?}").contains("hunter"), "{asking}");
}

const AT_THE_SECOND_TIME: &str =
    "run: \"echo asked >> $OUT/asked; echo attempt $(wc -l < $OUT/asked); test $(wc -l < $OUT/asked) -ge 2\"";

#[test]
fn a_check_known_to_be_flaky_is_asked_once_more_and_both_answers_are_kept() {
    let pipeline = pipeline("", &[("flaky", &format!("{AT_THE_SECOND_TIME}, flaky: true"))]);
    let promoted = pipeline.promote("staging", 0);
    assert!(promoted.stderr.contains("flaky is known to fail now and then: asking once more"), "{promoted:#?}");
    assert_eq!(written(&pipeline, "asked").lines().count(), 2);
    let newest = pipeline.newest("staging");
    let check = &newest["checks"][0];
    assert_eq!((&check["outcome"], &check["earlier"]["outcome"]), (&json!("pass"), &json!("fail")));
    assert_eq!(check["earlier"]["detail"], "exit code 1");
    let log = |check: &Value| std::fs::read_to_string(check["log"].as_str().unwrap()).unwrap();
    assert_eq!((log(&check["earlier"]), log(check)), ("attempt 1\n".to_owned(), "attempt 2\n".to_owned()));
    let show = pipeline.cascade(&["show", newest["id"].as_str().unwrap()]).expect_code(0);
    assert!(show.stdout.contains("✗ at first (") && show.stdout.contains("): exit code 1"), "{show:#?}");
    let id = newest["id"].as_str().unwrap();
    let logs = pipeline.cascade(&["logs", id]).expect_code(0).stdout;
    assert!(logs.contains("check flaky: fail (") && logs.contains(")\nattempt 1\ncheck flaky: pass ("), "{logs}");
    assert_eq!(pipeline.cascade(&["logs", id, "--json"]).expect_code(0).json()[1]["lines"], json!(["attempt 2"]));
    let entries = pipeline.git(&["log", "-p", "refs/cascade/ledger"]);
    let statement = entries.split("\"earlier\": {").nth(1).unwrap_or_else(|| panic!("{entries}"));
    assert!(statement.lines().take(2).any(|line| line.contains("\"outcome\": \"fail\"")), "{statement}");
    pipeline.cascade(&["verify"]).expect_code(0);
}

#[test]
fn only_known_flaky_checks_are_asked_again_and_only_when_they_failed() {
    let count = |more: &str, spec: &str| {
        let pipeline = pipeline("", &[("check", &format!("run: \"echo asked >> $OUT/asked; {spec}\", {more}"))]);
        let failed = pipeline.promote("staging", 4);
        (written(&pipeline, "asked").lines().count(), failed.stderr)
    };
    assert_eq!(count("flaky: false", "exit 1").0, 1);
    assert_eq!(count("flaky: true, timeout: 200ms", "sleep 60").0, 1);
    let (times, told) = count("flaky: true", "exit 1");
    assert!(times == 2 && told.contains("check `check` failed again: exit code 1"), "{told}");
}

#[test]
fn a_terminal_sees_what_is_under_way_and_no_escape_of_a_check_reaches_it() {
    let hostile = "run: \"printf 'working \\\\033[2J\\\\033]0;owned\\\\007 hard\\\\n'; cat < $OUT/go\"";
    let pipeline = pipeline("", &[("hostile", hostile)]);
    fifo(&pipeline, "go");
    let words = [env!("CARGO_BIN_EXE_cascade"), "promote", "staging"].join(" ");
    let transcript = out(&pipeline, "transcript");
    let mut command = pipeline.command("script", &["-qefc", &words, transcript.to_str().unwrap()]);
    let Ok(mut child) = command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).spawn() else {
        return crate::support::skip("script is not installed");
    };
    let seen = || String::from_utf8_lossy(&std::fs::read(&transcript).unwrap_or_default()).into_owned();
    pipeline.until("the terminal shows what the check printed", || seen().contains("… hostile "));
    pipeline.until("and its last line", || seen().contains(r"working \x1b[2J\x1b]0;owned\x07 hard"));
    std::fs::write(out(&pipeline, "go"), "\n").unwrap();
    assert!(child.wait().unwrap().success());
    let seen = seen();
    assert!(!seen.contains("\x1b[2J") && !seen.contains("\x1b]0;") && seen.contains("✓ hostile ("), "{seen:?}");
}

#[test]
fn programs_see_nothing_of_the_display() {
    let pipeline = pipeline("", &[("loud", "run: \"echo words\"")]);
    let promoted = pipeline.cascade(&["promote", "staging", "--json"]).expect_code(0);
    assert_eq!((promoted.json()["state"].clone(), promoted.stderr.as_str()), (json!("promoted"), ""));
    pipeline.save_file("page", "two");
    let plain = pipeline.promote("staging", 0);
    assert!(plain.stderr.contains("staging: checking loud …\nstaging: ✓ loud (") && !plain.stderr.contains('\x1b'));
}
