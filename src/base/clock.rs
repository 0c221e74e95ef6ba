//! Time of day, read in one place so that tests can set it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

/// A moment, in whole milliseconds since the Unix epoch.
pub use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Clocks of well-kept machines do not differ by more.
const CLOCK_DIFFERENCE_LIMIT: std::time::Duration = std::time::Duration::from_secs(300);

/// A source of the current time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Answers the current moment, cut to whole milliseconds (what the store keeps).
    fn now(&self) -> Timestamp;

    /// Answers the time zone that local times are in.
    fn zone(&self) -> TimeZone;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        from_ms(Timestamp::now().as_millisecond())
    }

    fn zone(&self) -> TimeZone {
        TimeZone::system()
    }
}

/// A clock that moves only when told to, in UTC.
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

    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }
}

/// Turns milliseconds since the epoch into a moment; values outside the calendar become the
/// nearest end of it.
#[must_use]
pub fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Answers by how much a clock is behind a moment that has certainly passed; nothing where it is not, or by no more
/// than other machines' clocks may be ahead of it.
#[must_use]
pub fn behind(now: Timestamp, passed: Timestamp) -> Option<std::time::Duration> {
    let behind_ms = u64::try_from(passed.as_millisecond() - now.as_millisecond()).ok()?;
    let behind = std::time::Duration::from_millis(behind_ms);
    (behind > CLOCK_DIFFERENCE_LIMIT).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_behind_when_it_is_before_what_has_happened() {
        let at = from_ms;
        assert_eq!(behind(at(10_000_000), at(9_000_000)), None);
        assert_eq!(behind(at(0), at(300_000)), None, "other machines' clocks differ a little");
        assert_eq!(behind(at(0), at(300_001)).map(|behind| behind.as_secs()), Some(300));
    }

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
