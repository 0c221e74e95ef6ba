//! Walking source, baseline and target side by side: each is sorted by key, and nothing is kept.

use std::iter::Peekable;

use crate::endpoint::Key;

/// What stands under one key, here, there and in what was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<S, B, T> {
    /// The key.
    pub key: Key,
    /// What the source has.
    pub source: Option<S>,
    /// What both had when they were last brought together.
    pub baseline: Option<B>,
    /// What the target has.
    pub target: Option<T>,
}

/// A merge join of three streams.
pub struct Join<S, B, T, I, J, K>
where
    I: Iterator<Item = (Key, S)>,
    J: Iterator<Item = (Key, B)>,
    K: Iterator<Item = (Key, T)>,
{
    source: Peekable<I>,
    baseline: Peekable<J>,
    target: Peekable<K>,
}

/// Joins three streams, each sorted by key without repetition.
pub fn join<S, B, T, I, J, K>(source: I, baseline: J, target: K) -> Join<S, B, T, I, J, K>
where
    I: Iterator<Item = (Key, S)>,
    J: Iterator<Item = (Key, B)>,
    K: Iterator<Item = (Key, T)>,
{
    Join { source: source.peekable(), baseline: baseline.peekable(), target: target.peekable() }
}

impl<S, B, T, I, J, K> Iterator for Join<S, B, T, I, J, K>
where
    I: Iterator<Item = (Key, S)>,
    J: Iterator<Item = (Key, B)>,
    K: Iterator<Item = (Key, T)>,
{
    type Item = Row<S, B, T>;

    fn next(&mut self) -> Option<Self::Item> {
        let here = self.source.peek().map(|(key, _)| key);
        let agreed = self.baseline.peek().map(|(key, _)| key);
        let there = self.target.peek().map(|(key, _)| key);
        let key = [here, agreed, there].into_iter().flatten().min()?.clone();
        Some(Row {
            source: self.source.next_if(|(other, _)| *other == key).map(|(_, item)| item),
            baseline: self.baseline.next_if(|(other, _)| *other == key).map(|(_, item)| item),
            target: self.target.next_if(|(other, _)| *other == key).map(|(_, item)| item),
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn side() -> impl Strategy<Value = BTreeMap<Key, u8>> {
        let key = "[ab./]{0,3}c".prop_filter_map("a key", |text| Key::new(text.into_bytes()).ok());
        proptest::collection::btree_map(key, any::<u8>(), 0..12)
    }

    proptest! {
        #[test]
        fn every_key_of_any_side_comes_once_in_order(source in side(), baseline in side(), target in side()) {
            let rows: Vec<_> =
                join(source.clone().into_iter(), baseline.clone().into_iter(), target.clone().into_iter()).collect();
            let keys: BTreeSet<&Key> = source.keys().chain(baseline.keys()).chain(target.keys()).collect();
            prop_assert!(rows.iter().map(|row| &row.key).eq(keys));
            for row in rows {
                prop_assert_eq!(row.source, source.get(&row.key).copied());
                prop_assert_eq!(row.baseline, baseline.get(&row.key).copied());
                prop_assert_eq!(row.target, target.get(&row.key).copied());
            }
        }
    }
}
