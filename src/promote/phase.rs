//! What happens next: a promotion's state and an event give its next state and step. Pure.

use crate::store::{State, Step};

/// Something that happened to a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it to go on.
    Begun,
    /// The candidate exists.
    Planned,
    /// The environment has that content already.
    NothingToDo,
    /// Somebody else committed on the environment's branch.
    Drifted(String),
    /// A three-way merge has conflicts.
    Conflicted(String),
    /// Nothing but checks and approvals can stop it now.
    Admitted,
    /// A gate is closed.
    Closed(String),
    /// Every check passed.
    ChecksPassed,
    /// A check failed or could not answer.
    CheckFailed(String),
    /// Every gate is open.
    Opened,
    /// A person said no.
    Rejected(String),
    /// Nobody answered in time.
    Expired(String),
    /// A newer candidate or another push came first.
    Superseded(String),
    /// The remote has the candidate.
    LandedRemote,
    /// The local branch has the candidate.
    LandedLocal,
    /// The local branch moved after the remote got the candidate.
    LocalMoved(String),
    /// What a branch has after the candidate landed there is not what was checked.
    Mismatched(String),
    /// The live content passed.
    Verified,
    /// The live content did not pass.
    VerificationFailed(String),
    /// A person wants a live promotion undone.
    RollbackRequested(String),
    /// The failed commits cannot come back.
    Quarantined,
    /// It is decided where the branch goes back to.
    RollbackPlanned,
    /// The remote is back.
    RemoteRolledBack,
    /// The local branch is back.
    LocalRolledBack,
    /// A step failed for good.
    Failed(String),
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The state from now on.
    pub state: State,
    /// The effect to perform; none: the promotion rests.
    pub step: Option<Step>,
}

impl Event {
    /// Answers the event's stable name, for the journal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Planned => "planned",
            Self::NothingToDo => "nothing_to_do",
            Self::Drifted(_) => "drifted",
            Self::Conflicted(_) => "conflicted",
            Self::Admitted => "admitted",
            Self::Closed(_) => "closed",
            Self::ChecksPassed => "checks_passed",
            Self::CheckFailed(_) => "check_failed",
            Self::Opened => "opened",
            Self::Rejected(_) => "rejected",
            Self::Expired(_) => "expired",
            Self::Superseded(_) => "superseded",
            Self::LandedRemote => "landed_remote",
            Self::LandedLocal => "landed_local",
            Self::LocalMoved(_) => "local_moved",
            Self::Mismatched(_) => "mismatched",
            Self::Verified => "verified",
            Self::VerificationFailed(_) => "verification_failed",
            Self::RollbackRequested(_) => "rollback_requested",
            Self::Quarantined => "quarantined",
            Self::RollbackPlanned => "rollback_planned",
            Self::RemoteRolledBack => "remote_rolled_back",
            Self::LocalRolledBack => "local_rolled_back",
            Self::Failed(_) => "failed",
        }
    }

    /// Answers the words that explain the event, where it has some.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Drifted(reason)
            | Self::Conflicted(reason)
            | Self::Closed(reason)
            | Self::CheckFailed(reason)
            | Self::Rejected(reason)
            | Self::Expired(reason)
            | Self::Superseded(reason)
            | Self::LocalMoved(reason)
            | Self::Mismatched(reason)
            | Self::VerificationFailed(reason)
            | Self::RollbackRequested(reason)
            | Self::Failed(reason) => Some(reason),
            Self::NothingToDo => Some("the environment has this content already"),
            _ => None,
        }
    }
}

/// Answers what follows when `event` happens to a promotion in `state` whose pending step is `pending` (none: it
/// rests); nothing when the event does not belong there.
///
/// `pushes` says whether the promotion goes to a remote.
#[must_use]
pub fn next(state: State, pending: Option<Step>, event: &Event, pushes: bool) -> Option<Next> {
    if !answers(pending, event) {
        return None;
    }
    let rest = |state| Some(Next { state, step: None });
    let perform = |state, step| Some(Next { state, step: Some(step) });
    match (state, event) {
        (State::Proposed, Event::Begun) => perform(State::Proposed, Step::Plan),
        (State::Proposed, Event::Planned) => perform(State::Planned, Step::Admit),
        (State::Proposed, Event::NothingToDo) => rest(State::Cancelled),
        (State::Proposed, Event::Drifted(_)) => rest(State::Drifted),
        (State::Proposed, Event::Conflicted(_)) => rest(State::Conflict),
        (State::Planned, Event::Admitted) => perform(State::Checking, Step::Check),
        (State::Planned | State::Checking, Event::Closed(_)) => rest(State::Waiting),
        (State::Checking, Event::ChecksPassed) => perform(State::Checking, Step::Gate),
        (State::Checking, Event::CheckFailed(_)) => rest(State::Failed),
        (State::Checking, Event::Opened) => {
            perform(State::Landing, if pushes { Step::LandRemote } else { Step::LandLocal })
        }
        (State::Waiting, Event::Begun) => perform(State::Planned, Step::Admit),
        (before, Event::Rejected(_)) if has_not_landed(before) => rest(State::Rejected),
        (before, Event::Expired(_)) if has_not_landed(before) => rest(State::Expired),
        (State::Landing, Event::Superseded(_)) => rest(State::Superseded),
        (before, Event::Superseded(_)) if has_not_landed(before) => rest(State::Superseded),
        (State::Landing, Event::LandedRemote) => perform(State::Landing, Step::LandLocal),
        (State::Landing, Event::LandedLocal) => perform(State::Verifying, Step::Verify),
        (State::Landing, Event::LocalMoved(_)) => perform(State::RollingBack, Step::PlanRollback),
        (State::Landing, Event::Mismatched(_)) => perform(State::RollingBack, Step::Quarantine),
        (State::Verifying, Event::Verified) => rest(State::Promoted),
        (State::Verifying, Event::VerificationFailed(_) | Event::Failed(_)) => {
            perform(State::RollingBack, Step::Quarantine)
        }
        (State::Promoted, Event::RollbackRequested(_)) => perform(State::RollingBack, Step::Quarantine),
        (State::RollingBack, Event::Quarantined) => perform(State::RollingBack, Step::PlanRollback),
        (State::RollingBack, Event::RollbackPlanned) => {
            perform(State::RollingBack, if pushes { Step::RollbackRemote } else { Step::RollbackLocal })
        }
        (State::RollingBack, Event::RemoteRolledBack) => perform(State::RollingBack, Step::RollbackLocal),
        (State::RollingBack, Event::LocalRolledBack) => rest(State::RolledBack),
        (State::RollingBack, Event::Failed(_)) => rest(State::RollbackFailed),
        (before, Event::Failed(_)) if has_not_landed(before) || before == State::Landing => rest(State::Failed),
        _ => None,
    }
}

/// Answers whether an event can come out of the pending step, or from outside while none is pending.
fn answers(pending: Option<Step>, event: &Event) -> bool {
    let from: &[Step] = match event {
        Event::Begun | Event::RollbackRequested(_) => return pending.is_none(),
        Event::Failed(_) => return pending.is_some(),
        Event::Rejected(_) | Event::Expired(_) => return pending.is_none_or(|step| step == Step::Gate),
        Event::Superseded(_) => {
            return pending.is_none_or(|step| matches!(step, Step::LandRemote | Step::LandLocal));
        }
        Event::Planned | Event::NothingToDo | Event::Drifted(_) | Event::Conflicted(_) => &[Step::Plan],
        Event::Admitted => &[Step::Admit],
        Event::Closed(_) => &[Step::Admit, Step::Gate],
        Event::ChecksPassed | Event::CheckFailed(_) => &[Step::Check],
        Event::Opened => &[Step::Gate],
        Event::LandedRemote => &[Step::LandRemote],
        Event::LandedLocal | Event::LocalMoved(_) => &[Step::LandLocal],
        Event::Mismatched(_) => &[Step::LandRemote, Step::LandLocal],
        Event::Verified | Event::VerificationFailed(_) => &[Step::Verify],
        Event::Quarantined => &[Step::Quarantine],
        Event::RollbackPlanned => &[Step::PlanRollback, Step::RollbackRemote],
        Event::RemoteRolledBack => &[Step::RollbackRemote],
        Event::LocalRolledBack => &[Step::RollbackLocal],
    };
    pending.is_some_and(|step| from.contains(&step))
}

/// Answers whether a promotion in that state has moved nothing yet.
#[must_use]
pub fn has_not_landed(state: State) -> bool {
    matches!(state, State::Proposed | State::Planned | State::Checking | State::Waiting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn every_event() -> Vec<Event> {
        let why = || "why".to_owned();
        vec![
            Event::Begun,
            Event::Planned,
            Event::NothingToDo,
            Event::Drifted(why()),
            Event::Conflicted(why()),
            Event::Admitted,
            Event::Closed(why()),
            Event::ChecksPassed,
            Event::CheckFailed(why()),
            Event::Opened,
            Event::Rejected(why()),
            Event::Expired(why()),
            Event::Superseded(why()),
            Event::LandedRemote,
            Event::LandedLocal,
            Event::LocalMoved(why()),
            Event::Mismatched(why()),
            Event::Verified,
            Event::VerificationFailed(why()),
            Event::RollbackRequested(why()),
            Event::Quarantined,
            Event::RollbackPlanned,
            Event::RemoteRolledBack,
            Event::LocalRolledBack,
            Event::Failed(why()),
        ]
    }

    fn walk(events: &[Event], pushes: bool) -> (State, Vec<Step>) {
        let (mut state, mut pending) = (State::Proposed, None);
        let mut steps = Vec::new();
        for event in events {
            let Some(next) = next(state, pending, event, pushes) else { continue };
            (state, pending) = (next.state, next.step);
            steps.extend(next.step);
        }
        (state, steps)
    }

    #[test]
    fn a_good_promotion_checks_gates_and_lands_remote_first() {
        let events = [
            Event::Begun,
            Event::Planned,
            Event::Admitted,
            Event::ChecksPassed,
            Event::Opened,
            Event::LandedRemote,
            Event::LandedLocal,
            Event::Verified,
        ];
        let (state, steps) = walk(&events, true);
        assert_eq!(state, State::Promoted);
        let expected =
            [Step::Plan, Step::Admit, Step::Check, Step::Gate, Step::LandRemote, Step::LandLocal, Step::Verify];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_failed_verification_quarantines_before_it_goes_back() {
        let events = [
            Event::Begun,
            Event::Planned,
            Event::Admitted,
            Event::ChecksPassed,
            Event::Opened,
            Event::LandedLocal,
            Event::VerificationFailed("down".to_owned()),
            Event::Quarantined,
            Event::RollbackPlanned,
            Event::LocalRolledBack,
        ];
        let (state, steps) = walk(&events, false);
        assert_eq!(state, State::RolledBack);
        assert_eq!(steps[5..], [Step::Verify, Step::Quarantine, Step::PlanRollback, Step::RollbackLocal]);
    }

    #[test]
    fn every_resting_state_is_final_or_waiting() {
        for state in State::ALL {
            for event in every_event() {
                for pending in Step::ALL.iter().copied().map(Some).chain([None]) {
                    let Some(next) = next(*state, pending, &event, true) else { continue };
                    let rests = next.step.is_none();
                    assert_eq!(rests, next.state.is_final() || next.state == State::Waiting, "{state} + {event:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_lands_unchecked_or_past_a_closed_gate(
            picks in proptest::collection::vec(0..every_event().len(), 0..60),
            pushes in proptest::bool::ANY,
        ) {
            let events = every_event();
            let (mut state, mut pending) = (State::Proposed, None);
            let (mut checked, mut opened) = (false, false);
            for pick in picks {
                let event = &events[pick];
                let Some(next) = next(state, pending, event, pushes) else { continue };
                match event {
                    Event::Begun => (checked, opened) = (false, false),
                    Event::ChecksPassed => checked = true,
                    Event::Opened => opened = true,
                    _ => {}
                }
                if matches!(next.step, Some(Step::LandRemote | Step::LandLocal)) {
                    prop_assert!(checked && opened);
                }
                (state, pending) = (next.state, next.step);
            }
        }

        #[test]
        fn without_a_remote_no_step_reaches_for_it(picks in proptest::collection::vec(0..every_event().len(), 0..60)) {
            let events = every_event();
            let chosen: Vec<Event> = picks.iter().map(|pick| events[*pick].clone())
                .filter(|event| !matches!(event, Event::LandedRemote | Event::RemoteRolledBack)).collect();
            let (_, steps) = walk(&chosen, false);
            prop_assert!(!steps.contains(&Step::LandRemote) && !steps.contains(&Step::RollbackRemote));
        }
    }
}
