//! Finding credentials in text before it is saved or pushed.
//!
//! Well-known formats are found by their shape; other values only where they are assigned to something that
//! is called a secret and look random. A finding never carries its value.

mod dialect;
mod rules;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use self::rules::{Match, RuleFile, RuleSet};
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::{ErrorKind, Kinded};
use crate::config::{AllowedSecret, Secrets};

/// What the pre-push hook says when it blocks a push for a secret; the watcher knows the case by it.
pub const BLOCKED_WORDS: &str = "it carries what looks like a secret";

/// A line with this marker may hold what looks like a secret.
pub const ALLOW_MARKER: &str = "cascade:allow-secret";

/// So many hexadecimal digits of a value's digest stand for it.
pub const FINGERPRINT_DIGITS: usize = 16;

/// A NUL in this much of the start means that it is not text.
const BINARY_PROBE_BYTES: usize = 8_000;
/// Nobody writes lines of this length by hand: nothing is guessed in them.
const GUESS_LINE_LIMIT_BYTES: usize = 10_000;
const MASK_SHOWN_CHARS: usize = 4;
/// The only rule that guesses.
const GUESSED: &str = "assigned-secret";

/// Something in a text that looks like a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule that found it, such as `github-token`.
    pub rule: String,
    /// Line on which it begins, from 1.
    pub line: usize,
    /// Line on which it ends.
    pub last_line: usize,
    /// The first four characters and the length; never the value.
    pub masked: String,
    /// Digest of the value.
    pub digest: Digest,
    /// Why it may be there, where the configuration allows it.
    pub allowed: Option<String>,
}

impl Finding {
    /// Answers what stands for the value in an allow list.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.digest.short(FINGERPRINT_DIGITS)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} looks like a secret: {} ({})", self.line, shown(self.rule.as_bytes()), self.masked)
    }
}

/// Why there is nothing to look for secrets with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of rules cannot be read.
    #[error("cannot read the rules for secrets in {}", shown(path.as_os_str().as_encoded_bytes()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of rules cannot be used.
    #[error("{} has no rules that can be used: {}", shown(path.as_os_str().as_encoded_bytes()), shown(reason.as_bytes()))]
    Malformed {
        /// The file, or all of them where they do not fit together.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn hint(&self) -> Option<String> {
        Some("`secrets.rules` in cascade-sync.yaml names files in gitleaks' format".to_owned())
    }
}

/// Looks for secrets by cascade's rules and those of a configuration; cheap to clone.
#[derive(Debug, Clone)]
pub struct Scanner {
    rules: Arc<RuleSet>,
    allow: Arc<Vec<Allowed>>,
}

/// An entry of the allow list.
#[derive(Debug)]
struct Allowed {
    path: Option<Gitignore>,
    entry: AllowedSecret,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { rules: RuleSet::built_in(), allow: Arc::default() }
    }
}

impl Scanner {
    /// Prepares to look by the configuration of the checkout at `root`, where its files of rules are.
    ///
    /// # Errors
    /// A file of rules is unreadable, or a rule in it has no usable pattern.
    pub fn new(root: &Path, secrets: &Secrets) -> Result<Self, Error> {
        let rules = if secrets.rules.is_empty() { RuleSet::built_in() } else { extended(root, &secrets.rules)? };
        let allow = secrets.allow.iter().cloned().map(Allowed::new).collect();
        Ok(Self { rules, allow: Arc::new(allow) })
    }

    /// Finds what looks like credentials in `text`, in the order of lines; what is allowed says so.
    ///
    /// `path` is relative to the top of the checkout, escaped for showing. Looks neither into binary content (a NUL
    /// among the first 8,000 bytes) nor at lines that contain [`ALLOW_MARKER`], and guesses nothing in lines of more
    /// than 10,000 bytes. At most 1,000 are found.
    #[must_use]
    pub fn scan(&self, path: &str, text: &[u8]) -> Vec<Finding> {
        if text[..text.len().min(BINARY_PROBE_BYTES)].contains(&0) {
            return Vec::new();
        }
        let (mut line, mut counted) = (1, 0);
        let mut findings = Vec::new();
        for one in self.rules.matches(path, text) {
            // A span may reach over earlier ones; lines are counted from where they are known.
            if one.span.start < counted {
                (line, counted) = (1, 0);
            }
            line += newlines(&text[counted..one.span.start]);
            counted = one.span.start;
            // What leads to a value may begin at the end of the line before.
            let from = text[one.span.clone()].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let start = (one.span.start + from).min(one.value.start);
            let first_line = line + newlines(&text[counted..start]);
            let last_line = first_line + newlines(&text[start..one.value.end.max(start)]);
            if !is_passed_over(text, &one, start) {
                findings.push(self.finding(path, text, &one, first_line, last_line));
            }
        }
        findings
    }

    /// Finds what looks like credentials in lines that `committed`, the content before, does not have. `committed` is
    /// asked only where something was found that is not allowed.
    #[must_use]
    pub fn scan_added(&self, path: &str, text: &[u8], committed: &dyn Fn() -> Option<Vec<u8>>) -> Vec<Finding> {
        let mut findings = self.scan(path, text);
        if findings.iter().all(|finding| finding.allowed.is_some()) {
            return findings;
        }
        let committed = committed().unwrap_or_default();
        let known: HashSet<&[u8]> = committed.split(|byte| *byte == b'\n').collect();
        let is_new: Vec<bool> = text.split(|byte| *byte == b'\n').map(|line| !known.contains(line)).collect();
        let added =
            |finding: &Finding| is_new.get(finding.line - 1..finding.last_line).is_none_or(|new| new.contains(&true));
        findings.retain(added);
        findings
    }

    /// Answers whether somewhere, if not here, a value like this is allowed.
    #[must_use]
    pub fn is_allowed_elsewhere(&self, finding: &Finding) -> bool {
        self.allow.iter().any(|allowed| allowed.is_about(&finding.rule, &finding.digest))
    }

    fn finding(&self, path: &str, text: &[u8], one: &Match<'_>, line: usize, last_line: usize) -> Finding {
        let value = &text[one.value.clone()];
        let digest = Digest::of(value);
        let allowed = self.allow.iter().find(|allowed| allowed.holds(path, one.rule, &digest));
        Finding {
            rule: one.rule.to_owned(),
            line,
            last_line,
            masked: masked(value),
            digest,
            allowed: allowed.map(|allowed| allowed.entry.reason.clone()),
        }
    }
}

impl Allowed {
    fn new(entry: AllowedSecret) -> Self {
        // The configuration was checked: a pattern that is none would match nothing, which allows nothing.
        let path = entry.path.as_deref().map(|pattern| {
            let mut builder = GitignoreBuilder::new("");
            let _ = builder.add_line(None, pattern);
            builder.build().unwrap_or_else(|_| Gitignore::empty())
        });
        Self { path, entry }
    }

    fn holds(&self, path: &str, rule: &str, digest: &Digest) -> bool {
        let is_place =
            |pattern: &Gitignore| pattern.matched_path_or_any_parents(path.trim_start_matches('/'), false).is_ignore();
        self.path.as_ref().is_none_or(is_place) && self.is_about(rule, digest)
    }

    fn is_about(&self, rule: &str, digest: &Digest) -> bool {
        self.entry.rule.as_ref().is_none_or(|wanted| wanted == rule)
            && self
                .entry
                .fingerprint
                .as_ref()
                .is_none_or(|start| digest.to_string().starts_with(&start.to_ascii_lowercase()))
    }
}

fn extended(root: &Path, names: &[String]) -> Result<Arc<RuleSet>, Error> {
    let read = |name: &String| -> Result<RuleFile, Error> {
        let path = root.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => rules::parse(&text).map_err(|reason| Error::Malformed { path, reason }),
            Err(source) => Err(Error::Unreadable { path, source }),
        }
    };
    let files = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let malformed = |reason| Error::Malformed { path: PathBuf::from(names.join(", ")), reason };
    RuleSet::extended(files).map(Arc::new).map_err(malformed)
}

/// Answers whether a line of the match has the marker, or is too long for a guess.
fn is_passed_over(text: &[u8], one: &Match<'_>, start: usize) -> bool {
    let first = text[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = one.value.end.max(start);
    let last = text[end..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |newline| end + newline);
    let (lines, marker) = (&text[first..last], ALLOW_MARKER.as_bytes());
    let is_marked = || lines.windows(marker.len()).any(|window| window == marker);
    (one.rule == GUESSED && lines.len() > GUESS_LINE_LIMIT_BYTES) || is_marked()
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

fn masked(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let start: String = text.chars().take(MASK_SHOWN_CHARS).collect();
    format!("{}…, {} characters", shown(start.as_bytes()), text.chars().count())
}

#[cfg(test)]
mod tests;
