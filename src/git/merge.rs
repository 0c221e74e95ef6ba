//! Merging onto a branch on which something was rolled back.
//!
//! A rollback is a commit like any other to a merge: it takes changes away on one side, and a merge of the other side,
//! which has them already, leaves them away. What lands then was never meant by anybody. So a merge is made as if
//! nothing of that had been rolled back: onto what was there before, with what others did since. What the other side
//! lacks, a hotfix most often, stays away: nobody promotes it.

use git2::Commit;

use super::branch::{object_id, oid};
use super::candidate::NewCommit;
use super::error::{Error, Result};
use super::history::{LISTED_COMMITS_LIMIT, PROMOTION_TRAILER, trailer};
use super::repo::Repo;
use crate::base::id::ObjectId;

/// The trailer by which a commit of cascade's names the branch of a hotfix.
pub const HOTFIX_TRAILER: &str = "Cascade-Hotfix";
/// The trailer by which a commit of cascade's says which tip it undid, or took something back of.
pub const ROLLBACK_TRAILER: &str = "Cascade-Rollback-Of";

impl Repo {
    /// Merges two commits as [`Repo::merge_trees`] does, as if nothing had ever been rolled back in `theirs`, and nothing on
    /// `ours`, since cascade last promoted to it, that `theirs` has; answers the merged tree. `taken_back` are the commits
    /// that were rolled back where `theirs` comes from: what they brought to `ours` goes, and nothing else that is there;
    /// answers whether there was any, too.
    ///
    /// # Errors
    /// As [`Repo::merge_trees`]; what others did since conflicts with what was rolled back; a commit is missing.
    pub fn merge_past_rollbacks(
        &self,
        ours: ObjectId,
        theirs: ObjectId,
        taken_back: &[ObjectId],
    ) -> Result<(ObjectId, bool)> {
        let content = self.stands_for(theirs)?;
        let merge = || {
            let whole = self.without_rollbacks(ours, content)?;
            let left = self.without(whole, taken_back, content)?;
            Ok((self.merge_trees(left, content)?, left != whole))
        };
        merge().map_err(|error| match error {
            Error::MergeConflict { paths, .. } => Error::MergeConflict { source_commit: theirs, paths },
            other => other,
        })
    }

    /// Answers `tip`, or a commit that stands for it without the rollbacks of what `theirs` has.
    fn without_rollbacks(&self, tip: ObjectId, theirs: ObjectId) -> Result<ObjectId> {
        let Some((rollback, undone)) = self.last_rollback(tip)? else { return Ok(tip) };
        let before = self.without_rollbacks(self.as_far_as_had(rollback, undone, theirs)?, theirs)?;
        if tip == rollback {
            return Ok(before);
        }
        // What came since the rollback, on what was there before it.
        let base = self.stand_in(rollback, Vec::new())?;
        let since = self.stand_in(tip, vec![base])?;
        let tree = self.merge_trees(since, self.stand_in(before, vec![base])?)?;
        self.build(tree, vec![before], tip)
    }

    /// Answers `tip`, or a commit that stands for it without what promotions brought that came from one of `taken_back`,
    /// unless `theirs` has that.
    fn without(&self, tip: ObjectId, taken_back: &[ObjectId], theirs: ObjectId) -> Result<ObjectId> {
        let (mut left, mut next) = (tip, Some(tip).filter(|_| !taken_back.is_empty()));
        for _ in 0..LISTED_COMMITS_LIMIT {
            let Some(id) = next else { break };
            let commit = self.inner.find_commit(oid(id)?).map_err(Error::library("read a commit"))?;
            let before = commit.parent_id(0).ok().map(object_id).transpose()?;
            let source = commit.parent_id(1).ok().map(object_id).transpose()?;
            if let Some((before, source)) = before.zip(source)
                && taken_back.contains(&source)
                && self.is_promotion(oid(id)?)?
                && !self.is_ancestor(self.origin_of(source)?, theirs)?
            {
                let tree = self.merge_trees(left, self.stand_in(before, vec![id])?)?;
                left = self.build(tree, vec![left], tip)?;
            }
            next = before;
        }
        Ok(left)
    }

    /// Answers the newest tip that a rollback undid, up to which `theirs` has everything; where it lacks the oldest already,
    /// what was restored.
    fn as_far_as_had(&self, rollback: ObjectId, undone: ObjectId, theirs: ObjectId) -> Result<ObjectId> {
        let Some(restored) = self.restored(oid(rollback)?)?.map(object_id).transpose()? else { return Ok(undone) };
        let (mut line, mut next) = (Vec::new(), Some(undone));
        while let Some(id) = next.filter(|id| *id != restored && line.len() < LISTED_COMMITS_LIMIT) {
            let commit = self.inner.find_commit(oid(id)?).map_err(Error::library("read a commit"))?;
            next = commit.parent_id(0).ok().map(object_id).transpose()?;
            let is_rollback = trailer(commit.message_bytes(), ROLLBACK_TRAILER).is_some();
            let brought = commit.parent_id(1).map_or(Ok(id), object_id)?;
            line.push((id, is_rollback || self.is_ancestor(brought, theirs)?));
        }
        let had = line.iter().rev().take_while(|(_, is_had)| *is_had).last();
        Ok(had.map_or(restored, |(id, _)| *id))
    }

    /// Finds the rollback that was made on a branch since it was last promoted to from upstream, and the tip that it undid.
    fn last_rollback(&self, tip: ObjectId) -> Result<Option<(ObjectId, ObjectId)>> {
        let mut commit = Some(tip);
        for _ in 0..LISTED_COMMITS_LIMIT {
            let Some(id) = commit else { break };
            let found = self.inner.find_commit(oid(id)?).map_err(Error::library("read a commit"))?;
            let is_promotion = trailer(found.message_bytes(), PROMOTION_TRAILER).is_some();
            if is_promotion && !self.is_upon_what_was_live(&found)? {
                let undone = trailer(found.message_bytes(), ROLLBACK_TRAILER);
                return Ok(undone.and_then(|undone| undone.parse().ok()).map(|undone| (id, undone)));
            }
            commit = found.parent_id(0).ok().map(object_id).transpose()?;
        }
        Ok(None)
    }

    /// Answers whether a promotion brought a hotfix that was made from what was live: it lacks what had been rolled back
    /// there, as that did.
    fn is_upon_what_was_live(&self, promotion: &Commit<'_>) -> Result<bool> {
        if trailer(promotion.message_bytes(), HOTFIX_TRAILER).is_none() {
            return Ok(false);
        }
        let (Ok(before), Ok(source)) = (promotion.parent_id(0), promotion.parent_id(1)) else { return Ok(false) };
        let live = self.stands_for(object_id(before)?)?;
        self.is_ancestor(live, object_id(source)?)
    }

    /// Makes a commit with the content of another and parents of its own; no reference has it.
    fn stand_in(&self, commit: ObjectId, parents: Vec<ObjectId>) -> Result<ObjectId> {
        self.build(self.tree_of(commit)?, parents, commit)
    }

    fn build(&self, tree: ObjectId, parents: Vec<ObjectId>, like: ObjectId) -> Result<ObjectId> {
        let message = format!("Stand-in of {like} in a merge\n");
        self.build_commit(&NewCommit { tree, parents, message, at: self.summary(like)?.at })
    }
}
