//! A person's word on what is at a target while a promotion waits: it stays beside what the source has and beside what the
//! promotion would bring, whichever of both comes of it. Pure.

use std::collections::BTreeMap;

use super::baseline::Entry;
use super::codec::{Damaged, Decoder, Encoder};
use super::walk::Found;
use crate::endpoint::{Key, Known, Version};

/// What people let be, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(BTreeMap<Key, Word>);

/// What is let be under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    /// What the target has.
    target: Option<Version>,
    /// Beside these versions of the source.
    sources: Vec<Option<Version>>,
}

fn version(known: Option<&Known>) -> Option<Version> {
    known.map(|known| known.version)
}

impl Words {
    /// Reads what [`Words::encode`] wrote.
    ///
    /// # Errors
    /// It did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut words = BTreeMap::new();
        let mut decoder = Decoder::new(bytes)?;
        while !decoder.is_at_end() {
            let (key, target, count) = (decoder.key()?, decoder.version()?, decoder.mark()?);
            let sources = (0..count).map(|_| decoder.version()).collect::<Result<_, _>>()?;
            words.insert(key, Word { target, sources });
        }
        Ok(Self(words))
    }

    /// Writes them down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for (key, Word { target, sources }) in &self.0 {
            encoder.key(key);
            encoder.version(target.as_ref());
            encoder.mark(u8::try_from(sources.len()).unwrap_or(u8::MAX));
            sources.iter().take(usize::from(u8::MAX)).for_each(|source| encoder.version(source.as_ref()));
        }
        encoder.finish()
    }

    /// Answers whether nobody said anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in that the target's version stays, beside the source's and the one that was agreed on before.
    pub fn add(&mut self, key: Key, target: Option<Version>, sources: [Option<Version>; 2]) {
        let word = Word { target, sources: sources.to_vec() };
        let before = self.0.insert(key.clone(), word);
        // Several promotions may have waited since.
        if let (Some(before), Some(now)) = (before, self.0.get_mut(&key))
            && before.target == now.target
        {
            now.sources.extend(before.sources.into_iter().filter(|source| !sources.contains(source)));
        }
    }

    /// Answers a row with what was let be as what was agreed.
    #[must_use]
    pub fn applied(&self, row: Found) -> Found {
        let (source, target) = (version(row.source.as_ref()), version(row.target.as_ref()));
        if !self.0.get(&row.key).is_some_and(|word| word.covers(source, target)) {
            return row;
        }
        Found { baseline: Some(Entry { source: row.source.clone(), target: row.target.clone() }), ..row }
    }

    /// Takes in what is agreed on now: what is no more as it was let be is forgotten. Answers whether anything was.
    pub fn forget(&mut self, key: &Key, agreed: Option<&Entry>) -> bool {
        let side = |side: fn(&Entry) -> &Option<Known>| version(agreed.and_then(|entry| side(entry).as_ref()));
        let (source, target) = (side(|entry| &entry.source), side(|entry| &entry.target));
        let is_over = self.0.get(key).is_some_and(|word| !word.covers(source, target));
        is_over && self.0.remove(key).is_some()
    }
}

impl Word {
    fn covers(&self, source: Option<Version>, target: Option<Version>) -> bool {
        self.target == target && self.sources.contains(&source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::endpoint::{Fingerprint, Form};

    fn version(content: u8) -> Version {
        Version { digest: Digest::of(&[content]), form: Form::Link, size: 1 }
    }

    fn known(content: u8) -> Option<Known> {
        Some(Known { version: version(content), fingerprint: Fingerprint { bytes: vec![content], is_racy: false } })
    }

    fn row(source: u8, agreed: u8, target: u8) -> Found {
        let baseline = Some(Entry { source: known(agreed), target: known(agreed) });
        Found { key: Key::new(b"a".to_vec()).unwrap(), source: known(source), baseline, target: known(target) }
    }

    #[test]
    fn what_was_let_be_stays_beside_either_version_of_the_source_and_no_other() {
        let mut words = Words::default();
        let key = row(1, 1, 1).key;
        words.add(key.clone(), Some(version(9)), [Some(version(1)), Some(version(2))]);
        words.add(key.clone(), Some(version(9)), [Some(version(1)), Some(version(3))]);
        words = Words::decode(&words.encode()).unwrap();
        for source in [1, 2, 3] {
            let entry = words.applied(row(source, 1, 9)).baseline.unwrap();
            assert_eq!((entry.source, entry.target), (known(source), known(9)));
        }
        for other in [row(4, 1, 9), row(2, 1, 8)] {
            assert_eq!(words.applied(other.clone()), other);
        }
        let agreed = |source, target| Entry { source: known(source), target: known(target) };
        assert!(!words.forget(&key, Some(&agreed(2, 9))) && words.forget(&key, Some(&agreed(2, 2))));
        assert!(words.is_empty() && !words.forget(&key, None));
        // Another word on other content takes the place of the first.
        words.add(key.clone(), Some(version(9)), [None, Some(version(2))]);
        words.add(key.clone(), Some(version(8)), [None, Some(version(3))]);
        assert_eq!(words.applied(row(2, 1, 8)), row(2, 1, 8));
    }
}
