use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::digest::Digest;
use crate::endpoint::Form;
use crate::sync::join::join;

type Side = BTreeMap<Key, Version>;

fn version(content: u8) -> Version {
    Version { digest: Digest::of(&[content]), form: Form::File { executable: false }, size: 1 }
}

fn key(number: u8) -> Key {
    Key::new(vec![b'a' + number]).unwrap()
}

fn side(most: u8) -> impl Strategy<Value = Side> {
    let of = |map: BTreeMap<u8, u8>| map.into_iter().map(|(at, content)| (key(at), version(content))).collect();
    proptest::collection::btree_map(0_u8..8, 0..most, 0..8).prop_map(of)
}

fn policy() -> impl Strategy<Value = Policy> {
    let on_drift = prop_oneof![Just(OnDrift::Flag), Just(OnDrift::Keep), Just(OnDrift::Overwrite)];
    let delete = prop_oneof![Just(DeleteMode::Never), Just(DeleteMode::Tracked), Just(DeleteMode::Mirror)];
    (on_drift, delete).prop_map(|(on_drift, delete)| Policy { on_drift, delete, max_delete: 1.0 })
}

fn agreed(side: &Side) -> impl Iterator<Item = (Key, Agreed)> {
    side.clone().into_iter().map(|(key, version)| (key, Agreed::both(version)))
}

fn planned(policy: &Policy, source: &Side, baseline: &Side, target: &Side) -> Plan {
    let stream = |side: &Side| side.clone().into_iter();
    plan(policy, false, join(stream(source), agreed(baseline), stream(target)))
}

/// Does what a plan says, as an engine would: what an action expects must be there.
fn apply(plan: &Plan, baseline: &mut Side, target: &mut Side) {
    for action in &plan.actions {
        match action {
            Action::Create { key, to } => {
                assert_eq!(target.insert(key.clone(), *to), None);
                baseline.insert(key.clone(), *to);
            }
            Action::Replace { key, from, to } => {
                assert_eq!(target.insert(key.clone(), *to), Some(*from));
                baseline.insert(key.clone(), *to);
            }
            Action::Delete { key, from } => {
                assert_eq!(target.remove(key), Some(*from));
                baseline.remove(key);
            }
            Action::Adopt { key, version } => {
                assert_eq!(target.get(key), Some(version));
                baseline.insert(key.clone(), *version);
            }
            Action::Forget { key } => {
                assert_eq!(target.get(key), None);
                baseline.remove(key);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(
        policy in policy(), source in side(3), baseline in side(3), target in side(3),
    ) {
        let (mut baseline, mut target) = (baseline, target);
        let first = planned(&policy, &source, &baseline, &target);
        apply(&first, &mut baseline, &mut target);
        let second = planned(&policy, &source, &baseline, &target);
        prop_assert!(second.is_empty(), "{:?}", second.actions);
        prop_assert_eq!(second.flags, first.flags);
        if policy.on_drift == OnDrift::Overwrite && policy.delete == DeleteMode::Mirror {
            prop_assert_eq!(target, source);
        }
    }

    #[test]
    fn what_somebody_else_did_at_the_target_is_never_undone_unasked(
        policy in policy(), source in side(3), baseline in side(3), target in side(3),
    ) {
        prop_assume!(policy.on_drift != OnDrift::Overwrite);
        let (mut agreed, mut after) = (baseline.clone(), target.clone());
        apply(&planned(&policy, &source, &baseline, &target), &mut agreed, &mut after);
        for (key, theirs) in &target {
            let is_theirs = baseline.get(key) != Some(theirs);
            let is_mirrored = policy.delete == DeleteMode::Mirror && !source.contains_key(key) && !baseline.contains_key(key);
            if is_theirs && !is_mirrored {
                prop_assert_eq!(after.get(key), Some(theirs));
            }
        }
        for key in baseline.keys().filter(|key| !target.contains_key(key)) {
            prop_assert_eq!(after.get(key), None, "it was deleted by hand");
        }
    }

    #[test]
    fn nothing_is_deleted_for_want_of_a_whole_listing(
        policy in policy(), source in side(3), baseline in side(3), target in side(3),
    ) {
        let stream = |side: &Side| side.clone().into_iter();
        let partial = plan(&policy, true, join(stream(&source), agreed(&baseline), stream(&target)));
        let deletes = |action: &Action| matches!(action, Action::Delete { .. });
        prop_assert!(!partial.actions.iter().any(deletes));
        let never = Policy { delete: DeleteMode::Never, ..policy };
        prop_assert!(!planned(&never, &source, &baseline, &target).actions.iter().any(deletes));
    }
}

#[test]
fn an_empty_source_is_stopped_by_the_guard() {
    let all: Side = (0..8).map(|at| (key(at), version(0))).collect();
    let policy = Policy { on_drift: OnDrift::Flag, delete: DeleteMode::Tracked, max_delete: 0.25 };
    let emptied = planned(&policy, &Side::new(), &all, &all);
    assert_eq!(emptied.guard, Some(Guard { deletes: 8, of: 8 }));
    let mut most = all.clone();
    most.retain(|kept, _| *kept > key(1));
    assert_eq!(planned(&policy, &most, &all, &all).guard, None, "two of eight");
    most.remove(&key(2));
    assert_eq!(planned(&policy, &most, &all, &all).guard, Some(Guard { deletes: 3, of: 8 }));
    assert_eq!(planned(&policy, &Side::new(), &Side::new(), &Side::new()).guard, None);
}

#[test]
fn one_item_of_a_few_may_go_and_never_all_of_them() {
    let guarded = |deletes, of, max_delete| Guard { deletes, of }.closes(max_delete);
    assert!(!guarded(1, 5, 0.1) && guarded(2, 5, 0.1) && !guarded(1, 1, 0.1));
    assert!(guarded(2, 2, 0.9) && !guarded(2, 2, 1.0) && guarded(1, 5, 0.0) && !guarded(0, 5, 0.0));
}

#[test]
fn deletions_come_first() {
    let (source, before) = (Side::from([(key(0), version(1))]), Side::from([(key(5), version(1))]));
    let policy = Policy { on_drift: OnDrift::Flag, delete: DeleteMode::Tracked, max_delete: 1.0 };
    let plan = planned(&policy, &source, &before, &before);
    assert!(matches!(&plan.actions[..], [Action::Delete { .. }, Action::Create { .. }]));
}
