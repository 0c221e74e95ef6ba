//! What every flow needs, built once at the edge and passed first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::alert::{Alert, Alerts};
use crate::base::id::ObjectId;
use crate::base::{Clock, Timestamp};
use crate::check::Stop;
use crate::config::{Config, Variables};
use crate::git::Git;
use crate::store::{ProjectHome, Store};

/// Most commits of which a context keeps the configuration.
const COMMITTED_LIMIT: usize = 16;

/// The configurations that commits have, as this context's variables make them: a commit's is read once.
#[derive(Debug, Default)]
pub struct Committed(Mutex<HashMap<ObjectId, Option<Arc<Config>>>>);

impl Committed {
    /// Answers what is known of a commit: its configuration, or that it has none.
    #[must_use]
    pub fn get(&self, commit: ObjectId) -> Option<Option<Arc<Config>>> {
        self.0.lock().ok()?.get(&commit).cloned()
    }

    /// Keeps what a commit has.
    pub fn keep(&self, commit: ObjectId, config: Option<Arc<Config>>) {
        let Ok(mut known) = self.0.lock() else { return };
        if known.len() >= COMMITTED_LIMIT {
            known.clear();
        }
        known.insert(commit, config);
    }
}

/// One project with everything that acts on it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// What `${VAR}` in a configuration stands for.
    pub variables: Arc<Variables>,
    /// What the configurations of commits were read as.
    pub committed: Arc<Committed>,
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
