//! Bringing a target to what a source says: compare three ways, plan, and do exactly that.
//!
//! [`join`] walks source, baseline and target in one pass, [`diff`] says what is the matter with a key, [`plan`] what is
//! to be done about it. All three are pure.

pub mod diff;
pub mod join;
pub mod plan;

pub use diff::{Finding, judge};
pub use plan::{Action, Plan, Policy};
