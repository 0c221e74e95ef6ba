//! Records behind an HTTP API: listed at one address, read and written one by one below it.
//!
//! Before a record is written it is read again, and left alone where it is not what was expected; where the API names what
//! it answers with (an ETag), the write says so, too, so that a faster one is refused there.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::IF_MATCH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use reqwest::Url;
use serde_json::Value;

use super::http::{Asking, Question, refusal};
use super::json::Json;
use super::merge::FieldMerge;
use super::pointed;
use super::shape::{Record, Shape};
use super::texts::{Origin, RecordTexts};
use crate::base::escape::shown;
use crate::config::{BodyTemplate, JsonPointer, RequestTemplate, TextTemplate};
use crate::endpoint::{
    Capabilities, Content, Endpoint, Error, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Listing, Merge,
    Put, Result, Take, Version,
};

/// What stands for itself in an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What no header can carry; letters beyond ASCII are none either.
const UNTOLD: &AsciiSet = &CONTROLS.add(b'%');

/// How one record is asked for and written.
#[derive(Debug, Clone)]
pub struct Requests {
    /// Reads it.
    pub read: RequestTemplate,
    /// Writes a new one.
    pub create: RequestTemplate,
    /// Replaces it.
    pub update: RequestTemplate,
    /// Deletes it.
    pub delete: RequestTemplate,
    /// Headers of what writes or deletes it.
    pub headers: Vec<(HeaderName, TextTemplate)>,
    /// What is sent where it is written; none: the record.
    pub body: Option<BodyTemplate>,
    /// Where all records are within what the address answers.
    pub items: Option<JsonPointer>,
    /// Where the record is within what `read` answers.
    pub item: Option<JsonPointer>,
    /// Requests at the same time.
    pub parallel: usize,
}

/// Records behind an HTTP API; cheap to clone.
#[derive(Clone)]
pub struct RecordApi(Arc<Held>);

struct Held {
    asking: Asking,
    requests: Requests,
    shape: Shape,
    all: RecordTexts,
}

/// A record as the API has it now.
struct Found {
    record: Record,
    etag: Option<HeaderValue>,
}

impl RecordApi {
    /// Opens an API; it is not asked yet.
    #[must_use]
    pub fn open(asking: Asking, requests: Requests, shape: Shape) -> Self {
        let all = RecordTexts::open(Origin::Http(asking.clone()), shape.clone(), requests.items.clone());
        Self(Arc::new(Held { asking, requests, shape, all }))
    }

    async fn each<'a, T, R, F>(&'a self, items: Vec<T>, work: impl Fn(T) -> F) -> Vec<Result<R>>
    where
        F: Future<Output = Result<R>> + 'a,
    {
        stream::iter(items.into_iter().map(work)).buffered(self.0.requests.parallel.max(1)).collect().await
    }

    /// Reads a record; nothing where there is none.
    async fn find(&self, key: &Key) -> io::Result<Option<Found>> {
        let (method, url) = self.request(&self.0.requests.read, &Filling { key, record: None })?;
        let question = Question { method, url, headers: HeaderMap::new(), body: None };
        let answered = self.0.asking.ask(&question).await?;
        if matches!(answered.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        if let Some(refused) = refusal(answered.status) {
            return Err(refused);
        }
        let Some(text) = self.unwrapped(&answered.body)? else { return Ok(None) };
        let record = self.0.shape.record(&text).map_err(|refused| unfit(refused.to_string()))?;
        if record.key != *key {
            return Err(unfit(format!("it answers with the record {}", record.key)));
        }
        Ok(Some(Found { record, etag: answered.etag }))
    }

    /// Answers the text of a record within an answer; nothing where `null` says that there is none.
    fn unwrapped<'a>(&self, answer: &'a [u8]) -> io::Result<Option<Cow<'a, [u8]>>> {
        let Some(pointer) = &self.0.requests.item else { return Ok(Some(answer.into())) };
        match pointed::find(answer, pointer, answer.len())? {
            Ok(Some(place)) => Ok((place.text != b"null").then_some(place.text.into())),
            Ok(None) => Err(unfit(format!("its answer has nothing at `{}`", shown(pointer.written().as_bytes())))),
            Err(wrong) => Err(unfit(format!("its answer cannot be read: {}", wrong.reason))),
        }
    }

    /// Fills in what is asked about a record.
    fn request(&self, template: &RequestTemplate, filling: &Filling<'_>) -> io::Result<(Method, Url)> {
        let path = template.path.filled(|name| filling.in_path(name))?;
        let (steps, _) = path.split_once('?').unwrap_or((&path, ""));
        // What means this place or the one above would ask about something else.
        if let Some(step) = steps.split('/').find(|step| matches!(*step, "." | "..")) {
            return Err(unfit(format!("`{step}` cannot be a part of a path")));
        }
        let method = template.method.parse().map_err(|_| io::Error::other("its method is none"))?;
        Ok((method, self.0.asking.behind(&path)?))
    }

    async fn existing(&self, key: Key) -> Result<Record> {
        let found = self.find(&key).await.map_err(Error::item("read", &key))?;
        found.map(|found| found.record).ok_or_else(|| super::gone(&key))
    }

    async fn put(&self, put: Put) -> Result<Fingerprint> {
        let shape = Shape { ignore: Vec::new(), ..self.0.shape.clone() };
        let work = move |puts: Vec<Put>| puts.into_iter().map(|put| super::promised(&shape, put)).collect();
        let promised = crate::endpoint::in_batch(self.place(), vec![put], work).await.pop();
        let lost = || Error::Lost { place: self.place(), reason: "a record has no answer".to_owned() };
        let (key, record, expected) = promised.ok_or_else(lost)??;
        // What takes no part there is not in what was promised.
        let wanted = self.0.shape.record(&record.canonical).map_or(record.known.clone(), |record| record.known);
        let now = self.find(&key).await.map_err(Error::item("write", &key))?;
        let version = now.as_ref().map(|found| found.record.known.version);
        if version == Some(wanted.version) {
            return Ok(wanted.fingerprint);
        }
        self.require(&key, version, expected)?;
        let writing = Writing { action: "write", key: &key, there: now.as_ref(), new: Some(&record.value) };
        let template = if now.is_some() { &self.0.requests.update } else { &self.0.requests.create };
        self.send(template, writing).await?;
        Ok(wanted.fingerprint)
    }

    async fn take(&self, take: Take) -> Result<()> {
        let now = self.find(&take.key).await.map_err(Error::item("delete", &take.key))?;
        let version = now.as_ref().map(|found| found.record.known.version);
        self.require(&take.key, version, Some(take.expected.version))?;
        let writing = Writing { action: "delete", key: &take.key, there: now.as_ref(), new: None };
        self.send(&self.0.requests.delete, writing).await
    }

    fn require(&self, key: &Key, now: Option<Version>, expected: Option<Version>) -> Result<()> {
        if now == expected { Ok(()) } else { Err(Error::changed(key, "was changed at the target meanwhile")) }
    }

    async fn send(&self, template: &RequestTemplate, writing: Writing<'_>) -> Result<()> {
        let Writing { action, key, there, new } = writing;
        // What is there is asked about as it is there.
        let filling = Filling { key, record: there.map(|found| &found.record.value).or(new) };
        let body = new.map(|record| body(self.0.requests.body.as_ref(), record, &self.0.shape.id));
        let question = || {
            let (method, url) = self.request(template, &filling)?;
            let headers = self.headers(&filling, there.and_then(|found| found.etag.as_ref()))?;
            Ok(Question { method, url, headers, body: body.as_deref() })
        };
        let question = question().map_err(Error::item(action, key))?;
        let answered = self.0.asking.ask(&question).await.map_err(Error::item(action, key))?;
        if matches!(answered.status, StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT) {
            return Err(Error::changed(key, "was changed at the target meanwhile"));
        }
        refusal(answered.status).map_or(Ok(()), |refused| Err(Error::item(action, key)(refused)))
    }

    /// Answers the headers of what is asked about one record.
    fn headers(&self, filling: &Filling<'_>, etag: Option<&HeaderValue>) -> io::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, template) in &self.0.requests.headers {
            let text = template.filled(|name| filling.in_header(name))?;
            let mut value = HeaderValue::from_str(&text).map_err(|_| unfit(format!("its header {name} is none")))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        headers.extend(etag.map(|etag| (IF_MATCH, etag.clone())));
        Ok(headers)
    }
}

/// A record that is to be written or deleted.
struct Writing<'w> {
    action: &'static str,
    key: &'w Key,
    /// As the API has it now.
    there: Option<&'w Found>,
    /// As it is to be; none: it is deleted.
    new: Option<&'w Json>,
}

/// What is filled into what is asked.
struct Filling<'f> {
    key: &'f Key,
    record: Option<&'f Json>,
}

impl Filling<'_> {
    fn text(&self, name: &str) -> io::Result<String> {
        if name == "id" {
            let id = percent_decode(self.key.as_bytes()).collect::<Vec<u8>>();
            return Ok(String::from_utf8_lossy(&id).into_owned());
        }
        match self.record.and_then(|record| record.field(name)) {
            Some(Json::String(text) | Json::Number(text)) => Ok(text.clone()),
            Some(Json::Bool(is)) => Ok(is.to_string()),
            _ => Err(unfit(format!("has no text or number `{}`, which the request needs", shown(name.as_bytes())))),
        }
    }

    fn in_path(&self, name: &str) -> io::Result<String> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Err(unfit(format!("its `{}` is empty, which no path can tell", shown(name.as_bytes()))));
        }
        Ok(utf8_percent_encode(&text, PLAIN).to_string())
    }

    fn in_header(&self, name: &str) -> io::Result<String> {
        Ok(utf8_percent_encode(&self.text(name)?, UNTOLD).to_string())
    }
}

/// Answers what is sent where a record is written.
fn body(template: Option<&BodyTemplate>, record: &Json, id: &str) -> Vec<u8> {
    template.map_or_else(|| record.canonical(), |template| filled(template.json(), record, id).canonical())
}

/// Fills values into JSON, where a whole text stands for one; a field that the record does not have is `null`.
fn filled(template: &Value, record: &Json, id: &str) -> Json {
    match template {
        Value::Null => Json::Null,
        Value::Bool(is) => Json::Bool(*is),
        Value::Number(number) => Json::Number(number.to_string()),
        Value::Array(values) => Json::Array(values.iter().map(|value| filled(value, record, id)).collect()),
        Value::Object(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, record, id))).collect())
        }
        Value::String(text) => match BodyTemplate::placeholder(text) {
            None => Json::String(text.clone()),
            Some("record") => record.clone(),
            Some(name) => record.field(if name == "id" { id } else { name }).cloned().unwrap_or(Json::Null),
        },
    }
}

fn unfit(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl fmt::Debug for RecordApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordApi").field("asking", &self.0.asking).finish_non_exhaustive()
    }
}

impl Endpoint for RecordApi {
    fn place(&self) -> String {
        self.0.all.place()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: false, links: false }
    }

    fn merger(&self) -> Option<Arc<dyn Merge>> {
        self.0.shape.by_field.then(|| Arc::new(FieldMerge) as Arc<dyn Merge>)
    }

    fn admit(&self, key: &Key, given: &[u8]) -> Option<Result<Vec<u8>>> {
        Some(super::admitted(&self.0.shape, key, given))
    }

    fn list(&self) -> Listing {
        self.0.all.list()
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        Box::pin(self.each(items, |item| async {
            let record = self.existing(item.key).await?;
            Ok(Content::whole(record.canonical).proved_by(Some(record.known.fingerprint)))
        }))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        Box::pin(self.each(items, |item| async { Ok(self.existing(item.key).await?.known) }))
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        Box::pin(self.each(puts, |put| self.put(put)))
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        Box::pin(self.each(takes, |take| self.take(take)))
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        // An API answers when it has what it was given.
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}
