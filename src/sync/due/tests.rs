use proptest::prelude::*;

use super::*;

const START_MS: i64 = 1_800_000_000_000;
const MINUTE_MS: i64 = 60_000;

fn trigger() -> Trigger<'static> {
    Trigger { every: None, cron: None, after: None, min_interval: Span::default() }
}

/// Whoever looks again and again, and runs what is due; it forgets everything but what is stored.
struct World {
    now_ms: i64,
    landed: Vec<String>,
    stored: Option<SyncMemory>,
}

impl World {
    fn new() -> Self {
        Self { now_ms: START_MS, landed: Vec::new(), stored: None }
    }

    fn look(&mut self, trigger: &Trigger<'_>) -> Decision {
        let zone = TimeZone::UTC;
        let present = Present { now: from_ms(self.now_ms), zone: &zone, landed: &self.landed };
        let decision = look(trigger, self.stored.as_ref(), &present);
        self.stored = Some(decision.memory.clone());
        decision
    }

    /// Runs what is due; answers why.
    fn run(&mut self, trigger: &Trigger<'_>, problem: Option<&str>) -> Option<Cause> {
        let decision = self.look(trigger);
        let zone = TimeZone::UTC;
        let now = from_ms(self.now_ms);
        let present = Present { now, zone: &zone, landed: &self.landed };
        let cause = decision.due?;
        let problem = problem.map(str::to_owned);
        self.stored = Some(ended(decision.memory, (Some(trigger), Some(&cause)), (now, &present), problem));
        Some(cause)
    }

    fn land(&mut self, id: &str) {
        self.landed.insert(0, id.to_owned());
    }
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let every = Trigger { every: Some(Span::seconds(300)), ..trigger() };
    let nightly: Schedule = "0 4 * * *".parse().unwrap();
    let cron = Trigger { cron: Some(&nightly), ..trigger() };
    for (trigger, runs_at_once) in [(every, true), (cron, false)] {
        let mut world = World::new();
        assert_eq!(world.run(&trigger, None).is_some(), runs_at_once);
        assert_eq!(world.run(&trigger, None), None);
        world.now_ms += 10 * 24 * 60 * MINUTE_MS;
        assert_eq!(world.run(&trigger, None), Some(Cause::Time));
        assert_eq!(world.run(&trigger, None), None);
        assert!(world.look(&trigger).next.unwrap() > from_ms(world.now_ms));
    }
}

#[test]
fn a_time_that_comes_again_because_the_clock_was_set_back_is_passed_over() {
    let nightly: Schedule = "0 4 * * *".parse().unwrap();
    let cron = Trigger { cron: Some(&nightly), ..trigger() };
    let mut world = World::new();
    world.look(&cron);
    world.now_ms = world.look(&cron).next.unwrap().as_millisecond();
    assert_eq!(world.run(&cron, None), Some(Cause::Time));
    world.now_ms -= 60 * MINUTE_MS;
    assert_eq!(world.look(&cron).due, None);
    world.now_ms += 60 * MINUTE_MS;
    assert_eq!(world.look(&cron).due, None, "the same night once");
    world.now_ms += 24 * 60 * MINUTE_MS;
    assert_eq!(world.run(&cron, None), Some(Cause::Time));
    // A clock that was years ahead does not stop it for years.
    world.now_ms -= 3_000 * 24 * 60 * MINUTE_MS;
    world.look(&cron);
    world.now_ms += 24 * 60 * MINUTE_MS;
    assert_eq!(world.run(&cron, None), Some(Cause::Time));
}

#[test]
fn a_deployment_is_followed_once_and_none_that_was_there_before_or_comes_back() {
    let after = Trigger { after: Some("production"), ..trigger() };
    let mut world = World::new();
    world.land("first");
    assert_eq!(world.run(&after, None), None, "it was there before anybody looked");
    world.land("second");
    world.land("third");
    assert_eq!(world.run(&after, None), Some(Cause::Deployment("third".to_owned())));
    assert_eq!(world.run(&after, None), None);
    world.landed.remove(0);
    assert_eq!(world.run(&after, None), None, "a rollback is no deployment");
    world.land("fourth");
    assert_eq!(world.run(&after, Some("unreachable")), Some(Cause::Deployment("fourth".to_owned())));
    assert_eq!(world.run(&after, None), None, "what failed is tried again later");
    world.now_ms += RETRY_AFTER_MS;
    assert_eq!(world.run(&after, None), Some(Cause::Deployment("fourth".to_owned())));
    assert_eq!(world.run(&after, None), None);
}

#[test]
fn a_deployment_waits_for_the_interval_and_is_not_forgotten() {
    let after = Trigger { after: Some("production"), min_interval: Span::seconds(3_600), ..trigger() };
    let mut world = World::new();
    world.look(&after);
    world.land("one");
    assert!(world.run(&after, None).is_some());
    world.land("two");
    world.now_ms += MINUTE_MS;
    let decision = world.look(&after);
    assert_eq!((decision.due, decision.next), (None, Some(from_ms(START_MS + 60 * MINUTE_MS))));
    world.now_ms += 59 * MINUTE_MS;
    assert_eq!(world.run(&after, None), Some(Cause::Deployment("two".to_owned())));
}

proptest! {
    #[test]
    fn between_two_runs_at_least_the_interval_passes_whatever_the_clock_does(
        steps in proptest::collection::vec(-20_i64..20, 1..200), every in 1_u64..15,
    ) {
        let trigger = Trigger { every: Some(Span::seconds(every * 60)), ..trigger() };
        let mut world = World::new();
        prop_assert!(world.run(&trigger, None).is_some());
        let mut passed = 0;
        for step in steps {
            world.now_ms += step * MINUTE_MS;
            passed += step.max(0);
            if world.run(&trigger, None).is_some() {
                prop_assert!(passed >= i64::try_from(every).unwrap(), "{passed}");
                passed = 0;
            }
            prop_assert!(world.look(&trigger).due.is_none());
        }
    }

    #[test]
    fn a_clock_that_only_goes_forward_misses_no_run(steps in proptest::collection::vec(0_i64..20, 1..200), every in 1_i64..15) {
        let span = Span::seconds(u64::try_from(every).unwrap() * 60);
        let trigger = Trigger { every: Some(span), ..trigger() };
        let mut world = World::new();
        world.run(&trigger, None);
        let mut ran_ms = world.now_ms;
        for step in steps {
            world.now_ms += step * MINUTE_MS;
            let ran = world.run(&trigger, None).is_some();
            prop_assert_eq!(ran, world.now_ms - ran_ms >= every * MINUTE_MS);
            ran_ms = if ran { world.now_ms } else { ran_ms };
        }
    }

    #[test]
    fn no_deployment_is_followed_twice(
        moves in proptest::collection::vec((0_u8..4, -20_i64..40, any::<bool>()), 1..100), interval in 0_u64..30,
    ) {
        let min_interval = Span::seconds(interval * 60);
        let trigger = Trigger { after: Some("production"), every: None, cron: None, min_interval };
        let (mut world, mut made, mut followed) = (World::new(), 0, std::collections::HashSet::new());
        world.look(&trigger);
        for (kind, minutes, fails) in moves {
            match kind {
                0 => { made += 1; world.land(&made.to_string()); }
                1 if !world.landed.is_empty() => drop(world.landed.remove(0)),
                _ => world.now_ms += minutes * MINUTE_MS,
            }
            if let Some(Cause::Deployment(id)) = world.run(&trigger, fails.then_some("why")) {
                prop_assert_eq!(world.landed.first(), Some(&id));
                prop_assert!(fails || followed.insert(id));
            }
        }
    }
}
