//! Writing and removing files of a scratch checkout, never through a symlink that a check may have left.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath::{Beneath, FileStat, Place, directory_flags, list, stat_at};
use crate::git::error::{Error, Result};
use crate::git::tree::{MODE_EXECUTABLE, MODE_LINK, join, split};

/// What the owner needs to read a directory and change what is in it.
const OWNER_RIGHTS: u32 = 0o700;

/// Changes files one by one; what comes is complete before it is in its place.
pub(super) struct Mover<'m> {
    checkout: &'m Path,
    beneath: Beneath,
    aside: PathBuf,
    aside_fd: OwnedFd,
}

impl<'m> Mover<'m> {
    /// Opens the checkout, and makes an empty directory `aside` on the same file system.
    pub fn new(checkout: &'m Path, aside: PathBuf) -> Result<Self> {
        remove(&aside)?;
        fs::create_dir(&aside).map_err(Error::io("make", &aside))?;
        Ok(Self {
            checkout,
            beneath: Beneath::open_real(checkout).map_err(Error::io("open", checkout))?,
            aside_fd: File::open(&aside).map_err(Error::io("open", &aside))?.into(),
            aside,
        })
    }

    /// Answers the tree that is changed.
    pub fn beneath(&self) -> &Beneath {
        &self.beneath
    }

    /// Removes what is at `path`, and the directories that are empty without it.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        let failed = |source: io::Error| Error::io("delete", self.checkout.join(path_of(path)))(source);
        let (dir, name) = split(path);
        if let Place::Dir(fd) = self.beneath.dir(dir).map_err(failed)? {
            clear(fd.as_fd(), name).map_err(failed)?;
        }
        self.remove_empty(dir);
        Ok(())
    }

    /// Git knows no empty directories.
    fn remove_empty(&self, mut dir: &[u8]) {
        self.beneath.forget();
        while !dir.is_empty() {
            let (above, name) = split(dir);
            if let Ok(Place::Dir(fd)) = self.beneath.dir(above) {
                match rustix::fs::unlinkat(&*fd, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => self.beneath.forget(),
                    // One that is not empty stays, and so do those above it.
                    Err(_) => return,
                }
            }
            dir = above;
        }
    }

    /// Puts a file or symlink at `path`, in place of whatever is there, and answers what it is then.
    pub fn put(&self, path: &[u8], mode: u32, content: &[u8]) -> Result<FileStat> {
        self.try_put(path, mode, content).map_err(Error::io("write", self.checkout.join(path_of(path))))
    }

    fn try_put(&self, path: &[u8], mode: u32, content: &[u8]) -> io::Result<FileStat> {
        let new = self.aside.join("new");
        if mode == MODE_LINK {
            std::os::unix::fs::symlink(path_of(content), &new)?;
        } else {
            let mode = if mode == MODE_EXECUTABLE { 0o777 } else { 0o666 };
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(mode).open(&new)?.write_all(content)?;
        }
        let (dir, name) = split(path);
        let fd = self.make_dir(dir)?;
        self.put_aside(b"new", fd.as_fd(), name)?;
        stat_at(fd.as_fd(), name)
    }

    /// Moves what waits aside as `from` into its place. What is there goes before: replacing it in one step would make
    /// some file systems (ext4) write the new file to the disk at once, and a move that is killed is finished by the next.
    fn put_aside(&self, from: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => {
                self.beneath.forget();
                clear(dir, name)?;
            }
        }
        Ok(rustix::fs::renameat(&self.aside_fd, from, dir, name)?)
    }

    /// Replaces one of git's own files by what `write` puts into a new one.
    pub fn put_own(&self, name: &str, write: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
        let path = self.aside.join(name);
        let put = || {
            write(&File::create_new(&path)?)?;
            match self.beneath.dir(b".git")? {
                Place::Dir(git) => self.put_aside(name.as_bytes(), git.as_fd(), name.as_bytes()),
                Place::Gone | Place::Blocked { .. } => Err(Errno::NOTDIR.into()),
            }
        };
        put().map_err(Error::io("write", self.checkout.join(".git").join(name)))
    }

    /// Gives the owner the right to change what is in a directory, where a check took it away; whether that worked shows
    /// in what follows.
    pub fn permit(&self, dir: &[u8]) {
        let (above, name) = split(dir);
        let name = if name.is_empty() { b"." } else { name };
        if let Ok(Place::Dir(fd)) = self.beneath.dir(above) {
            permit(fd.as_fd(), name);
        }
    }

    /// Opens a directory, made where it does not exist; what stands in its way goes.
    fn make_dir(&self, dir: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Place::Dir(fd) = self.beneath.dir(dir)? {
            return Ok(fd);
        }
        let mut at = Vec::new();
        for name in dir.split(|byte| *byte == b'/') {
            let Place::Dir(above) = self.beneath.dir(&at)? else { return Err(Errno::NOTDIR.into()) };
            if stat_at(above.as_fd(), name).is_ok_and(|found| found.kind != FileType::Directory) {
                rustix::fs::unlinkat(&*above, name, AtFlags::empty())?;
            }
            match rustix::fs::mkdirat(&*above, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(other) => return Err(other.into()),
            }
            at = join(&at, name);
        }
        match self.beneath.dir(dir)? {
            Place::Dir(fd) => Ok(fd),
            Place::Gone | Place::Blocked { .. } => Err(Errno::NOTDIR.into()),
        }
    }
}

/// Removes whatever is at a path, with all that is in it, even where a check took away the right to.
pub(super) fn remove(path: &Path) -> Result<()> {
    clear(CWD, path.as_os_str().as_bytes()).map_err(Error::io("delete", path))
}

/// Removes `name` in `dir` with all that is in it; no symlink is followed below `dir`.
fn clear(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(other) => return Err(other.into()),
    }
    permit(dir, name);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    for entry in list(opened.as_fd())? {
        clear(opened.as_fd(), &entry)?;
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Goes through the opened directory, so that no symlink can take its place meanwhile.
fn permit(dir: BorrowedFd<'_>, name: &[u8]) {
    let Ok(opened) = rustix::fs::openat(dir, name, directory_flags() | OFlags::NOFOLLOW, Mode::empty()) else { return };
    let mode = rustix::fs::fstat(&opened).map_or(OWNER_RIGHTS, |stat| FileStat::of(&stat).mode & 0o7777);
    if mode & OWNER_RIGHTS != OWNER_RIGHTS {
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        // Without the right to, what needs it fails and says so.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode | OWNER_RIGHTS));
    }
}

pub(super) fn path_of(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A checkout, and a directory that no change may reach.
    fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let base = tempfile::tempdir().unwrap();
        let (checkout, outside) = (base.path().join("checkout"), base.path().join("outside"));
        fs::create_dir_all(checkout.join("a/b")).unwrap();
        fs::create_dir_all(outside.join("b")).unwrap();
        fs::write(outside.join("b/file"), "theirs").unwrap();
        fs::write(outside.join("file"), "theirs").unwrap();
        (base, checkout, outside)
    }

    #[test]
    fn symlinks_in_the_way_are_replaced_and_never_followed() {
        let (base, checkout, outside) = places();
        let mover = Mover::new(&checkout, base.path().join("aside")).unwrap();
        for (link, path) in [("a", "a/b/file"), ("a", "a/file"), ("b", "b/file"), ("file", "file")] {
            remove(&checkout.join(link)).unwrap();
            mover.beneath.forget();
            symlink(&outside, checkout.join(link)).unwrap();
            mover.remove(format!("{link}/file").as_bytes()).unwrap();
            mover.put(path.as_bytes(), 0o100_644, b"ours").unwrap();
            assert_eq!(fs::read_to_string(checkout.join(path)).unwrap(), "ours");
        }
        assert!(["b/file", "file"].iter().all(|file| fs::read_to_string(outside.join(file)).unwrap() == "theirs"));
    }

    #[test]
    fn what_is_removed_ends_at_symlinks() {
        let (_base, checkout, outside) = places();
        symlink(&outside, checkout.join("a/b/link")).unwrap();
        fs::set_permissions(checkout.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&checkout).unwrap();
        assert!(!checkout.exists() && outside.join("b/file").exists());
    }

    #[test]
    fn a_top_that_became_a_symlink_is_not_entered() {
        let (base, checkout, outside) = places();
        remove(&checkout).unwrap();
        symlink(&outside, &checkout).unwrap();
        assert!(Mover::new(&checkout, base.path().join("aside")).is_err());
    }

    #[test]
    fn gits_own_files_are_not_written_through_a_symlink() {
        let (base, checkout, outside) = places();
        symlink(&outside, checkout.join(".git")).unwrap();
        let mover = Mover::new(&checkout, base.path().join("aside")).unwrap();
        assert!(mover.put_own("HEAD", |mut file| file.write_all(b"x")).is_err());
        assert!(!outside.join("HEAD").exists());
    }

    #[test]
    fn directories_that_are_empty_without_a_file_go_with_it() {
        let (base, checkout, _outside) = places();
        let mover = Mover::new(&checkout, base.path().join("aside")).unwrap();
        mover.put(b"a/b/c/file", 0o100_755, b"x").unwrap();
        mover.put(b"a/stays", MODE_LINK, b"nowhere").unwrap();
        mover.remove(b"a/b/c/file").unwrap();
        assert!(!checkout.join("a/b").exists() && checkout.join("a/stays").is_symlink());
        fs::create_dir(checkout.join("d")).unwrap();
        mover.remove(b"d/gone/file").unwrap();
        assert!(!checkout.join("d").exists());
    }
}
