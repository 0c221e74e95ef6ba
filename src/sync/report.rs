//! What a sync did, item by item where something is the matter. Pure.

use serde::Serialize;

use super::diff::{Finding, Touch};
use super::difference::Difference;
use super::plan::{Action, Flag};
use crate::base::escape::shown;
use crate::endpoint::Key;

/// An item and what is the matter with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// The key, safe to show.
    pub key: String,
    /// What is the matter.
    pub reason: String,
}

impl Noted {
    /// Notes something about an item.
    #[must_use]
    pub fn new(key: &Key, reason: impl Into<String>) -> Self {
        Self { key: key.to_string(), reason: reason.into() }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The sync.
    pub sync: String,
    /// The run, where it changed anything; it names the snapshot of what it replaced.
    pub run: Option<String>,
    /// Where the content came from.
    pub source: String,
    /// What was brought to that.
    pub target: String,
    /// Items that were put where nothing was.
    pub created: usize,
    /// Items that were replaced.
    pub updated: usize,
    /// Items that were taken away.
    pub deleted: usize,
    /// Items that are as they should be.
    pub unchanged: usize,
    /// Items that differ and are left alone without a word.
    pub kept: usize,
    /// Items that the source does not list and that stay at the target all the same, for not all of the source is listed.
    pub kept_back: usize,
    /// Items of the source that may be executed, where the target cannot keep that.
    pub programs: usize,
    /// Items that are left alone until a person decides.
    pub flagged: Vec<Noted>,
    /// How many of them were changed on both sides: what the source says of them could not be done.
    #[serde(skip)]
    pub conflicts: usize,
    /// A flagged item that a person can decide about.
    #[serde(skip)]
    pub resolvable: Option<String>,
    /// What is there and takes no part, for it is no item or cannot be listed.
    pub skipped: Vec<Noted>,
    /// How much of that the source has and may be, or hide, what was to be brought over.
    #[serde(skip)]
    pub set_aside: usize,
    /// Items that could not be brought to what the source says.
    pub failed: Vec<Noted>,
    /// How many of them may be by merely trying again.
    #[serde(skip)]
    pub passing: usize,
    /// Items that were written and are something else now.
    pub unverified: Vec<Noted>,
    /// Items that were read on both sides after the run and are the same, where all were (`verify: full`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<usize>,
    /// What earlier runs left behind that somebody may want.
    pub left: Vec<String>,
    /// Bytes of content that were written.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Answers how many items changed.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.created + self.updated + self.deleted
    }
}

/// One action of a plan, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is done: `create`, `update`, `delete`.
    pub action: &'static str,
    /// The key, safe to show.
    pub key: String,
    /// Bytes of the content that is there then.
    pub bytes: u64,
    /// What changes in the content, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Difference>,
}

impl Step {
    /// Answers what an action does to the target; nothing where it does nothing there.
    #[must_use]
    pub fn of(action: &Action) -> Option<Self> {
        let (name, key, bytes) = match action {
            Action::Create { key, to } => ("create", key, to.size),
            Action::Replace { key, to, .. } => ("update", key, to.size),
            Action::Delete { key, .. } => ("delete", key, 0),
            Action::Adopt { .. } | Action::Forget { .. } => return None,
        };
        Some(Self { action: name, key: key.to_string(), bytes, diff: None })
    }
}

impl Flag {
    /// Answers what is the matter, as people say it.
    #[must_use]
    pub fn reason(&self) -> String {
        let said = flagged(self.finding);
        if self.parts.is_empty() {
            return said.to_owned();
        }
        let parts: Vec<String> = self.parts.iter().map(|part| shown(part.as_bytes())).collect();
        format!("{said}: {} (the rest follows the source)", parts.join(", "))
    }
}

/// Answers what is the matter with a flagged item, as people say it.
#[must_use]
pub fn flagged(finding: Finding) -> &'static str {
    match finding {
        Finding::Drift(Touch::Changed) => "was changed at the target",
        Finding::Drift(Touch::Deleted) => "was deleted at the target",
        Finding::Drift(Touch::Barred) | Finding::Conflict(Touch::Barred) => {
            "has something on its way at the target that is no directory: move that aside"
        }
        Finding::Drift(Touch::Added) | Finding::Conflict(Touch::Added) => "was put there by somebody else",
        Finding::Conflict(Touch::Changed) => "was changed on both sides",
        Finding::Conflict(Touch::Deleted) => "was deleted at the target and changed at the source",
        _ => "differs",
    }
}
