//! The ledger of promotions and `cascade verify`, on real repositories with bare remotes.

use std::process::Stdio;
use std::sync::Arc;

use cascade::base::clock::ManualClock;
use cascade::promote::{self, Request, Silent};
use serde_json::Value;

use crate::support::context;
use crate::support::pipeline::{PLAIN, Pipeline};

pub const LEDGER: &str = "refs/cascade/ledger";
pub const CHECKED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 1 }, checks: [build], verify: [up] }
";
pub const CHECKS: &str = "
  build: { run: \"true\" }
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// Brings what was saved to production.
pub fn release(pipeline: &Pipeline) {
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

pub fn keys(pipeline: &Pipeline) -> Vec<String> {
    keys_at(pipeline, ".", LEDGER)
}

/// The statement of the newest entry.
fn newest_statement(pipeline: &Pipeline) -> Value {
    let message = pipeline.git(&["log", "-1", "--format=%B", LEDGER]);
    let json = &message[message.find('{').unwrap()..=message.rfind('}').unwrap()];
    serde_json::from_str(json).unwrap()
}

/// The codes of an environment's problems: first those of the branch, then those of its releases, the newest first.
pub fn problems(report: &Value, environment: &str) -> Vec<Vec<String>> {
    let codes = |problems: &Value| {
        problems.as_array().unwrap().iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
    };
    let environments = report["environments"].as_array().unwrap();
    let found = environments.iter().find(|found| found["name"] == environment).unwrap();
    let releases = found["releases"].as_array().unwrap().iter().map(|release| codes(&release["problems"]));
    std::iter::once(codes(&found["problems"])).chain(releases).collect()
}

pub fn codes(lists: &[&[&str]]) -> Vec<Vec<String>> {
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
    let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert_eq!(problems(&report, "staging"), codes(&[&[], &[], &[]]));
    assert_eq!(problems(&report, "production"), codes(&[&[], &[], &[]]));
    assert_eq!(report["ledger"]["entries"], 8);
    assert_eq!(report["environments"][1]["releases"][0]["state"], "promoted");
    assert!(!pipeline.base().join("clone-home").exists(), "no database is made");
    let text = pipeline.in_place("clone", &["verify", "production"]).expect_code(0).stdout;
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

#[test]
fn rollbacks_are_in_the_ledger_whichever_way_they_go() {
    for (has_remote, mode) in [(true, "restore"), (true, "reset"), (false, "auto"), (false, "restore")] {
        let environments = CHECKED.replace("verify:", &format!("rollback: {mode}, verify:"));
        let pipeline = Pipeline::new(has_remote, &environments, CHECKS);
        pipeline.save_file("site", "good");
        release(&pipeline);
        pipeline.save_file("broken", "");
        pipeline.promote("staging", 0);
        pipeline.promote("production", 3);
        pipeline.cascade(&["approve"]).expect_code(6);
        let id = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
        let own: Vec<String> = keys(&pipeline).into_iter().filter(|key| key.starts_with(&id)).collect();
        let returning = format!("{id} returning {}", pipeline.tip("main"));
        assert_eq!(own, [format!("{id} landing"), returning, format!("{id} settled rolled_back")], "{mode}");
        let report = pipeline.cascade(&["verify", "production", "--json"]).expect_code(0).json();
        let releases = report["environments"][0]["releases"].as_array().unwrap().len();
        assert_eq!(releases, if mode == "restore" { 3 } else { 1 }, "{mode}");
        if has_remote {
            let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
            assert_eq!(report["environments"][1]["releases"][0]["kind"] == "rollback", mode == "restore");
        }
    }
}

#[test]
fn promotions_that_never_land_leave_one_entry_with_their_end() {
    let pipeline = Pipeline::new(true, CHECKED, "\n  build: { run: \"test ! -e broken\" }\n  up: { run: \"true\" }");
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 4);
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    pipeline.save("Fix");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["reject", "production"]).expect_code(0);
    let all = keys(&pipeline);
    let ends: Vec<&str> = all.iter().filter_map(|key| key.split_once(" settled ")).map(|(_, state)| state).collect();
    assert_eq!(ends, ["promoted", "failed", "promoted", "rejected"]);
    assert_eq!(all.iter().filter(|key| key.ends_with(" landing")).count(), 2);
    assert_eq!(
        keys_at(&pipeline, "../origin.git", LEDGER),
        all[..all.len() - 1],
        "the last waits for the next landing"
    );
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

/// Somebody else's clone, on a branch.
fn intruder(pipeline: &Pipeline, branch: &str) {
    pipeline.git(&["clone", "--quiet", "--branch", branch, "../origin.git", "../intruder"]);
    std::fs::write(pipeline.base().join("intruder/backdoor"), "open").unwrap();
    pipeline.git(&["-C", "../intruder", "add", "--all"]);
}

/// Lets somebody else push to production's branch.
pub fn push_past(pipeline: &Pipeline) {
    intruder(pipeline, "main");
    pipeline.git(&["-C", "../intruder", "commit", "--quiet", "-m", "Hotfix"]);
    pipeline.git(&["-C", "../intruder", "push", "--quiet", "origin", "main"]);
}

/// Asserts that a clone finds nothing wrong, with somebody's commit taken over by the newest promotion.
fn check_taken_over(pipeline: &Pipeline) {
    let after = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert_eq!(after["environments"][1]["releases"][1]["kind"], "taken_over");
    assert_eq!(after["environments"][1]["releases"][1]["promotion"], pipeline.newest("production")["id"]);
}

#[test]
fn a_direct_push_is_found_and_stops_being_a_problem_once_a_promotion_took_it_over() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    pipeline.save_file("site", "one");
    release(&pipeline);
    push_past(&pipeline);
    let found = pipeline.in_a_clone(&["verify", "--json"]).expect_code(1).json();
    assert_eq!(problems(&found, "production"), codes(&[&[], &["not_promoted"], &[]]));
    let text = pipeline.in_place("clone", &["verify"]).expect_code(1);
    assert!(
        text.stdout.contains("\"Hotfix\" by Ada") && text.stderr.contains("1 release was not promoted"),
        "{text:?}"
    );
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["promote", "production", "--merge"]).expect_code(3);
    pipeline.cascade(&["approve"]).expect_code(0);
    check_taken_over(&pipeline);
}

#[test]
fn a_direct_push_that_came_back_through_the_pipeline_is_no_problem_any_more() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    pipeline.save_file("site", "one");
    release(&pipeline);
    push_past(&pipeline);
    pipeline.promote("production", 5);
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    let on_its_way = pipeline.cascade(&["verify"]).expect_code(1);
    assert!(on_its_way.stderr.contains("cascade back-merge ENV"), "{on_its_way:?}");
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
    release(&pipeline);
    check_taken_over(&pipeline);
}

#[test]
fn a_forged_trailer_is_drift_and_found() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    intruder(&pipeline, "staging");
    let message = "Promote develop to staging\n\nCascade-Promotion: zzzzzzzz\n";
    pipeline.git(&["-C", "../intruder", "commit", "--quiet", "-m", message]);
    pipeline.git(&["-C", "../intruder", "push", "--quiet", "origin", "staging"]);
    pipeline.save_file("feature", "");
    let drifted = pipeline.promote("staging", 5);
    assert!(drifted.stderr.contains("did not come through the pipeline"), "{drifted:?}");
    pipeline.git(&["fetch", "--quiet"]);
    let found = pipeline.cascade(&["verify", "staging", "--json"]).expect_code(1).json();
    assert_eq!(problems(&found, "staging"), codes(&[&[], &["not_promoted"], &[]]));
    let detail = found["environments"][0]["releases"][0]["problems"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("promotion zzzzzzzz"), "{detail}");
}

#[test]
fn a_branch_that_was_moved_back_is_found() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    pipeline.git(&["push", "--quiet", "--force", "--no-verify", "origin", "staging~1:staging"]);
    let found = pipeline.in_a_clone(&["verify", "staging", "--json"]).expect_code(1).json();
    assert_eq!(problems(&found, "staging"), codes(&[&["not_on_branch"], &[]]));
}

/// Replaces the newest entry of the remote's ledger by one with another text.
fn rewrite_newest(pipeline: &Pipeline, old: &str, new: &str, position: usize) {
    let all = pipeline.git(&["rev-list", "--reverse", LEDGER]);
    let all: Vec<&str> = all.lines().collect();
    let mut parent = all[..position].last().map(|id| (*id).to_owned());
    for (number, id) in all.iter().enumerate().skip(position) {
        let message = pipeline.git(&["log", "-1", "--format=%B", id]);
        let changed = if number == position { message.replace(old, new) } else { message.clone() };
        assert!(number != position || changed != message, "{old} is not in {message}");
        let tree = pipeline.tree(id);
        let mut words = vec!["commit-tree", &tree, "-m", &changed];
        words.extend(parent.iter().flat_map(|parent| ["-p", parent]));
        parent = Some(pipeline.git(&words));
    }
    pipeline.git(&["push", "--quiet", "--force", "--no-verify", "origin", &format!("{}:{LEDGER}", parent.unwrap())]);
}

#[test]
fn a_rewritten_entry_is_found_by_what_it_says_and_by_whoever_had_the_old_one() {
    for (old, new, code) in [
        ("\"consent\": true", "\"consent\": false", "approvals"),
        ("\"outcome\": \"pass\"", "\"outcome\": \"fail\"", "check"),
        ("\"approvals\": [", "\"approvals\": [], \"old\": [", "approvals"),
        ("\"sha256\": \"", "\"sha256\": \"0", "other_rules"),
        ("\"from\": \"staging\"", "\"from\": \"develop\"", "other_source"),
        ("\"resourceUri\": \"cascade:shop/production\"", "\"resourceUri\": \"cascade:shop/qa\"", "contradiction"),
        ("\"environment\": \"production\"", "\"environment\": \"staging\"", "contradiction"),
    ] {
        let pipeline = Pipeline::new(true, CHECKED, CHECKS);
        release(&pipeline);
        pipeline.in_a_clone(&["verify"]).expect_code(0);
        std::fs::rename(pipeline.base().join("clone"), pipeline.base().join("witness")).unwrap();
        // The third entry is the landing in production.
        rewrite_newest(&pipeline, old, new, 2);
        let found = pipeline.in_a_clone(&["verify", "--json"]).expect_code(1).json();
        assert!(found.to_string().contains(&format!("\"code\":\"{code}\"")), "{new}: {found:#}");
        // Something new, so that the remote is asked.
        pipeline.save_file("site", "two");
        let warned = pipeline.promote("staging", 0);
        assert!(warned.stderr.contains("was rewritten"), "{warned:?}");
        let status = pipeline.cascade(&["status"]).expect_code(0).stdout;
        assert!(status.contains("was rewritten"), "{status}");
        pipeline.git(&["-C", "../witness", "pull", "--quiet"]);
        pipeline.git(&["-C", "../witness", "fetch", "--quiet"]);
        let witnessed = pipeline.in_place("witness", &["verify", "--json"]).expect_code(1).json();
        assert_eq!(witnessed["ledger"]["problems"][0]["code"], "rewritten", "{witnessed:#}");
    }
}

#[test]
fn a_ledger_that_is_gone_is_not_taken_for_a_good_one() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!(":{LEDGER}")]);
    let found = pipeline.in_a_clone(&["verify", "--json"]).expect_code(1).json();
    assert_eq!(found["ledger"]["problems"][0]["code"], "no_ledger");
    assert_eq!(problems(&found, "staging"), codes(&[&[], &["not_promoted"]]));
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn an_environment_that_nobody_asked_for_is_refused_with_the_nearest_name() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let unknown = pipeline.cascade(&["verify", "prod"]).expect_code(2);
    assert!(unknown.stderr.contains("did you mean `production`?"), "{unknown:?}");
    let nothing = pipeline.cascade(&["verify"]).expect_code(1);
    assert!(nothing.stdout.contains("there is no ledger"), "{nothing:?}");
}

#[test]
fn releases_from_before_the_ledger_are_not_held_against_anybody() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    for content in ["one", "two"] {
        pipeline.save_file("site", content);
        release(&pipeline);
    }
    // As if an older version had made all that.
    pipeline.git(&["update-ref", "-d", LEDGER]);
    pipeline.git(&["update-ref", "-d", "refs/cascade/remotes/origin/ledger"]);
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!(":{LEDGER}")]);
    pipeline.git(&["gc", "--quiet", "--prune=now"]);
    pipeline.in_a_clone(&["verify"]).expect_code(1);
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    let report = pipeline.in_a_clone(&["verify", "production", "--json"]).expect_code(0).json();
    assert_eq!(report["environments"][0]["releases"].as_array().unwrap().len(), 1);
    pipeline.save_file("site", "three");
    release(&pipeline);
    let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert_eq!(problems(&report, "staging"), codes(&[&[], &[]]), "only the newest");
    assert_eq!(problems(&report, "production"), codes(&[&[], &[], &[]]));
}

#[test]
fn two_machines_write_one_ledger() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.second_machine();
    pipeline.in_place("second", &["promote", "production"]).expect_code(3);
    pipeline.in_place("second", &["approve"]).expect_code(0);
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    // The second machine has never promoted to staging: only the ledger tells it that what is there is in order.
    pipeline.save_file("site", "three");
    pipeline.git(&["-C", "../second", "pull", "--quiet", "origin", "develop"]);
    pipeline.in_place("second", &["promote", "staging"]).expect_code(0);
    pipeline.save_file("site", "four");
    pipeline.promote("staging", 0);
    let all = keys(&pipeline);
    assert_eq!(all.len(), 10, "{all:?}");
    assert_eq!(keys_at(&pipeline, "../origin.git", LEDGER), all);
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn machines_that_promote_at_the_same_time_lose_no_entry() {
    let environments = "
  one: { from: develop, branch: one }
  two: { from: develop, branch: two }
";
    let pipeline = Pipeline::new(true, environments, "");
    pipeline.second_machine();
    for branch in ["one", "two"] {
        pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!("main:{branch}")]);
    }
    for round in 0..4 {
        pipeline.save_file("site", &round.to_string());
        pipeline.git(&["-C", "../second", "pull", "--quiet", "origin", "develop"]);
        let mut here = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "one"]);
        let mut there = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "two"]);
        there.current_dir(pipeline.base().join("second")).env("CASCADE_HOME", pipeline.base().join("second-home"));
        let run = |command: &mut std::process::Command| command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let both = [run(&mut here).unwrap(), run(&mut there).unwrap()];
        for child in both {
            let ended = child.wait_with_output().unwrap();
            assert!(ended.status.success(), "{ended:?}");
        }
    }
    let all = keys_at(&pipeline, "../origin.git", LEDGER);
    let unique: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(unique.len(), all.len(), "{all:?}");
    assert_eq!(all.iter().filter(|key| key.ends_with(" landing")).count(), 8, "{all:?}");
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

const REFUSING: &str = "#!/bin/sh\ncase $1 in refs/cascade/*) echo 'only branches here' >&2; exit 1;; esac\n";

#[test]
fn where_the_remote_refuses_the_ledger_the_environment_lands_and_it_is_told_once() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.write_program("../origin.git/hooks/update", REFUSING);
    let first = pipeline.promote("staging", 0);
    assert!(first.stderr.contains("refuses refs/cascade/ledger"), "{first:?}");
    assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
    assert_eq!(pipeline.remote_ledger(), "");
    pipeline.save_file("site", "two");
    let second = pipeline.promote("staging", 0);
    assert!(!second.stderr.contains("refuses"), "{second:?}");
    assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
    assert_eq!(keys(&pipeline).len(), 4);
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["ledger"]["kept_here"]["refused"], true, "{status:#}");
    let doctor = pipeline.cascade(&["doctor"]).expect_code(1);
    assert!(doctor.stdout.contains("ledger: { push: false }"), "{doctor:?}");
    pipeline.cascade(&["verify", "staging"]).expect_code(0);
    pipeline.configure(PLAIN, " {}\nledger: { push: false }");
    pipeline.cascade(&["doctor"]).expect_code(0);
}

#[test]
fn a_remote_that_refused_the_ledger_is_offered_it_again_an_hour_later() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.write_program("../origin.git/hooks/update", REFUSING);
    std::fs::remove_file(pipeline.root().join(".git/hooks/pre-push")).unwrap();
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let (root, home) = (pipeline.root(), pipeline.base().join("cascade"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let promote = || {
        runtime.block_on(async {
            let ctx = context(&root, &home, clock.clone()).await;
            let lock = promote::lock(&ctx, false).await.unwrap();
            let request = Request { environment: "staging".to_owned(), ..Request::default() };
            let promotion = promote::promote(&ctx, &lock, &request, &mut Silent).await.unwrap();
            assert_eq!(promotion.state.as_str(), "promoted", "{:?}", promotion.reason);
        });
    };
    promote();
    std::fs::remove_file(pipeline.root().join("../origin.git/hooks/update")).unwrap();
    pipeline.save_file("site", "two");
    promote();
    assert_eq!(pipeline.remote_ledger(), "", "not asked again so soon");
    clock.advance_ms(60 * 60 * 1_000);
    pipeline.save_file("site", "three");
    promote();
    assert_eq!(pipeline.remote_ledger(), pipeline.git(&["rev-parse", LEDGER]));
    assert_eq!(keys(&pipeline).len(), 6);
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    assert!(status["ledger"]["kept_here"].is_null(), "{status:#}");
}

#[test]
fn doctor_offers_the_ledger_again_to_a_remote_that_refused_it() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.write_program("../origin.git/hooks/update", REFUSING);
    pipeline.promote("staging", 0);
    pipeline.cascade(&["doctor"]).expect_code(1);
    std::fs::remove_file(pipeline.root().join("../origin.git/hooks/update")).unwrap();
    pipeline.cascade(&["doctor", "--dry-run"]).expect_code(1);
    assert_eq!(pipeline.remote_ledger(), "", "a look changes nothing");
    let mended = pipeline.cascade(&["doctor"]).expect_code(0);
    assert!(mended.stdout.contains("origin has it again"), "{mended:?}");
    assert_eq!(pipeline.remote_ledger(), pipeline.git(&["rev-parse", LEDGER]));
    pipeline.cascade(&["doctor", "--dry-run"]).expect_code(0);
}

#[test]
fn doctor_tells_of_a_ledger_that_is_not_what_it_was() {
    const TRACKED: &str = "refs/cascade/remotes/origin/ledger";
    let broken = |break_it: &dyn Fn(&Pipeline), words: &str| {
        let pipeline = Pipeline::new(true, CHECKED, CHECKS);
        release(&pipeline);
        pipeline.save_file("site", "two");
        pipeline.promote("staging", 0);
        pipeline.cascade(&["doctor"]).expect_code(0);
        break_it(&pipeline);
        let told = pipeline.cascade(&["doctor"]).expect_code(1);
        assert!(told.stdout.contains(words), "{words}: {told:?}");
    };
    let take = |pipeline: &Pipeline, references: &[&str]| {
        pipeline.git(&["fetch", "--quiet", "origin", LEDGER]);
        references.iter().for_each(|reference| drop(pipeline.git(&["update-ref", reference, "FETCH_HEAD"])));
    };
    let rewrite = |pipeline: &Pipeline| rewrite_newest(pipeline, "\"reason\": null", "\"reason\": \"another\"", 2);
    broken(
        &|pipeline| drop(pipeline.git(&["update-ref", LEDGER, &format!("{LEDGER}~2")])),
        "rewritten or removed here",
    );
    broken(
        &|pipeline| {
            rewrite(pipeline);
            take(pipeline, &[LEDGER]);
        },
        "rewritten or removed here",
    );
    broken(
        &|pipeline| {
            rewrite_newest(pipeline, "\"consent\": true", "\"consent\": false", 2);
            take(pipeline, &[]);
        },
        "the remote's was rewritten",
    );
    broken(
        &|pipeline| drop(pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!(":{LEDGER}")])),
        "none any more",
    );
    broken(
        &|pipeline| {
            pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!(":{LEDGER}")]);
            pipeline.git(&["update-ref", "-d", LEDGER]);
            pipeline.git(&["update-ref", "-d", TRACKED]);
        },
        "rewritten or removed here",
    );
    broken(
        &|pipeline| {
            rewrite_newest(
                pipeline,
                "\"resourceUri\": \"cascade:shop/production\"",
                "\"resourceUri\": \"cascade:shop/qa\"",
                2,
            );
            take(pipeline, &[LEDGER, TRACKED]);
        },
        "contradicts itself",
    );
}

/// A way to break a ledger, and what is told of it.
type Break<'a> = (&'a dyn Fn(&Pipeline), &'a str);

#[test]
fn nothing_is_promoted_on_top_of_a_ledger_that_is_broken_at_its_head() {
    let foreign = |pipeline: &Pipeline| {
        let made = pipeline.git(&["commit-tree", &format!("{LEDGER}^{{tree}}"), "-p", LEDGER, "-m", "Nothing"]);
        pipeline.git(&["update-ref", LEDGER, &made]);
    };
    let absent = |pipeline: &Pipeline| pipeline.write(".git/refs/cascade/ledger", format!("{}\n", "1".repeat(40)));
    let two_parents = |pipeline: &Pipeline| {
        let message = pipeline.git(&["log", "-1", "--format=%B", LEDGER]);
        let tree = format!("{LEDGER}^{{tree}}");
        let made = pipeline.git(&["commit-tree", &tree, "-p", LEDGER, "-p", "develop", "-m", &message]);
        pipeline.git(&["update-ref", LEDGER, &made]);
    };
    let breaks: [Break<'_>; 5] = [
        (&foreign, "cannot be understood"),
        (&absent, "cannot be understood"),
        (&two_parents, "rests on more than one"),
        (&|pipeline| drop(pipeline.git(&["update-ref", LEDGER, &format!("{LEDGER}~2")])), "rewritten or removed here"),
        (&|pipeline| drop(pipeline.git(&["update-ref", "-d", LEDGER])), "rewritten or removed here"),
    ];
    let pipeline = Pipeline::new(false, PLAIN, "");
    for (number, (break_it, words)) in breaks.into_iter().enumerate() {
        pipeline.save_file("site", &number.to_string());
        release(&pipeline);
        pipeline.promote("production", 0);
        pipeline.save_file("site", &format!("{number} again"));
        pipeline.promote("staging", 0);
        pipeline.promote("production", 3);
        let sound = pipeline.git(&["rev-parse", LEDGER]);
        let live = pipeline.tip("main");
        break_it(&pipeline);
        pipeline.save_file("site", &format!("{number} once more"));
        for words_of_command in [&["promote", "staging"][..], &["approve"], &["plan", "staging"]] {
            let refused = pipeline.cascade(words_of_command).expect_code(1);
            assert!(refused.stderr.contains("broken at its head") && refused.stderr.contains(words), "{refused:?}");
            assert!(refused.stderr.contains("cascade doctor"), "{refused:?}");
        }
        assert_eq!((pipeline.tip("main"), pipeline.newest("production")["state"].as_str()), (live, Some("waiting")));
        let told = pipeline.cascade(&["doctor"]).expect_code(1).stdout.replace('\n', " ");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(words) && told.contains(&format!("git update-ref {LEDGER} {sound}")), "{told}");
        pipeline.git(&["update-ref", LEDGER, &sound]);
        pipeline.promote("staging", 0);
        pipeline.cascade(&["reject", "production"]).expect_code(0);
    }
}

#[test]
fn a_hold_on_top_of_a_broken_ledger_does_not_make_it_good() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    let sound = pipeline.git(&["rev-parse", LEDGER]);
    let made = pipeline.git(&["commit-tree", &format!("{LEDGER}^{{tree}}"), "-p", LEDGER, "-m", "Nothing"]);
    pipeline.git(&["update-ref", LEDGER, &made]);
    pipeline.cascade(&["hold", "staging"]).expect_code(0);
    pipeline.cascade(&["resume", "staging"]).expect_code(0);
    pipeline.save_file("site", "two");
    let refused = pipeline.promote("staging", 1);
    assert!(refused.stderr.contains("broken at its head"), "{refused:?}");
    let told = pipeline.cascade(&["doctor"]).expect_code(1).stdout;
    assert!(told.split_whitespace().any(|word| word.trim_matches('`') == sound), "{told}");
    pipeline.git(&["update-ref", LEDGER, &sound]);
    pipeline.promote("staging", 0);
    pipeline.cascade(&["doctor"]).expect_code(0);
}

#[test]
fn what_the_ledger_lacks_here_and_the_remote_has_is_fetched_and_stops_nobody() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("site", "one");
    release(&pipeline);
    pipeline.save_file("site", "two");
    let before = keys(&pipeline);
    pipeline.git(&["update-ref", LEDGER, &format!("{LEDGER}~2")]);
    pipeline.promote("staging", 0);
    assert_eq!(keys(&pipeline)[..before.len()], before);
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn the_ledger_can_be_kept_at_home() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.configure(PLAIN, " {}\nledger: { push: false }");
    pipeline.save("The ledger stays here");
    pipeline.promote("staging", 0);
    assert_eq!(pipeline.remote_ledger(), "");
    assert_eq!(keys(&pipeline).len(), 2);
    pipeline.cascade(&["verify", "staging"]).expect_code(0);
}

#[test]
fn killed_in_the_middle_of_a_push_a_promotion_states_each_moment_once() {
    for (goes_on, breaks) in [(true, false), (false, false), (true, true), (false, true)] {
        let pipeline = Pipeline::new(true, "\n  staging: { from: develop, branch: staging, verify: [up] }", CHECKS);
        pipeline.promote("staging", 0);
        pipeline.save_file(if breaks { "broken" } else { "fine" }, "");
        // The second push of a promotion that is rolled back is the one that takes it back.
        let pushes = if breaks { 1 } else { 0 };
        let kill = format!(
            "#!/bin/sh\nif [ -e ../killed ]; then exit 0; fi\necho >> ../pushes\n\
             if [ $(wc -l < ../pushes) -le {pushes} ]; then exit 0; fi\n: > ../killed\n\
             kill -9 $(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)\nexit {}\n",
            if goes_on { 0 } else { 1 }
        );
        pipeline.write_program(".git/hooks/pre-push", &kill);
        assert_eq!(pipeline.cascade(&["promote", "staging"]).code, -1, "it was killed");
        let id = keys(&pipeline).last().unwrap().split(' ').next().unwrap().to_owned();
        pipeline.cascade(&["promote", "staging"]).expect_code(if breaks { 3 } else { 0 });
        let own: Vec<String> = keys(&pipeline).into_iter().filter(|key| key.starts_with(&id)).collect();
        assert_eq!(own.len(), if breaks { 3 } else { 2 }, "{own:?}");
        assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
        pipeline.in_a_clone(&["verify", "staging"]).expect_code(0);
    }
}

/// What the ledger has of `history --json`.
fn essential(history: &Value) -> Value {
    let mut history = history.clone();
    for promotion in history.as_array_mut().unwrap() {
        for check in promotion["checks"].as_array_mut().unwrap() {
            check["detail"] = Value::Null;
            check["log"] = Value::Null;
        }
    }
    history
}

#[test]
fn a_lost_database_is_made_again_from_the_ledger() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    pipeline.save_file("site", "good");
    release(&pipeline);
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve", "--reason", "looks fine"]).expect_code(6);
    let before = pipeline.cascade(&["history", "--all", "--json"]).expect_code(0).json();
    assert_eq!(before.as_array().unwrap().len(), 4);
    for file in std::fs::read_dir(pipeline.base().join("cascade")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("cascade.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let look = pipeline.cascade(&["doctor", "--dry-run"]).expect_code(1);
    assert!(look.stdout.contains("the database lacks 4 promotions"), "{look:?}");
    assert_eq!(pipeline.cascade(&["history", "--all", "--json"]).json().as_array().unwrap().len(), 0);
    let mended = pipeline.cascade(&["doctor"]).expect_code(0);
    assert!(mended.stdout.contains("4 promotions from it again"), "{mended:?}");
    let after = pipeline.cascade(&["history", "--all", "--json"]).expect_code(0).json();
    assert_eq!(essential(&after), essential(&before));
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["environments"][1]["held"]["cause"], "rollback");
    let refused = pipeline.promote("production", 3);
    assert!(refused.stderr.contains("held since a rollback") && refused.stderr.contains("failed here"), "{refused:?}");
    pipeline.cascade(&["resume", "production"]).expect_code(0);
    pipeline.cascade(&["doctor"]).expect_code(0);
    let held = pipeline.cascade(&["status", "--json"]).json()["environments"][1]["held"].clone();
    assert!(held.is_null(), "what was lifted is not set again: {held}");
}

#[test]
fn a_lost_database_knows_a_persons_hold_again() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["hold", "production", "--reason", "a fair"]).expect_code(0);
    pipeline.cascade(&["hold", "staging"]).expect_code(0);
    pipeline.cascade(&["resume", "staging"]).expect_code(0);
    let words: Vec<String> = keys(&pipeline).iter().map(|key| key.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(words, ["landing", "settled promoted", "held", "held", "resumed"]);
    let held = || {
        let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
        [0, 1].map(|position| status["environments"][position]["held"].clone())
    };
    let before = held();
    for file in std::fs::read_dir(pipeline.base().join("cascade")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("cascade.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let mended = pipeline.cascade(&["doctor"]).expect_code(0);
    assert!(mended.stdout.contains("1 promotion and what people said of holds in 1 environment"), "{mended:?}");
    assert_eq!(held(), before);
    assert_eq!(before[1]["reason"], "a fair");
    let again = pipeline.cascade(&["doctor"]).expect_code(0);
    assert!(!again.stdout.contains("lacks") && !again.stdout.contains("said of holds"), "{again:?}");
}

#[test]
fn a_new_machine_learns_from_the_ledger_what_happened_before() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("site", "one");
    release(&pipeline);
    pipeline.second_machine();
    pipeline.in_place("second", &["doctor"]);
    let ids = |history: Value| {
        let all = history.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
        all.collect::<std::collections::BTreeSet<_>>()
    };
    let theirs = ids(pipeline.in_place("second", &["history", "--json"]).expect_code(0).json());
    assert_eq!(theirs, ids(pipeline.cascade(&["history", "--json"]).json()));
    pipeline.in_place("second", &["rollback", "production"]).expect_code(0);
    assert_eq!(pipeline.remote_tip("main"), pipeline.git(&["-C", "../second", "rev-parse", "main"]));
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn hotfixes_and_branches_without_merges_are_audited_too() {
    // A line without merges leads past the hotfix, which joined it from the side.
    for (history, spelled, releases) in [("exact", "verify:", 3), ("linear", "history: linear, verify:", 2)] {
        let pipeline = Pipeline::new(true, &CHECKED.replace("verify:", spelled), CHECKS);
        pipeline.save_file("site", "one");
        release(&pipeline);
        let tree = pipeline.tree("main");
        let fix = pipeline.git(&["commit-tree", "-m", "Fix", "-p", "main", &tree]);
        pipeline.git(&["update-ref", "refs/heads/fix", &fix]);
        pipeline.cascade(&["promote", "production", "--from", "fix", "--reason", "login is down"]).expect_code(3);
        pipeline.cascade(&["approve"]).expect_code(0);
        pipeline.cascade(&["back-merge", "production"]).expect_code(0);
        pipeline.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
        pipeline.save_file("site", "two");
        release(&pipeline);
        let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
        let expected = vec![Vec::<String>::new(); 1 + releases];
        assert_eq!(problems(&report, "production"), expected, "{history}");
        // The same content, put there by hand.
        let forged = pipeline.git(&["commit-tree", "-m", "Fix", "-p", "main", &tree]);
        pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!("{forged}:main")]);
        pipeline.in_a_clone(&["verify", "production"]).expect_code(1);
    }
}

#[test]
fn a_promotion_that_finds_nothing_to_do_leaves_nothing_in_the_ledger() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    let before = pipeline.git(&["rev-parse", LEDGER]);
    for _ in 0..2 {
        pipeline.promote("staging", 0);
    }
    assert_eq!(pipeline.git(&["rev-parse", LEDGER]), before);
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn going_back_works_with_a_ledger_that_is_broken_at_its_head() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, PLAIN, "");
        pipeline.save_file("site", "one");
        pipeline.promote("staging", 0);
        let first = pipeline.tree("staging");
        pipeline.save_file("site", "two");
        pipeline.promote("staging", 0);
        pipeline.write(".git/refs/cascade/ledger", format!("{}\n", "1".repeat(40)));
        let back = pipeline.cascade(&["rollback", "staging"]).expect_code(0);
        assert!(back.stderr.contains("the ledger is broken") && back.stderr.contains("cascade doctor"), "{back:?}");
        assert_eq!(pipeline.tree("staging"), first, "{has_remote}");
        if has_remote {
            assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
        }
        assert_eq!(pipeline.newest("staging")["state"], "rolled_back");
    }
}
