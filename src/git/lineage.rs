//! What the content of an environment rests on: rollbacks lead back to what they restored.

use std::collections::HashSet;

use git2::Oid;

use super::branch::{object_id, oid};
use super::error::{Error, Result};
use super::history::{PROMOTION_TRAILER, trailer};
use super::repo::Repo;
use crate::base::escape::shown;
use crate::base::id::ObjectId;

/// The trailer that names the commit whose content a rollback restored.
pub const RESTORES_TRAILER: &str = "Cascade-Restores";

impl Repo {
    /// Answers which of the commits `among` the content of `tip` rests on: a rollback leads to what it restored, and not
    /// to what it undid.
    pub(super) fn in_force(&self, tip: Oid, among: &HashSet<Oid>) -> Result<HashSet<Oid>> {
        let (mut reached, mut pending) = (HashSet::new(), vec![tip]);
        while let Some(id) = pending.pop() {
            if !among.contains(&id) || !reached.insert(id) {
                continue;
            }
            pending.extend(self.rests_on(id)?);
        }
        Ok(reached)
    }

    /// Lists the commits of a branch one after the other, oldest first: from those that are reachable from `known` up to
    /// `tip`, along first parents. What a rollback undid is left out, and so is the rollback.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn line_between(&self, known: &[ObjectId], tip: ObjectId) -> Result<Vec<ObjectId>> {
        let lacking: HashSet<Oid> = self
            .walk_without(tip, known.iter().copied())?
            .collect::<Result<_, _>>()
            .map_err(Error::library("walk commits"))?;
        let (mut line, mut next) = (Vec::new(), Some(oid(tip)?));
        while let Some(id) = next.filter(|id| lacking.contains(id)) {
            next = match self.restored(id)? {
                Some(restored) => Some(restored),
                None => {
                    line.push(object_id(id)?);
                    let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
                    commit.parent_id(0).ok()
                }
            };
        }
        line.reverse();
        Ok(line)
    }

    /// Answers the commit whose content a branch at `tip` has: `tip` itself, or what a rollback restored there.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn stands_for(&self, tip: ObjectId) -> Result<ObjectId> {
        let mut at = oid(tip)?;
        // Each rollback leads to an older commit: the way ends.
        while let Some(restored) = self.restored(at)? {
            at = restored;
        }
        object_id(at)
    }

    /// Answers whether what `ours` and `tip` have in common was rolled back on the way to `tip`: a merge would then undo
    /// it in `ours` too.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn is_undone_on_the_way(&self, ours: ObjectId, tip: ObjectId) -> Result<bool> {
        let Ok(base) = self.inner.merge_base(oid(ours)?, oid(tip)?) else { return Ok(false) };
        let lacking: HashSet<Oid> = self
            .walk_without(tip, std::iter::once(ours))?
            .collect::<Result<_, _>>()
            .map_err(Error::library("walk commits"))?;
        let mut below = HashSet::new();
        for id in self.in_force(oid(tip)?, &lacking)? {
            below.extend(self.rests_on(id)?);
        }
        for id in below.difference(&lacking) {
            if self.is_ancestor(object_id(base)?, object_id(*id)?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers what the content of a commit comes from: its parents, or what a rollback restored.
    fn rests_on(&self, id: Oid) -> Result<Vec<Oid>> {
        if let Some(restored) = self.restored(id)? {
            return Ok(vec![restored]);
        }
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        Ok(commit.parent_ids().collect())
    }

    /// Answers the promotion that a commit was made for, by its trailer, escaped.
    ///
    /// # Errors
    /// The commit is missing.
    pub fn promotion_of(&self, commit: ObjectId) -> Result<Option<String>> {
        let found = self.inner.find_commit(oid(commit)?).map_err(Error::library("read a commit"))?;
        Ok(trailer(found.message_bytes(), PROMOTION_TRAILER).map(|id| shown(id.as_bytes())))
    }

    /// Answers what a commit of cascade's restored, by its trailer; nothing for any other.
    fn restored(&self, id: Oid) -> Result<Option<Oid>> {
        if !self.is_promotion(id)? {
            return Ok(None);
        }
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        let named = trailer(commit.message_bytes(), RESTORES_TRAILER).and_then(|name| name.parse::<ObjectId>().ok());
        let Some(named) = named else { return Ok(None) };
        // Only what came before can be restored: a name that leads elsewhere was not written by a rollback.
        Ok(if self.is_ancestor(named, object_id(id)?)? { Some(oid(named)?) } else { None })
    }
}
