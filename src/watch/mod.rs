//! Filesystem events → batches; the only user of notify.
//!
//! [`Source`] turns what the kernel reports into [`Hint`]s, [`Rules`] decides what is nobody's business,
//! and [`Batcher`] gathers the hinted paths until they are quiet. Hints are hints: they say where to
//! look, never what changed. Whoever saves asks git what really differs, and a slow periodic look at
//! everything bounds the harm of an event that never came (network file systems, a full watch limit,
//! tracked files that the ignore rules match).

pub mod batch;
mod coalesce;
mod glob;
pub mod limits;
pub mod rules;
pub mod source;

use std::io;
use std::path::PathBuf;

pub use batch::{Batch, Batcher};
pub use rules::Rules;
pub use source::{Hint, Source, Told};

use crate::base::{ErrorKind, Kinded};

/// What can go wrong with watching.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configured exclude is not a .gitignore pattern.
    #[error("`{pattern}` in sandbox.exclude is not a .gitignore pattern: {reason}")]
    Pattern {
        /// The pattern, escaped.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel gives no events for a directory that must be watched.
    #[error("cannot watch {}", .path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: notify::Error,
    },
}

impl Error {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    fn watch(path: impl Into<PathBuf>) -> impl FnOnce(notify::Error) -> Self {
        let path = path.into();
        // Its own words would name the path as a programmer sees it.
        move |source| Self::Watch { path, source: notify::Error { paths: Vec::new(), ..source } }
    }
}

/// Tells the kernel's limits on watches and on watchers from everything else that may be wrong.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(source) => source.raw_os_error() == Some(libc::EMFILE),
        _ => false,
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Pattern { .. } => ErrorKind::Config,
            Self::Io { .. } | Self::Watch { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Watch { source, .. } if is_limit(source) => Some(source::RAISE_LIMITS.to_owned()),
            Self::Watch { .. } => Some("look whether the directory is still there and may be read".to_owned()),
            Self::Pattern { .. } | Self::Io { .. } => None,
        }
    }
}
