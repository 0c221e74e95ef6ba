//! Entries of the ledger that are signed, that must be, and that are not; and commits that cascade signs as git would.

use serde_json::Value;

use crate::flow_ledger::{CHECKED, CHECKS, LEDGER, codes, problems, push_past, release};
use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::{output, skip};

/// Lets git sign with an ssh key; answers whether there is a program for that.
pub fn sign_with_ssh(pipeline: &Pipeline) -> bool {
    let key = pipeline.base().join("home/key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        skip("ssh-keygen is not installed");
        return false;
    }
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(pipeline.base().join("home/signers"), format!("ada@example.test {public}")).unwrap();
    pipeline.git(&["config", "gpg.format", "ssh"]);
    pipeline.git(&["config", "user.signingKey", key.to_str().unwrap()]);
    true
}

#[test]
fn entries_are_signed_with_the_key_of_gits_configuration() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    pipeline.save_file("site", "unsigned");
    release(&pipeline);
    if !sign_with_ssh(&pipeline) {
        return;
    }
    pipeline.save_file("site", "signed");
    release(&pipeline);
    let untrusting = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert_eq!(untrusting["environments"][1]["releases"][0]["signature"]["status"], "unchecked");
    let signers = pipeline.base().join("home/signers");
    pipeline.git(&["config", "--global", "gpg.ssh.allowedSignersFile", signers.to_str().unwrap()]);
    let report = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    let newest = &report["environments"][1]["releases"][0]["signature"];
    assert_eq!((&newest["status"], &newest["signer"]), (&"good".into(), &"ada@example.test".into()));
    assert_eq!(report["ledger"]["signed"], 4);
    let required = pipeline.in_place("clone", &["verify", "--require-signed", "--json"]).expect_code(1).json();
    assert_eq!(problems(&required, "production"), codes(&[&[], &[], &["not_trusted"]]));
    let told = pipeline.in_place("clone", &["verify", "--require-signed"]).expect_code(1).stderr;
    assert!(told.contains("gpg.ssh.allowedSignersFile") && !told.contains("back-merge"), "{told}");
    std::fs::write(&signers, "").unwrap();
    let unknown = pipeline.in_a_clone(&["verify", "--json"]).expect_code(0).json();
    assert_eq!(unknown["environments"][1]["releases"][0]["signature"]["status"], "unknown");
}

#[test]
fn a_signature_that_does_not_fit_its_entry_is_bad() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    if !sign_with_ssh(&pipeline) {
        return;
    }
    let signers = pipeline.base().join("home/signers");
    pipeline.git(&["config", "--global", "gpg.ssh.allowedSignersFile", signers.to_str().unwrap()]);
    release(&pipeline);
    let landing = pipeline.git(&["rev-parse", &format!("{LEDGER}~1")]);
    let raw = pipeline.git(&["cat-file", "commit", &landing]) + "\n";
    let forged = raw.replace("\"reason\": null", "\"reason\": \"another\"");
    assert_ne!(forged, raw);
    let hashed = output(pipeline.command("git", &["hash-object", "-t", "commit", "-w", "--stdin"]), forged.as_bytes());
    let forged = hashed.expect_code(0).stdout.trim().to_owned();
    pipeline.git(&["push", "--quiet", "--force", "--no-verify", "origin", &format!("{forged}:{LEDGER}")]);
    let found = pipeline.in_a_clone(&["verify", "production", "--json"]).expect_code(1).json();
    assert_eq!(problems(&found, "production"), codes(&[&[], &["bad_signature"]]));
}

#[test]
fn what_must_be_signed_and_cannot_be_does_not_land() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.configure(PLAIN, " {}\nledger: { sign: always }");
    pipeline.save("Sign everything");
    pipeline.git(&["config", "gpg.format", "ssh"]);
    pipeline.git(&["config", "user.signingKey", "/no/such/key"]);
    let tip = pipeline.tip("staging");
    let refused = pipeline.promote("staging", 1);
    assert!(refused.stderr.contains("cannot be signed"), "{refused:?}");
    assert_eq!((pipeline.tip("staging"), pipeline.remote_ledger()), (tip, String::new()));
    assert_eq!(pipeline.newest("staging")["state"], "failed");
    pipeline.configure(PLAIN, " {}\nledger: { sign: auto }");
    pipeline.save("Sign what can be signed");
    let warned = pipeline.promote("staging", 0);
    assert!(warned.stderr.contains("is not signed"), "{warned:?}");
}

/// Puts the newest save onto staging past all rules, with entries of the ledger that say otherwise but are not signed.
fn forge(pipeline: &Pipeline) {
    let id = |what: &str| pipeline.git(&["rev-parse", what]);
    let (before, saved, tree) = (id("staging"), id("develop"), id("develop^{tree}"));
    let message = "Promote develop to staging\n\nCascade-Promotion: zzzzzzzz\n";
    let release = pipeline.git(&["commit-tree", "-m", message, "-p", &before, "-p", &saved, &tree]);
    let landing = pipeline.git(&["log", "-1", "--format=%B", &format!("{LEDGER}~1")]);
    let statement: Value =
        serde_json::from_str(&landing[landing.find('{').unwrap()..=landing.rfind('}').unwrap()]).unwrap();
    let predicate = statement["predicate"].as_object().unwrap();
    let real = |key: &str| {
        let record =
            predicate.values().find_map(|record| record[key].as_str().filter(|_| record["source"].is_string()));
        record.unwrap().to_owned()
    };
    let swaps = [
        (real("candidate"), &release),
        (real("previous"), &before),
        (real("source"), &saved),
        (real("tree"), &tree),
        (real("id"), &"zzzzzzzz".to_owned()),
    ];
    let mut tip = id(LEDGER);
    for entry in [format!("{LEDGER}~1"), LEDGER.to_owned()] {
        let text = pipeline.git(&["log", "-1", "--format=%B", &entry]);
        let text = swaps.iter().fold(text, |text, (old, new)| text.replace(old, new));
        tip = pipeline.git(&["commit-tree", "-m", &text, "-p", &tip, &id(&format!("{LEDGER}^{{tree}}"))]);
    }
    let wishes = [format!("{release}:staging"), format!("{tip}:{LEDGER}")];
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", &wishes[0], &wishes[1]]);
}

#[test]
fn where_all_must_be_signed_an_entry_that_is_not_speaks_for_nothing() {
    for must_be in [false, true] {
        let pipeline = Pipeline::new(true, PLAIN, "");
        if !sign_with_ssh(&pipeline) {
            return;
        }
        if must_be {
            pipeline.configure(PLAIN, " {}\nledger: { sign: always }");
            pipeline.save("Sign everything");
        }
        pipeline.promote("staging", 0);
        pipeline.save_file("site", "nobody approved this");
        forge(&pipeline);
        let expected: &[&str] = if must_be { &["not_trusted"] } else { &[] };
        let code = if must_be { 1 } else { 0 };
        let found = pipeline.in_a_clone(&["verify", "staging", "--json"]).expect_code(code).json();
        assert_eq!(problems(&found, "staging")[1], codes(&[expected])[0], "{found:#}");
        pipeline.save_file("site", "more");
        let promoted = pipeline.promote("staging", if must_be { 5 } else { 0 });
        assert_eq!(promoted.stderr.contains("did not come through the pipeline"), must_be, "{promoted:?}");
        let history = pipeline.cascade(&["history", "staging"]).stdout;
        assert_eq!(history.contains("zzzzzzzz"), !must_be, "{history}");
    }
}

#[test]
fn candidates_and_rollbacks_are_signed_where_git_signs_commits() {
    let pipeline = Pipeline::new(true, CHECKED, CHECKS);
    if !sign_with_ssh(&pipeline) {
        return;
    }
    pipeline.git(&["config", "commit.gpgSign", "true"]);
    pipeline.save_file("site", "one");
    release(&pipeline);
    let is_signed = |commit: &str| pipeline.git(&["cat-file", "commit", commit]).contains("gpgsig");
    assert!(is_signed("staging") && is_signed("main"));
    pipeline.save_file("site", "two");
    release(&pipeline);
    pipeline.cascade(&["rollback", "production"]).expect_code(0);
    assert!(is_signed("main") && pipeline.git(&["log", "-1", "--format=%s", "main"]).contains("back to"));
    pipeline.in_a_clone(&["verify"]).expect_code(0);
    pipeline.git(&["config", "user.signingKey", "/no/such/key"]);
    pipeline.git(&["-c", "commit.gpgSign=false", "commit", "--quiet", "--allow-empty", "-m", "Unsigned"]);
    pipeline.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
    let tip = pipeline.tip("staging");
    let refused = pipeline.promote("staging", 1);
    assert!(refused.stderr.contains("cannot be signed, as `commit.gpgSign` wants it"), "{refused:?}");
    assert_eq!(pipeline.tip("staging"), tip);
}

#[test]
fn merges_of_every_kind_are_signed_where_git_signs_commits() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    if !sign_with_ssh(&pipeline) {
        return;
    }
    pipeline.git(&["config", "commit.gpgSign", "true"]);
    pipeline.save_file("site", "one");
    release(&pipeline);
    push_past(&pipeline);
    pipeline.save_file("site", "two");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["promote", "production", "--merge"]).expect_code(3);
    pipeline.cascade(&["approve"]).expect_code(0);
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    for merge in ["main", "develop"] {
        let commit = pipeline.git(&["cat-file", "commit", merge]);
        assert!(commit.contains("gpgsig") && commit.matches("parent ").count() == 2, "{merge}: {commit}");
    }
}

#[test]
fn a_signed_candidate_that_was_kept_is_the_same_when_it_is_planned_again() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    if !sign_with_ssh(&pipeline) {
        return;
    }
    pipeline.git(&["config", "commit.gpgSign", "true"]);
    let plan = || pipeline.cascade(&["plan", "staging", "--json"]).expect_code(0).json()["candidate"].clone();
    let first = plan();
    assert_eq!(plan(), first);
    pipeline.promote("staging", 0);
    assert_eq!(pipeline.tip("staging"), first.as_str().unwrap());
}
