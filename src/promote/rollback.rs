//! Going back: which content, by which commit, on the remote and here; and keeping the failure from returning.

use super::error::{Error, Result};
use super::phase::Event;
use super::plan::environment_of;
use super::run::{Observer, drive};
use crate::base::id::ObjectId;
use crate::config::RollbackMode;
use crate::context::Context;
use crate::git::{self, Lease, NewCommit, PROMOTION_TRAILER, RESTORES_TRAILER, Repo};
use crate::store::{Hold, HoldCause, Lock, Promotion, Quarantined, State};

/// Undoes the live promotion of an environment, back to what was live before it or to the promotion `to`.
///
/// # Errors
/// Unknown environment, nothing live, or `to` is not an earlier promotion of the environment.
pub async fn roll_back(
    ctx: &Context,
    _lock: &Lock,
    environment: &str,
    to: Option<&str>,
    reason: Option<&str>,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    let (spec, _) = environment_of(ctx, environment)?;
    super::run::recover(ctx, _lock, observer).await?;
    let nothing = || Error::NothingToRollBack { environment: environment.to_owned() };
    let mut live = ctx.store.live(environment).await?.ok_or_else(nothing)?;
    let branch = spec.branch.clone();
    let tip = ctx.git.run(move |repo| repo.existing_branch_tip(&branch)).await?;
    live.rollback_from = Some(tip);
    live.rollback_to = match to {
        None => Some(live.previous.ok_or_else(nothing)?),
        Some(id) => Some(earlier_candidate(ctx, &live, id).await?),
    };
    let words = reason.map_or_else(|| format!("rolled back by {}", ctx.person), ToOwned::to_owned);
    drive(ctx, live, Event::RollbackRequested(words), observer).await
}

async fn earlier_candidate(ctx: &Context, live: &Promotion, id: &str) -> Result<ObjectId> {
    let target = ctx.store.promotion(id).await?;
    let fits = target.environment == live.environment && target.state == State::Promoted && target.id != live.id;
    let candidate = target.candidate.filter(|_| fits);
    candidate.ok_or_else(|| Error::NotNow {
        id: target.id.to_string(),
        why: format!("is not an earlier promotion that was live in {}", live.environment),
        hint: Some(format!("choose one that is `promoted` in `cascade history {}`", live.environment)),
    })
}

/// Performs the step: the failed commit may not come back by itself, and the environment waits for a person or a fix.
pub(super) async fn quarantine(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(tree) = promotion.tree else { return Ok(Event::Quarantined) };
    let at = ctx.now();
    let entry = Quarantined { source: promotion.source, tree, promotion: promotion.id.clone(), at };
    ctx.store.quarantine(&promotion.environment, &entry).await?;
    let hold = Hold {
        cause: HoldCause::Rollback,
        reason: promotion.reason.clone().unwrap_or_else(|| "verification failed".to_owned()),
        person: promotion.requested_by.clone(),
        promotion: Some(promotion.id.clone()),
        at,
    };
    let kept = ctx.store.held(&promotion.environment).await?.filter(|hold| hold.cause == HoldCause::Person);
    if kept.is_none() {
        ctx.store.hold(&promotion.environment, &hold).await?;
    }
    Ok(Event::Quarantined)
}

/// Performs the step: decides where the branch goes back to and, for a restore, builds that commit.
pub(super) async fn plan(ctx: &Context, promotion: &mut Promotion) -> Result<Event> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    let from = promotion.rollback_from.or(promotion.candidate);
    let to = promotion.rollback_to.or(promotion.previous);
    let (Some(from), Some(to)) = (from, to) else {
        return Ok(Event::Failed("there is nothing to go back to: it was the environment's first content".to_owned()));
    };
    promotion.rollback_from = Some(from);
    promotion.rollback_to = Some(to);
    if resets(spec.rollback, promotion.pushed) {
        promotion.rollback_commit = Some(to);
        return Ok(Event::RollbackPlanned);
    }
    build_restore(ctx, promotion, from, to).await
}

/// A commit that never left this machine is forgotten; one that did stays in clones, so it is followed, not removed.
fn resets(mode: RollbackMode, pushed: bool) -> bool {
    match mode {
        RollbackMode::Auto => !pushed,
        RollbackMode::Reset => true,
        RollbackMode::Restore => false,
    }
}

async fn build_restore(ctx: &Context, promotion: &mut Promotion, from: ObjectId, to: ObjectId) -> Result<Event> {
    let message = format!(
        "Roll {} back to {}\n\n{}\n\n{PROMOTION_TRAILER}: {}\nCascade-Rollback-Of: {from}\n{RESTORES_TRAILER}: {to}\n",
        promotion.environment,
        to.short(),
        promotion.reason.as_deref().unwrap_or("verification failed"),
        promotion.id
    );
    let at = ctx.now();
    let build =
        move |repo: &Repo| repo.build_commit(&NewCommit { tree: repo.tree_of(to)?, parents: vec![from], message, at });
    promotion.rollback_commit = Some(ctx.git.run(build).await?);
    Ok(Event::RollbackPlanned)
}

#[derive(Debug, Clone)]
struct Return {
    branch: String,
    from: ObjectId,
    to: Option<ObjectId>,
    commit: ObjectId,
    log_message: String,
}

fn way_back(ctx: &Context, promotion: &Promotion) -> Result<Option<Return>> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    Ok(promotion.rollback_from.zip(promotion.rollback_commit).map(|(from, commit)| Return {
        branch: spec.branch.clone(),
        from,
        to: promotion.rollback_to,
        commit,
        log_message: format!("cascade: roll back promotion {}", promotion.id),
    }))
}

/// Performs the step on the remote; a remote that refuses to go back gets a restoring commit instead.
pub(super) async fn perform_remote(ctx: &Context, promotion: &mut Promotion) -> Result<Event> {
    let (Some(way), Some(remote)) = (way_back(ctx, promotion)?, promotion.remote.clone()) else {
        return Ok(Event::RemoteRolledBack);
    };
    let is_reset = promotion.rollback_commit == promotion.rollback_to;
    match ctx.git.run(move |repo| way.return_remote(repo, &remote)).await {
        Ok(event) => Ok(event),
        Err(git::Error::RemoteRefused { .. }) if is_reset => {
            let (from, to) = (promotion.rollback_from, promotion.rollback_to);
            let Some((from, to)) = from.zip(to) else { return Ok(Event::RemoteRolledBack) };
            build_restore(ctx, promotion, from, to).await
        }
        Err(
            no @ (git::Error::RemoteRefused { .. } | git::Error::RemoteDenied { .. } | git::Error::RemoteMoved { .. }),
        ) => Ok(Event::Failed(no.to_string())),
        Err(other) => Err(other.into()),
    }
}

/// Performs the step on the local branch.
pub(super) async fn perform_local(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(way) = way_back(ctx, promotion)? else { return Ok(Event::LocalRolledBack) };
    match ctx.git.run(move |repo| way.return_local(repo)).await {
        Ok(event) => Ok(event),
        Err(moved @ git::Error::RefMoved { .. }) => Ok(Event::Failed(moved.to_string())),
        Err(other) => Err(other.into()),
    }
}

impl Return {
    fn return_remote(&self, repo: &Repo, remote: &str) -> git::Result<Event> {
        let theirs = repo.remote_tip(remote, &self.branch)?;
        if theirs == Some(self.from) {
            repo.push(remote, self.commit, &self.branch, Lease::Exactly(theirs))?;
            let found = repo.remote_tip(remote, &self.branch)?;
            return Ok(match found == Some(self.commit) {
                true => Event::RemoteRolledBack,
                false => Event::Failed(self.not_ours(remote, found)),
            });
        }
        if let Some(theirs) = theirs.filter(|theirs| *theirs != self.commit) {
            repo.fetch(remote, &self.branch)?;
            if repo.is_ancestor(self.from, theirs)? {
                return Ok(Event::Failed(self.built_upon(&format!("on {remote}"), theirs)));
            }
            let is_back = self.to.map(|to| repo.is_ancestor(theirs, to)).transpose()?.unwrap_or(false);
            if !is_back {
                return Ok(Event::Failed(self.not_ours(remote, Some(theirs))));
            }
        }
        Ok(Event::RemoteRolledBack)
    }

    fn return_local(&self, repo: &Repo) -> git::Result<Event> {
        let tip = repo.branch_tip(&self.branch)?;
        match tip {
            Some(tip) if tip == self.from => {
                repo.move_branch(&self.branch, Some(tip), self.commit, &self.log_message)?;
                Ok(Event::LocalRolledBack)
            }
            Some(tip) if tip != self.commit && repo.is_ancestor(self.from, tip)? => {
                Ok(Event::Failed(self.built_upon("here", tip)))
            }
            _ => Ok(Event::LocalRolledBack),
        }
    }

    fn not_ours(&self, remote: &str, found: Option<ObjectId>) -> String {
        let found = found.map_or_else(|| "nothing".to_owned(), |found| found.short());
        format!(
            "`{}` on {remote} reads {found}, which is neither what failed ({}) nor what it goes back to ({}): put it \
             right with git, then `cascade resume`",
            self.branch,
            self.from.short(),
            self.commit.short()
        )
    }

    fn built_upon(&self, place: &str, tip: ObjectId) -> String {
        format!(
            "`{}` has commits {place} on top of what failed ({} on {}): undo it with git, then `cascade resume`",
            self.branch,
            tip.short(),
            self.from.short()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_resets_only_what_never_left_this_machine() {
        assert!(resets(RollbackMode::Auto, false));
        assert!(!resets(RollbackMode::Auto, true));
        assert!(resets(RollbackMode::Reset, true));
        assert!(!resets(RollbackMode::Restore, false));
    }
}
