//! Verification: asking whether what is live is well, after it landed; and how it was before, so that no release is
//! blamed for what was failing already.

use std::collections::{BTreeMap, HashMap};

use tokio::task::JoinSet;

use super::checks::{self, failure, record};
use super::error::Result;
use super::facts;
use super::gate::{Finding, Gate};
use super::phase::Event;
use super::policy::{self, Policy};
use super::rollback;
use super::room::Subject;
use super::run::{self, Observer};
use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::id::ObjectId;
use crate::check::{self, Answer, Outcome, Place};
use crate::config::{CheckSpec, Question};
use crate::context::Context;
use crate::store::{CheckPhase, CheckRecord, HoldCause, Promotion, State};

/// Answers the checks of an environment's verification that can be asked before anything landed: those that look at
/// addresses. What a command looks at cannot be told.
pub(super) fn probes<'a>(
    verify: &'a [String],
    checks: &'a BTreeMap<String, CheckSpec>,
) -> impl Iterator<Item = (&'a String, &'a CheckSpec)> + use<'a> {
    let known = verify.iter().filter_map(|name| checks.get_key_value(name));
    known.filter(|(_, check)| matches!(check.question(), Some(Question::Http { .. } | Question::Tcp(_))))
}

/// Performs the step: asks what verifies the environment once, all at the same time, while nothing has moved.
pub(super) async fn probe(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let policy = policy::of_promotion(ctx, promotion).await?;
    let probes: Vec<Named> = probes(&policy.environment.verify, &policy.checks).map(named).collect();
    if probes.is_empty() {
        return Ok(Event::Probed);
    }
    let mut asked = ask_together(&probes);
    while let Some(answered) = asked.join_next().await {
        // A question that could not even be put says nothing: the release is verified as if nobody had asked.
        let Ok((name, answer)) = answered else { continue };
        observer.answered(promotion, CheckPhase::Before, &name, &answer);
        ctx.store.record_check(&promotion.id, &record(ctx, CheckPhase::Before, &name, &answer)).await?;
    }
    // Asking took its time, in which a gate can have closed.
    Ok(match facts::gates(ctx, promotion).await? {
        Event::Opened => Event::Probed,
        closed => closed,
    })
}

/// A check with its name.
pub(super) type Named = (String, CheckSpec);

fn named((name, check): (&String, &CheckSpec)) -> Named {
    (name.clone(), check.clone())
}

/// Asks checks once, all at the same time, none of which needs a place.
pub(super) fn ask_together(checks: &[Named]) -> JoinSet<(String, Answer)> {
    let mut asked = JoinSet::new();
    for (name, check) in checks.iter().cloned() {
        asked.spawn(async move {
            let answer = check::ask(&name, &check, &Place::default()).await;
            (name, answer)
        });
    }
    asked
}

/// Performs the verification of what is live: what passed before it landed must pass now; what did not is waited for.
pub(super) async fn perform(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let Some(candidate) = promotion.candidate else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    end_older(ctx, promotion).await?;
    let policy = policy::of_promotion(ctx, promotion).await?;
    let asked = Asked { ctx, promotion, specs: &policy.checks };
    let failed_before = failed_before(ctx, promotion).await?;
    let (excusable, blamed): (Vec<&String>, Vec<&String>) =
        policy.environment.verify.iter().partition(|name| failed_before.contains_key(*name));
    // The verdict on the release comes first: what was failing already may take all the time it has.
    for name in blamed {
        if let Some(failed) = asked.verify((candidate, CheckPhase::Verify), name, observer).await? {
            return Ok(Event::VerificationFailed(failed));
        }
    }
    let mut still_failing = Vec::new();
    for name in excusable {
        still_failing.extend(asked.verify((candidate, CheckPhase::Verify), name, observer).await?);
    }
    if still_failing.is_empty() {
        lift(ctx, promotion, &policy).await?;
        return Ok(Event::Verified);
    }
    Ok(Event::Paused(format!("{}, as before the promotion: it is not to blame", still_failing.join("; "))))
}

/// Performs the verification of what is live again after a rollback. Whatever it says, the environment is back.
pub(super) async fn perform_rolled_back(
    ctx: &Context,
    promotion: &Promotion,
    observer: &mut dyn Observer,
) -> Result<Event> {
    rollback::end_undone(ctx, promotion).await?;
    let policy = policy::of_promotion(ctx, promotion).await?;
    let asked = Asked { ctx, promotion, specs: &policy.checks };
    let Some(commit) = promotion.rollback_commit else { return Ok(Event::BackVerified) };
    let mut still_failing = Vec::new();
    for name in &policy.environment.verify {
        let failed = asked.verify((commit, CheckPhase::Rollback), name, observer).await;
        still_failing.extend(failed.unwrap_or_else(|problem| Some(format!("check `{name}`: {problem}"))));
    }
    if still_failing.is_empty() {
        return Ok(Event::BackVerified);
    }
    let reason = promotion.reason.as_deref().unwrap_or("verification failed");
    Ok(Event::BackFailing(format!("{reason}; after the rollback {}", still_failing.join("; "))))
}

/// What is asked about a promotion.
struct Asked<'a> {
    ctx: &'a Context,
    promotion: &'a Promotion,
    specs: &'a BTreeMap<String, CheckSpec>,
}

impl Asked<'_> {
    /// Asks one check until there is a verdict; answers why it did not pass.
    async fn verify(
        &self,
        (commit, phase): (ObjectId, CheckPhase),
        name: &str,
        observer: &mut dyn Observer,
    ) -> Result<Option<String>> {
        let Self { ctx, promotion, specs } = self;
        let Some(check) = specs.get(name) else { return Ok(None) };
        observer.asking(promotion, phase, name);
        let answer = checks::verify(ctx, Subject::new(promotion, commit, phase), (name, check), observer).await?;
        observer.answered(promotion, phase, name, &answer);
        let record = record(ctx, phase, name, &answer);
        ctx.store.record_check(&promotion.id, &record).await?;
        Ok((answer.outcome != Outcome::Pass).then(|| failure(&record)))
    }
}

/// Answers what did not pass right before the promotion landed, by name.
async fn failed_before(ctx: &Context, promotion: &Promotion) -> Result<HashMap<String, CheckRecord>> {
    let checks = ctx.store.checks(&promotion.id).await?;
    let failed = checks.into_iter().filter(|check| check.phase == CheckPhase::Before && !passed(check));
    Ok(failed.map(|check| (check.name.clone(), check)).collect())
}

/// Answers the checks that did not pass when the promotion came to rest unverified, as far as they are still asked.
pub(super) async fn failing(ctx: &Context, promotion: &Promotion) -> Result<Vec<Named>> {
    let policy = policy::of_promotion(ctx, promotion).await?;
    let checks = ctx.store.checks(&promotion.id).await?;
    let failed = |name: &str| {
        checks.iter().any(|check| check.phase == CheckPhase::Verify && check.name == name && !passed(check))
    };
    let probes = probes(&policy.environment.verify, &policy.checks).filter(|(name, _)| failed(name));
    Ok(probes.map(named).collect())
}

fn passed(check: &CheckRecord) -> bool {
    check.outcome == Outcome::Pass.as_str()
}

/// What landed takes the place of what was there: a promotion that rests unverified is superseded, and what was watched
/// is watched no longer.
async fn end_older(ctx: &Context, promotion: &Promotion) -> Result<()> {
    let is_older = |other: &Promotion| other.environment == promotion.environment && other.id != promotion.id;
    for paused in ctx.store.unfinished().await?.into_iter().filter(|other| is_older(other) && other.is_paused()) {
        let reason = format!("promotion {} landed on it before it was verified", promotion.id);
        run::end(ctx, paused, &Event::Superseded(reason)).await?;
    }
    for watched in ctx.store.watched().await?.into_iter().filter(is_older) {
        let reason = format!("promotion {} landed", promotion.id);
        ctx.store.end_watch(&watched.id, &run::note(ctx, "watch_ended", reason)).await?;
    }
    Ok(())
}

/// A verified fix ends the hold that a rollback set; a person's hold stays. What a rollback quarantined is free again once
/// it was brought back.
async fn lift(ctx: &Context, promotion: &Promotion, policy: &Policy) -> Result<()> {
    for environment in [&promotion.environment, &policy.name] {
        let held = ctx.store.held(environment).await?;
        if held.is_some_and(|hold| hold.cause == HoldCause::Rollback) {
            ctx.store.lift_hold(environment).await?;
        }
        if let Some(undone) = &promotion.undoes {
            ctx.store.end_quarantine_by(environment, undone).await?;
        }
    }
    Ok(())
}

/// Answers until when a promotion in the state that it has now is verified again and again.
pub(super) fn watching_until(ctx: &Context, promotion: &Promotion) -> Option<Timestamp> {
    let spec = ctx.config.environment(&promotion.environment)?;
    let is_watched = promotion.state == State::Promoted && !spec.watch_for.0.is_zero() && !spec.verify.is_empty();
    is_watched.then(|| from_ms(promotion.updated_at.as_millisecond().saturating_add(spec.watch_for.as_ms())))
}

/// Says what a person can do about an environment whose promotion rests unverified.
pub(super) fn ways_on(environment: &str) -> String {
    format!(
        "once what fails is mended `cascade resume {environment}` verifies it again, `cascade rollback {environment}` undoes it"
    )
}

/// Answers the promotion that is live in an environment and rests unverified.
///
/// # Errors
/// The store cannot be read.
pub async fn paused(ctx: &Context, environment: &str) -> Result<Option<Promotion>> {
    let mut unfinished = ctx.store.unfinished().await?;
    unfinished.retain(|promotion| promotion.environment == environment && promotion.is_paused());
    Ok(unfinished.pop())
}

/// Answers what a promotion that rests unverified waits for.
pub(super) fn awaited(promotion: &Promotion) -> Finding {
    let fact = promotion.reason.clone().unwrap_or_else(|| "what is live is not verified".to_owned());
    Finding::closed(Gate::Verification, fact, Some(promotion.updated_at), ways_on(&promotion.environment))
}

/// Asks whether the source of a promotion is verified where it comes from; nothing where nothing is known against it.
pub(super) async fn source_finding(ctx: &Context, promotion: &Promotion) -> Result<Option<Finding>> {
    let feeding = policy::of_promotion(ctx, promotion).await?.feeding;
    let upstream = feeding.upstream(&ctx.config).filter(|_| promotion.hotfix.is_none());
    let Some(upstream) = upstream else { return Ok(None) };
    let Some(paused) = paused(ctx, upstream).await? else { return Ok(None) };
    let (unverified, source) = (paused.candidate, promotion.source);
    let contains = move |repo: &crate::git::Repo| unverified.map_or(Ok(false), |id| repo.is_ancestor(id, source));
    let is_unverified = ctx.git.run(contains).await?;
    Ok(is_unverified.then(|| {
        let fact = format!("{} is live in {upstream} but not verified there (promotion {})", source.short(), paused.id);
        Finding::closed(Gate::Verification, fact, Some(paused.updated_at), format!("`cascade resume {upstream}`"))
    }))
}
