//! A small HTTP API with records in memory, for tests of those that ask one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// Records on a page.
const PAGE: usize = 3;

/// How records are put into answers and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// As they are; pages follow each other by a header.
    None,
    /// In an object each, and all in one; pages follow each other by a field.
    Object,
}

/// A server that answers until the test ends.
#[derive(Clone)]
pub(super) struct RecordServer {
    pub address: String,
    pub held: Arc<Mutex<Held>>,
    wrapping: Wrapping,
}

#[derive(Default)]
pub(super) struct Held {
    /// By their ids.
    pub records: BTreeMap<String, Value>,
    /// What was asked, in order: the request line, and headers that begin with `x-`.
    pub asked: Vec<String>,
}

impl RecordServer {
    pub fn start(wrapping: Wrapping) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/all", listener.local_addr().unwrap());
        let server = Self { address, held: Arc::default(), wrapping };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = serving.clone();
                std::thread::spawn(move || server.serve(&stream.unwrap()));
            }
        });
        server
    }

    fn serve(&self, mut stream: &TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((line, headers, body)) = request(&mut reader) {
            let told = headers.iter().filter(|header| header.starts_with("x-")).map(|header| format!(" {header}"));
            let if_match = headers.iter().find_map(|header| header.strip_prefix("if-match: "));
            let asked: String = [line.trim_end_matches(" HTTP/1.1").to_owned()].into_iter().chain(told).collect();
            let (status, header, answer) = {
                let mut held = self.held.lock().unwrap();
                held.asked.push(asked);
                self.answer(&mut held, &line, &body, if_match)
            };
            let length = answer.len();
            // Whoever has gone needs no answer.
            let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{header}\r\n{answer}");
        }
    }

    /// Answers the status, headers and the body.
    fn answer(&self, held: &mut Held, line: &str, body: &[u8], if_match: Option<&str>) -> (u16, String, String) {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let id = path.strip_prefix("/all/").map(|id| percent_decode_str(id).decode_utf8().unwrap().into_owned());
        if method == "GET" && id.is_none() {
            let page = query.strip_prefix("page=").map_or(0, |page| page.parse().unwrap());
            return self.page(held, page);
        }
        let there = id.as_ref().and_then(|id| held.records.get(id)).cloned();
        if if_match.is_some_and(|tag| there.as_ref().is_none_or(|there| etag(there) != tag)) {
            return (412, String::new(), String::new());
        }
        match (method, id, there) {
            ("GET", _, None) | ("PUT" | "DELETE", _, None) => (404, String::new(), String::new()),
            ("GET", _, Some(record)) => {
                let header = format!("etag: {}\r\n", etag(&record));
                (200, header, if self.is_wrapped() { json!({ "item": record }) } else { record }.to_string())
            }
            ("DELETE", Some(id), Some(_)) => {
                held.records.remove(&id);
                (204, String::new(), String::new())
            }
            ("PUT" | "POST", id, _) => {
                let body: Value = serde_json::from_slice(body).unwrap();
                let record = if self.is_wrapped() { body["item"].clone() } else { body };
                let named = record["id"].as_str().unwrap().to_owned();
                assert!(id.is_none_or(|id| id == named), "{line} {record}");
                held.records.insert(named, record);
                (200, String::new(), String::new())
            }
            _ => (405, String::new(), String::new()),
        }
    }

    fn page(&self, held: &Held, page: usize) -> (u16, String, String) {
        let has_more = held.records.len() > PAGE * (page + 1);
        let next = has_more.then(|| format!("/all?page={}", page + 1));
        let records: Vec<_> = held.records.values().skip(PAGE * page).take(PAGE).collect();
        if self.is_wrapped() {
            return (
                200,
                String::new(),
                json!({ "links": { "next": next }, "data": { "items": records } }).to_string(),
            );
        }
        let link = next.map_or_else(String::new, |next| format!("link: <{next}>; rel=\"next\"\r\n"));
        (200, link, json!(records).to_string())
    }

    fn is_wrapped(&self) -> bool {
        self.wrapping == Wrapping::Object
    }
}

fn etag(record: &Value) -> String {
    format!("\"{}\"", crate::base::digest::Digest::of(record.to_string().as_bytes()).short(12))
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<String>, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let headers: Vec<String> = lines.split_off(1).into_iter().map(|line| lowered(&line)).collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((lines.remove(0), headers, body))
}

/// Answers a header with its name in small letters.
fn lowered(line: &str) -> String {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    format!("{}: {}", name.to_ascii_lowercase(), value.trim())
}
