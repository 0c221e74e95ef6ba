//! The one reader of the process environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::failure::{Failure, Outcome};
use crate::config::Variables;
use crate::git::{Repo, Setup};
use crate::store::Home;

/// What the process was started with.
#[derive(Clone)]
pub struct Edge {
    variables: BTreeMap<String, String>,
    directory: PathBuf,
}

impl Edge {
    /// Reads environment and current directory. Variables that are not UTF-8 are left out.
    ///
    /// # Errors
    /// The current directory was deleted.
    pub fn capture() -> Outcome<Self> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let directory = std::env::current_dir()
            .map_err(|source| Failure::unavailable("the current directory cannot be used", &source))?;
        Ok(Self { variables: std::env::vars_os().filter_map(text).collect(), directory })
    }

    /// Answers the current directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Answers where the directory is by now that was the current one; nothing where it is gone.
    #[must_use]
    pub fn directory_now(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    /// Answers a variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Answers what the configuration may refer to.
    #[must_use]
    pub fn variables(&self) -> Variables {
        Variables::new(self.variables.clone())
    }

    /// Answers where cascade keeps its own files: `CASCADE_HOME`, else below `XDG_STATE_HOME`, else below `HOME`.
    ///
    /// # Errors
    /// None of the three is set.
    pub fn home(&self) -> Outcome<Home> {
        let [own, state, user] = ["CASCADE_HOME", "XDG_STATE_HOME", "HOME"].map(|name| self.variable(name));
        let home = Home::choose(own, state, user).map(|home| Home::new(self.directory.join(home.root())));
        home.ok_or_else(|| {
            Failure::usage("there is no place for cascade's own files").with_hint("set CASCADE_HOME to a directory")
        })
    }

    /// Answers who asks: the user of git's configuration (e-mail, else name), else the login name.
    #[must_use]
    pub fn user(&self, repo: &Repo) -> String {
        let login = || self.variable("USER").or_else(|| self.variable("LOGNAME")).map(str::to_owned);
        Setup::new(repo).configured_user().or_else(login).unwrap_or_else(|| "unknown".to_owned())
    }

    /// Answers the `PATH` for programs that we start: ours first, so that hooks find the very cascade that pushes.
    #[must_use]
    pub fn program_path(&self) -> Option<OsString> {
        let own = std::env::current_exe().ok()?.parent()?.to_owned();
        let inherited = self.variable("PATH").unwrap_or_default();
        std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(inherited))).ok()
    }

    /// Answers whether cascade itself started the git program that started us (it pushes what was already checked).
    #[must_use]
    pub fn pushed_by_cascade(&self) -> bool {
        self.variable("CASCADE_PUSH").is_some()
    }

    /// Answers whether `cascade start` started us to watch in the background.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.variable("CASCADE_BACKGROUND").is_some()
    }

    /// Answers this very program.
    ///
    /// # Errors
    /// The system does not know where it is.
    pub fn program(&self) -> std::io::Result<PathBuf> {
        std::env::current_exe()
    }

    /// Answers the user's editor: `VISUAL`, else `EDITOR`.
    #[must_use]
    pub fn editor(&self) -> Option<&str> {
        self.variable("VISUAL").or_else(|| self.variable("EDITOR"))
    }

    /// Sends what the library traces to stderr: warnings; more with each `-v`, errors only with `-q`, or as the
    /// filter in `CASCADE_LOG` says.
    pub fn start_tracing(&self, quiet: bool, verbose: u8) {
        let level = match (quiet, verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, 2) => "debug",
            (false, _) => "trace",
        };
        let asked = self.variable("CASCADE_LOG").and_then(|filter| EnvFilter::try_new(filter).ok());
        let filter = asked.unwrap_or_else(|| EnvFilter::new(format!("off,cascade={level}")));
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
        // A second call, as in tests, keeps the first.
        let _ = subscriber.with_writer(std::io::stderr).try_init();
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("directory", &self.directory).finish_non_exhaustive()
    }
}
