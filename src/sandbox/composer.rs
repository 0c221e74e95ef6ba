//! Who writes the messages of a watcher's saves: the configuration's template and, where there is one, its command.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::message::{self, Facts};
use crate::base::Timestamp;
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::units::Span;
use crate::check::filter::{self, Failure};
use crate::config::Config;
use crate::context::Context;
use crate::git::Proposal;

/// Writes messages, and remembers what people were told of the command's failures.
pub(super) struct Composer {
    config: Arc<Config>,
    root: PathBuf,
    told: Mutex<HashSet<String>>,
    is_hurried: AtomicBool,
}

/// The message of one save, which may be asked for several times.
pub(super) struct Writing<'a> {
    composer: &'a Composer,
    at: Timestamp,
    /// What is left of the command's time: a save that begins again gets no more of it.
    left: Cell<Duration>,
    /// What was answered to a patch.
    summary: RefCell<Option<(Digest, Option<String>)>>,
}

impl Composer {
    pub fn new(ctx: &Context) -> Self {
        let (config, root) = (Arc::clone(&ctx.config), ctx.git.root().to_owned());
        Self { config, root, told: Mutex::default(), is_hurried: AtomicBool::new(false) }
    }

    /// From now on no command is asked: somebody waits for the end of the watcher.
    pub fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
    }

    /// Begins with the message of a save that is made `at` some moment.
    pub fn begin(&self, at: Timestamp) -> Writing<'_> {
        let left = Cell::new(self.config.sandbox.message.deadline.0);
        Writing { composer: self, at, left, summary: RefCell::default() }
    }

    /// Says what is wrong with the command, once for each problem.
    fn tell(&self, failure: Failure) {
        let is_news = self.told.lock().is_ok_and(|mut told| told.insert(failure.reason.clone()));
        if is_news {
            let Failure { reason, said } = failure;
            tracing::warn!(reason, said, "sandbox.message.summarize gave no subject: saves get the usual one");
        }
    }
}

impl Writing<'_> {
    /// Answers the message; whatever the command does, there is one, within its deadline.
    pub fn message(&self, proposal: &mut Proposal<'_, '_>) -> String {
        let summary = self.summary(proposal);
        let config = &self.composer.config;
        let (project, branch) = (config.project.as_str(), config.sandbox.branch.as_str());
        let facts = Facts { project, branch, changes: proposal.changes(), at: self.at };
        message::compose(&facts, config.sandbox.message.template.as_ref(), summary.as_deref())
    }

    fn summary(&self, proposal: &mut Proposal<'_, '_>) -> Option<String> {
        let composer = self.composer;
        let script = composer.config.sandbox.message.summarize.as_deref()?;
        if composer.is_hurried.load(Ordering::Relaxed) {
            return None;
        }
        let patch = match proposal.patch() {
            Ok(patch) => patch,
            Err(problem) => {
                composer.tell(Failure::new(format!("the patch cannot be made: {problem}")));
                return None;
            }
        };
        let digest = Digest::of(&patch);
        if let Some((_, known)) = self.summary.borrow().as_ref().filter(|(known, _)| *known == digest) {
            return known.clone();
        }
        if self.left.get().is_zero() {
            return None;
        }
        let summary = self.ask(script, patch).map_err(|failure| composer.tell(failure)).ok();
        *self.summary.borrow_mut() = Some((digest, summary.clone()));
        summary
    }

    fn ask(&self, script: &str, patch: Vec<u8>) -> Result<String, Failure> {
        let begun = Instant::now();
        let printed = filter::run(script, &self.composer.root, patch, Span(self.left.get()));
        self.left.set(self.left.get().saturating_sub(begun.elapsed()));
        first_line(&printed?)
    }
}

/// Answers the first line that says something, escaped.
fn first_line(printed: &[u8]) -> Result<String, Failure> {
    let mut lines = printed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let line = lines.next().ok_or_else(|| Failure::new("it printed nothing"))?;
    let text = std::str::from_utf8(line).map_err(|_| Failure::new("it printed something that is not UTF-8"))?;
    Ok(shown(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_that_says_something_is_the_summary() {
        assert_eq!(first_line("\n \t\n  Fix it \nmore\n".as_bytes()), Ok("Fix it".to_owned()));
        assert_eq!(first_line(b"a\x1b[2J\n"), Ok("a\\x1b[2J".to_owned()));
        for (printed, reason) in
            [(&b" \n\n"[..], "it printed nothing"), (b"a\xff", "it printed something that is not UTF-8")]
        {
            assert_eq!(first_line(printed).unwrap_err().reason, reason);
        }
    }
}
