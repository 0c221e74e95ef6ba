//! How often, and after how long, something that failed for a moment is tried again.

use std::time::Duration;

use crate::base::retry::{Backoff, jitter};
use crate::endpoint::{Class, Error};

/// How long a sync puts up with failures that may pass by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// So often something is tried in all.
    pub attempts: u32,
    /// How long it waits in between.
    pub backoff: Backoff,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 4, backoff: Backoff { first: Duration::from_millis(500), ceiling: Duration::from_secs(10) } }
    }
}

impl Patience {
    /// Answers whether something that failed so, after so many attempts, is tried again.
    #[must_use]
    pub fn lasts(&self, error: &Error, attempts: u32) -> bool {
        attempts < self.attempts && error.class() == Class::Transient
    }

    /// Waits after so many attempts.
    pub async fn wait(&self, attempts: u32) {
        tokio::time::sleep(self.backoff.wait(attempts, jitter())).await;
    }
}
