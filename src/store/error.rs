//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use super::refusal::{Obstacle, Refusal};
use crate::base::escape::shown;
use crate::base::{ErrorKind, Kinded};
use crate::store::LockError;

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// cascade's own directory cannot be used.
    #[error("cascade's directory {} cannot be used", .path.display())]
    Home {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database cannot be opened or its schema cannot be brought up to date.
    #[error("the database {} cannot be opened", .path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database, or what belongs to it, cannot be written.
    #[error("cascade's database cannot be used, for {} cannot be written: {obstacle}", shown(.path.as_os_str().as_encoded_bytes()))]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        obstacle: Obstacle,
    },
    /// A statement failed.
    #[error("the database cannot {action}")]
    Statement {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: Refusal,
    },
    /// A stored value cannot be understood.
    #[error("the database holds `{value}` where {expected} belongs")]
    Malformed {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        value: String,
    },
    /// No promotion has that id.
    #[error("there is no promotion `{id}`")]
    NoSuchPromotion {
        /// The id (or its beginning) as given.
        id: String,
    },
    /// Several promotions begin with that id.
    #[error("`{id}` is the beginning of several promotions")]
    AmbiguousPromotion {
        /// The id as given.
        id: String,
    },
    /// Another run of a sync came first.
    #[error("another run moved on what the sync `{sync}` agreed on")]
    SyncMoved {
        /// The sync.
        sync: String,
    },
    /// A lock file cannot be used or is held.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchPromotion { .. } | Self::AmbiguousPromotion { .. } => ErrorKind::Usage,
            Self::Malformed { .. } => ErrorKind::Integrity,
            Self::SyncMoved { .. } => ErrorKind::Conflict,
            Self::Home { .. }
            | Self::Open { .. }
            | Self::Unwritable { .. }
            | Self::Statement { .. }
            | Self::Lock(_) => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unwritable { path, obstacle } => return Some(obstacle.way_out(path)),
            Self::Home { .. } | Self::Open { .. } => {
                "make the directory writable, or set CASCADE_HOME to another one; `cascade doctor` tells more"
            }
            Self::Statement { source: Refusal::ReadOnly, .. } => {
                "make cascade's directory writable, or set CASCADE_HOME to another one; nothing was half written"
            }
            Self::Statement { source: Refusal::Damaged, .. } => {
                "`cascade doctor` makes it again from the record in the repository"
            }
            Self::Statement { .. } => "see that the disk is not full; nothing was half written",
            Self::NoSuchPromotion { .. } | Self::AmbiguousPromotion { .. } => "list them with `cascade history`",
            Self::Lock(LockError::Held { .. }) => {
                "another cascade command is at work on this project; try again when it is done"
            }
            Self::Lock(LockError::Io { .. }) => "make the directory writable, or set CASCADE_HOME to another one",
            Self::SyncMoved { .. } => "nothing was lost: run it again",
            Self::Malformed { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
