//! Hotfixes and drift: past the environments before, and back through the pipeline, so that nothing live gets lost.

use std::sync::Arc;

use cascade::alert::Alerts;
use cascade::base::clock::ManualClock;
use cascade::config::AlertEvent;
use cascade::promote;
use cascade::promote::rehearse::rehearse;
use cascade::store::Verdict;

use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::watched::Watched;

const UNAPPROVED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main }
";
const VERIFIED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, soak: 1h, verify: [up] }
";
const UP: &str = "\n  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// A pipeline whose first release is live everywhere.
fn released(has_remote: bool, environments: &str) -> Pipeline {
    let pipeline = Pipeline::new(has_remote, environments, "");
    pipeline.save_file("page", "one\n2\n3\n4\nend\n");
    release(&pipeline);
    pipeline
}

fn release(pipeline: &Pipeline) {
    pipeline.promote("staging", 0);
    if pipeline.cascade(&["promote", "production"]).code == 3 {
        pipeline.cascade(&["approve"]).expect_code(0);
    }
}

/// Commits a change of one file on a branch made from `from`, without touching the checkout.
fn branch_with(pipeline: &Pipeline, branch: &str, from: &str, path: &str, content: &str) -> String {
    let place = pipeline.base().join("elsewhere");
    pipeline.git(&["worktree", "add", "--quiet", "-B", branch, place.to_str().unwrap(), from]);
    std::fs::write(place.join(path), content).unwrap();
    let at = place.to_str().unwrap();
    pipeline.git(&["-C", at, "add", "-A"]);
    pipeline.git(&["-C", at, "commit", "--quiet", "--no-verify", "-m", &format!("Fix {path}")]);
    pipeline.git(&["worktree", "remove", "--force", at]);
    pipeline.tip(branch)
}

fn hotfix(pipeline: &Pipeline, branch: &str, code: i32) -> crate::support::Output {
    pipeline.cascade(&["promote", "production", "--from", branch, "--reason", "login is down"]).expect_code(code)
}

#[test]
fn a_hotfix_lands_past_staging_with_its_own_approval_and_goes_back_down_the_pipeline() {
    for has_remote in [false, true] {
        let pipeline = released(has_remote, PLAIN);
        pipeline.save_file("feature", "unfinished\n");
        pipeline.promote("staging", 0);
        let (develop, staging) = (pipeline.tip("develop"), pipeline.tip("staging"));
        let fix = branch_with(&pipeline, "fix/login", "main", "login", "works\n");
        let waiting = hotfix(&pipeline, "fix/login", 3);
        assert!(waiting.stderr.contains("cascade approve"), "{waiting:?}");
        let approved = pipeline.cascade(&["approve"]).expect_code(0);
        assert!(approved.stdout.contains("next: cascade back-merge production"), "{approved:?}");
        assert_eq!(pipeline.tree("main"), pipeline.tree(&fix), "exactly the branch's content");
        assert_eq!(pipeline.git(&["rev-parse", "main^2"]), fix);
        assert_eq!((pipeline.tip("develop"), pipeline.tip("staging")), (develop, staging));
        let newest = pipeline.newest("production");
        assert_eq!((newest["hotfix"].as_str(), newest["purpose"].as_str()), (Some("fix/login"), Some("login is down")));
        if has_remote {
            assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
        }
        would_be_lost(&pipeline, &fix);
        brought_back(&pipeline);
    }
}

/// Until it is back nothing gets over it.
fn would_be_lost(pipeline: &Pipeline, fix: &str) {
    let live = pipeline.tip("main");
    let words = format!("the hotfix {} \"Fix login\"", &fix[..10]);
    let stopped = pipeline.promote("production", 5);
    for word in [words.as_str(), "is not in staging", "cascade back-merge production"] {
        assert!(stopped.stderr.contains(word), "{word}: {stopped:?}");
    }
    assert_eq!(pipeline.tip("main"), live);
    let plan = pipeline.cascade(&["plan", "production"]).expect_code(5);
    assert!(plan.stderr.contains(&words) && plan.stderr.contains("cascade back-merge production"), "{plan:?}");
    let why = pipeline.cascade(&["why", "production", "--json"]).expect_code(0).json();
    assert_eq!(why["next"], "cascade back-merge production");
    let facts = why["facts"].to_string();
    assert!(facts.contains("staging → production would stop") && facts.contains("Fix login"), "{facts}");
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    let rehearsal = &status["environments"][1]["rehearsal"];
    assert_eq!((&rehearsal["verdict"], &rehearsal["next"]), (&"drift".into(), &"cascade back-merge production".into()));
    assert_eq!(status["environments"][0]["rehearsal"]["verdict"], "clean");
    let picture = pipeline.cascade(&["status"]).expect_code(0).stdout;
    assert!(
        picture.contains("would stop: the hotfix") && picture.contains("→ cascade back-merge production"),
        "{picture}"
    );
}

/// Each step says the next one, until the release after it has both.
fn brought_back(pipeline: &Pipeline) {
    let back = pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    assert!(back.stdout.contains("Fix login") && back.stdout.contains("next: cascade promote staging"), "{back:?}");
    assert_eq!((pipeline.read("login"), pipeline.read("feature")), ("works\n".to_owned(), "unfinished\n".to_owned()));
    assert_eq!(pipeline.git(&["status", "--porcelain"]), "");
    let why = pipeline.cascade(&["why", "production", "--json"]).expect_code(0).json();
    assert_eq!(why["next"], "cascade promote staging", "{why}");
    let stopped = pipeline.promote("production", 5);
    assert!(stopped.stderr.contains("cascade promote staging"), "{stopped:?}");
    release(pipeline);
    assert_eq!(pipeline.git(&["show", "main:login"]), "works");
    assert_eq!(pipeline.tree("main"), pipeline.tree("develop"));
    let again = pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    assert!(again.stdout.contains("nothing was brought back"), "{again:?}");
    pipeline.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_hotfix_that_was_rolled_back_comes_with_the_next_merge_whatever_was_fixed_since() {
    for has_remote in [true, false] {
        let pipeline = released(has_remote, UNAPPROVED);
        branch_with(&pipeline, "fix/login", "main", "login", "works\n");
        hotfix(&pipeline, "fix/login", 0);
        pipeline.cascade(&["back-merge", "production"]).expect_code(0);
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        pipeline.cascade(&["resume", "production"]).expect_code(0);
        branch_with(&pipeline, "fix/logout", "main", "logout", "works\n");
        hotfix(&pipeline, "fix/logout", 0);
        pipeline.promote("staging", 0);
        pipeline.promote("production", 5);
        pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
        let has = |path: &str| pipeline.try_git(&["show", &format!("main:{path}")]).code == 0;
        assert_eq!(["login", "logout", "page"].map(has), [true; 3], "{has_remote}");
    }
}

#[test]
fn a_hotfix_that_was_rolled_back_and_that_nobody_brought_back_stays_away_from_the_next_merge() {
    let pipeline = released(true, UNAPPROVED);
    branch_with(&pipeline, "fix/login", "main", "login", "works\n");
    hotfix(&pipeline, "fix/login", 0);
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    pipeline.cascade(&["resume", "production"]).expect_code(0);
    branch_with(&pipeline, "fix/logout", "main", "logout", "works\n");
    hotfix(&pipeline, "fix/logout", 0);
    pipeline.save_file("feature", "finished\n");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 5);
    pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
    let has = |path: &str| pipeline.try_git(&["show", &format!("main:{path}")]).code == 0;
    assert_eq!(["login", "logout", "feature", "page"].map(has), [false, true, true, true]);
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn a_merge_after_a_longer_way_back_brings_the_releases_again_and_not_the_hotfix_between_them() {
    let pipeline = released(true, UNAPPROVED);
    let first = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    pipeline.save_file("second", "release\n");
    release(&pipeline);
    branch_with(&pipeline, "fix/login", "main", "login", "works\n");
    hotfix(&pipeline, "fix/login", 0);
    pipeline.cascade(&["rollback", "production", "--to", &first]).expect_code(0);
    pipeline.cascade(&["resume", "production"]).expect_code(0);
    branch_with(&pipeline, "fix/logout", "main", "logout", "works\n");
    hotfix(&pipeline, "fix/logout", 0);
    pipeline.save_file("feature", "finished\n");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
    let has = |path: &str| pipeline.try_git(&["show", &format!("main:{path}")]).code == 0;
    assert_eq!(["login", "logout", "second", "feature", "page"].map(has), [false, true, true, true, true]);
}

#[test]
fn a_hotfix_that_a_rollback_took_out_of_staging_again_is_not_lost_in_production() {
    let pipeline = released(true, UNAPPROVED);
    branch_with(&pipeline, "fix/login", "main", "login", "works\n");
    hotfix(&pipeline, "fix/login", 0);
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    pipeline.promote("staging", 0);
    pipeline.cascade(&["rollback", "staging"]).expect_code(0);
    let stopped = pipeline.promote("production", 5);
    assert!(stopped.stderr.contains("is not in staging"), "{stopped:?}");
    assert_eq!(pipeline.git(&["show", "main:login"]), "works");
    // With it back in staging it goes on.
    pipeline.cascade(&["rollback", "staging", "--undo"]).expect_code(0);
    pipeline.promote("production", 0);
    assert_eq!(pipeline.git(&["show", "main:login"]), "works");
}

#[test]
fn a_merge_takes_back_what_was_rolled_back_in_staging_and_no_hotfix_that_had_come_back_there() {
    for (has_remote, is_live) in [(false, false), (false, true), (true, false), (true, true)] {
        let pipeline = released(has_remote, UNAPPROVED);
        branch_with(&pipeline, "fix/login", "main", "login", "works\n");
        hotfix(&pipeline, "fix/login", 0);
        pipeline.cascade(&["back-merge", "production"]).expect_code(0);
        pipeline.save_file("feature", "bad\n");
        pipeline.promote("staging", 0);
        if is_live {
            pipeline.promote("production", 0);
        }
        branch_with(&pipeline, "fix/logout", "main", "logout", "works\n");
        hotfix(&pipeline, "fix/logout", 0);
        pipeline.cascade(&["rollback", "staging"]).expect_code(0);
        pipeline.promote("production", 5);
        pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
        let has = |path: &str| pipeline.try_git(&["show", &format!("main:{path}")]).code == 0;
        let found = ["login", "logout", "feature", "page"].map(has);
        assert_eq!(found, [true, true, false, true], "remote: {has_remote}, live: {is_live}");
        // Repaired, it comes with all of them.
        pipeline.cascade(&["resume", "staging"]).expect_code(0);
        pipeline.save_file("feature", "good\n");
        pipeline.promote("staging", 0);
        pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
        let found = ["login", "logout", "feature", "page"].map(has);
        assert_eq!(found, [true; 4], "remote: {has_remote}, live: {is_live}");
    }
}

#[test]
fn a_merge_that_was_rolled_back_comes_back_with_the_hotfixes_that_it_had_kept() {
    for has_remote in [false, true] {
        let pipeline = released(has_remote, UNAPPROVED);
        branch_with(&pipeline, "fix/login", "main", "login", "works\n");
        hotfix(&pipeline, "fix/login", 0);
        pipeline.save_file("feature", "good\n");
        pipeline.promote("staging", 0);
        pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
        let tree = pipeline.tree("main");
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(0);
        assert_eq!(pipeline.tree("main"), tree, "{has_remote}");
    }
}

#[test]
fn a_rollback_of_staging_that_a_merge_brought_to_production_does_not_come_back_into_the_sandbox() {
    let pipeline = released(true, UNAPPROVED);
    pipeline.save_file("feature", "good\n");
    release(&pipeline);
    branch_with(&pipeline, "fix/login", "main", "login", "works\n");
    hotfix(&pipeline, "fix/login", 0);
    pipeline.cascade(&["rollback", "staging"]).expect_code(0);
    pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
    assert_ne!(pipeline.try_git(&["show", "main:feature"]).code, 0, "as in staging");
    let tip = pipeline.tip("develop");
    let refused = pipeline.cascade(&["back-merge", "production"]);
    assert!(refused.code != 0 && refused.stderr.contains("git cherry-pick"), "{refused:?}");
    assert_eq!(pipeline.tip("develop"), tip);
    assert_eq!(pipeline.read("feature"), "good\n");
}

#[test]
fn a_hotfix_from_an_older_release_stops_and_can_be_merged() {
    let pipeline = released(true, UNAPPROVED);
    let fix = branch_with(&pipeline, "fix", "main", "login", "works\n");
    pipeline.save_file("page", "two\n2\n3\n4\nend\n");
    release(&pipeline);
    let live = pipeline.tip("main");
    let stopped = hotfix(&pipeline, "fix", 5);
    assert!(stopped.stderr.contains("`fix` lacks") && stopped.stderr.contains("git switch fix && git merge main"));
    assert_eq!(pipeline.tip("main"), live);
    pipeline.git(&["update-ref", "refs/heads/main", "main^"]);
    let stopped = hotfix(&pipeline, "fix", 5);
    assert!(
        stopped.stderr.contains("git switch fix && git merge origin/main"),
        "the branch here is older: {stopped:?}"
    );
    pipeline.git(&["update-ref", "refs/heads/main", &live]);
    let planned = ["promote", "production", "--from", "fix", "--reason", "x", "--dry-run"];
    let plan = pipeline.cascade(&planned).expect_code(5);
    assert!(plan.stderr.contains("`fix` lacks"), "{plan:?}");
    let merged = ["promote", "production", "--from", "fix", "--reason", "login", "--merge"];
    pipeline.cascade(&merged).expect_code(0);
    assert_eq!((pipeline.git(&["show", "main:login"]), pipeline.git(&["show", "main:page"])[..3].to_owned()), {
        ("works".to_owned(), "two".to_owned())
    });
    assert_eq!(pipeline.git(&["rev-parse", "main^2"]), fix);
}

#[test]
fn what_is_no_hotfix_is_refused() {
    let pipeline = released(true, UNAPPROVED);
    let needs_reason = pipeline.cascade(&["promote", "production", "--from", "develop"]).expect_code(2);
    assert!(needs_reason.stderr.contains("--reason"), "{needs_reason:?}");
    for (branch, words) in [("staging", "is no hotfix"), ("main", "is no hotfix"), ("nowhere", "no branch `nowhere`")] {
        let refused = hotfix(&pipeline, branch, 2);
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let odd = hotfix(&pipeline, "-x", 2);
    assert!(odd.stderr.contains("-x"), "{odd:?}");
}

#[test]
fn a_hotfix_that_only_the_remote_has_is_fetched() {
    let pipeline = released(true, UNAPPROVED);
    let fix = branch_with(&pipeline, "fix", "main", "login", "works\n");
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "fix"]);
    pipeline.git(&["branch", "--quiet", "-D", "fix"]);
    pipeline.git(&["update-ref", "-d", "refs/remotes/origin/fix"]);
    hotfix(&pipeline, "fix", 0);
    assert_eq!(pipeline.git(&["rev-parse", "main^2"]), fix);
}

#[test]
fn a_hotfix_need_not_soak_and_the_release_after_it_must() {
    let pipeline = Pipeline::new(false, VERIFIED, UP);
    pipeline.save_file("page", "one");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    branch_with(&pipeline, "fix", "main", "login", "works\n");
    let planned = ["promote", "production", "--from", "fix", "--reason", "x", "--dry-run", "--json"];
    let plan = pipeline.cascade(&planned).expect_code(0).json();
    let gate = &plan["gates"][0];
    assert!(gate["open"] == true && gate["fact"].as_str().unwrap().starts_with("does not apply"), "{plan}");
    hotfix(&pipeline, "fix", 0);
    let older = pipeline.cascade(&["history", "production", "--json"]).expect_code(0).json();
    let (newest, waited) = (&older[0], &older[1]);
    assert_eq!(waited["state"], "superseded");
    let words = format!("superseded by promotion {}", newest["id"].as_str().unwrap());
    assert!(waited["reason"].as_str().unwrap().starts_with(&words), "{waited}");
}

#[test]
fn a_hotfix_that_does_not_verify_goes_back_and_can_be_mended_on_its_branch() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, &VERIFIED.replace("soak: 1h, ", ""), UP);
        pipeline.save_file("page", "one");
        release(&pipeline);
        let live = pipeline.tree("main");
        branch_with(&pipeline, "fix", "main", "broken", "");
        hotfix(&pipeline, "fix", 6);
        assert_eq!(pipeline.tree("main"), live);
        let why = pipeline.cascade(&["why", "production"]).expect_code(0);
        assert!(why.stdout.contains("from `fix` is not live in production: it was rolled back"), "{why:?}");
        let back = pipeline.cascade(&["back-merge", "production"]).expect_code(0);
        assert!(back.stdout.contains("nothing was brought back"), "what was undone is not live: {back:?}");
        let place = pipeline.base().join("elsewhere");
        let at = place.to_str().unwrap();
        pipeline.git(&["worktree", "add", "--quiet", at, "fix"]);
        pipeline.git(&["-C", at, "mv", "broken", "login"]);
        pipeline.git(&["-C", at, "commit", "--quiet", "--no-verify", "-m", "Mend the fix"]);
        pipeline.git(&["worktree", "remove", "--force", at]);
        hotfix(&pipeline, "fix", 0);
        assert_eq!(pipeline.tree("main"), pipeline.tree("fix"));
        pipeline.cascade(&["back-merge", "production"]).expect_code(0);
        release(&pipeline);
        assert_eq!(pipeline.git(&["ls-tree", "--name-only", "main", "login", "page"]), "login\npage");
    }
}

#[test]
fn what_was_merged_in_stays_until_the_source_has_it() {
    let pipeline = released(false, UNAPPROVED);
    branch_with(&pipeline, "theirs", "staging", "urgent", "x\n");
    pipeline.git(&["branch", "--quiet", "-f", "staging", "theirs"]);
    for round in ["1", "2"] {
        pipeline.save_file("feature", round);
        let stopped = pipeline.promote("staging", 5);
        assert!(stopped.stderr.contains("did not come through the pipeline"), "round {round}: {stopped:?}");
        pipeline.cascade(&["promote", "staging", "--merge"]).expect_code(0);
        assert_eq!(pipeline.git(&["show", "staging:urgent"]), "x");
    }
    pipeline.cascade(&["back-merge", "staging"]).expect_code(0);
    pipeline.save_file("feature", "3");
    release(&pipeline);
    assert_eq!(pipeline.tree("main"), pipeline.tree("develop"));
    assert_eq!(pipeline.git(&["show", "main:urgent"]), "x");
}

#[test]
fn another_machine_with_older_saves_does_not_take_newer_ones_back() {
    let pipeline = released(true, UNAPPROVED);
    let clone = pipeline.base().join("clone");
    pipeline.git(&["clone", "--quiet", "../origin.git", clone.to_str().unwrap()]);
    pipeline.save_file("page", "newer");
    pipeline.promote("staging", 0);
    let newer = pipeline.tip("staging");
    let mut other = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
    for branch in ["develop", "staging", "main"] {
        let tip = format!("refs/remotes/origin/{branch}");
        let made = pipeline.try_git(&["-C", clone.to_str().unwrap(), "branch", "--quiet", branch, &tip]);
        assert!(made.code == 0 || made.stderr.contains("already exists"), "{made:?}");
    }
    pipeline.git(&["-C", clone.to_str().unwrap(), "switch", "--quiet", "develop"]);
    other.current_dir(&clone).env("CASCADE_HOME", pipeline.base().join("other"));
    let stopped = crate::support::output(other, b"").expect_code(5);
    assert!(stopped.stderr.contains("Change page"), "{stopped:?}");
    assert_eq!(pipeline.remote_tip("staging"), newer);
}

#[test]
fn a_clash_is_left_to_a_person_and_what_stands_on_a_rollback_too() {
    let pipeline = Pipeline::new(false, &VERIFIED.replace("soak: 1h, ", ""), UP);
    pipeline.save_file("page", "one\n");
    release(&pipeline);
    branch_with(&pipeline, "fix", "main", "page", "fixed\n");
    hotfix(&pipeline, "fix", 0);
    let saved = pipeline.save_file("page", "mine\n");
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["environments"][1]["rehearsal"]["verdict"], "conflict");
    let clash = pipeline.cascade(&["back-merge", "production"]).expect_code(5);
    assert!(clash.stderr.contains("both sides changed page") && clash.stderr.contains("git merge main"), "{clash:?}");
    assert_eq!((pipeline.tip("develop"), pipeline.read("page")), (saved, "mine\n".to_owned()));

    let pipeline = Pipeline::new(true, &VERIFIED.replace("soak: 1h, ", ""), UP);
    pipeline.save_file("page", "one\n");
    release(&pipeline);
    branch_with(&pipeline, "clashing", "main", "page", "theirs\n");
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "clashing:main"]);
    pipeline.save_file("page", "mine\n");
    let clash = pipeline.cascade(&["back-merge", "production"]).expect_code(5);
    let told = clash.stderr.split_once("`git merge ").unwrap_or_else(|| panic!("{clash:?}")).1;
    let named = told.split_once('`').unwrap().0;
    assert_eq!(pipeline.git(&["rev-parse", named]), pipeline.tip("clashing"), "what is named has what clashes");

    let pipeline = Pipeline::new(true, &VERIFIED.replace("soak: 1h, ", ""), UP);
    pipeline.save_file("page", "one\n");
    release(&pipeline);
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 6);
    branch_with(&pipeline, "theirs", "main", "urgent", "x\n");
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "theirs:main"]);
    let refused = pipeline.cascade(&["back-merge", "production"]).expect_code(5);
    assert!(refused.stderr.contains("rolled back below them") && refused.stderr.contains("git cherry-pick"));
    assert!(pipeline.root().join("broken").exists(), "what production lost stays here");
}

#[test]
fn what_others_push_to_an_environment_is_told_once_and_shown_until_it_is_back() {
    let watched = Watched::ready(
        "200ms",
        "environments:\n  staging: { from: develop, branch: staging }\n  production: { from: staging, branch: main }",
    );
    watched.git(&["push", "--quiet", "--no-verify", "origin", "develop", "staging"]);
    let text = watched.read("cascade-sync.yaml").replace("batch_window: 1s", "batch_window: 1s, pull_every: 1s");
    watched.write("cascade-sync.yaml", text);
    watched.start();
    let other = watched.base().join("other");
    watched.git(&["clone", "--quiet", "--branch", "main", "../origin.git", other.to_str().unwrap()]);
    std::fs::write(other.join("urgent"), "x\n").unwrap();
    let at = other.to_str().unwrap();
    watched.git(&["-C", at, "add", "-A"]);
    watched.git(&["-C", at, "commit", "--quiet", "-m", "Urgent"]);
    watched.git(&["-C", at, "push", "--quiet"]);
    let verdict = || {
        let status = watched.cascade(&["status", "--json"]).expect_code(0).json();
        let rehearsal = status["environments"][1]["rehearsal"].clone();
        (rehearsal["verdict"].as_str().unwrap().to_owned(), rehearsal["since"].clone())
    };
    watched.until("the drift is noticed", || verdict().0 == "drift" && !verdict().1.is_null());
    watched.write("page", "one");
    watched.until_saved("develop", "page", "one");
    watched.cascade(&["back-merge", "production"]).expect_code(0);
    watched.until("the watcher sees it back", || {
        watched.log().matches("a promotion would stop").count() == 1 && verdict().0 == "clean"
    });
    watched.until_pushed();
    assert_eq!(watched.read("urgent"), "x\n");
}

#[tokio::test]
async fn what_turns_bad_is_told_once_and_remembered_since_when() {
    let pipeline = released(false, UNAPPROVED);
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let mut ctx = pipeline.context(clock.clone()).await;
    let (alerts, told) = Alerts::recording(Arc::clone(&ctx.clock));
    ctx.alerts = Arc::new(alerts);
    rehearse(&ctx, None).await.unwrap();
    assert_eq!(told.lock().unwrap().len(), 0);
    branch_with(&pipeline, "theirs", "main", "urgent", "x\n");
    pipeline.git(&["branch", "--quiet", "-f", "main", "theirs"]);
    for _ in 0..3 {
        clock.advance_ms(120_000);
        rehearse(&ctx, None).await.unwrap();
    }
    let first = told.lock().unwrap().clone();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(
        (first[0].event, first[0].title.as_str()),
        (AlertEvent::Conflict, "shop: staging → production would stop")
    );
    assert!(first[0].body.contains("Fix urgent") && first[0].body.ends_with("cascade back-merge production"));
    let stopped = promote::rehearsal(&ctx, "production").await.unwrap().unwrap();
    let since = stopped.since.unwrap().as_millisecond();
    assert_eq!((stopped.verdict, since), (Verdict::Drift, 1_800_000_120_000));
    pipeline.save_file("urgent", "mine\n");
    rehearse(&ctx, None).await.unwrap();
    let worse = promote::rehearsal(&ctx, "production").await.unwrap().unwrap();
    assert_eq!(worse.verdict, Verdict::Conflict);
    assert!(worse.fact.unwrap().ends_with("conflicts with what is saved in urgent"));
    pipeline.git(&["update-ref", "refs/heads/main", "main^"]);
    rehearse(&ctx, None).await.unwrap();
    let clean = promote::rehearsal(&ctx, "production").await.unwrap().unwrap();
    assert_eq!((clean.verdict, clean.since, told.lock().unwrap().len()), (Verdict::Clean, None, 1));
}

#[tokio::test]
async fn what_another_machine_saved_and_promoted_is_no_drift_once_it_is_known_to_come() {
    let pipeline = released(true, UNAPPROVED);
    let ctx = pipeline.context(Arc::new(ManualClock::at_ms(1_800_000_000_000))).await;
    let before = pipeline.tip("develop");
    let theirs = pipeline.save_file("page", "theirs");
    pipeline.promote("staging", 0);
    // As it is for a machine that has fetched staging and not yet brought in develop.
    pipeline.git(&["update-ref", "refs/remotes/origin/develop", &before]);
    pipeline.git(&["reset", "--quiet", "--hard", &before]);
    rehearse(&ctx, Some(theirs.parse().unwrap())).await.unwrap();
    let kept = ctx.store.rehearsal("staging").await.unwrap().unwrap();
    assert_eq!(kept.verdict, Verdict::Clean);
}

#[test]
fn an_ignored_file_in_the_way_of_what_is_brought_back_is_named_as_that() {
    let pipeline = released(false, PLAIN);
    branch_with(&pipeline, "fix", "main", "notes.local", "theirs\n");
    hotfix(&pipeline, "fix", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    pipeline.write(".git/info/exclude", "*.local\n");
    pipeline.write("notes.local", "mine\n");
    let refused = pipeline.cascade(&["back-merge", "production"]).expect_code(1);
    let reason = "notes.local is in the way and not saved: git ignores it, or `sandbox.exclude` names it";
    assert!(refused.stderr.contains(reason) && refused.stderr.contains("move it out of the way"), "{refused:?}");
    assert_eq!(pipeline.read("notes.local"), "mine\n");
    std::fs::remove_file(pipeline.root().join("notes.local")).unwrap();
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    assert_eq!(pipeline.read("notes.local"), "theirs\n");
}
