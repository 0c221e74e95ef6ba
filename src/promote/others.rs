//! What other machines did: the environments' branches and the ledger, as the remote has them.

use std::sync::Arc;

use super::error::Result;
use super::ledger;
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::store::Lock;

/// Brings here what the remote has of environments and of the ledger, and lets the database know it. Where the remote does
/// not answer, what is known here has to do: whoever did something elsewhere has moved the remote's branch, and then the
/// push that lands is refused for its lease.
///
/// # Errors
/// The ledger or the database cannot be read, or the database cannot be written.
pub(super) async fn learn(ctx: &Context) -> Result<()> {
    if let Err(problem) = look(ctx).await {
        tracing::warn!(%problem, "what other machines did is not known");
    }
    ledger::take_over(ctx).await
}

/// Fetches the branches of environments and the ledger where others moved them, and the sandbox's unless a watcher does
/// that itself; answers where the sandbox's branch is there.
///
/// # Errors
/// The remote does not answer.
pub(super) async fn look(ctx: &Context) -> Result<Option<ObjectId>> {
    let config = Arc::clone(&ctx.config);
    let is_watched = Lock::holder(&ctx.home.sandbox_lock()).map_err(crate::store::Error::from)?.is_some();
    let looked = ctx.git.run(move |repo| {
        let remote = &config.remote;
        if !repo.has_remote(remote) {
            return Ok(None);
        }
        let branches = config.branches();
        let (tips, their_ledger) = repo.remote_heads(remote, &branches)?;
        ledger::catch_up(repo, remote, their_ledger, config.ledger.sign)?;
        let moved = branches.iter().zip(&tips).skip(usize::from(is_watched));
        for (branch, theirs) in moved.filter(|(_, theirs)| theirs.is_some()) {
            if repo.tracking_tip(remote, branch)? != *theirs {
                repo.fetch(remote, branch)?;
            }
        }
        Ok(tips.first().copied().flatten())
    });
    Ok(looked.await?)
}
