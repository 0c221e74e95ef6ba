//! The output of a command: streamed to a file up to a limit, its last lines kept for people.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::base::escape::{shown, shown_lines};

/// A log file holds this many bytes of output: the first and the last half, and between them a line that says how much
/// was left out.
pub const LOG_LIMIT_BYTES: u64 = 4 << 20;
/// This many of the last lines are kept in an answer.
pub const TAIL_LIMIT_LINES: usize = 20;

const LINE_LIMIT_CHARS: usize = 400;
/// Enough for [`LINE_LIMIT_CHARS`] of any text, and one byte to know that there was more.
const LINE_LIMIT_BYTES: usize = 4 * LINE_LIMIT_CHARS + 1;
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Each end of the output that a log keeps.
const END_LIMIT_BYTES: usize = LOG_LIMIT_BYTES as usize / 2;

/// Hears what a command prints, as it comes: each time its last line that is not empty, escaped.
#[derive(Clone, Copy)]
pub struct Listener<'a>(pub &'a (dyn Fn(&str) + Send + Sync));

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// A sink for what a command prints.
#[derive(Debug)]
pub(super) struct Output<'a> {
    log: Option<Log>,
    tail: Tail,
    listener: Option<Listener<'a>>,
}

#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    /// What is left of the first half.
    room_bytes: usize,
    /// The last half, once the first is full.
    end: VecDeque<u8>,
    left_out_bytes: u64,
}

impl<'a> Output<'a> {
    /// Opens the sink. A log that cannot be written costs the log, not the check.
    pub(super) async fn open(path: Option<&Path>, listener: Option<Listener<'a>>) -> Self {
        let mut log = None;
        if let Some(path) = path {
            log = Log::create(path).await.map_err(|error| warn(path, &error)).ok();
        }
        Self { log, tail: Tail::default(), listener }
    }

    /// Reads `source` until it ends or breaks. When dropped half-way, what was read is kept.
    pub(super) async fn drain(&mut self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        while let Ok(count @ 1..) = source.read(&mut buffer).await {
            self.tail.push(&buffer[..count]);
            if let Some(Listener(hear)) = self.listener {
                hear(&self.tail.last_line());
            }
            let Some(log) = &mut self.log else { continue };
            if let Err(error) = log.write(&buffer[..count]).await {
                warn(&log.path, &error);
                self.log = None;
            }
        }
    }

    /// Finishes the log and answers its path and the last lines.
    pub(super) async fn finish(self) -> (Option<PathBuf>, Vec<String>) {
        let mut path = None;
        if let Some(mut log) = self.log {
            match log.finish().await {
                Ok(()) => path = Some(log.path),
                Err(error) => warn(&log.path, &error),
            }
        }
        (path, self.tail.into_lines())
    }
}

impl Log {
    /// Creates the file for its owner alone: programs print secrets.
    async fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).await?;
        let path = path.to_owned();
        Ok(Self { file, path, room_bytes: END_LIMIT_BYTES, end: VecDeque::new(), left_out_bytes: 0 })
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (first, rest) = bytes.split_at(self.room_bytes.min(bytes.len()));
        self.room_bytes -= first.len();
        self.end.extend(rest);
        let surplus = self.end.len().saturating_sub(END_LIMIT_BYTES);
        self.end.drain(..surplus);
        self.left_out_bytes += surplus as u64;
        if first.is_empty() { Ok(()) } else { self.file.write_all(first).await }
    }

    /// Writes the last half, from the beginning of a line where something was left out before it.
    async fn finish(&mut self) -> io::Result<()> {
        if self.left_out_bytes > 0 {
            let cut = self.end.iter().position(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            self.end.drain(..cut);
            let left_out = self.left_out_bytes + cut as u64;
            self.file.write_all(format!("\n… {left_out} bytes are left out here …\n").as_bytes()).await?;
        }
        self.file.write_all(self.end.make_contiguous()).await?;
        self.file.flush().await
    }
}

fn warn(path: &Path, error: &io::Error) {
    tracing::warn!("cannot write the log {}: {error}", shown(path.as_os_str().as_encoded_bytes()));
}

/// The last lines of a stream, in bounded memory.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    current: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n");
            let room = LINE_LIMIT_BYTES - self.current.len();
            let kept = text.unwrap_or(piece);
            self.current.extend_from_slice(&kept[..room.min(kept.len())]);
            if text.is_some() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if self.lines.len() == TAIL_LIMIT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.current));
    }

    /// Answers the last line that is not empty, whether it has ended or not; what was overwritten is left out.
    fn last_line(&self) -> String {
        let lines = self.lines.iter().chain([&self.current]).rev();
        let mut pieces = lines.flat_map(|line| line.split(|byte| *byte == b'\r').rev());
        pieces.find(|piece| !piece.trim_ascii().is_empty()).map(shown_line).unwrap_or_default()
    }

    fn into_lines(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.end_line();
        }
        self.lines.iter().map(|line| shown_line(line)).collect()
    }
}

fn shown_line(line: &[u8]) -> String {
    let text = shown_lines(line.strip_suffix(b"\r").unwrap_or(line));
    match text.char_indices().nth(LINE_LIMIT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.push(piece));
        tail.into_lines()
    }

    #[test]
    fn lines_are_joined_across_reads_and_escaped() {
        assert_eq!(tail_of(&[b"one\nt", b"wo\r\n\x1b[2Jthr", b"ee"]), ["one", "two", "\\x1b[2Jthree"]);
        assert_eq!(tail_of(&[b"\xff\x00\n\n"]), ["\\xff\\x00", ""]);
    }

    #[test]
    fn long_lines_are_cut() {
        let lines = tail_of(&["ä".repeat(5_000).as_bytes(), b"\nnext"]);
        assert_eq!(lines, [format!("{}…", "ä".repeat(LINE_LIMIT_CHARS)), "next".to_owned()]);
        assert_eq!(tail_of(&[&[b'x'; LINE_LIMIT_CHARS]]), ["x".repeat(LINE_LIMIT_CHARS)]);
    }

    #[tokio::test]
    async fn unwritable_log_costs_only_the_log() {
        let mut output = Output::open(Some(Path::new("/nowhere/at/all.log")), None).await;
        output.drain(&b"still read\n"[..]).await;
        assert_eq!(output.finish().await, (None, vec!["still read".to_owned()]));
    }

    async fn logged(text: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut output = Output::open(Some(&path), None).await;
        output.drain(text).await;
        assert_eq!(output.finish().await.0, Some(path.clone()));
        std::fs::read(path).unwrap()
    }

    #[tokio::test]
    async fn log_up_to_the_limit_is_whole() {
        let text = vec![b'x'; LOG_LIMIT_BYTES as usize];
        assert!(logged(&text).await == text);
    }

    #[tokio::test]
    async fn large_log_keeps_both_ends_and_counts_what_is_left_out() {
        let lines: String = (0..1_000_000).map(|number| format!("line {number}\n")).collect();
        let written = String::from_utf8(logged(lines.as_bytes()).await).unwrap();
        let (first, rest) = written.split_once("\n… ").unwrap();
        let (left_out, last) = rest.split_once(" bytes are left out here …\n").unwrap();
        assert!(lines.starts_with(first) && lines.ends_with(last) && last.starts_with("line "));
        assert_eq!(first.len() + left_out.parse::<usize>().unwrap() + last.len(), lines.len());
        assert!(written.len() as u64 <= LOG_LIMIT_BYTES + 60, "{}", written.len());
    }

    #[tokio::test]
    async fn log_on_a_full_disk_costs_only_the_log() {
        let mut output = Output::open(Some(Path::new("/dev/full")), None).await;
        output.drain(&b"still read\n"[..]).await;
        assert_eq!(output.finish().await, (None, vec!["still read".to_owned()]));
    }

    #[tokio::test]
    async fn last_line_is_heard_as_it_comes() {
        let heard = std::sync::Mutex::new(Vec::new());
        let hear = |line: &str| heard.lock().unwrap().push(line.to_owned());
        let mut output = Output::open(None, Some(Listener(&hear))).await;
        output.drain(&b"one\ntw"[..]).await;
        output.drain(&b"o\n\n \n"[..]).await;
        output.drain(&b"1%\r2% \x1b[2J\r"[..]).await;
        assert_eq!(*heard.lock().unwrap(), ["tw", "two", "2% \\x1b[2J"]);
    }

    proptest! {
        #[test]
        fn tail_does_not_depend_on_how_output_is_cut(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0_usize..2000) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(tail_of(&[left, right]), tail_of(&[&bytes]));
        }

        #[test]
        fn tail_is_bounded_and_harmless(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400)) {
            let lines = tail_of(&[&bytes]);
            prop_assert!(lines.len() <= TAIL_LIMIT_LINES);
            for line in lines {
                prop_assert!(line.chars().count() <= LINE_LIMIT_CHARS + 1);
                prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
            }
        }
    }
}
