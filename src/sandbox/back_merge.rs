//! Bringing what an environment has back into the sandbox, as a merge of its own.

use std::sync::Arc;

use super::load_rules;
use super::{Error, message};
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::git::{Clash, PullAnswer, PullRequest};

/// Merges `theirs`, the tip of an environment, into the sandbox's branch, its index and its files.
///
/// Nothing of it may get lost, so where both sides changed the same lines nothing is done.
///
/// # Errors
/// As [`crate::git::Repo::pull`]; [`crate::git::Error::MergeConflict`] where the two clash.
pub async fn back_merge(ctx: &Context, environment: &str, theirs: ObjectId) -> Result<PullAnswer, Error> {
    let (config, now) = (Arc::clone(&ctx.config), ctx.now());
    let (rules, environment) = (load_rules(ctx).await?, environment.to_owned());
    let pull = move |repo: &crate::git::Repo| {
        let branch = &config.sandbox.branch;
        repo.pull(&PullRequest {
            branch,
            theirs,
            excluded: &|path, is_dir| super::is_never_saved(&rules, repo, path, is_dir),
            clash: Clash::Refuse,
            message: &|_| message::compose_back_merge(&environment, branch, theirs),
            now_seconds: now.as_second(),
        })
    };
    Ok(ctx.git.run(pull).await?)
}
