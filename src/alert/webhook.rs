//! Webhooks: a signed POST of a message's JSON form, as the Standard Webhooks specification has it.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use ring::hmac;
use tokio::time::timeout;

use super::error::{Error, Result};
use super::message::Message;
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::units::Span;
use crate::config;
use crate::net;

const ID_HEADER: &str = "webhook-id";
const TIMESTAMP_HEADER: &str = "webhook-timestamp";
const SIGNATURE_HEADER: &str = "webhook-signature";
const EVENT_HEADER: &str = "x-cascade-event";
const DATE: DateTimeParser = DateTimeParser::new();

/// A place that messages are posted to.
pub(super) struct Webhook {
    target: Url,
    key: Option<hmac::Key>,
    limit: Span,
    client: OnceLock<Client>,
}

impl Webhook {
    /// Makes what the configuration asks for; nothing where it is switched off.
    pub fn new(spec: &config::Webhook) -> Option<Self> {
        let (Ok(Some(target)), Ok(key)) = (spec.target(), spec.key()) else { return None };
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key));
        Some(Self { target, key, limit: spec.timeout, client: OnceLock::new() })
    }

    /// Posts a message once, at the moment `now`. Redirects are not followed: what is posted is meant for one receiver.
    pub async fn post(&self, message: &Message, now: Timestamp) -> Result<()> {
        let request = self.request(message, now)?;
        let answered = timeout(self.limit.0, request.send()).await;
        let response = answered.map_err(|_| Error::Silent { limit: self.limit })?;
        judge(&response.map_err(|error| self.unreachable(error))?, now)
    }

    fn request(&self, message: &Message, now: Timestamp) -> Result<RequestBuilder> {
        let body = serde_json::to_string(message).map_err(|problem| Error::Unusable { reason: problem.to_string() })?;
        let seconds = now.as_second().to_string();
        let request = self.client()?.post(self.target.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.header(EVENT_HEADER, message.event).header(ID_HEADER, &message.id);
        let request = request.header(TIMESTAMP_HEADER, &seconds);
        let request = match &self.key {
            Some(key) => request.header(SIGNATURE_HEADER, signature(key, &message.id, &seconds, &body)),
            None => request,
        };
        Ok(request.body(body))
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = net::http_client(&self.target, Policy::none).map_err(|error| self.unreachable(error))?;
        Ok(self.client.get_or_init(|| made))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        // Complaints about certificates and names repeat the name.
        let host = self.target.host_str().filter(|host| !host.is_empty());
        let harmless = |text: String| {
            let text = host.map_or_else(|| text.clone(), |host| text.replace(host, "the host"));
            shown(text.as_bytes())
        };
        if let Some(reason) = net::distrust(&error) {
            return Error::Untrusted { reason: harmless(reason) };
        }
        let reason = net::system_error(&error).map_or_else(|| net::deepest(&error), net::words);
        Error::Unreachable { reason: harmless(reason) }
    }
}

fn judge(response: &Response, now: Timestamp) -> Result<()> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    Err(Error::Status { status: status.as_u16(), after: retry_after(response.headers(), now) })
}

/// Answers how long the receiver asks to be left alone; it says so in seconds or by a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait_ms = DATE.parse_timestamp(text).ok()?.as_millisecond() - now.as_millisecond();
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
}

/// Answers the signature of a body: what it is, when it was sent and what it says cannot be parted.
fn signature(key: &hmac::Key, id: &str, seconds: &str, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(tag))
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("is_signed", &self.key.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;

    #[test]
    fn signature_is_that_of_the_specification() {
        let key = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    fn check(text: &str, seconds: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = from_ms(784_111_777_000);
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
    }

    #[test]
    fn receiver_asks_for_time_in_seconds_or_by_a_date() {
        check("120", Some(120));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("-5", None);
        check("soon", None);
        check("99999999999999999999", None);
    }
}
