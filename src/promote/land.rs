//! Moving branches forward: the remote first, with a lease, then the local one by compare-and-swap. Each is read back
//! and compared with what was checked.

use super::attestation::Moment;
use super::error::Result;
use super::ledger::{self, Addition};
use super::phase::Event;
use super::plan::environment_of;
use crate::alert::Alert;
use crate::base::id::ObjectId;
use crate::config::AlertEvent;
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
    /// What was checked.
    tree: ObjectId,
    /// Whether the candidate is the source itself, which others may have landed too.
    is_source: bool,
    log_message: String,
    entry: Addition,
}

async fn landing(ctx: &Context, promotion: &Promotion) -> Result<Option<Landing>> {
    let spec = environment_of(ctx, &promotion.environment)?;
    let entry = Addition::of(ctx, promotion, Moment::Landing).await?;
    Ok(promotion.candidate.zip(promotion.tree).map(|(candidate, tree)| Landing {
        branch: spec.branch.clone(),
        remote: promotion.remote.clone(),
        previous: promotion.previous,
        candidate,
        tree,
        is_source: candidate == promotion.source,
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
        Ok((event, published, is_made_again)) => {
            if is_made_again {
                tell_of_deletion(ctx, promotion);
            }
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

/// Tells that the environment's branch is on the remote again, where somebody had deleted it.
fn tell_of_deletion(ctx: &Context, promotion: &Promotion) {
    let (environment, remote) = (&promotion.environment, promotion.remote.as_deref().unwrap_or_default());
    let branch = environment_of(ctx, environment).map_or(environment, |spec| &spec.branch);
    let body = format!("somebody deleted {remote}/{branch}: this promotion made it again");
    tracing::warn!("{body}");
    let title = format!("{}: the branch of {environment} was deleted", ctx.config.project);
    ctx.tell(Alert::new(AlertEvent::Conflict, title, body).about(environment, &promotion.id));
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
        Err(other_content @ git::Error::Integrity { .. }) => Ok(Event::Mismatched(other_content.to_string())),
        Err(no @ git::Error::NotSigned { .. }) => Ok(Event::Failed(no.to_string())),
        Err(other) => Err(other.into()),
    }
}

fn no_candidate() -> Event {
    Event::Failed("there is no candidate to land".to_owned())
}

impl Landing {
    /// Answers as well what became of the ledger, and whether somebody had deleted the branch.
    fn land_remote(&self, repo: &Repo) -> git::Result<(Event, Option<Published>, bool)> {
        let Some(remote) = &self.remote else { return Ok((Event::LandedRemote, None, false)) };
        let local = repo.branch_tip(&self.branch)?;
        if !self.may_follow(repo, local)? {
            return Ok((Event::Superseded(self.moved("locally", local)), None, false));
        }
        let known = repo.tracking_tip(remote, &self.branch)?;
        let (theirs, ledger) = repo.remote_tips(remote, &self.branch)?;
        let (event, published) = self.land_upon(repo, remote, theirs, ledger)?;
        let is_made_again = theirs.is_none() && known.is_some() && event == Event::LandedRemote;
        Ok((event, published, is_made_again))
    }

    /// The same where the remote's branch and ledger are known.
    fn land_upon(
        &self,
        repo: &Repo,
        remote: &str,
        theirs: Option<ObjectId>,
        ledger: Option<ObjectId>,
    ) -> git::Result<(Event, Option<Published>)> {
        if self.is_landed(repo, remote, theirs)? {
            // Where others landed the very same, nothing is told of this promotion yet.
            self.entry.append(repo)?;
            return Ok((self.compare_remote(repo, remote, theirs)?, None));
        }
        if !self.may_follow(repo, theirs)? {
            return Ok((self.superseded_on(repo, remote, theirs)?, None));
        }
        self.entry.append(repo)?;
        let push = BranchPush { remote, branch: &self.branch, commit: self.candidate, expected: theirs };
        match self.entry.push(repo, push, ledger) {
            Ok(published) => {
                let found = repo.remote_tip(remote, &self.branch)?;
                Ok((self.compare_remote(repo, remote, found)?, published))
            }
            Err(git::Error::RemoteMoved { .. }) => match repo.remote_tip(remote, &self.branch)? {
                Some(tip) if tip == self.candidate => Ok((self.compare_remote(repo, remote, Some(tip))?, None)),
                found => Ok((self.superseded_on(repo, remote, found)?, None)),
            },
            Err(other) => Err(other),
        }
    }

    /// Answers whether an earlier try, cut off before it was journaled, brought the candidate to the remote.
    fn is_landed(&self, repo: &Repo, remote: &str, theirs: Option<ObjectId>) -> git::Result<bool> {
        match theirs {
            Some(tip) if tip == self.candidate => Ok(true),
            // A source that others built upon may as well have been landed by others.
            Some(tip) if !self.is_source && Some(tip) != self.previous => self.contains(repo, remote, tip),
            _ => Ok(false),
        }
    }

    /// Answers whether the candidate is in the history of the remote's `tip`.
    fn contains(&self, repo: &Repo, remote: &str, tip: ObjectId) -> git::Result<bool> {
        repo.fetch(remote, &self.branch)?;
        Ok(repo.is_ancestor(self.candidate, tip).unwrap_or(false))
    }

    /// Compares what the remote's branch has, now that the candidate was pushed there, with what was checked.
    fn compare_remote(&self, repo: &Repo, remote: &str, found: Option<ObjectId>) -> git::Result<Event> {
        let has_candidate = match found {
            Some(tip) if tip == self.candidate => true,
            Some(tip) => self.contains(repo, remote, tip)?,
            None => false,
        };
        let tree = found.and_then(|tip| repo.tree_of(tip).ok());
        if has_candidate && tree == Some(self.tree) {
            return Ok(Event::LandedRemote);
        }
        Ok(self.mismatched(&format!(" on {remote}"), found, tree))
    }

    fn land_local(&self, repo: &Repo) -> git::Result<Event> {
        let local = repo.branch_tip(&self.branch)?;
        if local != Some(self.candidate) {
            if !self.may_follow(repo, local)? {
                return Err(git::Error::RefMoved { name: self.branch.clone(), expected: self.previous, found: local });
            }
            if self.remote.is_none() {
                self.entry.append(repo)?;
            }
            repo.move_branch(&self.branch, local, self.candidate, &self.log_message)?;
        }
        let found = repo.branch_tip(&self.branch)?;
        let tree = found.map(|tip| repo.tree_of(tip)).transpose()?;
        if (found, tree) == (Some(self.candidate), Some(self.tree)) {
            return Ok(Event::LandedLocal);
        }
        Ok(self.mismatched("", found, tree))
    }

    fn mismatched(&self, place: &str, found: Option<ObjectId>, tree: Option<ObjectId>) -> Event {
        mismatched(&format!("`{}`{place}", self.branch), (self.candidate, self.tree), (found, tree))
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

    /// Says who came first, as far as the remote tells.
    fn superseded_on(&self, repo: &Repo, remote: &str, found: Option<ObjectId>) -> git::Result<Event> {
        let winner = match found {
            Some(tip) => {
                repo.fetch(remote, &self.branch)?;
                repo.promotion_of(tip).ok().flatten().map(|id| format!(" (promotion {id})"))
            }
            None => None,
        };
        let moved = self.moved(&format!("on {remote}"), found);
        Ok(Event::Superseded(format!("{moved}{}", winner.unwrap_or_default())))
    }

    fn moved(&self, place: &str, found: Option<ObjectId>) -> String {
        format!(
            "`{}` moved {place} meanwhile: planned on {}, found {}",
            self.branch,
            shown_id(self.previous),
            shown_id(found)
        )
    }
}

fn mismatched(
    place: &str,
    (candidate, tree): (ObjectId, ObjectId),
    (found, found_tree): (Option<ObjectId>, Option<ObjectId>),
) -> Event {
    Event::Mismatched(format!(
        "{place} does not have what was checked: {} (tree {}) landed, and it reads {} (tree {})",
        candidate.short(),
        tree.short(),
        shown_id(found),
        shown_id(found_tree)
    ))
}

fn shown_id(id: Option<ObjectId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_names_what_was_checked_and_what_is_there() {
        let id = |byte| ObjectId::from_bytes([byte; 20]);
        let event = mismatched("`live` on origin", (id(1), id(2)), (Some(id(1)), Some(id(3))));
        let why = "`live` on origin does not have what was checked: 0101010101 (tree 0202020202) landed, and it reads \
                   0101010101 (tree 0303030303)";
        assert_eq!(event, Event::Mismatched(why.to_owned()));
    }
}
