//! Environments with `history: linear`: the branch moves on to the source itself, and back.

use crate::support::pipeline::Pipeline;

const LINEAR: &str = "
  staging: { from: develop, branch: staging, history: linear }
  production: { from: staging, branch: main, history: linear, verify: [up] }
";
const UP: &str = "\n  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

fn release(pipeline: &Pipeline, path: &str, code: i32) -> String {
    let saved = pipeline.save_file(path, path);
    pipeline.promote("staging", 0);
    pipeline.promote("production", code);
    saved
}

#[test]
fn every_branch_moves_on_to_the_very_save() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, LINEAR, UP);
        for path in ["one", "two"] {
            let saved = release(&pipeline, path, 0);
            assert_eq!((pipeline.tip("staging"), pipeline.tip("main")), (saved.clone(), saved.clone()));
            if has_remote {
                assert_eq!((pipeline.remote_tip("staging"), pipeline.remote_tip("main")), (saved.clone(), saved));
            }
        }
        assert_eq!(pipeline.git(&["rev-list", "--count", "--merges", "main"]), "0");
        let again = pipeline.promote("production", 0);
        assert!(again.stdout.contains("up to date"), "{again:?}");
        assert_eq!(pipeline.newest("production")["state"], "promoted", "what had nothing to do is not history");
        let all = pipeline.cascade(&["history", "production", "--all", "--json"]).expect_code(0).json();
        assert_eq!(all[0]["state"], "cancelled");
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        assert_eq!(pipeline.try_git(&["show", "main:two"]).code, 128);
        assert_eq!(pipeline.git(&["show", "main:one"]), "one");
    }
}

#[test]
fn a_commit_of_somebody_else_on_the_branch_is_drift() {
    let pipeline = Pipeline::new(true, LINEAR, UP);
    release(&pipeline, "one", 0);
    let theirs = pipeline.git(&["commit-tree", "-m", "Theirs", "-p", "main", "main^{tree}"]);
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", &format!("{theirs}:main")]);
    pipeline.save_file("two", "two");
    pipeline.promote("staging", 0);
    let drifted = pipeline.promote("production", 5);
    assert!(drifted.stderr.contains("Theirs") && drifted.stderr.contains("cascade back-merge production"));
    assert_eq!(pipeline.remote_tip("main"), theirs);
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
    release(&pipeline, "three", 0);
    assert_eq!(pipeline.tip("main"), pipeline.tip("develop"), "forward again");
}

#[test]
fn a_reset_keeps_the_line_and_the_fix_moves_on_from_there() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, &LINEAR.replace("verify:", "rollback: reset, verify:"), UP);
        let good = release(&pipeline, "one", 0);
        release(&pipeline, "broken", 6);
        assert_eq!(pipeline.tip("main"), good);
        pipeline.promote("production", 3);
        std::fs::remove_file(pipeline.root().join("broken")).unwrap();
        let fix = release(&pipeline, "two", 0);
        assert_eq!(pipeline.tip("main"), fix);
        assert!(!has_remote || pipeline.remote_tip("main") == fix);
    }
}

#[test]
fn after_a_restore_the_fix_joins_and_bringing_that_back_makes_the_line_straight() {
    let pipeline = Pipeline::new(true, LINEAR, UP);
    pipeline.git(&["-C", "../origin.git", "config", "receive.denyNonFastForwards", "true"]);
    let good = release(&pipeline, "one", 0);
    release(&pipeline, "broken", 6);
    assert_eq!(pipeline.tree("main"), pipeline.tree(&good));
    assert_ne!(pipeline.tip("main"), good, "what was pushed is followed, not removed");
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    let fix = release(&pipeline, "two", 0);
    assert_eq!((pipeline.tree("main"), pipeline.git(&["rev-parse", "main^2"])), (pipeline.tree(&fix), fix));
    assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
    let next = release(&pipeline, "three", 0);
    assert_eq!(pipeline.tree("main"), pipeline.tree(&next));
    assert_ne!(pipeline.tip("main"), next);
    let files = pipeline.git(&["ls-tree", "-r", "develop"]);
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    assert_eq!(pipeline.git(&["ls-tree", "-r", "develop"]), files, "it brings no content");
    let straight = release(&pipeline, "four", 0);
    assert_eq!(pipeline.tip("main"), straight);
    let again = pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    assert!(again.stdout.contains("nothing was brought back"), "{again:?}");
}

#[test]
fn a_hotfix_moves_the_branch_on_and_the_next_release_waits_until_it_is_back() {
    let pipeline = Pipeline::new(true, LINEAR, UP);
    release(&pipeline, "one", 0);
    pipeline.git(&["branch", "--quiet", "fix", "main"]);
    let fix = pipeline.git(&["commit-tree", "-m", "Fix", "-p", "main", "main^{tree}"]);
    pipeline.git(&["update-ref", "refs/heads/fix", &fix]);
    pipeline.cascade(&["promote", "production", "--from", "fix", "--reason", "now"]).expect_code(0);
    assert_eq!(pipeline.tip("main"), fix);
    pipeline.save_file("two", "two");
    pipeline.promote("staging", 0);
    let stopped = pipeline.promote("production", 5);
    assert!(stopped.stderr.contains("the hotfix") && stopped.stderr.contains("is not in staging"), "{stopped:?}");
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    assert_eq!(pipeline.tip("main"), pipeline.tip("develop"));
}
