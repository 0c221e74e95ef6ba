//! The engine on endpoints in memory, with everything else real.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::archive::Archive;
use super::compare::Origin;
use super::filter::Filter;
use super::patience::Patience;
use super::plan::{Action, Policy};
use super::restore::{At, Wanted};
use super::retention::Retention;
use super::run::Sync;
use super::snapshot;
use super::walk::Reading;
use crate::base::clock::{ManualClock, from_ms};
use crate::base::digest::Digest;
use crate::base::id::entropy;
use crate::base::retry::Backoff;
use crate::base::units::{Share, Span};
use crate::config::{DeleteMode, OnDrift, VerifyMode};
use crate::endpoint::{
    self, Capabilities, Content, Ended, Endpoint, Fingerprint, Folding, Form, IsKept, Item, Key, Known, Later,
    Leftover, Listed, Listing, Memory, Put, Take, Version,
};
use crate::store::{Home, SnapshotRecord, Store, SyncRun};

/// No test waits long for another attempt.
const MOMENT: Duration = Duration::from_millis(1);
const PLAIN: Form = Form::File { executable: false };

/// A sync between two memories.
pub(super) struct World {
    _directory: tempfile::TempDir,
    pub source: Memory,
    pub target: Memory,
    clock: Arc<ManualClock>,
    pub sync: Sync,
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn version(content: &[u8]) -> Version {
    Version { digest: Digest::of(content), form: PLAIN, size: content.len() as u64 }
}

pub(super) async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let store = Store::open(&home, &home.project(Path::new("/a/.git"))).await.unwrap();
    let (source, target, clock) = (Memory::new("source"), Memory::new("target"), Arc::new(ManualClock::at_ms(1_000)));
    let sync = Sync {
        name: "site".to_owned(),
        source: Arc::new(source.clone()),
        target: Arc::new(target.clone()),
        policy: Policy { on_drift: OnDrift::Flag, delete: DeleteMode::Tracked, max_delete: 1.0 },
        max_delete: Share::percent(100),
        filter: Filter::new(&[], &[]),
        reading: Reading::Doubtful,
        verify: VerifyMode::Cheap,
        retention: Retention { keep: Span::seconds(60), daily: 0, weekly: 0, monthly: 0 },
        store,
        archive: Archive::new(directory.path().join("archive")),
        patience: Patience { attempts: 3, backoff: Backoff { first: MOMENT, ceiling: MOMENT } },
        progress: Arc::default(),
        clock: Arc::clone(&clock) as Arc<_>,
        promotion: None,
        is_awaited: false,
    };
    World { _directory: directory, source, target, clock, sync }
}

impl World {
    pub fn at_source(&self, text: &str, content: &str) {
        self.source.set(&key(text), PLAIN, content);
    }

    pub fn at_target(&self, text: &str, content: &str) {
        self.target.set(&key(text), PLAIN, content);
    }

    fn target_has(&self, text: &str) -> Option<String> {
        self.target.contents().remove(&key(text)).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub async fn run(&self) -> super::Report {
        self.clock.advance_ms(1_000);
        let report = self.sync.run().await.unwrap();
        assert!(report.failed.is_empty() && report.unverified.is_empty(), "{report:?}");
        report
    }

    /// Does everything up to the writing of `written` items, as a run that was killed then.
    async fn run_killed_after(&self, written: usize) {
        let prepared = self.sync.prepare().await.unwrap();
        let actions: Vec<_> = prepared.plan.actions.iter().filter(|action| action.touches_target()).collect();
        let run = SyncRun {
            id: Digest::of(&entropy()).short(8),
            sync: "site".to_owned(),
            purpose: "sync".to_owned(),
            started_at: from_ms(self.clock_ms()),
            finished_at: None,
            report: None,
            promotion: None,
        };
        let snapshot = SnapshotRecord { run: run.id.clone(), at: run.started_at, items: 0, bytes: 0, body: Vec::new() };
        let intents = snapshot::encode_intents(&actions, Origin::Source);
        let endpoints = prepared.is_fresh.then(|| self.sync.endpoints());
        self.sync.store.begin_sync(&run, intents, &snapshot, endpoints).await.unwrap();
        for action in actions.into_iter().take(written) {
            match snapshot::after(action) {
                Some(_) => {
                    let content = self.source.contents().remove(action.key()).unwrap();
                    self.target.set(action.key(), PLAIN, content);
                }
                None => self.target.unset(action.key()),
            }
        }
    }

    fn clock_ms(&self) -> i64 {
        self.sync.clock.now().as_millisecond()
    }
}

#[tokio::test]
async fn a_second_run_does_nothing_and_reads_nothing() {
    let world = world().await;
    (0..2_500).for_each(|at| world.at_source(&format!("dir/{at}"), &format!("content {at}")));
    let first = world.run().await;
    assert_eq!((first.created, first.changed(), first.unchanged), (2_500, 2_500, 0));
    assert_eq!(world.source.contents(), world.target.contents());
    let prepared = world.sync.prepare().await.unwrap();
    assert!(prepared.plan.is_empty() && prepared.comparison.found.is_empty());
    let second = world.run().await;
    assert_eq!((second.changed(), second.unchanged, second.run), (0, 2_500, None));
}

/// A memory whose fingerprints tell nothing.
#[derive(Debug)]
struct Blind(Memory);

impl Blind {
    fn blinded(item: Item) -> Item {
        Item { fingerprint: Fingerprint { bytes: vec![1], is_racy: false }, ..item }
    }

    fn known(known: Known) -> Known {
        Known { fingerprint: Fingerprint { bytes: vec![1], is_racy: false }, ..known }
    }
}

impl Endpoint for Blind {
    fn place(&self) -> String {
        self.0.place()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn list(&self) -> Listing {
        let mut listing = self.0.list();
        Listing::blocking(self.place(), move |lister| {
            while let Some(part) = listing.next_blocking() {
                match part? {
                    Listed::Items(items) => {
                        let _ = items.into_iter().map(Self::blinded).all(|item| lister.give(item));
                    }
                    Listed::End(ended) => return Ok(ended),
                }
            }
            Ok(Ended::default())
        })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<endpoint::Result<Content>>> {
        let read = self.0.read(items);
        let blinded = |content: Content| content.proved_by(Some(Fingerprint { bytes: vec![1], is_racy: false }));
        Box::pin(async move { read.await.into_iter().map(|content| content.map(blinded)).collect() })
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<endpoint::Result<Known>>> {
        let digested = self.0.digest(items);
        Box::pin(async move { digested.await.into_iter().map(|known| known.map(Self::known)).collect() })
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<endpoint::Result<Fingerprint>>> {
        self.0.write(puts)
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<endpoint::Result<()>>> {
        self.0.delete(takes)
    }

    fn flush(&self) -> Later<'_, endpoint::Result<()>> {
        self.0.flush()
    }

    fn sweep(&self, leftovers: Vec<Leftover>, is_kept: IsKept) -> Later<'_, Vec<String>> {
        self.0.sweep(leftovers, is_kept)
    }
}

#[tokio::test]
async fn a_forced_run_sees_what_no_fingerprint_tells() {
    let world = world().await;
    let sync = Sync { source: Arc::new(Blind(world.source.clone())), ..world.sync.clone() };
    world.at_source("item", "before");
    world.at_source("same", "same");
    assert_eq!(sync.run().await.unwrap().created, 2);
    world.at_source("item", "after!");
    assert_eq!(sync.run().await.unwrap().changed(), 0, "the fingerprint says so");
    let forced = Sync { reading: Reading::Everything, ..sync };
    let report = forced.run().await.unwrap();
    assert_eq!((report.updated, report.unchanged), (1, 1));
    assert_eq!(world.target_has("item").as_deref(), Some("after!"));
    let prepared = forced.prepare().await.unwrap();
    assert!(prepared.plan.is_empty() && prepared.comparison.unchanged == 2);
}

#[tokio::test]
async fn a_full_verification_counts_what_changed_while_a_run_was_under_way() {
    let world = world().await;
    (0..3).for_each(|at| world.at_source(&format!("{at}"), "content"));
    world.run().await;
    world.at_target("1", "by hand");
    world.target.unset(&key("2"));
    let found = world.sync.verify().await.unwrap();
    let told: Vec<String> = found.wrong().map(|one| format!("{} {}", one.key, one.reason)).collect();
    assert_eq!(told, ["2 is not at the target", "1 has other content"]);
    assert_eq!((found.same, found.bytes), (1, 7));
}

#[tokio::test]
async fn changes_of_the_source_arrive_and_what_they_replace_can_be_restored() {
    let world = world().await;
    for text in ["same", "changed", "deleted"] {
        world.at_source(text, "before");
    }
    world.run().await;
    world.at_source("changed", "after");
    world.source.unset(&key("deleted"));
    world.at_source("new", "new");
    let before = world.target.contents();
    let report = world.run().await;
    assert_eq!((report.created, report.updated, report.deleted, report.unchanged), (1, 1, 1, 1));
    assert_eq!(world.source.contents(), world.target.contents());
    let restored = world.sync.restore(&Wanted::default()).await.unwrap();
    assert_eq!((restored.created, restored.updated, restored.deleted), (1, 1, 1));
    assert_eq!(world.target.contents(), before);
    // What a person brought back stays until the source says something new.
    assert_eq!(world.run().await.changed(), 0);
    assert_eq!(world.target.contents(), before);
    world.at_source("changed", "newer");
    assert_eq!(world.run().await.updated, 1);
    assert_eq!(world.target_has("changed").as_deref(), Some("newer"));
    assert_eq!(world.target_has("deleted").as_deref(), Some("before"));
    // A restore can be restored.
    let all = world.sync.store.snapshots("site").await.unwrap();
    let wanted = Wanted { at: At::Before(all[1].run.clone()), keys: vec!["new".to_owned()] };
    world.sync.restore(&wanted).await.unwrap();
    assert_eq!(world.target_has("new"), None, "it was not there before that run");
}

#[tokio::test]
async fn what_somebody_else_changed_is_flagged_until_a_person_decides() {
    let world = world().await;
    for text in ["drift", "conflict", "gone", "fine"] {
        world.at_source(text, "before");
    }
    world.at_target("theirs", "theirs");
    world.run().await;
    world.at_target("drift", "by hand");
    world.at_target("conflict", "by hand");
    world.at_source("conflict", "by the source");
    world.target.unset(&key("gone"));
    world.at_source("theirs", "ours");
    for _ in 0..2 {
        let report = world.run().await;
        let flagged: Vec<String> = report.flagged.iter().map(|one| format!("{} {}", one.key, one.reason)).collect();
        assert_eq!(
            flagged,
            [
                "conflict was changed on both sides",
                "drift was changed at the target",
                "gone was deleted at the target",
                "theirs was put there by somebody else",
            ]
        );
        assert_eq!((report.changed(), world.target_has("theirs").as_deref()), (0, Some("theirs")));
    }
    world.sync.take_source(&key("conflict")).await.unwrap();
    world.sync.take_source(&key("gone")).await.unwrap();
    world.sync.take_target(&key("drift")).await.unwrap();
    world.sync.take_target(&key("theirs")).await.unwrap();
    assert!(world.sync.take_target(&key("fine")).await.is_err());
    let report = world.run().await;
    assert!(report.flagged.is_empty() && report.changed() == 0, "{report:?}");
    let at_target = ["conflict", "gone", "drift", "theirs"].map(|text| world.target_has(text).unwrap());
    assert_eq!(at_target, ["by the source", "before", "by hand", "theirs"]);
    world.at_source("drift", "newer");
    assert_eq!(world.run().await.updated, 1);
}

#[tokio::test]
async fn a_killed_run_is_finished_by_the_next_even_when_the_source_moved_on() {
    for written in 0..=3 {
        let world = world().await;
        world.at_source("changed", "before");
        world.at_source("deleted", "before");
        world.run().await;
        world.at_source("changed", "half-way");
        world.at_source("new", "half-way");
        world.source.unset(&key("deleted"));
        world.run_killed_after(written).await;
        world.at_source("changed", "after");
        world.at_source("new", "after");
        let report = world.run().await;
        assert!(report.flagged.is_empty(), "{written}: {report:?}");
        assert_eq!(world.source.contents(), world.target.contents(), "{written}");
        assert_eq!(world.run().await.changed(), 0);
    }
}

#[tokio::test]
async fn what_a_person_chose_rests_even_when_that_run_was_killed() {
    let world = world().await;
    world.at_source("item", "before");
    world.run().await;
    world.at_source("item", "after");
    world.at_target("item", "by hand");
    assert_eq!(world.run().await.flagged.len(), 1);
    let choose = snapshot::encode_intents(
        &[&Action::Replace { key: key("item"), from: version(b"by hand"), to: version(b"both") }],
        Origin::Person,
    );
    let run = SyncRun {
        id: "chosen".to_owned(),
        sync: "site".to_owned(),
        purpose: "resolve".to_owned(),
        started_at: from_ms(world.clock_ms()),
        finished_at: None,
        report: None,
        promotion: None,
    };
    let none = SnapshotRecord { run: run.id.clone(), at: run.started_at, items: 0, bytes: 0, body: Vec::new() };
    world.sync.store.begin_sync(&run, choose, &none, None).await.unwrap();
    world.at_target("item", "both");
    let report = world.run().await;
    assert!(report.flagged.is_empty() && report.changed() == 0, "{report:?}");
    assert_eq!(world.target_has("item").as_deref(), Some("both"));
    world.at_source("item", "newer");
    assert_eq!(world.run().await.updated, 1);
}

#[tokio::test]
async fn a_hand_edit_after_a_killed_run_is_not_taken_for_what_it_wrote() {
    let world = world().await;
    world.at_source("item", "before");
    world.run().await;
    world.at_source("item", "half-way");
    world.run_killed_after(1).await;
    world.at_target("item", "by hand");
    world.at_source("item", "after");
    assert_eq!(world.run().await.flagged.len(), 1);
    assert_eq!(world.target_has("item").as_deref(), Some("by hand"));
}

#[tokio::test]
async fn between_other_endpoints_nothing_is_agreed() {
    let world = world().await;
    world.at_source("item", "content");
    world.run().await;
    let other = Memory::new("other");
    other.set(&key("item"), PLAIN, "theirs");
    other.set(&key("same"), PLAIN, "same");
    world.at_source("same", "same");
    let moved = Sync { target: Arc::new(other.clone()), ..world.sync.clone() };
    let report = moved.run().await.unwrap();
    assert_eq!((report.changed(), report.flagged.len()), (0, 1), "{report:?}");
    assert_eq!(other.contents()[&key("item")], b"theirs");
}

#[tokio::test]
async fn too_many_deletions_stop_a_run_before_anything_is_done() {
    let world = world().await;
    (0..20).for_each(|at| world.at_source(&format!("{at}"), "content"));
    world.run().await;
    (0..20).for_each(|at| world.source.unset(&key(&format!("{at}"))));
    world.at_source("new", "new");
    let policy = Policy { max_delete: 0.1, ..world.sync.policy };
    let guarded = Sync { policy, max_delete: Share::percent(10), ..world.sync.clone() };
    let refused = guarded.run().await.unwrap_err();
    assert_eq!(refused.to_string(), "sync site would delete 20 of 20 items: more than max_delete (10%)");
    assert_eq!(world.target_has("new"), None);
    assert_eq!(world.run().await.deleted, 20);
}

#[tokio::test]
async fn snapshots_are_forgotten_after_their_time_with_their_content() {
    let world = world().await;
    world.at_source("item", "one");
    world.run().await;
    world.at_source("item", "two");
    world.run().await;
    assert!(world.sync.archive.has(&version(b"one").digest));
    world.clock.advance_ms(59_000);
    world.at_source("item", "three");
    world.run().await;
    world.clock.advance_ms(2_000);
    world.run().await;
    assert!(!world.sync.archive.has(&version(b"one").digest));
    assert!(world.sync.archive.has(&version(b"two").digest));
    assert_eq!(world.sync.store.snapshots("site").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_there_at_a_moment_can_be_restored_after_thinning() {
    let world = world().await;
    let day_ms = 24 * 60 * 60 * 1_000;
    let retention = Retention { keep: Span::seconds(0), daily: 10, weekly: 0, monthly: 0 };
    let sync = Sync { retention, ..world.sync.clone() };
    for hour in 0..6 {
        world.at_source("item", &format!("{hour}"));
        world.clock.advance_ms(day_ms / 2);
        sync.run().await.unwrap();
    }
    let made = sync.store.snapshot_times("site").await.unwrap();
    assert!(made.len() < 6, "{made:?}");
    let found = sync.check_snapshots(true).await.unwrap();
    assert!(found.missing.is_empty() && found.damaged.is_empty() && found.contents > 0, "{found:?}");
    let changes = sync.changes_between(&At::Time(made[1]), None).await.unwrap();
    assert_eq!(changes.len(), 1);
    let earlier = changes[0].from.unwrap();
    sync.restore(&Wanted { at: At::Time(made[1]), keys: Vec::new() }).await.unwrap();
    assert_eq!(version(world.target_has("item").unwrap().as_bytes()), earlier);
    let none = sync.changes_between(&At::Time(from_ms(world.clock_ms() + 1)), None).await.unwrap();
    assert_eq!(none, []);
}

#[tokio::test]
async fn names_that_the_target_takes_for_one_are_flagged_there_and_nowhere_else() {
    let world = world().await;
    for text in ["Dir/one", "dir/two", "A", "a", "b"] {
        world.at_source(text, text);
    }
    let folding = Folding { case: true, normalization: true };
    let target = Memory::new("folding").folding(folding);
    let sync = Sync { target: Arc::new(target.clone()), ..world.sync.clone() };
    let report = sync.run().await.unwrap();
    let flagged: Vec<&str> = report.flagged.iter().map(|one| one.key.as_str()).collect();
    assert_eq!((flagged, report.created), (vec!["A", "Dir/one", "a", "dir/two"], 1));
    assert_eq!(target.contents().len(), 1);
    assert!(report.flagged[0].reason.contains("takes for that of another item") && report.resolvable.is_none());
    // A new spelling alone collides with nothing.
    world.source.unset(&key("b"));
    world.at_source("B", "b");
    let report = sync.run().await.unwrap();
    assert_eq!((report.created, report.deleted), (1, 1));
    assert_eq!(world.run().await.created, 5, "elsewhere they are different");
}

/// What happens to a key.
#[derive(Debug, Clone)]
enum Edit {
    Source(u8, Option<u8>),
    Target(u8, Option<u8>),
    Run,
    Killed(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let content = || proptest::option::of(0_u8..3);
    let edit = prop_oneof![
        3 => (0_u8..4, content()).prop_map(|(at, content)| Edit::Source(at, content)),
        2 => (0_u8..4, content()).prop_map(|(at, content)| Edit::Target(at, content)),
        2 => Just(Edit::Run),
        1 => (0_usize..5).prop_map(Edit::Killed),
    ];
    proptest::collection::vec(edit, 0..14)
}

/// What somebody put at the target by hand, and nothing but their own hands took away since.
type ByHand = BTreeMap<Key, String>;

async fn play(edits: Vec<Edit>) -> Result<(), TestCaseError> {
    let world = world().await;
    let (mut by_hand, mut offered): (ByHand, BTreeMap<Key, BTreeSet<String>>) = (ByHand::new(), BTreeMap::new());
    let item = |at: u8| key(&format!("{}", char::from(b'a' + at)));
    for edit in edits {
        match edit {
            Edit::Source(at, Some(content)) => {
                let content = format!("source {content}");
                offered.entry(item(at)).or_default().insert(content.clone());
                world.source.set(&item(at), PLAIN, content);
            }
            Edit::Source(at, None) => world.source.unset(&item(at)),
            Edit::Target(at, Some(content)) => {
                let content = format!("by hand {content}");
                by_hand.insert(item(at), content.clone());
                world.target.set(&item(at), PLAIN, content);
            }
            Edit::Target(at, None) => {
                by_hand.remove(&item(at));
                world.target.unset(&item(at));
            }
            Edit::Run => drop(world.run().await),
            Edit::Killed(written) => world.run_killed_after(written).await,
        }
        let held = world.target.contents();
        for (key, content) in &by_hand {
            prop_assert_eq!(held.get(key).map(Vec::as_slice), Some(content.as_bytes()), "{} was lost", key);
        }
        for (key, content) in held {
            let content = String::from_utf8(content).unwrap();
            let is_ours = offered.get(&key).is_some_and(|contents| contents.contains(&content));
            prop_assert!(is_ours || by_hand.get(&key) == Some(&content), "{key} is mixed: {content}");
        }
    }
    world.run().await;
    let settled = world.target.contents();
    prop_assert_eq!(world.run().await.changed(), 0);
    prop_assert_eq!(world.target.contents(), settled);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_sequence_of_edits_and_kills_loses_what_was_done_by_hand(edits in edits()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(edits))?;
    }
}
