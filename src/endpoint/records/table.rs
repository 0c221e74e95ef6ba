//! A table of records in the store: each with its revision, and with what it was before.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::merge::FieldMerge;
use super::shape::{FORM, Record, Shape, item};
use super::sketch;
use crate::base::Clock;
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::endpoint::{
    Capabilities, Content, Ended, Endpoint, Error, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Lister,
    Listing, Merge, Put, Result, Take, Unlisted, Version,
};
use crate::store::{self, RecordChange, RecordHead, Store, StoredRecord};

/// Records that are listed at a time.
const LISTED_AT_ONCE: i64 = 4_000;

/// How often a record that others change is tried to be set.
const SET_ATTEMPTS: u32 = 5;

/// A table; cheap to clone.
#[derive(Clone)]
pub struct RecordTable(Arc<Held>);

struct Held {
    store: Store,
    name: String,
    shape: Shape,
    clock: Arc<dyn Clock>,
}

impl RecordTable {
    /// Opens a table; it is there as soon as it has a record.
    #[must_use]
    pub fn open(store: Store, name: &str, shape: Shape, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Held { store, name: name.to_owned(), shape, clock }))
    }

    /// Puts a record there, in place of what is there under its id, as somebody does by hand; answers its key and its
    /// revision.
    ///
    /// # Errors
    /// It is no record; the store cannot be used; others are faster all the time.
    pub async fn set(&self, text: &[u8]) -> Result<(Key, i64)> {
        let refused = |refused: super::shape::Refused| io::Error::new(io::ErrorKind::InvalidData, refused.to_string());
        let record = self.0.shape.record(text).map_err(refused).map_err(Error::unusable("the record"))?;
        for _ in 0..SET_ATTEMPTS {
            let key = record.key.as_bytes().to_vec();
            let now = self.0.store.records_of(&self.0.name, vec![key.clone()]).await;
            let now = now.map_err(|refused| self.unusable(refused))?.pop().flatten();
            let expected = now.map(|stored| Digest::of(&stored.body));
            let change = RecordChange { key, expected, body: Some(record.canonical.clone()) };
            match self.change(vec![(record.key.clone(), change)], "write").await.pop() {
                Some(Err(error)) if error.is_change() => {}
                Some(answer) => return answer.map(|revision| (record.key, revision)),
                None => break,
            }
        }
        Err(Error::changed(&record.key, "is being changed all the time"))
    }

    async fn list_all(&self, mut lister: Lister) -> Result<(Lister, Ended)> {
        let (mut after, mut ended) = (Vec::new(), Ended::default());
        loop {
            let items = if self.0.shape.by_field {
                self.whole_page(after.clone(), &mut ended).await?
            } else {
                let heads = self.0.store.record_heads(&self.0.name, after.clone(), LISTED_AT_ONCE).await;
                heads.map_err(|refused| self.unusable(refused))?.into_iter().map(listed).collect()
            };
            let Some((last, _)) = items.last() else { return Ok((lister, ended)) };
            after.clone_from(last);
            for item in items.into_iter().filter_map(|(_, item)| item) {
                if !lister.hand(item).await {
                    return Ok((lister, ended));
                }
            }
        }
    }

    /// Lists records with what tells of each field whether it was touched.
    async fn whole_page(&self, after: Vec<u8>, ended: &mut Ended) -> Result<Vec<(Vec<u8>, Option<Item>)>> {
        let records = self.0.store.records_after(&self.0.name, after, LISTED_AT_ONCE).await;
        let mut items = Vec::new();
        for stored in records.map_err(|refused| self.unusable(refused))? {
            let found = match self.0.shape.record(&stored.body) {
                Ok(record) => {
                    Key::new(stored.key.clone()).ok().map(|key| item(key, &self.known(&stored, record.known)))
                }
                Err(refused) => {
                    let key = Key::new(stored.key.clone()).ok();
                    let unlisted = |key| Unlisted { key, reason: refused.to_string(), hides_items: true };
                    ended.unlisted.extend(key.map(unlisted));
                    None
                }
            };
            items.push((stored.key, found));
        }
        Ok(items)
    }

    fn unusable(&self, refused: store::Error) -> Error {
        Error::unusable(&self.place())(io::Error::other(refused.to_string()))
    }

    /// Answers records as they are now.
    async fn look<R>(&self, items: Vec<Item>, make: impl Fn(StoredRecord, Record) -> R) -> Vec<Result<R>> {
        let keys = items.iter().map(|item| item.key.as_bytes().to_vec()).collect();
        match self.0.store.records_of(&self.0.name, keys).await {
            Ok(found) => {
                let one = |(item, stored): (&Item, Option<StoredRecord>)| {
                    let stored = stored.ok_or_else(|| super::gone(&item.key))?;
                    let failed = |refused: super::shape::Refused| io::Error::other(refused.to_string());
                    let record = self.0.shape.record(&stored.body).map_err(failed);
                    record.map(|record| make(stored, record)).map_err(Error::item("read", &item.key))
                };
                items.iter().zip(found).map(one).collect()
            }
            Err(refused) => {
                let reason = refused.to_string();
                items.iter().map(|item| Err(Error::item("read", &item.key)(io::Error::other(reason.clone())))).collect()
            }
        }
    }

    /// Changes records; answers the revision of each.
    async fn change(&self, changes: Vec<(Key, RecordChange)>, action: &'static str) -> Vec<Result<i64>> {
        if changes.is_empty() {
            return Vec::new();
        }
        let (keys, changes): (Vec<Key>, Vec<RecordChange>) = changes.into_iter().unzip();
        match self.0.store.change_records(&self.0.name, changes, self.0.clock.now()).await {
            Ok(revisions) => {
                let answer = |(key, revision): (&Key, Option<i64>)| {
                    revision.ok_or_else(|| Error::changed(key, "was changed at the target meanwhile"))
                };
                keys.iter().zip(revisions).map(answer).collect()
            }
            Err(refused) => {
                let reason = refused.to_string();
                keys.iter().map(|key| Err(Error::item(action, key)(io::Error::other(reason.clone())))).collect()
            }
        }
    }

    async fn put(&self, puts: Vec<Put>) -> Vec<Result<Fingerprint>> {
        let shape = self.0.shape.clone();
        let work = move |puts: Vec<Put>| puts.into_iter().map(|put| super::promised(&shape, put)).collect();
        let promised = crate::endpoint::in_batch(self.place(), puts, work).await;
        let (mut changes, mut prints) = (Vec::new(), Vec::new());
        for (key, record, expected) in promised.iter().flatten() {
            let expected = expected.map(|version| version.digest);
            let body = Some(record.canonical.clone());
            changes.push((key.clone(), RecordChange { key: key.as_bytes().to_vec(), expected, body }));
            prints.push(&record.known.fingerprint);
        }
        let print =
            |(revision, print): (Result<i64>, &&Fingerprint)| revision.map(|it| fingerprint(it, self.sketch(print)));
        let mut done: Vec<Result<Fingerprint>> =
            self.change(changes, "write").await.into_iter().zip(&prints).map(print).collect();
        done.reverse();
        let lost = || Err(Error::Lost { place: self.place(), reason: "a record has no answer".to_owned() });
        promised.into_iter().map(|one| one.and_then(|_| done.pop().unwrap_or_else(lost))).collect()
    }

    /// Answers what is known of a record with its revision.
    fn known(&self, stored: &StoredRecord, known: Known) -> Known {
        Known { fingerprint: fingerprint(stored.revision, self.sketch(&known.fingerprint)), ..known }
    }

    fn sketch<'f>(&self, print: &'f Fingerprint) -> &'f [u8] {
        if self.0.shape.by_field { sketch::part_of(print) } else { &[] }
    }
}

/// What tells that a record was touched: its revision, and what tells it of its fields.
fn fingerprint(revision: i64, sketch: &[u8]) -> Fingerprint {
    let mut bytes = revision.to_be_bytes().to_vec();
    bytes.extend_from_slice(sketch);
    let zeros = if sketch.is_empty() { bytes.iter().take_while(|byte| **byte == 0).count() } else { 0 };
    Fingerprint { bytes: bytes.split_off(zeros), is_racy: false }
}

fn listed(head: RecordHead) -> (Vec<u8>, Option<Item>) {
    let version = Version { digest: head.digest, form: FORM, size: head.size };
    let known = Known { version, fingerprint: fingerprint(head.revision, &[]) };
    let item = Key::new(head.key.clone()).ok().map(|key| item(key, &known));
    (head.key, item)
}

impl fmt::Debug for RecordTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordTable").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Endpoint for RecordTable {
    fn place(&self) -> String {
        format!("the table {}", shown(self.0.name.as_bytes()))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: false, links: false }
    }

    fn merger(&self) -> Option<Arc<dyn Merge>> {
        self.0.shape.by_field.then(|| Arc::new(FieldMerge) as Arc<dyn Merge>)
    }

    fn admit(&self, key: &Key, given: &[u8]) -> Option<Result<Vec<u8>>> {
        Some(super::admitted(&self.0.shape, key, given))
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::running(self.place(), move |lister| async move { this.list_all(lister).await })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        Box::pin(self.look(items, |stored, record| {
            let known = self.known(&stored, record.known);
            Content::whole(record.canonical).proved_by(Some(known.fingerprint))
        }))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        Box::pin(self.look(items, |stored, record| self.known(&stored, record.known)))
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        Box::pin(self.put(puts))
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        let change = |take: Take| {
            let expected = Some(take.expected.version.digest);
            let change = RecordChange { key: take.key.as_bytes().to_vec(), expected, body: None };
            (take.key, change)
        };
        let changes = takes.into_iter().map(change).collect();
        Box::pin(async move {
            self.change(changes, "delete").await.into_iter().map(|revision| revision.map(drop)).collect()
        })
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        // What was committed is on the disk.
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}
