//! What all commands of a configuration have in common: the shell, a clean environment, a process group of their own.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// What would make git in a command look at another repository than the one around it.
const GIT_LOCATION: [&str; 11] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
];

/// Prepares `sh -c script` in a process group of its own.
///
/// It inherits the environment without the variables of cascade itself and without those that point git at a repository.
pub(super) fn command(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).process_group(0);
    for (variable, _) in env::vars_os().filter(|(variable, _)| is_ours(&variable.to_string_lossy())) {
        command.env_remove(variable);
    }
    command
}

fn is_ours(variable: &str) -> bool {
    variable.starts_with("CASCADE_") || GIT_LOCATION.contains(&variable)
}

/// Names a signal: `SIGKILL`, `signal 99`.
pub(super) fn signal_name(number: i32) -> String {
    let name = match Signal::from_named_raw(number) {
        Some(Signal::HUP) => "HUP",
        Some(Signal::INT) => "INT",
        Some(Signal::QUIT) => "QUIT",
        Some(Signal::ILL) => "ILL",
        Some(Signal::ABORT) => "ABRT",
        Some(Signal::BUS) => "BUS",
        Some(Signal::FPE) => "FPE",
        Some(Signal::KILL) => "KILL",
        Some(Signal::SEGV) => "SEGV",
        Some(Signal::PIPE) => "PIPE",
        Some(Signal::TERM) => "TERM",
        _ => return format!("signal {number}"),
    };
    format!("SIG{name}")
}

/// The process group that a command leads; killed when dropped.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// Names the group of the process `id`; without one it is empty.
    pub fn led_by(id: Option<u32>) -> Self {
        Self(id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Answers the process that leads it.
    pub fn leader(&self) -> Option<Pid> {
        self.0
    }

    /// A group that is gone already is what was wanted, so that errors say nothing.
    pub fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, signal);
        }
    }

    pub fn exists(&self) -> bool {
        self.0.is_some_and(|leader| test_kill_process_group(leader).is_ok())
    }

    /// Kills the group, once: its number may belong to somebody else later.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_cascade_and_of_another_repository_are_withheld() {
        for variable in ["CASCADE_HOME", "CASCADE_WEBHOOK", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
            assert!(is_ours(variable), "{variable}");
        }
        for variable in ["PATH", "HOME", "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "MY_CASCADE_THING"] {
            assert!(!is_ours(variable), "{variable}");
        }
    }
}
