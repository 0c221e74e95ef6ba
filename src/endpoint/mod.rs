//! Holders of keyed items: what a sync reads from and writes to.
//!
//! Every kind of endpoint lists itself as [`Item`]s in byte order of their keys, so that two of them and what was agreed
//! last can be compared in one pass. What an endpoint cannot do it says in its [`Capabilities`]; nobody asks what kind it
//! is. `contract_tests` holds every kind to the same promises.

pub mod bucket;
#[cfg(test)]
mod contract_tests;
pub mod directory;
pub mod error;
pub mod item;
pub mod memory;
pub mod read_only;
#[cfg(test)]
mod record_server_tests;
pub mod records;
pub mod tree;
pub mod vault;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

pub use bucket::Bucket;
pub use directory::{Directory, digest_file};
pub use error::{Class, Error, Result};
pub use item::{Fingerprint, Form, Item, Key, Version};
pub use memory::Memory;
pub use read_only::ReadOnly;
pub use records::{
    Asking, Origin, RecordApi, RecordFile, RecordTable, RecordTexts, Requests, Schema, Shape, record_key, record_lines,
};
pub use tree::Tree;
pub use vault::Vault;

use crate::base::digest::Digest;
use crate::beneath::FileStat;

/// Items that are listed at a time.
pub const LISTED_AT_ONCE_ITEMS: usize = 1_000;
/// Batches of a listing that wait for whoever reads it.
const LISTING_BATCHES_LIMIT: usize = 4;
/// Content up to this size travels as a whole; larger content comes in pieces of this size.
pub const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a file that are read at a time.
const READ_AT_ONCE_BYTES: usize = 128 << 10;
/// Pieces that wait for whoever reads them.
const PIECES_LIMIT: usize = 2;

/// An answer that is waited for.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an endpoint can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It can be written to.
    pub writes: bool,
    /// It knows which files may be executed; elsewhere none may.
    pub executables: bool,
    /// It can hold symbolic links.
    pub links: bool,
}

/// Which names an endpoint takes for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folding {
    /// Those that differ by upper and lower case.
    pub case: bool,
    /// Those that differ by how accents are encoded.
    pub normalization: bool,
}

/// What is under a key, and what tells that it still is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it is.
    pub version: Version,
    /// What the endpoint said of it.
    pub fingerprint: Fingerprint,
}

/// When content was last changed where it comes from: seconds since 1970 and nanoseconds.
pub type Modified = (i64, u32);

/// Content on its way.
#[derive(Debug)]
pub struct Content {
    /// The content.
    pub body: Body,
    /// When it was last changed, where that is known.
    pub modified: Option<Modified>,
    /// What tells that the endpoint has exactly this: it was not touched while it was read.
    pub fingerprint: Option<Fingerprint>,
    /// SHA-256 of it, where whoever read it took that.
    pub digest: Option<Digest>,
}

/// How content comes.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Piece after piece, the last of them before the channel closes; a failure is the last one.
    Pieces(mpsc::Receiver<Result<Vec<u8>>>),
    /// As a file that was opened, which the file system may be able to copy by itself.
    File(Opened),
}

/// A file that was opened to be read.
#[derive(Debug)]
pub struct Opened {
    /// The file, at its beginning.
    pub file: File,
    /// Its key, for messages.
    pub key: Key,
    /// What the file was when its content was digested, where that is proved: as long as it is that, so is its content.
    pub proof: Option<FileStat>,
}

impl Opened {
    /// Answers whether the content is still what was digested.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.proof.is_some_and(|proof| FileStat::of_open(&self.file).is_ok_and(|now| now == proof))
    }
}

impl Content {
    /// Makes content of which nothing else is known.
    #[must_use]
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self::of(Body::Whole(bytes))
    }

    fn of(body: Body) -> Self {
        Self { body, modified: None, fingerprint: None, digest: None }
    }

    /// Says what tells that the endpoint has exactly this.
    #[must_use]
    pub fn proved_by(self, fingerprint: Option<Fingerprint>) -> Self {
        Self { fingerprint, ..self }
    }

    /// Says when it was last changed.
    #[must_use]
    pub fn modified_at(self, modified: Modified) -> Self {
        Self { modified: Some(modified), ..self }
    }

    /// Answers `length` bytes from `at` on, waiting for them: for blocking threads.
    fn part(self, at: u64, length: u64) -> Result<Vec<u8>> {
        let (mut part, mut seen) = (Vec::new(), 0);
        self.drain(|piece| {
            let end = seen + piece.len() as u64;
            let (from, to) = (at.max(seen), at.saturating_add(length).min(end));
            if from < to {
                part.extend_from_slice(&piece[(from - seen) as usize..(to - seen) as usize]);
            }
            seen = end;
            Ok::<_, Error>(())
        })?;
        Ok(part)
    }

    /// Gives all content to `take`, piece by piece, waiting for it: for blocking threads.
    ///
    /// # Errors
    /// What the source of the content, or `take`, answers.
    pub fn drain<E: From<Error>>(self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self.body {
            Body::Whole(bytes) => take(&bytes),
            Body::Pieces(mut pieces) => {
                while let Some(piece) = pieces.blocking_recv() {
                    take(&piece?)?;
                }
                Ok(())
            }
            Body::File(Opened { mut file, key, .. }) => {
                let mut piece = vec![0; READ_AT_ONCE_BYTES];
                loop {
                    match file.read(&mut piece).map_err(Error::item("read", &key))? {
                        0 => return Ok(()),
                        count => take(&piece[..count])?,
                    }
                }
            }
        }
    }
}

/// Something to write.
#[derive(Debug)]
pub struct Put {
    /// Under which key.
    pub key: Key,
    /// What it must be when all of it has come.
    pub to: Version,
    /// The content.
    pub content: Content,
    /// What must be there; none: nothing.
    pub expected: Option<Known>,
}

/// Something to take away.
#[derive(Debug, Clone)]
pub struct Take {
    /// Under which key.
    pub key: Key,
    /// What must be there.
    pub expected: Known,
}

/// Something that is there and not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// Its key, or that of everything at and below it.
    pub key: Key,
    /// Why it is not listed.
    pub reason: String,
    /// Whether items may hide behind it; otherwise it is known to be none (a FIFO, a socket, a device).
    pub hides_items: bool,
}

/// Something that may be an item under a key that nobody can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it is, safe to show: `products.ndjson:17`.
    pub place: String,
    /// Why it is none.
    pub reason: String,
}

/// How a listing ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// What is there and not listed.
    pub unlisted: Vec<Unlisted>,
    /// What may be items under keys that nobody can tell.
    pub aside: Vec<Aside>,
    /// What an interrupted write left behind, for [`Endpoint::sweep`].
    pub leftovers: Vec<Leftover>,
}

/// Something that an interrupted write left behind, by the name that the endpoint gave it.
pub type Leftover = Vec<u8>;

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// The next items, in byte order of their keys, each key once.
    Items(Vec<Item>),
    /// That was all.
    End(Ended),
}

/// A listing under way.
#[derive(Debug)]
pub struct Listing(mpsc::Receiver<Result<Listed>>);

/// Whoever lists gives the items to this.
#[derive(Debug)]
pub struct Lister {
    sender: mpsc::Sender<Result<Listed>>,
    batch: Vec<Item>,
}

/// Answers whether content of that digest is kept elsewhere.
pub type IsKept = Arc<dyn Fn(&Digest) -> bool + Send + Sync>;

/// Content that was brought together part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What the target is to have.
    pub content: Vec<u8>,
    /// What that is.
    pub form: Form,
    /// What is agreed on then at the source and at the target, part by part; none: exactly what they have.
    pub agreed: [Option<Known>; 2],
    /// Parts that somebody else changed at the target: they are left alone.
    pub kept: Vec<String>,
    /// Whether anything else is agreed on than before.
    pub is_news: bool,
}

/// Brings together what both sides made of content that has parts, such as the fields of a record.
pub trait Merge: fmt::Debug + Send + Sync {
    /// Brings two contents together where `agreed` tells what was agreed of their parts at the source and at the target:
    /// what only the source changed comes from there, what somebody else changed at the target stays. Nothing where it
    /// does not tell.
    fn merge(&self, agreed: [&Fingerprint; 2], source: &[u8], target: &[u8]) -> Option<Merged>;
}

/// A holder of keyed items.
///
/// Work on many items answers for each of them in the order in which they were given; one that fails stops no other.
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Answers what people call it; equal for equal endpoints, and for no others.
    fn place(&self) -> String;

    /// Answers what it can keep.
    fn capabilities(&self) -> Capabilities;

    /// Answers whether an item can have no others below it, as a file can have none.
    fn is_nested(&self) -> bool {
        false
    }

    /// Answers which names it takes for one; asked only where it matters.
    fn folding(&self) -> Later<'_, Folding> {
        Box::pin(async { Folding::default() })
    }

    /// Answers who brings content of this kind together part by part, where it has parts and tells of each whether it was
    /// touched.
    fn merger(&self) -> Option<Arc<dyn Merge>> {
        None
    }

    /// Answers what a person gave for a key as this holds it; nothing where it holds content as it is.
    fn admit(&self, _key: &Key, _given: &[u8]) -> Option<Result<Vec<u8>>> {
        None
    }

    /// Begins to list all items.
    fn list(&self) -> Listing;

    /// Reads the content of items. That it is what was listed is for whoever digests it to see.
    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>>;

    /// Reads `length` bytes of an item's content from `at` on; fewer where it ends before.
    fn read_part(&self, item: Item, at: u64, length: u64) -> Later<'_, Result<Vec<u8>>> {
        let place = self.place();
        let read = self.read(vec![item]);
        Box::pin(async move {
            let lost = |reason: String| Error::Lost { place: place.clone(), reason };
            let content = read.await.pop().unwrap_or_else(|| Err(lost("it gave no answer".to_owned())))?;
            let part = tokio::task::spawn_blocking(move || content.part(at, length));
            part.await.unwrap_or_else(|end| Err(lost(end.to_string())))
        })
    }

    /// Answers what items are now, with the fingerprint that belongs to it.
    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>>;

    /// Answers what items are now without reading their content where the endpoint recorded that with them, and can prove
    /// it to be of this content; otherwise as [`Endpoint::digest`].
    fn recall(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.digest(items)
    }

    /// Writes items, each wholly or not at all, and only where what is there is what is expected
    /// ([`Error::Changed`] otherwise). Answers the fingerprint of what is there then.
    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>>;

    /// Takes items away, each only where it is what is expected ([`Error::Changed`] otherwise).
    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>>;

    /// Waits until everything that was written and deleted would survive a power cut.
    fn flush(&self) -> Later<'_, Result<()>>;

    /// Removes what interrupted writes left behind, except what somebody may still want: what is neither our own new
    /// content nor kept elsewhere. Answers that, for people.
    fn sweep(&self, leftovers: Vec<Leftover>, is_kept: IsKept) -> Later<'_, Vec<String>>;
}

impl Listing {
    /// Lists on a blocking thread; `work` gives its items to the lister and answers how it ended.
    pub fn blocking(place: String, work: impl FnOnce(&mut Lister) -> Result<Ended> + Send + 'static) -> Self {
        let lost = place.clone();
        Self::running(place, |mut lister| async move {
            let listed = tokio::task::spawn_blocking(move || work(&mut lister).map(|ended| (lister, ended)));
            listed.await.unwrap_or_else(|end| Err(Error::Lost { place: lost, reason: end.to_string() }))
        })
    }

    /// Lists beside whoever reads; `work` gives its items to the lister and answers that with how it ended.
    fn running<F>(place: String, work: impl FnOnce(Lister) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(Lister, Ended)>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(LISTING_BATCHES_LIMIT);
        let lister = Lister { sender: sender.clone(), batch: Vec::new() };
        // Whatever becomes of the work, there is an end: a listing that only stops is none.
        let work = tokio::spawn(work(lister));
        tokio::spawn(async move {
            let lost = |end: tokio::task::JoinError| Error::Lost { place: place.clone(), reason: end.to_string() };
            let last = match work.await.unwrap_or_else(|end| Err(lost(end))) {
                // Nobody listens any more where a part cannot be sent.
                Ok((lister, ended)) => {
                    if !lister.batch.is_empty() && sender.send(Ok(Listed::Items(lister.batch))).await.is_err() {
                        return;
                    }
                    Ok(Listed::End(ended))
                }
                Err(error) => Err(error),
            };
            if sender.send(last).await.is_err() {
                tracing::debug!("nobody reads the listing of {place} any more");
            }
        });
        Self(receiver)
    }

    /// Waits for the next part, on a blocking thread; nothing after the end or a failure.
    pub fn next_blocking(&mut self) -> Option<Result<Listed>> {
        self.0.blocking_recv()
    }

    /// Waits for the next part; nothing after the end or a failure.
    pub async fn next(&mut self) -> Option<Result<Listed>> {
        self.0.recv().await
    }
}

impl Lister {
    /// Gives the next item; answers whether anybody still wants it.
    pub fn give(&mut self, item: Item) -> bool {
        self.batch.push(item);
        self.batch.len() < LISTED_AT_ONCE_ITEMS || self.send_batch()
    }

    /// Gives the next item, from where threads must not be blocked; answers whether anybody still wants it.
    pub async fn hand(&mut self, item: Item) -> bool {
        self.batch.push(item);
        if self.batch.len() < LISTED_AT_ONCE_ITEMS {
            return true;
        }
        let batch = std::mem::take(&mut self.batch);
        self.sender.send(Ok(Listed::Items(batch))).await.is_ok()
    }

    fn send_batch(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        self.sender.blocking_send(Ok(Listed::Items(batch))).is_ok()
    }
}

/// Prepares a channel for content that comes in pieces.
fn pieces() -> (mpsc::Sender<Result<Vec<u8>>>, Content) {
    let (sender, receiver) = mpsc::channel(PIECES_LIMIT);
    (sender, Content::of(Body::Pieces(receiver)))
}

/// Answers what a reader has, about `size` bytes; large content is read while it is taken. `action` is for messages.
///
/// # Errors
/// It cannot be read.
pub fn content_of(
    mut reader: impl Read + Send + 'static,
    size: u64,
    key: &Key,
    action: &'static str,
) -> io::Result<Content> {
    if size <= PIECE_BYTES as u64 {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // What grows meanwhile is found out by its digest.
        reader.take(PIECE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        return Ok(Content::whole(bytes));
    }
    let (sender, content) = pieces();
    let key = key.clone();
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let next = match reader.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece) {
                Ok(0) => return,
                Ok(_) => Ok(piece),
                Err(source) => Err(Error::item(action, &key)(source)),
            };
            let is_last = next.is_err();
            // Nobody wants more of it where this fails.
            if sender.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    Ok(content)
}

/// Does work on many items on a blocking thread; where the thread is lost, every item is.
async fn in_batch<T: Send + 'static, R: Send + 'static>(
    place: String,
    items: Vec<T>,
    work: impl FnOnce(Vec<T>) -> Vec<Result<R>> + Send + 'static,
) -> Vec<Result<R>> {
    let count = items.len();
    match tokio::task::spawn_blocking(move || work(items)).await {
        Ok(done) => done,
        Err(lost) => {
            let error = || Error::Lost { place: place.clone(), reason: lost.to_string() };
            (0..count).map(|_| Err(error())).collect()
        }
    }
}

/// Refuses to write, for endpoints that are only read from.
fn read_only<R: Send + 'static>(place: String, count: usize) -> Later<'static, Vec<Result<R>>> {
    Box::pin(async move { (0..count).map(|_| Err(Error::ReadOnly { place: place.clone() })).collect() })
}
