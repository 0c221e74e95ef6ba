//! `cascade undo [SAVE]` and `cascade rewind [PATH…] --to WHEN`: earlier contents as new saves.

use serde_json::json;

use super::args::{Rewind, Undo};
use super::saves::{self, inside};
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, moment, words};
use crate::base::ErrorKind;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::context::Context;
use crate::git::{Change, ChangeKind, Restore, RestoreAnswer, SaveAnswer};
use crate::sandbox;

/// Most files that are listed.
const LISTED_LIMIT: usize = 20;

/// Brings the files of a save (the last one) back to what they were before it.
///
/// # Errors
/// No such commit, the files changed since then, or something is in the way.
pub async fn undo(shell: &Shell, args: &Undo) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let commit = match &args.save {
        Some(digits) => commit_named(&ctx, digits).await?,
        None => tip(&ctx).await?,
    };
    let (summary, parent) = ctx.git.run(move |repo| Ok((repo.summary(commit)?, repo.message(commit)?.1))).await?;
    if parent.is_none() {
        return Err(Failure::usage(format!("{} is the first commit: there is nothing before it", commit.short())));
    }
    bring_back(shell, &ctx, Restore::Undo { commit }, format!("Undo: {}", summary.subject), args.dry_run).await
}

/// Brings paths (or everything) back to what they were at a moment or in a commit.
///
/// # Errors
/// No such moment or commit, a path outside the checkout, or something is in the way.
pub async fn rewind(shell: &Shell, args: &Rewind) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let paths = args.paths.iter().map(|path| inside(shell, ctx.git.root(), path)).collect::<Outcome<Vec<_>>>()?;
    // The top of the checkout is everything.
    let paths = if paths.iter().any(Vec::is_empty) { Vec::new() } else { paths };
    let to = commit_at(&ctx, &args.to).await?;
    for path in &paths {
        require_known(&ctx, to, path).await?;
    }
    let what = match paths.as_slice() {
        [] => "everything".to_owned(),
        [only] => shown(only),
        many => count(many.len(), "path"),
    };
    let at = ctx.git.run(move |repo| repo.summary(to)).await?.at;
    let subject = format!("Rewind {what} to {} ({})", words::moment(at), to.short());
    bring_back(shell, &ctx, Restore::Paths { paths, to }, subject, args.dry_run).await
}

/// What a commit of another branch has can be brought over as well.
async fn require_known(ctx: &Context, to: ObjectId, path: &[u8]) -> Outcome {
    let wanted = path.to_vec();
    match ctx.git.run(move |repo| repo.commits_at(to, &wanted, 1)).await?.is_empty() {
        true => saves::require_known(ctx, path).await,
        false => Ok(()),
    }
}

async fn tip(ctx: &Context) -> Outcome<ObjectId> {
    let branch = ctx.config.sandbox.branch.clone();
    Ok(ctx.git.run(move |repo| repo.existing_branch_tip(&branch)).await?)
}

async fn commit_named(ctx: &Context, digits: &str) -> Outcome<ObjectId> {
    let wanted = digits.to_owned();
    let found = ctx.git.run(move |repo| Ok(repo.commit_named(&wanted))).await?;
    let unknown = || Failure::usage(format!("there is no commit `{}`", shown(digits.as_bytes())));
    found.ok_or_else(|| unknown().with_hint("`cascade saves` lists them"))
}

async fn commit_at(ctx: &Context, when: &str) -> Outcome<ObjectId> {
    let wanted = when.to_owned();
    if let Some(commit) = ctx.git.run(move |repo| Ok(repo.commit_named(&wanted))).await? {
        return Ok(commit);
    }
    let at = moment::parse(when, ctx.now()).map_err(|problem| {
        Failure::usage(problem).with_hint("a commit's name does as well: `cascade saves` lists them")
    })?;
    let tip = tip(ctx).await?;
    let found = ctx.git.run(move |repo| repo.commit_before(tip, at.as_second())).await?;
    found.ok_or_else(|| Failure::usage(format!("there is no commit as old as {}", words::moment(at))))
}

async fn bring_back(shell: &Shell, ctx: &Context, what: Restore, subject: String, dry_run: bool) -> Outcome {
    if dry_run {
        let branch = ctx.config.sandbox.branch.clone();
        let changes = ctx.git.run(move |repo| repo.restore_preview(&branch, &what)).await?;
        return print(shell, None, &changes);
    }
    save_first(shell, ctx).await?;
    match sandbox::restore(ctx, what, subject).await? {
        RestoreAnswer::Restored { commit, changes } => print(shell, commit.to_string().parse().ok(), &changes),
        RestoreAnswer::Nothing => print(shell, None, &[]),
        RestoreAnswer::ChangedSince { paths } => {
            let message = format!("changed since then: {}", listed(&paths));
            Err(Failure::new(ErrorKind::Conflict, message)
                .with_hint("`cascade rewind PATH --to WHEN` brings a path back whatever happened since"))
        }
        RestoreAnswer::Busy { paths } => {
            let message = format!("nothing was brought back: {} is being written or in the way", listed(&paths));
            Err(Failure::new(ErrorKind::Unavailable, message).with_hint("try again, or move it out of the way"))
        }
        RestoreAnswer::Paused { reason } => {
            Err(Failure::new(ErrorKind::Denied, format!("nothing was brought back: {reason}")))
        }
    }
}

/// Saves what is not saved yet, so that it cannot be lost by what follows.
///
/// # Errors
/// As [`sandbox::save_now`].
pub async fn save_first(shell: &Shell, ctx: &Context) -> Outcome {
    if let SaveAnswer::Saved(saved) = sandbox::save_now(ctx).await? {
        let files = count(saved.changes.len(), "file");
        shell.ui.note(&format!("saved first: {files} ({})", words::brief(saved.commit.to_string().parse().ok())));
    }
    Ok(())
}

/// Names paths as far as there is room.
pub fn listed(paths: &[Vec<u8>]) -> String {
    let names: Vec<String> = paths.iter().take(LISTED_LIMIT).map(|path| shown(path)).collect();
    if names.is_empty() { "the branch".to_owned() } else { names.join(", ") }
}

fn print(shell: &Shell, commit: Option<ObjectId>, changes: &[Change]) -> Outcome {
    let letter = |change: &Change| match change.kind {
        ChangeKind::Added => "A",
        ChangeKind::Modified | ChangeKind::ModeChanged => "M",
        ChangeKind::Deleted => "D",
    };
    if shell.ui.is_json() {
        let files: Vec<_> =
            changes.iter().map(|change| json!({ "status": letter(change), "path": shown(&change.path) })).collect();
        return shell.ui.json(&json!({ "commit": commit, "files": files }));
    }
    if changes.is_empty() {
        shell.ui.line("it is so already: nothing changed");
        return Ok(());
    }
    for change in changes.iter().take(LISTED_LIMIT) {
        shell
            .ui
            .pieces(&[Cell::new(format!("  {} ", letter(change)), Tone::Dim), Cell::new(&change.path, Tone::Plain)]);
    }
    let rest = changes.len().saturating_sub(LISTED_LIMIT);
    if rest > 0 {
        shell.ui.line(&format!("  and {rest} more"));
    }
    let files = count(changes.len(), "file");
    match commit {
        Some(commit) => {
            shell.ui.success(&format!("brought back {files} (save {})", commit.short()));
            shell.ui.hint("`cascade undo` takes that back");
        }
        None => shell.ui.line(&format!("would bring back {files}")),
    }
    Ok(())
}
