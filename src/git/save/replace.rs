//! Replacing files of the working tree beside a user who may be writing them.
//!
//! Everything new is written aside first. Then each file changes places with its successor in one step of the file
//! system, and what came out is looked at: if it is not the file that was expected, everything is put back.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use git2::{Odb, Oid};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use super::attributes::Attributes;
use super::spelling::folded;
use crate::beneath::{Beneath, FileStat, Place, list, stat_at};
use crate::git::error::{Error, Result};
use crate::git::program::Program;
use crate::git::repo::Repo;
use crate::git::tree::{self, BaseTree, Edit, MODE_EXECUTABLE, MODE_LINK};

/// What new files are written into; git's directory is on the same file system, and nobody watches it.
pub(in crate::git) const ASIDE_PREFIX: &str = "cascade-aside-";

/// A file that shall become something else.
pub(super) struct Replacement {
    pub path: Vec<u8>,
    /// What is there; none: nothing.
    pub from: Option<FileStat>,
    pub to: Edit,
}

/// Files that were replaced; put back on drop unless they are kept.
pub(super) struct Replaced<'a> {
    beneath: &'a Beneath,
    aside: TempDir,
    aside_fd: OwnedFd,
    done: Vec<Done>,
    /// Directories that are spelled anew: how they were, and how they are.
    respelled: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One file that was replaced.
struct Done {
    path: Vec<u8>,
    /// Name of what was there, aside.
    old: Option<String>,
    /// What is there now.
    new: Option<FileStat>,
}

/// Why nothing was replaced.
pub(super) enum Refusal {
    /// This path is not what it was believed to be.
    Changed(Vec<u8>),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Replaced<'a> {
    /// Performs all the replacements, or none.
    pub fn perform(
        repo: &Repo,
        odb: &Odb<'_>,
        beneath: &'a Beneath,
        base: &mut BaseTree<'_>,
        replacements: &[Replacement],
    ) -> std::result::Result<Self, Refusal> {
        let aside = tempfile::Builder::new().prefix(ASIDE_PREFIX).tempdir_in(repo.git_dir());
        let aside = aside.map_err(Error::io("make a directory in", repo.git_dir()))?;
        let aside_fd = OwnedFd::from(File::open(aside.path()).map_err(Error::io("open", aside.path()))?);
        let mut this = Self { beneath, aside, aside_fd, done: Vec::new(), respelled: Vec::new() };
        let mut writer = Writer::new(repo, odb, &this)?;
        for (number, replacement) in replacements.iter().enumerate() {
            if let Some((mode, oid)) = replacement.to {
                writer.write(base, number, &replacement.path, mode, oid)?;
            }
        }
        // What goes makes room for what comes.
        for (number, replacement) in replacements.iter().enumerate().filter(|(_, one)| one.to.is_none()) {
            this.replace(number, replacement)?;
        }
        let (ignores_case, mut spelled) = (repo.ignores_case()?, HashSet::new());
        for (number, replacement) in replacements.iter().enumerate().filter(|(_, one)| one.to.is_some()) {
            if ignores_case && spelled.insert(tree::split(&replacement.path).0) {
                this.respell_parents(&replacement.path)
                    .map_err(|source| Error::io("rename", path_of(&replacement.path))(source))?;
            }
            this.replace(number, replacement)?;
        }
        Ok(this)
    }

    /// Answers what is at a replaced path now.
    pub fn stat(&self, path: &[u8]) -> Option<FileStat> {
        self.done.iter().find(|done| done.path == path).and_then(|done| done.new)
    }

    /// Lets the replacements stand.
    pub fn keep(mut self) {
        self.done.clear();
        self.respelled.clear();
    }

    fn replace(&mut self, number: usize, replacement: &Replacement) -> std::result::Result<(), Refusal> {
        let failed = |source: io::Error| Refusal::Failed(Error::io("replace", path_of(&replacement.path))(source));
        let dir = match replacement.to {
            Some(_) => self.make_parents(&replacement.path).map_err(failed)?,
            None => self.parent(&replacement.path).map_err(failed)?,
        };
        let Some(dir) = dir else { return Err(Refusal::Changed(replacement.path.clone())) };
        let name = tree::split(&replacement.path).1;
        let (new, old) = (new_name(number), old_name(number));
        let swapped = match (replacement.from.is_some(), replacement.to.is_some()) {
            (true, true) => self.swap(dir.as_fd(), name, &new, &old),
            (true, false) => self.take_away(dir.as_fd(), name, &old),
            (false, true) => self.put(dir.as_fd(), name, &new),
            (false, false) => return Ok(()),
        };
        match swapped {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY) => {
                return Err(Refusal::Changed(replacement.path.clone()));
            }
            Err(other) => return Err(failed(other.into())),
        }
        let new = if replacement.to.is_some() { stat_at(dir.as_fd(), name).ok() } else { None };
        let old = replacement.from.is_some().then_some(old);
        self.done.push(Done { path: replacement.path.clone(), old: old.clone(), new });
        let found = old.and_then(|old| stat_at(self.aside_fd.as_fd(), old.as_bytes()).ok());
        if !is_same(found, replacement.from) {
            return Err(Refusal::Changed(replacement.path.clone()));
        }
        if replacement.to.is_none() {
            self.remove_empty_parents(&replacement.path);
        }
        Ok(())
    }

    /// Exchanges `name` for what waits aside as `new`; what was there is aside as `old` afterwards.
    fn swap(&self, dir: BorrowedFd<'_>, name: &[u8], new: &str, old: &str) -> rustix::io::Result<()> {
        match rustix::fs::renameat_with(&self.aside_fd, new, dir, name, RenameFlags::EXCHANGE) {
            Ok(()) => rustix::fs::renameat(&self.aside_fd, new, &self.aside_fd, old),
            // Not every file system can exchange; for a moment there is nothing then.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                self.take_away(dir, name, old)?;
                self.put(dir, name, new)
            }
            Err(other) => Err(other),
        }
    }

    fn take_away(&self, dir: BorrowedFd<'_>, name: &[u8], old: &str) -> rustix::io::Result<()> {
        rustix::fs::renameat(dir, name, &self.aside_fd, old)
    }

    /// Moves what waits aside as `from` to a place where nothing is.
    fn put(&self, dir: BorrowedFd<'_>, name: &[u8], from: &str) -> rustix::io::Result<()> {
        match rustix::fs::renameat_with(&self.aside_fd, from, dir, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match rustix::fs::linkat(&self.aside_fd, from, dir, name, AtFlags::empty()) {
                    Ok(()) => rustix::fs::unlinkat(&self.aside_fd, from, AtFlags::empty()),
                    Err(Errno::PERM | Errno::NOSYS | Errno::NOTSUP) => self.put_over(dir, name, from),
                    Err(other) => Err(other),
                }
            }
            done => done,
        }
    }

    /// The same where there are no hard links: the place is taken by an empty file first, which proves it to be free.
    fn put_over(&self, dir: BorrowedFd<'_>, name: &[u8], from: &str) -> rustix::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?);
        rustix::fs::renameat(&self.aside_fd, from, dir, name).inspect_err(|_| {
            // Nobody else has a reason to want it.
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        })
    }

    fn parent(&self, path: &[u8]) -> io::Result<Option<Rc<OwnedFd>>> {
        match self.beneath.dir(tree::split(path).0)? {
            Place::Dir(dir) => Ok(Some(dir)),
            Place::Gone | Place::Blocked { .. } => Ok(None),
        }
    }

    /// Opens the directory of `path`, made where it does not exist; none where something is in its way.
    fn make_parents(&self, path: &[u8]) -> io::Result<Option<Rc<OwnedFd>>> {
        if let Some(dir) = self.parent(path)? {
            return Ok(Some(dir));
        }
        let parents = tree::split(path).0;
        for end in tree::path_ends(parents) {
            let Some(above) = self.parent(&parents[..end])? else { return Ok(None) };
            match rustix::fs::mkdirat(above, tree::split(&parents[..end]).1, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(other) => return Err(other.into()),
            }
        }
        self.parent(path)
    }

    /// Spells the directories of `path` as it does, where the file system finds them under a name that differs by case.
    ///
    /// What is in them stays; a directory of the old name is in no tree any more.
    fn respell_parents(&mut self, path: &[u8]) -> io::Result<()> {
        let parents = tree::split(path).0;
        for end in tree::path_ends(parents).filter(|end| *end > 0) {
            let (above, name) = tree::split(&parents[..end]);
            let Place::Dir(dir) = self.beneath.dir(above)? else { return Ok(()) };
            if stat_at(dir.as_fd(), name).is_err() {
                return Ok(());
            }
            let listed = list(dir.as_fd())?;
            let like = listed.iter().find(|other| folded(other) == folded(name));
            if let Some(other) = like.filter(|_| !listed.iter().any(|other| other == name)) {
                rustix::fs::renameat(&dir, other.as_slice(), &dir, name)?;
                self.beneath.forget();
                self.respelled.push((tree::join(above, other), parents[..end].to_vec()));
            }
        }
        Ok(())
    }

    /// Git knows no empty directories.
    fn remove_empty_parents(&self, path: &[u8]) {
        self.beneath.forget();
        let mut dir = tree::split(path).0;
        while !dir.is_empty() {
            let (above, name) = tree::split(dir);
            let Ok(Place::Dir(above_fd)) = self.beneath.dir(above) else { return };
            // One that is not empty stays, and so do those above it.
            if rustix::fs::unlinkat(above_fd, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            // The one above was opened for this, and is the next to go.
            self.beneath.forget();
            dir = above;
        }
    }

    /// Puts one file back; what the user has written there since then is left alone.
    fn put_back(&self, done: &Done) -> io::Result<()> {
        let Some(dir) = self.make_parents(&done.path)? else { return Ok(()) };
        let name = tree::split(&done.path).1;
        let is_ours = done.new.is_none() || is_same(stat_at(dir.as_fd(), name).ok(), done.new);
        match &done.old {
            None if is_ours => rustix::fs::unlinkat(&dir, name, AtFlags::empty())?,
            Some(old) if done.new.is_none() => self.put(dir.as_fd(), name, old)?,
            Some(old) if is_ours => rustix::fs::renameat(&self.aside_fd, old.as_str(), &dir, name)?,
            _ => {}
        }
        if done.old.is_none() {
            self.remove_empty_parents(&done.path);
        }
        Ok(())
    }
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        for done in std::mem::take(&mut self.done).iter().rev() {
            // What cannot be put back differs from the commit, and the next save commits it: nothing is lost.
            let _ = self.put_back(done);
        }
        self.beneath.forget();
        for (from, to) in std::mem::take(&mut self.respelled).iter().rev() {
            let Ok(Some(dir)) = self.parent(from) else { return };
            // The same: the next save commits the new spelling.
            let _ = rustix::fs::renameat(&dir, tree::split(to).1, &dir, tree::split(from).1);
        }
    }
}

/// Writes new content aside, in the form that it has in a working tree.
struct Writer<'w> {
    repo: &'w Repo,
    odb: &'w Odb<'w>,
    aside: PathBuf,
    beneath: &'w Beneath,
    attributes: Attributes,
    symlinks: bool,
}

impl<'w> Writer<'w> {
    fn new(repo: &'w Repo, odb: &'w Odb<'w>, replaced: &Replaced<'w>) -> Result<Self> {
        let mut config = repo.inner.config().map_err(Error::library("read the configuration"))?;
        let config = config.snapshot().map_err(Error::library("read the configuration"))?;
        let (aside, attributes) = (replaced.aside.path().to_owned(), Attributes::new(repo, &config));
        // Without them a link is a file that says where it leads.
        let symlinks = config.get_bool("core.symlinks").unwrap_or(true);
        Ok(Self { repo, odb, aside, beneath: replaced.beneath, attributes, symlinks })
    }

    fn write(&mut self, base: &mut BaseTree<'_>, number: usize, path: &[u8], mode: u32, oid: Oid) -> Result<()> {
        let place = self.aside.join(new_name(number));
        let blob = self.odb.read(oid).map_err(Error::library(format!("read blob {oid}")))?;
        if mode == MODE_LINK && self.symlinks {
            let target = std::ffi::OsString::from_vec(blob.data().to_vec());
            return std::os::unix::fs::symlink(target, &place).map_err(Error::io("write", place));
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(if mode == MODE_EXECUTABLE { 0o777 } else { 0o666 });
        let converted = match mode != MODE_LINK && self.attributes.may_convert(path, self.beneath, base)? {
            true => Some(self.converted(path, oid)?),
            false => None,
        };
        let content = converted.as_deref().unwrap_or(blob.data());
        let written = options.open(&place).and_then(|mut file| file.write_all(content));
        written.map_err(Error::io("write", place))
    }

    fn converted(&self, path: &[u8], oid: Oid) -> Result<Vec<u8>> {
        let path = std::ffi::OsString::from_vec([b"--path=", path].concat());
        let arguments = ["cat-file".into(), "--filters".into(), path, oid.to_string().into()];
        Program::durable(self.repo.root(), arguments).succeed()
    }
}

/// Answers whether a file is the very one, unwritten since: moving it changes neither its number nor its time.
fn is_same(found: Option<FileStat>, expected: Option<FileStat>) -> bool {
    let identity = |stat: FileStat| (stat.dev, stat.ino, stat.size, stat.mtime, stat.kind);
    found.map(identity) == expected.map(identity)
}

fn new_name(number: usize) -> String {
    format!("{number}.new")
}

fn old_name(number: usize) -> String {
    format!("{number}.old")
}

fn path_of(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()))
}

/// Answers what is at `path`, if a file or a link is.
pub(super) fn stat_of(beneath: &Beneath, path: &[u8]) -> Option<FileStat> {
    let (parent, name) = tree::split(path);
    let Ok(Place::Dir(dir)) = beneath.dir(parent) else { return None };
    stat_at(dir.as_fd(), name).ok().filter(|stat| stat.kind != FileType::Directory)
}
