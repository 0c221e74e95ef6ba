//! Looking after snapshots: forgetting old ones, seeing that their content is whole, comparing them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::archive::Archive;
use super::error::{Error, Result};
use super::filter::Filter;
use super::report::Noted;
use super::restore::{self, At};
use super::retention::{Fate, fates, thinned};
use super::run::{Sync, seconds, summarised};
use super::snapshot::{self, Before};
use super::walk::reason;
use crate::base::digest::Digest;
use crate::endpoint::{Key, Version};
use crate::store::SnapshotRecord;

/// What pruning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Snapshots that cannot be restored any more.
    pub snapshots: usize,
    /// Contents that were removed, for no snapshot names them.
    pub contents: usize,
}

/// Whether snapshots are whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SnapshotCheck {
    /// The sync.
    pub sync: String,
    /// So many snapshots.
    pub snapshots: usize,
    /// So many different contents.
    pub contents: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether all content was read.
    pub read: bool,
    /// Items whose content is not there.
    pub missing: Vec<Noted>,
    /// Items whose content is not what it was.
    pub damaged: Vec<Noted>,
    /// How long it took.
    pub seconds: f64,
}

/// What is different under a key between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: Key,
    /// What was there at the earlier moment.
    pub from: Option<Version>,
    /// What was there at the later one.
    pub to: Option<Version>,
}

impl Sync {
    /// Forgets what was replaced too long ago; what no snapshot names any more is removed.
    ///
    /// # Errors
    /// The database, or a snapshot in it, cannot be read.
    pub async fn prune(&self) -> Result<Pruned> {
        let snapshots = self.thin().await?;
        Ok(Pruned { snapshots, contents: self.sweep_archive().await? })
    }

    /// Forgets what was replaced too long ago, after a run.
    pub(super) async fn forget_old(&self) -> Result<()> {
        if self.thin().await? > 0 {
            let count = self.sweep_archive().await?;
            tracing::debug!("{count} contents that no snapshot names any more are gone");
        }
        Ok(())
    }

    /// Forgets snapshots that are too old, or has older ones take them in; answers how many went.
    async fn thin(&self) -> Result<usize> {
        let made = self.store.snapshot_times(&self.name).await?;
        let fates = fates(self.clock.now(), &self.retention, &made);
        let gone = fates.iter().filter(|fate| **fate != Fate::Kept).count();
        if gone == 0 {
            return Ok(0);
        }
        let records = self.store.snapshots(&self.name).await?;
        let before = records.iter().map(|record| restore::read(&self.name, record)).collect::<Result<Vec<_>>>()?;
        let changed = thinned(&fates, before);
        let summary = |(place, before): (&usize, &Before)| {
            let SnapshotRecord { run, at, .. } = &records[*place];
            summarised(run, *at, before.iter().map(|(key, version)| (key, *version)))
        };
        let changed: Vec<SnapshotRecord> = changed.iter().map(summary).collect();
        let dropped = records.iter().zip(&fates).filter(|(_, fate)| **fate != Fate::Kept);
        let dropped: Vec<String> = dropped.map(|(record, _)| record.run.clone()).collect();
        self.store.thin_snapshots(&self.name, &dropped, &changed).await?;
        Ok(gone)
    }

    /// Removes content that no snapshot of the project names.
    async fn sweep_archive(&self) -> Result<usize> {
        let mut wanted = HashSet::new();
        for record in self.store.all_snapshots().await? {
            let before = snapshot::decode(&record.body).map_err(|source| self.damaged(source))?;
            wanted.extend(before.values().flatten().map(|version| version.digest));
        }
        let pruned = self.with_archive(move |archive| archive.prune(&wanted)).await?;
        pruned.map_err(|source| Error::Archive { path: self.archive.root().to_owned(), source })
    }

    async fn with_archive<R: Send + 'static>(&self, work: impl FnOnce(&Archive) -> R + Send + 'static) -> Result<R> {
        let archive = self.archive.clone();
        let done = tokio::task::spawn_blocking(move || work(&archive));
        done.await.map_err(|lost| Error::Lost { name: self.name.clone(), reason: lost.to_string() })
    }

    /// Looks whether all content that snapshots name is there; where `reads`, whether it is what it was, too.
    ///
    /// # Errors
    /// The database, or a snapshot in it, cannot be read.
    pub async fn check_snapshots(&self, reads: bool) -> Result<SnapshotCheck> {
        let started_at = self.clock.now();
        let records = self.store.snapshots(&self.name).await?;
        let mut contents: HashMap<Digest, (Key, Version)> = HashMap::new();
        for record in &records {
            for (key, version) in restore::read(&self.name, record)? {
                if let Some(version) = version {
                    contents.entry(version.digest).or_insert((key, version));
                }
            }
        }
        let mut check = SnapshotCheck {
            sync: self.name.clone(),
            snapshots: records.len(),
            contents: contents.len(),
            bytes: contents.values().map(|(_, version)| version.size).sum(),
            read: reads,
            ..SnapshotCheck::default()
        };
        let mut contents: Vec<(Key, Version)> = contents.into_values().collect();
        contents.sort_by(|(one, _), (other, _)| one.cmp(other));
        let wrong = self.with_archive(move |archive| {
            let look = |(key, version): (Key, Version)| match archive.has(&version.digest) {
                false => Some((key, None)),
                true if reads => archive.problem(&version).map(|problem| (key, Some(problem))),
                true => None,
            };
            contents.into_iter().filter_map(look).collect::<Vec<_>>()
        });
        for (key, problem) in wrong.await? {
            match problem {
                None => check.missing.push(Noted::new(&key, "its content is not there")),
                Some(problem) => check.damaged.push(Noted::new(&key, problem)),
            }
        }
        check.seconds = seconds(started_at, self.clock.now());
        Ok(check)
    }

    /// Answers what is different at the target between the moment before one run and the moment before another (none: now).
    ///
    /// # Errors
    /// There is no such snapshot; the target cannot be listed.
    pub async fn changes_between(&self, from: &At, to: Option<&At>) -> Result<Vec<Changed>> {
        let from = self.before(from).await?;
        let to = match to {
            Some(to) => self.before(to).await?,
            None => Before::new(),
        };
        let now = self.now_at(from.keys().chain(to.keys()).cloned()).await?;
        let at = |side: &Before, key: &Key| side.get(key).copied().unwrap_or_else(|| now.get(key).copied());
        let keys: std::collections::BTreeSet<&Key> = from.keys().chain(to.keys()).collect();
        let changed = |key: &Key| Changed { key: key.clone(), from: at(&from, key), to: at(&to, key) };
        Ok(keys.into_iter().map(changed).filter(|change| change.from != change.to).collect())
    }

    /// Answers what the target has under keys now.
    async fn now_at(&self, keys: impl Iterator<Item = Key>) -> Result<BTreeMap<Key, Version>> {
        let one = Self { filter: Filter::only(keys.collect()), ..self.clone() };
        let (stored, is_fresh) = self.baseline().await?;
        let comparison = one.compare(&one.sides(None), &stored, is_fresh).await?;
        let there = comparison.found.into_iter().filter_map(|row| Some((row.key, row.target?.version)));
        Ok(there.collect())
    }
}

impl Archive {
    /// Reads content; answers what is wrong with it. For blocking threads.
    #[must_use]
    pub fn problem(&self, version: &Version) -> Option<String> {
        match self.digest(version) {
            Ok(found) if found == (version.digest, version.size) => None,
            Ok(_) => Some("its content is not what it was".to_owned()),
            Err(refused) => Some(format!("its content cannot be read: {}", reason(&refused))),
        }
    }
}
