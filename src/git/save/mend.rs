//! An index that nobody can read: recognising it, and making it again from the commit.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;
use sha1::{Digest as _, Sha1};

use super::lock::NewIndex;
use super::old_index::OldIndex;
use crate::git::branch::object_id;
use crate::git::error::{Error, Result};
use crate::git::index::CHECKSUM_BYTES;
use crate::git::program::Program;
use crate::git::repo::{Head, Repo};

/// What the directories are called in which the git program makes an index.
pub(crate) const PLACE_PREFIX: &str = "cascade-index-";
/// What is wrong where a sparse checkout has no index.
pub(super) const MISSING: &str = "it is missing, and only it says what this sparse checkout leaves out";
/// Shortest index: header and checksum.
const SHORTEST_BYTES: usize = 12 + CHECKSUM_BYTES;
/// Most broken indexes that are kept beside the one in use.
const KEPT_LIMIT_FILES: u32 = 100;

/// What is wrong with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDamage {
    /// What, for people.
    pub reason: String,
    /// Why it is not made again now; nothing where it can be.
    pub obstacle: Option<Obstacle>,
}

/// Why an index is not made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The user is in the middle of this operation, whose state is in the index too.
    Operation(&'static str),
    /// The checkout is sparse, and nothing says by which patterns: files that are left out on purpose would look deleted.
    Sparse,
    /// `HEAD` has no commit to make it from.
    NoCommit,
    /// Git cannot read it, which proves nothing: it may be a form that only another git knows.
    Unproven,
}

/// An index that was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The commit that it was made from.
    pub commit: Oid,
    /// Where the broken one is now; nothing where it was missing.
    pub kept: Option<PathBuf>,
}

impl Repo {
    /// Runs `work`, and once more where it stops at a damaged index: that is made again first.
    ///
    /// Answers what was made again too. It is worth telling, for what was staged is not staged any more.
    ///
    /// # Errors
    /// What `work` and [`Repo::rebuild_index`] answer; [`Error::IndexDamaged`] where more would be lost than what is staged.
    pub fn mending<T>(&self, work: impl Fn() -> Result<T>) -> Result<(T, Option<Rebuilt>)> {
        match work() {
            Err(Error::IndexDamaged { .. }) if self.rebuild_obstacle().is_none() => {
                let rebuilt = self.rebuild_index()?;
                work().map(|done| (done, rebuilt))
            }
            done => done.map(|done| (done, None)),
        }
    }

    /// Answers what is wrong with the index; nothing where git can read it, or where there is none and need not be.
    ///
    /// # Errors
    /// It cannot be read (permissions, the disk), or git cannot be asked.
    pub fn index_damage(&self) -> Result<Option<IndexDamage>> {
        if let Some(flaw) = self.index_flaw()? {
            return Ok(Some(IndexDamage { reason: flaw.to_owned(), obstacle: self.rebuild_obstacle() }));
        }
        if !self.git_dir().join("index").exists() {
            return Ok(None);
        }
        // Without it git does not even look at the index.
        self.head()?;
        let read = Program::new(self, ["ls-files", "--unmerged", "-z"]).env("GIT_OPTIONAL_LOCKS", "0").run()?;
        let reason = || format!("git cannot read it: {}", read.message());
        Ok((!read.status.success()).then(|| IndexDamage { reason: reason(), obstacle: Some(Obstacle::Unproven) }))
    }

    /// Makes an index that is provably broken again from the commit at `HEAD`, under git's own lock; the broken one is
    /// kept beside it. What was staged is not staged any more; no file of the working tree changes, and what a sparse
    /// checkout's patterns leave out stays so.
    ///
    /// Answers nothing where the index is not broken any more.
    ///
    /// # Errors
    /// [`Error::Locked`] when another program holds the index; [`Error::RefMoved`] when `HEAD` moved meanwhile;
    /// [`Error::NoCommits`] where there is nothing to make it from; git or the disk refuses.
    pub fn rebuild_index(&self) -> Result<Option<Rebuilt>> {
        let commit = self.head_commit()?;
        let new = self.locked_index(commit)?;
        if self.index_flaw()?.is_none() {
            return Ok(None);
        }
        let kept = self.keep_index()?;
        self.put_index(new)?;
        Ok(Some(Rebuilt { commit, kept }))
    }

    /// Makes the index again from `commit`, broken or not, where that is at `HEAD` and nothing speaks against it; answers
    /// where the old one is kept.
    pub(in crate::git) fn replace_index(&self, commit: Oid) -> Result<Option<PathBuf>> {
        if self.rebuild_obstacle().is_some() || self.head_commit()? != commit {
            return Ok(None);
        }
        let new = self.locked_index(commit)?;
        let kept = self.keep_index()?;
        self.put_index(new)?;
        Ok(kept)
    }

    /// Makes the index of the commit at `HEAD` and takes git's lock for it.
    fn locked_index(&self, commit: Oid) -> Result<NewIndex> {
        let place = IndexPlace::create(self.git_dir())?;
        place.read_tree(self, commit)?;
        let mut new = NewIndex::create(self.git_dir(), commit)?;
        new.write(&place.into_bytes()?)?;
        new.lock()?;
        let found = self.head_commit()?;
        if found != commit || self.operation().is_some() {
            let [expected, found] = [commit, found].map(|oid| object_id(oid).ok());
            return Err(Error::RefMoved { name: "HEAD".to_owned(), expected, found });
        }
        Ok(new)
    }

    /// Answers what proves that the index cannot be used.
    fn index_flaw(&self) -> Result<Option<&'static str>> {
        Ok(match OldIndex::read(self.git_dir())? {
            Some(old) => flaw(&old.bytes),
            None => self.is_sparse()?.then_some(MISSING),
        })
    }

    fn rebuild_obstacle(&self) -> Option<Obstacle> {
        let probe: [&[u8]; 1] = [b"any path"];
        let is_unclear = || !self.has_sparse_patterns() || self.left_out(probe.into_iter()).is_err();
        match self.operation() {
            Some(operation) => Some(Obstacle::Operation(operation)),
            None if self.is_sparse().unwrap_or(true) && is_unclear() => Some(Obstacle::Sparse),
            None => self.head_commit().is_err().then_some(Obstacle::NoCommit),
        }
    }

    fn head_commit(&self) -> Result<Oid> {
        match self.head()? {
            Head::Branch { commit, .. } | Head::Detached { commit } => Ok(commit),
            Head::Unborn { .. } => Err(Error::NoCommits { path: self.root().to_owned() }),
        }
    }

    /// Gives the index a second name, so that it stays when another takes its place; nothing where there is none.
    fn keep_index(&self) -> Result<Option<PathBuf>> {
        let index = self.git_dir().join("index");
        if index.symlink_metadata().is_err() {
            return Ok(None);
        }
        for number in 1..=KEPT_LIMIT_FILES {
            let kept = self.git_dir().join(format!("index.broken-{number}"));
            match fs::hard_link(&index, &kept) {
                Ok(()) => return Ok(Some(kept)),
                Err(_) if kept.symlink_metadata().is_ok() => {}
                // The file system has no hard links.
                Err(_) => return fs::copy(&index, &kept).map(|_| Some(kept)).map_err(Error::io("keep", index)),
            }
        }
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "too many index.broken-* are there already");
        Err(Error::io("keep", index)(source))
    }
}

/// Answers whether the bytes cannot be an index at all (what a power cut may leave).
fn is_broken(bytes: &[u8]) -> bool {
    bytes.len() < SHORTEST_BYTES || !bytes.starts_with(b"DIRC")
}

/// Answers what proves that the bytes are no whole index; reads all of them.
pub(super) fn flaw(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty");
    }
    if is_broken(bytes) {
        return Some("it does not begin as an index does");
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    // Git writes none where index.skipHash is set.
    let is_unsigned = checksum.iter().all(|byte| *byte == 0);
    let is_right = is_unsigned || Sha1::digest(body)[..] == *checksum;
    (!is_right).then_some("its checksum is wrong: it is cut off or damaged")
}

/// A directory in which the git program makes an index; locked while its maker lives, removed on drop.
pub(super) struct IndexPlace {
    dir: tempfile::TempDir,
    _held: Option<File>,
}

impl IndexPlace {
    pub fn create(git_dir: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(PLACE_PREFIX).tempdir_in(git_dir);
        let dir = dir.map_err(Error::io("make a directory in", git_dir))?;
        let held = File::open(dir.path()).ok().filter(|held| held.try_lock().is_ok());
        Ok(Self { dir, _held: held })
    }

    /// Answers where the index is made.
    pub fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    /// Makes the index that `commit` has, with nothing known about the files of the working tree.
    pub fn read_tree(&self, repo: &Repo, commit: Oid) -> Result<()> {
        let arguments = ["-c", "core.splitIndex=false", "read-tree", &commit.to_string()];
        Program::durable(repo.root(), arguments).env("GIT_INDEX_FILE", self.index()).succeed()?;
        repo.mark_left_out(&self.index())
    }

    /// Answers what was made.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        let path = self.index();
        fs::read(&path).map_err(Error::io("read", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(body: &[u8]) -> Vec<u8> {
        [body, &Sha1::digest(body)[..]].concat()
    }

    #[test]
    fn only_what_cannot_be_a_whole_index_is_broken() {
        let whole = signed(b"DIRC\0\0\0\x02\0\0\0\0");
        assert_eq!(flaw(&whole), None);
        assert_eq!(flaw(&[b"DIRC\0\0\0\x02\0\0\0\0".as_slice(), &[0; 20]].concat()), None, "index.skipHash");
        assert_eq!(flaw(b""), Some("it is empty"));
        assert_eq!(flaw(&whole[..31]), Some("it does not begin as an index does"));
        let mut damaged = signed(b"DIRC\0\0\0\x02\0\0\0\0and more");
        damaged[14] ^= 1;
        assert!(flaw(&damaged).is_some_and(|flaw| flaw.contains("checksum")));
    }
}
