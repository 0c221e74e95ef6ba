//! The output of a command: streamed to a file up to a limit, its last lines kept for people.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::base::escape::{shown, shown_lines};

/// A log file holds this many bytes of output and one line that says so; the rest is read and discarded.
pub const LOG_LIMIT_BYTES: u64 = 4 << 20;
/// This many of the last lines are kept in an answer.
pub const TAIL_LIMIT_LINES: usize = 20;

const LINE_LIMIT_CHARS: usize = 400;
/// Enough for [`LINE_LIMIT_CHARS`] of any text, and one byte to know that there was more.
const LINE_LIMIT_BYTES: usize = 4 * LINE_LIMIT_CHARS + 1;
const READ_BUFFER_BYTES: usize = 64 << 10;
const CUT_NOTE: &str = "\n… output cut at 4 MiB\n";

/// A sink for what a command prints.
#[derive(Debug)]
pub(super) struct Output {
    log: Option<Log>,
    tail: Tail,
}

#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    room_bytes: u64,
}

impl Output {
    /// Opens the sink. A log that cannot be written costs the log, not the check.
    pub(super) async fn open(path: Option<&Path>) -> Self {
        let mut log = None;
        if let Some(path) = path {
            log = Log::create(path).await.map_err(|error| warn(path, &error)).ok();
        }
        Self { log, tail: Tail::default() }
    }

    /// Reads `source` until it ends or breaks. When dropped half-way, what was read is kept.
    pub(super) async fn drain(&mut self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        while let Ok(count @ 1..) = source.read(&mut buffer).await {
            self.tail.push(&buffer[..count]);
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
            match log.file.flush().await {
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
        Ok(Self { file, path: path.to_owned(), room_bytes: LOG_LIMIT_BYTES })
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.room_bytes == 0 {
            return Ok(());
        }
        let fits = usize::try_from(self.room_bytes).unwrap_or(usize::MAX).min(bytes.len());
        self.file.write_all(&bytes[..fits]).await?;
        self.room_bytes -= fits as u64;
        if self.room_bytes == 0 {
            self.file.write_all(CUT_NOTE.as_bytes()).await?;
        }
        Ok(())
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
        let mut output = Output::open(Some(Path::new("/nowhere/at/all.log"))).await;
        output.drain(&b"still read\n"[..]).await;
        assert_eq!(output.finish().await, (None, vec!["still read".to_owned()]));
    }

    #[tokio::test]
    async fn log_ends_with_a_note_at_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut output = Output::open(Some(&path)).await;
        let text = vec![b'x'; LOG_LIMIT_BYTES as usize + 70_000];
        output.drain(&text[..]).await;
        assert_eq!(output.finish().await.0, Some(path.clone()));
        let written = std::fs::read(path).unwrap();
        assert_eq!(written.len() as u64, LOG_LIMIT_BYTES + CUT_NOTE.len() as u64);
        assert!(written.ends_with(CUT_NOTE.as_bytes()));
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
