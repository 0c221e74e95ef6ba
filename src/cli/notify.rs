//! `cascade notify [CHANNEL]`: a test message on every channel, and what became of it.

use serde::Serialize;

use super::args::{Channel, Notify};
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell};
use crate::alert::Alerts;
use crate::base::{ErrorKind, Kinded as _};
use crate::config;

const ALL: [Channel; 3] = [Channel::Desktop, Channel::Webhook, Channel::Email];

/// How one channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Delivered,
    Failed,
    Off,
}

/// What became of the message on one channel.
#[derive(Debug, Serialize)]
struct Row {
    channel: &'static str,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Document {
    channels: Vec<Row>,
}

/// Sends the test messages and waits for each.
///
/// # Errors
/// The webhook or the e-mail did not arrive, nothing did, or a channel that was asked for is not on (all answers are
/// printed first).
pub async fn run(shell: &Shell, args: Notify) -> Outcome {
    let config = config::load(shell.repo()?.root(), &shell.edge.variables())?;
    let alerts = shell.alerts(&config);
    let mut channels = Vec::new();
    for channel in ALL.into_iter().filter(|channel| args.channel.is_none_or(|asked| asked == *channel)) {
        channels.push(row(&alerts, &config.notify, channel).await);
    }
    let document = Document { channels };
    if shell.ui.is_json() {
        shell.ui.json(&document)?;
    } else {
        print(shell, &document);
    }
    match config.notify.lacking {
        Some(lacking) => Err(config::Error::Invalid(lacking).into()),
        None => conclude(&document),
    }
}

async fn row(alerts: &Alerts, notify: &config::Notify, channel: Channel) -> Row {
    let name = name(channel);
    let Some(trial) = alerts.test(name).await else {
        return Row {
            channel: name,
            state: State::Off,
            reason: Some(why_off(notify, channel).to_owned()),
            advice: None,
        };
    };
    match trial.outcome {
        Ok(()) => Row { channel: name, state: State::Delivered, reason: None, advice: None },
        Err(error) => {
            Row { channel: name, state: State::Failed, reason: Some(error.to_string()), advice: error.hint() }
        }
    }
}

fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Desktop => "desktop",
        Channel::Webhook => "webhook",
        Channel::Email => "email",
    }
}

const UNSET: &str = "a variable of it is not set";

fn lacks(notify: &config::Notify, channel: &str) -> bool {
    notify.lacking.iter().flat_map(|lacking| lacking.list()).any(|problem| problem.key.starts_with(channel))
}

fn why_off(notify: &config::Notify, channel: Channel) -> &'static str {
    match channel {
        Channel::Desktop => "`notify.desktop` is false",
        Channel::Webhook if lacks(notify, "notify.webhook") => UNSET,
        Channel::Email if lacks(notify, "notify.email") => UNSET,
        Channel::Webhook if notify.webhook.is_none() => "there is no `notify.webhook`",
        Channel::Webhook => "the variables in `notify.webhook.url` are empty",
        Channel::Email if notify.email.is_none() => "there is no `notify.email`",
        Channel::Email => "the variables in `notify.email.smtp` are empty",
    }
}

fn print(shell: &Shell, document: &Document) {
    let rows = document.channels.iter().map(|row| {
        let (mark, word, tone) = match row.state {
            State::Delivered => ("✓", "delivered", Tone::Good),
            State::Failed => ("✗", "failed", Tone::Bad),
            State::Off => ("-", "off", Tone::Dim),
        };
        let reason = row.reason.as_deref().unwrap_or_default();
        vec![Cell::new(mark, tone), row.channel.into(), Cell::new(word, tone), reason.into()]
    });
    shell.ui.table(&rows.collect::<Vec<_>>());
    for row in document.channels.iter().filter(|row| row.state == State::Failed) {
        shell.ui.line("");
        shell.ui.line(&format!("{}: {}", row.channel, row.reason.as_deref().unwrap_or_default()));
        row.advice.iter().for_each(|advice| shell.ui.line(&format!("  → {advice}")));
    }
}

fn conclude(document: &Document) -> Outcome {
    let named = |state: State| {
        let rows = document.channels.iter().filter(move |row| row.state == state);
        rows.map(|row| row.channel).collect::<Vec<_>>()
    };
    let (delivered, failed) = (named(State::Delivered), named(State::Failed));
    if delivered.is_empty() && failed.is_empty() {
        let reasons = document.channels.iter().filter_map(|row| row.reason.as_deref()).collect::<Vec<_>>().join(", ");
        let message = format!("nobody would be told: {reasons}");
        let hint = "set `notify.webhook` or `notify.email` in cascade-sync.yaml: `cascade config schema` tells how";
        return Err(Failure::new(ErrorKind::Config, message).with_hint(hint));
    }
    // By default desktop notifications are on where there is no desktop, too.
    let is_harmless = !delivered.is_empty() && failed == [name(Channel::Desktop)];
    if failed.is_empty() || is_harmless {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Unavailable, format!("not delivered: {}", failed.join(", "))))
}
