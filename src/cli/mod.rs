//! The command line: a file per command, [`ui`] the only printer, [`failure`] the way from errors to exit codes,
//! [`edge`] the only reader of the environment.

mod approve;
pub mod args;
mod back_merge;
mod completions;
mod config;
mod demo;
mod diff;
mod doctor;
pub mod edge;
pub mod failure;
mod fallback;
mod following;
mod health;
mod history;
mod hold;
mod hook;
mod init;
mod interrupt;
mod logs;
mod man;
mod moment;
mod notify;
mod picture;
mod plan;
mod progress;
mod promote;
mod records;
mod report;
mod revision;
mod rewind;
mod rollback;
mod saves;
mod secrets;
mod service;
mod show;
mod snapshots;
mod standing;
mod start;
mod status;
mod stop;
mod sync;
mod syncs;
mod transfer;
pub mod ui;
mod vault;
mod verify;
mod why;
mod words;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser as _;
use tokio::time::timeout;

pub use args::{Args, Command, Global};
pub use edge::Edge;
pub use failure::{Failure, Outcome};
pub use ui::Ui;

use crate::alert::Alerts;
use crate::base::Clock as _;
use crate::base::clock::SystemClock;
use crate::check::Stop;
use crate::config::Config;
use crate::context::Context;
use crate::git::{Git, Repo};
use crate::sandbox::{Configured, Reader};
use crate::store::{ProjectHome, Store};

/// Whoever waits for longer is told what for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What every command gets: the printer, the environment, and the directory it works in.
#[derive(Debug)]
pub struct Shell {
    /// The printer.
    pub ui: Ui,
    /// What the process was started with.
    pub edge: Edge,
    /// `--project`, else the current directory.
    pub directory: PathBuf,
    /// Ends the checks that are under way.
    stop: Arc<Stop>,
    /// What may still be on its way to people when the command ends.
    told: Mutex<Vec<Arc<Alerts>>>,
}

impl Shell {
    /// Opens the repository of the project.
    ///
    /// # Errors
    /// As [`Repo::open`].
    pub fn repo(&self) -> Outcome<Repo> {
        Ok(Repo::open(&self.directory)?)
    }

    /// Loads the configuration at the top of the checkout.
    ///
    /// # Errors
    /// The file is missing or does not fit.
    pub fn config(&self, root: &Path) -> Outcome<Config> {
        let config = crate::config::load(root, &self.edge.variables())?;
        self.warn_of_lacking(&config);
        Ok(config)
    }

    /// Says which channels of alerts are off for want of a variable: everything else goes on.
    fn warn_of_lacking(&self, config: &Config) {
        if let Some(lacking) = &config.notify.lacking {
            self.ui.warning(&format!("{lacking}\nuntil that is set, nobody is told that way"));
        }
    }

    /// Opens everything that acts on the project: repository, configuration, database.
    ///
    /// # Errors
    /// Not a checkout, no usable configuration, or no usable directory for cascade's own files.
    pub async fn context(&self) -> Outcome<Context> {
        let repo = self.repo()?;
        let config = self.config(repo.root())?;
        self.context_by(&repo, config).await
    }

    /// As [`Shell::context`], for commands that need no rule of the pipeline: where the configuration cannot be used, a
    /// committed one takes its place.
    ///
    /// # Errors
    /// As [`Shell::context`].
    pub async fn lenient_context(&self) -> Outcome<Context> {
        let repo = self.repo()?;
        let config = fallback::config(self, &repo)?;
        self.context_by(&repo, config).await
    }

    async fn context_by(&self, repo: &Repo, config: Config) -> Outcome<Context> {
        let home = self.project_home(repo)?;
        let store = Store::open(&self.edge.home()?, &home).await?;
        let clock = SystemClock;
        store.remember_project(&config.project, repo.root(), clock.now()).await?;
        Ok(Context {
            git: Git::open(repo.root(), self.edge.program_path())?
                .with_durability(config.sandbox.durability)
                .with_network_deadline(config.remote_deadline.0),
            alerts: self.alerts(&config),
            person: repo.user().unwrap_or_else(|| self.edge.user(repo)),
            config: Arc::new(config),
            variables: Arc::new(crate::config::variables(repo.root(), &self.edge.variables())?),
            committed: Arc::default(),
            clock: Arc::new(clock),
            store,
            home,
            stop: Arc::clone(&self.stop),
        })
    }

    /// Answers how the configuration of a checkout is read again, with the environment that this process has.
    fn configuration_reader(&self, root: &Path) -> Reader {
        let (root, environment) = (root.to_owned(), self.edge.variables());
        Arc::new(move || {
            let config = crate::config::load(&root, &environment)?;
            Ok(Configured { config, variables: crate::config::variables(&root, &environment)? })
        })
    }

    /// Lets what acts on the project go by another configuration.
    async fn reconfigured(&self, ctx: &Context, configured: Configured) -> Context {
        let Configured { config, variables } = configured;
        self.warn_of_lacking(&config);
        if let Err(problem) = ctx.store.remember_project(&config.project, ctx.git.root(), ctx.now()).await {
            tracing::warn!(%problem, "the name of the project cannot be stored");
        }
        let git = ctx.git.clone().with_durability(config.sandbox.durability);
        Context {
            git: git.with_network_deadline(config.remote_deadline.0),
            alerts: self.alerts(&config),
            config: Arc::new(config),
            variables: Arc::new(variables),
            committed: Arc::default(),
            ..ctx.clone()
        }
    }

    fn alerts(&self, config: &Config) -> Arc<Alerts> {
        let alerts = Arc::new(Alerts::new(config, Arc::new(SystemClock)));
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&alerts));
        alerts
    }

    /// Waits for the alerts that are on their way, for a bounded time.
    async fn finish_alerts(&self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        let mut finished = pin!(async {
            for alerts in told {
                alerts.finish().await;
            }
        });
        if timeout(PATIENCE, &mut finished).await.is_err() {
            self.ui.note("waiting for alerts that are on their way");
            finished.await;
        }
    }

    /// Answers where cascade keeps the project's own files.
    ///
    /// # Errors
    /// There is no place for them.
    pub fn project_home(&self, repo: &Repo) -> Outcome<ProjectHome> {
        Ok(self.edge.home()?.project(repo.common_dir()))
    }
}

/// Reads the command line. Help and version are printed here; so are mistakes, as JSON where `--json` was given.
///
/// # Errors
/// The exit code, when there is nothing to run.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, ExitCode> {
    let words: Vec<OsString> = words.into_iter().collect();
    Args::try_parse_from(&words).map_err(|mistake| {
        if mistake.use_stderr() && words.iter().any(|word| word == "--json") {
            return report(&Ui::new(true, false, 0), &usage_failure(&mistake));
        }
        // Nobody is left to be told when the terminal is gone.
        let _ = mistake.print();
        ExitCode::from(if mistake.use_stderr() { 2 } else { 0 })
    })
}

fn usage_failure(mistake: &clap::Error) -> Failure {
    let text = mistake.render().to_string();
    let message = text.lines().next().unwrap_or_default();
    Failure::usage(message.strip_prefix("error: ").unwrap_or(message)).with_hint("see `cascade --help`")
}

/// Runs a command and answers the exit code of the process.
pub async fn run(args: Args) -> ExitCode {
    let Global { json, quiet, verbose, .. } = args.global;
    let ui = Ui::new(json, quiet, verbose);
    let shell = match enter(ui, &args) {
        Ok(shell) => shell,
        Err((ui, failure)) => return report(&ui, &failure),
    };
    let done = dispatch(&shell, args.command).await;
    let refused = done.err().map(|failure| report(&shell.ui, &failure));
    // Whoever started the command knows by now how it ended.
    shell.finish_alerts().await;
    if let Some(code) = refused {
        return code;
    }
    match shell.ui.finish() {
        Ok(()) => ExitCode::SUCCESS,
        Err(source) => refuse_with(&shell.ui, "the answer cannot be written", &source),
    }
}

/// Reports that the program could not even start and answers the exit code.
pub fn refuse(global: &Global, message: &str, source: &dyn Error) -> ExitCode {
    refuse_with(&Ui::new(global.json, global.quiet, global.verbose), message, source)
}

fn refuse_with(ui: &Ui, message: &str, source: &dyn Error) -> ExitCode {
    report(ui, &Failure::unavailable(message, source))
}

fn report(ui: &Ui, failure: &Failure) -> ExitCode {
    ui.failure(failure);
    ExitCode::from(failure.exit_code())
}

fn enter(ui: Ui, args: &Args) -> Result<Shell, (Ui, Failure)> {
    let global = &args.global;
    let edge = match Edge::capture() {
        Ok(edge) => edge,
        Err(failure) => return Err((ui, failure)),
    };
    // A watcher's log tells each save.
    let is_watcher = matches!(&args.command, Command::Start(start) if start.foreground);
    edge.start_tracing(global.quiet, global.verbose.max(u8::from(is_watcher)));
    let directory = global.project.as_ref().map_or(edge.directory().to_owned(), |asked| edge.directory().join(asked));
    // Whoever stops a watcher need not have its checkout any more.
    if !directory.is_dir() && !matches!(args.command, Command::Stop) {
        let failure = Failure::usage(format!("{} is not a directory", directory.display()));
        return Err((ui, failure.with_hint("give --project a checkout")));
    }
    Ok(Shell { ui, edge, directory, stop: Arc::default(), told: Mutex::default() })
}

async fn dispatch(shell: &Shell, command: Command) -> Outcome {
    match command {
        Command::Init(args) => init::run(shell, &args),
        Command::Logs(args) => logs::run(shell, &args).await,
        Command::Secrets(args) => secrets::run(shell, &args),
        Command::Hook(hook) => hook::run(shell, &hook),
        Command::Config(args) => config::run(shell, args),
        Command::Completions(args) => completions::run(shell, &args),
        Command::Man(args) => man::run(shell, &args),
        Command::Start(args) => start::run(shell, &args).await,
        Command::Stop => stop::run(shell).await,
        Command::Restart => stop::restart(shell).await,
        Command::Status(args) => status::run(shell, &args).await,
        Command::Health(args) => interrupt::interruptible(shell, health::run(shell, &args)).await,
        Command::Notify(args) => notify::run(shell, args).await,
        Command::Doctor(args) => doctor::run(shell, args).await,
        Command::DeployStaging(flags) => interrupt::interruptible(shell, promote::run(shell, "staging", &flags)).await,
        Command::DeployProduction(flags) => {
            interrupt::interruptible(shell, promote::run(shell, "production", &flags)).await
        }
        Command::Promote(args) => {
            interrupt::interruptible(shell, promote::run(shell, &args.environment, &args.flags)).await
        }
        Command::Plan(args) => plan::run(shell, &args).await,
        Command::Approve(decision) => interrupt::interruptible(shell, approve::approve(shell, &decision)).await,
        Command::Reject(decision) => approve::reject(shell, &decision).await,
        Command::Rollback(args) => interrupt::interruptible(shell, rollback::run(shell, &args)).await,
        Command::Hold(args) => hold::hold(shell, &args).await,
        Command::Resume(args) => interrupt::interruptible(shell, hold::resume(shell, &args)).await,
        Command::BackMerge(args) => back_merge::run(shell, &args).await,
        Command::Why(args) => why::run(shell, &args).await,
        Command::History(args) => history::run(shell, &args).await,
        Command::Report(args) => report::run(shell, &args).await,
        Command::Show(args) => show::run(shell, &args).await,
        Command::Verify(args) => verify::run(shell, &args).await,
        Command::Diff(args) => diff::run(shell, &args).await,
        Command::Saves(args) => saves::run(shell, &args).await,
        Command::Undo(args) => rewind::undo(shell, &args).await,
        Command::Rewind(args) => rewind::rewind(shell, &args).await,
        Command::Sync(args) => sync::run(shell, &args).await,
        Command::Snapshots(command) => snapshots::run(shell, &command).await,
        Command::Records(command) => records::run(shell, &command).await,
        Command::Vault(command) => vault::run(shell, &command).await,
        Command::Demo(args) => demo::run(shell, &args).await,
    }
}
