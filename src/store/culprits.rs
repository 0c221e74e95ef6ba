//! What is to blame for failed checks, and what is known of contents by then.

use std::collections::HashMap;

use sqlx::any::AnyRow;

use super::database::{Columns, Store, failed};
use super::error::Result;
use super::records::CulpritRecord;
use crate::base::id::{ObjectId, PromotionId};

impl Store {
    /// Stores what is to blame for the failed check of a promotion, replacing what was found before.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_culprit(&self, id: &PromotionId, culprit: &CulpritRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO culprits (promotion, name, verdict, first_bad, healthy, saves, suspects, runs, at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (promotion) DO UPDATE SET \
             name = excluded.name, verdict = excluded.verdict, first_bad = excluded.first_bad, \
             healthy = excluded.healthy, saves = excluded.saves, suspects = excluded.suspects, runs = excluded.runs, \
             at_ms = excluded.at_ms",
        )
        .bind(id.as_str().to_owned())
        .bind(culprit.name.clone())
        .bind(culprit.blame.as_str())
        .bind(culprit.first_bad.map(|id| id.to_string()))
        .bind(culprit.healthy.map(|id| id.to_string()))
        .bind(culprit.saves)
        .bind(culprit.suspects)
        .bind(culprit.runs)
        .bind(culprit.at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record who is to blame"))
    }

    /// Answers what is to blame for the failed check of a promotion, where that was found out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn culprit(&self, id: &PromotionId) -> Result<Option<CulpritRecord>> {
        let rows = sqlx::query("SELECT * FROM culprits WHERE promotion = $1")
            .bind(id.as_str().to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up who is to blame"))?;
        let record = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(CulpritRecord {
                name: columns.text("name")?,
                blame: columns.parsed("verdict", "who is to blame")?,
                first_bad: columns.optional_parsed("first_bad", "a git object name")?,
                healthy: columns.optional_parsed("healthy", "a git object name")?,
                saves: columns.integer("saves")?,
                suspects: columns.integer("suspects")?,
                runs: columns.integer("runs")?,
                at: columns.time("at_ms")?,
            })
        };
        rows.first().map(record).transpose()
    }

    /// Answers what is known of a check, named by its definition: the outcome by tree.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn outcomes(&self, definition: &str) -> Result<HashMap<ObjectId, String>> {
        let rows = sqlx::query("SELECT tree, outcome FROM outcomes WHERE project = $1 AND definition = $2")
            .bind(self.project.clone())
            .bind(definition.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("list outcomes"))?;
        let outcome = |row: &AnyRow| {
            let columns = Columns(row);
            Ok((columns.parsed("tree", "a git object name")?, columns.text("outcome")?))
        };
        rows.iter().map(outcome).collect()
    }
}
