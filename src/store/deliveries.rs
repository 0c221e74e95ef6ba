//! How the deliveries of promotions went, and which runs of syncs were made for them.

use sqlx::any::AnyRow;

use super::database::{Columns, Store, failed};
use super::error::Result;
use super::records::DeliveryRecord;
use crate::base::id::PromotionId;

/// One run of a sync that was made for a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRun {
    /// The run.
    pub run: String,
    /// The sync.
    pub sync: String,
    /// Whether what it replaced is written down; what replaced nothing has nothing to write down.
    pub has_snapshot: bool,
    /// What it did, as JSON, once it ended.
    pub report: Option<String>,
}

impl Store {
    /// Stores how a delivery went, replacing what an earlier attempt at it said.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_delivery(&self, id: &PromotionId, delivery: &DeliveryRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO deliveries (promotion, phase, sync, position, outcome, detail, created, updated, deleted, \
             flagged, failed, bytes, took_ms, at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (promotion, phase, sync) DO UPDATE SET position = excluded.position, \
             outcome = excluded.outcome, detail = excluded.detail, created = excluded.created, \
             updated = excluded.updated, deleted = excluded.deleted, flagged = excluded.flagged, \
             failed = excluded.failed, bytes = excluded.bytes, took_ms = excluded.took_ms, at_ms = excluded.at_ms",
        )
        .bind(id.as_str().to_owned())
        .bind(delivery.phase.as_str())
        .bind(delivery.sync.clone())
        .bind(delivery.position)
        .bind(delivery.outcome.as_str())
        .bind(delivery.detail.clone())
        .bind(delivery.created)
        .bind(delivery.updated)
        .bind(delivery.deleted)
        .bind(delivery.flagged)
        .bind(delivery.failed)
        .bind(delivery.bytes)
        .bind(delivery.took_ms)
        .bind(delivery.at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record a delivery"))
    }

    /// Lists how the deliveries of a promotion went, in the order in which they were made, then how they were taken back.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deliveries(&self, id: &PromotionId) -> Result<Vec<DeliveryRecord>> {
        let rows = sqlx::query(
            "SELECT * FROM deliveries WHERE promotion = $1 \
             ORDER BY CASE WHEN phase = 'deliver' THEN 0 ELSE 1 END, position, sync",
        )
        .bind(id.as_str().to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list deliveries"))?;
        rows.iter().map(delivery).collect()
    }

    /// Lists the runs by which a promotion was delivered, in the order in which they began.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn delivery_runs(&self, id: &PromotionId) -> Result<Vec<DeliveryRun>> {
        let rows = sqlx::query(
            "SELECT r.id AS id, r.sync AS sync, r.report AS report, s.run AS snapshot FROM sync_runs r \
             LEFT JOIN sync_snapshots s ON s.run = r.id \
             WHERE r.project = $1 AND r.promotion = $2 AND r.purpose = 'sync' \
             ORDER BY COALESCE(s.position, 0), r.started_ms, r.id",
        )
        .bind(self.project.clone())
        .bind(id.as_str().to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list the runs of a promotion"))?;
        let run = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(DeliveryRun {
                run: columns.text("id")?,
                sync: columns.text("sync")?,
                has_snapshot: columns.optional_text("snapshot")?.is_some(),
                report: columns.optional_text("report")?,
            })
        };
        rows.iter().map(run).collect()
    }
}

fn delivery(row: &AnyRow) -> Result<DeliveryRecord> {
    let columns = Columns(row);
    Ok(DeliveryRecord {
        phase: columns.parsed("phase", "a delivery's phase")?,
        sync: columns.text("sync")?,
        position: columns.integer("position")?,
        outcome: columns.parsed("outcome", "a delivery's outcome")?,
        detail: columns.text("detail")?,
        created: columns.integer("created")?,
        updated: columns.integer("updated")?,
        deleted: columns.integer("deleted")?,
        flagged: columns.integer("flagged")?,
        failed: columns.integer("failed")?,
        bytes: columns.integer("bytes")?,
        took_ms: columns.integer("took_ms")?,
        at: columns.time("at_ms")?,
    })
}
