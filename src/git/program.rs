//! Running the git program: the network, merges and checkouts go through it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::escape::{shown, shown_lines};

/// Longest time a local command may take.
const LOCAL_DEADLINE: Duration = Duration::from_secs(600);
/// Longest time a command that talks to a remote may take.
pub(super) const NETWORK_DEADLINE: Duration = Duration::from_secs(120);
/// Most output that is kept of one command; the rest is read and dropped.
const OUTPUT_LIMIT_BYTES: usize = 64 << 20;
/// Most text of a failed command that an error repeats.
const MESSAGE_LIMIT_CHARS: usize = 2_000;

/// Variables by which a caller's environment would point git at another repository.
const LOCATION_VARIABLES: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
];

/// One call of the git program.
pub(super) struct Program {
    command: Command,
    shown: String,
    deadline: Duration,
    input: Vec<u8>,
}

/// What an ended command printed.
pub(super) struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    shown: String,
}

impl Program {
    /// Prepares `git <arguments>` in the repository's working tree.
    pub fn new<S: AsRef<OsStr>>(repo: &Repo, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut program = Self::at(repo.root(), arguments);
        if let Some(path) = repo.program_path() {
            program.command.env("PATH", path);
        }
        program
    }

    /// Prepares `git <arguments>` in any directory.
    pub fn at<S: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let shown: Vec<String> = arguments.iter().map(|argument| shown(argument.as_encoded_bytes())).collect();
        let mut command = Command::new("git");
        command.args(&arguments).current_dir(directory).process_group(0);
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").env("CASCADE_PUSH", "1");
        for variable in LOCATION_VARIABLES {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, shown: shown.join(" "), deadline: LOCAL_DEADLINE, input: Vec::new() }
    }

    /// Gives the command another time limit.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets a variable of the command's environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the command; answers its standard output when it exits 0.
    pub fn succeed(self) -> Result<Vec<u8>> {
        let output = self.run()?;
        if output.status.success() { Ok(output.stdout) } else { Err(output.failure()) }
    }

    /// Runs the command to its end, whatever its exit code.
    pub fn run(mut self) -> Result<Output> {
        let child = self.command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::ProgramMissing,
            _ => Error::Io { action: "start", path: "git".into(), source },
        })?;
        wait(child, self.input, self.deadline, self.shown)
    }
}

impl Output {
    /// Turns a failed command into an error that repeats the end of what it said.
    pub fn failure(&self) -> Error {
        Error::Program { command: self.shown.clone(), message: self.message() }
    }

    /// Answers what the command said on its standard error, escaped and cut.
    pub fn message(&self) -> String {
        let text = shown_lines(&self.stderr);
        let text = text.trim();
        let start = text.char_indices().rev().nth(MESSAGE_LIMIT_CHARS).map_or(0, |(position, _)| position);
        match text[start..].trim() {
            "" => format!("it ended with {}", self.status),
            message => message.to_owned(),
        }
    }
}

/// Feeds and drains the child on threads of their own, and ends its whole process group at the deadline.
fn wait(mut child: Child, input: Vec<u8>, deadline: Duration, shown: String) -> Result<Output> {
    let stdin = child.stdin.take();
    thread::spawn(move || {
        // A child that does not read its input has its own reasons; its exit code tells.
        let _ = stdin.map(|mut stdin| stdin.write_all(&input));
    });
    let (done, drained) = mpsc::channel();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let (out_done, err_done) = (done.clone(), done);
    thread::spawn(move || out_done.send((true, drain(stdout))));
    thread::spawn(move || err_done.send((false, drain(stderr))));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        match drained.recv_timeout(deadline) {
            Ok((true, bytes)) => out = bytes,
            Ok((false, bytes)) => err = bytes,
            Err(_) => {
                stop(&mut child);
                return Err(Error::ProgramTimeout { command: shown, seconds: deadline.as_secs() });
            }
        }
    }
    let status = child.wait().map_err(Error::io("wait for", "git"))?;
    Ok(Output { status, stdout: out, stderr: err, shown })
}

fn drain(source: Option<impl Read>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut source) = source else { return kept };
    let limit = u64::try_from(OUTPUT_LIMIT_BYTES).unwrap_or(u64::MAX);
    // A read error ends the output like its end does; the exit code tells what it was worth.
    let _ = source.by_ref().take(limit).read_to_end(&mut kept);
    let _ = std::io::copy(&mut source, &mut std::io::sink());
    kept
}

fn stop(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}
