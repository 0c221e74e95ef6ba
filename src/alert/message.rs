//! What a channel sends: an alert that is safe to show, with what tells it from others.

use serde::Serialize;

use super::Alert;
use crate::base::Timestamp;
use crate::base::digest::Digest;
use crate::base::escape::{shown, shown_lines};
use crate::base::id::entropy;
use crate::config::AlertEvent;

/// Longest title that is sent.
const TITLE_LIMIT_CHARS: usize = 200;
/// Longest body that is sent.
const BODY_LIMIT_CHARS: usize = 4_000;
/// Digits of a message's id: it must be unique for all receivers and times.
const ID_DIGITS: usize = 32;

/// What a channel sends; its JSON form is what webhooks get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    /// The same each time that sending is tried.
    #[serde(skip)]
    pub id: String,
    /// The event's name in the configuration; `summary` for what was too much, `test` for a test.
    pub event: &'static str,
    pub project: String,
    /// One line without control characters.
    pub title: String,
    /// Lines without other control characters.
    pub body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    pub urgent: bool,
}

/// Alerts that were too many to be sent one by one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tally {
    counts: [usize; AlertEvent::ALL.len()],
    last: String,
    urgent: bool,
}

impl Tally {
    pub fn add(&mut self, alert: &Alert) {
        let place = AlertEvent::ALL.iter().position(|event| *event == alert.event);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count += 1;
        }
        self.last.clone_from(&alert.title);
        self.urgent |= alert.urgent;
    }

    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl Message {
    /// Makes the message of an alert.
    pub fn of(project: &str, at: Timestamp, alert: &Alert) -> Self {
        Self {
            environment: alert.environment.clone(),
            promotion: alert.promotion.clone(),
            urgent: alert.urgent,
            ..Self::new(alert.event.as_str(), project, at, &alert.title, &alert.body)
        }
    }

    /// Makes the message that stands for all alerts that were too many.
    pub fn summary(project: &str, at: Timestamp, tally: &Tally) -> Self {
        let title = format!("{project}: and {} more", tally.total());
        let counted = AlertEvent::ALL.iter().zip(tally.counts).filter(|(_, count)| *count > 0);
        let counted: Vec<String> = counted.map(|(event, count)| format!("{count} {}", event.as_str())).collect();
        let last = shown(tally.last.as_bytes());
        let body = format!("{}\nthe last one: {last}\nsee `cascade status`", counted.join(", "));
        Self { urgent: tally.urgent, ..Self::new("summary", project, at, &title, &body) }
    }

    /// Makes a message that says that messages arrive.
    pub fn test(project: &str, at: Timestamp) -> Self {
        let title = format!("{project}: a test of cascade's alerts");
        Self::new("test", project, at, &title, "Somebody ran `cascade notify`: alerts of this project arrive here.")
    }

    fn new(event: &'static str, project: &str, at: Timestamp, title: &str, body: &str) -> Self {
        Self {
            id: format!("msg_{}", Digest::of(&entropy()).short(ID_DIGITS)),
            event,
            project: project.to_owned(),
            title: cut(shown(title.as_bytes()), TITLE_LIMIT_CHARS),
            body: cut(shown_lines(body.as_bytes()), BODY_LIMIT_CHARS),
            environment: None,
            promotion: None,
            at,
            urgent: false,
        }
    }
}

fn cut(text: String, limit_chars: usize) -> String {
    match text.char_indices().nth(limit_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;
    use crate::base::id::PromotionId;

    #[test]
    fn json_says_what_happened_to_what() {
        let id = PromotionId::from_stored("abcd1234");
        let alert = Alert::new(AlertEvent::Failed, "shop: \x1b[31mno\n", "line\nnext\x07").about("staging", &id);
        let message = Message::of("shop", from_ms(1_000), &alert);
        insta::assert_snapshot!(serde_json::to_string_pretty(&message).unwrap(), @r#"
        {
          "event": "failed",
          "project": "shop",
          "title": "shop: \\x1b[31mno\\n",
          "body": "line\nnext\\x07",
          "environment": "staging",
          "promotion": "abcd1234",
          "at": "1970-01-01T00:00:01Z",
          "urgent": true
        }
        "#);
        let bare = serde_json::to_value(Message::test("shop", from_ms(0))).unwrap();
        assert!(bare.get("environment").is_none() && bare.get("promotion").is_none(), "{bare}");
    }

    #[test]
    fn every_message_has_an_id_of_its_own() {
        let ids: std::collections::HashSet<_> = (0..100).map(|_| Message::test("shop", from_ms(0)).id).collect();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn endless_text_is_cut() {
        let endless = "ä".repeat(100_000);
        let message = Message::of("shop", from_ms(0), &Alert::new(AlertEvent::Health, &endless, &endless));
        assert_eq!(message.title.chars().count(), TITLE_LIMIT_CHARS + 1);
        assert_eq!(message.body.chars().count(), BODY_LIMIT_CHARS + 1);
    }

    #[test]
    fn summary_counts_by_event() {
        let mut tally = Tally::default();
        for event in [AlertEvent::Health, AlertEvent::Promoted, AlertEvent::Health] {
            tally.add(&Alert::new(event, format!("about {}", event.as_str()), ""));
        }
        let message = Message::summary("shop", from_ms(0), &tally);
        assert_eq!(message.title, "shop: and 3 more");
        assert_eq!(message.body, "1 promoted, 2 health\nthe last one: about health\nsee `cascade status`");
        assert!(message.urgent);
    }
}
