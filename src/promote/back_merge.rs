//! The way back: what an environment has and the sandbox lacks.

use super::drift::Past;
use super::error::{Error, Result};
use super::plan::{environment_of, environment_tip};
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::git::{self, CommitSummary};

/// What is to be brought back into the sandbox's branch.
#[derive(Debug, Clone)]
pub struct BackMerge {
    /// The environment's tip.
    pub tip: ObjectId,
    /// The commits that the sandbox lacks, newest first.
    pub commits: Vec<CommitSummary>,
}

/// Looks what an environment, here or on the remote, has and the sandbox's branch lacks; nothing where it lacks nothing.
///
/// # Errors
/// Unknown environment, a remote that does not answer, branches that went different ways, or commits that cannot be
/// merged back because they stand on a rollback: the rollback would come along.
pub async fn back_merge(ctx: &Context, environment: &str) -> Result<Option<BackMerge>> {
    let (spec, _) = environment_of(ctx, environment)?;
    let (branch, sandbox, remote) = (spec.branch.clone(), ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let mut past = Past::of(ctx, environment).await?;
    let found = ctx.git.run(move |repo| {
        let remote = repo.has_remote(&remote).then_some(remote);
        let tip = match environment_tip(repo, &branch, remote.as_deref())? {
            Ok(Some(tip)) => tip,
            Ok(None) => return Ok(Ok(None)),
            Err(different_ways) => return Ok(Err(different_ways)),
        };
        let ours = repo.existing_branch_tip(&sandbox)?;
        let Some(drift) = past.drift(repo, tip, &[ours])? else { return Ok(Ok(None)) };
        if repo.is_undone_on_the_way(ours, tip)? {
            return Ok(Err(on_a_rollback(&branch, &drift.commits)));
        }
        Ok(Ok(Some(BackMerge { tip, commits: drift.commits })))
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
