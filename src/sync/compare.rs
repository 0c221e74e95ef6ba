//! Looking at both sides: list, join with what was agreed, digest what may have changed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use super::baseline::{self, Entry};
use super::codec::Damaged;
use super::error::{Error, Result};
use super::filter::Filter;
use super::join::{Row, join};
use super::report::Noted;
use crate::endpoint::{
    self, Capabilities, Ended, Endpoint, Fingerprint, Form, Item, Key, Known, Leftover, Listed, Listing, Unlisted,
    Version,
};
use crate::store::StoredBaseline;

/// Items that are digested at a time, unless they are large.
const DIGESTED_AT_ONCE_ITEMS: usize = 256;
/// Bytes that are digested at a time, unless one item has more.
const DIGESTED_AT_ONCE_BYTES: u64 = 32 << 20;

/// What stands under a key that may need something.
pub type Found = Row<Known, Entry, Known>;

/// What an interrupted run was about to leave at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// What; none: nothing.
    pub to: Option<Version>,
    /// Whether it is what the source had; otherwise a person wanted it so.
    pub is_from_source: bool,
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
    /// What could not be read.
    pub failed: Vec<Noted>,
    /// What interrupted writes left at the target.
    pub leftovers: Vec<Leftover>,
}

/// Who is compared.
pub(super) struct Sides {
    pub name: String,
    /// Nothing: what the target has is all that matters.
    pub source: Option<Arc<dyn Endpoint>>,
    pub target: Arc<dyn Endpoint>,
    pub filter: Filter,
    pub intents: Intents,
}

/// An item, or what is known of it already.
enum Half {
    Listed(Item),
    Known(Known),
}

type Pair = Row<Half, Entry, Half>;

/// Compares both sides and what was agreed.
pub(super) async fn compare(sides: &Sides, stored: StoredBaseline) -> Result<Comparison> {
    let (listed, ended) = list(sides, stored).await?;
    let Lists { rows, unchanged } = listed;
    let mut comparison = Comparison { unchanged, ..Comparison::default() };
    let hidden = note_unlisted(&mut comparison, ended, &sides.filter);
    let rows = rows.into_iter().filter(|row| !is_hidden(&hidden, &row.key)).collect();
    let found = digested(sides, rows, &mut comparison.failed).await;
    comparison.found = found.into_iter().map(|row| recovered(row, &sides.intents)).collect();
    Ok(comparison)
}

struct Lists {
    rows: Vec<Pair>,
    unchanged: usize,
}

async fn list(sides: &Sides, stored: StoredBaseline) -> Result<(Lists, [Ended; 2])> {
    let source = sides.source.as_ref().map(|source| source.list());
    let target = sides.target.list();
    let (filter, capabilities, name) = (sides.filter.clone(), sides.target.capabilities(), sides.name.clone());
    let joined = tokio::task::spawn_blocking(move || joined(&name, source, target, &filter, capabilities, &stored));
    joined.await.map_err(|lost| Error::Lost { name: sides.name.clone(), reason: lost.to_string() })?
}

/// Joins the listings as they come; what is as it was agreed is counted and forgotten.
fn joined(
    name: &str,
    source: Option<Listing>,
    target: Listing,
    filter: &Filter,
    capabilities: Capabilities,
    stored: &StoredBaseline,
) -> Result<(Lists, [Ended; 2])> {
    let ends = [RefCell::new(Ok(Ended::default())), RefCell::new(Ok(Ended::default()))];
    let damage = RefCell::new(None::<Damaged>);
    let taken = |item: Item| filter.takes(&item.key).then_some(item);
    let fitting = |item: Item| fit(capabilities, item, &ends[0]);
    let has_source = source.is_some();
    let source = source.into_iter().flat_map(|listing| items(listing, &ends[0]));
    let source = source.filter_map(taken).filter_map(fitting).map(|item| (item.key.clone(), item));
    let target = items(target, &ends[1]).filter_map(taken).map(|item| (item.key.clone(), item));
    let agreed = baseline::items(stored).map_while(|item| item.map_err(|damaged| damage.replace(Some(damaged))).ok());
    let agreed = agreed.filter(|(key, _)| filter.named().is_none_or(|named| named.contains(key)));
    let mut lists = Lists { rows: Vec::new(), unchanged: 0 };
    // Without a source nothing is known to be as it was agreed.
    for row in join(source, agreed, target) {
        let row = settled(row);
        if has_source && is_as_agreed(&row) {
            lists.unchanged += usize::from(row.target.is_some());
        } else {
            lists.rows.push(row);
        }
    }
    if let Some(source) = damage.take() {
        return Err(Error::Damaged { name: name.to_owned(), source });
    }
    let [here, there] = ends.map(RefCell::into_inner);
    let failed = |source| Error::Endpoint { name: name.to_owned(), source };
    Ok((lists, [here.map_err(failed)?, there.map_err(failed)?]))
}

/// Answers the items of a listing, and puts how it ended into `end`.
fn items<'e>(mut listing: Listing, end: &'e RefCell<endpoint::Result<Ended>>) -> impl Iterator<Item = Item> + use<'e> {
    let batches = iter::from_fn(move || match listing.next_blocking() {
        Some(Ok(Listed::Items(batch))) => Some(batch),
        Some(Ok(Listed::End(ended))) => {
            if let Ok(end) = &mut *end.borrow_mut() {
                end.unlisted.extend(ended.unlisted);
                end.leftovers.extend(ended.leftovers);
            }
            None
        }
        Some(Err(error)) => {
            *end.borrow_mut() = Err(error);
            None
        }
        None => None,
    });
    batches.flatten()
}

/// Answers an item as the target can hold it; what it cannot hold takes no part.
fn fit(capabilities: Capabilities, item: Item, end: &RefCell<endpoint::Result<Ended>>) -> Option<Item> {
    match fitting_form(capabilities, item.form) {
        Some(form) => Some(Item { form, ..item }),
        None => {
            let reason = "the target can hold no links".to_owned();
            if let Ok(end) = &mut *end.borrow_mut() {
                end.unlisted.push(Unlisted { key: item.key, reason, hides_items: false });
            }
            None
        }
    }
}

fn fitting_form(capabilities: Capabilities, form: Form) -> Option<Form> {
    match form {
        Form::Link => capabilities.links.then_some(form),
        Form::File { executable } => Some(Form::File { executable: executable && capabilities.executables }),
    }
}

/// Answers what is known of both sides without reading them.
fn settled(row: Row<Item, Entry, Item>) -> Pair {
    let Row { key, source, baseline, target } = row;
    let before = |side: fn(&Entry) -> &Option<Known>| baseline.as_ref().and_then(|entry| side(entry).as_ref());
    let source = source.map(|item| half(item, before(|entry| &entry.source)));
    let target = target.map(|item| half(item, before(|entry| &entry.target)));
    Row { key, source, baseline, target }
}

fn half(item: Item, before: Option<&Known>) -> Half {
    let proven = before.filter(|before| {
        item.fingerprint.proves(&before.fingerprint)
            && (item.form, item.size) == (before.version.form, before.version.size)
    });
    let version = match (proven, item.digest) {
        (Some(before), _) => before.version,
        (None, Some(digest)) => Version { digest, form: item.form, size: item.size },
        (None, None) => return Half::Listed(item),
    };
    Half::Known(Known { version, fingerprint: item.fingerprint })
}

/// Answers whether nothing has changed, not even what tells that.
fn is_as_agreed(row: &Pair) -> bool {
    let entry = row.baseline.clone().unwrap_or_default();
    let is_same = |half: &Option<Half>, before: &Option<Known>| match (half, before) {
        (None, None) => true,
        (Some(Half::Known(now)), Some(before)) => {
            now.version == before.version && now.fingerprint.proves(&before.fingerprint)
        }
        _ => false,
    };
    row.baseline.is_some() && is_same(&row.source, &entry.source) && is_same(&row.target, &entry.target)
}

/// Notes what was not listed; answers the keys at and below which nothing is known.
fn note_unlisted(comparison: &mut Comparison, ended: [Ended; 2], filter: &Filter) -> BTreeSet<Key> {
    let [source, target] = ended;
    comparison.leftovers = target.leftovers;
    let mut hidden = BTreeSet::new();
    let sides = [("source", source.unlisted), ("target", target.unlisted)];
    for (side, one) in sides.into_iter().flat_map(|(side, unlisted)| unlisted.into_iter().map(move |one| (side, one))) {
        let takes_part = if one.hides_items { filter.may_take_below(&one.key) } else { filter.takes(&one.key) };
        if takes_part {
            comparison.is_partial |= side == "source" && one.hides_items;
            comparison.skipped.push(Noted::new(&one.key, format!("at the {side}: {}", one.reason)));
            hidden.insert(one.key);
        }
    }
    hidden
}

/// Answers whether a key is one of `hidden` or lies below one.
fn is_hidden(hidden: &BTreeSet<Key>, key: &Key) -> bool {
    if hidden.is_empty() {
        return false;
    }
    let bytes = key.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([bytes.len()]);
    ends.into_iter().any(|end| Key::new(bytes[..end].to_vec()).is_ok_and(|above| hidden.contains(&above)))
}

/// Reads what is not known yet, on both sides at once.
async fn digested(sides: &Sides, rows: Vec<Pair>, failed: &mut Vec<Noted>) -> Vec<Found> {
    let listed = |half: &Option<Half>| match half {
        Some(Half::Listed(item)) => Some(item.clone()),
        _ => None,
    };
    let (here, there): (Vec<Item>, Vec<Item>) = (
        rows.iter().filter_map(|row| listed(&row.source)).collect(),
        rows.iter().filter_map(|row| listed(&row.target)).collect(),
    );
    let source = async {
        match &sides.source {
            Some(source) => digests(&**source, here).await,
            None => BTreeMap::new(),
        }
    };
    let (mut here, mut there) = tokio::join!(source, digests(&*sides.target, there));
    let capabilities = sides.target.capabilities();
    let mut found = Vec::with_capacity(rows.len());
    for Row { key, source, baseline, target } in rows {
        let source = known(&key, source, &mut here).map(|known| known.map(|known| as_held(capabilities, known)));
        match (source, known(&key, target, &mut there)) {
            (Ok(source), Ok(target)) => found.push(Row { key, source, baseline, target }),
            (Err(reason), _) | (_, Err(reason)) => failed.push(Noted::new(&key, reason)),
        }
    }
    found
}

fn as_held(capabilities: Capabilities, known: Known) -> Known {
    let form = fitting_form(capabilities, known.version.form).unwrap_or(known.version.form);
    Known { version: Version { form, ..known.version }, ..known }
}

type Digests = BTreeMap<Key, endpoint::Result<Known>>;

fn known(key: &Key, half: Option<Half>, digests: &mut Digests) -> std::result::Result<Option<Known>, String> {
    match half {
        None => Ok(None),
        Some(Half::Known(known)) => Ok(Some(known)),
        Some(Half::Listed(_)) => match digests.remove(key) {
            Some(Ok(known)) => Ok(Some(known)),
            Some(Err(error)) => Err(reason(&error)),
            None => Err("was not read".to_owned()),
        },
    }
}

/// Answers an error about an item in one line.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let causes = iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

pub(super) async fn digests(endpoint: &dyn Endpoint, items: Vec<Item>) -> Digests {
    let mut digests = BTreeMap::new();
    for batch in batches(items, |item| item.size, DIGESTED_AT_ONCE_ITEMS, DIGESTED_AT_ONCE_BYTES) {
        let keys: Vec<Key> = batch.iter().map(|item| item.key.clone()).collect();
        digests.extend(keys.into_iter().zip(endpoint.digest(batch).await));
    }
    digests
}

/// Cuts work into batches of so many items and bytes at most, and of one item at least.
pub(super) fn batches<T>(items: Vec<T>, size: impl Fn(&T) -> u64, items_limit: usize, bytes_limit: u64) -> Vec<Vec<T>> {
    let (mut batches, mut bytes) = (Vec::<Vec<T>>::new(), 0);
    for item in items {
        let more = size(&item);
        match batches.last_mut() {
            Some(batch) if batch.len() < items_limit && bytes + more <= bytes_limit => {
                bytes += more;
                batch.push(item);
            }
            _ => {
                bytes = more;
                batches.push(vec![item]);
            }
        }
    }
    batches
}

/// Takes what an interrupted run has put there for what was agreed: it was not somebody else.
fn recovered(row: Found, intents: &Intents) -> Found {
    let Some(intent) = intents.get(&row.key) else { return row };
    if row.target.as_ref().map(|known| known.version) != intent.to {
        return row;
    }
    let source = if intent.is_from_source {
        intent.to.map(|version| source_as_it_was(row.source.as_ref(), version))
    } else {
        row.baseline.and_then(|entry| entry.source)
    };
    Found { baseline: Some(Entry { source, target: row.target.clone() }), ..row }
}

/// Answers what the source had; where it moved on since, what tells that it has this version is not known.
fn source_as_it_was(now: Option<&Known>, version: Version) -> Known {
    let unknown = || Known { version, fingerprint: Fingerprint { bytes: Vec::new(), is_racy: true } };
    now.filter(|now| now.version == version).cloned().unwrap_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_never_empty() {
        let cut = |sizes: &[u64]| batches(sizes.to_vec(), |size| *size, 3, 10);
        assert_eq!(cut(&[1, 1, 1, 1]), [vec![1, 1, 1], vec![1]]);
        assert_eq!(cut(&[6, 6, 40, 1]), [vec![6], vec![6], vec![40], vec![1]]);
        assert_eq!(cut(&[4, 6, 0]), [vec![4, 6, 0]]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn what_lies_below_something_unlisted_is_unknown() {
        let key = |text: &str| Key::new(text.as_bytes().to_vec()).unwrap();
        let hidden = BTreeSet::from([key("a/b")]);
        assert!(is_hidden(&hidden, &key("a/b")) && is_hidden(&hidden, &key("a/b/c/d")));
        assert!(!is_hidden(&hidden, &key("a")) && !is_hidden(&hidden, &key("a/bc")));
    }
}
