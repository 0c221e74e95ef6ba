//! From an error to what people and programs read: message, causes, hint, exit code.

use std::error::Error;
use std::panic::{self, UnwindSafe};
use std::process::ExitCode;

use serde::Serialize;

use super::ui;
use crate::base::{ErrorKind, Kinded};

/// Answer of every command.
pub type Outcome<T = ()> = std::result::Result<T, Failure>;

/// Why a command did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is; decides the exit code.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
    /// Why, from the nearest to the deepest cause.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

/// The JSON form of a failure.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    error: Body<'a>,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    kind: &'static str,
    message: &'a str,
    causes: &'a [String],
    hint: Option<&'a str>,
}

impl Failure {
    /// Makes a failure without causes and hint.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Makes a failure of the command line: it asks for something that does not exist or does not fit.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Makes a refusal: a rule, a hook or a person says no.
    #[must_use]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, message)
    }

    /// Makes a failure that is a defect of cascade.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Makes a failure of something outside (disk, another program) with its cause.
    #[must_use]
    pub fn unavailable(message: impl Into<String>, source: &dyn Error) -> Self {
        let message = message.into();
        let mut causes = vec![source.to_string()];
        causes.extend(chain(source, &causes[0]));
        Self { causes, ..Self::new(ErrorKind::Unavailable, message) }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Answers the exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// Answers the JSON form.
    #[must_use]
    pub fn document(&self) -> Document<'_> {
        let (message, causes) = (self.message.as_str(), &self.causes[..]);
        Document { error: Body { kind: kind_name(self.kind), message, causes, hint: self.hint.as_deref() } }
    }
}

impl<E: Kinded + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let message = error.to_string();
        Self { kind: error.kind(), causes: chain(&error, &message), message, hint: error.hint() }
    }
}

/// Answers the published name of a kind.
#[must_use]
pub fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Usage => "usage",
        ErrorKind::Config => "config",
        ErrorKind::Denied => "denied",
        ErrorKind::Waiting => "waiting",
        ErrorKind::CheckFailed => "check_failed",
        ErrorKind::Conflict => "conflict",
        ErrorKind::RolledBack => "rolled_back",
        ErrorKind::Superseded => "superseded",
        ErrorKind::Pending => "pending",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::RateLimited(_) => "rate_limited",
        ErrorKind::Integrity => "integrity",
        ErrorKind::Internal => "internal",
    }
}

/// Runs the program; a panic is reported in one line, as the bug that it is, and exits 70.
pub fn catch_bugs(program: impl FnOnce() -> ExitCode + UnwindSafe) -> ExitCode {
    panic::set_hook(Box::new(|panic| ui::report_bug(&panic.to_string())));
    panic::catch_unwind(program).unwrap_or_else(|_| ExitCode::from(ErrorKind::Internal.exit_code()))
}

/// Answers what an error rests on; a cause that the one above it, or `message` above all of them, says already is left out.
fn chain(error: &dyn Error, message: &str) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !causes.last().map_or(message, String::as_str).contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git;

    #[test]
    fn error_becomes_message_causes_hint_and_code() {
        let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "no way");
        let failure = Failure::from(git::Error::Io { action: "read", path: "/x".into(), source });
        assert_eq!(failure.message, "cannot read /x");
        assert_eq!(failure.causes, ["no way"]);
        assert_eq!(failure.exit_code(), 1);
        let missing = Failure::from(git::Error::BranchMissing { name: "develop".into() });
        assert_eq!(missing.hint.as_deref(), Some("run `cascade init` to create the pipeline's branches"));
        assert_eq!(missing.exit_code(), 2);
    }

    #[test]
    fn what_was_said_already_is_not_said_again() {
        let missing = crate::endpoint::Error::Missing { place: "the directory /x".to_owned() };
        let failure = Failure::from(crate::sync::Error::Endpoint { name: "site".to_owned(), source: missing });
        assert_eq!((failure.message.as_str(), failure.causes), ("sync site: the directory /x is not there", vec![]));
        let source = std::io::Error::other("no way");
        let refused = crate::endpoint::Error::Unusable { place: "the directory /x".to_owned(), source };
        let failure = Failure::from(crate::sync::Error::Endpoint { name: "site".to_owned(), source: refused });
        assert_eq!(failure.causes, ["no way"]);
    }

    #[test]
    fn panic_is_a_bug() {
        let code = catch_bugs(|| panic!("on purpose"));
        let _ = panic::take_hook();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(70)));
    }

    #[test]
    fn document_names_the_kind() {
        let failure = Failure::denied("no").with_hint("ask");
        insta::assert_snapshot!(
            serde_json::to_string(&failure.document()).unwrap(),
            @r#"{"error":{"kind":"denied","message":"no","causes":[],"hint":"ask"}}"#
        );
    }
}
