//! Bringing a target to what a source says: compare three ways, plan, and do exactly that.
//!
//! [`walk`] goes through source, baseline and target in one pass ([`join`]), [`diff`] says what is the matter with a key, [`plan`] what is
//! to be done about it; they are pure, as are [`baseline`] and [`snapshot`]. [`run`] does it: what is about to be replaced
//! is in the [`archive`] and what is about to be done in the store before anything is touched, each item changes only where
//! it still is what was looked at, and only what is there afterwards as it was written is agreed on. A run that was killed
//! is finished or redone by the next one, which knows what was about to be done.

mod apply;
pub mod archive;
pub mod baseline;
pub mod codec;
pub mod collision;
pub mod compare;
mod decide;
pub mod diff;
pub mod difference;
pub mod due;
pub mod error;
#[cfg(test)]
mod field_tests;
pub mod filter;
mod fresh;
pub mod join;
pub mod keeping;
pub mod open;
mod open_records;
pub mod packed;
mod parts;
pub mod patience;
pub mod plan;
pub mod progress;
mod replay;
pub mod report;
pub mod restore;
pub mod retention;
#[cfg(test)]
mod retry_tests;
pub mod run;
#[cfg(test)]
mod run_tests;
pub mod saved;
pub mod snapshot;
mod take_back;
pub mod triggered;
pub mod verify;
pub mod walk;
pub mod words;

pub use diff::{Agreed, Finding, judge};
pub use error::{Error, Result};
pub use open::{Opening, lock, open, open_as, open_vault, require, secret, wait_for_lock};
pub use patience::Patience;
pub use plan::{Action, Plan, Policy};
pub use progress::Progress;
pub use report::{Noted, Report, Step};
pub use restore::{At, Wanted};
pub use retention::Retention;
pub use run::{Prepared, Sync};
pub use saved::SavedPlan;
pub use verify::Verification;
pub use walk::Reading;
