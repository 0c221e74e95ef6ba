//! Users shape the messages of saves: a template, and a command that summarises.

use std::time::{Duration, Instant};

use crate::support::watched::Watched;

/// A watched checkout whose messages are made as `message` says.
fn with_message(settle: &str, message: &str) -> Watched {
    let watched = Watched::ready(settle, "");
    let pipeline = watched.read("cascade-sync.yaml");
    watched.write("cascade-sync.yaml", pipeline.replacen("sandbox: {", &format!("sandbox: {{ message: {message},"), 1));
    watched.commit("Shape messages");
    watched.start();
    watched
}

/// Writes a file and answers the message of its save.
#[track_caller]
fn message_of(watched: &Watched, path: &str, content: &str) -> String {
    watched.write(path, content);
    watched.until_saved("develop", path, content.trim());
    watched.git(&["log", "-1", "--format=%B", "develop", "--", path])
}

#[track_caller]
fn check_falls_back(summarize: &str, reason: &str) {
    let watched =
        with_message("50ms", &format!("{{ template: 's: {{subject}}', summarize: '{summarize}', deadline: 500ms }}"));
    for path in ["one", "two"] {
        let begun = Instant::now();
        let message = message_of(&watched, path, "x\n");
        assert!(message.starts_with(&format!("s: Add {path}\n")), "{message}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    let log = watched.log();
    assert_eq!(log.matches("sandbox.message.summarize").count(), 1, "{log}");
    assert!(log.contains(reason), "{log}");
    assert!(log.contains("saved: s: Add two"), "{log}");
}

#[test]
fn a_template_shapes_the_commit() {
    let watched = with_message(
        "50ms",
        r#"{ template: "[{branch}] {subject} of {project}\n\n{totals}\n\nSigned-off-by: Ada <ada@example.test>" }"#,
    );
    let message = message_of(&watched, "src/a b.txt", "one\n");
    let expected = "[develop] Add src/a b.txt of p\n\n1 added, 0 modified, 0 deleted; 4 B\n\n\
        Signed-off-by: Ada <ada@example.test>\nCascade-Batch: ";
    assert!(message.starts_with(expected), "{message}");
    let trailers = watched.git(&["log", "-1", "--format=%(trailers:keyonly)", "develop"]);
    assert_eq!(trailers, "Signed-off-by\nCascade-Batch");
    assert!(watched.log().contains("saved: [develop] Add src/a b.txt of p"), "{}", watched.log());
}

#[test]
fn the_summary_of_a_command_is_the_subject_and_it_reads_the_patch_that_is_saved() {
    let watched = with_message("50ms", "{ summarize: './summarize' }");
    // Everything but saved paths goes elsewhere: what a command writes into the checkout would be saved too.
    let seen = watched.base().join("seen");
    let script = format!(
        "#!/bin/sh\ncat > '{0}.patch'\nenv > '{0}.env'\npwd > '{0}.pwd'\nprintf '\\n  Teach it \\033[1mto count  \\nmore\\n'\n",
        seen.display()
    );
    watched.write_program("summarize", &script);
    watched.until_saved("develop", "summarize", script.trim());
    let message = message_of(&watched, "numbers", "one\ntwo\n");
    assert!(message.starts_with("Teach it \\x1b[1mto count\n\nA numbers (8 B)\n"), "{message}");
    let seen = |end: &str| std::fs::read_to_string(seen.with_extension(end)).unwrap();
    let commit = ["-c", "core.abbrev=7", "show", "--format=", "develop", "--"];
    assert_eq!(seen("patch").trim_end(), watched.git(&commit));
    let is_ours = |line: &str| line.starts_with("CASCADE_") && !line.starts_with("CASCADE_RUN=");
    assert!(!seen("env").lines().any(is_ours), "{}", seen("env"));
    assert_eq!(seen("pwd").trim_end(), watched.root().canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn a_command_that_hangs_is_ended_and_the_save_lands_all_the_same() {
    check_falls_back("sleep 1000 & sleep 1000", "took longer than 500ms and was stopped");
}

#[test]
fn a_command_that_fails_is_told_once_and_the_save_lands_all_the_same() {
    check_falls_back("echo half; echo no network >&2; exit 7", "exit code 7");
}

#[test]
fn a_command_that_says_nothing_or_garbage_is_told_and_the_save_lands_all_the_same() {
    check_falls_back("cat > /dev/null; echo", "it printed nothing");
    check_falls_back("head -c 100000 /dev/zero | tr \"\\\\0\" \"\\\\377\"", "it printed something that is not UTF-8");
}

#[test]
fn what_is_saved_while_stopping_does_not_wait_for_a_command() {
    let watched = with_message("1s", "{ summarize: 'sleep 1000', deadline: 20s }");
    watched.write("late", "x\n");
    let begun = Instant::now();
    watched.stop();
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(watched.git(&["log", "-1", "--format=%s", "develop"]), "Add late");
    assert!(!watched.log().contains("summarize"), "{}", watched.log());
}
