//! Tables of records: what each record is now, and what it was.

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};

use super::database::{Columns, Store, failed};
use super::error::{Error, Result};
use crate::base::Timestamp;
use crate::base::digest::Digest;

/// Revisions of a record that are kept.
pub const REVISIONS_LIMIT: i64 = 100;

/// What a record is now, but for its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHead {
    /// Its key.
    pub key: Vec<u8>,
    /// Counts every change of it.
    pub revision: i64,
    /// SHA-256 of its content.
    pub digest: Digest,
    /// Bytes of its content.
    pub size: u64,
    /// When it was last changed.
    pub changed_at: Timestamp,
}

/// A record as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its key.
    pub key: Vec<u8>,
    /// Counts every change of it.
    pub revision: i64,
    /// Its content.
    pub body: Vec<u8>,
}

/// A record as it was from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRevision {
    /// Counts every change of it.
    pub revision: i64,
    /// When it became so.
    pub at: Timestamp,
    /// Its content; none: it was deleted.
    pub body: Option<Vec<u8>>,
}

/// A table and how many records it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordTableSummary {
    /// Its name.
    pub name: String,
    /// How many records it has.
    pub records: i64,
    /// When one of them was last changed.
    pub changed_at: Timestamp,
}

/// What a record is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// Its key.
    pub key: Vec<u8>,
    /// SHA-256 of what must be there; none: nothing.
    pub expected: Option<Digest>,
    /// Its new content; none: it is deleted.
    pub body: Option<Vec<u8>>,
}

impl Store {
    /// Answers the tables of the project, in the order of their names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn record_tables(&self) -> Result<Vec<RecordTableSummary>> {
        let rows = sqlx::query(
            "SELECT tab, COUNT(*) AS records, MAX(changed_ms) AS changed_ms FROM records WHERE project = $1 GROUP BY tab \
             ORDER BY tab",
        )
        .bind(self.project.clone())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list the tables of records"))?;
        let table = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(RecordTableSummary {
                name: columns.text("tab")?,
                records: columns.integer("records")?,
                changed_at: columns.time("changed_ms")?,
            })
        };
        rows.iter().map(table).collect()
    }

    /// Answers records of a table after a key, in the order of keys, without their content.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn record_heads(&self, table: &str, after: Vec<u8>, limit: i64) -> Result<Vec<RecordHead>> {
        let heads = "SELECT record, revision, digest, size, changed_ms FROM records \
                     WHERE project = $1 AND tab = $2 AND record > $3 ORDER BY record LIMIT $4";
        let rows = self.rows_after(heads, table, after, limit).await.map_err(failed("list records"))?;
        rows.iter().map(head).collect()
    }

    /// Answers records of a table after a key, in the order of keys.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn records_after(&self, table: &str, after: Vec<u8>, limit: i64) -> Result<Vec<StoredRecord>> {
        let whole = "SELECT r.record AS record, r.revision AS revision, v.body AS body \
                     FROM records r JOIN record_revisions v \
                     ON v.project = r.project AND v.tab = r.tab AND v.record = r.record AND v.revision = r.revision \
                     WHERE r.project = $1 AND r.tab = $2 AND r.record > $3 ORDER BY r.record LIMIT $4";
        let rows = self.rows_after(whole, table, after, limit).await.map_err(failed("read records"))?;
        rows.iter().map(stored).collect()
    }

    async fn rows_after(
        &self,
        query: &'static str,
        table: &str,
        after: Vec<u8>,
        limit: i64,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let query = sqlx::query(query).bind(self.project.clone()).bind(table.to_owned());
        query.bind(after).bind(limit).fetch_all(&self.pool).await
    }

    /// Answers records by their keys; nothing where there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn records_of(&self, table: &str, keys: Vec<Vec<u8>>) -> Result<Vec<Option<StoredRecord>>> {
        let action = "read records";
        let mut connection = self.pool.acquire().await.map_err(failed(action))?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let rows = sqlx::query(
                "SELECT r.record AS record, r.revision AS revision, v.body AS body FROM records r \
                 JOIN record_revisions v ON v.project = r.project AND v.tab = r.tab AND v.record = r.record AND \
                 v.revision = r.revision WHERE r.project = $1 AND r.tab = $2 AND r.record = $3",
            )
            .bind(self.project.clone())
            .bind(table.to_owned())
            .bind(key)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed(action))?;
            found.push(rows.first().map(stored).transpose()?);
        }
        Ok(found)
    }

    /// Answers what a record was, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn record_history(&self, table: &str, key: Vec<u8>) -> Result<Vec<RecordRevision>> {
        let rows = sqlx::query(
            "SELECT revision, at_ms, body FROM record_revisions WHERE project = $1 AND tab = $2 AND record = $3 \
             ORDER BY revision DESC",
        )
        .bind(self.project.clone())
        .bind(table.to_owned())
        .bind(key)
        .fetch_all(&self.pool)
        .await
        .map_err(failed("read what a record was"))?;
        let revision = |row: &AnyRow| {
            let columns = Columns(row);
            let body = row.try_get("body").map_err(failed("read a binary column"))?;
            Ok(RecordRevision { revision: columns.integer("revision")?, at: columns.time("at_ms")?, body })
        };
        rows.iter().map(revision).collect()
    }

    /// Changes records, each only where it is what is expected; all of that at once. Answers the revision of each; nothing
    /// where it was something else.
    ///
    /// # Errors
    /// The database cannot be written: then nothing was changed.
    pub async fn change_records(
        &self,
        table: &str,
        changes: Vec<RecordChange>,
        now: Timestamp,
    ) -> Result<Vec<Option<i64>>> {
        let action = "change records";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let mut revisions = Vec::with_capacity(changes.len());
        for change in changes {
            let revision = self.change_head(&mut transaction, table, &change, now).await?;
            if let Some(revision) = revision {
                self.add_revision(&mut transaction, table, change, (revision, now)).await?;
            }
            revisions.push(revision);
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(revisions)
    }

    /// Answers the revision that a record has then; nothing where it is not what is expected.
    async fn change_head(
        &self,
        transaction: &mut Transaction<'_, Any>,
        table: &str,
        change: &RecordChange,
        now: Timestamp,
    ) -> Result<Option<i64>> {
        let is_key = "project = $1 AND tab = $2 AND record = $3";
        let sql = match (&change.expected, &change.body) {
            (None, None) => return Ok(None),
            (None, Some(_)) => format!(
                "INSERT INTO records (project, tab, record, revision, changed_ms, digest, size) SELECT $1, $2, $3, \
                 COALESCE(MAX(revision), 0) + 1, $4, $5, $6 FROM record_revisions WHERE {is_key} \
                 ON CONFLICT (project, tab, record) DO NOTHING RETURNING revision"
            ),
            (Some(_), Some(_)) => format!(
                "UPDATE records SET revision = revision + 1, changed_ms = $4, digest = $5, size = $6 WHERE {is_key} AND \
                 digest = $7 RETURNING revision"
            ),
            (Some(_), None) => {
                format!("DELETE FROM records WHERE {is_key} AND digest = $4 RETURNING revision + 1 AS revision")
            }
        };
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(self.project.clone()).bind(table.to_owned());
        let mut query = query.bind(change.key.clone());
        if let Some(body) = &change.body {
            let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
            query = query.bind(now.as_millisecond()).bind(Digest::of(body).as_bytes().to_vec()).bind(size);
        }
        if let Some(expected) = &change.expected {
            query = query.bind(expected.as_bytes().to_vec());
        }
        let rows = query.fetch_all(&mut **transaction).await.map_err(failed("change a record"))?;
        rows.first().map(|row| Columns(row).integer("revision")).transpose()
    }

    async fn add_revision(
        &self,
        transaction: &mut Transaction<'_, Any>,
        table: &str,
        change: RecordChange,
        (revision, now): (i64, Timestamp),
    ) -> Result<()> {
        let action = "record what a record is";
        sqlx::query(
            "INSERT INTO record_revisions (project, tab, record, revision, at_ms, body) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.project.clone())
        .bind(table.to_owned())
        .bind(change.key.clone())
        .bind(revision)
        .bind(now.as_millisecond())
        .bind(change.body)
        .execute(&mut **transaction)
        .await
        .map_err(failed(action))?;
        if revision <= REVISIONS_LIMIT {
            return Ok(());
        }
        sqlx::query("DELETE FROM record_revisions WHERE project = $1 AND tab = $2 AND record = $3 AND revision <= $4")
            .bind(self.project.clone())
            .bind(table.to_owned())
            .bind(change.key)
            .bind(revision - REVISIONS_LIMIT)
            .execute(&mut **transaction)
            .await
            .map(drop)
            .map_err(failed(action))
    }
}

fn head(row: &AnyRow) -> Result<RecordHead> {
    let columns = Columns(row);
    let digest: Vec<u8> = row.try_get("digest").map_err(failed("read a binary column"))?;
    let malformed = |digest: Vec<u8>| Error::Malformed { expected: "a digest", value: format!("{digest:?}") };
    Ok(RecordHead {
        key: row.try_get("record").map_err(failed("read a binary column"))?,
        revision: columns.integer("revision")?,
        digest: digest.try_into().map(Digest::from_bytes).map_err(malformed)?,
        size: columns.integer("size")?.unsigned_abs(),
        changed_at: columns.time("changed_ms")?,
    })
}

fn stored(row: &AnyRow) -> Result<StoredRecord> {
    Ok(StoredRecord {
        key: row.try_get("record").map_err(failed("read a binary column"))?,
        revision: Columns(row).integer("revision")?,
        body: row.try_get("body").map_err(failed("read a binary column"))?,
    })
}
