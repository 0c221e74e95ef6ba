//! What happens next: a promotion's state and an event give its next state and step. Pure.

use crate::store::{State, Step};

/// Something that happened to a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it to go on.
    Begun,
    /// The candidate exists.
    Planned,
    /// The candidate exists, and nobody wants it to go on yet.
    Offered,
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
    /// What verifies the environment was asked while nothing had moved, and every gate is still open.
    Probed,
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
    /// The outside has what landed, but for what is flagged.
    Delivered,
    /// The outside could not be brought to what landed.
    DeliveryFailed(String),
    /// The live content passed.
    Verified,
    /// The live content did not pass.
    VerificationFailed(String),
    /// The live content did not pass what did not pass before it landed either.
    Paused(String),
    /// What was promoted does not stay well while it is watched.
    WatchFailed(String),
    /// A person wants a live promotion undone.
    RollbackRequested(String),
    /// It was undone along with a later one.
    UndoneWith(String),
    /// The failed commits cannot come back.
    Quarantined,
    /// It is decided where the branch goes back to.
    RollbackPlanned,
    /// The remote is back.
    RemoteRolledBack,
    /// The local branch is back.
    LocalRolledBack,
    /// What the deliveries replaced is back.
    TakenBack,
    /// A person wants what is still outside taken back once more.
    TakeBackRequested(String),
    /// What is live again passed.
    BackVerified,
    /// What is live again did not pass.
    BackFailing(String),
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
            Self::Offered => "offered",
            Self::NothingToDo => "nothing_to_do",
            Self::Drifted(_) => "drifted",
            Self::Conflicted(_) => "conflicted",
            Self::Admitted => "admitted",
            Self::Closed(_) => "closed",
            Self::ChecksPassed => "checks_passed",
            Self::CheckFailed(_) => "check_failed",
            Self::Opened => "opened",
            Self::Probed => "probed",
            Self::Rejected(_) => "rejected",
            Self::Expired(_) => "expired",
            Self::Superseded(_) => "superseded",
            Self::LandedRemote => "landed_remote",
            Self::LandedLocal => "landed_local",
            Self::LocalMoved(_) => "local_moved",
            Self::Mismatched(_) => "mismatched",
            Self::Delivered => "delivered",
            Self::DeliveryFailed(_) => "delivery_failed",
            Self::Verified => "verified",
            Self::VerificationFailed(_) => "verification_failed",
            Self::Paused(_) => "paused",
            Self::WatchFailed(_) => "watch_failed",
            Self::RollbackRequested(_) => "rollback_requested",
            Self::UndoneWith(_) => "undone_with",
            Self::Quarantined => "quarantined",
            Self::RollbackPlanned => "rollback_planned",
            Self::RemoteRolledBack => "remote_rolled_back",
            Self::LocalRolledBack => "local_rolled_back",
            Self::TakenBack => "taken_back",
            Self::TakeBackRequested(_) => "take_back_requested",
            Self::BackVerified => "back_verified",
            Self::BackFailing(_) => "back_failing",
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
            | Self::DeliveryFailed(reason)
            | Self::VerificationFailed(reason)
            | Self::Paused(reason)
            | Self::WatchFailed(reason)
            | Self::RollbackRequested(reason)
            | Self::TakeBackRequested(reason)
            | Self::UndoneWith(reason)
            | Self::BackFailing(reason)
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
        (State::Proposed, Event::Offered) => rest(State::Planned),
        (State::Planned, Event::Begun) => perform(State::Planned, Step::Admit),
        (State::Proposed, Event::NothingToDo) => rest(State::Cancelled),
        (State::Proposed, Event::Drifted(_)) => rest(State::Drifted),
        (State::Proposed, Event::Conflicted(_)) => rest(State::Conflict),
        (State::Planned, Event::Admitted) => perform(State::Checking, Step::Check),
        (State::Planned | State::Checking, Event::Closed(_)) => rest(State::Waiting),
        (State::Checking, Event::ChecksPassed) => perform(State::Checking, Step::Gate),
        (State::Checking, Event::CheckFailed(_)) => rest(State::Failed),
        (State::Checking, Event::Opened) => perform(State::Checking, Step::Probe),
        (State::Checking, Event::Probed) => {
            perform(State::Landing, if pushes { Step::LandRemote } else { Step::LandLocal })
        }
        (State::Waiting, Event::Begun) => perform(State::Planned, Step::Admit),
        (before, Event::Rejected(_)) if has_not_landed(before) => rest(State::Rejected),
        (before, Event::Expired(_)) if has_not_landed(before) => rest(State::Expired),
        (State::Landing, Event::Superseded(_)) => rest(State::Superseded),
        (before, Event::Superseded(_)) if has_not_landed(before) => rest(State::Superseded),
        (State::Landing, Event::LandedRemote) => perform(State::Landing, Step::LandLocal),
        (State::Landing, Event::LandedLocal) => perform(State::Delivering, Step::Deliver),
        (State::Landing, Event::LocalMoved(_)) => perform(State::RollingBack, Step::PlanRollback),
        (State::Landing, Event::Mismatched(_)) => perform(State::RollingBack, Step::Quarantine),
        (State::Delivering, Event::Delivered) => perform(State::Verifying, Step::Verify),
        (State::Delivering, Event::DeliveryFailed(_) | Event::Failed(_)) => {
            perform(State::RollingBack, Step::Quarantine)
        }
        (State::Verifying, Event::Verified) => rest(State::Promoted),
        (State::Verifying, Event::Paused(_)) => rest(State::Verifying),
        (State::Verifying, Event::Begun) => perform(State::Verifying, Step::Verify),
        (State::Verifying, Event::Superseded(_)) => rest(State::Superseded),
        (State::Verifying, Event::VerificationFailed(_) | Event::Failed(_)) => {
            perform(State::RollingBack, Step::Quarantine)
        }
        (State::Promoted, Event::WatchFailed(_)) => perform(State::RollingBack, Step::Quarantine),
        (State::Promoted | State::Verifying, Event::RollbackRequested(_)) => {
            perform(State::RollingBack, Step::Quarantine)
        }
        (State::Promoted, Event::UndoneWith(_)) => rest(State::RolledBack),
        (State::RollingBack, Event::Quarantined) => perform(State::RollingBack, Step::PlanRollback),
        (State::RollingBack, Event::RollbackPlanned) => {
            perform(State::RollingBack, if pushes { Step::RollbackRemote } else { Step::RollbackLocal })
        }
        (State::RollingBack, Event::RemoteRolledBack) => perform(State::RollingBack, Step::RollbackLocal),
        (State::RollingBack, Event::LocalRolledBack) => perform(State::RollingBack, Step::TakeBack),
        (State::RollbackFailed, Event::TakeBackRequested(_)) => perform(State::RollingBack, Step::TakeBack),
        (State::RollingBack, Event::TakenBack) => perform(State::RollingBack, Step::VerifyRollback),
        (State::RollingBack, Event::BackVerified | Event::BackFailing(_)) => rest(State::RolledBack),
        (State::RollingBack, Event::Failed(_)) => rest(State::RollbackFailed),
        (before, Event::Failed(_)) if has_not_landed(before) || before == State::Landing => rest(State::Failed),
        _ => None,
    }
}

/// Answers whether an event can come out of the pending step, or from outside while none is pending.
fn answers(pending: Option<Step>, event: &Event) -> bool {
    let from: &[Step] = match event {
        Event::Begun
        | Event::WatchFailed(_)
        | Event::RollbackRequested(_)
        | Event::TakeBackRequested(_)
        | Event::UndoneWith(_) => return pending.is_none(),
        // Whatever is said of what is live again, the environment is back.
        Event::Failed(_) => return pending.is_some_and(|step| step != Step::VerifyRollback),
        Event::Rejected(_) | Event::Expired(_) => {
            return pending.is_none_or(|step| matches!(step, Step::Gate | Step::Probe));
        }
        Event::Superseded(_) => {
            return pending.is_none_or(|step| matches!(step, Step::LandRemote | Step::LandLocal));
        }
        Event::Planned | Event::Offered | Event::NothingToDo | Event::Drifted(_) | Event::Conflicted(_) => {
            &[Step::Plan]
        }
        Event::Admitted => &[Step::Admit],
        Event::Closed(_) => &[Step::Admit, Step::Gate, Step::Probe],
        Event::ChecksPassed | Event::CheckFailed(_) => &[Step::Check],
        Event::Opened => &[Step::Gate],
        Event::Probed => &[Step::Probe],
        Event::LandedRemote => &[Step::LandRemote],
        Event::LandedLocal | Event::LocalMoved(_) => &[Step::LandLocal],
        Event::Mismatched(_) => &[Step::LandRemote, Step::LandLocal],
        Event::Delivered | Event::DeliveryFailed(_) => &[Step::Deliver],
        Event::Verified | Event::VerificationFailed(_) | Event::Paused(_) => &[Step::Verify],
        Event::Quarantined => &[Step::Quarantine],
        Event::RollbackPlanned => &[Step::PlanRollback, Step::RollbackRemote],
        Event::RemoteRolledBack => &[Step::RollbackRemote],
        Event::LocalRolledBack => &[Step::RollbackLocal],
        Event::TakenBack => &[Step::TakeBack],
        Event::BackVerified | Event::BackFailing(_) => &[Step::VerifyRollback],
    };
    pending.is_some_and(|step| from.contains(&step))
}

/// Answers whether a promotion in that state has moved nothing yet.
#[must_use]
pub fn has_not_landed(state: State) -> bool {
    matches!(state, State::Proposed | State::Planned | State::Checking | State::Waiting)
}

#[cfg(test)]
mod tests;
