//! `cascade back-merge ENV`: what an environment has, back into the sandbox.

use serde::Serialize;

use super::args::Named;
use super::rewind::{in_the_way, save_first};
use super::{Failure, Outcome, Shell, standing};
use crate::base::ErrorKind;
use crate::base::escape::{shell_word, shown};
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::context::Context;
use crate::git::{CommitSummary, PullAnswer, Pulled};
use crate::{git, promote, sandbox};

#[derive(Debug, Serialize)]
struct Document {
    environment: String,
    branch: String,
    commit: Option<ObjectId>,
    commits: Vec<CommitSummary>,
    files: Vec<String>,
    next: Option<String>,
}

/// Brings what an environment has and the sandbox's branch lacks back into it.
///
/// # Errors
/// Unknown environment, a remote that does not answer, both sides changed the same lines, or `HEAD` is elsewhere.
pub async fn run(shell: &Shell, args: &Named) -> Outcome {
    let ctx = shell.context().await?;
    let spec = standing::known(&ctx, &args.environment)?;
    let Some(lacking) = promote::back_merge(&ctx, &args.environment).await? else {
        return print(shell, &ctx, &args.environment, Vec::new(), None).await;
    };
    let set_aside = save_first(shell, &ctx).await?;
    match sandbox::back_merge(&ctx, &args.environment, lacking.tip).await {
        Ok(PullAnswer::Pulled(pulled)) => print(shell, &ctx, &args.environment, lacking.commits, Some(pulled)).await,
        Ok(PullAnswer::Nothing) => print(shell, &ctx, &args.environment, Vec::new(), None).await,
        Ok(PullAnswer::Busy { paths, excluded }) => Err(in_the_way(&paths, &excluded, &set_aside)),
        Ok(PullAnswer::Paused { reason }) => {
            Err(Failure::new(ErrorKind::Denied, format!("nothing was brought back: {reason}")))
        }
        Err(sandbox::Error::Git(git::Error::MergeConflict { paths, .. })) => {
            let message = format!("nothing was brought back: both sides changed {}", paths.join(", "));
            let (remote, branch) = (ctx.config.remote.clone(), spec.branch.clone());
            let theirs = ctx.git.run(move |repo| repo.name_of(&remote, &branch, lacking.tip)).await?;
            let hint = format!("merge it yourself: `git merge {}`, resolve, commit", shell_word(&theirs));
            Err(Failure::new(ErrorKind::Conflict, message).with_hint(hint))
        }
        Err(other) => Err(other.into()),
    }
}

async fn print(
    shell: &Shell,
    ctx: &Context,
    environment: &str,
    commits: Vec<CommitSummary>,
    pulled: Option<Pulled>,
) -> Outcome {
    let branch = ctx.config.sandbox.branch.clone();
    let commit = pulled.as_ref().and_then(|pulled| pulled.commit.to_string().parse().ok());
    promote::rehearse::rehearse(ctx, None).await?;
    let next = promote::rehearsal(ctx, environment).await?.and_then(|rehearsal| rehearsal.next);
    let next = next.or_else(|| pulled.as_ref().map(|_| format!("cascade promote {environment}")));
    let files = pulled.iter().flat_map(|pulled| &pulled.changes).map(|change| shown(&change.path)).collect();
    let document = Document { environment: environment.to_owned(), branch, commit, commits, files, next };
    if shell.ui.is_json() {
        return shell.ui.json(&document);
    }
    let ui = &shell.ui;
    let Some(commit) = document.commit else {
        ui.line(&format!("{} has everything that {environment} has: nothing was brought back", document.branch));
        return Ok(());
    };
    for commit in &document.commits {
        ui.line(&format!("  {} {} ({})", commit.id.short(), commit.subject, commit.author));
    }
    let files = count(document.files.len(), "file");
    ui.success(&format!("{} has what {environment} has ({}, {files} changed)", document.branch, commit.short()));
    document.next.iter().for_each(|next| ui.hint(&format!("next: {next}")));
    Ok(())
}
