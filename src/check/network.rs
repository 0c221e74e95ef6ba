//! Addresses that must answer.
//!
//! The network cannot tell everything: a refused or broken connection is a failure, silence is unknown, and
//! so is what this machine itself cannot do. Addresses are shown as they were written, never expanded.

use std::io::{self, ErrorKind};

use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, Outcome};
use crate::base::units::Span;
use crate::config::Expanded;
use crate::net::{self, deepest};

const REDIRECT_LIMIT_HOPS: usize = 5;
/// `contains` is looked for in this much of an answer.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// Asks `url` with GET: passes when the status is `status` (without one, any of 200 to 299) and the body has
/// `contains`. Redirects are followed, unless one of them is what is expected.
pub(super) async fn http(url: &Expanded, status: Option<u16>, contains: Option<&Expanded>, limit: Span) -> Answer {
    match timeout(limit.0, request(url, status, contains)).await {
        Ok(Ok(answer) | Err(answer)) => answer,
        Err(_) => Answer::unknown(format!("no answer within {limit}")),
    }
}

/// Asks whether `host:port` accepts a connection.
pub(super) async fn tcp(address: &Expanded, limit: Span) -> Answer {
    match timeout(limit.0, TcpStream::connect(address.value())).await {
        Ok(Ok(_)) => Answer::pass("accepts connections"),
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidInput => {
            Answer::unknown(format!("`{}` is not an address: write host:port", address.written()))
        }
        Ok(Err(error)) => refusal(&error),
        Err(_) => Answer::unknown(format!("no answer within {limit}")),
    }
}

async fn request(url: &Expanded, status: Option<u16>, contains: Option<&Expanded>) -> Result<Answer, Answer> {
    let target = parsed(url)?;
    let client = client(&target, status)?;
    let response = client.get(target.clone()).send().await.map_err(|error| failure(error, url, &target))?;
    let code = response.status();
    if !status.map_or(code.is_success(), |expected| code.as_u16() == expected) {
        let expected = status.map_or("a success".to_owned(), |expected| expected.to_string());
        return Ok(Answer::fail(format!("status {} instead of {expected}", code.as_u16())));
    }
    let Some(text) = contains else { return Ok(Answer::pass(format!("status {}", code.as_u16()))) };
    let found = body_contains(response, text.value().as_bytes()).await.map_err(|error| failure(error, url, &target))?;
    Ok(match found {
        true => Answer::pass(format!("status {}, contains `{}`", code.as_u16(), text.written())),
        false => Answer::fail(format!("status {}, but does not contain `{}`", code.as_u16(), text.written())),
    })
}

fn parsed(url: &Expanded) -> Result<Url, Answer> {
    let target = Url::parse(url.value()).ok().filter(|target| matches!(target.scheme(), "http" | "https"));
    target.ok_or_else(|| Answer::unknown(format!("`{}` is not an http or https address", url.written())))
}

fn client(target: &Url, status: Option<u16>) -> Result<Client, Answer> {
    let follow = !status.is_some_and(|status| (300..400).contains(&status));
    let redirects = || if follow { Policy::limited(REDIRECT_LIMIT_HOPS) } else { Policy::none() };
    net::http_client(target, redirects).map_err(|error| Answer::unknown(format!("cannot ask: {}", deepest(&error))))
}

/// Answers whether the start of the body has `text`; stops reading when it was found.
async fn body_contains(mut response: Response, text: &[u8]) -> reqwest::Result<bool> {
    let mut body = Vec::new();
    let mut found = text.is_empty();
    while !found && body.len() < BODY_LIMIT_BYTES {
        let Some(chunk) = response.chunk().await? else { break };
        let unread = body.len().saturating_sub(text.len() - 1);
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT_BYTES - body.len())]);
        found = body[unread..].windows(text.len()).any(|window| window == text);
    }
    Ok(found)
}

fn failure(error: reqwest::Error, url: &Expanded, target: &Url) -> Answer {
    let error = error.without_url();
    if error.is_redirect() {
        return Answer::fail(format!("no answer after {REDIRECT_LIMIT_HOPS} redirects"));
    }
    if error.is_builder() {
        return Answer::unknown(format!("cannot ask `{}`", url.written()));
    }
    let mut answer =
        net::system_error(&error).map_or_else(|| Answer::fail(format!("no answer: {}", deepest(&error))), refusal);
    if url.written() != url.value()
        && let Some(host) = target.host_str().filter(|host| !url.written().contains(host))
    {
        // Complaints about certificates and names repeat the name.
        answer.detail = answer.detail.replace(host, url.written());
    }
    answer
}

fn refusal(error: &io::Error) -> Answer {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    let unable = error.raw_os_error().is_some_and(|code| exhausted.contains(&code));
    let outcome = match error.kind() {
        ErrorKind::TimedOut
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::HostUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::PermissionDenied => Outcome::Unknown,
        _ if unable => Outcome::Unknown,
        _ => Outcome::Fail,
    };
    Answer::new(outcome, net::words(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LIMIT: Span = Span::seconds(20);

    /// Serves `answers` to one connection each and answers the address.
    async fn serve(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    fn response(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    fn plain(text: &str) -> Expanded {
        Expanded::new(text, text)
    }

    async fn check(answers: &[String], status: Option<u16>, contains: Option<&str>, outcome: Outcome, detail: &str) {
        let address = serve(answers.to_vec()).await;
        let text = contains.map(plain);
        let answer = http(&plain(&format!("http://{address}/health")), status, text.as_ref(), LIMIT).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (outcome, detail));
    }

    async fn closed_port() -> String {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn status_and_text_decide() {
        let ok = [response("200 OK", "all is ok here")];
        check(&ok, None, None, Outcome::Pass, "status 200").await;
        check(&ok, Some(200), Some("is ok"), Outcome::Pass, "status 200, contains `is ok`").await;
        check(&ok, None, Some(""), Outcome::Pass, "status 200, contains ``").await;
        check(&ok, None, Some("is well"), Outcome::Fail, "status 200, but does not contain `is well`").await;
        check(&ok, Some(204), None, Outcome::Fail, "status 200 instead of 204").await;
        let down = [response("503 Down", "")];
        check(&down, None, None, Outcome::Fail, "status 503 instead of a success").await;
        check(&down, Some(503), None, Outcome::Pass, "status 503").await;
    }

    #[tokio::test]
    async fn redirects_are_followed_unless_expected() {
        let moved =
            "HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
        check(&[moved.clone(), response("200 OK", "")], None, None, Outcome::Pass, "status 200").await;
        check(&vec![moved.clone(); 9], None, None, Outcome::Fail, "no answer after 5 redirects").await;
        check(&[moved], Some(302), None, Outcome::Pass, "status 302").await;
    }

    #[tokio::test]
    async fn text_is_looked_for_in_the_first_megabyte_only() {
        let early = format!("{}needle{}", "x".repeat(BODY_LIMIT_BYTES - 6), "x".repeat(100));
        check(&[response("200 OK", &early)], None, Some("needle"), Outcome::Pass, "status 200, contains `needle`")
            .await;
        let late = format!("{}needle", "x".repeat(BODY_LIMIT_BYTES - 5));
        let missing = "status 200, but does not contain `needle`";
        check(&[response("200 OK", &late)], None, Some("needle"), Outcome::Fail, missing).await;
    }

    #[tokio::test]
    async fn broken_answers_fail() {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned();
        let address = serve(vec![cut, "no http at all\r\n\r\n".to_owned()]).await;
        let url = plain(&format!("http://{address}/"));
        for _ in 0..2 {
            let answer = http(&url, None, Some(&plain("ok")), LIMIT).await;
            assert_eq!(answer.outcome, Outcome::Fail, "{answer:?}");
        }
    }

    /// Runs itself in a process that finds no certificates.
    #[test]
    fn without_certificate_authorities_plain_http_works() {
        if std::env::var_os("CASCADE_TEST_WITHOUT_AUTHORITIES").is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                check(&[response("200 OK", "")], None, None, Outcome::Pass, "status 200").await;
                let answer = http(&plain("https://127.0.0.1:1/"), None, None, LIMIT).await;
                assert_eq!(answer.outcome, Outcome::Unknown);
                assert!(answer.detail.starts_with("cannot ask: "), "{}", answer.detail);
            });
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "check::network::tests::without_certificate_authorities_plain_http_works"]);
        child.env("CASCADE_TEST_WITHOUT_AUTHORITIES", "1");
        child.env("SSL_CERT_FILE", "/nowhere/at/all").env("SSL_CERT_DIR", "/nowhere/at/all");
        let output = child.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }

    #[tokio::test]
    async fn refused_connections_fail() {
        let address = closed_port().await;
        let answer = http(&plain(&format!("http://{address}/")), None, None, LIMIT).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Fail, "connection refused"));
        let answer = tcp(&plain(&address), LIMIT).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Fail, "connection refused"));
    }

    #[tokio::test]
    async fn silence_is_unknown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = plain(&format!("http://{}/", listener.local_addr().unwrap()));
        let answer = http(&url, None, None, Span(Duration::from_millis(200))).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Unknown, "no answer within 200ms"));
    }

    #[tokio::test]
    async fn open_port_passes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answer = tcp(&plain(&listener.local_addr().unwrap().to_string()), LIMIT).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Pass, "accepts connections"));
    }

    #[tokio::test]
    async fn malformed_addresses_are_unknown_and_stay_as_written() {
        let answer = http(&Expanded::new("${URL}", "ftp://user:hunter2@host"), None, None, LIMIT).await;
        let shown = (answer.outcome, answer.detail.as_str());
        assert_eq!(shown, (Outcome::Unknown, "`${URL}` is not an http or https address"));
        let answer = tcp(&Expanded::new("${DB}", "hunter2"), LIMIT).await;
        let shown = (answer.outcome, answer.detail.as_str());
        assert_eq!(shown, (Outcome::Unknown, "`${DB}` is not an address: write host:port"));
    }

    #[tokio::test]
    async fn values_of_an_address_are_never_shown() {
        let address = closed_port().await;
        let url = Expanded::new("${SITE}/?key=${KEY}", format!("https://user:hunter2@{address}/?key=hunter2"));
        let answer = http(&url, None, None, LIMIT).await;
        assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?}");
        assert_ne!(answer.outcome, Outcome::Pass);
    }
}
