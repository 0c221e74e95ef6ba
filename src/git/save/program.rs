//! The few steps of a save that only the git program does right.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::base::escape::{shown, shown_lines};
use crate::git::error::{Error, Result};

/// Bytes of a program's complaint that an error keeps.
const MESSAGE_BYTES: usize = 2_000;
/// What would lead git to another repository than the one it is called for.
const FOREIGN_VARIABLES: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_LITERAL_PATHSPECS",
];

/// One call of the git program in a checkout.
pub(super) struct Git {
    command: Command,
    shown: String,
}

impl Git {
    /// Prepares `git <args>` at the top of the checkout `root`.
    pub fn new(root: &Path, args: &[&str]) -> Self {
        let mut command = Command::new("git");
        FOREIGN_VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0").current_dir(root);
        command.args(["-c", "core.fsync=objects", "-c", "core.fsyncMethod=fsync"]).args(args);
        Self { command, shown: args.join(" ") }
    }

    /// Adds an argument that holds a path after `prefix`.
    pub fn path_arg(mut self, prefix: &str, path: &[u8]) -> Self {
        let arg = OsString::from_vec([prefix.as_bytes(), path].concat());
        self.shown = format!("{} {}", self.shown, shown(arg.as_bytes()));
        self.command.arg(arg);
        self
    }

    /// Sets a variable of the program's environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs with `input` to read and answers what it printed.
    pub fn feed(mut self, input: &[u8]) -> Result<Vec<u8>> {
        let piped = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.map_err(start_error)?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program that ends without reading everything says why itself.
                let _ = stdin.map(|mut stdin| stdin.write_all(input));
            });
            child.wait_with_output()
        });
        self.judge(output)
    }

    /// Runs with an opened file as its input and answers what it printed.
    pub fn read_from(mut self, file: std::fs::File) -> Result<Vec<u8>> {
        let output = self.command.stdin(Stdio::from(file)).output();
        self.judge(output)
    }

    fn judge(&self, output: io::Result<Output>) -> Result<Vec<u8>> {
        let output = output.map_err(start_error)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = &output.stderr[output.stderr.len().saturating_sub(MESSAGE_BYTES)..];
        Err(Error::Program { command: self.shown.clone(), message: shown_lines(said.trim_ascii()) })
    }
}

fn start_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::ProgramMissing,
        _ => Error::Io { action: "run", path: PathBuf::from("git"), source: error },
    }
}
