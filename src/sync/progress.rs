//! What a run is at, counted while it goes, for whoever watches.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Both sides are looked at.
    Comparing,
    /// The target is changed.
    Applying,
    /// What was changed is looked at again.
    Verifying,
}

/// Counts what is done; shared with whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    began_ms: AtomicI64,
    items: AtomicU64,
    bytes: AtomicU64,
    of_items: AtomicU64,
    of_bytes: AtomicU64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// What it is at.
    pub phase: Phase,
    /// When that began, in milliseconds since 1970.
    pub began_ms: i64,
    /// Items that are done.
    pub items: u64,
    /// Bytes of content that are done.
    pub bytes: u64,
    /// Items that there are to do; 0: that is not known.
    pub of_items: u64,
    /// Bytes of their content.
    pub of_bytes: u64,
}

impl Progress {
    /// Begins the next part with so much to do; zeros where that is not known.
    pub fn begin(&self, phase: Phase, now_ms: i64, of_items: u64, of_bytes: u64) {
        let phase = match phase {
            Phase::Comparing => 0,
            Phase::Applying => 1,
            Phase::Verifying => 2,
        };
        for (counter, value) in
            [(&self.items, 0), (&self.bytes, 0), (&self.of_items, of_items), (&self.of_bytes, of_bytes)]
        {
            counter.store(value, Ordering::Relaxed);
        }
        self.began_ms.store(now_ms, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// Counts what was done.
    pub fn add(&self, items: u64, bytes: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Answers how far the run is.
    #[must_use]
    pub fn reached(&self) -> Reached {
        Reached {
            phase: match self.phase.load(Ordering::Relaxed) {
                0 => Phase::Comparing,
                1 => Phase::Applying,
                _ => Phase::Verifying,
            },
            began_ms: self.began_ms.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            of_items: self.of_items.load(Ordering::Relaxed),
            of_bytes: self.of_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Reached {
    /// Answers how many bytes a second were done until `now_ms`; nothing where that cannot be told yet.
    #[must_use]
    pub fn bytes_per_second(&self, now_ms: i64) -> Option<u64> {
        let elapsed_ms = u64::try_from(now_ms - self.began_ms).ok().filter(|elapsed_ms| *elapsed_ms > 0)?;
        (self.bytes > 0).then(|| self.bytes.saturating_mul(1_000) / elapsed_ms)
    }

    /// Answers how many milliseconds the rest will take at the same rate; nothing where that cannot be told.
    ///
    /// Small items take their time by their number, large ones by their bytes: whichever share is smaller counts.
    #[must_use]
    pub fn left_ms(&self, now_ms: i64) -> Option<i64> {
        let share = |done: u64, of: u64| (of > 0).then(|| done.min(of) as f64 / of as f64);
        let shares = [share(self.items, self.of_items), share(self.bytes, self.of_bytes)];
        let done = shares.into_iter().flatten().reduce(f64::min).filter(|done| *done > 0.0)?;
        let elapsed_ms = (now_ms - self.began_ms).max(0) as f64;
        Some((elapsed_ms * (1.0 - done) / done) as i64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        let progress = Progress::default();
        progress.begin(Phase::Applying, 10_000, 100, 1_000);
        assert_eq!(progress.reached().left_ms(12_000), None);
        progress.add(50, 250);
        let reached = progress.reached();
        assert_eq!((reached.phase, reached.items, reached.bytes), (Phase::Applying, 50, 250));
        assert_eq!((reached.left_ms(12_000), reached.bytes_per_second(12_000)), (Some(6_000), Some(125)));
        assert_eq!(reached.bytes_per_second(10_000), None);
        progress.begin(Phase::Comparing, 20_000, 0, 0);
        progress.add(5, 0);
        assert_eq!((progress.reached().left_ms(30_000), progress.reached().items), (None, 5));
    }

    proptest! {
        #[test]
        fn what_is_left_is_never_negative_and_nothing_at_the_end(
            items in 0_u64..100, of_items in 1_u64..50, bytes in 0_u64..1_000, elapsed_ms in -5_i64..1_000_000,
        ) {
            let progress = Progress::default();
            progress.begin(Phase::Applying, 1_000, of_items, 500);
            progress.add(items, bytes);
            let left = progress.reached().left_ms(1_000 + elapsed_ms);
            prop_assert!(left.is_none_or(|left| left >= 0));
            if items >= of_items && bytes >= 500 {
                prop_assert_eq!(left, Some(0));
            }
        }
    }
}
