//! What can go wrong with a sync as a whole; what goes wrong with an item is in the report.

use std::io;
use std::path::PathBuf;

use super::codec::Damaged;
use super::saved::Unfit;
use crate::base::escape::shown;
use crate::base::units::{Share, count};
use crate::base::{ErrorKind, Kinded};
use crate::{endpoint, git, store};

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a sync did nothing, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No sync has that name.
    #[error("there is no sync `{name}`")]
    Unknown {
        /// The name as given, escaped.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// An endpoint cannot be used.
    #[error("sync {name}: {source}")]
    Endpoint {
        /// The sync.
        name: String,
        /// Why not.
        source: endpoint::Error,
    },
    /// Neither side of a sync is a vault.
    #[error("sync {name} has no vault")]
    NoVault {
        /// The sync.
        name: String,
    },
    /// Source and target, or the target and what cascade works with, lie in one another.
    #[error("sync {name}: {} lies in {}, or the other way round", .one, .other)]
    Overlap {
        /// The sync.
        name: String,
        /// A place.
        one: String,
        /// Another one.
        other: String,
    },
    /// Too much would be deleted.
    #[error("sync {name} would delete {} of {}: more than max_delete ({limit})", .deletes, count(*.of, "item"))]
    Guard {
        /// The sync.
        name: String,
        /// So many items would be deleted.
        deletes: usize,
        /// Of so many.
        of: usize,
        /// What may be deleted at most.
        limit: Share,
    },
    /// An item that a person decides about is not flagged.
    #[error("sync {name}: {key} is not flagged")]
    NotFlagged {
        /// The sync.
        name: String,
        /// The key, escaped.
        key: String,
    },
    /// A plan that was saved does not fit any more.
    #[error("the plan of sync {name} is stale: {reason}")]
    Stale {
        /// The sync.
        name: String,
        /// What is not as it was.
        reason: &'static str,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", shown(.path.as_os_str().as_encoded_bytes()))]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is no plan that can be carried out.
    #[error("{path} cannot be carried out")]
    Unfit {
        /// Its path, escaped.
        path: String,
        /// Why not.
        source: Unfit,
    },
    /// There is no such snapshot.
    #[error("sync {name} has no snapshot{}", .id.as_ref().map(|id| format!(" `{id}`")).unwrap_or_default())]
    NoSnapshot {
        /// The sync.
        name: String,
        /// The id as given, escaped.
        id: Option<String>,
    },
    /// What the sync remembers cannot be read.
    #[error("what sync {name} remembers cannot be read")]
    Damaged {
        /// The sync.
        name: String,
        /// What is wrong.
        source: Damaged,
    },
    /// The store of replaced content cannot be used.
    #[error("what is replaced cannot be kept in {}", .path.display())]
    Archive {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Work ended without an answer.
    #[error("sync {name} ended without an answer: {reason}")]
    Lost {
        /// The sync.
        name: String,
        /// How it ended.
        reason: String,
    },
    /// The database refuses.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Git refuses.
    #[error(transparent)]
    Git(#[from] git::Error),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. }
            | Self::NoVault { .. }
            | Self::NotFlagged { .. }
            | Self::NoSnapshot { .. }
            | Self::Unreadable { .. }
            | Self::Unfit { source: Unfit::NoPlan(_), .. } => ErrorKind::Usage,
            Self::Unfit { source: Unfit::Changed, .. } => ErrorKind::Integrity,
            Self::Stale { .. } => ErrorKind::Conflict,
            Self::Overlap { .. } => ErrorKind::Config,
            Self::Endpoint { source, .. } => source.kind(),
            Self::Guard { .. } => ErrorKind::Denied,
            Self::Damaged { .. } => ErrorKind::Integrity,
            Self::Archive { .. } => ErrorKind::Unavailable,
            Self::Lost { .. } => ErrorKind::Internal,
            Self::Store(error) => error.kind(),
            Self::Git(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } if known.is_empty() => {
                Some("name one under `syncs` in cascade-sync.yaml".to_owned())
            }
            Self::Unknown { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::NoVault { .. } => Some(
                "set `vault` beside `directory` or `bucket` under its `to` or `from` in cascade-sync.yaml".to_owned(),
            ),
            Self::Overlap { .. } => Some("give the sync a target of its own in cascade-sync.yaml".to_owned()),
            Self::Endpoint { source, .. } => source.hint(),
            Self::Guard { name, deletes, of, .. } if deletes == of => Some(format!(
                "nothing was changed; the source has none of them: see that what belongs there is mounted; if all of it may \
                 go, `cascade sync {name} --max-delete 100%`"
            )),
            Self::Guard { name, .. } => Some(format!(
                "nothing was changed; see `cascade sync {name} --dry-run`, and if all of it may go, `cascade sync {name} \
                 --max-delete 100%`"
            )),
            Self::NotFlagged { name, .. } => Some(format!("`cascade sync {name} --dry-run` lists what is")),
            Self::Stale { name, .. } => {
                Some(format!("nothing was changed; plan anew with `cascade sync {name} --plan FILE`"))
            }
            Self::Unfit { .. } => Some("nothing was changed; `cascade sync NAME --plan FILE` writes a plan".to_owned()),
            Self::Unreadable { .. } => None,
            Self::NoSnapshot { name, .. } => Some(format!("list them with `cascade snapshots list {name}`")),
            Self::Damaged { .. } => None,
            Self::Archive { .. } => {
                Some("nothing was changed; see that the disk is not full and the directory writable".to_owned())
            }
            Self::Lost { .. } => None,
            Self::Store(error) => error.hint(),
            Self::Git(error) => error.hint(),
        }
    }
}
