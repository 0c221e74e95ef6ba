//! Finding what is in a scratch checkout besides the files of the commit, after the git program has removed what may not
//! be there.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::FileType;

use super::left::Left;
use super::{IGNORES, Scratch};
use crate::beneath::{Beneath, Place, list, stat_at};
use crate::git::error::{Error, Result};
use crate::git::index::Known;
use crate::git::tree::{join, split};

/// Directories whose content is listed.
pub(super) struct Survey<'s> {
    scratch: &'s Scratch<'s>,
    beneath: Beneath,
    files: &'s [Known<'s>],
    tracked: BTreeSet<&'s [u8]>,
}

impl<'s> Survey<'s> {
    /// Prepares it for a checkout that has `files`.
    pub fn new(scratch: &'s Scratch<'s>, files: &'s [Known<'s>]) -> Result<Self> {
        let beneath = Beneath::open_real(&scratch.checkout).map_err(Error::io("open", &scratch.checkout))?;
        Ok(Self { scratch, beneath, files, tracked: dirs_of(files) })
    }

    /// Notes everything anew.
    pub fn run_all(&self, left: &mut Left) -> Result<()> {
        let dirs = left.dirs.keys().cloned().chain(self.tracked.iter().map(|dir| dir.to_vec())).collect();
        left.kept.clear();
        left.rules.clear();
        self.run(left, dirs)
    }

    /// Notes how the directories are, and what is kept in them.
    pub fn run(&self, left: &mut Left, mut dirs: BTreeSet<Vec<u8>>) -> Result<()> {
        while !dirs.is_empty() {
            let mut unknown = BTreeSet::new();
            for dir in &dirs {
                let noted = self.note(left, dir, &mut unknown);
                noted.map_err(|source| Error::io("list", self.scratch.checkout.join(super::path_of(dir)))(source))?;
            }
            let ignored = self.scratch.ignored(&unknown)?;
            dirs = unknown.difference(&ignored).cloned().collect();
            left.kept.extend(ignored.iter().map(|dir| join(dir, b"")));
        }
        Ok(())
    }

    fn note(&self, left: &mut Left, dir: &[u8], unknown: &mut BTreeSet<Vec<u8>>) -> io::Result<()> {
        restamp(&self.beneath, left, dir)?;
        let Place::Dir(fd) = self.beneath.dir(dir)? else { return Ok(()) };
        for name in list(fd.as_fd())? {
            let path = join(dir, &name);
            let is_tracked = || self.files.binary_search_by_key(&path.as_slice(), |file| file.name).is_ok();
            if path == b".git" || self.tracked.contains(path.as_slice()) || is_tracked() {
                continue;
            }
            let stat = stat_at(fd.as_fd(), &name)?;
            if stat.kind == FileType::Directory {
                unknown.insert(path);
                continue;
            }
            if name == IGNORES {
                left.rules.insert(path.clone(), stat);
            }
            left.kept.insert(path);
        }
        Ok(())
    }
}

/// Notes how a directory is now; one that is gone is forgotten.
pub(super) fn restamp(beneath: &Beneath, left: &mut Left, dir: &[u8]) -> io::Result<()> {
    match beneath.dir(dir)? {
        Place::Dir(fd) => drop(left.dirs.insert(dir.to_vec(), stat_at(fd.as_fd(), b".")?)),
        _ => drop(left.dirs.remove(dir)),
    }
    Ok(())
}

/// Lists the directories that files are in, the top among them.
fn dirs_of<'f>(files: &[Known<'f>]) -> BTreeSet<&'f [u8]> {
    let mut dirs = BTreeSet::from([b"".as_slice()]);
    let mut last: &[u8] = b"";
    for file in files {
        let mut dir = split(file.name).0;
        if dir == last {
            continue;
        }
        last = dir;
        while dirs.insert(dir) {
            dir = split(dir).0;
        }
    }
    dirs
}
