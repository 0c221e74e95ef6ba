//! The ledger of promotions and `cascade verify`, on real repositories with bare remotes.

use std::process::Command;

use serde_json::Value;

use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::{Output, output, skip};

const LEDGER: &str = "refs/cascade/ledger";
const CHECKED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 1 }, checks: [build], verify: [up] }
";
const CHECKS: &str = "
  build: { run: \"true\" }
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// Brings what was saved to production.
fn release(pipeline: &Pipeline) {
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
}

/// The keys of the entries at a reference, the oldest first.
fn keys_at(pipeline: &Pipeline, place: &str, reference: &str) -> Vec<String> {
    let format = "--format=%(trailers:key=Cascade-Entry,valueonly,separator=)";
    let listed = pipeline.git(&["-C", place, "log", "--reverse", format, reference]);
    listed.lines().map(str::to_owned).collect()
}

fn keys(pipeline: &Pipeline) -> Vec<String> {
    keys_at(pipeline, ".", LEDGER)
}

/// The statement of the newest entry.
fn newest_statement(pipeline: &Pipeline) -> Value {
    let message = pipeline.git(&["log", "-1", "--format=%B", LEDGER]);
    let json = &message[message.find('{').unwrap()..=message.rfind('}').unwrap()];
    serde_json::from_str(json).unwrap()
}

/// Clones the remote afresh and runs cascade in the clone, which has no database of its own.
fn in_a_clone(pipeline: &Pipeline, words: &[&str]) -> Output {
    let clone = pipeline.base().join("clone");
    if clone.exists() {
        std::fs::remove_dir_all(&clone).unwrap();
    }
    pipeline.git(&["clone", "--quiet", "../origin.git", "../clone"]);
    in_place(pipeline, "clone", words)
}

fn in_place(pipeline: &Pipeline, place: &str, words: &[&str]) -> Output {
    let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), words);
    command.current_dir(pipeline.base().join(place)).env("CASCADE_HOME", pipeline.base().join(format!("{place}-home")));
    output(command, b"")
}

/// The codes of an environment's problems: first those of the branch, then those of its releases, the newest first.
fn problems(report: &Value, environment: &str) -> Vec<Vec<String>> {
    let codes = |problems: &Value| {
        problems.as_array().unwrap().iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
    };
    let environments = report["environments"].as_array().unwrap();
    let found = environments.iter().find(|found| found["name"] == environment).unwrap();
    let releases = found["releases"].as_array().unwrap().iter().map(|release| codes(&release["problems"]));
    std::iter::once(codes(&found["problems"])).chain(releases).collect()
}

fn codes(lists: &[&[&str]]) -> Vec<Vec<String>> {
    lists.iter().map(|list| list.iter().map(|code| (*code).to_owned()).collect()).collect()
}

#[test]
fn a_fresh_clone_can_verify_each_release() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    pipeline.save_file("site", "one");
    release(&pipeline);
    pipeline.save_file("site", "two");
    release(&pipeline);
    assert_eq!(pipeline.remote_ledger(), pipeline.git(&["rev-parse", LEDGER]));
    let moments: Vec<String> = keys(&pipeline).iter().map(|key| key.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(moments, ["landing", "settled promoted"].repeat(4));
    let report = in_a_clone(&pipeline, &["verify", "--json"]).expect_code(0).json();
    assert_eq!(problems(&report, "staging"), codes(&[&[], &[], &[]]));
    assert_eq!(problems(&report, "production"), codes(&[&[], &[], &[]]));
    assert_eq!(report["ledger"]["entries"], 8);
    assert_eq!(report["environments"][1]["releases"][0]["state"], "promoted");
    assert!(!pipeline.base().join("clone-home").exists(), "no database is made");
    let text = in_place(&pipeline, "clone", &["verify", "production"]).expect_code(0).stdout;
    assert!(text.contains("production (main): 2 releases") && text.contains("all by the rules"), "{text}");
    assert!(!text.contains("staging"), "{text}");
    pipeline.git(&["fsck", "--strict"]);
    pipeline.git(&["-C", "../origin.git", "fsck", "--strict"]);
}

#[test]
fn a_statement_names_what_was_checked_and_approved() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    release(&pipeline);
    let statement = newest_statement(&pipeline);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/verification_summary/v1");
    assert_eq!(statement["subject"][0]["digest"]["gitCommit"], pipeline.tip("main"));
    assert_eq!(statement["subject"][1]["digest"]["gitTree"], pipeline.tree("main"));
    let predicate = &statement["predicate"];
    assert_eq!(predicate["verificationResult"], "PASSED");
    assert_eq!(predicate["resourceUri"], "cascade:shop/production");
    assert_eq!(predicate["inputAttestations"].as_array().unwrap().len(), 1, "the landing: {predicate:#}");
    let promotion = &predicate["https://github.com/cascade-sync/cascade/promotion/v1"];
    assert_eq!(promotion["checks"][0]["name"], "build");
    assert_eq!(promotion["checks"][1]["phase"], "verify");
    assert_eq!(promotion["approvals"][0]["person"], "Ada <ada@example.test>");
    assert_eq!(promotion["id"], pipeline.newest("production")["id"]);
}
