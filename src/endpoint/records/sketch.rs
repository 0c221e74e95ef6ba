//! Which fields of a record were touched: a few bytes for each field, which are other ones where the field is. Pure.

use std::collections::BTreeMap;

use super::json::Json;
use crate::base::digest::Digest;
use crate::endpoint::Fingerprint;

/// Bytes for a name, and for a value.
const PART_BYTES: usize = 8;

/// Bytes of a fingerprint before what tells of its fields.
pub(super) const PREFIX_BYTES: usize = 8;

/// What tells the values of all fields, by what tells their names.
pub(super) type Sketch = BTreeMap<[u8; PART_BYTES], [u8; PART_BYTES]>;

fn part(bytes: &[u8]) -> [u8; PART_BYTES] {
    let mut part = [0; PART_BYTES];
    part.copy_from_slice(&Digest::of(bytes).as_bytes()[..PART_BYTES]);
    part
}

/// Answers what tells a field by its name.
pub(super) fn name(name: &str) -> [u8; PART_BYTES] {
    part(name.as_bytes())
}

/// Answers what tells a value.
pub(super) fn value(value: &Json) -> [u8; PART_BYTES] {
    part(&value.canonical())
}

/// Sketches the fields of an object that take part.
pub(super) fn sketched(object: &Json, takes_part: impl Fn(&String) -> bool) -> Sketch {
    let Json::Object(fields) = object else { return Sketch::new() };
    fields.iter().filter(|(name, _)| takes_part(name)).map(|(field, held)| (name(field), value(held))).collect()
}

/// Sketches the fields of an object that take part, as bytes.
pub(super) fn of(object: &Json, takes_part: impl Fn(&String) -> bool) -> Vec<u8> {
    written(&sketched(object, takes_part))
}

/// Writes a sketch down.
pub(super) fn written(sketch: &Sketch) -> Vec<u8> {
    sketch.iter().flat_map(|(name, value)| [*name, *value]).flatten().collect()
}

/// Reads what [`written`] wrote; nothing where it did not.
pub(super) fn read(bytes: &[u8]) -> Option<Sketch> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(2 * PART_BYTES) {
        return None;
    }
    let pair = |pair: &[u8]| Some((pair[..PART_BYTES].try_into().ok()?, pair[PART_BYTES..].try_into().ok()?));
    bytes.chunks(2 * PART_BYTES).map(pair).collect()
}

/// Answers what a fingerprint tells of fields.
pub(super) fn part_of(fingerprint: &Fingerprint) -> &[u8] {
    fingerprint.bytes.get(PREFIX_BYTES..).unwrap_or_default()
}
