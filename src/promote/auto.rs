//! Promotions that nobody asks for: environments with `promote: auto` follow what reaches their source.

use std::time::Duration;

use tokio::sync::watch;

use super::error::Result;
use super::facts::findings;
use super::plan::environment_of;
use super::run::{Request, Silent, lock, promote, recover};
use crate::base::id::ObjectId;
use crate::config::PromoteMode;
use crate::context::Context;
use crate::store::{Promotion, State};

/// Pause between two looks at gates that time or a person opens, and at sources that others promote to.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What sends the follower to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A save reached the remote (or there is none).
    Pushed,
    /// Time passed.
    Time,
}

/// Takes up what a crash interrupted, then follows the tips of the sandbox's branch until nobody sends any more; only
/// the newest counts. Gates that open later, and environments whose source is promoted by hand, are looked after too.
///
/// A failure is logged; the next tip tries again.
pub async fn follow(ctx: Context, mut tips: watch::Receiver<Option<ObjectId>>) {
    if let Err(problem) = take_up_interrupted(&ctx).await {
        tracing::warn!(%problem, "an interrupted promotion could not be taken up");
    }
    let is_automatic = ctx.config.environments.values().any(|spec| spec.promote == PromoteMode::Auto);
    loop {
        let cause = tokio::select! {
            changed = tips.changed() => match changed {
                Ok(()) => Cause::Pushed,
                Err(_) => return,
            },
            () = tokio::time::sleep(LOOK_EVERY), if is_automatic => Cause::Time,
        };
        if cause == Cause::Pushed {
            tips.mark_unchanged();
        }
        if let Err(problem) = follow_once(&ctx, cause).await {
            tracing::warn!(%problem, "an automatic promotion did not work");
        }
    }
}

async fn take_up_interrupted(ctx: &Context) -> Result<()> {
    let held = lock(ctx, true).await?;
    recover(ctx, &held, &mut Silent).await.map(drop)
}

/// Promotes into every automatic environment that lacks what its source has, in promotion order; what the sandbox feeds
/// only when a save was pushed.
///
/// # Errors
/// As [`promote`].
pub async fn follow_once(ctx: &Context, cause: Cause) -> Result<()> {
    for (environment, spec) in &ctx.config.environments {
        if spec.promote == PromoteMode::Auto && is_wanted(ctx, environment, cause).await? {
            attempt(ctx, environment).await?;
        }
    }
    Ok(())
}

/// Answers whether a try is worth it: something new came, or the gates of what waits are open by now. A refusal stays
/// one until there is something new.
async fn is_wanted(ctx: &Context, environment: &str, cause: Cause) -> Result<bool> {
    let (spec, source_branch) = environment_of(ctx, environment)?;
    let branch = spec.branch.clone();
    let news = ctx.git.run(move |repo| {
        let (source, tip) = (repo.branch_tip(&source_branch)?, repo.branch_tip(&branch)?);
        let Some((source, tip)) = source.zip(tip) else { return Ok(source) };
        let is_there = repo.is_ancestor(source, tip)? && repo.tree_of(source)? == repo.tree_of(tip)?;
        Ok((!is_there).then_some(source))
    });
    let Some(source) = news.await? else { return Ok(false) };
    let newest = ctx.store.promotions(Some(environment), 1).await?.into_iter().next();
    match newest.filter(|newest| newest.source == source) {
        Some(waiting) if waiting.state == State::Waiting => gates_are_open(ctx, &waiting).await,
        Some(tried) => Ok(!tried.state.is_final()),
        None => Ok(cause == Cause::Pushed || ctx.config.upstream(environment).is_some()),
    }
}

async fn gates_are_open(ctx: &Context, waiting: &Promotion) -> Result<bool> {
    Ok(findings(ctx, waiting).await?.iter().all(|finding| finding.open))
}

async fn attempt(ctx: &Context, environment: &str) -> Result<()> {
    let held = lock(ctx, true).await?;
    let purpose = Some("follows its source by itself".to_owned());
    let request = Request { environment: environment.to_owned(), purpose, ..Request::default() };
    let promotion = promote(ctx, &held, &request, &mut Silent).await?;
    let reason = promotion.reason.as_deref().unwrap_or_default();
    tracing::info!(environment, id = %promotion.id, state = %promotion.state, reason, "automatic promotion");
    Ok(())
}
