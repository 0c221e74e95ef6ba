//! When a sync runs by itself: by the clock, or after a deployment. Pure.
//!
//! What was missed is made up for once, whatever happened to the clock or to whoever runs syncs: only what is remembered
//! and the present moment decide.

use jiff::tz::TimeZone;

use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::units::Span;
use crate::config::{Schedule, SyncSpec};
use crate::store::SyncMemory;

/// What failed after a deployment is tried again so much later.
const RETRY_AFTER_MS: i64 = 10 * 60 * 1_000;
/// A clock that was set back by more than this was wrong before: what it said then counts no more.
const CLOCK_TRUST_MS: i64 = 25 * 60 * 60 * 1_000;

/// What makes a sync run by itself.
#[derive(Debug, Clone, Copy)]
pub struct Trigger<'a> {
    /// Again and again, so much after it began last.
    pub every: Option<Span>,
    /// At these times.
    pub cron: Option<&'a Schedule>,
    /// After each deployment of this environment.
    pub after: Option<&'a str>,
    /// But not before so much time has passed since it began last.
    pub min_interval: Span,
}

/// The present.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The time zone of schedules that name none.
    pub zone: &'a TimeZone,
    /// The promotions of the environment that are live or below what is live, the newest first.
    pub landed: &'a [String],
}

/// Why a sync runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It is time.
    Time,
    /// This promotion is live.
    Deployment(String),
}

/// What follows from a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be remembered from now on.
    pub memory: SyncMemory,
    /// Why it runs now, where it does.
    pub due: Option<Cause>,
    /// When it runs next by what is known now, where it does not run now.
    pub next: Option<Timestamp>,
}

impl<'a> Trigger<'a> {
    /// Answers what makes a configured sync run by itself; nothing where only people do.
    #[must_use]
    pub fn of(spec: &'a SyncSpec) -> Option<Self> {
        let SyncSpec { every, cron, after, min_interval, .. } = spec;
        let runs_itself = every.is_some() || cron.is_some() || after.is_some();
        runs_itself.then_some(Self {
            every: *every,
            cron: cron.as_ref(),
            after: after.as_deref(),
            min_interval: *min_interval,
        })
    }
}

/// Decides whether a sync runs now, and what is remembered.
#[must_use]
pub fn look(trigger: &Trigger<'_>, memory: Option<&SyncMemory>, present: &Present<'_>) -> Decision {
    let memory = settled(trigger, memory.cloned().unwrap_or_default(), present);
    let earliest = rests_until(&memory, trigger.min_interval).unwrap_or(present.now);
    let after = deployment(trigger, &memory, present).map(|(at, id)| (at.max(earliest), Cause::Deployment(id)));
    let time = slot(trigger, &memory, present).map(|at| (at.max(earliest), Cause::Time));
    let wanted: Vec<(Timestamp, Cause)> = after.into_iter().chain(time).collect();
    let next = wanted.iter().map(|(at, _)| *at).min();
    let due = wanted.into_iter().find(|(at, _)| *at <= present.now).map(|(_, cause)| cause);
    Decision { memory, next: next.filter(|_| due.is_none()), due }
}

/// Answers until when a sync that ran is left alone; nothing where it may run at any time.
#[must_use]
pub fn rests_until(memory: &SyncMemory, min_interval: Span) -> Option<Timestamp> {
    let ran_at = memory.ran_at.filter(|_| !min_interval.0.is_zero())?;
    Some(later(ran_at, min_interval.as_ms()))
}

/// Answers what is remembered when a run has ended that began at `begun`: as wished for, or why not. A run without a cause
/// is a person's, or a promotion's.
#[must_use]
pub fn ended(
    memory: SyncMemory,
    (trigger, cause): (Option<&Trigger<'_>>, Option<&Cause>),
    (begun, present): (Timestamp, &Present<'_>),
    problem: Option<String>,
) -> SyncMemory {
    let mut memory = memory;
    if cause == Some(&Cause::Time) {
        memory.since = Some(begun);
    }
    if let Some(problem) = problem {
        (memory.failed_at, memory.problem) = (Some(present.now), Some(problem));
        return memory;
    }
    (memory.ran_at, memory.failed_at, memory.problem) = (Some(begun), None, None);
    if let (Some(Cause::Deployment(_)), Some(after)) = (cause, trigger.and_then(|trigger| trigger.after)) {
        memory.seen.insert(after.to_owned(), present.landed.to_vec());
    }
    memory
}

/// Makes what is remembered fit the present: a first look learns what there is, and a clock that was set back is followed.
fn settled(trigger: &Trigger<'_>, mut memory: SyncMemory, present: &Present<'_>) -> SyncMemory {
    let now = present.now;
    let no_later = |at: Timestamp| at.min(now);
    (memory.ran_at, memory.failed_at) = (memory.ran_at.map(no_later), memory.failed_at.map(no_later));
    if trigger.every.is_some() {
        memory.since = memory.since.map(no_later);
    } else if trigger.cron.is_some() {
        // What was done at a time that comes again is not done again; a clock that was far off says nothing.
        let is_trusted =
            |since: &Timestamp| since.as_millisecond() <= now.as_millisecond().saturating_add(CLOCK_TRUST_MS);
        memory.since = memory.since.filter(is_trusted).or(Some(now));
    }
    if let Some(after) = trigger.after.filter(|after| !memory.seen.contains_key(*after)) {
        memory.seen.insert(after.to_owned(), present.landed.to_vec());
    }
    memory
}

/// Answers when it is time.
fn slot(trigger: &Trigger<'_>, memory: &SyncMemory, present: &Present<'_>) -> Option<Timestamp> {
    match (trigger.every, trigger.cron) {
        (Some(every), _) => Some(memory.since.map_or(present.now, |since| later(since, every.as_ms()))),
        (None, Some(cron)) => cron.next_after(memory.since?, present.zone),
        (None, None) => None,
    }
}

/// Answers the promotion that it has not run for yet, and when it does.
fn deployment(trigger: &Trigger<'_>, memory: &SyncMemory, present: &Present<'_>) -> Option<(Timestamp, String)> {
    let (seen, live) = (memory.seen.get(trigger.after?)?, present.landed.first()?);
    let at = memory.failed_at.map_or(present.now, |failed| later(failed, RETRY_AFTER_MS));
    (!seen.contains(live)).then(|| (at, live.clone()))
}

fn later(at: Timestamp, ms: i64) -> Timestamp {
    from_ms(at.as_millisecond().saturating_add(ms))
}

#[cfg(test)]
mod tests;
