//! `cascade start`: the watcher, in the background or in the foreground.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::args::Start;
use super::following::Following;
use super::service::{self, LOOK_EVERY};
use super::{Failure, Outcome, Shell};
use crate::alert::Alert;
use crate::base::{ErrorKind, Kinded as _, Timestamp};
use crate::config::AlertEvent;
use crate::context::Context;
use crate::git::Repo;
use crate::sandbox;
use crate::store::{Lock, SandboxRecord, SandboxState, Store};

/// Longest time that is waited for the first look at the checkout.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);
/// A log that is larger is put aside: the one before it goes then.
const LOG_LIMIT_BYTES: u64 = 10 << 20;
/// Pause between two looks at the log's size.
const LOG_LOOK_EVERY: Duration = Duration::from_secs(600);
/// Lines of the log that explain why a watcher did not start.
const EXPLAINING_LINES: usize = 5;

/// What was started.
#[derive(Debug, Serialize)]
struct Started {
    state: &'static str,
    reason: Option<String>,
    branch: String,
    process: u32,
    log: String,
}

/// Watches here, or starts a process that does.
///
/// # Errors
/// The project cannot be opened, or is watched already.
pub async fn run(shell: &Shell, args: &Start) -> Outcome {
    if args.foreground { foreground(shell).await } else { background(shell).await }
}

/// Watches until a signal says stop; then saves and pushes what is left.
async fn foreground(shell: &Shell) -> Outcome {
    let is_background = shell.edge.is_background();
    if is_background {
        // Fails only for the leader of a process group, which has nothing to leave.
        let _ = rustix::process::setsid();
    }
    let mut ctx = shell.context().await?;
    let stop = stop_signal(is_background.then(|| ctx.home.log()))?;
    let lock = Lock::take(&ctx.home.sandbox_lock()).map_err(service::lock_failure)?;
    let ended = watch(shell, &mut ctx, stop).await;
    if let Err(problem) = &ended {
        report_end(&ctx, problem).await;
        if is_background && matches!(problem, sandbox::Error::RootGone { .. }) {
            report_elsewhere(shell, &ctx).await;
        }
    }
    ctx.alerts.finish().await;
    ctx.store.close().await;
    drop(lock);
    let saves = ended?;
    if !shell.ui.is_json() {
        shell.ui.note(&format!("stopped after {saves} saves"));
    }
    Ok(())
}

/// Watches until `stop` is ready, by each configuration that the checkout gets; `ctx` is that of the last one. Answers how
/// many saves were made.
async fn watch(shell: &Shell, ctx: &mut Context, stop: impl Future<Output = ()>) -> Result<u64, sandbox::Error> {
    let (mut stop, mut saves) = (pin!(stop), 0);
    let reader = shell.configuration_reader(ctx.git.root());
    let mut following = Following::new();
    let ended = loop {
        let follower = following.go_by(ctx);
        match sandbox::run(ctx, stop.as_mut(), follower, &reader).await {
            Ok(ended) => {
                saves += ended.summary.saves;
                let Some(next) = ended.next else { break Ok(saves) };
                *ctx = shell.reconfigured(ctx, *next).await;
            }
            Err(problem) => break Err(problem),
        }
    };
    following.end().await;
    ended
}

/// A watcher that fails says at least that it no longer runs, and why.
async fn report_end(ctx: &Context, problem: &sandbox::Error) {
    let way_out = problem.hint().map_or_else(String::new, |hint| format!(": {hint}"));
    let reason = format!("{problem}{way_out}");
    ctx.tell(Alert::new(AlertEvent::Paused, "the watcher ended", &reason));
    if let Ok(Some(mut record)) = ctx.store.sandbox().await {
        (record.state, record.reason, record.seen_at) = (SandboxState::Stopped, Some(reason), ctx.now());
        // The failure itself is what people must see.
        let _ = ctx.store.report_sandbox(&record).await;
    }
}

/// Says at the new place of a checkout that was moved why it is not watched: this process, which began at its top, has
/// gone there with it.
async fn report_elsewhere(shell: &Shell, ctx: &Context) {
    let Some(repo) = shell.edge.directory_now().and_then(|place| Repo::open(&place).ok()) else { return };
    let (Ok(home), Ok(project)) = (shell.edge.home(), shell.project_home(&repo)) else { return };
    let Ok(store) = Store::open(&home, &project).await else { return };
    if let Ok(None) = store.sandbox().await
        && let Ok(Some(record)) = ctx.store.sandbox().await
    {
        // The failure itself is in the log.
        let _ = store.report_sandbox(&record).await;
    }
    store.close().await;
}

/// Answers a future that is ready at SIGTERM or SIGINT. SIGHUP, which a terminal's end sends too, stops only what runs in
/// the foreground; in the background it begins a new `log` where that has grown large, as happens now and then anyway.
fn stop_signal(log: Option<PathBuf>) -> Outcome<impl Future<Output = ()>> {
    let listen = |kind: SignalKind| -> Outcome<Signal> {
        signal(kind).map_err(|source| Failure::unavailable("cannot listen to signals", &source))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => if log.is_none() { return },
                () = sleep(LOG_LOOK_EVERY), if log.is_some() => {}
            }
            if let Some(log) = &log
                && let Err(problem) = keep_small(log)
            {
                tracing::warn!(%problem, "the log cannot be put aside");
            }
        }
    })
}

/// Puts a log aside that has grown large, and goes on in a new one.
fn keep_small(log: &Path) -> io::Result<()> {
    if put_aside(log)? {
        let file = open_log(log)?;
        rustix::stdio::dup2_stdout(&file)?;
        rustix::stdio::dup2_stderr(&file)?;
    }
    Ok(())
}

/// Renames a log that has grown large; answers whether it had.
fn put_aside(log: &Path) -> io::Result<bool> {
    let is_large = std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES);
    if is_large {
        std::fs::rename(log, log.with_extension("log.1"))?;
    }
    Ok(is_large)
}

fn open_log(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}

/// Starts a watcher that outlives this command, and waits until it watches.
///
/// # Errors
/// The project cannot be opened or is watched already, or the watcher ended at once.
pub(super) async fn background(shell: &Shell) -> Outcome {
    let ctx = shell.context().await?;
    service::refuse_second(&ctx)?;
    let log = ctx.home.log();
    let since = ctx.now();
    let (mut child, from) = spawn(shell, &ctx, &log).map_err(|source| {
        Failure::unavailable(format!("cannot start the watcher (log: {})", log.display()), &source)
    })?;
    let until = Instant::now() + BEGIN_LIMIT;
    loop {
        if let Some(record) = begun(&ctx, &child, since).await? {
            return print(shell, &log, child.id(), record);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let causes = service::log_since(&log, from, EXPLAINING_LINES);
            let failure = Failure::new(ErrorKind::Unavailable, format!("the watcher ended at once ({status})"));
            return Err(Failure { causes, ..failure.with_hint("see `cascade logs`") });
        }
        if Instant::now() >= until {
            shell.ui.note("the watcher is still taking its first look at the checkout: see `cascade status`");
            let record = ctx.store.sandbox().await?;
            return print(
                shell,
                &log,
                child.id(),
                record.unwrap_or_else(|| SandboxRecord::begun(&ctx.config.sandbox.branch, ctx.now())),
            );
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Starts this program again, in a session of its own, with the log as its output; answers where in the log it begins.
fn spawn(shell: &Shell, ctx: &Context, log: &Path) -> io::Result<(Child, u64)> {
    ctx.home.create()?;
    put_aside(log)?;
    let file = open_log(log)?;
    let from = file.metadata()?.len();
    let mut command = Command::new(shell.edge.program()?);
    command.args(["start", "--foreground", "--project"]).arg(ctx.git.root()).current_dir(ctx.git.root());
    command.args((0..shell.ui.verbosity()).map(|_| "-v"));
    let home =
        shell.edge.home().map(|home| home.root().to_owned()).map_err(|problem| io::Error::other(problem.message))?;
    command.env("CASCADE_BACKGROUND", "1").env("CASCADE_HOME", home);
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok((command.spawn()?, from))
}

/// Answers what the started watcher says of itself, once it does.
async fn begun(ctx: &Context, child: &Child, since: Timestamp) -> Outcome<Option<SandboxRecord>> {
    let record = ctx.store.sandbox().await?;
    let said = record.filter(|record| record.seen_at >= since && record.state != SandboxState::Stopped);
    Ok(if service::watcher(&ctx.home)? == Some(child.id()) { said } else { None })
}

fn print(shell: &Shell, log: &Path, process: u32, record: SandboxRecord) -> Outcome {
    let SandboxRecord { state, reason, branch, .. } = record;
    if shell.ui.is_json() {
        let log = log.to_string_lossy().into_owned();
        return shell.ui.json(&Started { state: state.as_str(), reason, branch, process, log });
    }
    match (state, reason) {
        (SandboxState::Paused, reason) => {
            shell.ui.success(&format!("started (process {process})"));
            shell.ui.warning(&format!("saving is paused: {}", reason.unwrap_or_default()));
        }
        _ => shell.ui.success(&format!("watching: what is saved here is committed to {branch} (process {process})")),
    }
    Ok(())
}
