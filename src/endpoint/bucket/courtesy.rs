//! Asking a store again: soon where it stumbled, later where it asks for that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::base::retry::{Backoff, jitter};

/// One request is sent so often; what still fails then is for whoever asked.
const ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), ceiling: Duration::from_secs(2) };
/// The longest that a store is obeyed.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(30);

/// Sends requests, each of them again where that may help, and none before the time that the store named when it
/// refused one.
///
/// A request whose answer was lost is sent again too: whoever sends one that must not be done twice puts a condition
/// on it, and looks at what is there when that is not met.
#[derive(Debug)]
pub(super) struct Courteous<T> {
    inner: T,
    /// How long the answer to one attempt may take to begin.
    patience: Duration,
    not_before: Mutex<Option<Instant>>,
}

impl<T> Courteous<T> {
    pub fn new(inner: T, patience: Duration) -> Self {
        Self { inner, patience, not_before: Mutex::new(None) }
    }

    /// The longest that a request may take with all its attempts.
    pub fn longest(patience: Duration) -> Duration {
        (patience + RETRY_AFTER_LIMIT + BACKOFF.ceiling) * (ATTEMPTS + 1)
    }

    fn not_before(&self) -> Option<Instant> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heed(&self, response: &Response<HttpBody>) {
        let value = response.headers().get(RETRY_AFTER).map(|value| value.as_bytes());
        if let Some(wait) = wait(response.status(), value) {
            let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            *not_before = (*not_before).max(Some(Instant::now() + wait));
        }
    }
}

impl<T: HttpTransport> HttpTransport for Courteous<T> {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        let mut attempt = 1;
        loop {
            if let Some(moment) = self.not_before() {
                sleep_until(moment).await;
            }
            let elapsed = |_| Err(Error::new(ErrorKind::Unexpected, "it does not answer in time").set_temporary());
            let answer = timeout(self.patience, self.inner.fetch(request.clone())).await.unwrap_or_else(elapsed);
            let may_pass = match &answer {
                Ok(response) => {
                    self.heed(response);
                    is_busy(response.status())
                }
                Err(refused) => refused.is_temporary(),
            };
            if !may_pass || attempt >= ATTEMPTS {
                return answer;
            }
            drop(answer);
            sleep(BACKOFF.wait(attempt, jitter())).await;
            attempt += 1;
        }
    }
}

/// Answers whether a store says so that it has not done what was asked, and may do it later.
fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
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
    use std::sync::Arc;

    use super::*;

    /// Answers with these, one after the other, and notes when it was asked.
    struct Busy {
        answers: Mutex<Vec<Result<u16>>>,
        asked: Arc<Mutex<Vec<Instant>>>,
    }

    impl HttpTransport for Busy {
        async fn fetch(&self, _: Request<Buffer>) -> Result<Response<HttpBody>> {
            self.asked.lock().unwrap().push(Instant::now());
            let status = self.answers.lock().unwrap().remove(0)?;
            let mut response = Response::new(HttpBody::new(futures_util::stream::empty(), None));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if status == 503 {
                response.headers_mut().insert(RETRY_AFTER, "1".parse().unwrap());
            }
            Ok(response)
        }
    }

    async fn asked(answers: Vec<Result<u16>>) -> (Result<u16>, Vec<Instant>) {
        let asked = Arc::default();
        let busy = Busy { answers: Mutex::new(answers), asked: Arc::clone(&asked) };
        let answer = Courteous::new(busy, Duration::from_secs(60)).fetch(Request::new(Buffer::new())).await;
        let asked = asked.lock().unwrap().clone();
        (answer.map(|response| response.status().as_u16()), asked)
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_again_and_nothing_else() {
        let lost = || Error::new(ErrorKind::Unexpected, "lost").set_temporary();
        let (answer, times) = asked(vec![Err(lost()), Ok(500), Ok(200)]).await;
        assert_eq!((answer.unwrap(), times.len()), (200, 3));
        let (answer, times) = asked(vec![Ok(500), Ok(502), Ok(504), Ok(200)]).await;
        assert_eq!((answer.unwrap(), times.len()), (504, 3), "then it is for whoever asked");
        for status in [200, 403, 404, 409, 412] {
            assert_eq!(asked(vec![Ok(status)]).await.0.unwrap(), status);
        }
        let unfit = Error::new(ErrorKind::ConfigInvalid, "unfit");
        assert_eq!(asked(vec![Err(unfit)]).await.0.unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    #[tokio::test]
    async fn a_store_is_left_alone_as_long_as_it_asks_for() {
        let (answer, times) = asked(vec![Ok(503), Ok(200)]).await;
        assert_eq!(answer.unwrap(), 200);
        assert!(times[1] - times[0] >= Duration::from_secs(1));
    }

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
