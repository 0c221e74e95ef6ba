//! What every flow needs, built once at the edge and passed first.

use std::sync::Arc;

use crate::alert::{Alert, Alerts};
use crate::base::{Clock, Timestamp};
use crate::check::Stop;
use crate::config::{Config, Variables};
use crate::git::Git;
use crate::store::{ProjectHome, Store};

/// One project with everything that acts on it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// What `${VAR}` in a configuration stands for.
    pub variables: Arc<Variables>,
    /// The only source of the time of day.
    pub clock: Arc<dyn Clock>,
    /// The repository.
    pub git: Git,
    /// The database.
    pub store: Store,
    /// Where the project's logs, locks and scratch checkouts are.
    pub home: ProjectHome,
    /// Messages to people.
    pub alerts: Arc<Alerts>,
    /// Ends the checks of candidates that are under way.
    pub stop: Arc<Stop>,
    /// Who acts: `name <email>` from git's configuration, else the login name.
    pub person: String,
}

impl Context {
    /// Answers the current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells people about something, who see the project's name first. Returns at once and never fails: an alert that
    /// reaches nobody is told to the log.
    pub fn tell(&self, alert: Alert) {
        let title = format!("{}: {}", self.config.project, alert.title);
        self.alerts.send(Alert { title, ..alert });
    }
}
