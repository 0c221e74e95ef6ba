//! How many messages a channel sends: a storm becomes a few messages and one that counts the rest.

use std::time::Duration;

use tokio::time::Instant;

use super::Alert;
use super::message::Tally;

/// Admits so many alerts in a time that begins with the first of them, and counts what is too much.
#[derive(Debug)]
pub(super) struct Limiter {
    most: usize,
    window: Duration,
    opened: Option<Instant>,
    admitted: usize,
    held: Tally,
}

impl Limiter {
    /// Makes one that admits `most` alerts in each `window`.
    pub fn new(most: usize, window: Duration) -> Self {
        Self { most, window, opened: None, admitted: 0, held: Tally::default() }
    }

    /// Answers whether an alert may be sent by itself; what may not is counted.
    pub fn admit(&mut self, now: Instant, alert: &Alert) -> bool {
        // As long as others are held back, they are to be told of first.
        if self.held.total() == 0 && self.due().is_none_or(|end| now >= end) {
            (self.opened, self.admitted) = (Some(now), 0);
        }
        let is_open = self.due().is_some_and(|end| now < end);
        if is_open && self.admitted < self.most {
            self.admitted += 1;
            return true;
        }
        self.hold(alert);
        false
    }

    /// Counts an alert that cannot be sent by itself.
    pub fn hold(&mut self, alert: &Alert) {
        self.held.add(alert);
    }

    /// Answers when the time ends that the last admitted alert belongs to.
    pub fn due(&self) -> Option<Instant> {
        self.opened.map(|opened| opened + self.window)
    }

    /// Answers what was held back, to be told of by one message, once its time is over.
    pub fn take(&mut self, now: Instant) -> Option<Tally> {
        if self.due().is_some_and(|end| now < end) { None } else { self.take_early(now) }
    }

    /// Answers what was held back, whenever that was.
    pub fn take_early(&mut self, now: Instant) -> Option<Tally> {
        if self.held.total() == 0 {
            return None;
        }
        (self.opened, self.admitted) = (Some(now), 1);
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AlertEvent;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn alert() -> Alert {
        Alert::new(AlertEvent::Health, "title", "body")
    }

    #[test]
    fn what_is_too_much_is_counted_and_told_when_the_time_is_over() {
        let (mut limiter, start) = (Limiter::new(2, WINDOW), Instant::now());
        let admitted: Vec<bool> = (0..5).map(|_| limiter.admit(start, &alert())).collect();
        assert_eq!(admitted, [true, true, false, false, false]);
        assert_eq!(limiter.take(start + WINDOW / 2), None);
        assert_eq!(limiter.take(start + WINDOW).map(|held| held.total()), Some(3));
        assert_eq!(limiter.take(start + WINDOW * 3), None);
    }

    #[test]
    fn the_message_that_counts_is_one_of_the_next_time() {
        let (mut limiter, start) = (Limiter::new(2, WINDOW), Instant::now());
        assert_eq!((0..3).filter(|_| limiter.admit(start, &alert())).count(), 2);
        let next = start + WINDOW;
        assert!(!limiter.admit(next, &alert()), "what is held back is told of first");
        assert_eq!(limiter.take(next).map(|held| held.total()), Some(2));
        assert!(limiter.admit(next, &alert()));
        assert!(!limiter.admit(next, &alert()));
    }

    proptest! {
        #[test]
        fn no_time_has_more_messages_and_every_alert_is_counted(steps in proptest::collection::vec(0_u64..300, 1..200)) {
            let (mut limiter, start) = (Limiter::new(3, WINDOW), Instant::now());
            let (mut now, mut sent, mut told) = (start, Vec::new(), 0);
            for step in &steps {
                now += Duration::from_secs(*step);
                if let Some(held) = limiter.take(now) {
                    sent.push(now);
                    told += held.total();
                }
                if limiter.admit(now, &alert()) {
                    sent.push(now);
                    told += 1;
                }
            }
            told += limiter.take_early(now).map_or(0, |held| held.total());
            prop_assert_eq!(told, steps.len());
            // Two times may meet, so that a span of their length has no more than both.
            for from in &sent {
                prop_assert!(sent.iter().filter(|at| *at >= from && **at < *from + WINDOW).count() <= 6);
            }
        }
    }
}
