//! Events and time → batches: pure, without a clock.
//!
//! A path is *due* when it was quiet for `settle`, or when its first event is `window` old. A batch is
//! handed out as soon as every pending path is settled, or the oldest one reached the window; it takes
//! the paths that are due, and the others stay. So one save covers what belongs together, and a file
//! that never gets quiet is still saved once per window. It keeps nobody waiting: a path whose events go
//! on for `settle` is *busy*, and the others are handed out as if it were not there.
//!
//! Times are milliseconds of whatever clock the caller reads. A clock that jumps backwards delays
//! nothing: inside, time never runs backwards.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

/// More pending paths than this become "everything": one look at the whole tree is cheaper by then.
pub const MAX_PENDING_PATHS: usize = 100_000;

/// More busy paths than this keep each other, and the rest, waiting: somebody rewrites the whole tree.
const BUSY_LIMIT_PATHS: usize = 64;

/// The events gathered for one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The noted paths, relative to the checkout; a directory stands for everything beneath it.
    pub paths: BTreeSet<Vec<u8>>,
    /// The whole checkout has to be looked at, not only `paths`.
    pub everything: bool,
    /// When the oldest event of the batch was noted, in milliseconds of the caller's clock.
    pub first_ms: i64,
    /// When its newest event was noted.
    pub last_ms: i64,
}

/// Gathers noted paths until they are due.
#[derive(Debug)]
pub struct Batcher {
    settle_ms: i64,
    window_ms: i64,
    /// What is added to the caller's clock so that it never runs backwards.
    offset_ms: i64,
    /// The latest inner time that was seen.
    high_ms: i64,
    paths: BTreeMap<Vec<u8>, Noted>,
    /// Paths whose events went on for `settle`.
    busy: BTreeMap<Vec<u8>, Noted>,
    /// Those that were handed out while they went on, with their last event: they are no news.
    lately: BTreeMap<Vec<u8>, i64>,
    everything: Option<Noted>,
    /// First and last event of all that is not busy: kept, so that asking costs little.
    span: Option<Noted>,
}

/// First and last event of one path, in inner time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noted {
    first: i64,
    last: i64,
}

impl Noted {
    fn at(now: i64) -> Self {
        Self { first: now, last: now }
    }

    fn and(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

impl Batcher {
    /// Makes an empty batcher; durations count in whole milliseconds.
    #[must_use]
    pub fn new(settle: Duration, window: Duration) -> Self {
        Self {
            settle_ms: whole_ms(settle),
            window_ms: whole_ms(window),
            offset_ms: 0,
            high_ms: i64::MIN,
            paths: BTreeMap::new(),
            busy: BTreeMap::new(),
            lately: BTreeMap::new(),
            everything: None,
            span: None,
        }
    }

    /// Notes an event of `path` that happened `age` before `now_ms`; beyond [`MAX_PENDING_PATHS`] the paths
    /// collapse into everything.
    pub fn note(&mut self, path: Vec<u8>, now_ms: i64, age: Duration) {
        let noted = Noted::at(self.inner(now_ms).saturating_sub(whole_ms(age)));
        if let Some(known) = self.busy.get_mut(&path) {
            *known = known.and(noted);
            return;
        }
        let goes_on = self.lately.remove(&path).is_some_and(|last| noted.last.saturating_sub(last) < self.settle_ms);
        if goes_on && !self.paths.contains_key(&path) {
            self.busy.insert(path, noted);
            return;
        }
        let known = self.paths.entry(path.clone()).and_modify(|known| *known = known.and(noted)).or_insert(noted);
        let all = *known;
        if all.last.saturating_sub(all.first) >= self.settle_ms && self.busy.len() < BUSY_LIMIT_PATHS {
            self.paths.remove(&path);
            self.busy.insert(path, all);
            self.span = hull(&self.paths, self.everything);
            return;
        }
        self.widen(noted);
        if self.paths.len() > MAX_PENDING_PATHS {
            self.paths.clear();
            self.everything = self.span;
        }
    }

    /// Notes that anything may have changed: events were lost, or rules changed.
    pub fn note_everything(&mut self, at_ms: i64) {
        let now = self.inner(at_ms);
        self.everything = Some(self.everything.map_or(Noted::at(now), |noted| noted.and(Noted::at(now))));
        self.widen(Noted::at(now));
    }

    /// Hands out the next batch when it is due.
    pub fn take(&mut self, now_ms: i64) -> Option<Batch> {
        let now = self.inner(now_ms);
        if now < self.due()? {
            return None;
        }
        let (settle_ms, window_ms) = (self.settle_ms, self.window_ms);
        let is_taken = |noted: &Noted| is_due(*noted, now, settle_ms, window_ms);
        let mut taken = take_where(&mut self.paths, is_taken);
        self.lately.retain(|_, last| now.saturating_sub(*last) < settle_ms);
        let busy = take_where(&mut self.busy, is_taken);
        self.lately.extend(busy.iter().map(|(path, noted)| (path.clone(), noted.last)));
        taken.extend(busy);
        let everything = self.everything.take_if(|noted| is_due(*noted, now, self.settle_ms, self.window_ms));
        self.span = hull(&self.paths, self.everything);
        self.batch(taken, everything)
    }

    /// Hands out whatever is pending, due or not.
    pub fn flush(&mut self) -> Option<Batch> {
        self.span = None;
        let mut taken = std::mem::take(&mut self.paths);
        taken.append(&mut self.busy);
        let everything = self.everything.take();
        self.batch(taken, everything)
    }

    /// Answers when [`Batcher::take`] will hand out a batch if nothing else is noted: a time of the
    /// caller's clock, not before `now_ms`; nothing when nothing is pending.
    pub fn next_due(&mut self, now_ms: i64) -> Option<i64> {
        let now = self.inner(now_ms);
        Some(self.due()?.max(now).saturating_sub(self.offset_ms))
    }

    /// Answers how many paths wait; "everything" counts as one.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.paths.len() + self.busy.len() + usize::from(self.everything.is_some())
    }

    /// What is not busy is settled `settle` after the very last event of it; of what is busy each path has its own time.
    /// The window may end before.
    fn due(&self) -> Option<i64> {
        let due =
            |noted: Noted| noted.last.saturating_add(self.settle_ms).min(noted.first.saturating_add(self.window_ms));
        self.busy.values().copied().chain(self.span).map(due).min()
    }

    fn widen(&mut self, noted: Noted) {
        self.span = Some(self.span.map_or(noted, |span| span.and(noted)));
    }

    fn batch(&self, taken: BTreeMap<Vec<u8>, Noted>, everything: Option<Noted>) -> Option<Batch> {
        let span = hull(&taken, everything)?;
        Some(Batch {
            paths: taken.into_keys().collect(),
            everything: everything.is_some(),
            first_ms: span.first.saturating_sub(self.offset_ms),
            last_ms: span.last.saturating_sub(self.offset_ms),
        })
    }

    /// The caller's clock may jump back; the offset then grows so that waiting times go on unchanged.
    fn inner(&mut self, clock_ms: i64) -> i64 {
        let inner = clock_ms.saturating_add(self.offset_ms);
        if inner < self.high_ms {
            self.offset_ms = self.high_ms.saturating_sub(clock_ms);
        }
        self.high_ms = self.high_ms.max(inner);
        self.high_ms
    }
}

fn is_due(noted: Noted, now: i64, settle_ms: i64, window_ms: i64) -> bool {
    now.saturating_sub(noted.last) >= settle_ms || now.saturating_sub(noted.first) >= window_ms
}

fn take_where(paths: &mut BTreeMap<Vec<u8>, Noted>, is_taken: impl Fn(&Noted) -> bool) -> BTreeMap<Vec<u8>, Noted> {
    let (taken, left) = std::mem::take(paths).into_iter().partition(|(_, noted)| is_taken(noted));
    *paths = left;
    taken
}

fn hull(paths: &BTreeMap<Vec<u8>, Noted>, everything: Option<Noted>) -> Option<Noted> {
    paths.values().copied().chain(everything).reduce(Noted::and)
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batcher() -> Batcher {
        Batcher::new(Duration::from_secs(3), Duration::from_secs(10))
    }

    fn names(batch: Option<Batch>) -> Vec<String> {
        let paths = batch.map(|batch| batch.paths).unwrap_or_default();
        paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn a_quiet_path_is_handed_out_after_settle() {
        let mut batcher = batcher();
        batcher.note(b"a".to_vec(), 1_000, Duration::ZERO);
        assert_eq!(batcher.next_due(1_000), Some(4_000));
        assert_eq!(batcher.take(3_999), None);
        let batch = batcher.take(4_000).unwrap();
        assert_eq!((batch.first_ms, batch.last_ms, batch.everything), (1_000, 1_000, false));
        assert_eq!((batcher.pending(), batcher.next_due(4_000)), (0, None));
    }

    #[test]
    fn the_time_it_took_to_hear_of_an_event_counts_as_quiet() {
        let mut batcher = batcher();
        batcher.note(b"a".to_vec(), 1_250, Duration::from_millis(250));
        assert_eq!(batcher.next_due(1_250), Some(4_000));
        batcher.note(b"a".to_vec(), 9_000, Duration::from_secs(5));
        assert_eq!(names(batcher.take(9_000)), ["a"]);
    }

    #[test]
    fn what_is_saved_together_comes_together() {
        let mut batcher = batcher();
        batcher.note(b"a".to_vec(), 0, Duration::ZERO);
        batcher.note(b"b".to_vec(), 2_900, Duration::ZERO);
        assert_eq!(batcher.take(3_000), None);
        assert_eq!(names(batcher.take(5_900)), ["a", "b"]);
    }

    #[test]
    fn the_window_takes_the_due_and_leaves_the_fresh() {
        let mut batcher = batcher();
        for at in (0..10_000).step_by(500) {
            batcher.note(b"busy".to_vec(), at, Duration::ZERO);
        }
        batcher.note(b"settled".to_vec(), 6_000, Duration::ZERO);
        batcher.note(b"fresh".to_vec(), 9_900, Duration::ZERO);
        assert_eq!(names(batcher.take(10_000)), ["busy", "settled"]);
        assert_eq!((batcher.pending(), batcher.next_due(10_000)), (1, Some(12_900)));
    }

    #[test]
    fn a_file_written_for_thirty_seconds_is_handed_out_three_or_four_times() {
        let mut batcher = batcher();
        let mut batches = 0;
        for at in 0..40_000 {
            if at < 30_000 && at % 20 == 0 {
                batcher.note(b"log".to_vec(), at, Duration::ZERO);
            }
            batches += usize::from(batcher.take(at).is_some());
        }
        assert!((3..=4).contains(&batches), "{batches}");
        assert_eq!(batcher.pending(), 0);
    }

    #[test]
    fn a_file_that_never_gets_quiet_keeps_no_other_waiting() {
        let mut batcher = batcher();
        let mut waited = Vec::new();
        let mut noted = None;
        for at in 0..40_000 {
            if at % 20 == 0 {
                batcher.note(b"log".to_vec(), at, Duration::ZERO);
            }
            if at % 7_000 == 5_000 {
                batcher.note(b"page".to_vec(), at, Duration::ZERO);
                noted = Some(at);
            }
            let names = names(batcher.take(at));
            if names.contains(&"page".to_owned()) {
                waited.push(at - noted.take().unwrap());
            }
        }
        assert_eq!((waited, noted), (vec![3_000; 5], None));
    }

    #[test]
    fn a_clock_that_jumps_back_delays_nothing() {
        let mut batcher = batcher();
        batcher.note(b"a".to_vec(), 3_600_000, Duration::ZERO);
        batcher.note(b"b".to_vec(), 0, Duration::ZERO);
        assert_eq!(batcher.next_due(0), Some(3_000));
        assert_eq!(names(batcher.take(3_000)), ["a", "b"]);
    }

    #[test]
    fn too_many_paths_collapse_into_everything() {
        let mut batcher = batcher();
        for n in 0..=MAX_PENDING_PATHS {
            batcher.note(n.to_string().into_bytes(), 5, Duration::ZERO);
        }
        assert_eq!(batcher.pending(), 1);
        let batch = batcher.take(3_005).unwrap();
        assert!(batch.everything && batch.paths.is_empty());
        assert_eq!((batch.first_ms, batch.last_ms), (5, 5));
    }

    #[test]
    fn flush_hands_out_what_is_not_due() {
        let mut batcher = batcher();
        batcher.note(b"a".to_vec(), 0, Duration::ZERO);
        batcher.note_everything(1);
        let batch = batcher.flush().unwrap();
        assert!(batch.everything && batch.paths.contains(b"a".as_slice()));
        assert_eq!(batcher.flush(), None);
    }

    /// Milliseconds that pass (negative: the clock is set back) and the path then noted.
    fn events() -> impl Strategy<Value = Vec<(i64, u8)>> {
        let step = prop_oneof![20 => 0_i64..4_000, 1 => -100_000_i64..0];
        proptest::collection::vec((step, 0_u8..6), 1..60)
    }

    proptest! {
        /// Taking whenever due: every note is covered by a batch handed out within the window after it.
        #[test]
        fn no_event_is_lost_and_none_waits_longer_than_the_window(
            events in events(), settle in 0_i64..5_000, window in 0_i64..12_000,
        ) {
            let ms = |n: i64| Duration::from_millis(n.unsigned_abs());
            let mut batcher = Batcher::new(ms(settle), ms(window));
            // `elapsed` is true time; `clock` is what the batcher is told.
            let (mut elapsed, mut clock) = (0_i64, 1_000_000_i64);
            let mut waiting: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
            let drain = |batcher: &mut Batcher, clock: &mut i64, elapsed: &mut i64, until: i64, waiting: &mut BTreeMap<Vec<u8>, i64>| {
                while let Some(due) = batcher.next_due(*clock) {
                    prop_assert!(due >= *clock);
                    let wait = due - *clock;
                    if *elapsed + wait > until {
                        break;
                    }
                    *elapsed += wait;
                    *clock += wait;
                    let batch = batcher.take(*clock);
                    prop_assert!(batch.is_some(), "due but nothing handed out");
                    for path in batch.unwrap().paths {
                        let first = waiting.remove(&path);
                        prop_assert!(first.is_some(), "handed out without a note");
                        prop_assert!(*elapsed - first.unwrap() <= window);
                    }
                }
                Ok(())
            };
            for (step, path) in events {
                if step < 0 {
                    clock += step;
                } else {
                    let until = elapsed + step;
                    drain(&mut batcher, &mut clock, &mut elapsed, until, &mut waiting)?;
                    clock += until - elapsed;
                    elapsed = until;
                }
                batcher.note(vec![path], clock, Duration::ZERO);
                waiting.entry(vec![path]).or_insert(elapsed);
                prop_assert_eq!(batcher.pending(), waiting.len());
            }
            drain(&mut batcher, &mut clock, &mut elapsed, i64::MAX, &mut waiting)?;
            prop_assert!(waiting.is_empty());
            prop_assert_eq!(batcher.pending(), 0);
        }

        /// A batch never holds a path that is neither settled nor at its window.
        #[test]
        fn only_due_paths_are_taken(events in events(), settle in 1_i64..5_000, window in 1_i64..12_000) {
            let ms = |n: i64| Duration::from_millis(n.unsigned_abs());
            let mut batcher = Batcher::new(ms(settle), ms(window));
            let mut clock = 0_i64;
            let mut noted: BTreeMap<Vec<u8>, Noted> = BTreeMap::new();
            for (step, path) in events {
                clock += step.abs();
                for path in batcher.take(clock).map(|batch| batch.paths).unwrap_or_default() {
                    let times = noted.remove(&path).unwrap();
                    prop_assert!(clock - times.last >= settle || clock - times.first >= window);
                }
                batcher.note(vec![path], clock, Duration::ZERO);
                noted.entry(vec![path]).and_modify(|times| times.last = clock).or_insert(Noted::at(clock));
            }
            let rest = batcher.flush().map(|batch| batch.paths).unwrap_or_default();
            prop_assert!(rest.into_iter().eq(noted.into_keys()));
        }
    }
}
