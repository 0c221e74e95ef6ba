//! How a scratch checkout was left: written beside it, where no check looks, and compared with what is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use git2::Oid;

use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::beneath::FileStat;
use crate::git::error::{Error, Result};

const MAGIC: &str = "cascade scratch 1";
/// Files that changed this much before something was looked at, or less, may have changed again afterwards without their
/// times telling.
const TICK_NS: i128 = 20_000_000;
/// Numbers of one file.
const WORDS: usize = 10;

/// Files and directories by path, as they were left.
pub(super) type Stats = BTreeMap<Vec<u8>, FileStat>;

/// How a scratch checkout was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    /// The commit that it has.
    pub commit: ObjectId,
    /// Nothing that is recorded here was looked at before.
    pub moment: Moment,
    /// The run of the machine in which it was left; empty where that is not known.
    pub boot: String,
    /// What the user's own ignore file said.
    pub excludes: String,
    /// The record of the files; without one the checkout is the git program's.
    pub base: Option<Base>,
    /// What became of files since the base was written; none: gone.
    pub moved: BTreeMap<Vec<u8>, Option<Moved>>,
    /// Directories with files of the commit, and those that are neither ignored nor empty.
    pub dirs: Stats,
    /// Git's own files, `index` among them.
    pub own: Stats,
    /// Ignore files that are ignored themselves.
    pub rules: Stats,
    /// What else is there and ignored; a directory ends in a slash.
    pub kept: BTreeSet<Vec<u8>>,
    /// Who changed files of the commit when it last used the checkout.
    pub changers: BTreeSet<Vec<u8>>,
}

/// An index of git's that tells of all files how they were left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// The commit whose files it has.
    pub commit: ObjectId,
    /// Tells one from the next, so that a new one is complete before the record names it.
    pub number: u32,
    pub stat: FileStat,
}

/// A file that was put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub mode: u32,
    pub oid: Oid,
    pub stat: FileStat,
}

impl Left {
    /// Reads the record; nothing where there is none that is whole.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let end = bytes.iter().rposition(|byte| *byte == 0)?;
        let (lines, digest) = bytes.split_at(end + 1);
        if Digest::of(lines).to_string().as_bytes() != digest {
            return None;
        }
        Self::parse(lines)
    }

    /// Puts the record into the place of an earlier one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        let mut bytes = self.lines();
        let digest = Digest::of(&bytes).to_string();
        bytes.extend_from_slice(digest.as_bytes());
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).map_err(Error::io("write", path))
    }

    fn lines(&self) -> Vec<u8> {
        let Self { commit, moment: Moment((s, ns)), boot, excludes, .. } = self;
        let mut lines = format!("{MAGIC}\0{commit} {s} {ns} {boot} {excludes}\0").into_bytes();
        if let Some(Base { commit, number, stat }) = &self.base {
            push(&mut lines, &format!("b {commit} {number}"), Some(stat), b"");
        }
        for (tag, stats) in [("d", &self.dirs), ("g", &self.own), ("r", &self.rules)] {
            stats.iter().for_each(|(path, stat)| push(&mut lines, tag, Some(stat), path));
        }
        for (tag, names) in [("k", &self.kept), ("c", &self.changers)] {
            names.iter().for_each(|name| push(&mut lines, tag, None, name));
        }
        for (path, moved) in &self.moved {
            match moved {
                None => push(&mut lines, "x", None, path),
                Some(Moved { mode, oid, stat }) => push(&mut lines, &format!("p {mode} {oid}"), Some(stat), path),
            }
        }
        lines
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.split(|byte| *byte == 0);
        if lines.next()? != MAGIC.as_bytes() {
            return None;
        }
        let head: Vec<&str> = std::str::from_utf8(lines.next()?).ok()?.split(' ').collect();
        let [commit, s, ns, boot, excludes] = head[..] else { return None };
        let moment = Moment((s.parse().ok()?, ns.parse().ok()?));
        let mut left = Self::new(commit.parse().ok()?, moment, excludes.to_owned());
        left.boot = boot.to_owned();
        for line in lines.filter(|line| !line.is_empty()) {
            left.take(line)?;
        }
        Some(left)
    }

    /// Records nothing but the commit.
    pub fn new(commit: ObjectId, moment: Moment, excludes: String) -> Self {
        Self {
            commit,
            moment,
            boot: boot(),
            excludes,
            base: None,
            moved: BTreeMap::new(),
            dirs: Stats::new(),
            own: Stats::new(),
            rules: Stats::new(),
            kept: BTreeSet::new(),
            changers: BTreeSet::new(),
        }
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let (tag, rest) = line.split_at_checked(2)?;
        match tag {
            b"k " => drop(self.kept.insert(rest.to_vec())),
            b"c " => drop(self.changers.insert(rest.to_vec())),
            b"x " => drop(self.moved.insert(rest.to_vec(), None)),
            b"p " => {
                let ([mode, oid], rest) = words(rest)?;
                let (stat, path) = stat_of(rest)?;
                let moved = Moved { mode: mode.parse().ok()?, oid: oid.parse().ok()?, stat };
                self.moved.insert(path.to_vec(), Some(moved));
            }
            b"b " => {
                let ([commit, number], rest) = words(rest)?;
                let stat = stat_of(rest)?.0;
                self.base = Some(Base { commit: commit.parse().ok()?, number: number.parse().ok()?, stat });
            }
            _ => {
                let (stat, path) = stat_of(rest)?;
                let stats = match tag {
                    b"d " => &mut self.dirs,
                    b"g " => &mut self.own,
                    b"r " => &mut self.rules,
                    _ => return None,
                };
                stats.insert(path.to_vec(), stat);
            }
        }
        Some(())
    }
}

fn push(lines: &mut Vec<u8>, start: &str, stat: Option<&FileStat>, path: &[u8]) {
    lines.extend_from_slice(start.as_bytes());
    for word in stat.iter().flat_map(|stat| stat.words()) {
        // Memory takes every byte.
        let _ = write!(lines, " {word}");
    }
    lines.push(b' ');
    lines.extend_from_slice(path);
    lines.push(0);
}

/// Takes words off the start of a line.
fn words<const N: usize>(mut line: &[u8]) -> Option<([&str; N], &[u8])> {
    let mut words = [""; N];
    for word in &mut words {
        let end = line.iter().position(|byte| *byte == b' ')?;
        *word = std::str::from_utf8(&line[..end]).ok()?;
        line = &line[end + 1..];
    }
    Some((words, line))
}

fn stat_of(line: &[u8]) -> Option<(FileStat, &[u8])> {
    let (words, path) = words::<WORDS>(line)?;
    let mut numbers = [0; WORDS];
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word.parse().ok()?;
    }
    Some((FileStat::from_words(numbers)?, path))
}

/// A moment by the clock of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub (i64, u32));

impl Moment {
    /// Answers the present, by changing a file of that name.
    pub fn now(path: &Path) -> Result<Self> {
        // Not cut off before: some file systems (ext4) write what replaces such content to the disk at once.
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let stat = opened.and_then(|mut file| {
            file.write_all(b".")?;
            FileStat::of_open(&file)
        });
        Ok(Self(stat.map_err(Error::io("write", path))?.mtime))
    }

    /// Answers whether what changed then and was looked at after this moment may have changed again without a trace.
    pub fn is_about(self, changed: (i64, u32)) -> bool {
        let nanoseconds = |(s, ns): (i64, u32)| i128::from(s) * 1_000_000_000 + i128::from(ns);
        nanoseconds(changed) > nanoseconds(self.0) - TICK_NS
    }
}

/// Names the run of the machine: what a power cut took along differs by it. Empty where that is not known.
pub(super) fn boot() -> String {
    let read: io::Result<String> = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stats() -> impl Strategy<Value = FileStat> {
        let words = (any::<[u32; 6]>(), any::<(i64, i64)>(), any::<[u64; 3]>());
        words.prop_map(|([mode, uid, gid, cns, mns, _], (cs, ms), [dev, ino, size])| {
            let small = [mode, uid, gid, cns, mns].map(i128::from);
            let [mode, uid, gid, cns, mns] = small;
            let words = [mode, dev.into(), ino.into(), uid, gid, size.into(), cs.into(), cns, ms.into(), mns];
            FileStat::from_words(words).unwrap()
        })
    }

    fn paths() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1_u8.., 0..9)
    }

    fn all_stats() -> impl Strategy<Value = Stats> {
        prop::collection::btree_map(paths(), stats(), 0..5)
    }

    fn oids() -> impl Strategy<Value = Oid> {
        any::<[u8; 20]>().prop_map(|bytes| Oid::from_bytes(&bytes).unwrap())
    }

    fn moved() -> impl Strategy<Value = Moved> {
        (any::<u32>(), oids(), stats()).prop_map(|(mode, oid, stat)| Moved { mode, oid, stat })
    }

    fn records() -> impl Strategy<Value = Left> {
        let names = || prop::collection::btree_set(paths(), 0..5);
        let base = prop::option::of((any::<u32>(), stats()));
        let moved = prop::collection::btree_map(paths(), prop::option::of(moved()), 0..5);
        let words = (any::<(i64, u32)>(), "[a-z0-9-]{0,9}", "[a-f0-9]{0,9}", base, moved);
        (words, [all_stats(), all_stats(), all_stats()], [names(), names()]).prop_map(
            |((moment, boot, excludes, base, moved), [dirs, own, rules], [kept, changers])| {
                let commit = ObjectId::from_bytes([7; 20]);
                let base = base.map(|(number, stat)| Base { commit, number, stat });
                let moment = Moment(moment);
                Left { commit, moment, boot, excludes, base, moved, dirs, own, rules, kept, changers }
            },
        )
    }

    proptest! {
        #[test]
        fn record_reads_back_as_written_and_not_when_damaged(left in records(), at in any::<prop::sample::Index>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("left");
            left.write(&path).unwrap();
            prop_assert_eq!(Left::read(&path).unwrap(), left);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            prop_assert_eq!(Left::read(&path), None);
            fs::write(&path, &bytes[..at]).unwrap();
            prop_assert_eq!(Left::read(&path), None);
        }

        #[test]
        fn anything_else_is_no_record(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0_usize..90) {
            let mut text = format!("{MAGIC}\0{} 1 2 b e\0d 1 2 3 4 5 6 7 8 9", ObjectId::from_bytes([7; 20]));
            text.truncate(cut);
            let _ = Left::parse(&[text.into_bytes(), bytes].concat());
        }
    }

    #[test]
    fn what_changed_long_before_is_settled() {
        let moment = Moment((100, 500));
        assert!(moment.is_about((100, 500)) && moment.is_about((101, 0)) && moment.is_about((99, 990_000_000)));
        assert!(!moment.is_about((99, 900_000_000)));
    }
}
