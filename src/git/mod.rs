//! The only user of git2 and of the git program.
//!
//! Everything here is synchronous; async callers go through [`Git::run`], the one bridge onto a
//! bounded pool of blocking threads.

mod apart;
mod branch;
pub mod candidate;
mod contents;
mod difference;
mod durable;
pub mod error;
pub mod handle;
pub mod history;
mod index;
pub mod ledger;
pub mod leftover;
mod lineage;
pub mod locks;
mod lookup;
pub mod merge;
mod moves;
mod names;
pub mod outgoing;
mod pack;
mod parts;
mod program;
pub mod remote;
pub mod repo;
pub mod save;
mod scratch;
pub mod setup;
mod submodules;
mod tree;
mod unreadable;
pub mod version;

pub use candidate::NewCommit;
pub use contents::{ContentEntry, ContentForm};
pub use durable::{LostSaves, WentBack};
pub use error::{Error, Result};
pub use git2::Oid;
pub use handle::Git;
pub use history::{CommitSummary, FileChange, LinedCommit, PROMOTION_TRAILER, PatchForm, TreeChanges, lines_between};
pub use ledger::{Brought, LEDGER, LedgerEntry, NewEntry, Published, Sign, Signature, SignatureStatus};
pub use lineage::RESTORES_TRAILER;
pub use lookup::LookedUp;
pub use merge::{HOTFIX_TRAILER, ROLLBACK_TRAILER};
pub use moves::TakenBack;
pub use remote::{Lease, Pushed};
pub use repo::{Head, Repo};
pub use save::{
    Change, ChangeKind, Clash, Hints, Inspect, Proposal, PullAnswer, PullRequest, Pulled, Restore, RestoreAnswer,
    RestoreRequest, SaveAnswer, SaveRequest, Saved, SetAside, is_at_or_below,
};
pub use scratch::Checkout;
pub use setup::Setup;
pub use submodules::{Submodule, submodules};
