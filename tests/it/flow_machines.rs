//! What one machine does is known to the others by the ledger.

use std::sync::Arc;

use cascade::base::clock::ManualClock;
use serde_json::Value;

use crate::flow_ledger::LEDGER;
use crate::support::pipeline::{PLAIN, Pipeline};

/// Brings what was saved to production.
fn release(pipeline: &Pipeline) {
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
}

/// Production as `status --json` of the second machine tells it.
fn second_production(pipeline: &Pipeline) -> Value {
    let status = pipeline.in_place("second", &["status", "--json"]).expect_code(0).json();
    status["environments"][1].clone()
}

/// A pipeline whose newest release was rolled back, with the tip of production from then on.
fn rolled_back() -> (Pipeline, String) {
    let pipeline = Pipeline::new(true, PLAIN, "");
    for content in ["one", "two"] {
        pipeline.save_file("site", content);
        release(&pipeline);
    }
    pipeline.cascade(&["rollback", "production", "--reason", "prices are wrong"]).expect_code(0);
    let tip = pipeline.remote_tip("main");
    (pipeline, tip)
}

#[test]
fn what_one_machine_rolled_back_another_does_not_bring_back() {
    let (pipeline, tip) = rolled_back();
    pipeline.second_machine();
    let refused = pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    assert!(refused.stderr.contains("prices are wrong") && refused.stderr.contains("failed here"), "{refused:?}");
    pipeline.in_place("second", &["approve"]).expect_code(3);
    assert_eq!(pipeline.remote_tip("main"), tip);
    assert_eq!(second_production(&pipeline)["held"]["cause"], "rollback");
    pipeline.in_place("second", &["resume", "production"]).expect_code(0);
    pipeline.in_place("second", &["promote", "production"]);
    pipeline.in_place("second", &["approve"]);
    assert_ne!(pipeline.remote_tip("main"), tip, "what was lifted is not set again");
}

#[test]
fn a_lost_database_brings_nothing_back_either() {
    let (pipeline, tip) = rolled_back();
    for file in std::fs::read_dir(pipeline.base().join("cascade")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("cascade.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let refused = pipeline.promote("production", 3);
    assert!(refused.stderr.contains("prices are wrong"), "{refused:?}");
    assert_eq!(pipeline.remote_tip("main"), tip);
}

#[test]
fn a_rollback_of_what_the_other_machine_knows_as_live_is_learned_and_a_fix_lifts_it_there_too() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    for content in ["one", "two"] {
        pipeline.save_file("site", content);
        release(&pipeline);
    }
    pipeline.second_machine();
    let nothing = pipeline.in_place("second", &["promote", "production"]).expect_code(0);
    assert!(nothing.stdout.contains("up to date"), "{nothing:?}");
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    let tip = pipeline.remote_tip("main");
    pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    assert_eq!(pipeline.remote_tip("main"), tip);
    assert_eq!(second_production(&pipeline)["held"]["cause"], "rollback");
    pipeline.save_file("site", "three");
    release(&pipeline);
    pipeline.git(&["-C", "../second", "fetch", "--quiet", "origin", "staging:staging"]);
    pipeline.in_place("second", &["promote", "production"]).expect_code(0);
    assert!(second_production(&pipeline)["held"].is_null());
}

#[test]
fn what_waits_on_one_machine_stops_when_another_rolls_back_the_same() {
    let environments = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, rollback: reset, approval: { required: 1 } }
";
    let pipeline = Pipeline::new(true, environments, "");
    pipeline.save_file("site", "one");
    release(&pipeline);
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    pipeline.second_machine();
    pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    let tip = pipeline.remote_tip("main");
    let refused = pipeline.in_place("second", &["approve"]).expect_code(3);
    assert!(refused.stderr.contains("failed here"), "{refused:?}");
    assert_eq!(pipeline.remote_tip("main"), tip);
}

#[test]
fn what_was_undone_along_with_a_rollback_is_not_brought_back_either() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    let mut first = String::new();
    for content in ["one", "two", "three"] {
        pipeline.save_file("site", content);
        release(&pipeline);
        if first.is_empty() {
            first = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
        }
    }
    pipeline.cascade(&["rollback", "production", "--to", &first]).expect_code(0);
    pipeline.second_machine();
    pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    let states = |history: Value| {
        let all = history.as_array().unwrap().iter().map(|it| (it["id"].to_string(), it["state"].to_string()));
        all.collect::<std::collections::BTreeMap<_, _>>()
    };
    let here = states(pipeline.cascade(&["history", "production", "--json"]).json());
    let mut there = states(pipeline.in_place("second", &["history", "production", "--json"]).json());
    there.retain(|id, _| here.contains_key(id));
    assert_eq!(there, here);
    pipeline.in_place("second", &["verify"]).expect_code(0);
}

#[test]
fn a_persons_hold_stops_other_machines_and_whoever_resumes_lets_all_of_them_go_on() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("site", "one");
    release(&pipeline);
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    pipeline.second_machine();
    let held = pipeline.cascade(&["hold", "production", "--reason", "a fair is on"]).expect_code(0);
    assert!(!held.stderr.contains("does not know"), "{held:?}");
    assert_eq!(pipeline.remote_ledger(), pipeline.git(&["rev-parse", "refs/cascade/ledger"]));
    let refused = pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    assert!(refused.stderr.contains("held by Ada") && refused.stderr.contains("a fair is on"), "{refused:?}");
    assert_eq!(second_production(&pipeline)["held"]["cause"], "person");
    let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert_eq!(report["environments"][1]["held"]["reason"], "a fair is on", "{report:#}");
    let text = pipeline.in_place("clone", &["verify"]).expect_code(0).stdout;
    assert!(text.contains("held by Ada") && text.contains("a fair is on"), "{text}");
    pipeline.in_place("second", &["resume", "production"]).expect_code(0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert!(report["environments"][1]["held"].is_null(), "{report:#}");
}

#[test]
fn resuming_after_a_rollback_counts_on_every_machine() {
    let (pipeline, tip) = rolled_back();
    pipeline.second_machine();
    pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    assert_eq!(second_production(&pipeline)["held"]["cause"], "rollback");
    pipeline.cascade(&["resume", "production"]).expect_code(0);
    pipeline.in_place("second", &["approve"]).expect_code(0);
    assert!(second_production(&pipeline)["held"].is_null());
    assert_ne!(pipeline.remote_tip("main"), tip);
}

#[test]
fn a_hold_that_the_remote_could_not_be_told_is_told_with_the_next_word() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    let (away, origin) = (pipeline.base().join("away.git"), pipeline.base().join("origin.git"));
    std::fs::rename(&origin, &away).unwrap();
    let held = pipeline.cascade(&["hold", "production"]).expect_code(0);
    assert!(held.stderr.contains("origin does not know it yet"), "{held:?}");
    std::fs::rename(&away, &origin).unwrap();
    pipeline.second_machine();
    pipeline.in_place("second", &["hold", "staging"]).expect_code(0);
    pipeline.cascade(&["hold", "production", "--reason", "still"]).expect_code(0);
    pipeline.in_a_clone(&["verify"]).expect_code(0);
    let refused = pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    assert!(refused.stderr.contains("still"), "{refused:?}");
    pipeline.save_file("site", "two");
    let refused = pipeline.promote("staging", 3);
    assert!(refused.stderr.contains("held by Ada"), "{refused:?}");
}

/// Two releases of the first machine; the second one was made after the first and has fetched nothing since.
fn stale_second() -> (Pipeline, String) {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("site", "one");
    release(&pipeline);
    pipeline.second_machine();
    pipeline.save_file("site", "two");
    pipeline.git(&["push", "--quiet", "origin", "develop"]);
    release(&pipeline);
    let tip = pipeline.remote_tip("main");
    (pipeline, tip)
}

#[test]
fn older_branches_of_a_second_machine_take_no_release_back() {
    let (pipeline, tip) = stale_second();
    let staging = pipeline.remote_tip("staging");
    for _ in 0..2 {
        let nothing = pipeline.in_place("second", &["promote", "production"]).expect_code(0);
        assert!(nothing.stdout.contains("up to date"), "{nothing:?}");
        let older = pipeline.in_place("second", &["promote", "staging"]).expect_code(5);
        assert!(older.stderr.contains("`git pull`"), "{older:?}");
    }
    assert_eq!((pipeline.remote_tip("main"), pipeline.remote_tip("staging")), (tip, staging));
    pipeline.git(&["-C", "../second", "pull", "--quiet"]);
    let nothing = pipeline.in_place("second", &["promote", "staging"]).expect_code(0);
    assert!(nothing.stdout.contains("up to date"), "{nothing:?}");
}

#[test]
fn a_plan_on_a_second_machine_shows_what_the_remote_has() {
    let (pipeline, tip) = stale_second();
    let plan = pipeline.in_place("second", &["plan", "production", "--json"]).expect_code(0).json();
    assert_eq!(
        (plan["nothing_to_promote"].as_bool(), plan["tip"].as_str()),
        (Some(true), Some(tip.as_str())),
        "{plan:#}"
    );
    let older = pipeline.in_place("second", &["plan", "staging", "--json"]).expect_code(5).json();
    assert_eq!(older["drift"][0]["subject"], "Change site", "{older:#}");
}

#[test]
fn a_second_machine_rolls_back_what_it_never_fetched() {
    let (pipeline, bad) = stale_second();
    let back = pipeline.in_place("second", &["rollback", "production"]).expect_code(0);
    assert!(back.stdout.contains("production is back at"), "{back:?}");
    let tip = pipeline.remote_tip("main");
    assert_ne!(tip, bad);
    assert_eq!(pipeline.git(&["-C", "../origin.git", "show", "main:site"]), "one");
    assert_eq!(pipeline.git(&["-C", "../second", "rev-parse", "main"]), tip, "its own branch follows");
    pipeline.in_place("second", &["verify"]).expect_code(0);
    let refused = pipeline.promote("production", 3);
    assert!(refused.stderr.contains("rolled back"), "{refused:?}");
}

#[test]
fn verify_judges_branches_and_ledger_of_the_same_moment() {
    let (pipeline, _) = stale_second();
    let verify = |words: &[&str]| pipeline.in_place("second", &[&["verify", "production", "--json"], words].concat());
    assert_eq!(verify(&[]).expect_code(0).json()["environments"][0]["releases"].as_array().unwrap().len(), 2);
    let foreign = pipeline.git(&["commit-tree", "-m", "Past all rules", "-p", "main", "develop^{tree}"]);
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!("{foreign}:main")]);
    verify(&["--offline"]).expect_code(0);
    let found = verify(&[]).expect_code(1).json();
    assert_eq!(found["environments"][0]["releases"][0]["problems"][0]["code"], "not_promoted");
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", ":refs/cascade/ledger"]);
    assert_eq!(verify(&[]).expect_code(1).json()["ledger"]["problems"][0]["code"], "removed_there");
}

#[test]
fn a_machine_without_a_record_says_where_there_is_one() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    let nothing = pipeline.cascade(&["history"]).expect_code(0);
    assert!(nothing.stdout.contains("nothing was promoted yet"), "{nothing:?}");
    pipeline.save_file("site", "one");
    pipeline.promote("staging", 0);
    let words = "this machine has no record of promotions, and refs/cascade/ledger on origin has: `cascade doctor`";
    pipeline.second_machine();
    let told = pipeline.in_place("second", &["history"]).expect_code(0);
    assert!(told.stderr.contains(words) && told.stdout.is_empty(), "{told:?}");
    let told = pipeline.in_place("second", &["history", "--json"]).expect_code(0);
    assert!(told.stderr.contains(words) && told.json() == serde_json::json!([]), "{told:?}");
    pipeline.in_place("second", &["doctor"]);
    let told = pipeline.in_place("second", &["history", "--json"]).expect_code(0);
    assert_eq!(told.json()[0]["state"], "promoted", "{told:?}");
}

#[tokio::test]
async fn a_promotion_alone_leaves_nothing_to_learn_and_what_others_added_meanwhile_is_learnt() {
    let pipeline = Pipeline::bare(false);
    let environments = "
  staging: { from: develop, branch: staging, checks: [other] }
  live: { from: staging, branch: live }";
    // Adds to the ledger with a database of its own, as another machine does.
    let hold =
        format!("cd {} && {} hold live --reason audit", pipeline.root().display(), env!("CARGO_BIN_EXE_cascade"));
    let pipeline = pipeline.configured(environments, &format!("\n  other: {{ run: 'test ! -e others || ({hold})' }}"));
    let ctx = pipeline.context(Arc::new(ManualClock::at_ms(1_800_000_000_000))).await;
    let known = async || ctx.store.ledger_tip().await.unwrap().map(|tip| tip.to_string());
    let tip = || Some(pipeline.git(&["rev-parse", LEDGER]));
    pipeline.promote("staging", 0);
    assert_eq!(known().await, tip());
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    assert_eq!(known().await, tip());
    pipeline.save_file("others", "");
    pipeline.promote("staging", 0);
    assert_ne!(known().await, tip());
    assert!(ctx.store.held("live").await.unwrap().is_none());
    pipeline.git(&["rm", "-q", "others"]);
    pipeline.save("others are gone");
    pipeline.promote("staging", 0);
    assert_eq!(ctx.store.held("live").await.unwrap().unwrap().reason, "audit");
    assert_eq!(known().await, tip());
}
