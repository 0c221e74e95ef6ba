//! Words without I/O: the vocabulary every other module speaks.
//!
//! Nothing here touches the file system, the network or a process; the exceptions are
//! [`clock::SystemClock`], the only reader of the time of day, and what asks for randomness: [`retry::jitter`] and
//! [`id::entropy`].

pub mod clock;
pub mod diagnosis;
pub mod digest;
pub mod error;
pub mod escape;
pub mod id;
pub mod retry;
pub mod units;

pub use clock::{Clock, Timestamp};
pub use diagnosis::{Diagnosis, Verdict};
pub use error::{ErrorKind, Kinded};
