//! Promotions: from a wish to a verified environment, or back.
//!
//! [`phase`] and [`gate`] decide, purely. [`run`] journals a step, performs it and feeds the event back, until the
//! promotion rests. Every step can be performed again: after a crash the journaled step is simply repeated, and each
//! begins by comparing references instead of guessing. What a release is blamed for is decided by how things were before
//! it; [`watch`] verifies on what was promoted, and [`undo`] takes a rollback back.
//!
//! Where a check fails, [`bisect`] says which save to ask about next and [`culprit`] asks.
//!
//! What happened is stated in the repository itself ([`ledger`], [`attestation`]), where anybody can look whether it was
//! by the rules ([`audit`]) and from where the database can be made again ([`rebuild`]).

pub mod approve;
pub mod attestation;
pub mod audit;
pub mod auto;
mod back_merge;
pub mod bisect;
mod checks;
pub mod culprit;
mod deliver;
mod drift;
pub mod error;
mod facts;
pub mod figures;
pub mod gate;
pub mod hold;
mod land;
pub mod ledger;
mod others;
pub mod phase;
mod plan;
pub mod policy;
pub mod rebuild;
pub mod rehearse;
pub mod rollback;
mod room;
pub mod run;
mod signing;
pub mod undo;
mod verification;
pub mod watch;

pub use back_merge::{BackMerge, back_merge};
pub use checks::{Attempts, Known, Running, check_forecast};
pub use deliver::{Foreseen, Look, foresee, open_awaited};
pub use drift::Drift;
pub use error::{Error, Result};
pub use facts::{findings, forecast};
pub use gate::{FailedBefore, Finding, Gate};
pub use phase::Event;
pub use plan::{GoesBack, Preview, goes_back, known_source, preview};
pub use policy::Policy;
pub use rehearse::{Rehearsal, rehearsal};
pub use room::scratch_names;
pub use run::{Observer, Request, Silent, Source, lock, offer, promote, recover};
pub use verification::paused;
