//! A directory of this machine: files and symbolic links beneath it.
//!
//! Nothing is followed out of it. New content is written aside, in the directory where it belongs, and changes places with
//! what is there in one step of the file system; what comes out is looked at, and goes back where it is not what was
//! expected. When a file was last changed is kept where the source knows it; hard links, owners and extended attributes are
//! not. Large files are copied by the file system itself where it can.

mod folding;
mod modes;
mod place;
mod walk;
mod write;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::{
    Body, Capabilities, Content, Endpoint, Error, Fingerprint, Folding, Form, IsKept, Item, Known, Later, Leftover,
    Listing, Opened, PIECE_BYTES, Put, READ_AT_ONCE_BYTES, Result, Take, Version,
};
use crate::base::Clock;
use crate::base::digest::{Digest, Digesting};
use crate::base::escape::shown;
use crate::beneath::{Beneath, FileStat};
use crate::config::Durability;
use place::Spot;

/// A file system that tells fractions of a second has the time from the last tick of the kernel's clock.
const TICK_MS: i64 = 50;
/// The coarsest clock of a file system that does not (FAT).
const COARSE_TICK_MS: i64 = 2_000;
/// How often a file that is being changed is read again.
const READ_ATTEMPTS: u32 = 3;

/// A directory, opened once: what is at its path later does not matter; cheap to clone.
#[derive(Clone)]
pub struct Directory {
    path: PathBuf,
    top: Arc<OwnedFd>,
    clock: Arc<dyn Clock>,
    durability: Durability,
    /// Whether its file system knows which files may be executed.
    executables: bool,
}

impl Directory {
    /// Opens a directory; `path` is absolute.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let open = || -> io::Result<(PathBuf, OwnedFd)> {
            let real = path.canonicalize()?;
            let top = File::open(&real)?;
            if !top.metadata()?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            Ok((real, top.into()))
        };
        let (path, top) = open().map_err(Error::unusable(&place_of(path)))?;
        let executables = modes::known(&top).unwrap_or(true);
        Ok(Self { path, top: Arc::new(top), clock, durability: Durability::Full, executables })
    }

    /// Lets what is written wait for the disk, or not.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Finds out, where the file system is none of those that are known, whether it keeps which files may be executed: by
    /// a file that is gone at once. For directories that are written to.
    #[must_use]
    pub fn trying_modes(self) -> Self {
        let tried = || modes::probe(&self.top).unwrap_or(true);
        let executables = modes::known(&self.top).unwrap_or_else(tried);
        Self { executables, ..self }
    }

    /// Answers what an entry is as an item; nothing where it is none.
    fn form(&self, stat: &FileStat) -> Option<Form> {
        match form(stat)? {
            Form::File { executable } => Some(Form::File { executable: executable && self.executables }),
            Form::Link => Some(Form::Link),
        }
    }

    /// Answers its path, symlinks resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn beneath(&self) -> Result<Beneath> {
        Beneath::within(self.top.as_fd()).map_err(Error::unusable(&self.place()))
    }

    /// Does work on many items beneath the directory on a blocking thread.
    fn batch<T, R>(
        &self,
        items: Vec<T>,
        work: impl FnOnce(&Self, &Beneath, Vec<T>) -> Vec<Result<R>> + Send + 'static,
    ) -> Later<'static, Vec<Result<R>>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let this = self.clone();
        Box::pin(super::in_batch(self.place(), items, move |items| match this.beneath() {
            Ok(beneath) => work(&this, &beneath, items),
            Err(error) => {
                let reason = error.to_string();
                let lost = |_| Err(Error::Lost { place: this.place(), reason: reason.clone() });
                items.into_iter().map(lost).collect()
            }
        }))
    }

    /// Answers what tells cheaply whether a file was touched; `seen_ms` is a moment before it was looked at.
    fn fingerprint(stat: &FileStat, seen_ms: i64) -> Fingerprint {
        let mut bytes = Vec::with_capacity(48);
        bytes.extend_from_slice(&stat.size.to_le_bytes());
        for (seconds, nanoseconds) in [stat.mtime, stat.ctime] {
            bytes.extend_from_slice(&seconds.to_le_bytes());
            bytes.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        bytes.extend_from_slice(&stat.ino.to_le_bytes());
        bytes.extend_from_slice(&stat.mode.to_le_bytes());
        Fingerprint { bytes, is_racy: is_young(stat, seen_ms) }
    }

    /// Answers what is at a place now, by its content.
    fn known(&self, spot: &Spot) -> io::Result<Known> {
        for _ in 0..READ_ATTEMPTS {
            let seen_ms = self.clock.now().as_millisecond();
            let before = spot.stat()?;
            let (form, digest, size) = match self.form(&before) {
                Some(Form::Link) => {
                    let leads = spot.read_link()?;
                    (Form::Link, Digest::of(&leads), leads.len() as u64)
                }
                Some(form) => {
                    let (digest, size) = digest_file(spot.open()?, before.size)?;
                    (form, digest, size)
                }
                None => return Err(io::Error::other("it is neither a file nor a link")),
            };
            if spot.stat()? == before {
                let version = Version { digest, form, size };
                return Ok(Known { version, fingerprint: Self::fingerprint(&before, seen_ms) });
            }
        }
        Err(io::Error::other("it is being changed all the time"))
    }
}

/// Answers whether a file was touched so shortly before `seen_ms` that it can change again without its times telling.
fn is_young(stat: &FileStat, seen_ms: i64) -> bool {
    let (seconds, nanoseconds) = stat.ctime;
    let tick_ms = if nanoseconds == 0 { COARSE_TICK_MS } else { TICK_MS };
    seconds.saturating_mul(1_000).saturating_add(i64::from(nanoseconds / 1_000_000)).saturating_add(tick_ms) >= seen_ms
}

/// Answers what a directory's entry is as an item; nothing where it is none.
fn form(stat: &FileStat) -> Option<Form> {
    match stat.kind {
        FileType::RegularFile => Some(Form::File { executable: stat.executable() }),
        FileType::Symlink => Some(Form::Link),
        _ => None,
    }
}

/// Answers what a file has, about `size` bytes.
///
/// # Errors
/// It cannot be read.
pub fn digest_file(mut file: File, size: u64) -> io::Result<(Digest, u64)> {
    let mut digesting = Digesting::default();
    // Most files are small, and a large buffer for each would cost more than they do.
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut piece = vec![0; size.saturating_add(1).min(READ_AT_ONCE_BYTES)];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digesting.finish()),
            count => digesting.add(&piece[..count]),
        }
    }
}

fn place_of(path: &Path) -> String {
    format!("the directory {}", shown(path.as_os_str().as_bytes()))
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Endpoint for Directory {
    fn place(&self) -> String {
        place_of(&self.path)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: self.executables, links: true }
    }

    fn is_nested(&self) -> bool {
        true
    }

    fn folding(&self) -> Later<'_, Folding> {
        let this = self.clone();
        Box::pin(async move {
            let probed = tokio::task::spawn_blocking(move || folding::probe(&this.top).unwrap_or_default());
            probed.await.unwrap_or_default()
        })
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::blocking(self.place(), move |lister| walk::walk(&this, lister))
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        self.batch(items, |this, beneath, items| items.iter().map(|item| read(this, beneath, item)).collect())
    }

    fn read_part(&self, item: Item, at: u64, length: u64) -> Later<'_, Result<Vec<u8>>> {
        let key = item.key.clone();
        let read = self.batch(vec![item], move |_, beneath, items| {
            let part = |item: &Item| read_part(beneath, item, at, length).map_err(Error::item("read", &item.key));
            items.iter().map(part).collect()
        });
        let lost = move || Err(Error::item("read", &key)(io::Error::other("there is no answer")));
        Box::pin(async move { read.await.pop().unwrap_or_else(lost) })
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.batch(items, |this, beneath, items| {
            let known = |item: &Item| {
                let spot = Spot::existing(beneath, &item.key).and_then(|spot| this.known(&spot));
                spot.map_err(Error::item("read", &item.key))
            };
            items.iter().map(known).collect()
        })
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        self.batch(puts, write::write)
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        self.batch(takes, |this, beneath, takes| takes.iter().map(|take| write::delete(this, beneath, take)).collect())
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        let this = self.clone();
        Box::pin(async move {
            let done = super::in_batch(this.place(), vec![()], move |_| {
                vec![write::flush(&this).map_err(Error::unusable(&this.place()))]
            });
            done.await.pop().unwrap_or(Ok(()))
        })
    }

    fn sweep(&self, leftovers: Vec<Leftover>, is_kept: IsKept) -> Later<'_, Vec<String>> {
        let swept = self.batch(leftovers, move |this, beneath, leftovers| {
            leftovers.iter().map(|path| Ok(write::sweep(this, beneath, path, &is_kept))).collect()
        });
        Box::pin(async move { swept.await.into_iter().filter_map(|answer| answer.ok().flatten()).collect() })
    }
}

fn read_part(beneath: &Beneath, item: &Item, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = Spot::existing(beneath, &item.key)?.open()?;
    file.seek(SeekFrom::Start(at))?;
    let mut part = Vec::new();
    file.take(length).read_to_end(&mut part)?;
    Ok(part)
}

fn read(directory: &Directory, beneath: &Beneath, item: &Item) -> Result<Content> {
    let failed = || Error::item("read", &item.key);
    let seen_ms = directory.clock.now().as_millisecond();
    let spot = Spot::existing(beneath, &item.key).map_err(failed())?;
    if item.form == Form::Link {
        return spot.read_link().map(Content::whole).map_err(failed());
    }
    let file = spot.open().map_err(failed())?;
    let stat = FileStat::of_open(&file).map_err(failed())?;
    let fingerprint = Directory::fingerprint(&stat, seen_ms);
    let content = if stat.size > PIECE_BYTES as u64 {
        // What the item was digested as is what the file is, as long as it is not touched.
        let is_proved = !item.fingerprint.is_racy && fingerprint.bytes == item.fingerprint.bytes;
        Content::of(Body::File(Opened { file, key: item.key.clone(), proof: is_proved.then_some(stat) }))
    } else {
        // One byte more tells the end; what grows meanwhile is found out by its digest.
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0) + 1);
        (&file).take(PIECE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed())?;
        let is_still = FileStat::of_open(&file).map_err(failed())? == stat;
        Content::whole(bytes).proved_by(is_still.then_some(fingerprint))
    };
    Ok(content.modified_at(stat.mtime))
}

#[cfg(test)]
mod tests;
