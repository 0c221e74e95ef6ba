//! What every flow needs, built once at the edge and passed first.

use std::sync::Arc;

use crate::alert::{Alert, Alerts};
use crate::base::{Clock, Timestamp};
use crate::config::{AlertEvent, Config, Variables};
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
    /// Who acts: `name <email>` from git's configuration, else the login name.
    pub person: String,
}

impl Context {
    /// Answers the current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells people about something; never fails, for a missing notification service is no error.
    pub async fn tell(&self, event: AlertEvent, title: String, body: String) {
        let urgent = !matches!(event, AlertEvent::Promoted);
        self.alerts.send(self.now(), Alert { event, title, body, urgent }).await;
    }
}
