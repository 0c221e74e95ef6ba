//! Walking both sides and what was agreed in the order of keys: listed, joined and read as they come.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::baseline::{self, Entry};
use super::codec::Damaged;
use super::collision::Collisions;
use super::error::{Error, Result};
use super::filter::Filter;
use super::join::{Row, join};
use super::patience::Patience;
use super::progress::Progress;
use crate::endpoint::{
    self, Capabilities, Class, Ended, Endpoint, Form, Item, Key, Known, LISTED_AT_ONCE_ITEMS, Later, Listed, Listing,
    PIECE_BYTES, Unlisted, Version,
};
use crate::store::StoredBaseline;

/// Items that are digested at a time, unless they are large.
const DIGESTED_AT_ONCE_ITEMS: usize = 256;
/// Bytes that are digested at a time, unless one item has more.
const DIGESTED_AT_ONCE_BYTES: u64 = 32 << 20;
/// Batches of one side that are digested at the same time.
const DIGESTING_LIMIT: usize = 2;
/// Batches of rows that wait to be read.
const ROWS_BATCHES_LIMIT: usize = 2;

/// What stands under a key that may need something.
pub type Found = Row<Known, Entry, Known>;

/// Which content is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// What is not proved to be as it was agreed.
    #[default]
    Doubtful,
    /// All of it, whatever the endpoints say cheaply.
    Everything,
}

impl Reading {
    /// Answers what items are, as closely as this looks.
    pub(super) fn look(self, endpoint: &dyn Endpoint, items: Vec<Item>) -> Later<'_, Vec<endpoint::Result<Known>>> {
        match self {
            Self::Doubtful => endpoint.recall(items),
            Self::Everything => endpoint.digest(items),
        }
    }
}

/// How items are looked at.
#[derive(Clone, Copy)]
pub(super) struct Looking<'l> {
    pub reading: Reading,
    pub patience: Patience,
    pub progress: &'l Progress,
}

/// Who is walked.
pub(super) struct Sides {
    pub name: String,
    /// Nothing: what the target has is all that matters.
    pub source: Option<Arc<dyn Endpoint>>,
    pub target: Arc<dyn Endpoint>,
    pub filter: Filter,
    pub reading: Reading,
    /// Whether what is new is told without having been read.
    pub leaves_new_unread: bool,
    pub patience: Patience,
    pub progress: Arc<Progress>,
}

/// What is under a key.
#[derive(Debug)]
pub(super) enum Looked {
    /// This.
    Found(Box<Found>),
    /// Only what the source has, and nothing was agreed; its content was not read.
    New(Item),
    /// Nobody knows: it could not be read.
    Unread(Unread),
}

/// What could not be read, and why.
#[derive(Debug)]
pub(super) struct Unread {
    pub key: Key,
    pub reason: String,
    /// Whether it may be read by merely trying again.
    pub may_pass: bool,
}

/// How a walk ended.
#[derive(Debug)]
pub(super) struct Walked {
    /// Items on the target that are as they were agreed; nobody was told of them.
    pub unchanged: usize,
    /// Names of the source that some endpoints take for one.
    pub collisions: Collisions,
    /// How the listings of source and target ended.
    pub ended: [Ended; 2],
    /// Items of the source that may be executed, where the target cannot keep that.
    pub programs: usize,
}

/// An item, or what is known of it already.
enum Half {
    Listed(Item),
    Known(Known),
}

type Pair = Row<Half, Entry, Half>;

/// Walks both sides and what was agreed; `each` takes what is under every key where that may not be as it was agreed, in
/// the order of keys. What lies below something unlisted comes too: only the end tells.
pub(super) async fn walk(
    sides: &Sides,
    stored: Arc<StoredBaseline>,
    each: &mut (dyn FnMut(Looked) + Send),
) -> Result<Walked> {
    let joining = Joining {
        source: sides.source.as_ref().map(|source| source.list()),
        target: sides.target.list(),
        filter: sides.filter.clone(),
        capabilities: sides.target.capabilities(),
        name: sides.name.clone(),
        reading: sides.reading,
        progress: Arc::clone(&sides.progress),
    };
    let (sender, mut receiver) = mpsc::channel(ROWS_BATCHES_LIMIT);
    let joined = tokio::task::spawn_blocking(move || joining.run(&stored, &mut Batching { sender, rows: Vec::new() }));
    while let Some(rows) = receiver.recv().await {
        digested(sides, rows).await.into_iter().for_each(&mut *each);
    }
    joined.await.map_err(|lost| Error::Lost { name: sides.name.clone(), reason: lost.to_string() })?
}

/// Gives rows on in batches.
struct Batching {
    sender: mpsc::Sender<Vec<Pair>>,
    rows: Vec<Pair>,
}

impl Batching {
    fn add(&mut self, row: Pair) {
        self.rows.push(row);
        if self.rows.len() >= LISTED_AT_ONCE_ITEMS {
            self.send();
        }
    }

    fn send(&mut self) {
        // Whoever does not wait for them any more has given the walk up.
        let _ = self.sender.blocking_send(std::mem::take(&mut self.rows));
    }
}

/// A join of listings that are under way.
struct Joining {
    name: String,
    source: Option<Listing>,
    target: Listing,
    filter: Filter,
    capabilities: Capabilities,
    reading: Reading,
    progress: Arc<Progress>,
}

impl Joining {
    /// Joins the listings as they come; what is as it was agreed is counted and forgotten.
    fn run(self, stored: &StoredBaseline, rows: &mut Batching) -> Result<Walked> {
        let Self { name, source, target, filter, capabilities, reading, progress } = self;
        let ends = [RefCell::new(Ok(Ended::default())), RefCell::new(Ok(Ended::default()))];
        let damage = RefCell::new(None::<Damaged>);
        let taken = |item: Item| filter.takes(&item.key).then_some(item);
        let programs = Cell::new(0);
        let fitting = |item: Item| {
            let is_lost = item.form == Form::File { executable: true } && !capabilities.executables;
            programs.set(programs.get() + usize::from(is_lost));
            fit(capabilities, item, &ends[0])
        };
        // Without a source nothing is known to be as it was agreed.
        let may_pass = source.is_some() && reading == Reading::Doubtful;
        let source = source.into_iter().flat_map(|listing| items(listing, &ends[0]));
        let source = source.filter_map(taken).filter_map(fitting).map(|item| (item.key.clone(), item));
        let target = items(target, &ends[1]).filter_map(taken).map(|item| (item.key.clone(), item));
        let agreed =
            baseline::items(stored).map_while(|item| item.map_err(|damaged| damage.replace(Some(damaged))).ok());
        let agreed = agreed.filter(|(key, _)| filter.named().is_none_or(|named| named.contains(key)));
        let mut unchanged = 0;
        let mut collisions = Collisions::default();
        for row in join(source, agreed, target) {
            progress.add(1, 0);
            if row.source.is_some() {
                collisions.add(&row.key);
            }
            let row = settled(row, reading);
            if may_pass && is_as_agreed(&row) {
                unchanged += usize::from(row.target.is_some());
            } else {
                rows.add(row);
            }
        }
        if let Some(source) = damage.take() {
            return Err(Error::Damaged { name, source });
        }
        let [here, there] = ends.map(RefCell::into_inner);
        let failed = |source| Error::Endpoint { name: name.clone(), source };
        let ended = [here.map_err(failed)?, there.map_err(failed)?];
        rows.send();
        Ok(Walked { unchanged, collisions, ended, programs: programs.get() })
    }
}

/// Answers the items of a listing, and puts how it ended into `end`.
fn items<'e>(mut listing: Listing, end: &'e RefCell<endpoint::Result<Ended>>) -> impl Iterator<Item = Item> + use<'e> {
    let batches = iter::from_fn(move || match listing.next_blocking() {
        Some(Ok(Listed::Items(batch))) => Some(batch),
        Some(Ok(Listed::End(ended))) => {
            if let Ok(end) = &mut *end.borrow_mut() {
                end.unlisted.extend(ended.unlisted);
                end.aside.extend(ended.aside);
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
fn settled(row: Row<Item, Entry, Item>, reading: Reading) -> Pair {
    let Row { key, source, baseline, target } = row;
    let believed = baseline.as_ref().filter(|_| reading == Reading::Doubtful);
    let before = |side: fn(&Entry) -> &Option<Known>| believed.and_then(|entry| side(entry).as_ref());
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
    let Some(entry) = &row.baseline else { return false };
    let is_same = |half: &Option<Half>, before: &Option<Known>| match (half, before) {
        (None, None) => true,
        (Some(Half::Known(now)), Some(before)) => {
            now.version == before.version && now.fingerprint.proves(&before.fingerprint)
        }
        _ => false,
    };
    is_same(&row.source, &entry.source) && is_same(&row.target, &entry.target)
}

/// Reads what is not known yet, on both sides at once.
async fn digested(sides: &Sides, rows: Vec<Pair>) -> Vec<Looked> {
    let listed = |half: &Option<Half>| match half {
        Some(Half::Listed(item)) => Some(item.clone()),
        _ => None,
    };
    let (here, there): (Vec<Item>, Vec<Item>) = (
        rows.iter().filter(|row| !is_left(sides, row)).filter_map(|row| listed(&row.source)).collect(),
        rows.iter().filter_map(|row| listed(&row.target)).collect(),
    );
    let looking = Looking { reading: sides.reading, patience: sides.patience, progress: &sides.progress };
    let source = async {
        match &sides.source {
            Some(source) => digests(&**source, here, looking).await,
            None => BTreeMap::new(),
        }
    };
    let (mut here, mut there) = tokio::join!(source, digests(&*sides.target, there, looking));
    let capabilities = sides.target.capabilities();
    let settle = |row: Pair| {
        let is_left = is_left(sides, &row);
        let Row { key, source, baseline, target } = row;
        let source = match source {
            Some(Half::Listed(item)) if is_left => return Looked::New(item),
            source => source,
        };
        let source = known(&key, source, &mut here).map(|known| known.map(|known| as_held(capabilities, known)));
        match (source, known(&key, target, &mut there)) {
            (Ok(source), Ok(target)) => Looked::Found(Box::new(Row { key, source, baseline, target })),
            (Err(unread), _) | (_, Err(unread)) => Looked::Unread(unread),
        }
    };
    rows.into_iter().map(settle).collect()
}

/// Answers whether something is read only when it is copied: a small file where nothing is and nothing was.
fn is_left(sides: &Sides, row: &Pair) -> bool {
    let is_alone = row.baseline.is_none() && row.target.is_none();
    let is_small = |item: &Item| item.size <= PIECE_BYTES as u64 && item.form != Form::Link;
    sides.leaves_new_unread && is_alone && matches!(&row.source, Some(Half::Listed(item)) if is_small(item))
}

fn as_held(capabilities: Capabilities, known: Known) -> Known {
    let form = fitting_form(capabilities, known.version.form).unwrap_or(known.version.form);
    Known { version: Version { form, ..known.version }, ..known }
}

type Digests = BTreeMap<Key, endpoint::Result<Known>>;

fn known(key: &Key, half: Option<Half>, digests: &mut Digests) -> std::result::Result<Option<Known>, Unread> {
    let unread = |reason, may_pass| Unread { key: key.clone(), reason, may_pass };
    match half {
        None => Ok(None),
        Some(Half::Known(known)) => Ok(Some(known)),
        Some(Half::Listed(_)) => match digests.remove(key) {
            Some(Ok(known)) => Ok(Some(known)),
            Some(Err(error)) => Err(unread(reason(&error), error.class() == Class::Transient)),
            None => Err(unread("was not read".to_owned(), true)),
        },
    }
}

/// Answers an error about an item in one line.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let causes = iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// Answers what items are now, a few batches of them at the same time.
pub(super) async fn digests(endpoint: &dyn Endpoint, items: Vec<Item>, looking: Looking<'_>) -> Digests {
    let waiting = batches(items, |item| item.size, DIGESTED_AT_ONCE_ITEMS, DIGESTED_AT_ONCE_BYTES);
    let waiting = Mutex::new(VecDeque::from(waiting));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || async {
        let mut digests = Digests::new();
        while let Some(batch) = next() {
            let size = batch.iter().map(|item| item.size).sum();
            digest_patiently(endpoint, batch, looking, &mut digests).await;
            looking.progress.add(0, size);
        }
        digests
    };
    // A single core gains nothing from a second thread.
    if std::thread::available_parallelism().map_or(1, usize::from) < DIGESTING_LIMIT {
        return work().await;
    }
    let (mut digests, more) = tokio::join!(work(), work());
    digests.extend(more);
    digests
}

/// Digests a batch; what fails for a moment is tried again.
async fn digest_patiently(endpoint: &dyn Endpoint, mut batch: Vec<Item>, looking: Looking<'_>, digests: &mut Digests) {
    let Looking { reading, patience, .. } = looking;
    let mut attempts = 1;
    loop {
        let mut again = Vec::new();
        for (item, answer) in batch.iter().zip(reading.look(endpoint, batch.clone()).await) {
            match answer {
                Err(error) if patience.lasts(&error, attempts) => again.push(item.clone()),
                answer => drop(digests.insert(item.key.clone(), answer)),
            }
        }
        if again.is_empty() {
            return;
        }
        patience.wait(attempts).await;
        attempts += 1;
        batch = again;
    }
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
}
