//! Where an environment stands: what several commands show, gathered from references and the store alone.

use std::collections::HashMap;
use std::path::Path;

use super::Outcome;
use super::words;
use crate::base::Timestamp;
use crate::base::id::ObjectId;
use crate::check::Outcome as Answer;
use crate::config::{Environment, PromoteMode};
use crate::context::Context;
use crate::git::Repo;
use crate::promote::{self, Finding, Gate, Rehearsal};
use crate::store::{CheckPhase, CheckRecord, Hold, HoldCause, Lock, Promotion, State};

/// Where an environment stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its branch.
    pub branch: String,
    /// What feeds it: the sandbox's branch or another environment.
    pub from: String,
    /// Whether the watcher promotes into it.
    pub is_automatic: bool,
    /// The commands by which what is saved gets there.
    pub way: String,
    /// Where its branch is.
    pub tip: Option<ObjectId>,
    /// Whether its tip is the work of a promotion, be it another machine's.
    pub is_promoted: bool,
    /// Where the branch that feeds it is.
    pub source: Option<ObjectId>,
    /// Commits of the source that are not in it.
    pub pending: usize,
    /// Whether its content is another than the source's.
    pub differs: bool,
    /// Why it is held.
    pub hold: Option<Hold>,
    /// Its latest promotion.
    pub last: Option<Promotion>,
    /// The promotion that is not at an end.
    pub open: Option<Promotion>,
    /// The promotion that is live and rests unverified; a newer one can be open beside it.
    pub paused: Option<Promotion>,
    /// What a promotion waits for that rests: its gates, or what does not pass.
    pub gates: Vec<Finding>,
    /// The promotion that is live by the record.
    pub live: Option<Promotion>,
    /// Until when what is live is to be verified again and again.
    pub watching_until: Option<Timestamp>,
    /// Whether somebody does so.
    pub is_watched: bool,
    /// What was last said about what is live.
    pub health: Answer,
    /// What its next promotion would meet.
    pub rehearsal: Option<Rehearsal>,
    /// Whether a check failed on what is newest: asking it again as it is brings nobody on.
    pub fails_check: bool,
    /// Whether the latest promotion went back because the branch had something else than what landed.
    pub met_other_content: bool,
    /// Whether the open promotion was left in the middle of a step by a process that died.
    pub is_interrupted: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    tip: Option<ObjectId>,
    is_promoted: bool,
    source: Option<ObjectId>,
    pending: usize,
    differs: bool,
}

/// Gathers the standing of every environment, in promotion order.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn all(ctx: &Context) -> Outcome<Vec<Standing>> {
    let mut standings = Vec::new();
    for name in ctx.config.environments.keys() {
        standings.push(of(ctx, name).await?);
    }
    Ok(standings)
}

/// Gathers the standing of one environment.
///
/// # Errors
/// Unknown environment; the store or the repository cannot be read.
pub async fn of(ctx: &Context, name: &str) -> Outcome<Standing> {
    let spec = known(ctx, name)?;
    let rules = promote::policy::shown_feeding(ctx, name).await?;
    let (branch, feeding) = (spec.branch.clone(), rules.branch(&ctx.config).to_owned());
    let (sandbox, remote) = (ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let read = move |repo: &Repo| Position::read(repo, &branch, (&feeding, &sandbox), &remote);
    let position = ctx.git.run(read).await?;
    let last = ctx.store.attempts(Some(name), 1).await?.pop();
    let open = ctx.store.unfinished().await?.into_iter().rfind(|promotion| promotion.environment == name);
    let paused = promote::paused(ctx, name).await?;
    let live = ctx.store.live(name).await?;
    let gates = match open.as_ref().filter(|open| open.step.is_none()) {
        Some(resting) => promote::findings(ctx, resting).await?,
        None => Vec::new(),
    };
    let mut standing = Standing {
        name: name.to_owned(),
        branch: spec.branch.clone(),
        from: rules.upstream(&ctx.config).unwrap_or(&ctx.config.sandbox.branch).to_owned(),
        is_automatic: spec.promote == PromoteMode::Auto,
        way: way_to(ctx, name),
        tip: position.tip,
        is_promoted: position.is_promoted,
        source: position.source,
        pending: position.pending,
        differs: position.differs,
        hold: ctx.store.held(name).await?,
        health: health(ctx, spec, paused.as_ref().or(live.as_ref()), last.as_ref()).await?,
        rehearsal: promote::rehearsal(ctx, name).await?,
        is_interrupted: is_interrupted(ctx, open.as_ref())?,
        watching_until: live.as_ref().and_then(|live| live.watching_until).filter(|until| *until > ctx.now()),
        is_watched: holds(&ctx.home.watch_lock(name))? || holds(&ctx.home.sandbox_lock())?,
        fails_check: false,
        met_other_content: match &last {
            Some(last) => promote::rollback::met_other_content(ctx, last).await?,
            None => false,
        },
        last,
        open,
        gates,
        paused,
        live,
    };
    standing.fails_check = match standing.failure().filter(|last| last.state == State::Failed) {
        Some(failed) => ctx.store.checks(&failed.id).await?.iter().any(is_failed_check),
        None => standing.open.is_none() && standing.has_news() && failed_before(ctx, &standing).await?,
    };
    Ok(standing)
}

/// Answers whether one of the environment's checks failed on the source's content before.
async fn failed_before(ctx: &Context, standing: &Standing) -> Outcome<bool> {
    let Some(source) = standing.source else { return Ok(false) };
    let policy = match promote::policy::of_environment(ctx, &standing.name, standing.tip, Some(source)).await {
        // Whoever promotes is told what is wrong with the rules.
        Err(promote::Error::Policy { .. }) => return Ok(false),
        found => found?,
    };
    let tree = ctx.git.run(move |repo| repo.tree_of(source)).await?;
    let known = promote::check_forecast(ctx, &policy, tree).await?;
    Ok(known.iter().any(|(_, known)| matches!(known, promote::Known::Failed(_))))
}

/// Answers the commands that bring what is saved into an environment: those before it first, where nobody else does.
#[must_use]
pub fn way_to(ctx: &Context, name: &str) -> String {
    let is_manual = |name: &str| ctx.config.environment(name).is_some_and(|spec| spec.promote == PromoteMode::Manual);
    let mut way = vec![format!("cascade promote {name}")];
    let mut next = ctx.config.upstream(name);
    while let Some(above) = next.filter(|_| way.len() <= ctx.config.environments.len()) {
        way.extend(is_manual(above).then(|| format!("cascade promote {above}")));
        next = ctx.config.upstream(above);
    }
    way.reverse();
    way.join(" && ")
}

fn is_failed_check(check: &CheckRecord) -> bool {
    check.phase == CheckPhase::Check && check.outcome == Answer::Fail.as_str()
}

/// Finds an environment of the configuration.
///
/// # Errors
/// There is none of that name.
pub fn known<'a>(ctx: &'a Context, name: &str) -> Outcome<&'a Environment> {
    let unknown = || promote::Error::UnknownEnvironment {
        name: crate::base::escape::shown(name.as_bytes()),
        nearest: ctx.config.nearest_environment(name).map(ToOwned::to_owned),
        known: ctx.config.environments.keys().cloned().collect(),
    };
    Ok(ctx.config.environment(name).ok_or_else(unknown)?)
}

impl Position {
    fn read(repo: &Repo, branch: &str, feeding: (&str, &str), remote: &str) -> crate::git::Result<Self> {
        let (tip, source) = (repo.furthest_tip(remote, branch)?, promote::known_source(repo, feeding, remote)?);
        let is_promoted = tip.map(|tip| repo.promotion_of(tip)).transpose()?.flatten().is_some();
        let Some(source) = source else { return Ok(Self { tip, is_promoted, ..Self::default() }) };
        let pending = repo.count_news(tip, source)?;
        let differs = tip.map(|tip| repo.tree_of(tip)).transpose()? != Some(repo.tree_of(source)?);
        Ok(Self { tip, is_promoted, source: Some(source), pending, differs })
    }
}

/// The newest answer to each of an environment's verifying checks counts: of what verified and watched what is live, of
/// the rollback that brought it back, or of a continuous health check.
async fn health(
    ctx: &Context,
    spec: &Environment,
    live: Option<&Promotion>,
    last: Option<&Promotion>,
) -> Outcome<Answer> {
    if live.is_none() {
        return Ok(Answer::Unknown);
    }
    let mut newest: HashMap<String, (Timestamp, String)> = HashMap::new();
    let mut count = |name: String, at: Timestamp, outcome: String| {
        let known = newest.get(&name).is_some_and(|(known, _)| *known >= at);
        if spec.verify.contains(&name) && !known {
            newest.insert(name, (at, outcome));
        }
    };
    let rolled_back = last.filter(|last| last.state == State::RolledBack);
    for promotion in live.into_iter().chain(rolled_back) {
        let is_back = promotion.state == State::RolledBack;
        let tells = |phase| match phase {
            CheckPhase::Verify | CheckPhase::Watch => !is_back,
            CheckPhase::Rollback => is_back,
            CheckPhase::Check | CheckPhase::Before => false,
        };
        let checks = ctx.store.checks(&promotion.id).await?.into_iter().filter(|check| tells(check.phase));
        checks.for_each(|check| count(check.name, check.at, check.outcome));
    }
    for health in ctx.store.health().await? {
        count(health.name, health.at, health.outcome);
    }
    Ok(words::worst(newest.into_values().map(|(_, outcome)| outcome.parse().unwrap_or(Answer::Unknown))))
}

fn is_interrupted(ctx: &Context, open: Option<&Promotion>) -> Outcome<bool> {
    if open.is_none_or(|promotion| promotion.step.is_none()) {
        return Ok(false);
    }
    Ok(!holds(&ctx.home.promotion_lock())?)
}

/// Answers whether a living process holds a lock.
fn holds(lock: &Path) -> Outcome<bool> {
    Ok(Lock::holder(lock).map_err(crate::store::Error::from)?.is_some())
}

impl Standing {
    /// Says until when what is live is watched, and when nobody does.
    #[must_use]
    pub fn watch(&self) -> Option<String> {
        let until = words::moment(self.watching_until?);
        let nobody = if self.is_watched { "" } else { ", but nobody verifies it: `cascade start`" };
        Some(format!("watched until {until}{nobody}"))
    }

    /// Answers whether a promotion would bring something.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.pending > 0 || self.differs
    }

    /// Answers the gates of the open promotion that are closed.
    pub fn closed(&self) -> impl Iterator<Item = &Finding> {
        self.gates.iter().filter(|finding| !finding.open)
    }

    /// Answers the latest promotion where it ended badly and nothing newer is offered.
    #[must_use]
    pub fn failure(&self) -> Option<&Promotion> {
        let last = self.last.as_ref()?;
        let good = matches!(last.state, State::Promoted | State::Cancelled | State::Superseded);
        let is_newest = last.hotfix.is_some() || Some(last.source) == self.source;
        (last.state.is_final() && !good && is_newest).then_some(last)
    }

    /// Answers in a few words why no promotion is live by the record.
    #[must_use]
    pub fn why_nothing_is_live(&self) -> &'static str {
        match &self.last {
            Some(last) if last.state == State::RolledBack => "rolled back",
            _ if self.paused.is_some() => "not verified",
            _ if self.is_promoted => "promoted elsewhere",
            _ => "never promoted",
        }
    }

    /// Answers the one step that brings the environment on; nothing where there is nothing to do.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        let name = &self.name;
        if let Some(open) = &self.open {
            return Some(self.next_of_open(open));
        }
        if self.is_held_by_rollback() && self.has_news() {
            // What was rolled back is not let in again; anything else lifts the hold.
            return Some(match self.is_held_by_last() {
                true => self.fix(),
                false => format!("cascade promote {name}"),
            });
        }
        if self.held_by_person() {
            return Some(format!("cascade resume {name}"));
        }
        if let Some(next) = self.way_out() {
            return Some(next.to_owned());
        }
        if self.fails_check {
            return Some(self.fix());
        }
        (self.has_news() && self.source.is_some()).then(|| format!("cascade promote {name}"))
    }

    fn fix(&self) -> String {
        if self.met_other_content {
            return format!("cascade resume {}", self.name);
        }
        format!("save a fix, then {}", self.way)
    }

    /// Answers the command that brings over what the environment has and its source lacks; nothing where that is nothing.
    #[must_use]
    pub fn way_out(&self) -> Option<&str> {
        self.rehearsal.as_ref()?.next.as_deref()
    }

    /// Answers whether the latest promotion found drift that is still there: then the rehearsal tells it, up to date.
    #[must_use]
    pub fn is_told_by_rehearsal(&self) -> bool {
        let has_drifted = self.last.as_ref().is_some_and(|last| last.state == State::Drifted && last.hotfix.is_none());
        has_drifted && self.rehearsal.as_ref().is_some_and(|rehearsal| rehearsal.fact.is_some())
    }

    fn next_of_open(&self, open: &Promotion) -> String {
        let closes = |gate| self.closed().any(|finding| finding.gate == gate);
        let is_offered = open.state == State::Planned && open.step.is_none();
        if is_offered && self.closed().any(Finding::failed_before) {
            self.fix()
        } else if self.is_interrupted || is_offered {
            format!("cascade promote {}", self.name)
        } else if open.is_paused() {
            format!("cascade resume {}", self.name)
        } else if open.state != State::Waiting {
            "cascade status --watch".to_owned()
        } else if closes(Gate::Quarantine) {
            self.fix()
        } else if closes(Gate::Hold) {
            format!("cascade resume {}", self.name)
        } else if self.closed().any(Finding::failed_before) {
            self.fix()
        } else if self.closed().any(Finding::awaits_consent) {
            format!("cascade approve {}", open.id)
        } else if closes(Gate::Verification) {
            format!("cascade resume {}", self.from)
        } else if closes(Gate::Approval) {
            // The time for approvals is over: what waits ends, and a new one can be asked for.
            format!("cascade promote {}", self.name)
        } else if closes(Gate::Soak) || closes(Gate::Freeze) {
            // Without waiting it would come to the same gate.
            format!("cascade promote {} --wait", self.name)
        } else {
            format!("cascade promote {}", self.name)
        }
    }

    /// Answers whether the latest promotion's rollback holds the environment: then its reason is the hold's.
    #[must_use]
    pub fn is_held_by_last(&self) -> bool {
        let failed = self.failure().map(|last| &last.id);
        failed.is_some() && failed == self.hold.as_ref().and_then(|hold| hold.promotion.as_ref())
    }

    fn is_held_by_rollback(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.cause == HoldCause::Rollback)
    }

    fn held_by_person(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.cause == HoldCause::Person)
    }

    /// Answers in a few words how far the environment is behind what feeds it.
    #[must_use]
    pub fn distance(&self) -> String {
        match (self.source, self.pending, self.differs) {
            (None, ..) => format!("{} has no branch yet", self.from),
            (_, 0, false) => "up to date".to_owned(),
            (_, 0, true) => format!("content differs from {}", self.from),
            (_, pending, _) => format!("{pending} to promote"),
        }
    }
}
