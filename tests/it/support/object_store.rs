//! An object store that speaks S3, a way to it that can fail, and somebody else who uses it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::skip;

/// Where `.ci/run` puts the programs that stand for object stores and their other users.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-venv/bin");

/// Somebody whom a store knows that looks at no signatures.
const OTHER: &str = "authorization: AWS4-HMAC-SHA256 Credential=other/20260101/us-east-1/s3/aws4_request, \
    SignedHeaders=host, Signature=0";

/// An object store with an empty bucket, `site`.
pub struct ObjectStore {
    server: Child,
    /// Where it listens.
    pub port: u16,
}

impl ObjectStore {
    /// Starts one; nothing, with a note, where none is installed.
    pub fn start() -> Option<Self> {
        let installed = PathBuf::from(PROGRAMS).join("moto_server");
        let program = if installed.exists() { installed } else { "moto_server".into() };
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut server) = command.spawn() else {
            skip("moto_server is not installed (`pip install 'moto[server,s3]' boto3`)");
            return None;
        };
        let mut said = BufReader::new(server.stderr.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.ok()?;
            line.split_once("http://127.0.0.1:")?.1.trim().parse().ok()
        });
        // Whoever is not read any more ends.
        std::thread::spawn(move || said.for_each(drop));
        let store = Self { server, port: port.expect("moto_server ended") };
        assert_eq!(store.ask("PUT", "/site", &[], b"").0, 200);
        Some(store)
    }

    /// Sends a request as somebody else would; answers status and body.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> (u16, Vec<u8>) {
        ask(self.port, method, path, headers, body).unwrap()
    }

    /// Puts an object into the bucket.
    #[track_caller]
    pub fn put(&self, key: &str, content: &str) {
        assert_eq!(self.ask("PUT", &format!("/site/{key}"), &[], content.as_bytes()).0, 200);
    }

    /// Answers an object of the bucket.
    pub fn get(&self, key: &str) -> Option<String> {
        let (status, body) = self.ask("GET", &format!("/site/{key}"), &[], b"");
        (status == 200).then(|| String::from_utf8(body).unwrap())
    }

    /// Lists the first thousand keys of the bucket.
    pub fn keys(&self) -> Vec<String> {
        self.tags("/site?list-type=2", "Key")
    }

    /// Lists the uploads of the bucket that are neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        self.tags("/site?uploads", "UploadId")
    }

    fn tags(&self, path: &str, tag: &str) -> Vec<String> {
        let (status, body) = self.ask("GET", path, &[], b"");
        assert_eq!(status, 200);
        let body = String::from_utf8(body).unwrap();
        let tag = format!("<{tag}>");
        let values = body.split(&tag).skip(1);
        values.map(|rest| rest.split_once("</").unwrap().0.to_owned()).collect()
    }

    /// Runs a script of another program that uses object stores (boto3, as `s3`); answers what it prints.
    pub fn boto3(&self, script: &str) -> Option<String> {
        let python = PathBuf::from(PROGRAMS).join("python");
        let mut command = Command::new(if python.exists() { python } else { "python3".into() });
        let head = "import boto3, hashlib, json\ns3 = boto3.client('s3', endpoint_url='http://127.0.0.1:PORT', \
            region_name='us-east-1', aws_access_key_id='other', aws_secret_access_key='secret')\n";
        let script = format!("{}{script}", head.replace("PORT", &self.port.to_string()));
        let output = command.args(["-c", &script]).output().ok()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("No module named 'boto3'") {
            skip("boto3 is not installed (`pip install boto3`)");
            return None;
        }
        assert!(output.status.success(), "{errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What becomes of a request on its way.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It arrives, and so does its answer.
    Pass,
    /// It arrives without the headers that begin so.
    Without(&'static str),
    /// It gets this answer, status and further header lines, with this body.
    Answer(&'static str, &'static str),
    /// The connection breaks before it arrives.
    Break,
    /// It arrives, and the connection breaks before the answer does.
    Lose,
    /// Nothing happens until whoever asked gives up.
    Stall,
}

/// A way to an object store that can fail.
pub struct Way {
    /// Where it begins.
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Way {
    /// Opens one; `fate` is told each request's number, from 0 on, and its first line.
    pub fn to(store: &ObjectStore, fate: impl Fn(usize, &str) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (fate, to, lines) = (Arc::new(fate), store.port, Arc::clone(&asked));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (fate, lines) = (Arc::clone(&fate), Arc::clone(&lines));
                std::thread::spawn(move || {
                    // Who asks may go away at any time.
                    let _ = carry(connection.unwrap(), to, &lines, &*fate);
                });
            }
        });
        Self { port, asked }
    }

    /// Takes the first lines of all requests so far, without `HTTP/1.1`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn carry(
    mut from: TcpStream,
    to: u16,
    lines: &Mutex<Vec<String>>,
    fate: &(dyn Fn(usize, &str) -> Fate + Send + Sync),
) -> io::Result<()> {
    let (head, body) = request(&mut from)?;
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let number = {
        let mut lines = lines.lock().unwrap();
        lines.push(line.clone());
        lines.len() - 1
    };
    let fate = fate(number, &line);
    match &fate {
        Fate::Break => return Ok(()),
        Fate::Stall => return from.read_to_end(&mut Vec::new()).map(drop),
        Fate::Answer(status, text) => {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
            return from.write_all(format!("{head}{text}").as_bytes());
        }
        Fate::Pass | Fate::Lose | Fate::Without(_) => {}
    }
    let is_left_out = |header: &str| {
        let header = header.to_lowercase();
        matches!(&fate, Fate::Without(start) if header.starts_with(start)) || header.starts_with("connection:")
    };
    let headers: Vec<&str> = head.lines().filter(|header| !header.is_empty() && !is_left_out(header)).collect();
    let mut store = TcpStream::connect(("127.0.0.1", to))?;
    store.write_all(format!("{}\r\nconnection: close\r\n\r\n", headers.join("\r\n")).as_bytes())?;
    store.write_all(&body)?;
    let mut answer = Vec::new();
    store.read_to_end(&mut answer)?;
    if matches!(fate, Fate::Lose) { Ok(()) } else { from.write_all(&answer) }
}

/// Reads a request: its head and its body.
fn request(from: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body)?;
    Ok((head, body))
}

/// Asks a store; answers status and body.
pub fn ask(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut store = TcpStream::connect(("127.0.0.1", port))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{OTHER}\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|header| head.push_str(&format!("{header}\r\n")));
    store.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    store.write_all(body)?;
    let mut answer = Vec::new();
    store.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    Ok((status, answer.split_off(end + 4)))
}
