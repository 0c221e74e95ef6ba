//! Many items in little memory: packed one after the other, in the order of their keys. Pure.

use std::iter;

use super::baseline::Entry;
use super::codec::{Decoder, Encoder};
use crate::endpoint::{Item, Key};

/// Items of the source under whose keys nothing is and nothing was; their content was not read yet.
#[derive(Debug, Default)]
pub struct NewItems {
    packed: Encoder,
    /// How many there are.
    pub items: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// What is to be agreed on under many keys.
#[derive(Debug, Default)]
pub struct Entries {
    packed: Encoder,
    /// How many there are.
    pub items: usize,
}

impl NewItems {
    /// Takes in the next item.
    pub fn add(&mut self, item: &Item) {
        self.packed.item(item);
        self.items += 1;
        self.bytes += item.size;
    }

    /// Answers all of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Item> + Send + '_ {
        let mut decoder = Decoder::new(self.packed.written()).ok();
        // What was packed here is whole.
        iter::from_fn(move || decoder.as_mut().filter(|decoder| !decoder.is_at_end())?.item().ok())
    }

    /// Leaves those that `stays` says.
    #[must_use]
    pub fn only(&self, stays: impl Fn(&Key) -> bool) -> Self {
        let mut left = Self::default();
        self.iter().filter(|item| stays(&item.key)).for_each(|item| left.add(&item));
        left
    }
}

impl Entries {
    /// Takes in the next one.
    pub fn add(&mut self, key: &Key, entry: &Entry) {
        self.packed.key(key);
        self.packed.known(entry.source.as_ref());
        self.packed.known(entry.target.as_ref());
        self.items += 1;
    }

    /// Answers all of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Entry)> + Send + '_ {
        let mut decoder = Decoder::new(self.packed.written()).ok();
        iter::from_fn(move || {
            let decoder = decoder.as_mut().filter(|decoder| !decoder.is_at_end())?;
            let key = decoder.key().ok()?;
            Some((key, Entry { source: decoder.known().ok()?, target: decoder.known().ok()? }))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::digest::Digest;
    use crate::endpoint::{Fingerprint, Form, Known, Version};

    proptest! {
        #[test]
        fn what_was_packed_comes_out_in_order(
            items in proptest::collection::btree_map("[a-c/]{0,3}[a-c]", (any::<u64>(), any::<bool>(), any::<u8>()), 0..9),
        ) {
            let (mut packed, mut entries) = (NewItems::default(), Entries::default());
            let mut expected = Vec::new();
            for (text, (size, is_racy, content)) in items {
                let Ok(key) = Key::new(text.into_bytes()) else { continue };
                let fingerprint = Fingerprint { bytes: vec![content; 3], is_racy };
                let form = Form::File { executable: is_racy };
                packed.add(&Item { key: key.clone(), form, size: size / 16, fingerprint: fingerprint.clone(), digest: None });
                let known = Known { version: Version { digest: Digest::of(&[content]), form, size: size / 16 }, fingerprint };
                let entry = Entry { source: Some(known.clone()), target: is_racy.then_some(known) };
                entries.add(&key, &entry);
                expected.push((key, entry));
            }
            prop_assert_eq!(packed.iter().map(|item| item.key).collect::<Vec<_>>(), expected.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
            let sizes: u64 = packed.iter().map(|item| item.size).sum();
            prop_assert_eq!((packed.items, packed.bytes), (expected.len() as u64, sizes));
            prop_assert_eq!(packed.only(|key| key.as_bytes()[0] == b'a').items as usize, expected.iter().filter(|(key, _)| key.as_bytes()[0] == b'a').count());
            prop_assert_eq!(entries.iter().collect::<Vec<_>>(), expected);
        }
    }
}
