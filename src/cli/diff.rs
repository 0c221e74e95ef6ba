//! `cascade diff ENV [--stat]`.

use serde_json::json;

use super::args::Diff;
use super::{Outcome, Shell, standing};
use crate::git::PatchForm;
use crate::promote;

/// Shows what a promotion would change in the environment's files.
///
/// # Errors
/// Unknown environment, no branch that feeds it, unreadable repository.
pub async fn run(shell: &Shell, args: &Diff) -> Outcome {
    let ctx = shell.context().await?;
    let spec = standing::known(&ctx, &args.environment)?;
    let branch = spec.branch.clone();
    let feeding = promote::policy::shown_feeding(&ctx, &args.environment).await?.branch(&ctx.config).to_owned();
    let from = feeding.clone();
    let tips = ctx.git.run(move |repo| Ok((repo.branch_tip(&branch)?, repo.existing_branch_tip(&feeding)?)));
    let (tip, source) = tips.await?;
    if shell.ui.is_json() {
        let files = ctx.git.run(move |repo| repo.file_changes(tip, source)).await?;
        let environment = &args.environment;
        return shell.ui.json(&json!({ "environment": environment, "from": tip, "to": source, "files": files }));
    }
    let form = if args.stat { PatchForm::Stat } else { PatchForm::Full };
    let patch = ctx.git.run(move |repo| repo.patch_between(tip, source, form)).await?;
    if patch.is_empty() {
        shell.ui.note(&format!("{} has the content of {} already", args.environment, from));
        return Ok(());
    }
    let text = String::from_utf8_lossy(patch.strip_suffix(b"\n").unwrap_or(&patch));
    shell.ui.line(&text);
    Ok(())
}
