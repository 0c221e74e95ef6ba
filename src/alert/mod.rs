//! Messages to people. An alert that reaches nobody is never an error: work goes on without it.

mod desktop;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::Timestamp;
use crate::base::units::Span;
use crate::config::{AlertEvent, Notify};

/// The same alert is sent once in this time.
const REPEAT_AFTER: Span = Span::seconds(60);
/// So many different alerts are remembered; beyond that the oldest may be sent again early.
const REMEMBERED_LIMIT_ALERTS: usize = 1_000;

/// A message to a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Alert {
    /// What happened.
    pub event: AlertEvent,
    /// One line that says what happened to what.
    pub title: String,
    /// The rest, as plain text; may have several lines.
    pub body: String,
    /// Whether somebody should look now.
    pub urgent: bool,
}

/// Sends alerts to the channels that the configuration names.
#[derive(Debug)]
pub struct Alerts {
    on: Vec<AlertEvent>,
    channels: Vec<Channel>,
    sent: Mutex<HashMap<(AlertEvent, String, String), Timestamp>>,
}

#[derive(Debug)]
enum Channel {
    Desktop,
    Recording(Arc<Mutex<Vec<Alert>>>),
}

impl Alerts {
    /// Makes the channels that `notify` asks for.
    #[must_use]
    pub fn new(notify: &Notify) -> Self {
        let channels = if notify.desktop { vec![Channel::Desktop] } else { Vec::new() };
        Self { on: notify.on.clone(), channels, sent: Mutex::default() }
    }

    /// Makes alerts of every event that nobody sees; they are kept in the answered list, for tests and previews.
    #[must_use]
    pub fn recording() -> (Self, Arc<Mutex<Vec<Alert>>>) {
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let channels = vec![Channel::Recording(Arc::clone(&recorded))];
        (Self { on: AlertEvent::ALL.to_vec(), channels, sent: Mutex::default() }, recorded)
    }

    /// Sends `alert` when its event is wanted and the same was not sent in the last minute before `now`.
    ///
    /// Takes at most two seconds. Says nothing when no channel could deliver it; tells the log at debug level.
    pub async fn send(&self, now: Timestamp, alert: Alert) {
        if self.channels.is_empty() || !self.on.contains(&alert.event) || self.is_repeated(now, &alert) {
            return;
        }
        for channel in &self.channels {
            match channel {
                Channel::Desktop => desktop::show(&alert).await,
                Channel::Recording(recorded) => locked(recorded).push(alert.clone()),
            }
        }
    }

    /// Answers whether the alert was sent lately, and remembers it if not.
    fn is_repeated(&self, now: Timestamp, alert: &Alert) -> bool {
        let mut sent = locked(&self.sent);
        // A moment in the future was taken before the clock was set back: it says nothing.
        sent.retain(|_, at| (0..REPEAT_AFTER.as_ms()).contains(&(now.as_millisecond() - at.as_millisecond())));
        let key = (alert.event, alert.title.clone(), alert.body.clone());
        if sent.contains_key(&key) {
            return true;
        }
        if sent.len() >= REMEMBERED_LIMIT_ALERTS
            && let Some(oldest) = sent.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
        {
            sent.remove(&oldest);
        }
        sent.insert(key, now);
        false
    }
}

/// A panic elsewhere leaves these plain lists whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;

    fn alert(event: AlertEvent, title: &str) -> Alert {
        Alert { event, title: title.to_owned(), body: "body".to_owned(), urgent: false }
    }

    async fn titles(alerts: &[(i64, &str)]) -> Vec<String> {
        let (sender, recorded) = Alerts::recording();
        for (ms, title) in alerts {
            sender.send(from_ms(*ms), alert(AlertEvent::Failed, title)).await;
        }
        locked(&recorded).iter().map(|alert| alert.title.clone()).collect()
    }

    #[tokio::test]
    async fn storms_are_sent_once_a_minute() {
        assert_eq!(titles(&[(0, "a"), (1, "a"), (2, "b"), (59_999, "a"), (60_000, "a")]).await, ["a", "b", "a"]);
    }

    #[tokio::test]
    async fn clock_set_back_does_not_silence() {
        assert_eq!(titles(&[(3_600_000, "a"), (0, "a")]).await, ["a", "a"]);
    }

    #[tokio::test]
    async fn memory_of_storms_is_bounded() {
        let (sender, recorded) = Alerts::recording();
        for number in 0..REMEMBERED_LIMIT_ALERTS + 10 {
            sender.send(from_ms(number as i64), alert(AlertEvent::Failed, &number.to_string())).await;
        }
        assert_eq!(locked(&sender.sent).len(), REMEMBERED_LIMIT_ALERTS);
        assert_eq!(locked(&recorded).len(), REMEMBERED_LIMIT_ALERTS + 10);
    }

    #[tokio::test]
    async fn unwanted_events_are_not_sent() {
        let (mut sender, recorded) = Alerts::recording();
        sender.on = vec![AlertEvent::RolledBack];
        sender.send(from_ms(0), alert(AlertEvent::Promoted, "no")).await;
        sender.send(from_ms(0), alert(AlertEvent::RolledBack, "yes")).await;
        assert_eq!(*locked(&recorded), [alert(AlertEvent::RolledBack, "yes")]);
    }

    #[test]
    fn channels_are_those_of_the_configuration() {
        assert!(Alerts::new(&Notify { desktop: false, ..Notify::default() }).channels.is_empty());
        assert_eq!(Alerts::new(&Notify::default()).channels.len(), 1);
    }
}
