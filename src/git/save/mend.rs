//! An index that nobody can read: recognising it, and making it again from the commit.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;
use sha1::{Digest as _, Sha1};

use super::lock::NewIndex;
use crate::git::branch::object_id;
use crate::git::error::{Error, Result};
use crate::git::program::Program;
use crate::git::repo::{Head, Repo};

/// What the directories are called in which the git program makes an index.
pub(crate) const PLACE_PREFIX: &str = "cascade-index-";
/// Shortest index: header and checksum.
const SHORTEST_BYTES: usize = 32;
/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 20;
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
    /// The checkout is sparse: a new index would not say which files are left out on purpose, and they would look
    /// deleted.
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
    /// Where the broken one is now.
    pub kept: PathBuf,
}

impl Repo {
    /// Answers what is wrong with the index; nothing where git can read it or where there is none.
    ///
    /// # Errors
    /// It cannot be read (permissions, the disk), or git cannot be asked.
    pub fn index_damage(&self) -> Result<Option<IndexDamage>> {
        let Some(bytes) = self.index_bytes()? else { return Ok(None) };
        if let Some(flaw) = flaw(&bytes) {
            return Ok(Some(IndexDamage { reason: flaw.to_owned(), obstacle: self.rebuild_obstacle() }));
        }
        // Without it git does not even look at the index.
        self.head()?;
        let read = Program::new(self, ["ls-files", "--unmerged", "-z"]).env("GIT_OPTIONAL_LOCKS", "0").run()?;
        let reason = || format!("git cannot read it: {}", read.message());
        Ok((!read.status.success()).then(|| IndexDamage { reason: reason(), obstacle: Some(Obstacle::Unproven) }))
    }

    /// Makes an index that is provably broken again from the commit at `HEAD`, under git's own lock; the broken one is
    /// kept beside it. What was staged is not staged any more; no file of the working tree changes.
    ///
    /// Answers nothing where the index is not broken any more.
    ///
    /// # Errors
    /// [`Error::Locked`] when another program holds the index; [`Error::RefMoved`] when `HEAD` moved meanwhile;
    /// [`Error::NoCommits`] where there is nothing to make it from; git or the disk refuses.
    pub fn rebuild_index(&self) -> Result<Option<Rebuilt>> {
        let commit = self.head_commit()?;
        let new = self.locked_index(commit)?;
        if self.index_bytes()?.is_none_or(|bytes| flaw(&bytes).is_none()) {
            return Ok(None);
        }
        let kept = self.keep_index()?;
        new.commit()?;
        Ok(Some(Rebuilt { commit, kept }))
    }

    /// Makes the index again where it provably is broken and nothing speaks against it; answers whether it did.
    pub(super) fn rebuild_broken_index(&self) -> Result<bool> {
        let is_broken = self.index_damage()?.is_some_and(|damage| damage.obstacle.is_none());
        Ok(is_broken && self.rebuild_index()?.is_some())
    }

    /// Makes the index again from `commit`, where that is at `HEAD` and nothing speaks against it; answers where the old
    /// one is kept.
    pub(in crate::git) fn replace_index(&self, commit: Oid) -> Result<Option<PathBuf>> {
        if self.rebuild_obstacle().is_some() || self.head_commit()? != commit {
            return Ok(None);
        }
        let new = self.locked_index(commit)?;
        let kept = self.index_bytes()?.map(|_| self.keep_index()).transpose()?;
        new.commit()?;
        Ok(kept)
    }

    /// Makes the index of the commit at `HEAD` and takes git's lock for it.
    fn locked_index(&self, commit: Oid) -> Result<NewIndex> {
        let place = IndexPlace::create(self.git_dir())?;
        place.read_tree(self.root(), commit)?;
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

    fn rebuild_obstacle(&self) -> Option<Obstacle> {
        let is_sparse = self.inner.config().and_then(|config| config.get_bool("core.sparseCheckout")).unwrap_or(false);
        match self.operation() {
            Some(operation) => Some(Obstacle::Operation(operation)),
            None if is_sparse => Some(Obstacle::Sparse),
            None => self.head_commit().is_err().then_some(Obstacle::NoCommit),
        }
    }

    fn head_commit(&self) -> Result<Oid> {
        match self.head()? {
            Head::Branch { commit, .. } | Head::Detached { commit } => Ok(commit),
            Head::Unborn { .. } => Err(Error::NoCommits { path: self.root().to_owned() }),
        }
    }

    fn index_bytes(&self) -> Result<Option<Vec<u8>>> {
        let path = self.git_dir().join("index");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", path)(source)),
        }
    }

    /// Gives the index a second name, so that it stays when another takes its place.
    fn keep_index(&self) -> Result<PathBuf> {
        let index = self.git_dir().join("index");
        for number in 1..=KEPT_LIMIT_FILES {
            let kept = self.git_dir().join(format!("index.broken-{number}"));
            match fs::hard_link(&index, &kept) {
                Ok(()) => return Ok(kept),
                Err(_) if kept.symlink_metadata().is_ok() => {}
                // The file system has no hard links.
                Err(_) => return fs::copy(&index, &kept).map(|_| kept).map_err(Error::io("keep", index)),
            }
        }
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "too many index.broken-* are there already");
        Err(Error::io("keep", index)(source))
    }
}

/// Answers whether the bytes cannot be an index at all (what a power cut may leave).
pub(super) fn is_broken(bytes: &[u8]) -> bool {
    bytes.len() < SHORTEST_BYTES || !bytes.starts_with(b"DIRC")
}

/// Answers what proves that the bytes are no whole index; reads all of them.
fn flaw(bytes: &[u8]) -> Option<&'static str> {
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
    pub fn read_tree(&self, root: &Path, commit: Oid) -> Result<()> {
        let arguments = ["-c", "core.splitIndex=false", "read-tree", &commit.to_string()];
        Program::durable(root, arguments).env("GIT_INDEX_FILE", self.index()).succeed().map(drop)
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
