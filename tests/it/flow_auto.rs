//! Environments that follow their source by themselves, under a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use cascade::base::clock::{ManualClock, SystemClock};
use cascade::context::Context;
use cascade::promote::auto::{Cause, follow_once, next_look};
use cascade::promote::{self, Silent};
use cascade::store::State;

use crate::support::pipeline::Pipeline;

const AUTOMATIC: &str = "
  staging: { from: develop, branch: staging, promote: auto }
  production: { from: staging, branch: main, promote: auto, soak: 1h }
";

async fn state(ctx: &Context, environment: &str) -> Option<State> {
    ctx.store.promotions(Some(environment), 1).await.unwrap().pop().map(|newest| newest.state)
}

#[tokio::test]
async fn what_has_soaked_long_enough_goes_on_by_itself() {
    let pipeline = Pipeline::new(false, AUTOMATIC, "");
    pipeline.save_file("page", "one");
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let ctx = pipeline.context(clock.clone()).await;
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "staging").await, None, "only a pushed save is promoted");
    follow_once(&ctx, Cause::Pushed).await.unwrap();
    assert_eq!(state(&ctx, "staging").await, Some(State::Promoted));
    assert_eq!(state(&ctx, "production").await, Some(State::Waiting));
    let pace = next_look(&ctx).await.unwrap();
    clock.advance_ms(3_599_000);
    assert_eq!(next_look(&ctx).await.unwrap(), Duration::from_secs(1), "when the soak ends, and not {pace:?} later");
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Waiting));
    clock.advance_ms(1_000);
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Promoted));
    assert_eq!(pipeline.tree("main"), pipeline.tree("develop"));
    let before = ctx.store.promotions(None, 100).await.unwrap().len();
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(ctx.store.promotions(None, 100).await.unwrap().len(), before, "nothing new, nothing tried");
}

#[tokio::test]
async fn what_a_person_promotes_upstream_and_what_a_hold_stopped_is_followed() {
    let automatic = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, promote: auto }
";
    let pipeline = Pipeline::new(false, automatic, "");
    pipeline.save_file("page", "one");
    let ctx = pipeline.context(Arc::new(ManualClock::at_ms(1_800_000_000_000))).await;
    promote::hold::hold(&ctx, "production", None).await.unwrap();
    let lock = promote::lock(&ctx, false).await.unwrap();
    let request = promote::Request::to("staging");
    promote::promote(&ctx, &lock, &request, &mut Silent).await.unwrap();
    drop(lock);
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Waiting));
    promote::hold::resume(&ctx, "production").await.unwrap();
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Promoted));
}

const EVERY: &str = "
  staging: { from: develop, branch: staging, promote: auto, auto: every, checks: [sound] }
  production: { from: staging, branch: main, promote: auto, auto: every, approval: { required: 1 } }
";
const SOUND: &str = "\n  sound: { run: \"test ! -e unsound\" }";

/// Answers sources and states of an environment's promotions, oldest first.
async fn tries(ctx: &Context, environment: &str) -> Vec<(String, State)> {
    let all = ctx.store.promotions(Some(environment), 100).await.unwrap();
    all.into_iter().rev().map(|promotion| (promotion.source.to_string(), promotion.state)).collect()
}

#[tokio::test]
async fn every_save_has_its_try_in_order_and_none_is_skipped() {
    for has_remote in [false, true] {
        let pipeline = Pipeline::new(has_remote, EVERY, SOUND);
        let ctx = pipeline.context(Arc::new(SystemClock)).await;
        follow_once(&ctx, Cause::Pushed).await.unwrap();
        let begun = tries(&ctx, "staging").await.len();
        let one = pipeline.save_file("page", "one");
        let unsound = pipeline.save_file("unsound", "");
        std::fs::remove_file(pipeline.root().join("unsound")).unwrap();
        let (two, three) = (pipeline.save_file("page", "two"), pipeline.save_file("page", "three"));
        if has_remote {
            pipeline.write("page", "not pushed");
            pipeline.commit("Not pushed");
        }
        follow_once(&ctx, Cause::Pushed).await.unwrap();
        let (good, bad) = (State::Promoted, State::Failed);
        let expected = [(one, good), (unsound, bad), (two, good), (three.clone(), good)];
        assert_eq!(tries(&ctx, "staging").await[begun..], expected);
        assert_eq!(pipeline.git(&["rev-parse", "staging^2"]), three);
        follow_once(&ctx, Cause::Time).await.unwrap();
        assert_eq!(tries(&ctx, "staging").await.len(), begun + 4, "nothing new, nothing tried");
    }
}

#[tokio::test]
async fn the_next_in_line_waits_for_a_persons_word_on_the_one_before() {
    let pipeline = Pipeline::new(false, EVERY, SOUND);
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let ctx = pipeline.context(clock.clone()).await;
    pipeline.save_file("page", "one");
    follow_once(&ctx, Cause::Pushed).await.unwrap();
    pipeline.save_file("page", "two");
    clock.advance_ms(1_000);
    follow_once(&ctx, Cause::Pushed).await.unwrap();
    let line = pipeline.git(&["rev-list", "--reverse", "--first-parent", "main..staging"]);
    let line: Vec<&str> = line.lines().collect();
    let mut done = 0;
    for decision in ["approve", "reject", "approve"] {
        let tried = tries(&ctx, "production").await;
        assert_eq!(tried.len(), done + 1, "one at a time: {tried:?}");
        assert_eq!(tried[done], (line[done].to_owned(), State::Waiting));
        follow_once(&ctx, Cause::Pushed).await.unwrap();
        assert_eq!(tries(&ctx, "production").await, tried, "what waits is neither superseded nor overtaken");
        pipeline.cascade(&[decision]).expect_code(0);
        done += 1;
        if done == line.len() {
            break;
        }
        clock.advance_ms(30_000);
        follow_once(&ctx, Cause::Time).await.unwrap();
    }
    assert_eq!(done, line.len());
    let states: Vec<State> = tries(&ctx, "production").await.into_iter().map(|(_, state)| state).collect();
    assert_eq!(states[..2], [State::Promoted, State::Rejected]);
}

/// Saves three times and follows each save at once.
async fn save_three(pipeline: &Pipeline, ctx: &Context, clock: &ManualClock) {
    for content in ["one", "two", "three"] {
        pipeline.save_file("page", content);
        clock.advance_ms(1_000);
        follow_once(ctx, Cause::Pushed).await.unwrap();
    }
}

#[tokio::test]
async fn the_latest_supersedes_what_waits_and_says_by_what() {
    let environments = "
  staging: { from: develop, branch: staging, promote: auto, approval: { required: 1 } }
";
    let pipeline = Pipeline::new(false, environments, "");
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let ctx = pipeline.context(clock.clone()).await;
    save_three(&pipeline, &ctx, &clock).await;
    let all = ctx.store.promotions(Some("staging"), 10).await.unwrap();
    let states: Vec<State> = all.iter().map(|promotion| promotion.state).collect();
    assert_eq!(states, [State::Waiting, State::Superseded, State::Superseded]);
    for pair in all.windows(2) {
        let [newer, older] = pair else { unreachable!() };
        let expected = format!("superseded by promotion {} of {}", newer.id, newer.source.short());
        assert_eq!(older.reason.as_deref(), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_hotfix_that_waits_is_not_superseded_by_what_follows_by_itself() {
    let environments = "
  staging: { from: develop, branch: staging, promote: auto }
  production: { from: staging, branch: main, promote: auto, approval: { required: 1 } }
";
    let pipeline = Pipeline::new(false, environments, "");
    let ctx = pipeline.context(Arc::new(ManualClock::at_ms(1_800_000_000_000))).await;
    pipeline.git(&["branch", "--quiet", "fix", "main"]);
    let fix = pipeline.git(&["commit-tree", "-m", "Fix", "-p", "main", "develop^{tree}"]);
    pipeline.git(&["update-ref", "refs/heads/fix", &fix]);
    pipeline.cascade(&["promote", "production", "--from", "fix", "--reason", "now"]).expect_code(3);
    pipeline.save_file("page", "one");
    follow_once(&ctx, Cause::Pushed).await.unwrap();
    assert_eq!(tries(&ctx, "production").await, [(fix.clone(), State::Waiting)]);
    pipeline.cascade(&["approve"]).expect_code(0);
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(tries(&ctx, "production").await, [(fix, State::Promoted)], "the release after it would undo it");
    pipeline.cascade(&["back-merge", "production"]).expect_code(0);
    follow_once(&ctx, Cause::Pushed).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Waiting));
}

#[tokio::test]
async fn what_can_never_soak_any_more_makes_room_for_the_next() {
    let environments = "
  staging: { from: develop, branch: staging, promote: auto, auto: every }
  production: { from: staging, branch: main, promote: auto, auto: every, soak: 1h }
";
    let pipeline = Pipeline::new(false, environments, "");
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let ctx = pipeline.context(clock.clone()).await;
    save_three(&pipeline, &ctx, &clock).await;
    clock.advance_ms(3_600_000);
    for _ in 0..4 {
        follow_once(&ctx, Cause::Time).await.unwrap();
    }
    assert_eq!(state(&ctx, "production").await, Some(State::Promoted));
    assert_eq!(pipeline.tree("main"), pipeline.tree("develop"));
}

#[test]
fn plan_says_how_long_the_source_must_soak_yet() {
    let pipeline = Pipeline::new(false, AUTOMATIC, "");
    pipeline.save_file("page", "one");
    let soak = || {
        let plan = pipeline.cascade(&["plan", "production", "--json"]).expect_code(0).json();
        plan["gates"][0].clone()
    };
    let absent = soak();
    assert_eq!((&absent["gate"], &absent["fact"]), (&"soak".into(), &"not live and verified upstream".into()));
    pipeline.promote("staging", 0);
    let fact = soak()["fact"].as_str().unwrap().to_owned();
    assert!(fact.starts_with("must soak upstream for another"), "{fact}");
}
