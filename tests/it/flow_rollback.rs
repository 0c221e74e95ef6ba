//! Going back and coming back, through the built binary against a real remote: past several releases, forward again by a
//! fix, by a merge, or by undoing the rollback itself.

use std::sync::Arc;

use cascade::base::clock::SystemClock;
use cascade::promote::auto::{Cause, follow_once};
use serde_json::Value;

use crate::fault_promote::{MOMENTS_LIMIT, kill_undo_at};
use crate::support::pipeline::Pipeline;

const UP: &str = "\n  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

fn environments(more: &str) -> String {
    format!(
        "\n  staging: {{ from: develop, branch: staging }}\n  production: {{ from: staging, branch: main, {more} }}\n"
    )
}

fn pipeline(has_remote: bool, more: &str) -> Pipeline {
    Pipeline::new(has_remote, &environments(more), UP)
}

/// Saves a file and promotes it through; answers the promotion to production.
fn release(pipeline: &Pipeline, path: &str, content: &str) -> Value {
    pipeline.save_file(path, content);
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    pipeline.newest("production")
}

/// Releases a change and then one more that breaks and is rolled back.
fn break_on_top(pipeline: &Pipeline) {
    release(pipeline, "base", "one");
    pipeline.write("feature", "A");
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 6);
    assert_eq!(on_main(pipeline, "feature"), None);
}

fn on_main(pipeline: &Pipeline, path: &str) -> Option<String> {
    let shown = pipeline.try_git(&["show", &format!("main:{path}")]);
    (shown.code == 0).then_some(shown.stdout)
}

fn id(promotion: &Value) -> &str {
    promotion["id"].as_str().unwrap()
}

fn states(pipeline: &Pipeline) -> Vec<String> {
    let history = pipeline.cascade(&["history", "production", "--json"]).expect_code(0).json();
    history.as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap().to_owned()).collect()
}

fn quarantined(pipeline: &Pipeline) -> Vec<String> {
    with_context(pipeline, async |ctx| {
        let entries = ctx.store.quarantined("production").await.unwrap();
        entries.into_iter().map(|entry| entry.source.to_string()).collect()
    })
}

fn is_held(pipeline: &Pipeline) -> bool {
    with_context(pipeline, async |ctx| ctx.store.held("production").await.unwrap().is_some())
}

fn with_context<T>(pipeline: &Pipeline, ask: impl AsyncFnOnce(&cascade::context::Context) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ctx = pipeline.context(Arc::new(SystemClock)).await;
        let answer = ask(&ctx).await;
        ctx.store.close().await;
        answer
    })
}

#[test]
fn a_rollback_past_several_releases_undoes_them_all_and_they_stay_back() {
    for (mode, forbids) in [("reset", false), ("reset", true), ("restore", false), ("auto", true)] {
        let pipeline = pipeline(true, &format!("rollback: {mode}, promote: auto, verify: [up]"));
        pipeline.git(&["-C", "../origin.git", "config", "receive.denyNonFastForwards", &forbids.to_string()]);
        let releases = ["1", "2", "3", "4"].map(|content| release(&pipeline, "page", content));
        let first = releases[0]["candidate"].as_str().unwrap();
        pipeline.cascade(&["rollback", "production", "--to", id(&releases[0])]).expect_code(0);
        assert_eq!(on_main(&pipeline, "page").as_deref(), Some("1"), "{mode}");
        assert_eq!(pipeline.tip("main") == first, mode == "reset" && !forbids, "{mode} {forbids}");
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"), "{mode} {forbids}");
        assert_eq!(states(&pipeline), ["rolled_back", "rolled_back", "rolled_back", "promoted"]);
        let stopped = quarantined(&pipeline);
        let undone =
            releases[1..].iter().all(|release| stopped.contains(&release["source"].as_str().unwrap().to_owned()));
        assert!(undone && stopped.len() == 3, "{mode}: {stopped:?}");
        for cause in [Cause::Pushed, Cause::Time] {
            with_context(&pipeline, async |ctx| follow_once(ctx, cause).await.unwrap());
        }
        assert_eq!(on_main(&pipeline, "page").as_deref(), Some("1"), "automation does not bring it back");
        pipeline.cascade(&["rollback", "production", "--to", id(&releases[2])]).expect_code(2);
        release(&pipeline, "fix", "5");
        assert_eq!(pipeline.tree("main"), pipeline.tree("develop"), "a fix brings everything");
    }
}

#[test]
fn what_somebody_else_put_on_the_branch_stays_in_its_history_when_it_goes_back() {
    for has_remote in [false, true] {
        let pipeline = pipeline(has_remote, "rollback: reset");
        let first = release(&pipeline, "page", "1");
        release(&pipeline, "page", "2");
        pipeline.git(&["switch", "--quiet", "main"]);
        pipeline.write("hotfix", "urgent");
        pipeline.commit("Hotfix");
        let theirs = pipeline.tip("main");
        if has_remote {
            pipeline.git(&["push", "--quiet", "--no-verify", "origin", "main"]);
        }
        pipeline.git(&["switch", "--quiet", "develop"]);
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        assert_eq!(pipeline.tree("main"), pipeline.tree(first["candidate"].as_str().unwrap()));
        assert_eq!(pipeline.git(&["rev-parse", "main^"]), theirs);
        if has_remote {
            assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
        }
    }
}

#[test]
fn the_way_of_a_fix_leads_through_every_environment_before() {
    let pipeline = pipeline(false, "verify: [up]");
    release(&pipeline, "base", "one");
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    let way = "cascade promote staging && cascade promote production";
    let undone = pipeline.promote("production", 6);
    assert!(undone.stderr.contains(&format!("save it, then `{way}`")), "{undone:?}");
    let why = pipeline.cascade(&["why", "production", "--json"]).expect_code(0).json();
    assert_eq!(why["next"], format!("save a fix, then {way}"));
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    pipeline.save_file("fix", "x");
    for command in way.split(" && ") {
        pipeline.cascade(&command.split(' ').skip(1).collect::<Vec<_>>()).expect_code(0);
    }
    assert_eq!(pipeline.newest("production")["state"], "promoted");
}

#[test]
fn what_was_rolled_back_cannot_be_approved_again() {
    let pipeline = pipeline(true, "approval: { required: 1 }, verify: [up]");
    pipeline.save_file("broken", "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve", "production"]).expect_code(6);
    let rolled_back = pipeline.newest("production");
    let refused = pipeline.cascade(&["approve", id(&rolled_back)]).expect_code(2);
    assert!(refused.stderr.contains("is rolled_back: it does not wait"), "{refused:?}");
    let main = pipeline.tip("main");
    pipeline.promote("production", 3);
    // Whoever approves the same content once more does not get past the quarantine.
    let again = pipeline.cascade(&["approve", "production"]).expect_code(3);
    assert!(again.stderr.contains("failed here in promotion"), "{again:?}");
    assert_eq!(pipeline.tip("main"), main);
}

#[test]
fn a_fix_of_what_was_rolled_back_brings_the_whole_change_again() {
    for mode in ["reset", "restore"] {
        let pipeline = pipeline(true, &format!("rollback: {mode}, verify: [up]"));
        break_on_top(&pipeline);
        std::fs::remove_file(pipeline.root().join("broken")).unwrap();
        release(&pipeline, "fix", "B");
        for (path, content) in [("base", "one"), ("feature", "A"), ("fix", "B")] {
            assert_eq!(on_main(&pipeline, path).as_deref(), Some(content), "{mode}");
        }
        assert_eq!(pipeline.tree("main"), pipeline.tree("develop"), "{mode}");
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"), "{mode}");
        assert!(!is_held(&pipeline));
    }
}

/// Puts a commit of somebody else's on the remote's `main`.
fn hotfix(pipeline: &Pipeline, path: &str) {
    pipeline.git(&["fetch", "--quiet", "origin"]);
    pipeline.git(&["worktree", "add", "--quiet", "--detach", "../hot", "origin/main"]);
    std::fs::write(pipeline.base().join("hot").join(path), "urgent").unwrap();
    pipeline.git(&["-C", "../hot", "add", "-A"]);
    pipeline.git(&["-C", "../hot", "commit", "--quiet", "-m", "Hotfix"]);
    pipeline.git(&["-C", "../hot", "push", "--quiet", "--no-verify", "origin", "HEAD:main"]);
    pipeline.git(&["worktree", "remove", "../hot"]);
}

#[test]
fn a_merge_after_a_rollback_keeps_the_hotfix_and_brings_the_whole_change_again() {
    for mode in ["reset", "restore"] {
        let pipeline = pipeline(true, &format!("rollback: {mode}, verify: [up]"));
        break_on_top(&pipeline);
        hotfix(&pipeline, "hotfix");
        std::fs::remove_file(pipeline.root().join("broken")).unwrap();
        pipeline.save_file("fix", "B");
        pipeline.promote("staging", 0);
        pipeline.promote("production", 5);
        pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
        for (path, content) in [("base", "one"), ("feature", "A"), ("fix", "B"), ("hotfix", "urgent")] {
            assert_eq!(on_main(&pipeline, path).as_deref(), Some(content), "{mode}: {path}");
        }
        assert_eq!(on_main(&pipeline, "broken"), None, "{mode}");
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"), "{mode}");
    }
}

#[test]
fn a_merge_after_two_rollbacks_in_a_row_brings_everything_again() {
    let pipeline = pipeline(true, "rollback: restore, verify: [up]");
    let releases = ["1", "2", "3"].map(|content| release(&pipeline, &format!("page-{content}"), content));
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    pipeline.cascade(&["rollback", "production", "--to", id(&releases[0])]).expect_code(0);
    assert_eq!(on_main(&pipeline, "page-2"), None);
    hotfix(&pipeline, "hotfix");
    pipeline.save_file("fix", "B");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["promote", "production", "--merge"]).expect_code(0);
    for path in ["page-1", "page-2", "page-3", "fix", "hotfix"] {
        assert!(on_main(&pipeline, path).is_some(), "{path}");
    }
}

#[test]
fn a_merge_after_a_rollback_still_finds_conflicts() {
    let pipeline = pipeline(true, "rollback: restore, verify: [up]");
    break_on_top(&pipeline);
    // What was rolled back has this file too, with another content.
    hotfix(&pipeline, "feature");
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    pipeline.save_file("fix", "B");
    pipeline.promote("staging", 0);
    let main = pipeline.remote_tip("main");
    let conflict = pipeline.cascade(&["promote", "production", "--merge"]).expect_code(5);
    assert!(conflict.stderr.contains("feature"), "{conflict:?}");
    assert_eq!(pipeline.remote_tip("main"), main);
}

#[test]
fn undoing_a_rollback_brings_back_exactly_what_was_live() {
    for (has_remote, mode) in [(false, "auto"), (true, "auto"), (true, "reset")] {
        let pipeline = pipeline(has_remote, &format!("rollback: {mode}, soak: 1ms, approval: {{ required: 1 }}"));
        let approved = |content: &str| {
            pipeline.save_file("page", content);
            pipeline.promote("staging", 0);
            std::thread::yield_now();
            pipeline.promote("production", 3);
            pipeline.cascade(&["approve", "production"]).expect_code(0);
            pipeline.newest("production")
        };
        let releases = ["1", "2", "3"].map(approved);
        pipeline.cascade(&["rollback", "production", "--to", id(&releases[0])]).expect_code(0);
        let back = pipeline.tip("main");
        // What comes next upstream does not come along.
        pipeline.save_file("page", "4");
        pipeline.promote("staging", 0);
        pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(3);
        assert_eq!(pipeline.tip("main"), back, "approvals are asked anew");
        assert!(is_held(&pipeline) && quarantined(&pipeline).len() == 2, "nothing is free before it is live");
        let waiting = pipeline.newest("production");
        pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(3);
        assert_eq!(pipeline.newest("production")["id"], waiting["id"], "the same wish makes no second promotion");
        pipeline.cascade(&["approve", "production"]).expect_code(0);
        let live = pipeline.newest("production");
        assert_eq!((&live["id"], &live["state"]), (&waiting["id"], &"promoted".into()));
        assert_eq!(pipeline.tree("main"), pipeline.tree(releases[2]["candidate"].as_str().unwrap()));
        assert_eq!(pipeline.git(&["rev-parse", "main^"]), back, "history goes forward");
        assert!(!is_held(&pipeline) && quarantined(&pipeline).is_empty());
        if has_remote {
            assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
        }
        let none = pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(2);
        assert!(none.stderr.contains("is no rollback"), "{none:?}");
    }
}

#[test]
fn undoing_needs_a_rollback_and_brings_back_only_what_that_one_took() {
    let pipeline = pipeline(true, "verify: [up]");
    let none = pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(2);
    assert!(none.stderr.contains("nothing was promoted yet"), "{none:?}");
    break_on_top(&pipeline);
    let broken = quarantined(&pipeline);
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    release(&pipeline, "fix", "B");
    let fixed = pipeline.tree("main");
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(0);
    assert_eq!(pipeline.tree("main"), fixed);
    assert_eq!(quarantined(&pipeline), broken, "what another rollback stopped stays so");
    pipeline.cascade(&["rollback", "production", "--undo", "--to", "x"]).expect_code(2);
}

#[test]
fn what_an_undoing_brings_back_is_verified_and_rolled_back_once_more() {
    let pipeline = pipeline(true, "verify: [up]");
    break_on_top(&pipeline);
    let good = pipeline.tree("main");
    pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(6);
    assert_eq!(pipeline.tree("main"), good);
    assert_eq!(states(&pipeline), ["rolled_back", "rolled_back", "promoted"]);
    assert!(is_held(&pipeline));
    // It is held and quarantined as firmly as the first time: only a fix gets through.
    pipeline.promote("production", 3);
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    release(&pipeline, "fix", "B");
    assert_eq!(pipeline.tree("main"), pipeline.tree("develop"));
}

#[test]
fn what_others_put_on_the_branch_since_the_rollback_is_not_undone_silently() {
    let pipeline = pipeline(true, "verify: [up]");
    release(&pipeline, "page", "1");
    release(&pipeline, "page", "2");
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    hotfix(&pipeline, "hotfix");
    let theirs = pipeline.remote_tip("main");
    let drifted = pipeline.cascade(&["rollback", "production", "--undo"]).expect_code(5);
    assert!(drifted.stderr.contains("Hotfix"), "{drifted:?}");
    assert_eq!(pipeline.remote_tip("main"), theirs);
}

#[test]
fn killed_at_every_step_of_undoing_a_rollback_it_still_comes_back() {
    for moment in 0..MOMENTS_LIMIT {
        let pipeline = pipeline(true, "verify: [up]");
        release(&pipeline, "page", "1");
        let second = release(&pipeline, "page", "2");
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        let was_killed = kill_undo_at(&pipeline, moment);
        if was_killed {
            let again = pipeline.cascade(&["rollback", "production", "--undo"]);
            assert!([0, 2].contains(&again.code), "killed at {moment}: {again:?}");
        }
        assert_eq!(pipeline.tree("main"), pipeline.tree(second["candidate"].as_str().unwrap()), "killed at {moment}");
        assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"), "killed at {moment}");
        assert!(!is_held(&pipeline) && quarantined(&pipeline).is_empty(), "killed at {moment}");
        assert_eq!(states(&pipeline)[..2], ["promoted", "rolled_back"], "killed at {moment}");
        if !was_killed {
            assert!(moment >= 12, "only {moment} moments");
            return;
        }
    }
    panic!("a promotion has more than {MOMENTS_LIMIT} moments");
}

#[test]
fn a_promotion_of_what_is_older_than_what_is_live_says_so() {
    for has_remote in [false, true] {
        let pipeline = pipeline(has_remote, "");
        release(&pipeline, "page", "1");
        pipeline.save_file("between", "x");
        let newer = release(&pipeline, "page", "2");
        assert!(pipeline.cascade(&["plan", "production", "--json"]).json()["goes_back"].is_null());
        pipeline.cascade(&["rollback", "staging"]).expect_code(0);
        let words = "this takes production back by 2 commits, to ";
        let plan = pipeline.cascade(&["plan", "production"]);
        assert!(plan.stdout.contains(words), "{has_remote}: {plan:?}");
        let plan = pipeline.cascade(&["plan", "production", "--json"]).json();
        assert_eq!(plan["goes_back"]["commits"], 2, "{plan}");
        let promoted = pipeline.cascade(&["promote", "production"]).expect_code(0);
        assert!(promoted.stderr.contains(words), "{has_remote}: {promoted:?}");
        assert_eq!(on_main(&pipeline, "page").as_deref(), Some("1"));
        assert_ne!(pipeline.newest("production")["id"], newer["id"]);
        pipeline.cascade(&["resume", "staging"]).expect_code(0);
        pipeline.save_file("page", "3");
        pipeline.promote("staging", 0);
        let forward = pipeline.promote("production", 0);
        assert!(!forward.stderr.contains("takes production back"), "{forward:?}");
    }
}
