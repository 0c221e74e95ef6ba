//! What can go wrong at an endpoint.

use std::io;

use super::item::Key;
use crate::base::escape::shown;
use crate::base::{ErrorKind, Kinded};
use crate::git;

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of an endpoint, or of one item of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint as a whole cannot be used.
    #[error("{place} cannot be used")]
    Unusable {
        /// The endpoint.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The endpoint is not there.
    #[error("{place} is not there")]
    Missing {
        /// The endpoint.
        place: String,
    },
    /// What is under a key is not what it was believed to be: somebody else was faster. Nothing was done.
    #[error("{key} {reason}")]
    Changed {
        /// The key.
        key: Key,
        /// What was found.
        reason: &'static str,
    },
    /// What somebody put under a key at the very moment it was replaced could not be put back, and is aside.
    #[error("{key} was changed while it was replaced; that is kept as {aside}")]
    Aside {
        /// The key.
        key: Key,
        /// Where it is, escaped.
        aside: String,
    },
    /// The system refuses an item.
    #[error("cannot {action} {key}")]
    Item {
        /// What was tried, as a verb.
        action: &'static str,
        /// The key.
        key: Key,
        /// Why not.
        source: io::Error,
    },
    /// An endpoint that is only read from was to be written to.
    #[error("{place} cannot be written to")]
    ReadOnly {
        /// The endpoint.
        place: String,
    },
    /// What the endpoint did ended without an answer.
    #[error("{place} did not answer: {reason}")]
    Lost {
        /// The endpoint.
        place: String,
        /// How it ended.
        reason: String,
    },
    /// Git refuses.
    #[error(transparent)]
    Git(#[from] git::Error),
}

impl Error {
    /// Wraps what the system said about an item.
    pub(super) fn item(action: &'static str, key: &Key) -> impl FnOnce(io::Error) -> Self {
        let key = key.clone();
        move |source| Self::Item { action, key, source }
    }

    /// Says that what is under a key is not what was expected.
    pub(super) fn changed(key: &Key, reason: &'static str) -> Self {
        Self::Changed { key: key.clone(), reason }
    }

    /// Wraps what the system said about an endpoint.
    pub(super) fn unusable(place: &str) -> impl FnOnce(io::Error) -> Self {
        let place = shown(place.as_bytes());
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { place },
            _ => Self::Unusable { place, source },
        }
    }

    /// Answers whether somebody else was faster: nothing is wrong but the moment.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Changed { .. })
    }
}

fn kind_of(source: &io::Error) -> ErrorKind {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unusable { source, .. } | Self::Item { source, .. } => kind_of(source),
            Self::Missing { .. } => ErrorKind::Unavailable,
            Self::Changed { .. } | Self::Aside { .. } => ErrorKind::Conflict,
            Self::ReadOnly { .. } => ErrorKind::Usage,
            Self::Lost { .. } => ErrorKind::Internal,
            Self::Git(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("nothing was changed; create it, or mount what belongs there, and try again".to_owned())
            }
            Self::Unusable { .. } => Some("nothing was changed; see that this user may use it".to_owned()),
            Self::Git(error) => error.hint(),
            _ => None,
        }
    }
}
