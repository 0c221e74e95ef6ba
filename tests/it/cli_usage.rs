//! What every command shares: help, mistakes, failures, and the small commands.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::support::{Sandbox, output};

#[test]
fn help_and_version_exit_0_on_stdout() {
    let sandbox = Sandbox::empty();
    let help = sandbox.cascade(&["--help"]).expect_code(0);
    assert!(help.stdout.contains("deploy-production") && help.stderr.is_empty(), "{help:#?}");
    let version = sandbox.cascade(&["--version"]).expect_code(0);
    assert_eq!(version.stdout, concat!("cascade ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn mistakes_exit_2() {
    let sandbox = Sandbox::empty();
    for words in [&[][..], &["promot", "staging"], &["promote"], &["status", "-q", "-v"], &["logs", "-f", "--json"]] {
        let output = sandbox.cascade(words).expect_code(2);
        assert!(output.stderr.contains("Usage:") || words.contains(&"--json"), "{words:?} {output:#?}");
    }
}

#[test]
fn mistake_is_a_document_for_programs() {
    let document = Sandbox::empty().cascade(&["--json", "promote"]).expect_code(2).json();
    assert_eq!(document["error"]["kind"], "usage", "{document}");
}

#[test]
fn failure_has_message_and_hint() {
    let sandbox = Sandbox::empty();
    let output = sandbox.cascade(&["config", "check"]).expect_code(2);
    sandbox.filtered(|| {
        insta::assert_snapshot!(output.stderr, @r"
        error: [BASE]/checkout is not inside a git repository
          hint: go into a checkout, or make one with `git init`, then run `cascade init`
        ");
    });
    assert_eq!(output.stdout, "");
}

#[test]
fn project_that_is_no_directory_is_refused() {
    let output = Sandbox::empty().cascade(&["--project", "no\x1b[31mwhere", "status"]).expect_code(2);
    assert!(output.stderr.contains("no\\x1b[31mwhere is not a directory"), "{output:#?}");
}

#[test]
fn project_can_be_given_after_the_command() {
    let sandbox = Sandbox::new();
    sandbox.cascade(&["init"]).expect_code(0);
    std::fs::create_dir(sandbox.root().join("deep")).unwrap();
    let document = sandbox.cascade(&["config", "path", "--json", "--project", "deep"]).expect_code(0).json();
    let path = sandbox.root().canonicalize().unwrap().join("cascade-sync.yaml");
    assert_eq!(document["path"], path.to_str().unwrap());
}

#[test]
fn configuration_is_checked_and_shown() {
    let sandbox = Sandbox::new();
    sandbox.cascade(&["init"]).expect_code(0);
    sandbox.cascade(&["config", "check"]).expect_code(0);
    let document = sandbox.cascade(&["config", "check", "--json"]).expect_code(0).json();
    assert_eq!(document["valid"], true);
    assert_eq!(sandbox.cascade(&["config", "show", "--json"]).expect_code(0).json()["project"], "checkout");
    assert!(sandbox.cascade(&["config", "show"]).expect_code(0).stdout.contains("project: checkout\n"));
    sandbox.write("cascade-sync.yaml", "version: [\n");
    sandbox.cascade(&["config", "check"]).expect_code(2);
    let refused = sandbox.cascade(&["config", "show", "--json"]).expect_code(2).json();
    assert_eq!(refused["error"]["kind"], "config");
}

#[test]
fn schema_names_the_top_level_fields() {
    let schema = Sandbox::empty().cascade(&["config", "schema"]).expect_code(0).json();
    assert!(schema["properties"]["environments"].is_object(), "{schema}");
}

#[test]
fn completions_and_manual_know_the_commands() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.cascade(&["completions", shell]).expect_code(0).stdout;
        assert!(script.contains("deploy-production"), "{shell}");
    }
    assert!(sandbox.cascade(&["man"]).expect_code(0).stdout.contains(r"deploy\-production"));
    assert!(sandbox.cascade(&["man", "promote"]).expect_code(0).stdout.contains(r"\-\-dry\-run"));
    sandbox.cascade(&["man", "nothing"]).expect_code(2);
}

#[test]
fn log_of_a_watcher_that_never_ran_is_explained() {
    let output = Sandbox::new().cascade(&["logs"]).expect_code(2);
    insta::assert_snapshot!(output.stderr, @r"
    error: the watcher has not run in this checkout yet
      hint: start it with `cascade start`
    ");
}

#[test]
fn log_is_shown_from_its_end_and_escaped() {
    let sandbox = Sandbox::new();
    let common = sandbox.root().canonicalize().unwrap().join(".git/");
    let log = cascade::store::Home::new(sandbox.base().join("cascade")).project(&common).log();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "one\ntwo\x1b[31m\nthree\n").unwrap();
    let shown = sandbox.cascade(&["logs", "-n", "2"]).expect_code(0);
    assert_eq!(shown.stdout, "two\\x1b[31m\nthree\n");
    let document = sandbox.cascade(&["logs", "--json", "-n1"]).expect_code(0).json();
    assert_eq!(document["lines"], serde_json::json!(["three"]));
}

#[test]
fn followed_log_shows_what_is_added() {
    let sandbox = Sandbox::new();
    let common = sandbox.root().canonicalize().unwrap().join(".git/");
    let log = cascade::store::Home::new(sandbox.base().join("cascade")).project(&common).log();
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "one\n").unwrap();
    let mut follow = sandbox.command(env!("CARGO_BIN_EXE_cascade"), &["logs", "-f"]);
    let mut child = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"two\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn colour_reaches_terminals_only() {
    let output = Sandbox::empty().cascade(&["config", "check"]);
    assert!(!output.stderr.contains('\x1b'), "{output:#?}");
}

#[test]
fn reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::empty();
    let words = ["-c", "{ cascade config schema; echo $? >code; } | true; cat code"];
    assert_eq!(output(sandbox.command("sh", &words), b"").stdout, "0\n");
}

#[test]
fn full_disk_is_a_failure() {
    let sandbox = Sandbox::empty();
    let full = output(sandbox.command("sh", &["-c", "cascade config schema >/dev/full"]), b"").expect_code(1);
    assert!(full.stderr.contains("the answer cannot be written"), "{full:#?}");
}

#[test]
fn the_demo_shows_the_whole_job_and_leaves_nothing_behind() {
    let sandbox = Sandbox::empty();
    let place = sandbox.base().join("tmp");
    std::fs::create_dir(&place).unwrap();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_cascade"), &["demo"]);
    command.env("TMPDIR", &place);
    let shown = output(command, b"").expect_code(0).stdout;
    for part in ["$ cascade start", "$ cascade deploy-production", "$ cascade approve", "rolled back", "$ cascade stop"]
    {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn formats_that_are_not_supported_are_named_in_plain_words() {
    for (extension, value, what, instead) in [
        ("objectformat", "sha256", "objects named by SHA-256", "--object-format=sha1"),
        ("refstorage", "reftable", "references kept in reftables", "--ref-format=files"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.git(&["config", "core.repositoryformatversion", "1"]);
        sandbox.git(&["config", &format!("extensions.{extension}"), value]);
        let refused = sandbox.cascade(&["init"]).expect_code(2);
        let told = format!("cascade does not support {what}");
        assert!(refused.stderr.contains(&told) && refused.stderr.contains(instead), "{refused:#?}");
    }
}

#[test]
fn quiet_commands_print_their_answer_and_no_advice() {
    let sandbox = Sandbox::new();
    sandbox.cascade(&["init"]).expect_code(0);
    let again = sandbox.cascade(&["init", "-q"]).expect_code(0);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", ""));
}
