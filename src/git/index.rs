//! Changing a few entries of git's index without parsing it into memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;

use git2::Oid;
use sha1::{Digest as _, Sha1};

use super::tree::{DirChange, MODE_GITLINK};
use crate::beneath::FileStat;

/// Bytes of an entry before its name, without and with the extended flags.
const FIXED_BYTES: usize = 62;
const FIXED_EXTENDED_BYTES: usize = 64;
const FLAG_EXTENDED: u16 = 0x4000;
const FLAG_ASSUME_VALID: u16 = 0x8000;
const EXTENDED_SKIP_WORKTREE: u16 = 0x4000;
const EXTENDED_INTENT_TO_ADD: u16 = 0x2000;
/// Where an entry keeps the name of its blob.
const OID_OFFSET: usize = 40;
/// Where an entry keeps the file's mode.
const MODE_OFFSET: usize = 24;
/// Where an entry keeps the file's size.
const SIZE_OFFSET: usize = 36;
/// Bytes of an index that are gathered before they go to the file.
const WRITE_BUFFER_BYTES: usize = 256 * 1024;
/// Most nested directories in the cache of trees.
const MAX_CACHED_DEPTH: usize = 4_096;
/// An entry this much older than the index, or less, may have changed in the same tick of the file system's clock.
const TICK_NS: i128 = 20_000_000;
/// An entry this much older than the index did not change while the index was written; git compares whole seconds too,
/// unless it was built to do otherwise.
const SETTLED_NS: i128 = 1_000_000_000;
/// The same where times have no fractions of a second (FAT counts every other one).
const COARSE_SETTLED_NS: i128 = 3_000_000_000;

/// Bytes of the checksum at the end of an index.
pub(super) const CHECKSUM_BYTES: usize = 20;

/// An index that this process wrote, or proved to be whole: the one on disk is the same as long as both are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proved {
    pub stat: FileStat,
    pub checksum: [u8; CHECKSUM_BYTES],
}

/// An index, version 2 or 3, unsplit and unsparse: what can be changed in place.
pub(super) struct Index<'a> {
    bytes: &'a [u8],
    outline: Cow<'a, Outline>,
}

/// Where the parts of an index stand.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    entries: Range<usize>,
    /// The bodies; the eight bytes before each are its name and size.
    extensions: Vec<Range<usize>>,
    unsigned: bool,
    /// Whether an entry is left out of the working tree, or assumed to be unchanged.
    has_marks: bool,
}

/// What becomes of a path in the index, unless the user has staged something else there.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// The path has this content.
    Put(Content),
    /// The path is gone.
    Drop {
        /// What the parent commit has there.
        before: Option<Oid>,
    },
}

/// A file as it was saved.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Git's mode.
    pub mode: u32,
    /// The blob.
    pub oid: Oid,
    /// What the parent commit has there.
    pub before: Option<Oid>,
    /// The file as it was read; none makes git look at the file again.
    pub stat: Option<FileStat>,
    /// Whether the file is so young that it may change again without its times telling: git shall compare it.
    pub recent: bool,
    /// Whether a sparse checkout leaves the file out of the working tree on purpose.
    pub left_out: bool,
}

/// Answers whether a path's file still has these times (change, modification; seconds and nanoseconds).
pub(super) type Unchanged<'a> = dyn Fn(&[u8], (u32, u32), (u32, u32)) -> bool + 'a;

/// Everything that one save changes in an index.
pub(super) struct Patch<'a> {
    pub ops: &'a BTreeMap<&'a [u8], Op>,
    pub dirs: &'a BTreeMap<Vec<u8>, DirChange>,
    /// Each path added (1) or deleted (-1) relative to the parent commit.
    pub counts: &'a BTreeMap<&'a [u8], i64>,
    /// Modification time of the index that is patched.
    pub index_mtime: (i64, u32),
    /// Answers whether a file is still as an entry's times (ctime, mtime) say.
    pub unchanged: &'a Unchanged<'a>,
}

/// A file as the index knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub name: &'a [u8],
    pub mode: u32,
    pub oid: Oid,
    /// Change and modification time (seconds and nanoseconds each), number and size: the low 32 bits of each.
    pub times: [u32; 6],
}

/// One entry where it stands.
struct Entry<'a> {
    name: &'a [u8],
    range: Range<usize>,
    flags: u16,
    extended: u16,
}

/// What happens at a place in the order of the index.
enum Step<'a> {
    Put(&'a Content),
    Drop {
        before: Option<Oid>,
    },
    /// A file where a directory of the new path has to be.
    MakeRoom,
    /// Everything that begins with the key goes: a file has taken a directory's place.
    DropBelow,
}

impl Outline {
    /// Goes through the entries once; none for a form that only the git program should change.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let version = be32(bytes, 4)?;
        if bytes.get(..4)? != b"DIRC" || !(2..=3).contains(&version) || bytes.len() < 32 {
            return None;
        }
        let (count, end) = (be32(bytes, 8)?, bytes.len() - CHECKSUM_BYTES);
        let (mut at, mut has_marks) = (12, false);
        for _ in 0..count {
            let entry = entry_at(bytes, at)?;
            has_marks |= entry.is_left_out() || entry.is_assumed();
            at = entry.range.end;
        }
        if at > end {
            return None;
        }
        let entries = 12..at;
        let mut extensions = Vec::new();
        while at < end {
            let size = be32(bytes, at + 4)? as usize;
            let body = at + 8..(at + 8).checked_add(size)?;
            // A lower-case name is not optional: split (`link`) and sparse (`sdir`) indexes.
            if !bytes.get(at)?.is_ascii_uppercase() || body.end > end {
                return None;
            }
            at = body.end;
            extensions.push(body);
        }
        let unsigned = bytes[end..].iter().all(|byte| *byte == 0);
        Some(Self { entries, extensions, unsigned, has_marks })
    }
}

impl<'a> Index<'a> {
    /// Reads an index; none for a form that only the git program should change.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { bytes, outline: Cow::Owned(Outline::parse(bytes)?) })
    }

    /// The same where the outline of these very bytes is known.
    pub fn outlined(bytes: &'a [u8], outline: &'a Outline) -> Self {
        Self { bytes, outline: Cow::Borrowed(outline) }
    }

    /// Answers the paths whose absence from the working tree is meant (sparse checkouts).
    pub fn skip_worktree(&self) -> HashSet<Vec<u8>> {
        self.marked(|entry| entry.is_left_out())
    }

    /// Answers the paths of which git shall assume that they are unchanged.
    pub fn assumed(&self) -> HashSet<Vec<u8>> {
        self.marked(|entry| entry.is_assumed())
    }

    fn marked(&self, is_marked: impl Fn(&Entry<'_>) -> bool) -> HashSet<Vec<u8>> {
        if !self.outline.has_marks {
            return HashSet::new();
        }
        self.iter().filter(|entry| is_marked(entry)).map(|entry| entry.name.to_vec()).collect()
    }

    /// Lists the files in the order of their names; none where an entry is a conflict, or no plain file of the checkout.
    pub fn files(&self) -> Option<Vec<Known<'a>>> {
        let known = |entry: Entry<'a>| {
            let word = |offset| be32(self.bytes, entry.range.start + offset);
            let oid = Oid::from_bytes(self.bytes.get(entry.range.start + OID_OFFSET..)?.get(..20)?).ok()?;
            let times = [word(0)?, word(4)?, word(8)?, word(12)?, word(20)?, word(SIZE_OFFSET)?];
            let mode = word(MODE_OFFSET)?;
            let is_plain = !entry.is_conflict() && entry.extended == 0 && mode != MODE_GITLINK;
            is_plain.then_some(Known { name: entry.name, mode, oid, times })
        };
        self.iter().map(known).collect()
    }

    fn iter(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let (bytes, mut at, end) = (self.bytes, self.outline.entries.start, self.outline.entries.end);
        std::iter::from_fn(move || {
            let entry = (at < end).then(|| entry_at(bytes, at)).flatten()?;
            at = entry.range.end;
            Some(entry)
        })
    }

    /// Answers the index with `patch` applied, without its checksum; entries of other paths stay as they are.
    pub fn patched(&self, patch: &Patch<'_>) -> Patched {
        let mut writer = Writer::default();
        let (moved, keeps_staged) = self.patch_entries(patch, &mut writer);
        let mut pieces = writer.finish(&self.bytes[..12]);
        let mut tail = Vec::new();
        for body in &self.outline.extensions {
            let (name, body) = (&self.bytes[body.start - 8..body.start - 4], &self.bytes[body.clone()]);
            match name {
                b"TREE" => {
                    if let Some(tree) = patch_cache_tree(body, patch) {
                        push_extension(&mut tail, name, &tree);
                    }
                }
                b"REUC" => push_extension(&mut tail, name, body),
                // These stay right as long as the set of paths does.
                b"UNTR" | b"FSMN" if !moved => push_extension(&mut tail, name, body),
                // Offsets into the file (EOIE, IEOT) and what we do not know: git makes them again.
                _ => {}
            }
        }
        pieces.push(Piece::New(tail));
        Patched { pieces, keeps_staged, unsigned: self.outline.unsigned }
    }

    /// Answers whether the user has staged something at an entry: neither what the parent commit has nor what is saved.
    ///
    /// A conflict is none of it, and neither is the mere intent to add a file: the save settles both.
    fn is_staged(&self, entry: &Entry<'_>, before: Option<Oid>, after: Option<Oid>) -> bool {
        let oid =
            self.bytes.get(entry.range.start + OID_OFFSET..).and_then(|bytes| Oid::from_bytes(bytes.get(..20)?).ok());
        let is_settled = oid == before || oid == after;
        !is_settled && !entry.is_conflict() && entry.extended & EXTENDED_INTENT_TO_ADD == 0
    }

    /// Copies the entries with the operations applied; answers whether the set of paths changed, and whether something
    /// staged was kept.
    fn patch_entries(&self, patch: &Patch<'_>, writer: &mut Writer) -> (bool, bool) {
        let steps = steps(patch.ops);
        let mut steps = steps.iter().peekable();
        let (mut exact, mut below): (&[u8], Option<&[u8]>) = (b"", None);
        let (mut put, mut replaced, mut dropped, mut kept) = (0, 0, 0, 0);
        for entry in self.iter() {
            while let Some((key, step)) = steps.next_if(|(key, _)| key.as_slice() <= entry.name) {
                let here = key == entry.name;
                match step {
                    Step::DropBelow => below = Some(key),
                    Step::MakeRoom => exact = key,
                    Step::Drop { before } if here && self.is_staged(&entry, *before, None) => kept += 1,
                    Step::Drop { .. } => exact = key,
                    Step::Put(file) if here && self.is_staged(&entry, file.before, Some(file.oid)) => kept += 1,
                    // The user took it out of the index.
                    Step::Put(file) if !here && exact != key.as_slice() && file.before.is_some() => kept += 1,
                    Step::Put(file) => {
                        writer.put(key, file, if here { entry.flags & FLAG_ASSUME_VALID } else { 0 });
                        exact = key;
                        put += 1;
                        replaced += u32::from(here && !entry.is_conflict());
                    }
                }
            }
            if (!exact.is_empty() && exact == entry.name) || below.is_some_and(|key| entry.name.starts_with(key)) {
                dropped += 1;
            } else {
                writer.copy(self.bytes, &entry, is_racy(self.bytes, &entry, patch));
            }
        }
        for (key, step) in steps {
            match step {
                Step::Put(file) if file.before.is_some() => kept += 1,
                Step::Put(file) => {
                    writer.put(key, file, 0);
                    put += 1;
                }
                _ => {}
            }
        }
        (put != replaced || dropped != replaced, kept > 0)
    }
}

/// What an index consists of after a patch: most of it is what it was, and is not copied.
pub(super) struct Patched {
    pieces: Vec<Piece>,
    /// Whether something that the user staged was kept instead of what was saved.
    pub keeps_staged: bool,
    unsigned: bool,
}

enum Piece {
    /// A part of the old index.
    Old(Range<usize>),
    New(Vec<u8>),
}

impl Patched {
    /// Answers the parts of the new index, in order, without the checksum; `old` is the index that was patched.
    pub fn parts<'p>(&'p self, old: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
        self.pieces.iter().map(move |piece| match piece {
            Piece::Old(range) => &old[range.clone()],
            Piece::New(bytes) => bytes,
        })
    }

    /// Writes the new index, its checksum computed meanwhile, and answers that; `old` is the index that was patched.
    pub fn write_to(&self, old: &[u8], mut file: &File) -> io::Result<[u8; CHECKSUM_BYTES]> {
        let (written, checksum) = std::thread::scope(|scope| {
            let checksum = scope.spawn(|| self.checksum(old));
            let mut file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
            let written = self.parts(old).try_for_each(|part| file.write_all(part)).and_then(|()| file.flush());
            (written, checksum.join())
        });
        written?;
        let checksum = checksum.map_err(|_| io::Error::other("computing the index's checksum ended early"))?;
        file.write_all(&checksum)?;
        Ok(checksum)
    }

    /// Answers what stands at the end of the file.
    pub fn checksum(&self, old: &[u8]) -> [u8; CHECKSUM_BYTES] {
        if self.unsigned {
            return [0; CHECKSUM_BYTES];
        }
        let mut hasher = Sha1::new();
        self.parts(old).for_each(|part| hasher.update(part));
        hasher.finalize().into()
    }
}

impl Entry<'_> {
    fn is_conflict(&self) -> bool {
        self.flags & 0x3000 != 0
    }

    fn is_left_out(&self) -> bool {
        self.extended & EXTENDED_SKIP_WORKTREE != 0
    }

    fn is_assumed(&self) -> bool {
        self.flags & FLAG_ASSUME_VALID != 0
    }
}

/// The entries of an index that is being put together.
#[derive(Default)]
struct Writer {
    pieces: Vec<Piece>,
    count: u32,
    /// Whether an entry with extended flags was added.
    has_extended: bool,
    /// The part of the old index that stays as it is and is not among the pieces yet.
    run: Range<usize>,
}

impl Writer {
    fn copy(&mut self, old: &[u8], entry: &Entry<'_>, smudge: bool) {
        self.count += 1;
        if smudge {
            // A size of zero makes git compare the content.
            let mut bytes = old[entry.range.clone()].to_vec();
            bytes[SIZE_OFFSET..SIZE_OFFSET + 4].fill(0);
            self.add(bytes);
        } else if self.run.end == entry.range.start {
            self.run.end = entry.range.end;
        } else {
            self.flush();
            self.run = entry.range.clone();
        }
    }

    fn put(&mut self, name: &[u8], file: &Content, flags: u16) {
        let fixed = if file.left_out { FIXED_EXTENDED_BYTES } else { FIXED_BYTES };
        let mut bytes = Vec::with_capacity(padded(fixed + name.len()));
        stat_words(file).iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        bytes.extend_from_slice(file.oid.as_bytes());
        let extended = if file.left_out { FLAG_EXTENDED } else { 0 };
        let flags = flags | extended | name.len().min(0x0fff) as u16;
        bytes.extend_from_slice(&flags.to_be_bytes());
        if file.left_out {
            bytes.extend_from_slice(&EXTENDED_SKIP_WORKTREE.to_be_bytes());
        }
        bytes.extend_from_slice(name);
        bytes.resize(padded(fixed + name.len()), 0);
        self.add(bytes);
        self.count += 1;
        self.has_extended |= file.left_out;
    }

    fn add(&mut self, bytes: Vec<u8>) {
        self.flush();
        self.pieces.push(Piece::New(bytes));
    }

    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.pieces.push(Piece::Old(run));
        }
    }

    /// Answers header and entries.
    fn finish(mut self, old_header: &[u8]) -> Vec<Piece> {
        self.flush();
        let mut header = old_header.to_vec();
        header[8..12].copy_from_slice(&self.count.to_be_bytes());
        if self.has_extended {
            // Version 2 is the same without such entries.
            header[4..8].copy_from_slice(&3_u32.to_be_bytes());
        }
        self.pieces.insert(0, Piece::New(header));
        self.pieces
    }
}

/// Answers times, number and size of a file as an index keeps them.
pub(super) fn kept_times(stat: &FileStat) -> [u32; 6] {
    let ((cs, cns), (ms, mns)) = (stat.ctime, stat.mtime);
    [cs as u32, cns, ms as u32, mns, stat.ino as u32, stat.size as u32]
}

/// Answers the ten numbers that begin an entry.
fn stat_words(file: &Content) -> [u32; 10] {
    let Some(stat) = &file.stat else { return [0, 0, 0, 0, 0, 0, file.mode, 0, 0, 0] };
    let (ctime, mtime) = (stat.ctime, stat.mtime);
    // The format keeps the low 32 bits of each.
    let size = if file.recent { 0 } else { stat.size as u32 };
    let (dev, ino) = (stat.dev as u32, stat.ino as u32);
    [ctime.0 as u32, ctime.1, mtime.0 as u32, mtime.1, dev, ino, file.mode, stat.uid, stat.gid, size]
}

/// Puts the operations into the order of the index, with what each new file displaces.
fn steps<'p>(ops: &'p BTreeMap<&[u8], Op>) -> BTreeMap<Vec<u8>, Step<'p>> {
    let mut steps = BTreeMap::new();
    for (path, op) in ops {
        let file = match op {
            Op::Drop { before } => {
                steps.insert(path.to_vec(), Step::Drop { before: *before });
                continue;
            }
            Op::Put(file) => file,
        };
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            steps.entry(path[..slash].to_vec()).or_insert(Step::MakeRoom);
        }
        steps.insert([*path, b"/"].concat(), Step::DropBelow);
        steps.insert(path.to_vec(), Step::Put(file));
    }
    steps
}

/// Answers whether an entry is so young that only the old index's time told git to compare the content.
fn is_racy(bytes: &[u8], entry: &Entry<'_>, patch: &Patch<'_>) -> bool {
    let word = |offset| be32(bytes, entry.range.start + offset).unwrap_or(0);
    let mtime = (word(8), word(12));
    let age = age(mtime, patch.index_mtime);
    if age >= SETTLED_NS || word(SIZE_OFFSET) == 0 {
        return false;
    }
    age < TICK_NS || !(patch.unchanged)(entry.name, (word(0), word(4)), mtime)
}

/// Answers by how much a time in an entry is before one of the file system, in nanoseconds.
fn age(time: (u32, u32), now: (i64, u32)) -> i128 {
    let nanoseconds = |s: i64, ns: u32| i128::from(s) * 1_000_000_000 + i128::from(ns);
    nanoseconds(now.0, now.1) - nanoseconds(i64::from(time.0), time.1)
}

/// An index that is searched by path.
pub(super) struct Lookup {
    bytes: Vec<u8>,
    /// Where each entry begins.
    starts: Vec<u32>,
}

impl Lookup {
    /// Goes through the entries once; none for a form that only the git program should read.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let starts =
            Index::parse(&bytes)?.iter().map(|entry| u32::try_from(entry.range.start).ok()).collect::<Option<_>>();
        Some(Self { starts: starts?, bytes })
    }

    /// Answers mode and blob of a file, where all that is known of it is as `stat` says now and it cannot have changed
    /// since without a trace; `modified` is the time of the index.
    pub fn unchanged(&self, path: &[u8], stat: &FileStat, modified: (i64, u32)) -> Option<(u32, Oid)> {
        let entry = |start: &u32| entry_at(&self.bytes, *start as usize);
        let found =
            self.starts.binary_search_by(|start| entry(start).map_or(b"".as_slice(), |entry| entry.name).cmp(path));
        let entry = entry(self.starts.get(found.ok()?)?)?;
        if entry.is_conflict() || entry.is_assumed() || entry.extended != 0 {
            return None;
        }
        let word = |offset| be32(&self.bytes, entry.range.start + offset);
        let (ctime, mtime) = ((word(0)?, word(4)?), (word(8)?, word(12)?));
        let low = |time: (i64, u32)| (time.0 as u32, time.1);
        // The device is not compared, as git does not: it may be another one after each mount.
        let is_same = (ctime, mtime, word(20)?) == (low(stat.ctime), low(stat.mtime), stat.ino as u32)
            && (word(28)?, word(32)?, word(SIZE_OFFSET)?) == (stat.uid, stat.gid, stat.size as u32);
        // A size of zero says nothing: whoever wrote the entry did not believe its times.
        let is_believable = word(SIZE_OFFSET)? != 0;
        let is_old = |time: (u32, u32)| age(time, modified) > if time.1 == 0 { COARSE_SETTLED_NS } else { SETTLED_NS };
        // A file's own time can be set to any; the other one cannot.
        if !(is_same && is_believable && is_old(mtime) && is_old(ctime)) {
            return None;
        }
        let oid = Oid::from_bytes(self.bytes.get(entry.range.start + OID_OFFSET..)?.get(..20)?).ok()?;
        Some((word(MODE_OFFSET)?, oid))
    }
}

fn entry_at(bytes: &[u8], at: usize) -> Option<Entry<'_>> {
    let flags = be16(bytes, at + 60)?;
    let (fixed, extended) = if flags & FLAG_EXTENDED == 0 {
        (FIXED_BYTES, 0)
    } else {
        (FIXED_EXTENDED_BYTES, be16(bytes, at + FIXED_BYTES)?)
    };
    let start = at + fixed;
    let length = match usize::from(flags & 0x0fff) {
        0x0fff => bytes.get(start..)?.iter().position(|byte| *byte == 0)?,
        length => length,
    };
    let name = bytes.get(start..start + length)?;
    let end = at + padded(fixed + length);
    (end <= bytes.len()).then_some(Entry { name, range: at..end, flags, extended })
}

/// Entries end with one to eight zero bytes.
fn padded(length: usize) -> usize {
    (length + 8) & !7
}

fn push_extension(out: &mut Vec<u8>, name: &[u8], body: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// One directory of the cache of trees (`TREE` extension).
struct CachedTree {
    name: Vec<u8>,
    entries: i64,
    oid: Option<Oid>,
    below: Vec<CachedTree>,
}

/// Answers the cache of trees after `patch`; none when it is malformed (git makes it again).
fn patch_cache_tree(body: &[u8], patch: &Patch<'_>) -> Option<Vec<u8>> {
    let mut rest = body;
    let mut top = parse_cached(&mut rest, 0)?;
    update_cached(&mut top, b"", patch);
    let mut out = Vec::with_capacity(body.len() + 64);
    write_cached(&top, &mut out);
    Some(out)
}

fn parse_cached(rest: &mut &[u8], depth: usize) -> Option<CachedTree> {
    let name = until(rest, 0)?.to_vec();
    let entries: i64 = std::str::from_utf8(until(rest, b' ')?).ok()?.parse().ok()?;
    let count: usize = std::str::from_utf8(until(rest, b'\n')?).ok()?.parse().ok()?;
    let mut oid = None;
    if entries >= 0 {
        let (bytes, after) = rest.split_at_checked(20)?;
        oid = Some(Oid::from_bytes(bytes).ok()?);
        *rest = after;
    }
    if depth > MAX_CACHED_DEPTH {
        return None;
    }
    let below = (0..count).map(|_| parse_cached(rest, depth + 1)).collect::<Option<Vec<_>>>()?;
    Some(CachedTree { name, entries, oid, below })
}

fn until<'a>(rest: &mut &'a [u8], end: u8) -> Option<&'a [u8]> {
    let at = rest.iter().position(|byte| *byte == end)?;
    let (word, after) = (&rest[..at], &rest[at + 1..]);
    *rest = after;
    Some(word)
}

/// Brings the directories on the way to the changes up to date.
///
/// A directory whose cached tree was the parent commit's gets the new commit's; any other one that has
/// changes below, or gained or lost a directory, becomes unknown.
fn update_cached(cached: &mut CachedTree, path: &[u8], patch: &Patch<'_>) {
    let Some(change) = patch.dirs.get(path) else { return };
    let child = |name: &[u8]| super::tree::join(path, name);
    cached.below.retain(|tree| patch.dirs.get(&child(&tree.name)).is_none_or(|change| change.new.is_some()));
    cached.below.iter_mut().for_each(|tree| {
        let path = child(&tree.name);
        update_cached(tree, &path, patch);
    });
    let prefix = child(b"");
    let reshaped = |change: &DirChange| change.old.is_none() || change.new.is_none();
    let dirs_below = patch.dirs.range(prefix.clone()..).take_while(|(dir, _)| dir.starts_with(&prefix));
    let steady = !dirs_below.into_iter().any(|(_, change)| reshaped(change));
    let was_parents = cached.oid.is_some() && cached.oid == change.old;
    if let (true, true, Some(new)) = (steady, was_parents, change.new) {
        let counts = patch.counts.range(&prefix[..]..).take_while(|(path, _)| path.starts_with(&prefix));
        cached.entries += counts.map(|(_, count)| count).sum::<i64>();
        cached.oid = Some(new);
    } else {
        (cached.entries, cached.oid) = (-1, None);
    }
}

fn write_cached(cached: &CachedTree, out: &mut Vec<u8>) {
    out.extend_from_slice(&cached.name);
    out.push(0);
    out.extend_from_slice(format!("{} {}\n", cached.entries, cached.below.len()).as_bytes());
    if let Some(oid) = cached.oid {
        out.extend_from_slice(oid.as_bytes());
    }
    cached.below.iter().for_each(|tree| write_cached(tree, out));
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    const BLOB: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

    fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("git");
        command.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "").env("GIT_CONFIG_NOSYSTEM", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}");
        output.stdout
    }

    fn info(path: &str, stage: usize) -> String {
        let mode = 100_644;
        format!("{mode} {BLOB} {stage}\t{path}\0")
    }

    /// Patches an index made by git and compares with git's listing of what a model says.
    fn check(entries: &[(String, usize)], puts: &[String], drops: &[String], version: &str, left_out: bool) {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q"], b"");
        git(dir.path(), &["hash-object", "-w", "--stdin"], b"");
        git(dir.path(), &["read-tree", "--empty"], b"");
        let update = ["update-index", "--index-version", version, "-z", "--index-info"];
        let made: String = entries.iter().map(|(path, stage)| info(path, *stage)).collect();
        git(dir.path(), &update, made.as_bytes());
        let put = Op::Put(Content {
            mode: 0o100_755,
            oid: Oid::from_str(BLOB).unwrap(),
            before: None,
            stat: None,
            recent: false,
            left_out,
        });
        let mut ops: BTreeMap<&[u8], Op> = drops
            .iter()
            .map(|path| (path.as_bytes(), Op::Drop { before: Some(Oid::from_str(BLOB).unwrap()) }))
            .collect();
        ops.extend(puts.iter().map(|path| (path.as_bytes(), put.clone())));
        let index = dir.path().join(".git/index");
        let bytes = std::fs::read(&index).unwrap();
        let (dirs, counts) = (BTreeMap::new(), BTreeMap::new());
        let patch =
            Patch { ops: &ops, dirs: &dirs, counts: &counts, index_mtime: (i64::MAX, 0), unchanged: &|_, _, _| true };
        let patched = Index::parse(&bytes).unwrap().patched(&patch);
        let patched = [patched.parts(&bytes).collect::<Vec<_>>().concat(), patched.checksum(&bytes).to_vec()].concat();
        let old = git(dir.path(), &["ls-files", "-s", "-z"], b"");
        std::fs::write(&index, &patched).unwrap();
        let listed = git(dir.path(), &["ls-files", "-s", "-z"], b"");
        let mut expected: Vec<(Vec<u8>, Vec<u8>)> = old
            .split(|byte| *byte == 0)
            .filter_map(|line| Some((line.get(line.iter().position(|byte| *byte == b'\t')? + 1..)?, line)))
            .filter(|(path, _)| !ops.contains_key(path) && !puts.iter().any(|put| collide(put.as_bytes(), path)))
            .map(|(path, line)| (path.to_vec(), line.to_vec()))
            .collect();
        expected.extend(puts.iter().map(|path| (path.clone().into_bytes(), format!("100755 {BLOB} 0\t{path}").into())));
        expected.sort();
        let listed: Vec<&[u8]> = listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|(_, line)| line.as_slice()).collect();
        assert_eq!(listed, expected);
        let skipped = Index::parse(&patched).unwrap().skip_worktree();
        assert_eq!(skipped, puts.iter().filter(|_| left_out).map(|path| path.clone().into_bytes()).collect());
        let tags = git(dir.path(), &["ls-files", "-t", "-z"], b"");
        let by_git = tags.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(b"S "));
        assert_eq!(skipped, by_git.map(<[u8]>::to_vec).collect());
    }

    /// Answers whether one path would have to be a directory for the other.
    fn collide(a: &[u8], b: &[u8]) -> bool {
        let below = |path: &[u8], dir: &[u8]| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"));
        below(a, b) || below(b, a)
    }

    fn paths(most: usize) -> impl Strategy<Value = Vec<String>> {
        let free = |paths: std::collections::BTreeSet<String>| {
            let mut kept: Vec<String> = Vec::new();
            for path in paths {
                if !kept.iter().any(|other| collide(other.as_bytes(), path.as_bytes())) {
                    kept.push(path);
                }
            }
            kept
        };
        prop::collection::btree_set("[ab]([.-]|/[ab]{1,9}){0,3}c?", 0..most).prop_map(free)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn patched_index_lists_what_git_would(
            entries in paths(20), stages in prop::collection::vec(0_usize..4, 20), puts in paths(6), drops in paths(6),
            left_out in any::<bool>()
        ) {
            let drops: Vec<String> = drops.into_iter().filter(|path| !puts.contains(path)).collect();
            let staged = |(path, stage): (&String, &usize)| (path.clone(), *stage);
            let entries: Vec<_> = entries.iter().zip(&stages).map(staged).collect();
            check(&entries, &puts, &drops, "2", left_out);
        }
    }

    #[test]
    fn long_names_and_conflicts_are_replaced() {
        let long = "n".repeat(5_000);
        let entries: Vec<_> = [(long.as_str(), 0), ("x", 1), ("x", 2), ("x", 3), ("y", 2)]
            .map(|(path, stage)| (path.to_owned(), stage))
            .to_vec();
        for left_out in [false, true] {
            check(&entries, &[long.clone(), "x".to_owned()], &["y".to_owned()], "3", left_out);
        }
    }

    #[test]
    fn other_forms_are_left_to_git() {
        assert!(Index::parse(b"").is_none());
        assert!(Index::parse(b"DIRC\0\0\0\x04\0\0\0\0aaaaaaaaaaaaaaaaaaaa").is_none());
        assert!(Index::parse(b"DIRC\0\0\0\x02\0\0\0\x01aaaaaaaaaaaaaaaaaaaa").is_none());
        assert!(Index::parse(b"DIRC\0\0\0\x02\0\0\0\0aaaaaaaaaaaaaaaaaaaa").is_some());
    }
}
