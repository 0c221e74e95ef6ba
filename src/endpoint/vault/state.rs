//! What belongs to a vault now: loading it, putting changes on top of what others did, and making them count.

use std::collections::{BTreeMap, HashMap};

use tokio::runtime::Handle;

use super::error::Error as VaultError;
use super::index::{ChunkRef, Entry, Index};
use super::objects::{HEAD, segment_name};
use super::pack::Packing;
use super::seal::{Kind, random};
use super::segment::{self, Head, SegmentRef};
use super::{Shared, Vault};
use crate::base::digest::Digest;
use crate::endpoint::{Key, Known, Result, Version};

/// How often others may be faster in a row.
const ATTEMPTS: u32 = 8;
/// The index is written anew where there are more segments.
const SEGMENTS_MAX: usize = 32;
/// It is not worth that below this size.
const SEGMENTS_BYTES_MIN: u64 = 64 << 10;

/// What a vault is at.
#[derive(Default)]
pub(super) struct State {
    /// The head that the index was made of; nothing: it was not loaded yet.
    current: Option<(Head, Known)>,
    /// What is to be changed in the head's word: under each key, what was there before.
    pub pending: BTreeMap<Key, Option<Version>>,
    pub packing: Packing,
}

impl State {
    /// Answers what counts now.
    pub fn head(&self) -> Option<&Head> {
        self.current.as_ref().map(|(head, _)| head)
    }

    /// Forgets everything that does not count yet, and what was loaded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Vault {
    /// Makes sure that the index is what counts now; changes that do not count yet stay on top of it where nobody else
    /// changed the same.
    pub(super) async fn refresh(&self, state: &mut State) -> Result<()> {
        let shared = &*self.0;
        let keys = shared.keys().await?;
        for _ in 0..ATTEMPTS {
            let there = shared.objects.look(HEAD).await?.ok_or_else(|| shared.objects.missing(HEAD))?;
            if let Some((_, known)) = &mut state.current
                && known.version == there.version
            {
                *known = there;
                return Ok(());
            }
            let (bytes, known) = shared.objects.current(HEAD).await?.ok_or_else(|| shared.objects.missing(HEAD))?;
            let plain = keys.open(Kind::Head, HEAD, &bytes).map_err(|broken| broken.of(self.place_text(), HEAD))?;
            let head = Head::decode(&plain).map_err(|_| self.damaged(HEAD, "it cannot be read"))?;
            shared.require_no_older(&head, state.head())?;
            match self.load(&head).await {
                Ok(index) => return self.rebase(state, index, (head, known)),
                // Somebody wrote the index anew meanwhile.
                Err(crate::endpoint::Error::Vault(VaultError::Missing { .. }))
                    if shared.objects.look(HEAD).await?.is_some_and(|now| now.version != known.version) => {}
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::Contended { place: self.place_text().to_owned() }.into())
    }

    /// Loads the index where that was not done yet.
    pub(super) async fn require_loaded(&self, state: &mut State) -> Result<()> {
        if state.current.is_some() { Ok(()) } else { self.refresh(state).await }
    }

    async fn load(&self, head: &Head) -> Result<Index> {
        let keys = self.0.keys().await?;
        let mut index = Index::default();
        for segment in &head.segments {
            let name = segment_name(&segment.id);
            let bytes = match self.0.objects.get(&name, segment.bytes).await {
                Err(error) if super::objects::is_missing(&error) => return Err(self.0.objects.missing(&name).into()),
                bytes => bytes?,
            };
            let plain =
                keys.open(Kind::Segment, &name, &bytes).map_err(|broken| broken.of(self.place_text(), &name))?;
            let plain = segment::expand(&plain).and_then(|plain| segment::apply(&plain, &mut index));
            plain.map_err(|_| self.damaged(&name, "it cannot be read"))?;
        }
        Ok(index)
    }

    /// Takes a newer index; what does not count yet goes on top of it, but for what others changed too.
    fn rebase(&self, state: &mut State, mut index: Index, current: (Head, Known)) -> Result<()> {
        let was_cleaned = state.head().is_some_and(|head| head.cleanups != current.0.cleanups);
        let is_waiting = !state.pending.is_empty() || state.packing.unknown().next().is_some();
        if was_cleaned && is_waiting {
            // Packs that no head knew may be gone.
            state.reset();
            return Err(VaultError::CleanedUp { place: self.place_text().to_owned() }.into());
        }
        let mut old = self.0.index_mut();
        for place in state.packing.unknown() {
            index.packs_from(&old, place);
        }
        let moved: HashMap<u32, u32> =
            old.packs().filter_map(|(place, pack)| Some((place, index.place(&pack.id)?))).collect();
        state.packing.moved(|place| moved.get(&place).copied());
        let mut changed = old.take_entries();
        state.pending.retain(|key, before| {
            if index.entries.get(key).map(|entry| entry.version) != *before {
                return false;
            }
            match changed.remove(key) {
                None => index.entries.remove(key).is_some(),
                Some(entry) => match entry_in(entry, &moved) {
                    Some(entry) => {
                        index.entries.insert(key.clone(), entry);
                        true
                    }
                    None => false,
                },
            }
        });
        *old = index;
        drop(old);
        state.current = Some(current);
        Ok(())
    }

    /// Makes everything count that was written and deleted.
    pub(super) async fn commit(&self, state: &mut State) -> Result<()> {
        self.settle(state).await?;
        if let Some(reason) = state.packing.failed.take() {
            state.reset();
            return Err(VaultError::Unwritten { place: self.place_text().to_owned(), reason }.into());
        }
        if state.pending.is_empty() {
            return Ok(());
        }
        self.require_loaded(state).await?;
        self.commit_as(state, false).await
    }

    /// Closes the pack that is being filled and waits until all have arrived.
    pub(super) async fn settle(&self, state: &mut State) -> Result<()> {
        let upload = state.packing.close(&mut self.0.index_mut())?;
        if let Some(upload) = upload {
            state.packing.send(&self.0, upload, &Handle::current());
        }
        state.packing.arrive().await;
        Ok(())
    }

    /// Writes the next head; with all of the index anew where it is long, or where this `cleans` up.
    pub(super) async fn commit_as(&self, state: &mut State, cleans: bool) -> Result<()> {
        let objects = &self.0.objects;
        for _ in 0..ATTEMPTS {
            let Some((head, known)) = state.current.clone() else { return self.refresh(state).await };
            let is_anew = cleans || is_long(&head.segments);
            let segment = self.write_segment(state, is_anew).await?;
            let next = Head {
                serial: head.serial + 1,
                cleanups: head.cleanups + u64::from(cleans),
                segments: if is_anew { Vec::new() } else { head.segments.clone() },
            };
            let next = Head { segments: next.segments.into_iter().chain([segment.clone()]).collect(), ..next };
            match self.put_head(&next, Some(known)).await {
                Ok(known) => {
                    self.0.remember(next.serial)?;
                    state.current = Some((next, known));
                    state.pending.clear();
                    (state.packing.new, state.packing.new_bytes) = (Vec::new(), 0);
                    if is_anew {
                        self.forget(&head.segments).await;
                    }
                    return objects.flush().await;
                }
                Err(error) if error.is_change() => {
                    self.forget(&[segment]).await;
                    self.refresh(state).await?;
                    if cleans {
                        // What was found to be of no use may be of use now.
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::Contended { place: self.place_text().to_owned() }.into())
    }

    pub(super) async fn put_head(&self, head: &Head, expected: Option<Known>) -> Result<Known> {
        let sealed = self.0.keys().await?.seal(Kind::Head, HEAD, &head.encode())?;
        self.0.objects.put(HEAD, sealed, expected).await
    }

    async fn write_segment(&self, state: &State, is_anew: bool) -> Result<SegmentRef> {
        let plain = {
            let index = self.0.index();
            if is_anew {
                let items = index.entries.iter().map(|(key, entry)| (key, Some(entry)));
                segment::encode(&index, index.packs().map(|(_, pack)| pack), items)
            } else {
                let packs = state.packing.new.iter().filter_map(|place| index.pack(*place));
                let items = state.pending.keys().map(|key| (key, index.entries.get(key)));
                segment::encode(&index, packs, items)
            }
        };
        let id = random()?;
        let name = segment_name(&id);
        let small = segment::compress(&plain).map_err(crate::endpoint::Error::unusable(self.place_text()))?;
        let sealed = self.0.keys().await?.seal(Kind::Segment, &name, &small)?;
        let segment = SegmentRef { id, digest: Digest::of(&sealed), bytes: sealed.len() as u64 };
        self.0.objects.put_new(&name, sealed).await?;
        Ok(segment)
    }

    /// Removes segments that no head names any more; what stays is swept later.
    async fn forget(&self, segments: &[SegmentRef]) {
        for segment in segments {
            if let Err(refused) = self.0.objects.remove_segment(segment).await {
                tracing::debug!("{}: a segment stays: {refused}", self.place_text());
            }
        }
    }
}

/// Answers whether the index has become so long in the making that it is better written anew.
fn is_long(segments: &[SegmentRef]) -> bool {
    let Some((first, more)) = segments.split_first() else { return false };
    let more_bytes: u64 = more.iter().map(|segment| segment.bytes).sum();
    segments.len() >= SEGMENTS_MAX || more_bytes > SEGMENTS_BYTES_MIN.max(first.bytes / 2)
}

/// Answers an entry whose packs are at other places.
fn entry_in(entry: Entry, moved: &HashMap<u32, u32>) -> Option<Entry> {
    let chunk = |at: &ChunkRef| Some(ChunkRef { pack: *moved.get(&at.pack)?, number: at.number });
    let chunks: Option<Vec<ChunkRef>> = entry.chunks.iter().map(chunk).collect();
    Some(Entry { chunks: chunks?.into(), ..entry })
}

impl Shared {
    fn require_no_older(&self, head: &Head, before: Option<&Head>) -> Result<()> {
        let seen = match &self.seen {
            Some(seen) => seen.newest(&self.id()?).map_err(|source| self.memory_failed(source))?,
            None => 0,
        };
        let was = seen.max(before.map_or(0, |before| before.serial));
        if head.serial < was {
            return Err(VaultError::RolledBack { place: self.objects.place.clone(), was, is: head.serial }.into());
        }
        if head.serial > seen { self.remember(head.serial) } else { Ok(()) }
    }

    /// Remembers a state of the vault.
    pub(super) fn remember(&self, serial: u64) -> Result<()> {
        let Some(seen) = &self.seen else { return Ok(()) };
        Ok(seen.note(&self.id()?, serial).map_err(|source| self.memory_failed(source))?)
    }

    fn memory_failed(&self, source: std::io::Error) -> VaultError {
        VaultError::Memory { place: self.objects.place.clone(), source }
    }
}
