//! `cascade undo [SAVE]` and `cascade rewind [PATH…] --to WHEN`: earlier contents as new saves.

use std::collections::BTreeMap;

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
use crate::git::{Change, ChangeKind, Restore, RestoreAnswer, SaveAnswer, SetAside, is_at_or_below};
use crate::sandbox::{self, NEVER_SAVED};

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
    if !shell.ui.is_json() {
        shell.ui.line(&format!("going back to {} of {}", to.short(), words::moment(at)));
    }
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
    let set_aside = save_first(shell, ctx).await?;
    match sandbox::restore(ctx, what, subject).await? {
        RestoreAnswer::Restored { commit, changes } => print(shell, commit.to_string().parse().ok(), &changes),
        RestoreAnswer::Nothing => print(shell, None, &[]),
        RestoreAnswer::ChangedSince { paths } => {
            let message = format!("changed since then: {}", listed(&paths));
            Err(Failure::new(ErrorKind::Conflict, message)
                .with_hint("`cascade rewind PATH --to WHEN` brings a path back whatever happened since"))
        }
        RestoreAnswer::Busy { paths, excluded } => Err(in_the_way(&paths, &excluded, &set_aside)),
        RestoreAnswer::Paused { reason } => {
            Err(Failure::new(ErrorKind::Denied, format!("nothing was brought back: {reason}")))
        }
    }
}

/// Saves what is not saved yet, so that it cannot be lost by what follows; answers what cannot be saved.
///
/// # Errors
/// As [`sandbox::save_now`].
pub async fn save_first(shell: &Shell, ctx: &Context) -> Outcome<Vec<SetAside>> {
    match sandbox::save_now(ctx).await? {
        SaveAnswer::Saved(saved) => {
            let files = count(saved.changes.len(), "file");
            shell.ui.note(&format!("saved first: {files} ({})", words::brief(saved.commit.to_string().parse().ok())));
            Ok(saved.set_aside)
        }
        SaveAnswer::Nothing { set_aside, .. } => Ok(set_aside),
        SaveAnswer::Paused { .. } => Ok(Vec::new()),
    }
}

/// Says of each path why nothing could be brought there: it is one of those that are never saved, one that was set aside,
/// or it changes at this moment.
pub fn in_the_way(paths: &[Vec<u8>], excluded: &[Vec<u8>], set_aside: &[SetAside]) -> Failure {
    let mut reasons: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut busy = Vec::new();
    for path in paths {
        let aside =
            set_aside.iter().find(|one| is_at_or_below(path, &one.path)).map(|one| shown(one.reason.as_bytes()));
        let never = || excluded.contains(path).then(|| NEVER_SAVED.to_owned());
        match aside.or_else(never) {
            Some(reason) => reasons.entry(reason).or_default().push(path.clone()),
            None => busy.push(path.clone()),
        }
    }
    let mut parts: Vec<String> = Vec::new();
    for (reason, paths) in &reasons {
        parts.push(format!("{} in the way and not saved: {reason}", subject(paths)));
    }
    if !busy.is_empty() || parts.is_empty() {
        parts.push(format!("{} being written or in the way", subject(&busy)));
    }
    let hint = match (reasons.is_empty(), paths.len()) {
        (true, 0 | 1) => "try again, or move it out of the way",
        (true, _) => "try again, or move them out of the way",
        (false, 1) => "move it out of the way, then try again",
        (false, _) => "move them out of the way, then try again",
    };
    Failure::new(ErrorKind::Unavailable, format!("nothing was brought back: {}", parts.join("; "))).with_hint(hint)
}

/// Names paths, and what is said of them follows.
fn subject(paths: &[Vec<u8>]) -> String {
    format!("{} {}", listed(paths), if paths.len() > 1 { "are" } else { "is" })
}

/// Names paths as far as there is room.
fn listed(paths: &[Vec<u8>]) -> String {
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
    let deleted = changes.iter().filter(|change| change.kind == ChangeKind::Deleted).count();
    let back = changes.len() - deleted;
    let say = |bring: &str, delete: &str| {
        let done = [(bring, back), (delete, deleted)].into_iter().filter(|(_, amount)| *amount > 0);
        done.map(|(verb, amount)| format!("{verb} {}", count(amount, "file"))).collect::<Vec<_>>().join(" and ")
    };
    match commit {
        Some(commit) => {
            shell.ui.success(&format!("{} (save {})", say("brought back", "deleted"), commit.short()));
            shell.ui.hint("`cascade undo` takes that back");
        }
        None => shell.ui.line(&format!("would {}", say("bring back", "delete"))),
    }
    Ok(())
}
