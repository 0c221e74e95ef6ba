//! Files that the index knows to be as they were read last: they need not be read again.
//!
//! A `touch` of a whole tree, a checkout of the user's and what was just pulled hint at thousands of files that are as
//! the commit has them. Git's own rule tells which: every time, number, owner and size is what it was when the index
//! learned the content, and the file is older than that index by more than a second, so that no change can hide in a tick
//! of the clock. Where git has settings for believing less of it (`core.trustctime`, `core.checkStat`), all of it is believed
//! together or not at all.
//!
//! What git cannot see so is not seen here either: stores into a mapped file that change no time. A few hints are
//! therefore always read, which also is faster: an index has to be read from its beginning, and that of 100,000 files has
//! 10 MB.

use std::path::{Path, PathBuf};

use git2::Oid;

use super::old_index::OldIndex;
use crate::beneath::FileStat;
use crate::git::index::Lookup;

/// Fewest files that are read before the index is asked.
const FILES_MIN: u64 = 64;
/// Bytes of an index that are gone through in the time that one small file takes to be opened, read and hashed.
///
/// So the index is asked once it has cost as much not to ask, and never costs more than that.
const FILE_COST_BYTES: u64 = 16 << 10;

/// Knows files by the index, once enough of them were asked about.
pub(super) struct Known {
    git_dir: PathBuf,
    asked_files: u64,
    index: State,
}

enum State {
    /// Asked after so many files.
    Waiting {
        until_files: u64,
    },
    Read {
        lookup: Lookup,
        modified: (i64, u32),
    },
    /// There is none, or one of another form.
    Useless,
}

impl Known {
    /// Begins knowing nothing.
    pub fn new(git_dir: &Path) -> Self {
        Self { git_dir: git_dir.to_owned(), asked_files: 0, index: State::Waiting { until_files: FILES_MIN } }
    }

    /// Knows nothing, ever.
    pub fn nothing() -> Self {
        Self { git_dir: PathBuf::new(), asked_files: 0, index: State::Useless }
    }

    /// Gives the index's memory back.
    pub fn forget(&mut self) {
        self.index = State::Useless;
    }

    /// Answers mode and blob of a file that has `stat` now, where the index knows them.
    pub fn find(&mut self, path: &[u8], stat: &FileStat) -> Option<(u32, Oid)> {
        self.asked_files += 1;
        if let State::Waiting { until_files } = self.index {
            if self.asked_files <= until_files {
                return None;
            }
            self.index = self.look_at_index(until_files);
        }
        match &self.index {
            State::Read { lookup, modified } => lookup.unchanged(path, stat, *modified),
            State::Waiting { .. } | State::Useless => None,
        }
    }

    fn look_at_index(&self, waited_files: u64) -> State {
        let size = self.git_dir.join("index").metadata().map_or(0, |found| found.len());
        let until_files = size / FILE_COST_BYTES;
        if until_files > waited_files {
            return State::Waiting { until_files };
        }
        // One that cannot be read is no reason to read the files of the working tree any less carefully.
        let old = OldIndex::read(&self.git_dir).ok().flatten();
        let read = old.and_then(|old| Some(State::Read { modified: old.stat.mtime, lookup: Lookup::new(old.bytes)? }));
        read.unwrap_or(State::Useless)
    }
}
