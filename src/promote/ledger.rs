//! Promotions in the ledger: an entry before a branch moves, pushed with it, and one with the verdict.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attestation::{Change, HoldStatement, Known, Moment, Statement, is_key_of, landing_key};
use super::audit::{self, Problem};
use super::error::{Error, Result};
use super::rebuild::{self, HoldNews};
use super::signing::Signing;
use super::{facts, policy};
use crate::base::id::ObjectId;
use crate::base::{ErrorKind, Kinded as _, Timestamp};
use crate::config::{CheckSpec, Config, SignMode};
use crate::context::Context;
use crate::git::ledger::BranchPush;
use crate::git::{self, Git, Lease, LedgerEntry, NewEntry, Published, Repo, Sign};
use crate::store::{HoldCause, ProjectHome, Promotion, State};

/// A remote that refused the ledger is asked again after this time.
const REFUSAL_LASTS: Duration = Duration::from_secs(60 * 60);

/// An entry that is about to be added, with what is to be done with the ledger.
#[derive(Debug, Clone)]
pub(super) struct Addition {
    statement: Statement,
    /// When the promotion was proposed: no entry of it is older.
    since: Timestamp,
    sign: SignMode,
    publishes: bool,
}

/// Why the ledger is not on the remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The reason: the remote's own words, escaped, or cascade's.
    pub reason: String,
    /// Whether the remote refuses the ledger as such, so that there is no use in offering it again soon.
    pub refused: bool,
    /// Since when.
    pub at: Timestamp,
}

impl Addition {
    /// Gathers what a promotion states at a moment of its life.
    ///
    /// # Errors
    /// Unknown environment, or the store cannot be read.
    pub async fn of(ctx: &Context, promotion: &Promotion, moment: Moment) -> Result<Self> {
        let spec = super::plan::environment_of(ctx, &promotion.environment)?;
        let policy = match policy::of_promotion(ctx, promotion).await {
            Ok(policy) => Some(policy),
            // What ended for that reason is stated all the same.
            Err(Error::Policy { .. }) if moment == Moment::Settled => None,
            Err(other) => return Err(other),
        };
        let checks = ctx.store.checks(&promotion.id).await?;
        let checks: Vec<_> = checks
            .into_iter()
            .map(|check| {
                let definition =
                    policy.as_ref().and_then(|policy| policy.checks.get(&check.name)).map(CheckSpec::digest);
                (check, definition)
            })
            .collect();
        let must_soak = policy.as_ref().is_some_and(|policy| policy.environment.soak.as_ms() > 0);
        let (live_upstream_since, utc_offset_seconds) = match (moment, &policy) {
            (Moment::Landing, Some(policy)) => {
                let since = facts::live_upstream_since(ctx, policy, promotion.source).await?;
                let offset = ctx.clock.zone().to_offset(promotion.updated_at).seconds();
                (since.filter(|_| must_soak), Some(offset))
            }
            _ => (None, None),
        };
        let came_by_the_rules = promotion.hotfix.is_none() && promotion.undoes.is_none();
        let feeding = policy.as_ref().filter(|_| came_by_the_rules).map(|policy| &policy.feeding);
        let known = Known {
            project: &ctx.config.project,
            branch: &spec.branch,
            policy: policy.as_ref().and_then(|policy| policy.digest),
            promotion,
            checks: &checks,
            deliveries: &ctx.store.deliveries(&promotion.id).await?,
            approvals: &ctx.store.approvals(&promotion.id).await?,
            waivers: &ctx.store.waivers(&promotion.id).await?,
            from: feeding.map(|feeding| feeding.branch(&ctx.config)),
            live_upstream_since,
            utc_offset_seconds,
        };
        Ok(Self {
            statement: Statement::new(moment, &known),
            since: promotion.created_at,
            sign: ctx.config.ledger.sign,
            publishes: ctx.config.ledger.push && !is_refused(ctx),
        })
    }

    /// Adds the entry, unless it is there already.
    ///
    /// # Errors
    /// It must be signed and cannot be; the repository cannot be written.
    pub fn append(&self, repo: &Repo) -> git::Result<()> {
        let mut statement = self.statement.clone();
        let record = statement.record();
        let landing = landing_key(&record.id);
        if record.moment != Moment::Landing
            && let Some(before) = repo.find_entry(&landing, self.since)?
            && let Some(bytes) = repo.statement_of(before.id)?
        {
            statement.rest_on(&landing, &bytes);
        }
        let new = NewEntry {
            key: statement.key(),
            subject: statement.headline(),
            statement: statement.to_text(),
            at: statement.predicate.time_verified,
        };
        append(repo, &new, self.since, self.sign(repo))
    }

    /// Adds the entry, and answers whether the ledger has it: what goes back is not held up by a ledger that is broken.
    ///
    /// # Errors
    /// The repository cannot be written.
    pub fn append_if_sound(&self, repo: &Repo) -> git::Result<bool> {
        match self.append(repo) {
            Err(problem) if problem.kind() == ErrorKind::Integrity => {
                tracing::warn!(%problem, "the ledger is broken and does not have this: `cascade doctor` tells how to put it right");
                Ok(false)
            }
            added => added.map(|()| true),
        }
    }

    /// Answers the newest entry, where every one after `known` is of this promotion.
    fn own_since(&self, repo: &Repo, known: Option<ObjectId>) -> git::Result<Option<ObjectId>> {
        let Some(tip) = repo.ledger_tip()? else { return Ok(None) };
        let (id, mut is_all) = (&self.statement.record().id, known.is_none());
        repo.walk_ledger(&[tip], &mut |entry| {
            let is_own = entry.key.is_some_and(|key| is_key_of(&key, id));
            if Some(entry.id) != known && is_own {
                return Ok(ControlFlow::Continue(()));
            }
            is_all = Some(entry.id) == known;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(is_all.then_some(tip))
    }

    /// Pushes a branch, and the ledger with it where that is wanted; answers what became of the ledger.
    ///
    /// # Errors
    /// As [`Repo::push`].
    pub fn push(&self, repo: &Repo, push: BranchPush<'_>, theirs: Option<ObjectId>) -> git::Result<Option<Published>> {
        if self.publishes {
            return repo.push_with_ledger(push, theirs, signed_again(repo, self.sign)).map(Some);
        }
        self.push_branch(repo, push)?;
        Ok(None)
    }

    /// Pushes a branch alone.
    ///
    /// # Errors
    /// As [`Repo::push`].
    pub fn push_branch(&self, repo: &Repo, push: BranchPush<'_>) -> git::Result<()> {
        repo.push(push.remote, push.commit, push.branch, Lease::Exactly(push.expected)).map(drop)
    }

    /// Only what has not happened yet can be given up for want of a signature.
    fn sign(&self, repo: &Repo) -> Sign {
        match self.statement.record().moment {
            Moment::Landing => permission(repo, self.sign),
            Moment::Returning | Moment::Settled => signed_again(repo, self.sign),
        }
    }
}

/// A person's word on an environment that is about to be added.
#[derive(Debug, Clone)]
pub(super) struct HoldEntry {
    statement: HoldStatement,
    sign: SignMode,
}

impl HoldEntry {
    pub fn new(ctx: &Context, statement: HoldStatement) -> Self {
        Self { statement, sign: ctx.config.ledger.sign }
    }

    /// Adds the entry.
    ///
    /// # Errors
    /// It must be signed and cannot be; the repository cannot be written.
    pub async fn append(self, ctx: &Context) -> Result<()> {
        Ok(ctx.git.run(move |repo| self.append_to(repo)).await?)
    }

    /// A stop is never held up for want of a signature.
    fn append_to(&self, repo: &Repo) -> git::Result<()> {
        let said = &self.statement.predicate;
        let sign = match said.change {
            Change::Held => signed_again(repo, self.sign),
            Change::Resumed => permission(repo, self.sign),
        };
        let new = NewEntry {
            key: self.statement.key(),
            subject: self.statement.headline(),
            statement: self.statement.to_text(),
            at: said.at,
        };
        append(repo, &new, said.at, sign)
    }
}

fn append(repo: &Repo, new: &NewEntry, since: Timestamp, sign: Sign) -> git::Result<()> {
    let added = repo.append_entry(new, since, sign)?;
    if let Some(reason) = added.unsigned_because {
        tracing::warn!(entry = new.key, reason, "an entry of the ledger is not signed");
    }
    Ok(())
}

/// How an entry is signed that lets something happen.
fn permission(repo: &Repo, mode: SignMode) -> Sign {
    if mode == SignMode::Always { Sign::Required } else { signed_again(repo, mode) }
}

/// Pushes what was added without a promotion; answers why the remote does not have it, where it should. The next promotion
/// takes it along.
pub(super) async fn tell(ctx: &Context) -> Option<String> {
    let (remote, place, sign) = (ctx.config.remote.clone(), ctx.config.remote.clone(), ctx.config.ledger.sign);
    if !ctx.config.ledger.push {
        return None;
    }
    let pushed = ctx.git.run(move |repo| {
        repo.has_remote(&place).then(|| repo.push_ledger(&place, signed_again(repo, sign))).transpose()
    });
    match pushed.await {
        Ok(published) => {
            note(ctx, &remote, published.as_ref());
            match published {
                Some(Published::Refused(reason) | Published::KeptHere(reason)) => Some(reason),
                Some(Published::Along) | None => None,
            }
        }
        Err(problem) => Some(problem.to_string()),
    }
}

/// Brings in what a remote's ledger has. A rewritten one is not taken over: then only what is here counts.
pub(super) fn catch_up(repo: &Repo, remote: &str, theirs: Option<ObjectId>, mode: SignMode) -> git::Result<()> {
    repo.bring_in(remote, theirs, signed_again(repo, mode)).map(drop)
}

/// Refuses to go on from a ledger whose head is not sound: whatever came next would rest on it. A remote that has what is
/// missing here gives it back first.
///
/// # Errors
/// [`Error::BrokenLedger`]; the references or the database cannot be read.
pub(super) async fn require_sound(ctx: &Context) -> Result<()> {
    let known = ctx.store.ledger_tip().await?;
    let (remote, branch, mode) = (ctx.config.remote.clone(), ctx.config.sandbox.branch.clone(), ctx.config.ledger.sign);
    let problem = ctx.git.run(move |repo| match audit::head_problem(repo, known)? {
        Some(Problem::Lacking(_)) if repo.has_remote(&remote) => {
            let brought =
                repo.remote_tips(&remote, &branch).and_then(|(_, theirs)| catch_up(repo, &remote, theirs, mode));
            if let Err(problem) = brought {
                tracing::debug!(%problem, "what is missing was not asked for");
            }
            audit::head_problem(repo, known)
        }
        found => Ok(found),
    });
    problem.await?.map_or(Ok(()), |problem| Err(Error::BrokenLedger { what: problem.words() }))
}

/// Lets the database know what the ledger here has and it lacks: what other machines promoted and took back. Only what
/// was added since the last time is read.
///
/// # Errors
/// The ledger or the database cannot be read, or the database cannot be written.
pub(super) async fn take_over(ctx: &Context) -> Result<()> {
    let known = ctx.store.ledger_tip().await?;
    let added = ctx.git.run(move |repo| {
        let Some(tip) = repo.ledger_tip()?.filter(|tip| Some(*tip) != known) else { return Ok(None) };
        Ok(Some((tip, rebuild::records_since(repo, tip, known)?)))
    });
    let Some((tip, records)) = added.await? else { return Ok(()) };
    let missing = rebuild::lacking(&ctx.store, &records, &ctx.config.remote).await?;
    rebuild::restore(&ctx.store, &missing, ctx.now()).await?;
    for HoldNews { environment, hold } in &missing.holds {
        match hold {
            Some(hold) if hold.cause == HoldCause::Person => {
                tracing::warn!(environment, person = hold.person, reason = hold.reason, "held on another machine");
            }
            Some(hold) => tracing::warn!(environment, reason = hold.reason, "another machine rolled back"),
            None => tracing::info!(environment, "resumed on another machine"),
        }
    }
    Ok(ctx.store.note_ledger_tip(tip).await?)
}

/// Adds the verdict on a promotion that has ended; done before the end is recorded, so that none is without.
///
/// Answers the newest entry where the end may be recorded as all that there is to know of the ledger: nobody else added to
/// it. One that goes to a remote may yet be put on top of what others have there.
///
/// # Errors
/// The store cannot be read, or the repository cannot be written.
pub(super) async fn settle(ctx: &Context, promotion: &Promotion) -> Result<Option<ObjectId>> {
    let addition = Addition::of(ctx, promotion, Moment::Settled).await?;
    let is_back = matches!(promotion.state, State::RolledBack | State::RollbackFailed);
    let (known, is_alone) = (ctx.store.ledger_tip().await?, promotion.remote.is_none());
    let append = move |repo: &Repo| {
        let is_added = match is_back {
            true => addition.append_if_sound(repo)?,
            false => addition.append(repo).map(|()| true)?,
        };
        // What cannot be read is told by whoever next has to know it.
        Ok(if is_added && is_alone { addition.own_since(repo, known).unwrap_or_default() } else { None })
    };
    Ok(ctx.git.run(append).await?)
}

/// Pushes the verdict on a promotion that had left this machine. Without success the next promotion takes it along.
pub(super) async fn publish(ctx: &Context, promotion: &Promotion) {
    let has_landed = matches!(promotion.state, State::Promoted | State::RolledBack | State::RollbackFailed);
    let Some(remote) = promotion.remote.clone().filter(|_| promotion.pushed && has_landed) else { return };
    if !ctx.config.ledger.push || is_refused(ctx) {
        return;
    }
    let (place, sign) = (remote.clone(), ctx.config.ledger.sign);
    let pushed = ctx.git.run(move |repo| repo.push_ledger(&place, signed_again(repo, sign))).await;
    match pushed {
        Ok(published) => note(ctx, &remote, Some(&published)),
        Err(problem) => tracing::warn!(remote, %problem, "the ledger is not pushed yet"),
    }
}

/// What is put on top of other machines' entries is in the chain already: it is signed again as far as possible.
pub(super) fn signed_again(repo: &Repo, mode: SignMode) -> Sign {
    match mode {
        SignMode::Never => Sign::Never,
        SignMode::Auto if !repo.signs() => Sign::Never,
        SignMode::Auto | SignMode::Always => Sign::IfPossible,
    }
}

/// Offers the ledger to a remote again, however lately that refused it.
///
/// # Errors
/// The remote cannot be reached or denies access.
pub async fn offer_again(git: &Git, config: &Config, home: &ProjectHome, now: Timestamp) -> git::Result<Published> {
    let (remote, mode) = (config.remote.clone(), config.ledger.sign);
    let published = git.run(move |repo| repo.push_ledger(&remote, signed_again(repo, mode))).await?;
    note_at(home, now, &config.remote, &published);
    Ok(published)
}

/// Remembers why the ledger stays here, and says so once.
pub(super) fn note(ctx: &Context, remote: &str, published: Option<&Published>) {
    if let Some(published) = published {
        note_at(&ctx.home, ctx.now(), remote, published);
    }
}

fn note_at(home: &ProjectHome, now: Timestamp, remote: &str, published: &Published) {
    let path = home.ledger_note();
    let (reason, refused) = match published {
        Published::Along => {
            if path.exists() {
                forget(&path);
            }
            return;
        }
        Published::Refused(reason) => (format!("{remote} refuses {}: {reason}", git::LEDGER), true),
        Published::KeptHere(reason) => (reason.clone(), false),
    };
    if kept(home).is_none_or(|before| before.reason != reason) {
        tracing::warn!(reason, "the ledger stays on this machine; branches are pushed as before");
    }
    let kept = Kept { reason, refused, at: now };
    // Text always has a JSON form.
    let text = serde_json::to_string(&kept).unwrap_or_default();
    if let Err(problem) = std::fs::write(&path, text) {
        tracing::warn!(path = %path.display(), %problem, "cannot note that the ledger stays here");
    }
}

fn forget(path: &Path) {
    if let Err(problem) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %problem, "cannot remove the note that the ledger stays here");
    }
}

/// Answers why the ledger is not on the remote, where the last push of it had no success.
#[must_use]
pub fn kept(home: &ProjectHome) -> Option<Kept> {
    let text = std::fs::read_to_string(home.ledger_note()).ok()?;
    serde_json::from_str(&text).ok()
}

fn is_refused(ctx: &Context) -> bool {
    kept(&ctx.home).is_some_and(|kept| {
        let age_ms = ctx.now().as_millisecond() - kept.at.as_millisecond();
        kept.refused && u128::try_from(age_ms).is_ok_and(|age_ms| age_ms < REFUSAL_LASTS.as_millis())
    })
}

/// Whether a commit that says it is of a promotion really is: where there is a ledger, it knows all of them.
#[derive(Debug)]
pub(super) struct Vouchers {
    branch: String,
    remote: String,
    sign: SignMode,
    /// Whether the remote may be asked.
    asks: bool,
    entries: Option<Vouched>,
}

#[derive(Debug)]
enum Vouched {
    /// There is no ledger of the branch that everybody writes to: what commits say must be believed.
    Everything,
    /// What the ledger knows, on whichever branch.
    Listed(Listed),
}

/// What was read of a ledger so far, the newest first: what is asked about has mostly happened lately.
#[derive(Debug, Default)]
struct Listed {
    commits: HashSet<ObjectId>,
    /// The tips on which the oldest entries of each branch built.
    before: HashMap<String, Option<ObjectId>>,
    /// The newest entry that is not read yet.
    next: Option<ObjectId>,
    signing: Signing,
}

impl Listed {
    /// Reads on until the commit is found or nothing is left; answers whether it was found.
    fn find(&mut self, repo: &Repo, commit: ObjectId) -> git::Result<bool> {
        let Some(next) = self.next.filter(|_| !self.commits.contains(&commit)) else {
            return Ok(self.commits.contains(&commit));
        };
        self.next = None;
        repo.walk_ledger(&[next], &mut |entry| {
            self.note(repo, &entry)?;
            if self.commits.contains(&commit) {
                self.next = entry.parents.first().copied();
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(self.commits.contains(&commit))
    }

    fn note(&mut self, repo: &Repo, entry: &LedgerEntry) -> git::Result<()> {
        let Ok(statement) = Statement::parse(&repo.statement_of(entry.id)?.unwrap_or_default()) else { return Ok(()) };
        let record = statement.record();
        // What came from upstream was promoted there: it is on this branch as well.
        if record.moment != Moment::Settled && self.signing.counts(repo, entry, record)? {
            let back = record.rollback.as_ref().and_then(|rollback| rollback.commit);
            self.commits.extend(if record.moment == Moment::Landing { record.candidate } else { back });
            self.commits.insert(record.source);
            self.before.insert(record.branch.clone(), record.previous);
        }
        Ok(())
    }
}

impl Vouchers {
    /// Prepares to ask about commits on an environment's branch; nothing is read yet. Without `asks`, what is known here
    /// has to do.
    pub fn new(ctx: &Context, branch: &str, asks: bool) -> Self {
        let remote = ctx.config.remote.clone();
        Self { branch: branch.to_owned(), remote, sign: ctx.config.ledger.sign, asks, entries: None }
    }

    /// Lets the remote be asked.
    pub fn asking(self) -> Self {
        Self { asks: true, ..self }
    }

    /// Answers whether a commit came through the pipeline, as far as the ledger can tell.
    ///
    /// # Errors
    /// The ledger cannot be read, or the remote cannot be asked.
    pub fn vouch_for(&mut self, repo: &Repo, commit: ObjectId) -> git::Result<bool> {
        if self.entries.is_none() {
            self.entries = Some(self.load(repo)?);
        }
        let Some(Vouched::Listed(listed)) = &mut self.entries else { return Ok(true) };
        if listed.find(repo, commit)? || !listed.before.contains_key(&self.branch) {
            return Ok(true);
        }
        // A branch that was moved back may not have that tip any more.
        let mut before = listed.before.values().flatten();
        Ok(before.any(|before| repo.is_ancestor(commit, *before).unwrap_or(false)))
    }

    fn load(&self, repo: &Repo) -> git::Result<Vouched> {
        let remote = &self.remote;
        if repo.has_remote(remote) {
            let theirs = match self.asks {
                true => repo.remote_tips(remote, &self.branch)?.1,
                false => repo.remote_ledger(remote)?,
            };
            if theirs.is_none() {
                return Ok(Vouched::Everything);
            }
            if self.asks {
                // A rewritten one is not taken over: then only what is here counts.
                repo.bring_in(remote, theirs, signed_again(repo, self.sign))?;
            }
        }
        let next = repo.ledger_tip()?;
        Ok(if next.is_some() { Vouched::Listed(Listed { next, ..Listed::default() }) } else { Vouched::Everything })
    }
}
