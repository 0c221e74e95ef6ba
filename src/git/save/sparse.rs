//! Sparse checkouts: what is left out of the working tree on purpose, and is not deleted. And what git shall not look at,
//! so that an edit stays where it is.
//!
//! Of a path in the index its own bit says so, whatever the patterns are by now. Only of a path that is new to the index
//! are the patterns asked, through git, which knows both kinds of them.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::old_index::{OldIndex, index_stat};
use crate::base::escape::shell_word;
use crate::git::error::{Error, Result};
use crate::git::program::Program;
use crate::git::repo::Repo;

/// What an index says is left out on purpose, or not to be looked at.
#[derive(Default)]
pub(super) struct Skipped {
    pub paths: HashSet<Vec<u8>>,
    /// What shall count as unchanged, whatever is there.
    pub assumed: HashSet<Vec<u8>>,
    /// The index that was asked; none where there was none.
    pub index: Option<Arc<OldIndex>>,
}

/// Paths that are taken for deleted, for they are not there and the index did not say that this is meant.
#[derive(Default)]
pub(super) struct Absence {
    pub paths: Vec<Vec<u8>>,
    /// The index that was asked.
    pub index: Option<Arc<OldIndex>>,
}

/// What stays as it is in the commit because the index says that its edits are nobody else's business.
#[derive(Default)]
pub(super) struct KeptLocal {
    skipped: HashSet<Vec<u8>>,
    assumed: HashSet<Vec<u8>>,
    /// The index that says so: whoever changes it next need not read it again.
    _index: Option<Arc<OldIndex>>,
}

impl KeptLocal {
    /// Answers why an edit at `path` is not saved; nothing where it is.
    pub fn reason(&self, path: &[u8]) -> Option<String> {
        let (fact, flag) = match (self.assumed.contains(path), self.skipped.contains(path)) {
            (true, _) => ("git assumes it unchanged", "--no-assume-unchanged"),
            (false, true) => ("git skips it", "--no-skip-worktree"),
            (false, false) => return None,
        };
        let path = shell_word(path);
        Some(format!("{fact}: `git update-index {flag} -- {path}` lets it be saved"))
    }

    /// Lists the paths.
    pub fn paths(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.skipped.iter().chain(&self.assumed)
    }
}

impl Absence {
    /// Answers whether the index of `repo` says otherwise by now: `git sparse-checkout` first removes files, and then
    /// writes down that this is meant.
    pub fn is_refuted(&self, repo: &Repo) -> Result<bool> {
        if self.paths.is_empty() || self.index.as_ref().map(|old| old.stat) == index_stat(repo.git_dir())? {
            return Ok(false);
        }
        let skipped = repo.skip_worktree()?.paths;
        Ok(self.paths.iter().any(|path| skipped.contains(path)))
    }
}

impl Repo {
    /// Answers whether files may be left out of the working tree.
    ///
    /// The library would not know: it does not read a configuration of the worktree's own that was made since it opened
    /// the repository, and that is where `git sparse-checkout` writes.
    pub(super) fn is_sparse(&self) -> Result<bool> {
        let asked = Program::durable(self.root(), ["config", "--type=bool", "--get", "core.sparseCheckout"]).run()?;
        match asked.status.code() {
            Some(0) => Ok(asked.stdout.trim_ascii() == b"true"),
            // It is not set.
            Some(1) => Ok(false),
            _ => Err(asked.failure()),
        }
    }

    /// Answers whether there are patterns that say what is left out.
    pub(super) fn has_sparse_patterns(&self) -> bool {
        self.git_dir().join("info/sparse-checkout").is_file()
    }

    /// Answers the paths in the index that are left out on purpose.
    ///
    /// One that leaves nothing out is not proved to be whole here: whoever deletes by it builds a new one on it, and
    /// proves it then.
    pub(super) fn skip_worktree(&self) -> Result<Skipped> {
        let Some(old) = self.present_index()? else { return Ok(Skipped::default()) };
        if let Some(parsed) = old.index() {
            let (paths, assumed) = (parsed.skip_worktree(), parsed.assumed());
            if !paths.is_empty() || !assumed.is_empty() {
                old.prove(self.proved_index.get())?;
            }
            return Ok(Skipped { paths, assumed, index: Some(old) });
        }
        old.prove(self.proved_index.get())?;
        let listed = Program::durable(self.root(), ["ls-files", "-v", "-z"]).keep_all().succeed()?;
        let mut skipped = Skipped { index: Some(old), ..Skipped::default() };
        for (tag, path) in listed.split(|byte| *byte == 0).filter_map(|line| Some((*line.first()?, line.get(2..)?))) {
            if tag.eq_ignore_ascii_case(&b'S') {
                skipped.paths.insert(path.to_vec());
            }
            // Small letters are how git shows the other mark.
            if tag.is_ascii_lowercase() {
                skipped.assumed.insert(path.to_vec());
            }
        }
        Ok(skipped)
    }

    /// Answers of which paths the user wants to keep edits to themselves.
    ///
    /// In a sparse checkout a file that is there is one like any other, as for git, whatever its bit says.
    pub(super) fn kept_local(&self) -> Result<KeptLocal> {
        let Skipped { paths, assumed, index } = self.skip_worktree()?;
        let skipped = if paths.is_empty() || self.is_sparse()? { HashSet::new() } else { paths };
        Ok(KeptLocal { skipped, assumed, _index: index })
    }

    /// Answers which of `paths` the patterns leave out; without patterns none, as git has it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the installed git cannot be asked (before 2.41).
    pub(super) fn left_out<'p>(&self, paths: impl Iterator<Item = &'p [u8]>) -> Result<BTreeSet<&'p [u8]>> {
        let mut left_out: BTreeSet<&[u8]> = paths.collect();
        if left_out.is_empty() || !self.is_sparse()? || !self.has_sparse_patterns() {
            return Ok(BTreeSet::new());
        }
        let input: Vec<u8> = left_out.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        let program = Program::durable(self.root(), ["sparse-checkout", "check-rules", "-z"]).input(input).keep_all();
        let kept = program.succeed().map_err(|failed| self.without_rules(failed))?;
        let kept: BTreeSet<&[u8]> = kept.split(|byte| *byte == 0).collect();
        left_out.retain(|path| !kept.contains(path));
        Ok(left_out)
    }

    fn without_rules(&self, failed: Error) -> Error {
        match failed {
            Error::Program { message, .. } if message.contains("usage:") => Error::Unsupported {
                path: self.root().to_owned(),
                reason: "only git 2.41 and newer can tell what a sparse checkout leaves out".to_owned(),
            },
            other => other,
        }
    }

    /// Marks what the patterns leave out in the index at `place`, which was just made from a commit.
    pub(super) fn mark_left_out(&self, place: &Path) -> Result<()> {
        let list = Program::durable(self.root(), ["ls-files", "-z"]).env("GIT_INDEX_FILE", place);
        let listed = list.keep_all().succeed()?;
        let left_out = self.left_out(listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()))?;
        self.skip(place, left_out.into_iter())
    }

    /// Notes in the index at `place` that these paths of it are left out.
    pub(super) fn skip<'p>(&self, place: &Path, paths: impl Iterator<Item = &'p [u8]>) -> Result<()> {
        let input: Vec<u8> = paths.flat_map(|path| path.iter().copied().chain([0])).collect();
        if input.is_empty() {
            return Ok(());
        }
        let arguments = ["update-index", "-z", "--skip-worktree", "--stdin"];
        Program::durable(self.root(), arguments).env("GIT_INDEX_FILE", place).input(input).succeed().map(drop)
    }
}
