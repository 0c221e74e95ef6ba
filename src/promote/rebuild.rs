//! What the database would remember of promotions and holds, from what the ledger says of them.

mod holds;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

pub use self::holds::HoldNews;
use super::attestation::{Attempt, Check, HoldChange, Moment, Record, Stated};
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
    /// Rolled back promotions that a person forgave, with their environment.
    pub forgiven: Vec<(String, PromotionId)>,
    /// What becomes of holds.
    pub holds: Vec<HoldNews>,
    /// Promotions without a verdict: whoever made them finishes them.
    pub unfinished: Vec<PromotionId>,
}

/// What the ledger tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The last word on a promotion.
    Promotion(Box<Record>),
    /// A person's word on an environment.
    Hold(HoldChange),
}

impl Told {
    fn environment(&self) -> &str {
        match self {
            Self::Promotion(record) => &record.environment,
            Self::Hold(word) => &word.environment,
        }
    }

    /// Answers the promotion that it is about.
    #[must_use]
    pub fn promotion(&self) -> Option<&Record> {
        match self {
            Self::Promotion(record) => Some(record),
            Self::Hold(_) => None,
        }
    }
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
    /// Answers whether the database knows every promotion that has ended and every person's word on an environment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.promotions.is_empty() && self.words() == 0
    }

    /// Answers in how many environments it lacks what people said of holds.
    #[must_use]
    pub fn words(&self) -> usize {
        self.holds.iter().filter(|news| news.is_by_word()).count()
    }
}

/// Reads the last word on every promotion in the ledger and every word on holds, in the order in which they were said;
/// what cannot be understood is passed over.
///
/// # Errors
/// The chain cannot be read.
pub fn records(repo: &Repo) -> git::Result<Vec<Told>> {
    match repo.ledger_tip()? {
        Some(tip) => records_since(repo, tip, None),
        None => Ok(Vec::new()),
    }
}

/// Reads what was said from the entry after `known` up to `tip`; all of it where the chain does not have that entry.
///
/// # Errors
/// The chain cannot be read.
pub fn records_since(repo: &Repo, tip: ObjectId, known: Option<ObjectId>) -> git::Result<Vec<Told>> {
    let (mut told, mut seen) = (Vec::new(), HashSet::new());
    repo.walk_ledger(&[tip], &mut |entry| {
        if Some(entry.id) == known {
            return Ok(ControlFlow::Break(()));
        }
        let bytes = repo.statement_of(entry.id)?.unwrap_or_default();
        match Stated::parse(&bytes) {
            Ok(Stated::Promotion(statement)) if seen.insert(statement.record().id.clone()) => {
                let at = statement.predicate.time_verified;
                let mut record = statement.predicate.promotion;
                record.finished_at = record.finished_at.or((record.moment == Moment::Settled).then_some(at));
                told.push(Told::Promotion(Box::new(record)));
            }
            Ok(Stated::Hold(statement)) => told.push(Told::Hold(statement.predicate)),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    told.reverse();
    Ok(told)
}

/// Finds what the ledger has and the database does not know. `remote` is the one that promotions are pushed to.
///
/// # Errors
/// The database cannot be read.
pub async fn lacking(store: &Store, told: &[Told], remote: &str) -> Result<Missing> {
    let (mut known, mut held) = (HashMap::new(), HashMap::new());
    for record in told.iter().filter_map(Told::promotion) {
        if let Some(acquaintance) = store.acquaintance(&record.id).await? {
            known.insert(record.id.clone(), acquaintance);
        }
    }
    let environments: HashSet<&str> = told.iter().map(Told::environment).collect();
    for name in environments {
        held.extend(store.held(name).await?.map(|hold| (name.to_owned(), hold)));
    }
    Ok(missing(told, &known, &held, remote))
}

/// Answers whether a record says more than the database has: of a promotion that only another checkout knows, or that
/// was live by what is known here and that another machine took back.
fn is_news(record: &Record, known: Option<&Acquaintance>) -> bool {
    known.is_none_or(|known| !known.is_ours || (known.state == State::Promoted && is_back(record)))
}

fn is_back(record: &Record) -> bool {
    matches!(record.state, State::RolledBack | State::RollbackFailed)
}

/// Finds what the ledger has and a database with the `known` promotions and the holds `held` does not.
#[must_use]
pub fn missing(
    told: &[Told],
    known: &HashMap<PromotionId, Acquaintance>,
    held: &HashMap<String, Hold>,
    remote: &str,
) -> Missing {
    let mut missing = Missing::default();
    for (position, one) in told.iter().enumerate() {
        let record = match one {
            Told::Promotion(record) => record,
            Told::Hold(word) => {
                let forgiven = word.forgives.iter().map(|undone| (word.environment.clone(), undone.clone()));
                missing.forgiven.extend(forgiven);
                continue;
            }
        };
        let acquaintance = known.get(&record.id);
        if record.moment != Moment::Settled {
            missing.unfinished.extend(acquaintance.is_none().then(|| record.id.clone()));
            continue;
        }
        if is_news(record, acquaintance) {
            let later = &told[position + 1..];
            missing.quarantined.extend(quarantined(record, later).map(|entry| (record.environment.clone(), entry)));
            missing.freed.extend(freed(record));
            missing.promotions.extend(rebuilt(record, acquaintance, remote));
        }
    }
    missing.holds = holds::news(told, known, held);
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
/// allowed it, as whoever let the environment go on did.
fn quarantined(record: &Record, later: &[Told]) -> Option<Quarantined> {
    let tree = record.tree.filter(|_| is_back(record) && !holds::is_forgiven_later(record, later))?;
    let is_same = |other: &&Record| {
        other.environment == record.environment
            && other.state == State::Promoted
            && (other.source == record.source || other.tree == Some(tree))
    };
    let at = ended_at(record);
    later.iter().filter_map(Told::promotion).find(is_same).is_none().then(|| Quarantined {
        source: record.source,
        tree,
        promotion: record.id.clone(),
        at,
    })
}

fn hold_of(record: &Record) -> Option<Hold> {
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
    for (environment, undone) in &missing.forgiven {
        store.end_quarantine_by(environment, undone).await?;
    }
    for HoldNews { environment, hold } in &missing.holds {
        match hold {
            Some(hold) => store.hold(environment, hold).await?,
            None => drop(store.lift_hold(environment).await?),
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
    use crate::promote::attestation::Change;
    use crate::promote::attestation::tests::{object, promotion, statement};

    fn settled(id: &str, state: State, source: u8, at_ms: i64) -> Told {
        let mut ended = promotion(state);
        ended.id = PromotionId::from_stored(id);
        (ended.source, ended.tree) = (object(source), Some(object(source + 100)));
        ended.finished_at = Some(from_ms(at_ms));
        ended.updated_at = from_ms(at_ms);
        Told::Promotion(Box::new(statement(Moment::Settled, &ended).predicate.promotion))
    }

    fn said(change: Change, forgives: &[&str], at_ms: i64) -> Told {
        Told::Hold(HoldChange {
            id: format!("word{at_ms}"),
            project: "shop".to_owned(),
            environment: "production".to_owned(),
            change,
            person: "Ann <ann@example.test>".to_owned(),
            reason: None,
            forgives: forgives.iter().map(|id| PromotionId::from_stored(id)).collect(),
            at: from_ms(at_ms),
        })
    }

    fn found(told: &[Told], known: &[&str]) -> Missing {
        found_beside(told, known, None)
    }

    fn found_beside(told: &[Told], known: &[&str], held: Option<&Hold>) -> Missing {
        let known = known.iter().map(|id| (PromotionId::from_stored(id), as_it_is(told, id)));
        let held = held.map(|hold| ("production".to_owned(), hold.clone())).into_iter().collect();
        missing(told, &known.collect(), &held, "origin")
    }

    fn as_it_is(told: &[Told], id: &str) -> Acquaintance {
        let record = told.iter().filter_map(Told::promotion).find(|record| record.id.as_str() == id);
        Acquaintance { state: record.map_or(State::Promoted, |record| record.state), is_ours: true }
    }

    #[test]
    fn a_promotion_comes_back_as_it_was() {
        let mut ended = promotion(State::Promoted);
        ended.finished_at = Some(ended.updated_at);
        let record = Told::Promotion(Box::new(statement(Moment::Settled, &ended).predicate.promotion));
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
        assert_eq!(only.holds[0].hold.as_ref().unwrap().promotion, Some(PromotionId::from_stored("aaaa")));
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
        let id = PromotionId::from_stored("aaaa");
        let known = |state, is_ours| HashMap::from([(id.clone(), Acquaintance { state, is_ours })]);
        let missing = |told: &[Told], known: &_, remote: &str| missing(told, known, &HashMap::new(), remote);
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
        let found = found(&[Told::Promotion(Box::new(landing))], &[]);
        assert!(found.is_empty());
        assert_eq!(found.unfinished, [PromotionId::from_stored("k3f9x2ab")]);
    }

    fn hold_after(told: &[Told], known: &[&str], held: Option<&Hold>) -> Option<Option<Hold>> {
        found_beside(told, known, held).holds.first().map(|news| news.hold.clone())
    }

    #[test]
    fn the_last_word_on_an_environment_is_what_the_database_learns() {
        let (held, resumed) = (said(Change::Held, &[], 1_000), said(Change::Resumed, &[], 2_000));
        let Told::Hold(word) = &held else { unreachable!() };
        let hold = word.hold();
        let told = [held.clone(), resumed.clone()];
        assert_eq!(hold_after(&told[..1], &[], None), Some(hold.clone()));
        assert!(!found(&told[..1], &[]).is_empty());
        assert_eq!(hold_after(&told[..1], &[], hold.as_ref()), None, "it is known");
        assert_eq!(hold_after(&told, &[], None), None);
        assert_eq!(hold_after(&told, &[], hold.as_ref()), Some(None));
        assert_eq!(hold_after(&told[1..], &[], hold.as_ref()), Some(None));
        let later = Hold { at: from_ms(3_000), ..hold.clone().unwrap() };
        assert_eq!(hold_after(&told, &[], Some(&later)), None, "it was set after that");
        let promoted = settled("bbbb", State::Promoted, 2, 1_500);
        assert_eq!(hold_after(&[held, promoted], &[], None), Some(hold), "a release lifts no person's hold");
    }

    #[test]
    fn whoever_lets_an_environment_go_on_forgives_what_was_known_then_and_no_other_rollback() {
        let (back, other) =
            (settled("aaaa", State::RolledBack, 1, 1_000), settled("bbbb", State::RolledBack, 2, 1_500));
        let resumed = said(Change::Resumed, &["aaaa"], 2_000);
        let forgiven = found(&[back.clone(), resumed.clone()], &[]);
        assert_eq!((forgiven.quarantined.len(), forgiven.holds.len()), (0, 0));
        let set = found(std::slice::from_ref(&back), &[]).holds[0].hold.clone();
        assert_eq!(hold_after(std::slice::from_ref(&resumed), &[], set.as_ref()), Some(None));
        let unknown = found(&[back.clone(), other, resumed], &[]);
        assert_eq!(unknown.quarantined[0].1.source, object(2));
        assert_eq!(unknown.holds[0].hold.as_ref().unwrap().promotion, Some(PromotionId::from_stored("bbbb")));
        let (held, over) = (said(Change::Held, &[], 100), said(Change::Resumed, &[], 200));
        let known = found_beside(&[held, over, back], &["aaaa"], set.as_ref());
        assert!(known.is_empty() && known.holds.is_empty(), "an older word does not lift a newer hold");
    }
}
