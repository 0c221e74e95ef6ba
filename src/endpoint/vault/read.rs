//! Reading items: what is needed of each pack at once, opened and made whole by several threads.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::thread;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;

use super::Vault;
use super::chunk::expand;
use super::index::{Chunk, ChunkRef, Entry};
use super::objects::{is_missing, pack_name};
use super::seal::{Broken, HEADER_BYTES, Kind, ObjectKey};
use crate::base::digest::{Digest, Digesting};
use crate::endpoint::{self, Content, Error, Item, Key, Known, PIECE_BYTES, Result};

/// Bytes between two parts that are read with them rather than asked for apart.
const GAP_BYTES: u32 = 64 << 10;
/// Bytes of chunks of a large item that are read at a time.
const WINDOW_BYTES: u64 = 4 << 20;
/// Packs that are read at the same time.
const PACKS_AT_ONCE: usize = 4;
/// More chunks are opened by several threads.
const CHUNKS_ALONE: usize = 8;
const THREADS_LIMIT: usize = 8;

/// Chunks that were read, and whether they opened.
#[derive(Default)]
struct Chunks {
    opened: HashMap<ChunkRef, Result<Vec<u8>, Broken>>,
    /// Packs of which nothing could be read.
    unread: HashMap<u32, Unread>,
}

/// Why nothing of a pack could be read.
enum Unread {
    Missing,
    Broken(Broken),
    Refused(Error),
}

/// Reads items, small ones at once; large ones while they are taken.
pub(super) async fn read(vault: &Vault, items: Vec<Item>) -> Vec<Result<Content>> {
    let entries = match find(vault, &items).await {
        Ok(entries) => entries,
        Err(error) => return all_failed(&items, &error),
    };
    let small = entries.iter().flatten().filter(|entry| entry.version.size <= PIECE_BYTES as u64);
    let wanted = small.flat_map(|entry| entry.chunks.iter().copied()).collect();
    let chunks = fetch(vault, wanted).await;
    let content = |(item, entry): (Item, Result<Entry>)| {
        let entry = entry?;
        let content = match entry.version.size <= PIECE_BYTES as u64 {
            true => Content::whole(assembled(vault, &entry, &chunks)?),
            false => in_pieces(vault, &item.key, &entry),
        };
        let content = content.proved_by(Some(entry.fingerprint()));
        Ok(match entry.modified {
            Some(modified) => content.modified_at(modified),
            None => content,
        })
    };
    items.into_iter().zip(entries).map(content).collect()
}

/// Answers what items are by their content, all of it read.
pub(super) async fn digest(vault: &Vault, items: Vec<Item>) -> Vec<Result<Known>> {
    let mut known = Vec::with_capacity(items.len());
    for (item, content) in items.iter().zip(read(vault, items.clone()).await) {
        known.push(match content {
            Ok(content) => digested(vault, item, content).await,
            Err(error) => Err(error),
        });
    }
    known
}

async fn digested(vault: &Vault, item: &Item, content: Content) -> Result<Known> {
    let content = bytes_digested(content, vault.place_text()).await?;
    let entry = vault.0.index().entries.get(&item.key).cloned().ok_or_else(|| gone(&item.key))?;
    if content != (entry.version.digest, entry.version.size) {
        return Err(vault.damaged("the index", "it says that content is what it is not"));
    }
    Ok(entry.known())
}

async fn bytes_digested(content: Content, place: &str) -> Result<(Digest, u64)> {
    let digesting = tokio::task::spawn_blocking(move || {
        let mut digesting = Digesting::default();
        content.drain(|piece| {
            digesting.add(piece);
            Ok::<_, Error>(())
        })?;
        Ok(digesting.finish())
    });
    digesting.await.map_err(|lost| Error::Lost { place: place.to_owned(), reason: lost.to_string() })?
}

/// Answers what items are as the index has it, which is authenticated.
pub(super) async fn recall(vault: &Vault, items: Vec<Item>) -> Vec<Result<Known>> {
    match find(vault, &items).await {
        Ok(entries) => entries.into_iter().map(|entry| entry.map(|entry| entry.known())).collect(),
        Err(error) => all_failed(&items, &error),
    }
}

fn all_failed<T>(items: &[Item], error: &Error) -> Vec<Result<T>> {
    let said = super::said(error);
    items.iter().map(|item| Err(Error::item("read", &item.key)(io::Error::other(said.clone())))).collect()
}

fn gone(key: &Key) -> Error {
    Error::item("read", key)(io::ErrorKind::NotFound.into())
}

/// Answers what the index has of items; all of their chunks are at the vault then.
async fn find(vault: &Vault, items: &[Item]) -> Result<Vec<Result<Entry>>> {
    let mut state = vault.0.state.lock().await;
    vault.require_loaded(&mut state).await?;
    let found = {
        let index = vault.0.index();
        let entry = |item: &Item| index.entries.get(&item.key).cloned().ok_or_else(|| gone(&item.key));
        items.iter().map(entry).collect::<Vec<_>>()
    };
    let chunks = found.iter().flatten().flat_map(|entry| &entry.chunks);
    if chunks.into_iter().any(|at| state.packing.is_underway(at.pack)) {
        vault.settle(&mut state).await?;
    }
    Ok(found)
}

fn assembled(vault: &Vault, entry: &Entry, chunks: &Chunks) -> Result<Vec<u8>> {
    let mut content = Vec::with_capacity(usize::try_from(entry.version.size).unwrap_or(0));
    for at in &entry.chunks {
        content.extend_from_slice(chunks.get(vault, *at)?);
    }
    Ok(content)
}

/// Gives a large item piece by piece.
fn in_pieces(vault: &Vault, key: &Key, entry: &Entry) -> Content {
    let (sender, content) = endpoint::pieces();
    let (vault, key, entry) = (vault.clone(), key.clone(), entry.clone());
    tokio::spawn(async move {
        let mut rest = &entry.chunks[..];
        while !rest.is_empty() {
            let window = window(&vault, rest);
            let chunks = fetch(&vault, rest[..window].to_vec()).await;
            for at in &rest[..window] {
                let piece = chunks.get(&vault, *at).map(<[u8]>::to_vec);
                if !give(&sender, piece).await {
                    tracing::debug!("{key} is wanted no more");
                    return;
                }
            }
            rest = &rest[window..];
        }
    });
    content
}

/// Answers whether more is wanted.
async fn give(sender: &mpsc::Sender<Result<Vec<u8>>>, piece: Result<Vec<u8>>) -> bool {
    let is_last = piece.is_err();
    sender.send(piece).await.is_ok() && !is_last
}

/// Answers how many chunks are read at a time.
fn window(vault: &Vault, chunks: &[ChunkRef]) -> usize {
    let index = vault.0.index();
    let mut bytes = 0;
    let fits = |at: &&ChunkRef| {
        bytes += index.chunk(**at).map_or(0, |(_, chunk)| u64::from(chunk.size));
        bytes <= WINDOW_BYTES
    };
    chunks.iter().take_while(fits).count().max(1)
}

impl Chunks {
    /// Answers a chunk.
    fn get(&self, vault: &Vault, at: ChunkRef) -> Result<&[u8]> {
        let name = || vault.0.index().pack(at.pack).map(|pack| pack_name(&pack.id)).unwrap_or_default();
        match (self.opened.get(&at), self.unread.get(&at.pack)) {
            (Some(Ok(chunk)), _) => Ok(chunk),
            (Some(Err(broken)), _) | (None, Some(Unread::Broken(broken))) => {
                Err(broken.of(vault.place_text(), &name()).into())
            }
            (None, Some(Unread::Refused(error))) => {
                let source = io::Error::new(super::kind_of(error), super::said(error));
                Err(Error::Unusable { place: vault.place_text().to_owned(), source })
            }
            (None, Some(Unread::Missing) | None) => Err(vault.0.objects.missing(&name()).into()),
        }
    }
}

/// What is wanted of one pack.
struct Wanted {
    place: u32,
    name: String,
    bytes: u64,
    chunks: Vec<(u32, Chunk)>,
}

/// Reads and opens chunks.
async fn fetch(vault: &Vault, chunks: Vec<ChunkRef>) -> Chunks {
    let wanted = wanted(vault, chunks);
    let mut fetched = stream::iter(wanted).map(|wanted| from_pack(vault, wanted)).buffered(PACKS_AT_ONCE);
    let mut chunks = Chunks::default();
    while let Some((place, answer)) = fetched.next().await {
        match answer {
            Ok(opened) => chunks.opened.extend(opened),
            Err(unread) => drop(chunks.unread.insert(place, unread)),
        }
    }
    chunks
}

/// Sorts chunks by the packs that they are in, each once.
fn wanted(vault: &Vault, chunks: Vec<ChunkRef>) -> Vec<Wanted> {
    let index = vault.0.index();
    let mut packs: BTreeMap<u32, BTreeMap<u32, Chunk>> = BTreeMap::new();
    for at in chunks {
        if let Some((_, chunk)) = index.chunk(at) {
            packs.entry(at.pack).or_default().insert(at.number, chunk.clone());
        }
    }
    let wanted = |(place, chunks): (u32, BTreeMap<u32, Chunk>)| {
        let pack = index.pack(place)?;
        let (name, bytes) = (pack_name(&pack.id), pack.bytes());
        Some(Wanted { place, name, bytes, chunks: chunks.into_iter().collect() })
    };
    packs.into_iter().filter_map(wanted).collect()
}

async fn from_pack(vault: &Vault, wanted: Wanted) -> (u32, Result<Opened, Unread>) {
    let place = wanted.place;
    let read = async {
        let mut parts = Vec::new();
        for range in ranges(&wanted.chunks) {
            let length = u64::from(range.end - range.start);
            let part = vault.0.objects.part(&wanted.name, wanted.bytes, range.start.into(), length).await?;
            parts.push((range.start, part));
        }
        Ok::<_, Error>(parts)
    };
    let parts = match read.await {
        Ok(parts) => parts,
        Err(error) if is_missing(&error) => return (place, Err(Unread::Missing)),
        Err(error) => return (place, Err(Unread::Refused(error))),
    };
    let vault = vault.clone();
    let opened = tokio::task::spawn_blocking(move || open(&vault, &wanted, &parts));
    (place, opened.await.unwrap_or_else(|end| Err(lost(&end.to_string()))))
}

fn lost(reason: &str) -> Unread {
    Unread::Refused(Error::Lost { place: "a thread".to_owned(), reason: reason.to_owned() })
}

/// Answers which parts of a pack are read, for chunks in their order; the header comes first.
fn ranges(chunks: &[(u32, Chunk)]) -> Vec<Range<u32>> {
    let mut last = 0..HEADER_BYTES as u32;
    let mut ranges = Vec::new();
    for (_, chunk) in chunks {
        let end = chunk.at.saturating_add(chunk.sealed);
        if chunk.at.saturating_sub(last.end) <= GAP_BYTES {
            last.end = end;
        } else {
            ranges.push(std::mem::replace(&mut last, chunk.at..end));
        }
    }
    ranges.push(last);
    ranges
}

/// A part of a pack: where it begins, and its bytes.
type Part = (u32, Vec<u8>);
/// Chunks of one pack, and whether they opened.
type Opened = Vec<(ChunkRef, Result<Vec<u8>, Broken>)>;

fn open(vault: &Vault, wanted: &Wanted, parts: &[Part]) -> Result<Opened, Unread> {
    let keys = &vault.0.opened().map_err(Unread::Refused)?.keys;
    let key = keys.opener(Kind::Pack, &wanted.name, &parts[0].1).map_err(Unread::Broken)?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_LIMIT);
    let at_once = wanted.chunks.len().div_ceil(threads).max(CHUNKS_ALONE);
    let open_some = |chunks: &[(u32, Chunk)]| -> Opened {
        let open = |(number, chunk): &(u32, Chunk)| {
            let sealed = sealed(parts, chunk).ok_or(Broken::Shape);
            let opened = sealed.and_then(|sealed| open_chunk(&key, *number, chunk, sealed));
            (ChunkRef { pack: wanted.place, number: *number }, opened)
        };
        chunks.iter().map(open).collect()
    };
    thread::scope(|scope| {
        let mut groups = wanted.chunks.chunks(at_once);
        let mine = groups.next().unwrap_or_default();
        let others: Vec<_> = groups.map(|group| scope.spawn(|| open_some(group))).collect();
        let mut opened = open_some(mine);
        for other in others {
            opened.extend(other.join().map_err(|_| lost("it ended"))?);
        }
        Ok(opened)
    })
}

fn sealed<'p>(parts: &'p [Part], chunk: &Chunk) -> Option<&'p [u8]> {
    let (start, bytes) = parts.iter().rfind(|(start, _)| *start <= chunk.at)?;
    let from = (chunk.at - start) as usize;
    bytes.get(from..from + chunk.sealed as usize)
}

/// Opens a chunk and makes it whole.
pub(super) fn open_chunk(key: &ObjectKey, number: u32, chunk: &Chunk, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
    let bytes = key.open(number.into(), false, sealed)?;
    let whole = if chunk.is_compressed { expand(&bytes, chunk.size as usize) } else { Some(bytes) };
    whole.filter(|whole| whole.len() == chunk.size as usize).ok_or(Broken::Shape)
}
