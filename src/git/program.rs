//! Running the git program: the network, merges and checkouts go through it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::escape::{shown, shown_lines};

/// Longest time a local command may take.
const LOCAL_DEADLINE: Duration = Duration::from_secs(600);
/// Longest time a command that talks to a remote may take, unless the repository was given another.
pub(super) const NETWORK_DEADLINE: Duration = Duration::from_secs(120);
/// Longest time that streams may stay open after their command has ended.
const STREAM_GRACE: Duration = Duration::from_secs(1);
/// Most output that is kept of one command unless all of it is asked for; the rest is read and dropped.
const OUTPUT_LIMIT_BYTES: usize = 64 << 20;
/// Most text of a failed command that an error repeats.
const MESSAGE_LIMIT_CHARS: usize = 2_000;

/// Variables by which a caller's environment would point git at another repository.
const LOCATION_VARIABLES: [&str; 9] = [
    "GIT_NAMESPACE",
    "GIT_LITERAL_PATHSPECS",
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
    output_limit_bytes: usize,
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

    /// The same, with every object and reference that it writes made durable.
    pub fn new_durable<S: AsRef<OsStr>>(repo: &Repo, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(repo, synced(arguments))
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
        Self {
            command,
            shown: shown.join(" "),
            deadline: LOCAL_DEADLINE,
            output_limit_bytes: OUTPUT_LIMIT_BYTES,
            input: Vec::new(),
        }
    }

    /// Prepares `git <arguments>` in the checkout `root`, with every object and reference that it writes made durable.
    pub fn durable<S: AsRef<OsStr>>(root: &Path, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::at(root, synced(arguments)).env("GIT_OPTIONAL_LOCKS", "0")
    }

    /// Prepares `git <arguments>` that writes objects of a save: durable where saves wait for the disk.
    pub fn saving<S: AsRef<OsStr>>(repo: &Repo, arguments: impl IntoIterator<Item = S>) -> Self {
        if repo.is_fast() {
            return Self::at(repo.root(), arguments).env("GIT_OPTIONAL_LOCKS", "0");
        }
        Self::durable(repo.root(), arguments)
    }

    /// Gives the command an opened file as its standard input.
    pub fn input_file(mut self, file: std::fs::File) -> Self {
        self.command.stdin(Stdio::from(file));
        self
    }

    /// Feeds the command's standard input.
    pub fn input(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self
    }

    /// Gives the command another time limit.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Keeps all that the command prints: for listings, of which no part may be missing.
    pub fn keep_all(mut self) -> Self {
        self.output_limit_bytes = usize::MAX;
        self
    }

    /// Sets a variable of the command's environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Ends the command with the thread that waits for it, and with the process: what nobody waits for any more is not sent.
    /// Git ends its own helpers then. Linux only.
    pub fn ending_with_us(mut self) -> Self {
        #[cfg(target_os = "linux")]
        {
            let end = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?);
            // One system call, which is fit for the moment after a fork.
            #[allow(unsafe_code)]
            unsafe {
                self.command.pre_exec(end);
            }
        }
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
        wait(child, self.input, self.deadline, self.output_limit_bytes, self.shown)
    }
}

/// Puts settings before a command by which it waits until the disk has what it writes; by default git does so for some
/// of it only.
fn synced<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> impl Iterator<Item = OsString> {
    let settings =
        ["-c", "core.fsync=objects,derived-metadata,reference", "-c", "core.fsyncMethod=fsync"].map(OsString::from);
    settings.into_iter().chain(arguments.into_iter().map(|argument| argument.as_ref().to_owned()))
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

/// What a thread that serves a running command has to say.
enum Report {
    /// One of its two streams ended.
    Drained,
    /// The command itself ended.
    Ended(std::io::Result<ExitStatus>),
}

/// A stream's bytes as far as they have come.
type Kept = Arc<Mutex<Vec<u8>>>;

/// Feeds and drains the child on threads of their own, and ends its whole process group at the deadline.
///
/// Something that the command left running (a shared ssh connection) may keep the streams open: once the command has
/// ended, they get [`STREAM_GRACE`] to end too.
fn wait(
    mut child: Child,
    input: Vec<u8>,
    deadline: Duration,
    output_limit_bytes: usize,
    shown: String,
) -> Result<Output> {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let stdin = child.stdin.take();
    thread::spawn(move || {
        // A child that does not read its input has its own reasons; its exit code tells.
        let _ = stdin.map(|mut stdin| stdin.write_all(&input));
    });
    let (report, reports) = mpsc::channel();
    let stdout = drain(child.stdout.take(), output_limit_bytes, report.clone());
    let stderr = drain(child.stderr.take(), OUTPUT_LIMIT_BYTES, report.clone());
    thread::spawn(move || report.send(Report::Ended(child.wait())));
    let ends_at = Instant::now() + deadline;
    let (mut status, mut streams_open) = (None, 2);
    while status.is_none() || streams_open > 0 {
        let left = if status.is_some() { STREAM_GRACE } else { ends_at.saturating_duration_since(Instant::now()) };
        match reports.recv_timeout(left) {
            Ok(Report::Drained) => streams_open -= 1,
            Ok(Report::Ended(ended)) => status = Some(ended.map_err(Error::io("wait for", "git"))?),
            Err(_) if status.is_some() => break,
            Err(_) => {
                stop(group);
                return Err(Error::ProgramTimeout { command: shown, seconds: deadline.as_secs() });
            }
        }
    }
    let taken = |kept: &Kept| kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
    match status {
        Some(status) => Ok(Output { status, stdout: taken(&stdout), stderr: taken(&stderr), shown }),
        None => Err(Error::Lost(shown)),
    }
}

/// Reads a stream to its end on a thread of its own, keeping at most `limit_bytes`.
fn drain(source: Option<impl Read + Send + 'static>, limit_bytes: usize, report: mpsc::Sender<Report>) -> Kept {
    let kept = Kept::default();
    let target = Arc::clone(&kept);
    thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        if let Some(mut source) = source {
            // A read error ends the output like its end does; the exit code tells what it was worth.
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                let Ok(mut kept) = target.lock() else { break };
                let room = limit_bytes.saturating_sub(kept.len()).min(length);
                kept.extend_from_slice(&chunk[..room]);
            }
        }
        // Nobody listens any more once the command was given up.
        let _ = report.send(Report::Drained);
    });
    kept
}

fn stop(group: Option<rustix::process::Pid>) {
    if let Some(group) = group {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        let alias = format!("alias.run=!{script}");
        Program::at(Path::new("/"), ["-c", &alias, "run"])
    }

    #[test]
    fn output_of_both_streams_and_the_exit_code_come_back() {
        let output = shell("echo out; echo err >&2; exit 3; :").run().unwrap();
        assert_eq!((output.stdout.as_slice(), output.message().as_str()), (&b"out\n"[..], "err"));
        assert!(matches!(output.failure(), Error::Program { message, .. } if message == "err"));
    }

    #[test]
    fn a_program_that_hangs_is_stopped_at_its_deadline() {
        let hanging = shell("sleep 600").deadline(Duration::from_millis(100)).run();
        assert!(matches!(hanging, Err(Error::ProgramTimeout { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_ends_with_the_thread_that_waits_for_it() {
        use std::os::unix::process::ExitStatusExt as _;
        let reading =
            || Program::at(Path::new("/"), ["hash-object", "--stdin"]).ending_with_us().command.spawn().unwrap();
        // Its input stays open: by itself it would wait for ever.
        let mut child = thread::spawn(reading).join().unwrap();
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        drop(stdin);
    }

    #[test]
    fn a_child_left_behind_with_open_streams_does_not_delay_the_answer() {
        let output = shell("(sleep 30) & echo done").deadline(Duration::from_secs(20)).run().unwrap();
        assert_eq!(output.stdout, b"done\n");
    }
}
