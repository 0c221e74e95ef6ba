//! What syncs agreed on, what they are about to do, and what they did.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};

use super::database::{Columns, Store, failed};
use super::error::{Error, Result};
use crate::base::Timestamp;
use crate::base::id::PromotionId;

/// A part of a list that is kept in chunks of many items, named by the first key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first key in it.
    pub first_key: Vec<u8>,
    /// The items, encoded by whoever keeps them.
    pub body: Vec<u8>,
}

/// What a sync agreed on last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredBaseline {
    /// Counts how often it moved on; 0: never.
    pub serial: i64,
    /// The items, in the order of keys.
    pub chunks: Vec<Chunk>,
}

/// Something that a sync left alone until a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFlag {
    /// The item's key.
    pub key: Vec<u8>,
    /// What is the matter with it, in one word.
    pub finding: String,
    /// Since when.
    pub since: Timestamp,
}

/// One run of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRun {
    /// Its name.
    pub id: String,
    /// The sync.
    pub sync: String,
    /// What it was for: `sync`, `resolve`, `restore`, `take_back`.
    pub purpose: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none: it did not, or has not yet.
    pub finished_at: Option<Timestamp>,
    /// What it did, as JSON.
    pub report: Option<String>,
    /// The promotion that it was made for.
    pub promotion: Option<PromotionId>,
}

/// What a run replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The run.
    pub run: String,
    /// When it began.
    pub at: Timestamp,
    /// How many items have a content in it.
    pub items: i64,
    /// Bytes of their content.
    pub bytes: i64,
    /// The items, encoded.
    pub body: Vec<u8>,
}

/// How the baseline of a sync moves on when a run ends.
#[derive(Debug, Clone, Default)]
pub struct Advance {
    /// The endpoints that it is about.
    pub endpoints: String,
    /// The serial that it moves on from.
    pub from_serial: i64,
    /// Whether everything that was agreed before is forgotten.
    pub is_fresh: bool,
    /// First keys of chunks that go.
    pub removed: Vec<Vec<u8>>,
    /// Chunks that come.
    pub added: Vec<Chunk>,
    /// What is flagged now, by key and finding.
    pub flags: Vec<(Vec<u8>, String)>,
    /// What people let be, encoded, where that changes.
    pub words: Option<Vec<u8>>,
}

impl Store {
    /// Answers what a sync agreed on between these endpoints; empty where it was between others.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sync_baseline(&self, sync: &str, endpoints: &str) -> Result<(StoredBaseline, bool)> {
        let rows = sqlx::query("SELECT endpoints, serial FROM syncs WHERE project = $1 AND sync = $2")
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up a sync"))?;
        let Some(row) = rows.first() else { return Ok((StoredBaseline::default(), true)) };
        let serial = Columns(row).integer("serial")?;
        if Columns(row).text("endpoints")? != endpoints {
            return Ok((StoredBaseline { serial, chunks: Vec::new() }, true));
        }
        let action = "read what a sync agreed on";
        let mut rows = sqlx::query(
            "SELECT first_key, body FROM sync_baselines WHERE project = $1 AND sync = $2 ORDER BY first_key",
        )
        .bind(self.project.clone())
        .bind(sync.to_owned())
        .fetch(&self.pool);
        let mut chunks = Vec::new();
        // Row by row: all of them at once are in memory twice.
        while let Some(row) = rows.try_next().await.map_err(failed(action))? {
            chunks.push(Chunk { first_key: blob(&row, "first_key")?, body: blob(&row, "body")? });
        }
        Ok((StoredBaseline { serial, chunks }, false))
    }

    /// Records, before anything is touched, that a run begins, what it is about to do and what it will replace; `endpoints`
    /// are given where the sync is between others than before, or new: then what it agreed on is forgotten.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn begin_sync(
        &self,
        run: &SyncRun,
        intents: Vec<u8>,
        snapshot: &SnapshotRecord,
        endpoints: Option<String>,
    ) -> Result<()> {
        let action = "record what a sync is about to do";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        if let Some(endpoints) = endpoints {
            self.begin_afresh(&mut transaction, &run.sync, endpoints).await?;
        }
        sqlx::query(
            "INSERT INTO sync_runs (id, project, sync, purpose, started_ms, promotion) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(run.id.clone())
        .bind(self.project.clone())
        .bind(run.sync.clone())
        .bind(run.purpose.clone())
        .bind(run.started_at.as_millisecond())
        .bind(run.promotion.as_ref().map(|id| id.as_str().to_owned()))
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        sqlx::query("INSERT INTO sync_intents (project, sync, body) VALUES ($1, $2, $3)")
            .bind(self.project.clone())
            .bind(run.sync.clone())
            .bind(intents)
            .execute(&mut *transaction)
            .await
            .map_err(failed(action))?;
        self.write_snapshot(&mut transaction, &run.sync, snapshot).await?;
        transaction.commit().await.map_err(failed(action))
    }

    async fn begin_afresh(&self, transaction: &mut Transaction<'_, Any>, sync: &str, endpoints: String) -> Result<()> {
        sqlx::query(
            "INSERT INTO syncs (project, sync, endpoints, serial) VALUES ($1, $2, $3, 0) \
             ON CONFLICT (project, sync) DO UPDATE SET endpoints = excluded.endpoints",
        )
        .bind(self.project.clone())
        .bind(sync.to_owned())
        .bind(endpoints)
        .execute(&mut **transaction)
        .await
        .map_err(failed("record between what a sync is"))?;
        self.delete(transaction, "DELETE FROM sync_baselines WHERE project = $1 AND sync = $2", sync).await?;
        self.delete(transaction, "DELETE FROM sync_words WHERE project = $1 AND sync = $2", sync).await?;
        self.delete(transaction, "DELETE FROM sync_intents WHERE project = $1 AND sync = $2", sync).await
    }

    /// Answers what people let be at a sync's target, encoded; nothing where they never did.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sync_words(&self, sync: &str) -> Result<Option<Vec<u8>>> {
        let rows = self.select("SELECT body FROM sync_words WHERE project = $1 AND sync = $2", sync).await?;
        rows.first().map(|row| blob(row, "body")).transpose()
    }

    async fn write_words(&self, transaction: &mut Transaction<'_, Any>, sync: &str, words: Vec<u8>) -> Result<()> {
        sqlx::query(
            "INSERT INTO sync_words (project, sync, body) VALUES ($1, $2, $3) \
             ON CONFLICT (project, sync) DO UPDATE SET body = excluded.body",
        )
        .bind(self.project.clone())
        .bind(sync.to_owned())
        .bind(words)
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(failed("record what people let be"))
    }

    async fn write_snapshot(
        &self,
        transaction: &mut Transaction<'_, Any>,
        sync: &str,
        snapshot: &SnapshotRecord,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO sync_snapshots (run, project, sync, at_ms, items, bytes, body, position) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, \
             (SELECT COALESCE(MAX(position), 0) + 1 FROM sync_snapshots WHERE project = $2 AND sync = $3)) ON CONFLICT (run) DO UPDATE SET items = excluded.items, \
             bytes = excluded.bytes, body = excluded.body",
        )
        .bind(snapshot.run.clone())
        .bind(self.project.clone())
        .bind(sync.to_owned())
        .bind(snapshot.at.as_millisecond())
        .bind(snapshot.items)
        .bind(snapshot.bytes)
        .bind(snapshot.body.clone())
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(failed("record what a sync replaces"))
    }

    /// Records what more a run is about to do.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn add_sync_intents(&self, sync: &str, intents: Vec<u8>) -> Result<()> {
        sqlx::query("INSERT INTO sync_intents (project, sync, body) VALUES ($1, $2, $3)")
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .bind(intents)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(failed("record what a sync is about to do"))
    }

    /// Answers what runs of a sync were about to do that did not come to their end, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sync_intents(&self, sync: &str) -> Result<Vec<Vec<u8>>> {
        let rows = self.select("SELECT body FROM sync_intents WHERE project = $1 AND sync = $2", sync).await?;
        rows.iter().map(|row| blob(row, "body")).collect()
    }

    /// Moves the baseline on, records what is flagged, and that nothing is under way any more.
    ///
    /// # Errors
    /// [`Error::SyncMoved`] where another run moved it meanwhile; the database cannot be written.
    pub async fn advance_sync(&self, sync: &str, advance: &Advance, at: Timestamp) -> Result<()> {
        let action = "move on what a sync agreed on";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        self.move_serial(&mut transaction, sync, advance).await?;
        if advance.is_fresh {
            self.delete(&mut transaction, "DELETE FROM sync_baselines WHERE project = $1 AND sync = $2", sync).await?;
            self.delete(&mut transaction, "DELETE FROM sync_words WHERE project = $1 AND sync = $2", sync).await?;
        }
        if let Some(words) = &advance.words {
            self.write_words(&mut transaction, sync, words.clone()).await?;
        }
        for first_key in &advance.removed {
            sqlx::query("DELETE FROM sync_baselines WHERE project = $1 AND sync = $2 AND first_key = $3")
                .bind(self.project.clone())
                .bind(sync.to_owned())
                .bind(first_key.clone())
                .execute(&mut *transaction)
                .await
                .map_err(failed(action))?;
        }
        for chunk in &advance.added {
            sqlx::query("INSERT INTO sync_baselines (project, sync, first_key, body) VALUES ($1, $2, $3, $4)")
                .bind(self.project.clone())
                .bind(sync.to_owned())
                .bind(chunk.first_key.clone())
                .bind(chunk.body.clone())
                .execute(&mut *transaction)
                .await
                .map_err(failed(action))?;
        }
        self.write_flags(&mut transaction, sync, &advance.flags, at).await?;
        self.delete(&mut transaction, "DELETE FROM sync_intents WHERE project = $1 AND sync = $2", sync).await?;
        transaction.commit().await.map_err(failed(action))
    }

    async fn move_serial(&self, transaction: &mut Transaction<'_, Any>, sync: &str, advance: &Advance) -> Result<()> {
        let moved = sqlx::query(
            "INSERT INTO syncs (project, sync, endpoints, serial) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, sync) DO UPDATE SET endpoints = excluded.endpoints, serial = excluded.serial \
             WHERE syncs.serial = $5",
        )
        .bind(self.project.clone())
        .bind(sync.to_owned())
        .bind(advance.endpoints.clone())
        .bind(advance.from_serial + 1)
        .bind(advance.from_serial)
        .execute(&mut **transaction)
        .await
        .map_err(failed("move on what a sync agreed on"))?;
        if moved.rows_affected() == 1 { Ok(()) } else { Err(Error::SyncMoved { sync: sync.to_owned() }) }
    }

    /// Replaces what is flagged; what stays flagged keeps since when.
    async fn write_flags(
        &self,
        transaction: &mut Transaction<'_, Any>,
        sync: &str,
        flags: &[(Vec<u8>, String)],
        at: Timestamp,
    ) -> Result<()> {
        let action = "record what a sync flags";
        let before = sqlx::query("SELECT item FROM sync_flags WHERE project = $1 AND sync = $2")
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .fetch_all(&mut **transaction)
            .await
            .map_err(failed(action))?;
        let now: BTreeSet<&[u8]> = flags.iter().map(|(key, _)| key.as_slice()).collect();
        for row in &before {
            let item = blob(row, "item")?;
            if now.contains(item.as_slice()) {
                continue;
            }
            sqlx::query("DELETE FROM sync_flags WHERE project = $1 AND sync = $2 AND item = $3")
                .bind(self.project.clone())
                .bind(sync.to_owned())
                .bind(item)
                .execute(&mut **transaction)
                .await
                .map_err(failed(action))?;
        }
        for (key, finding) in flags {
            sqlx::query(
                "INSERT INTO sync_flags (project, sync, item, finding, since_ms) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (project, sync, item) DO UPDATE SET finding = excluded.finding",
            )
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .bind(key.clone())
            .bind(finding.clone())
            .bind(at.as_millisecond())
            .execute(&mut **transaction)
            .await
            .map_err(failed(action))?;
        }
        Ok(())
    }

    /// Records what is flagged now, by key and finding, as somebody who only looked has found it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn flag_sync(&self, sync: &str, flags: &[(Vec<u8>, String)], at: Timestamp) -> Result<()> {
        let action = "record what a sync flags";
        let known = self.sync_flags(sync).await?;
        let is_known =
            |(key, finding): &(Vec<u8>, String)| known.iter().any(|flag| flag.key == *key && flag.finding == *finding);
        if known.len() == flags.len() && flags.iter().all(is_known) {
            return Ok(());
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        self.write_flags(&mut transaction, sync, flags, at).await?;
        transaction.commit().await.map_err(failed(action))
    }

    /// Records how a run ended, and what it really replaced (an empty body: nothing).
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn finish_sync(&self, run: &SyncRun, snapshot: &SnapshotRecord) -> Result<()> {
        let action = "record how a sync ended";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        sqlx::query("UPDATE sync_runs SET finished_ms = $1, report = $2 WHERE id = $3")
            .bind(run.finished_at.map(|at| at.as_millisecond()))
            .bind(run.report.clone())
            .bind(run.id.clone())
            .execute(&mut *transaction)
            .await
            .map_err(failed(action))?;
        if snapshot.body.is_empty() {
            sqlx::query("DELETE FROM sync_snapshots WHERE run = $1")
                .bind(run.id.clone())
                .execute(&mut *transaction)
                .await
                .map_err(failed(action))?;
        } else {
            self.write_snapshot(&mut transaction, &run.sync, snapshot).await?;
        }
        transaction.commit().await.map_err(failed(action))
    }

    /// Answers what a sync has flagged, in the order of keys.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sync_flags(&self, sync: &str) -> Result<Vec<SyncFlag>> {
        let rows = self.select("SELECT * FROM sync_flags WHERE project = $1 AND sync = $2 ORDER BY item", sync).await?;
        let flag = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(SyncFlag {
                key: blob(row, "item")?,
                finding: columns.text("finding")?,
                since: columns.time("since_ms")?,
            })
        };
        rows.iter().map(flag).collect()
    }

    /// Answers the runs of a sync, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sync_runs(&self, sync: &str) -> Result<Vec<SyncRun>> {
        let sql = "SELECT * FROM sync_runs WHERE project = $1 AND sync = $2 ORDER BY started_ms DESC, id DESC";
        let run = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(SyncRun {
                id: columns.text("id")?,
                sync: columns.text("sync")?,
                purpose: columns.text("purpose")?,
                started_at: columns.time("started_ms")?,
                finished_at: columns.optional_time("finished_ms")?,
                report: columns.optional_text("report")?,
                promotion: columns.optional_text("promotion")?.map(|id| PromotionId::from_stored(&id)),
            })
        };
        self.select(sql, sync).await?.iter().map(run).collect()
    }

    /// Answers what the runs of a sync replaced, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn snapshots(&self, sync: &str) -> Result<Vec<SnapshotRecord>> {
        let sql = "SELECT * FROM sync_snapshots WHERE project = $1 AND sync = $2 ORDER BY position";
        self.select(sql, sync).await?.iter().map(snapshot_record).collect()
    }

    /// Answers what the runs of every sync of the project replaced.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn all_snapshots(&self) -> Result<Vec<SnapshotRecord>> {
        let rows = sqlx::query("SELECT * FROM sync_snapshots WHERE project = $1")
            .bind(self.project.clone())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("list snapshots"))?;
        rows.iter().map(snapshot_record).collect()
    }

    /// Answers when the snapshots of a sync were made, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn snapshot_times(&self, sync: &str) -> Result<Vec<Timestamp>> {
        let sql = "SELECT at_ms FROM sync_snapshots WHERE project = $1 AND sync = $2 ORDER BY position";
        self.select(sql, sync).await?.iter().map(|row| Columns(row).time("at_ms")).collect()
    }

    /// Forgets snapshots of a sync by their runs, and writes down what others have taken in, at once.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn thin_snapshots(&self, sync: &str, dropped: &[String], changed: &[SnapshotRecord]) -> Result<()> {
        let action = "forget snapshots";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        for record in changed {
            self.write_snapshot(&mut transaction, sync, record).await?;
        }
        for run in dropped {
            sqlx::query("DELETE FROM sync_snapshots WHERE project = $1 AND sync = $2 AND run = $3")
                .bind(self.project.clone())
                .bind(sync.to_owned())
                .bind(run.clone())
                .execute(&mut *transaction)
                .await
                .map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))
    }

    async fn select(&self, sql: &'static str, sync: &str) -> Result<Vec<AnyRow>> {
        sqlx::query(sql)
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up a sync"))
    }

    async fn delete(&self, transaction: &mut Transaction<'_, Any>, sql: &'static str, sync: &str) -> Result<()> {
        sqlx::query(sql)
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .execute(&mut **transaction)
            .await
            .map(drop)
            .map_err(failed("clear what a sync left"))
    }
}

fn blob(row: &AnyRow, name: &str) -> Result<Vec<u8>> {
    row.try_get(name).map_err(failed("read a binary column"))
}

fn snapshot_record(row: &AnyRow) -> Result<SnapshotRecord> {
    let columns = Columns(row);
    Ok(SnapshotRecord {
        run: columns.text("run")?,
        at: columns.time("at_ms")?,
        items: columns.integer("items")?,
        bytes: columns.integer("bytes")?,
        body: blob(row, "body")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;
    use crate::store::Home;

    fn chunk(first: &[u8], body: &[u8]) -> Chunk {
        Chunk { first_key: first.to_vec(), body: body.to_vec() }
    }

    #[tokio::test]
    async fn a_baseline_moves_on_once_and_keeps_bytes_and_order() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let store = Store::open(&home, &home.project(std::path::Path::new("/a/.git"))).await.unwrap();
        let first = Advance {
            endpoints: "a → b".to_owned(),
            added: vec![chunk(b"\xff\0", b"two"), chunk(b"a", b"\0one\xfe")],
            flags: vec![(b"k\xff".to_vec(), "drift".to_owned())],
            ..Advance::default()
        };
        store.advance_sync("site", &first, from_ms(5)).await.unwrap();
        let again = store.advance_sync("site", &first, from_ms(6)).await.unwrap_err();
        assert!(matches!(again, Error::SyncMoved { .. }), "{again}");
        let (stored, is_fresh) = store.sync_baseline("site", "a → b").await.unwrap();
        assert_eq!((stored.serial, is_fresh), (1, false));
        assert_eq!(stored.chunks, [chunk(b"a", b"\0one\xfe"), chunk(b"\xff\0", b"two")]);
        assert_eq!(store.sync_baseline("site", "a → c").await.unwrap().0.chunks, []);
        let second = Advance {
            from_serial: 1,
            removed: vec![b"a".to_vec()],
            added: Vec::new(),
            flags: vec![(b"k\xff".to_vec(), "conflict".to_owned()), (b"z".to_vec(), "drift".to_owned())],
            ..first
        };
        store.advance_sync("site", &second, from_ms(9)).await.unwrap();
        assert_eq!(store.sync_baseline("site", "a → b").await.unwrap().0.chunks, [chunk(b"\xff\0", b"two")]);
        let flags = store.sync_flags("site").await.unwrap();
        let told: Vec<_> = flags.iter().map(|flag| (flag.finding.as_str(), flag.since.as_millisecond())).collect();
        assert_eq!(told, [("conflict", 5), ("drift", 9)]);
    }

    #[tokio::test]
    async fn what_a_run_was_about_to_do_is_known_until_the_baseline_moves_on() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let store = Store::open(&home, &home.project(std::path::Path::new("/a/.git"))).await.unwrap();
        let run = SyncRun {
            id: "r1".to_owned(),
            sync: "site".to_owned(),
            purpose: "sync".to_owned(),
            started_at: from_ms(1),
            finished_at: None,
            report: None,
            promotion: None,
        };
        let snapshot = SnapshotRecord { run: "r1".to_owned(), at: from_ms(1), items: 1, bytes: 2, body: vec![0, 1] };
        store.begin_sync(&run, vec![9, 0], &snapshot, None).await.unwrap();
        store.add_sync_intents("site", vec![8]).await.unwrap();
        assert_eq!(store.sync_intents("site").await.unwrap(), [vec![9, 0], vec![8]]);
        assert_eq!(store.snapshots("site").await.unwrap(), std::slice::from_ref(&snapshot));
        store.advance_sync("site", &Advance::default(), from_ms(2)).await.unwrap();
        assert!(store.sync_intents("site").await.unwrap().is_empty());
        let finished = SyncRun { finished_at: Some(from_ms(3)), report: Some("{}".to_owned()), ..run };
        store.finish_sync(&finished, &SnapshotRecord { items: 7, ..snapshot }).await.unwrap();
        assert_eq!(store.sync_runs("site").await.unwrap(), [finished]);
        assert_eq!(store.snapshots("site").await.unwrap()[0].items, 7);
        assert_eq!(store.snapshot_times("site").await.unwrap(), [from_ms(1)]);
        let kept = store.snapshots("site").await.unwrap().remove(0);
        let changed = SnapshotRecord { items: 9, ..kept };
        store.thin_snapshots("site", &[], std::slice::from_ref(&changed)).await.unwrap();
        assert_eq!(store.snapshots("site").await.unwrap(), [changed]);
        store.thin_snapshots("site", &["r1".to_owned()], &[]).await.unwrap();
        assert!(store.snapshots("site").await.unwrap().is_empty());
    }
}
