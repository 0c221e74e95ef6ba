//! Automated questions: a command, an HTTP or TCP address, a file of the candidate.
//!
//! Asking never fails: what cannot be asked is [`Outcome::Unknown`] with the reason, and unknown never
//! opens a gate. [`verification`] asks until there is a verdict; [`secrets`] reads text for credentials; [`filter`] runs a
//! command that answers with text.

mod command;
mod descendants;
mod file;
pub mod filter;
mod network;
mod output;
pub mod secrets;
mod shell;
pub mod space;
mod stop;
pub mod verification;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::config::{CheckSpec, Question};
use crate::git::Git;

pub use command::CANNOT_START;
pub use descendants::Mark;
pub use output::{LOG_LIMIT_BYTES, Listener, TAIL_LIMIT_LINES};
pub use stop::Stop;
pub use verification::verify;

/// What a check said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The question was asked and answered yes.
    Pass,
    /// The question was asked and answered no.
    Fail,
    /// The question could not be asked, or got no answer in time.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Fail, Self::Unknown];

    /// Answers the word for this outcome: `pass`, `fail` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.as_str() == word);
        found.ok_or_else(|| format!("`{}` is not an outcome: pass, fail or unknown", shown(word.as_bytes())))
    }
}

/// What asking a check brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Pass, fail or unknown.
    pub outcome: Outcome,
    /// Why, in one line for people, without control characters: `exit code 2`, `connection refused`.
    pub detail: String,
    /// How long it took.
    pub duration: Duration,
    /// Where the output of a command was written; none when nobody wanted it or the file could not be written.
    pub log: Option<PathBuf>,
    /// The last lines of a command's output, escaped; at most [`TAIL_LIMIT_LINES`].
    pub tail: Vec<String>,
}

impl Answer {
    fn new(outcome: Outcome, detail: impl AsRef<str>) -> Self {
        let detail = shown(detail.as_ref().as_bytes());
        Self { outcome, detail, duration: Duration::ZERO, log: None, tail: Vec::new() }
    }

    fn pass(detail: impl AsRef<str>) -> Self {
        Self::new(Outcome::Pass, detail)
    }

    fn fail(detail: impl AsRef<str>) -> Self {
        Self::new(Outcome::Fail, detail)
    }

    fn unknown(detail: impl AsRef<str>) -> Self {
        Self::new(Outcome::Unknown, detail)
    }
}

/// Where a check is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'a> {
    /// Scratch checkout of the candidate. Without one, commands run in the current directory and files are unknown.
    pub directory: Option<&'a Path>,
    /// Tree in which files are looked for, instead of the directory.
    pub tree: Option<(&'a Git, ObjectId)>,
    /// File that a command's output is streamed to, replaced by each attempt; its directory must exist.
    pub log: Option<&'a Path>,
    /// Variables that commands get, such as `CASCADE_ENVIRONMENT`.
    pub variables: &'a [(String, String)],
    /// What the processes of a command are known by; without one, each command has its own.
    pub mark: Option<Mark>,
    /// Asks for the end of the check: its answer is unknown then, with that reason.
    pub stop: Option<&'a Stop>,
    /// Hears what a command prints last.
    pub listener: Option<Listener<'a>>,
}

/// Asks the check `name` once, for at most [`CheckSpec::attempt_timeout`] (and a grace of a few seconds to
/// stop what takes longer).
///
/// Never fails: what cannot be asked is [`Outcome::Unknown`] and says why. A command leaves no process behind, not even
/// one in a session of its own (on Linux), and not even when the returned future is dropped.
pub async fn ask(name: &str, spec: &CheckSpec, place: &Place<'_>) -> Answer {
    let started = Instant::now();
    let answer = match spec.question() {
        // A command is given time to end by itself.
        Some(Question::Run(script)) => {
            let (limit, surroundings) = (spec.attempt_timeout(), &spec.surroundings);
            command::run(command::Call { name, script, limit, surroundings }, place).await
        }
        _ => tokio::select! {
            answer = quick(name, spec, place) => answer,
            reason = Stop::awaited(place.stop) => Answer::unknown(reason),
        },
    };
    Answer { duration: started.elapsed(), ..answer }
}

async fn quick(name: &str, spec: &CheckSpec, place: &Place<'_>) -> Answer {
    let limit = spec.attempt_timeout();
    match (spec.question(), place.tree) {
        (Some(Question::Http { url, status, contains }), _) => network::http(url, status, contains, limit).await,
        (Some(Question::Tcp(address)), _) => network::tcp(address, limit).await,
        (Some(Question::File(path)), Some((git, tree))) => file::in_tree(path, git, tree).await,
        (Some(Question::File(path)), None) => file::exists(path, limit, place.directory).await,
        _ => Answer::unknown(format!("the check `{name}` asks nothing")),
    }
}

/// Ends what an earlier command left running under a mark, because cascade itself was killed.
pub fn end_leftovers(mark: Mark) {
    shell::Group::left_with(mark).kill();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_read_back_as_written() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        assert_eq!("passed".parse::<Outcome>().unwrap_err(), "`passed` is not an outcome: pass, fail or unknown");
    }

    #[tokio::test]
    async fn check_without_question_is_unknown() {
        let answer = ask("hollow", &CheckSpec::default(), &Place::default()).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Unknown, "the check `hollow` asks nothing"));
    }

    #[test]
    fn asking_can_move_between_threads() {
        fn is_send(_: &impl Send) {}
        let spec = CheckSpec::default();
        let place = Place::default();
        is_send(&ask("x", &spec, &place));
        is_send(&verify("x", &spec, &place, &mut |_| ()));
    }
}
