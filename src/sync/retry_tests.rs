//! Endpoints that fail: what passes by itself is tried again, what does not is told.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::run_tests::{World, key, world};
use super::*;
use crate::endpoint::{
    self, Capabilities, Content, Ended, Endpoint, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Listing,
    Memory, Put, Take,
};

/// What an endpoint is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Read,
    Digest,
    Write,
    Delete,
}

/// A memory that fails as often as it was told, item by item.
#[derive(Debug)]
struct Faulty {
    inner: Memory,
    failures: Mutex<BTreeMap<(Work, Key), (u32, io::ErrorKind)>>,
    listings: AtomicU32,
    asked: AtomicU32,
    /// Whether what is read may have been touched meanwhile.
    is_restless: AtomicBool,
}

impl Faulty {
    fn new(inner: &Memory) -> Self {
        Self {
            inner: inner.clone(),
            failures: Mutex::default(),
            listings: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            is_restless: AtomicBool::new(false),
        }
    }

    fn fail(&self, work: Work, text: &str, times: u32, kind: io::ErrorKind) {
        self.failures.lock().unwrap().insert((work, key(text)), (times, kind));
    }

    /// Answers the failure that is due.
    fn due(&self, work: Work, key: &Key) -> Option<endpoint::Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        let (times, kind) = failures.get_mut(&(work, key.clone())).filter(|(times, _)| *times > 0)?;
        *times -= 1;
        Some(endpoint::Error::Item { action: "reach", key: key.clone(), source: (*kind).into() })
    }

    /// Does work on those items that do not fail, and puts the failures in their places.
    async fn among<T, R>(
        &self,
        work: Work,
        items: Vec<T>,
        key: impl Fn(&T) -> &Key,
        does: impl AsyncFnOnce(Vec<T>) -> Vec<endpoint::Result<R>>,
    ) -> Vec<endpoint::Result<R>> {
        let due: Vec<_> = items.iter().map(|item| self.due(work, key(item))).collect();
        let fine = items.into_iter().zip(&due).filter(|(_, due)| due.is_none()).map(|(item, _)| item).collect();
        let mut done = does(fine).await.into_iter();
        due.into_iter().map(|due| due.map_or_else(|| done.next().unwrap(), Err)).collect()
    }
}

impl Endpoint for Faulty {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list(&self) -> Listing {
        let is_failing = self.listings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if is_failing.is_err() {
            return self.inner.list();
        }
        let place = self.place();
        Listing::blocking(place.clone(), move |_| {
            Err::<Ended, _>(endpoint::Error::Unusable { place, source: io::ErrorKind::TimedOut.into() })
        })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<endpoint::Result<Content>>> {
        let read = async |items| {
            let mut read = self.inner.read(items).await;
            if self.is_restless.load(Ordering::Relaxed) {
                read.iter_mut().flatten().for_each(|content| content.fingerprint = None);
            }
            read
        };
        Box::pin(self.among(Work::Read, items, |item| &item.key, read))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<endpoint::Result<Known>>> {
        Box::pin(self.among(Work::Digest, items, |item| &item.key, async |items| self.inner.digest(items).await))
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<endpoint::Result<Fingerprint>>> {
        Box::pin(self.among(Work::Write, puts, |put| &put.key, async |puts| self.inner.write(puts).await))
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<endpoint::Result<()>>> {
        Box::pin(self.among(Work::Delete, takes, |take| &take.key, async |takes| self.inner.delete(takes).await))
    }

    fn flush(&self) -> Later<'_, endpoint::Result<()>> {
        self.inner.flush()
    }

    fn sweep(&self, leftovers: Vec<Leftover>, is_kept: IsKept) -> Later<'_, Vec<String>> {
        self.inner.sweep(leftovers, is_kept)
    }
}

/// A world whose next run creates, updates and deletes, with both sides faulty.
async fn faulty() -> (World, Sync, [std::sync::Arc<Faulty>; 2]) {
    let world = world().await;
    for text in ["changed", "deleted", "same"] {
        world.at_source(text, "before");
    }
    world.run().await;
    world.at_source("changed", "after");
    world.at_source("new", "new");
    world.source.unset(&key("deleted"));
    let sides = [&world.source, &world.target].map(|memory| std::sync::Arc::new(Faulty::new(memory)));
    let [source, target] = sides.clone();
    let sync = Sync { source, target, ..world.sync.clone() };
    (world, sync, sides)
}

#[tokio::test]
async fn what_fails_for_a_moment_is_tried_again() {
    let (world, sync, [source, target]) = faulty().await;
    source.fail(Work::Digest, "changed", 2, io::ErrorKind::TimedOut);
    source.fail(Work::Read, "changed", 2, io::ErrorKind::ConnectionReset);
    target.fail(Work::Read, "deleted", 1, io::ErrorKind::TimedOut);
    target.fail(Work::Delete, "deleted", 1, io::ErrorKind::ResourceBusy);
    target.fail(Work::Write, "new", 2, io::ErrorKind::StaleNetworkFileHandle);
    source.listings.store(2, Ordering::Relaxed);
    let report = sync.run().await.unwrap();
    assert_eq!((report.created, report.updated, report.deleted, report.failed.len()), (1, 1, 1, 0), "{report:?}");
    assert_eq!(world.source.contents(), world.target.contents());
}

#[tokio::test]
async fn what_goes_on_failing_is_told_and_stops_nothing_else() {
    let (world, sync, [_, target]) = faulty().await;
    target.fail(Work::Write, "new", u32::MAX, io::ErrorKind::TimedOut);
    let report = sync.run().await.unwrap();
    assert_eq!((report.created, report.updated, report.deleted, report.failed.len()), (0, 1, 1, 1), "{report:?}");
    assert_eq!(report.failed[0].reason, "cannot reach new: timed out");
    let again = world.sync.run().await.unwrap();
    assert_eq!((again.created, again.flagged.len()), (1, 0));
}

#[tokio::test]
async fn what_will_not_pass_by_itself_is_tried_once() {
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound, io::ErrorKind::StorageFull] {
        let (_world, sync, [_, target]) = faulty().await;
        target.fail(Work::Write, "new", u32::MAX, kind);
        let report = sync.run().await.unwrap();
        assert_eq!((report.failed.len(), report.changed()), (1, 2), "{report:?}");
        assert_eq!(target.failures.lock().unwrap()[&(Work::Write, key("new"))].0, u32::MAX - 1, "{kind}");
    }
}

#[tokio::test]
async fn a_listing_that_goes_on_failing_stops_before_anything_is_planned() {
    let (_world, sync, [source, target]) = faulty().await;
    source.listings.store(u32::MAX, Ordering::Relaxed);
    let refused = sync.run().await.unwrap_err();
    assert_eq!(refused.to_string(), "sync site: memory source cannot be used");
    assert_eq!(target.asked.load(Ordering::Relaxed), 0);
    assert!(source.listings.load(Ordering::Relaxed) > u32::MAX - 10, "not for ever");
}

#[tokio::test]
async fn what_is_new_is_read_once_unless_it_is_touched_meanwhile() {
    for (is_restless, asked) in [(false, 2_500), (true, 7_500)] {
        let world = world().await;
        (0..2_500).for_each(|at| world.at_source(&format!("dir/{at}"), &format!("content {at}")));
        let source = std::sync::Arc::new(Faulty::new(&world.source));
        source.is_restless.store(is_restless, Ordering::Relaxed);
        source.fail(Work::Read, "dir/7", 1, io::ErrorKind::TimedOut);
        let sync = Sync { source: std::sync::Arc::clone(&source) as _, ..world.sync.clone() };
        let report = sync.run().await.unwrap();
        assert_eq!((report.created, report.failed.len(), report.bytes), (2_500, 0, 28_890));
        assert_eq!(source.asked.load(Ordering::Relaxed), asked + 1);
        assert_eq!(world.source.contents(), world.target.contents());
        assert_eq!(sync.run().await.unwrap().unchanged, 2_500);
        assert_eq!(source.asked.load(Ordering::Relaxed), asked + 1, "nothing is read for nothing");
    }
}

#[tokio::test]
async fn what_is_new_and_was_written_by_a_killed_run_is_known_for_our_own() {
    let world = world().await;
    world.at_source("new", "half-way");
    let before = world.sync.prepare().await.unwrap();
    let actions: Vec<&Action> = before.plan.actions.iter().collect();
    let intents = snapshot::encode_intents(&actions, compare::Origin::Source);
    world.at_target("new", "half-way");
    world.at_source("new", "after");
    assert_eq!(world.sync.run().await.unwrap().flagged.len(), 1, "without a journal it is somebody else's");
    world.sync.store.add_sync_intents("site", intents).await.unwrap();
    assert_eq!(world.sync.run().await.unwrap().updated, 1);
    assert_eq!(world.source.contents(), world.target.contents());
}

#[tokio::test]
async fn a_first_copy_can_be_taken_back_whole() {
    let world = world().await;
    ["a", "b"].iter().for_each(|text| world.at_source(text, text));
    world.run().await;
    let report = world.sync.restore(&Wanted::default()).await.unwrap();
    assert_eq!((report.deleted, world.target.contents().len()), (2, 0));
}
