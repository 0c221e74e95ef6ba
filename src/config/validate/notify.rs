//! What the types cannot say about the channels of alerts.

use super::{Checker, NOT_ZERO};
use crate::base::units::Span;
use crate::config::address::{address_word, mailbox};
use crate::config::model::{Email, Expanded, Notify, Webhook};
use crate::config::node::Kind;
use crate::config::variables::Variables;

/// More people are refused.
const MAX_RECIPIENTS: usize = 50;

/// A longer attempt would hold up what comes after it.
const MAX_ATTEMPT: Span = Span::seconds(60);

pub(super) const NOT_A_VARIABLE: &str = "must come from a variable, like `${VAR}`: this file is saved and pushed";

impl Checker<'_> {
    pub(super) fn expand_notify(&mut self, notify: &mut Notify, variables: &Variables) {
        if let Some(webhook) = &mut notify.webhook {
            self.expand_field("webhook", "url", &mut webhook.url, variables);
            if let Some(secret) = &mut webhook.secret {
                self.expand_field("webhook", "secret", secret, variables);
            }
        }
        if let Some(email) = &mut notify.email {
            if !self.lacks(&["notify", "email", "smtp"], email.smtp.written(), variables) {
                let value = server_value(email.smtp.written(), variables);
                self.replace(&["notify", "email", "smtp"], &mut email.smtp, value);
            }
            self.expand_field("email", "from", &mut email.from, variables);
            self.expand_recipients(&mut email.to, variables);
        }
    }

    fn expand_field(&mut self, channel: &str, key: &str, text: &mut Expanded, variables: &Variables) {
        let path = ["notify", channel, key];
        if !self.lacks(&path, text.written(), variables) {
            let value = variables.expand(text.written());
            self.replace(&path, text, value);
        }
    }

    /// Answers whether a text of a channel refers to a variable that is not set; that is noted, and nothing more is said of
    /// the text.
    fn lacks(&mut self, path: &[&str], text: &str, variables: &Variables) -> bool {
        let message = variables.expand(text).err().filter(|_| variables.lack(text));
        let Some((message, (place, id))) = message.zip(self.find(path).map(|(place, node)| (place, node.id))) else {
            return false;
        };
        self.report.add_lacking(place.at, place.key, message);
        self.refused.insert(id);
        true
    }

    /// Reports each address at its place among those that were not refused.
    fn expand_recipients(&mut self, to: &mut [Expanded], variables: &Variables) {
        let places: Vec<_> = self.texts(&["notify", "email", "to"]).into_iter().map(|(place, _)| place).collect();
        for (text, place) in to.iter_mut().zip(places).take(MAX_RECIPIENTS) {
            let value = variables.expand(text.written());
            if let Some(message) = value.as_ref().err().filter(|_| variables.lack(text.written())) {
                self.report.add_lacking(place.at, place.key, message);
                continue;
            }
            match value.and_then(|value| mailbox(&value).map(|_| value).map_err(str::to_owned)) {
                Ok(value) => *text = Expanded::new(text.written(), value),
                Err(message) => self.report.add(place.at, place.key, message),
            }
        }
    }

    pub(super) fn check_notify(&mut self, notify: &Notify) {
        if let Some(webhook) = &notify.webhook {
            self.check_webhook(webhook);
        }
        if let Some(email) = &notify.email {
            self.check_email(email);
        }
    }

    fn check_webhook(&mut self, webhook: &Webhook) {
        let path = |key| ["notify", "webhook", key];
        if let Err(problem) = webhook.target() {
            self.report_value(&path("url"), problem);
        }
        if webhook.secret.as_ref().is_some_and(is_written_out) {
            self.report_value(&path("secret"), NOT_A_VARIABLE);
        } else if let Err(problem) = webhook.key() {
            self.report_value(&path("secret"), problem);
        }
        self.check_attempt("webhook", webhook.timeout);
    }

    fn check_email(&mut self, email: &Email) {
        let path = |key| ["notify", "email", key];
        match email.server() {
            Err(problem) => self.report_value(&path("smtp"), problem),
            Ok(server) => {
                if server.is_some_and(|server| server.login.is_some()) && is_written_out(&email.smtp) {
                    self.report_value(&path("smtp"), &format!("the password {NOT_A_VARIABLE}"));
                }
            }
        }
        if let Err(problem) = email.sender() {
            self.report_value(&path("from"), problem);
        }
        self.check_recipients(email);
        self.check_attempt("email", email.timeout);
    }

    fn check_recipients(&mut self, email: &Email) {
        let to = ["notify", "email", "to"];
        if email.to.len() > MAX_RECIPIENTS {
            self.report_value(&to, &format!("there can be {MAX_RECIPIENTS} at most"));
        } else if email.to.is_empty() && !self.has_items(&to) {
            self.report_value(&to, "somebody must get the messages");
        }
    }

    /// Whether a list has any items, good or refused.
    fn has_items(&self, path: &[&str]) -> bool {
        self.find(path).is_some_and(|(_, node)| matches!(&node.kind, Kind::List(items) if !items.is_empty()))
    }

    fn check_attempt(&mut self, channel: &str, timeout: Span) {
        let path = ["notify", channel, "timeout"];
        if timeout.0.is_zero() {
            self.report_value(&path, NOT_ZERO);
        } else if timeout > MAX_ATTEMPT {
            self.report_value(&path, &format!("must be {MAX_ATTEMPT} at most"));
        }
    }
}

/// A variable within the name and password of an address stands for itself, whatever characters it has; one that is the
/// whole address is an address.
fn server_value(written: &str, variables: &Variables) -> Result<String, String> {
    let Some((login, place)) = written.rsplit_once('@') else { return variables.expand(written) };
    Ok(format!("{}@{}", variables.expand_as(login, address_word)?, variables.expand(place)?))
}

pub(super) fn is_written_out(text: &Expanded) -> bool {
    !text.written().contains("${")
}
