//! What `cascade init` needs of a repository: its branches, `HEAD`, remotes and hooks directory.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use git2::{Branch, BranchType, Commit, ErrorCode, Oid};

use super::error::{Error, Result};
use super::repo::{Head, Repo};
use crate::base::escape::shown;

/// A repository that is being set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    repo: &'a Repo,
}

/// What became of the wish to put `HEAD` on a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It was there already.
    Already,
    /// It moved; no file changed.
    Moved,
    /// It stayed: the branch's files differ from those of the current commit.
    Differs,
    /// It stayed: the user is in the middle of this operation.
    Busy(&'static str),
    /// It stayed: another worktree has the branch checked out.
    Elsewhere,
}

/// What git would find when it wants to run a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundHook {
    /// No file.
    Missing,
    /// A file that git passes over, because nobody may execute it.
    NotExecutable(PathBuf),
    /// A program, with its content.
    Program(PathBuf, Vec<u8>),
}

/// Where git looks for hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HooksDirectory {
    /// The directory; it need not exist.
    pub path: PathBuf,
    /// Whether it belongs to this repository alone: it lies in its git directory or working tree.
    pub own: bool,
}

impl<'a> Setup<'a> {
    /// Looks at `repo`; nothing is changed yet.
    #[must_use]
    pub fn new(repo: &'a Repo) -> Self {
        Self { repo }
    }

    /// Answers the tip of a local branch; nothing where it does not exist.
    ///
    /// # Errors
    /// The reference is unreadable.
    pub fn local(self, branch: &str) -> Result<Option<Oid>> {
        self.tip(&format!("refs/heads/{branch}"))
    }

    /// Answers where `remote` had the branch when it was last fetched; nothing where that is unknown.
    ///
    /// # Errors
    /// The reference is unreadable.
    pub fn tracked(self, remote: &str, branch: &str) -> Result<Option<Oid>> {
        self.tip(&format!("refs/remotes/{remote}/{branch}"))
    }

    /// Answers whether a remote of this name is configured.
    #[must_use]
    pub fn has_remote(self, remote: &str) -> bool {
        self.repo.inner.find_remote(remote).is_ok()
    }

    /// Answers the name of the branch that releases live on: `master` where only that exists, here or on `remote`; else `main`.
    ///
    /// # Errors
    /// A reference is unreadable.
    pub fn production_branch(self, remote: &str) -> Result<&'static str> {
        let exists = |branch| Ok(self.local(branch)?.is_some() || self.tracked(remote, branch)?.is_some());
        Ok(if !exists("main")? && exists("master")? { "master" } else { "main" })
    }

    /// Creates a local branch at `commit`; never moves one that exists.
    ///
    /// # Errors
    /// The name is not valid, exists or is in the way of another branch; the disk refuses.
    pub fn create_branch(self, branch: &str, commit: Oid) -> Result<()> {
        if !Branch::name_is_valid(branch).unwrap_or(false) {
            return Err(Error::InvalidBranch { name: shown(branch.as_bytes()) });
        }
        let action = format!("create branch `{}`", shown(branch.as_bytes()));
        let created =
            self.repo.inner.reference(&format!("refs/heads/{branch}"), commit, false, "cascade init: created");
        created.map(drop).map_err(Error::library(action))
    }

    /// Lets a local branch follow the branch of the same name on `remote`.
    ///
    /// # Errors
    /// Either branch is missing, or git's configuration cannot be written.
    pub fn follow(self, remote: &str, branch: &str) -> Result<()> {
        let action = format!("let branch `{}` follow its remote", shown(branch.as_bytes()));
        let set = |mut local: Branch<'_>| local.set_upstream(Some(&format!("{remote}/{branch}")));
        self.repo.inner.find_branch(branch, BranchType::Local).and_then(set).map_err(Error::library(action))
    }

    /// Puts `HEAD` on `branch` where that changes no file: index, working tree, staged and other edits stay.
    ///
    /// # Errors
    /// The branch does not exist; `HEAD` has no commit; the disk refuses.
    pub fn attach_head(self, branch: &str) -> Result<Attached> {
        let current = match self.repo.head()? {
            Head::Branch { name, .. } if name == branch => return Ok(Attached::Already),
            Head::Branch { commit, .. } | Head::Detached { commit } => commit,
            Head::Unborn { .. } => return Err(Error::NoCommits { path: self.repo.root().to_owned() }),
        };
        if let Some(operation) = self.repo.operation() {
            return Ok(Attached::Busy(operation));
        }
        let tip = self.local(branch)?.ok_or_else(|| Error::BranchMissing { name: shown(branch.as_bytes()) })?;
        if self.tree(current)? != self.tree(tip)? {
            return Ok(Attached::Differs);
        }
        if self.is_checked_out(branch) {
            return Ok(Attached::Elsewhere);
        }
        let action = format!("put HEAD on `{}`", shown(branch.as_bytes()));
        self.repo.inner.set_head(&format!("refs/heads/{branch}")).map_err(Error::library(action))?;
        Ok(Attached::Moved)
    }

    /// Answers where git looks for hooks: `core.hooksPath` where set, else `hooks` in the shared git directory.
    ///
    /// # Errors
    /// Git's configuration is unreadable.
    pub fn hooks_directory(self) -> Result<HooksDirectory> {
        let configuration = self.configuration()?;
        let path = match configuration.get_path("core.hooksPath") {
            Ok(path) => self.repo.root().join(path),
            Err(missing) if missing.code() == ErrorCode::NotFound => self.repo.common_dir().join("hooks"),
            Err(source) => return Err(Error::library("read core.hooksPath")(source)),
        };
        let real = real_path(&path);
        let own = [self.repo.root(), self.repo.common_dir()].iter().any(|place| real.starts_with(real_path(place)));
        Ok(HooksDirectory { path, own })
    }

    /// Looks for the hook of this name where git does.
    ///
    /// # Errors
    /// Git's configuration or the hook is unreadable.
    pub fn hook(self, name: &str) -> Result<FoundHook> {
        let path = self.hooks_directory()?.path.join(name);
        let found = match std::fs::metadata(&path) {
            Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(FoundHook::Missing),
            found => found.map_err(Error::io("look at", &path))?,
        };
        if found.permissions().mode() & 0o111 == 0 {
            return Ok(FoundHook::NotExecutable(path));
        }
        let content = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(FoundHook::Program(path, content))
    }

    /// Answers who the user says they are in git's configuration: `user.email`, else `user.name`.
    #[must_use]
    pub fn configured_user(self) -> Option<String> {
        let configuration = self.configuration().ok()?;
        let value = |key| configuration.get_string(key).ok().filter(|value| !value.trim().is_empty());
        value("user.email").or_else(|| value("user.name"))
    }

    /// Answers whether some worktree of the repository has the branch checked out.
    fn is_checked_out(self, branch: &str) -> bool {
        let common = self.repo.common_dir();
        let linked = std::fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
        let heads = linked.map(|worktree| worktree.path().join("HEAD")).chain([common.join("HEAD")]);
        let expected = format!("ref: refs/heads/{branch}");
        heads.filter_map(|head| std::fs::read_to_string(head).ok()).any(|head| head.trim_end() == expected)
    }

    fn configuration(self) -> Result<git2::Config> {
        let configuration = self.repo.inner.config().and_then(|mut live| live.snapshot());
        configuration.map_err(Error::library("read git's configuration"))
    }

    fn tip(self, reference: &str) -> Result<Option<Oid>> {
        let found = self.repo.inner.find_reference(reference).and_then(|found| found.peel_to_commit());
        match found {
            Ok(commit) => Ok(Some(commit.id())),
            Err(missing) if matches!(missing.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => Ok(None),
            Err(source) => Err(Error::library(format!("read `{}`", shown(reference.as_bytes())))(source)),
        }
    }

    fn tree(self, commit: Oid) -> Result<Oid> {
        let tree = self.repo.inner.find_commit(commit).map(|commit: Commit<'_>| commit.tree_id());
        tree.map_err(Error::library(format!("read commit {commit}")))
    }
}

/// Resolves the longest part of a path that exists, so that places can be compared.
fn real_path(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok().map(|real| (ancestor, real)));
    match known {
        Some((ancestor, real)) => path.strip_prefix(ancestor).map_or(real.clone(), |rest| real.join(rest)),
        None => path.to_owned(),
    }
}
