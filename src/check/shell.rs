//! What all commands of a configuration have in common: the shell, a clean environment, a process group and a mark of
//! their own.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::descendants::{Descendants, Mark, Origin, started_at};
use crate::config::Surroundings;

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

/// Prepares `sh -c script` in a process group of its own, with a mark.
///
/// It inherits the environment without the variables of cascade itself, those that point git at a repository and those
/// that the surroundings withhold, and gets what they give.
pub(super) fn command(script: &str, surroundings: &Surroundings, mark: Mark) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).process_group(0);
    let is_withheld = |variable: &str| is_ours(variable) || surroundings.withholds(variable);
    for (variable, _) in env::vars_os().filter(|(variable, _)| is_withheld(&variable.to_string_lossy())) {
        command.env_remove(variable);
    }
    command.envs(surroundings.given());
    mark.put_on(&mut command);
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

/// Rounds of killing: whoever starts processes faster than they are found is beyond reach.
const KILL_ROUNDS: usize = 20;
/// How long killed processes are awaited in each round; in an uninterruptible wait they take longer.
const KILL_GRACE: Duration = Duration::from_millis(50);

/// The process group that a command leads and every process that descends from it; killed when dropped.
#[derive(Debug)]
pub(super) struct Group(Option<Origin>);

impl Group {
    /// Names the group of the process `id` with its mark; without a process it is empty.
    pub fn led_by(id: Option<u32>, mark: Mark) -> Self {
        let leader = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self(leader.map(|leader| Origin { mark, leader: Some(leader), since: started_at(leader) }))
    }

    /// Names what was left running under a mark by a command that nobody supervises any more.
    pub fn left_with(mark: Mark) -> Self {
        Self(Some(Origin { mark, leader: None, since: None }))
    }

    /// Answers the process that leads it.
    pub fn leader(&self) -> Option<Pid> {
        self.0?.leader
    }

    /// A group that is gone already is what was wanted, so that errors say nothing.
    pub fn signal(&self, signal: Signal) {
        let Some(origin) = self.0 else { return };
        if let Some(leader) = origin.leader {
            let _ = kill_process_group(leader, signal);
        }
        Descendants::of(origin).outside(origin.leader).signal(signal);
    }

    pub fn exists(&self) -> bool {
        self.0.is_some_and(|origin| !Descendants::of(origin).is_empty())
    }

    /// Kills everything, once: the group's number may belong to somebody else later.
    pub fn kill(&mut self) {
        let Some(origin) = self.0.take() else { return };
        if let Some(leader) = origin.leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        for _ in 0..KILL_ROUNDS {
            let found = Descendants::of(origin);
            if found.is_empty() {
                return;
            }
            found.signal(Signal::KILL);
            found.await_end(KILL_GRACE);
        }
        tracing::warn!("a command left processes behind that cannot be ended");
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
