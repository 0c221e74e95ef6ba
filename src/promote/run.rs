//! The loop: journal a step, perform it, feed its event back, until the promotion rests.

use std::time::Duration;

use super::error::{Error, Result};
use super::phase::{self, Event};
use super::plan::environment_of;
use super::{checks, facts, land, plan, rollback, verification};
use crate::base::Timestamp;
use crate::base::id::{ObjectId, PromotionId};
use crate::check::Answer;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::store::{CheckPhase, JournalEntry, Lock, LockError, Promotion, State, Step};

/// Sees what a promotion does, as it does it.
pub trait Observer: Send {
    /// A step is journaled and about to be performed.
    fn step(&mut self, promotion: &Promotion, step: Step);
    /// A step was performed; its event is not journaled yet.
    fn performed(&mut self, promotion: &Promotion, step: Step, event: &Event);
    /// A check need not be asked: it passed on this very content before.
    fn known(&mut self, promotion: &Promotion, name: &str);
    /// A check is about to be asked.
    fn asking(&mut self, promotion: &Promotion, phase: CheckPhase, name: &str);
    /// A check has answered.
    fn answered(&mut self, promotion: &Promotion, phase: CheckPhase, name: &str, answer: &Answer);
}

/// Sees everything and says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: &Promotion, _: Step) {}
    fn performed(&mut self, _: &Promotion, _: Step, _: &Event) {}
    fn known(&mut self, _: &Promotion, _: &str) {}
    fn asking(&mut self, _: &Promotion, _: CheckPhase, _: &str) {}
    fn answered(&mut self, _: &Promotion, _: CheckPhase, _: &str, _: &Answer) {}
}

/// A wish for a promotion.
#[derive(Debug, Clone)]
pub struct Request {
    /// The environment that should get what its source has.
    pub environment: String,
    /// Whether drift may be merged three-way.
    pub merge: bool,
    /// Why, in the asker's words.
    pub purpose: Option<String>,
}

/// Pauses between two looks at a held lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Takes the lock that lets one process at a time promote or roll back in the project.
///
/// With `wait`, waits until it is free.
///
/// # Errors
/// Held by another process (without `wait`), or the lock file cannot be used.
pub async fn lock(ctx: &Context, wait: bool) -> Result<Lock> {
    loop {
        match Lock::take(&ctx.home.promotion_lock()) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { .. }) if wait => tokio::time::sleep(LOCK_POLL).await,
            Err(LockError::Held { pid, .. }) => return Err(Error::Busy { pid }),
            Err(other) => return Err(Error::Store(other.into())),
        }
    }
}

/// Brings what the environment's source has now into the environment, as far as checks and gates let it.
///
/// A promotion of the same source that waits already is taken up again, one that rests unverified is verified again; one
/// of an older source is superseded.
///
/// # Errors
/// Unknown environment, a failing store or repository, or a remote that stops answering half-way: then the promotion
/// stays journaled and [`recover`] finishes it.
pub async fn promote(ctx: &Context, _lock: &Lock, request: &Request, observer: &mut dyn Observer) -> Result<Promotion> {
    let (_, source_branch) = environment_of(ctx, &request.environment)?;
    recover(ctx, _lock, observer).await?;
    let source = ctx.git.run(move |repo| repo.existing_branch_tip(&source_branch)).await?;
    begin(ctx, proposal(ctx, request, source).await?, observer).await
}

/// Makes the promotion that a wish asks for; nothing is stored yet.
pub(super) async fn proposal(ctx: &Context, request: &Request, source: ObjectId) -> Result<Promotion> {
    let name = ctx.config.remote.clone();
    let remote = ctx.git.run(move |repo| Ok(repo.has_remote(&name).then_some(name))).await?;
    let now = ctx.now();
    Ok(Promotion {
        id: new_id(),
        environment: request.environment.clone(),
        state: State::Proposed,
        step: None,
        source,
        previous: None,
        candidate: None,
        tree: None,
        merge_allowed: request.merge,
        remote,
        pushed: false,
        rollback_to: None,
        rollback_from: None,
        rollback_commit: None,
        undoes: None,
        watching_until: None,
        requested_by: ctx.person.clone(),
        purpose: request.purpose.clone(),
        reason: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
    })
}

/// Begins a proposed promotion, or goes on with the one that waits or rests unverified for the same.
pub(super) async fn begin(ctx: &Context, proposed: Promotion, observer: &mut dyn Observer) -> Result<Promotion> {
    for waiting in ctx.store.unfinished().await? {
        if waiting.environment != proposed.environment {
            continue;
        }
        if waiting.is_paused() {
            if waiting.source == proposed.source && proposed.undoes.is_none() {
                return drive(ctx, waiting, Event::Begun, observer).await;
            }
            // It is live: what lands on it ends it, not the mere wish.
            continue;
        }
        if is_the_same(&waiting, &proposed) && is_current(ctx, &waiting).await? {
            return drive(ctx, waiting, Event::Begun, observer).await;
        }
        let reason = format!("superseded by a promotion of {}", proposed.source.short());
        drive(ctx, waiting, Event::Superseded(reason), observer).await?;
    }
    drive(ctx, proposed, Event::Begun, observer).await
}

/// Whoever just asks for the source is content with the one that undoes its rollback.
fn is_the_same(waiting: &Promotion, proposed: &Promotion) -> bool {
    waiting.source == proposed.source
        && waiting.merge_allowed == proposed.merge_allowed
        && (proposed.undoes.is_none() || waiting.undoes == proposed.undoes)
}

/// A waiting candidate is only worth taking up while the environment is where it was planned.
async fn is_current(ctx: &Context, waiting: &Promotion) -> Result<bool> {
    let (spec, _) = environment_of(ctx, &waiting.environment)?;
    let (branch, previous) = (spec.branch.clone(), waiting.previous);
    let stands = ctx.git.run(move |repo| match (repo.branch_tip(&branch)?, previous) {
        (Some(tip), Some(previous)) => repo.is_ancestor(tip, previous),
        (tip, previous) => Ok(tip == previous),
    });
    Ok(stands.await?)
}

fn new_id() -> PromotionId {
    let mut entropy = [0_u8; 16];
    if getrandom::fill(&mut entropy).is_err() {
        // Without a source of randomness the process and the address of a fresh allocation still tell ids apart.
        let place = Box::new(0_u8);
        let unique = format!("{}-{:p}", std::process::id(), &raw const *place);
        return PromotionId::from_entropy(unique.as_bytes());
    }
    PromotionId::from_entropy(&entropy)
}

/// Takes up every promotion that a crash left in the middle of a step, and brings it to rest.
///
/// # Errors
/// As [`promote`].
pub async fn recover(ctx: &Context, _lock: &Lock, observer: &mut dyn Observer) -> Result<Vec<Promotion>> {
    let mut recovered = Vec::new();
    for promotion in ctx.store.unfinished().await? {
        if let Some(step) = promotion.step {
            recovered.push(resume_at(ctx, promotion, step, observer).await?);
        }
    }
    Ok(recovered)
}

async fn resume_at(
    ctx: &Context,
    mut promotion: Promotion,
    step: Step,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    tracing::info!(promotion = %promotion.id, step = %step, "taking up an interrupted promotion");
    let event = perform(ctx, &mut promotion, step, observer).await?;
    drive(ctx, promotion, event, observer).await
}

/// Feeds `event` to the promotion and performs what follows until it rests.
///
/// # Errors
/// As [`promote`].
pub(super) async fn drive(
    ctx: &Context,
    mut promotion: Promotion,
    mut event: Event,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    let mut unwritten = Vec::new();
    loop {
        unwritten.push(advance(ctx, &mut promotion, &event)?);
        if promotion.step.is_none_or(|step| is_effect(ctx, &promotion, step)) {
            ctx.store.record(&promotion, &std::mem::take(&mut unwritten)).await?;
        }
        let Some(step) = promotion.step else {
            settle(ctx, &promotion).await?;
            return Ok(promotion);
        };
        observer.step(&promotion, step);
        event = perform(ctx, &mut promotion, step, observer).await?;
    }
}

/// Ends a resting promotion by an event that asks for no step.
///
/// # Errors
/// The event does not belong there, or the store cannot be written.
pub(super) async fn end(ctx: &Context, mut promotion: Promotion, event: &Event) -> Result<()> {
    let line = advance(ctx, &mut promotion, event)?;
    Ok(ctx.store.record(&promotion, &[line]).await?)
}

/// Moves a promotion on by an event, stores nothing, and answers the line for its journal.
fn advance(ctx: &Context, promotion: &mut Promotion, event: &Event) -> Result<JournalEntry> {
    let out_of_phase = || Error::OutOfPhase {
        id: promotion.id.to_string(),
        state: promotion.state.to_string(),
        event: event.name().to_owned(),
    };
    let next =
        phase::next(promotion.state, promotion.step, event, promotion.remote.is_some()).ok_or_else(out_of_phase)?;
    let is_new_state = next.state != promotion.state;
    promotion.state = next.state;
    promotion.step = next.step;
    promotion.pushed |= next.step == Some(Step::LandRemote);
    promotion.updated_at = ctx.now();
    promotion.finished_at = next.state.is_final().then_some(promotion.updated_at);
    promotion.watching_until = verification::watching_until(ctx, promotion);
    if let Some(reason) = event.reason() {
        promotion.reason = Some(reason.to_owned());
    } else if is_new_state && next.state != State::RollingBack && next.state != State::RolledBack {
        promotion.reason = None;
    }
    Ok(journal_entry(event, promotion.updated_at))
}

fn journal_entry(event: &Event, at: Timestamp) -> JournalEntry {
    let detail = event.reason().unwrap_or_default().to_owned();
    JournalEntry { kind: "event".to_owned(), name: event.name().to_owned(), detail, at }
}

/// Makes a line for the journal of a promotion that rests and to which something happens that does not move it.
pub(super) fn note(ctx: &Context, name: &str, detail: String) -> JournalEntry {
    JournalEntry { kind: "event".to_owned(), name: name.to_owned(), detail, at: ctx.now() }
}

/// Answers whether a step changes anything outside, or takes its time: only then must it be journaled before it begins.
/// The others read and decide in no time; after a crash they are simply decided again.
fn is_effect(ctx: &Context, promotion: &Promotion, step: Step) -> bool {
    let spec = ctx.config.environment(&promotion.environment);
    match step {
        Step::Admit | Step::Gate => false,
        Step::Check => spec.is_some_and(|spec| !spec.checks.is_empty()),
        Step::Probe => spec.is_some_and(|spec| verification::probes(ctx, spec).next().is_some()),
        Step::Verify | Step::VerifyRollback => spec.is_some_and(|spec| !spec.verify.is_empty()),
        _ => true,
    }
}

async fn perform(ctx: &Context, promotion: &mut Promotion, step: Step, observer: &mut dyn Observer) -> Result<Event> {
    let event = match step {
        Step::Plan => plan::perform(ctx, promotion).await?,
        Step::Admit => facts::admit(ctx, promotion).await?,
        Step::Check => checks::perform(ctx, promotion, observer).await?,
        Step::Gate => facts::gates(ctx, promotion).await?,
        Step::Probe => verification::probe(ctx, promotion, observer).await?,
        Step::LandRemote => land::perform_remote(ctx, promotion).await?,
        Step::LandLocal => land::perform_local(ctx, promotion).await?,
        Step::Verify => verification::perform(ctx, promotion, observer).await?,
        Step::Quarantine => rollback::quarantine(ctx, promotion).await?,
        Step::PlanRollback => rollback::plan(ctx, promotion).await?,
        Step::RollbackRemote => rollback::perform_remote(ctx, promotion).await?,
        Step::RollbackLocal => rollback::perform_local(ctx, promotion).await?,
        Step::VerifyRollback => verification::perform_rolled_back(ctx, promotion, observer).await?,
    };
    observer.performed(promotion, step, &event);
    Ok(event)
}

/// What a promotion at rest means for its environment and for people.
async fn settle(ctx: &Context, promotion: &Promotion) -> Result<()> {
    let environment = &promotion.environment;
    let reason = promotion.reason.clone().unwrap_or_default();
    let project = &ctx.config.project;
    match promotion.state {
        State::Promoted => {
            let ready = ctx.config.downstream(environment).first().map(|next| format!(": ready for {next}"));
            let title = format!("{project}: {environment} is live{}", ready.unwrap_or_default());
            ctx.tell(AlertEvent::Promoted, title, promoted_body(promotion)).await;
        }
        State::Verifying => {
            let body = format!("{reason}\n{}", verification::ways_on(environment));
            ctx.tell(AlertEvent::Paused, format!("{project}: {environment} is paused"), body).await;
        }
        State::Waiting => {
            let title = format!("{project}: {environment} waits");
            let body = format!("{reason}\ncascade approve {}", promotion.id);
            ctx.tell(AlertEvent::AwaitingApproval, title, body).await;
        }
        State::Failed | State::Conflict | State::Drifted => {
            ctx.tell(AlertEvent::Failed, format!("{project}: promotion to {environment} failed"), reason).await;
        }
        State::RolledBack => {
            ctx.tell(AlertEvent::RolledBack, format!("{project}: {environment} was rolled back"), reason).await;
        }
        State::RollbackFailed => {
            let title = format!("{project}: {environment} could NOT be rolled back");
            ctx.tell(AlertEvent::RolledBack, title, reason).await;
        }
        _ => {}
    }
    Ok(())
}

fn promoted_body(promotion: &Promotion) -> String {
    let candidate = promotion.candidate.map(|id| id.short()).unwrap_or_default();
    format!("candidate {candidate}, promotion {}", promotion.id)
}
