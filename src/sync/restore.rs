//! Bringing back what runs replaced: a plan like any other, with a snapshot of its own.

use std::collections::BTreeMap;

use super::apply::Supply;
use super::error::{Error, Result};
use super::filter::Filter;
use super::plan::{Action, Plan};
use super::report::Report;
use super::run::{Prepared, Purpose, Sync};
use super::snapshot::{self, Before};
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::context::Context;
use crate::endpoint::{Key, Version};
use crate::store::{SnapshotRecord, Store};

/// What is brought back.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// As of when.
    pub at: At,
    /// Only what these .gitignore patterns match; none: everything.
    pub keys: Vec<String>,
}

/// A moment in the history of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum At {
    /// Before the newest run that replaced something.
    #[default]
    BeforeNewest,
    /// Before this run.
    Before(String),
    /// At this moment: before every run that began since.
    Time(Timestamp),
}

impl Sync {
    /// Plans what brings the target back to what it was before a run; nothing is changed.
    ///
    /// # Errors
    /// There is no such snapshot; as [`Sync::prepare`].
    pub async fn prepare_restore(&self, wanted: &Wanted) -> Result<Prepared> {
        let started_at = self.clock.now();
        let filter = Filter::new(&wanted.keys, &[]);
        let mut before = self.before(&wanted.at).await?;
        before.retain(|key, _| filter.takes(key));
        let stored = self.baseline().await?;
        let one = Self { filter: Filter::only(before.keys().cloned().collect()), ..self.clone() };
        let comparison = one.compare(&one.sides(None), &stored.0, stored.1).await?;
        let mut now: BTreeMap<Key, Version> = BTreeMap::new();
        for row in &comparison.found {
            now.extend(row.target.as_ref().map(|known| (row.key.clone(), known.version)));
        }
        let mut plan = Plan::default();
        for (key, version) in before {
            match action(key.clone(), now.get(&key).copied(), version) {
                // What takes a directory's place needs room.
                Some(action @ Action::Delete { .. }) => plan.actions.insert(0, action),
                Some(action) => plan.actions.push(action),
                None => plan.unchanged += 1,
            }
        }
        Ok(one.prepared(plan, comparison, stored, started_at))
    }

    /// Brings the target back to what it was before a run; what it replaces is in a snapshot.
    ///
    /// # Errors
    /// As [`Sync::prepare_restore`] and [`Sync::run`].
    pub async fn restore(&self, wanted: &Wanted) -> Result<Report> {
        let prepared = self.prepare_restore(wanted).await?;
        self.perform(prepared, Purpose::Restore, &Supply::Archive(self.archive.clone())).await
    }

    /// Answers what was there at a moment, as far as a run changed it since.
    pub(super) async fn before(&self, at: &At) -> Result<Before> {
        let run = match at {
            At::BeforeNewest => None,
            At::Before(run) => Some(run.as_str()),
            At::Time(moment) => {
                let made = self.store.snapshots(&self.name).await?;
                let since = made.iter().filter(|record| record.at >= *moment);
                return Ok(snapshot::merged(since.map(|record| read(&self.name, record)).collect::<Result<Vec<_>>>()?));
            }
        };
        let (snapshots, first) = find(&self.store, &self.name, run).await?;
        let runs = snapshots[first..].iter().map(|record| read(&self.name, record));
        Ok(snapshot::merged(runs.collect::<Result<Vec<_>>>()?))
    }
}

/// Answers what was under each key that a run changed (none: the newest), before it did.
///
/// # Errors
/// There is no such snapshot, or it is damaged.
pub async fn snapshot_of(ctx: &Context, name: &str, run: Option<&str>) -> Result<Before> {
    let (snapshots, at) = find(&ctx.store, name, run).await?;
    read(name, &snapshots[at])
}

/// Answers the snapshots of a sync and the place of one among them.
async fn find(store: &Store, name: &str, run: Option<&str>) -> Result<(Vec<SnapshotRecord>, usize)> {
    let snapshots = store.snapshots(name).await?;
    let found = match run {
        Some(id) => snapshots.iter().position(|snapshot| snapshot.run == id),
        None => snapshots.len().checked_sub(1),
    };
    let missing = || Error::NoSnapshot { name: name.to_owned(), id: run.map(|id| shown(id.as_bytes())) };
    found.map(|at| (snapshots, at)).ok_or_else(missing)
}

pub(super) fn read(name: &str, record: &SnapshotRecord) -> Result<Before> {
    snapshot::decode(&record.body).map_err(|source| Error::Damaged { name: name.to_owned(), source })
}

/// Answers what makes one version of another.
pub(super) fn action(key: Key, now: Option<Version>, wanted: Option<Version>) -> Option<Action> {
    match (now, wanted) {
        (now, wanted) if now == wanted => None,
        (Some(from), Some(to)) => Some(Action::Replace { key, from, to }),
        (None, Some(to)) => Some(Action::Create { key, to }),
        (Some(from), None) => Some(Action::Delete { key, from }),
        (None, None) => None,
    }
}
