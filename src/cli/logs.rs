//! `cascade logs [ID] [-n N] [-f]`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::args::Logs;
use super::{Failure, Outcome, Shell, words};
use crate::store::{CheckPhase, CheckRecord};

/// Pause between two looks at a log that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Most bytes that are read at once.
const PORTION_BYTES: u64 = 64 << 10;

/// What a check of a promotion printed.
#[derive(Debug, Serialize)]
struct CheckLog {
    check: String,
    phase: CheckPhase,
    outcome: String,
    path: String,
    /// The last of them; nothing where the log is gone.
    lines: Option<Vec<String>>,
}

/// Prints the end of the watcher's log, and with `--follow` whatever is added to it; or the ends of what the checks of a
/// promotion printed.
///
/// # Errors
/// The watcher has not run here, or its log cannot be read; there is no such promotion.
pub async fn run(shell: &Shell, args: &Logs) -> Outcome {
    match &args.promotion {
        Some(id) => of_promotion(shell, id, args.lines).await,
        None => of_watcher(shell, args).await,
    }
}

async fn of_promotion(shell: &Shell, id: &str, count: usize) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let promotion = ctx.store.promotion(id).await?;
    let checks = ctx.store.checks(&promotion.id).await?;
    let logs: Vec<CheckLog> = checks.into_iter().flat_map(|check| of_check(check, count)).collect();
    if shell.ui.is_json() {
        return shell.ui.json(&logs);
    }
    if logs.is_empty() {
        shell.ui.line(&format!("no check of promotion {} printed anything that was kept", promotion.id));
    }
    for log in logs {
        let CheckLog { check, phase, outcome, path, lines } = log;
        shell.ui.heading(&format!("{} {check}: {outcome} ({path})", words::phase(phase)));
        match lines {
            Some(lines) => lines.iter().for_each(|line| shell.ui.line(line)),
            None => shell.ui.note("the log is not there any more"),
        }
    }
    Ok(())
}

/// Answers the kept output of both attempts, where there were two.
fn of_check(check: CheckRecord, count: usize) -> impl Iterator<Item = CheckLog> {
    let CheckRecord { name, phase, outcome, log, earlier, .. } = check;
    let attempts = earlier.map(|earlier| (earlier.outcome, earlier.log)).into_iter().chain([(outcome, log)]);
    attempts.filter_map(move |(outcome, path)| {
        let path = path?;
        let text = Log::open(Path::new(&path)).and_then(|mut log| log.last_lines(count)).ok();
        let lines = text.map(|text| lines_of(&text));
        Some(CheckLog { check: name.clone(), phase, outcome, path, lines })
    })
}

async fn of_watcher(shell: &Shell, args: &Logs) -> Outcome {
    let path = shell.project_home(&shell.repo()?)?.log();
    let mut log = Log::open(&path).map_err(|source| open_failure(&path, &source))?;
    let text = log.last_lines(args.lines).map_err(|source| read_failure(&path, &source))?;
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "path": path.to_string_lossy(), "lines": lines_of(&text) }));
    }
    print(shell, &text);
    if args.follow { follow(shell, log).await } else { Ok(()) }
}

async fn follow(shell: &Shell, mut log: Log) -> Outcome {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    let mut line = Vec::new();
    while !shell.ui.is_closed() {
        let added = log.added().map_err(|source| read_failure(&log.path, &source))?;
        if added.is_empty() {
            interval.tick().await;
            continue;
        }
        line.extend_from_slice(&added);
        let complete = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        print(shell, &line[..complete]);
        line.drain(..complete);
    }
    Ok(())
}

fn print(shell: &Shell, text: &[u8]) {
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        shell.ui.line(&without_break(line));
    }
}

fn lines_of(text: &[u8]) -> Vec<String> {
    text.split_inclusive(|byte| *byte == b'\n').map(without_break).collect()
}

fn without_break(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned()
}

fn open_failure(path: &Path, source: &io::Error) -> Failure {
    if source.kind() == io::ErrorKind::NotFound {
        return Failure::usage("the watcher has not run in this checkout yet")
            .with_hint("start it with `cascade start`");
    }
    read_failure(path, source)
}

fn read_failure(path: &Path, source: &io::Error) -> Failure {
    Failure::unavailable(format!("cannot read {}", path.display()), source)
}

/// A log that grows, is cut or is replaced while it is read.
struct Log {
    path: PathBuf,
    file: File,
    inode: u64,
    position: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { path: path.to_owned(), file, inode, position: 0 })
    }

    /// Reads the last `count` lines and stands behind them.
    fn last_lines(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let end = self.file.metadata()?.len();
        let (mut start, mut text) = (end, Vec::new());
        while start > 0 && breaks_inside(&text) < count {
            let portion_start = start.saturating_sub(PORTION_BYTES);
            let mut portion = self.read(portion_start, start - portion_start)?;
            portion.append(&mut text);
            (text, start) = (portion, portion_start);
        }
        self.position = end;
        let surplus = (breaks_inside(&text) + 1).saturating_sub(count);
        let from = if count == 0 { text.len() } else { after_breaks(&text, surplus) };
        text.drain(..from);
        Ok(text)
    }

    /// Reads what came since, at most a portion; a log that was cut or replaced is read from its beginning.
    fn added(&mut self) -> io::Result<Vec<u8>> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(source),
        };
        if metadata.ino() != self.inode {
            *self = Self::open(&self.path)?;
        } else if metadata.len() < self.position {
            self.position = 0;
        }
        let added = self.read(self.position, PORTION_BYTES)?;
        self.position += added.len() as u64;
        Ok(added)
    }

    fn read(&mut self, start: u64, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(start))?;
        (&self.file).take(count).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Counts line breaks, without the one that ends the text.
fn breaks_inside(text: &[u8]) -> usize {
    text.iter().rev().skip(1).filter(|byte| **byte == b'\n').count()
}

/// Answers where the text goes on after its first `count` line breaks.
fn after_breaks(text: &[u8], count: usize) -> usize {
    let mut breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    count.checked_sub(1).map_or(0, |last| breaks.nth(last).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, count: usize, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, content).unwrap();
        let text = Log::open(&path).unwrap().last_lines(count).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn last_lines_are_the_last_ones() {
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc", 2, "b\nc");
        check("a\nb\n", 5, "a\nb\n");
        check("a\nb\n", 0, "");
        check("", 3, "");
    }

    #[test]
    fn long_logs_are_read_from_their_end() {
        let content: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
        check(&content, 1, "line 39999\n");
        let last = &content[content.find("line 20000\n").unwrap()..];
        check(&content, 20_000, last);
    }

    #[test]
    fn replaced_log_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let mut log = Log::open(&path).unwrap();
        assert_eq!(log.last_lines(9).unwrap(), b"old\n");
        std::fs::write(directory.path().join("new"), "new\n").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(log.added().unwrap(), b"new\n");
        assert_eq!(log.added().unwrap(), b"");
    }
}
