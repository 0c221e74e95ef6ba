//! Names that some file systems take for one. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use unicode_normalization::UnicodeNormalization as _;

use crate::endpoint::{Folding, Key};

/// How two names differ that some file system takes for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    Case,
    Normalization,
}

/// What is known of the names that fold to one.
#[derive(Debug, Clone, Copy)]
struct Seen {
    exact: u64,
    /// With upper and lower case as one, and accents as they are.
    caseless: u64,
    difference: Option<Difference>,
}

/// Finds names, of items and of the directories that they are in, that only differ by case or by how accents are encoded.
///
/// Of each name only digits of a hash are kept.
#[derive(Debug, Default)]
pub struct Collisions {
    state: RandomState,
    seen: HashMap<u64, Seen>,
    any: bool,
    last_dir: Vec<u8>,
}

impl Collisions {
    /// Takes in the next name; they come in byte order.
    pub fn add(&mut self, key: &Key) {
        let bytes = key.as_bytes();
        for end in slashes(bytes) {
            // Most items are in the directory of the one before.
            let is_known = self.last_dir.get(..=end).is_some_and(|known| known == &bytes[..=end]);
            if !is_known {
                self.add_name(&bytes[..end]);
            }
        }
        let dir = slashes(bytes).last().map_or(&[][..], |end| &bytes[..=end]);
        if self.last_dir != dir {
            self.last_dir = dir.to_vec();
        }
        self.add_name(bytes);
    }

    fn add_name(&mut self, name: &[u8]) {
        let exact = self.state.hash_one(name);
        let (folded, caseless) = match std::str::from_utf8(name) {
            Ok(text) if text.is_ascii() => {
                let folded = self.state.hash_one(&name.to_ascii_lowercase()[..]);
                (folded, folded)
            }
            Ok(text) => {
                let caseless = text.to_lowercase();
                let folded = caseless.nfd().collect::<String>();
                (self.state.hash_one(folded.as_bytes()), self.state.hash_one(caseless.as_bytes()))
            }
            // What is no text is folded by nobody.
            Err(_) => return,
        };
        let seen = self.seen.entry(folded).or_insert(Seen { exact, caseless, difference: None });
        if seen.exact != exact {
            let difference = if seen.caseless == caseless { Difference::Case } else { Difference::Normalization };
            // Where names differ in both ways, the stranger one is enough.
            if seen.difference != Some(Difference::Case) {
                seen.difference = Some(difference);
            }
            self.any = true;
        }
    }

    /// Answers whether any names fold to one.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any
    }

    /// Answers whether a name, or a directory on its way, is one of several that an endpoint takes for one.
    #[must_use]
    pub fn has(&self, key: &Key, folding: Folding) -> bool {
        let bytes = key.as_bytes();
        let is_folded = |end: usize| {
            let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return false };
            let folded = text.to_lowercase().nfd().collect::<String>();
            let seen = self.seen.get(&self.state.hash_one(folded.as_bytes()));
            match seen.and_then(|seen| seen.difference) {
                Some(Difference::Case) => folding.case,
                Some(Difference::Normalization) => folding.normalization,
                None => false,
            }
        };
        self.any && slashes(bytes).chain([bytes.len()]).any(is_folded)
    }
}

fn slashes(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const BOTH: Folding = Folding { case: true, normalization: true };

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    fn colliding(names: &[&str], folding: Folding) -> Vec<String> {
        let mut collisions = Collisions::default();
        let mut keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
        keys.sort();
        keys.iter().for_each(|key| collisions.add(key));
        keys.iter().filter(|key| collisions.has(key, folding)).map(Key::to_string).collect()
    }

    #[test]
    fn only_what_the_endpoint_folds_collides() {
        let (composed, apart) = ("caf\u{e9}", "cafe\u{301}");
        let names = ["A", "a", "b", composed, apart];
        assert_eq!(colliding(&names, BOTH), ["A", "a", apart, composed]);
        assert_eq!(colliding(&names, Folding { normalization: false, ..BOTH }), ["A", "a"]);
        assert_eq!(colliding(&names, Folding { case: false, ..BOTH }), [apart, composed]);
        assert_eq!(colliding(&names, Folding::default()), [""; 0]);
    }

    #[test]
    fn directories_on_the_way_collide_too() {
        assert_eq!(colliding(&["Dir/a", "dir/b", "other/c"], BOTH), ["Dir/a", "dir/b"]);
        assert_eq!(colliding(&["dir", "Dir/a", "x/dir"], BOTH), ["Dir/a", "dir"]);
        assert_eq!(colliding(&["dir/a", "dir/b", "dir.x", "dir/c/d", "dir/c/e"], BOTH), [""; 0]);
    }

    proptest! {
        #[test]
        fn exactly_names_with_a_twin_collide(names in proptest::collection::btree_set("[aAbB\u{e4}\u{c4}]{1,3}", 0..12)) {
            let names: BTreeSet<String> = names;
            let listed: Vec<&str> = names.iter().map(String::as_str).collect();
            let has_twin = |name: &&str| {
                names.iter().any(|other| other != name && other.to_lowercase() == name.to_lowercase())
            };
            let expected: Vec<&str> = listed.iter().copied().filter(has_twin).collect();
            prop_assert_eq!(colliding(&listed, Folding { normalization: false, ..BOTH }), expected);
        }
    }
}
