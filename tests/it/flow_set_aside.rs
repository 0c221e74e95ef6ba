//! What is not saved, and how people get to know.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::Sandbox;
use crate::support::watched::Watched;

fn sandbox(watched: &Watched) -> Value {
    watched.cascade(&["status", "--json"]).json()["sandbox"].take()
}

#[test]
fn tracked_files_that_are_excluded_and_changed_are_counted_and_listed() {
    let watched = Watched::ready("200ms", "");
    for number in 0..3 {
        watched.write(&format!("node_modules/f{number}"), "first\n");
    }
    watched.git(&["add", "--force", "node_modules"]);
    watched.git(&["commit", "--quiet", "--no-verify", "-m", "tracked, and excluded from saving"]);
    watched.write("node_modules/f0", "second\n");
    std::fs::remove_file(watched.root().join("node_modules/f1")).unwrap();
    watched.start();
    let expected = json!({ "count": 2, "paths": ["node_modules/f0", "node_modules/f1"] });
    assert_eq!(sandbox(&watched)["excluded"], expected);
    let status = watched.cascade(&["status"]).stdout;
    assert!(status.contains("not saved: 2 tracked files that changed (`cascade status --all`)"), "{status}");
    for all in ["--all", "-v"] {
        let status = watched.cascade(&["status", all]).stdout;
        assert!(status.contains("not saved: node_modules/f1: excluded by sandbox.exclude"), "{status}");
    }
    watched.git(&["checkout", "--quiet", "node_modules"]);
    watched.git(&["commit", "--quiet", "--no-verify", "--allow-empty", "-m", "a word of the user's"]);
    watched.until("nothing is left out", || sandbox(&watched)["excluded"]["count"] == 0);
}

#[test]
fn an_unreadable_directory_is_listed_with_its_reason_and_the_rest_is_saved() {
    let Some(at) = Sandbox::with_origin().unprivileged() else { return };
    let watched = Watched::of(at, "200ms", "");
    let close = |name: &str, mode| {
        std::fs::set_permissions(watched.root().join(name), Permissions::from_mode(mode)).unwrap();
    };
    for directory in ["un\nread\"able", "tracked", "later"] {
        watched.write(&format!("{directory}/file"), "first\n");
    }
    watched.git(&["add", "tracked"]);
    watched.git(&["commit", "--quiet", "--no-verify", "-m", "a file that nobody can read later"]);
    close("un\nread\"able", 0o000);
    close("tracked", 0o600);
    watched.start();
    watched.write("other", "x\n");
    watched.until_saved("develop", "other", "x");
    watched.until_saved("develop", "later/file", "first");
    close("later", 0o000);
    let listed = || sandbox(&watched)["not_saved"].clone();
    let reason = "it cannot be read: Permission denied (os error 13)";
    let expected =
        json!(["un\\nread\"able", "tracked/file", "later"].map(|path| json!({ "path": path, "reason": reason })));
    let sorted = |value: Value| {
        let mut paths: Vec<String> = value.as_array().unwrap().iter().map(Value::to_string).collect();
        paths.sort();
        paths
    };
    watched.until("all of them are listed", || sorted(listed()) == sorted(expected.clone()));
    let limited = sandbox(&watched)["limited"].as_str().unwrap().to_owned();
    assert_eq!(limited, "the directory un\\nread\"able is not watched: Permission denied (os error 13)");
    assert!(!watched.log().contains(" about ["), "{}", watched.log());
    for directory in ["un\nread\"able", "tracked", "later"] {
        close(directory, 0o755);
    }
    watched.until_saved("develop", "un\nread\"able/file", "first");
    watched.until("what was closed meanwhile is not listed", || !listed().to_string().contains("later"));
    watched.git(&["commit", "--quiet", "--no-verify", "--allow-empty", "-m", "a reason to look at everything"]);
    watched.until("nothing is listed", || listed() == json!([]));
    assert_eq!(watched.git(&["log", "--diff-filter=D", "--format=%h", "develop"]), "");
}

/// A checkout whose watcher finds out only what it is told of.
fn seldom_beating() -> Watched {
    let watched = Watched::ready("200ms", "");
    let seldom = watched.read("cascade-sync.yaml").replace("every: 1s", "every: 10m");
    watched.write("cascade-sync.yaml", seldom);
    watched
}

#[test]
fn what_the_index_does_not_keep_to_the_user_any_more_is_saved_though_nothing_is_written() {
    for (mark, way_back) in [("--skip-worktree", "--no-skip-worktree"), ("--assume-unchanged", "--no-assume-unchanged")]
    {
        let watched = seldom_beating();
        watched.write("my own", "first\n");
        watched.commit("tracked");
        watched.git(&["update-index", mark, "my own"]);
        watched.start();
        watched.write("my own", "mine\n");
        let listed = || sandbox(&watched)["not_saved"][0]["reason"].as_str().unwrap_or_default().to_owned();
        watched.until("it is listed", || listed().contains(&format!("`git update-index {way_back} -- 'my own'`")));
        watched.git(&["update-index", way_back, "--", "my own"]);
        watched.until_saved("develop", "my own", "mine");
        watched.until("it is not listed", || listed().is_empty());
    }
}

#[test]
fn what_the_user_takes_out_of_the_index_is_shown_as_staged() {
    let watched = seldom_beating();
    for path in ["keep", "other"] {
        watched.write(path, "first\n");
    }
    watched.commit("tracked");
    watched.start();
    watched.git(&["rm", "--quiet", "--cached", "keep"]);
    watched.until("it is shown", || sandbox(&watched)["staged"] == json!(["keep"]));
    watched.write("other", "second\n");
    watched.until_saved("develop", "other", "second");
    watched.write("keep", "second\n");
    watched.until_saved("develop", "keep", "second");
    assert_eq!(watched.git(&["ls-files", "keep"]), "");
    assert_eq!(sandbox(&watched)["staged"], json!(["keep"]));
}

#[test]
fn a_save_that_cannot_be_signed_says_so_and_what_to_look_at() {
    let watched = Watched::started();
    watched.git(&["config", "gpg.program", "/nowhere/gpg"]);
    watched.git(&["config", "commit.gpgSign", "true"]);
    watched.write("page", "first\n");
    let reason = || sandbox(&watched)["reason"].as_str().unwrap_or_default().to_owned();
    watched.until("it is told", || reason().starts_with("the save cannot be signed: "));
    let told = reason();
    let commands = ["git config user.signingKey", "git config gpg.format", "git commit-tree -S -m test"];
    assert!(commands.iter().all(|command| told.contains(command)), "{told}");
    assert!(!told.contains("/nowhere/gpg -c") && !told.contains("-S -p"), "{told}");
    watched.git(&["config", "commit.gpgSign", "false"]);
    watched.until_saved("develop", "page", "first");
}

#[test]
fn an_allowed_secret_moves_with_its_file_and_into_no_other() {
    let watched = Watched::ready("200ms", "");
    let token = format!("token = ghp_{}\n", "q7Rf2LxVb9KdTz4MnWc8HpYs3GjEa6UvQr5X");
    watched.write("s1", &token);
    watched.cascade(&["secrets", "allow", "s1:1", "--reason", "made up"]).expect_code(0);
    watched.start();
    watched.until_saved("develop", "s1", token.trim());
    watched.write("copy", &token);
    watched.until("a copy is none of it", || sandbox(&watched)["not_saved"][0]["path"] == "copy");
    std::fs::remove_file(watched.root().join("copy")).unwrap();
    std::fs::rename(watched.root().join("s1"), watched.root().join("s2")).unwrap();
    watched.until_saved("develop", "s2", token.trim());
    watched.until("nothing is listed", || sandbox(&watched)["not_saved"] == json!([]));
    assert_eq!(watched.at("develop", "s1"), None);
    watched.until_pushed();
}

#[test]
fn a_linked_worktree_names_the_checkout_that_is_watched() {
    let watched = Watched::started();
    let other = tempfile::tempdir().unwrap();
    let place = other.path().join("other");
    let place = place.to_str().unwrap();
    watched.git(&["worktree", "add", "--quiet", "-b", "aside", place, "develop"]);
    let told = watched.cascade(&["--project", place, "status"]).expect_code(0).stdout;
    let told = told.replace("\n", " ").split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(told.contains("nothing is saved here: the checkout that is watched is"), "{told}");
    assert!(!told.contains(" watching"), "{told}");
    let root = watched.root().canonicalize().unwrap();
    let elsewhere = &watched.cascade(&["--project", place, "status", "--json"]).json()["sandbox"]["elsewhere"];
    assert_eq!(elsewhere.as_str(), root.to_str());
    assert!(sandbox(&watched)["elsewhere"].is_null());
}

#[test]
fn a_push_that_is_refused_says_when_it_is_tried_again() {
    let watched = Watched::ready("200ms", "");
    let hook = watched.git(&["rev-parse", "--git-path", "hooks/pre-push"]);
    let hook = watched.root().join(hook);
    std::fs::write(&hook, "#!/bin/sh\necho not today >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, Permissions::from_mode(0o755)).unwrap();
    watched.start();
    watched.write("page", "first\n");
    watched.until("it is told", || sandbox(&watched)["push_again"].is_string());
    let status = watched.cascade(&["status"]).stdout;
    assert!(status.contains("cannot push: ") && status.contains("the push is tried again at "), "{status}");
    let doctor = watched.cascade(&["doctor", "--json"]).stdout;
    assert!(doctor.contains("what is saved is safe here, and it is tried again at "), "{doctor}");
    assert!(!doctor.contains("see `remote`"), "{doctor}");
}
