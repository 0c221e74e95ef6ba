//! What `start`, `stop` and `restart` share: the watcher's process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Failure, Outcome, Shell};
use crate::base::clock::SystemClock;
use crate::base::escape::shown;
use crate::base::{Clock as _, ErrorKind};
use crate::context::Context;
use crate::store::{Error, Home, Lock, LockError, ProjectHome, SandboxState, Store};

/// Pause between two looks at a process that begins or ends.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest time that is waited for a watcher to end: it saves, and may push for ten seconds and send alerts for ten more.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// What became of the wish to stop.
#[derive(Debug, Serialize)]
pub(super) struct Stopped {
    /// Whether a watcher ran.
    pub was_running: bool,
    /// Its process.
    pub process: Option<u32>,
}

/// Answers the process that watches the project.
///
/// # Errors
/// The lock file cannot be read.
pub(super) fn watcher(home: &ProjectHome) -> Outcome<Option<u32>> {
    Lock::holder(&home.sandbox_lock()).map_err(lock_failure)
}

/// Turns a lock that was not taken into a failure.
pub(super) fn lock_failure(error: LockError) -> Failure {
    match error {
        LockError::Held { pid, .. } => already_watching(pid),
        other => Error::from(other).into(),
    }
}

/// The refusal of a second watcher.
pub(super) fn already_watching(pid: Option<u32>) -> Failure {
    let process = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    Failure::denied(format!("this project is being watched already (process {process})"))
        .with_hint("see `cascade status`; `cascade restart` starts it anew, `cascade stop` ends it")
}

/// Answers where the files of the project are whose watcher is to end: its checkout may be gone by now.
async fn project(shell: &Shell) -> Outcome<ProjectHome> {
    let place = &shell.directory;
    let failure = match place.is_dir().then(|| shell.repo()) {
        Some(Ok(repo)) => return shell.project_home(&repo),
        Some(Err(failure)) => failure,
        None => Failure::usage(format!("{} is not there, and no project that cascade knows was", escaped(place)))
            .with_hint("give --project the checkout as it was called"),
    };
    let known = projects_last_at(&shell.edge.home()?, &resolved(place)).await?;
    let watched = known.iter().find(|home| matches!(watcher(home), Ok(Some(_))));
    watched.or(known.first()).cloned().ok_or(failure)
}

async fn projects_last_at(home: &Home, place: &Path) -> Outcome<Vec<ProjectHome>> {
    if !home.database().exists() {
        return Ok(Vec::new());
    }
    let store = Store::open(home, &home.project(place)).await?;
    let keys = store.projects_at(place).await?;
    store.close().await;
    Ok(keys.iter().map(|key| home.project_of(key)).collect())
}

/// Resolves the links of as much of a path as is there.
fn resolved(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?))) {
        // Joining nothing would leave a slash at the end.
        Some(real) => real.components().collect(),
        None => path.to_owned(),
    }
}

fn escaped(path: &Path) -> String {
    shown(path.as_os_str().as_encoded_bytes())
}

/// Asks the watcher to end, and waits until it has.
///
/// # Errors
/// It is somebody else's process, or takes too long.
pub(super) async fn stop(shell: &Shell) -> Outcome<Stopped> {
    let home = project(shell).await?;
    let Some(process) = watcher(&home)? else {
        tidy_up(shell, &home).await?;
        return Ok(Stopped { was_running: false, process: None });
    };
    signal(process)?;
    let until = Instant::now() + STOP_LIMIT;
    while watcher(&home)? == Some(process) {
        if Instant::now() >= until {
            let message = format!("the watcher (process {process}) is still finishing its last save or push");
            return Err(Failure::new(ErrorKind::Unavailable, message).with_hint("see `cascade logs -f`"));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(Stopped { was_running: true, process: Some(process) })
}

fn signal(process: u32) -> Outcome {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
        return Err(Failure::internal(format!("{process} is no process")));
    };
    match kill_process(pid, Signal::TERM) {
        // It ended by itself meanwhile.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(source) => Err(Failure::unavailable(format!("cannot stop process {process}"), &source)),
    }
}

/// A watcher that was killed could not say that it ended.
async fn tidy_up(shell: &Shell, home: &ProjectHome) -> Outcome {
    let place = shell.edge.home()?;
    if !place.database().exists() {
        return Ok(());
    }
    let store = Store::open(&place, home).await?;
    if let Some(mut record) = store.sandbox().await?.filter(|record| record.state != SandboxState::Stopped) {
        record.state = SandboxState::Stopped;
        record.seen_at = SystemClock.now();
        store.report_sandbox(&record).await?;
    }
    Ok(())
}

/// Answers the lines of the log from byte `from` on, at most the last `count`.
pub(super) fn log_since(path: &Path, from: u64, count: usize) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let start = usize::try_from(from).unwrap_or(0).min(text.len());
    let text = String::from_utf8_lossy(&text[start..]).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Refuses where a watcher runs already.
///
/// # Errors
/// One runs, or the lock file cannot be read.
pub(super) fn refuse_second(ctx: &Context) -> Outcome {
    watcher(&ctx.home)?.map_or(Ok(()), |process| Err(already_watching(Some(process))))
}
