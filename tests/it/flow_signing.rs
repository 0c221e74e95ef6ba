//! Commits that cascade makes are signed where git is told to sign.

use crate::flow_ledger::{CHECKED, CHECKS, push_past, release};
use crate::flow_signatures::sign_with_ssh;
use crate::support::pipeline::{PLAIN, Pipeline};

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
