//! cascade: a git-driven release pipeline.
//!
//! A *sandbox* (a watched checkout) feeds saves into `develop`; *promotions* bring a *candidate* into
//! the next *environment* behind *checks* and *gates*; what fails verification is *rolled back*.
//!
//! The order of the modules below is the dependency order: a module uses only modules above it
//! (`tests/it/tidy.rs` fails on a violation).

#![deny(unsafe_code)]
#![warn(missing_docs)]

/// Words without I/O: ids, digests, clock, retry, units, error kinds.
pub mod base;

/// Reaching into directories without being led out of them.
pub mod beneath;

/// How other machines are asked: HTTP clients, words for what the network answers.
pub mod net;

/// `cascade-sync.yaml` → a checked configuration.
pub mod config;

/// What cascade remembers: its directory, locks and the database.
pub mod store;

/// The only user of git2 and of the git program.
pub mod git;

/// Questions about a candidate or a running service, and what they answer.
pub mod check;

/// Messages to people.
pub mod alert;

/// Filesystem events → batches (the only user of notify).
pub mod watch;

/// What every flow needs, built once at the edge and passed first.
pub mod context;

/// The save loop: batch → commit → push, and the health of what runs.
pub mod sandbox;

/// Holders of keyed items: what a sync reads from and writes to.
pub mod endpoint;

/// Bringing a target to what a source says, three-way and with snapshots.
pub mod sync;

/// Promotions: from a wish to a verified environment, or back.
pub mod promote;

/// The command line: arguments, printing, a file per command.
pub mod cli;
