//! Where an environment stands: what several commands show, gathered from references and the store alone.

use super::Outcome;
use super::words;
use crate::base::id::ObjectId;
use crate::check::Outcome as Answer;
use crate::config::{Environment, PromoteMode};
use crate::context::Context;
use crate::git::Repo;
use crate::promote::{self, Finding, Gate, Rehearsal};
use crate::store::{CheckPhase, Hold, HoldCause, Lock, Promotion, State};

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
    /// Where its branch is.
    pub tip: Option<ObjectId>,
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
    /// The closed gates of a promotion that waits.
    pub closed: Vec<Finding>,
    /// The promotion that is live by the record.
    pub live: Option<Promotion>,
    /// What was last said about what is live.
    pub health: Answer,
    /// What its next promotion would meet.
    pub rehearsal: Option<Rehearsal>,
    /// Whether the open promotion was left in the middle of a step by a process that died.
    pub is_interrupted: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    tip: Option<ObjectId>,
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
    let (branch, feeding) = (spec.branch.clone(), ctx.config.source_branch(name).unwrap_or(&spec.from).to_owned());
    let position = ctx.git.run(move |repo| Position::read(repo, &branch, &feeding)).await?;
    let last = ctx.store.promotions(Some(name), 1).await?.pop();
    let open = ctx.store.unfinished().await?.into_iter().rfind(|promotion| promotion.environment == name);
    let live = ctx.store.live(name).await?;
    let mut closed = match open.as_ref().filter(|promotion| promotion.state == State::Waiting) {
        Some(waiting) => promote::findings(ctx, waiting).await?,
        None => Vec::new(),
    };
    closed.retain(|finding| !finding.open);
    Ok(Standing {
        name: name.to_owned(),
        branch: spec.branch.clone(),
        from: spec.from.clone(),
        is_automatic: spec.promote == PromoteMode::Auto,
        tip: position.tip,
        source: position.source,
        pending: position.pending,
        differs: position.differs,
        hold: ctx.store.held(name).await?,
        health: health(ctx, spec, live.as_ref()).await?,
        rehearsal: promote::rehearsal(ctx, name).await?,
        is_interrupted: is_interrupted(ctx, open.as_ref())?,
        last,
        open,
        closed,
        live,
    })
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
    fn read(repo: &Repo, branch: &str, feeding: &str) -> crate::git::Result<Self> {
        let (tip, source) = (repo.branch_tip(branch)?, repo.branch_tip(feeding)?);
        let Some(source) = source else { return Ok(Self { tip, ..Self::default() }) };
        let pending = repo.count_news(tip, source)?;
        let differs = tip.map(|tip| repo.tree_of(tip)).transpose()? != Some(repo.tree_of(source)?);
        Ok(Self { tip, source: Some(source), pending, differs })
    }
}

/// A continuous health check that was asked after the verification speaks for it.
async fn health(ctx: &Context, spec: &Environment, live: Option<&Promotion>) -> Outcome<Answer> {
    let Some(live) = live else { return Ok(Answer::Unknown) };
    let continuous = ctx.store.health().await?;
    let verified = ctx.store.checks(&live.id).await?;
    let verified =
        verified.iter().filter(|check| check.phase == CheckPhase::Verify && spec.verify.contains(&check.name));
    let latest = verified.map(|check| {
        let newer = continuous.iter().find(|health| health.name == check.name && health.at > check.at);
        newer.map_or(&check.outcome, |health| &health.outcome).parse().unwrap_or(Answer::Unknown)
    });
    Ok(words::worst(latest.collect::<Vec<_>>()))
}

fn is_interrupted(ctx: &Context, open: Option<&Promotion>) -> Outcome<bool> {
    if open.is_none_or(|promotion| promotion.step.is_none()) {
        return Ok(false);
    }
    let holder = Lock::holder(&ctx.home.promotion_lock()).map_err(crate::store::Error::from)?;
    Ok(holder.is_none())
}

impl Standing {
    /// Answers whether a promotion would bring something.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.pending > 0 || self.differs
    }

    /// Answers the latest promotion where it ended badly and nothing newer is offered.
    #[must_use]
    pub fn failure(&self) -> Option<&Promotion> {
        let last = self.last.as_ref()?;
        let good = matches!(last.state, State::Promoted | State::Cancelled | State::Superseded);
        let is_newest = last.hotfix.is_some() || Some(last.source) == self.source;
        (last.state.is_final() && !good && is_newest).then_some(last)
    }

    /// Answers the one command that brings the environment on; nothing where there is nothing to do.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        let name = &self.name;
        if let Some(open) = &self.open {
            return Some(self.next_of_open(open));
        }
        if self.hold.is_some() && (self.has_news() || self.held_by_person()) {
            return Some(format!("cascade resume {name}"));
        }
        if let Some(next) = self.way_out() {
            return Some(next.to_owned());
        }
        (self.has_news() && self.source.is_some()).then(|| format!("cascade promote {name}"))
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
        let closes = |gate| self.closed.iter().any(|finding| finding.gate == gate);
        if self.is_interrupted {
            format!("cascade promote {}", self.name)
        } else if open.state != State::Waiting {
            "cascade status --watch".to_owned()
        } else if closes(Gate::Hold) || closes(Gate::Quarantine) {
            format!("cascade resume {}", self.name)
        } else if closes(Gate::Approval) {
            format!("cascade approve {}", open.id)
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
