//! What the database would remember of promotions, from what the ledger says of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use super::attestation::{Attempt, Check, Moment, Record, Statement};
use super::error::Result;
use crate::base::Timestamp;
use crate::base::id::{ObjectId, PromotionId};
use crate::git::{self, Repo};
use crate::store::{
    Acquaintance, ApprovalRecord, CheckRecord, EarlierAttempt, Hold, HoldCause, JournalEntry, Promotion, Quarantined,
    State, Store,
};

/// What the ledger knows and the database does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Promotions that have ended, in the order of their ends.
    pub promotions: Vec<Rebuilt>,
    /// What was promoted since, which lifts the holds and frees the commits of rollbacks before it.
    pub freed: Vec<Freed>,
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

/// What was promoted: as far as the machine that did it knew, it was allowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    environment: String,
    source: ObjectId,
    tree: Option<ObjectId>,
    undoes: Option<PromotionId>,
    at: Timestamp,
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
    match repo.ledger_tip()? {
        Some(tip) => records_since(repo, tip, None),
        None => Ok(Vec::new()),
    }
}

/// Reads what was said from the entry after `known` up to `tip`; all of it where the chain does not have that entry.
///
/// # Errors
/// The chain cannot be read.
pub fn records_since(repo: &Repo, tip: ObjectId, known: Option<ObjectId>) -> git::Result<Vec<Record>> {
    let (mut records, mut seen) = (Vec::new(), HashSet::new());
    repo.walk_ledger(&[tip], &mut |entry| {
        if Some(entry.id) == known {
            return Ok(ControlFlow::Break(()));
        }
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
///
/// # Errors
/// The database cannot be read.
pub async fn lacking(store: &Store, records: &[Record], remote: &str) -> Result<Missing> {
    let mut known = HashMap::new();
    for record in records {
        if let Some(acquaintance) = store.acquaintance(&record.id).await? {
            known.insert(record.id.clone(), acquaintance);
        }
    }
    Ok(missing(records, &known, remote))
}

/// Answers whether a record says more than the database has: of a promotion that only another checkout knows, or that
/// was live by what is known here and that another machine took back.
fn is_news(record: &Record, known: Option<&Acquaintance>) -> bool {
    known.is_none_or(|known| !known.is_ours || (known.state == State::Promoted && is_back(record)))
}

fn is_back(record: &Record) -> bool {
    matches!(record.state, State::RolledBack | State::RollbackFailed)
}

/// Finds what the ledger has and a database with the `known` promotions does not.
#[must_use]
pub fn missing(records: &[Record], known: &HashMap<PromotionId, Acquaintance>, remote: &str) -> Missing {
    let mut missing = Missing::default();
    let mut last_landed: BTreeMap<&str, &Record> = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        let acquaintance = known.get(&record.id);
        if record.moment != Moment::Settled {
            missing.unfinished.extend(acquaintance.is_none().then(|| record.id.clone()));
            continue;
        }
        if record.state == State::Promoted || is_back(record) {
            last_landed.insert(&record.environment, record);
        }
        if is_news(record, acquaintance) {
            let later = &records[position + 1..];
            missing.quarantined.extend(quarantined(record, later).map(|entry| (record.environment.clone(), entry)));
            missing.freed.extend(freed(record));
            missing.promotions.extend(rebuilt(record, acquaintance, remote));
        }
    }
    let news = last_landed.values().filter(|record| is_news(record, known.get(&record.id)));
    missing.holds = news.filter_map(|record| Some((record.environment.clone(), hold(record)?))).collect();
    missing
}

fn freed(record: &Record) -> Option<Freed> {
    (record.state == State::Promoted).then(|| Freed {
        environment: record.environment.clone(),
        source: record.source,
        tree: record.tree,
        undoes: record.undoes.clone(),
        at: ended_at(record),
    })
}

fn ended_at(record: &Record) -> Timestamp {
    record.finished_at.unwrap_or(record.created_at)
}

/// What was rolled back may not come back, unless the same content was promoted later all the same: then somebody had
/// allowed it.
fn quarantined(record: &Record, later: &[Record]) -> Option<Quarantined> {
    let tree = record.tree.filter(|_| is_back(record))?;
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
    is_back(record).then(|| Hold {
        cause: HoldCause::Rollback,
        reason: record.reason.clone().unwrap_or_else(|| "verification failed".to_owned()),
        person: record.requested_by.clone(),
        promotion: Some(record.id.clone()),
        at: ended_at(record),
    })
}

/// What is known keeps its checks, which are known with their details; what another checkout knows stays with that.
fn rebuilt(record: &Record, known: Option<&Acquaintance>, remote: &str) -> Option<Rebuilt> {
    if known.is_some_and(|known| !known.is_ours) {
        return None;
    }
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
    if known.is_some() {
        return Some(Rebuilt { promotion, checks: Vec::new(), approvals: Vec::new() });
    }
    let checks = record.checks.iter().enumerate().map(place).collect();
    Some(Rebuilt { promotion, checks, approvals: record.approvals.iter().map(ApprovalRecord::from).collect() })
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
    for freed in &missing.freed {
        free(store, freed).await?;
    }
    for (environment, entry) in &missing.quarantined {
        store.quarantine(environment, entry).await?;
    }
    for (environment, hold) in &missing.holds {
        // A person's hold stays, as in a rollback here.
        if store.held(environment).await?.is_none_or(|before| before.cause == HoldCause::Rollback) {
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

async fn free(store: &Store, freed: &Freed) -> Result<()> {
    let Freed { environment, source, tree, undoes, at } = freed;
    let held = store.held(environment).await?;
    if held.is_some_and(|hold| hold.cause == HoldCause::Rollback && hold.at <= *at) {
        store.lift_hold(environment).await?;
    }
    store.end_quarantine_of(environment, *source, *tree).await?;
    if let Some(undone) = undoes {
        store.end_quarantine_by(environment, undone).await?;
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
        let known = known.iter().map(|id| (PromotionId::from_stored(id), as_it_is(records, id)));
        missing(records, &known.collect(), "origin")
    }

    fn as_it_is(records: &[Record], id: &str) -> Acquaintance {
        let record = records.iter().find(|record| record.id.as_str() == id);
        Acquaintance { state: record.map_or(State::Promoted, |record| record.state), is_ours: true }
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
    fn what_was_live_by_what_is_known_here_and_was_taken_back_elsewhere_is_news_without_its_checks() {
        let back = settled("aaaa", State::RolledBack, 1, 1_000);
        let known = |state, is_ours| HashMap::from([(back.id.clone(), Acquaintance { state, is_ours })]);
        let learned = missing(std::slice::from_ref(&back), &known(State::Promoted, true), "origin");
        assert_eq!((learned.quarantined.len(), learned.holds.len()), (1, 1));
        assert_eq!(learned.promotions[0].promotion.state, State::RolledBack);
        assert!(learned.promotions[0].checks.is_empty() && learned.promotions[0].approvals.is_empty());
        let under_way = missing(std::slice::from_ref(&back), &known(State::RollingBack, true), "origin");
        assert_eq!(under_way, Missing::default(), "this machine is at it");
        let elsewhere = missing(std::slice::from_ref(&back), &known(State::RolledBack, false), "origin");
        assert_eq!((elsewhere.quarantined.len(), elsewhere.promotions.len()), (1, 0), "another checkout has it");
    }

    #[test]
    fn what_has_no_verdict_is_left_to_whoever_made_it() {
        let landing = statement(Moment::Landing, &promotion(State::Landing)).predicate.promotion;
        let found = found(&[landing], &[]);
        assert!(found.is_empty());
        assert_eq!(found.unfinished, [PromotionId::from_stored("k3f9x2ab")]);
    }
}
