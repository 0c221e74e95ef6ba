//! `cascade saves [PATH]`.

use serde::Serialize;

use super::args::Saves;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, words};
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::git::CommitSummary;

/// One commit of the sandbox's branch.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    summary: CommitSummary,
    files: usize,
}

/// Lists the commits of the sandbox's branch that changed a path, the newest first.
///
/// # Errors
/// The path is outside the checkout; the repository cannot be read.
pub async fn run(shell: &Shell, args: &Saves) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let path = match &args.path {
        Some(path) => inside(shell, ctx.git.root(), path)?,
        None => Vec::new(),
    };
    let wanted = path.clone();
    let (branch, limit) = (ctx.config.sandbox.branch.clone(), args.lines);
    let listed = ctx.git.run(move |repo| {
        let tip = repo.existing_branch_tip(&branch)?;
        let entry = |commit: ObjectId| {
            let parent = repo.message(commit)?.1;
            Ok(Entry { summary: repo.summary(commit)?, files: repo.changes_between(parent, commit)?.files.len() })
        };
        repo.commits_at(tip, &path, limit)?.into_iter().map(entry).collect::<crate::git::Result<Vec<_>>>()
    });
    let entries = listed.await?;
    if entries.is_empty() && args.lines > 0 {
        require_known(&ctx, &wanted).await?;
        shell.ui.note("it was never saved");
    }
    if shell.ui.is_json() {
        return shell.ui.json(&entries);
    }
    let now = ctx.now();
    let row = |entry: &Entry| {
        let commit = Cell::new(entry.summary.id.short(), Tone::Strong);
        let files = crate::base::units::count(entry.files, "file");
        vec![commit, words::age(now, entry.summary.at).into(), files.into(), entry.summary.subject.as_str().into()]
    };
    shell.ui.table(&entries.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// Looks whether there is, or ever was, something at a path: on the line of the sandbox's branch, or in the checkout.
///
/// # Errors
/// There never was: it is misspelled.
pub(super) async fn require_known(ctx: &Context, path: &[u8]) -> Outcome {
    use std::os::unix::ffi::OsStrExt as _;

    let place = ctx.git.root().join(std::ffi::OsStr::from_bytes(path));
    if path.is_empty() || place.symlink_metadata().is_ok() {
        return Ok(());
    }
    let (branch, wanted) = (ctx.config.sandbox.branch.clone(), path.to_vec());
    let saved = ctx.git.run(move |repo| repo.commits_at(repo.existing_branch_tip(&branch)?, &wanted, 1)).await?;
    if saved.is_empty() {
        let message = format!("{} is not in the checkout, and no save ever had it", shown(path));
        return Err(Failure::usage(message).with_hint("see how it is spelled: `cascade saves`, `cascade show COMMIT`"));
    }
    Ok(())
}

/// Answers a path given on the command line relative to the top of the checkout; empty: the top itself.
///
/// # Errors
/// It is outside the checkout.
pub(super) fn inside(shell: &Shell, root: &std::path::Path, given: &std::path::Path) -> Outcome<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Component;

    let directory = shell.directory.canonicalize().unwrap_or_else(|_| shell.directory.clone());
    let mut place = std::path::PathBuf::new();
    for component in directory.join(given).components() {
        match component {
            Component::ParentDir => {
                place.pop();
            }
            Component::CurDir => {}
            other => place.push(other),
        }
    }
    let outside = || {
        let given = shown(given.as_os_str().as_bytes());
        Failure::usage(format!("{given} is not in the checkout {}", root.display()))
    };
    Ok(place.strip_prefix(root).map_err(|_| outside())?.as_os_str().as_bytes().to_vec())
}
