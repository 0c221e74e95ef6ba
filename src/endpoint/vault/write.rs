//! Writing items: cut, made small and sealed by several threads, packed in the order in which that is done.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::Handle;

use super::chunk::{CHUNK_BYTES_MIN, Compressor, Cutter};
use super::error::Error as VaultError;
use super::index::{ChunkRef, Entry, Index};
use super::pack::Prepared;
use super::state::State;
use super::{COMMITTED_AT_ONCE_BYTES, Shared, Vault, kind_of, said};
use crate::base::digest::{Digest, Digesting};
use crate::endpoint::{Body, Content, Error, Fingerprint, Key, Known, Modified, Put, Result, Take, Version};

/// Chunks that wait to be packed.
const CHUNKS_LIMIT: usize = 32;
/// More threads than this have nothing to do.
const THREADS_LIMIT: usize = 8;

const CHANGED_HERE: &str = "was changed at the target meanwhile";
const CHANGED_THERE: &str = "was changed at the source meanwhile";

/// Writes items; they count with the next head.
pub(super) async fn write(vault: &Vault, puts: Vec<Put>) -> Vec<Result<Fingerprint>> {
    let keys: Vec<Key> = puts.iter().map(|put| put.key.clone()).collect();
    let written = try_write(vault, puts).await;
    written.unwrap_or_else(|error| keys.iter().map(|key| Err(refused("write", key, &error))).collect())
}

async fn try_write(vault: &Vault, puts: Vec<Put>) -> Result<Vec<Result<Fingerprint>>> {
    let mut state = Arc::clone(&vault.0.state).lock_owned().await;
    vault.refresh(&mut state).await?;
    let (shared, handle) = (Arc::clone(&vault.0), Handle::current());
    let writing = tokio::task::spawn_blocking(move || {
        let written = Writing { shared: &shared, state: &mut state, handle: &handle }.run(puts);
        (written, state)
    });
    let lost =
        |lost: tokio::task::JoinError| Error::Lost { place: vault.place_text().to_owned(), reason: lost.to_string() };
    let (written, mut state) = writing.await.map_err(lost)?;
    if let Some(reason) = &state.packing.failed {
        return Err(VaultError::Unwritten { place: vault.place_text().to_owned(), reason: reason.clone() }.into());
    }
    if state.packing.new_bytes >= COMMITTED_AT_ONCE_BYTES {
        vault.commit(&mut state).await?;
    }
    Ok(written)
}

/// Takes items away; that counts with the next head.
pub(super) async fn delete(vault: &Vault, takes: Vec<Take>) -> Vec<Result<()>> {
    if takes.is_empty() {
        return Vec::new();
    }
    let mut state = vault.0.state.lock().await;
    if let Err(error) = vault.refresh(&mut state).await {
        return takes.iter().map(|take| Err(refused("delete", &take.key, &error))).collect();
    }
    let mut index = vault.0.index_mut();
    let take = |take: Take| {
        let before = require(&index, &take.key, Some(&take.expected))?;
        index.entries.remove(&take.key);
        state.pending.entry(take.key).or_insert(before);
        Ok(())
    };
    takes.into_iter().map(take).collect()
}

/// Answers what a failure of the whole vault means for an item.
fn refused(action: &'static str, key: &Key, error: &Error) -> Error {
    Error::item(action, key)(io::Error::new(kind_of(error), said(error)))
}

/// Answers what is there, if that is what was expected.
fn require(index: &Index, key: &Key, expected: Option<&Known>) -> Result<Option<Version>> {
    let found = index.entries.get(key);
    match (found, expected) {
        (None, None) => Ok(None),
        (Some(found), Some(expected))
            if found.version == expected.version || found.fingerprint().proves(&expected.fingerprint) =>
        {
            Ok(Some(found.version))
        }
        _ => Err(Error::changed(key, CHANGED_HERE)),
    }
}

/// What the threads tell whoever packs.
enum Told {
    /// The next chunk of an item.
    Chunk(usize, Prepared),
    /// The item has no more, and is what it was to be, or not.
    End(usize, Result<()>),
}

/// An item on its way into the vault.
struct Coming {
    key: Key,
    to: Version,
    before: Option<Version>,
    modified: Option<Modified>,
    chunks: Vec<ChunkRef>,
}

/// Whoever writes many items.
struct Writing<'w> {
    shared: &'w Arc<Shared>,
    state: &'w mut State,
    handle: &'w Handle,
}

impl Writing<'_> {
    fn run(&mut self, puts: Vec<Put>) -> Vec<Result<Fingerprint>> {
        let mut answers: Vec<Option<Result<Fingerprint>>> = Vec::new();
        let (mut coming, mut jobs) = (Vec::new(), VecDeque::new());
        for (number, put) in puts.into_iter().enumerate() {
            match require(&self.shared.index(), &put.key, put.expected.as_ref()) {
                Ok(before) => {
                    let Put { key, to, content, .. } = put;
                    let modified = content.modified;
                    coming.push(Some(Coming { key: key.clone(), to, before, modified, chunks: Vec::new() }));
                    jobs.push_back((number, key, to, content));
                    answers.push(None);
                }
                Err(error) => {
                    coming.push(None);
                    answers.push(Some(Err(error)));
                }
            }
        }
        self.prepare_and_pack(jobs, &mut coming, &mut answers);
        let lost = || Error::Lost { place: self.shared.objects.place.clone(), reason: "a thread ended".to_owned() };
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(lost()))).collect()
    }

    fn prepare_and_pack(
        &mut self,
        jobs: VecDeque<Job>,
        coming: &mut [Option<Coming>],
        answers: &mut [Option<Result<Fingerprint>>],
    ) {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_LIMIT).min(jobs.len());
        let shared = Arc::clone(self.shared);
        let Ok(opened) = shared.opened() else { return };
        let jobs = Mutex::new(jobs);
        let (sender, receiver) = sync_channel(CHUNKS_LIMIT);
        thread::scope(|scope| {
            for _ in 0..threads {
                let (jobs, sender, shared) = (&jobs, sender.clone(), &*shared);
                scope.spawn(move || prepare_all(shared, &opened.cutter, jobs, &sender));
            }
            drop(sender);
            self.pack(&receiver, coming, answers);
        });
    }

    /// Packs what the threads prepare.
    fn pack(
        &mut self,
        receiver: &Receiver<Told>,
        coming: &mut [Option<Coming>],
        answers: &mut [Option<Result<Fingerprint>>],
    ) {
        for told in receiver {
            match told {
                Told::Chunk(number, prepared) => {
                    let Some(item) = &mut coming[number] else { continue };
                    match self.add(prepared) {
                        Ok(at) => item.chunks.push(at),
                        Err(error) => {
                            answers[number] = Some(Err(error));
                            coming[number] = None;
                        }
                    }
                }
                Told::End(number, outcome) => {
                    let Some(item) = coming[number].take() else { continue };
                    answers[number] = Some(outcome.map(|()| self.settle(item)));
                }
            }
        }
    }

    fn add(&mut self, prepared: Prepared) -> Result<ChunkRef> {
        let opened = self.shared.opened()?;
        let (at, full) = self.state.packing.add(&opened.keys, &mut self.shared.index_mut(), prepared)?;
        if let Some(full) = full {
            self.handle.block_on(self.state.packing.make_room());
            self.state.packing.send(self.shared, full, self.handle);
        }
        Ok(at)
    }

    fn settle(&mut self, item: Coming) -> Fingerprint {
        let entry = Entry { version: item.to, modified: item.modified, chunks: item.chunks.into() };
        let fingerprint = entry.fingerprint();
        self.state.pending.entry(item.key.clone()).or_insert(item.before);
        self.shared.index_mut().entries.insert(item.key, entry);
        fingerprint
    }
}

/// An item to prepare: its number, key, what it must be, and its content.
type Job = (usize, Key, Version, Content);

/// Prepares items as long as there are any.
fn prepare_all(shared: &Shared, cutter: &Cutter, jobs: &Mutex<VecDeque<Job>>, sender: &SyncSender<Told>) {
    let mut compressor = Compressor::new();
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some((number, key, to, content)) = next() {
        let mut preparing = Preparing { shared, cutter, compressor: &mut compressor, number, sender };
        let outcome = preparing.prepare(&key, to, content);
        // Nobody listens only where whoever packs is lost.
        if sender.send(Told::End(number, outcome)).is_err() {
            return;
        }
    }
}

/// Whoever prepares one item.
struct Preparing<'p> {
    shared: &'p Shared,
    cutter: &'p Cutter,
    compressor: &'p mut Compressor,
    number: usize,
    sender: &'p SyncSender<Told>,
}

impl Preparing<'_> {
    fn prepare(&mut self, key: &Key, to: Version, content: Content) -> Result<()> {
        let changed = || Error::changed(key, CHANGED_THERE);
        match content {
            Content { body: Body::Whole(bytes), digest, .. } => {
                let digest = digest.unwrap_or_else(|| Digest::of(&bytes));
                if (digest, bytes.len() as u64) != (to.digest, to.size) {
                    return Err(changed());
                }
                if bytes.len() <= CHUNK_BYTES_MIN && !bytes.is_empty() {
                    return self.give(digest, &bytes);
                }
                self.cut(&mut bytes.as_slice(), true)
            }
            content => {
                let (mut waiting, mut digesting) = (Vec::new(), Digesting::default());
                content.drain(|piece| {
                    digesting.add(piece);
                    waiting.extend_from_slice(piece);
                    let mut rest = waiting.as_slice();
                    self.cut(&mut rest, false)?;
                    let left = rest.len();
                    waiting.drain(..waiting.len() - left);
                    Ok::<_, Error>(())
                })?;
                self.cut(&mut waiting.as_slice(), true)?;
                if digesting.finish() == (to.digest, to.size) { Ok(()) } else { Err(changed()) }
            }
        }
    }

    /// Gives all chunks that can be cut off, and leaves the rest.
    fn cut(&mut self, bytes: &mut &[u8], is_all: bool) -> Result<()> {
        while let Some(length) = self.cutter.cut(bytes, is_all) {
            let (chunk, rest) = bytes.split_at(length);
            self.give(Digest::of(chunk), chunk)?;
            *bytes = rest;
        }
        Ok(())
    }

    fn give(&mut self, id: Digest, chunk: &[u8]) -> Result<()> {
        let size = chunk.len() as u32;
        let (body, is_compressed) = match self.shared.index().find(&id) {
            Some(_) => (None, false),
            None => match self.compressor.shrink(chunk) {
                Some(small) => (Some(small), true),
                None => (Some(chunk.to_vec()), false),
            },
        };
        let told = Told::Chunk(self.number, Prepared { id, size, body, is_compressed });
        let lost = || Error::Lost { place: self.shared.objects.place.clone(), reason: "nobody packs".to_owned() };
        self.sender.send(told).map_err(|_| lost())
    }
}
