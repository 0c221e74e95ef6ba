use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;

fn why() -> String {
    "why".to_owned()
}

fn every_event() -> Vec<Event> {
    vec![
        Event::Begun,
        Event::Planned,
        Event::Offered,
        Event::NothingToDo,
        Event::Drifted(why()),
        Event::Conflicted(why()),
        Event::Admitted,
        Event::Closed(why()),
        Event::ChecksPassed,
        Event::CheckFailed(why()),
        Event::Opened,
        Event::Probed,
        Event::Rejected(why()),
        Event::Expired(why()),
        Event::Superseded(why()),
        Event::LandedRemote,
        Event::LandedLocal,
        Event::LocalMoved(why()),
        Event::Mismatched(why()),
        Event::Delivered,
        Event::DeliveryFailed(why()),
        Event::Verified,
        Event::VerificationFailed(why()),
        Event::Paused(why()),
        Event::WatchFailed(why()),
        Event::RollbackRequested(why()),
        Event::UndoneWith(why()),
        Event::Quarantined,
        Event::RollbackPlanned,
        Event::RemoteRolledBack,
        Event::LocalRolledBack,
        Event::TakenBack,
        Event::TakeBackRequested(why()),
        Event::BackVerified,
        Event::BackFailing(why()),
        Event::Failed(why()),
    ]
}

/// Where a promotion is: its state and its pending step.
type Place = (State, Option<Step>);

const BEGINNING: Place = (State::Proposed, None);

fn walk(events: &[Event], pushes: bool) -> (State, Vec<Step>) {
    let mut place = BEGINNING;
    let mut steps = Vec::new();
    for event in events {
        let Some(next) = next(place.0, place.1, event, pushes) else { continue };
        place = (next.state, next.step);
        steps.extend(next.step);
    }
    (place.0, steps)
}

fn landed() -> Vec<Event> {
    vec![
        Event::Begun,
        Event::Planned,
        Event::Admitted,
        Event::ChecksPassed,
        Event::Opened,
        Event::Probed,
        Event::LandedLocal,
        Event::Delivered,
    ]
}

fn then(events: &[Event]) -> Vec<Event> {
    landed().into_iter().chain(events.iter().cloned()).collect()
}

#[test]
fn a_good_promotion_checks_gates_probes_and_lands_remote_first() {
    let events = [
        Event::Begun,
        Event::Planned,
        Event::Admitted,
        Event::ChecksPassed,
        Event::Opened,
        Event::Probed,
        Event::LandedRemote,
        Event::LandedLocal,
        Event::Delivered,
        Event::Verified,
    ];
    let (state, steps) = walk(&events, true);
    assert_eq!(state, State::Promoted);
    let expected = [
        Step::Plan,
        Step::Admit,
        Step::Check,
        Step::Gate,
        Step::Probe,
        Step::LandRemote,
        Step::LandLocal,
        Step::Deliver,
        Step::Verify,
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_failed_verification_quarantines_before_it_goes_back_and_asks_once_more_there() {
    for last in [Event::BackVerified, Event::BackFailing(why())] {
        let bad = [
            Event::VerificationFailed(why()),
            Event::Quarantined,
            Event::RollbackPlanned,
            Event::LocalRolledBack,
            Event::TakenBack,
            last,
        ];
        let (state, steps) = walk(&then(&bad), false);
        assert_eq!(state, State::RolledBack);
        let back = [Step::Quarantine, Step::PlanRollback, Step::RollbackLocal, Step::TakeBack, Step::VerifyRollback];
        assert_eq!(steps[steps.len() - 5..], back);
    }
}

#[test]
fn what_lands_is_delivered_before_it_is_verified_and_goes_back_when_it_cannot_be() {
    let mut events = landed();
    events.pop();
    for failure in [Event::DeliveryFailed(why()), Event::Failed(why())] {
        let back = [failure, Event::Quarantined, Event::RollbackPlanned, Event::LocalRolledBack];
        let (state, steps) = walk(&[&events[..], &back].concat(), false);
        assert_eq!((state, steps.last()), (State::RollingBack, Some(&Step::TakeBack)));
        assert!(!steps.contains(&Step::Verify));
        let (state, _) = walk(&[&events[..], &back, &[Event::Failed(why())]].concat(), false);
        assert_eq!(state, State::RollbackFailed, "what is still outside is not called back");
    }
}

#[test]
fn a_gate_that_closes_while_probes_are_asked_stops_the_promotion() {
    let mut events = landed();
    events.truncate(5);
    for (closing, expected) in [
        (Event::Closed(why()), State::Waiting),
        (Event::Rejected(why()), State::Rejected),
        (Event::Expired(why()), State::Expired),
    ] {
        let (state, steps) = walk(&[&events[..], &[closing]].concat(), true);
        assert_eq!((state, steps.last()), (expected, Some(&Step::Probe)));
    }
}

#[test]
fn a_pause_goes_on_when_asked_again_and_ends_by_a_person_or_a_successor() {
    let paused = then(&[Event::Paused(why())]);
    assert_eq!(walk(&paused, false).0, State::Verifying);
    for (event, expected) in [
        (Event::Begun, State::Verifying),
        (Event::Superseded(why()), State::Superseded),
        (Event::RollbackRequested(why()), State::RollingBack),
        (Event::WatchFailed(why()), State::Verifying),
    ] {
        let (state, _) = walk(&[&paused[..], &[event]].concat(), false);
        assert_eq!(state, expected);
    }
    let again = [&paused[..], &[Event::Begun, Event::Verified]].concat();
    assert_eq!(walk(&again, false).0, State::Promoted);
}

#[test]
fn what_stays_promoted_no_longer_is_rolled_back_by_what_verifies_it_once() {
    let promoted = then(&[Event::Verified]);
    let (state, _) = walk(&[&promoted[..], &[Event::VerificationFailed(why())]].concat(), false);
    assert_eq!(state, State::Promoted);
    let (state, _) = walk(&[&promoted[..], &[Event::WatchFailed(why())]].concat(), false);
    assert_eq!(state, State::RollingBack);
}

#[test]
fn every_resting_state_is_final_offered_waiting_or_paused() {
    for state in State::ALL {
        for event in every_event() {
            for pending in Step::ALL.iter().copied().map(Some).chain([None]) {
                let Some(next) = next(*state, pending, &event, true) else { continue };
                let is_offered = event == Event::Offered && next.state == State::Planned;
                let waits = matches!(next.state, State::Waiting | State::Verifying) || is_offered;
                let may_rest = next.state.is_final() || waits;
                let must_rest = next.state.is_final() || next.state == State::Waiting;
                assert!(next.step.is_some() || may_rest, "{state} + {event:?}");
                assert!(next.step.is_none() || !must_rest, "{state} + {event:?}");
            }
        }
    }
}

#[test]
fn every_event_has_a_name_of_its_own() {
    let names: std::collections::HashSet<&str> = every_event().iter().map(Event::name).collect();
    assert_eq!(names.len(), every_event().len());
}

/// What brings a promotion on is more likely than what ends it, so that runs come far.
fn weight(event: &Event) -> usize {
    let ends = matches!(
        event,
        Event::NothingToDo
            | Event::Drifted(_)
            | Event::Conflicted(_)
            | Event::CheckFailed(_)
            | Event::Rejected(_)
            | Event::Expired(_)
            | Event::Superseded(_)
            | Event::TakeBackRequested(_)
            | Event::UndoneWith(_)
            | Event::Failed(_)
    );
    if ends { 1 } else { 12 }
}

/// Runs at random, each time with one of the events that belong there; answers every place with the event that led
/// there.
fn run(picks: &[Index], pushes: bool) -> Vec<(Event, Place)> {
    let events = every_event();
    let mut place = BEGINNING;
    let mut run = Vec::new();
    for pick in picks {
        let fits = |event: &&Event| next(place.0, place.1, event, pushes).is_some();
        let fitting: Vec<&Event> =
            events.iter().filter(fits).flat_map(|event| std::iter::repeat_n(event, weight(event))).collect();
        if fitting.is_empty() {
            break;
        }
        let event = pick.get(&fitting);
        let Some(next) = next(place.0, place.1, event, pushes) else { break };
        place = (next.state, next.step);
        run.push(((*event).clone(), place));
    }
    run
}

fn picks() -> impl Strategy<Value = Vec<Index>> {
    proptest::collection::vec(any::<Index>(), 0..80)
}

/// Answers whether the event comes from outside: from a person or a watcher, not out of a step.
fn is_from_outside(event: &Event) -> bool {
    answers(None, event)
}

/// More steps than any promotion performs without being asked again.
const STEPS_LIMIT: usize = 20;

#[test]
fn random_runs_reach_every_state() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = std::collections::HashSet::new();
    for _ in 0..2_000 {
        let picks = picks().new_tree(&mut runner).unwrap().current();
        reached.extend(run(&picks, true).into_iter().map(|(_, (state, _))| state));
    }
    let missing: Vec<_> = State::ALL.iter().filter(|state| !reached.contains(state)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

proptest! {
    #[test]
    fn nothing_lands_unchecked_past_a_closed_gate_or_unprobed(picks in picks(), pushes in any::<bool>()) {
        let (mut checked, mut opened, mut probed) = (false, false, false);
        for (event, (_, step)) in run(&picks, pushes) {
            match event {
                Event::Begun => (checked, opened, probed) = (false, false, false),
                Event::ChecksPassed => checked = true,
                Event::Opened => opened = true,
                Event::Probed => probed = true,
                _ => {}
            }
            if matches!(step, Some(Step::LandRemote | Step::LandLocal)) {
                prop_assert!(checked && opened && probed);
            }
        }
    }

    #[test]
    fn without_a_remote_no_step_reaches_for_it(picks in picks()) {
        for (_, (_, step)) in run(&picks, false) {
            prop_assert!(!matches!(step, Some(Step::LandRemote | Step::RollbackRemote)));
        }
    }

    #[test]
    fn every_run_comes_to_rest(picks in picks(), pushes in any::<bool>()) {
        let (mut performed, mut refusals) = (0, 0);
        for (event, (_, step)) in run(&picks, pushes) {
            // A remote that refuses to go back is asked for a restoring commit instead, once.
            refusals += usize::from(event == Event::RollbackPlanned);
            performed = if is_from_outside(&event) && step.is_some() { 1 } else { performed + 1 };
            prop_assert!(performed <= STEPS_LIMIT + refusals);
        }
    }

    #[test]
    fn a_promotion_goes_back_once_at_most_and_never_forward_again(picks in picks(), pushes in any::<bool>()) {
        let mut before = State::Proposed;
        let mut went_back = 0;
        for (event, (state, step)) in run(&picks, pushes) {
            // Taking back once more what is still outside is no going back: the branch is there.
            let again = matches!(event, Event::TakeBackRequested(_)) && step == Some(Step::TakeBack);
            prop_assert!(!again || before == State::RollbackFailed);
            if state == State::RollingBack && before != State::RollingBack && !again {
                went_back += 1;
                let blames = matches!(
                    event,
                    Event::DeliveryFailed(_) | Event::VerificationFailed(_) | Event::WatchFailed(_) | Event::Failed(_) | Event::Mismatched(_)
                );
                let asked = matches!(event, Event::RollbackRequested(_) | Event::LocalMoved(_));
                prop_assert!(blames || asked, "{event:?}");
            }
            if went_back > 0 {
                prop_assert!(matches!(state, State::RollingBack | State::RolledBack | State::RollbackFailed));
                prop_assert!(step != Some(Step::Verify));
            }
            before = state;
        }
        prop_assert!(went_back <= 1);
    }

    #[test]
    fn nothing_is_delivered_that_has_not_landed_nor_promoted_undelivered(picks in picks(), pushes in any::<bool>()) {
        let (mut landed, mut delivered, mut taken_back) = (false, false, false);
        for (event, (state, step)) in run(&picks, pushes) {
            landed |= event == Event::LandedLocal;
            delivered |= event == Event::Delivered;
            taken_back |= event == Event::TakenBack;
            prop_assert!(step != Some(Step::Deliver) || landed);
            prop_assert!(state != State::Promoted || delivered);
            prop_assert!(!delivered || state != State::RolledBack || taken_back || matches!(event, Event::UndoneWith(_)));
        }
    }

    #[test]
    fn a_pause_never_goes_back_by_itself(picks in picks(), pushes in any::<bool>()) {
        let mut paused = false;
        for (event, (state, step)) in run(&picks, pushes) {
            if paused {
                let is_asked = matches!(event, Event::Begun | Event::Superseded(_) | Event::RollbackRequested(_));
                prop_assert!(is_asked, "{event:?}");
            }
            paused = state == State::Verifying && step.is_none();
        }
    }
}
