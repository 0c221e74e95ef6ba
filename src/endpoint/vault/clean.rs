//! Removing what nobody refers to any more, so that a vault does not grow for ever.
//!
//! First the chunks that are still wanted are copied out of packs that are mostly unwanted; then a new head counts the
//! cleaning and has the index written anew without those packs; only then they are removed, with every pack and segment that
//! the head does not know. Whoever writes at the same time finds the count changed and gives up.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use tokio::runtime::Handle;

use super::Vault;
use super::error::Error as VaultError;
use super::index::{ChunkRef, Index, Pack};
use super::objects::{is_part, pack_name, segment_name};
use super::pack::Prepared;
use super::seal::{Broken, Kind};
use super::state::State;
use crate::endpoint::{Item, Result};

/// A pack of which less than this share is wanted is written anew, in percent.
const WANTED_PERCENT_MIN: u64 = 60;
/// A smaller pack is put together with others where there are more than so many of them: every run leaves one.
const SMALL_PACK_BYTES: u64 = 2 << 20;
const SMALL_PACKS_MAX: usize = 16;
/// When so much of all is unwanted, it is removed without being asked for, in percent.
const UNWANTED_PERCENT_MAX: u64 = 25;
/// Less than this is not worth it.
const UNWANTED_BYTES_MIN: u64 = 16 << 20;
/// What interrupted writes left is looked for after so many states.
const STATES_BETWEEN: u64 = 32;
/// How often others may be faster in a row.
const ATTEMPTS: u32 = 3;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Packs whose content nobody wants any more, or was copied into new ones.
    pub packs: usize,
    /// Objects that no state of the vault knew: what interrupted writes left.
    pub leftovers: usize,
    /// Bytes that are free now.
    pub bytes: u64,
}

impl Vault {
    /// Removes what nobody refers to any more.
    ///
    /// # Errors
    /// The vault cannot be read or written, or others change it all the time.
    pub async fn clean(&self) -> Result<Cleaned> {
        let mut state = self.0.state.lock().await;
        self.refresh(&mut state).await?;
        self.commit(&mut state).await?;
        self.clean_all(&mut state).await
    }

    /// Does that where it is worth it.
    pub(super) async fn clean_now_and_then(&self, state: &mut State) -> Result<()> {
        let Some(head) = state.head() else { return Ok(()) };
        let uses = self.0.index().uses();
        let (live, dead) = uses.iter().fold((0, 0), |(live, dead), of| (live + of.live, dead + of.dead));
        let is_much = dead > UNWANTED_BYTES_MIN && dead * 100 > (live + dead) * UNWANTED_PERCENT_MAX;
        if is_much || head.serial.is_multiple_of(STATES_BETWEEN) {
            self.clean_all(state).await?;
        }
        Ok(())
    }

    async fn clean_all(&self, state: &mut State) -> Result<Cleaned> {
        let mut attempts = 1;
        loop {
            match self.try_clean(state).await {
                Err(error) if error.is_change() && attempts < ATTEMPTS => attempts += 1,
                answer => return answer,
            }
        }
    }

    async fn try_clean(&self, state: &mut State) -> Result<Cleaned> {
        let (there, ended) = self.0.objects.list().await?;
        let strange = self.strange(state, &there);
        let unwanted = unwanted(&self.0.index());
        let stored = || self.0.index().packs().map(|(_, pack)| pack.bytes()).sum::<u64>();
        let mut cleaned = Cleaned::default();
        if !unwanted.is_empty() || !strange.is_empty() {
            let before = stored();
            let packs = match self.move_wanted(state, &unwanted).await {
                Ok(packs) => packs,
                Err(error) => {
                    // What is in memory is not what counts any more.
                    state.reset();
                    return Err(error);
                }
            };
            for pack in &packs {
                self.0.objects.remove_pack(pack).await?;
            }
            cleaned = Cleaned { packs: packs.len(), leftovers: 0, bytes: before.saturating_sub(stored()) };
            for item in strange {
                cleaned.bytes += self.0.objects.remove_item(item).await?;
                cleaned.leftovers += 1;
            }
        }
        self.0.objects.sweep(ended).await;
        Ok(cleaned)
    }

    /// Answers the packs and segments that are there and that nobody knows.
    fn strange(&self, state: &State, there: &[Item]) -> Vec<Item> {
        let mut known: HashSet<String> = self.0.index().packs().map(|(_, pack)| pack_name(&pack.id)).collect();
        let segments = state.head().into_iter().flat_map(|head| &head.segments);
        known.extend(segments.map(|segment| segment_name(&segment.id)));
        let is_strange = |item: &&Item| {
            let name = item.key.as_bytes();
            is_part(name) && !std::str::from_utf8(name).is_ok_and(|name| known.contains(name))
        };
        there.iter().filter(is_strange).cloned().collect()
    }

    /// Copies what is wanted out of packs that are mostly not, and lets a state count that does without those; answers them.
    async fn move_wanted(&self, state: &mut State, unwanted: &[u32]) -> Result<Vec<Pack>> {
        let wanted = wanted(&self.0.index(), unwanted);
        let (mut packs, mut moved) = (Vec::new(), HashMap::new());
        for place in unwanted {
            let Some(pack) = self.0.index().pack(*place).cloned() else { continue };
            let numbers = wanted.get(place).cloned().unwrap_or_default();
            // What cannot be read stays where it is.
            if let Some(chunks) = self.opened(&pack, &numbers).await? {
                self.move_chunks(state, *place, chunks, &mut moved).await?;
                packs.push(pack);
            }
        }
        for at in self.0.index_mut().entries.values_mut().flat_map(|entry| &mut entry.chunks) {
            *at = moved.get(at).copied().unwrap_or(*at);
        }
        self.settle(state).await?;
        if let Some(reason) = state.packing.failed.take() {
            return Err(VaultError::Unwritten { place: self.place_text().to_owned(), reason }.into());
        }
        self.commit_as(state, true).await?;
        Ok(packs)
    }

    /// Opens chunks of a pack, which stay compressed; nothing where one of them cannot be read.
    async fn opened(&self, pack: &Pack, numbers: &HashSet<u32>) -> Result<Option<Vec<(u32, Prepared)>>> {
        if numbers.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let name = pack_name(&pack.id);
        let bytes = match self.0.objects.get(&name, pack.bytes()).await {
            Err(error) if super::objects::is_missing(&error) => return Ok(None),
            bytes => bytes?,
        };
        let keys = self.0.keys().await?;
        let open = || -> Result<Vec<(u32, Prepared)>, Broken> {
            let key = keys.opener(Kind::Pack, &name, &bytes)?;
            let mut opened = Vec::new();
            for (number, chunk) in (0_u32..).zip(&pack.chunks).filter(|(number, _)| numbers.contains(number)) {
                let (start, end) = (chunk.at as usize, (chunk.at + chunk.sealed) as usize);
                let body = key.open(number.into(), false, bytes.get(start..end).ok_or(Broken::Shape)?)?;
                let (id, size, is_compressed) = (chunk.id, chunk.size, chunk.is_compressed);
                opened.push((number, Prepared { id, size, body: Some(body), is_compressed }));
            }
            Ok(opened)
        };
        Ok(open().ok())
    }

    /// Puts chunks of a pack into new ones, and notes where they are then; the index forgets that pack.
    async fn move_chunks(
        &self,
        state: &mut State,
        place: u32,
        chunks: Vec<(u32, Prepared)>,
        moved: &mut HashMap<ChunkRef, ChunkRef>,
    ) -> Result<()> {
        self.0.index_mut().remove_pack(place);
        let keys = self.0.keys().await?;
        for (number, prepared) in chunks {
            let (at, full) = state.packing.add(keys, &mut self.0.index_mut(), prepared)?;
            moved.insert(ChunkRef { pack: place, number }, at);
            if let Some(full) = full {
                state.packing.make_room().await;
                state.packing.send(&self.0, full, &Handle::current());
            }
        }
        Ok(())
    }
}

/// Answers which chunks of packs items have, by their numbers.
fn wanted(index: &Index, packs: &[u32]) -> HashMap<u32, HashSet<u32>> {
    let mut wanted: HashMap<u32, HashSet<u32>> = packs.iter().map(|place| (*place, HashSet::new())).collect();
    for at in index.entries.values().flat_map(|entry| &entry.chunks) {
        if let Some(numbers) = wanted.get_mut(&at.pack) {
            numbers.insert(at.number);
        }
    }
    wanted
}

/// Answers the places of packs of which too little is wanted, and of small ones where there are many.
fn unwanted(index: &Index) -> Vec<u32> {
    let uses = index.uses();
    let is_unwanted = |place: u32| {
        let of = uses.get(place as usize).copied().unwrap_or_default();
        of.live * 100 < (of.live + of.dead) * WANTED_PERCENT_MIN || of.live == 0
    };
    let is_small = |pack: &Pack| pack.bytes() < SMALL_PACK_BYTES;
    let are_many = index.packs().filter(|(_, pack)| is_small(pack)).count() > SMALL_PACKS_MAX;
    let goes = |(place, pack): &(u32, &Pack)| is_unwanted(*place) || are_many && is_small(pack);
    index.packs().filter(goes).map(|(place, _)| place).collect()
}
