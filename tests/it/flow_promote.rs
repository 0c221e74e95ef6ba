//! Promotions on real repositories, through the built binary: landing, gates, failures, races, rollbacks.

use std::sync::Arc;

use cascade::base::Clock as _;
use cascade::base::clock::{ManualClock, SystemClock};
use cascade::promote::{self, Silent};
use cascade::store::State;

use crate::support::pipeline::{PLAIN, Pipeline};

const VERIFIED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, verify: [up] }
";
const UP: &str = "\n  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

fn drive_both_promotions(has_remote: bool) {
    let pipeline = Pipeline::new(has_remote, PLAIN, "");
    let source = pipeline.save_file("site/index.html", "one");
    let head = pipeline.git(&["rev-parse", "HEAD"]);
    pipeline.promote("staging", 0);
    assert_eq!(pipeline.tree("staging"), pipeline.tree(&source));
    assert_eq!(pipeline.git(&["rev-parse", "staging^2"]), source);
    let waiting = pipeline.promote("production", 3);
    assert!(waiting.stderr.contains("cascade approve"), "{waiting:?}");
    assert_ne!(pipeline.tree("main"), pipeline.tree(&source), "nothing lands before the approval");
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.tree("main"), pipeline.tree(&source));
    assert_eq!(pipeline.git(&["rev-parse", "main^2"]), pipeline.tip("staging"));
    if has_remote {
        assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
    }
    assert_eq!(pipeline.git(&["rev-parse", "HEAD"]), head, "the user's HEAD stays");
    assert_eq!(pipeline.git(&["status", "--porcelain"]), "", "the user's files stay");
    assert_eq!(pipeline.newest("production")["state"], "promoted");
    pipeline.git(&["fsck", "--strict"]);
}

#[test]
fn both_promotions_land_the_exact_tree_with_a_remote() {
    drive_both_promotions(true);
}

#[test]
fn both_promotions_land_the_exact_tree_without_a_remote() {
    drive_both_promotions(false);
}

#[test]
fn promoting_again_with_nothing_new_does_nothing() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    let tip = pipeline.tip("staging");
    let again = pipeline.promote("staging", 0);
    assert!(again.stdout.contains("up to date"), "{again:?}");
    assert_eq!(pipeline.tip("staging"), tip);
}

#[test]
fn a_new_candidate_voids_the_approval_of_the_old_one() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let first = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    pipeline.save_file("a", "2");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let second = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let late = pipeline.cascade(&["approve", &first]).expect_code(7);
    assert!(late.stderr.contains("superseded"), "{late:?}");
    pipeline.cascade(&["approve", &second]).expect_code(0);
    assert_eq!(pipeline.git(&["show", "main:a"]), "2");
}

/// Lets a candidate of production be approved for an hour, two hours ago, while the environment was held.
async fn approved_two_hours_ago() -> (Pipeline, String) {
    let environments = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 1, expires: 1h } }
";
    let pipeline = Pipeline::new(false, environments, "");
    pipeline.save_file("page", "new");
    pipeline.promote("staging", 0);
    let then_ms = SystemClock.now().as_millisecond() - 7_200_000;
    let ctx = pipeline.context(Arc::new(ManualClock::at_ms(then_ms))).await;
    promote::hold::hold(&ctx, "production", None).await.unwrap();
    let lock = promote::lock(&ctx, false).await.unwrap();
    let request = promote::Request { environment: "production".to_owned(), ..promote::Request::default() };
    let waiting = promote::promote(&ctx, &lock, &request, &mut Silent).await.unwrap();
    let held = promote::approve::approve(&ctx, &lock, waiting, None, &mut Silent).await.unwrap();
    assert_eq!(held.state, State::Waiting, "{:?}", held.reason);
    let approved = promote::findings(&ctx, &held).await.unwrap();
    assert!(approved.iter().any(|finding| finding.fact == "approved by ada"), "{approved:?}");
    promote::hold::resume(&ctx, "production").await.unwrap();
    (pipeline, held.id.to_string())
}

#[tokio::test]
async fn an_approval_that_has_expired_opens_nothing_and_is_given_to_a_new_promotion() {
    let (pipeline, id) = approved_two_hours_ago().await;
    let main = pipeline.tip("main");
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    let gates = status["environments"][1]["promotion"]["waiting_for"].clone();
    assert_eq!(gates.as_array().unwrap().len(), 1, "{gates:#}");
    let way_out = "`cascade promote production` ends it, and once more begins a new one";
    assert_eq!((&gates[0]["gate"], &gates[0]["clears"]), (&"approval".into(), &way_out.into()));
    let fact = gates[0]["fact"].as_str().unwrap();
    assert!(fact.starts_with("the approval by ada expired after 1h: "), "{gates:#}");
    let why = pipeline.cascade(&["why", "production"]).expect_code(0);
    assert!(why.stdout.contains(fact) && why.stdout.contains(way_out), "{why:#?}");
    pipeline.cascade(&["approve", &id]).expect_code(1);
    assert_eq!(pipeline.tip("main"), main);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.git(&["show", "main:page"]), "new");
}

#[tokio::test]
async fn a_promotion_whose_approval_has_expired_does_not_land_and_ends() {
    let (pipeline, id) = approved_two_hours_ago().await;
    let main = pipeline.tip("main");
    let ended = pipeline.promote("production", 1);
    let told =
        "ended: the approval by ada expired after 1h\n  hint: promote and approve again: `cascade promote production`";
    assert!(ended.stderr.contains(told), "{ended:#?}");
    assert_eq!((pipeline.tip("main"), &pipeline.newest("production")["state"]), (main.clone(), &"expired".into()));
    assert_eq!(pipeline.cascade(&["approve", &id]).expect_code(2).stdout, "");
    assert_eq!(pipeline.tip("main"), main);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.git(&["show", "main:page"]), "new");
}

#[test]
fn asking_again_takes_the_waiting_promotion_up_instead_of_making_another() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let first = pipeline.newest("production")["id"].clone();
    pipeline.promote("production", 3);
    assert_eq!(pipeline.newest("production")["id"], first);
}

#[test]
fn a_rejected_candidate_does_not_land() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let main = pipeline.tip("main");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["reject", "production", "--reason", "not today"]).expect_code(0);
    assert_eq!(pipeline.tip("main"), main);
    assert_eq!(pipeline.newest("production")["state"], "rejected");
    pipeline.cascade(&["approve"]).expect_code(2);
}

#[test]
fn own_approval_is_refused_where_the_environment_says_so() {
    let environments = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { self: false } }";
    let pipeline = Pipeline::new(false, environments, "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let refused = pipeline.cascade(&["approve"]).expect_code(1);
    assert!(refused.stderr.contains("may not approve"), "{refused:?}");
    pipeline.git(&["config", "user.email", "bob@example.test"]);
    pipeline.cascade(&["approve"]).expect_code(0);
}

#[test]
fn a_failed_check_stops_before_anything_moves() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [build] }";
    let pipeline = Pipeline::new(true, environments, "\n  build: { run: \"echo some output; test ! -e broken\" }");
    pipeline.promote("staging", 0);
    let tip = pipeline.tip("staging");
    pipeline.save_file("broken", "");
    let failed = pipeline.promote("staging", 4);
    assert!(failed.stderr.contains("some output") && failed.stderr.contains("exit code 1"), "{failed:?}");
    assert_eq!(pipeline.tip("staging"), tip);
    assert_eq!(pipeline.remote_tip("staging"), tip);
    assert_eq!(pipeline.newest("staging")["state"], "failed");
}

#[test]
fn a_check_sees_the_candidate_and_not_the_working_tree() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [seen] }";
    let check = "\n  seen: { run: \"test -f saved && test ! -e unsaved && git diff --quiet HEAD\" }";
    let pipeline = Pipeline::new(false, environments, check);
    pipeline.save_file("saved", "");
    pipeline.write("unsaved", "");
    pipeline.promote("staging", 0);
    assert!(pipeline.root().join("unsaved").exists());
}

#[test]
fn the_same_content_is_not_checked_twice() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [count] }";
    let pipeline = Pipeline::new(false, PLAIN, "");
    let log = pipeline.base().join("count");
    let check = format!("\n  count: {{ run: \"echo x >> {}\" }}", log.display());
    pipeline.configure(environments, &check);
    pipeline.save("the check");
    pipeline.cascade(&["hold", "staging"]).expect_code(0);
    pipeline.promote("staging", 3);
    assert!(!log.exists(), "what cannot land is not checked");
    pipeline.cascade(&["resume", "staging"]).expect_code(0);
    pipeline.promote("staging", 0);
    pipeline.git(&["commit", "--quiet", "--allow-empty", "-m", "Same content"]);
    pipeline.promote("staging", 0);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "x\n");
    assert_eq!(pipeline.newest("staging")["checks"][0]["cached"], true);
}

#[test]
fn a_check_that_hangs_or_cannot_start_is_unknown_and_opens_nothing() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [odd] }";
    for (command, words) in [("sleep 600", "took longer than"), ("/no/such/program", "cannot")] {
        let check = format!("\n  odd: {{ run: \"{command}\", timeout: 200ms }}");
        let pipeline = Pipeline::new(false, environments, &check);
        let tip = pipeline.tip("staging");
        let failed = pipeline.promote("staging", 4);
        assert!(failed.stderr.contains(words), "{command}: {failed:?}");
        assert_eq!(pipeline.tip("staging"), tip);
        assert_eq!(pipeline.newest("staging")["checks"][0]["outcome"], "unknown");
    }
}

fn release_then_break(pipeline: &Pipeline) -> (String, String) {
    pipeline.save_file("site", "good");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    let good = pipeline.tip("main");
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    let failed = pipeline.promote("production", 6);
    assert!(failed.stderr.contains("held until a fix is promoted"), "{failed:?}");
    (good, pipeline.tip("main"))
}

#[test]
fn failed_verification_without_a_remote_puts_the_branch_back() {
    let pipeline = Pipeline::new(false, VERIFIED, UP);
    let (good, now) = release_then_break(&pipeline);
    assert_eq!(now, good);
    assert_eq!(pipeline.newest("production")["state"], "rolled_back");
}

#[test]
fn failed_verification_with_a_remote_restores_the_content_by_a_forward_commit() {
    let pipeline = Pipeline::new(true, VERIFIED, UP);
    pipeline.git(&["-C", "../origin.git", "config", "receive.denyNonFastForwards", "true"]);
    let (good, now) = release_then_break(&pipeline);
    assert_ne!(now, good);
    assert_eq!(pipeline.tree(&now), pipeline.tree(&good));
    assert_eq!(pipeline.remote_tip("main"), now);
    let failed = pipeline.git(&["rev-parse", "main^"]);
    assert_eq!(pipeline.git(&["rev-parse", &format!("{failed}^")]), good, "the failed candidate stays in history");
}

#[test]
fn reset_moves_the_remote_back_where_it_may_and_restores_where_it_may_not() {
    for forbids in [false, true] {
        let environments = VERIFIED.replace("verify:", "rollback: reset, verify:");
        let pipeline = Pipeline::new(true, &environments, UP);
        pipeline.git(&["-C", "../origin.git", "config", "receive.denyNonFastForwards", &forbids.to_string()]);
        let (good, now) = release_then_break(&pipeline);
        assert_eq!(now == good, !forbids);
        assert_eq!(pipeline.tree(&now), pipeline.tree(&good));
        assert_eq!(pipeline.remote_tip("main"), now);
    }
}

#[test]
fn what_was_rolled_back_stays_back_until_a_fix_comes() {
    let pipeline = Pipeline::new(true, VERIFIED, UP);
    let (good, _) = release_then_break(&pipeline);
    pipeline.promote("production", 3);
    assert_eq!(pipeline.tree("main"), pipeline.tree(&good));
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    let fix = pipeline.save_file("fix", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    assert_eq!(pipeline.tree("main"), pipeline.tree(&fix), "the fix brings the whole change again");
    pipeline.save_file("later", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
}

#[test]
fn resume_lets_the_very_same_commit_try_again() {
    let pipeline = Pipeline::new(false, VERIFIED, UP);
    release_then_break(&pipeline);
    pipeline.cascade(&["resume", "production"]).expect_code(0);
    pipeline.promote("production", 6);
}

#[test]
fn rollback_by_hand_goes_to_the_one_before_or_to_any_earlier_one() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, VERIFIED, UP);
        let mut releases = Vec::new();
        for content in ["1", "2", "3"] {
            pipeline.save_file("site", content);
            pipeline.promote("staging", 0);
            pipeline.promote("production", 0);
            releases.push(pipeline.newest("production")["id"].as_str().unwrap().to_owned());
        }
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        assert_eq!(pipeline.git(&["show", "main:site"]), "2");
        pipeline.cascade(&["rollback", "production", "--to", &releases[0]]).expect_code(0);
        assert_eq!(pipeline.git(&["show", "main:site"]), "1");
        if has_remote {
            assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
        }
        pipeline.cascade(&["rollback", "production", "--to", &releases[2]]).expect_code(2);
    }
}

#[test]
fn a_hotfix_on_the_branch_is_drift_until_merged() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, PLAIN, "");
        pipeline.promote("staging", 0);
        pipeline.git(&["worktree", "add", "--quiet", "../hot", "staging"]);
        std::fs::write(pipeline.base().join("hot/hotfix"), "urgent").unwrap();
        pipeline.git(&["-C", "../hot", "add", "-A"]);
        pipeline.git(&["-C", "../hot", "commit", "--quiet", "-m", "Hotfix"]);
        pipeline.git(&["worktree", "remove", "../hot"]);
        pipeline.save_file("feature", "new");
        let hotfixed = pipeline.tip("staging");
        let drifted = pipeline.promote("staging", 5);
        assert!(drifted.stderr.contains("Hotfix") && drifted.stderr.contains("--merge"), "{drifted:?}");
        assert_eq!(pipeline.tip("staging"), hotfixed);
        pipeline.cascade(&["promote", "staging", "--merge"]).expect_code(0);
        assert_eq!(pipeline.git(&["show", "staging:hotfix"]), "urgent");
        assert_eq!(pipeline.git(&["show", "staging:feature"]), "new");
    }
}

#[test]
fn a_conflicting_merge_lands_nothing_and_names_the_paths() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.git(&["switch", "--quiet", "staging"]);
    pipeline.write("README", "theirs\n");
    pipeline.commit("Hotfix");
    pipeline.git(&["switch", "--quiet", "develop"]);
    pipeline.save_file("README", "ours\n");
    let tip = pipeline.tip("staging");
    let conflict = pipeline.cascade(&["promote", "staging", "--merge"]).expect_code(5);
    assert!(conflict.stderr.contains("README"), "{conflict:?}");
    assert_eq!(pipeline.tip("staging"), tip);
}

#[test]
fn a_push_by_somebody_else_between_plan_and_landing_supersedes() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    let origin = pipeline.base().join("origin.git");
    let race = format!(
        "git -C {0} update-ref refs/heads/staging $(git -C {0} -c user.name=x -c user.email=x@x commit-tree -p \
         refs/heads/staging -m theirs refs/heads/staging^{{tree}})",
        origin.display()
    );
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "staging"]);
    let check = format!("\n  race: {{ run: \"{race}\" }}");
    pipeline.configure("\n  staging: { from: develop, branch: staging, checks: [race] }", &check);
    pipeline.save("the race");
    let local = pipeline.tip("staging");
    let lost = pipeline.promote("staging", 7);
    assert!(lost.stderr.contains("moved"), "{lost:?}");
    assert_eq!(pipeline.tip("staging"), local);
    assert_eq!(pipeline.git(&["-C", "../origin.git", "log", "-1", "--format=%s", "staging"]), "theirs");
}

#[test]
fn a_remote_hook_that_refuses_leaves_everything_where_it_was() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.write_program("../origin.git/hooks/pre-receive", "#!/bin/sh\necho 'no deploys on fridays' >&2\nexit 1\n");
    let tip = pipeline.tip("staging");
    let refused = pipeline.promote("staging", 1);
    assert!(refused.stderr.contains("no deploys on fridays"), "{refused:?}");
    assert_eq!(pipeline.tip("staging"), tip);
    assert_eq!(pipeline.newest("staging")["state"], "failed");
}

#[test]
fn a_remote_that_is_gone_fails_clearly_and_moves_nothing() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    std::fs::rename(pipeline.base().join("origin.git"), pipeline.base().join("elsewhere.git")).unwrap();
    let tip = pipeline.tip("staging");
    let gone = pipeline.promote("staging", 1);
    assert!(gone.stderr.contains("cannot be reached"), "{gone:?}");
    assert_eq!(pipeline.tip("staging"), tip);
    std::fs::rename(pipeline.base().join("elsewhere.git"), pipeline.base().join("origin.git")).unwrap();
    pipeline.promote("staging", 0);
}

#[test]
fn of_two_promotions_at_once_one_wins_and_the_other_says_so() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [slow] }";
    let pipeline = Pipeline::new(false, PLAIN, "");
    let (begun, go) = (pipeline.base().join("begun"), pipeline.base().join("go"));
    // Fifos make the check wait for the test instead of for a time.
    for fifo in [&begun, &go] {
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
    }
    let check = format!("\n  slow: {{ run: \"echo > {}; read line < {}\" }}", begun.display(), go.display());
    pipeline.configure(environments, &check);
    pipeline.save("the slow check");
    let mut first = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging", "-q"]);
    let mut first = first.spawn().unwrap();
    std::fs::read(&begun).unwrap();
    let second = pipeline.promote("staging", 1);
    assert!(second.stderr.contains("another cascade command"), "{second:?}");
    std::fs::write(&go, "\n").unwrap();
    assert!(first.wait().unwrap().success());
    assert_eq!(pipeline.tree("staging"), pipeline.tree("develop"));
}

#[test]
fn an_environment_branch_that_is_checked_out_is_left_alone() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.git(&["worktree", "add", "--quiet", "../staging-tree", "staging"]);
    let tip = pipeline.tip("staging");
    let refused = pipeline.promote("staging", 1);
    assert!(refused.stderr.contains("is checked out in"), "{refused:?}");
    assert_eq!(pipeline.tip("staging"), tip);
}

#[test]
fn an_unknown_environment_is_refused_with_the_nearest_name() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let unknown = pipeline.promote("stagign", 2);
    assert!(unknown.stderr.contains("did you mean `staging`?"), "{unknown:?}");
}

#[test]
fn a_home_that_cannot_be_written_is_said_so() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    std::fs::write(pipeline.base().join("file"), "").unwrap();
    let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
    command.env("CASCADE_HOME", pipeline.base().join("file/below"));
    let refused = crate::support::output(command, b"").expect_code(1);
    assert!(refused.stderr.contains("CASCADE_HOME"), "{refused:?}");
}

/// Promotes something new to staging and counts how often its check, which notes that in a file, was asked.
fn asked(pipeline: &Pipeline, round: usize) -> usize {
    let asked = pipeline.base().join("asked");
    let before = std::fs::read_to_string(&asked).unwrap_or_default().lines().count();
    pipeline.save_file("page", &format!("round {round}\n"));
    pipeline.promote("staging", 0);
    std::fs::read_to_string(&asked).unwrap().lines().count() - before
}

#[test]
fn a_check_works_on_exactly_the_candidates_files_whatever_an_earlier_one_did() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [build] }\n";
    let pipeline = Pipeline::new(false, environments, "\n  build: { run: \"sh build.sh\", timeout: 30s }\n");
    let asked_file = pipeline.base().join("asked");
    let script = format!(
        "set -e\n\
         test \"$(git rev-parse HEAD)\" = \"$CASCADE_CANDIDATE\"\n\
         test -z \"$(git status --porcelain)\"\n\
         test \"$(cat page)\" = \"$(git show \"$CASCADE_CANDIDATE:page\")\"\n\
         test ! -e stray\n\
         if test -e built.log; then test \"$(cat built.log)\" = slowly; fi\n\
         pwd >> {asked}\n\
         echo slowly > built.log\n\
         touch stray\n\
         echo changed > kept\n\
         if test -e {formats}; then echo formatted >> page; fi\n\
         sleep 0.1\n",
        asked = asked_file.display(),
        formats = pipeline.base().join("formats").display(),
    );
    pipeline.write("build.sh", script);
    pipeline.write("kept", "as it is\n");
    pipeline.write(".gitignore", "*.log\n");
    assert_eq!(asked(&pipeline, 1), 1, "all files were looked at when it was made");
    let checkout = std::fs::read_to_string(&asked_file).unwrap();
    assert!(std::path::Path::new(checkout.trim()).join("built.log").exists(), "what is ignored stays");
    assert_eq!(asked(&pipeline, 2), 1, "it changes files, so that they are looked at before");
}

#[test]
fn a_check_that_begins_to_change_files_is_asked_again_on_files_that_are_certain() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [build] }\n";
    let pipeline = Pipeline::new(false, environments, "\n  build: { run: \"sh build.sh\", timeout: 30s }\n");
    let (asked_file, formats) = (pipeline.base().join("asked"), pipeline.base().join("formats"));
    // Long enough that what was put in place before it is no news after it.
    let script = format!(
        "set -e\necho asked >> {}\nif test -e {}; then echo formatted >> page; fi\nsleep 0.1\n",
        asked_file.display(),
        formats.display()
    );
    pipeline.write("build.sh", script);
    assert_eq!(asked(&pipeline, 1), 1);
    assert_eq!(asked(&pipeline, 2), 1, "nothing was changed");
    std::fs::write(&formats, "").unwrap();
    assert_eq!(asked(&pipeline, 3), 2, "what it changed itself may have been wrong before");
    assert_eq!(asked(&pipeline, 4), 1, "it is known for that now");
    std::fs::remove_file(&formats).unwrap();
    assert_eq!([asked(&pipeline, 5), asked(&pipeline, 6)], [1, 1]);
}
