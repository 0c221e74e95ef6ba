//! Gates: rules that a change cannot weaken, candidates that are approved before, freezes, waivers and who may approve.

use std::process::Stdio;
use std::sync::Arc;

use cascade::base::clock::ManualClock;
use cascade::promote::{self, Request, Silent};

use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::{Output, context};

const APPROVED: &str = "
  staging: { from: develop, branch: staging, approval: { required: 1 } }
";
const OPEN: &str = "
  staging: { from: develop, branch: staging }
";
/// Frozen all day, every day.
const FROZEN: &str = "
  staging: { from: develop, branch: staging, freeze: [\"00:00 - 00:00 UTC\"], waive: [freeze, checks], checks: [good] }
";
const GOOD: &str = "\n  good: { run: \"test ! -e broken\" }";

impl Pipeline {
    /// Acts as somebody else.
    fn become_person(&self, name: &str) {
        self.git(&["config", "user.name", name]);
        self.git(&["config", "user.email", &format!("{name}@example.test")]);
    }

    /// Plans and answers the promotion's id and the candidate.
    #[track_caller]
    fn plan(&self, environment: &str) -> (String, String) {
        let plan = self.cascade(&["plan", environment, "--json"]).expect_code(0).json();
        let text = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
        (text("promotion"), text("candidate"))
    }
}

#[track_caller]
fn told(output: &Output, words: &str) {
    assert!(output.stderr.contains(words), "{output:#?}");
}

#[test]
fn a_planned_candidate_is_approved_before_and_lands_as_it_is() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    let main = pipeline.tip("main");
    let (id, candidate) = pipeline.plan("production");
    assert_eq!(pipeline.plan("production"), (id.clone(), candidate.clone()), "planning again plans nothing new");
    assert_eq!(pipeline.newest("production")["state"], "planned");
    assert_eq!(pipeline.tip("main"), main);
    let approved = pipeline.cascade(&["approve", &id]).expect_code(0);
    assert!(approved.stdout.contains("cascade promote production"), "{approved:?}");
    assert_eq!(pipeline.tip("main"), main, "an approval of a plan lands nothing");
    pipeline.promote("production", 0);
    assert_eq!(pipeline.tip("main"), candidate);
    assert_eq!(pipeline.newest("production")["id"], id.as_str());
}

#[test]
fn an_approval_of_what_was_superseded_says_by_what() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let old = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    pipeline.save_file("a", "2");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let new = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    for word in ["approve", "reject"] {
        told(&pipeline.cascade(&[word, &old]).expect_code(7), &format!("superseded by promotion {new}"));
    }
    assert_eq!(pipeline.newest("production")["state"], "waiting");
}

#[test]
fn a_plan_is_void_once_there_is_something_newer() {
    let pipeline = Pipeline::new(false, APPROVED, "");
    let (first, candidate) = pipeline.plan("staging");
    pipeline.cascade(&["approve", &first]).expect_code(0);
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 3);
    assert_eq!(pipeline.cascade(&["show", &first, "--json"]).json()["state"], "superseded");
    assert_ne!(pipeline.tip("staging"), candidate);
    let late = pipeline.cascade(&["approve", &first]).expect_code(7);
    told(&late, "something newer came first");
}

#[test]
fn a_plan_does_not_supersede_what_waits() {
    let pipeline = Pipeline::new(false, APPROVED, "");
    pipeline.promote("staging", 3);
    let waiting = pipeline.newest("staging")["id"].clone();
    pipeline.save_file("a", "1");
    assert_eq!(pipeline.plan("staging").0, "", "only promoting supersedes");
    assert_eq!(pipeline.newest("staging")["id"], waiting);
    assert_eq!(pipeline.newest("staging")["state"], "waiting");
}

#[test]
fn a_change_cannot_weaken_the_gate_that_it_has_to_pass() {
    let pipeline = Pipeline::new(true, APPROVED, "");
    pipeline.promote("staging", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    pipeline.configure(OPEN, "");
    pipeline.save("Approvals are a nuisance");
    let waiting = pipeline.promote("staging", 3);
    told(&waiting, "needs 1 approval");
    let why = pipeline.cascade(&["why", "staging"]).expect_code(0);
    assert!(why.stdout.contains("rules: cascade-sync.yaml as `staging` has it"), "{why:?}");
    pipeline.cascade(&["approve"]).expect_code(0);
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
}

#[test]
fn checks_are_those_of_the_environment_until_the_change_is_live() {
    let pipeline = Pipeline::new(false, "\n  staging: { from: develop, branch: staging, checks: [good] }\n", GOOD);
    pipeline.promote("staging", 0);
    let live = pipeline.tip("staging");
    pipeline
        .configure("\n  staging: { from: develop, branch: staging, checks: [good] }\n", "\n  good: { run: \"true\" }");
    pipeline.save_file("broken", "yes");
    let failed = pipeline.promote("staging", 4);
    told(&failed, "check `good` failed");
    assert_eq!(pipeline.tip("staging"), live);
}

#[test]
fn rules_with_a_check_that_cannot_start_are_mended_on_the_environments_own_branch() {
    let staging = "\n  staging: { from: develop, branch: staging, checks: [good] }\n";
    let pipeline = Pipeline::new(true, staging, GOOD);
    pipeline.promote("staging", 0);
    pipeline.configure(staging, "\n  good: { run: no-such-command }");
    pipeline.save("Mistake the check");
    pipeline.promote("staging", 0);
    pipeline.configure(staging, GOOD);
    pipeline.save("Mend it where it does not count yet");
    let stuck = pipeline.promote("staging", 4);
    told(&stuck, "commit the mended cascade-sync.yaml to `staging` and push it, `cascade back-merge staging`");
    let other = pipeline.base().join("other");
    pipeline.git(&["clone", "--quiet", "--branch", "staging", "../origin.git", other.to_str().unwrap()]);
    std::fs::copy(pipeline.root().join("cascade-sync.yaml"), other.join("cascade-sync.yaml")).unwrap();
    let at = other.to_str().unwrap();
    pipeline.git(&["-C", at, "commit", "--quiet", "-am", "Mend the check"]);
    pipeline.git(&["-C", at, "push", "--quiet"]);
    pipeline.cascade(&["back-merge", "staging"]).expect_code(0);
    pipeline.save_file("page", "one");
    pipeline.promote("staging", 0);
    assert_eq!(pipeline.git(&["show", "staging:page"]), "one");
    pipeline.in_a_clone(&["verify"]).expect_code(0);
}

#[test]
fn a_candidate_whose_configuration_is_broken_does_not_land() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let live = pipeline.tip("staging");
    let good = pipeline.read("cascade-sync.yaml");
    pipeline.write("cascade-sync.yaml", "version: 1\nproject: shop\nenviroments: {}\n");
    pipeline.save("A typo");
    // The checkout's own configuration is good again; what would land is not.
    pipeline.write("cascade-sync.yaml", good);
    let refused = pipeline.promote("staging", 1);
    told(&refused, "did you mean `environments`?");
    assert_eq!(pipeline.tip("staging"), live);
}

#[test]
fn a_freeze_is_passed_by_with_a_reason_that_is_recorded() {
    let pipeline = Pipeline::new(false, FROZEN, GOOD);
    let waiting = pipeline.promote("staging", 3);
    told(&waiting, "frozen until");
    told(&waiting, "--waive freeze --reason");
    pipeline.cascade(&["promote", "staging", "--waive", "freeze"]).expect_code(2);
    pipeline.cascade(&["promote", "staging", "--waive", "hold", "--reason", "x"]).expect_code(2);
    pipeline.cascade(&["promote", "staging", "--waive", "freeze", "--reason", "outage 42"]).expect_code(0);
    let landed = pipeline.newest("staging");
    assert_eq!(landed["waivers"][0]["gate"], "freeze");
    assert_eq!(landed["waivers"][0]["reason"], "outage 42");
    assert_eq!(landed["waivers"][0]["person"], "Ada <ada@example.test>");
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 3);
}

#[test]
fn waived_checks_are_asked_and_recorded_all_the_same() {
    let pipeline = Pipeline::new(false, FROZEN, GOOD);
    pipeline.save_file("broken", "yes");
    pipeline.cascade(&["promote", "staging", "--waive", "freeze", "--reason", "x"]).expect_code(4);
    pipeline
        .cascade(&["promote", "staging", "--waive", "freeze,checks", "--reason", "the build machine is down"])
        .expect_code(0);
    let landed = pipeline.newest("staging");
    assert_eq!(landed["checks"][0]["outcome"], "fail");
    assert_eq!(landed["waivers"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_the_rules_do_not_let_be_waived_stays_closed() {
    let pipeline = Pipeline::new(false, APPROVED, "");
    let refused =
        pipeline.cascade(&["promote", "staging", "--waive", "approval", "--reason", "in a hurry"]).expect_code(1);
    told(&refused, "staging does not let its gate `approval` be waived");
    told(&refused, "these may be: soak, freeze");
    assert_eq!(pipeline.cascade(&["history", "--json"]).json().as_array().map(Vec::len), Some(0));
}

#[test]
fn only_those_who_may_approve_can() {
    let environments = "
  staging:
    from: develop
    branch: staging
    approval: { required: 1, self: false, from: [leads] }
groups: { leads: [ada@example.test, bob@example.test, eve@example.test] }
";
    let pipeline = Pipeline::new(false, environments, "");
    pipeline.become_person("bob");
    pipeline.save_file("a", "1");
    pipeline.become_person("zoe");
    let waiting = pipeline.promote("staging", 3);
    told(&waiting, "from leads");
    let stranger = pipeline.cascade(&["approve"]).expect_code(1);
    told(&stranger, "zoe <zoe@example.test> may not approve promotions to staging");
    pipeline.become_person("bob");
    let author = pipeline.cascade(&["approve"]).expect_code(1);
    told(&author, "or wrote what it brings");
    pipeline.become_person("eve");
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.newest("staging")["approved_by"][0], "eve <eve@example.test>");
}

#[test]
fn one_person_is_not_two() {
    let environments = "\n  staging: { from: develop, branch: staging, approval: { required: 2 } }\n";
    let pipeline = Pipeline::new(false, environments, "");
    pipeline.promote("staging", 3);
    pipeline.cascade(&["approve"]).expect_code(3);
    let again = pipeline.cascade(&["approve"]).expect_code(2);
    told(&again, "is approved by you already: 1 of 2 approvals");
    // Another name at the same address is still the same person.
    pipeline.git(&["config", "user.name", "Somebody Else"]);
    pipeline.cascade(&["approve"]).expect_code(2);
    pipeline.become_person("bob");
    pipeline.cascade(&["approve"]).expect_code(0);
}

/// Production with everything that a change could want to be rid of.
const GUARDED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 2, self: false }, checks: [good] }
";

/// Brings what is saved to production, where `GUARDED` wants two people.
fn release_guarded(pipeline: &Pipeline) {
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    approve_as(pipeline, &["bob"], 3);
    approve_as(pipeline, &["eve"], 0);
}

/// Approves as one person after the other, and is Ada again.
#[track_caller]
fn approve_as(pipeline: &Pipeline, people: &[&str], code: i32) {
    for person in people {
        pipeline.become_person(person);
        pipeline.cascade(&["approve"]).expect_code(code);
    }
    pipeline.git(&["config", "user.name", "Ada"]);
    pipeline.git(&["config", "user.email", "ada@example.test"]);
}

#[test]
fn an_environment_with_another_name_keeps_the_rules_of_its_branch() {
    let pipeline = Pipeline::new(false, GUARDED, GOOD);
    release_guarded(&pipeline);
    let live = pipeline.tip("main");
    let renamed = GUARDED.replace("production:", "prod:").replace(", approval: { required: 2, self: false }", "");
    pipeline.save_file("broken", "yes");
    pipeline.promote("staging", 0);
    pipeline.configure(&renamed.replace(", checks: [good]", ""), GOOD);
    let failed = pipeline.promote("prod", 4);
    told(&failed, "check `good` failed");
    std::fs::remove_file(pipeline.root().join("broken")).unwrap();
    pipeline.save("Mend");
    pipeline.promote("staging", 0);
    let waiting = pipeline.promote("prod", 3);
    told(&waiting, "needs 2 approvals");
    assert_eq!(pipeline.tip("main"), live);
    approve_as(&pipeline, &["bob"], 3);
    approve_as(&pipeline, &["eve"], 0);
    pipeline.cascade(&["verify"]).expect_code(0);
    // From now on its own rules are what the branch has.
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    pipeline.promote("prod", 0);
    pipeline.cascade(&["verify"]).expect_code(0);
}

#[test]
fn a_hold_is_not_shaken_off_by_another_name() {
    let pipeline = Pipeline::new(false, "\n  staging: { from: develop, branch: staging }\n", "");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["hold", "staging", "--reason", "audit"]).expect_code(0);
    pipeline.configure("\n  stage: { from: develop, branch: staging }\n", "");
    pipeline.save_file("a", "1");
    told(&pipeline.promote("stage", 3), "held by Ada");
    pipeline.cascade(&["resume", "stage"]).expect_code(0);
    pipeline.promote("stage", 0);
}

const SOAKED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, soak: 1h, waive: [] }
";

#[test]
fn where_candidates_come_from_is_a_rule_as_well() {
    let pipeline = Pipeline::new(false, &SOAKED.replace("soak: 1h", "soak: 0s"), "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    pipeline.configure(SOAKED, "");
    pipeline.save("Soak");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    let live = pipeline.tip("main");
    let skipping = SOAKED.replace("from: staging", "from: develop");
    pipeline.configure(&skipping, "");
    let refused = pipeline.promote("production", 2);
    told(&refused, "production gets what is on `staging` by its rules");
    told(&refused, "what is on `develop` by the working tree's");
    told(&refused, "promote it from `staging`");
    pipeline.cascade(&["plan", "production"]).expect_code(2);
    pipeline.save("Skip staging");
    pipeline.promote("production", 2);
    assert_eq!(pipeline.tip("main"), live);
    // The change itself comes the way that the rules of now want, and soaks.
    pipeline.promote("staging", 0);
    told(&pipeline.promote("production", 3), "must soak upstream");
    assert_eq!(pipeline.newest("production")["source"], pipeline.tip("staging").as_str());
    assert_eq!(pipeline.tip("main"), live);
}

#[test]
fn a_new_source_counts_once_it_is_live() {
    let plain = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main }
";
    let pipeline = Pipeline::new(true, plain, "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    pipeline.configure(&plain.replace("from: staging", "from: develop"), "");
    pipeline.save("Without staging");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    pipeline.cascade(&["verify"]).expect_code(0);
    let direct = pipeline.save_file("a", "1");
    pipeline.promote("production", 0);
    assert_eq!(pipeline.newest("production")["source"], direct.as_str());
    pipeline.cascade(&["verify"]).expect_code(0);
}

#[test]
fn what_was_taken_back_upstream_goes_no_further() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    let live = pipeline.tip("main");
    pipeline.save_file("bad", "1");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    let bad = pipeline.tip("staging");
    pipeline.cascade(&["rollback", "staging"]).expect_code(0);
    let stopped = pipeline.cascade(&["approve"]).expect_code(3);
    told(&stopped, "was taken back in staging");
    assert_eq!(pipeline.tip("main"), live);
    let why = pipeline.cascade(&["why", "production"]).expect_code(0).stdout;
    assert!(why.contains(&format!("{} waits at a gate of production", &bad[..10])), "{why}");
    assert!(why.contains("gate quarantine is closed") && why.contains("taken back in staging"), "{why}");
    // Neither does the approval that was given nor the end of the quarantine let it pass.
    pipeline.cascade(&["resume", "staging"]).expect_code(0);
    pipeline.cascade(&["approve"]).expect_code(2);
    assert_eq!(pipeline.tip("main"), live);
    std::fs::remove_file(pipeline.root().join("bad")).unwrap();
    pipeline.save_file("good", "1");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.tree("main"), pipeline.tree("staging"));
}

#[test]
fn what_comes_back_upstream_may_go_on() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    pipeline.cascade(&["rollback", "staging"]).expect_code(0);
    pipeline.cascade(&["rollback", "staging", "--undo"]).expect_code(0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.tree("main"), pipeline.tree("staging"));
}

#[test]
fn who_has_no_address_cannot_be_told_from_who_asked() {
    let environments = "
  staging: { from: develop, branch: staging, approval: { required: 1, self: false } }
";
    let pipeline = Pipeline::new(false, environments, "");
    pipeline.become_person("zoe");
    pipeline.promote("staging", 3);
    pipeline.git(&["config", "user.email", ""]);
    let refused = pipeline.cascade(&["approve"]).expect_code(1);
    told(&refused, "zoe has no e-mail address");
    told(&refused, "git config user.email");
    approve_as(&pipeline, &["eve"], 0);
}

#[test]
fn what_nobody_approved_in_time_cannot_be_approved_any_more() {
    let environments = "
  staging: { from: develop, branch: staging, approval: { required: 1, expires: 1h } }
";
    let pipeline = Pipeline::new(false, environments, "");
    let before = pipeline.tip("staging");
    let clock = Arc::new(ManualClock::at_ms(1_700_000_000_000));
    let (root, home) = (pipeline.root(), pipeline.base().join("cascade"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ctx = context(&root, &home, clock.clone()).await;
        let lock = promote::lock(&ctx, false).await.unwrap();
        let waiting = promote::promote(&ctx, &lock, &Request::to("staging"), &mut Silent).await.unwrap();
        assert_eq!(waiting.state.as_str(), "waiting");
        clock.advance_ms(60 * 60 * 1_000);
        let findings = promote::findings(&ctx, &waiting).await.unwrap();
        assert!(!findings[0].awaits_consent(), "{findings:?}");
        let why = pipeline.cascade(&["why", "staging", "--json"]).expect_code(0).json();
        assert_eq!(why["next"], "cascade promote staging", "nobody can approve it any more");
        assert!(findings[0].fact.starts_with("nobody approved it within 1h"), "{findings:?}");
        let late = promote::approve::approve(&ctx, &lock, waiting, None, &mut Silent).await.unwrap();
        assert_eq!(late.state.as_str(), "expired");
    });
    assert_eq!(pipeline.tip("staging"), before);
}

#[test]
fn whoever_waits_is_told_how_it_ended_after_somebody_else_approved() {
    for (verdict, code) in [("true", 0), ("false", 6)] {
        let environments = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 1 }, verify: [slow] }
";
        // Longer than the pause between two looks of whoever waits.
        let check = format!("\n  slow: {{ run: \"sleep 5; {verdict}\", every: 10ms, failures: 1 }}");
        let pipeline = Pipeline::new(true, environments, &check);
        pipeline.save_file("a", "1");
        pipeline.promote("staging", 0);
        let mut waiting = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "production", "--wait"]);
        let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        pipeline.until("it waits", || pipeline.newest("production")["state"] == "waiting");
        pipeline.cascade(&["approve"]).expect_code(code);
        let ended = waiting.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn an_approval_without_a_name_is_for_what_waits_for_one() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    pipeline.promote("production", 3);
    pipeline.cascade(&["hold", "staging"]).expect_code(0);
    pipeline.save_file("a", "2");
    pipeline.promote("staging", 3);
    pipeline.cascade(&["approve"]).expect_code(0);
    assert_eq!(pipeline.newest("production")["state"], "promoted");
    let nothing = pipeline.cascade(&["approve"]).expect_code(2);
    told(&nothing, "nothing waits for an answer");
    assert_eq!(pipeline.newest("staging")["state"], "waiting");
}

#[test]
fn only_those_who_may_approve_or_asked_can_reject() {
    let environments = "
  staging: { from: develop, branch: staging, approval: { required: 1, from: [leads] } }
groups: { leads: [bob@example.test] }
";
    let pipeline = Pipeline::new(false, environments, "");
    for (person, code) in [("bob", 0), ("ada", 0), ("eve", 1)] {
        pipeline.become_person("ada");
        pipeline.save_file("a", person);
        pipeline.promote("staging", 3);
        pipeline.become_person(person);
        let answer = pipeline.cascade(&["reject", "--reason", "not today"]).expect_code(code);
        let state = if code == 0 { "rejected" } else { "waiting" };
        assert_eq!(pipeline.newest("staging")["state"], state, "{person}");
        if code != 0 {
            told(&answer, "eve <eve@example.test> may not reject promotions to staging");
            told(&answer, "who asked for it may, and these: leads");
        }
    }
}
