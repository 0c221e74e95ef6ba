//! Why a message did not arrive.

use std::time::Duration;

use crate::base::units::Span;
use crate::base::{ErrorKind, Kinded};

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a message did not arrive. Addresses, passwords and keys are never part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No notification service took it.
    #[error("no notification service answers: {reason}")]
    NoDesktop {
        /// What was in the way.
        reason: String,
    },
    /// The other side did not answer.
    #[error("no answer within {limit}")]
    Silent {
        /// How long was waited.
        limit: Span,
    },
    /// There is no connection, or no more.
    #[error("{reason}")]
    Unreachable {
        /// Why not.
        reason: String,
    },
    /// The other side is not certainly the one that is meant.
    #[error("{reason}")]
    Untrusted {
        /// What is wrong with its certificate.
        reason: String,
    },
    /// The other side cannot be talked to as the configuration wants it.
    #[error("{reason}")]
    Unusable {
        /// Why not.
        reason: String,
    },
    /// The receiver of a webhook did not take the message.
    #[error("the receiver answers with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// The mail server did not take the message.
    #[error("the mail server says {code} {text}")]
    Reply {
        /// The SMTP code.
        code: u16,
        /// What it says, safe to show.
        text: String,
    },
    /// The mail server did not take the message for some of its recipients.
    #[error("the mail server refuses {} of {of} recipients: {}", refused.len(), refused.join("; "))]
    Recipients {
        /// Who, as the configuration has it, with the server's reason.
        refused: Vec<String>,
        /// How many there are.
        of: usize,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDesktop { .. } | Self::Silent { .. } | Self::Unreachable { .. } => ErrorKind::Unavailable,
            Self::Unusable { .. } => ErrorKind::Config,
            Self::Status { status: 408 | 429 | 500..=599, after } => {
                after.map_or(ErrorKind::Unavailable, ErrorKind::RateLimited)
            }
            Self::Reply { code: 400..=499, .. } => ErrorKind::Unavailable,
            Self::Untrusted { .. } | Self::Status { .. } | Self::Reply { .. } | Self::Recipients { .. } => {
                ErrorKind::Denied
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoDesktop { .. } => "set `notify.desktop: false` where nobody sits at a desktop",
            Self::Silent { .. } => "see that the receiver is up and fast enough, or raise the channel's `timeout`",
            Self::Unreachable { .. } => "see that the address is right and can be reached from this machine",
            Self::Untrusted { .. } => {
                "its certificate must name the host and come from an authority that this machine trusts"
            }
            Self::Unusable { .. } => "change the channel under `notify` in cascade-sync.yaml",
            Self::Status { status, .. } => match status {
                300..=399 => "put the address that it redirects to into `notify.webhook.url`",
                401 | 403 => {
                    "see that `notify.webhook.url` and `notify.webhook.secret` are those that the receiver knows"
                }
                404 | 410 => "the receiver is gone: put another address into `notify.webhook.url`",
                408 | 429 | 500..=599 => "the receiver is in trouble or wants to be left alone; try again later",
                _ => "the receiver does not take what cascade posts: README says what that is",
            },
            Self::Reply { code: 530 | 534 | 535 | 538, .. } => "see user and password in `notify.email.smtp`",
            Self::Reply { code: 400..=499, .. } => "the mail server is in trouble; try again later",
            Self::Reply { .. } => "see that the mail server takes messages from `notify.email.from`",
            Self::Recipients { .. } => "see the addresses in `notify.email.to`",
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_transient(status: u16) -> bool {
        Error::Status { status, after: None }.kind().is_transient()
    }

    #[test]
    fn what_the_receiver_refuses_is_not_tried_again() {
        assert!([408, 429, 500, 502, 503, 504].into_iter().all(is_transient));
        assert!(![301, 400, 401, 403, 404, 410, 413, 422].into_iter().any(is_transient));
        let reply = |code| Error::Reply { code, text: String::new() }.kind().is_transient();
        assert!(reply(421) && reply(450) && !reply(535) && !reply(550));
    }

    #[test]
    fn receiver_says_when_to_come_back() {
        let error = Error::Status { status: 429, after: Some(Duration::from_secs(7)) };
        assert_eq!(error.kind(), ErrorKind::RateLimited(Duration::from_secs(7)));
    }
}
