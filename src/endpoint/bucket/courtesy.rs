//! Coming back when a store asks for it, and not before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use opendal::{Buffer, HttpBody, HttpTransport};
use tokio::time::Instant;

/// The longest that a store is obeyed.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(30);

/// Sends requests, none of them before the time that the store named when it refused one.
#[derive(Debug)]
pub(super) struct Courteous<T> {
    inner: T,
    not_before: Arc<Mutex<Option<Instant>>>,
}

impl<T> Courteous<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, not_before: Arc::default() }
    }

    fn not_before(&self) -> Option<Instant> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: HttpTransport> HttpTransport for Courteous<T> {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if let Some(moment) = self.not_before() {
            tokio::time::sleep_until(moment).await;
        }
        let response = self.inner.fetch(request).await?;
        if let Some(wait) = wait(response.status(), response.headers().get(RETRY_AFTER).map(|value| value.as_bytes())) {
            let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            *not_before = (*not_before).max(Some(Instant::now() + wait));
        }
        Ok(response)
    }
}

/// Answers how long a store that refuses wants to be left alone, where it says so in seconds.
fn wait(status: StatusCode, retry_after: Option<&[u8]>) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds: u64 = std::str::from_utf8(retry_after?).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_that_names_seconds_is_waited_for() {
        let seconds = |status: u16, value: &[u8]| {
            wait(StatusCode::from_u16(status).unwrap(), Some(value)).map(|wait| wait.as_secs())
        };
        assert_eq!(seconds(503, b"2"), Some(2));
        assert_eq!(seconds(429, b" 7 "), Some(7));
        assert_eq!(seconds(429, b"86400"), Some(RETRY_AFTER_LIMIT.as_secs()));
        assert_eq!(seconds(200, b"2"), None);
        assert_eq!(seconds(503, b"Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE, None), None);
    }
}
