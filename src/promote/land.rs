//! Moving branches forward: the remote first, with a lease, then the local one by compare-and-swap.

use super::attestation::Moment;
use super::error::Result;
use super::ledger::{self, Addition};
use super::phase::Event;
use super::plan::environment_of;
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::git::ledger::BranchPush;
use crate::git::{self, Published, Repo};
use crate::store::Promotion;

/// What landing needs, once a promotion is planned.
#[derive(Debug, Clone)]
struct Landing {
    branch: String,
    remote: Option<String>,
    previous: Option<ObjectId>,
    candidate: ObjectId,
    log_message: String,
    entry: Addition,
}

async fn landing(ctx: &Context, promotion: &Promotion) -> Result<Option<Landing>> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    let entry = Addition::of(ctx, promotion, Moment::Landing).await?;
    Ok(promotion.candidate.map(|candidate| Landing {
        branch: spec.branch.clone(),
        remote: promotion.remote.clone(),
        previous: promotion.previous,
        candidate,
        log_message: format!("cascade: promotion {}", promotion.id),
        entry,
    }))
}

/// Performs the step on the remote.
///
/// # Errors
/// The remote does not answer: whether it moved is unknown, so the step stays journaled and is repeated later.
pub(super) async fn perform_remote(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(landing) = landing(ctx, promotion).await? else { return Ok(no_candidate()) };
    match ctx.git.run(move |repo| landing.land_remote(repo)).await {
        Ok((event, published)) => {
            ledger::note(ctx, promotion.remote.as_deref().unwrap_or_default(), published.as_ref());
            Ok(event)
        }
        Err(moved @ git::Error::RemoteMoved { .. }) => Ok(Event::Superseded(moved.to_string())),
        Err(
            no @ (git::Error::RemoteRefused { .. } | git::Error::RemoteDenied { .. } | git::Error::NotSigned { .. }),
        ) => Ok(Event::Failed(no.to_string())),
        Err(other) => Err(other.into()),
    }
}

/// Performs the step on the local branch.
///
/// # Errors
/// The reference is locked or cannot be written: the step stays journaled and is repeated later.
pub(super) async fn perform_local(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(landing) = landing(ctx, promotion).await? else { return Ok(no_candidate()) };
    let pushed = promotion.pushed;
    match ctx.git.run(move |repo| landing.land_local(repo)).await {
        Ok(event) => Ok(event),
        Err(moved @ git::Error::RefMoved { .. }) if pushed => Ok(Event::LocalMoved(moved.to_string())),
        Err(moved @ git::Error::RefMoved { .. }) => Ok(Event::Superseded(moved.to_string())),
        Err(no @ git::Error::NotSigned { .. }) => Ok(Event::Failed(no.to_string())),
        Err(other) => Err(other.into()),
    }
}

fn no_candidate() -> Event {
    Event::Failed("there is no candidate to land".to_owned())
}

impl Landing {
    fn land_remote(&self, repo: &Repo) -> git::Result<(Event, Option<Published>)> {
        let Some(remote) = &self.remote else { return Ok((Event::LandedRemote, None)) };
        let local = repo.branch_tip(&self.branch)?;
        if !self.may_follow(repo, local)? {
            return Ok((Event::Superseded(self.moved("locally", local)), None));
        }
        let (theirs, ledger) = repo.remote_tips(remote, &self.branch)?;
        if theirs == Some(self.candidate) {
            return Ok((Event::LandedRemote, None));
        }
        if !self.may_follow(repo, theirs)? {
            return Ok((Event::Superseded(self.moved(&format!("on {remote}"), theirs)), None));
        }
        self.entry.append(repo)?;
        let push = BranchPush { remote, branch: &self.branch, commit: self.candidate, expected: theirs };
        let published = self.entry.push(repo, push, ledger)?;
        match repo.remote_tip(remote, &self.branch)? {
            Some(tip) if tip == self.candidate => Ok((Event::LandedRemote, published)),
            other => Ok((Event::Superseded(self.moved(&format!("on {remote}"), other)), published)),
        }
    }

    fn land_local(&self, repo: &Repo) -> git::Result<Event> {
        let local = repo.branch_tip(&self.branch)?;
        if local == Some(self.candidate) {
            return Ok(Event::LandedLocal);
        }
        if !self.may_follow(repo, local)? {
            return Err(git::Error::RefMoved { name: self.branch.clone(), expected: self.previous, found: local });
        }
        if self.remote.is_none() {
            self.entry.append(repo)?;
        }
        repo.move_branch(&self.branch, local, self.candidate, &self.log_message)?;
        Ok(Event::LandedLocal)
    }

    /// Answers whether the candidate can follow on `tip` without losing anything: it is the planned tip, or behind it.
    fn may_follow(&self, repo: &Repo, tip: Option<ObjectId>) -> git::Result<bool> {
        match (tip, self.previous) {
            (None, _) => Ok(true),
            (Some(tip), _) if tip == self.candidate => Ok(true),
            (Some(tip), Some(previous)) => Ok(tip == previous || repo.is_ancestor(tip, previous).unwrap_or(false)),
            (Some(_), None) => Ok(false),
        }
    }

    fn moved(&self, place: &str, found: Option<ObjectId>) -> String {
        let shown = |id: Option<ObjectId>| id.map_or_else(|| "nothing".to_owned(), |id| id.short());
        format!(
            "`{}` moved {place} meanwhile: planned on {}, found {}",
            self.branch,
            shown(self.previous),
            shown(found)
        )
    }
}
