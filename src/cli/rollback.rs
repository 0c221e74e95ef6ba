//! `cascade rollback`.

use super::args::Rollback;
use super::progress::Progress;
use super::{Outcome, Shell, promote as promotions};
use crate::promote;
use crate::store::State;

/// Brings an environment back and holds it.
///
/// # Errors
/// There is nothing to roll back, or the branch cannot be brought back.
pub async fn run(shell: &Shell, args: &Rollback) -> Outcome {
    let ctx = shell.context().await?;
    let lock = promote::lock(&ctx, false).await?;
    let mut progress = Progress::new(&shell.ui);
    let (to, reason) = (args.to.as_deref(), args.reason.as_deref());
    let promotion = promote::rollback::roll_back(&ctx, &lock, &args.environment, to, reason, &mut progress).await?;
    if promotion.state != State::RolledBack {
        return promotions::conclude(shell, &ctx, &promotion).await;
    }
    if shell.ui.is_json() {
        return shell.ui.json(&super::history::document(&ctx, &promotion).await?);
    }
    let place = promotion.rollback_to.map(|id| id.short()).unwrap_or_default();
    shell.ui.success(&format!("{} is back at {place}", args.environment));
    shell.ui.note(&format!("it is held: promote a fix, or `cascade resume {}`", args.environment));
    Ok(())
}
