//! Where each record of some texts is: found in one pass over them, sorted by key, kept in a temporary file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use tempfile::TempPath;

use super::pointed;
use super::scan::{Layout, Scanned, Scanner};
use super::shape::{FORM, Record, Shape};
use super::sorting::{Pair, Sorter, read_pair, write_pair};
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::config::JsonPointer;
use crate::endpoint::{Aside, Ended, Fingerprint, Key, Known, Unlisted, Version};

/// Every so many records a key is held in memory.
const STRIDE: usize = 64;
/// More of what is set aside in one pass is counted, not told.
const TOLD_LIMIT: usize = 1_000;

/// A text that has records.
#[derive(Debug)]
pub(super) struct Text {
    /// What people call it, escaped.
    pub name: String,
    pub path: PathBuf,
    /// How its records are put together, where its name tells.
    pub layout: Option<Layout>,
    /// Removes it when it is not needed any more.
    #[allow(dead_code, reason = "held until nobody reads the text any more")]
    pub spool: Option<TempPath>,
}

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// Which of the texts it is in.
    pub text: usize,
    /// Bytes before it.
    pub offset: u64,
    pub length: usize,
    pub line: u64,
    pub known: Known,
}

/// All records of some texts.
#[derive(Debug)]
pub(super) struct Index {
    pub texts: Vec<Text>,
    /// What is no record.
    pub ended: Ended,
    file: File,
    sparse: Vec<(Vec<u8>, u64)>,
}

/// Finds the records of texts.
pub(super) struct Survey<'s> {
    pub shape: &'s Shape,
    /// Where the array of records is within each text.
    items: Option<&'s JsonPointer>,
    sorter: Sorter,
    ended: Ended,
    left_off: usize,
}

impl<'s> Survey<'s> {
    /// Begins; the records of a text are in the array to which `items` points, where that is said.
    pub fn new(shape: &'s Shape, items: Option<&'s JsonPointer>) -> Self {
        Self { shape, items, sorter: Sorter::default(), ended: Ended::default(), left_off: 0 }
    }

    /// Looks through texts one after the other.
    pub fn of(mut self, texts: Vec<Text>) -> io::Result<Index> {
        for (place, text) in texts.iter().enumerate() {
            let file = File::open(&text.path);
            let file = file.map_err(|refused| io::Error::new(refused.kind(), format!("{}: {refused}", text.name)))?;
            if let Some(scanner) = self.scanner(text, file)? {
                self.look_through(place, text, scanner)?;
            }
        }
        self.finish(texts)
    }

    /// Answers what cuts a text into records; nothing where they are not where they must be, which is told.
    fn scanner(&mut self, text: &Text, mut file: File) -> io::Result<Option<Scanner<File>>> {
        let limit = self.shape.limit;
        let Some(items) = self.items else { return Ok(Some(Scanner::new(file, text.layout, limit))) };
        let (line, reason) = match pointed::find(&file, items, 1)? {
            Ok(Some(place)) if place.text.starts_with(b"[") => {
                file.seek(SeekFrom::Start(place.offset))?;
                return Ok(Some(Scanner::within(file, (place.offset, place.line), limit)));
            }
            Ok(place) => {
                let pointer = shown(items.written().as_bytes());
                (place.map_or(1, |place| place.line), format!("it has no array at `{pointer}`; nothing of it is read"))
            }
            Err(wrong) => (wrong.line, format!("{}; nothing of it is read", wrong.reason)),
        };
        self.set_aside(format!("{}:{line}", text.name), reason);
        Ok(None)
    }

    fn look_through(&mut self, place: usize, text: &Text, mut scanner: Scanner<File>) -> io::Result<()> {
        loop {
            match scanner.next()? {
                Scanned::End => return Ok(()),
                Scanned::Bad { line, reason, hides_rest } => {
                    let rest = if hides_rest { "; what follows is not read" } else { "" };
                    self.set_aside(format!("{}:{line}", text.name), format!("{reason}{rest}"));
                }
                Scanned::Record { offset, line } => match self.shape.record(scanner.text()) {
                    Ok(record) => self.add(&record, (place, offset, line), scanner.text().len())?,
                    Err(refused) => {
                        let before = &scanner.text()[..refused.offset.min(scanner.text().len())];
                        let line = line + before.iter().filter(|byte| **byte == b'\n').count() as u64;
                        let (at, reason) = (format!("{}:{line}", text.name), refused.to_string());
                        match refused.key {
                            Some(key) => self.hide(key, format!("{at}: {reason}")),
                            None => self.set_aside(at, reason),
                        }
                    }
                },
            }
        }
    }

    fn add(&mut self, record: &Record, (text, offset, line): (usize, u64, u64), length: usize) -> io::Result<()> {
        let located = Located { text, offset, length, line, known: record.known.clone() };
        self.sorter.add(record.key.as_bytes(), located.encoded())
    }

    fn set_aside(&mut self, place: String, reason: String) {
        if self.ended.aside.len() + self.ended.unlisted.len() >= TOLD_LIMIT {
            self.left_off += 1;
        } else {
            self.ended.aside.push(Aside { place, reason });
        }
    }

    fn hide(&mut self, key: Key, reason: String) {
        // A record whose key is known is always told: nothing may be done under it.
        self.ended.unlisted.push(Unlisted { key, reason, hides_items: true });
    }

    fn finish(mut self, texts: Vec<Text>) -> io::Result<Index> {
        let mut writer = BufWriter::new(tempfile::tempfile()?);
        let (mut sparse, mut at, mut count) = (Vec::new(), 0, 0_usize);
        let mut sorted = std::mem::take(&mut self.sorter).finish()?;
        let mut next = sorted.next()?;
        while let Some(pair) = next {
            next = sorted.next()?;
            let mut twins = Vec::new();
            while let Some(twin) = next.take_if(|twin| twin.0 == pair.0) {
                twins.push(twin);
                next = sorted.next()?;
            }
            if !twins.is_empty() {
                self.hide_twins(&texts, pair, &twins);
                continue;
            }
            if count.is_multiple_of(STRIDE) {
                sparse.push((pair.0.clone(), at));
            }
            count += 1;
            at += write_pair(&mut writer, &pair)?;
        }
        writer.flush()?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        if self.left_off > 0 {
            let reason = format!("{} more are no records", self.left_off);
            self.ended.aside.push(Aside { place: "elsewhere".to_owned(), reason });
        }
        Ok(Index { texts, ended: self.ended, file, sparse })
    }

    /// Records with one id: nobody knows which of them counts.
    fn hide_twins(&mut self, texts: &[Text], first: Pair, others: &[Pair]) {
        let place = |pair: &Pair| Located::decoded(&pair.1).map(|it| format!("{}:{}", texts[it.text].name, it.line));
        let places: Vec<String> = [&first].into_iter().chain(others).take(3).filter_map(place).collect();
        if let Ok(key) = Key::new(first.0) {
            let count = others.len() + 1;
            self.hide(key, format!("{count} records have this id ({})", places.join(", ")));
        }
    }
}

impl Index {
    /// Answers all records in the order of their keys.
    pub fn all(&self) -> io::Result<impl Iterator<Item = io::Result<(Key, Located)>>> {
        self.from(0)
    }

    fn from(&self, start: u64) -> io::Result<impl Iterator<Item = io::Result<(Key, Located)>> + use<>> {
        let mut reader = BufReader::with_capacity(64 << 10, Reading { file: self.file.try_clone()?, at: start });
        Ok(std::iter::from_fn(move || read_pair(&mut reader).transpose().map(|pair| pair.and_then(located))))
    }

    /// Finds a record.
    pub fn find(&self, key: &Key) -> io::Result<Option<Located>> {
        let place = self.sparse.partition_point(|(known, _)| known.as_slice() <= key.as_bytes());
        let Some((_, start)) = place.checked_sub(1).and_then(|place| self.sparse.get(place)) else { return Ok(None) };
        for found in self.from(*start)?.take(STRIDE) {
            match found? {
                (other, located) if other == *key => return Ok(Some(located)),
                (other, _) if other > *key => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Reads the text of a record as it is now.
    pub fn text(&self, located: &Located) -> io::Result<Vec<u8>> {
        let mut text = vec![0; located.length];
        File::open(&self.texts[located.text].path)?.read_exact_at(&mut text, located.offset)?;
        Ok(text)
    }
}

/// Reads a file from its own place, whoever else does.
struct Reading {
    file: File,
    at: u64,
}

impl io::Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn located((key, value): Pair) -> io::Result<(Key, Located)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the index of the records is damaged");
    let key = Key::new(key).map_err(|_| damaged())?;
    Ok((key, Located::decoded(&value).ok_or_else(damaged)?))
}

impl Located {
    /// Writes it down so that those of one key sort by their places.
    fn encoded(&self) -> Vec<u8> {
        let Self { text, offset, length, line, known } = self;
        let mut bytes = Vec::with_capacity(80);
        for number in [*text as u64, *offset, *length as u64, *line, known.version.size] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(known.version.digest.as_bytes());
        bytes.extend_from_slice(&known.fingerprint.bytes);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        let number = |place: usize| Some(u64::from_be_bytes(bytes.get(8 * place..8 * place + 8)?.try_into().ok()?));
        let digest = Digest::from_bytes(bytes.get(40..72)?.try_into().ok()?);
        let version = Version { digest, form: FORM, size: number(4)? };
        let fingerprint = Fingerprint { bytes: bytes.get(72..)?.to_vec(), is_racy: false };
        Some(Self {
            text: usize::try_from(number(0)?).ok()?,
            offset: number(1)?,
            length: usize::try_from(number(2)?).ok()?,
            line: number(3)?,
            known: Known { version, fingerprint },
        })
    }
}
