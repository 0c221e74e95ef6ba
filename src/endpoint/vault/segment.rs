//! The index of a vault as bytes. Pure.
//!
//! A segment has packs with the chunks in them, and items in the order of their keys, some of them marked as taken away.
//! Segments are read one after the other, each on top of those before. Numbers have seven bits a byte, the lowest first; a
//! key is written as what it does not share with the one before; an item's chunks are a number of a pack in the list that
//! stands before the items, and a number in that pack. Before it is sealed a segment is compressed as a whole.
//!
//! The head says which segments there are, and counts the states of the vault.

use std::collections::HashMap;
use std::io::Read as _;

use super::index::{Chunk, ChunkRef, Entry, Index, Pack, PackId, mark_of};
use super::seal::TAG_BYTES;
use crate::base::digest::Digest;
use crate::endpoint::{Form, Key, Modified, Version};

/// The first byte of a segment and of a head.
const VERSION: u8 = 1;
const COMPRESSION_LEVEL: i32 = 3;
/// A segment that claims to be larger is damaged.
const SEGMENT_BYTES_LIMIT: u64 = 4 << 30;
/// A head with more segments is damaged.
const SEGMENTS_LIMIT: u64 = 1_024;
/// What an item is marked with that was taken away.
const GONE: u8 = 0;
/// Added to the mark of an item of which it is known when it was last changed.
const HAS_TIME: u8 = 4;

/// Bytes that are no segment, or no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

type Result<T, E = Damaged> = std::result::Result<T, E>;

/// A segment, as the head has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentRef {
    pub id: [u8; 16],
    /// SHA-256 of the object.
    pub digest: Digest,
    /// Bytes of the object.
    pub bytes: u64,
}

/// What belongs to a vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// Counts the states of the vault.
    pub serial: u64,
    /// Counts how often what is not referenced was removed.
    pub cleanups: u64,
    /// The index, oldest first.
    pub segments: Vec<SegmentRef>,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for number in [self.serial, self.cleanups, self.segments.len() as u64] {
            add_number(&mut bytes, number);
        }
        for segment in &self.segments {
            bytes.extend_from_slice(&segment.id);
            bytes.extend_from_slice(segment.digest.as_bytes());
            add_number(&mut bytes, segment.bytes);
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes)?;
        let (serial, cleanups, count) = (reader.number()?, reader.number()?, reader.number()?);
        if count > SEGMENTS_LIMIT {
            return Err(Damaged);
        }
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(SegmentRef { id: reader.array()?, digest: reader.digest()?, bytes: reader.number()? });
        }
        reader.end()?;
        Ok(Self { serial, cleanups, segments })
    }
}

/// Writes packs and items; nothing under a key stands for an item that was taken away. Items come in the order of keys.
pub(super) fn encode<'a>(
    index: &Index,
    packs: impl Iterator<Item = &'a Pack>,
    items: impl Iterator<Item = (&'a Key, Option<&'a Entry>)> + Clone,
) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let packs: Vec<&Pack> = packs.collect();
    add_number(&mut bytes, packs.len() as u64);
    packs.into_iter().for_each(|pack| add_pack(&mut bytes, pack));
    let mut numbers: HashMap<u32, u64> = HashMap::new();
    let mut used: Vec<PackId> = Vec::new();
    for at in items.clone().filter_map(|(_, entry)| entry).flat_map(|entry| &entry.chunks) {
        numbers.entry(at.pack).or_insert_with(|| {
            used.extend(index.pack(at.pack).map(|pack| pack.id));
            used.len() as u64 - 1
        });
    }
    add_number(&mut bytes, used.len() as u64);
    used.iter().for_each(|id| bytes.extend_from_slice(id));
    let mut last: &[u8] = b"";
    for (key, entry) in items {
        let key = key.as_bytes();
        let shared = key.iter().zip(last).take_while(|(one, other)| one == other).count();
        add_number(&mut bytes, shared as u64);
        add_number(&mut bytes, (key.len() - shared) as u64);
        bytes.extend_from_slice(&key[shared..]);
        last = key;
        match entry {
            None => bytes.push(GONE),
            Some(entry) => add_entry(&mut bytes, entry, &numbers),
        }
    }
    bytes
}

fn add_pack(bytes: &mut Vec<u8>, pack: &Pack) {
    bytes.extend_from_slice(&pack.id);
    bytes.extend_from_slice(pack.digest.as_bytes());
    add_number(bytes, pack.chunks.len() as u64);
    for chunk in &pack.chunks {
        bytes.extend_from_slice(chunk.id.as_bytes());
        add_number(bytes, u64::from(chunk.sealed) << 1 | u64::from(chunk.is_compressed));
        if chunk.is_compressed {
            add_number(bytes, chunk.size.into());
        }
    }
}

fn add_entry(bytes: &mut Vec<u8>, entry: &Entry, numbers: &HashMap<u32, u64>) {
    let mark = mark_of(entry.version.form);
    match entry.modified {
        None => bytes.push(mark),
        Some((seconds, nanoseconds)) => {
            bytes.push(mark + HAS_TIME);
            // Small negative numbers stay small.
            add_number(bytes, (seconds << 1 ^ seconds >> 63) as u64);
            add_number(bytes, nanoseconds.into());
        }
    }
    add_number(bytes, entry.chunks.len() as u64);
    for at in &entry.chunks {
        add_number(bytes, numbers.get(&at.pack).copied().unwrap_or(0));
        add_number(bytes, at.number.into());
    }
    // One chunk has the digest of the item.
    if entry.chunks.len() > 1 {
        bytes.extend_from_slice(entry.version.digest.as_bytes());
    }
}

/// Reads a segment on top of what is there.
pub(super) fn apply(bytes: &[u8], index: &mut Index) -> Result<()> {
    let mut reader = Reader::new(bytes)?;
    for _ in 0..reader.number()? {
        let pack = reader.pack()?;
        index.add_pack(pack);
    }
    let mut places = Vec::new();
    for _ in 0..reader.number()? {
        places.push(index.place(&reader.array()?).ok_or(Damaged)?);
    }
    let mut last: Vec<u8> = Vec::new();
    while !reader.bytes.is_empty() {
        let shared = reader.length()?;
        let rest = reader.length()?;
        let key = [last.get(..shared).ok_or(Damaged)?, reader.take(rest)?].concat();
        if !last.is_empty() && key <= last {
            return Err(Damaged);
        }
        last.clone_from(&key);
        let key = Key::new(key).map_err(|_| Damaged)?;
        match reader.entry(&places, index)? {
            Some(entry) => drop(index.entries.insert(key, entry)),
            None => drop(index.entries.remove(&key)),
        }
    }
    Ok(())
}

/// Compresses a segment.
pub(super) fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::stream::encode_all(bytes, COMPRESSION_LEVEL)
}

/// Makes a segment whole again.
pub(super) fn expand(bytes: &[u8]) -> Result<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::new(bytes).map_err(|_| Damaged)?;
    let mut whole = Vec::new();
    let count = decoder.take(SEGMENT_BYTES_LIMIT + 1).read_to_end(&mut whole).map_err(|_| Damaged)?;
    if count as u64 > SEGMENT_BYTES_LIMIT { Err(Damaged) } else { Ok(whole) }
}

fn add_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&VERSION, bytes)) => Ok(Self { bytes }),
            _ => Err(Damaged),
        }
    }

    fn end(self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    fn pack(&mut self) -> Result<Pack> {
        let mut pack = Pack::new(self.array()?);
        pack.digest = self.digest()?;
        for _ in 0..self.number()? {
            let (id, packed) = (self.digest()?, self.number()?);
            let sealed = u32::try_from(packed >> 1).map_err(|_| Damaged)?;
            let bare = sealed.checked_sub(TAG_BYTES as u32).ok_or(Damaged)?;
            let is_compressed = packed & 1 == 1;
            let size = if is_compressed { self.small()? } else { bare };
            let at = pack.end();
            at.checked_add(sealed).ok_or(Damaged)?;
            pack.chunks.push(Chunk { id, at, sealed, size, is_compressed });
        }
        Ok(pack)
    }

    fn entry(&mut self, places: &[u32], index: &Index) -> Result<Option<Entry>> {
        let mark = self.take(1)?[0];
        if mark == GONE {
            return Ok(None);
        }
        let form = match mark % HAS_TIME {
            1 => Form::File { executable: false },
            2 => Form::File { executable: true },
            3 => Form::Link,
            _ => return Err(Damaged),
        };
        let modified = match mark / HAS_TIME {
            0 => None,
            1 => Some(self.modified()?),
            _ => return Err(Damaged),
        };
        let (mut chunks, mut size, mut digest) = (Vec::new(), 0_u64, Digest::of(b""));
        let count = self.number()?;
        for _ in 0..count {
            let place = *places.get(self.length()?).ok_or(Damaged)?;
            let at = ChunkRef { pack: place, number: self.small()? };
            let (_, chunk) = index.chunk(at).ok_or(Damaged)?;
            size += u64::from(chunk.size);
            digest = chunk.id;
            chunks.push(at);
        }
        if count > 1 {
            digest = self.digest()?;
        }
        Ok(Some(Entry { version: Version { digest, form, size }, modified, chunks: chunks.into() }))
    }

    fn modified(&mut self) -> Result<Modified> {
        let (seconds, nanoseconds) = (self.number()?, self.small()?);
        Ok(((seconds >> 1) as i64 ^ -((seconds & 1) as i64), nanoseconds))
    }

    fn digest(&mut self) -> Result<Digest> {
        self.array().map(Digest::from_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Damaged)
    }

    fn length(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| Damaged)
    }

    fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(Damaged)?;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Damaged)?;
        self.bytes = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(pack: &Pack, byte: u8, is_compressed: bool) -> Chunk {
        let (sealed, bare) = (u32::from(byte) + 20, u32::from(byte) + 4);
        let size = if is_compressed { bare * 3 } else { bare };
        Chunk { id: Digest::of(&[byte]), at: pack.end(), sealed, size, is_compressed }
    }

    prop_compose! {
        fn indexes()(
            packs in prop::collection::vec(prop::collection::btree_set(any::<u8>(), 1..5), 1..4),
            items in prop::collection::btree_map("[a-c/]{0,4}[a-c]", (0..3_u8, any::<Option<(i64, u32)>>(), prop::collection::vec(any::<prop::sample::Index>(), 0..4)), 0..8),
        ) -> Index {
            let mut index = Index::default();
            let mut all = Vec::new();
            for (number, bytes) in (0_u8..).zip(packs) {
                let mut pack = Pack::new([number; 16]);
                for byte in bytes {
                    let chunk = chunk(&pack, byte, byte % 2 == 0);
                    pack.chunks.push(chunk);
                    all.push(ChunkRef { pack: number.into(), number: pack.chunks.len() as u32 - 1 });
                }
                index.add_pack(pack);
            }
            for (text, (form, modified, picks)) in items {
                let Ok(key) = Key::new(text.into_bytes()) else { continue };
                let chunks: Vec<ChunkRef> = picks.iter().map(|pick| all[pick.index(all.len())]).collect();
                let found: Vec<&Chunk> = chunks.iter().filter_map(|at| index.chunk(*at)).map(|(_, chunk)| chunk).collect();
                let digest = match &found[..] { [] => Digest::of(b""), [one] => one.id, _ => Digest::of(b"all") };
                let size = found.iter().map(|chunk| u64::from(chunk.size)).sum();
                let form = [Form::Link, Form::File { executable: true }, Form::File { executable: false }][usize::from(form)];
                let entry = Entry { version: Version { digest, form, size }, modified, chunks: chunks.into() };
                index.entries.insert(key, entry);
            }
            index
        }
    }

    fn written(index: &Index) -> Vec<u8> {
        encode(index, index.packs().map(|(_, pack)| pack), index.entries.iter().map(|(key, entry)| (key, Some(entry))))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_can_be_taken_away(index in indexes()) {
            let mut read = Index::default();
            apply(&written(&index), &mut read).unwrap();
            prop_assert_eq!(&read.entries, &index.entries);
            prop_assert_eq!(read.packs().collect::<Vec<_>>(), index.packs().collect::<Vec<_>>());
            let gone = encode(&index, std::iter::empty(), index.entries.keys().map(|key| (key, None)));
            apply(&gone, &mut read).unwrap();
            prop_assert!(read.entries.is_empty());
            let small = compress(&written(&index)).unwrap();
            prop_assert_eq!(expand(&small), Ok(written(&index)));
        }

        #[test]
        fn hostile_bytes_never_panic(index in indexes(), at in any::<prop::sample::Index>(), byte: u8, noise in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = written(&index);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = apply(&bytes, &mut Index::default());
            let _ = apply(&bytes[..at], &mut Index::default());
            let begun = [&[VERSION][..], &noise].concat();
            let _ = (apply(&begun, &mut Index::default()), Head::decode(&begun), expand(&noise));
        }

        #[test]
        fn heads_read_as_written(serial: u64, cleanups: u64, ids in prop::collection::vec(any::<[u8; 16]>(), 0..5), bytes: u64) {
            let segment = |id| SegmentRef { id, digest: Digest::of(&id), bytes };
            let head = Head { serial, cleanups, segments: ids.into_iter().map(segment).collect() };
            prop_assert_eq!(Head::decode(&head.encode()), Ok(head.clone()));
            prop_assert_eq!(Head::decode(&[head.encode(), vec![0]].concat()), Err(Damaged));
        }
    }

    #[test]
    fn what_is_not_wanted_is_known() {
        let mut index = Index::default();
        let mut pack = Pack::new([1; 16]);
        for byte in [1, 3] {
            let chunk = chunk(&pack, byte, false);
            pack.chunks.push(chunk);
        }
        let bytes = pack.bytes();
        let place = index.add_pack(pack);
        let chunks = [ChunkRef { pack: place, number: 1 }].into();
        let version = Version { digest: Digest::of(&[3]), form: Form::Link, size: 7 };
        index.entries.insert(Key::new(b"a".to_vec()).unwrap(), Entry { version, modified: None, chunks });
        let found = index.uses()[0];
        assert_eq!((found.live, found.dead), (23, 21));
        assert_eq!(bytes, 41 + 23 + 21 + 20);
        index.remove_pack(place);
        assert!(index.find(&Digest::of(&[1])).is_none() && index.packs().next().is_none());
    }
}
