//! `cascade status [--watch]`: the facts; [`super::picture`] draws them.

use std::time::Duration;

use serde::Serialize;

use super::args::Status;
use super::standing::{self, Standing};
use super::syncs::{self, SyncStatus};
use super::ui::Cell;
use super::{Outcome, Shell, picture, words};
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::config::Durability;
use crate::context::Context;
use crate::promote::ledger::{Kept, kept};
use crate::promote::{Gate, Rehearsal};
use crate::store::{Excluded, Hold, Lock, LostEdit, SandboxRecord, SandboxState, State};

/// Pause between two looks with `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A watcher gives a sign of life within this many rounds of health checks.
const SILENT_ROUNDS: i64 = 3;
/// A watcher is never called silent before this.
const SILENT_MIN_MS: i64 = 60_000;

/// The pipeline at a glance.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Name of the project.
    pub project: String,
    /// Top of its checkout.
    pub root: String,
    /// What the watcher does.
    pub sandbox: Sandbox,
    /// The environments, in promotion order.
    pub environments: Vec<Environment>,
    /// The syncs, in the order of the configuration.
    pub syncs: Vec<SyncStatus>,
    /// The record of their promotions.
    pub ledger: Ledger,
    /// The most useful next command.
    pub next: Option<String>,
}

/// The record of promotions.
#[derive(Debug, Serialize)]
pub struct Ledger {
    /// Why it is not on the remote, where it should be.
    pub kept_here: Option<Kept>,
}

/// What the watcher does and what it has not done yet.
#[derive(Debug, Clone, Serialize)]
pub struct Sandbox {
    /// Watching, paused or stopped.
    pub state: SandboxState,
    /// Why.
    pub reason: Option<String>,
    /// The branch that saves go to.
    pub branch: String,
    /// Its tip.
    pub commit: Option<ObjectId>,
    /// Whether saves wait for the disk.
    pub durability: Durability,
    /// The remote that saves are pushed to; nothing where there is none of the configured name.
    pub remote: Option<String>,
    /// Saves that the remote does not have; unknown without a remote, and before its branch was seen.
    pub unpushed: Option<usize>,
    /// Paths that wait to be saved; unknown without a watcher.
    pub pending: Option<i64>,
    /// When the last save was made.
    pub saved_at: Option<Timestamp>,
    /// Why the last push failed.
    pub push_problem: Option<String>,
    /// When that is tried again at the latest, where it is by itself.
    pub push_again: Option<Timestamp>,
    /// The checkout of the same repository that is watched instead of this one; nothing is saved here then.
    pub elsewhere: Option<String>,
    /// Paths that are set aside.
    pub not_saved: Vec<NotSaved>,
    /// Tracked files that have changed and that `sandbox.exclude` keeps out of saves, as of the last look at all files.
    pub excluded: Excluded,
    /// Edits of others that lost against the sandbox's in the last seven days, the newest first.
    pub lost_edits: Vec<LostEdit>,
    /// Why changes are found only by looking periodically, where that is so.
    pub limited: Option<String>,
    /// Why the configuration of the checkout is not the one that the watcher goes by, where that is so.
    pub configuration: Option<String>,
    /// Paths whose files are saved, but of which the user has staged something else that is not committed.
    pub staged: Vec<String>,
    /// Whether a process holds the watcher's place without giving signs of life.
    #[serde(skip)]
    pub is_silent: bool,
}

/// A path that is set aside.
#[derive(Debug, Clone, Serialize)]
pub struct NotSaved {
    /// The path.
    pub path: String,
    /// Why it is not saved.
    pub reason: String,
}

/// An environment at a glance.
#[derive(Debug, Serialize)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Its branch.
    pub branch: String,
    /// Its branch's tip.
    pub commit: Option<ObjectId>,
    /// Commits of its source that it does not have.
    pub pending_commits: usize,
    /// `pass`, `fail` or `unknown`.
    pub health: &'static str,
    /// Until when what is live is to be verified again and again.
    pub watching_until: Option<Timestamp>,
    /// Why it is held.
    pub held: Option<Hold>,
    /// The promotion that is not at an end.
    pub promotion: Option<Open>,
    /// What the next promotion would meet; nothing where a branch is missing.
    pub rehearsal: Option<Rehearsal>,
    /// Everything else that is known.
    #[serde(skip)]
    pub standing: Standing,
}

/// A promotion that is not at an end.
#[derive(Debug, Serialize)]
pub struct Open {
    /// Its name.
    pub id: PromotionId,
    /// How far it is.
    pub state: State,
    /// The closed gates.
    pub waiting_for: Vec<Awaited>,
}

/// A closed gate.
#[derive(Debug, Serialize)]
pub struct Awaited {
    /// The gate.
    pub gate: Gate,
    /// Why it is closed.
    pub fact: String,
    /// Who or what opens it.
    pub clears: Option<String>,
}

/// Shows the pipeline once, or with `--watch` whenever it has changed, until Ctrl-C.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn run(shell: &Shell, args: &Status) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let everything = args.all || shell.ui.verbosity() > 0;
    if args.watch {
        return watch(shell, &ctx, everything).await;
    }
    let document = gather(&ctx).await?;
    if shell.ui.is_json() {
        return shell.ui.json(&document);
    }
    show(shell, &picture::draw(&document, everything, ctx.now()));
    Ok(())
}

fn show(shell: &Shell, picture: &[Vec<Cell>]) {
    picture.iter().for_each(|line| shell.ui.pieces(line));
}

/// A terminal is redrawn, ages included; elsewhere only changes are printed.
async fn watch(shell: &Shell, ctx: &Context, everything: bool) -> Outcome {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = String::new();
    while !shell.ui.is_closed() {
        interval.tick().await;
        let document = gather(ctx).await?;
        let picture = picture::draw(&document, everything, ctx.now());
        let facts = serde_json::to_string(&document).unwrap_or_default();
        if shell.ui.is_terminal() {
            shell.ui.clear();
            show(shell, &picture);
        } else if facts != before {
            if shell.ui.is_json() {
                shell.ui.json(&document)?;
            }
            show(shell, &picture);
        }
        before = facts;
    }
    Ok(())
}

/// Where commits cannot be read because saves were lost, that is what is told.
async fn gather(ctx: &Context) -> Outcome<Document> {
    let failure = match look(ctx).await {
        Err(failure) => failure,
        looked => return looked,
    };
    let branch = ctx.config.sandbox.branch.clone();
    let lost = ctx.git.run(move |repo| repo.lost_saves(&branch)).await.ok().flatten();
    Err(lost.map_or(failure, |lost| lost.into_error().into()))
}

async fn look(ctx: &Context) -> Outcome<Document> {
    let sandbox = sandbox(ctx).await?;
    let environments: Vec<Environment> = standing::all(ctx).await?.into_iter().map(Environment::from).collect();
    Ok(Document {
        project: ctx.config.project.clone(),
        root: ctx.git.root().to_string_lossy().into_owned(),
        next: next(&sandbox, &environments),
        ledger: Ledger { kept_here: kept(&ctx.home).filter(|_| ctx.config.ledger.push) },
        sandbox,
        environments,
        syncs: syncs::all(ctx).await?,
    })
}

impl From<Standing> for Environment {
    fn from(standing: Standing) -> Self {
        let awaited = standing.closed().map(|finding| Awaited {
            gate: finding.gate,
            fact: finding.fact.clone(),
            clears: finding.clears.clone(),
        });
        let waiting_for = awaited.collect();
        let open = standing.open.as_ref();
        Self {
            name: standing.name.clone(),
            branch: standing.branch.clone(),
            commit: standing.tip,
            pending_commits: standing.pending,
            health: standing.health.as_str(),
            watching_until: standing.watching_until,
            held: standing.hold.clone(),
            rehearsal: standing.rehearsal.clone(),
            promotion: open.map(|open| Open { id: open.id.clone(), state: open.state, waiting_for }),
            standing,
        }
    }
}

/// Answers what the watcher does: what it said of itself as long as it lives, else what git knows.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn sandbox(ctx: &Context) -> Outcome<Sandbox> {
    let holder = Lock::holder(&ctx.home.sandbox_lock()).map_err(crate::store::Error::from)?;
    let record = ctx.store.sandbox().await?;
    let (branch, remote) = (ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let position = ctx.git.run(move |repo| {
        let tip = repo.branch_tip(&branch)?;
        let known = repo.has_remote(&remote);
        let unpushed = match (tip, repo.tracking_tip(&remote, &branch)?.filter(|_| known)) {
            (Some(tip), Some(theirs)) => Some(repo.count_between(theirs, tip)?),
            _ => None,
        };
        Ok((tip, known.then_some(remote), unpushed))
    });
    let (commit, remote, unpushed) = position.await?;
    let mut sandbox = Sandbox {
        state: SandboxState::Stopped,
        reason: None,
        branch: ctx.config.sandbox.branch.clone(),
        commit,
        durability: ctx.config.sandbox.durability,
        remote,
        unpushed,
        pending: None,
        saved_at: None,
        push_problem: None,
        push_again: None,
        elsewhere: None,
        not_saved: Vec::new(),
        excluded: Excluded::default(),
        lost_edits: Vec::new(),
        limited: None,
        configuration: None,
        staged: Vec::new(),
        is_silent: false,
    };
    if let Some(record) = &record {
        sandbox.recall(record, ctx.now());
    }
    if holder.is_some() {
        sandbox.live(ctx, record.as_ref());
    }
    Ok(sandbox)
}

impl Sandbox {
    /// Takes over what stays true when the watcher ends.
    fn recall(&mut self, record: &SandboxRecord, now: Timestamp) {
        let aside = record.set_aside.iter().cloned();
        self.saved_at = record.saved_at;
        self.reason = record.reason.clone().filter(|_| record.state == SandboxState::Stopped);
        // Without a remote there is nothing that could be pushed.
        self.push_problem = record.push_problem.clone().filter(|_| self.remote.is_some());
        self.not_saved = aside.map(|(path, reason)| NotSaved { path, reason }).collect();
        self.excluded.clone_from(&record.notes.excluded);
        self.lost_edits = record.notes.lost.iter().filter(|edit| edit.is_shown(now)).cloned().collect();
    }

    /// Takes over what a living watcher says.
    fn live(&mut self, ctx: &Context, record: Option<&SandboxRecord>) {
        let Some(record) = record.filter(|record| record.state != SandboxState::Stopped) else {
            (self.state, self.reason) = (SandboxState::Watching, Some("starting".to_owned()));
            return;
        };
        (self.limited, self.staged) = (record.limited.clone(), record.staged.clone());
        let root = shown(ctx.git.root().as_os_str().as_encoded_bytes());
        self.elsewhere = record.notes.root.clone().filter(|watched| *watched != root);
        let is_to_come = |at: &Timestamp| *at > ctx.now();
        self.push_again = record.notes.push_again.filter(is_to_come).filter(|_| self.push_problem.is_some());
        self.configuration.clone_from(&record.notes.configuration);
        self.state = record.state;
        self.reason = record.reason.clone();
        self.pending = Some(record.pending);
        // Where nothing is pushed the watcher counts nothing.
        if self.remote.is_some() && ctx.config.sandbox.push {
            self.unpushed = usize::try_from(record.unpushed).ok().or(self.unpushed);
        }
        let limit_ms = ctx.config.health.every.as_ms().saturating_mul(SILENT_ROUNDS).max(SILENT_MIN_MS);
        if ctx.now().as_millisecond() - record.seen_at.as_millisecond() > limit_ms {
            self.is_silent = true;
            self.reason = Some(format!("not responding since {}", words::moment(record.seen_at)));
        }
    }
}

/// Answers the most useful next step: what waits for a person first, then what is in the way, the watcher, what is new.
fn next(sandbox: &Sandbox, environments: &[Environment]) -> Option<String> {
    let standings = || environments.iter().map(|environment| &environment.standing);
    let waiting = standings().find(|standing| standing.open.is_some());
    if let Some(waiting) = waiting {
        return waiting.next();
    }
    if sandbox.is_silent {
        return Some("cascade restart".to_owned());
    }
    // What is in the way of a promotion is not got out of it by watching.
    let drifted = standings().find_map(|standing| standing.way_out().map(str::to_owned));
    let held = || standings().find(|standing| standing.hold.is_some() && standing.has_news());
    if let Some(next) = drifted.or_else(|| held().and_then(Standing::next)) {
        return Some(next);
    }
    if sandbox.state == SandboxState::Stopped {
        return Some("cascade start".to_owned());
    }
    let promotes_itself = |standing: &Standing| standing.is_automatic && standing.failure().is_none();
    let news = |standing: &&Standing| standing.has_news() && standing.hold.is_none() && !promotes_itself(standing);
    let held = || standings().find(|standing| standing.hold.is_some());
    let promote = standings().find(news).and_then(Standing::next);
    promote.or_else(|| held().map(|standing| format!("cascade why {}", standing.name)))
}
