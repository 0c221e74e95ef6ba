//! What other machines did: the environments' branches and the ledger, as the remote has them.

use std::sync::Arc;

use super::error::Result;
use super::ledger::{self, signed_again};
use crate::base::id::ObjectId;
use crate::config::SignMode;
use crate::context::Context;
use crate::git::{self, Brought, Repo};
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
        let (remote, sandbox) = (&config.remote, config.sandbox.branch.as_str());
        if !repo.has_remote(remote) {
            return Ok(None);
        }
        let elsewhere = is_watched.then_some(sandbox);
        let fetched = fetch(repo, remote, (&config.branches(), elsewhere), config.ledger.sign)?;
        Ok(fetched.tips.first().copied().flatten())
    });
    Ok(looked.await?)
}

/// What a remote has.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The branches, in the order in which they were asked for.
    pub tips: Vec<Option<ObjectId>>,
    /// What became of its ledger here.
    pub ledger: Brought,
}

/// Fetches what a remote has of these branches and of the ledger; one that is fetched `elsewhere` is only asked about.
///
/// # Errors
/// The remote does not answer.
pub(super) fn fetch(
    repo: &Repo,
    remote: &str,
    (branches, elsewhere): (&[&str], Option<&str>),
    sign: SignMode,
) -> git::Result<Fetched> {
    let (tips, theirs) = repo.remote_heads(remote, branches)?;
    let ledger = repo.bring_in(remote, theirs, signed_again(repo, sign))?;
    let here = branches.iter().zip(&tips).filter(|(branch, _)| elsewhere != Some(**branch));
    for (branch, theirs) in here.filter(|(_, theirs)| theirs.is_some()) {
        if repo.tracking_tip(remote, branch)? != *theirs {
            repo.fetch(remote, branch)?;
        }
    }
    Ok(Fetched { tips, ledger })
}
