//! `cascade rollback`.

use super::args::Rollback;
use super::progress::Progress;
use super::{Failure, Outcome, Shell, promote as promotions};
use crate::base::ErrorKind;
use crate::context::Context;
use crate::promote;
use crate::store::{CheckPhase, Promotion, State};

/// Brings an environment back and holds it, or undoes that.
///
/// # Errors
/// There is nothing to roll back, or the branch cannot be brought back; [`ErrorKind::CheckFailed`] where it is back and
/// does not pass its verification all the same.
pub async fn run(shell: &Shell, args: &Rollback) -> Outcome {
    let ctx = shell.context().await?;
    let lock = promote::lock(&ctx, false).await?;
    let mut progress = Progress::new(&shell.ui);
    let (to, reason) = (args.to.as_deref(), args.reason.as_deref());
    if args.undo {
        let promotion = promote::undo::undo_rollback(&ctx, &lock, &args.environment, reason, &mut progress).await?;
        return promotions::conclude(shell, &ctx, &promotion).await;
    }
    let promotion = promote::rollback::roll_back(&ctx, &lock, &args.environment, to, reason, &mut progress).await?;
    if promotion.state != State::RolledBack {
        return promotions::conclude(shell, &ctx, &promotion).await;
    }
    if shell.ui.is_json() {
        shell.ui.json(&super::history::document(&ctx, &promotion).await?)?;
        return still_failing(&ctx, &promotion).await;
    }
    let place = promotion.rollback_to.map(|id| id.short()).unwrap_or_default();
    shell.ui.answer(&format!("{} is back at {place}", args.environment));
    shell.ui.note(&format!(
        "it is held: promote a fix, or `cascade resume {0}`; `cascade rollback {0} --undo` brings back what was undone",
        args.environment
    ));
    still_failing(&ctx, &promotion).await
}

/// What is live again and fails is told: going back did not help.
async fn still_failing(ctx: &Context, promotion: &Promotion) -> Outcome {
    let checks = ctx.store.checks(&promotion.id).await?;
    let failed = checks.iter().filter(|check| check.phase == CheckPhase::Rollback && check.outcome != "pass");
    let failed: Vec<String> = failed.map(|check| format!("`{}`: {}", check.name, check.detail)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let environment = &promotion.environment;
    let message = format!("{environment} is back, and its verification does not pass: {}", failed.join("; "));
    let hint = format!("ask again with `cascade health {environment}`; details: `cascade show {}`", promotion.id);
    Err(Failure::new(ErrorKind::CheckFailed, message).with_hint(hint))
}
