//! Bringing back an earlier content of the sandbox, as a new save.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::composer::Composer;
use super::inspection::Inspection;
use super::message::Facts;
use super::{Error, message};
use crate::context::Context;
use crate::git::{Hints, Restore, RestoreAnswer, RestoreRequest, SaveAnswer, SaveRequest};
use crate::watch::Rules;

/// Saves what changed at these paths (none: everywhere), as the watcher does, whether one runs or not.
///
/// # Errors
/// As [`crate::git::Repo::save`].
pub async fn save_now(ctx: &Context, paths: Vec<Vec<u8>>) -> Result<SaveAnswer, Error> {
    let (config, now) = (Arc::clone(&ctx.config), ctx.now());
    let rules = load_rules(ctx).await?;
    let looker = Inspection::new(ctx)?.looker();
    let hints =
        if paths.is_empty() { Hints::Everything } else { Hints::Paths(paths.into_iter().collect::<BTreeSet<_>>()) };
    let composer = Composer::new(ctx);
    let save = move |repo: &crate::git::Repo| {
        let writing = composer.begin(now);
        repo.save(&SaveRequest {
            branch: &config.sandbox.branch,
            hints,
            max_file_bytes: config.sandbox.max_file_size.0,
            excluded: &|path, is_dir| super::is_never_saved(&rules, repo, path, is_dir),
            inspect: &|path, content, committed| looker.inspect(path, content, committed),
            message: &|proposal| writing.message(proposal),
            author: None,
            now_seconds: now.as_second(),
            offset_minutes: 0,
        })
    };
    Ok(ctx.git.run(save).await?)
}

/// Brings back what `what` names, as a save whose message begins with `subject`.
///
/// # Errors
/// As [`crate::git::Repo::restore`].
pub async fn restore(ctx: &Context, what: Restore, subject: String) -> Result<RestoreAnswer, Error> {
    let (config, now) = (Arc::clone(&ctx.config), ctx.now());
    let rules = load_rules(ctx).await?;
    let restore = move |repo: &crate::git::Repo| {
        repo.restore(&RestoreRequest {
            branch: &config.sandbox.branch,
            what,
            excluded: &|path, is_dir| super::is_never_saved(&rules, repo, path, is_dir),
            message: &|changes| {
                let (project, branch) = (config.project.as_str(), config.sandbox.branch.as_str());
                message::compose(&Facts { project, branch, changes, at: now }, None, Some(&subject))
            },
            now_seconds: now.as_second(),
        })
    };
    Ok(ctx.git.run(restore).await?)
}

async fn load_rules(ctx: &Context) -> Result<Rules, Error> {
    let (common_dir, excludes) = ctx.git.run(|repo| Ok((repo.common_dir().to_owned(), repo.excludes_file()))).await?;
    Ok(Rules::load(ctx.git.root(), &common_dir, &ctx.config.sandbox.exclude, excludes.as_deref())?)
}
