//! Somebody who gets webhooks.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use serde_json::Value;

use super::certificate::Certificate;

const PATIENCE: Duration = Duration::from_secs(30);

/// The key of signatures, as the configuration has it.
pub const KEY: &str = concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

/// A server that answers each request as it was told to, and passes it on.
pub struct Receiver {
    /// Where it listens.
    pub port: u16,
    posted: Channel<Posted>,
}

/// A request that came.
#[derive(Debug)]
pub struct Posted {
    /// Method and path.
    pub line: String,
    /// Headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Posted {
    /// Answers the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Answers whether the signature is good, as a receiver finds out that only knows the specification.
    #[track_caller]
    pub fn is_signed(&self) -> bool {
        let key = BASE64.decode(KEY.strip_prefix("whsec_").unwrap()).unwrap();
        let signature = BASE64.decode(self.headers["webhook-signature"].strip_prefix("v1,").unwrap()).unwrap();
        let signed = format!("{}.{}.{}", self.headers["webhook-id"], self.headers["webhook-timestamp"], self.body);
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes(), &signature).is_ok()
    }
}

impl Receiver {
    /// Starts one that gives these answers (status, further header lines), the last of them again and again.
    pub fn start(answers: &'static [&'static str]) -> Self {
        Self::serve(answers, |connection| connection)
    }

    /// Starts one that is talked to with TLS.
    pub fn start_encrypted(certificate: Certificate) -> Self {
        Self::serve(&["204 Done"], move |connection| certificate.encrypt(connection))
    }

    fn serve<S: Read + Write>(
        answers: &'static [&'static str],
        accept: impl Fn(TcpStream) -> S + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, posted) = channel();
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            let mut answer = *answers.next().unwrap();
            for connection in listener.incoming() {
                // Who does not like our certificate goes away.
                if serve_one(accept(connection.unwrap()), answer, &sender).is_ok() {
                    answer = answers.next().unwrap_or(&answer);
                }
            }
        });
        Self { port, posted }
    }

    /// Answers its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/cascade?token=hunter2", self.port)
    }

    /// Waits for the next request.
    #[track_caller]
    pub fn next(&self) -> Posted {
        self.posted.recv_timeout(PATIENCE).expect("nothing was posted")
    }

    /// Answers all requests that came and were not taken yet.
    pub fn all(&self) -> Vec<Posted> {
        self.posted.try_iter().collect()
    }
}

fn serve_one(mut connection: impl Read + Write, answer: &str, posted: &Sender<Posted>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    connection.read_exact(&mut body)?;
    // Passed on first: whoever has the answer may end at once.
    let _ = posted.send(Posted { line, headers, body: String::from_utf8(body).unwrap() });
    write!(connection, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    connection.flush()
}
