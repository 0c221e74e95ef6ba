//! Commands: run in a process group of their own, bounded in time and output, and cleaned up after.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::output::Output;
use super::shell::{self, Group, signal_name};
use super::{Answer, Mark, Place, Stop};
use crate::base::units::Span;
use crate::config::Surroundings;

/// How long a group that was asked to end may take before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long output is awaited after the command ended, in case something beyond reach still holds the pipe.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// How often a group is looked for while it ends; nothing announces that a whole group is gone.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// A command to run.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// Name of the check.
    pub name: &'a str,
    /// What `sh` is given.
    pub script: &'a str,
    /// How long it may take.
    pub limit: Span,
    /// What it gets to see of the environment.
    pub surroundings: &'a Surroundings,
}

/// Runs a command: exit code 0 passes, what cannot start, takes longer than its limit or is stopped is unknown,
/// everything else fails.
///
/// The command inherits the environment without the variables of cascade itself, those that are withheld and those that
/// point git at a repository; it gets `CASCADE_CHECK` (its name) and the variables of `place`.
pub(super) async fn run(call: Call<'_>, place: &Place<'_>) -> Answer {
    let mark = place.mark.unwrap_or_else(Mark::unique);
    let (mut child, source) = match start(call, mark, place) {
        Ok(started) => started,
        Err(error) => return Answer::unknown(cannot_start(&error, place)),
    };
    let mut group = Group::led_by(child.id(), mark);
    let mut output = Output::open(place.log, place.listener).await;
    let ending = {
        let bounds = Bounds { limit: call.limit, stop: place.stop };
        supervise(&mut child, &mut group, source, &mut output, bounds).await
    };
    let (log, tail) = output.finish().await;
    Answer { log, tail, ..judged(&ending, call.limit) }
}

fn start(call: Call<'_>, mark: Mark, place: &Place<'_>) -> io::Result<(Child, pipe::Receiver)> {
    let (reader, writer) = io::pipe()?;
    let source = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut command = Command::from(shell::command(call.script, call.surroundings, mark));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    if let Some(directory) = place.directory {
        command.current_dir(directory);
    }
    command.env("CASCADE_CHECK", call.name);
    command.envs(place.variables.iter().map(|(variable, value)| (variable, value)));
    Ok((command.spawn()?, source))
}

/// How the answer of a check begins whose command there is not, or cannot be run.
pub const CANNOT_START: &str = "cannot start";

/// The error alone does not tell a missing directory from a missing shell.
fn cannot_start(error: &io::Error, place: &Place<'_>) -> String {
    match place.directory {
        Some(directory) if !directory.is_dir() => format!("{CANNOT_START}: {} is not a directory", directory.display()),
        _ => format!("{CANNOT_START}: {error}"),
    }
}

/// What ends a command that does not end by itself.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    limit: Span,
    stop: Option<&'a Stop>,
}

/// How a command ended.
enum Ending {
    Exited(ExitStatus),
    TimedOut,
    Stopped(String),
    Lost(io::Error),
}

/// Reads the output while the command runs, and ends with no process of the group left.
async fn supervise(
    child: &mut Child,
    group: &mut Group,
    source: pipe::Receiver,
    output: &mut Output<'_>,
    bounds: Bounds<'_>,
) -> Ending {
    let mut drain = pin!(output.drain(source));
    let mut drained = false;
    let ending = {
        let mut ending = pin!(wait(child, group, bounds));
        loop {
            tokio::select! {
                ending = &mut ending => break ending,
                () = &mut drain, if !drained => drained = true,
            }
        }
    };
    group.kill();
    if !drained && timeout(OUTPUT_GRACE, drain).await.is_err() {
        tracing::debug!("a process outside the command's group still holds its output");
    }
    ending
}

async fn wait(child: &mut Child, group: &Group, bounds: Bounds<'_>) -> Ending {
    let ending = tokio::select! {
        waited = timeout(bounds.limit.0, child.wait()) => match waited {
            Ok(Ok(status)) => return Ending::Exited(status),
            Ok(Err(error)) => return Ending::Lost(error),
            Err(_) => Ending::TimedOut,
        },
        reason = Stop::awaited(bounds.stop) => Ending::Stopped(reason),
    };
    stop(child, group).await;
    ending
}

/// Asks the group to end; whatever remains of it after the grace is killed.
async fn stop(child: &mut Child, group: &Group) {
    group.signal(Signal::TERM);
    let gone = async {
        // Reaping is what matters; an error here means that there is nothing to reap.
        let _ = child.wait().await;
        while group.exists() {
            sleep(GROUP_POLL).await;
        }
    };
    if timeout(STOP_GRACE, gone).await.is_err() {
        group.signal(Signal::KILL);
        // A process in an uninterruptible wait may outlive this; tokio reaps it later.
        let _ = timeout(STOP_GRACE, child.wait()).await;
    }
}

fn judged(ending: &Ending, limit: Span) -> Answer {
    let status = match ending {
        Ending::Exited(status) => status,
        Ending::TimedOut => return Answer::unknown(format!("took longer than {limit} and was stopped")),
        Ending::Stopped(reason) => return Answer::unknown(reason),
        Ending::Lost(error) => return Answer::unknown(format!("lost sight of the command: {error}")),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Answer::pass("exit code 0"),
        (Some(126), _) => Answer::unknown(format!("{CANNOT_START}: exit code 126 (not executable)")),
        (Some(127), _) => Answer::unknown(format!("{CANNOT_START}: exit code 127 (command not found)")),
        (Some(code), _) => Answer::fail(format!("exit code {code}")),
        (None, Some(signal)) => Answer::fail(format!("killed by {}", signal_name(signal))),
        (None, None) => Answer::unknown("ended without an exit code"),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
