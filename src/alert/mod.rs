//! Messages to people. An alert that reaches nobody is never an error: work goes on without it.
//!
//! Each channel has an outbox with a task of its own: whoever tells does not wait. What is on its way when a process
//! wants to end is waited for, but not for long.

mod desktop;
mod email;
mod error;
mod letter;
mod limit;
mod message;
mod outbox;
mod webhook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use error::{Error, Result};
use tokio::time::Instant;

use self::email::Email;
use self::message::Message;
use self::outbox::{Carrier, Outbox, Pace, Parcel};
use self::webhook::Webhook;
use crate::base::id::PromotionId;
use crate::base::units::Span;
use crate::base::{Clock, Timestamp};
use crate::config::{AlertEvent, Config};

/// The same alert is sent once in this time.
const REPEAT_AFTER: Span = Span::seconds(60);
/// So many different alerts are remembered; beyond that the oldest may be sent again early.
const REMEMBERED_LIMIT_ALERTS: usize = 1_000;
/// Longest time that a process which wants to end waits for alerts on their way.
pub const FINISH_LIMIT: Duration = Duration::from_secs(10);

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
    /// The environment it is about, if any.
    pub environment: Option<String>,
    /// The promotion it is about, if any.
    pub promotion: Option<String>,
}

impl Alert {
    /// Makes an alert; all but promotions that are live are urgent.
    #[must_use]
    pub fn new(event: AlertEvent, title: impl Into<String>, body: impl Into<String>) -> Self {
        let urgent = !matches!(event, AlertEvent::Promoted);
        Self { event, title: title.into(), body: body.into(), urgent, environment: None, promotion: None }
    }

    /// Says which promotion to which environment it is about.
    #[must_use]
    pub fn about(mut self, environment: &str, promotion: &PromotionId) -> Self {
        (self.environment, self.promotion) = (Some(environment.to_owned()), Some(promotion.to_string()));
        self
    }
}

/// What became of a test message.
#[derive(Debug)]
pub struct Trial {
    /// The channel's name in the configuration.
    pub channel: &'static str,
    /// Whether it arrived, or why not.
    pub outcome: Result<()>,
}

/// Sends alerts to the channels that the configuration names.
#[derive(Debug)]
pub struct Alerts {
    project: String,
    clock: Arc<dyn Clock>,
    outboxes: Vec<Arc<Outbox>>,
    recorded: Option<Arc<Mutex<Vec<Alert>>>>,
    sent: Mutex<HashMap<Alert, Timestamp>>,
}

impl Alerts {
    /// Makes the channels that the configuration asks for; nothing is sent or connected yet.
    #[must_use]
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let notify = &config.notify;
        let outbox = |carrier, on: Option<&Vec<AlertEvent>>, pace| {
            Outbox::new(carrier, &config.project, on.unwrap_or(&notify.on), pace, Arc::clone(&clock))
        };
        let mut outboxes = Vec::new();
        if notify.desktop {
            outboxes.push(outbox(Carrier::Desktop, None, Pace::DESKTOP));
        }
        if let Some((spec, webhook)) = notify.webhook.as_ref().and_then(|spec| Some((spec, Webhook::new(spec)?))) {
            outboxes.push(outbox(Carrier::Webhook(webhook), spec.on.as_ref(), Pace::NETWORK));
        }
        if let Some((spec, email)) = notify.email.as_ref().and_then(|spec| Some((spec, Email::new(spec)?))) {
            outboxes.push(outbox(Carrier::Email(email), spec.on.as_ref(), Pace::NETWORK));
        }
        let project = config.project.clone();
        Self { project, clock, outboxes, recorded: None, sent: Mutex::default() }
    }

    /// Makes alerts of every event that nobody sees; they are kept in the answered list, for tests and previews.
    #[must_use]
    pub fn recording(clock: Arc<dyn Clock>) -> (Self, Arc<Mutex<Vec<Alert>>>) {
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let kept = Some(Arc::clone(&recorded));
        (Self { project: String::new(), clock, outboxes: Vec::new(), recorded: kept, sent: Mutex::default() }, recorded)
    }

    /// Sends `alert` on every channel that wants its event, unless the same was sent in the last minute.
    ///
    /// Returns at once; a task of the channel sends it. What does not arrive is told to the log. Needs a runtime.
    pub fn send(&self, alert: Alert) {
        let wanted: Vec<&Arc<Outbox>> = self.outboxes.iter().filter(|outbox| outbox.wants(alert.event)).collect();
        if (wanted.is_empty() && self.recorded.is_none()) || self.is_repeated(self.clock.now(), &alert) {
            return;
        }
        wanted.into_iter().for_each(|outbox| outbox.put(&alert));
        if let Some(recorded) = &self.recorded {
            locked(recorded).push(alert);
        }
    }

    /// Waits until everything that was told has been sent or given up, for [`FINISH_LIMIT`] at most; tells the log what
    /// was not delivered.
    pub async fn finish(&self) {
        self.finish_within(FINISH_LIMIT).await;
    }

    async fn finish_within(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for outbox in &self.outboxes {
            outbox.close(deadline);
        }
        for outbox in &self.outboxes {
            outbox.finish(deadline).await;
        }
    }

    /// Answers the names of the channels that are on.
    #[must_use]
    pub fn channels(&self) -> Vec<&'static str> {
        self.outboxes.iter().map(|outbox| outbox.name).collect()
    }

    /// Sends a test message on one channel, past everything that limits alerts, and waits what becomes of it. It is tried
    /// once. Answers nothing where the channel is not on.
    pub async fn test(&self, channel: &str) -> Option<Trial> {
        let outbox = self.outboxes.iter().find(|outbox| outbox.name == channel)?;
        let mut parcel = Parcel::new(Message::test(&self.project, self.clock.now()));
        Some(Trial { channel: outbox.name, outcome: outbox.attempt(&mut parcel).await })
    }

    /// Answers whether the alert was sent lately, and remembers it if not.
    fn is_repeated(&self, now: Timestamp, alert: &Alert) -> bool {
        let mut sent = locked(&self.sent);
        // A moment in the future was taken before the clock was set back: it says nothing.
        sent.retain(|_, at| (0..REPEAT_AFTER.as_ms()).contains(&(now.as_millisecond() - at.as_millisecond())));
        if sent.contains_key(alert) {
            return true;
        }
        if sent.len() >= REMEMBERED_LIMIT_ALERTS
            && let Some(oldest) = sent.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
        {
            sent.remove(&oldest);
        }
        sent.insert(alert.clone(), now);
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
    use crate::base::clock::ManualClock;
    use crate::config::{Variables, parse};

    fn recording() -> (Alerts, Arc<Mutex<Vec<Alert>>>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at_ms(3_600_000));
        let (alerts, recorded) = Alerts::recording(Arc::clone(&clock) as Arc<dyn Clock>);
        (alerts, recorded, clock)
    }

    fn titles(steps: &[(i64, &str)]) -> Vec<String> {
        let (alerts, recorded, clock) = recording();
        for (pause_ms, title) in steps {
            clock.advance_ms(*pause_ms);
            alerts.send(Alert::new(AlertEvent::Failed, *title, "body"));
        }
        locked(&recorded).iter().map(|alert| alert.title.clone()).collect()
    }

    fn made(notify: &str) -> Alerts {
        let text = format!("version: 1\nproject: shop\nnotify: {notify}\n");
        let variables = Variables::new([("PASSWORD".to_owned(), "hunter2".to_owned())]);
        Alerts::new(&parse(&text, "cascade-sync.yaml", &variables).unwrap(), Arc::new(ManualClock::at_ms(0)))
    }

    #[test]
    fn the_same_alert_is_sent_once_a_minute() {
        assert_eq!(titles(&[(0, "a"), (1, "a"), (1, "b"), (59_997, "a"), (1, "a")]), ["a", "b", "a"]);
    }

    #[test]
    fn clock_set_back_does_not_silence() {
        assert_eq!(titles(&[(0, "a"), (-3_600_000, "a")]), ["a", "a"]);
    }

    #[test]
    fn alerts_about_two_promotions_are_two() {
        let (alerts, recorded, _) = recording();
        for id in ["one", "two", "two"] {
            let alert = Alert::new(AlertEvent::Failed, "title", "body");
            alerts.send(alert.about("staging", &PromotionId::from_stored(id)));
        }
        assert_eq!(locked(&recorded).len(), 2);
    }

    #[test]
    fn memory_of_what_was_sent_is_bounded() {
        let (alerts, recorded, clock) = recording();
        for number in 0..REMEMBERED_LIMIT_ALERTS + 10 {
            clock.advance_ms(1);
            alerts.send(Alert::new(AlertEvent::Failed, number.to_string(), ""));
        }
        assert_eq!(locked(&alerts.sent).len(), REMEMBERED_LIMIT_ALERTS);
        assert_eq!(locked(&recorded).len(), REMEMBERED_LIMIT_ALERTS + 10);
    }

    #[test]
    fn channels_are_those_of_the_configuration() {
        assert_eq!(made("{}").channels(), ["desktop"]);
        assert!(made("{ desktop: false }").channels().is_empty());
        let all = "{ webhook: { url: \"http://x\" }, email: { smtp: \"smtps://x\", from: a@x.org, to: [b@x.org] } }";
        assert_eq!(made(all).channels(), ["desktop", "webhook", "email"]);
        let off = "{ webhook: { url: \"${X:-}\" }, email: { smtp: \"${X:-}\", from: a@x.org, to: [b@x.org] } }";
        assert_eq!(made(off).channels(), ["desktop"]);
    }

    #[test]
    fn every_channel_may_have_its_own_events() {
        let alerts = made(
            "{ on: [failed], webhook: { url: \"http://x\" }, \
             email: { smtp: \"smtps://x\", from: a@x.org, to: [b@x.org], on: [promoted] } }",
        );
        let wanting = |event| {
            let fitting = alerts.outboxes.iter().filter(|outbox| outbox.wants(event));
            fitting.map(|outbox| outbox.name).collect::<Vec<_>>()
        };
        assert_eq!(wanting(AlertEvent::Failed), ["desktop", "webhook"]);
        assert_eq!(wanting(AlertEvent::Promoted), ["email"]);
        assert!(wanting(AlertEvent::Health).is_empty());
    }

    #[test]
    fn debug_shows_no_secrets() {
        let alerts = made(
            "{ webhook: { url: \"http://ada:${PASSWORD}@x/${PASSWORD}\" }, \
             email: { smtp: \"smtps://ada:${PASSWORD}@x\", from: a@x.org, to: [b@x.org] } }",
        );
        assert!(!format!("{alerts:?}").contains("hunter2"));
    }
}
