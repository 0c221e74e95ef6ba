//! What a run replaced: which items, and what they were. Their content is in the archive. Pure.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::codec::{Damaged, Decoder, Encoder};
use super::compare::{Intent, Intents, Origin};
use super::plan::Action;
use crate::endpoint::{Key, Version};

/// Items and what was under their keys before; none: nothing.
pub type Before = BTreeMap<Key, Option<Version>>;

/// Answers what an action replaces.
#[must_use]
pub fn before(action: &Action) -> Option<Version> {
    match action {
        Action::Replace { from, .. } | Action::Delete { from, .. } => Some(*from),
        _ => None,
    }
}

/// Answers what an action leaves at the target.
#[must_use]
pub fn after(action: &Action) -> Option<Version> {
    match action {
        Action::Create { to, .. } | Action::Replace { to, .. } => Some(*to),
        _ => None,
    }
}

/// Writes items down, which come in the order of keys; nothing for no items. Answers how many of them have content, and how
/// many bytes that has, too.
#[must_use]
pub fn encode<K: Borrow<Key>>(before: impl IntoIterator<Item = (K, Option<Version>)>) -> (Vec<u8>, usize, u64) {
    let (mut encoder, mut items, mut bytes) = (Encoder::default(), 0, 0);
    for (key, version) in before {
        encoder.key(key.borrow());
        encoder.version(version.as_ref());
        items += usize::from(version.is_some());
        bytes += version.map_or(0, |version| version.size);
    }
    (if encoder.is_empty() { Vec::new() } else { encoder.finish() }, items, bytes)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// It did not.
pub fn decode(bytes: &[u8]) -> Result<Before, Damaged> {
    let mut before = Before::new();
    if bytes.is_empty() {
        return Ok(before);
    }
    let mut decoder = Decoder::new(bytes)?;
    while !decoder.is_at_end() {
        before.insert(decoder.key()?, decoder.version()?);
    }
    Ok(before)
}

/// Writes down what actions are about to leave.
#[must_use]
pub fn encode_intents(actions: &[&Action], origin: Origin) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.mark(match origin {
        Origin::Snapshot => 0,
        Origin::Source => 1,
        Origin::Person => 2,
    });
    for action in actions {
        encoder.key(action.key());
        encoder.version(after(action).as_ref());
    }
    encoder.finish()
}

/// Reads what [`encode_intents`] wrote, over what is known of earlier runs.
///
/// # Errors
/// It did not.
pub fn decode_intents(bytes: &[u8], intents: &mut Intents) -> Result<(), Damaged> {
    let mut decoder = Decoder::new(bytes)?;
    let origin = match decoder.mark()? {
        0 => Origin::Snapshot,
        1 => Origin::Source,
        2 => Origin::Person,
        _ => return Err(Damaged),
    };
    while !decoder.is_at_end() {
        intents.insert(decoder.key()?, Intent { to: decoder.version()?, origin });
    }
    Ok(())
}

/// Answers what was under each key before the first of several runs, which come oldest first.
#[must_use]
pub fn merged(runs: impl IntoIterator<Item = Before>) -> Before {
    let mut merged = Before::new();
    for (key, version) in runs.into_iter().flatten() {
        merged.entry(key).or_insert(version);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::endpoint::Form;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    fn version(content: &[u8]) -> Version {
        Version { digest: Digest::of(content), form: Form::Link, size: content.len() as u64 }
    }

    #[test]
    fn the_oldest_run_says_what_was_there_before_all_of_them() {
        let first = Before::from([(key("a"), Some(version(b"1"))), (key("b"), None)]);
        let second = Before::from([(key("a"), Some(version(b"2"))), (key("c"), Some(version(b"3")))]);
        let expected =
            Before::from([(key("a"), Some(version(b"1"))), (key("b"), None), (key("c"), Some(version(b"3")))]);
        assert_eq!(merged([first.clone(), second]), expected);
        assert_eq!(encode(first.clone()).1, 1);
        assert_eq!(decode(&encode(first.clone()).0), Ok(first));
        assert_eq!((encode(Before::new()).0, decode(&[])), (Vec::new(), Ok(Before::new())));
    }

    #[test]
    fn later_intents_win() {
        let (create, delete) = (
            Action::Create { key: key("a"), to: version(b"1") },
            Action::Delete { key: key("a"), from: version(b"1") },
        );
        let mut intents = Intents::new();
        decode_intents(&encode_intents(&[&create], Origin::Source), &mut intents).unwrap();
        assert_eq!(intents[&key("a")], Intent { to: Some(version(b"1")), origin: Origin::Source });
        decode_intents(&encode_intents(&[&delete], Origin::Person), &mut intents).unwrap();
        assert_eq!(intents[&key("a")], Intent { to: None, origin: Origin::Person });
    }
}
