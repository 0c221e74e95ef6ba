//! Reaching into a directory without being led out of it: no symlink on the way is followed.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Attempts to open a directory while others rename around it.
const RENAME_RETRIES: usize = 16;

/// A directory from which only what really lies beneath it can be reached: no symlink is followed.
pub struct Beneath {
    root: Rc<OwnedFd>,
    recent: RefCell<Option<(Vec<u8>, Rc<OwnedFd>)>>,
}

/// What is found where a directory was looked for.
pub enum Place {
    /// The directory, opened.
    Dir(Rc<OwnedFd>),
    /// Nothing.
    Gone,
    /// The first `prefix` bytes of the path name something that is no directory.
    Blocked {
        /// Length of the path that is in the way.
        prefix: usize,
        /// Whether that is a symlink.
        link: bool,
    },
}

/// What the file system says about a file; equal values mean that it was not touched in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub kind: FileType,
    /// When its content or attributes were last changed: seconds and nanoseconds.
    pub ctime: (i64, u32),
    /// When its content was last changed: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// The file system it is on.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// Kind and permissions.
    pub mode: u32,
    /// Who owns it.
    pub uid: u32,
    /// Which group owns it.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
}

impl Beneath {
    /// Opens the top of a tree.
    ///
    /// # Errors
    /// It is no directory, or cannot be opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(root, directory_flags(), Mode::empty())?;
        Ok(Self { root: Rc::new(root), recent: RefCell::new(None) })
    }

    /// Takes an opened directory for the top, whatever is at its path by now.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn within(top: BorrowedFd<'_>) -> io::Result<Self> {
        let root = rustix::io::fcntl_dupfd_cloexec(top, 0)?;
        Ok(Self { root: Rc::new(root), recent: RefCell::new(None) })
    }

    /// Opens the top of a tree, which may be no symlink either.
    ///
    /// # Errors
    /// As [`Beneath::open`]; it is a symlink.
    pub fn open_real(root: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(root, directory_flags() | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { root: Rc::new(root), recent: RefCell::new(None) })
    }

    /// Opens the directory `path` (empty: the top).
    ///
    /// # Errors
    /// The system refuses; others keep renaming on the way.
    pub fn dir(&self, path: &[u8]) -> io::Result<Place> {
        if path.is_empty() {
            return Ok(Place::Dir(Rc::clone(&self.root)));
        }
        if let Some((recent, fd)) = self.recent.borrow().as_ref()
            && recent == path
        {
            return Ok(Place::Dir(Rc::clone(fd)));
        }
        for _ in 0..RENAME_RETRIES {
            match open_dir(self.root.as_fd(), path) {
                Ok(fd) => {
                    let fd = Rc::new(fd);
                    *self.recent.borrow_mut() = Some((path.to_vec(), Rc::clone(&fd)));
                    return Ok(Place::Dir(fd));
                }
                Err(Errno::NOENT) => return Ok(Place::Gone),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    if let Some(place) = self.obstacle(path)? {
                        return Ok(place);
                    }
                }
                Err(Errno::AGAIN) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Forgets the directory that was opened last: it may be removed.
    pub fn forget(&self) {
        *self.recent.borrow_mut() = None;
    }

    /// Finds what is in the way of `path`; none when the way is free by now.
    fn obstacle(&self, path: &[u8]) -> io::Result<Option<Place>> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for prefix in ends.chain([path.len()]) {
            match stat_at(self.root.as_fd(), &path[..prefix]) {
                Ok(stat) if stat.kind == FileType::Directory => {}
                Ok(stat) => return Ok(Some(Place::Blocked { prefix, link: stat.kind == FileType::Symlink })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Place::Gone)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl FileStat {
    /// Takes what the system answered.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        // The widths of these fields differ between platforms.
        #[allow(clippy::unnecessary_cast)]
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            mode: stat.st_mode as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }

    /// Answers it as numbers, to be written down.
    #[must_use]
    pub fn words(&self) -> [i128; 10] {
        let ((cs, cns), (ms, mns)) = (self.ctime, self.mtime);
        let [cs, ms, size] = [cs.into(), ms.into(), self.size.into()];
        let [cns, mns, mode, uid, gid] = [cns, mns, self.mode, self.uid, self.gid].map(i128::from);
        [mode, self.dev.into(), self.ino.into(), uid, gid, size, cs, cns, ms, mns]
    }

    /// Reads what [`FileStat::words`] answered; none for anything else.
    #[must_use]
    pub fn from_words([mode, dev, ino, uid, gid, size, cs, cns, ms, mns]: [i128; 10]) -> Option<Self> {
        let small = |word: i128| u32::try_from(word).ok();
        let mode = small(mode)?;
        // The width of this field differs between platforms.
        #[allow(clippy::unnecessary_cast)]
        let kind = FileType::from_raw_mode(mode as rustix::fs::RawMode);
        Some(Self {
            kind,
            ctime: (cs.try_into().ok()?, small(cns)?),
            mtime: (ms.try_into().ok()?, small(mns)?),
            dev: dev.try_into().ok()?,
            ino: ino.try_into().ok()?,
            mode,
            uid: small(uid)?,
            gid: small(gid)?,
            size: size.try_into().ok()?,
        })
    }

    /// Answers whether it is the same file, untouched in between. A file system may get another number with each start of
    /// the machine.
    #[must_use]
    pub fn is_still(&self, other: &Self) -> bool {
        Self { dev: other.dev, ..*self } == *other
    }

    /// Answers what an opened file is now.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    /// Answers whether the owner may execute the file.
    #[must_use]
    pub fn executable(&self) -> bool {
        self.mode & 0o100 != 0
    }
}

/// Answers what `name` in `dir` is, a symlink itself and not where it leads.
///
/// # Errors
/// There is nothing, or the system refuses.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<FileStat> {
    Ok(FileStat::of(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// Opens `name` in `dir` for reading; never waits (FIFO) and follows no symlink. Where the system allows it, the file does
/// not count as read by that: each time it did would be one more change for the disk.
///
/// # Errors
/// It is a symlink, or the system refuses.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |flags| rustix::fs::openat(dir, name, flags, Mode::empty());
    let opened = match open(flags | uncounted()) {
        // Only the owner may ask for that.
        Err(Errno::PERM) => open(flags),
        opened => opened,
    };
    Ok(File::from(opened?))
}

/// Answers the flag by which reading a file leaves the time of its last reading alone.
fn uncounted() -> OFlags {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return OFlags::NOATIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    OFlags::empty()
}

/// Answers where the symlink `name` in `dir` leads.
///
/// # Errors
/// It is no symlink, or the system refuses.
pub fn read_link(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// Lists the names in `dir`, sorted.
///
/// # Errors
/// The directory cannot be read.
pub fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let readable = rustix::fs::openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(readable)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Answers how directories are opened on the way to what is in them: for that alone, where there is such a way.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[must_use]
pub fn directory_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// Answers how directories are opened on the way to what is in them: for that alone, where there is such a way.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[must_use]
pub fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, directory_flags() | OFlags::NOFOLLOW, Mode::empty(), resolve) {
        // An older kernel, or a sandbox that forbids the call.
        Err(Errno::NOSYS | Errno::PERM) => open_dir_stepwise(root, path),
        opened => opened,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_dir_stepwise(root, path)
}

/// Opens one component after the other, none of them through a symlink.
fn open_dir_stepwise(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = directory_flags() | OFlags::NOFOLLOW;
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
    for component in path.split(|byte| *byte == b'/') {
        if matches!(component, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        at = rustix::fs::openat(&at, component, flags, Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        dir
    }

    #[test]
    fn symlinked_parent_is_reported_and_not_followed() {
        let dir = sample();
        let beneath = Beneath::open(dir.path()).unwrap();
        assert!(matches!(beneath.dir(b"a/b").unwrap(), Place::Dir(_)));
        assert!(matches!(beneath.dir(b"a/none/x").unwrap(), Place::Gone));
        assert!(matches!(beneath.dir(b"link/b").unwrap(), Place::Blocked { prefix: 4, link: true }));
        assert!(matches!(beneath.dir(b"a/file/x").unwrap(), Place::Blocked { prefix: 6, link: false }));
        assert!(beneath.dir(b"../x").is_err() || matches!(beneath.dir(b"../x").unwrap(), Place::Gone));
    }

    #[test]
    fn stepwise_opening_agrees_with_the_kernel() {
        let dir = sample();
        let root = rustix::fs::open(dir.path(), directory_flags(), Mode::empty()).unwrap();
        assert!(open_dir_stepwise(root.as_fd(), b"a/b").is_ok());
        assert!(open_dir_stepwise(root.as_fd(), b"link/b").is_err());
        assert!(open_dir_stepwise(root.as_fd(), b"a/../a").is_err());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn reading_a_file_does_not_change_when_it_was_read() {
        use std::fs::FileTimes;
        use std::io::Read as _;
        use std::time::{Duration, SystemTime};
        let dir = sample();
        let path = dir.path().join("a/file");
        // A file that was not read since it was written would count as read now.
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
        let above = rustix::fs::open(dir.path().join("a"), directory_flags(), Mode::empty()).unwrap();
        let mut content = String::new();
        open_file(above.as_fd(), b"file").unwrap().read_to_string(&mut content).unwrap();
        assert_eq!((content.as_str(), path.metadata().unwrap().accessed().unwrap()), ("x", long_ago));
    }
}
