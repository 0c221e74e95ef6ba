//! Promotions, their journal, checks and approvals.

use std::collections::HashMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::database::{Columns, Store, failed};
use super::error::{Error, Result};
use super::pipeline::write_ledger_tip;
use super::records::{
    Acquaintance, ApprovalRecord, CheckRecord, EarlierAttempt, JournalEntry, Promotion, State, Waiver,
};
use crate::base::Timestamp;
use crate::base::id::{ObjectId, PromotionId};

/// Most journal lines of one promotion: far above any real one, so that a loop ends with an error.
const JOURNAL_LIMIT_LINES: i64 = 10_000;

fn text(id: Option<ObjectId>) -> Option<String> {
    id.map(|id| id.to_string())
}

fn promotion(row: &AnyRow) -> Result<Promotion> {
    let columns = Columns(row);
    let object = |name| columns.optional_parsed::<ObjectId>(name, "a git object name");
    Ok(Promotion {
        id: PromotionId::from_stored(&columns.text("id")?),
        environment: columns.text("environment")?,
        state: columns.parsed("state", "a promotion's state")?,
        step: columns.optional_parsed("step", "a promotion's step")?,
        source: columns.parsed("source", "a git object name")?,
        hotfix: columns.optional_text("hotfix")?,
        previous: object("previous")?,
        candidate: object("candidate")?,
        tree: object("tree")?,
        merge_allowed: columns.flag("merge_allowed")?,
        remote: columns.optional_text("remote")?,
        pushed: columns.flag("pushed")?,
        rollback_to: object("rollback_to")?,
        rollback_from: object("rollback_from")?,
        rollback_commit: object("rollback_commit")?,
        undoes: columns.optional_text("undoes")?.map(|id| PromotionId::from_stored(&id)),
        watching_until: columns.optional_time("watching_until_ms")?,
        requested_by: columns.text("requested_by")?,
        purpose: columns.optional_text("purpose")?,
        reason: columns.optional_text("reason")?,
        created_at: columns.time("created_ms")?,
        updated_at: columns.time("updated_ms")?,
        finished_at: columns.optional_time("finished_ms")?,
    })
}

impl Store {
    /// Stores a promotion as it is now and, in the same transaction, the events that brought it here, oldest first.
    ///
    /// # Errors
    /// The database cannot be written; then neither is stored.
    pub async fn record(&self, promotion: &Promotion, events: &[JournalEntry]) -> Result<()> {
        self.record_with_ledger(promotion, events, None).await
    }

    /// Records like [`Store::record`], and with it that the ledger is known up to `ledger`, where that is given.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_with_ledger(
        &self,
        promotion: &Promotion,
        events: &[JournalEntry],
        ledger: Option<ObjectId>,
    ) -> Result<()> {
        let mut transaction =
            self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("begin to record a promotion"))?;
        let position = next_line(&mut transaction, &promotion.id).await?;
        sqlx::query(UPSERT_PROMOTION)
            .bind(promotion.id.as_str().to_owned())
            .bind(self.project.clone())
            .bind(promotion.environment.clone())
            .bind(promotion.state.as_str())
            .bind(promotion.step.map(|step| step.as_str().to_owned()))
            .bind(promotion.source.to_string())
            .bind(text(promotion.previous))
            .bind(text(promotion.candidate))
            .bind(text(promotion.tree))
            .bind(i32::from(promotion.merge_allowed))
            .bind(promotion.remote.clone())
            .bind(i32::from(promotion.pushed))
            .bind(text(promotion.rollback_to))
            .bind(text(promotion.rollback_from))
            .bind(text(promotion.rollback_commit))
            .bind(promotion.requested_by.clone())
            .bind(promotion.purpose.clone())
            .bind(promotion.reason.clone())
            .bind(promotion.created_at.as_millisecond())
            .bind(promotion.updated_at.as_millisecond())
            .bind(promotion.finished_at.map(Timestamp::as_millisecond))
            .bind(promotion.watching_until.map(Timestamp::as_millisecond))
            .bind(promotion.undoes.as_ref().map(|id| id.as_str().to_owned()))
            .bind(promotion.hotfix.clone())
            .execute(&mut *transaction)
            .await
            .map_err(failed("record a promotion"))?;
        for (event, position) in events.iter().zip(position..) {
            write_line(&mut transaction, &promotion.id, position, event).await?;
        }
        if let Some(tip) = ledger {
            write_ledger_tip(&mut transaction, &self.project, tip).await?;
        }
        transaction.commit().await.map_err(failed("record a promotion"))
    }

    /// Finds a promotion by its id or the beginning of it.
    ///
    /// # Errors
    /// None or several begin so.
    pub async fn promotion(&self, id: &str) -> Result<Promotion> {
        let found = sqlx::query(
            "SELECT * FROM promotions WHERE project = $1 AND substr(id, 1, length($2)) = $2 ORDER BY id LIMIT 2",
        )
        .bind(self.project.clone())
        .bind(id.to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("find a promotion"))?;
        match found.as_slice() {
            [] => Err(Error::NoSuchPromotion { id: id.to_owned() }),
            _ if id.is_empty() => Err(Error::NoSuchPromotion { id: id.to_owned() }),
            [row] => promotion(row),
            _ => Err(Error::AmbiguousPromotion { id: id.to_owned() }),
        }
    }

    /// Lists the latest promotions, newest first, of one environment or of all.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn promotions(&self, environment: Option<&str>, limit: i64) -> Result<Vec<Promotion>> {
        self.latest(environment, limit, "").await
    }

    /// Lists like [`Store::promotions`], without those that found nothing to promote.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn attempts(&self, environment: Option<&str>, limit: i64) -> Result<Vec<Promotion>> {
        self.latest(environment, limit, State::Cancelled.as_str()).await
    }

    async fn latest(&self, environment: Option<&str>, limit: i64, without: &str) -> Result<Vec<Promotion>> {
        let rows = sqlx::query(
            "SELECT * FROM promotions WHERE project = $1 AND ($2 = '' OR environment = $2) AND state <> $4 \
             ORDER BY created_ms DESC, id DESC LIMIT $3",
        )
        .bind(self.project.clone())
        .bind(environment.unwrap_or_default().to_owned())
        .bind(limit)
        .bind(without.to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list promotions"))?;
        rows.iter().map(promotion).collect()
    }

    /// Answers what is known of a promotion, of whichever project.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn acquaintance(&self, id: &PromotionId) -> Result<Option<Acquaintance>> {
        let rows = sqlx::query("SELECT project, state FROM promotions WHERE id = $1")
            .bind(id.as_str().to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up a promotion"))?;
        let known = |row: &AnyRow| {
            let columns = Columns(row);
            let is_ours = columns.text("project")? == self.project;
            Ok(Acquaintance { state: columns.parsed("state", "a promotion's state")?, is_ours })
        };
        rows.first().map(known).transpose()
    }

    /// Lists the promotions that are not at an end, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unfinished(&self) -> Result<Vec<Promotion>> {
        let rows = sqlx::query(
            "SELECT * FROM promotions WHERE project = $1 AND finished_ms IS NULL ORDER BY created_ms, id LIMIT 1000",
        )
        .bind(self.project.clone())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list unfinished promotions"))?;
        rows.iter().map(promotion).collect()
    }

    /// Answers the promotion whose candidate is live in an environment by the record: the latest that was promoted.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn live(&self, environment: &str) -> Result<Option<Promotion>> {
        Ok(self.landed(environment, 1).await?.pop())
    }

    /// Lists the promotions of an environment that were promoted and not rolled back since, the latest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn landed(&self, environment: &str, limit: i64) -> Result<Vec<Promotion>> {
        self.ended_as(State::Promoted, environment, limit).await
    }

    /// Lists the promotions of an environment that were rolled back, the latest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn rolled_back(&self, environment: &str, limit: i64) -> Result<Vec<Promotion>> {
        self.ended_as(State::RolledBack, environment, limit).await
    }

    async fn ended_as(&self, state: State, environment: &str, limit: i64) -> Result<Vec<Promotion>> {
        let rows = sqlx::query(
            "SELECT * FROM promotions WHERE project = $1 AND environment = $2 AND state = $3 \
             ORDER BY finished_ms DESC, created_ms DESC LIMIT $4",
        )
        .bind(self.project.clone())
        .bind(environment.to_owned())
        .bind(state.as_str())
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list what became of promotions"))?;
        rows.iter().map(promotion).collect()
    }

    /// Answers the latest promotion that brought a candidate to an environment's branch, or was about to; nothing where none
    /// did.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn latest_of(&self, environment: &str, candidate: ObjectId) -> Result<Option<Promotion>> {
        let found = sqlx::query(
            "SELECT * FROM promotions WHERE project = $1 AND environment = $2 AND candidate = $3 \
             ORDER BY created_ms DESC, id DESC LIMIT 1",
        )
        .bind(self.project.clone())
        .bind(environment.to_owned())
        .bind(candidate.to_string())
        .fetch_optional(&self.pool)
        .await
        .map_err(failed("find who brought a candidate"))?;
        found.as_ref().map(promotion).transpose()
    }

    /// Lists the promotions that are to be verified again and again, oldest first; also those whose time is over.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn watched(&self) -> Result<Vec<Promotion>> {
        let rows = sqlx::query(
            "SELECT * FROM promotions WHERE project = $1 AND watching_until_ms IS NOT NULL AND state = $2 \
             ORDER BY created_ms, id LIMIT 1000",
        )
        .bind(self.project.clone())
        .bind(State::Promoted.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list watched promotions"))?;
        rows.iter().map(promotion).collect()
    }

    /// Ends the watch of a promotion with a line in its journal; does nothing where it is not watched any more.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_watch(&self, id: &PromotionId, line: &JournalEntry) -> Result<()> {
        let action = "end a promotion's watch";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let ended = sqlx::query(
            "UPDATE promotions SET watching_until_ms = NULL WHERE id = $1 AND watching_until_ms IS NOT NULL",
        )
        .bind(id.as_str().to_owned())
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        if ended.rows_affected() > 0 {
            let position = next_line(&mut transaction, id).await?;
            write_line(&mut transaction, id, position, line).await?;
        }
        transaction.commit().await.map_err(failed(action))
    }

    /// Reads a promotion's journal, oldest line first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn journal(&self, id: &PromotionId) -> Result<Vec<JournalEntry>> {
        let rows = sqlx::query("SELECT kind, name, detail, at_ms FROM journal WHERE promotion = $1 ORDER BY position")
            .bind(id.as_str().to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("read a journal"))?;
        let entry = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(JournalEntry {
                kind: columns.text("kind")?,
                name: columns.text("name")?,
                detail: columns.text("detail")?,
                at: columns.time("at_ms")?,
            })
        };
        rows.iter().map(entry).collect()
    }

    /// Stores the answer of a check for a promotion, replacing an earlier one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_check(&self, id: &PromotionId, check: &CheckRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO checks (promotion, phase, name, outcome, detail, log, cached, took_ms, at_ms, position, \
             earlier) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (promotion, phase, name) DO UPDATE SET \
             outcome = excluded.outcome, detail = excluded.detail, log = excluded.log, cached = excluded.cached, \
             took_ms = excluded.took_ms, at_ms = excluded.at_ms, position = excluded.position, \
             earlier = excluded.earlier",
        )
        .bind(id.as_str().to_owned())
        .bind(check.phase.as_str())
        .bind(check.name.clone())
        .bind(check.outcome.clone())
        .bind(check.detail.clone())
        .bind(check.log.clone())
        .bind(i32::from(check.cached))
        .bind(check.took_ms)
        .bind(check.at.as_millisecond())
        .bind(check.position)
        .bind(earlier_text(check))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record a check"))
    }

    /// Lists the answers of a promotion's checks: those from before landing in the order of the configuration, then the
    /// others in the order they were given.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn checks(&self, id: &PromotionId) -> Result<Vec<CheckRecord>> {
        let rows = sqlx::query(
            "SELECT * FROM checks WHERE promotion = $1 \
             ORDER BY CASE WHEN phase = 'check' THEN 0 ELSE 1 END, position, at_ms, name",
        )
        .bind(id.as_str().to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list checks"))?;
        rows.iter().map(check).collect()
    }

    /// Stores one person's word on a promotion's candidate, replacing the person's earlier word.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_approval(&self, id: &PromotionId, approval: &ApprovalRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO approvals (promotion, person, candidate, consent, reason, at_ms, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (promotion, person) DO UPDATE SET \
             candidate = excluded.candidate, consent = excluded.consent, reason = excluded.reason, \
             at_ms = excluded.at_ms, expires_ms = excluded.expires_ms",
        )
        .bind(id.as_str().to_owned())
        .bind(approval.person.clone())
        .bind(approval.candidate.to_string())
        .bind(i32::from(approval.consent))
        .bind(approval.reason.clone())
        .bind(approval.at.as_millisecond())
        .bind(approval.expires_at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record an approval"))
    }

    /// Lists what people said of a promotion, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn approvals(&self, id: &PromotionId) -> Result<Vec<ApprovalRecord>> {
        let rows = sqlx::query("SELECT * FROM approvals WHERE promotion = $1 ORDER BY at_ms, person")
            .bind(id.as_str().to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("list approvals"))?;
        rows.iter().map(approval).collect()
    }

    /// Answers when promotions that were proposed at or after `since` went live here.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn landings(&self, since: Timestamp) -> Result<HashMap<PromotionId, Timestamp>> {
        let rows = sqlx::query(
            "SELECT j.promotion AS id, MIN(j.at_ms) AS at_ms FROM journal j JOIN promotions p ON p.id = j.promotion \
             WHERE p.project = $1 AND p.created_ms >= $2 AND j.name = 'landed_local' GROUP BY j.promotion",
        )
        .bind(self.project.clone())
        .bind(since.as_millisecond())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list landings"))?;
        let landing = |row: &AnyRow| {
            let columns = Columns(row);
            Ok((PromotionId::from_stored(&columns.text("id")?), columns.time("at_ms")?))
        };
        rows.iter().map(landing).collect()
    }

    /// Records that a person waives a gate for a promotion; the latest word on a gate counts.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_waiver(&self, id: &PromotionId, waiver: &Waiver) -> Result<()> {
        sqlx::query(
            "INSERT INTO waivers (promotion, gate, person, reason, at_ms) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (promotion, gate) DO UPDATE SET \
             person = excluded.person, reason = excluded.reason, at_ms = excluded.at_ms",
        )
        .bind(id.as_str().to_owned())
        .bind(waiver.gate.clone())
        .bind(waiver.person.clone())
        .bind(waiver.reason.clone())
        .bind(waiver.at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record a waiver"))
    }

    /// Lists the gates that were waived for a promotion.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn waivers(&self, id: &PromotionId) -> Result<Vec<Waiver>> {
        let rows = sqlx::query("SELECT * FROM waivers WHERE promotion = $1 ORDER BY at_ms, gate")
            .bind(id.as_str().to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("list waivers"))?;
        let waiver = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(Waiver {
                gate: columns.text("gate")?,
                person: columns.text("person")?,
                reason: columns.text("reason")?,
                at: columns.time("at_ms")?,
            })
        };
        rows.iter().map(waiver).collect()
    }
}

/// Answers the position of the next line in a promotion's journal.
async fn next_line(transaction: &mut AnyConnection, id: &PromotionId) -> Result<i64> {
    let lines = sqlx::query("SELECT CAST(COUNT(*) AS BIGINT) AS lines FROM journal WHERE promotion = $1")
        .bind(id.as_str().to_owned())
        .fetch_all(transaction)
        .await
        .map_err(failed("read a promotion's journal"))?;
    let position = lines.first().map_or(Ok(0), |row| Columns(row).integer("lines"))?;
    if position >= JOURNAL_LIMIT_LINES {
        return Err(Error::Malformed { expected: "an ending journal", value: id.to_string() });
    }
    Ok(position)
}

async fn write_line(
    transaction: &mut AnyConnection,
    id: &PromotionId,
    position: i64,
    line: &JournalEntry,
) -> Result<()> {
    sqlx::query("INSERT INTO journal (promotion, position, kind, name, detail, at_ms) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id.as_str().to_owned())
        .bind(position)
        .bind(line.kind.clone())
        .bind(line.name.clone())
        .bind(line.detail.clone())
        .bind(line.at.as_millisecond())
        .execute(transaction)
        .await
        .map(drop)
        .map_err(failed("record a promotion's journal"))
}

fn check(row: &AnyRow) -> Result<CheckRecord> {
    let columns = Columns(row);
    Ok(CheckRecord {
        phase: columns.parsed("phase", "a check's phase")?,
        name: columns.text("name")?,
        outcome: columns.text("outcome")?,
        detail: columns.text("detail")?,
        log: columns.optional_text("log")?,
        cached: columns.flag("cached")?,
        took_ms: columns.integer("took_ms")?,
        at: columns.time("at_ms")?,
        position: columns.integer("position")?,
        earlier: earlier(&columns)?,
    })
}

/// Answers the first attempt as it is stored.
pub(super) fn earlier_text(check: &CheckRecord) -> Option<String> {
    // Text and numbers always serialise.
    check.earlier.as_ref().and_then(|earlier| serde_json::to_string(earlier).ok())
}

/// Reads the first attempt back.
pub(super) fn earlier(columns: &Columns<'_>) -> Result<Option<EarlierAttempt>> {
    let stored = columns.optional_text("earlier")?;
    Ok(stored.and_then(|text| serde_json::from_str(&text).ok()))
}

fn approval(row: &AnyRow) -> Result<ApprovalRecord> {
    let columns = Columns(row);
    Ok(ApprovalRecord {
        person: columns.text("person")?,
        candidate: columns.parsed("candidate", "a git object name")?,
        consent: columns.flag("consent")?,
        reason: columns.optional_text("reason")?,
        at: columns.time("at_ms")?,
        expires_at: columns.time("expires_ms")?,
    })
}

const UPSERT_PROMOTION: &str = "INSERT INTO promotions (id, project, environment, state, step, source, previous, \
     candidate, tree, merge_allowed, remote, pushed, rollback_to, rollback_from, rollback_commit, requested_by, purpose, reason, \
     created_ms, updated_ms, finished_ms, watching_until_ms, undoes, hotfix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
     $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) ON CONFLICT (id) DO UPDATE SET state = excluded.state, step = excluded.step, \
     previous = excluded.previous, candidate = excluded.candidate, tree = excluded.tree, \
     merge_allowed = excluded.merge_allowed, remote = excluded.remote, pushed = excluded.pushed, \
     rollback_to = excluded.rollback_to, rollback_from = excluded.rollback_from, rollback_commit = excluded.rollback_commit, reason = excluded.reason, \
     updated_ms = excluded.updated_ms, finished_ms = excluded.finished_ms, \
     watching_until_ms = excluded.watching_until_ms, undoes = excluded.undoes";
