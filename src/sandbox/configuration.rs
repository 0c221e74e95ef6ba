//! Edits of the configuration while a watcher runs: taken up where that is safe, told where it is not.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::escape::shown_lines;
use crate::check::secrets::Scanner;
use crate::config::{self, Config, FILE_NAME, Secrets, Variables};
use crate::context::Context;

/// Most lines of what is wrong that are kept: `cascade config check` tells all.
const REASON_LIMIT_LINES: usize = 5;

/// A configuration, with what `${VAR}` in it stood for.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The checked configuration.
    pub config: Config,
    /// The variables.
    pub variables: Variables,
}

/// Reads and checks the configuration as the checkout has it at the moment.
pub type Reader = Arc<dyn Fn() -> Result<Configured, config::Error> + Send + Sync>;

/// What a look at the configuration found.
#[derive(Debug)]
pub(super) enum Found {
    /// It says what the watcher goes by.
    Same,
    /// It says something else, which can be taken up.
    Other(Box<Configured>),
    /// It cannot be taken up, and why not (escaped).
    Refused(String),
}

/// Inode, size and time of a file; nothing where there is none.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Looks whether the configuration is still the one that the watcher goes by.
pub(super) struct Lookout {
    ctx: Context,
    read: Reader,
    files: [PathBuf; 2],
    /// How the files stood when they were last read; nothing: nobody has read them since the watcher began.
    stamps: Option<[Stamp; 2]>,
}

impl Lookout {
    pub fn new(ctx: &Context, read: &Reader) -> Self {
        let files = [FILE_NAME, config::DOTENV_NAME].map(|name| ctx.git.root().join(name));
        Self { ctx: ctx.clone(), read: Arc::clone(read), files, stamps: None }
    }

    /// Answers whether a file was written since it was last read.
    pub fn is_touched(&self) -> bool {
        self.stamps != Some(self.stamps_now())
    }

    /// Reads the configuration again.
    pub fn look(&mut self) -> Found {
        // What is written from here on is read next time.
        self.stamps = Some(self.stamps_now());
        let found = match (self.read)() {
            Ok(found) => found,
            Err(problem) => return Found::Refused(brief(&problem.to_string())),
        };
        if self.is_same(&found) {
            return Found::Same;
        }
        match self.obstacle(&found.config) {
            Some(reason) => Found::Refused(reason),
            None => Found::Other(Box::new(found)),
        }
    }

    fn stamps_now(&self) -> [Stamp; 2] {
        self.files.each_ref().map(|file| {
            let found = std::fs::metadata(file).ok()?;
            let written_ns = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
            Some((found.ino(), found.len(), written_ns, found.ctime_nsec()))
        })
    }

    /// Rules and exceptions for secrets do not count: each save reads them by itself.
    fn is_same(&self, found: &Configured) -> bool {
        let ours = &*self.ctx.config;
        let Secrets { rules, allow, .. } = found.config.secrets.clone();
        let ours = Config { secrets: Secrets { rules, allow, ..ours.secrets.clone() }, ..ours.clone() };
        found.config == ours && found.variables == *self.ctx.variables
    }

    /// Answers why a configuration that is valid cannot be taken up by a watcher that runs.
    fn obstacle(&self, config: &Config) -> Option<String> {
        let (before, now) = (&self.ctx.config.sandbox.branch, &config.sandbox.branch);
        if before != now {
            return Some(format!("`sandbox.branch` was `{before}` and is `{now}` now: `cascade restart` takes it up"));
        }
        let scanner = Scanner::new(self.ctx.git.root(), &config.secrets);
        scanner.err().map(|problem| brief(&problem.to_string()))
    }
}

/// Escapes what is wrong, and cuts it to its first lines.
fn brief(problem: &str) -> String {
    let text = shown_lines(problem.as_bytes());
    let rest = text.lines().count().saturating_sub(REASON_LIMIT_LINES);
    let more = (rest > 0).then(|| format!("and {rest} more: `cascade config check` lists them"));
    text.lines().take(REASON_LIMIT_LINES).map(str::to_owned).chain(more).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_problems_the_first_are_kept() {
        assert_eq!(brief("a\u{1b}[2J\nb"), "a\\x1b[2J\nb");
        let lines: Vec<String> = (1..9).map(|number| number.to_string()).collect();
        assert_eq!(brief(&lines.join("\n")), "1\n2\n3\n4\n5\nand 3 more: `cascade config check` lists them");
    }
}
