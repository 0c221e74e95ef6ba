//! What is to be done: ordered actions, each with what it expects to find. Pure.

use serde::{Deserialize, Serialize};

use super::diff::{Finding, Touch, judge};
use super::join::Row;
use crate::endpoint::{Key, Version};

/// What happens where somebody else changed the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// The target is left alone, and it is told until somebody decides.
    #[default]
    Flag,
    /// The target is left alone, and that is all.
    Keep,
    /// The source wins; what was there is in a snapshot.
    Overwrite,
}

/// What happens to what the source does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteMode {
    /// Nothing is ever deleted.
    Never,
    /// What was once put there from here is deleted with it.
    #[default]
    Tracked,
    /// Whatever the source does not have is deleted.
    Mirror,
}

/// How a sync decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Where somebody else changed the target.
    pub on_drift: OnDrift,
    /// Where the source has something no more.
    pub delete: DeleteMode,
    /// The largest share of what the target has of ours that one plan may delete, from 0 to 1.
    pub max_delete: f64,
}

/// What is done under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Puts there what the source has; nothing may be there.
    Create {
        /// The key.
        key: Key,
        /// What the source has.
        to: Version,
    },
    /// Puts there what the source has, in place of exactly this.
    Replace {
        /// The key.
        key: Key,
        /// What must be there.
        from: Version,
        /// What the source has.
        to: Version,
    },
    /// Takes away exactly this.
    Delete {
        /// The key.
        key: Key,
        /// What must be there.
        from: Version,
    },
    /// Agrees on what both have already.
    Adopt {
        /// The key.
        key: Key,
        /// What both have.
        version: Version,
    },
    /// Forgets what neither has any more.
    Forget {
        /// The key.
        key: Key,
    },
}

impl Action {
    /// Answers the key.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Create { key, .. }
            | Self::Replace { key, .. }
            | Self::Delete { key, .. }
            | Self::Adopt { key, .. }
            | Self::Forget { key } => key,
        }
    }

    /// Answers whether the target changes.
    #[must_use]
    pub fn touches_target(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Replace { .. } | Self::Delete { .. })
    }
}

/// Something that is left alone and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key.
    pub key: Key,
    /// What is the matter.
    pub finding: Finding,
}

/// Why a plan may not be carried out as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// So many items would be deleted.
    pub deletes: usize,
    /// Of so many that are there by our doing or would be looked after.
    pub of: usize,
}

/// What is to be done, in the order of keys; deletions come first, for what takes a directory's place needs room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is done.
    pub actions: Vec<Action>,
    /// What is left alone and told.
    pub flags: Vec<Flag>,
    /// What is left alone without a word.
    pub kept: usize,
    /// What is as it should be.
    pub unchanged: usize,
    /// Why it may not be carried out, where it deletes too much.
    pub guard: Option<Guard>,
}

impl Plan {
    /// Answers whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// Plans what brings the target to what the source says.
///
/// `rows` come in the order of keys. Nothing is deleted where `is_partial` says that the source was not listed whole.
pub fn plan(policy: &Policy, is_partial: bool, rows: impl IntoIterator<Item = Row<Version, Version, Version>>) -> Plan {
    let mut plan = Plan::default();
    let (mut deletions, mut others, mut looked_after) = (Vec::new(), Vec::new(), 0);
    let policy = Policy { delete: if is_partial { DeleteMode::Never } else { policy.delete }, ..*policy };
    for row in rows {
        let finding = judge(row.source, row.baseline, row.target);
        let is_ours = row.baseline.is_some() || policy.delete == DeleteMode::Mirror;
        looked_after += usize::from(row.target.is_some() && is_ours);
        match decide(&policy, finding, row) {
            Decision::Act(action @ Action::Delete { .. }) => deletions.push(action),
            Decision::Act(action) => others.push(action),
            Decision::Flag(key) => plan.flags.push(Flag { key, finding }),
            Decision::Keep => plan.kept += 1,
            Decision::Nothing => plan.unchanged += 1,
        }
    }
    let guard = Guard { deletes: deletions.len(), of: looked_after };
    plan.guard = (guard.deletes as f64 > policy.max_delete * guard.of as f64).then_some(guard);
    deletions.append(&mut others);
    plan.actions = deletions;
    plan
}

enum Decision {
    Act(Action),
    Flag(Key),
    Keep,
    Nothing,
}

fn decide(policy: &Policy, finding: Finding, row: Row<Version, Version, Version>) -> Decision {
    let Row { key, source, target, .. } = row;
    match (finding, source, target) {
        (Finding::Converged, Some(version), _) => Decision::Act(Action::Adopt { key, version }),
        (Finding::Forgotten, ..) => Decision::Act(Action::Forget { key }),
        (Finding::Create, Some(to), None) => Decision::Act(Action::Create { key, to }),
        (Finding::Update, Some(to), Some(from)) => Decision::Act(Action::Replace { key, from, to }),
        (Finding::Delete, None, Some(from)) if policy.delete != DeleteMode::Never => {
            Decision::Act(Action::Delete { key, from })
        }
        (Finding::Extra, None, Some(from)) if policy.delete == DeleteMode::Mirror => {
            Decision::Act(Action::Delete { key, from })
        }
        (Finding::Delete | Finding::Extra, ..) => Decision::Keep,
        (Finding::Drift(_) | Finding::Conflict(_), ..) => differing(policy, key, source, target),
        _ => Decision::Nothing,
    }
}

/// Decides where somebody else touched the target.
fn differing(policy: &Policy, key: Key, source: Option<Version>, target: Option<Version>) -> Decision {
    match (policy.on_drift, source, target) {
        (OnDrift::Flag, ..) => Decision::Flag(key),
        (OnDrift::Keep, ..) => Decision::Keep,
        (OnDrift::Overwrite, Some(to), Some(from)) => Decision::Act(Action::Replace { key, from, to }),
        (OnDrift::Overwrite, Some(to), None) => Decision::Act(Action::Create { key, to }),
        (OnDrift::Overwrite, None, Some(from)) if policy.delete != DeleteMode::Never => {
            Decision::Act(Action::Delete { key, from })
        }
        (OnDrift::Overwrite, ..) => Decision::Keep,
    }
}

/// Answers what somebody else did at the target, where a finding is about that.
#[must_use]
pub fn touch(finding: Finding) -> Option<Touch> {
    match finding {
        Finding::Drift(touch) | Finding::Conflict(touch) => Some(touch),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
