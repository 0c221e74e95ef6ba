//! The loop: journal a step, perform it, feed its event back, until the promotion rests.

use std::time::Duration;

use super::error::{Error, Result};
use super::phase::{self, Event};
use super::plan::environment_of;
use super::{checks, facts, land, plan, rollback};
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::check::Answer;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::store::{CheckPhase, HoldCause, JournalEntry, Lock, LockError, Promotion, State, Step};

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
    /// The environment that should get something.
    pub environment: String,
    /// What it should get.
    pub source: Source,
    /// Whether drift may be merged three-way.
    pub merge: bool,
    /// Why, in the asker's words.
    pub purpose: Option<String>,
}

/// What a promotion brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// What feeds the environment, as it is now.
    Upstream,
    /// This commit of what feeds the environment.
    Commit(ObjectId),
    /// A hotfix: this branch, past the environments before.
    Hotfix(String),
}

impl Request {
    /// Wishes for what feeds an environment, as it is now.
    #[must_use]
    pub fn to(environment: &str) -> Self {
        Self { environment: environment.to_owned(), source: Source::Upstream, merge: false, purpose: None }
    }
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

/// Brings what is wished for into the environment, as far as checks and gates let it.
///
/// A promotion of the same source that waits already is taken up again; any other that waits is superseded.
///
/// # Errors
/// Unknown environment or branch, a failing store or repository, or a remote that stops answering half-way: then the
/// promotion stays journaled and [`recover`] finishes it.
pub async fn promote(ctx: &Context, _lock: &Lock, request: &Request, observer: &mut dyn Observer) -> Result<Promotion> {
    environment_of(ctx, &request.environment)?;
    recover(ctx, _lock, observer).await?;
    let wished = propose(ctx, request).await?;
    for waiting in ctx.store.unfinished().await? {
        if waiting.environment != request.environment {
            continue;
        }
        let is_same = waiting.source == wished.source && waiting.hotfix == wished.hotfix;
        if is_same && waiting.merge_allowed == request.merge && is_current(ctx, &waiting).await? {
            return drive(ctx, waiting, Event::Begun, observer).await;
        }
        drive(ctx, waiting, Event::Superseded(superseded_by(&wished)), observer).await?;
    }
    drive(ctx, wished, Event::Begun, observer).await
}

fn superseded_by(newer: &Promotion) -> String {
    let hotfix = newer.hotfix.as_deref().map(|branch| format!(", the hotfix `{}`", shown(branch.as_bytes())));
    format!("superseded by promotion {} of {}{}", newer.id, newer.source.short(), hotfix.unwrap_or_default())
}

/// Makes the promotion that is wished for; nothing is recorded yet.
async fn propose(ctx: &Context, request: &Request) -> Result<Promotion> {
    let (source, remote) = source(ctx, request).await?;
    let now = ctx.now();
    Ok(Promotion {
        id: new_id(),
        environment: request.environment.clone(),
        state: State::Proposed,
        step: None,
        source,
        hotfix: match &request.source {
            Source::Hotfix(branch) => Some(branch.clone()),
            Source::Upstream | Source::Commit(_) => None,
        },
        previous: None,
        candidate: None,
        tree: None,
        merge_allowed: request.merge,
        remote,
        pushed: false,
        rollback_to: None,
        rollback_from: None,
        rollback_commit: None,
        requested_by: ctx.person.clone(),
        purpose: request.purpose.clone(),
        reason: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
    })
}

/// Answers the commit that is wished for, and the remote to push to where there is one.
async fn source(ctx: &Context, request: &Request) -> Result<(ObjectId, Option<String>)> {
    let (spec, feeding) = environment_of(ctx, &request.environment)?;
    if let Source::Hotfix(branch) = &request.source
        && [&spec.branch, &feeding].contains(&branch)
    {
        return Err(Error::NotAHotfix { branch: shown(branch.as_bytes()), environment: request.environment.clone() });
    }
    let (remote_name, wanted) = (ctx.config.remote.clone(), request.source.clone());
    let found = ctx.git.run(move |repo| {
        let remote = repo.has_remote(&remote_name).then_some(remote_name.clone());
        let source = match wanted {
            Source::Upstream => repo.existing_branch_tip(&feeding)?,
            Source::Commit(commit) => commit,
            Source::Hotfix(branch) => {
                let is_here = repo.branch_tip(&branch)?.is_some();
                if let Some(remote) = remote.as_deref().filter(|_| !is_here)
                    && repo.remote_tip(remote, &branch)?.is_some()
                {
                    repo.fetch(remote, &branch)?;
                }
                repo.known_branch_tip(&remote_name, &branch)?
            }
        };
        Ok((source, remote))
    });
    Ok(found.await?)
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
        let out_of_phase = || Error::OutOfPhase {
            id: promotion.id.to_string(),
            state: promotion.state.to_string(),
            event: event.name().to_owned(),
        };
        let next = phase::next(promotion.state, promotion.step, &event, promotion.remote.is_some())
            .ok_or_else(out_of_phase)?;
        let is_new_state = next.state != promotion.state;
        promotion.state = next.state;
        promotion.step = next.step;
        promotion.pushed |= next.step == Some(Step::LandRemote);
        promotion.updated_at = ctx.now();
        promotion.finished_at = next.state.is_final().then_some(promotion.updated_at);
        if let Some(reason) = event.reason() {
            promotion.reason = Some(reason.to_owned());
        } else if is_new_state && next.state != State::RollingBack && next.state != State::RolledBack {
            promotion.reason = None;
        }
        unwritten.push(journal_entry(&event, promotion.updated_at));
        if next.step.is_none_or(|step| is_effect(ctx, &promotion, step)) {
            ctx.store.record(&promotion, &std::mem::take(&mut unwritten)).await?;
        }
        let Some(step) = next.step else {
            settle(ctx, &promotion).await?;
            return Ok(promotion);
        };
        observer.step(&promotion, step);
        event = perform(ctx, &mut promotion, step, observer).await?;
    }
}

fn journal_entry(event: &Event, at: Timestamp) -> JournalEntry {
    let detail = event.reason().unwrap_or_default().to_owned();
    JournalEntry { kind: "event".to_owned(), name: event.name().to_owned(), detail, at }
}

/// Answers whether a step changes anything outside, or takes its time: only then must it be journaled before it begins.
/// The others read and decide in no time; after a crash they are simply decided again.
fn is_effect(ctx: &Context, promotion: &Promotion, step: Step) -> bool {
    let spec = ctx.config.environment(&promotion.environment);
    match step {
        Step::Admit | Step::Gate => false,
        Step::Check => spec.is_some_and(|spec| !spec.checks.is_empty()),
        Step::Verify => spec.is_some_and(|spec| !spec.verify.is_empty()),
        _ => true,
    }
}

async fn perform(ctx: &Context, promotion: &mut Promotion, step: Step, observer: &mut dyn Observer) -> Result<Event> {
    let event = match step {
        Step::Plan => plan::perform(ctx, promotion).await?,
        Step::Admit => facts::admit(ctx, promotion).await?,
        Step::Check => checks::perform(ctx, promotion, observer).await?,
        Step::Gate => facts::gates(ctx, promotion).await?,
        Step::LandRemote => land::perform_remote(ctx, promotion).await?,
        Step::LandLocal => land::perform_local(ctx, promotion).await?,
        Step::Verify => checks::verify(ctx, promotion, observer).await?,
        Step::Quarantine => rollback::quarantine(ctx, promotion).await?,
        Step::PlanRollback => rollback::plan(ctx, promotion).await?,
        Step::RollbackRemote => rollback::perform_remote(ctx, promotion).await?,
        Step::RollbackLocal => rollback::perform_local(ctx, promotion).await?,
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
            lift_rollback_hold(ctx, environment).await?;
            let ready = ctx.config.downstream(environment).first().map(|next| format!(": ready for {next}"));
            let title = format!("{project}: {environment} is live{}", ready.unwrap_or_default());
            ctx.tell(AlertEvent::Promoted, title, promoted_body(promotion)).await;
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

/// A verified fix ends the hold that a rollback set; a person's hold stays.
async fn lift_rollback_hold(ctx: &Context, environment: &str) -> Result<()> {
    let held = ctx.store.held(environment).await?;
    if held.is_some_and(|hold| hold.cause == HoldCause::Rollback) {
        ctx.store.lift_hold(environment).await?;
    }
    Ok(())
}
