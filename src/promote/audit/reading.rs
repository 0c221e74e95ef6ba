//! Gathering what an audit needs: the ledger, the branches and the configurations that were committed on them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{
    Attested, EnvironmentReport, Evidence, HoldReport, Kind, LedgerReport, Problem, Release, Report, Rules, judge,
};
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::config::{self, Config, Environment, SignMode};
use crate::git::{self, Brought, LedgerEntry, LinedCommit, Repo, Signature, SignatureStatus};
use crate::promote::attestation::{Change, HoldStatement, Moment, Record, Stated, Statement, landing_key};
use crate::promote::others;
use crate::store::State;

/// Most commits that are looked at of a branch which the ledger does not know.
const UNKNOWN_LIMIT: usize = 1_000;
/// Most entries since the last landing that are looked at before another promotion.
const HEAD_LIMIT: usize = 100;
/// What git calls the remote of a clone.
const CLONES_REMOTE: &str = "origin";

/// What is to be audited.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The environment; none: all of them.
    pub environment: Option<String>,
    /// Whether an entry without a trusted signature is a problem.
    pub requires_signature: bool,
    /// Whether the remote is left alone: then what was fetched last is audited.
    pub offline: bool,
}

/// Audits the releases of a repository, without a database. Branches and ledger are fetched together before: of one without
/// the other, what is merely newer would look like what nobody promoted.
///
/// # Errors
/// The repository cannot be read, or there is no ledger here and the remote cannot be asked.
pub fn audit(repo: &Repo, config: &Config, wish: &Wish) -> git::Result<Report> {
    let asked = if wish.offline { Ok(None) } else { ask_remote(repo, config) };
    let asked = match asked {
        Err(problem) if repo.ledger_tip()?.is_none() => return Err(problem),
        asked => asked,
    };
    let mut report = look(repo, config, wish)?;
    match asked {
        Ok(problem) => report.ledger.problems.extend(problem),
        Err(problem) => report.notes.push(format!("this is what was fetched last: {problem}")),
    }
    Ok(report)
}

/// Lists what is wrong with the chain as such: by its entries, by what the remote has and had, and by the entry `known` up
/// to which the database took it over. No release is looked at, and nothing is brought in.
///
/// # Errors
/// The repository cannot be read.
pub fn chain_problems(repo: &Repo, config: &Config, known: Option<ObjectId>) -> git::Result<Vec<Problem>> {
    let remote = remote_of(repo, config);
    let theirs = repo.remote_ledger(remote)?;
    let mut problems = match repo.ledger_tip()? {
        // Where nobody promoted yet there is none, and nothing is wrong.
        None => Vec::new(),
        Some(_) => Ledger::read(repo, config)?.problems,
    };
    // Whatever was fetched or pushed is in the chain as it is; what was taken over before may be there anew, on top of that.
    let tip = repo.ledger_tip()?;
    let is_there =
        |entry| -> git::Result<bool> { Ok(tip.map(|tip| repo.is_ancestor(entry, tip)).transpose()?.unwrap_or(false)) };
    if let Some(entry) = theirs
        && !is_there(entry)?
    {
        problems.push(Problem::Lacking(entry));
    } else if let Some(entry) = known
        && !has_entry(repo, entry)?
    {
        problems.push(Problem::Lacking(entry));
    }
    // A remote that does not answer is told elsewhere.
    let Some((before, Ok((_, now)))) = theirs.map(|before| (before, repo.remote_tips(remote, &config.sandbox.branch)))
    else {
        return Ok(problems);
    };
    problems.extend(match now {
        None => Some(Problem::RemovedThere(before)),
        // What is not here yet cannot be compared: it is when it is brought in.
        Some(now) if repo.has_commit(now) && !repo.is_ancestor(before, now)? => {
            Some(Problem::Rewritten { before, now })
        }
        Some(_) => None,
    });
    Ok(problems)
}

/// Answers what is wrong at the chain's head: whether its newest entries are sound, back to the last landing, which began
/// from a sound head itself, and whether they lead to the entry `known` up to which the database took the chain over, as
/// far as that is still in the repository. What is further down is left to [`audit`] and [`chain_problems`]: where all is
/// well, the cost does not grow with the chain.
///
/// # Errors
/// The references cannot be read.
pub fn head_problem(repo: &Repo, known: Option<ObjectId>) -> git::Result<Option<Problem>> {
    let lacks = |entry: ObjectId| Some(Problem::Lacking(entry));
    // Nobody has to go back to what is broken itself.
    let known = known.filter(|entry| repo.has_commit(*entry) && head_from(repo, *entry).is_none());
    let Some(tip) = repo.ledger_tip()? else { return Ok(known.and_then(lacks)) };
    if let Some(problem) = head_from(repo, tip) {
        return Ok(Some(problem));
    }
    // What was taken over may be there anew, on top of other machines' entries.
    let Some(known) = known.filter(|known| *known != tip) else { return Ok(None) };
    let is_there = repo.is_ancestor(known, tip)? || has_entry(repo, known)?;
    Ok((!is_there).then_some(Problem::Lacking(known)))
}

/// Answers what is wrong with the entries from `tip` back to the last landing. A hold and a rollback are added to what is
/// broken too: they do not mend it.
fn head_from(repo: &Repo, tip: ObjectId) -> Option<Problem> {
    let mut next = Some(tip);
    for _ in 0..HEAD_LIMIT {
        match entry_of(repo, next?) {
            Err(problem) => return Some(problem),
            Ok((_, Stated::Promotion(statement))) if statement.record().moment == Moment::Landing => return None,
            Ok((found, _)) => next = found.parents.first().copied(),
        }
    }
    None
}

/// Reads one entry; answers what is wrong with it, or that the one before it is missing.
fn entry_of(repo: &Repo, id: ObjectId) -> Result<(LedgerEntry, Stated), Problem> {
    let malformed = |why: String| Problem::Malformed(id, why);
    let entry = repo.entry_of_ledger(id).map_err(|problem| malformed(words_of(&problem)))?;
    let bytes = repo.statement_of(id).map_err(|problem| malformed(words_of(&problem)))?;
    let stated =
        Stated::parse(&bytes.ok_or_else(|| malformed("it has no statement".to_owned()))?).map_err(malformed)?;
    match entry.parents.as_slice() {
        [_, _, ..] => return Err(Problem::NotAChain(id)),
        [before] if !repo.has_commit(*before) => {
            return Err(malformed(format!("{}, on which it rests, is missing", before.short())));
        }
        _ => {}
    }
    match stated.contradiction() {
        Some(what) => Err(Problem::Contradiction(id, what)),
        None => Ok((entry, stated)),
    }
}

/// Answers the newest entry of this repository that is sound by itself, to go back to where the head is not: what the
/// database took over, what the remote had, or what the newest entries rest on.
///
/// # Errors
/// The references cannot be read.
pub fn soundest(repo: &Repo, config: &Config, known: Option<ObjectId>) -> git::Result<Option<ObjectId>> {
    let theirs = repo.remote_ledger(remote_of(repo, config))?;
    let mut before = repo.ledger_tip()?;
    let below = std::iter::from_fn(|| {
        before = before.and_then(|entry| repo.entry_of_ledger(entry).ok()?.parents.first().copied());
        before
    });
    let is_sound = |entry: &ObjectId| repo.has_commit(*entry) && head_from(repo, *entry).is_none();
    Ok(known.into_iter().chain(theirs).chain(below).find(is_sound))
}

/// Answers an error with its cause.
fn words_of(problem: &git::Error) -> String {
    let source = std::error::Error::source(problem).map(|source| format!(": {}", shown(source.to_string().as_bytes())));
    format!("{problem}{}", source.unwrap_or_default())
}

/// Answers whether the chain has an entry, or one that says the very same on top of other machines' entries.
fn has_entry(repo: &Repo, entry: ObjectId) -> git::Result<bool> {
    let Some(tip) = repo.ledger_tip()? else { return Ok(false) };
    let statement = if repo.has_commit(entry) { repo.statement_of(entry)? } else { None };
    let mut found = false;
    repo.walk_ledger(&[tip], &mut |at| {
        found = at.id == entry || (statement.is_some() && repo.statement_of(at.id)? == statement);
        Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}

/// Answers the remote to ask: the one of the configuration, else the one that git gives to a clone.
fn remote_of<'a>(repo: &Repo, config: &'a Config) -> &'a str {
    if repo.has_remote(&config.remote) { &config.remote } else { CLONES_REMOTE }
}

/// Fetches what the remote's branches and its ledger have; answers what is wrong with the latter.
fn ask_remote(repo: &Repo, config: &Config) -> git::Result<Option<Problem>> {
    let remote = remote_of(repo, config);
    if !repo.has_remote(remote) {
        return Ok(None);
    }
    let before = repo.remote_ledger(remote)?;
    let found = others::fetch(repo, remote, (&config.branches()[1..], None), config.ledger.sign)?;
    Ok(match (found.ledger, before) {
        (Brought::Rewritten { before, now }, _) => Some(Problem::Rewritten { before, now }),
        (Brought::In(None), Some(before)) => Some(Problem::RemovedThere(before)),
        (Brought::In(_), _) => None,
    })
}

fn look(repo: &Repo, config: &Config, wish: &Wish) -> git::Result<Report> {
    let mut ledger = Ledger::read(repo, config)?;
    ledger.check_signatures(repo, config, wish)?;
    let mut policies = Policies::default();
    let is_wanted = |name: &str| wish.environment.as_deref().is_none_or(|wanted| wanted == name);
    let mut environments = Vec::new();
    for (name, spec) in config.environments.iter().filter(|(name, _)| is_wanted(name)) {
        let branch = Branch::read(repo, config, &ledger, name, spec)?;
        environments.push(branch.report(repo, &ledger, &mut policies, wish)?);
    }
    let records = ledger.entries.iter().map(|(_, statement)| statement.record());
    let unknown = records.filter(|record| !ledger.branches.contains(&record.branch)).map(|record| &record.environment);
    let unknown: BTreeSet<&String> = unknown.filter(|name| !config.environments.contains_key(*name)).collect();
    let notes = unknown.into_iter().map(|name| {
        format!("the ledger knows an environment `{}` that the configuration does not have", shown(name.as_bytes()))
    });
    let notes = notes.collect();
    let report = LedgerReport {
        tip: repo.ledger_tip()?,
        entries: ledger.entries.len() + ledger.words.len(),
        signed: ledger.all().filter(|entry| entry.is_signed).count(),
        problems: ledger.problems,
    };
    Ok(Report { project: config.project.clone(), ledger: report, environments, notes })
}

/// The whole ledger, the oldest entry first.
struct Ledger {
    /// What is said of promotions.
    entries: Vec<(LedgerEntry, Statement)>,
    /// What people said of environments.
    words: Vec<(LedgerEntry, HoldStatement)>,
    /// The branches of environments.
    branches: HashSet<String>,
    signatures: BTreeMap<ObjectId, Signature>,
    problems: Vec<Problem>,
}

impl Ledger {
    fn read(repo: &Repo, config: &Config) -> git::Result<Self> {
        let (mut entries, mut words, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        let branches = config.environments.values().map(|spec| spec.branch.clone()).collect();
        let Some(tip) = repo.ledger_tip()? else {
            problems.push(Problem::NoLedger);
            return Ok(Self { entries, words, branches, signatures: BTreeMap::new(), problems });
        };
        repo.walk_ledger(&[tip], &mut |entry| {
            if entry.parents.len() > 1 {
                problems.push(Problem::NotAChain(entry.id));
            }
            let bytes = repo.statement_of(entry.id)?;
            match bytes.ok_or_else(|| "it has no statement".to_owned()).and_then(|bytes| Stated::parse(&bytes)) {
                Ok(Stated::Promotion(statement)) => entries.push((entry, *statement)),
                Ok(Stated::Hold(statement)) => words.push((entry, *statement)),
                Err(why) => problems.push(Problem::Malformed(entry.id, why)),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        entries.reverse();
        words.reverse();
        problems.extend(disorder(&entries));
        let contradictions = words.iter().filter_map(|(entry, statement)| Some((entry.id, statement.contradiction()?)));
        problems.extend(contradictions.map(|(entry, what)| Problem::Contradiction(entry, what)));
        Ok(Self { entries, words, branches, signatures: BTreeMap::new(), problems })
    }

    fn all(&self) -> impl Iterator<Item = &LedgerEntry> {
        let words = self.words.iter().map(|(entry, _)| entry);
        self.entries.iter().map(|(entry, _)| entry).chain(words)
    }

    /// Answers the hold that a person set on an environment and nobody has lifted.
    fn held(&self, name: &str) -> Option<HoldReport> {
        let (entry, last) = self.words.iter().rfind(|(_, statement)| statement.predicate.environment == name)?;
        let said = &last.predicate;
        (said.change == Change::Held).then(|| HoldReport {
            person: shown(said.person.as_bytes()),
            reason: said.reason.as_deref().map(|reason| shown(reason.as_bytes())),
            since: said.at,
            signature: self.signatures.get(&entry.id).unwrap_or(&Signature::NONE).clone(),
        })
    }

    /// Lets git check those signatures that bear on the environments that are asked about.
    fn check_signatures(&mut self, repo: &Repo, config: &Config, wish: &Wish) -> git::Result<()> {
        let wanted = |record: &Record| {
            let about = |name: &String| config.environment(name).is_some_and(|spec| self.is_about(record, name, spec));
            wish.environment.as_ref().is_none_or(about)
        };
        let bears = |record: &Record| record.moment != Moment::Settled && wanted(record);
        let signed = self.entries.iter().filter(|(entry, statement)| entry.is_signed && bears(statement.record()));
        let is_asked = |name: &String| wish.environment.as_ref().is_none_or(|wanted| wanted == name);
        let words = self.words.iter().filter(|(entry, said)| entry.is_signed && is_asked(&said.predicate.environment));
        let words: Vec<ObjectId> = words.map(|(entry, _)| entry.id).collect();
        let signed: Vec<ObjectId> = signed.map(|(entry, _)| entry.id).chain(words.iter().copied()).collect();
        self.signatures = repo.signatures(&signed)?;
        let is_bad = |entry: &&ObjectId| self.signatures.get(entry).is_some_and(|it| it.status == SignatureStatus::Bad);
        self.problems.extend(words.iter().filter(is_bad).map(|entry| Problem::BadWord(*entry)));
        Ok(())
    }

    /// Answers what is said of an environment: of its branch, whatever it was called then, or of a branch that it had.
    fn of(&self, name: &str, spec: &Environment) -> impl Iterator<Item = (&LedgerEntry, &Statement, &Record)> {
        let all = self.entries.iter().map(|(entry, statement)| (entry, statement, statement.record()));
        all.filter(move |(_, _, record)| self.is_about(record, name, spec))
    }

    fn is_about(&self, record: &Record, name: &str, spec: &Environment) -> bool {
        record.branch == spec.branch || (record.environment == name && !self.branches.contains(&record.branch))
    }

    /// Answers whether a commit was put on a branch by a promotion or a rollback.
    fn has_put(&self, commit: ObjectId, branch: &str) -> bool {
        let records = self.entries.iter().map(|(_, statement)| statement.record());
        let mut moves = records.filter(|record| record.moment != Moment::Settled && record.branch == branch);
        moves.any(|record| {
            let back = record.rollback.as_ref().and_then(|rollback| rollback.commit);
            record.candidate == Some(commit) || back == Some(commit)
        })
    }

    fn attested<'a>(&'a self, entry: &LedgerEntry, statement: &'a Statement) -> Attested<'a> {
        Attested { statement, signature: self.signatures.get(&entry.id).unwrap_or(&Signature::NONE) }
    }
}

/// Finds entries that contradict themselves, moments that are told twice and differently, and ends of what never began.
fn disorder(entries: &[(LedgerEntry, Statement)]) -> Vec<Problem> {
    let mut seen: HashMap<String, &Statement> = HashMap::new();
    let mut problems = Vec::new();
    let begun = entries.first().map(|(_, statement)| statement.predicate.time_verified);
    for (entry, statement) in entries {
        let (record, key) = (statement.record(), statement.key());
        let id = &record.id;
        problems.extend(statement.contradiction().map(|what| Problem::Contradiction(entry.id, what)));
        if seen.get(&key).is_some_and(|before| before.record() != record) {
            problems.push(Problem::Disorder(entry.id, format!("the same moment of promotion {id} is told twice")));
        }
        let has_landed = record.moment == Moment::Returning
            || matches!(record.state, State::Promoted | State::RolledBack | State::RollbackFailed);
        // What landed before there was a ledger may still be taken back.
        let is_recorded = begun.is_some_and(|begun| record.created_at >= begun);
        if has_landed && is_recorded && !seen.contains_key(&landing_key(id)) {
            problems.push(Problem::Disorder(entry.id, format!("promotion {id} ends here and never began to land")));
        }
        seen.entry(key).or_insert(statement);
    }
    problems
}

/// An environment's branch beside what the ledger says of it.
struct Branch<'a> {
    name: &'a str,
    spec: &'a Environment,
    remote: String,
    tips: Vec<ObjectId>,
    commits: Vec<LinedCommit>,
    /// Since when the ledger knows it.
    first: Option<&'a Statement>,
}

impl<'a> Branch<'a> {
    fn read(
        repo: &Repo,
        config: &Config,
        ledger: &'a Ledger,
        name: &'a str,
        spec: &'a Environment,
    ) -> git::Result<Self> {
        let remote = remote_of(repo, config);
        let tips = tips(repo, remote, &spec.branch)?;
        let first = ledger.of(name, spec).find(|(_, _, record)| record.moment != Moment::Settled);
        let first = first.map(|(_, statement, _)| statement);
        let commits = match first.map(Statement::record) {
            Some(record) => {
                let known = built_on(record).filter(|known| repo.has_commit(*known));
                repo.first_parents(&tips, known, usize::MAX)?
            }
            None => {
                let mut all = repo.first_parents(&tips, None, UNKNOWN_LIMIT)?;
                all.retain(|commit| commit.promotion.is_some());
                all
            }
        };
        Ok(Self { name, spec, remote: remote.to_owned(), tips, commits, first })
    }

    fn report(
        &self,
        repo: &Repo,
        ledger: &Ledger,
        policies: &mut Policies,
        wish: &Wish,
    ) -> git::Result<EnvironmentReport> {
        let speaking = Speaking::of(ledger, self.name, self.spec);
        let (mut releases, mut taken_over_by) = (Vec::new(), None);
        let mut along = HashSet::new();
        for commit in &self.commits {
            let id = &commit.summary.id;
            if along.contains(id) && !speaking.speaks_for(id) {
                continue;
            }
            let release = self.release(repo, commit, (ledger, &speaking), policies, wish)?;
            if let Some(record) = speaking.moved_forward(id).filter(|_| !release.is_different()) {
                let came = repo.commits_between(record.previous, record.source, usize::MAX)?;
                along.extend(came.into_iter().map(|commit| commit.id));
            }
            let release = taken_over(release, &mut taken_over_by, &speaking);
            let release = came_back(repo, release, &releases, &speaking)?;
            releases.push(release);
        }
        Ok(EnvironmentReport {
            name: self.name.to_owned(),
            branch: self.spec.branch.clone(),
            tip: self.tips.first().copied(),
            since: self.first.map(|statement| statement.predicate.time_verified),
            releases,
            held: ledger.held(self.name),
            problems: self.not_on_branch(repo, &speaking).into_iter().collect(),
        })
    }

    fn release(
        &self,
        repo: &Repo,
        commit: &LinedCommit,
        (ledger, speaking): (&Ledger, &Speaking<'_>),
        policies: &mut Policies,
        wish: &Wish,
    ) -> git::Result<Release> {
        let id = commit.summary.id;
        let (landing, returning) = (speaking.landing.get(&id).copied(), speaking.returning.get(&id).copied());
        let spoken = landing.or(returning);
        let record = spoken.map(|entry| entry.statement.record());
        let verdict = record.and_then(|record| speaking.verdicts.get(&record.id)).map(|(_, verdict)| verdict.state);
        let back = returning.and_then(|entry| entry.statement.record().rollback.as_ref()?.to);
        let before = match landing.map(|entry| entry.statement.record()).filter(|record| is_forward(record)) {
            Some(record) => record.previous.filter(|previous| repo.has_commit(*previous)),
            None => commit.parents.first().copied(),
        };
        let policy = policies.at(repo, &self.spec.branch, before, id)?;
        let approval = policy.as_ref().and_then(|policy| policy.environment.approval.as_ref());
        let wants_others = approval.is_some_and(|approval| !approval.own);
        let from = policy.as_ref().and_then(|policy| policy.from.as_deref());
        let was_upstream = match landing.zip(from) {
            Some((entry, from)) => self.was_upstream(repo, ledger, entry.statement.record().source, from)?,
            None => true,
        };
        let authors = match record.filter(|_| wants_others) {
            Some(record) => repo.people_between(record.previous, record.source)?,
            None => BTreeSet::new(),
        };
        let evidence = Evidence {
            commit,
            is_live: self.tips.contains(&id),
            landing,
            follows: before.map_or(Ok(true), |before| repo.is_ancestor(before, id))?,
            was_upstream,
            returning,
            returned_tree: back.filter(|back| repo.has_commit(*back)).map(|back| repo.tree_of(back)).transpose()?,
            verdict,
            rules: policy.as_ref().map(|policy| policy.rules(&authors)),
            requires_signature: wish.requires_signature,
        };
        Ok(Release {
            commit: id,
            subject: commit.summary.subject.clone(),
            author: commit.summary.author.clone(),
            at: commit.summary.at,
            kind: match (landing, returning) {
                (Some(_), _) => Kind::Promotion,
                (None, Some(_)) => Kind::Rollback,
                (None, None) => Kind::Foreign,
            },
            promotion: record.map(|record| record.id.clone()),
            state: verdict,
            signature: spoken.map_or(Signature::NONE, |entry| entry.signature.clone()),
            problems: judge(&evidence),
        })
    }

    /// Answers whether a commit was, or is, on the branch that feeds the environment; a branch that is gone cannot tell.
    fn was_upstream(&self, repo: &Repo, ledger: &Ledger, commit: ObjectId, from: &str) -> git::Result<bool> {
        let tips = tips(repo, &self.remote, from)?;
        if tips.is_empty() || !repo.has_commit(commit) || ledger.has_put(commit, from) {
            return Ok(true);
        }
        tips.into_iter().try_fold(false, |found, tip| Ok(found || repo.is_ancestor(commit, tip)?))
    }

    /// By the last verdict something must be on the branch.
    fn not_on_branch(&self, repo: &Repo, speaking: &Speaking<'_>) -> Option<Problem> {
        let commit = speaking.expected?;
        let promotion = speaking.expected_by.clone()?;
        let is_there = self.tips.iter().any(|tip| repo.is_ancestor(commit, *tip).unwrap_or(false));
        (!is_there).then_some(Problem::NotOnBranch { promotion, commit })
    }
}

/// Answers whether the branch was moved on to the source itself.
fn is_forward(record: &Record) -> bool {
    record.moment == Moment::Landing && record.candidate == Some(record.source)
}

/// Answers the commit that was there before what an entry speaks of.
fn built_on(record: &Record) -> Option<ObjectId> {
    let undone = record.rollback.as_ref().and_then(|rollback| rollback.from);
    match record.moment {
        Moment::Returning => undone.or(Some(record.source)),
        // Before a branch that began with the source itself there was nothing.
        _ => record.previous.or((!is_forward(record)).then_some(record.source)),
    }
}

/// Where a branch is: here and on the remote when it was last fetched; what is contained in the other is left out.
fn tips(repo: &Repo, remote: &str, branch: &str) -> git::Result<Vec<ObjectId>> {
    let here = repo.branch_tip(branch)?;
    let there = repo.tracking_tip(remote, branch)?;
    Ok(match (here, there) {
        (Some(here), Some(there)) if repo.is_ancestor(here, there)? => vec![there],
        (Some(here), Some(there)) if repo.is_ancestor(there, here)? => vec![here],
        (here, there) => here.into_iter().chain(there).collect(),
    })
}

/// The entries that speak for an environment's releases, by commit.
#[derive(Default)]
struct Speaking<'a> {
    landing: HashMap<ObjectId, Attested<'a>>,
    returning: HashMap<ObjectId, Attested<'a>>,
    verdicts: HashMap<PromotionId, (usize, &'a Record)>,
    merging: HashSet<PromotionId>,
    expected: Option<ObjectId>,
    expected_by: Option<PromotionId>,
}

impl<'a> Speaking<'a> {
    fn speaks_for(&self, commit: &ObjectId) -> bool {
        self.landing.contains_key(commit) || self.returning.contains_key(commit)
    }

    /// Answers the landing that moved the branch on to a source itself, whose history came along.
    fn moved_forward(&self, commit: &ObjectId) -> Option<&'a Record> {
        let record = self.landing.get(commit)?.statement.record();
        is_forward(record).then_some(record)
    }

    fn of(ledger: &'a Ledger, name: &str, spec: &Environment) -> Self {
        let mut speaking = Self::default();
        for (position, (entry, statement, record)) in ledger.of(name, spec).enumerate() {
            let back = record.rollback.as_ref().and_then(|rollback| rollback.commit);
            // A branch that is moved back gets no new commit: who put the old one there is told elsewhere.
            let made = back.filter(|back| record.rollback.as_ref().and_then(|rollback| rollback.to) != Some(*back));
            match (record.moment, record.candidate, made) {
                // The same source may land again after it was taken back.
                (Moment::Landing, Some(candidate), _) if is_forward(record) => {
                    speaking.landing.insert(candidate, ledger.attested(entry, statement));
                }
                (Moment::Landing, Some(candidate), _) => {
                    speaking.landing.entry(candidate).or_insert_with(|| ledger.attested(entry, statement));
                }
                (Moment::Returning, _, Some(made)) => {
                    speaking.returning.entry(made).or_insert_with(|| ledger.attested(entry, statement));
                }
                _ => {}
            }
            if record.merge {
                speaking.merging.insert(record.id.clone());
            }
            if record.moment == Moment::Settled {
                speaking.verdicts.insert(record.id.clone(), (position, record));
                let expected = match record.state {
                    State::Promoted => record.candidate,
                    State::RolledBack => back,
                    _ => None,
                };
                if expected.is_some() {
                    (speaking.expected, speaking.expected_by) = (expected, Some(record.id.clone()));
                }
            }
        }
        speaking
    }
}

/// What somebody else put on a branch is told, but no problem any more, once a promotion that was allowed to merge
/// has built upon it: its content passed that promotion's checks and gates.
fn taken_over(mut release: Release, by: &mut Option<(PromotionId, Option<State>)>, speaking: &Speaking<'_>) -> Release {
    match (release.kind, &by) {
        (Kind::Foreign, Some((promotion, state))) => {
            release.kind = Kind::TakenOver;
            (release.promotion, release.state) = (Some(promotion.clone()), *state);
            release.problems.clear();
        }
        (Kind::Foreign, None) => {}
        _ => {
            let merges = release.promotion.clone().filter(|id| speaking.merging.contains(id));
            *by = merges.map(|promotion| (promotion, release.state));
        }
    }
    release
}

/// What somebody else put on a branch and a later promotion brought once more came through the pipeline after all. Of
/// several such promotions, the first counts; `later` has the newest first.
fn came_back(repo: &Repo, mut release: Release, later: &[Release], speaking: &Speaking<'_>) -> git::Result<Release> {
    if release.kind != Kind::Foreign {
        return Ok(release);
    }
    for promoted in later.iter().rev().filter(|later| later.kind == Kind::Promotion && !later.is_different()) {
        let Some(record) = speaking.landing.get(&promoted.commit).map(|entry| entry.statement.record()) else {
            continue;
        };
        if repo.has_commit(record.source) && repo.is_ancestor(release.commit, record.source)? {
            release.kind = Kind::TakenOver;
            (release.promotion, release.state) = (promoted.promotion.clone(), promoted.state);
            release.problems.clear();
            break;
        }
    }
    Ok(release)
}

/// The rules of one environment as they were committed.
struct Written {
    digest: Digest,
    environment: Environment,
    /// The branch of the environment that feeds it.
    from: Option<String>,
    config: Arc<Config>,
}

impl Written {
    fn of(config: &Arc<Config>, branch: &str) -> Option<Self> {
        let (name, environment) = config.environment_on(branch)?;
        Some(Self {
            digest: config.policy_digest(name)?,
            environment: environment.clone(),
            from: config.upstream(name).and_then(|_| config.source_branch(name)).map(ToOwned::to_owned),
            config: Arc::clone(config),
        })
    }

    fn rules<'a>(&'a self, authors: &'a BTreeSet<String>) -> Rules<'a> {
        let Self { digest, environment, from, config } = self;
        let must_sign = config.ledger.sign == SignMode::Always;
        Rules { digest: *digest, environment, from: from.as_deref(), groups: &config.groups, authors, must_sign }
    }
}

/// The rules of environments as they were committed, each configuration read once.
#[derive(Default)]
struct Policies {
    read: HashMap<Digest, Option<Arc<Config>>>,
}

impl Policies {
    /// Answers the rules that held for a branch when a commit landed there: those on the tip before it, else its own.
    fn at(
        &mut self,
        repo: &Repo,
        branch: &str,
        before: Option<ObjectId>,
        landed: ObjectId,
    ) -> git::Result<Option<Written>> {
        for place in before.into_iter().chain([landed]) {
            let Some(bytes) = repo.content_at(place, config::FILE_NAME.as_bytes())? else { continue };
            let key = Digest::of(&bytes);
            let known = self.read.entry(key).or_insert_with(|| {
                let text = String::from_utf8(bytes).ok()?;
                config::parse_written(&text, &shown(config::FILE_NAME.as_bytes())).ok().map(Arc::new)
            });
            let found = known.as_ref().and_then(|config| Written::of(config, branch));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
