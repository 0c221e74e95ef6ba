//! What both sides have, as far as it is not as it was agreed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::baseline::Entry;
use super::collision::Collisions;
use super::diff::{Finding, judge};
use super::error::Result;
use super::filter::Filter;
use super::packed::NewItems;
use super::report::Noted;
use super::run::unproved;
use super::walk::{Found, Looked, Sides, Unread, walk};
use super::words::Words;
use crate::endpoint::{Aside, Ended, Folding, Key, Known, Leftover, Version};
use crate::store::StoredBaseline;

/// What an interrupted run was about to leave at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// What; none: nothing.
    pub to: Option<Version>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where what a run leaves at the target came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the source.
    Source,
    /// From a snapshot: the source's word counts as it did before.
    Snapshot,
    /// From a person, who saw what the source has.
    Person,
}

/// What interrupted runs were about to leave under each key.
pub type Intents = BTreeMap<Key, Intent>;

/// What both sides have, as far as it is not as it was agreed.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What may need something, in the order of keys.
    pub found: Vec<Found>,
    /// Items on the target that are as they were agreed.
    pub unchanged: usize,
    /// Whether the source was not listed whole.
    pub is_partial: bool,
    /// What takes no part.
    pub skipped: Vec<Noted>,
    /// How much of the source is skipped though it may be, or hide, what was to be brought over.
    pub set_aside: usize,
    /// What could not be read.
    pub failed: Vec<Noted>,
    /// How many of those may be read by merely trying again.
    pub passing: usize,
    /// Items of ours at the target that the source does not list, and that what is not listed there may hide.
    pub kept_back: usize,
    /// Items of the source that may be executed, where the target cannot keep that.
    pub programs: usize,
    /// What only the source has, not read yet.
    pub new: NewItems,
    /// What the target would take for something else.
    pub colliding: Vec<Noted>,
    /// What interrupted writes left at the target.
    pub leftovers: Vec<Leftover>,
}

/// Compares both sides and what was agreed.
pub(super) async fn compare(
    sides: &Sides,
    (intents, words): (&Intents, &Words),
    stored: Arc<StoredBaseline>,
) -> Result<Comparison> {
    let (mut comparison, mut unread) = (Comparison::default(), Vec::new());
    let mut each = |looked| match looked {
        Looked::Found(row) if sides.source.is_some() && is_agreed(&row) => {
            comparison.unchanged += usize::from(row.target.is_some());
        }
        Looked::Found(row) => comparison.found.push(words.applied(recovered(*row, intents))),
        Looked::New(item) => comparison.new.add(&item),
        Looked::Unread(one) => unread.push(one),
    };
    let walked = walk(sides, stored, &mut each).await?;
    comparison.unchanged += walked.unchanged;
    comparison.programs = walked.programs;
    if walked.collisions.any() {
        set_aside_colliding(&mut comparison, &walked.collisions, sides.target.folding().await);
    }
    comparison.leftovers.clone_from(&walked.ended[1].leftovers);
    let Unknown { is_partial, set_aside, hiding, no_items, keys: hidden, at_target } =
        note_unlisted(walked.ended, &sides.filter);
    (comparison.is_partial, comparison.set_aside) = (is_partial, set_aside);
    comparison.skipped = hiding.into_iter().chain(no_items).collect();
    if !hidden.is_empty() {
        leave_hidden(&mut comparison, &hidden, &at_target);
    }
    let failed = unread.into_iter().filter(|one| !is_hidden(&hidden, &one.key));
    for Unread { key, reason, may_pass } in failed {
        comparison.failed.push(Noted::new(&key, reason));
        comparison.passing += usize::from(may_pass);
    }
    Ok(comparison)
}

/// Leaves alone what may hide behind something that is not listed, and tells what cannot be brought for that.
fn leave_hidden(comparison: &mut Comparison, hidden: &BTreeSet<Key>, at_target: &BTreeSet<Key>) {
    let behind = |key: &Key| Noted::new(key, "lies behind something at the target that is no item");
    for row in comparison.found.iter().filter(|row| is_hidden(hidden, &row.key)) {
        if row.source.is_some() && is_hidden(at_target, &row.key) {
            comparison.colliding.push(behind(&row.key));
        }
        let is_ours = row.baseline.as_ref().is_some_and(|entry| entry.target.is_some());
        comparison.kept_back += usize::from(row.source.is_none() && row.target.is_some() && is_ours);
    }
    let new = comparison.new.iter().map(|item| item.key).filter(|key| is_hidden(at_target, key));
    comparison.colliding.extend(new.map(|key| behind(&key)));
    comparison.found.retain(|row| !is_hidden(hidden, &row.key));
    comparison.new = comparison.new.only(|key| !is_hidden(hidden, key));
}

/// Sets aside what the target would take for something else that the source has: nothing is done about any of them.
fn set_aside_colliding(comparison: &mut Comparison, collisions: &Collisions, folding: Folding) {
    let collides = |row: &Found| row.source.is_some() && collisions.has(&row.key, folding);
    let (colliding, found) = std::mem::take(&mut comparison.found).into_iter().partition(collides);
    let colliding: Vec<Found> = colliding;
    comparison.found = found;
    let reason = "has a name that the target takes for that of another item";
    let new = comparison.new.iter().map(|item| item.key).filter(|key| collisions.has(key, folding));
    let mut keys: Vec<Key> = colliding.into_iter().map(|row| row.key).chain(new).collect();
    keys.sort();
    comparison.colliding = keys.iter().map(|key| Noted::new(key, reason)).collect();
    comparison.new = comparison.new.only(|key| !collisions.has(key, folding));
}

/// Answers whether content was read and is what was agreed, and what would prove that next time is what it was.
fn is_agreed(row: &Found) -> bool {
    let Some(entry) = &row.baseline else { return false };
    let version = |known: &Option<Known>| known.as_ref().map(|known| known.version);
    let is_same = |before: &Option<Known>, now: &Option<Known>| match (before, now) {
        (None, None) => true,
        (Some(before), Some(now)) => now.fingerprint.proves(&before.fingerprint),
        _ => false,
    };
    judge(version(&row.source), entry.agreed(), version(&row.target)) == Finding::Unchanged
        && is_same(&entry.source, &row.source)
        && is_same(&entry.target, &row.target)
}

/// What was not listed.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Whether items of the source are not listed.
    pub is_partial: bool,
    /// How much of the source is, or hides, items that are not listed.
    pub set_aside: usize,
    /// What items may hide behind.
    pub hiding: Vec<Noted>,
    /// What is no item.
    pub no_items: Vec<Noted>,
    /// At and below these keys nothing is known.
    pub keys: BTreeSet<Key>,
    /// Those of them that are about the target.
    pub at_target: BTreeSet<Key>,
}

/// Answers what was not listed, as far as it takes part.
pub(super) fn note_unlisted(ended: [Ended; 2], filter: &Filter) -> Unknown {
    let aside = ended[0].aside.len();
    let mut unknown = Unknown { is_partial: aside > 0, set_aside: aside, ..Unknown::default() };
    for (side, aside) in ["source", "target"].into_iter().zip(ended.iter().map(|ended| &ended.aside)) {
        let noted = |one: &Aside| Noted { key: one.place.clone(), reason: format!("at the {side}: {}", one.reason) };
        unknown.hiding.extend(aside.iter().map(noted));
    }
    let [source, target] = ended.map(|ended| ended.unlisted);
    let sides = [("source", source), ("target", target)];
    for (side, one) in sides.into_iter().flat_map(|(side, unlisted)| unlisted.into_iter().map(move |one| (side, one))) {
        let takes_part = if one.hides_items { filter.may_take_below(&one.key) } else { filter.takes(&one.key) };
        if takes_part {
            let is_set_aside = side == "source" && one.hides_items;
            unknown.is_partial |= is_set_aside;
            unknown.set_aside += usize::from(is_set_aside);
            let noted = Noted::new(&one.key, format!("at the {side}: {}", one.reason));
            if one.hides_items { &mut unknown.hiding } else { &mut unknown.no_items }.push(noted);
        }
        // What was below it once may be there still.
        if takes_part || filter.may_take_below(&one.key) {
            if side == "target" {
                unknown.at_target.insert(one.key.clone());
            }
            unknown.keys.insert(one.key);
        }
    }
    unknown
}

/// Answers whether a key is one of `hidden` or lies below one.
pub(super) fn is_hidden(hidden: &BTreeSet<Key>, key: &Key) -> bool {
    if hidden.is_empty() {
        return false;
    }
    let bytes = key.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([bytes.len()]);
    ends.into_iter().any(|end| Key::new(bytes[..end].to_vec()).is_ok_and(|above| hidden.contains(&above)))
}

/// Takes what an interrupted run has put there for what was agreed: it was not somebody else.
fn recovered(row: Found, intents: &Intents) -> Found {
    let Some(intent) = intents.get(&row.key) else { return row };
    if row.target.as_ref().map(|known| known.version) != intent.to {
        return row;
    }
    let source = match intent.origin {
        Origin::Source => intent.to.map(|version| source_as_it_was(row.source.as_ref(), version)),
        Origin::Snapshot => row.baseline.and_then(|entry| entry.source),
        Origin::Person => row.source.clone(),
    };
    Found { baseline: Some(Entry { source, target: row.target.clone() }), ..row }
}

/// Answers what the source had; where it moved on since, what tells that it has this version is not known.
fn source_as_it_was(now: Option<&Known>, version: Version) -> Known {
    now.filter(|now| now.version == version).cloned().unwrap_or_else(|| unproved(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_something_unlisted_is_unknown() {
        let key = |text: &str| Key::new(text.as_bytes().to_vec()).unwrap();
        let hidden = BTreeSet::from([key("a/b")]);
        assert!(is_hidden(&hidden, &key("a/b")) && is_hidden(&hidden, &key("a/b/c/d")));
        assert!(!is_hidden(&hidden, &key("a")) && !is_hidden(&hidden, &key("a/bc")));
    }
}
