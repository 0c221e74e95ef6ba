//! `cascade hook …`, through real pushes to a bare remote.

use crate::support::Sandbox;

/// Looks like an AWS access key; in two parts, so that this file does not.
fn key() -> String {
    format!("AKIA{}", "QX4BIPW3AHOV2ZGN")
}

fn ready() -> Sandbox {
    let sandbox = Sandbox::with_origin();
    sandbox.cascade(&["init"]).expect_code(0);
    sandbox.commit("Set up");
    sandbox
}

fn with_checks(checks: &str) -> Sandbox {
    let sandbox = ready();
    let pipeline = "version: 1\nproject: p\nenvironments:\n  staging: { from: develop, branch: staging }\n";
    sandbox.write("cascade-sync.yaml", format!("{pipeline}checks: {checks}\n"));
    sandbox.commit("Checks");
    sandbox
}

#[test]
fn clean_push_goes_through() {
    let sandbox = ready();
    sandbox.git(&["push", "--quiet", "origin", "develop", "staging"]);
    assert_eq!(sandbox.git(&["ls-remote", "origin", "develop"]).split('\t').nth(1), Some("refs/heads/develop"));
}

#[test]
fn secret_blocks_the_push_and_says_where_it_is() {
    let sandbox = ready();
    sandbox.write("dir/a b.txt", format!("first\nid = \"{}\"\n", key()));
    sandbox.commit("Oops");
    let blocked = sandbox.try_git(&["push", "origin", "develop"]);
    assert_eq!(blocked.code, 1, "{blocked:#?}");
    assert!(blocked.stderr.contains("dir/a b.txt:2: "), "{blocked:#?}");
    assert!(blocked.stderr.contains("cascade:allow-secret"), "{blocked:#?}");
    assert!(blocked.stderr.contains("the push is blocked: `30-security-scan` failed"), "{blocked:#?}");
    assert!(!blocked.stderr.contains(&key()), "the secret is shown: {blocked:#?}");
    assert_eq!(sandbox.git(&["ls-remote", "origin", "develop"]), "");
}

#[test]
fn secret_in_an_earlier_commit_of_the_push_blocks_it() {
    let sandbox = ready();
    sandbox.git(&["push", "--quiet", "origin", "develop"]);
    sandbox.write("f", key());
    sandbox.commit("Oops");
    sandbox.write("f", "gone");
    sandbox.commit("Gone");
    assert_eq!(sandbox.try_git(&["push", "origin", "develop"]).code, 1);
}

#[test]
fn secret_that_attributes_hide_from_diff_blocks_the_push() {
    let sandbox = ready();
    sandbox.write(".gitattributes", "* -diff\n");
    sandbox.write("f", key());
    sandbox.commit("Oops");
    assert_eq!(sandbox.try_git(&["push", "origin", "develop"]).code, 1);
}

#[test]
fn secret_that_configuration_hides_from_log_blocks_the_push() {
    let sandbox = Sandbox::empty();
    sandbox.git(&["init", "--quiet"]);
    sandbox.write("f", key());
    sandbox.commit("First commit");
    for (name, value) in [("log.showRoot", "false"), ("diff.noprefix", "false"), ("diff.context", "5")] {
        sandbox.git(&["config", name, value]);
    }
    let scan = sandbox.cascade(&["hook", "security-scan", "--json"]).expect_code(1).json();
    assert_eq!(scan["error"]["kind"], "denied");
    assert!(scan["error"]["causes"][0].as_str().unwrap().starts_with("f:1: "), "{scan}");
}

#[test]
fn secret_that_only_a_merge_brings_blocks_the_push() {
    let sandbox = ready();
    sandbox.git(&["push", "--quiet", "origin", "develop"]);
    sandbox.git(&["switch", "--quiet", "-c", "side"]);
    sandbox.write("side", "side\n");
    sandbox.commit("Side");
    sandbox.git(&["switch", "--quiet", "develop"]);
    sandbox.git(&["merge", "--quiet", "--no-ff", "--no-commit", "side"]);
    sandbox.write("evil", key());
    sandbox.commit("Merge");
    assert_eq!(sandbox.try_git(&["push", "origin", "develop"]).code, 1);
}

#[test]
fn allowed_and_already_pushed_secrets_do_not_block() {
    let sandbox = ready();
    sandbox.write("f", format!("{} # cascade:allow-secret\n", key()));
    sandbox.commit("An example");
    sandbox.git(&["push", "--quiet", "origin", "develop"]);
    sandbox.write("g", key());
    sandbox.commit("Oops");
    sandbox.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
    sandbox.git(&["push", "--quiet", "origin", "develop:refs/heads/copy"]);
    sandbox.git(&["push", "--quiet", "origin", ":refs/heads/copy"]);
}

#[test]
fn a_configuration_that_is_broken_keeps_no_save_from_the_remote_and_lets_no_secret_through() {
    let sandbox = ready();
    let allowed = "version: 1\nproject: p\nenvironments:\n  staging: { from: develop, branch: staging }\n\
                   secrets: { allow: [{ path: f, reason: example }] }\n";
    sandbox.write("cascade-sync.yaml", allowed);
    sandbox.commit("Configured");
    sandbox.write("cascade-sync.yaml", format!("{allowed}slip of the pen\n"));
    sandbox.write("f", key());
    sandbox.commit("Saved");
    let pushed = sandbox.try_git(&["push", "origin", "develop"]);
    assert_eq!(pushed.code, 0, "{pushed:#?}");
    assert!(pushed.stderr.contains("goes by the configuration of"), "{pushed:#?}");
    sandbox.write("g", key());
    sandbox.commit("Oops");
    assert_eq!(sandbox.try_git(&["push", "origin", "develop"]).code, 1);
}

#[test]
fn allow_list_counts_for_pushes_too() {
    let sandbox = ready();
    sandbox.write("f", key());
    sandbox.commit("Oops");
    assert_eq!(sandbox.try_git(&["push", "origin", "develop"]).code, 1);
    sandbox.cascade(&["secrets", "allow", "f", "--reason", "an example"]).expect_code(0);
    sandbox.git(&["push", "--quiet", "origin", "develop"]);
}

#[test]
fn scan_runs_for_pushes_of_cascade_too() {
    let sandbox = ready();
    sandbox.write("f", key());
    sandbox.commit("Oops");
    let mut push = sandbox.command("git", &["push", "origin", "develop"]);
    push.env("CASCADE_PUSH", "1");
    assert_eq!(crate::support::output(push, b"").code, 1);
}

#[test]
fn failing_lint_blocks_pushes_other_than_the_sandbox() {
    let sandbox = with_checks("{ lint: { run: \"echo linting; exit 3\" } }");
    sandbox.git(&["push", "--quiet", "origin", "develop"]);
    let blocked = sandbox.try_git(&["push", "origin", "develop:refs/heads/feature"]);
    assert_eq!(blocked.code, 1, "{blocked:#?}");
    assert!(blocked.stderr.contains("check `lint` failed: exit status: 3"), "{blocked:#?}");
    assert!(blocked.stderr.contains("the push is blocked: `10-lint` failed"), "{blocked:#?}");
    let mut own = sandbox.command("git", &["push", "origin", "develop:refs/heads/feature"]);
    own.env("CASCADE_PUSH", "1");
    assert_eq!(crate::support::output(own, b"").code, 0);
}

#[test]
fn checks_that_are_not_commands_are_nothing_to_do() {
    let sandbox = with_checks("{ lint: { tcp: \"127.0.0.1:1\" } }");
    for (hook, name) in [("lint", "lint"), ("test", "test")] {
        let output = sandbox.cascade(&["hook", hook]).expect_code(0);
        assert_eq!(output.stderr, format!("no check named `{name}`: nothing to do\n"));
    }
}

#[test]
fn test_check_runs_at_the_top_of_the_checkout_without_gits_variables() {
    let sandbox = with_checks("{ test: { run: \"pwd -P; test -z \\\"$GIT_DIR\\\"\" } }");
    sandbox.write("deep/file", "");
    let mut hook = sandbox.command(env!("CARGO_BIN_EXE_cascade"), &["--project", "deep", "hook", "test"]);
    hook.env("GIT_DIR", "/nowhere");
    let output = crate::support::output(hook, b"").expect_code(0);
    assert_eq!(output.stdout.trim(), sandbox.root().canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn programs_run_in_order_with_the_same_input_until_one_fails() {
    let sandbox = Sandbox::with_origin();
    let print = "#!/bin/sh\necho \"$0 $*\" | sed 's/.*pre-push.d.//' >> log\ncat >> log\n";
    sandbox.write_program(".git/hooks/pre-push.d/20-second", &format!("{print}exit 1\n"));
    sandbox.write_program(".git/hooks/pre-push.d/10-first", print);
    sandbox.write_program(".git/hooks/pre-push.d/30-third", print);
    sandbox.write(".git/hooks/pre-push.d/00-not-executable", print);
    let output = sandbox.cascade_fed(&["hook", "pre-push", "origin", "URL"], b"line\n").expect_code(1);
    assert_eq!(sandbox.read("log"), "10-first origin URL\nline\n20-second origin URL\nline\n");
    assert!(output.stderr.contains("`20-second` failed"), "{output:#?}");
}

#[test]
fn missing_directory_runs_nothing() {
    let sandbox = Sandbox::with_origin();
    sandbox.cascade_fed(&["hook", "pre-push", "origin", "URL"], b"line\n").expect_code(0);
}

#[test]
fn input_that_git_never_gives_is_refused() {
    let sandbox = Sandbox::with_origin();
    let input = b"refs/heads/a --output=x refs/heads/a 0\n";
    let output = sandbox.cascade_fed(&["hook", "security-scan", "origin", "URL"], input);
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(!sandbox.root().join("x").exists());
}
