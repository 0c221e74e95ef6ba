//! Looking whether a vault has everything that it should have.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::Vault;
use super::chunk::expand;
use super::index::{ChunkRef, Pack, TRAILER_BYTES};
use super::objects::{is_missing, is_part, pack_name, segment_name};
use super::seal::{Broken, Keys, Kind};
use crate::base::digest::Digest;
use crate::endpoint::{Key, Result};

/// What a vault has, and what is the matter with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Items.
    pub items: usize,
    /// Bytes of their content.
    pub bytes: u64,
    /// Packs.
    pub packs: usize,
    /// Bytes of those.
    pub stored_bytes: u64,
    /// Bytes of those that nobody refers to any more.
    pub unused_bytes: u64,
    /// Objects that no state of the vault knows: what interrupted writes left.
    pub leftovers: usize,
    /// Whether all content was read.
    pub read: bool,
    /// Objects that are missing or damaged, and what is the matter with each.
    pub damaged: Vec<Damage>,
    /// Keys of items that cannot be read whole, safe to show.
    pub lost: Vec<String>,
}

/// An object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its name.
    pub object: String,
    /// What is the matter.
    pub reason: String,
}

/// Chunks that cannot be read; without any, the whole pack.
type Bad = HashMap<u32, HashSet<u32>>;

impl Vault {
    /// Looks whether everything is there; where `reads`, opens all of it.
    ///
    /// # Errors
    /// The vault cannot be opened, or its index not be read.
    pub async fn check(&self, reads: bool) -> Result<Checked> {
        let mut state = self.0.state.lock().await;
        self.commit(&mut state).await?;
        // What is in memory proves nothing.
        state.reset();
        self.refresh(&mut state).await?;
        let (there, _) = self.0.objects.list().await?;
        let sizes: HashMap<&[u8], u64> = there.iter().map(|item| (item.key.as_bytes(), item.size)).collect();
        let packs: Vec<(u32, Pack)> = self.0.index().packs().map(|(place, pack)| (place, pack.clone())).collect();
        let mut known: HashSet<Vec<u8>> = packs.iter().map(|(_, pack)| pack_name(&pack.id).into_bytes()).collect();
        let segments = state.head().into_iter().flat_map(|head| &head.segments);
        known.extend(segments.map(|segment| segment_name(&segment.id).into_bytes()));
        let mut checked = Checked { packs: packs.len(), read: reads, ..self.counted() };
        checked.leftovers = sizes.keys().filter(|name| is_part(name) && !known.contains(**name)).count();
        let mut bad = Bad::new();
        for (place, pack) in &packs {
            let name = pack_name(&pack.id);
            let reason = match sizes.get(name.as_bytes()) {
                None => Some((String::from("it is missing"), HashSet::new())),
                Some(_) if reads => self.read_pack(&name, pack).await?,
                Some(size) if *size != pack.bytes() => {
                    Some((format!("it has {size} bytes instead of {}", pack.bytes()), HashSet::new()))
                }
                Some(_) => None,
            };
            if let Some((reason, chunks)) = reason {
                checked.damaged.push(Damage { object: name, reason });
                bad.insert(*place, chunks);
            }
        }
        checked.lost = self.lost(&bad);
        Ok(checked)
    }

    fn counted(&self) -> Checked {
        let index = self.0.index();
        Checked {
            items: index.entries.len(),
            bytes: index.entries.values().map(|entry| entry.version.size).sum(),
            stored_bytes: index.packs().map(|(_, pack)| pack.bytes()).sum(),
            unused_bytes: index.uses().iter().map(|of| of.dead).sum(),
            ..Checked::default()
        }
    }

    /// Answers the items that need what cannot be read.
    fn lost(&self, bad: &Bad) -> Vec<String> {
        let is_bad =
            |at: &ChunkRef| bad.get(&at.pack).is_some_and(|numbers| numbers.is_empty() || numbers.contains(&at.number));
        let index = self.0.index();
        let lost: BTreeMap<&Key, ()> = index
            .entries
            .iter()
            .filter(|(_, entry)| entry.chunks.iter().any(is_bad))
            .map(|(key, _)| (key, ()))
            .collect();
        lost.into_keys().map(Key::to_string).collect()
    }

    /// Opens all of a pack; answers what is the matter with it, and with which chunks.
    async fn read_pack(&self, name: &str, pack: &Pack) -> Result<Option<(String, HashSet<u32>)>> {
        let bytes = match self.0.objects.get(name, pack.bytes()).await {
            Ok(bytes) => bytes,
            Err(error) if is_missing(&error) => return Ok(Some(("it is missing".to_owned(), HashSet::new()))),
            Err(error) => return Ok(Some((super::said(&error), HashSet::new()))),
        };
        let (keys, name, pack) = (self.0.keys().await?.again(), name.to_owned(), pack.clone());
        let opened = tokio::task::spawn_blocking(move || problem(&keys, &name, &pack, &bytes));
        let place = self.place_text();
        opened.await.map_err(|lost| crate::endpoint::Error::Lost { place: place.to_owned(), reason: lost.to_string() })
    }
}

fn problem(keys: &Keys, name: &str, pack: &Pack, bytes: &[u8]) -> Option<(String, HashSet<u32>)> {
    let key = match keys.opener(Kind::Pack, name, bytes) {
        Ok(key) => key,
        Err(Broken::Newer(version)) => return Some((format!("it has format {version}"), HashSet::new())),
        Err(Broken::Shape | Broken::Seal) => return Some(("it is no pack".to_owned(), HashSet::new())),
    };
    let opens = |(number, chunk): &(u32, &super::index::Chunk)| {
        let sealed = bytes.get(chunk.at as usize..(chunk.at + chunk.sealed) as usize);
        let body = sealed.and_then(|sealed| key.open(u64::from(*number), false, sealed).ok());
        let whole =
            body.and_then(|body| if chunk.is_compressed { expand(&body, chunk.size as usize) } else { Some(body) });
        whole.is_some_and(|whole| Digest::of(&whole) == chunk.id)
    };
    let bad: HashSet<u32> = (0..).zip(&pack.chunks).filter(|one| !opens(one)).map(|(number, _)| number).collect();
    if !bad.is_empty() {
        return Some((format!("{} of {} chunks are damaged", bad.len(), pack.chunks.len()), bad));
    }
    let count = pack.chunks.len() as u32;
    let trailer = bytes.get(pack.end() as usize..).filter(|trailer| trailer.len() == TRAILER_BYTES);
    let closes = trailer.and_then(|trailer| key.open(count.into(), true, trailer).ok());
    // No item needs what is wrong at the end alone.
    (closes.as_deref() != Some(&count.to_be_bytes()[..]))
        .then(|| ("its end is damaged".to_owned(), HashSet::from([u32::MAX])))
}
