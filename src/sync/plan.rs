//! What is to be done: ordered actions, each with what it expects to find. Pure.

use std::collections::BTreeSet;

use super::diff::{Agreed, Finding, Touch, judge};
use super::join::Row;
use super::parts::Together;
use crate::config::{DeleteMode, OnDrift};
use crate::endpoint::{Key, Version};

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
    /// The parts of it that are left alone, where others are not; none: all of it.
    pub parts: Vec<String>,
}

impl Flag {
    /// Answers whether a person can decide about it by choosing a side.
    #[must_use]
    pub fn is_resolvable(&self) -> bool {
        touch(self.finding) != Some(Touch::Barred)
    }
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
    /// Items that are left alone, for not all of the source is listed: they may be there.
    pub kept_back: usize,
    /// Items at the target that are as they should be.
    pub unchanged: usize,
    /// Why it may not be carried out, where it deletes too much.
    pub guard: Option<Guard>,
}

impl Plan {
    /// Answers a flagged item that a person can decide about by choosing a side.
    #[must_use]
    pub fn resolvable(&self) -> Option<String> {
        self.flags.iter().find(|flag| flag.is_resolvable()).map(|flag| flag.key.to_string())
    }

    /// Flags what cannot be put there where the target holds nothing below an item: one of these keys is on its way, and
    /// stays. What is to be `created` beside the plan is flagged, too; answers which of it.
    pub fn bar(&mut self, in_the_way: &BTreeSet<Key>, created: impl Iterator<Item = Key>) -> BTreeSet<Key> {
        let is_barred = |key: &Key| key.above().any(|above| in_the_way.contains(&above));
        let mut barred: BTreeSet<Key> = created.filter(is_barred).collect();
        let beside = barred.clone();
        self.actions.retain(|action| {
            let is_barred = matches!(action, Action::Create { key, .. } if is_barred(key));
            barred.extend(is_barred.then(|| action.key().clone()));
            !is_barred
        });
        self.flags.retain(|flag| !is_barred(&flag.key) || !barred.insert(flag.key.clone()));
        let flag = |key| Flag { key, finding: Finding::Drift(Touch::Barred), parts: Vec::new() };
        self.flags.extend(barred.into_iter().map(flag));
        self.flags.sort_by(|one, other| one.key.cmp(&other.key));
        beside
    }

    /// Answers whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// Plans what brings the target to what the source says.
///
/// `rows` come in the order of keys. Nothing is deleted where `is_partial` says that the source was not listed whole.
pub fn plan(policy: &Policy, is_partial: bool, rows: impl IntoIterator<Item = Row<Version, Agreed, Version>>) -> Plan {
    let mut planner = Planner::new(policy, is_partial);
    rows.into_iter().for_each(|row| planner.add(row));
    planner.finish()
}

/// A plan in the making.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    is_partial: bool,
    plan: Plan,
    deletions: Vec<Action>,
    looked_after: usize,
}

impl Planner {
    /// Begins a plan; nothing is deleted where `is_partial` says that the source was not listed whole.
    #[must_use]
    pub fn new(policy: &Policy, is_partial: bool) -> Self {
        Self { policy: *policy, is_partial, plan: Plan::default(), deletions: Vec::new(), looked_after: 0 }
    }

    /// Takes in what is known to need nothing.
    pub fn add_unchanged(&mut self, items: usize) {
        self.plan.unchanged += items;
        self.looked_after += items;
    }

    /// Takes in the next key.
    pub fn add(&mut self, row: Row<Version, Agreed, Version>) {
        let agreed = row.baseline.unwrap_or_default();
        let finding = judge(row.source, agreed, row.target);
        let is_ours = agreed != Agreed::default() || self.policy.delete == DeleteMode::Mirror;
        let is_there = row.target.is_some();
        self.looked_after += usize::from(is_there && is_ours);
        match decide(&self.policy, finding, row) {
            Decision::Act(Action::Delete { .. }) if self.is_partial => self.plan.kept_back += 1,
            Decision::Act(action @ Action::Delete { .. }) => self.deletions.push(action),
            Decision::Act(action) => self.plan.actions.push(action),
            Decision::Flag(key) => self.plan.flags.push(Flag { key, finding, parts: Vec::new() }),
            Decision::Keep => self.plan.kept += 1,
            Decision::Nothing => self.plan.unchanged += usize::from(is_there),
        }
    }

    /// Takes in the next key, whose sides were brought together part by part.
    pub(super) fn add_together(&mut self, key: &Key, together: &Together) {
        self.looked_after += 1;
        let Together { from, to, .. } = together;
        if from != to {
            self.plan.actions.push(Action::Replace { key: key.clone(), from: *from, to: *to });
        }
        match together.flag(key) {
            Some(flag) => self.plan.flags.push(flag),
            None => self.plan.unchanged += usize::from(from == to),
        }
    }

    /// Answers the plan.
    #[must_use]
    pub fn finish(mut self) -> Plan {
        let guard = Guard { deletes: self.deletions.len(), of: self.looked_after };
        self.plan.guard = guard.closes(self.policy.max_delete).then_some(guard);
        self.deletions.append(&mut self.plan.actions);
        self.plan.actions = self.deletions;
        self.plan
    }
}

impl Guard {
    /// Answers whether so many deletions are too many: more than the share (a part of an item counts as one), or everything
    /// where not everything may go.
    fn closes(self, max_delete: f64) -> bool {
        let is_everything = self.deletes > 0 && self.deletes == self.of && max_delete < 1.0;
        // A single item is everything, too; a share that is not nothing lets it go.
        let is_more = self.deletes as f64 > (max_delete * self.of as f64).ceil();
        is_more || (is_everything && self.deletes > 1)
    }
}

enum Decision {
    Act(Action),
    Flag(Key),
    Keep,
    Nothing,
}

fn decide(policy: &Policy, finding: Finding, row: Row<Version, Agreed, Version>) -> Decision {
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
        (OnDrift::Flag | OnDrift::FlagField, ..) => Decision::Flag(key),
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
