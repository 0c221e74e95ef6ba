//! Bringing back an earlier content of the sandbox, as a new save.

use std::sync::Arc;

use super::composer::Composer;
use super::inspection::Inspection;
use super::message::Facts;
use super::{Error, message};
use crate::context::Context;
use crate::git::{Hints, Restore, RestoreAnswer, RestoreRequest, SaveAnswer};

/// Saves whatever changed, as the watcher does, whether one runs or not.
///
/// # Errors
/// As [`crate::git::Repo::save`].
pub async fn save_now(ctx: &Context) -> Result<SaveAnswer, Error> {
    super::settle(ctx).await?;
    let (rules, composer) = (Arc::new(super::load_rules(ctx).await?), Arc::new(Composer::new(ctx)));
    let looker = Inspection::new(ctx)?.looker();
    let saved = super::save(ctx, &rules, &composer, looker, Hints::Everything).await?;
    flush(ctx).await?;
    Ok(saved)
}

/// Brings back what `what` names, as a save whose message begins with `subject`.
///
/// # Errors
/// As [`crate::git::Repo::restore`].
pub async fn restore(ctx: &Context, what: Restore, subject: String) -> Result<RestoreAnswer, Error> {
    let (config, now) = (Arc::clone(&ctx.config), ctx.now());
    let rules = super::load_rules(ctx).await?;
    let restore = move |repo: &crate::git::Repo| {
        let request = RestoreRequest {
            branch: &config.sandbox.branch,
            what,
            excluded: &|path, is_dir| super::is_never_saved(&rules, repo, path, is_dir),
            message: &|changes| {
                let (project, branch) = (config.project.as_str(), config.sandbox.branch.as_str());
                message::compose(&Facts { project, branch, changes, at: now }, None, Some(&subject))
            },
            now_seconds: now.as_second(),
        };
        repo.mending(|| repo.restore(&request))
    };
    let restored = super::mended(ctx, restore).await?;
    flush(ctx).await?;
    Ok(restored)
}

/// Whatever the configuration says, what a person asks for is on the disk when it is answered.
async fn flush(ctx: &Context) -> Result<(), Error> {
    let branch = ctx.config.sandbox.branch.clone();
    Ok(ctx.git.run(move |repo| repo.flush(&branch)).await?)
}
