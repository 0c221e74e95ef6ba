//! `cascade hold` and `cascade resume`.

use serde::Serialize;

use super::args::{Named, Reasoned};
use super::progress::Progress;
use super::{Outcome, Shell, promote as promotions, standing};
use crate::base::escape::shown;
use crate::context::Context;
use crate::promote::{
    self,
    hold::{Resumed, Unheard},
};
use crate::store::Promotion;

#[derive(Serialize)]
struct Document<'a> {
    environment: &'a str,
    held: bool,
    changed: bool,
}

/// Stops promotions into an environment.
///
/// # Errors
/// Unknown environment.
pub async fn hold(shell: &Shell, args: &Reasoned) -> Outcome {
    let ctx = shell.context().await?;
    let unheard = promote::hold::hold(&ctx, &args.environment, args.reason.clone()).await?;
    if shell.ui.is_json() {
        warn_of(shell, &ctx, unheard.as_ref());
        return shell.ui.json(&Document { environment: &args.environment, held: true, changed: true });
    }
    shell.ui.success(&format!("{0} is held until `cascade resume {0}`", args.environment));
    warn_of(shell, &ctx, unheard.as_ref());
    Ok(())
}

/// Lets promotions into an environment go on; what is live there and rests unverified is verified again.
///
/// # Errors
/// Unknown environment, or the promotion that is verified again does not end as promoted.
pub async fn resume(shell: &Shell, args: &Named) -> Outcome {
    let ctx = shell.context().await?;
    standing::known(&ctx, &args.environment)?;
    let paused = promote::paused(&ctx, &args.environment).await?;
    // A pause is no hold: what failed earlier stays quarantined where nothing but the pause is to be ended.
    let lifts = paused.is_none() || ctx.store.held(&args.environment).await?.is_some();
    let resumed = if lifts { promote::hold::resume(&ctx, &args.environment).await? } else { Resumed::default() };
    warn_of(shell, &ctx, resumed.unheard.as_ref());
    let changed = resumed.changed;
    if let Some(paused) = paused {
        return verify_again(shell, &ctx, &paused).await;
    }
    if shell.ui.is_json() {
        return shell.ui.json(&Document { environment: &args.environment, held: false, changed });
    }
    let text = if changed { "is free again" } else { "was not held" };
    shell.ui.success(&format!("{} {text}", args.environment));
    Ok(())
}

fn warn_of(shell: &Shell, ctx: &Context, unheard: Option<&Unheard>) {
    let Some(Unheard(reason)) = unheard else { return };
    let remote = shown(ctx.config.remote.as_bytes());
    shell.ui.warning(&format!("{remote} does not know it yet, so that other machines do not either: {reason}"));
}

async fn verify_again(shell: &Shell, ctx: &Context, paused: &Promotion) -> Outcome {
    let lock = promote::lock(ctx, true).await?;
    let mut progress = Progress::new(&shell.ui);
    let promotion = promote::approve::proceed(ctx, &lock, paused.id.as_str(), &mut progress).await?;
    promotions::conclude(shell, ctx, &promotion).await
}
