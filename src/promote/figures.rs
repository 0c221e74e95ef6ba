//! How well an environment is delivered to: the four figures of the DevOps Research and Assessment programme. Pure.
//!
//! Deployment frequency, lead time for changes, change failure rate and time to restore, as
//! <https://dora.dev/guides/dora-metrics-four-keys/> defines them. A promotion counts as a deployment once it is live;
//! one that was rolled back was live and failed.

use serde::Serialize;

use crate::base::Timestamp;
use crate::base::clock::from_ms;

/// Milliseconds of a week.
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// Milliseconds of an hour.
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How a promotion ended, as far as the figures care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It is, or was, live.
    Live,
    /// It was live and was rolled back.
    RolledBack,
    /// It never got there: a check, a gate, drift or a conflict stopped it.
    Stopped,
}

/// One promotion that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// How it ended.
    pub end: End,
    /// When it ended.
    pub at: Timestamp,
    /// When it went live, where it did.
    pub live_at: Option<Timestamp>,
    /// When each of the commits that it brought was made.
    pub commits_at: Vec<Timestamp>,
}

/// The four figures of one environment in one time, and the same time week by week.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Promotions that went live.
    pub deployments: usize,
    /// Of these, how many in a week; none where the time is shorter than one.
    pub deployments_per_week: Option<f64>,
    /// Median time from a commit to its being live, milliseconds; none without deployments.
    pub lead_time_ms: Option<i64>,
    /// The part of the deployments that were rolled back, 0 to 1; none without deployments.
    pub change_failure_rate: Option<f64>,
    /// Median time from going live to being rolled back, milliseconds; none without rollbacks.
    pub time_to_restore_ms: Option<i64>,
    /// The weeks, the oldest first; the last ends now.
    pub weeks: Vec<Week>,
}

/// What came to its end in one week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Week {
    /// Its first moment.
    pub from: Timestamp,
    /// Promotions that went live and stayed.
    pub live: usize,
    /// Promotions that were rolled back.
    pub rolled_back: usize,
    /// Promotions that never got there.
    pub stopped: usize,
    /// Median lead time of what went live, milliseconds.
    pub lead_time_ms: Option<i64>,
}

/// Reckons the figures of the deliveries that ended from `since` up to `now`.
#[must_use]
pub fn figures(deliveries: &[Delivery], since: Timestamp, now: Timestamp) -> Figures {
    let inside: Vec<&Delivery> = deliveries.iter().filter(|it| since <= it.at && it.at <= now).collect();
    let deployed: Vec<&Delivery> = inside.iter().copied().filter(|it| it.end != End::Stopped).collect();
    let failed = deployed.iter().filter(|it| it.end == End::RolledBack).count();
    let span_ms = now.as_millisecond() - since.as_millisecond();
    let weeks = span_ms as f64 / WEEK_MS as f64;
    Figures {
        deployments: deployed.len(),
        // A week in which the clocks are put forward is an hour shorter.
        deployments_per_week: (span_ms >= WEEK_MS - HOUR_MS).then(|| deployed.len() as f64 / weeks),
        lead_time_ms: lead_time(&deployed),
        change_failure_rate: (!deployed.is_empty()).then(|| failed as f64 / deployed.len() as f64),
        time_to_restore_ms: median(deployed.iter().filter_map(|it| time_to_restore(it)).collect()),
        weeks: weekly(&inside, since, now),
    }
}

fn weekly(inside: &[&Delivery], since: Timestamp, now: Timestamp) -> Vec<Week> {
    let span_ms = (now.as_millisecond() - since.as_millisecond()).max(1);
    let count = span_ms.div_euclid(WEEK_MS) + i64::from(span_ms.rem_euclid(WEEK_MS) > 0);
    let week = |back: i64| {
        let from_ms_ = now.as_millisecond() - back * WEEK_MS;
        let until = from_ms_ + WEEK_MS;
        // The last moment of all belongs to the last week.
        let is_in = |at: i64| from_ms_ <= at && (at < until || back == 1 && at == until);
        let these: Vec<&Delivery> = inside.iter().copied().filter(|it| is_in(it.at.as_millisecond())).collect();
        let count = |end: End| these.iter().filter(|it| it.end == end).count();
        let live: Vec<&Delivery> = these.iter().copied().filter(|it| it.end == End::Live).collect();
        Week {
            from: from_ms(from_ms_),
            live: count(End::Live),
            rolled_back: count(End::RolledBack),
            stopped: count(End::Stopped),
            lead_time_ms: lead_time(&live),
        }
    };
    (1..=count).rev().map(week).collect()
}

/// A clock that was set back does not make a change live before it was written.
fn lead_time(deployed: &[&Delivery]) -> Option<i64> {
    let of = |it: &Delivery| {
        let live_ms = it.live_at.unwrap_or(it.at).as_millisecond();
        it.commits_at.iter().map(|made| (live_ms - made.as_millisecond()).max(0)).collect::<Vec<_>>()
    };
    median(deployed.iter().flat_map(|it| of(it)).collect())
}

fn time_to_restore(it: &Delivery) -> Option<i64> {
    let live_at = it.live_at.filter(|_| it.end == End::RolledBack)?;
    Some((it.at.as_millisecond() - live_at.as_millisecond()).max(0))
}

/// Answers the middle value; of two, the mean.
fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    let (upper, lower) = (values.get(values.len() / 2)?, values.get((values.len() - 1) / 2)?);
    Some(lower + (upper - lower) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    fn delivery(end: End, day: i64, live_after_ms: i64, commit_days: &[i64]) -> Delivery {
        let at_ms = day * DAY_MS;
        Delivery {
            end,
            at: from_ms(at_ms),
            live_at: (end != End::Stopped).then(|| from_ms(at_ms - live_after_ms)),
            commits_at: commit_days.iter().map(|day| from_ms(day * DAY_MS)).collect(),
        }
    }

    #[test]
    fn four_figures_of_four_weeks() {
        let deliveries = [
            delivery(End::Live, 2, 0, &[1, 0]),
            delivery(End::Stopped, 3, 0, &[2]),
            delivery(End::RolledBack, 9, 60_000, &[8]),
            delivery(End::Live, 20, 0, &[10]),
            delivery(End::Live, 27, 0, &[26]),
            delivery(End::Live, 90, 0, &[1]),
        ];
        let found = figures(&deliveries, from_ms(0), from_ms(28 * DAY_MS));
        assert_eq!(found.deployments, 4);
        assert_eq!(found.deployments_per_week, Some(1.0));
        assert_eq!(found.change_failure_rate, Some(0.25));
        assert_eq!(found.time_to_restore_ms, Some(60_000));
        // 1, 2, 1 (a minute less), 10 and 1 days.
        assert_eq!(found.lead_time_ms, Some(DAY_MS));
        let counts: Vec<_> = found.weeks.iter().map(|week| (week.live, week.rolled_back, week.stopped)).collect();
        assert_eq!(counts, [(1, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 0)]);
        assert_eq!(found.weeks[2].lead_time_ms, Some(10 * DAY_MS));
    }

    #[test]
    fn less_than_a_week_is_counted_and_not_extrapolated() {
        let found = figures(&[delivery(End::Live, 2, 0, &[1])], from_ms(0), from_ms(3 * DAY_MS));
        assert_eq!((found.deployments, found.deployments_per_week), (1, None));
    }

    #[test]
    fn nothing_delivered_has_no_rates() {
        let found = figures(&[], from_ms(0), from_ms(10 * DAY_MS));
        assert_eq!((found.deployments, found.lead_time_ms, found.change_failure_rate), (0, None, None));
        assert_eq!(found.weeks.len(), 2);
    }

    proptest! {
        #[test]
        fn every_delivery_is_in_exactly_one_week(days in proptest::collection::vec(0_i64..60, 0..40), length in 1_i64..60) {
            let deliveries: Vec<Delivery> = days.iter().map(|day| delivery(End::Live, *day, 0, &[0])).collect();
            let found = figures(&deliveries, from_ms(0), from_ms(length * DAY_MS));
            let in_weeks: usize = found.weeks.iter().map(|week| week.live).sum();
            prop_assert_eq!(in_weeks, found.deployments);
        }
    }
}
