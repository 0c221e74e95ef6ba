//! Doing what a person decided about one flagged item.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;

use super::apply::Supply;
use super::baseline::{Changes, Entry};
use super::error::{Error, Result};
use super::filter::Filter;
use super::join::Row;
use super::packed::Entries;
use super::plan::{Plan, Policy};
use super::report::Report;
use super::restore;
use super::run::{Purpose, Sync, seconds};
use crate::base::digest::Digest;
use crate::beneath::FileStat;
use crate::config::{DeleteMode, OnDrift};
use crate::endpoint::{self, Form, Key, Version};

impl Sync {
    /// Answers the same sync for one item only, as a person decided: the source's wins.
    #[must_use]
    pub fn deciding_for_source(&self, key: &Key) -> Self {
        let policy = Policy { on_drift: OnDrift::Overwrite, delete: DeleteMode::Mirror, max_delete: 1.0 };
        Self { policy, filter: Filter::only(BTreeSet::from([key.clone()])), ..self.clone() }
    }

    /// Does what a person decided about a flagged item: what the source has takes its place.
    ///
    /// # Errors
    /// It is not flagged; as [`Sync::run`].
    pub async fn take_source(&self, key: &Key) -> Result<Report> {
        self.require_flag(key).await?;
        let one = self.deciding_for_source(key);
        let prepared = one.prepare().await?;
        one.perform(prepared, Purpose::Resolve, &Supply::Endpoint(Arc::clone(&one.source))).await
    }

    /// Does what a person decided about a flagged item: what the target has stays until the source's changes again.
    ///
    /// # Errors
    /// It is not flagged; as [`Sync::run`].
    pub async fn take_target(&self, key: &Key) -> Result<Report> {
        self.require_flag(key).await?;
        self.leave(key).await
    }

    async fn leave(&self, key: &Key) -> Result<Report> {
        let one = Self { filter: Filter::only(BTreeSet::from([key.clone()])), ..self.clone() };
        let mut prepared = one.prepare().await?;
        // A person decides about all of it.
        prepared.merges.clear();
        prepared.plan = Plan::default();
        let mut changes = Changes::new();
        if let Some(Row { key, source, target, .. }) = prepared.found.get(key) {
            changes.insert(key.clone(), Some(Entry { source: source.clone(), target: target.clone() }));
        }
        let mut report = one.begin_report(&prepared).await;
        one.agree(&prepared, &changes, &Entries::default(), &report, Purpose::Resolve).await?;
        report.kept = changes.len();
        report.seconds = seconds(prepared.started_at, self.clock.now());
        Ok(report)
    }

    /// Does what a person decided about a flagged item: the content of a file takes its place, and stays until the source's
    /// changes again.
    ///
    /// # Errors
    /// It is not flagged; the file cannot be read; as [`Sync::run`].
    pub async fn take_file(&self, key: &Key, path: &Path) -> Result<Report> {
        self.require_flag(key).await?;
        let admitted = self.admitted(key, path).await?;
        let chosen = match &admitted {
            Some(content) => {
                let form = Form::File { executable: false };
                Version { digest: Digest::of(content), form, size: content.len() as u64 }
            }
            None => self.chosen(path).await?,
        };
        let one = Self { filter: Filter::only(BTreeSet::from([key.clone()])), ..self.clone() };
        let mut prepared = one.prepare().await?;
        // A person decides about all of it.
        prepared.merges.clear();
        let now = prepared.found.get(key).and_then(|row| row.target.as_ref()).map(|known| known.version);
        let Some(action) = restore::action(key.clone(), now, Some(chosen)) else { return self.leave(key).await };
        prepared.plan = Plan { actions: vec![action], ..Plan::default() };
        let supply = admitted.map_or_else(|| Supply::File(path.to_owned()), Supply::Content);
        one.perform(prepared, Purpose::Choose, &supply).await
    }

    /// Answers what a file has as the target holds it; nothing where it holds files as they are.
    async fn admitted(&self, key: &Key, path: &Path) -> Result<Option<Vec<u8>>> {
        let (target, key, opened) = (Arc::clone(&self.target), key.clone(), path.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            // What a target takes as it is may be large: it is not read for nothing.
            drop(target.admit(&key, b"")?);
            Some(std::fs::read(opened).map(|given| target.admit(&key, &given)))
        });
        let lost = |lost: tokio::task::JoinError| Error::Lost { name: self.name.clone(), reason: lost.to_string() };
        let Some(read) = read.await.map_err(lost)? else { return Ok(None) };
        let admitted = read.map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        admitted.transpose().map_err(|source| Error::Endpoint { name: self.name.clone(), source })
    }

    /// Answers what a file has.
    async fn chosen(&self, path: &Path) -> Result<Version> {
        let opened = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let file = File::open(opened)?;
            let stat = FileStat::of_open(&file)?;
            if stat.kind != FileType::RegularFile {
                return Err(io::Error::other("it is no file"));
            }
            let (digest, size) = endpoint::digest_file(file, stat.size)?;
            Ok(Version { digest, form: Form::File { executable: stat.executable() }, size })
        });
        let lost = |lost: tokio::task::JoinError| Error::Lost { name: self.name.clone(), reason: lost.to_string() };
        read.await.map_err(lost)?.map_err(|source| Error::Unreadable { path: path.to_owned(), source })
    }

    async fn require_flag(&self, key: &Key) -> Result<()> {
        let flags = self.store.sync_flags(&self.name).await?;
        if flags.iter().any(|flag| flag.key == key.as_bytes()) {
            return Ok(());
        }
        Err(Error::NotFlagged { name: self.name.clone(), key: key.to_string() })
    }
}
