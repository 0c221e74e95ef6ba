//! Bringing back what a path was in an earlier commit, as a new save.

use std::collections::BTreeMap;

use git2::Oid;

use super::commit::Draft;
use super::transfer::{Transfer, Transferred, clash_reason};
use super::{Change, ChangeKind};
use crate::base::id::ObjectId;
use crate::git::branch::{object_id, oid};
use crate::git::error::{Error, Result};
use crate::git::repo::Repo;
use crate::git::tree::{Edit, MODE_GITLINK};

/// A wish to bring something back.
pub struct RestoreRequest<'a> {
    /// Short name of the branch; nothing happens while `HEAD` is elsewhere.
    pub branch: &'a str,
    /// What to bring back, and from where.
    pub what: Restore,
    /// Answers whether a path (and whether it is a directory) is never saved.
    pub excluded: &'a dyn Fn(&[u8], bool) -> bool,
    /// Answers the message of the new save.
    pub message: &'a dyn Fn(&[Change]) -> String,
    /// The commit's time, seconds since the epoch.
    pub now_seconds: i64,
}

/// What to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restore {
    /// These paths (files or directories; none: everything) as a commit has them.
    Paths {
        /// Relative to the top.
        paths: Vec<Vec<u8>>,
        /// The commit.
        to: ObjectId,
    },
    /// The files that a commit changed as they were before it.
    Undo {
        /// The commit.
        commit: ObjectId,
    },
}

/// What became of the wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreAnswer {
    /// There is a new save.
    Restored {
        /// The new commit, now the branch's tip.
        commit: Oid,
        /// What it changed, sorted by path.
        changes: Vec<Change>,
    },
    /// Everything is so already.
    Nothing,
    /// These paths changed after the commit that is to be undone.
    ChangedSince {
        /// The paths.
        paths: Vec<Vec<u8>>,
    },
    /// These paths are not saved, or something is in the way of them.
    Busy {
        /// The paths.
        paths: Vec<Vec<u8>>,
        /// Those of them that are never saved.
        excluded: Vec<Vec<u8>>,
    },
    /// The user is doing something that this would disturb, or the file system cannot have it.
    Paused {
        /// What, for people.
        reason: String,
    },
}

impl Repo {
    /// Answers what a [`Repo::restore`] would change, sorted by path; sizes are those of what is committed.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn restore_preview(&self, branch: &str, what: &Restore) -> Result<Vec<Change>> {
        let ours = oid(self.existing_branch_tip(branch)?)?;
        self.changes_by(ours, &self.restoring_edits(ours, what)?)
    }

    fn changes_by(&self, ours: Oid, edits: &BTreeMap<Vec<u8>, Edit>) -> Result<Vec<Change>> {
        let tip = self.inner.find_commit(ours).map_err(Error::library("read a commit"))?;
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let change = |(path, edit): (&Vec<u8>, &Edit)| {
            let kind = match (self.entry_at(&tip, path)?, edit) {
                (_, None) => ChangeKind::Deleted,
                (Some(_), Some(_)) => ChangeKind::Modified,
                (None, Some(_)) => ChangeKind::Added,
            };
            let blob = edit.filter(|(mode, _)| *mode != MODE_GITLINK).map(|(_, oid)| odb.read_header(oid));
            let size = blob.transpose().map_err(Error::library("look at a blob"))?.map_or(0, |(size, _)| size);
            Ok(Change { path: path.clone(), kind, bytes: size as u64 })
        };
        edits.iter().map(change).collect()
    }

    /// Commits an earlier content on top of the branch and brings it into the working tree; no commit is rewritten.
    ///
    /// Only files that are as the branch has them are touched: save before.
    ///
    /// # Errors
    /// A commit is missing; what the file system or git refuse. Then neither files nor branch have changed.
    pub fn restore(&self, request: &RestoreRequest<'_>) -> Result<RestoreAnswer> {
        let ours = match self.stand(request.branch)? {
            Ok(ours) => ours,
            Err(reason) => return Ok(RestoreAnswer::Paused { reason }),
        };
        if let Restore::Undo { commit } = &request.what {
            let paths = self.changed_since(*commit, ours)?;
            if !paths.is_empty() {
                return Ok(RestoreAnswer::ChangedSince { paths });
            }
        }
        let edits = self.restoring_edits(ours, &request.what)?;
        if edits.is_empty() {
            return Ok(RestoreAnswer::Nothing);
        }
        let message = (request.message)(&self.changes_by(ours, &edits)?);
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let draft = Draft {
            branch: request.branch,
            tree: Oid::ZERO_SHA1,
            parent: ours,
            merged: None,
            message: &message,
            author: None,
            now_seconds: request.now_seconds,
            offset_minutes: 0,
        };
        let transfer = Transfer { repo: self, odb: &odb, excluded: request.excluded, forward: None, draft };
        Ok(match transfer.run(&edits)? {
            Transferred::Done { commit, changes } => RestoreAnswer::Restored { commit, changes },
            Transferred::Busy { paths, excluded } => RestoreAnswer::Busy { paths, excluded },
            Transferred::Clash { path, with } => RestoreAnswer::Paused { reason: clash_reason(&path, &with) },
        })
    }

    fn restoring_edits(&self, ours: Oid, what: &Restore) -> Result<BTreeMap<Vec<u8>, Edit>> {
        match what {
            Restore::Paths { paths, to } => {
                let mut edits = self.edits_between(ours, oid(*to)?)?;
                edits.retain(|path, _| paths.is_empty() || paths.iter().any(|wanted| is_at_or_below(path, wanted)));
                Ok(edits)
            }
            Restore::Undo { commit } => {
                let Some(parent) = self.message(*commit)?.1 else { return Ok(BTreeMap::new()) };
                let undone = self.edits_between(oid(*commit)?, oid(parent)?)?;
                let mut edits = self.edits_between(ours, oid(parent)?)?;
                edits.retain(|path, _| undone.contains_key(path));
                Ok(edits)
            }
        }
    }

    /// Answers the paths that a commit changed and that are not any more as it left them.
    fn changed_since(&self, commit: ObjectId, ours: Oid) -> Result<Vec<Vec<u8>>> {
        let Some(parent) = self.message(commit)?.1 else { return Ok(Vec::new()) };
        let own = self.edits_between(oid(parent)?, oid(commit)?)?;
        let later = self.edits_between(oid(commit)?, ours)?;
        Ok(own.into_keys().filter(|path| later.contains_key(path)).collect())
    }

    /// Lists the commits on the first-parent line from `tip`, newest first, that changed something at or below `path`
    /// (empty: anything), up to `limit`.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn commits_at(&self, tip: ObjectId, path: &[u8], limit: usize) -> Result<Vec<ObjectId>> {
        let mut walk = self.inner.revwalk().map_err(Error::library("walk commits"))?;
        walk.simplify_first_parent().map_err(Error::library("walk commits"))?;
        walk.push(oid(tip)?).map_err(Error::library("walk commits"))?;
        let mut found = Vec::new();
        for id in walk {
            if found.len() == limit {
                break;
            }
            let commit = self.inner.find_commit(id.map_err(Error::library("walk commits"))?);
            let commit = commit.map_err(Error::library("read a commit"))?;
            let before = commit.parent(0).ok().map(|parent| self.entry_at(&parent, path)).transpose()?.flatten();
            if path.is_empty() || self.entry_at(&commit, path)? != before {
                found.push(object_id(commit.id())?);
            }
        }
        Ok(found)
    }

    fn entry_at(&self, commit: &git2::Commit<'_>, path: &[u8]) -> Result<Option<(Oid, i32)>> {
        let mut tree = commit.tree().map_err(Error::library("read a tree"))?;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            let Some((id, mode)) = tree.get_name_bytes(name).map(|entry| (entry.id(), entry.filemode())) else {
                return Ok(None);
            };
            if names.peek().is_none() {
                return Ok(Some((id, mode)));
            }
            let Ok(below) = self.inner.find_tree(id) else { return Ok(None) };
            tree = below;
        }
        Ok(None)
    }

    /// Finds the newest commit on the first-parent line from `tip` that is not younger than `seconds` since the epoch.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn commit_before(&self, tip: ObjectId, seconds: i64) -> Result<Option<ObjectId>> {
        let mut next = self.inner.find_commit(oid(tip)?).ok();
        while let Some(commit) = next {
            if commit.time().seconds() <= seconds {
                return object_id(commit.id()).map(Some);
            }
            next = commit.parent(0).ok();
        }
        Ok(None)
    }
}

/// Answers whether a path is `wanted`, or in the directory `wanted`.
#[must_use]
pub fn is_at_or_below(path: &[u8], wanted: &[u8]) -> bool {
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
