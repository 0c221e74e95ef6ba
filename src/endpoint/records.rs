//! Records: JSON objects, each named by one of its fields.
//!
//! They come from texts (files, what a command prints, what an HTTP address answers), and from and to a file, a table of
//! the store or an HTTP API. What travels is the canonical text of a record (RFC 8785), so that two records are the same
//! where their values are, however they are written. Texts are read in one pass and in little memory: where each record is
//! goes into a sorted index in a temporary file. What is no record is set aside with its line and a JSON pointer, and hides
//! nothing but itself.

mod api;
mod cursor;
mod file;
mod http;
mod index;
mod json;
mod merge;
mod pointed;
mod rewrite;
mod scan;
mod schema;
mod shape;
mod sketch;
mod sorting;
mod table;
mod texts;

use std::io;

use super::{Content, Error, Key, Put, Result, Version};

pub use api::{RecordApi, Requests};
pub use file::RecordFile;
pub use http::Asking;
pub use schema::Schema;
pub use shape::Shape;
pub use table::RecordTable;
pub use texts::{Origin, RecordTexts};

/// What is said of a record that was listed and cannot be found.
const GONE: &str = "is not there any more";

/// Answers the whole content of what is to be written, where it is what was promised and a record in canonical form.
fn promised(shape: &Shape, put: Put) -> Result<(Key, shape::Record, Option<Version>)> {
    let Put { key, to, content, expected } = put;
    let text = whole(content)?;
    let record = shape.record(&text).map_err(|refused| {
        Error::item("write", &key)(io::Error::new(io::ErrorKind::InvalidData, refused.to_string()))
    })?;
    if record.key != key {
        let reason = format!("its `{}` names another record", shape.id);
        return Err(Error::item("write", &key)(io::Error::new(io::ErrorKind::InvalidData, reason)));
    }
    if record.known.version != to {
        return Err(Error::changed(&key, "was changed at the source meanwhile"));
    }
    Ok((key, record, expected.map(|known| known.version)))
}

/// Answers a record that a person gave for a key, in canonical form.
fn admitted(shape: &Shape, key: &Key, given: &[u8]) -> Result<Vec<u8>> {
    let invalid =
        |reason: String| Error::item("take the file for", key)(io::Error::new(io::ErrorKind::InvalidData, reason));
    let record = shape.record(given).map_err(|refused| invalid(refused.to_string()))?;
    if record.key != *key {
        return Err(invalid(format!("its `{}` names another record", shape.id)));
    }
    Ok(record.canonical)
}

fn whole(content: Content) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.drain(|piece| {
        bytes.extend_from_slice(piece);
        Ok::<_, Error>(())
    })?;
    Ok(bytes)
}

fn gone(key: &Key) -> Error {
    Error::item("read", key)(io::Error::new(io::ErrorKind::NotFound, GONE))
}

/// Answers the key of a record by its id; nothing where that can be none.
#[must_use]
pub fn record_key(id: &str) -> Option<Key> {
    shape::key_of(&json::Json::String(id.to_owned())).ok()
}

/// Answers a record as people read it, on lines; to be escaped before it is shown.
#[must_use]
pub fn record_lines(canonical: &[u8]) -> String {
    let mut text = Vec::new();
    match json::parse(canonical) {
        Ok(value) => value.write_pretty("", &mut text),
        Err(_) => text.extend_from_slice(canonical),
    }
    String::from_utf8_lossy(&text).into_owned()
}
