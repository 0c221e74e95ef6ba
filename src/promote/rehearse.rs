//! Rehearsals: what the next promotions would meet, found out before anybody asks for them.
//!
//! No check is run and nothing is written to the repository. Where nothing has drifted a rehearsal takes constant time;
//! only where something has, a merge is tried in memory.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::drift::{Drift, Past};
use super::error::Result;
use super::plan::{environment_of, further};
use super::run::lock;
use super::{ledger, others, policy};
use crate::alert::Alert;
use crate::base::Timestamp;
use crate::base::id::ObjectId;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::git::{self, Repo};
use crate::store::{RehearsalRecord, Verdict};

/// The remote is not looked at more often than this.
const SHORTEST_LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Most paths that are named where a merge would conflict.
const NAMED_LIMIT_PATHS: usize = 5;

/// What the next promotion into an environment would meet, once what is saved now has come as far as its source.
#[derive(Debug, Clone, Serialize)]
pub struct Rehearsal {
    /// The environment.
    pub environment: String,
    /// What feeds it.
    pub from: String,
    /// In a word.
    pub verdict: Verdict,
    /// What is in the way, or is still on its way through the pipeline; nothing where all is clean.
    pub fact: Option<String>,
    /// The command that does something about it.
    pub next: Option<String>,
    /// Since when it would stop, where a watcher has noticed.
    pub since: Option<Timestamp>,
}

/// Rehearses the next promotion into an environment, from local references alone; nothing where a branch is missing.
///
/// # Errors
/// Unknown environment; the store or the repository cannot be read.
pub async fn rehearsal(ctx: &Context, environment: &str) -> Result<Option<Rehearsal>> {
    rehearsal_with(ctx, environment, None).await
}

/// Rehearses with what others pushed to the sandbox's branch and is about to be brought in.
async fn rehearsal_with(ctx: &Context, environment: &str, coming: Option<ObjectId>) -> Result<Option<Rehearsal>> {
    let spec = environment_of(ctx, environment)?;
    let mut past = Past::of(ctx, environment).await?;
    let feeding = policy::shown_feeding(ctx, environment).await?;
    let (branch, remote) = (spec.branch.clone(), ctx.config.remote.clone());
    let Some(found) = ctx.git.run(move |repo| Found::look(repo, &mut past, (&branch, &remote), coming)).await? else {
        return Ok(None);
    };
    let known = ctx.store.rehearsal(environment).await?;
    let since = known.filter(|known| known.verdict == found.verdict && known.verdict != Verdict::Clean);
    Ok(Some(Rehearsal {
        environment: environment.to_owned(),
        from: feeding.upstream(&ctx.config).unwrap_or(&ctx.config.sandbox.branch).to_owned(),
        verdict: found.verdict,
        fact: found.fact,
        next: found.next,
        since: since.map(|known| known.since),
    }))
}

/// Rehearses the whole chain after each save, and what others pushed to the branches of environments now and then, until
/// nobody tells of saves any more. What turns bad is alerted once.
///
/// A failure is logged; the next save tries again.
pub async fn follow(ctx: Context, mut saves: watch::Receiver<Option<ObjectId>>) {
    let pause = ctx.config.sandbox.pull_every.0.max(SHORTEST_LOOK_PAUSE);
    let mut coming = None;
    loop {
        if let Err(problem) = rehearse(&ctx, coming).await {
            tracing::warn!(%problem, "the promotions to come could not be rehearsed");
        }
        tokio::select! {
            changed = saves.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(pause), if ctx.config.sandbox.pull => match look_at_others(&ctx).await {
                Ok(theirs) => coming = theirs,
                Err(problem) => tracing::debug!(%problem, "what other machines did was not looked at"),
            }
        }
    }
}

/// Brings here what other machines did; answers where the sandbox's branch is on the remote.
async fn look_at_others(ctx: &Context) -> Result<Option<ObjectId>> {
    let coming = others::look(ctx).await?;
    // Whoever promotes here right now knows it already, or will.
    if let Ok(_lock) = lock(ctx, false).await {
        ledger::take_over(ctx).await?;
    }
    Ok(coming)
}

/// Rehearses the promotions into all environments, keeps what is found and tells people where it turned bad. `coming` is
/// what others pushed to the sandbox's branch, as far as it is known.
///
/// # Errors
/// The store or the repository cannot be used.
pub async fn rehearse(ctx: &Context, coming: Option<ObjectId>) -> Result<()> {
    for environment in ctx.config.environments.keys() {
        let Some(found) = rehearsal_with(ctx, environment, coming).await? else { continue };
        let known = ctx.store.rehearsal(environment).await?;
        let before = known.as_ref().map_or(Verdict::Clean, |known| known.verdict);
        let fact = found.fact.clone().filter(|_| found.verdict != Verdict::Clean).unwrap_or_default();
        let record = RehearsalRecord { verdict: found.verdict, fact, since: found.since.unwrap_or(ctx.now()) };
        let is_same = |known: &RehearsalRecord| known.verdict == record.verdict && known.fact == record.fact;
        if known.as_ref().is_some_and(is_same) {
            continue;
        }
        ctx.store.report_rehearsal(environment, &record).await?;
        if before == Verdict::Clean && record.verdict != Verdict::Clean {
            tell(ctx, &found);
        }
    }
    Ok(())
}

fn tell(ctx: &Context, found: &Rehearsal) {
    let Rehearsal { environment, from, fact, next, .. } = found;
    let title = format!("{from} → {environment} would stop");
    let next = next.as_deref().unwrap_or_default();
    let body = format!("{}\n{next}", fact.as_deref().unwrap_or_default());
    tracing::warn!(environment, fact, next, "a promotion would stop");
    let alert = Alert::new(AlertEvent::Conflict, title, body);
    ctx.tell(Alert { environment: Some(environment.clone()), ..alert });
}

/// What a look at the branches found.
struct Found {
    verdict: Verdict,
    fact: Option<String>,
    next: Option<String>,
}

impl Found {
    fn clean() -> Self {
        Self { verdict: Verdict::Clean, fact: None, next: None }
    }

    /// Looks at what the next promotion onto `branch` would meet.
    fn look(
        repo: &Repo,
        past: &mut Past,
        (branch, remote): (&str, &str),
        coming: Option<ObjectId>,
    ) -> git::Result<Option<Self>> {
        let theirs = repo.tracking_tip(remote, branch)?;
        let tip = match further(repo, (branch, repo.branch_tip(branch)?), (remote, theirs))? {
            Ok(tip) => tip,
            Err(fact) => return Ok(Some(Self { verdict: Verdict::Drift, fact: Some(fact), next: None })),
        };
        let mut sources = past.sources(repo)?;
        let (Some(nearest), Some(sandbox)) = (sources.first().copied(), sources.last().copied()) else {
            return Ok(None);
        };
        // What has not come yet cannot be walked, and nothing can rest on it either.
        sources.extend(coming.filter(|coming| repo.tree_of(*coming).is_ok()));
        let Some(tip) = tip else { return Ok(Some(Self::clean())) };
        let Some(now) = past.drift(repo, tip, &[nearest])? else { return Ok(Some(Self::clean())) };
        let Some(then) = past.drift(repo, tip, &sources)? else {
            // Somewhere upstream it is known already.
            return Ok(Some(Self { verdict: Verdict::Clean, fact: Some(now.fact), next: Some(now.next) }));
        };
        Self::stopped(repo, then, tip, sandbox).map(Some)
    }

    fn stopped(repo: &Repo, drift: Drift, tip: ObjectId, sandbox: ObjectId) -> git::Result<Self> {
        let (verdict, fact) = match repo.rehearse_merge(sandbox, tip) {
            Ok(_) => (Verdict::Drift, drift.fact),
            Err(git::Error::MergeConflict { paths, .. }) => (Verdict::Conflict, conflicting(&drift.fact, &paths)),
            Err(other) => return Err(other),
        };
        Ok(Self { verdict, fact: Some(fact), next: Some(drift.next) })
    }
}

fn conflicting(fact: &str, paths: &[String]) -> String {
    let more = if paths.len() > NAMED_LIMIT_PATHS { ", …" } else { "" };
    let named = paths.iter().take(NAMED_LIMIT_PATHS).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("{fact}, and conflicts with what is saved in {named}{more}")
}
