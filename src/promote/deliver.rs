//! Delivery: bringing the outside to exactly what landed, and back.
//!
//! What is delivered says the configuration of the candidate itself: it was checked and approved with everything else.
//! Every run is made for its promotion and known by that, so that a rollback takes back exactly those, whatever else was
//! run since; a step that is repeated after a crash goes on where it was.

mod foresight;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(super) use self::foresight::facts;
pub use self::foresight::{Foreseen, Look, foresee};
use super::error::{Error, Result};
use super::phase::Event;
use super::plan::environment_of;
use super::policy;
use super::rollback;
use super::run::Observer;
use crate::alert::Alert;
use crate::base::Timestamp;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::config::{AlertEvent, SyncSpec};
use crate::context::Context;
use crate::store::{DeliveryOutcome, DeliveryPhase, DeliveryRecord, DeliveryRun, Promotion};
use crate::sync::{self, Noted, Opening, Report, triggered};

/// A sync with its name.
pub(super) type Named = (String, SyncSpec);

/// Answers what an environment delivers when a commit has landed there, in order: as the commit itself has it, else as the
/// rules before it had; where there are none, as the working tree has it.
pub(super) async fn configured(
    ctx: &Context,
    environment: &str,
    (candidate, previous): (ObjectId, Option<ObjectId>),
) -> Result<Vec<Named>> {
    for tip in [Some(candidate), previous] {
        match policy::of_environment(ctx, environment, tip, None).await {
            // What is no good says nothing; whoever promotes next is told.
            Err(Error::Policy { .. }) => {}
            found => return Ok(found?.deliveries),
        }
    }
    Ok(policy::deliveries(&ctx.config, environment_of(ctx, environment)?))
}

/// Performs the step: runs every delivery, one after the other, until one fails.
pub(super) async fn perform(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let Some(candidate) = promotion.candidate else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    let deliveries = configured(ctx, &promotion.environment, (candidate, promotion.previous)).await?;
    if deliveries.is_empty() {
        return Ok(Event::Delivered);
    }
    let _lock = sync::wait_for_lock(ctx).await.map_err(fatal)?;
    let done = done(ctx, promotion, DeliveryPhase::Deliver).await?;
    for (position, delivery) in deliveries.iter().enumerate().filter(|(_, (name, _))| !done.contains(name)) {
        observer.delivering(promotion, &delivery.0);
        let begun = ctx.now();
        let told = match deliver(ctx, promotion, candidate, delivery).await {
            Ok(report) => Told::of(report),
            Err(problem) => Told::failed(told(problem)?),
        };
        let record = told.record(&delivery.0, (DeliveryPhase::Deliver, position), (begun, ctx.now()));
        ctx.store.record_delivery(&promotion.id, &record).await?;
        let problem = (record.outcome == DeliveryOutcome::Failed).then(|| record.detail.clone());
        triggered::remember(ctx, &record.sync, begun, problem).await.map_err(fatal)?;
        observer.delivered(promotion, &record);
        alert(ctx, promotion, &record);
        if record.outcome == DeliveryOutcome::Failed {
            return Ok(Event::DeliveryFailed(format!("delivery {}: {}", record.sync, record.detail)));
        }
    }
    Ok(Event::Delivered)
}

/// Answers the deliveries that an earlier attempt at the step finished.
async fn done(ctx: &Context, promotion: &Promotion, phase: DeliveryPhase) -> Result<BTreeSet<String>> {
    let records = ctx.store.deliveries(&promotion.id).await?.into_iter();
    let done = records.filter(|record| record.phase == phase && record.outcome != DeliveryOutcome::Failed);
    Ok(done.map(|record| record.sync).collect())
}

async fn deliver(ctx: &Context, promotion: &Promotion, commit: ObjectId, (name, spec): &Named) -> sync::Result<Report> {
    open(ctx, promotion, commit, (name, spec)).await?.run().await
}

/// Opens a delivery for a promotion: of the environment's branch this commit counts.
async fn open(
    ctx: &Context,
    promotion: &Promotion,
    commit: ObjectId,
    (name, spec): (&str, &SyncSpec),
) -> sync::Result<sync::Sync> {
    let branch = ctx.config.environment(&promotion.environment).map_or("", |it| it.branch.as_str());
    let opening = Opening { spec, pinned: (branch, commit), promotion: Some(promotion.id.clone()) };
    sync::open_as(ctx, name, opening).await
}

/// Opens a sync for a person's word on what is at its target. Where a promotion waits that delivers it, what that would bring
/// counts: the word is about that, and not about what was delivered before.
///
/// # Errors
/// The store or the repository cannot be read; as [`sync::open`].
pub async fn open_awaited(ctx: &Context, name: &str) -> Result<sync::Sync> {
    let waiting = ctx.store.unfinished().await?.into_iter().rev().filter(|promotion| promotion.step.is_none());
    for promotion in waiting {
        let Some(candidate) = promotion.candidate else { continue };
        let deliveries = configured(ctx, &promotion.environment, (candidate, promotion.previous)).await?;
        if let Some((_, spec)) = deliveries.iter().find(|(delivered, _)| delivered == name) {
            let sync = open(ctx, &promotion, candidate, (name, spec)).await.map_err(delivery)?;
            // What a person decides is not taken back with the promotion.
            return Ok(sync::Sync { promotion: None, is_awaited: true, ..sync });
        }
    }
    sync::open(ctx, name, None).await.map_err(delivery)
}

fn delivery(problem: sync::Error) -> Error {
    Error::Delivery(Box::new(problem))
}

/// Passes on what is no matter of the sync itself.
fn fatal(problem: sync::Error) -> Error {
    match problem {
        sync::Error::Store(source) => Error::Store(source),
        sync::Error::Git(source) => Error::Git(source),
        other => delivery(other),
    }
}

/// Answers in words why a sync did nothing; a database that refuses is no matter of the sync.
fn told(problem: sync::Error) -> Result<String> {
    match problem {
        sync::Error::Store(source) => Err(Error::Store(source)),
        other => Ok(one_line(&other)),
    }
}

fn one_line(problem: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(problem.source(), |cause| cause.source());
    let mut text = problem.to_string();
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// How a delivery ended, with what it did.
#[derive(Debug)]
struct Told {
    outcome: DeliveryOutcome,
    detail: String,
    report: Report,
}

impl Told {
    /// What is flagged does not fail by itself, but where it was all that there was to do.
    fn of(report: Report) -> Self {
        let (outcome, detail) = if !report.failed.is_empty() {
            (DeliveryOutcome::Failed, listed(&report.failed, "could not be brought over"))
        } else if !report.unverified.is_empty() {
            (DeliveryOutcome::Failed, listed(&report.unverified, "not there as written"))
        } else if report.conflicts > 0 && report.changed() == 0 {
            (DeliveryOutcome::Failed, format!("nothing could be done: {}", listed(&report.flagged, "flagged")))
        } else if !report.flagged.is_empty() {
            (DeliveryOutcome::Flagged, listed(&report.flagged, "flagged"))
        } else if let Some(problem) = triggered::problem_of(&report) {
            (DeliveryOutcome::Flagged, problem)
        } else {
            (DeliveryOutcome::Delivered, String::new())
        };
        Self { outcome, detail, report }
    }

    fn failed(detail: String) -> Self {
        Self { outcome: DeliveryOutcome::Failed, detail, report: Report::default() }
    }

    fn record(
        self,
        name: &str,
        (phase, position): (DeliveryPhase, usize),
        (begun, at): (Timestamp, Timestamp),
    ) -> DeliveryRecord {
        let Report { created, updated, deleted, flagged, failed, unverified, bytes, .. } = self.report;
        let number = |items: usize| i64::try_from(items).unwrap_or(i64::MAX);
        DeliveryRecord {
            phase,
            sync: name.to_owned(),
            position: number(position),
            outcome: self.outcome,
            detail: self.detail,
            created: number(created),
            updated: number(updated),
            deleted: number(deleted),
            flagged: number(flagged.len()),
            failed: number(failed.len() + unverified.len()),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            took_ms: at.as_millisecond() - begun.as_millisecond(),
            at,
        }
    }
}

/// Answers how many items are so, and what is the matter with the first of them.
fn listed(items: &[Noted], word: &str) -> String {
    let first = items.first().map(|one| format!(": {} {}", one.key, one.reason)).unwrap_or_default();
    format!("{} {word}{first}", count(items.len(), "item"))
}

/// People hear of what is left alone at a target; what fails is told with the rollback.
fn alert(ctx: &Context, promotion: &Promotion, record: &DeliveryRecord) {
    if record.outcome == DeliveryOutcome::Flagged {
        let title = format!("the target of {} was changed by somebody else", record.sync);
        let alert = Alert::new(AlertEvent::Conflict, title, &record.detail);
        ctx.tell(alert.about(&promotion.environment, &promotion.id));
    }
}

/// Performs the step: takes back what a promotion, and what is undone with it, delivered.
pub(super) async fn take_back(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let undone = undone(ctx, promotion).await?;
    if undone.is_empty() {
        return Ok(Event::TakenBack);
    }
    let _lock = sync::wait_for_lock(ctx).await.map_err(fatal)?;
    let done = done(ctx, promotion, DeliveryPhase::TakeBack).await?;
    let mut problems = Vec::new();
    for (position, (name, delivered)) in undone.iter().enumerate().filter(|(_, (name, _))| !done.contains(*name)) {
        let begun = ctx.now();
        let told = match put_back(ctx, promotion, name, delivered).await {
            Ok(report) => Told::of(report),
            Err(problem) => Told::failed(told(problem)?),
        };
        let record = told.record(name, (DeliveryPhase::TakeBack, position), (begun, ctx.now()));
        ctx.store.record_delivery(&promotion.id, &record).await?;
        observer.delivered(promotion, &record);
        alert(ctx, promotion, &record);
        if record.outcome == DeliveryOutcome::Failed {
            problems.push(format!("{name}: {}", record.detail));
        }
    }
    match problems.is_empty() {
        true => Ok(Event::TakenBack),
        false => Ok(Event::Failed(format!(
            "the branch is back, but not what was delivered: {} (`cascade rollback {}` tries that again); {}",
            problems.join("; "),
            promotion.environment,
            promotion.reason.as_deref().unwrap_or("it was rolled back")
        ))),
    }
}

/// What promotions that are undone delivered by one sync.
#[derive(Debug)]
struct Delivered {
    /// As the newest of them has it.
    spec: SyncSpec,
    /// The runs, the oldest first.
    runs: Vec<String>,
    /// Whether not all of what they replaced can be put back from snapshots.
    is_lost: bool,
}

/// Answers what is to be taken back, by sync.
async fn undone(ctx: &Context, promotion: &Promotion) -> Result<BTreeMap<String, Delivered>> {
    let mut undone: BTreeMap<String, Delivered> = BTreeMap::new();
    let others = rollback::undone_with(ctx, promotion).await?;
    // The newest first: its word on a sync counts.
    for one in std::iter::once(promotion).chain(&others) {
        let runs = ctx.store.delivery_runs(&one.id).await?;
        let Some(candidate) = one.candidate.filter(|_| !runs.is_empty()) else { continue };
        let specs = configured(ctx, &one.environment, (candidate, one.previous)).await?;
        for run in runs.into_iter().rev() {
            if !undone.contains_key(&run.sync) {
                let spec = specs.iter().find(|(name, _)| *name == run.sync).map(|(_, spec)| spec.clone());
                let Some(spec) = spec.or_else(|| ctx.config.syncs.get(&run.sync).cloned()) else { continue };
                undone.insert(run.sync.clone(), Delivered { spec, runs: Vec::new(), is_lost: false });
            }
            if let Some(delivered) = undone.get_mut(&run.sync) {
                delivered.is_lost |= is_lost(&run);
                delivered.runs.insert(0, run.run);
            }
        }
    }
    Ok(undone)
}

/// Answers whether a run replaced something of which no snapshot is left.
fn is_lost(run: &DeliveryRun) -> bool {
    let report = run.report.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let changed =
        |report: &Value| ["created", "updated", "deleted"].iter().any(|word| report[*word].as_u64() > Some(0));
    !run.has_snapshot && report.is_some_and(|report| changed(&report))
}

/// Puts back what was replaced. Where snapshots of it are gone, what is in the environment's own tree is brought again as it
/// was.
async fn put_back(ctx: &Context, promotion: &Promotion, name: &str, delivered: &Delivered) -> sync::Result<Report> {
    let Delivered { spec, runs, is_lost } = delivered;
    let candidate = promotion.candidate.unwrap_or(promotion.source);
    let sync = open(ctx, promotion, candidate, (name, spec)).await?;
    let report = sync.take_back(runs).await?;
    let Some(back_to) = promotion.rollback_to.filter(|_| *is_lost) else { return Ok(report) };
    if !comes_from(ctx, &promotion.environment, spec) {
        let reason = "was replaced by a run of which no snapshot is left".to_owned();
        let noted = Noted { key: "what".to_owned(), reason };
        return Ok(Report { failed: report.failed.into_iter().chain([noted]).collect(), ..report });
    }
    let again = open(ctx, promotion, back_to, (name, spec)).await?.run().await?;
    Ok(Report {
        created: report.created + again.created,
        updated: report.updated + again.updated,
        deleted: report.deleted + again.deleted,
        bytes: report.bytes + again.bytes,
        ..again
    })
}

/// Answers whether a sync brings what an environment's own branch has.
fn comes_from(ctx: &Context, environment: &str, spec: &SyncSpec) -> bool {
    let Some(own) = ctx.config.environment(environment) else { return false };
    spec.from.tree.as_deref().is_some_and(|tree| tree == environment || tree == own.branch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted() -> Vec<Noted> {
        vec![Noted { key: "a".to_owned(), reason: "was changed".to_owned() }]
    }

    #[test]
    fn what_is_flagged_fails_only_where_it_was_all_that_there_was_to_do() {
        let outcome = |report: Report| Told::of(report).outcome;
        assert_eq!(outcome(Report::default()), DeliveryOutcome::Delivered);
        let flagged = || Report { flagged: noted(), conflicts: 1, ..Report::default() };
        assert_eq!(outcome(Report { conflicts: 0, ..flagged() }), DeliveryOutcome::Flagged);
        assert_eq!(outcome(Report { updated: 1, ..flagged() }), DeliveryOutcome::Flagged);
        assert_eq!(outcome(flagged()), DeliveryOutcome::Failed);
        assert_eq!(outcome(Report { failed: noted(), updated: 1, ..Report::default() }), DeliveryOutcome::Failed);
        assert_eq!(outcome(Report { unverified: noted(), updated: 1, ..Report::default() }), DeliveryOutcome::Failed);
    }

    #[test]
    fn a_run_is_lost_that_replaced_something_and_has_no_snapshot() {
        let run = |report: Option<&str>, has_snapshot| DeliveryRun {
            run: "r".to_owned(),
            sync: "site".to_owned(),
            has_snapshot,
            report: report.map(str::to_owned),
        };
        let changed = Some("{\"created\":0,\"updated\":2,\"deleted\":0}");
        assert!(is_lost(&run(changed, false)));
        assert!(!is_lost(&run(changed, true)));
        assert!(!is_lost(&run(Some("{\"created\":0,\"updated\":0,\"deleted\":0}"), false)));
        assert!(!is_lost(&run(None, false)));
    }
}
