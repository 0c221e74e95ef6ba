//! Environments that follow their source by themselves, under a clock that the test moves.

use std::sync::Arc;

use cascade::base::clock::ManualClock;
use cascade::context::Context;
use cascade::promote::auto::{Cause, follow_once};
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
    clock.advance_ms(3_599_000);
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
    promote::approve::hold(&ctx, "production", None).await.unwrap();
    let lock = promote::lock(&ctx, false).await.unwrap();
    let request = promote::Request { environment: "staging".to_owned(), ..promote::Request::default() };
    promote::promote(&ctx, &lock, &request, &mut Silent).await.unwrap();
    drop(lock);
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Waiting));
    promote::approve::resume(&ctx, "production").await.unwrap();
    follow_once(&ctx, Cause::Time).await.unwrap();
    assert_eq!(state(&ctx, "production").await, Some(State::Promoted));
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
