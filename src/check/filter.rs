//! Commands that turn text into text, for callers that block.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::descendants::Mark;
use super::shell::{self, Group, signal_name};
use crate::base::escape::shown;
use crate::base::units::{ByteSize, Span};
use crate::config::Surroundings;

/// Most bytes that are kept of what a filter prints; the rest is read and dropped.
pub const OUTPUT_LIMIT_BYTES: usize = 64 << 10;
/// How long output is awaited after the command ended, in case something beyond reach still holds the pipe.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Most text of a failed command that is repeated.
const SAID_LIMIT_CHARS: usize = 200;

/// Why a filter gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// In one line for people; equal for equal problems: `exit code 1`, `took longer than 10s and was stopped`.
    pub reason: String,
    /// The last line of what it said on its standard error, escaped.
    pub said: String,
}

/// A file for what a command prints.
#[derive(Debug)]
pub struct Spool {
    /// The file.
    pub file: File,
    /// More is refused.
    pub limit: ByteSize,
}

/// Something that happened to a running filter.
enum Event {
    /// One of its two streams ended.
    Drained(Stream),
    /// What it prints cannot be taken, for this reason.
    Refused(String),
    /// The command itself ended; it is not reaped yet.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
}

/// How a running filter came to its end.
enum End {
    /// It ended, and so did what it prints.
    Whole,
    /// It ended, but something still holds what it prints to.
    Held,
    /// It took too long.
    Late,
    /// What it prints could not be taken.
    Refused(String),
}

/// A stream's bytes as far as they have come.
type Kept = Arc<Mutex<Vec<u8>>>;

/// Runs `script` with `sh` in `directory`, gives it `input` on its standard input and answers what it prints: at most
/// [`OUTPUT_LIMIT_BYTES`].
///
/// Its environment is that of a check, without `CASCADE_CHECK`. After `limit`, or when the command ended, its whole
/// process group is killed; it is not waited for any longer.
///
/// # Errors
/// It cannot start, takes longer than `limit` or does not exit 0.
pub fn run(script: &str, directory: &Path, input: Vec<u8>, limit: Span) -> Result<Vec<u8>, Failure> {
    let mark = Mark::unique();
    let mut command = shell::command(script, &Surroundings::default(), mark);
    command.current_dir(directory);
    let printed = Kept::default();
    // What still comes when the command has ended is worth a moment, and no more.
    complete(command, mark, input, (limit, OUTPUT_GRACE), keeping(&printed))?;
    Ok(taken(&printed))
}

/// Runs `script` with `sh` in `directory`, without input, and lets all that it prints go to a file.
///
/// Otherwise as [`run`].
///
/// # Errors
/// As [`run`]; it prints more than the file may take, or something still holds its output when `limit` is over.
pub fn print(
    script: &str,
    directory: &Path,
    (limit, surroundings): (Span, &Surroundings),
    into: Spool,
) -> Result<(), Failure> {
    let mark = Mark::unique();
    let mut command = shell::command(script, surroundings, mark);
    command.current_dir(directory);
    match complete(command, mark, Vec::new(), (limit, limit.0), spooling(into))? {
        End::Held => Err(Failure::new("ended, but something that it started still holds its output")),
        _ => Ok(()),
    }
}

/// Runs a command to its end; what it still prints then is awaited for the second of the spans.
fn complete(
    mut command: Command,
    mark: Mark,
    input: Vec<u8>,
    (limit, grace): (Span, Duration),
    take: impl FnMut(&[u8]) -> Result<(), String> + Send + 'static,
) -> Result<End, Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ends_at = Instant::now() + limit.0;
    let mut child = command.spawn().map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let mut group = Group::led_by(Some(child.id()), mark);
    let (tell, events) = mpsc::channel();
    feed(&mut child, input);
    let said = Kept::default();
    drain(child.stdout.take(), (Stream::Output, tell.clone()), take);
    drain(child.stderr.take(), (Stream::Error, tell.clone()), keeping(&said));
    announce_end(group.leader(), tell);
    let end = await_end(&events, (ends_at, grace), &mut group);
    let refused = match &end {
        End::Late => Some(Failure::timeout(limit)),
        End::Refused(reason) => Some(Failure::new(reason)),
        End::Whole | End::Held => None,
    };
    if let Some(refused) = refused {
        // It may be in an uninterruptible wait: nobody waits for it here.
        thread::spawn(move || child.wait());
        return Err(Failure { said: last_line(&taken(&said)), ..refused });
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(end),
        Ok(status) => Err(Failure { said: last_line(&taken(&said)), ..Failure::of(status) }),
        Err(error) => Err(Failure::new(format!("lost sight of the command: {error}"))),
    }
}

impl Failure {
    /// Makes a failure about which the command itself said nothing.
    pub fn new(reason: impl AsRef<str>) -> Self {
        Self { reason: shown(reason.as_ref().as_bytes()), said: String::new() }
    }

    fn timeout(limit: Span) -> Self {
        Self::new(format!("took longer than {limit} and was stopped"))
    }

    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(127), _) => Self::new("exit code 127 (command not found)"),
            (Some(code), _) => Self::new(format!("exit code {code}")),
            (None, signal) => Self::new(format!("killed by {}", signal_name(signal.unwrap_or_default()))),
        }
    }
}

/// Waits until the command ended, kills what is left of its group, and waits for what it printed to end: so long, and a
/// moment for what it said.
fn await_end(events: &Receiver<Event>, (ends_at, grace): (Instant, Duration), group: &mut Group) -> End {
    let (mut until, mut has_ended, mut open) = (ends_at, false, vec![Stream::Output, Stream::Error]);
    while !has_ended || !open.is_empty() {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Drained(stream)) => open.retain(|other| *other != stream),
            Ok(Event::Refused(reason)) => {
                group.kill();
                return End::Refused(reason);
            }
            Ok(Event::Ended) => {
                group.kill();
                has_ended = true;
            }
            Err(_) => break,
        }
        if has_ended {
            let wait = if open.contains(&Stream::Output) { grace } else { OUTPUT_GRACE };
            until = ends_at.min(Instant::now() + wait);
        }
    }
    group.kill();
    match (has_ended, open.contains(&Stream::Output)) {
        (false, _) => End::Late,
        (true, true) => End::Held,
        (true, false) => End::Whole,
    }
}

fn feed(child: &mut Child, input: Vec<u8>) {
    let stdin = child.stdin.take();
    thread::spawn(move || {
        // A command need not read its input; its exit code tells what came of it.
        let _ = stdin.map(|mut stdin| stdin.write_all(&input));
    });
}

/// Reads a stream to its end on a thread of its own.
fn drain(
    source: Option<impl Read + Send + 'static>,
    (stream, tell): (Stream, Sender<Event>),
    mut take: impl FnMut(&[u8]) -> Result<(), String> + Send + 'static,
) {
    thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        let mut event = Event::Drained(stream);
        if let Some(mut source) = source {
            // An error ends the output like its end does; the exit code tells what it was worth.
            while let Ok(length @ 1..) = read(&mut source, &mut chunk) {
                if let Err(reason) = take(&chunk[..length]) {
                    event = Event::Refused(reason);
                    break;
                }
            }
        }
        // Nobody listens any more once the command was given up.
        let _ = tell.send(event);
    });
}

/// Keeps the first bytes of a stream; the rest is dropped.
fn keeping(kept: &Kept) -> impl FnMut(&[u8]) -> Result<(), String> + Send + 'static {
    let kept = Arc::clone(kept);
    move |bytes| {
        if let Ok(mut kept) = kept.lock() {
            let room = OUTPUT_LIMIT_BYTES.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
        }
        Ok(())
    }
}

/// Writes a stream to a file; what does not fit there is refused.
fn spooling(Spool { mut file, limit }: Spool) -> impl FnMut(&[u8]) -> Result<(), String> + Send + 'static {
    let mut room = limit.0;
    move |bytes| {
        let left = room.checked_sub(bytes.len() as u64);
        room = left.ok_or_else(|| format!("printed more than {limit} and was stopped"))?;
        file.write_all(bytes).map_err(|refused| format!("what it prints cannot be kept: {refused}"))
    }
}

fn read(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// Tells when the command ends, and leaves it to be reaped: as long as it is not, its group's number is its own.
fn announce_end(leader: Option<Pid>, tell: Sender<Event>) {
    thread::spawn(move || {
        let Some(leader) = leader else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(leader), options), Err(Errno::INTR)) {}
        let _ = tell.send(Event::Ended);
    });
}

fn taken(kept: &Kept) -> Vec<u8> {
    kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
}

fn last_line(said: &[u8]) -> String {
    let mut lines = said.split(|byte| *byte == b'\n').rev().map(<[u8]>::trim_ascii);
    let text = shown(lines.find(|line| !line.is_empty()).unwrap_or_default());
    match text.char_indices().nth(SAID_LIMIT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Span = Span::seconds(60);

    fn answer(script: &str, input: &[u8], limit: Span) -> Result<String, (String, String)> {
        let answer = run(script, Path::new("/"), input.to_vec(), limit);
        answer.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|failure| (failure.reason, failure.said))
    }

    #[test]
    fn what_goes_in_comes_out_changed() {
        assert_eq!(answer("tr a-z A-Z; echo noise >&2", b"text\n", LIMIT), Ok("TEXT\n".to_owned()));
        let large = vec![b'x'; 1 << 20];
        assert_eq!(answer("wc -c", &large, LIMIT).unwrap().trim(), "1048576");
        assert_eq!(answer("cat", &large, LIMIT).unwrap().len(), OUTPUT_LIMIT_BYTES);
        assert_eq!(answer("echo unread", &large, LIMIT), Ok("unread\n".to_owned()));
    }

    #[test]
    fn failures_say_what_happened_and_what_the_command_said() {
        let check = |script: &str, reason: &str, said: &str| {
            assert_eq!(answer(script, b"", LIMIT), Err((reason.to_owned(), said.to_owned())), "{script}");
        };
        check("echo half; echo 'first\nlast \x1b[2J' >&2; echo >&2; exit 3", "exit code 3", "last \\x1b[2J");
        check("kill -KILL $$", "killed by SIGKILL", "");
        assert_eq!(answer("no-such-program", b"", LIMIT).unwrap_err().0, "exit code 127 (command not found)");
        let nowhere = run("true", Path::new("/nowhere/at/all"), Vec::new(), LIMIT).unwrap_err();
        assert!(nowhere.reason.starts_with("cannot start: "), "{nowhere:?}");
    }

    #[test]
    fn what_is_printed_to_a_file_is_there_whole_or_refused() {
        let printed = |script: &str, limit: u64| {
            let mut file = tempfile::tempfile().unwrap();
            let spool = Spool { file: file.try_clone().unwrap(), limit: ByteSize(limit) };
            print(script, Path::new("/"), (LIMIT, &Surroundings::default()), spool)
                .map_err(|failure| failure.reason)?;
            let mut text = Vec::new();
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut text).unwrap();
            Ok(text.len())
        };
        let million = "head -c 1000000 /dev/zero";
        assert_eq!(printed(million, 1_000_000), Ok(1_000_000));
        assert_eq!(printed(million, 976 << 10), Err("printed more than 976KiB and was stopped".to_owned()));
        // One that would go on for ever ends, too.
        assert_eq!(printed("echo >&2; yes", 1 << 20), Err("printed more than 1MiB and was stopped".to_owned()));
        assert_eq!(printed("sleep 1000 & echo x", 9), Ok(2));
    }

    #[test]
    fn the_whole_group_ends_at_the_deadline_and_with_the_command() {
        for (script, limit) in [("sleep 1000 & sleep 1000", Span(Duration::from_millis(300))), ("sleep 1000 &", LIMIT)]
        {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("witness");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )
            .unwrap();
            // Ends only when nobody holds the other end any more.
            let witness = thread::spawn(move || std::fs::read(path));
            let begun = Instant::now();
            let answer = run(&format!("exec 3> witness; {script}"), directory.path(), Vec::new(), limit);
            assert_eq!(answer.is_ok(), limit == LIMIT, "{answer:?}");
            assert!(begun.elapsed() < Duration::from_secs(20));
            witness.join().unwrap().unwrap();
        }
    }
}
