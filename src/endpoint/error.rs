//! What can go wrong at an endpoint.

use std::io;

use super::item::Key;
use super::vault;
use crate::base::escape::shown;
use crate::base::{ErrorKind, Kinded};
use crate::git;

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It passes by itself: trying again helps.
    Transient,
    /// Somebody has to allow it first.
    Denied,
    /// Something is not there.
    Missing,
    /// Trying again changes nothing.
    Permanent,
}

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
    /// A vault refuses.
    #[error(transparent)]
    Vault(#[from] vault::VaultError),
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

    /// Answers what can be done about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Unusable { source, .. } | Self::Item { source, .. } => class_of(source),
            Self::Missing { .. } => Class::Missing,
            Self::ReadOnly { .. } => Class::Denied,
            Self::Changed { .. } | Self::Aside { .. } | Self::Lost { .. } => Class::Permanent,
            Self::Vault(error) => class_of_vault(error),
            Self::Git(error) if error.kind().is_transient() => Class::Transient,
            Self::Git(_) => Class::Permanent,
        }
    }

    /// Answers whether somebody else was faster: nothing is wrong but the moment.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Changed { .. })
    }
}

/// Answers what can be done about what the system says.
fn class_of(source: &io::Error) -> Class {
    use io::ErrorKind as Kind;
    match source.kind() {
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Class::Denied,
        Kind::NotFound => Class::Missing,
        Kind::Interrupted
        | Kind::WouldBlock
        | Kind::TimedOut
        | Kind::ResourceBusy
        | Kind::ExecutableFileBusy
        | Kind::OutOfMemory
        | Kind::StaleNetworkFileHandle
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::NotConnected
        | Kind::ConnectionAborted
        | Kind::ConnectionRefused
        | Kind::ConnectionReset
        | Kind::BrokenPipe => Class::Transient,
        // Others have opened too many files.
        _ if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => Class::Transient,
        _ => Class::Permanent,
    }
}

fn class_of_vault(error: &vault::VaultError) -> Class {
    match error.kind() {
        ErrorKind::Denied | ErrorKind::Config => Class::Denied,
        _ => Class::Permanent,
    }
}

fn kind_of(source: &io::Error) -> ErrorKind {
    match class_of(source) {
        Class::Denied => ErrorKind::Denied,
        Class::Transient | Class::Missing | Class::Permanent => ErrorKind::Unavailable,
    }
}

fn is_loop(source: &io::Error) -> bool {
    source.raw_os_error() == Some(libc::ELOOP)
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unusable { source, .. } | Self::Item { source, .. } => kind_of(source),
            Self::Missing { .. } => ErrorKind::Unavailable,
            Self::Changed { .. } | Self::Aside { .. } => ErrorKind::Conflict,
            Self::ReadOnly { .. } => ErrorKind::Usage,
            Self::Lost { .. } => ErrorKind::Internal,
            Self::Vault(error) => error.kind(),
            Self::Git(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("nothing was changed; create it, or mount what belongs there, and try again".to_owned())
            }
            Self::Unusable { source, .. } if is_loop(source) => {
                Some("nothing was changed; a symbolic link on the way leads back to itself: remove it".to_owned())
            }
            Self::Unusable { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                Some("nothing was changed; name a directory".to_owned())
            }
            Self::Unusable { source, .. } => Some(format!(
                "nothing was changed; {}",
                match class_of(source) {
                    Class::Transient => "see that it can be reached, and try again",
                    Class::Denied => "see that this user may use it",
                    Class::Missing | Class::Permanent => "see that it is configured as it should be",
                }
            )),
            Self::Vault(error) => error.hint(),
            Self::Git(error) => error.hint(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_follows_from_what_is_the_matter() {
        let hint = |kind: io::ErrorKind| Error::Unusable { place: "x".to_owned(), source: kind.into() }.hint().unwrap();
        assert!(hint(io::ErrorKind::ConnectionRefused).ends_with("reached, and try again"));
        assert!(hint(io::ErrorKind::PermissionDenied).ends_with("this user may use it"));
        assert!(hint(io::ErrorKind::Other).ends_with("configured as it should be"));
    }

    #[test]
    fn only_what_passes_by_itself_is_worth_another_try() {
        let class = |source: io::Error| Error::Unusable { place: "x".to_owned(), source }.class();
        assert_eq!(class(io::ErrorKind::TimedOut.into()), Class::Transient);
        assert_eq!(class(io::Error::from_raw_os_error(libc::EMFILE)), Class::Transient);
        assert_eq!(class(io::Error::from_raw_os_error(libc::ESTALE)), Class::Transient);
        assert_eq!(class(io::Error::from_raw_os_error(libc::ENOSPC)), Class::Permanent);
        assert_eq!(class(io::Error::from_raw_os_error(libc::EIO)), Class::Permanent);
        assert_eq!(class(io::ErrorKind::PermissionDenied.into()), Class::Denied);
        assert_eq!(class(io::ErrorKind::NotFound.into()), Class::Missing);
    }
}
