//! What a watcher has to say besides its state.

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;
use crate::base::id::ObjectId;

/// Edits of others that lost are shown for seven days.
const LOST_SHOWN_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Most of them that are kept.
const LOST_LIMIT: usize = 20;

/// What a watcher has to say besides; a note that an older watcher did not know is at its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxNotes {
    /// Why the configuration of the checkout is not the one that the watcher goes by (escaped for people).
    pub configuration: Option<String>,
    /// What is tracked and has changed, and is never saved.
    pub excluded: Excluded,
    /// Edits of others that lost, the newest first.
    pub lost: Vec<LostEdit>,
    /// The checkout that is watched (escaped for people): a repository may have several.
    pub root: Option<String>,
    /// When a push that failed is tried again at the latest.
    pub push_again: Option<Timestamp>,
}

/// Tracked files that have changed, and that the configuration keeps out of saves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Excluded {
    /// How many there are.
    pub count: usize,
    /// The first of them (escaped for people).
    pub paths: Vec<String>,
}

/// An edit of others that lost against one of the sandbox's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEdit {
    /// The commit of theirs that was brought in; it still has the edit.
    pub theirs: ObjectId,
    /// How many files it is about.
    pub files: usize,
    /// The first of them (escaped for people).
    pub paths: Vec<String>,
    /// When it was brought in.
    pub at: Timestamp,
}

impl SandboxNotes {
    /// Notes an edit that lost now; those that are not shown any more go.
    pub fn add_lost(&mut self, edit: LostEdit) {
        let now = edit.at;
        self.lost.retain(|earlier| earlier.is_shown(now));
        self.lost.insert(0, edit);
        self.lost.truncate(LOST_LIMIT);
    }
}

impl LostEdit {
    /// Answers whether people may not have seen it yet.
    #[must_use]
    pub fn is_shown(&self, now: Timestamp) -> bool {
        now.as_millisecond() - self.at.as_millisecond() < LOST_SHOWN_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;

    fn edit(at_ms: i64) -> LostEdit {
        let theirs = "0123456789012345678901234567890123456789".parse().unwrap();
        LostEdit { theirs, files: 1, paths: vec!["page".to_owned()], at: from_ms(at_ms) }
    }

    #[test]
    fn edits_that_lost_are_shown_for_a_week_newest_first() {
        let mut notes = SandboxNotes::default();
        for at_ms in [0, 1, LOST_SHOWN_MS] {
            notes.add_lost(edit(at_ms));
        }
        assert_eq!(notes.lost, [edit(LOST_SHOWN_MS), edit(1)]);
        assert!(edit(1).is_shown(from_ms(LOST_SHOWN_MS)) && !edit(1).is_shown(from_ms(LOST_SHOWN_MS + 1)));
        (0..30).for_each(|number| notes.add_lost(edit(LOST_SHOWN_MS + number)));
        assert_eq!(notes.lost.len(), LOST_LIMIT);
        assert_eq!(notes.lost[0], edit(LOST_SHOWN_MS + 29));
    }

    #[test]
    fn notes_of_an_older_watcher_are_understood() {
        assert_eq!(serde_json::from_str::<SandboxNotes>("{}").unwrap(), SandboxNotes::default());
    }
}
