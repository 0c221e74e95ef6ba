//! Whether each release on an environment's branch was promoted by the rules, by what the repository alone says.
//!
//! [`judge`] decides on one release, purely; [`audit`] gathers what it needs.

mod reading;

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::{Offset, TimeZone};
use serde::{Serialize, Serializer};

pub use self::reading::{Wish, audit, chain_problems, head_problem, soundest};
use super::attestation::{Record, Statement, Word};
use super::gate::Electorate;
use crate::base::Timestamp;
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::Span;
use crate::config::{Environment, HistoryMode, Waivable};
use crate::git::{LinedCommit, Signature, SignatureStatus};
use crate::store::{ApprovalRecord, CheckPhase, State};

/// What the repository says of its releases.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The project.
    pub project: String,
    /// The ledger as a whole.
    pub ledger: LedgerReport,
    /// The environments that were asked about, in promotion order.
    pub environments: Vec<EnvironmentReport>,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

/// The ledger as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LedgerReport {
    /// Its newest entry; nothing where there is no ledger.
    pub tip: Option<ObjectId>,
    /// How many entries it has.
    pub entries: usize,
    /// How many of them carry a signature.
    pub signed: usize,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// An environment's releases.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnvironmentReport {
    /// Its name.
    pub name: String,
    /// Its branch.
    pub branch: String,
    /// Where the branch is: here or, where that is further, on the remote when it was last fetched.
    pub tip: Option<ObjectId>,
    /// Since when the ledger knows it.
    pub since: Option<Timestamp>,
    /// The hold of a person that nobody has lifted.
    pub held: Option<HoldReport>,
    /// Its releases since then, the newest first.
    pub releases: Vec<Release>,
    /// What is wrong with the branch as a whole.
    pub problems: Vec<Problem>,
}

/// A person's hold on an environment, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoldReport {
    /// Who set it, escaped.
    pub person: String,
    /// Why, escaped.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The signature of its entry.
    pub signature: Signature,
}

/// One commit that the environment was at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Release {
    /// The commit.
    pub commit: ObjectId,
    /// The first line of its message, escaped.
    pub subject: String,
    /// Who made it, escaped.
    pub author: String,
    /// When it was made.
    pub at: Timestamp,
    /// What brought it onto the branch.
    pub kind: Kind,
    /// The promotion that brought it, or that took over what somebody else put there.
    pub promotion: Option<PromotionId>,
    /// How that promotion ended; nothing while it has not.
    pub state: Option<State>,
    /// The signature of the entry that speaks for it.
    pub signature: Signature,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Release {
    /// Answers whether the entry that should speak for it is about something else.
    fn is_different(&self) -> bool {
        self.problems.iter().any(|problem| matches!(problem, Problem::Different(_)))
    }
}

/// What brought a commit onto an environment's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A promotion.
    Promotion,
    /// The rollback of a promotion.
    Rollback,
    /// Somebody else, and a promotion took it over later: it was allowed to merge, or what it brought has it.
    TakenOver,
    /// Somebody else.
    Foreign,
}

/// Something that is not as the rules want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The ledger knows nothing of the commit; it may claim to be of a promotion.
    NotPromoted(Option<String>),
    /// An entry contradicts itself.
    Contradiction(ObjectId, &'static str),
    /// The commit has another content than the entry says, or builds on another tip.
    Different(&'static str),
    /// The promotion ended before it could land.
    NotAdmitted(State),
    /// A check that the rules want has no passing answer; the answer, where there is one.
    Check(String, Option<String>),
    /// Too few people consented.
    Approvals {
        /// How many did.
        given: usize,
        /// How many must.
        required: u32,
    },
    /// A group of people has not consented as often as the rules want.
    GroupSilent(String),
    /// It landed in a time in which nothing may; the window.
    Frozen(String),
    /// It was not live upstream for as long as the rules want.
    NotSoaked(Span),
    /// It did not come from the branch that the rules want it to come from.
    OtherSource(String),
    /// It was verified by other rules than those that were committed.
    OtherRules,
    /// No committed configuration has rules for the environment.
    NoRules,
    /// The signature is bad.
    BadSignature,
    /// A signature is required and there is none that git trusts.
    NotTrusted(SignatureStatus),
    /// It was taken back and is live.
    LiveAgain(State),
    /// The promotion that should be live by the ledger is not on the branch.
    NotOnBranch {
        /// The promotion.
        promotion: PromotionId,
        /// What it put there.
        commit: ObjectId,
    },
    /// There is no ledger.
    NoLedger,
    /// An entry that was here is not in the chain any more.
    Lacking(ObjectId),
    /// The remote has no ledger any more; where it was.
    RemovedThere(ObjectId),
    /// An entry cannot be understood.
    Malformed(ObjectId, String),
    /// The signature of an entry about a hold is bad.
    BadWord(ObjectId),
    /// An entry rests on more than one.
    NotAChain(ObjectId),
    /// Two entries say different things about the same moment of a promotion, or in the wrong order.
    Disorder(ObjectId, String),
    /// The remote's ledger lacks entries that it had.
    Rewritten {
        /// Where it was.
        before: ObjectId,
        /// Where it is.
        now: ObjectId,
    },
}

impl Problem {
    /// Answers the stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPromoted(_) => "not_promoted",
            Self::Contradiction(..) => "contradiction",
            Self::Different(_) => "different",
            Self::NotAdmitted(_) => "not_admitted",
            Self::Check(..) => "check",
            Self::Approvals { .. } => "approvals",
            Self::GroupSilent(_) => "group_silent",
            Self::Frozen(_) => "frozen",
            Self::NotSoaked(_) => "not_soaked",
            Self::OtherSource(_) => "other_source",
            Self::OtherRules => "other_rules",
            Self::NoRules => "no_rules",
            Self::BadSignature | Self::BadWord(_) => "bad_signature",
            Self::NotTrusted(_) => "not_trusted",
            Self::LiveAgain(_) => "live_again",
            Self::NotOnBranch { .. } => "not_on_branch",
            Self::NoLedger => "no_ledger",
            Self::Lacking(_) => "lacking",
            Self::RemovedThere(_) => "removed_there",
            Self::Malformed(..) => "malformed",
            Self::NotAChain(_) => "not_a_chain",
            Self::Disorder(..) => "disorder",
            Self::Rewritten { .. } => "rewritten",
        }
    }

    /// Answers what is wrong, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::NotPromoted(None) => "nobody promoted it: the ledger has no entry for it".to_owned(),
            Self::NotPromoted(Some(claim)) => {
                format!("it says that promotion {claim} made it, but the ledger has no entry for it")
            }
            Self::Contradiction(entry, what) => format!("entry {} contradicts itself: {what}", entry.short()),
            Self::Different(what) => format!("its entry is about something else: {what}"),
            Self::NotAdmitted(state) => format!("its promotion ended as `{state}` and should not have landed"),
            Self::Check(name, None) => format!("check `{name}` was not asked"),
            Self::Check(name, Some(outcome)) => format!("check `{name}` answered `{outcome}`"),
            Self::Approvals { given, required } => format!("{given} of {required} approvals"),
            Self::GroupSilent(group) => format!("approvals of `{group}` are missing"),
            Self::Frozen(window) => format!("it landed while nothing may: {window}"),
            Self::NotSoaked(required) => format!("it was not live and verified upstream for {required} before"),
            Self::OtherSource(branch) => {
                format!("it did not come from `{}`, from where the rules want it", shown(branch.as_bytes()))
            }
            Self::OtherRules => "it was verified by other rules than those that were committed".to_owned(),
            Self::NoRules => "no committed configuration has rules for this environment".to_owned(),
            Self::BadSignature => "the signature of its entry is bad".to_owned(),
            Self::NotTrusted(status) => not_trusted(*status).to_owned(),
            Self::LiveAgain(state) => format!("its promotion is `{state}`, but it is live"),
            Self::NotOnBranch { promotion, commit } => {
                let commit = commit.short();
                format!("by the ledger it should be at {commit} (promotion {promotion}), which it does not contain")
            }
            Self::NoLedger => "there is no ledger: nothing was promoted yet, or it was removed".to_owned(),
            Self::Lacking(entry) => {
                format!(
                    "it was rewritten or removed here: entry {}, which it had, is not in it any more",
                    entry.short()
                )
            }
            Self::RemovedThere(entry) => format!("the remote has none any more; it was at {}", entry.short()),
            Self::Malformed(entry, why) => format!("entry {} cannot be understood: {why}", entry.short()),
            Self::BadWord(entry) => format!("the signature of entry {}, about a hold, is bad", entry.short()),
            Self::NotAChain(entry) => format!("entry {} rests on more than one", entry.short()),
            Self::Disorder(entry, what) => format!("entry {}: {what}", entry.short()),
            Self::Rewritten { before, now } => {
                let (before, now) = (before.short(), now.short());
                format!("the remote's was rewritten: it was at {before} and is at {now}, which does not contain it")
            }
        }
    }
}

fn not_trusted(status: SignatureStatus) -> &'static str {
    match status {
        SignatureStatus::None => "its entry is not signed",
        SignatureStatus::Unknown => "its entry is signed with a key that git is not told to trust",
        SignatureStatus::Unchecked => "the signature of its entry cannot be checked here: git lacks the signers' keys",
        SignatureStatus::Bad | SignatureStatus::Good => "the signature of its entry is not good",
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document {
            code: &'static str,
            detail: String,
        }
        Document { code: self.code(), detail: self.words() }.serialize(serializer)
    }
}

impl Report {
    /// Answers whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_good = |environment: &EnvironmentReport| {
            environment.problems.is_empty() && environment.releases.iter().all(|release| release.problems.is_empty())
        };
        self.ledger.problems.is_empty() && self.environments.iter().all(is_good)
    }
}

/// An entry that speaks for a release.
#[derive(Debug, Clone, Copy)]
struct Attested<'a> {
    statement: &'a Statement,
    signature: &'a Signature,
}

/// The rules that were committed when a release landed.
#[derive(Debug, Clone, Copy)]
struct Rules<'a> {
    digest: Digest,
    environment: &'a Environment,
    /// The branch that everything but a hotfix must come from; nothing where that is the sandbox's.
    from: Option<&'a str>,
    groups: &'a BTreeMap<String, Vec<String>>,
    /// E-mail addresses of who wrote or committed what landed; empty where they may approve it.
    authors: &'a BTreeSet<String>,
    /// Whether nothing may land by an entry that is not signed.
    must_sign: bool,
}

impl Rules<'_> {
    /// Answers whether somebody waived a gate, and the rules let that be.
    fn is_waived(&self, record: &Record, gate: Waivable) -> bool {
        self.environment.waive.contains(&gate) && record.waivers.iter().any(|waiver| waiver.gate == gate.as_str())
    }
}

/// All that is known of a release.
#[derive(Debug, Clone, Copy)]
struct Evidence<'a> {
    commit: &'a LinedCommit,
    /// Whether the environment is at it now.
    is_live: bool,
    /// The entry that it may land.
    landing: Option<Attested<'a>>,
    /// Whether it has the tip that it landed on in its history.
    follows: bool,
    /// Whether its source was, or is, on the branch that it had to come from.
    was_upstream: bool,
    /// The entry that it takes a promotion back.
    returning: Option<Attested<'a>>,
    /// The tree of the commit that it brings back.
    returned_tree: Option<ObjectId>,
    /// How the promotion ended.
    verdict: Option<State>,
    rules: Option<Rules<'a>>,
    requires_signature: bool,
}

/// Lists what is wrong with a release.
fn judge(evidence: &Evidence<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(entry) = evidence.landing.or(evidence.returning) else {
        return vec![Problem::NotPromoted(evidence.commit.promotion.clone())];
    };
    let record = entry.statement.record();
    problems.extend(match evidence.landing {
        Some(_) => difference_of_landing(evidence, record),
        None => difference_of_return(evidence, record),
    });
    if evidence.landing.is_some() {
        problems.extend(problems_of_landing(evidence, entry));
    }
    let status = entry.signature.status;
    // Whose keys are good is for whoever asks to say; that there is a signature is not.
    let must_be = evidence.landing.is_some() && evidence.rules.is_some_and(|rules| rules.must_sign);
    let is_required = evidence.requires_signature || (must_be && status == SignatureStatus::None);
    problems.extend(problem_of_signature(status, is_required));
    problems
}

fn difference_of_landing(evidence: &Evidence<'_>, record: &Record) -> Option<Problem> {
    let commit = evidence.commit;
    let expected: Vec<ObjectId> = record.previous.into_iter().chain([record.source]).collect();
    if record.tree != Some(commit.tree) {
        return Some(Problem::Different("the commit has another tree"));
    }
    if commit.summary.id == record.source {
        // Rules that cannot be read are told elsewhere.
        let is_linear = evidence.rules.is_none_or(|rules| rules.environment.history == HistoryMode::Linear);
        let may_be = is_linear && evidence.follows;
        return (!may_be).then_some(Problem::Different("the branch was moved to the source, which may not be"));
    }
    (commit.parents != expected).then_some(Problem::Different("the commit has other parents"))
}

fn difference_of_return(evidence: &Evidence<'_>, record: &Record) -> Option<Problem> {
    let from: Vec<ObjectId> = record.rollback.iter().filter_map(|rollback| rollback.from).collect();
    if evidence.returned_tree.is_some_and(|tree| tree != evidence.commit.tree) {
        return Some(Problem::Different("the commit has another content than what it should bring back"));
    }
    (evidence.commit.parents != from).then_some(Problem::Different("the commit has other parents"))
}

fn problems_of_landing(evidence: &Evidence<'_>, entry: Attested<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    match evidence.verdict {
        Some(state @ (State::RolledBack | State::RollbackFailed)) if evidence.is_live => {
            problems.push(Problem::LiveAgain(state));
        }
        None | Some(State::Promoted | State::RolledBack | State::RollbackFailed) => {}
        Some(state) => problems.push(Problem::NotAdmitted(state)),
    }
    let Some(rules) = evidence.rules else {
        problems.push(Problem::NoRules);
        return problems;
    };
    if entry.statement.policy() != Some(rules.digest.to_string().as_str()) {
        problems.push(Problem::OtherRules);
    }
    let record = entry.statement.record();
    problems.extend(problem_of_source(record, rules.from, evidence.was_upstream));
    if !rules.is_waived(record, Waivable::Checks) {
        problems.extend(rules.environment.checks.iter().filter_map(|name| problem_of_check(record, name)));
    }
    if !rules.is_waived(record, Waivable::Approval) {
        problems.extend(problems_of_approvals(entry.statement, &rules));
    }
    if !rules.is_waived(record, Waivable::Freeze) {
        problems.extend(problem_of_freeze(entry.statement, rules.environment));
    }
    if !rules.is_waived(record, Waivable::Soak) {
        problems.extend(problem_of_soak(entry.statement, rules.environment));
    }
    problems
}

/// Only a hotfix may come past what feeds the environment, and what undoes a rollback was there before.
fn problem_of_source(record: &Record, from: Option<&str>, was_upstream: bool) -> Option<Problem> {
    let from = from.filter(|_| record.hotfix.is_none() && record.undoes.is_none())?;
    let says_another = record.from.as_deref().is_some_and(|said| said != from);
    (says_another || !was_upstream).then(|| Problem::OtherSource(from.to_owned()))
}

fn problem_of_check(record: &Record, name: &str) -> Option<Problem> {
    let mut answers = record.checks.iter().filter(|check| check.phase == CheckPhase::Check && check.name == name);
    match answers.next() {
        None => Some(Problem::Check(name.to_owned(), None)),
        Some(check) if check.outcome != "pass" => Some(Problem::Check(name.to_owned(), Some(check.outcome.clone()))),
        Some(_) => None,
    }
}

fn problems_of_approvals(statement: &Statement, rules: &Rules<'_>) -> Vec<Problem> {
    let record = statement.record();
    let (Some(policy), Some(candidate)) = (&rules.environment.approval, record.candidate) else { return Vec::new() };
    let electorate = Electorate {
        policy,
        groups: rules.groups,
        authors: rules.authors,
        requested_by: &record.requested_by,
        candidate,
        now: statement.predicate.time_verified,
    };
    let words: Vec<ApprovalRecord> = record.approvals.iter().map(ApprovalRecord::from).collect();
    let valid = electorate.valid(&words);
    let is_enough = u32::try_from(valid.len()).is_ok_and(|given| given >= policy.required);
    let too_few = Problem::Approvals { given: valid.len(), required: policy.required };
    let missing = electorate.missing(&valid).into_iter().map(|(group, _)| Problem::GroupSilent(group.to_owned()));
    (!is_enough).then_some(too_few).into_iter().chain(missing).collect()
}

/// Windows that name no time zone are meant by the clock of the machine that promoted.
fn problem_of_freeze(statement: &Statement, environment: &Environment) -> Option<Problem> {
    let at = statement.predicate.time_verified;
    let offset = statement.record().utc_offset_seconds.and_then(|seconds| Offset::from_seconds(seconds).ok());
    let local = offset.map_or(TimeZone::UTC, TimeZone::fixed);
    let frozen = environment.freeze.iter().find(|window| window.at(at, &local).is_some());
    frozen.map(|window| Problem::Frozen(window.to_string()))
}

/// A hotfix does not come from upstream, and what a rollback took away has soaked before.
fn problem_of_soak(statement: &Statement, environment: &Environment) -> Option<Problem> {
    let record = statement.record();
    if environment.soak.as_ms() == 0 || record.hotfix.is_some() || record.undoes.is_some() {
        return None;
    }
    let landed_ms = statement.predicate.time_verified.as_millisecond();
    let has_soaked = |since: Timestamp| since.as_millisecond().saturating_add(environment.soak.as_ms()) <= landed_ms;
    (!record.live_upstream_since.is_some_and(has_soaked)).then_some(Problem::NotSoaked(environment.soak))
}

fn problem_of_signature(status: SignatureStatus, is_required: bool) -> Option<Problem> {
    match status {
        SignatureStatus::Bad => Some(Problem::BadSignature),
        SignatureStatus::Good => None,
        status => is_required.then_some(Problem::NotTrusted(status)),
    }
}

impl From<&Word> for ApprovalRecord {
    fn from(word: &Word) -> Self {
        Self {
            person: word.person.clone(),
            candidate: word.candidate,
            consent: word.consent,
            reason: word.reason.clone(),
            at: word.at,
            expires_at: word.expires,
        }
    }
}

#[cfg(test)]
mod tests;
