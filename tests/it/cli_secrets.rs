//! `cascade secrets` and `cascade secrets allow`, in a real checkout.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::support::watched::Watched;
use crate::support::{Sandbox, output};

/// Looks like a token; in two parts, so that this file does not.
fn token() -> String {
    format!("ghp_{}", "q7Rf2LxVb9KdTz4MnWc8HpYs3GjEa6UvQr5X")
}

fn ready() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.cascade(&["init"]).expect_code(0);
    sandbox.commit("Set up");
    sandbox
}

#[test]
fn changed_files_are_listed_with_line_rule_and_masked_value() {
    let sandbox = ready();
    sandbox.write("dir/a b.txt", format!("one\ntoken = {}\n", token()));
    let listed = sandbox.cascade(&["secrets"]).expect_code(4);
    for part in ["dir/a b.txt:2", "github-token", "ghp_…, 40 characters"] {
        assert!(listed.stdout.contains(part), "{part}: {listed:#?}");
    }
    assert!(listed.stderr.contains("cascade secrets allow"), "{listed:#?}");
    assert!(!format!("{listed:?}").contains(&token()));
    let document = sandbox.cascade(&["secrets", "--json"]).expect_code(4).json();
    assert_eq!(document["findings"][0]["line"], 2, "{document}");
    assert_eq!(document["findings"][0]["fingerprint"].as_str().map(str::len), Some(16), "{document}");
    assert_eq!(document["not_allowed"], 1);
}

#[test]
fn what_is_committed_is_listed_only_where_it_is_named() {
    let sandbox = ready();
    sandbox.write("dir/f", format!("{}\n", token()));
    sandbox.commit("Oops");
    sandbox.cascade(&["secrets"]).expect_code(0);
    sandbox.write("dir/f", format!("more\n{}\n", token()));
    sandbox.cascade(&["secrets"]).expect_code(0);
    sandbox.cascade(&["secrets", "dir"]).expect_code(4);
    sandbox.cascade(&["--project", "dir", "secrets", "f"]).expect_code(4);
    let outside = sandbox.cascade(&["secrets", "../home"]).expect_code(2);
    assert!(outside.stderr.contains("is not in the checkout"), "{outside:#?}");
}

#[test]
fn excluded_files_are_looked_at_only_where_they_are_named() {
    let sandbox = ready();
    sandbox.write(".env", format!("TOKEN={}\n", token()));
    sandbox.cascade(&["secrets"]).expect_code(0);
    sandbox.cascade(&["secrets", ".env"]).expect_code(4);
}

#[test]
fn allowed_values_are_noted_with_their_reason_and_nothing_else_changes() {
    let sandbox = ready();
    let other = token().replace("ghp_", "gho_");
    sandbox.write("f", format!("{}\n{other}\n", token()));
    let before = sandbox.read("cascade-sync.yaml");
    sandbox.cascade(&["secrets", "allow", "f:1", "--reason", "made up: \"it\" # is"]).expect_code(0);
    let after = sandbox.read("cascade-sync.yaml");
    assert!(after.starts_with(&before) && !after.contains(&token()), "{after}");
    let listed = sandbox.cascade(&["secrets", "--json"]).expect_code(4).json();
    assert_eq!(listed["findings"][0]["allowed"], "made up: \"it\" # is", "{listed}");
    assert!(listed["findings"][1]["allowed"].is_null() && listed["not_allowed"] == 1, "{listed}");
    sandbox.cascade(&["secrets", "allow", "f", "--reason", "both"]).expect_code(0);
    sandbox.cascade(&["secrets"]).expect_code(0);
    let again = sandbox.cascade(&["secrets", "allow", "f", "--reason", "both"]).expect_code(0);
    assert_eq!(again.stdout, "it is allowed already\n");
    sandbox.write("g", token());
    sandbox.cascade(&["secrets"]).expect_code(4);
}

#[test]
fn allowing_works_for_names_full_of_signs() {
    let sandbox = ready();
    for name in ["a b [1]*?.txt", "!x#y", "{z}:1", "-w"] {
        sandbox.write(name, format!("{}\n", token()));
        sandbox.cascade(&["secrets", "--", name]).expect_code(4);
        sandbox.cascade(&["secrets", "allow", "--reason", "made up", "--", name]).expect_code(0);
        sandbox.cascade(&["secrets", "--", name]).expect_code(0);
    }
}

#[test]
fn wishes_that_allow_nothing_are_refused() {
    let sandbox = ready();
    sandbox.write("f", format!("{}\n", token()));
    let before = sandbox.read("cascade-sync.yaml");
    for words in [&["f:2"][..], &["f", "--rule", "other"], &["README"], &["nowhere"]] {
        sandbox.cascade(&[&["secrets", "allow", "--reason", "why"], words].concat()).expect_code(2);
    }
    for reason in ["", " "] {
        sandbox.cascade(&["secrets", "allow", "f", "--reason", reason]).expect_code(2);
    }
    sandbox.cascade(&["secrets", "allow", "f"]).expect_code(2);
    assert_eq!(sandbox.read("cascade-sync.yaml"), before);
}

#[test]
fn list_in_brackets_is_not_touched_and_the_entry_is_shown() {
    let sandbox = ready();
    sandbox.write("f", format!("{}\n", token()));
    let pipeline = "version: 1\nproject: p\nsecrets: { allow: [] }\n";
    sandbox.write("cascade-sync.yaml", pipeline);
    let refused = sandbox.cascade(&["secrets", "allow", "f", "--reason", "why"]).expect_code(2);
    assert!(refused.stderr.contains("path: \"/f\"") && refused.stderr.contains("hint:"), "{refused:#?}");
    assert_eq!(sandbox.read("cascade-sync.yaml"), pipeline);
}

#[test]
fn rules_of_the_checkout_are_asked_too() {
    let sandbox = ready();
    let pipeline = sandbox.read("cascade-sync.yaml");
    sandbox.write("cascade-sync.yaml", format!("{pipeline}\nsecrets:\n  rules: [rules.toml]\n"));
    let missing = sandbox.cascade(&["secrets"]).expect_code(2);
    assert!(missing.stderr.contains("rules.toml") && missing.stderr.contains("hint:"), "{missing:#?}");
    sandbox.write("rules.toml", "[[rules]]\nid = 'house'\nregex = 'house-[0-9]{6}'\nkeywords = ['house-']\n");
    sandbox.write("f", "house-123456\n");
    let listed = sandbox.cascade(&["secrets", "--json"]).expect_code(4).json();
    assert_eq!(listed["findings"][0]["rule"], "house");
}

#[test]
fn committed_value_on_a_new_line_is_news_here_as_in_a_save() {
    let sandbox = ready();
    sandbox.write("f", format!("{}\n", token()));
    sandbox.commit("Oops");
    sandbox.write("f", format!("{}\nagain {}\n", token(), token()));
    let listed = sandbox.cascade(&["secrets", "--json"]).expect_code(4).json();
    assert_eq!((&listed["not_allowed"], &listed["findings"][0]["line"]), (&1.into(), &2.into()), "{listed}");
}

#[test]
fn the_command_that_allows_a_value_works_as_it_is_printed_whatever_the_name() {
    let watched = Watched::started();
    let names: [&[u8]; 8] =
        [b"a b", b"it's", b"two\nlines", b"-d", b"\xff\xfe", b"$(x) `y`", b"x:1", "100%s\t\u{202e}\"".as_bytes()];
    for name in names {
        std::fs::write(watched.root().join(OsStr::from_bytes(name)), format!("{}\n", token())).unwrap();
    }
    let kept_out = || watched.cascade(&["status", "--json"]).json()["sandbox"]["not_saved"].clone();
    watched.until("all of them kept out", || kept_out().as_array().unwrap().len() == names.len());
    for aside in kept_out().as_array().unwrap() {
        let reason = aside["reason"].as_str().unwrap();
        let begin = reason.find("cascade secrets allow").unwrap();
        let command = reason[begin..].rsplit_once('`').unwrap().0;
        let said = output(watched.command("sh", &["-c", command]), b"");
        assert_eq!(said.code, 0, "{command}: {said:#?}");
    }
    watched.until("all of them saved", || kept_out().as_array().unwrap().is_empty());
    for name in names {
        let listed = watched.git(&["ls-tree", "-r", "-z", "--name-only", "develop"]);
        let text = String::from_utf8_lossy(name);
        assert!(listed.split('\0').any(|listed| listed == text), "{text:?}: {listed:?}");
    }
}
