//! Records behind an HTTP API: listed at one address, read and written one by one below it.
//!
//! Before a record is written it is read again, and left alone where it is not what was expected; where the API names what
//! it answers with (an ETag), the write says so, too, so that a faster one is refused there.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use reqwest::Url;

use super::http::{Asking, refusal};
use super::merge::FieldMerge;
use super::shape::{Record, Shape};
use super::texts::{Origin, RecordTexts};
use crate::config::RequestTemplate;
use crate::endpoint::{
    Capabilities, Content, Endpoint, Error, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Listing, Merge,
    Put, Result, Take, Version,
};

/// What stands for itself in an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

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
        let all = RecordTexts::open(Origin::Http(asking.clone()), shape.clone());
        Self(Arc::new(Held { asking, requests, shape, all }))
    }

    async fn each<'a, T, R, F>(&'a self, items: Vec<T>, work: impl Fn(T) -> F) -> Vec<Result<R>>
    where
        F: Future<Output = Result<R>> + 'a,
    {
        stream::iter(items.into_iter().map(work)).buffered(self.0.requests.parallel.max(1)).collect().await
    }

    /// Fills in what is asked about a record.
    fn request(&self, template: &RequestTemplate, key: &Key) -> io::Result<(Method, Url)> {
        let id = percent_decode(key.as_bytes()).collect::<Vec<u8>>();
        let id = String::from_utf8_lossy(&id).into_owned();
        let path = template.path.replace("{id}", &utf8_percent_encode(&id, PLAIN).to_string());
        let method = template.method.parse().map_err(|_| io::Error::other("its method is none"))?;
        Ok((method, self.0.asking.behind(&path)?))
    }

    /// Reads a record; nothing where there is none.
    async fn find(&self, key: &Key) -> io::Result<Option<Found>> {
        let (method, url) = self.request(&self.0.requests.read, key)?;
        let answered = self.0.asking.ask(&method, &url, None, None).await?;
        if matches!(answered.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        if let Some(refused) = refusal(answered.status) {
            return Err(refused);
        }
        let unfit = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let record = self.0.shape.record(&answered.body).map_err(|refused| unfit(refused.to_string()))?;
        if record.key != *key {
            return Err(unfit(format!("it answers with the record {}", record.key)));
        }
        Ok(Some(Found { record, etag: answered.etag }))
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
        let template = if now.is_some() { &self.0.requests.update } else { &self.0.requests.create };
        let etag = now.and_then(|found| found.etag);
        self.send(template, &key, Some(&record.canonical), etag, "write").await?;
        Ok(wanted.fingerprint)
    }

    async fn take(&self, take: Take) -> Result<()> {
        let now = self.find(&take.key).await.map_err(Error::item("delete", &take.key))?;
        let version = now.as_ref().map(|found| found.record.known.version);
        self.require(&take.key, version, Some(take.expected.version))?;
        let etag = now.and_then(|found| found.etag);
        self.send(&self.0.requests.delete, &take.key, None, etag, "delete").await
    }

    fn require(&self, key: &Key, now: Option<Version>, expected: Option<Version>) -> Result<()> {
        if now == expected { Ok(()) } else { Err(Error::changed(key, "was changed at the target meanwhile")) }
    }

    async fn send(
        &self,
        template: &RequestTemplate,
        key: &Key,
        body: Option<&[u8]>,
        etag: Option<HeaderValue>,
        action: &'static str,
    ) -> Result<()> {
        let (method, url) = self.request(template, key).map_err(Error::item(action, key))?;
        let answered = self.0.asking.ask(&method, &url, body, etag.as_ref()).await.map_err(Error::item(action, key))?;
        if matches!(answered.status, StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT) {
            return Err(Error::changed(key, "was changed at the target meanwhile"));
        }
        refusal(answered.status).map_or(Ok(()), |refused| Err(Error::item(action, key)(refused)))
    }
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
