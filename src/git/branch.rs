//! Branches: reading them, and moving them only from where they are believed to be.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid, Reference};

use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};

/// Where candidates are kept alive, whatever happens to the branches.
const KEEP_PREFIX: &str = "refs/cascade/promotions/";

/// Answers the full reference name of a branch.
///
/// # Errors
/// The name is not a valid branch name.
pub(super) fn full_name(branch: &str) -> Result<String> {
    let full = format!("refs/heads/{branch}");
    if Reference::is_valid_name(&full) && !branch.starts_with('-') {
        Ok(full)
    } else {
        Err(Error::InvalidBranch { name: shown(branch.as_bytes()) })
    }
}

impl Repo {
    /// Answers the tip of a branch; nothing when it does not exist.
    ///
    /// # Errors
    /// The name is invalid or the reference unreadable.
    pub fn branch_tip(&self, branch: &str) -> Result<Option<ObjectId>> {
        self.reference_target(&full_name(branch)?)
    }

    /// Answers the tip of a branch that must exist.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn existing_branch_tip(&self, branch: &str) -> Result<ObjectId> {
        self.branch_tip(branch)?.ok_or_else(|| Error::BranchMissing { name: shown(branch.as_bytes()) })
    }

    /// Answers where a remote's branch was when it was last fetched or pushed.
    ///
    /// # Errors
    /// The name is invalid or the reference unreadable.
    pub fn tracking_tip(&self, remote: &str, branch: &str) -> Result<Option<ObjectId>> {
        full_name(branch)?;
        self.reference_target(&format!("refs/remotes/{remote}/{branch}"))
    }

    /// Moves a branch from `expected` (none: it does not exist) to `target`, and reads it back.
    ///
    /// A lock that was left by a move to `target` is cleared away, so nobody else may be making that very move.
    ///
    /// # Errors
    /// [`Error::RefMoved`] when the branch is elsewhere; then nothing changed.
    pub fn move_branch(
        &self,
        branch: &str,
        expected: Option<ObjectId>,
        target: ObjectId,
        log_message: &str,
    ) -> Result<()> {
        self.move_reference(&full_name(branch)?, expected, target, log_message)
    }

    /// Keeps a commit alive under the name of its promotion.
    ///
    /// # Errors
    /// The reference cannot be written.
    pub fn keep(&self, promotion: &PromotionId, commit: ObjectId) -> Result<()> {
        let name = format!("{KEEP_PREFIX}{promotion}");
        self.move_reference(&name, self.reference_target(&name)?, commit, "cascade: keep candidate")
    }

    /// Answers the commit that is kept alive under the name of a promotion.
    ///
    /// # Errors
    /// The reference cannot be read.
    pub fn kept(&self, promotion: &PromotionId) -> Result<Option<ObjectId>> {
        self.reference_target(&format!("{KEEP_PREFIX}{promotion}"))
    }

    /// Answers the worktree that has a branch checked out, if any.
    ///
    /// # Errors
    /// The list of worktrees cannot be read.
    pub fn checked_out_at(&self, branch: &str) -> Result<Option<PathBuf>> {
        let full = full_name(branch)?;
        // Opening a checkout reads its configuration: only one whose HEAD names the branch is worth it.
        let names_it = |directory: &Path| {
            let head = std::fs::read(directory.join("HEAD")).unwrap_or_default();
            head.strip_prefix(b"ref:").is_some_and(|target| target.trim_ascii() == full.as_bytes())
        };
        if names_it(self.git_dir()) {
            return Ok(Some(self.root().to_owned()));
        }
        let open_main = || git2::Repository::open(self.common_dir()).ok().filter(|main| !main.is_bare());
        if let Some(main) = names_it(self.common_dir()).then(open_main).flatten() {
            return Ok(main.workdir().map(ToOwned::to_owned));
        }
        let names = self.inner.worktrees().map_err(Error::library("list worktrees"))?;
        let candidates =
            names.iter().flatten().flatten().filter(|name| names_it(&self.common_dir().join("worktrees").join(name)));
        let holder = candidates
            .filter_map(|name| self.inner.find_worktree(name).ok())
            .find_map(|worktree| git2::Repository::open_from_worktree(&worktree).ok());
        Ok(holder.and_then(|repository| repository.workdir().map(ToOwned::to_owned)))
    }

    /// Answers where a reference is, by its full name.
    pub(super) fn reference_target(&self, full: &str) -> Result<Option<ObjectId>> {
        match self.inner.refname_to_id(full) {
            Ok(target) => object_id(target).map(Some),
            Err(missing) if missing.code() == ErrorCode::NotFound => Ok(None),
            Err(source) => Err(Error::library(format!("read {full}"))(source)),
        }
    }

    /// Moves a reference from `expected` (none: it does not exist) to `target`, and reads it back.
    pub(super) fn move_reference(
        &self,
        full: &str,
        expected: Option<ObjectId>,
        target: ObjectId,
        log_message: &str,
    ) -> Result<()> {
        match self.try_move_reference(full, expected, target, log_message) {
            Err(Error::Locked { path }) if self.is_dead_lock(&path, oid(target)?) => {
                std::fs::remove_file(&path).map_err(Error::io("clear away", path))?;
                self.try_move_reference(full, expected, target, log_message)
            }
            answer => answer,
        }
    }

    fn try_move_reference(
        &self,
        full: &str,
        expected: Option<ObjectId>,
        target: ObjectId,
        log_message: &str,
    ) -> Result<()> {
        let moved = match expected {
            Some(expected) => {
                self.inner.reference_matching(full, oid(target)?, true, oid(expected)?, log_message).map(drop)
            }
            None => self.inner.reference(full, oid(target)?, false, log_message).map(drop),
        };
        let found = self.reference_target(full)?;
        match moved {
            Ok(()) if found == Some(target) => Ok(()),
            Ok(()) => Err(Error::Integrity {
                what: full.to_owned(),
                reason: format!(
                    "it reads {} after it was moved to {}",
                    found.map_or_else(|| "nothing".to_owned(), |id| id.short()),
                    target.short()
                ),
            }),
            Err(_) if found != expected => Err(Error::RefMoved { name: full.to_owned(), expected, found }),
            Err(source) if source.code() == ErrorCode::Locked => {
                Err(Error::Locked { path: self.common_dir().join(format!("{full}.lock")) })
            }
            Err(source) => Err(Error::library(format!("move {full}"))(source)),
        }
    }
}

/// Turns cascade's object name into libgit2's.
pub(super) fn oid(id: ObjectId) -> Result<Oid> {
    Oid::from_bytes(id.as_bytes()).map_err(Error::library("read an object name"))
}

/// Turns libgit2's object name into cascade's.
pub(super) fn object_id(oid: Oid) -> Result<ObjectId> {
    let bytes = oid
        .as_bytes()
        .try_into()
        .map_err(|_| Error::Integrity { what: oid.to_string(), reason: "it is not a SHA-1 name".to_owned() })?;
    Ok(ObjectId::from_bytes(bytes))
}
