//! Where an item is: its directory, opened, and its name in there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::os;
use crate::beneath::{self, Beneath, FileStat, Place};
use crate::endpoint::Key;

/// The directory that an item is in, and its name there.
pub(super) struct Spot {
    dir: Rc<OwnedFd>,
    name: Vec<u8>,
}

impl Spot {
    /// Finds the place of an item whose directory exists.
    pub fn existing(beneath: &Beneath, key: &Key) -> io::Result<Self> {
        Self::at(beneath, key.as_bytes())
    }

    /// Finds the place of a path whose directory exists.
    pub fn at(beneath: &Beneath, path: &[u8]) -> io::Result<Self> {
        let (parent, name) = split(path);
        match beneath.dir(parent)? {
            Place::Dir(dir) => Ok(Self { dir, name: name.to_vec() }),
            Place::Gone => Err(io::ErrorKind::NotFound.into()),
            Place::Blocked { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Finds the place of an item, making the directories on the way.
    pub fn made(beneath: &Beneath, key: &Key) -> io::Result<Self> {
        let (parent, name) = split(key.as_bytes());
        if let Place::Dir(dir) = beneath.dir(parent)? {
            return Ok(Self { dir, name: name.to_vec() });
        }
        let ends = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([parent.len()]) {
            let above = Self::at(beneath, &parent[..end])?;
            match rustix::fs::mkdirat(above.dir(), os(&above.name), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Self::existing(beneath, key)
    }

    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Answers another place in the same directory.
    pub fn beside(&self, name: Vec<u8>) -> Self {
        Self { dir: Rc::clone(&self.dir), name }
    }

    pub fn stat(&self) -> io::Result<FileStat> {
        beneath::stat_at(self.dir(), &self.name)
    }

    pub fn open(&self) -> io::Result<File> {
        beneath::open_file(self.dir(), &self.name)
    }

    pub fn read_link(&self) -> io::Result<Vec<u8>> {
        beneath::read_link(self.dir(), &self.name)
    }
}

/// Splits a path into its directory (empty: the top) and its last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
