//! The only user of git2 and of the git program.
//!
//! Everything here is synchronous; async callers go through [`Git::run`], the one bridge onto a
//! bounded pool of blocking threads.

pub mod error;
pub mod handle;
pub mod outgoing;
pub mod repo;
pub mod setup;

pub use error::{Error, Result};
pub use git2::Oid;
pub use handle::Git;
pub use repo::{Head, Repo};
pub use setup::Setup;
