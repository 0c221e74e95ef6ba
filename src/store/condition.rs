//! Whether the database itself is well.

use sqlx::Row as _;

use super::database::{Columns, Store, failed};
use super::error::Result;
use crate::base::Timestamp;
use crate::base::escape::shown;

/// Most kinds of damage that are listed.
const DAMAGE_LIMIT_LINES: usize = 5;

impl Store {
    /// Lets the database look through all of its file; answers what it found damaged, escaped, nothing where it is well.
    ///
    /// # Errors
    /// The database cannot be read at all.
    pub async fn damage(&self) -> Result<Vec<String>> {
        // SQLite's own limit on what it lists has to be part of the statement.
        let rows = sqlx::query("PRAGMA integrity_check(5)").fetch_all(&self.pool).await;
        let rows = rows.map_err(failed("be looked through"))?;
        let lines = rows.iter().filter_map(|row| row.try_get::<String, _>(0).ok());
        let damage = lines.filter(|line| line != "ok").map(|line| shown(line.as_bytes()));
        Ok(damage.take(DAMAGE_LIMIT_LINES).collect())
    }

    /// Answers when something was last recorded about the project; nothing where nothing was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn newest_record(&self) -> Result<Option<Timestamp>> {
        let rows = sqlx::query(
            "SELECT MAX(at_ms) AS at_ms FROM (\
             SELECT MAX(updated_ms) AS at_ms FROM promotions WHERE project = $1 \
             UNION ALL SELECT MAX(seen_ms) AS at_ms FROM sandboxes WHERE project = $1 \
             UNION ALL SELECT MAX(at_ms) AS at_ms FROM outcomes WHERE project = $1 \
             UNION ALL SELECT MAX(at_ms) AS at_ms FROM health WHERE project = $1) AS newest",
        )
        .bind(self.project.clone())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("find its newest record"))?;
        rows.first().map_or(Ok(None), |row| Columns(row).optional_time("at_ms"))
    }
}
