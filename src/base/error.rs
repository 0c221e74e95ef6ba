//! What kind of failure an error is: the only thing that callers branch on.

use std::error::Error;
use std::time::Duration;

/// The kind of a failure; exit code, retry and (later) HTTP status read this, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line asks for something that does not exist or does not fit.
    Usage,
    /// The configuration cannot be used.
    Config,
    /// Somebody or something refuses: permissions, credentials, a hook, a rule.
    Denied,
    /// A gate is closed; the work goes on once it opens.
    Waiting,
    /// A check answered *fail* or could not answer.
    CheckFailed,
    /// Two sides moved, or the target is not what it was left as.
    Conflict,
    /// The work was undone.
    RolledBack,
    /// A newer wish or somebody else's push came first.
    Superseded,
    /// Nothing is wrong: something is to be done, where only that was the question.
    Pending,
    /// Something that should answer does not: network, disk, another process.
    Unavailable,
    /// The other side asks to come back after this time.
    RateLimited(Duration),
    /// Stored content is not what it must be.
    Integrity,
    /// A defect of cascade itself.
    Internal,
}

impl ErrorKind {
    /// Answers the process exit code for this kind.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Config => 2,
            Self::Waiting => 3,
            Self::CheckFailed => 4,
            Self::Conflict => 5,
            Self::RolledBack => 6,
            Self::Superseded => 7,
            Self::Pending => 10,
            Self::Denied | Self::Unavailable | Self::RateLimited(_) | Self::Integrity => 1,
            Self::Internal => 70,
        }
    }

    /// Answers whether trying again later, unchanged, can help.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::RateLimited(_))
    }
}

/// An error that knows its kind and what to do next.
pub trait Kinded: Error {
    /// Answers the kind of this failure.
    fn kind(&self) -> ErrorKind;

    /// Answers what the reader can do next, when the message does not say it already.
    fn hint(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_published_ones() {
        let published = [
            (ErrorKind::Usage, 2),
            (ErrorKind::Config, 2),
            (ErrorKind::Denied, 1),
            (ErrorKind::Waiting, 3),
            (ErrorKind::CheckFailed, 4),
            (ErrorKind::Conflict, 5),
            (ErrorKind::RolledBack, 6),
            (ErrorKind::Superseded, 7),
            (ErrorKind::Pending, 10),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::Internal, 70),
        ];
        for (kind, code) in published {
            assert_eq!(kind.exit_code(), code, "{kind:?}");
        }
    }
}
