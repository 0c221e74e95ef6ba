//! What a vault holds: items, the chunks that they are made of, and the packs that those are in. In memory.

use std::collections::{BTreeMap, HashMap};

use super::seal::{HEADER_BYTES, TAG_BYTES};
use crate::base::digest::Digest;
use crate::endpoint::{Fingerprint, Form, Item, Key, Known, Modified, Version};

/// Bytes of the part that closes a pack: the number of its chunks, sealed.
pub(super) const TRAILER_BYTES: usize = 4 + TAG_BYTES;

/// The name of a pack.
pub(super) type PackId = [u8; 16];

/// A chunk in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// SHA-256 of it.
    pub id: Digest,
    /// Where its part of the pack begins.
    pub at: u32,
    /// Bytes of that part.
    pub sealed: u32,
    /// Bytes of the chunk itself.
    pub size: u32,
    pub is_compressed: bool,
}

/// A pack: an object with many chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pack {
    pub id: PackId,
    /// SHA-256 of the object.
    pub digest: Digest,
    pub chunks: Vec<Chunk>,
}

impl Pack {
    /// Makes one without chunks.
    pub fn new(id: PackId) -> Self {
        Self { id, digest: Digest::from_bytes([0; 32]), chunks: Vec::new() }
    }

    /// Answers where the next part begins.
    pub fn end(&self) -> u32 {
        self.chunks.last().map_or(HEADER_BYTES as u32, |last| last.at + last.sealed)
    }

    /// Answers how many bytes the object has.
    pub fn bytes(&self) -> u64 {
        u64::from(self.end()) + TRAILER_BYTES as u64
    }
}

/// Where a chunk is: the place of its pack in [`Index`], and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ChunkRef {
    pub pack: u32,
    pub number: u32,
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub version: Version,
    pub modified: Option<Modified>,
    pub chunks: Box<[ChunkRef]>,
}

impl Entry {
    /// Answers what tells that the item is the same: what it is.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.version)
    }

    pub fn known(&self) -> Known {
        Known { version: self.version, fingerprint: self.fingerprint() }
    }

    /// Answers the item as it is listed: its digest is not told, so that whoever wants all content compared reads it.
    pub fn item(&self, key: &Key) -> Item {
        let Version { form, size, .. } = self.version;
        Item { key: key.clone(), form, size, fingerprint: self.fingerprint(), digest: None }
    }
}

/// Answers what tells that an item is of this version; everything in a vault is authenticated, so nothing else can be there.
pub(super) fn fingerprint(version: &Version) -> Fingerprint {
    let form = mark_of(version.form);
    Fingerprint { bytes: [&[form], &version.digest.as_bytes()[..]].concat(), is_racy: false }
}

/// Answers a form as a number from 1 to 3.
pub(super) fn mark_of(form: Form) -> u8 {
    match form {
        Form::File { executable: false } => 1,
        Form::File { executable: true } => 2,
        Form::Link => 3,
    }
}

/// Everything that a vault holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Items by key.
    pub entries: BTreeMap<Key, Entry>,
    packs: Vec<Option<Pack>>,
    places: HashMap<PackId, u32>,
    chunks: HashMap<Digest, ChunkRef>,
}

/// What of a pack is still wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Bytes of chunks that items have.
    pub live: u64,
    /// Bytes of chunks that no item has any more.
    pub dead: u64,
}

impl Index {
    /// Answers where a chunk is, if it is there.
    pub fn find(&self, id: &Digest) -> Option<ChunkRef> {
        self.chunks.get(id).copied()
    }

    /// Answers a chunk and the pack that it is in.
    pub fn chunk(&self, at: ChunkRef) -> Option<(&Pack, &Chunk)> {
        let pack = self.pack(at.pack)?;
        Some((pack, pack.chunks.get(at.number as usize)?))
    }

    pub fn pack(&self, place: u32) -> Option<&Pack> {
        self.packs.get(place as usize)?.as_ref()
    }

    /// Answers all packs, with their places.
    pub fn packs(&self) -> impl Iterator<Item = (u32, &Pack)> {
        let placed = (0_u32..).zip(&self.packs);
        placed.filter_map(|(place, pack)| Some((place, pack.as_ref()?)))
    }

    /// Answers the place of a pack.
    pub fn place(&self, id: &PackId) -> Option<u32> {
        self.places.get(id).copied()
    }

    /// Takes a pack in, once; answers its place.
    pub fn add_pack(&mut self, pack: Pack) -> u32 {
        if let Some(place) = self.place(&pack.id) {
            return place;
        }
        let place = self.packs.len() as u32;
        for (number, chunk) in (0_u32..).zip(&pack.chunks) {
            self.chunks.entry(chunk.id).or_insert(ChunkRef { pack: place, number });
        }
        self.places.insert(pack.id, place);
        self.packs.push(Some(pack));
        place
    }

    /// Takes in a pack that another index has.
    pub fn packs_from(&mut self, other: &Self, place: u32) {
        if let Some(pack) = other.pack(place) {
            self.add_pack(pack.clone());
        }
    }

    /// Adds a chunk to a pack in the making.
    pub fn add_chunk(&mut self, place: u32, chunk: Chunk) -> Option<ChunkRef> {
        let pack = self.packs.get_mut(place as usize)?.as_mut()?;
        let at = ChunkRef { pack: place, number: pack.chunks.len() as u32 };
        self.chunks.insert(chunk.id, at);
        pack.chunks.push(chunk);
        Some(at)
    }

    /// Says what the object of a pack turned out to be.
    pub fn complete(&mut self, place: u32, digest: Digest) {
        if let Some(Some(pack)) = self.packs.get_mut(place as usize) {
            pack.digest = digest;
        }
    }

    /// Forgets a pack; nobody may have chunks of it any more.
    pub fn remove_pack(&mut self, place: u32) {
        if let Some(pack) = self.packs.get_mut(place as usize).and_then(Option::take) {
            self.places.remove(&pack.id);
            self.chunks.retain(|_, at| at.pack != place);
        }
    }

    /// Forgets all items; packs stay.
    pub fn take_entries(&mut self) -> BTreeMap<Key, Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Answers what of each pack is still wanted, by place.
    pub fn uses(&self) -> Vec<Use> {
        let mut wanted: Vec<Vec<bool>> =
            self.packs.iter().map(|pack| vec![false; pack.as_ref().map_or(0, |pack| pack.chunks.len())]).collect();
        for at in self.entries.values().flat_map(|entry| &entry.chunks) {
            if let Some(wanted) = wanted.get_mut(at.pack as usize).and_then(|pack| pack.get_mut(at.number as usize)) {
                *wanted = true;
            }
        }
        let of = |(pack, wanted): (&Option<Pack>, &Vec<bool>)| {
            let mut found = Use::default();
            for (chunk, is_live) in pack.iter().flat_map(|pack| &pack.chunks).zip(wanted) {
                *(if *is_live { &mut found.live } else { &mut found.dead }) += u64::from(chunk.sealed);
            }
            found
        };
        self.packs.iter().zip(&wanted).map(of).collect()
    }
}
