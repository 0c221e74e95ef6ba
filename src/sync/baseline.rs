//! What both sides had when they were last brought together, item by item, in chunks. Pure.

use std::collections::BTreeMap;

use super::codec::{Damaged, Decoder, Encoder};
use super::diff::Agreed;
use crate::endpoint::{Key, Known};
use crate::store::{Chunk, StoredBaseline};

/// Items of a chunk; one that grows beyond twice as many is cut.
const CHUNK_ITEMS: usize = 1_000;

/// What both sides had under a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the source had.
    pub source: Option<Known>,
    /// What the target had.
    pub target: Option<Known>,
}

impl Entry {
    /// Answers what of it decides.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        let version = |known: &Option<Known>| known.as_ref().map(|known| known.version);
        Agreed { source: version(&self.source), target: version(&self.target) }
    }
}

/// What changes in a baseline: what is under a key from now on; none: nothing.
pub type Changes = BTreeMap<Key, Option<Entry>>;

/// Answers all items of a baseline, in the order of keys.
pub fn items(stored: &StoredBaseline) -> impl Iterator<Item = Result<(Key, Entry), Damaged>> {
    stored.chunks.iter().flat_map(|chunk| Items(Decoder::new(&chunk.body)))
}

struct Items<'a>(Result<Decoder<'a>, Damaged>);

impl Iterator for Items<'_> {
    type Item = Result<(Key, Entry), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.0 {
            Ok(decoder) if decoder.is_at_end() => return None,
            Ok(decoder) => read(decoder),
            Err(Damaged) => Err(Damaged),
        };
        if next.is_err() {
            // One failure is told once.
            self.0 = Decoder::new(&[1]);
        }
        Some(next)
    }
}

fn read(decoder: &mut Decoder<'_>) -> Result<(Key, Entry), Damaged> {
    let key = decoder.key()?;
    let (source, target) = (decoder.known()?, decoder.known()?);
    Ok((key, Entry { source, target }))
}

/// Answers which chunks go and which come when a baseline changes; what is not touched stays. Changes come in the order of
/// keys.
///
/// # Errors
/// A chunk that is to be changed is damaged.
pub fn rewritten(
    stored: &StoredBaseline,
    changes: impl Iterator<Item = (Key, Option<Entry>)>,
) -> Result<(Vec<Vec<u8>>, Vec<Chunk>), Damaged> {
    let mut removed = Vec::new();
    let mut cutting = Cutting::default();
    let mut waiting = changes.peekable();
    for (index, chunk) in stored.chunks.iter().enumerate() {
        let limit = stored.chunks.get(index + 1).map(|next| next.first_key.as_slice());
        let is_near = |key: &Key| limit.is_none_or(|limit| key.as_bytes() < limit);
        if !waiting.peek().is_some_and(|(key, _)| is_near(key)) {
            continue;
        }
        removed.push(chunk.first_key.clone());
        for item in Items(Decoder::new(&chunk.body)) {
            let (key, entry) = item?;
            while let Some(change) = waiting.next_if(|(other, _)| *other < key) {
                cutting.add(change);
            }
            match waiting.next_if(|(other, _)| *other == key) {
                Some(change) => cutting.add(change),
                None => cutting.add((key, Some(entry))),
            }
        }
        while let Some(change) = waiting.next_if(|(key, _)| is_near(key)) {
            cutting.add(change);
        }
        cutting.end();
    }
    waiting.for_each(|change| cutting.add(change));
    cutting.end();
    Ok((removed, cutting.chunks))
}

/// Cuts items, which come in order, into chunks of about the same size.
#[derive(Default)]
struct Cutting {
    items: Vec<(Key, Entry)>,
    chunks: Vec<Chunk>,
}

impl Cutting {
    fn add(&mut self, (key, entry): (Key, Option<Entry>)) {
        self.items.extend(entry.filter(|entry| *entry != Entry::default()).map(|entry| (key, entry)));
        if self.items.len() >= 2 * CHUNK_ITEMS {
            self.chunks.push(chunk(&self.items[..CHUNK_ITEMS]));
            self.items.drain(..CHUNK_ITEMS);
        }
    }

    /// Ends the last chunk: what comes then belongs elsewhere.
    fn end(&mut self) {
        if !self.items.is_empty() {
            self.chunks.push(chunk(&self.items));
            self.items.clear();
        }
    }
}

fn chunk(items: &[(Key, Entry)]) -> Chunk {
    let mut encoder = Encoder::default();
    for (key, entry) in items {
        encoder.key(key);
        encoder.known(entry.source.as_ref());
        encoder.known(entry.target.as_ref());
    }
    let first_key = items.first().map(|(key, _)| key.as_bytes().to_vec()).unwrap_or_default();
    Chunk { first_key, body: encoder.finish() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::base::digest::Digest;
    use crate::endpoint::{Fingerprint, Form, Version};

    fn entry(content: u32) -> Entry {
        let version = Version { digest: Digest::of(&content.to_le_bytes()), form: Form::Link, size: 4 };
        let fingerprint = Fingerprint { bytes: content.to_le_bytes().to_vec(), is_racy: content.is_multiple_of(2) };
        Entry { source: None, target: Some(Known { version, fingerprint }) }
    }

    fn key(number: u32) -> Key {
        Key::new(format!("{number:05}").into_bytes()).unwrap()
    }

    /// Answers a baseline after chunks went and came, as the store has it then.
    fn after(stored: &StoredBaseline, removed: &[Vec<u8>], added: Vec<Chunk>) -> StoredBaseline {
        let removed: BTreeSet<&[u8]> = removed.iter().map(Vec::as_slice).collect();
        let kept = stored.chunks.iter().filter(|chunk| !removed.contains(chunk.first_key.as_slice())).cloned();
        let mut chunks: Vec<Chunk> = kept.chain(added).collect();
        chunks.sort_by(|one, other| one.first_key.cmp(&other.first_key));
        StoredBaseline { serial: stored.serial + 1, chunks }
    }

    fn all(stored: &StoredBaseline) -> BTreeMap<Key, Entry> {
        items(stored).collect::<Result<_, _>>().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_baseline_is_what_all_changes_made_of_it(
            steps in proptest::collection::vec(
                proptest::collection::vec((0_u32..9_000, proptest::option::of(any::<u32>())), 0..3_000), 1..5,
            ),
        ) {
            let (mut stored, mut model) = (StoredBaseline::default(), BTreeMap::new());
            for step in steps {
                let changes: Changes = step.into_iter().map(|(at, content)| (key(at), content.map(entry))).collect();
                for (key, change) in &changes {
                    match change {
                        Some(entry) => model.insert(key.clone(), entry.clone()),
                        None => model.remove(key),
                    };
                }
                let (removed, added) = rewritten(&stored, changes.into_iter()).unwrap();
                stored = after(&stored, &removed, added);
                prop_assert_eq!(&all(&stored), &model);
                prop_assert!(items(&stored).map(|item| item.unwrap().0).is_sorted());
                prop_assert!(stored.chunks.iter().all(|chunk| Items(Decoder::new(&chunk.body)).count() <= 2 * CHUNK_ITEMS));
            }
        }
    }

    #[test]
    fn only_chunks_that_change_are_written() {
        let changes: Changes = (0..5_000).map(|at| (key(at), Some(entry(at)))).collect();
        let (_, added) = rewritten(&StoredBaseline::default(), changes.into_iter()).unwrap();
        let stored = after(&StoredBaseline::default(), &[], added);
        assert_eq!(stored.chunks.len(), 5);
        let (removed, added) = rewritten(&stored, [(key(2_500), None)].into_iter()).unwrap();
        assert_eq!((removed.len(), added.len()), (1, 1));
        let (removed, added) = rewritten(&stored, std::iter::empty()).unwrap();
        assert!(removed.is_empty() && added.is_empty());
    }

    #[test]
    fn damage_is_told() {
        let stored =
            StoredBaseline { serial: 1, chunks: vec![Chunk { first_key: b"a".to_vec(), body: vec![1, 0, 9] }] };
        assert!(items(&stored).any(|item| item.is_err()));
        assert!(rewritten(&stored, [(key(1), None)].into_iter()).is_err());
    }
}
