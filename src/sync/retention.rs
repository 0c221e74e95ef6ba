//! Which snapshots are kept, and what becomes of those that are not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::snapshot::{Before, merged};
use crate::base::Timestamp;
use crate::base::units::Span;

/// How long what was replaced can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Every snapshot is kept so long.
    pub keep: Span,
    /// Of so many days, counted back from today, the first is kept.
    pub daily: u32,
    /// Of so many weeks, counted back from this one, the first is kept.
    pub weekly: u32,
    /// Of so many months, counted back from this one, the first is kept.
    pub monthly: u32,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Kept,
    /// The kept one at this place, the next older one, takes in what it has: what was there before that stays whole.
    TakenInBy(usize),
    /// No older one is kept: nothing needs it.
    Forgotten,
}

/// Answers what becomes of snapshots that were made at these moments, the oldest first.
#[must_use]
pub fn fates(now: Timestamp, retention: &Retention, made: &[Timestamp]) -> Vec<Fate> {
    let mut firsts = BTreeSet::new();
    let mut last_kept = None;
    let fate = |(place, at): (usize, &Timestamp)| {
        // Every period is asked, for each has to know its first.
        let is_first = periods(*at, now, retention).into_iter().filter(|period| firsts.insert(*period)).count() > 0;
        let age_ms = now.as_millisecond().saturating_sub(at.as_millisecond());
        if age_ms <= retention.keep.as_ms() || is_first {
            last_kept = Some(place);
            return Fate::Kept;
        }
        last_kept.map_or(Fate::Forgotten, Fate::TakenInBy)
    };
    made.iter().enumerate().map(fate).collect()
}

/// Answers the periods of which a moment may be the first: by kind and number.
fn periods(at: Timestamp, now: Timestamp, retention: &Retention) -> Vec<(u8, i64)> {
    let numbers = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        let day = at.as_second().div_euclid(86_400);
        // The first day was a Thursday, and weeks begin on Mondays.
        [day, (day + 3).div_euclid(7), i64::from(date.year()) * 12 + i64::from(date.month())]
    };
    let limits = [retention.daily, retention.weekly, retention.monthly].map(i64::from);
    let counted = numbers(at).into_iter().zip(numbers(now)).zip(limits).zip(0..);
    let within = counted.filter(|(((number, today), limit), _)| today - number < *limit);
    within.map(|(((number, _), _), kind)| (kind, number)).collect()
}

/// Answers what snapshots become by their fates: those that change, by place; the oldest comes first.
#[must_use]
pub fn thinned(fates: &[Fate], mut before: Vec<Before>) -> BTreeMap<usize, Before> {
    let mut changed: BTreeMap<usize, Before> = BTreeMap::new();
    for (place, fate) in fates.iter().enumerate() {
        if let Fate::TakenInBy(older) = fate {
            let taken = std::mem::take(&mut before[place]);
            let kept = changed.remove(older).unwrap_or_else(|| std::mem::take(&mut before[*older]));
            changed.insert(*older, merged([kept, taken]));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::clock::from_ms;
    use crate::base::digest::Digest;
    use crate::endpoint::{Form, Key, Version};

    const DAY_MS: i64 = 86_400_000;

    fn retention(keep_days: u64, daily: u32, weekly: u32, monthly: u32) -> Retention {
        Retention { keep: Span::seconds(keep_days * 86_400), daily, weekly, monthly }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kept(retention: &Retention, now: &str, made: &[&str]) -> Vec<usize> {
        let made: Vec<Timestamp> = made.iter().map(|text| at(text)).collect();
        let fates = fates(at(now), retention, &made);
        (0..made.len()).filter(|place| fates[*place] == Fate::Kept).collect()
    }

    #[test]
    fn the_first_of_each_period_stays_when_the_others_are_too_old() {
        let made = [
            "2026-09-30T10:00:00Z",
            "2026-10-01T10:00:00Z",
            "2026-10-20T10:00:00Z",
            "2026-11-16T09:00:00Z",
            "2026-11-16T10:00:00Z",
            "2026-11-19T23:59:59Z",
            "2026-11-20T00:00:00Z",
            "2026-11-20T01:00:00Z",
            "2026-11-21T11:00:00Z",
        ];
        let now = "2026-11-21T12:00:00Z";
        assert_eq!(kept(&retention(100, 0, 0, 0), now, &made).len(), made.len());
        assert_eq!(kept(&retention(1, 0, 0, 0), now, &made), [8]);
        assert_eq!(kept(&retention(1, 3, 0, 0), now, &made), [5, 6, 8]);
        assert_eq!(kept(&retention(1, 0, 1, 0), now, &made), [3, 8], "a week begins on Monday");
        assert_eq!(kept(&retention(1, 0, 0, 2), now, &made), [1, 3, 8]);
        let all = fates(at(now), &retention(1, 0, 0, 2), &made.map(at));
        assert_eq!((all[0], all[2], all[7]), (Fate::Forgotten, Fate::TakenInBy(1), Fate::TakenInBy(3)));
    }

    fn before() -> impl Strategy<Value = Before> {
        let version = |content: u8| Version { digest: Digest::of(&[content]), form: Form::Link, size: 1 };
        let key = |number: u8| Key::new(vec![b'a' + number]).unwrap();
        let items = proptest::collection::btree_map(0_u8..5, proptest::option::of(0_u8..4), 0..5);
        items.prop_map(move |items| items.into_iter().map(|(at, content)| (key(at), content.map(version))).collect())
    }

    proptest! {
        #[test]
        fn before_every_kept_snapshot_is_what_it_was(
            snapshots in proptest::collection::vec((0_i64..120 * DAY_MS, before()), 0..12),
            (keep_days, daily, weekly, monthly) in (0_u64..40, 0_u32..9, 0_u32..6, 0_u32..5),
        ) {
            let mut snapshots = snapshots;
            snapshots.sort_by_key(|(at_ms, _)| *at_ms);
            let now = from_ms(120 * DAY_MS);
            let rules = retention(keep_days, daily, weekly, monthly);
            let made: Vec<Timestamp> = snapshots.iter().map(|(at_ms, _)| from_ms(*at_ms)).collect();
            let before: Vec<Before> = snapshots.into_iter().map(|(_, before)| before).collect();
            let all = fates(now, &rules, &made);
            let changed = thinned(&all, before.clone());
            let kept: Vec<usize> = (0..all.len()).filter(|place| all[*place] == Fate::Kept).collect();
            for (index, place) in kept.iter().enumerate() {
                let now_has = |place: &usize| changed.get(place).unwrap_or(&before[*place]).clone();
                prop_assert_eq!(merged(kept[index..].iter().map(now_has)), merged(before[*place..].to_vec()));
            }
            // Nothing more goes when nothing more grows old.
            let again: Vec<Timestamp> = kept.iter().map(|place| made[*place]).collect();
            prop_assert!(fates(now, &rules, &again).iter().all(|fate| *fate == Fate::Kept));
        }
    }
}
