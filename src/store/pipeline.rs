//! What is known of environments, contents and the sandbox: outcomes, holds, quarantine, health.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::database::{Columns, Store, failed};
use super::error::Result;
use super::promotions::{earlier, earlier_text};
use super::records::{CheckRecord, HealthRecord, Hold, Quarantined, SandboxRecord};
use crate::base::Timestamp;
use crate::base::id::{ObjectId, PromotionId};
use crate::store::CheckPhase;

/// What is being done where the database refuses that.
const NOTE_LEDGER: &str = "remember how much of the ledger is known";

/// Remembers that a project's ledger is known up to an entry.
pub(super) async fn write_ledger_tip(connection: &mut AnyConnection, project: &str, tip: ObjectId) -> Result<()> {
    sqlx::query(
        "INSERT INTO ledgers (project, tip) VALUES ($1, $2) ON CONFLICT (project) DO UPDATE SET tip = excluded.tip",
    )
    .bind(project.to_owned())
    .bind(tip.to_string())
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed(NOTE_LEDGER))
}

impl Store {
    /// Remembers the answer of a check, named by its definition, for a tree.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remember_outcome(&self, definition: &str, tree: ObjectId, check: &CheckRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO outcomes (project, definition, tree, outcome, detail, log, took_ms, at_ms, earlier) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (project, definition, tree) DO UPDATE SET \
             outcome = excluded.outcome, detail = excluded.detail, log = excluded.log, took_ms = excluded.took_ms, \
             at_ms = excluded.at_ms, earlier = excluded.earlier",
        )
        .bind(self.project.clone())
        .bind(definition.to_owned())
        .bind(tree.to_string())
        .bind(check.outcome.clone())
        .bind(check.detail.clone())
        .bind(check.log.clone())
        .bind(check.took_ms)
        .bind(check.at.as_millisecond())
        .bind(earlier_text(check))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("remember an outcome"))
    }

    /// Answers what is known already about a check on a tree, under the name `name`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn known_outcome(&self, name: &str, definition: &str, tree: ObjectId) -> Result<Option<CheckRecord>> {
        let rows = sqlx::query("SELECT * FROM outcomes WHERE project = $1 AND definition = $2 AND tree = $3")
            .bind(self.project.clone())
            .bind(definition.to_owned())
            .bind(tree.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up an outcome"))?;
        let known = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(CheckRecord {
                phase: CheckPhase::Check,
                name: name.to_owned(),
                outcome: columns.text("outcome")?,
                detail: columns.text("detail")?,
                log: columns.optional_text("log")?,
                cached: true,
                took_ms: columns.integer("took_ms")?,
                at: columns.time("at_ms")?,
                position: 0,
                earlier: earlier(&columns)?,
            })
        };
        rows.first().map(known).transpose()
    }

    /// Holds an environment, replacing an earlier hold.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn hold(&self, environment: &str, hold: &Hold) -> Result<()> {
        sqlx::query(
            "INSERT INTO holds (project, environment, cause, reason, person, promotion, at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project, environment) DO UPDATE SET \
             cause = excluded.cause, reason = excluded.reason, person = excluded.person, \
             promotion = excluded.promotion, at_ms = excluded.at_ms",
        )
        .bind(self.project.clone())
        .bind(environment.to_owned())
        .bind(hold.cause.as_str())
        .bind(hold.reason.clone())
        .bind(hold.person.clone())
        .bind(hold.promotion.as_ref().map(|id| id.as_str().to_owned()))
        .bind(hold.at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("hold an environment"))
    }

    /// Answers the hold on an environment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn held(&self, environment: &str) -> Result<Option<Hold>> {
        let rows = sqlx::query("SELECT * FROM holds WHERE project = $1 AND environment = $2")
            .bind(self.project.clone())
            .bind(environment.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up a hold"))?;
        let hold = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(Hold {
                cause: columns.parsed("cause", "a hold's cause")?,
                reason: columns.text("reason")?,
                person: columns.text("person")?,
                promotion: columns.optional_text("promotion")?.map(|id| PromotionId::from_stored(&id)),
                at: columns.time("at_ms")?,
            })
        };
        rows.first().map(hold).transpose()
    }

    /// Lifts the hold on an environment and answers whether there was one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn lift_hold(&self, environment: &str) -> Result<bool> {
        sqlx::query("DELETE FROM holds WHERE project = $1 AND environment = $2")
            .bind(self.project.clone())
            .bind(environment.to_owned())
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(failed("lift a hold"))
    }

    /// Quarantines a commit in an environment; one that is quarantined already is so because of the newer promotion.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn quarantine(&self, environment: &str, entry: &Quarantined) -> Result<()> {
        sqlx::query(
            "INSERT INTO quarantine (project, environment, source, tree, promotion, at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (project, environment, source) DO UPDATE SET \
             tree = excluded.tree, promotion = excluded.promotion, at_ms = excluded.at_ms",
        )
        .bind(self.project.clone())
        .bind(environment.to_owned())
        .bind(entry.source.to_string())
        .bind(entry.tree.to_string())
        .bind(entry.promotion.as_str().to_owned())
        .bind(entry.at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("quarantine a commit"))
    }

    /// Lists the quarantined commits of an environment, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn quarantined(&self, environment: &str) -> Result<Vec<Quarantined>> {
        let rows = sqlx::query(
            "SELECT * FROM quarantine WHERE project = $1 AND environment = $2 ORDER BY at_ms DESC LIMIT 1000",
        )
        .bind(self.project.clone())
        .bind(environment.to_owned())
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list quarantined commits"))?;
        let entry = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(Quarantined {
                source: columns.parsed("source", "a git object name")?,
                tree: columns.parsed("tree", "a git object name")?,
                promotion: PromotionId::from_stored(&columns.text("promotion")?),
                at: columns.time("at_ms")?,
            })
        };
        rows.iter().map(entry).collect()
    }

    /// Frees all quarantined commits of an environment and answers how many there were.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_quarantine(&self, environment: &str) -> Result<u64> {
        sqlx::query("DELETE FROM quarantine WHERE project = $1 AND environment = $2")
            .bind(self.project.clone())
            .bind(environment.to_owned())
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(failed("end a quarantine"))
    }

    /// Frees a commit, and every other one with the same content, in an environment.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_quarantine_of(&self, environment: &str, source: ObjectId, tree: Option<ObjectId>) -> Result<()> {
        let freed = "DELETE FROM quarantine WHERE project = $1 AND environment = $2 AND (source = $3 OR tree = $4)";
        sqlx::query(freed)
            .bind(self.project.clone())
            .bind(environment.to_owned())
            .bind(source.to_string())
            .bind(tree.map(|tree| tree.to_string()))
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(failed("end a quarantine"))
    }

    /// Answers the newest entry of the ledger that was taken over.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn ledger_tip(&self) -> Result<Option<ObjectId>> {
        let rows = sqlx::query("SELECT tip FROM ledgers WHERE project = $1")
            .bind(self.project.clone())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up how much of the ledger is known"))?;
        rows.first().map(|row| Columns(row).parsed("tip", "a git object name")).transpose()
    }

    /// Remembers that the ledger was taken over up to an entry.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_ledger_tip(&self, tip: ObjectId) -> Result<()> {
        let mut connection = self.pool.acquire().await.map_err(failed(NOTE_LEDGER))?;
        write_ledger_tip(&mut connection, &self.project, tip).await
    }

    /// Frees what is quarantined in an environment because of one promotion.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_quarantine_by(&self, environment: &str, promotion: &PromotionId) -> Result<()> {
        sqlx::query("DELETE FROM quarantine WHERE project = $1 AND environment = $2 AND promotion = $3")
            .bind(self.project.clone())
            .bind(environment.to_owned())
            .bind(promotion.as_str().to_owned())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(failed("end a quarantine"))
    }

    /// Stores what the watcher says of itself.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn report_sandbox(&self, record: &SandboxRecord) -> Result<()> {
        // Text always serialises.
        let set_aside = serde_json::to_string(&record.set_aside).unwrap_or_default();
        let staged = serde_json::to_string(&record.staged).unwrap_or_default();
        let notes = serde_json::to_string(&record.notes).unwrap_or_default();
        sqlx::query(
            "INSERT INTO sandboxes (project, state, reason, branch, head, pending, unpushed, push_problem, set_aside, \
             saved_ms, seen_ms, limited, staged, notes) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (project) DO UPDATE SET state = excluded.state, reason = excluded.reason, branch = excluded.branch, head = excluded.head, \
             pending = excluded.pending, unpushed = excluded.unpushed, push_problem = excluded.push_problem, \
             set_aside = excluded.set_aside, saved_ms = excluded.saved_ms, seen_ms = excluded.seen_ms, \
             limited = excluded.limited, staged = excluded.staged, notes = excluded.notes",
        )
        .bind(self.project.clone())
        .bind(record.state.as_str())
        .bind(record.reason.clone())
        .bind(record.branch.clone())
        .bind(record.head.map(|id| id.to_string()))
        .bind(record.pending)
        .bind(record.unpushed)
        .bind(record.push_problem.clone())
        .bind(set_aside)
        .bind(record.saved_at.map(Timestamp::as_millisecond))
        .bind(record.seen_at.as_millisecond())
        .bind(record.limited.clone())
        .bind(staged)
        .bind(notes)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("report on the sandbox"))
    }

    /// Answers what the watcher last said of itself.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sandbox(&self) -> Result<Option<SandboxRecord>> {
        let rows = sqlx::query("SELECT * FROM sandboxes WHERE project = $1")
            .bind(self.project.clone())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up the sandbox"))?;
        rows.first().map(sandbox).transpose()
    }

    /// Stores the answer of a continuous health check; `since` moves only when the outcome changes.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn report_health(&self, record: &HealthRecord) -> Result<()> {
        sqlx::query(
            "INSERT INTO health (project, name, outcome, detail, since_ms, at_ms) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (project, name) DO UPDATE SET \
             since_ms = CASE WHEN health.outcome = excluded.outcome THEN health.since_ms ELSE excluded.since_ms END, \
             outcome = excluded.outcome, detail = excluded.detail, at_ms = excluded.at_ms",
        )
        .bind(self.project.clone())
        .bind(record.name.clone())
        .bind(record.outcome.clone())
        .bind(record.detail.clone())
        .bind(record.since.as_millisecond())
        .bind(record.at.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("report health"))
    }

    /// Lists the latest answers of the continuous health checks, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn health(&self) -> Result<Vec<HealthRecord>> {
        let rows = sqlx::query("SELECT * FROM health WHERE project = $1 ORDER BY name")
            .bind(self.project.clone())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("look up health"))?;
        let record = |row: &AnyRow| {
            let columns = Columns(row);
            Ok(HealthRecord {
                name: columns.text("name")?,
                outcome: columns.text("outcome")?,
                detail: columns.text("detail")?,
                since: columns.time("since_ms")?,
                at: columns.time("at_ms")?,
            })
        };
        rows.iter().map(record).collect()
    }
}

fn sandbox(row: &AnyRow) -> Result<SandboxRecord> {
    let columns = Columns(row);
    Ok(SandboxRecord {
        state: columns.parsed("state", "a sandbox's state")?,
        reason: columns.optional_text("reason")?,
        branch: columns.text("branch")?,
        head: columns.optional_parsed("head", "a git object name")?,
        pending: columns.integer("pending")?,
        unpushed: columns.integer("unpushed")?,
        push_problem: columns.optional_text("push_problem")?,
        set_aside: serde_json::from_str(&columns.text("set_aside")?).unwrap_or_default(),
        limited: columns.optional_text("limited")?,
        staged: serde_json::from_str(&columns.text("staged")?).unwrap_or_default(),
        notes: serde_json::from_str(&columns.text("notes")?).unwrap_or_default(),
        saved_at: columns.optional_time("saved_ms")?,
        seen_at: columns.time("seen_ms")?,
    })
}
