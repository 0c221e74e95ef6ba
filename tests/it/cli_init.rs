//! `cascade init`.

use crate::support::Sandbox;

#[test]
fn first_run_sets_everything_up_and_changes_no_file() {
    let sandbox = Sandbox::new();
    sandbox.write("README", "edited\n");
    sandbox.write("staged", "staged\n");
    sandbox.git(&["add", "staged"]);
    let first = sandbox.cascade(&["init"]).expect_code(0);
    sandbox.filtered(|| {
        insta::assert_snapshot!(first.stdout, @r"
    created  cascade-sync.yaml
    created  branch develop
    created  branch staging
    created  HEAD on develop (no file changed)
    created  hook pre-push
    created  hook pre-push.d/10-lint
    created  hook pre-push.d/20-test
    created  hook pre-push.d/30-security-scan
    Next:
      `git remote add origin URL`, if what you save and promote is to be pushed
      look through cascade-sync.yaml and name your checks
      `cascade start` to watch this checkout
    ")
    });
    assert_eq!(sandbox.git(&["symbolic-ref", "HEAD"]), "refs/heads/develop");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "M README\nA  staged\n?? cascade-sync.yaml");
    assert_eq!(sandbox.git(&["branch", "--format=%(refname:short)"]), "develop\nmain\nstaging");
    assert!(sandbox.read("cascade-sync.yaml").contains("project: checkout"));
}

#[test]
fn second_run_changes_nothing_and_says_so() {
    let sandbox = Sandbox::with_origin();
    sandbox.cascade(&["init"]).expect_code(0);
    let listing = || sandbox.git(&["for-each-ref"]) + &sandbox.git(&["status", "--porcelain"]);
    let before = listing();
    let second = sandbox.cascade(&["init"]).expect_code(0);
    assert_eq!(listing(), before);
    assert!(second.stdout.starts_with("Everything was in place: nothing changed.\n"), "{second:#?}");
    let document = sandbox.cascade(&["init", "--json"]).expect_code(0).json();
    assert_eq!(document["created"], serde_json::json!([]));
    assert_eq!(document["kept"].as_array().unwrap().len(), 9, "{document}");
}

#[test]
fn branches_of_the_remote_are_taken_up_where_it_has_them() {
    let sandbox = Sandbox::with_origin();
    sandbox.write("new", "on staging\n");
    sandbox.commit("On staging only");
    sandbox.git(&["push", "--quiet", "origin", "HEAD:refs/heads/staging"]);
    sandbox.git(&["reset", "--quiet", "--hard", "HEAD~"]);
    sandbox.cascade(&["init"]).expect_code(0);
    assert_eq!(sandbox.git(&["rev-parse", "staging"]), sandbox.git(&["rev-parse", "origin/staging"]));
    assert_eq!(sandbox.git(&["rev-parse", "--abbrev-ref", "staging@{upstream}"]), "origin/staging");
    assert_eq!(sandbox.git(&["rev-parse", "develop"]), sandbox.git(&["rev-parse", "main"]));
}

#[test]
fn production_is_master_where_only_that_exists() {
    let sandbox = Sandbox::new();
    sandbox.git(&["branch", "-m", "main", "master"]);
    sandbox.cascade(&["init"]).expect_code(0);
    assert!(sandbox.read("cascade-sync.yaml").contains("branch: master"));
    assert_eq!(sandbox.git(&["branch", "--format=%(refname:short)"]), "develop\nmaster\nstaging");
}

#[test]
fn head_stays_where_develop_has_other_files() {
    let sandbox = Sandbox::new();
    sandbox.git(&["branch", "develop"]);
    sandbox.write("more", "more\n");
    sandbox.commit("More on main");
    let output = sandbox.cascade(&["init"]).expect_code(0);
    assert_eq!(sandbox.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert!(output.stdout.contains("`git switch develop`"), "{output:#?}");
}

#[test]
fn head_stays_where_another_worktree_has_develop() {
    let sandbox = Sandbox::new();
    sandbox.git(&["worktree", "add", "--quiet", "-b", "develop", "../other"]);
    let output = sandbox.cascade(&["init"]).expect_code(0);
    assert_eq!(sandbox.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert!(output.stdout.contains("in the worktree that has develop checked out"), "{output:#?}");
}

#[test]
fn foreign_hook_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.write_program(".git/hooks/pre-push", "#!/bin/sh\necho mine\n");
    let output = sandbox.cascade(&["init"]).expect_code(0);
    assert_eq!(sandbox.read(".git/hooks/pre-push"), "#!/bin/sh\necho mine\n");
    assert!(output.stderr.contains("hook pre-push (kept yours)"), "{output:#?}");
    assert!(output.stdout.contains("call `cascade hook pre-push \"$@\"`"), "{output:#?}");
    assert!(sandbox.root().join(".git/hooks/pre-push.d/30-security-scan").exists());
}

#[test]
fn hooks_go_where_git_looks_unless_others_share_it() {
    let inside = Sandbox::new();
    inside.git(&["config", "core.hooksPath", ".hooks"]);
    inside.cascade(&["init"]).expect_code(0);
    assert!(inside.root().join(".hooks/pre-push.d/10-lint").exists());
    assert!(!inside.root().join(".git/hooks/pre-push").exists());
    let shared = Sandbox::new();
    shared.git(&["config", "core.hooksPath", "../shared"]);
    let output = shared.cascade(&["init"]).expect_code(0);
    assert!(!shared.base().join("shared").exists());
    assert!(output.stderr.contains("core.hooksPath is shared"), "{output:#?}");
}

#[test]
fn own_configuration_is_checked_and_its_branches_created() {
    let sandbox = Sandbox::new();
    let text =
        "version: 1\nproject: mine\nsandbox: { branch: work }\nenvironments:\n  live: { from: work, branch: live }\n";
    sandbox.write("cascade-sync.yaml", text);
    sandbox.cascade(&["init"]).expect_code(0);
    assert_eq!(sandbox.read("cascade-sync.yaml"), text);
    assert_eq!(sandbox.git(&["branch", "--format=%(refname:short)"]), "live\nmain\nwork");
    sandbox.write("cascade-sync.yaml", "version: 1\nproject: mine\nenvirons: {}\n");
    let refused = sandbox.cascade(&["init"]).expect_code(2);
    assert!(refused.stderr.contains("environs"), "{refused:#?}");
}

#[test]
fn what_is_no_checkout_with_a_commit_is_refused_with_a_way_on() {
    let nothing = Sandbox::empty();
    check_refused(&nothing, "git init");
    nothing.git(&["init", "--quiet"]);
    check_refused(&nothing, "make the first commit");
    let bare = Sandbox::empty();
    bare.git(&["init", "--quiet", "--bare"]);
    check_refused(&bare, "clone it");
    let detached = Sandbox::new();
    detached.git(&["checkout", "--quiet", "--detach"]);
    check_refused(&detached, "git switch main");
}

#[track_caller]
fn check_refused(sandbox: &Sandbox, hint: &str) {
    let output = sandbox.cascade(&["init"]).expect_code(2);
    assert!(output.stderr.contains("hint: ") && output.stderr.contains(hint), "{output:#?}");
    let document = sandbox.cascade(&["init", "--json"]).expect_code(2).json();
    assert_eq!(document["error"]["kind"], "usage");
    assert!(!sandbox.root().join("cascade-sync.yaml").exists());
}
