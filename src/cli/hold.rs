//! `cascade hold` and `cascade resume`.

use serde::Serialize;

use super::args::{Named, Reasoned};
use super::{Outcome, Shell};
use crate::promote;

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
    promote::approve::hold(&ctx, &args.environment, args.reason.clone()).await?;
    if shell.ui.is_json() {
        return shell.ui.json(&Document { environment: &args.environment, held: true, changed: true });
    }
    shell.ui.success(&format!("{0} is held until `cascade resume {0}`", args.environment));
    Ok(())
}

/// Lets promotions into an environment go on.
///
/// # Errors
/// Unknown environment.
pub async fn resume(shell: &Shell, args: &Named) -> Outcome {
    let ctx = shell.context().await?;
    let changed = promote::approve::resume(&ctx, &args.environment).await?;
    if shell.ui.is_json() {
        return shell.ui.json(&Document { environment: &args.environment, held: false, changed });
    }
    let text = if changed { "is free again" } else { "was not held" };
    shell.ui.success(&format!("{} {text}", args.environment));
    Ok(())
}
