//! `cascade approve` and `cascade reject`.

use super::args::Decision;
use super::progress::Progress;
use super::{Outcome, Shell, promote as promotions};
use crate::promote;
use crate::promote::approve::Found;
use crate::store::State;

/// Records a consent and goes on with the promotion, unless it is only planned. One that a crash interrupted after the
/// consent is brought to its end instead.
///
/// # Errors
/// Nothing waits, the person may not approve, or the promotion does not end as promoted.
pub async fn approve(shell: &Shell, decision: &Decision) -> Outcome {
    let ctx = shell.context().await?;
    let lock = promote::lock(&ctx, true).await?;
    let mut progress = Progress::new(&shell.ui);
    let promotion = match promote::approve::find(&ctx, &lock, decision.promotion.as_deref(), &mut progress).await? {
        Found::Waiting(waiting) => {
            promote::approve::approve(&ctx, &lock, waiting, decision.reason.clone(), &mut progress).await?
        }
        Found::TakenUp(promotion) => promotion,
    };
    if promotion.state != State::Planned {
        return promotions::conclude(shell, &ctx, &promotion).await;
    }
    if shell.ui.is_json() {
        return shell.ui.json(&super::history::document(&ctx, &promotion).await?);
    }
    let candidate = promotion.candidate.map(|id| id.short()).unwrap_or_default();
    shell.ui.answer(&format!("candidate {candidate} is approved for {}", promotion.environment));
    shell.ui.hint(&format!("next: cascade promote {}", promotion.environment));
    Ok(())
}

/// Records a refusal and ends the promotion.
///
/// # Errors
/// Nothing waits.
pub async fn reject(shell: &Shell, decision: &Decision) -> Outcome {
    let ctx = shell.context().await?;
    let lock = promote::lock(&ctx, true).await?;
    let waiting = promote::approve::find_waiting(&ctx, decision.promotion.as_deref()).await?;
    let mut progress = Progress::new(&shell.ui);
    let promotion = promote::approve::reject(&ctx, &lock, waiting, decision.reason.clone(), &mut progress).await?;
    if promotion.state != State::Rejected {
        return promotions::conclude(shell, &ctx, &promotion).await;
    }
    if shell.ui.is_json() {
        return shell.ui.json(&super::history::document(&ctx, &promotion).await?);
    }
    shell.ui.success(&format!("promotion {} to {} is rejected", promotion.id, promotion.environment));
    Ok(())
}
