//! The only user of git2 and of the git program.
//!
//! Everything here is synchronous; async callers go through [`Git::run`], the one bridge onto a
//! bounded pool of blocking threads.

mod branch;
pub mod candidate;
pub mod error;
pub mod handle;
pub mod history;
pub mod outgoing;
mod program;
pub mod remote;
pub mod repo;
mod scratch;
pub mod setup;

pub use candidate::NewCommit;
pub use error::{Error, Result};
pub use git2::Oid;
pub use handle::Git;
pub use history::{CommitSummary, FileChange, PROMOTION_TRAILER, PatchForm, TreeChanges};
pub use remote::Lease;
pub use repo::{Head, Repo};
pub use setup::Setup;
