//! The loop: journal a step, perform it, feed its event back, until the promotion rests.

use std::time::Duration;

use super::checks::{self, Running};
use super::error::{Error, Result};
use super::phase::{self, Event};
use super::plan::environment_of;
use super::{deliver, facts, land, ledger, others, plan, policy, rollback, verification};
use crate::alert::Alert;
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId, entropy};
use crate::check::Answer;
use crate::config::{AlertEvent, Waivable};
use crate::context::Context;
use crate::git::Repo;
use crate::store::{
    CheckPhase, CheckRecord, DeliveryRecord, JournalEntry, Lock, LockError, Promotion, State, Step, Waiver,
};

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
    /// A check that failed is known to do so now and then, and is asked once more.
    fn asking_again(&mut self, _promotion: &Promotion, _name: &str) {}
    /// These checks are under way, in the order in which they began; told several times in a second, and nothing is under
    /// way any more in the end.
    fn running(&mut self, _promotion: &Promotion, _running: &[Running]) {}
    /// The first bad one of so many saves is about to be looked for, with at most so many runs of the check that failed.
    fn searching(&mut self, _promotion: &Promotion, _name: &str, _saves: usize, _runs_limit: u32) {}
    /// In that search, the check has answered on a save.
    fn tried(&mut self, _promotion: &Promotion, _save: ObjectId, _answer: &CheckRecord) {}
    /// A sync is about to bring the outside to what landed.
    fn delivering(&mut self, _promotion: &Promotion, _sync: &str) {}
    /// It has, or has not; or what it brought was taken back.
    fn delivered(&mut self, _promotion: &Promotion, _delivery: &DeliveryRecord) {}
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
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The environment that should get something.
    pub environment: String,
    /// What it should get.
    pub source: Source,
    /// Whether drift may be merged three-way.
    pub merge: bool,
    /// Why, in the asker's words.
    pub purpose: Option<String>,
    /// Gates to pass by; the reason is the purpose.
    pub waivers: Vec<Waivable>,
}

/// What a promotion brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// What feeds the environment, as it is now.
    #[default]
    Upstream,
    /// This commit of what feeds the environment.
    Commit(ObjectId),
    /// A hotfix: this branch, past the environments before.
    Hotfix(String),
}

impl Request {
    /// Answers the branch of the hotfix that is wished for.
    #[must_use]
    pub fn hotfix(&self) -> Option<&str> {
        match &self.source {
            Source::Hotfix(branch) => Some(branch),
            Source::Upstream | Source::Commit(_) => None,
        }
    }

    /// Wishes for what feeds an environment, as it is now.
    #[must_use]
    pub fn to(environment: &str) -> Self {
        Self { environment: environment.to_owned(), ..Self::default() }
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
/// A promotion of the same source that waits already is taken up again, one that rests unverified is verified again; any
/// other that waits is superseded.
///
/// # Errors
/// Unknown environment or branch, a ledger that is broken at its head, a failing store or repository, or a remote that
/// stops answering half-way: then the promotion stays journaled and [`recover`] finishes it.
pub async fn promote(ctx: &Context, lock: &Lock, request: &Request, observer: &mut dyn Observer) -> Result<Promotion> {
    recover(ctx, lock, observer).await?;
    if let Some(reason) = ctx.stop.reason() {
        return Err(Error::Stopped { reason });
    }
    ledger::require_sound(ctx).await?;
    others::learn(ctx).await?;
    require_waivable(ctx, request).await?;
    begin(ctx, wish(ctx, request).await?, request, observer).await
}

/// Builds the candidate of a promotion and offers it: it can be approved, and a later [`promote`] takes up exactly it.
///
/// Where a promotion of the same source is open already, answers that one. Answers nothing where there is nothing to
/// offer: something stands in the way, or a promotion of another source is open, which only [`promote`] supersedes.
///
/// # Errors
/// As [`promote`].
pub async fn offer(ctx: &Context, _lock: &Lock, request: &Request) -> Result<Option<Promotion>> {
    ledger::require_sound(ctx).await?;
    others::learn(ctx).await?;
    let mut wished = wish(ctx, request).await?;
    let is_open = |open: &Promotion| open.environment == request.environment && !open.is_paused();
    if let Some(open) = ctx.store.unfinished().await?.into_iter().find(is_open) {
        return Ok(is_current(ctx, &open, &wished).await?.then_some(open));
    }
    if plan::perform(ctx, &mut wished).await? != Event::Planned {
        return Ok(None);
    }
    let (begun, offered) = (Event::Begun, Event::Offered);
    let rest = phase::next(wished.state, None, &begun, wished.remote.is_some())
        .and_then(|next| phase::next(next.state, next.step, &offered, wished.remote.is_some()));
    let Some(rest) = rest else { return Ok(None) };
    (wished.state, wished.step) = (rest.state, rest.step);
    let journal = [begun, offered].map(|event| journal_entry(&event, wished.created_at));
    ctx.store.record(&wished, &journal).await?;
    Ok(Some(wished))
}

/// Refuses a request to pass by a gate of which the rules say that nobody may.
async fn require_waivable(ctx: &Context, request: &Request) -> Result<()> {
    if request.waivers.is_empty() {
        return Ok(());
    }
    let spec = environment_of(ctx, &request.environment)?;
    let tip = policy::known_tip(ctx, &spec.branch).await?;
    let policy = policy::of_environment(ctx, &request.environment, tip, None).await?;
    let waivable = policy.environment.waive;
    match request.waivers.iter().find(|gate| !waivable.contains(gate)) {
        Some(gate) => Err(Error::NotWaivable { gate: *gate, environment: request.environment.clone(), waivable }),
        None => Ok(()),
    }
}

async fn waive(ctx: &Context, promotion: &Promotion, request: &Request) -> Result<()> {
    for gate in &request.waivers {
        let reason = request.purpose.clone().unwrap_or_else(|| "no reason given".to_owned());
        let waiver = Waiver { gate: gate.to_string(), person: ctx.person.clone(), reason, at: ctx.now() };
        ctx.store.record_waiver(&promotion.id, &waiver).await?;
    }
    Ok(())
}

fn superseded_by(newer: &Promotion) -> String {
    let hotfix = newer.hotfix.as_deref().map(|branch| format!(", the hotfix `{}`", shown(branch.as_bytes())));
    format!("superseded by promotion {} of {}{}", newer.id, newer.source.short(), hotfix.unwrap_or_default())
}

/// Makes the promotion that a request wishes for; records nothing.
pub(super) async fn wish(ctx: &Context, request: &Request) -> Result<Promotion> {
    let source = source(ctx, request).await?;
    proposal(ctx, request, source).await
}

/// Makes the promotion of a source that a wish asks for; records nothing.
pub(super) async fn proposal(ctx: &Context, request: &Request, source: ObjectId) -> Result<Promotion> {
    let name = ctx.config.remote.clone();
    let remote = ctx.git.run(move |repo| Ok(repo.has_remote(&name).then_some(name))).await?;
    let id = PromotionId::from_entropy(&entropy());
    Ok(Promotion {
        hotfix: request.hotfix().map(str::to_owned),
        merge_allowed: request.merge,
        remote,
        purpose: request.purpose.clone(),
        ..Promotion::proposed(id, &request.environment, source, &ctx.person, ctx.now())
    })
}

/// Answers the commit that is wished for.
async fn source(ctx: &Context, request: &Request) -> Result<ObjectId> {
    let spec = environment_of(ctx, &request.environment)?;
    let feeding = match &request.source {
        Source::Upstream | Source::Commit(_) => policy::source_branch(ctx, &request.environment).await?,
        Source::Hotfix(_) => policy::shown_feeding(ctx, &request.environment).await?.branch(&ctx.config).to_owned(),
    };
    if let Source::Hotfix(branch) = &request.source
        && [&spec.branch, &feeding].contains(&branch)
    {
        return Err(Error::NotAHotfix { branch: shown(branch.as_bytes()), environment: request.environment.clone() });
    }
    let (remote, wanted) = (ctx.config.remote.clone(), request.source.clone());
    let sandbox = ctx.config.sandbox.branch.clone();
    let found = ctx.git.run(move |repo| match wanted {
        Source::Upstream => plan::source_tip(repo, (&feeding, &sandbox), &remote),
        Source::Commit(commit) => Ok(commit),
        Source::Hotfix(branch) => {
            let may_ask = repo.branch_tip(&branch)?.is_none() && repo.has_remote(&remote);
            if may_ask && repo.remote_tip(&remote, &branch)?.is_some() {
                repo.fetch(&remote, &branch)?;
            }
            repo.known_branch_tip(&remote, &branch)
        }
    });
    Ok(found.await?)
}

/// Begins a proposed promotion, or goes on with the one that is open or rests unverified for the same.
pub(super) async fn begin(
    ctx: &Context,
    proposed: Promotion,
    request: &Request,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    for open in ctx.store.unfinished().await? {
        if open.environment != proposed.environment {
            continue;
        }
        if open.is_paused() {
            if open.source == proposed.source && proposed.undoes.is_none() {
                return drive(ctx, open, Event::Begun, observer).await;
            }
            // It is live: what lands on it ends it, not the mere wish.
            continue;
        }
        if is_current(ctx, &open, &proposed).await? {
            waive(ctx, &open, request).await?;
            return drive(ctx, open, Event::Begun, observer).await;
        }
        drive(ctx, open, Event::Superseded(superseded_by(&proposed)), observer).await?;
    }
    waive(ctx, &proposed, request).await?;
    drive(ctx, proposed, Event::Begun, observer).await
}

/// An open promotion is taken up where it is what is wished for, and the environment is where it was planned.
async fn is_current(ctx: &Context, open: &Promotion, wished: &Promotion) -> Result<bool> {
    // Whoever just asks for the source is content with the one that undoes its rollback.
    let undoes_the_same = wished.undoes.is_none() || open.undoes == wished.undoes;
    let brings_the_same = open.source == wished.source && open.hotfix == wished.hotfix;
    if !brings_the_same || open.merge_allowed != wished.merge_allowed || !undoes_the_same {
        return Ok(false);
    }
    let spec = environment_of(ctx, &open.environment)?;
    let (Some(tip), Some(previous)) = (policy::known_tip(ctx, &spec.branch).await?, open.previous) else {
        return Ok(open.previous.is_none());
    };
    Ok(ctx.git.run(move |repo| repo.is_ancestor(tip, previous)).await?)
}

/// Takes up every promotion that a crash left in the middle of a step, and brings it to rest.
///
/// # Errors
/// As [`promote`].
pub async fn recover(ctx: &Context, _lock: &Lock, observer: &mut dyn Observer) -> Result<Vec<Promotion>> {
    for lock in ctx.git.run(Repo::clear_dead_locks).await? {
        tracing::info!(lock = %lock.display(), "cleared away what a killed process left locked");
    }
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
    if event == Event::Begun && matches!(promotion.state, State::Waiting | State::Planned) {
        ledger::require_sound(ctx).await?;
        others::learn(ctx).await?;
    }
    let mut unwritten = Vec::new();
    loop {
        let line = advance(ctx, &mut promotion, &event)?;
        if is_told(ctx, &promotion, &event) {
            unwritten.push(line);
        }
        // Where there was nothing to do, nothing happened that anybody could verify.
        let ledger = match promotion.state.is_final() && promotion.state != State::Cancelled {
            true => ledger::settle(ctx, &promotion).await?,
            false => None,
        };
        if promotion.step.is_none_or(|step| is_effect(ctx, &promotion, step)) {
            ctx.store.record_with_ledger(&promotion, &std::mem::take(&mut unwritten), ledger).await?;
        }
        let Some(step) = promotion.step else {
            settle(ctx, &promotion).await?;
            ledger::publish(ctx, &promotion).await;
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
    let ledger = match promotion.state {
        State::RolledBack => ledger::settle(ctx, &promotion).await?,
        _ => None,
    };
    Ok(ctx.store.record_with_ledger(&promotion, &[line], ledger).await?)
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

/// Where nothing is delivered, the journal says nothing of it.
fn is_told(ctx: &Context, promotion: &Promotion, event: &Event) -> bool {
    let delivers = || ctx.config.environment(&promotion.environment).is_some_and(|spec| !spec.deliver.is_empty());
    !matches!(event, Event::Delivered | Event::TakenBack) || delivers()
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
        Step::Probe => spec.is_some_and(|spec| verification::probes(&spec.verify, &ctx.config.checks).next().is_some()),
        Step::Deliver | Step::TakeBack => spec.is_some_and(|spec| !spec.deliver.is_empty()),
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
        Step::Deliver => deliver::perform(ctx, promotion, observer).await?,
        Step::Verify => verification::perform(ctx, promotion, observer).await?,
        Step::Quarantine => rollback::quarantine(ctx, promotion).await?,
        Step::PlanRollback => rollback::plan(ctx, promotion).await?,
        Step::RollbackRemote => rollback::perform_remote(ctx, promotion).await?,
        Step::RollbackLocal => rollback::perform_local(ctx, promotion).await?,
        Step::TakeBack => deliver::take_back(ctx, promotion, observer).await?,
        Step::VerifyRollback => verification::perform_rolled_back(ctx, promotion, observer).await?,
    };
    observer.performed(promotion, step, &event);
    Ok(event)
}

/// What a promotion at rest means for its environment and for people.
async fn settle(ctx: &Context, promotion: &Promotion) -> Result<()> {
    if let Some(alert) = news(ctx, promotion) {
        ctx.tell(alert.about(&promotion.environment, &promotion.id));
    }
    Ok(())
}

/// Answers what people want to know of a promotion at rest.
fn news(ctx: &Context, promotion: &Promotion) -> Option<Alert> {
    let environment = &promotion.environment;
    let reason = promotion.reason.clone().unwrap_or_default();
    Some(match promotion.state {
        State::Promoted => {
            let ready = ctx.config.downstream(environment).first().map(|next| format!(": ready for {next}"));
            let title = format!("{environment} is live{}", ready.unwrap_or_default());
            Alert::new(AlertEvent::Promoted, title, promoted_body(promotion))
        }
        State::Verifying => {
            let body = format!("{reason}\n{}", verification::ways_on(environment));
            Alert::new(AlertEvent::Paused, format!("{environment} is paused"), body)
        }
        State::Waiting => {
            let body = format!("{reason}\ncascade approve {}", promotion.id);
            Alert::new(AlertEvent::AwaitingApproval, format!("{environment} waits"), body)
        }
        State::Failed | State::Conflict | State::Drifted => {
            Alert::new(AlertEvent::Failed, format!("promotion to {environment} failed"), reason)
        }
        State::RolledBack => Alert::new(AlertEvent::RolledBack, format!("{environment} was rolled back"), reason),
        State::RollbackFailed => {
            Alert::new(AlertEvent::RolledBack, format!("{environment} could NOT be rolled back"), reason)
        }
        _ => return None,
    })
}

fn promoted_body(promotion: &Promotion) -> String {
    let candidate = promotion.candidate.map(|id| id.short()).unwrap_or_default();
    format!("candidate {candidate}, promotion {}", promotion.id)
}
