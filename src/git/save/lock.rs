//! Git's lock on the index, held so that the next save can finish or undo what a killed one left.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Oid;

use crate::git::error::{Error, Result};
use crate::git::index::{CHECKSUM_BYTES, Patched};
use crate::git::repo::{Head, Repo};

/// What every new index is called while it is not in place; the commit it belongs to follows, and the process.
const PREFIX: &str = "cascade-save-";

/// Waits for the index lock, in milliseconds: two seconds together.
const LOCK_WAITS_MS: [u64; 10] = [2, 5, 10, 25, 60, 120, 250, 400, 500, 628];

/// The new index of a commit: written beside the old one, then locked, then moved into its place.
///
/// Git's lock is a second name of the same file, so whoever finds the lock can tell whose it is; and the file is
/// locked by its writer, so that it can be told whether that one lives. Everything is removed on drop.
pub(super) struct NewIndex {
    index: PathBuf,
    own: PathBuf,
    file: File,
    lock: Option<Held>,
    /// What the bytes that were written end with.
    checksum: [u8; CHECKSUM_BYTES],
    /// Whether everything stays for the next save to finish.
    is_left: bool,
}

/// How git's lock is held.
enum Held {
    /// As another name of the new index.
    Linked,
    /// As a file of its own: the file system has no hard links.
    Apart(File),
}

impl NewIndex {
    /// Makes the file for the index of `commit`.
    pub fn create(git_dir: &Path, commit: Oid) -> Result<Self> {
        let own = git_dir.join(format!("{PREFIX}{commit}-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&own);
        let file = file.map_err(Error::io("make", &own))?;
        let index = git_dir.join("index");
        let new = Self { index, own, file, lock: None, checksum: [0; CHECKSUM_BYTES], is_left: false };
        new.file.lock().map_err(Error::io("lock", &new.own))?;
        Ok(new)
    }

    /// Writes a whole index, instead of what was written before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.checksum = bytes.last_chunk().copied().unwrap_or_default();
        let written = self.file.rewind().and_then(|()| self.file.set_len(0)).and_then(|()| self.file.write_all(bytes));
        written.map_err(Error::io("write", &self.own))
    }

    /// The same for a patched index, whose checksum is computed while the rest is written.
    pub fn write_patched(&mut self, old: &[u8], patched: &Patched) -> Result<()> {
        self.write(&[])?;
        self.checksum = patched.write_to(old, &self.file).map_err(Error::io("write", &self.own))?;
        Ok(())
    }

    /// Takes git's lock on the index.
    ///
    /// # Errors
    /// [`Error::Locked`] when another program holds it for two seconds.
    pub fn lock(&mut self) -> Result<()> {
        let path = lock_path(&self.index);
        self.lock = Some(taken(&path, &LOCK_WAITS_MS, || self.try_lock(&path))?);
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Held> {
        match std::fs::hard_link(&self.own, path) {
            Ok(()) => Ok(Held::Linked),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => OpenOptions::new().write(true).create_new(true).open(path).map(Held::Apart),
        }
    }

    /// Moves what was written into the index's place.
    ///
    /// It is not synced: an index lost in a power cut is made again from the commit. Answers its checksum.
    pub fn commit(mut self) -> Result<[u8; CHECKSUM_BYTES]> {
        let path = lock_path(&self.index);
        if let Some(Held::Apart(lock)) = &mut self.lock {
            let copied = self.file.rewind().and_then(|()| io::copy(&mut self.file, lock));
            copied.map_err(Error::io("write", &path))?;
        }
        // Freeing the old index of a large repository takes as long as moving a branch: not while others wait.
        let old = self.own.with_extension("old");
        let is_kept = std::fs::hard_link(&self.index, &old).is_ok();
        if let Err(source) = std::fs::rename(path, &self.index) {
            // The branch has moved already: the next save finds lock and index, and moves it then.
            self.is_left = matches!(self.lock, Some(Held::Linked));
            return Err(Error::io("move the new index into place at", &self.index)(source));
        }
        self.lock = None;
        if is_kept {
            // What a dying process leaves of it is cleared away like everything else of its name.
            std::thread::spawn(move || std::fs::remove_file(old));
        }
        Ok(self.checksum)
    }
}

impl Drop for NewIndex {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // Nothing better can be done here; the next save finds what stays.
        if self.lock.is_some() {
            let _ = std::fs::remove_file(lock_path(&self.index));
        }
        let _ = std::fs::remove_file(&self.own);
    }
}

/// Takes the lock at `path`, trying again after each of the waits (in milliseconds) while somebody else holds it: git's
/// locks are files, and nothing tells when one goes.
///
/// # Errors
/// [`Error::Locked`] when it is held after the last of them.
pub(super) fn taken<T>(path: &Path, waits_ms: &[u64], try_lock: impl Fn() -> io::Result<T>) -> Result<T> {
    let mut waits = waits_ms.iter();
    loop {
        match try_lock() {
            Ok(held) => return Ok(held),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match waits.next() {
                Some(wait) => std::thread::sleep(Duration::from_millis(*wait)),
                None => return Err(Error::Locked { path: path.to_owned() }),
            },
            Err(error) => return Err(Error::io("lock", path)(error)),
        }
    }
}

/// What a killed save left half done.
#[derive(Debug)]
pub struct DeadSave {
    /// The commit that it was about.
    pub commit: Oid,
    /// The index that its branch has already and that waits in git's lock.
    pub index: Option<PathBuf>,
    /// Files to remove: git's locks, and at last its own.
    pub files: Vec<PathBuf>,
    /// Held, so that nobody else clears it away at the same time.
    _file: File,
}

/// Finds what killed saves left in `repo`; changes nothing.
pub(super) fn find(repo: &Repo) -> Result<Vec<DeadSave>> {
    let left = markers(repo)?.into_iter().map(|(own, commit)| examine(repo, own, commit));
    left.filter_map(Result::transpose).collect()
}

/// Finishes or undoes what killed saves left in `repo` and answers what that was: the index follows where the branch
/// has moved already, and locks that are provably a dead save's are removed.
pub(super) fn recover(repo: &Repo) -> Result<Vec<DeadSave>> {
    let mut recovered = Vec::new();
    for (own, commit) in markers(repo)? {
        if let Some(dead) = examine(repo, own, commit)? {
            dead.clear(repo)?;
            recovered.push(dead);
        }
    }
    Ok(recovered)
}

fn markers(repo: &Repo) -> Result<Vec<(PathBuf, Oid)>> {
    let git_dir = repo.git_dir();
    let entries = std::fs::read_dir(git_dir).map_err(Error::io("list", git_dir))?;
    Ok(entries.flatten().filter_map(|entry| Some((entry.path(), commit_of(entry.file_name().as_bytes())?))).collect())
}

fn commit_of(name: &[u8]) -> Option<Oid> {
    let rest = name.strip_prefix(PREFIX.as_bytes())?;
    let commit = rest.split(|byte| matches!(byte, b'-' | b'.')).next()?;
    Oid::from_str(std::str::from_utf8(commit).ok()?).ok()
}

/// Looks at what the save of `commit` left; nothing where its writer lives.
fn examine(repo: &Repo, own: PathBuf, commit: Oid) -> Result<Option<DeadSave>> {
    let Ok(file) = File::open(&own) else { return Ok(None) };
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let (mut index, mut files) = (None, Vec::new());
    let lock = lock_path(&repo.git_dir().join("index"));
    let head = repo.head()?;
    if is_same(&file, &lock) {
        match &head {
            Head::Branch { commit: tip, .. } if *tip == commit => index = Some(lock),
            _ => files.push(lock),
        }
    }
    if let Head::Branch { name, .. } = &head {
        let lock = repo.common_dir().join(format!("refs/heads/{name}.lock"));
        if repo.is_dead_lock(&lock, commit) {
            files.push(lock);
        }
    }
    files.push(own);
    Ok(Some(DeadSave { commit, index, files, _file: file }))
}

impl DeadSave {
    fn clear(&self, repo: &Repo) -> Result<()> {
        if let Some(lock) = &self.index {
            std::fs::rename(lock, repo.git_dir().join("index")).map_err(Error::io("clear away", lock))?;
        }
        for path in &self.files {
            match std::fs::remove_file(path) {
                // The save's own thread may still free the index that it replaced.
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
                cleared => cleared.map_err(Error::io("clear away", path))?,
            }
        }
        Ok(())
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
    file.metadata().ok().zip(std::fs::symlink_metadata(path).ok()).is_some_and(|(a, b)| identity(a) == identity(b))
}

/// Answers where git's lock on an index is.
pub(super) fn lock_path(index: &Path) -> PathBuf {
    index.with_extension("lock")
}
