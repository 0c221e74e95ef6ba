//! What cascade remembers: its own directory, locks, and the database.

pub mod home;
pub mod lock;

pub use home::{Home, ProjectHome};
pub use lock::{Lock, LockError};
