//! How fast bytes may pass.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A limit on bytes per second that everybody who transfers shares.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When the bytes that were let pass so far are through.
    through: Mutex<Option<Instant>>,
}

impl Pace {
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.filter(|limit| *limit > 0), through: Mutex::new(None) }
    }

    /// Waits until so many more bytes may pass.
    pub async fn pass(&self, bytes: u64) {
        if let Some(wait) = self.reserve(Instant::now(), bytes) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a place in the queue; answers how long that is away.
    fn reserve(&self, now: Instant, bytes: u64) -> Option<Duration> {
        let limit = self.bytes_per_second?;
        let mut through = self.through.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = through.filter(|through| *through > now).unwrap_or(now);
        *through = Some(begin + Duration::from_secs_f64(bytes as f64 / limit as f64));
        (begin > now).then(|| begin - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_later_waits_for_all_who_came_before() {
        let (pace, now) = (Pace::new(Some(1_000)), Instant::now());
        assert_eq!(pace.reserve(now, 500), None, "the line is free");
        assert_eq!(pace.reserve(now, 2_000), Some(Duration::from_millis(500)));
        assert_eq!(pace.reserve(now + Duration::from_secs(1), 1), Some(Duration::from_millis(1_500)));
        assert_eq!(pace.reserve(now + Duration::from_secs(60), 1), None, "nothing is saved up, nothing is owed");
        assert_eq!(Pace::new(None).reserve(now, u64::MAX), None);
    }
}
