//! What cascade remembers: its own directory, locks, and the database.
//!
//! Git refs are the truth for what an environment contains; the database holds promotions, their
//! journal, approvals, outcomes, holds and what the watcher says of itself. One SQL text serves
//! SQLite and PostgreSQL: integers, text, times as milliseconds, flags as 0 and 1.

mod condition;
mod culprits;
pub mod database;
mod deliveries;
pub mod error;
pub mod home;
pub mod lock;
mod memories;
mod notes;
mod pipeline;
mod promotions;
pub mod records;
mod refusal;
mod rehearsals;
mod syncs;
mod tables;

pub use database::{Stamp, Store};
pub use deliveries::DeliveryRun;
pub use error::{Error, Result};
pub use home::{Home, ProjectHome};
pub use lock::{Lock, LockError};
pub use memories::SyncMemory;
pub use notes::{Excluded, LostEdit, SandboxNotes};
pub use records::{
    Acquaintance, ApprovalRecord, Blame, CheckPhase, CheckRecord, CulpritRecord, DeliveryOutcome, DeliveryPhase,
    DeliveryRecord, EarlierAttempt, HealthRecord, Hold, HoldCause, JournalEntry, Promotion, Quarantined,
    RehearsalRecord, SandboxRecord, SandboxState, State, Step, Verdict, Waiver,
};
pub use refusal::{Obstacle, Refusal};
pub use syncs::{Advance, Chunk, SnapshotRecord, StoredBaseline, SyncFlag, SyncRun};
pub use tables::{RecordChange, RecordHead, RecordRevision, RecordTableSummary, StoredRecord};
