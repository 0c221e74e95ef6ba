//! The only user of git2 and of the git program.
//!
//! Everything here is synchronous; async callers go through [`Git::run`], the one bridge onto a
//! bounded pool of blocking threads.

mod beneath;
pub mod error;
pub mod handle;
mod index;
mod names;
mod pack;
pub mod repo;
pub mod save;
mod tree;

pub use error::{Error, Result};
pub use git2::Oid;
pub use handle::Git;
pub use repo::{Head, Repo};
pub use save::{Change, ChangeKind, Hints, SaveAnswer, SaveRequest, Saved, SetAside};
