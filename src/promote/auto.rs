//! Promotions that nobody asks for: environments with `promote: auto` follow what reaches their source.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::error::Result;
use super::run::{Request, Silent, lock, promote, recover};
use crate::base::id::ObjectId;
use crate::config::PromoteMode;
use crate::context::Context;
use crate::store::{Lock, State};

/// Takes up what a crash interrupted, then follows the tips of the sandbox's branch until nobody sends any more; only the newest counts.
///
/// A failure is logged; the next tip tries again.
pub async fn follow(ctx: Context, mut tips: watch::Receiver<Option<ObjectId>>) {
    if let Err(problem) = take_up_interrupted(&ctx).await {
        tracing::warn!(%problem, "an interrupted promotion could not be taken up");
    }
    while tips.changed().await.is_ok() {
        tips.mark_unchanged();
        if let Err(problem) = follow_once(&ctx).await {
            tracing::warn!(%problem, "an automatic promotion did not work");
        }
    }
}

async fn take_up_interrupted(ctx: &Context) -> Result<()> {
    let held = lock(ctx, true).await?;
    recover(ctx, &held, &mut Silent).await.map(drop)
}

/// Promotes into every automatic environment that the sandbox feeds, and on from there as far as automation goes.
///
/// # Errors
/// As [`promote`].
pub async fn follow_once(ctx: &Context) -> Result<()> {
    let mut next: VecDeque<&str> = automatic(ctx, &ctx.config.sandbox.branch).into();
    if next.is_empty() {
        return Ok(());
    }
    let held = lock(ctx, true).await?;
    while let Some(environment) = next.pop_front() {
        if attempt(ctx, &held, environment).await? == Some(State::Promoted) {
            next.extend(automatic(ctx, environment));
        }
    }
    Ok(())
}

/// Answers the environments that follow `from` by themselves.
fn automatic<'a>(ctx: &'a Context, from: &str) -> Vec<&'a str> {
    let is_automatic = |name: &&str| ctx.config.environment(name).is_some_and(|spec| spec.promote == PromoteMode::Auto);
    ctx.config.downstream(from).into_iter().filter(is_automatic).collect()
}

/// Promotes, unless the very same source had its try there already: a refusal stays one until there is something new.
async fn attempt(ctx: &Context, held: &Lock, environment: &str) -> Result<Option<State>> {
    let branch = ctx.config.source_branch(environment).unwrap_or_default().to_owned();
    let source = ctx.git.run(move |repo| repo.branch_tip(&branch)).await?;
    let newest = ctx.store.promotions(Some(environment), 1).await?.into_iter().next();
    if source.is_none() || newest.is_some_and(|newest| Some(newest.source) == source && newest.state.is_final()) {
        return Ok(None);
    }
    let purpose = Some("follows its source by itself".to_owned());
    let request = Request { environment: environment.to_owned(), merge: false, purpose };
    let promotion = promote(ctx, held, &request, &mut Silent).await?;
    let reason = promotion.reason.as_deref().unwrap_or_default();
    tracing::info!(environment, id = %promotion.id, state = %promotion.state, reason, "automatic promotion");
    Ok(Some(promotion.state))
}
