//! What syncs that run by themselves remember.

use std::collections::BTreeMap;

use super::database::{Columns, Store, failed};
use super::error::Result;
use crate::base::Timestamp;

/// What is remembered of the runs of a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncMemory {
    /// Since when its time counts: the last time that it ran by the clock.
    pub since: Option<Timestamp>,
    /// When it last began to run with success.
    pub ran_at: Option<Timestamp>,
    /// When it last failed, where it did not succeed since.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub problem: Option<String>,
    /// The promotions that it need not run for, by environment.
    pub seen: BTreeMap<String, Vec<String>>,
}

impl Store {
    /// Answers what is remembered of a sync; nothing where nobody ever looked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sync_memory(&self, sync: &str) -> Result<Option<SyncMemory>> {
        let rows = sqlx::query("SELECT * FROM sync_memories WHERE project = $1 AND sync = $2")
            .bind(self.project.clone())
            .bind(sync.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up when a sync ran"))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let columns = Columns(row);
        Ok(Some(SyncMemory {
            since: columns.optional_time("since_ms")?,
            ran_at: columns.optional_time("ran_ms")?,
            failed_at: columns.optional_time("failed_ms")?,
            problem: columns.optional_text("problem")?,
            // What cannot be read any more is learnt anew.
            seen: serde_json::from_str(&columns.text("seen")?).unwrap_or_default(),
        }))
    }

    /// Stores what is remembered of a sync.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remember_sync(&self, sync: &str, memory: &SyncMemory) -> Result<()> {
        sqlx::query(
            "INSERT INTO sync_memories (project, sync, since_ms, ran_ms, failed_ms, problem, seen) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project, sync) DO UPDATE SET \
             since_ms = excluded.since_ms, ran_ms = excluded.ran_ms, failed_ms = excluded.failed_ms, \
             problem = excluded.problem, seen = excluded.seen",
        )
        .bind(self.project.clone())
        .bind(sync.to_owned())
        .bind(memory.since.map(Timestamp::as_millisecond))
        .bind(memory.ran_at.map(Timestamp::as_millisecond))
        .bind(memory.failed_at.map(Timestamp::as_millisecond))
        .bind(memory.problem.clone())
        // Lists of text always serialise.
        .bind(serde_json::to_string(&memory.seen).unwrap_or_default())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record when a sync ran"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;
    use crate::store::Home;

    #[tokio::test]
    async fn what_is_remembered_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let store = Store::open(&home, &home.project(std::path::Path::new("/a/.git"))).await.unwrap();
        assert_eq!(store.sync_memory("site").await.unwrap(), None);
        let memory = SyncMemory {
            since: Some(from_ms(1)),
            ran_at: None,
            failed_at: Some(from_ms(3)),
            problem: Some("it is not there".to_owned()),
            seen: BTreeMap::from([("production".to_owned(), vec!["k3f9x2ab".to_owned()])]),
        };
        for remembered in [SyncMemory::default(), memory] {
            store.remember_sync("site", &remembered).await.unwrap();
            assert_eq!(store.sync_memory("site").await.unwrap(), Some(remembered));
        }
    }
}
