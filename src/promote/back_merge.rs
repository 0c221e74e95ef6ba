//! The way back: what an environment has and the sandbox lacks.

use super::drift::Past;
use super::error::{Error, Result};
use super::plan::{environment_of, environment_tip};
use crate::base::id::ObjectId;
use crate::config::HistoryMode;
use crate::context::Context;
use crate::git::{self, CommitSummary};

/// What is to be brought back into the sandbox's branch.
#[derive(Debug, Clone)]
pub struct BackMerge {
    /// The environment's tip.
    pub tip: ObjectId,
    /// The commits that the sandbox lacks, newest first; none where only the line of a linear history is made straight.
    pub commits: Vec<CommitSummary>,
}

/// Looks what an environment, here or on the remote, has and the sandbox's branch lacks; nothing where it lacks nothing.
///
/// Of an environment with a linear history it may lack the joining commit that followed a `restore`: with that, which
/// brings no content, the branch can move forward again.
///
/// # Errors
/// Unknown environment, a remote that does not answer, branches that went different ways, or commits that cannot be
/// merged back because they stand on a rollback: the rollback would come along.
pub async fn back_merge(ctx: &Context, environment: &str) -> Result<Option<BackMerge>> {
    let spec = environment_of(ctx, environment)?;
    let (branch, sandbox, remote) = (spec.branch.clone(), ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let (mut past, is_linear) = (Past::of(ctx, environment).await?, spec.history == HistoryMode::Linear);
    let sign = ctx.config.ledger.sign;
    let found = ctx.git.run(move |repo| {
        let remote = repo.has_remote(&remote).then_some(remote);
        let tip = match environment_tip(repo, &branch, remote.as_deref(), sign)? {
            Ok(Some(tip)) => tip,
            Ok(None) => return Ok(Ok(None)),
            Err(different_ways) => return Ok(Err(different_ways)),
        };
        let ours = repo.existing_branch_tip(&sandbox)?;
        let commits = past.drift(repo, tip, &[ours])?.map(|drift| drift.commits).unwrap_or_default();
        let is_crooked = is_linear && !repo.is_ancestor(tip, ours)?;
        match (commits.is_empty(), repo.is_undone_on_the_way(ours, tip)?) {
            (true, is_undone) if is_undone || !is_crooked => Ok(Ok(None)),
            (false, true) => Ok(Err(on_a_rollback(&branch, &commits))),
            _ => Ok(Ok(Some(BackMerge { tip, commits }))),
        }
    });
    let found: git::Result<Result<Option<BackMerge>, String>> = found.await;
    found?.map_err(|why| Error::CannotBringBack { environment: environment.to_owned(), why })
}

fn on_a_rollback(branch: &str, commits: &[CommitSummary]) -> String {
    let newest_last: Vec<String> = commits.iter().rev().map(|commit| commit.id.short()).collect();
    format!(
        "`{branch}` was rolled back below them, and a merge would take out here what was rolled back there: bring them \
         over one by one, `git cherry-pick {}`",
        newest_last.join(" ")
    )
}
