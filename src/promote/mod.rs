//! Promotions: from a wish to a verified environment, or back.
//!
//! [`phase`] and [`gate`] decide, purely. [`run`] journals a step, performs it and feeds the event back, until the
//! promotion rests. Every step can be performed again: after a crash the journaled step is simply repeated, and each
//! begins by comparing references instead of guessing.

pub mod approve;
pub mod auto;
mod back_merge;
mod checks;
mod drift;
pub mod error;
mod facts;
pub mod gate;
mod land;
pub mod phase;
mod plan;
pub mod rehearse;
pub mod rollback;
pub mod run;

pub use back_merge::{BackMerge, back_merge};
pub use checks::check_forecast;
pub use drift::Drift;
pub use error::{Error, Result};
pub use facts::{findings, soak};
pub use gate::{Finding, Gate, no_soak};
pub use phase::Event;
pub use plan::{Preview, preview};
pub use rehearse::{Rehearsal, rehearsal};
pub use run::{Observer, Request, Silent, Source, lock, promote, recover};
