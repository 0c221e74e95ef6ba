//! Records: where a configuration says they are, and how they are reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Expanded;
use super::requests::BodyTemplate;
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
    /// An address that answers with records; where it answers in pages, each names the next in a `Link` header (`rel="next"`), or where `next` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Expanded>,
    /// Where the array of records is within a text or an answer, as a JSON pointer like `/data`. Default: the text is the array, or has one record after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    /// Where an answer of `url` has the address of the next page, as a JSON pointer like `/links/next`. Default: the `Link` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
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
    /// The most that `command` may print, or `url` answer on all its pages; with more nothing is done. Default `10GiB`.
    pub max_answer: ByteSize,
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
    /// Where the array of records is within that answer, as `from.records.items`. Default: the answer is the array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    /// Where that answer has the address of the next page, as `from.records.next`. Default: the `Link` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Where the record is within the answer of `read`, as a JSON pointer. Default: the answer is the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Headers of every request to `url`, like `Authorization: Bearer ${TOKEN}`; one with `{id}` or `{FIELD}` goes only with what writes or deletes a record. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Expanded>,
    /// What `create` and `update` send, as JSON in which the text `{record}` stands for the record, `{id}` for its id and `{FIELD}` for a field. Default: the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyTemplate>,
    /// Fields that the API sets by itself: they take no part. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// How a record is read, as method and path behind `url`; `{id}` stands for its id. Default `GET /{id}`.
    pub read: String,
    /// How a new record is written; `{FIELD}` stands for a field of it, here and in `update` and `delete`. Default `POST`.
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
    /// The most that is taken where nothing else is said.
    pub const ANSWER_BYTES: u64 = 10 << 30;
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
            items: None,
            next: None,
            table: None,
            id: "id".to_owned(),
            ignore: Vec::new(),
            schema: None,
            max_record: ByteSize(16 << 20),
            max_answer: ByteSize(Self::ANSWER_BYTES),
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
            items: None,
            next: None,
            item: None,
            headers: Vec::new(),
            body: None,
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
