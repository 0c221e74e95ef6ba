//! What a promotion leaves in the ledger: an in-toto statement with SLSA's verification summary. Pure.
//!
//! The summary says who verified what by which policy and how it ended; an extension of cascade's own, named by a URI
//! as the summary's specification wants it, has everything that was looked at. Keys have one order and times one form,
//! so that the same promotion always gives the same bytes.

mod hold;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::hold::{Change, HoldChange, HoldStatement, Stated};
use crate::base::Timestamp;
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::store::{
    ApprovalRecord, CheckPhase, CheckRecord, DeliveryOutcome, DeliveryPhase, DeliveryRecord, EarlierAttempt, Promotion,
    State, Waiver,
};

/// The form of the statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The form of what it says.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";
/// Who verified.
const VERIFIER: &str = env!("CARGO_PKG_REPOSITORY");
/// A larger statement was not made by cascade.
const SIZE_LIMIT_BYTES: usize = 4 << 20;

/// A statement about a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// The commit, under the name of the branch that it is for, and its tree.
    pub subject: Vec<Resource>,
    /// [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: Predicate,
}

/// Something that is named and has a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digests, by algorithm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
}

/// SLSA's verification summary, version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// Who verified.
    pub verifier: Verifier,
    /// When.
    pub time_verified: Timestamp,
    /// Where the commit may go by this: `cascade:<project>/<environment>`, and nowhere else.
    pub resource_uri: String,
    /// The rules of the environment.
    pub policy: Resource,
    /// The statements that this one rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_attestations: Vec<Resource>,
    /// `PASSED` or `FAILED`.
    pub verification_result: String,
    /// What was reached, in cascade's own words, or `FAILED`.
    pub verified_levels: Vec<String>,
    /// All that was looked at.
    #[serde(rename = "https://github.com/cascade-sync/cascade/promotion/v1")]
    pub promotion: Record,
}

/// A program that verifies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// Which.
    pub id: String,
    /// In which version, by component.
    #[serde(default)]
    pub version: BTreeMap<String, String>,
}

/// When in its life a promotion makes a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Its candidate passed checks and gates and is about to land.
    Landing,
    /// Its branch is about to go back.
    Returning,
    /// It has ended.
    Settled,
}

/// All that is recorded of a promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The promotion.
    pub id: PromotionId,
    /// When in its life this was written.
    pub moment: Moment,
    /// How far it was.
    pub state: State,
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// Its branch.
    pub branch: String,
    /// The commit that is promoted.
    pub source: ObjectId,
    /// The branch that it comes from, past the environments before; nothing where it comes from upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<String>,
    /// The branch that feeds the environment by its rules, where the commit comes from; nothing where it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The branch's tip that the candidate builds on.
    pub previous: Option<ObjectId>,
    /// The candidate.
    pub candidate: Option<ObjectId>,
    /// Its tree.
    pub tree: Option<ObjectId>,
    /// Whether what others had put on the branch was to be merged.
    pub merge: bool,
    /// Whether the candidate was to be pushed.
    pub pushed: bool,
    /// Who asked for it.
    pub requested_by: String,
    /// Why it was asked for.
    pub purpose: Option<String>,
    /// Why it is in its state.
    pub reason: Option<String>,
    /// What the checks answered.
    pub checks: Vec<Check>,
    /// What was delivered, and taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
    /// What people said.
    pub approvals: Vec<Word>,
    /// Gates that a person let it pass by.
    pub waivers: Vec<Waiver>,
    /// Since when its source was live and verified upstream, where it had to be so for some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_upstream_since: Option<Timestamp>,
    /// How far from UTC the clock was by which it landed, in seconds: times without a zone in the rules are meant so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_offset_seconds: Option<i32>,
    /// The promotion whose rollback it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<PromotionId>,
    /// Where it goes back to.
    pub rollback: Option<Rollback>,
    /// When it was proposed.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The answer of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Before or after landing.
    pub phase: CheckPhase,
    /// SHA-256 of what it asks; nothing where the configuration did not have it any more.
    pub definition: Option<String>,
    /// `pass`, `fail` or `unknown`.
    pub outcome: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether the answer was known already for this very content.
    pub cached: bool,
    /// When it was given.
    pub at: Timestamp,
    /// The attempt before, where it was asked once more because it is known to fail now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Attempt>,
}

/// How a delivery went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The sync.
    pub sync: String,
    /// Out, or back.
    pub phase: DeliveryPhase,
    /// `delivered`, `flagged` or `failed`.
    pub outcome: DeliveryOutcome,
    /// Items that were put where nothing was.
    pub created: i64,
    /// Items that were replaced.
    pub updated: i64,
    /// Items that were taken away.
    pub deleted: i64,
    /// Items that were left alone until a person decides.
    pub flagged: i64,
    /// Items that could not be brought over.
    pub failed: i64,
    /// Bytes of content that were written.
    pub bytes: i64,
    /// How long it took.
    pub seconds: f64,
    /// When it ended.
    pub at: Timestamp,
}

/// The first of two attempts at a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// `fail`.
    pub outcome: String,
    /// How long it took.
    pub seconds: f64,
}

/// One person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who.
    pub person: String,
    /// The candidate that it is about.
    pub candidate: ObjectId,
    /// Yes or no.
    pub consent: bool,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// When it ends to count.
    pub expires: Timestamp,
}

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The tip that is undone.
    pub from: Option<ObjectId>,
    /// The commit whose content comes back.
    pub to: Option<ObjectId>,
    /// The commit that the branch is put on.
    pub commit: Option<ObjectId>,
}

/// What is known of a promotion when it makes a statement.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The environment's branch.
    pub branch: &'a str,
    /// The digest of the rules that were applied.
    pub policy: Option<Digest>,
    /// The promotion as it is now.
    pub promotion: &'a Promotion,
    /// What the checks answered, each with the digest of what it asks.
    pub checks: &'a [(CheckRecord, Option<Digest>)],
    /// How its deliveries went.
    pub deliveries: &'a [DeliveryRecord],
    /// What people said.
    pub approvals: &'a [ApprovalRecord],
    /// Gates that were waived.
    pub waivers: &'a [Waiver],
    /// The branch that it had to come from.
    pub from: Option<&'a str>,
    /// Since when the source was live and verified upstream, where it must be so for some time.
    pub live_upstream_since: Option<Timestamp>,
    /// How far from UTC the clock is, in seconds; only a landing says it.
    pub utc_offset_seconds: Option<i32>,
}

impl Statement {
    /// Makes the statement of a promotion at a moment of its life.
    #[must_use]
    pub fn new(moment: Moment, known: &Known<'_>) -> Self {
        let promotion = known.promotion;
        let resource_uri = resource_uri(known.project, &promotion.environment);
        let (passed, level) = match (moment, promotion.state) {
            (Moment::Landing, _) => (true, "CASCADE_ADMITTED"),
            (Moment::Returning, _) => (true, "CASCADE_RESTORING"),
            (Moment::Settled, State::Promoted) => (true, "CASCADE_VERIFIED"),
            (Moment::Settled, _) => (false, "FAILED"),
        };
        let policy = Resource {
            name: None,
            uri: Some(format!("{resource_uri}/policy")),
            digest: known.policy.iter().map(|digest| ("sha256".to_owned(), digest.to_string())).collect(),
        };
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: subject(moment, known),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                verifier: Verifier {
                    id: VERIFIER.to_owned(),
                    version: [("cascade".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
                },
                time_verified: promotion.updated_at,
                resource_uri,
                policy,
                input_attestations: Vec::new(),
                verification_result: if passed { "PASSED" } else { "FAILED" }.to_owned(),
                verified_levels: vec![level.to_owned()],
                promotion: record(moment, known),
            },
        }
    }

    /// Reads a statement; what it says beyond what is known here is passed over.
    ///
    /// # Errors
    /// Not a statement of cascade's, in words for people.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let statement: Self = typed(bytes)?;
        require_type(&statement.statement_type, STATEMENT_TYPE)?;
        require_type(&statement.predicate_type, PREDICATE_TYPE)?;
        Ok(statement)
    }

    /// Answers the statement as it is written: one form for one content.
    #[must_use]
    pub fn to_text(&self) -> String {
        written(self)
    }

    /// Answers what is recorded of the promotion.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.predicate.promotion
    }

    /// Answers what tells this statement from every other of its promotion, and the promotion from every other.
    #[must_use]
    pub fn key(&self) -> String {
        let record = self.record();
        match record.moment {
            Moment::Landing => landing_key(&record.id),
            Moment::Returning => {
                let commit = record.rollback.as_ref().and_then(|rollback| rollback.commit);
                format!("{} returning {}", record.id, commit.map_or_else(|| "-".to_owned(), |id| id.to_string()))
            }
            Moment::Settled => format!("{} settled {}", record.id, record.state),
        }
    }

    /// Answers one line about it for people.
    #[must_use]
    pub fn headline(&self) -> String {
        let Record { id, environment, state, .. } = self.record();
        match self.record().moment {
            Moment::Landing => format!("Promotion {id} may land in {environment}"),
            Moment::Returning => format!("Promotion {id} is taken out of {environment}"),
            Moment::Settled => format!("Promotion {id} to {environment}: {}", state.as_str().replace('_', " ")),
        }
    }

    /// Answers the digest of the rules by which it was verified, as hexadecimal digits.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.predicate.policy.digest.get("sha256").map(String::as_str)
    }

    /// Names a statement that this one rests on.
    pub fn rest_on(&mut self, key: &str, statement: &[u8]) {
        self.predicate.input_attestations.push(Resource {
            name: None,
            uri: Some(format!("{}#{}", self.predicate.resource_uri, key.replace(' ', "/"))),
            digest: [("sha256".to_owned(), Digest::of(statement).to_string())].into(),
        });
    }

    /// Answers what contradicts itself in it; nothing where all of it fits together.
    #[must_use]
    pub fn contradiction(&self) -> Option<&'static str> {
        let record = self.record();
        if self.predicate.resource_uri != resource_uri(&record.project, &record.environment) {
            return Some("it is for another environment than the one that it names");
        }
        let (commit, tree) = subjects(record.moment, record);
        let says = |algorithm: &str, id: ObjectId| {
            self.subject.iter().any(|subject| subject.digest.get(algorithm) == Some(&id.to_string()))
        };
        if !says("gitCommit", commit) || tree.is_some_and(|tree| !says("gitTree", tree)) {
            return Some("its subject is another commit than the one that it names");
        }
        let passes = match record.moment {
            Moment::Landing | Moment::Returning => true,
            Moment::Settled => record.state == State::Promoted,
        };
        let result = if passes { "PASSED" } else { "FAILED" };
        (self.predicate.verification_result != result).then_some("its result is another than its state")
    }
}

/// Reads a statement of some form; its types are not looked at.
fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > SIZE_LIMIT_BYTES {
        return Err(format!("it has more than {SIZE_LIMIT_BYTES} bytes"));
    }
    serde_json::from_slice(bytes).map_err(|problem| shown(problem.to_string().as_bytes()))
}

fn require_type(found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("its type is `{}`, not {expected}", shown(found.as_bytes())))
}

/// Answers a statement as it is written: one form for one content.
fn written(statement: &impl Serialize) -> String {
    // Text, numbers and lists always have a JSON form.
    let mut text = serde_json::to_string_pretty(statement).unwrap_or_default();
    text.push('\n');
    text
}

/// Answers the key of the statement that a promotion may land.
#[must_use]
pub fn landing_key(id: &PromotionId) -> String {
    format!("{id} landing")
}

/// Answers whether a key is that of a statement on this promotion.
#[must_use]
pub fn is_key_of(key: &str, id: &PromotionId) -> bool {
    key.split_once(' ').is_some_and(|(of, _)| of == id.as_str())
}

fn resource_uri(project: &str, environment: &str) -> String {
    format!("cascade:{project}/{environment}")
}

/// Answers the commit that a statement is about, and the tree where it is the commit's own.
fn subjects(moment: Moment, record: &Record) -> (ObjectId, Option<ObjectId>) {
    let back = record.rollback.as_ref().and_then(|rollback| rollback.commit);
    match (moment, back, record.candidate) {
        (Moment::Returning, Some(back), _) => (back, None),
        (_, _, Some(candidate)) => (candidate, record.tree),
        _ => (record.source, None),
    }
}

fn subject(moment: Moment, known: &Known<'_>) -> Vec<Resource> {
    let (commit, tree) = subjects(moment, &record(moment, known));
    let resource = |name: String, algorithm: &str, id: ObjectId| Resource {
        name: Some(name),
        uri: None,
        digest: [(algorithm.to_owned(), id.to_string())].into(),
    };
    let branch = format!("refs/heads/{}", known.branch);
    let tree = tree.map(|tree| resource(format!("{branch}^{{tree}}"), "gitTree", tree));
    std::iter::once(resource(branch, "gitCommit", commit)).chain(tree).collect()
}

fn record(moment: Moment, known: &Known<'_>) -> Record {
    let promotion = known.promotion;
    let rollback = promotion.rollback_commit.map(|commit| Rollback {
        from: promotion.rollback_from,
        to: promotion.rollback_to,
        commit: Some(commit),
    });
    Record {
        id: promotion.id.clone(),
        moment,
        state: promotion.state,
        project: known.project.to_owned(),
        environment: promotion.environment.clone(),
        branch: known.branch.to_owned(),
        source: promotion.source,
        hotfix: promotion.hotfix.clone(),
        from: known.from.map(ToOwned::to_owned),
        previous: promotion.previous,
        candidate: promotion.candidate,
        tree: promotion.tree,
        merge: promotion.merge_allowed,
        pushed: promotion.pushed,
        requested_by: promotion.requested_by.clone(),
        purpose: promotion.purpose.clone(),
        reason: promotion.reason.clone(),
        checks: known.checks.iter().map(Check::from).collect(),
        deliveries: known.deliveries.iter().map(Delivery::from).collect(),
        approvals: known.approvals.iter().map(Word::from).collect(),
        waivers: known.waivers.to_vec(),
        live_upstream_since: known.live_upstream_since,
        utc_offset_seconds: known.utc_offset_seconds,
        undoes: promotion.undoes.clone(),
        rollback,
        created_at: promotion.created_at,
        finished_at: promotion.finished_at,
    }
}

impl From<&(CheckRecord, Option<Digest>)> for Check {
    fn from((check, definition): &(CheckRecord, Option<Digest>)) -> Self {
        Self {
            name: check.name.clone(),
            phase: check.phase,
            definition: definition.map(|digest| digest.to_string()),
            outcome: check.outcome.clone(),
            seconds: check.took_ms as f64 / 1_000.0,
            cached: check.cached,
            at: check.at,
            earlier: check.earlier.as_ref().map(Attempt::from),
        }
    }
}

impl From<&DeliveryRecord> for Delivery {
    fn from(record: &DeliveryRecord) -> Self {
        let DeliveryRecord { phase, outcome, created, updated, deleted, flagged, failed, bytes, took_ms, at, .. } =
            *record;
        let (sync, seconds) = (record.sync.clone(), took_ms as f64 / 1_000.0);
        Self { sync, phase, outcome, created, updated, deleted, flagged, failed, bytes, seconds, at }
    }
}

impl From<&EarlierAttempt> for Attempt {
    fn from(earlier: &EarlierAttempt) -> Self {
        Self { outcome: earlier.outcome.clone(), seconds: earlier.took_ms as f64 / 1_000.0 }
    }
}

impl From<&ApprovalRecord> for Word {
    fn from(word: &ApprovalRecord) -> Self {
        Self {
            person: word.person.clone(),
            candidate: word.candidate,
            consent: word.consent,
            reason: word.reason.clone(),
            at: word.at,
            expires: word.expires_at,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
