//! Records: where a configuration says they are, and how they are reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Expanded;
use super::surroundings::Surroundings;
use crate::base::units::{ByteSize, Span};

/// Where records come from. Exactly one of `files`, `command`, `url` and `table` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsSource {
    /// A file, all `*.json`, `*.ndjson` and `*.jsonl` below a directory, or the files that a name with `*` fits; from the top of the checkout where it does not begin with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Expanded>,
    /// A command for `sh`, run at the top of the checkout, that prints records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// An address that answers with records; where it answers in pages, each names the next in a `Link` header (`rel="next"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Expanded>,
    /// A table of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The field that names a record: a text or a number, one of its own for each. Default `id`.
    pub id: String,
    /// Fields that take no part. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// File with a JSON Schema that every record must fit; others are set aside. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Longer records are set aside; up to 256MiB. Default `16MiB`.
    pub max_record: ByteSize,
    /// Headers that `url` is asked with, like `Authorization: Bearer ${TOKEN}`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Expanded>,
    /// Variables that `command` gets although they are withheld, from the environment or `.env`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// How long `command`, or one request to `url`, may take. Default `5m`.
    pub timeout: Span,
    /// What `command` gets to see of the environment; known once the file is loaded.
    #[serde(skip)]
    pub surroundings: Surroundings,
}

/// What records are brought to. Exactly one of `file`, `url` and `table` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsTarget {
    /// A file with an array of records, or a record on each line where its name ends with `.ndjson` or `.jsonl`; from the top of the checkout where it does not begin with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Expanded>,
    /// A table of the store, where every revision of a record is kept (`cascade records`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// An address that answers with all records, as `from.records.url`; a record is read and written below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Expanded>,
    /// Headers of every request to `url`, like `Authorization: Bearer ${TOKEN}`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Expanded>,
    /// Fields that the API sets by itself: they take no part. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// How a record is read, as method and path behind `url`; `{id}` stands for its id. Default `GET /{id}`.
    pub read: String,
    /// How a new record is written. Default `POST`.
    pub create: String,
    /// How a record is replaced. Default `PUT /{id}`.
    pub update: String,
    /// How a record is deleted. Default `DELETE /{id}`.
    pub delete: String,
    /// Requests at the same time, 64 at most. Default `4`.
    pub parallel: u32,
    /// How long one request may take. Default `1m`.
    pub timeout: Span,
}

impl RecordsSource {
    /// The most that `max_record` may be.
    pub const RECORD_LIMIT_BYTES: u64 = 256 << 20;
}

impl RecordsTarget {
    /// The most that `parallel` may be.
    pub const PARALLEL_LIMIT: u32 = 64;
}

impl Default for RecordsSource {
    fn default() -> Self {
        Self {
            files: None,
            command: None,
            url: None,
            table: None,
            id: "id".to_owned(),
            ignore: Vec::new(),
            schema: None,
            max_record: ByteSize(16 << 20),
            headers: Vec::new(),
            env: Vec::new(),
            timeout: Span::seconds(300),
            surroundings: Surroundings::default(),
        }
    }
}

impl Default for RecordsTarget {
    fn default() -> Self {
        Self {
            file: None,
            table: None,
            url: None,
            headers: Vec::new(),
            ignore: Vec::new(),
            read: "GET /{id}".to_owned(),
            create: "POST".to_owned(),
            update: "PUT /{id}".to_owned(),
            delete: "DELETE /{id}".to_owned(),
            parallel: 4,
            timeout: Span::seconds(60),
        }
    }
}

/// A method and what comes behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTemplate {
    /// The method.
    pub method: String,
    /// The path, in which `{id}` stands for an id.
    pub path: String,
}

impl std::str::FromStr for RequestTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (method, path) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method) {
            return Err("begins with GET, POST, PUT, PATCH or DELETE");
        }
        let path = path.trim();
        let is_plain = |c: char| c.is_ascii_graphic();
        let rest = path.replace("{id}", "");
        if !(path.is_empty() || path.starts_with(['/', '?']))
            || !path.chars().all(is_plain)
            || rest.contains(['{', '}', '#'])
        {
            return Err("a path begins with `/` or `?` and has no spaces; `{id}` is all that is filled in");
        }
        Ok(Self { method: method.to_owned(), path: path.to_owned() })
    }
}

/// Answers the name and the value of a header, as `Name: value`.
#[must_use]
pub fn header(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let is_value = value.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte));
    (!name.is_empty() && name.chars().all(is_token) && is_value).then(|| (name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_headers_read_as_written() {
        let request = |text: &str| text.parse::<RequestTemplate>().map(|it| (it.method, it.path));
        assert_eq!(request("PUT /a/{id}?x={id}"), Ok(("PUT".to_owned(), "/a/{id}?x={id}".to_owned())));
        assert_eq!(request(" POST "), Ok(("POST".to_owned(), String::new())));
        for text in ["", "put /x", "GET x", "GET /{name}", "GET /a b", "GET /a#b"] {
            assert!(request(text).is_err(), "{text}");
        }
        assert_eq!(header("Authorization: Bearer x:y"), Some(("Authorization", "Bearer x:y")));
        for text in ["", "x", ": x", "a b: c", "a: b\r\nc: d"] {
            assert_eq!(header(text), None, "{text}");
        }
    }
}
