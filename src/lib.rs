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

/// `cascade-sync.yaml` → a checked configuration.
pub mod config;

/// What cascade remembers: its directory, locks and the database.
pub mod store;

/// The only user of git2 and of the git program.
pub mod git;

/// Questions about a candidate and about the world.
pub mod check;

/// The command line: arguments, printing, a file per command.
pub mod cli;
