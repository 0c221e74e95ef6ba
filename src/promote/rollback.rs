//! Going back: which content, by which commit, on the remote and here; and keeping the failure from returning.

use std::collections::HashMap;

use super::attestation::Moment;
use super::error::{Error, Result};
use super::ledger::{self, Addition};
use super::others;
use super::phase::Event;
use super::plan::environment_of;
use super::run::{Observer, drive, end};
use super::verification;
use crate::base::id::ObjectId;
use crate::base::{ErrorKind, Kinded as _};
use crate::config::RollbackMode;
use crate::context::Context;
use crate::git::ledger::BranchPush;
use crate::git::{self, NewCommit, PROMOTION_TRAILER, Published, RESTORES_TRAILER, ROLLBACK_TRAILER, Repo};
use crate::store::{
    DeliveryOutcome, DeliveryPhase, DeliveryRecord, Hold, HoldCause, Lock, Promotion, Quarantined, State,
};

/// Most promotions of an environment that are looked through for what landed before.
pub(super) const LOOKED_THROUGH_LIMIT: i64 = 500;

/// Undoes what is live in an environment, verified or not, back to what was verified before it or to the promotion `to`;
/// what landed in between is undone with it. A rollback that a crash interrupted is brought to its end instead: asking for
/// it again does not go back twice.
///
/// # Errors
/// Unknown environment, nothing live, or `to` is not an earlier promotion of the environment.
pub async fn roll_back(
    ctx: &Context,
    lock: &Lock,
    environment: &str,
    to: Option<&str>,
    reason: Option<&str>,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    let spec = environment_of(ctx, environment)?;
    for recovered in super::run::recover(ctx, lock, observer).await? {
        if recovered.environment == environment && is_done(ctx, &recovered, to).await? {
            return Ok(recovered);
        }
    }
    match others::learn(ctx).await {
        // What is broken does not stay live for want of a ledger.
        Err(problem) if problem.kind() == ErrorKind::Integrity => {
            tracing::warn!(%problem, "what other machines did is not known: `cascade doctor` tells how to put that right");
        }
        learned => learned?,
    }
    if let Some(outside) = partly_back(ctx, environment, to).await? {
        let words = why_undone(ctx, &outside).await?;
        return drive(ctx, outside, Event::TakeBackRequested(words), observer).await;
    }
    let nothing = || Error::NothingToRollBack { environment: environment.to_owned() };
    let mut live = match verification::paused(ctx, environment).await? {
        Some(paused) => paused,
        None => ctx.store.live(environment).await?.ok_or_else(nothing)?,
    };
    let to = match to {
        None => destination(ctx, &live).await?.ok_or_else(nothing)?,
        Some(id) => earlier_candidate(ctx, &live, id).await?,
    };
    let (branch, remote) = (spec.branch.clone(), ctx.config.remote.clone());
    let tip = ctx.git.run(move |repo| {
        // Nothing is begun with a place to go back to that is no longer in the repository.
        repo.tree_of(to)?;
        repo.furthest_tip(&remote, &branch)?.map_or_else(|| repo.existing_branch_tip(&branch), Ok)
    });
    let tip = tip.await?;
    (live.rollback_from, live.rollback_to) = (Some(tip), Some(to));
    let words = reason.map_or_else(|| format!("rolled back by {}", ctx.person), ToOwned::to_owned);
    drive(ctx, live, Event::RollbackRequested(words), observer).await
}

/// Answers the last rollback where its branch is back to where a person wants it and what was delivered is not: that is
/// what is left to be done. Going back once more would undo the release before, which nobody asked for.
async fn partly_back(ctx: &Context, environment: &str, to: Option<&str>) -> Result<Option<Promotion>> {
    let last = ctx.store.attempts(Some(environment), 1).await?.pop();
    let Some(last) = last.filter(|last| last.state == State::RollbackFailed) else { return Ok(None) };
    let wanted = match to {
        Some(id) => ctx.store.promotion(id).await?.candidate,
        None => last.rollback_to,
    };
    let deliveries = ctx.store.deliveries(&last.id).await?;
    let is_outside = |it: &DeliveryRecord| it.phase == DeliveryPhase::TakeBack && it.outcome == DeliveryOutcome::Failed;
    Ok(deliveries.iter().any(is_outside).then_some(last).filter(|last| last.rollback_to == wanted))
}

/// Answers why a promotion was undone, in the words of whoever wanted that first.
async fn why_undone(ctx: &Context, promotion: &Promotion) -> Result<String> {
    let journal = ctx.store.journal(&promotion.id).await?;
    let quarantined = journal.iter().rposition(|line| line.name == Event::Quarantined.name());
    let began = quarantined.and_then(|at| journal[..at].last()).map(|line| line.detail.clone());
    Ok(began.filter(|words| !words.is_empty()).unwrap_or_else(|| format!("rolled back by {}", ctx.person)))
}

/// Answers whether a promotion is rolled back to where a person wants it.
async fn is_done(ctx: &Context, promotion: &Promotion, to: Option<&str>) -> Result<bool> {
    let wanted = match to {
        Some(id) => ctx.store.promotion(id).await?.candidate,
        None => promotion.rollback_to,
    };
    Ok(promotion.state == State::RolledBack && promotion.rollback_to == wanted)
}

async fn earlier_candidate(ctx: &Context, live: &Promotion, id: &str) -> Result<ObjectId> {
    let target = ctx.store.promotion(id).await?;
    let environment = &live.environment;
    let why = if target.environment != *environment {
        format!("was for {}, and not for {environment}", target.environment)
    } else if target.id == live.id || target.tree.is_some_and(|tree| Some(tree) == live.tree) {
        format!("is what is live in {environment} already: there is nothing to roll back to it")
    } else if target.state == State::RolledBack {
        format!("was itself rolled back: it is no place to go back to in {environment}")
    } else if let Some(candidate) = target.candidate.filter(|_| target.state == State::Promoted) {
        return Ok(candidate);
    } else {
        format!("was never verified in {environment}: it is no place to go back to")
    };
    let hint = Some(format!("choose an earlier one that is `promoted` in `cascade history {environment}`"));
    Err(Error::NotNow { id: target.id.to_string(), why, hint })
}

/// Answers the place that a promotion goes back to: where a person wants it, else to what was verified before it.
async fn destination(ctx: &Context, promotion: &Promotion) -> Result<Option<ObjectId>> {
    if promotion.rollback_to.is_some() {
        return Ok(promotion.rollback_to);
    }
    let earlier = ctx.store.promotions(Some(&promotion.environment), LOOKED_THROUGH_LIMIT).await?;
    // What landed and was never verified, or was found bad, is no place to go back to.
    let is_unverified = |other: &&Promotion| matches!(other.state, State::Superseded | State::RollbackFailed);
    let unverified: HashMap<ObjectId, Option<ObjectId>> =
        earlier.iter().filter(is_unverified).filter_map(|other| Some((other.candidate?, other.previous))).collect();
    let mut place = promotion.previous;
    while let Some(before) = place.and_then(|place| unverified.get(&place)) {
        place = *before;
    }
    Ok(place)
}

/// Lists what is undone along with a promotion: what landed after the place that it goes back to, newest first.
pub(super) async fn undone_with(ctx: &Context, promotion: &Promotion) -> Result<Vec<Promotion>> {
    let from = promotion.rollback_from.or(promotion.candidate);
    let Some((from, to)) = from.zip(destination(ctx, promotion).await?) else { return Ok(Vec::new()) };
    let mut others = ctx.store.promotions(Some(&promotion.environment), LOOKED_THROUGH_LIMIT).await?;
    others.retain(|other| other.id != promotion.id && matches!(other.state, State::Promoted | State::Superseded));
    let between = ctx.git.run(move |repo| {
        let mut between = Vec::new();
        for other in others {
            let Some(candidate) = other.candidate else { continue };
            // A candidate that never landed may be gone by now.
            if repo.is_ancestor(candidate, to).unwrap_or(false) {
                break;
            }
            if repo.is_ancestor(candidate, from).unwrap_or(false) {
                between.push(other);
            }
        }
        Ok(between)
    });
    Ok(between.await?)
}

/// Ends what was undone along with a promotion that is back.
pub(super) async fn end_undone(ctx: &Context, promotion: &Promotion) -> Result<()> {
    for other in undone_with(ctx, promotion).await?.into_iter().filter(|other| other.state == State::Promoted) {
        let reason = format!("undone with promotion {}", promotion.id);
        end(ctx, other, &Event::UndoneWith(reason)).await?;
    }
    Ok(())
}

/// Answers whether a promotion went back because a branch had something else than what had landed there: then it is not
/// its content that needs a fix.
///
/// # Errors
/// The store cannot be read.
pub async fn met_other_content(ctx: &Context, promotion: &Promotion) -> Result<bool> {
    let other = Event::Mismatched(String::new());
    let journal = ctx.store.journal(&promotion.id).await?;
    Ok(promotion.state == State::RolledBack && journal.iter().any(|line| line.name == other.name()))
}

/// Performs the step: what is undone may not come back by itself, and the environment waits for a person or a fix.
pub(super) async fn quarantine(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let at = ctx.now();
    for undone in undone_with(ctx, promotion).await?.iter().chain([promotion]) {
        let Some(tree) = undone.tree else { continue };
        let entry = Quarantined { source: undone.source, tree, promotion: promotion.id.clone(), at };
        ctx.store.quarantine(&promotion.environment, &entry).await?;
    }
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
    let spec = environment_of(ctx, &promotion.environment)?;
    let from = promotion.rollback_from.or(promotion.candidate);
    let to = destination(ctx, promotion).await?;
    let (Some(from), Some(to)) = (from, to) else {
        return Ok(Event::Failed("there is nothing to go back to: it was the environment's first content".to_owned()));
    };
    promotion.rollback_from = Some(from);
    promotion.rollback_to = Some(to);
    // A branch is moved back only from where cascade left it: what somebody else put there stays in its history.
    if resets(spec.rollback, promotion.pushed) && is_ours(ctx, promotion, from).await? {
        promotion.rollback_commit = Some(to);
        return Ok(Event::RollbackPlanned);
    }
    build_restore(ctx, promotion, from, to).await
}

async fn is_ours(ctx: &Context, promotion: &Promotion, tip: ObjectId) -> Result<bool> {
    let promotions = ctx.store.promotions(Some(&promotion.environment), LOOKED_THROUGH_LIMIT).await?;
    let left = |other: &Promotion| other.candidate == Some(tip) || other.rollback_commit == Some(tip);
    Ok(promotions.iter().any(left))
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
        "Roll {} back to {}\n\n{}\n\n{PROMOTION_TRAILER}: {}\n{ROLLBACK_TRAILER}: {from}\n{RESTORES_TRAILER}: {to}\n",
        promotion.environment,
        to.short(),
        promotion.reason.as_deref().unwrap_or("verification failed"),
        promotion.id
    );
    let at = ctx.now();
    let build = move |repo: &Repo| {
        let new = NewCommit { tree: repo.tree_of(to)?, parents: vec![from], message, at };
        match repo.build_users_commit(&new, None) {
            // What is broken does not stay live for want of a signature.
            Err(refused @ git::Error::CommitNotSigned { .. }) => {
                tracing::warn!(%refused, "the commit of a rollback is not signed");
                repo.build_commit(&new)
            }
            built => built,
        }
    };
    promotion.rollback_commit = Some(ctx.git.run(build).await?);
    Ok(Event::RollbackPlanned)
}

#[derive(Debug, Clone)]
struct Return {
    environment: String,
    branch: String,
    from: ObjectId,
    to: Option<ObjectId>,
    commit: ObjectId,
    log_message: String,
    entry: Addition,
}

async fn way_back(ctx: &Context, promotion: &Promotion) -> Result<Option<Return>> {
    let spec = environment_of(ctx, &promotion.environment)?;
    let entry = Addition::of(ctx, promotion, Moment::Returning).await?;
    Ok(promotion.rollback_from.zip(promotion.rollback_commit).map(|(from, commit)| Return {
        environment: promotion.environment.clone(),
        branch: spec.branch.clone(),
        from,
        to: promotion.rollback_to,
        commit,
        log_message: format!("cascade: roll back promotion {}", promotion.id),
        entry,
    }))
}

/// Performs the step on the remote; a remote that refuses to go back gets a restoring commit instead.
pub(super) async fn perform_remote(ctx: &Context, promotion: &mut Promotion) -> Result<Event> {
    let (Some(way), Some(remote)) = (way_back(ctx, promotion).await?, promotion.remote.clone()) else {
        return Ok(Event::RemoteRolledBack);
    };
    let is_reset = promotion.rollback_commit == promotion.rollback_to;
    let place = remote.clone();
    match ctx.git.run(move |repo| way.return_remote(repo, &place)).await {
        Ok((event, published)) => {
            ledger::note(ctx, &remote, published.as_ref());
            Ok(event)
        }
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
    let Some(way) = way_back(ctx, promotion).await? else { return Ok(Event::LocalRolledBack) };
    match ctx.git.run(move |repo| way.return_local(repo)).await {
        Ok(event) => Ok(event),
        Err(moved @ git::Error::RefMoved { .. }) => Ok(Event::Failed(moved.to_string())),
        Err(other) => Err(other.into()),
    }
}

impl Return {
    fn return_remote(&self, repo: &Repo, remote: &str) -> git::Result<(Event, Option<Published>)> {
        let (theirs, ledger) = repo.remote_tips(remote, &self.branch)?;
        if theirs == Some(self.from) {
            let push = BranchPush { remote, branch: &self.branch, commit: self.commit, expected: theirs };
            let published = match self.entry.append_if_sound(repo)? {
                true => self.entry.push(repo, push, ledger)?,
                false => self.entry.push_branch(repo, push).map(|()| None)?,
            };
            let found = repo.remote_tip(remote, &self.branch)?;
            let event = match found == Some(self.commit) {
                true => Event::RemoteRolledBack,
                false => Event::Failed(self.not_ours(remote, found)),
            };
            return Ok((event, published));
        }
        if let Some(theirs) = theirs.filter(|theirs| *theirs != self.commit) {
            repo.fetch(remote, &self.branch)?;
            if repo.is_ancestor(self.from, theirs)? {
                return Ok((Event::Failed(self.built_upon(&format!("on {remote}"), theirs)), None));
            }
            let is_back = self.to.map(|to| repo.is_ancestor(theirs, to)).transpose()?.unwrap_or(false);
            if !is_back {
                return Ok((Event::Failed(self.not_ours(remote, Some(theirs))), None));
            }
        }
        Ok((Event::RemoteRolledBack, None))
    }

    fn return_local(&self, repo: &Repo) -> git::Result<Event> {
        let tip = repo.branch_tip(&self.branch)?;
        match tip {
            // What landed elsewhere may not have come here yet.
            Some(tip) if repo.is_ancestor(tip, self.from)? && tip != self.commit => {
                // A remote that was back already has heard nothing of it.
                self.entry.append_if_sound(repo)?;
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
             right with git, then `cascade resume {}`",
            self.branch,
            self.from.short(),
            self.commit.short(),
            self.environment
        )
    }

    fn built_upon(&self, place: &str, tip: ObjectId) -> String {
        format!(
            "`{}` has commits {place} on top of what failed ({} on {}): undo it with git, then `cascade resume {}`",
            self.branch,
            tip.short(),
            self.from.short(),
            self.environment
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
