//! What people call a commit by: an environment, a promotion, or whatever git resolves.

use super::{Failure, Outcome};
use crate::base::ErrorKind;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::git::Repo;
use crate::store::Promotion;

/// Answers the commit that somebody means: an environment's own, a promotion's candidate (by its whole id, or a beginning
/// that is nothing else), or what git resolves. Nothing at all means `HEAD`, as for git.
///
/// # Errors
/// Nothing is called so, or the environment has no branch yet.
pub async fn commit(ctx: &Context, name: &str) -> Outcome<ObjectId> {
    if let Some(spec) = ctx.config.environment(name) {
        let (branch, remote) = (spec.branch.clone(), ctx.config.remote.clone());
        let tip = move |repo: &Repo| match repo.furthest_tip(&remote, &branch)? {
            Some(tip) => Ok(tip),
            None => repo.existing_branch_tip(&branch),
        };
        return Ok(ctx.git.run(tip).await?);
    }
    let promotion = ctx.store.promotion(name).await.ok();
    let candidate = |promotion: &Promotion| promotion.candidate.unwrap_or(promotion.source);
    if let Some(promotion) = promotion.as_ref().filter(|promotion| promotion.id.as_str() == name) {
        return Ok(candidate(promotion));
    }
    let revision = if name.is_empty() { "HEAD" } else { name }.to_owned();
    let resolved = ctx.git.run(move |repo| Ok(repo.revision(&revision))).await?;
    let unknown = || {
        let message = format!("there is no environment, promotion or commit `{}`", shown(name.as_bytes()));
        Failure::new(ErrorKind::Usage, message).with_hint("`cascade history` lists promotions, `git log --all` commits")
    };
    resolved.or_else(|| promotion.as_ref().map(candidate)).ok_or_else(unknown)
}
