//! What the database would remember of promotions, from what the ledger says of them.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use super::attestation::{Attempt, Check, Moment, Record, Statement};
use super::error::Result;
use crate::base::Timestamp;
use crate::base::id::PromotionId;
use crate::git::{self, Repo};
use crate::store::{
    ApprovalRecord, CheckRecord, EarlierAttempt, Hold, HoldCause, JournalEntry, Promotion, Quarantined, State, Store,
};

/// What the ledger knows and the database does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Promotions that have ended, in the order of their ends.
    pub promotions: Vec<Rebuilt>,
    /// Commits that may not be promoted again, with their environment.
    pub quarantined: Vec<(String, Quarantined)>,
    /// Holds that rollbacks set, with their environment.
    pub holds: Vec<(String, Hold)>,
    /// Promotions without a verdict: whoever made them finishes them.
    pub unfinished: Vec<PromotionId>,
}

/// A promotion with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The promotion.
    pub promotion: Promotion,
    /// What its checks answered.
    pub checks: Vec<CheckRecord>,
    /// What people said.
    pub approvals: Vec<ApprovalRecord>,
}

impl Missing {
    /// Answers whether the database knows every promotion that has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.promotions.is_empty()
    }
}

/// Reads the last word on every promotion in the ledger, in the order in which they were said; what cannot be
/// understood is passed over.
///
/// # Errors
/// The chain cannot be read.
pub fn records(repo: &Repo) -> git::Result<Vec<Record>> {
    let Some(tip) = repo.ledger_tip()? else { return Ok(Vec::new()) };
    let (mut records, mut seen) = (Vec::new(), HashSet::new());
    repo.walk_ledger(&[tip], &mut |entry| {
        let bytes = repo.statement_of(entry.id)?.unwrap_or_default();
        if let Ok(statement) = Statement::parse(&bytes) {
            let Statement { predicate, .. } = statement;
            let (mut record, at) = (predicate.promotion, predicate.time_verified);
            if seen.insert(record.id.clone()) {
                record.finished_at = record.finished_at.or((record.moment == Moment::Settled).then_some(at));
                records.push(record);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    records.reverse();
    Ok(records)
}

/// Finds what the ledger has and the database does not know. `remote` is the one that promotions are pushed to.
#[must_use]
pub fn missing(records: &[Record], known: &HashSet<PromotionId>, remote: &str) -> Missing {
    let mut missing = Missing::default();
    let mut last_landed: BTreeMap<&str, &Record> = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        let is_unknown = !known.contains(&record.id);
        if record.moment != Moment::Settled {
            missing.unfinished.extend(is_unknown.then(|| record.id.clone()));
            continue;
        }
        if matches!(record.state, State::Promoted | State::RolledBack | State::RollbackFailed) {
            last_landed.insert(&record.environment, record);
        }
        if is_unknown {
            let later = &records[position + 1..];
            missing.quarantined.extend(quarantined(record, later).map(|entry| (record.environment.clone(), entry)));
            missing.promotions.push(rebuilt(record, remote));
        }
    }
    let unknown = last_landed.values().filter(|record| !known.contains(&record.id));
    missing.holds = unknown.filter_map(|record| Some((record.environment.clone(), hold(record)?))).collect();
    missing
}

fn ended_at(record: &Record) -> Timestamp {
    record.finished_at.unwrap_or(record.created_at)
}

/// What was rolled back may not come back, unless the same content was promoted later all the same: then somebody had
/// allowed it.
fn quarantined(record: &Record, later: &[Record]) -> Option<Quarantined> {
    let tree = record.tree.filter(|_| matches!(record.state, State::RolledBack | State::RollbackFailed))?;
    let is_same = |other: &&Record| {
        other.environment == record.environment
            && other.state == State::Promoted
            && (other.source == record.source || other.tree == Some(tree))
    };
    let at = ended_at(record);
    later.iter().find(is_same).is_none().then(|| Quarantined {
        source: record.source,
        tree,
        promotion: record.id.clone(),
        at,
    })
}

fn hold(record: &Record) -> Option<Hold> {
    matches!(record.state, State::RolledBack | State::RollbackFailed).then(|| Hold {
        cause: HoldCause::Rollback,
        reason: record.reason.clone().unwrap_or_else(|| "verification failed".to_owned()),
        person: record.requested_by.clone(),
        promotion: Some(record.id.clone()),
        at: ended_at(record),
    })
}

fn rebuilt(record: &Record, remote: &str) -> Rebuilt {
    let rollback = record.rollback.as_ref();
    let promotion = Promotion {
        id: record.id.clone(),
        environment: record.environment.clone(),
        state: record.state,
        step: None,
        source: record.source,
        previous: record.previous,
        candidate: record.candidate,
        tree: record.tree,
        merge_allowed: record.merge,
        remote: record.pushed.then(|| remote.to_owned()),
        pushed: record.pushed,
        rollback_to: rollback.and_then(|rollback| rollback.to),
        rollback_from: rollback.and_then(|rollback| rollback.from),
        rollback_commit: rollback.and_then(|rollback| rollback.commit),
        requested_by: record.requested_by.clone(),
        purpose: record.purpose.clone(),
        reason: record.reason.clone(),
        created_at: record.created_at,
        updated_at: ended_at(record),
        finished_at: Some(ended_at(record)),
        watching_until: None,
        hotfix: record.hotfix.clone(),
        undoes: record.undoes.clone(),
    };
    let place = |(position, check): (usize, &Check)| CheckRecord {
        position: i64::try_from(position).unwrap_or(i64::MAX),
        ..CheckRecord::from(check)
    };
    let checks = record.checks.iter().enumerate().map(place).collect();
    Rebuilt { promotion, checks, approvals: record.approvals.iter().map(ApprovalRecord::from).collect() }
}

fn in_ms(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

impl From<&Attempt> for EarlierAttempt {
    fn from(attempt: &Attempt) -> Self {
        let outcome = attempt.outcome.clone();
        Self { outcome, detail: String::new(), log: None, took_ms: in_ms(attempt.seconds) }
    }
}

impl From<&Check> for CheckRecord {
    fn from(check: &Check) -> Self {
        Self {
            phase: check.phase,
            name: check.name.clone(),
            outcome: check.outcome.clone(),
            detail: String::new(),
            log: None,
            cached: check.cached,
            took_ms: in_ms(check.seconds),
            at: check.at,
            position: 0,
            earlier: check.earlier.as_ref().map(EarlierAttempt::from),
        }
    }
}

/// Writes into the database what it did not know.
///
/// # Errors
/// The database cannot be written; what was written stays.
pub async fn restore(store: &Store, missing: &Missing, now: Timestamp) -> Result<()> {
    for (environment, entry) in &missing.quarantined {
        store.quarantine(environment, entry).await?;
    }
    for (environment, hold) in &missing.holds {
        if store.held(environment).await?.is_none() {
            store.hold(environment, hold).await?;
        }
    }
    // Last: what is known by then is complete.
    for Rebuilt { promotion, checks, approvals } in &missing.promotions {
        for check in checks {
            store.record_check(&promotion.id, check).await?;
        }
        for word in approvals {
            store.record_approval(&promotion.id, word).await?;
        }
        let detail = "from the ledger".to_owned();
        let line = JournalEntry { kind: "event".to_owned(), name: "rebuilt".to_owned(), detail, at: now };
        store.record(promotion, &[line]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;
    use crate::promote::attestation::tests::{object, promotion, statement};

    fn settled(id: &str, state: State, source: u8, at_ms: i64) -> Record {
        let mut ended = promotion(state);
        ended.id = PromotionId::from_stored(id);
        (ended.source, ended.tree) = (object(source), Some(object(source + 100)));
        ended.finished_at = Some(from_ms(at_ms));
        ended.updated_at = from_ms(at_ms);
        statement(Moment::Settled, &ended).predicate.promotion
    }

    fn found(records: &[Record], known: &[&str]) -> Missing {
        missing(records, &known.iter().map(|id| PromotionId::from_stored(id)).collect(), "origin")
    }

    #[test]
    fn a_promotion_comes_back_as_it_was() {
        let mut ended = promotion(State::Promoted);
        ended.finished_at = Some(ended.updated_at);
        let record = statement(Moment::Settled, &ended).predicate.promotion;
        let missing = found(std::slice::from_ref(&record), &[]);
        assert_eq!(missing.promotions[0].promotion, ended);
        assert_eq!(missing.promotions[0].checks[0].took_ms, 1_250);
        assert_eq!(missing.promotions[0].approvals[0].person, "Bob <bob@example.test>");
        assert!(missing.holds.is_empty() && missing.quarantined.is_empty());
        assert!(found(&[record], &["k3f9x2ab"]).is_empty());
    }

    #[test]
    fn what_was_rolled_back_stays_back_until_the_same_content_was_promoted_later() {
        let back = settled("aaaa", State::RolledBack, 1, 1_000);
        let fix = settled("bbbb", State::Promoted, 2, 2_000);
        let again = settled("cccc", State::Promoted, 1, 3_000);
        let only = found(std::slice::from_ref(&back), &[]);
        assert_eq!(only.quarantined[0].1.source, object(1));
        assert_eq!(only.holds[0].1.promotion, Some(PromotionId::from_stored("aaaa")));
        let fixed = found(&[back.clone(), fix], &[]);
        assert_eq!((fixed.quarantined.len(), fixed.holds.len()), (1, 0), "a fix lifts the hold alone");
        let allowed = found(&[back.clone(), again], &[]);
        assert_eq!((allowed.quarantined.len(), allowed.holds.len()), (0, 0));
        let known = found(&[back], &["aaaa"]);
        assert_eq!(known, Missing::default(), "what a person has lifted meanwhile is not set again");
    }

    #[test]
    fn what_has_no_verdict_is_left_to_whoever_made_it() {
        let landing = statement(Moment::Landing, &promotion(State::Landing)).predicate.promotion;
        let found = found(&[landing], &[]);
        assert!(found.is_empty());
        assert_eq!(found.unfinished, [PromotionId::from_stored("k3f9x2ab")]);
    }
}
