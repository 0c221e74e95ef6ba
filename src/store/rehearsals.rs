//! What rehearsals found.

use sqlx::any::AnyRow;

use super::database::{Columns, Store, failed};
use super::error::Result;
use super::records::RehearsalRecord;

impl Store {
    /// Stores what a rehearsal of an environment found, replacing what an earlier one did.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn report_rehearsal(&self, environment: &str, record: &RehearsalRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO rehearsals (project, environment, verdict, fact, since_ms) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (project, environment) DO UPDATE SET verdict = excluded.verdict, fact = excluded.fact, \
             since_ms = excluded.since_ms",
        )
        .bind(self.project.clone())
        .bind(environment.to_owned())
        .bind(record.verdict.as_str())
        .bind(record.fact.clone())
        .bind(record.since.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("report a rehearsal"))
    }

    /// Answers what the latest rehearsal of an environment found.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn rehearsal(&self, environment: &str) -> Result<Option<RehearsalRecord>> {
        let rows = sqlx::query("SELECT * FROM rehearsals WHERE project = $1 AND environment = $2")
            .bind(self.project.clone())
            .bind(environment.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up a rehearsal"))?;
        let record = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(RehearsalRecord {
                verdict: columns.parsed("verdict", "a rehearsal's verdict")?,
                fact: columns.text("fact")?,
                since: columns.time("since_ms")?,
            })
        };
        rows.first().map(record).transpose()
    }
}
