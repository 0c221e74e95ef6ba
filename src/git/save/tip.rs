//! Moving the sandbox's branch from where it is believed to be, by git's own steps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid};

use super::lock::taken;
use crate::git::error::{Error, Result};
use crate::git::repo::Repo;

/// Waits for the lock on a branch, in milliseconds: a tenth of a second together, as long as git waits by default.
const LOCK_WAITS_MS: [u64; 5] = [2, 5, 10, 25, 58];

/// A branch about to move.
pub(in crate::git) struct Tip<'a> {
    pub repo: &'a Repo,
    /// Its full reference name.
    pub name: &'a str,
    /// Who moves it and when, as git's logs have it.
    pub who: &'a str,
    /// Why, for its log.
    pub message: &'a str,
}

/// What a file says that stands for a branch.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// It is there and names a commit.
    Commit(Oid),
    /// There is none (the branch is in the file of all packed ones), or it names another reference.
    Other,
    /// It says nothing that git can read.
    Torn,
}

/// Whether a reference is on the disk when it has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Now,
    Later,
}

impl Tip<'_> {
    /// Moves the branch from `parent` to `commit` and reads it back; false when somebody else moved it.
    ///
    /// The steps are git's own: lock, compare, log, rename. The logs reach the disk before the branch does: by them a branch
    /// finds back that a later power cut breaks. Where saves do not wait for the disk this one does not either.
    pub fn advance(&self, parent: Oid, commit: Oid) -> Result<bool> {
        let moved = if matches!(self.content()?, Content::Commit(_)) {
            let sync = if self.repo.is_fast() { Sync::Later } else { Sync::Now };
            self.replace((parent, commit), sync, &|| Ok(self.content()? == Content::Commit(parent)))?
        } else {
            if self.repo.is_fast() {
                // The reference would be on the disk before what it names.
                self.repo.sync_file_system()?;
            }
            self.advance_by_library(parent, commit)?
        };
        if moved {
            self.read_back(commit)?;
        }
        Ok(moved)
    }

    /// Puts the branch from `expected` (none: nobody can read where it is, or it is nowhere) to `commit`, durably; false when it is
    /// elsewhere.
    pub fn put_back(&self, expected: Option<Oid>, commit: Oid) -> Result<bool> {
        let is_expected = || {
            Ok(match (self.content()?, expected) {
                (Content::Torn, None) => true,
                (Content::Other, None) => {
                    self.repo.inner.refname_to_id(self.name).is_err_and(|none| none.code() == ErrorCode::NotFound)
                }
                (Content::Other, Some(expected)) => {
                    self.repo.inner.refname_to_id(self.name).is_ok_and(|at| at == expected)
                }
                (Content::Commit(at), Some(expected)) => at == expected,
                _ => false,
            })
        };
        // The log shall not name what is not there.
        let odb = self.repo.inner.odb().map_err(Error::library("open the object database"))?;
        let from = expected.filter(|expected| odb.exists(*expected)).unwrap_or(commit);
        let moved = self.replace((from, commit), Sync::Now, &is_expected)?;
        if moved {
            self.read_back(commit)?;
        }
        Ok(moved)
    }

    fn advance_by_library(&self, parent: Oid, commit: Oid) -> Result<bool> {
        match self.repo.inner.reference_matching(self.name, commit, true, parent, self.message) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::NotFound) => Ok(false),
            Err(error) if error.code() == ErrorCode::Locked => Err(Error::Locked { path: self.lock_path() }),
            Err(error) => Err(Error::library(format!("move `{}`", self.name))(error)),
        }
    }

    fn read_back(&self, commit: Oid) -> Result<()> {
        match self.repo.inner.refname_to_id(self.name) {
            Ok(found) if found == commit => Ok(()),
            Ok(found) => {
                let reason = format!("it is at {found}, not at {commit}");
                Err(Error::Integrity { what: self.name.to_owned(), reason })
            }
            Err(error) => Err(Error::library(format!("read `{}` back", self.name))(error)),
        }
    }

    /// Replaces the branch's file under git's lock where `is_expected` says so.
    fn replace(&self, (from, to): (Oid, Oid), sync: Sync, is_expected: &dyn Fn() -> Result<bool>) -> Result<bool> {
        let path = self.path();
        // Git removes directories of references that are empty.
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(Error::io("make the directory of", &path))?;
        let mut lock = Lock::take(self.lock_path())?;
        if !is_expected()? {
            return Ok(false);
        }
        let written = writeln!(lock.file, "{to}").and_then(|()| match sync {
            Sync::Now => lock.file.sync_all(),
            Sync::Later => Ok(()),
        });
        written.map_err(Error::io("write", &lock.path))?;
        self.log(from, to, sync)?;
        lock.put_at(&path)?;
        if let (Sync::Now, Some(above)) = (sync, path.parent()) {
            File::open(above).and_then(|above| above.sync_all()).map_err(Error::io("sync", above))?;
        }
        Ok(true)
    }

    /// Adds a line to the logs of the branch and of `HEAD`, where git would.
    fn log(&self, from: Oid, to: Oid, sync: Sync) -> Result<()> {
        let config = self.repo.inner.config().map_err(Error::library("read the configuration"))?;
        // It may also say `always`, which is no boolean.
        let is_wanted = config.get_bool("core.logAllRefUpdates").unwrap_or(true);
        let message = self.message.replace('\n', " ");
        let line = format!("{from} {to} {}\t{message}\n", self.who);
        let logs = [self.repo.common_dir().join("logs").join(self.name), self.repo.git_dir().join("logs/HEAD")];
        for path in logs.iter().filter(|path| is_wanted || path.exists()) {
            append(path, line.as_bytes(), sync).map_err(Error::io("write", path))?;
        }
        Ok(())
    }

    fn content(&self) -> Result<Content> {
        let path = self.path();
        if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Ok(Content::Other);
        }
        let bytes = fs::read(&path).map_err(Error::io("read", path))?;
        Ok(understood(&bytes))
    }

    fn path(&self) -> PathBuf {
        self.repo.common_dir().join(self.name)
    }

    fn lock_path(&self) -> PathBuf {
        self.repo.common_dir().join(format!("{}.lock", self.name))
    }
}

/// Reads a reference's file as git does: forty digits, or the name of another reference.
fn understood(bytes: &[u8]) -> Content {
    if bytes.starts_with(b"ref:") {
        return Content::Other;
    }
    let text = std::str::from_utf8(bytes.trim_ascii_end()).ok().filter(|text| text.len() == 40);
    text.and_then(|text| Oid::from_str(text).ok()).map_or(Content::Torn, Content::Commit)
}

fn append(path: &Path, line: &[u8], sync: Sync) -> io::Result<()> {
    let open = || OpenOptions::new().append(true).create(true).open(path);
    let mut file = match (open(), path.parent()) {
        (Err(missing), Some(above)) if missing.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(above)?;
            open()?
        }
        (opened, _) => opened?,
    };
    file.write_all(line)?;
    if sync == Sync::Now { file.sync_all() } else { Ok(()) }
}

/// Git's lock on a branch: the file that takes its place. Removed on drop.
struct Lock {
    path: PathBuf,
    file: File,
    is_in_place: bool,
}

impl Lock {
    fn take(path: PathBuf) -> Result<Self> {
        let file = taken(&path, &LOCK_WAITS_MS, || OpenOptions::new().write(true).create_new(true).open(&path))?;
        Ok(Self { path, file, is_in_place: false })
    }

    fn put_at(mut self, place: &Path) -> Result<()> {
        fs::rename(&self.path, place).map_err(Error::io("move the branch at", place))?;
        self.is_in_place = true;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_in_place {
            // Nothing better can be done here; the next save finds what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forty_digits_name_a_commit() {
        let digits = "0123456789abcdef0123456789abcdef01234567";
        let commit = Content::Commit(Oid::from_str(digits).unwrap());
        assert_eq!(understood(format!("{digits}\n").as_bytes()), commit);
        assert_eq!(understood(digits.as_bytes()), commit);
        assert_eq!(understood(b"ref: refs/heads/other\n"), Content::Other);
        for torn in [&b""[..], b"\n", &[0; 41], &digits.as_bytes()[..39], b"zz"] {
            assert_eq!(understood(torn), Content::Torn, "{torn:?}");
        }
    }
}
