//! Somebody who gets e-mail: a small mail server.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::certificate::Certificate;

const PATIENCE: Duration = Duration::from_secs(30);

/// The password of everybody.
pub const PASSWORD: &str = "hunter2/@:%41";

/// How the server is talked to.
#[derive(Clone)]
pub enum Mode {
    /// As it comes.
    Plain,
    /// With TLS from the beginning.
    Tls(Certificate),
    /// With TLS after the greeting.
    StartTls(Certificate),
}

/// A letter that was taken.
#[derive(Debug)]
pub struct Letter {
    /// Who sends, of the envelope.
    pub from: String,
    /// Who gets it, of the envelope.
    pub to: Vec<String>,
    /// Headers and body as they came, dots at the beginning of lines undoubled.
    pub text: String,
    /// Who has logged in.
    pub user: Option<String>,
    /// Whether that came over an encrypted connection.
    pub is_encrypted: bool,
}

/// What was said to the server: letters it took, and all commands.
pub struct MailServer {
    /// Where it listens.
    pub port: u16,
    letters: Receiver<Letter>,
    commands: Receiver<String>,
}

/// A server's side of all conversations.
struct Host {
    mode: Mode,
    /// Answers for recipients: the first one whose address fits is used up.
    refusals: VecDeque<(&'static str, &'static str)>,
    letters: Sender<Letter>,
    commands: Sender<String>,
}

/// How a conversation ended.
enum End {
    Over,
    Encrypt,
}

impl MailServer {
    /// Starts one that refuses recipients as it is told to, once for each entry: address and answer.
    pub fn start(mode: Mode, refusals: &[(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((letter_sender, letters), (command_sender, commands)) = (channel(), channel());
        let refusals = refusals.iter().copied().collect();
        let mut host = Host { mode, refusals, letters: letter_sender, commands: command_sender };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                // Who does not like our certificate goes away.
                let _ = host.serve(connection.unwrap());
            }
        });
        Self { port, letters, commands }
    }

    /// Waits for the next letter.
    #[track_caller]
    pub fn next(&self) -> Letter {
        self.letters.recv_timeout(PATIENCE).expect("no letter came")
    }

    /// Answers all letters that came and were not taken yet.
    pub fn all(&self) -> Vec<Letter> {
        self.letters.try_iter().collect()
    }

    /// Answers the first words of all commands so far.
    pub fn commands(&self) -> Vec<String> {
        self.commands.try_iter().collect()
    }
}

impl Host {
    fn serve(&mut self, mut connection: TcpStream) -> io::Result<()> {
        match self.mode.clone() {
            Mode::Tls(certificate) => self.greet(&mut certificate.encrypt(connection), true).map(drop),
            Mode::Plain => self.greet(&mut connection, false).map(drop),
            Mode::StartTls(certificate) => match self.greet(&mut connection, false)? {
                End::Encrypt => self.converse(&mut certificate.encrypt(connection), true).map(drop),
                End::Over => Ok(()),
            },
        }
    }

    fn greet(&mut self, connection: &mut (impl Read + Write), is_encrypted: bool) -> io::Result<End> {
        say(connection, "220 test ESMTP")?;
        self.converse(connection, is_encrypted)
    }

    fn converse(&mut self, connection: &mut (impl Read + Write), is_encrypted: bool) -> io::Result<End> {
        let fresh = || Letter { from: String::new(), to: Vec::new(), text: String::new(), user: None, is_encrypted };
        let mut letter = fresh();
        loop {
            let line = hear(connection)?;
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let _ = self.commands.send(word.to_owned());
            match word {
                "EHLO" => {
                    let offer = matches!(self.mode, Mode::StartTls(_)) && !is_encrypted;
                    let offer = if offer { "250-STARTTLS\r\n" } else { "" };
                    say(connection, &format!("250-test\r\n{offer}250 AUTH PLAIN LOGIN"))?;
                }
                "STARTTLS" => {
                    say(connection, "220 go ahead")?;
                    return Ok(End::Encrypt);
                }
                "AUTH" => {
                    let (user, password) = login(rest);
                    // Some servers repeat what they were told.
                    let refusal = format!("535 5.7.8 cannot log in with {rest} ({password})");
                    let is_right = password == PASSWORD;
                    letter.user = is_right.then_some(user);
                    say(connection, if is_right { "235 welcome" } else { &refusal })?;
                }
                "MAIL" => {
                    letter.from = address(rest);
                    say(connection, "250 fine")?;
                }
                "RCPT" => {
                    let answer = self.answer(&address(rest));
                    if answer.starts_with('2') {
                        letter.to.push(address(rest));
                    }
                    say(connection, answer)?;
                }
                "DATA" => {
                    say(connection, "354 go on")?;
                    letter.text = dictated(connection)?;
                    let user = letter.user.clone();
                    let _ = self.letters.send(std::mem::replace(&mut letter, Letter { user, ..fresh() }));
                    say(connection, "250 taken")?;
                }
                "QUIT" => {
                    say(connection, "221 bye")?;
                    return Ok(End::Over);
                }
                _ => say(connection, "502 what?")?,
            }
        }
    }

    fn answer(&mut self, recipient: &str) -> &'static str {
        let found = self.refusals.iter().position(|(address, _)| *address == recipient);
        found.and_then(|place| self.refusals.remove(place)).map_or("250 fine", |(_, answer)| answer)
    }
}

fn say(connection: &mut impl Write, text: &str) -> io::Result<()> {
    connection.write_all(format!("{text}\r\n").as_bytes())?;
    connection.flush()
}

/// Reads a line byte by byte: what follows may be encrypted.
fn hear(connection: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line).unwrap().trim_end_matches("\r\n").to_owned())
}

fn dictated(connection: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let line = hear(connection)?;
        if line == "." {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
    }
}

fn address(rest: &str) -> String {
    let start = rest.find('<').unwrap() + 1;
    rest[start..rest.find('>').unwrap()].to_owned()
}

/// Answers who logs in, and with which password.
fn login(rest: &str) -> (String, String) {
    let told = BASE64.decode(rest.strip_prefix("PLAIN ").unwrap()).unwrap();
    let told = String::from_utf8(told).unwrap();
    let (user, password) = told.strip_prefix('\0').unwrap().split_once('\0').unwrap();
    (user.to_owned(), password.to_owned())
}
