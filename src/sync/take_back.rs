//! Undoing runs: what they replaced comes back as if the source had never said what they brought.
//!
//! Unlike a restore, which lets the source's word stand until it says something else, the next run brings the same again.
//! What somebody else changed at the target since is left alone.

use std::collections::BTreeMap;

use super::apply::Supply;
use super::baseline::{Changes, Entry};
use super::diff::{Finding, Touch};
use super::error::Result;
use super::filter::Filter;
use super::plan::{Action, Flag, Plan};
use super::report::Report;
use super::restore;
use super::run::{Prepared, Purpose, Sync, unproved};
use super::snapshot::{self, Before};
use crate::endpoint::{Key, Version};

impl Sync {
    /// Puts back what these runs replaced, and takes away what they created; what it replaces is in a snapshot. Runs that
    /// replaced nothing, and those whose snapshot is gone, have no part in it.
    ///
    /// Done twice, the second time changes nothing.
    ///
    /// # Errors
    /// A snapshot is damaged; as [`Sync::prepare`] and [`Sync::run`].
    pub async fn take_back(&self, runs: &[String]) -> Result<Report> {
        let snapshots = self.store.snapshots(&self.name).await?;
        let wanted = snapshots.iter().filter(|record| runs.contains(&record.run));
        let before = wanted.map(|record| restore::read(&self.name, record)).collect::<Result<Vec<_>>>()?;
        let prepared = self.prepare_take_back(snapshot::merged(before)).await?;
        self.perform(prepared, Purpose::TakeBack, &Supply::Archive(self.archive.clone())).await
    }

    async fn prepare_take_back(&self, before: Before) -> Result<Prepared> {
        let started_at = self.clock.now();
        let stored = self.baseline().await?;
        let one = Self { filter: Filter::only(before.keys().cloned().collect()), ..self.clone() };
        let comparison = one.compare(&one.sides(None), &stored.0, stored.1).await?;
        let rows = comparison.found.iter().map(|row| {
            let now = row.target.as_ref().map(|known| known.version);
            let ours = row.baseline.as_ref().and_then(|entry| entry.agreed().target);
            (row.key.clone(), Stand { now, ours })
        });
        let plan = plan(before, &rows.collect());
        Ok(one.prepared(plan, comparison, stored, started_at))
    }
}

/// What is under a key, and what was to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stand {
    /// What is there.
    now: Option<Version>,
    /// What the last run left there.
    ours: Option<Version>,
}

fn plan(before: Before, stands: &BTreeMap<Key, Stand>) -> Plan {
    let mut plan = Plan::default();
    let (mut deletions, mut others) = (Vec::new(), Vec::new());
    for (key, version) in before {
        let Stand { now, ours } = stands.get(&key).copied().unwrap_or_default();
        if now != version && now != ours {
            let touch = if now.is_none() { Touch::Deleted } else { Touch::Changed };
            plan.flags.push(Flag { key, finding: Finding::Drift(touch), parts: Vec::new() });
            continue;
        }
        match (restore::action(key.clone(), now, version), version) {
            (Some(action @ Action::Delete { .. }), _) => deletions.push(action),
            (Some(action), _) => others.push(action),
            // It is back already; what was agreed may not say so yet.
            (None, Some(version)) => others.push(Action::Adopt { key, version }),
            (None, None) => others.push(Action::Forget { key }),
        }
    }
    // What takes a directory's place needs room.
    plan.actions = deletions.into_iter().chain(others).collect();
    plan
}

/// Answers what is agreed where the target has already what was there before.
pub(super) fn agreements(prepared: &Prepared) -> Changes {
    let mut changes = Changes::new();
    for action in &prepared.plan.actions {
        match action {
            Action::Adopt { key, version } => {
                let target = prepared.found.get(key).and_then(|row| row.target.clone());
                changes.insert(key.clone(), Some(Entry { source: Some(unproved(*version)), target }));
            }
            Action::Forget { key } => drop(changes.insert(key.clone(), None)),
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::digest::Digest;
    use crate::endpoint::Form;

    fn version(content: u8) -> Version {
        Version { digest: Digest::of(&[content]), form: Form::File { executable: false }, size: 1 }
    }

    fn key() -> Key {
        Key::new(b"a".to_vec()).unwrap()
    }

    fn planned(before: Option<u8>, ours: Option<u8>, now: Option<u8>) -> Plan {
        let stand = Stand { now: now.map(version), ours: ours.map(version) };
        plan(Before::from([(key(), before.map(version))]), &BTreeMap::from([(key(), stand)]))
    }

    #[test]
    fn what_a_run_did_is_undone_and_a_hand_edit_since_is_left_alone() {
        let (one, two, hand) = (Some(1), Some(2), Some(3));
        assert!(matches!(planned(one, two, two).actions[..], [Action::Replace { .. }]));
        assert!(matches!(planned(None, two, two).actions[..], [Action::Delete { .. }]));
        assert!(matches!(planned(one, None, None).actions[..], [Action::Create { .. }]));
        assert!(matches!(planned(one, two, one).actions[..], [Action::Adopt { .. }]));
        assert!(matches!(planned(None, two, None).actions[..], [Action::Forget { .. }]));
        for (now, touch) in [(hand, Touch::Changed), (None, Touch::Deleted)] {
            let plan = planned(one, two, now);
            assert!(plan.actions.is_empty());
            assert_eq!(plan.flags, [Flag { key: key(), finding: Finding::Drift(touch), parts: Vec::new() }]);
        }
    }

    proptest! {
        #[test]
        fn only_what_was_there_or_what_a_run_left_there_is_ever_touched(
            before in proptest::option::of(0_u8..3), ours in proptest::option::of(0_u8..3), now in proptest::option::of(0_u8..3),
        ) {
            let plan = planned(before, ours, now);
            let touches = plan.actions.iter().any(Action::touches_target);
            prop_assert_eq!(touches, now == ours && now != before);
            prop_assert_eq!(plan.flags.len(), usize::from(now != ours && now != before));
        }
    }
}
