//! Running syncs by themselves, as [`due`](super::due) decides.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::due::{self, Cause, Decision, Present, Trigger};
use super::error::Result;
use super::open::open;
use super::report::Report;
use super::walk::reason;
use crate::alert::Alert;
use crate::base::Timestamp;
use crate::base::units::count;
use crate::config::{AlertEvent, SyncSpec};
use crate::context::Context;
use crate::store::{self, Lock, LockError, SyncMemory};

/// Longest pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// So many promotions that are live or below what is live are known at a time.
const LANDED_LIMIT: i64 = 100;

/// How a sync stands that may run by itself.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Whether it runs by itself at all, were it active.
    pub is_triggered: bool,
    /// Whether it is active here.
    pub is_active: bool,
    /// The environment whose rollback holds it, where one does.
    pub held_by: Option<String>,
    /// What is remembered of its runs.
    pub memory: SyncMemory,
    /// When it runs next, as far as the clock decides.
    pub next: Option<Timestamp>,
}

/// Answers how every sync stands, in the order of the configuration; remembers nothing.
///
/// # Errors
/// The database cannot be read.
pub async fn standings(ctx: &Context) -> Result<Vec<Standing>> {
    let mut standings = Vec::new();
    for (name, spec) in &ctx.config.syncs {
        let is_active = is_active(ctx, spec);
        let held_by = held_by(ctx, name).await?;
        let (memory, next, is_triggered) = match Trigger::of(spec) {
            Some(trigger) => {
                let Decision { memory, next, due } = decide(ctx, name, &trigger).await?;
                (memory, next.or(due.map(|_| ctx.now())), true)
            }
            None => (ctx.store.sync_memory(name).await?.unwrap_or_default(), None, false),
        };
        let next = next.filter(|_| is_active && held_by.is_none());
        standings.push(Standing { name: name.clone(), is_triggered, is_active, held_by, memory, next });
    }
    Ok(standings)
}

/// Answers whether a sync is active on this machine, or in the environment after whose deployments it runs.
#[must_use]
pub fn is_active(ctx: &Context, spec: &SyncSpec) -> bool {
    let follows = |after: &String| spec.is_active_in(Some(after));
    spec.is_active_in(here(ctx)) || spec.after.as_ref().is_some_and(follows)
}

/// Answers the environment that this machine is, as `CASCADE_ENV` says.
#[must_use]
pub fn here(ctx: &Context) -> Option<&str> {
    ctx.variables.get("CASCADE_ENV").filter(|name| !name.is_empty())
}

/// What an environment delivers does not come back by itself while a rollback holds the environment.
async fn held_by(ctx: &Context, name: &str) -> Result<Option<String>> {
    let delivering = ctx.config.environments.iter().filter(|(_, spec)| spec.deliver.iter().any(|it| it == name));
    for (environment, _) in delivering {
        let held = ctx.store.held(environment).await?;
        if held.is_some_and(|hold| hold.cause == store::HoldCause::Rollback) {
            return Ok(Some(environment.clone()));
        }
    }
    Ok(None)
}

/// Looks at everything and the present around a sync.
struct Around {
    now: Timestamp,
    zone: TimeZone,
    landed: Vec<String>,
}

impl Around {
    async fn of(ctx: &Context, trigger: Option<&Trigger<'_>>) -> Result<Self> {
        let landed = match trigger.and_then(|trigger| trigger.after) {
            Some(after) => ctx.store.landed(after, LANDED_LIMIT).await?,
            None => Vec::new(),
        };
        let landed = landed.into_iter().map(|promotion| promotion.id.to_string()).collect();
        Ok(Self { now: ctx.now(), zone: ctx.clock.zone(), landed })
    }

    fn present(&self) -> Present<'_> {
        Present { now: self.now, zone: &self.zone, landed: &self.landed }
    }
}

async fn decide(ctx: &Context, name: &str, trigger: &Trigger<'_>) -> Result<Decision> {
    let around = Around::of(ctx, Some(trigger)).await?;
    let memory = ctx.store.sync_memory(name).await?;
    Ok(due::look(trigger, memory.as_ref(), &around.present()))
}

/// Learns of every sync what there is before it runs by itself for the first time: what is deployed by then is no reason.
///
/// # Errors
/// The database cannot be used.
pub async fn acquaint(ctx: &Context) -> Result<()> {
    for (name, spec) in &ctx.config.syncs {
        if let Some(trigger) = Trigger::of(spec) {
            look(ctx, name, &trigger).await?;
        }
    }
    Ok(())
}

/// Decides, and stores what is to be remembered.
async fn look(ctx: &Context, name: &str, trigger: &Trigger<'_>) -> Result<Decision> {
    let before = ctx.store.sync_memory(name).await?;
    let decision = decide(ctx, name, trigger).await?;
    if before.as_ref() != Some(&decision.memory) {
        ctx.store.remember_sync(name, &decision.memory).await?;
    }
    Ok(decision)
}

/// Runs every sync that is due, one after the other; answers when the next one is. One that fails stops no other.
///
/// # Errors
/// The database cannot be used.
pub async fn run_due(ctx: &Context) -> Result<Option<Timestamp>> {
    let mut next: Option<Timestamp> = None;
    for (name, spec) in &ctx.config.syncs {
        let Some(trigger) = Trigger::of(spec).filter(|_| is_active(ctx, spec)) else { continue };
        if held_by(ctx, name).await?.is_some() {
            continue;
        }
        let mut decision = look(ctx, name, &trigger).await?;
        if decision.due.is_some() {
            // Whoever holds the lock may be at this very sync.
            let lock = match Lock::take(&ctx.home.sync_lock()) {
                Err(LockError::Held { .. }) => continue,
                taken => taken.map_err(store::Error::from)?,
            };
            decision = look(ctx, name, &trigger).await?;
            if let Some(cause) = &decision.due {
                run(ctx, name, (&trigger, cause)).await?;
                decision = look(ctx, name, &trigger).await?;
            }
            drop(lock);
        }
        next = [next, decision.next].into_iter().flatten().min();
    }
    Ok(next)
}

/// Runs a sync, remembers how that went, and tells people what is new.
async fn run(ctx: &Context, name: &str, (trigger, cause): (&Trigger<'_>, &Cause)) -> Result<()> {
    let begun = ctx.now();
    let before = ctx.store.sync_memory(name).await?.unwrap_or_default();
    let flagged_before = ctx.store.sync_flags(name).await?.len();
    let ran = match open(ctx, name, None).await {
        Ok(sync) => sync.run().await,
        Err(problem) => Err(problem),
    };
    let problem = match &ran {
        Ok(report) => problem_of(report),
        Err(problem) => Some(reason(problem)),
    };
    let around = Around::of(ctx, Some(trigger)).await?;
    let after = due::ended(before.clone(), (Some(trigger), Some(cause)), (begun, &around.present()), problem.clone());
    ctx.store.remember_sync(name, &after).await?;
    match (&problem, &ran) {
        (Some(problem), _) => {
            tracing::warn!(sync = name, problem, "a sync did not work");
            // The same again and again is told once.
            if before.problem.as_ref() != Some(problem) {
                ctx.tell(Alert::new(AlertEvent::Failed, format!("sync {name} failed"), problem));
            }
        }
        (None, Ok(report)) => tell_flags(ctx, report, flagged_before),
        (None, Err(_)) => {}
    }
    Ok(())
}

/// Tells people what is left alone, where that is more than before.
fn tell_flags(ctx: &Context, report: &Report, before: usize) {
    let Report { sync, created, updated, deleted, flagged, .. } = report;
    tracing::info!(sync, created, updated, deleted, flagged = flagged.len(), "synced");
    if flagged.len() > before {
        let first = flagged.first().map(|one| format!("{} {}", one.key, one.reason)).unwrap_or_default();
        let title = format!("the target of {sync} was changed by somebody else");
        let body = format!("{} flagged: {first}\ncascade sync {sync} --dry-run", count(flagged.len(), "item"));
        ctx.tell(Alert::new(AlertEvent::Conflict, title, body));
    }
}

/// Answers in one line why a run did not do all that it was to do; what is flagged is no failure.
#[must_use]
pub fn problem_of(report: &Report) -> Option<String> {
    let failed = report.failed.iter().chain(&report.unverified);
    if let Some(first) = failed.clone().next() {
        let items = count(failed.count(), "item");
        return Some(format!("{items} could not be brought over: {} {}", first.key, first.reason));
    }
    let behind = report.skipped.first().map(|one| format!(": {} {}", one.key, one.reason)).unwrap_or_default();
    match (report.kept_back, report.set_aside) {
        (0, 0) => None,
        (0, _) => Some(format!("not all of the source was brought over{behind}")),
        (kept_back, _) => {
            let items = count(kept_back, "item");
            Some(format!("{items} not deleted, for not all of the source is listed{behind}"))
        }
    }
}

/// Remembers a run that a person, or a promotion, made.
///
/// # Errors
/// The database cannot be used.
pub async fn remember(ctx: &Context, name: &str, begun: Timestamp, problem: Option<String>) -> Result<()> {
    let memory = ctx.store.sync_memory(name).await?.unwrap_or_default();
    let around = Around::of(ctx, None).await?;
    let after = due::ended(memory, (None, None), (begun, &around.present()), problem);
    Ok(ctx.store.remember_sync(name, &after).await?)
}

/// Answers until when a sync is left alone that ran lately; nothing where it may run now.
///
/// # Errors
/// The database cannot be read.
pub async fn rests_until(ctx: &Context, name: &str, spec: &SyncSpec) -> Result<Option<Timestamp>> {
    let memory = ctx.store.sync_memory(name).await?.unwrap_or_default();
    let until = due::rests_until(&memory, spec.min_interval);
    // A clock that was set back says nothing about how long ago it was.
    let is_past = memory.ran_at.is_some_and(|ran| ran > ctx.now());
    Ok(until.filter(|until| *until > ctx.now() && !is_past))
}

/// Runs what is due again and again, until nobody sends any more.
///
/// A failure is logged, and tried again later.
pub async fn follow<T>(ctx: Context, mut ended: watch::Receiver<T>) {
    if ctx.config.syncs.values().all(|spec| Trigger::of(spec).is_none()) {
        return;
    }
    loop {
        let seen = ctx.store.stamp();
        let next = run_due(&ctx).await.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "syncs cannot be run by themselves");
            None
        });
        let left = next.map(|next| next.as_millisecond().saturating_sub(ctx.now().as_millisecond()).max(1));
        let pause = left.map_or(LOOK_EVERY, |ms| Duration::from_millis(ms.unsigned_abs()).min(LOOK_EVERY));
        tokio::select! {
            () = ctx.store.written_within(pause, seen) => {}
            () = closed(&mut ended) => return,
        }
    }
}

async fn closed<T>(ended: &mut watch::Receiver<T>) {
    while ended.changed().await.is_ok() {}
}
