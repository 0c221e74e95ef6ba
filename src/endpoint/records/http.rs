//! Asking an HTTP address about records: politely, and in words that tell no secret.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use http::header::{CONTENT_TYPE, ETAG, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::{sleep, timeout};

use super::index::Text;
use super::json::{Json, parse};
use super::pointed;
use crate::base::escape::shown;
use crate::base::retry::{Backoff, jitter};
use crate::base::units::ByteSize;
use crate::config::{Expanded, JsonPointer, RecordsSource, header};
use crate::net;

/// One request is sent so often; what still fails then is for whoever asked.
const ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), ceiling: Duration::from_secs(2) };
/// The longest that an address is obeyed that asks for time.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(30);
/// More pages are no listing.
const PAGES_LIMIT: usize = 100_000;
/// No address of a page is longer.
const ADDRESS_LIMIT_BYTES: usize = 64 << 10;
/// The most that one record's answer may have.
const ANSWER_LIMIT_BYTES: usize = 256 << 20;

/// An address and how it is asked.
#[derive(Clone)]
pub struct Asking {
    client: Client,
    url: Url,
    headers: HeaderMap,
    limit: Duration,
    /// Where an answer has the address of the next page.
    next: Option<JsonPointer>,
    /// How much all pages may have.
    most: ByteSize,
    /// What people call it: as it is configured, variables unexpanded.
    pub(super) name: String,
}

/// What is asked about one record.
pub(super) struct Question<'q> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<&'q [u8]>,
}

/// What was answered about one record.
pub(super) struct Answered {
    pub status: StatusCode,
    pub etag: Option<HeaderValue>,
    pub body: Vec<u8>,
}

impl Asking {
    /// Prepares to ask an address.
    ///
    /// # Errors
    /// It is none, a header is none, or there is no client for it.
    pub fn new(url: &Expanded, headers: &[Expanded], limit: Duration) -> io::Result<Self> {
        let unfit = |what: &'static str| io::Error::new(ErrorKind::InvalidInput, what);
        let name = shown(url.written().as_bytes());
        let url = Url::parse(url.value()).map_err(|_| unfit("it is no address"))?;
        let client =
            net::http_client(&url, Policy::none).map_err(|refused| io::Error::other(net::deepest(&refused)))?;
        let mut map = HeaderMap::new();
        for text in headers {
            let (name, value) = header(text.value()).ok_or_else(|| unfit("one of its headers is none"))?;
            let name: HeaderName = name.parse().map_err(|_| unfit("one of its headers is none"))?;
            let mut value: HeaderValue = value.parse().map_err(|_| unfit("one of its headers is none"))?;
            value.set_sensitive(true);
            map.append(name, value);
        }
        Ok(Self { client, url, headers: map, limit, next: None, most: ByteSize(RecordsSource::ANSWER_BYTES), name })
    }

    /// Looks for the next page where a pointer points in an answer, and no more among its headers.
    #[must_use]
    pub fn turning(self, next: Option<JsonPointer>) -> Self {
        Self { next, ..self }
    }

    /// Takes no more than this of all pages.
    #[must_use]
    pub fn at_most(self, most: ByteSize) -> Self {
        Self { most, ..self }
    }

    /// Answers an address behind this one, with what may be asked of it.
    pub fn behind(&self, path: &str) -> io::Result<Url> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        if !path.is_empty() {
            url.set_path(&format!("{base}{path}"));
        }
        if query.is_some() {
            url.set_query(query);
        } else if !path.is_empty() {
            url.set_query(None);
        }
        Ok(url)
    }

    /// Asks about one record; what may pass by itself is asked again.
    pub(super) async fn ask(&self, question: &Question<'_>) -> io::Result<Answered> {
        let response = self.send(question).await?;
        let (status, etag) = (response.status(), response.headers().get(ETAG).cloned());
        let body = timeout(self.limit, whole(response)).await.map_err(|_| silent())??;
        Ok(Answered { status, etag, body })
    }

    async fn send(&self, question: &Question<'_>) -> io::Result<Response> {
        let Question { method, url, headers, body } = question;
        let mut attempt = 1;
        loop {
            let request = self.client.request(method.clone(), url.clone());
            let mut request = request.headers(self.headers.clone()).headers(headers.clone());
            if let Some(body) = body {
                // Some want it called something else, like a patch.
                let is_named = self.headers.contains_key(CONTENT_TYPE) || headers.contains_key(CONTENT_TYPE);
                request = if is_named { request } else { request.header(CONTENT_TYPE, "application/json") };
                request = request.body(body.to_vec());
            }
            let answer = timeout(self.limit, request.send()).await;
            let answer = answer.map_err(|_| silent()).and_then(|answer| answer.map_err(unreachable));
            let wait = match &answer {
                Ok(response) if is_busy(response.status()) => wait(response.headers()),
                Err(refused) if is_passing(refused) => None,
                _ => return answer,
            };
            if attempt >= ATTEMPTS {
                return answer;
            }
            drop(answer);
            sleep(wait.unwrap_or_else(|| BACKOFF.wait(attempt, jitter()))).await;
            attempt += 1;
        }
    }

    /// Reads all pages into temporary files.
    pub(super) async fn pages(&self) -> io::Result<Vec<Text>> {
        let (mut texts, mut seen, mut next) = (Vec::new(), HashSet::new(), Some(self.url.clone()));
        let mut room = self.most.0;
        while let Some(url) = next.take() {
            if texts.len() >= PAGES_LIMIT {
                return Err(io::Error::other("it has pages without end"));
            }
            if !seen.insert(url.clone()) {
                return Err(io::Error::other(format!(
                    "page {} of the answer names one before it as next",
                    texts.len()
                )));
            }
            let question = Question { method: Method::GET, url, headers: HeaderMap::new(), body: None };
            let response = self.send(&question).await?;
            if let Some(refused) = refusal(response.status()) {
                return Err(refused);
            }
            let linked = linked(response.headers());
            let (file, path) = tempfile::NamedTempFile::new()?.into_parts();
            timeout(self.limit, self.save(response, file, &mut room)).await.map_err(|_| silent())??;
            let name = format!("page {} of the answer", texts.len() + 1);
            let named = match &self.next {
                Some(pointer) => named(&path, &name, pointer)?,
                None => linked,
            };
            next = named.map(|named| self.next_page(&question.url, &named)).transpose()?.flatten();
            texts.push(Text { name, path: path.to_path_buf(), layout: None, spool: Some(path) });
        }
        Ok(texts)
    }

    async fn save(&self, mut response: Response, mut file: File, room: &mut u64) -> io::Result<()> {
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            let left = room.checked_sub(chunk.len() as u64);
            *room = left.ok_or_else(|| io::Error::other(format!("it answers with more than {}", self.most)))?;
            file.write_all(&chunk)?;
        }
        Ok(())
    }

    /// Answers the next page, which is never another machine's: that would get to see our headers.
    fn next_page(&self, page: &Url, target: &str) -> io::Result<Option<Url>> {
        let next = page.join(target).map_err(|_| io::Error::other("the next page that it names is no address"))?;
        if next.origin() != self.url.origin() {
            return Err(io::Error::other("the next page that it names is elsewhere"));
        }
        Ok((next != *page).then_some(next))
    }
}

/// Answers the address of the next page where a pointer points; an answer that ends the pages may have none there, or
/// nothing in its place.
fn named(path: &Path, name: &str, pointer: &JsonPointer) -> io::Result<Option<String>> {
    let unfit = |reason: String| io::Error::new(ErrorKind::InvalidData, format!("{name}: {reason}"));
    let found = pointed::find(File::open(path)?, pointer, ADDRESS_LIMIT_BYTES)?;
    let Some(place) = found.map_err(|wrong| unfit(format!("line {}: {}", wrong.line, wrong.reason)))? else {
        return Ok(None);
    };
    match parse(&place.text) {
        Ok(Json::Null | Json::Bool(false)) => Ok(None),
        Ok(Json::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        _ => Err(unfit(format!("there is no address at `{}`", shown(pointer.written().as_bytes())))),
    }
}

/// Answers the address to which the headers of an answer link as the next page.
fn linked(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|value| value.split(',')).find_map(next_link).map(str::to_owned)
}

/// Answers the address of a link to the next page.
fn next_link(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let parameter = parameter.trim();
        parameter.strip_prefix("rel=").is_some_and(|value| value.trim_matches('"').split(' ').any(|rel| rel == "next"))
    };
    parameters.split(';').any(is_next).then_some(target)
}

async fn whole(mut response: Response) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > ANSWER_LIMIT_BYTES {
            return Err(io::Error::other("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn silent() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "it does not answer in time")
}

fn unreachable(error: reqwest::Error) -> io::Error {
    let error = error.without_url();
    if net::distrust(&error).is_some() {
        return io::Error::other("its certificate is not trusted");
    }
    match net::system_error(&error) {
        Some(source) => io::Error::new(source.kind(), net::words(source)),
        None => io::Error::new(ErrorKind::ConnectionAborted, net::deepest(&error)),
    }
}

fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | TimedOut)
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Answers how long an address wants to be left alone, where it says so in seconds.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT))
}

/// Answers what a status says, where it is no success.
pub(super) fn refusal(status: StatusCode) -> Option<io::Error> {
    let kind = match status.as_u16() {
        200..=299 => return None,
        401 | 403 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        _ if is_busy(status) => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    };
    let redirect = if status.is_redirection() { ", and redirects are not followed" } else { "" };
    Some(io::Error::new(kind, format!("it answers HTTP {}{redirect}", status.as_u16())))
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_the_next_page() {
        assert_eq!(next_link(r#" </a?page=2>; rel="next""#), Some("/a?page=2"));
        assert_eq!(next_link(r#"<b>; title=x; rel="last next""#), Some("b"));
        assert_eq!(next_link(r#"<a>; rel="last""#), None);
        assert_eq!(next_link("nothing"), None);
    }

    #[test]
    fn an_address_behind_another_keeps_its_path() {
        let url = Expanded::new("http://127.0.0.1:1/api/things/?page=1", "http://127.0.0.1:1/api/things/?page=1");
        let asking = Asking::new(&url, &[], Duration::from_secs(1)).unwrap();
        assert_eq!(asking.behind("/a%2Fb").unwrap().as_str(), "http://127.0.0.1:1/api/things/a%2Fb");
        assert_eq!(asking.behind("?id=1").unwrap().as_str(), "http://127.0.0.1:1/api/things/?id=1");
        assert_eq!(asking.behind("").unwrap().as_str(), "http://127.0.0.1:1/api/things/?page=1");
    }
}
