//! Undoing a rollback: what it took away comes back as a new promotion, so that history only goes forward.

use super::error::{Error, Result};
use super::ledger;
use super::plan::environment_of;
use super::rollback::LOOKED_THROUGH_LIMIT;
use super::run::{Observer, Request, begin, proposal, recover};
use crate::context::Context;
use crate::store::{Lock, Promotion, State};

/// Brings back what the last rollback of an environment took away, exactly as it was live, by a new promotion that passes
/// checks and gates anew; one that waits for that already is taken up.
///
/// What that rollback quarantined and holds is no obstacle to it, and is free once it is live and verified.
///
/// # Errors
/// Unknown environment, or the last thing that happened to what is live there was no rollback.
pub async fn undo_rollback(
    ctx: &Context,
    _lock: &Lock,
    environment: &str,
    reason: Option<&str>,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    environment_of(ctx, environment)?;
    recover(ctx, _lock, observer).await?;
    ledger::require_sound(ctx).await?;
    let undone = last_rollback(ctx, environment).await?;
    let purpose = reason.map_or_else(|| format!("undoes the rollback of promotion {}", undone.id), ToOwned::to_owned);
    let request = Request { environment: environment.to_owned(), purpose: Some(purpose), ..Request::default() };
    let mut promotion = proposal(ctx, &request, undone.source).await?;
    (promotion.hotfix, promotion.undoes) = (undone.hotfix, Some(undone.id));
    begin(ctx, promotion, &request, observer).await
}

async fn last_rollback(ctx: &Context, environment: &str) -> Result<Promotion> {
    let mut promotions = ctx.store.promotions(Some(environment), LOOKED_THROUGH_LIMIT).await?;
    // What ended before it landed did nothing to what is live.
    promotions.retain(|promotion| {
        matches!(promotion.state, State::Promoted | State::RolledBack | State::RollbackFailed) || promotion.is_paused()
    });
    let last = promotions.into_iter().max_by_key(|promotion| (promotion.updated_at, promotion.created_at));
    match last {
        Some(undone) if undone.state == State::RolledBack => Ok(undone),
        last => Err(Error::NoRollback {
            environment: environment.to_owned(),
            last: last.map(|last| {
                let state = if last.is_paused() { "paused" } else { last.state.as_str() };
                format!("promotion {} is {state}", last.id)
            }),
        }),
    }
}
