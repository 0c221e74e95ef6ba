//! Doing what a plan says, batch by batch: keep what is there, put what comes, look at it again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Archive, Keep, KeepError};
use super::baseline::Entry;
use super::error::{Error, Result};
use super::packed::Entries;
use super::parts::Merges;
use super::patience::Patience;
use super::plan::Action;
use super::report::{Noted, Report};
use super::run::Sync;
use super::snapshot::{after, before};
use super::walk::{Found, Looking, batches, digests, reason};
use crate::endpoint::{self, Class, Content, Endpoint, Fingerprint, Item, Key, Known, Listed, Put, Take, Version};

/// Items that are changed at a time, unless they are large.
const CHANGED_AT_ONCE_ITEMS: usize = 1_000;
/// Bytes that are read at a time, unless one item has more.
const CHANGED_AT_ONCE_BYTES: u64 = 32 << 20;

/// Where content comes from.
#[derive(Debug, Clone)]
pub(super) enum Supply {
    /// From an endpoint.
    Endpoint(Arc<dyn Endpoint>),
    /// From what was replaced earlier.
    Archive(Archive),
    /// From a file, whatever the key.
    File(PathBuf),
    /// This, whatever the key.
    Content(Vec<u8>),
}

impl Supply {
    async fn read(&self, items: Vec<Item>) -> Vec<endpoint::Result<Content>> {
        match self {
            Self::Endpoint(source) => source.read(items).await,
            Self::Archive(archive) => items.iter().map(|item| kept(archive, item)).collect(),
            Self::File(path) => items.iter().map(|item| given(path, item)).collect(),
            Self::Content(content) => items.iter().map(|_| Ok(Content::whole(content.clone()))).collect(),
        }
    }
}

fn kept(archive: &Archive, item: &Item) -> endpoint::Result<Content> {
    let failed = |source| endpoint::Error::Item { action: "read the snapshot of", key: item.key.clone(), source };
    let Some(digest) = item.digest else { return Err(failed(std::io::ErrorKind::NotFound.into())) };
    archive.read(&item.key, &Version { digest, form: item.form, size: item.size }).map_err(failed)
}

fn given(path: &Path, item: &Item) -> endpoint::Result<Content> {
    let failed = |source| endpoint::Error::Item { action: "read the file for", key: item.key.clone(), source };
    File::open(path)
        .and_then(|file| endpoint::content_of(file, item.size, &item.key, "read the file for"))
        .map_err(failed)
}

/// What is under a key after it was changed.
#[derive(Debug)]
pub(super) enum Applied {
    /// What was to be there, with what tells that it still is; none: nothing is there, as it was to be.
    Verified(Option<Known>),
    /// Something else.
    Different,
}

/// What was written, by key: what must be there, and what the target said of it.
type Written = BTreeMap<Key, Option<Known>>;

/// Whoever carries a plan out.
pub(super) struct Apply<'a> {
    pub sync: &'a Sync,
    pub supply: &'a Supply,
    pub found: &'a BTreeMap<Key, Found>,
    pub merges: &'a Merges,
}

impl Apply<'_> {
    /// Carries actions out; what goes wrong with one of them is noted.
    pub async fn perform(&self, actions: &[&Action], report: &mut Report) -> Result<Written> {
        let mut written = Written::new();
        let size = |action: &&Action| before(action).map_or(0, |it| it.size) + after(action).map_or(0, |it| it.size);
        for batch in batches(actions.to_vec(), size, CHANGED_AT_ONCE_ITEMS, CHANGED_AT_ONCE_BYTES) {
            self.perform_batch(batch, &mut written, report).await?;
        }
        Ok(written)
    }

    /// Waits until all of it is on the disk.
    pub async fn flush(&self) -> Result<()> {
        let flushed = self.sync.target.flush().await;
        flushed.map_err(|source| Error::Endpoint { name: self.sync.name.clone(), source })
    }

    /// Carries out a batch; what fails for a moment is tried again.
    async fn perform_batch(&self, mut batch: Vec<&Action>, written: &mut Written, report: &mut Report) -> Result<()> {
        let (patience, mut attempts) = (self.sync.patience, 1);
        let size: u64 = batch.iter().filter_map(|action| after(action)).map(|version| version.size).sum();
        let items = batch.len() as u64;
        loop {
            let mut trying = Attempt { report: &mut *report, patience, attempts, again: BTreeSet::new() };
            let ready = self.keep(batch.clone(), &mut trying).await?;
            let (deletions, writes): (Vec<&Action>, Vec<&Action>) =
                ready.into_iter().partition(|action| after(action).is_none());
            self.delete(deletions, written, &mut trying).await;
            self.write(writes, written, &mut trying).await;
            let again = trying.again;
            if again.is_empty() {
                self.sync.progress.add(items, size);
                return Ok(());
            }
            batch.retain(|action| again.contains(action.key()));
            patience.wait(attempts).await;
            attempts += 1;
        }
    }

    /// Keeps what the actions replace, on the disk; answers the actions that may go on.
    async fn keep<'b>(&self, batch: Vec<&'b Action>, trying: &mut Attempt<'_>) -> Result<Vec<&'b Action>> {
        let lost =
            |lost: tokio::task::JoinError| Error::Lost { name: self.sync.name.clone(), reason: lost.to_string() };
        let archive = self.sync.archive.clone();
        let replaced: Vec<Version> = batch.iter().filter_map(|action| before(action)).collect();
        let whole = tokio::task::spawn_blocking(move || archive.whole(&replaced)).await.map_err(lost)?;
        let is_missing = |version: &Version| !whole.contains(&version.digest);
        let (replacing, mut ready): (Vec<&Action>, Vec<&Action>) =
            batch.into_iter().partition(|action| before(action).as_ref().is_some_and(is_missing));
        let items = replacing.iter().filter_map(|action| Some(item(action.key(), &before(action)?))).collect();
        let mut keeps = Vec::new();
        let mut kept_actions = Vec::new();
        for (action, read) in replacing.iter().zip(self.sync.target.read(items).await) {
            match (read, before(action)) {
                (Ok(content), Some(version)) => {
                    keeps.push(Keep { key: action.key().clone(), version, content });
                    kept_actions.push(*action);
                }
                (Err(error), _) => trying.fail(action.key(), &error),
                (Ok(_), None) => {}
            }
        }
        let archive = self.sync.archive.clone();
        let kept = tokio::task::spawn_blocking(move || archive.keep(keeps));
        let refused = |source| Error::Archive { path: self.sync.archive.root().to_owned(), source };
        for (action, answer) in kept_actions.into_iter().zip(kept.await.map_err(lost)?.map_err(refused)?) {
            match answer {
                Ok(()) => ready.push(action),
                Err(KeepError::Changed) => {
                    trying.report.flagged.push(Noted::new(action.key(), "was changed at the target meanwhile"));
                }
                Err(KeepError::Endpoint(error)) => trying.fail(action.key(), &error),
                Err(error) => trying.report.failed.push(Noted::new(action.key(), reason(&error))),
            }
        }
        Ok(ready)
    }

    async fn delete(&self, actions: Vec<&Action>, written: &mut Written, trying: &mut Attempt<'_>) {
        let take = |action: &&Action| Some(Take { key: action.key().clone(), expected: self.expected(action)? });
        let takes: Vec<Take> = actions.iter().filter_map(take).collect();
        let keys: Vec<Key> = takes.iter().map(|take| take.key.clone()).collect();
        for (key, answer) in keys.into_iter().zip(self.sync.target.delete(takes).await) {
            match answer {
                Ok(()) => drop(written.insert(key, None)),
                Err(error) => trying.fail(&key, &error),
            }
        }
    }

    async fn write(&self, actions: Vec<&Action>, written: &mut Written, trying: &mut Attempt<'_>) {
        let (together, actions): (Vec<&Action>, Vec<&Action>) =
            actions.into_iter().partition(|action| self.merges.contains_key(action.key()));
        let items = actions.iter().filter_map(|action| Some(self.source_item(action.key(), &after(action)?))).collect();
        let mut puts = Vec::new();
        for (action, read) in actions.iter().zip(self.supply.read(items).await) {
            match (read, after(action)) {
                (Ok(content), Some(to)) => {
                    puts.push(Put { key: action.key().clone(), to, content, expected: self.expected(action) });
                }
                (Err(error), _) => trying.fail(action.key(), &error),
                (Ok(_), None) => {}
            }
        }
        for action in together {
            let Some(one) = self.merges.get(action.key()) else { continue };
            let content = Content::whole(one.merged.content.clone());
            let expected = self.expected(action);
            puts.push(Put { key: action.key().clone(), to: one.to, content, expected });
        }
        let keys: Vec<(Key, Version)> = puts.iter().map(|put| (put.key.clone(), put.to)).collect();
        for ((key, version), answer) in keys.into_iter().zip(self.sync.target.write(puts).await) {
            match answer {
                Ok(fingerprint) => drop(written.insert(key, Some(Known { version, fingerprint }))),
                Err(error) => trying.fail(&key, &error),
            }
        }
    }

    /// Answers what must be at the target before an action.
    fn expected(&self, action: &Action) -> Option<Known> {
        before(action)?;
        self.found.get(action.key())?.target.clone()
    }

    /// Answers an item as its endpoint listed it.
    fn source_item(&self, key: &Key, version: &Version) -> Item {
        source_item(self.found.get(key).and_then(|row| row.source.as_ref()), key, version)
    }

    /// Looks at the target again: only what is there as it was written counts. Answers what was copied and is there, too.
    pub async fn verify(
        &self,
        mut written: Written,
        copied: &Entries,
        report: &mut Report,
    ) -> Result<(BTreeMap<Key, Applied>, Entries)> {
        let failed = |source| Error::Endpoint { name: self.sync.name.clone(), source };
        let mut seen = Seen::default();
        let mut expected = copied.iter().peekable();
        let mut listing = self.sync.target.list();
        while let Some(part) = listing.next().await {
            let Listed::Items(items) = part.map_err(failed)? else { break };
            self.sync.progress.add(items.len() as u64, 0);
            for item in items {
                while let Some((key, _)) = expected.next_if(|(key, _)| *key < item.key) {
                    seen.applied.insert(key, Applied::Different);
                }
                match expected.next_if(|(key, _)| *key == item.key) {
                    Some((_, entry)) => seen.take_copied(item, entry),
                    None => seen.take(item, &mut written),
                }
            }
        }
        seen.applied.extend(expected.map(|(key, _)| (key, Applied::Different)));
        let Seen { mut applied, doubtful, verified } = seen;
        for (key, expected) in written {
            let is_gone = expected.is_none();
            applied.insert(key, if is_gone { Applied::Verified(None) } else { Applied::Different });
        }
        self.look_closely(doubtful, &mut applied).await;
        for (key, applied) in &applied {
            if matches!(applied, Applied::Different) {
                report.unverified.push(Noted::new(key, "is not what was written"));
            }
        }
        Ok((applied, verified))
    }

    /// Reads what tells that it was touched since it was written.
    async fn look_closely(&self, doubtful: Vec<(Item, Option<Known>)>, applied: &mut BTreeMap<Key, Applied>) {
        let (items, expected): (Vec<Item>, Vec<(Key, Option<Known>)>) =
            doubtful.into_iter().map(|(item, expected)| (item.clone(), (item.key, expected))).unzip();
        let Sync { reading, patience, progress, .. } = self.sync;
        let looking = Looking { reading: *reading, patience: *patience, progress };
        let mut found = digests(&*self.sync.target, items, looking).await;
        for (key, expected) in expected {
            let answer = match (found.remove(&key), expected) {
                (Some(Ok(now)), Some(expected)) if now.version == expected.version => Applied::Verified(Some(now)),
                _ => Applied::Different,
            };
            applied.insert(key, answer);
        }
    }
}

/// Answers an item as its endpoint listed it.
pub(super) fn source_item(listed: Option<&Known>, key: &Key, version: &Version) -> Item {
    let fingerprint = listed.map(|known| known.fingerprint.clone());
    Item { fingerprint: fingerprint.unwrap_or_else(unknown), ..item(key, version) }
}

fn unknown() -> Fingerprint {
    Fingerprint { bytes: Vec::new(), is_racy: true }
}

fn item(key: &Key, version: &Version) -> Item {
    let Version { digest, form, size } = *version;
    Item { key: key.clone(), form, size, fingerprint: unknown(), digest: Some(digest) }
}

/// What was seen at the target after it was changed.
#[derive(Default)]
struct Seen {
    applied: BTreeMap<Key, Applied>,
    doubtful: Vec<(Item, Option<Known>)>,
    verified: Entries,
}

impl Seen {
    fn take(&mut self, item: Item, written: &mut Written) {
        match written.remove(&item.key) {
            Some(Some(known)) if known.fingerprint.bytes == item.fingerprint.bytes => {
                let known = Known { fingerprint: item.fingerprint, ..known };
                self.applied.insert(item.key, Applied::Verified(Some(known)));
            }
            Some(expected) => self.doubtful.push((item, expected)),
            None => {}
        }
    }

    fn take_copied(&mut self, item: Item, entry: Entry) {
        match entry.target {
            Some(known) if known.fingerprint.bytes == item.fingerprint.bytes => {
                let target = Some(Known { fingerprint: item.fingerprint, ..known });
                self.verified.add(&item.key, &Entry { target, ..entry });
            }
            expected => self.doubtful.push((item, expected)),
        }
    }
}

/// One attempt at a batch.
pub(super) struct Attempt<'r> {
    pub report: &'r mut Report,
    pub patience: Patience,
    pub attempts: u32,
    /// What is worth another one.
    pub again: BTreeSet<Key>,
}

impl Attempt<'_> {
    /// Notes why an item was left alone: somebody was faster, or it could not be done; what may pass is tried again.
    pub fn fail(&mut self, key: &Key, error: &endpoint::Error) {
        if self.patience.lasts(error, self.attempts) {
            self.again.insert(key.clone());
            return;
        }
        self.report.passing += usize::from(error.class() == Class::Transient);
        let list = match error {
            endpoint::Error::Changed { reason, .. } => {
                return self.report.flagged.push(Noted::new(key, *reason));
            }
            endpoint::Error::Aside { .. } => &mut self.report.flagged,
            _ => &mut self.report.failed,
        };
        list.push(Noted::new(key, reason(error)));
    }
}
