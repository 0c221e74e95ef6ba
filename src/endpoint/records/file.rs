//! Records in one file that is written, too: an array, or a line for each.
//!
//! What is written waits in memory until there is enough of it, or somebody wants it on the disk: then the file is written
//! anew beside the old one, which stays byte for byte but for the records that change, and takes its place in one step. What
//! somebody else changed meanwhile is seen then, and stays.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::index::{Index, Survey, Text};
use super::merge::FieldMerge;
use super::rewrite::{Change, Changes, Rewrite};
use super::scan::Layout;
use super::shape::{Record, Shape, item};
use crate::base::escape::shown;
use crate::beneath::FileStat;
use crate::endpoint::{
    Capabilities, Content, Ended, Endpoint, Error, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Lister,
    Listing, Merge, Put, Result, Take, Version,
};

/// Bytes that wait in memory.
const WAITING_LIMIT_BYTES: usize = 32 << 20;
/// A file up to this size is written at once.
const SMALL_BYTES: u64 = 1 << 20;
/// What a waiting record takes beside its text, about.
const WAITING_BYTES: usize = 256;
/// How often a file that is being changed is written anew.
const ATTEMPTS: u32 = 3;
/// What a file that is being written is called, before its name.
const NEW_PREFIX: &str = ".cascade-new-";

/// Who may read a file that was not there.
const NEW_MODE: u32 = 0o644;

/// A file of records; cheap to clone.
#[derive(Clone)]
pub struct RecordFile(Arc<Held>);

struct Held {
    path: PathBuf,
    shape: Shape,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The file as it was looked through last; none: it was not, or was not there.
    index: Option<Arc<Index>>,
    /// What it was then.
    stamp: Option<FileStat>,
    /// What is to be there; none: nothing.
    waiting: BTreeMap<Key, Waiting>,
    waiting_bytes: usize,
}

struct Waiting {
    from: Option<Version>,
    to: Option<Record>,
}

impl RecordFile {
    /// Opens a file, which need not be there yet; the directory that it is in must.
    ///
    /// # Errors
    /// There is no such directory, or it is one.
    pub fn open(path: &Path, shape: Shape) -> Result<Self> {
        let real = || -> io::Result<PathBuf> {
            match path.canonicalize() {
                Ok(real) if real.is_dir() => Err(ErrorKind::IsADirectory.into()),
                Ok(real) => Ok(real),
                Err(missing) if missing.kind() == ErrorKind::NotFound => {
                    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
                    Ok(path.parent().unwrap_or(Path::new("/")).canonicalize()?.join(name))
                }
                Err(refused) => Err(refused),
            }
        };
        let path = real().map_err(Error::unusable(&place_of(path, &shape)))?;
        Ok(Self(Arc::new(Held { path, shape, state: Mutex::default() })))
    }

    /// Answers its path, symlinks resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unusable(&self, source: io::Error) -> Error {
        Error::unusable(&self.place())(source)
    }

    /// Answers how records are put together where the file does not tell.
    fn layout(&self) -> Layout {
        super::texts::layout(&self.0.path).unwrap_or(Layout::Array)
    }

    /// Looks through the file where it is not what it was.
    fn survey(&self, state: &mut State) -> Result<()> {
        let stamp = stamp(&self.0.path).map_err(|source| self.unusable(source))?;
        if stamp.is_some() && stamp == state.stamp && state.index.is_some() {
            return Ok(());
        }
        let name = shown(self.0.path.file_name().unwrap_or_default().as_bytes());
        let layout = Some(self.layout());
        let text = Text { name, path: self.0.path.clone(), layout, spool: None };
        let texts = if stamp.is_some() { vec![text] } else { Vec::new() };
        let index = Survey::new(&self.0.shape, None).of(texts).map_err(|source| self.unusable(source))?;
        (state.index, state.stamp) = (Some(Arc::new(index)), stamp);
        Ok(())
    }

    /// Answers what is under a key, or is about to be.
    fn now(&self, state: &State, key: &Key) -> Result<Option<Known>> {
        if let Some(waiting) = state.waiting.get(key) {
            return Ok(waiting.to.as_ref().map(|record| record.known.clone()));
        }
        let Some(index) = &state.index else { return Ok(None) };
        Ok(index.find(key).map_err(Error::item("read", key))?.map(|located| located.known))
    }

    fn require(&self, state: &State, key: &Key, expected: Option<Version>) -> Result<()> {
        let now = self.now(state, key)?.map(|known| known.version);
        if now == expected { Ok(()) } else { Err(Error::changed(key, "was changed at the target meanwhile")) }
    }

    /// Lets something wait to be written.
    fn wait(&self, state: &mut State, key: Key, expected: Option<Version>, to: Option<Record>) -> Result<()> {
        self.require(state, &key, expected)?;
        let from = state.waiting.get(&key).map_or(expected, |waiting| waiting.from);
        state.waiting_bytes += WAITING_BYTES + to.as_ref().map_or(0, |record| record.canonical.len());
        state.waiting.insert(key, Waiting { from, to });
        Ok(())
    }

    /// Writes the file where enough waits for that, or it is small; what was refused then is answered so.
    fn settle<R>(&self, mut answers: Vec<Result<(Key, R)>>) -> Vec<Result<R>> {
        let mut state = self.state();
        let is_small = state.stamp.as_ref().is_none_or(|stamp| stamp.size <= SMALL_BYTES);
        if is_small || state.waiting_bytes > WAITING_LIMIT_BYTES {
            match self.commit(&mut state) {
                Ok(refused) => answers.iter_mut().for_each(|answer| {
                    if let Some(key) = answer.as_ref().ok().map(|(key, _)| key).filter(|key| refused.contains(*key)) {
                        *answer = Err(Error::changed(key, "was changed at the target meanwhile"));
                    }
                }),
                Err(error) => {
                    let lost = || Error::Lost { place: self.place(), reason: words(&error) };
                    answers = answers.into_iter().map(|answer| answer.and_then(|_| Err(lost()))).collect();
                }
            }
        }
        answers.into_iter().map(|answer| answer.map(|(_, done)| done)).collect()
    }

    /// Writes the file with all that waits; answers what was refused, for somebody else was faster.
    fn commit(&self, state: &mut State) -> Result<Vec<Key>> {
        let waiting = std::mem::take(&mut state.waiting);
        state.waiting_bytes = 0;
        let change = |(key, Waiting { from, to }): (Key, Waiting)| {
            let (from, to) = (from.map(|version| version.digest), to.map(|record| record.canonical));
            (from.is_some() || to.is_some()).then_some((key, Change { from, to }))
        };
        let changes: Changes = waiting.into_iter().filter_map(change).collect();
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        state.stamp = None;
        for _ in 0..ATTEMPTS {
            if let Some(refused) = self.replace(&changes).map_err(|source| self.unusable(source))? {
                return Ok(refused);
            }
        }
        Err(self.unusable(io::Error::new(ErrorKind::ResourceBusy, "it is being changed all the time")))
    }

    /// Writes the file anew; answers what was refused, and nothing where somebody was faster.
    fn replace(&self, changes: &Changes) -> io::Result<Option<Vec<Key>>> {
        let directory = self.0.path.parent().unwrap_or(Path::new("/"));
        let old = match File::open(&self.0.path) {
            Ok(old) => Some(old),
            Err(missing) if missing.kind() == ErrorKind::NotFound => None,
            Err(refused) => return Err(refused),
        };
        let before = old.as_ref().map(FileStat::of_open).transpose()?;
        let new = tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(directory)?;
        let permissions = match &old {
            Some(old) => old.metadata()?.permissions(),
            None => Permissions::from_mode(NEW_MODE),
        };
        new.as_file().set_permissions(permissions)?;
        let empty = tempfile::tempfile()?;
        let out = BufWriter::with_capacity(256 << 10, new.as_file());
        let kind = (&self.0.shape, self.layout());
        let (mut out, refused) = Rewrite::new(kind, changes, old.as_ref().unwrap_or(&empty), out).run()?;
        out.flush()?;
        drop(out);
        new.as_file().sync_all()?;
        let is_placed = self.exchange(new, before)?;
        File::open(directory)?.sync_all()?;
        Ok(is_placed.then_some(refused))
    }

    /// Puts the new file in the place of the old one, where that is what was read.
    fn exchange(&self, new: tempfile::NamedTempFile, before: Option<FileStat>) -> io::Result<bool> {
        let (path, target) = (new.into_temp_path(), &self.0.path);
        if before.is_none() {
            return match path.persist_noclobber(target) {
                Ok(()) => Ok(true),
                Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(refused) => Err(refused.error),
            };
        }
        match renameat_with(CWD, &*path, CWD, target, RenameFlags::EXCHANGE) {
            Ok(()) if is_untouched(stamp(&path)?, before) => Ok(true),
            Ok(()) => {
                // Somebody wrote to it after it was read: it goes back.
                renameat_with(CWD, &*path, CWD, target, RenameFlags::EXCHANGE)?;
                Ok(false)
            }
            // Not every file system can exchange.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if is_untouched(stamp(target)?, before) => {
                path.persist(target).map(|()| true).map_err(|refused| refused.error)
            }
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }

    fn list_all(&self, lister: &mut Lister) -> Result<Ended> {
        let index = {
            let mut state = self.state();
            state.stamp = None;
            self.survey(&mut state)?;
            state.index.clone()
        };
        let state = self.state();
        let Some(index) = index else { return Ok(Ended::default()) };
        let mut waiting = state.waiting.iter().peekable();
        for found in index.all().map_err(|source| self.unusable(source))? {
            let (key, located) = found.map_err(|source| self.unusable(source))?;
            while let Some((_, new)) = waiting.next_if(|(other, _)| **other < key) {
                give_waiting(lister, new);
            }
            match waiting.next_if(|(other, _)| **other == key) {
                Some((_, changed)) => give_waiting(lister, changed),
                None => drop(lister.give(item(key, &located.known))),
            }
        }
        waiting.for_each(|(_, new)| give_waiting(lister, new));
        Ok(index.ended.clone())
    }

    /// Does work on a blocking thread, with the file looked through.
    fn batch<T: Send + 'static, R: Send + 'static>(
        &self,
        items: Vec<T>,
        work: impl Fn(&Self, &mut State, T) -> Result<R> + Send + 'static,
    ) -> Later<'static, Vec<Result<R>>> {
        let this = self.clone();
        Box::pin(crate::endpoint::in_batch(self.place(), items, move |items| {
            let mut state = this.state();
            match this.survey(&mut state) {
                Ok(()) => items.into_iter().map(|item| work(&this, &mut state, item)).collect(),
                Err(error) => {
                    let reason = error.to_string();
                    items.iter().map(|_| Err(Error::Lost { place: this.place(), reason: reason.clone() })).collect()
                }
            }
        }))
    }

    fn settled<'a, R: Send + 'static>(&'a self, work: Later<'a, Vec<Result<(Key, R)>>>) -> Later<'a, Vec<Result<R>>> {
        Box::pin(async move {
            let (this, answers) = (self.clone(), work.await);
            crate::endpoint::in_batch(self.place(), answers, move |answers| this.settle(answers)).await
        })
    }

    /// Answers a record as it is now, or is about to be.
    fn look(&self, state: &State, key: &Key) -> Result<Record> {
        match state.waiting.get(key) {
            Some(waiting) => waiting.to.clone().ok_or_else(|| super::gone(key)),
            None => {
                let index = state.index.as_ref().ok_or_else(|| super::gone(key))?;
                super::texts::read(index, &self.0.shape, key)
            }
        }
    }
}

fn words(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn give_waiting(lister: &mut Lister, waiting: &Waiting) {
    if let Some(record) = &waiting.to {
        lister.give(record.item());
    }
}

/// Answers what a file is; nothing where there is none.
fn stamp(path: &Path) -> io::Result<Option<FileStat>> {
    match File::open(path) {
        Ok(file) => FileStat::of_open(&file).map(Some),
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Answers whether a file is what it was, wherever it is now: being renamed is a change, too, but none of its content.
fn is_untouched(now: Option<FileStat>, before: Option<FileStat>) -> bool {
    let content = |stat: FileStat| (stat.ino, stat.size, stat.mtime);
    now.map(content) == before.map(content)
}

fn place_of(path: &Path, shape: &Shape) -> String {
    format!("the records of {} by {}", shown(path.as_os_str().as_bytes()), shown(shape.id.as_bytes()))
}

impl fmt::Debug for RecordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordFile").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Endpoint for RecordFile {
    fn place(&self) -> String {
        place_of(&self.0.path, &self.0.shape)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: false, links: false }
    }

    fn merger(&self) -> Option<Arc<dyn Merge>> {
        self.0.shape.by_field.then(|| Arc::new(FieldMerge) as Arc<dyn Merge>)
    }

    fn admit(&self, key: &Key, given: &[u8]) -> Option<Result<Vec<u8>>> {
        Some(super::admitted(&self.0.shape, key, given))
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::blocking(self.place(), move |lister| this.list_all(lister))
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        self.batch(items, |this, state, item| {
            let record = this.look(state, &item.key)?;
            Ok(Content::whole(record.canonical).proved_by(Some(record.known.fingerprint)))
        })
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.batch(items, |this, state, item| this.look(state, &item.key).map(|record| record.known))
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        let work = self.batch(puts, |this, state, put| {
            let (key, record, expected) = super::promised(&this.0.shape, put)?;
            let fingerprint = record.known.fingerprint.clone();
            this.wait(state, key.clone(), expected, Some(record)).map(|()| (key, fingerprint))
        });
        self.settled(work)
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        let work = self.batch(takes, |this, state, take| {
            this.wait(state, take.key.clone(), Some(take.expected.version), None).map(|()| (take.key, ()))
        });
        self.settled(work)
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        let this = self.clone();
        Box::pin(async move {
            let done = crate::endpoint::in_batch(this.place(), vec![()], move |_| {
                // What was refused is seen by whoever looks at the file afterwards.
                vec![this.commit(&mut this.state()).map(drop)]
            });
            done.await.pop().unwrap_or(Ok(()))
        })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}
