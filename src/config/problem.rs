//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::base::escape::shown;
use crate::base::{ErrorKind, Kinded};

/// At most this many problems are listed in one run.
pub const MAX_PROBLEMS: usize = 100;

/// Longest text of the file that is repeated in a message, in characters.
const MAX_SHOWN_CHARS: usize = 60;

/// Longest message of a library that is passed on, in characters.
const MAX_QUOTED_CHARS: usize = 400;

/// Longest name for which a near one is looked for, in bytes.
const MAX_NEAREST_BYTES: usize = 64;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum Error {
    /// The checkout has no configuration file.
    #[error("{} does not exist", shown(path.as_os_str().as_encoded_bytes()))]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file is there but cannot be read.
    #[error("cannot read {}", shown(path.as_os_str().as_encoded_bytes()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that cannot be used.
    #[error("{0}")]
    Invalid(Problems),
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } | Self::Unreadable { .. } | Self::Invalid(_) => ErrorKind::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("write one with `cascade init`".to_owned()),
            Self::Unreadable { .. } => Some("it must be a file that this user may read".to_owned()),
            Self::Invalid(_) => Some("`cascade config schema` prints every key with its meaning".to_owned()),
        }
    }
}

/// A place in the file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong with the file. It never holds the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file.
    pub source: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key, safe to show; empty when the whole file is meant.
    pub key: String,
    /// What is wrong, safe to show.
    pub message: String,
    /// What could stand there instead, when that is a short list.
    pub allowed: Vec<String>,
    /// The allowed name that is nearest to what was written.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.source, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        if !self.allowed.is_empty() {
            write!(f, " (allowed: {})", self.allowed.join(", "))?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a file, in the order of its lines; never empty, at most [`MAX_PROBLEMS`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Answers the problems, first line first.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        if self.0.len() >= MAX_PROBLEMS {
            write!(f, "\nthere may be more: only {MAX_PROBLEMS} problems are listed")?;
        }
        Ok(())
    }
}

/// Gathers problems of one file.
#[derive(Debug)]
pub(super) struct Report {
    source: Arc<str>,
    problems: Vec<Problem>,
    /// What keeps a channel of alerts off and nothing else from working.
    lacking: Vec<Problem>,
}

impl Report {
    pub fn new(source_name: &str) -> Self {
        Self { source: shown(source_name.as_bytes()).into(), problems: Vec::new(), lacking: Vec::new() }
    }

    /// Whether nothing more is taken in.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Adds something that is only lacking for a channel of alerts; `key` must be safe to show.
    pub fn add_lacking(&mut self, at: Position, key: impl Into<String>, message: impl Into<String>) {
        let before = self.problems.len();
        self.add(at, key, message);
        self.lacking.extend(self.problems.drain(before..));
    }

    /// Takes what is only lacking; nothing while there are problems, among which it is listed then.
    pub fn take_lacking(&mut self) -> Option<Problems> {
        if !self.problems.is_empty() || self.lacking.is_empty() {
            return None;
        }
        Some(Problems(std::mem::take(&mut self.lacking)))
    }

    /// Adds a problem; `key` must be safe to show.
    pub fn add(&mut self, at: Position, key: impl Into<String>, message: impl Into<String>) {
        self.add_choice(at, key, message, Vec::new(), None);
    }

    /// Adds a problem about a name that is not one of `allowed`.
    pub fn add_choice(
        &mut self,
        at: Position,
        key: impl Into<String>,
        message: impl Into<String>,
        allowed: Vec<String>,
        nearest: Option<String>,
    ) {
        if self.is_full() {
            return;
        }
        self.problems.push(Problem {
            source: Arc::clone(&self.source),
            line: at.line,
            column: at.column,
            key: key.into(),
            message: message.into(),
            allowed,
            nearest,
        });
    }

    /// Answers the problems in the order of the file.
    pub fn into_problems(mut self) -> Problems {
        self.problems.append(&mut self.lacking);
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        Problems(self.problems)
    }

    /// Answers `good` when there are no problems.
    pub fn finish<T>(self, good: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(good) } else { Err(self.into_problems()) }
    }
}

/// Renders text of the file for a message: no control characters, at most one short line.
pub(super) fn brief(text: &str) -> String {
    cut(text, MAX_SHOWN_CHARS)
}

/// Renders what a library says about the file for a message.
pub(super) fn quoted_message(text: &str) -> String {
    cut(text, MAX_QUOTED_CHARS)
}

fn cut(text: &str, max_chars: usize) -> String {
    let mut start: String = text.chars().take(max_chars).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    shown(start.as_bytes())
}

/// Answers the candidate that looks most like `name`, if any is close enough to be meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NEAREST_BYTES {
        return None;
    }
    let lower = name.to_lowercase();
    let tolerated = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name && candidate.len() <= MAX_NEAREST_BYTES)
        .map(|candidate| (distance(&lower, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits from one name to the other; a name that starts with the other is one edit away.
fn distance(lower: &str, candidate: &str) -> usize {
    let candidate = candidate.to_lowercase();
    let (short, long) = if lower.len() < candidate.len() { (lower, &*candidate) } else { (&*candidate, lower) };
    if short.len() >= 4 && long.starts_with(short) {
        return 1;
    }
    strsim::osa_distance(lower, &candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["staging", "production", "develop"];
        assert_eq!(nearest("stagin", names), Some("staging"));
        assert_eq!(nearest("prod", names), Some("production"));
        assert_eq!(nearest("Develop", names), Some("develop"));
        assert_eq!(nearest("qa", names), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), names), None);
    }

    #[test]
    fn shown_text_is_short_and_harmless() {
        assert_eq!(brief("a\u{1b}[2J"), "a\\x1b[2J");
        assert_eq!(brief(&"ä".repeat(100)).chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
