//! What a record is: an object with an id, which is its key. Pure.

use std::fmt;

use super::json::{Json, Malformed, parse};
use super::schema::Schema;
use super::sketch;
use crate::base::digest::Digest;
use crate::endpoint::{Fingerprint, Form, Item, Key, Known, Version};

/// Every record has this form.
pub(super) const FORM: Form = Form::File { executable: false };

/// What records of one endpoint have in common.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The field that names a record.
    pub id: String,
    /// Fields that take no part.
    pub ignore: Vec<String>,
    /// What every record must be.
    pub schema: Option<Schema>,
    /// The longest text of a record, in bytes.
    pub limit: usize,
    /// Whether it is told of each field whether it was touched.
    pub by_field: bool,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Key,
    /// All of it, with what takes no part.
    pub value: Json,
    /// What takes part, in canonical form.
    pub canonical: Vec<u8>,
    pub known: Known,
}

/// Why a text is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its key, where that is known all the same.
    pub key: Option<Key>,
    /// Bytes before what is wrong.
    pub offset: usize,
    /// What is wrong, as a JSON pointer; empty: all of it.
    pub pointer: String,
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.pointer.is_empty() { "the record" } else { &self.pointer };
        write!(f, "{what} {}", self.reason)
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        let Malformed { offset, pointer, reason } = malformed;
        Self { key: None, offset, pointer, reason: reason.into_owned() }
    }
}

impl Shape {
    /// Reads a record.
    pub(super) fn record(&self, text: &[u8]) -> Result<Record, Refused> {
        let value = parse(text)?;
        let refused =
            |pointer: &str, reason: String| Refused { key: None, offset: 0, pointer: pointer.to_owned(), reason };
        if !matches!(value, Json::Object(_)) {
            return Err(refused("", "is no object".to_owned()));
        }
        let pointer = format!("/{}", super::json::escaped(&self.id));
        let Some(id) = value.field(&self.id) else {
            return Err(refused("", format!("has no `{}`, which is its id", self.id)));
        };
        let key = key_of(id).map_err(|reason| refused(&pointer, reason.to_owned()))?;
        if let Some((pointer, reason)) = self.schema.as_ref().and_then(|schema| schema.problem(&value)) {
            return Err(Refused { key: Some(key), ..refused(&pointer, reason) });
        }
        let canonical = self.taking_part(&value).canonical();
        let known = self.known(&value, &canonical);
        Ok(Record { key, value, canonical, known })
    }

    /// Answers what of a record takes part.
    pub(super) fn taking_part(&self, value: &Json) -> Json {
        match value {
            Json::Object(fields) => {
                let takes_part = |(name, _): &&(String, Json)| *name == self.id || !self.ignore.contains(name);
                Json::Object(fields.iter().filter(takes_part).cloned().collect())
            }
            other => other.clone(),
        }
    }

    fn known(&self, value: &Json, canonical: &[u8]) -> Known {
        let digest = Digest::of(canonical);
        let mut bytes = digest.as_bytes()[..sketch::PREFIX_BYTES].to_vec();
        if self.by_field {
            bytes.extend_from_slice(&sketch::of(value, |name| {
                *name == self.id || !self.ignore.iter().any(|it| it == name)
            }));
        }
        let version = Version { digest, form: FORM, size: canonical.len() as u64 };
        Known { version, fingerprint: Fingerprint { bytes, is_racy: false } }
    }
}

impl Record {
    /// Answers it as it is listed.
    pub fn item(&self) -> Item {
        item(self.key.clone(), &self.known)
    }
}

/// Answers what is known of a record as it is listed.
pub(super) fn item(key: Key, known: &Known) -> Item {
    let Known { version, fingerprint } = known;
    Item { key, form: FORM, size: version.size, fingerprint: fingerprint.clone(), digest: Some(version.digest) }
}

/// Answers the key that an id is: its text, with `%XX` for what a key cannot have and for slashes, so that no two ids have
/// one key but a number and the text that is written like it.
pub(super) fn key_of(id: &Json) -> Result<Key, &'static str> {
    let text = match id {
        Json::String(text) if text.is_empty() => return Err("is empty and cannot be an id"),
        Json::String(text) | Json::Number(text) => text,
        _ => return Err("is neither a text nor a number and cannot be an id"),
    };
    let mut bytes = Vec::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' | b'%' | 0..0x20 | 0x7f => bytes.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            b'.' if at == 0 => bytes.extend_from_slice(b"%2E"),
            byte => bytes.push(byte),
        }
    }
    Key::new(bytes).map_err(|_| "is too long for an id")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    pub(in crate::endpoint::records) fn shape() -> Shape {
        Shape { id: "id".to_owned(), ignore: Vec::new(), schema: None, limit: 1 << 20, by_field: false }
    }

    fn refusal(text: &str) -> String {
        shape().record(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_record_is_an_object_with_an_id() {
        let record = shape().record(br#" {"name": "x", "id": 1.0} "#).unwrap();
        assert_eq!((record.key.as_bytes(), &record.canonical[..]), (&b"1"[..], &br#"{"id":1,"name":"x"}"#[..]));
        assert_eq!(record.known.version.digest, Digest::of(&record.canonical));
        assert_eq!(refusal("[1]"), "the record is no object");
        assert_eq!(refusal(r#"{"ID":1}"#), "the record has no `id`, which is its id");
        assert_eq!(refusal(r#"{"id":null}"#), "/id is neither a text nor a number and cannot be an id");
        assert_eq!(refusal(r#"{"id":""}"#), "/id is empty and cannot be an id");
        assert_eq!(refusal(&format!(r#"{{"id":"{}"}}"#, "x".repeat(5_000))), "/id is too long for an id");
        assert_eq!(refusal(r#"{"id":1,"a":{"b":}}"#), "/a/b is no JSON value");
    }

    #[test]
    fn what_takes_no_part_does_not_change_a_record() {
        let shape = Shape { ignore: vec!["seen".to_owned(), "id".to_owned()], ..shape() };
        let one = shape.record(br#"{"id":1,"seen":1}"#).unwrap();
        let other = shape.record(br#"{"id":1,"seen":2}"#).unwrap();
        assert_eq!((one.known, &one.canonical[..]), (other.known, &br#"{"id":1}"#[..]));
    }

    proptest! {
        #[test]
        fn different_ids_have_different_keys(ids in proptest::collection::vec("[./%a\\x00-\\x02]{1,4}|.{1,8}", 1..40)) {
            let mut keys = BTreeMap::new();
            for id in ids {
                let key = key_of(&Json::String(id.clone())).unwrap();
                prop_assert!(!key.as_bytes().contains(&b'/'));
                let other = keys.insert(key, id.clone());
                prop_assert!(other.is_none_or(|other| other == id));
            }
        }
    }
}
