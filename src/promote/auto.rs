//! Promotions that nobody asks for: environments with `promote: auto` follow what reaches their source.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;

use super::approve::proceed;
use super::culprit::{self, Culprit};
use super::drift::Past;
use super::error::{Error, Result};
use super::facts::findings;
use super::gate::{self, Finding, Gate};
use super::plan::{environment_of, known_source};
use super::policy::{self, Feeding};
use super::run::{Request, Silent, Source, lock, promote, recover};
use crate::alert::Alert;
use crate::base::id::{ObjectId, PromotionId};
use crate::config::{AlertEvent, AutoMode, Environment, PromoteMode};
use crate::context::Context;
use crate::store::{Promotion, State};

/// Longest pause between two looks at what a person, or another process, does to gates and sources.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// So many promotions of an environment are looked through for the last one that was tried.
const REMEMBERED_LIMIT: i64 = 200;

/// What sends the follower to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A save reached the remote (or there is none).
    Pushed,
    /// Time passed.
    Time,
}

/// Takes up what a crash interrupted, then follows the tips of the sandbox's branch until nobody sends any more. Gates that
/// open later, and environments whose source is promoted by hand, are looked after too.
///
/// A failure is logged; the next tip tries again.
pub async fn follow(ctx: Context, mut tips: watch::Receiver<Option<ObjectId>>) {
    if let Err(problem) = take_up_interrupted(&ctx).await {
        tracing::warn!(%problem, "an interrupted promotion could not be taken up");
    }
    let is_automatic = ctx.config.environments.values().any(|spec| spec.promote == PromoteMode::Auto);
    let mut seen = ctx.store.stamp();
    loop {
        let pause = next_look(&ctx).await.unwrap_or(LOOK_EVERY);
        let cause = tokio::select! {
            changed = tips.changed() => match changed {
                Ok(()) => Cause::Pushed,
                Err(_) => return,
            },
            () = ctx.store.written_within(pause, seen), if is_automatic => Cause::Time,
        };
        seen = ctx.store.stamp();
        if cause == Cause::Pushed {
            tips.mark_unchanged();
        }
        let mut newer = tips.clone();
        if let Err(problem) = follow_once(&ctx, cause).await {
            tracing::warn!(%problem, "an automatic promotion did not work");
        }
        // Whoever is to blame can wait: something newer may be good.
        tokio::select! {
            () = find_culprits(&ctx) => {}
            _ = newer.changed() => {}
        }
    }
}

/// Answers how long nothing needs to be looked at: until the first promotion that waits for time alone can go on, and no
/// longer than a person may be kept waiting.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn next_look(ctx: &Context) -> Result<Duration> {
    let (mut pause, now) = (LOOK_EVERY, ctx.now());
    for waiting in ctx.store.unfinished().await?.into_iter().filter(|promotion| promotion.state == State::Waiting) {
        let is_followed = |spec: &Environment| spec.promote == PromoteMode::Auto;
        if !ctx.config.environment(&waiting.environment).is_some_and(is_followed) {
            continue;
        }
        if let Some(due) = gate::due(&findings(ctx, &waiting).await?) {
            let left_ms = due.as_millisecond().saturating_sub(now.as_millisecond()).max(1);
            pause = pause.min(Duration::from_millis(left_ms.unsigned_abs()));
        }
    }
    Ok(pause)
}

/// Looks for the saves that are to blame where automatic promotions failed by a check, and tells people.
async fn find_culprits(ctx: &Context) {
    for (environment, _) in ctx.config.environments.iter().filter(|(_, spec)| spec.promote == PromoteMode::Auto) {
        match find_culprit(ctx, environment).await {
            Ok(Some(found)) => {
                let title = format!("who broke {environment}");
                let way_out = found.way_out(environment).map(|command| format!("\n{command}"));
                let body = format!("{}{}", found.fact(), way_out.unwrap_or_default());
                tracing::info!(environment, found = body, "the first bad save");
                let alert = Alert::new(AlertEvent::Failed, title, body);
                ctx.tell(Alert { environment: Some(environment.clone()), ..alert });
            }
            Ok(None) => {}
            Err(problem) => tracing::warn!(%problem, environment, "the first bad save could not be looked for"),
        }
    }
}

/// Answers what was found out now; a promotion that somebody makes meanwhile comes first.
async fn find_culprit(ctx: &Context, environment: &str) -> Result<Option<Culprit>> {
    let newest = ctx.store.promotions(Some(environment), 1).await?.pop();
    let Some(failed) = newest.filter(|newest| newest.state == State::Failed) else { return Ok(None) };
    if ctx.store.culprit(&failed.id).await?.is_some() {
        return Ok(None);
    }
    let Ok(held) = lock(ctx, false).await else { return Ok(None) };
    if culprit::find(ctx, &held, &failed, &mut Silent).await?.is_none() {
        return Ok(None);
    }
    culprit::of(ctx, &failed).await
}

async fn take_up_interrupted(ctx: &Context) -> Result<()> {
    let held = lock(ctx, true).await?;
    recover(ctx, &held, &mut Silent).await.map(drop)
}

/// Promotes into every automatic environment that lacks what its source has, in promotion order; what the sandbox feeds
/// only when a save was pushed. One whose `from` is refused keeps no other back.
///
/// # Errors
/// As [`promote`].
pub async fn follow_once(ctx: &Context, cause: Cause) -> Result<()> {
    for (environment, spec) in &ctx.config.environments {
        let followed = match (spec.promote, spec.auto) {
            (PromoteMode::Manual, _) => Ok(()),
            (PromoteMode::Auto, AutoMode::Latest) => promote_latest(ctx, environment, cause).await,
            (PromoteMode::Auto, AutoMode::Every) => promote_each(ctx, environment, cause).await,
        };
        match followed {
            Err(refused @ Error::OtherSource { .. }) => {
                tracing::warn!(%refused, environment, "it does not follow its source");
            }
            other => other?,
        }
    }
    Ok(())
}

async fn promote_latest(ctx: &Context, environment: &str, cause: Cause) -> Result<()> {
    let turn = latest(ctx, environment, cause).await?;
    take(ctx, environment, turn).await.map(drop)
}

/// What an environment's turn is.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// There is nothing to do, or nothing that could be done now.
    Rest,
    /// A new promotion.
    Propose(Source),
    /// The promotion that waits: its gates are open by now.
    Proceed(PromotionId),
    /// A promotion that its process left in the middle of a step, or is still at.
    Recover,
}

/// Decides whether a try is worth it: something new came, or the gates of what waits are open by now. A refusal stays
/// one until there is something new, and so does drift.
async fn latest(ctx: &Context, environment: &str, cause: Cause) -> Result<Turn> {
    let (spec, feeding) = (environment_of(ctx, environment)?, policy::feeding(ctx, environment).await?);
    let source_branch = feeding.branch(&ctx.config).to_owned();
    let (branch, mut past) = (spec.branch.clone(), Past::of(ctx, environment).await?);
    let (sandbox, remote) = (ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let news = ctx.git.run(move |repo| {
        let source = known_source(repo, (&source_branch, &sandbox), &remote)?;
        let tip = repo.furthest_tip(&remote, &branch)?;
        let Some((source, tip)) = source.zip(tip) else { return Ok(source) };
        let is_there = repo.is_ancestor(source, tip)? && repo.tree_of(source)? == repo.tree_of(tip)?;
        Ok((!is_there && past.drift(repo, tip, &[source])?.is_none()).then_some(source))
    });
    let news = news.await?;
    if let Some(waiting) = unfinished(ctx, environment).await? {
        if waiting.step.is_some() {
            return Ok(Turn::Recover);
        }
        // A person's hotfix is not superseded by automation.
        let is_older = waiting.hotfix.is_none() && news.is_some_and(|source| source != waiting.source);
        if !is_older {
            return proceed_if_open(ctx, waiting).await;
        }
    }
    let Some(source) = news else { return Ok(Turn::Rest) };
    let newest = ctx.store.promotions(Some(environment), 1).await?.into_iter().next();
    let is_tried = newest.is_some_and(|newest| newest.source == source && newest.state.is_final());
    let may_begin = cause == Cause::Pushed || feeding != Feeding::Sandbox;
    Ok(if is_tried || !may_begin { Turn::Rest } else { Turn::Propose(Source::Upstream) })
}

/// Answers what has not landed yet; what rests unverified is live, and nothing waits for it.
async fn unfinished(ctx: &Context, environment: &str) -> Result<Option<Promotion>> {
    let unfinished = ctx.store.unfinished().await?;
    Ok(unfinished.into_iter().rfind(|promotion| promotion.environment == environment && !promotion.is_paused()))
}

/// Goes on with what waits where it can; what is only offered so far is begun.
async fn proceed_if_open(ctx: &Context, waiting: Promotion) -> Result<Turn> {
    if waiting.state == State::Planned && waiting.hotfix.is_none() {
        return Ok(Turn::Propose(Source::Commit(waiting.source)));
    }
    let is_open = waiting.state == State::Waiting && gate::can_go_on(&findings(ctx, &waiting).await?);
    Ok(if is_open { Turn::Proceed(waiting.id) } else { Turn::Rest })
}

/// Promotes what waits in line, one after the other, until one has to wait for somebody or something.
async fn promote_each(ctx: &Context, environment: &str, cause: Cause) -> Result<()> {
    loop {
        let turn = next_in_line(ctx, environment, cause).await?;
        match take(ctx, environment, turn).await? {
            Some(promotion) if is_tried(&promotion) => {}
            _ => return Ok(()),
        }
    }
}

/// Decides which commit of the source is next: the oldest that is neither in the environment nor was tried.
async fn next_in_line(ctx: &Context, environment: &str, cause: Cause) -> Result<Turn> {
    let waiting = unfinished(ctx, environment).await?;
    if waiting.as_ref().is_some_and(|waiting| waiting.step.is_some()) {
        return Ok(Turn::Recover);
    }
    if let Some(waiting) = waiting {
        let waits_in_vain = findings(ctx, &waiting).await?.iter().any(is_gone_upstream);
        if !waits_in_vain || waiting.hotfix.is_some() {
            return proceed_if_open(ctx, waiting).await;
        }
        let after = after(line(ctx, environment).await?, |commit| commit == waiting.source);
        return Ok(after.map_or(Turn::Rest, |next| Turn::Propose(Source::Commit(next))));
    }
    let mut earlier = ctx.store.promotions(Some(environment), REMEMBERED_LIMIT).await?;
    earlier.retain(|promotion| promotion.hotfix.is_none());
    let tried: HashSet<ObjectId> = earlier.iter().filter(|earlier| is_tried(earlier)).map(|it| it.source).collect();
    let Some(next) = after(line(ctx, environment).await?, |commit| tried.contains(&commit)) else {
        return Ok(Turn::Rest);
    };
    let is_refused = cause == Cause::Time && earlier.iter().any(|earlier| earlier.source == next);
    Ok(if is_refused { Turn::Rest } else { Turn::Propose(Source::Commit(next)) })
}

/// Answers what comes after the last commit of a line that is done; the first where none is.
fn after(line: Vec<ObjectId>, is_done: impl Fn(ObjectId) -> bool) -> Option<ObjectId> {
    let next = line.iter().rposition(|commit| is_done(*commit)).map_or(0, |last| last + 1);
    line.get(next).copied()
}

/// Answers whether a candidate waits to soak where something newer has taken its place already, or was taken back there.
fn is_gone_upstream(finding: &Finding) -> bool {
    let waits_in_vain = match finding.gate {
        Gate::Soak => finding.since.is_none(),
        gate => gate == Gate::Quarantine,
    };
    waits_in_vain && !finding.open
}

/// Answers whether a commit had its try: what somebody else's push came before, or what was never planned, had none.
fn is_tried(promotion: &Promotion) -> bool {
    match promotion.state {
        State::Superseded => false,
        State::Failed => promotion.candidate.is_some(),
        state => state.is_final(),
    }
}

/// Lists the commits of the source that the environment lacks, oldest first; saves that are not pushed yet are left out.
async fn line(ctx: &Context, environment: &str) -> Result<Vec<ObjectId>> {
    let (spec, feeding) = (environment_of(ctx, environment)?, policy::feeding(ctx, environment).await?);
    let source_branch = feeding.branch(&ctx.config).to_owned();
    let (branch, remote) = (spec.branch.clone(), ctx.config.remote.clone());
    let sandbox = ctx.config.sandbox.branch.clone();
    let is_pushed = feeding == Feeding::Sandbox && ctx.config.sandbox.push;
    let line = ctx.git.run(move |repo| {
        let tip = known_source(repo, (&source_branch, &sandbox), &remote)?;
        let there = match is_pushed && repo.has_remote(&remote) {
            true => repo.tracking_tip(&remote, &source_branch)?,
            false => tip,
        };
        let Some((tip, there)) = tip.zip(there) else { return Ok(Vec::new()) };
        let end = if repo.is_ancestor(there, tip)? { there } else { tip };
        let known: Vec<ObjectId> = repo.furthest_tip(&remote, &branch)?.into_iter().collect();
        repo.line_between(&known, end)
    });
    Ok(line.await?)
}

async fn take(ctx: &Context, environment: &str, turn: Turn) -> Result<Option<Promotion>> {
    if turn == Turn::Rest {
        return Ok(None);
    }
    let held = lock(ctx, true).await?;
    let promotion = match turn {
        Turn::Rest => return Ok(None),
        Turn::Recover => {
            let recovered = recover(ctx, &held, &mut Silent).await?;
            return Ok(recovered.into_iter().rfind(|promotion| promotion.environment == environment));
        }
        Turn::Proceed(id) => proceed(ctx, &held, id.as_str(), &mut Silent).await?,
        Turn::Propose(source) => {
            let purpose = Some("follows its source by itself".to_owned());
            let request = Request { source, purpose, ..Request::to(environment) };
            promote(ctx, &held, &request, &mut Silent).await?
        }
    };
    let reason = promotion.reason.as_deref().unwrap_or_default();
    tracing::info!(environment, id = %promotion.id, state = %promotion.state, reason, "automatic promotion");
    Ok(Some(promotion))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_next_of_a_line_comes_after_all_that_is_done(length in 0_u8..20, done in proptest::collection::hash_set(0_u8..25, 0..8)) {
            let id = |byte| ObjectId::from_bytes([byte; 20]);
            let line: Vec<ObjectId> = (0..length).map(id).collect();
            let next = after(line, |commit| done.contains(&commit.as_bytes()[0]));
            let expected = done.iter().filter(|done| **done < length).max().map_or(0, |last| last + 1);
            prop_assert_eq!(next, (expected < length).then(|| id(expected)));
        }
    }
}
