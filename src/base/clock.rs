//! Time of day, read in one place so that tests can set it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

/// A moment, in whole milliseconds since the Unix epoch.
pub use jiff::Timestamp;

/// A source of the current time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Answers the current moment, cut to whole milliseconds (what the store keeps).
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        from_ms(Timestamp::now().as_millisecond())
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Makes a clock that stands at `start_ms` milliseconds since the epoch.
    #[must_use]
    pub fn at_ms(start_ms: i64) -> Self {
        Self(AtomicI64::new(start_ms))
    }

    /// Moves the clock forward by `ms` milliseconds (backward when negative).
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// Turns milliseconds since the epoch into a moment; values outside the calendar become the
/// nearest end of it.
#[must_use]
pub fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::at_ms(1_000);
        assert_eq!(clock.now().as_millisecond(), 1_000);
        clock.advance_ms(500);
        assert_eq!(clock.now().as_millisecond(), 1_500);
    }

    #[test]
    fn moments_beyond_the_calendar_are_clamped() {
        assert_eq!(from_ms(i64::MAX), Timestamp::MAX);
        assert_eq!(from_ms(i64::MIN), Timestamp::MIN);
    }
}
