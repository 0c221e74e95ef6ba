//! How long to wait before trying again: pure but for [`jitter`], so that it can be tested without waiting.

use std::time::Duration;

/// Exponential backoff with a ceiling and full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first failure.
    pub first: Duration,
    /// Longest wait after any failure.
    pub ceiling: Duration,
}

impl Backoff {
    /// Answers the wait after `failures` failures in a row (1 = the first).
    ///
    /// `jitter` is a number in `0.0..=1.0` from the caller's randomness; the wait lies between half
    /// and the whole of the exponential step, so that many waiters do not return together.
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let step = self.first.saturating_mul(1 << doublings).min(self.ceiling);
        step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Answers a number in `0.0..=1.0`, a new one each time; without a source of randomness, the middle.
#[must_use]
pub fn jitter() -> f64 {
    let mut byte = [0_u8];
    getrandom::fill(&mut byte).map_or(0.5, |()| f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), ceiling: Duration::from_secs(300) };

    #[test]
    fn waits_double_up_to_the_ceiling() {
        let waits: Vec<u64> = (1..=11).map(|n| BACKOFF.wait(n, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    proptest! {
        #[test]
        fn wait_is_between_half_a_step_and_the_ceiling(failures in 0_u32..1000, jitter in 0.0_f64..1.0) {
            let wait = BACKOFF.wait(failures, jitter);
            prop_assert!(wait >= BACKOFF.first / 2);
            prop_assert!(wait <= BACKOFF.ceiling);
        }
    }
}
