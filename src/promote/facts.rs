//! Asking the gates: what they look at, before checks and after them.

use std::collections::BTreeSet;

use super::checks::{Known, forecast_of};
use super::deliver::{self, Look};
use super::error::Result;
use super::gate::{self, CheckFact, Facts, UndoneUpstream};
use super::phase::Event;
use super::plan::Preview;
use super::policy::{self, Policy};
use super::run::{Request, proposal};
use super::verification;
use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::id::ObjectId;
use crate::base::units::Span;
use crate::check::Outcome;
use crate::config::Approval;
use crate::context::Context;
use crate::store::{CheckPhase, Hold, Promotion, Quarantined, State};

/// Performs the admission: the gates that make checks pointless while they are closed.
pub(super) async fn admit(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    // Without checks the gates are asked at once: there is nothing to spare.
    if policy::of_promotion(ctx, promotion).await?.environment.checks.is_empty() {
        return Ok(Event::Admitted);
    }
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    let mut findings = ask(ctx, promotion, &facts).await?;
    findings.retain(|finding| finding.gate.is_admission());
    Ok(gate::closed_summary(&findings).map_or(Event::Admitted, Event::Closed))
}

/// Performs the gates: every one of them, on what is known now.
pub(super) async fn gates(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts_by(ctx, promotion, Look::Now).await? else {
        return Ok(Event::Failed("it has no candidate".to_owned()));
    };
    if let Some(word) = gate::rejection(&facts) {
        let reason = word.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Ok(Event::Rejected(format!("rejected by {}{reason}", word.person)));
    }
    let findings = ask(ctx, promotion, &facts).await?;
    if let Some(expired) = gate::expired(&facts) {
        return Ok(Event::Expired(expired));
    }
    Ok(gate::closed_summary(&findings).map_or(Event::Opened, Event::Closed))
}

/// Asks every gate about a promotion.
async fn ask(ctx: &Context, promotion: &Promotion, facts: &Facts) -> Result<Vec<gate::Finding>> {
    let source = verification::source_finding(ctx, promotion).await?;
    Ok(gate::ask(facts).into_iter().chain(source).collect())
}

/// Gathers everything the gates look at; nothing while there is no candidate. Targets of deliveries are looked at where
/// something was flagged last.
///
/// # Errors
/// The store or the repository cannot be read.
pub(super) async fn facts(ctx: &Context, promotion: &Promotion) -> Result<Option<Facts>> {
    facts_by(ctx, promotion, Look::Flagged).await
}

async fn facts_by(ctx: &Context, promotion: &Promotion, look: Look) -> Result<Option<Facts>> {
    let (Some(candidate), Some(tree)) = (promotion.candidate, promotion.tree) else { return Ok(None) };
    let policy = policy::of_promotion(ctx, promotion).await?;
    let (hold, mut quarantined) = kept_back(ctx, promotion, &policy).await?;
    let undone = hold.as_ref().and_then(|hold| hold.promotion.clone());
    let undone: Vec<ObjectId> = quarantined
        .iter()
        .filter(|entry| Some(&entry.promotion) == undone.as_ref())
        .map(|entry| entry.source)
        .collect();
    let Policy { environment: spec, groups, .. } = &policy;
    let ends_hold = promotion.undoes.is_some() && hold.as_ref().map(|hold| &hold.promotion) == Some(&promotion.undoes);
    let is_fix = ends_hold || is_fix(ctx, promotion.source, undone).await?;
    quarantined.retain(|entry| promotion.undoes.as_ref() != Some(&entry.promotion));
    Ok(Some(Facts {
        now: ctx.now(),
        zone: ctx.clock.zone(),
        environment: promotion.environment.clone(),
        promotion: Some(promotion.id.clone()),
        requested_by: promotion.requested_by.clone(),
        source: promotion.source,
        is_hotfix: promotion.hotfix.is_some(),
        candidate,
        tree,
        hold,
        is_fix,
        quarantined,
        undone_upstream: undone_upstream(ctx, promotion, &policy).await?,
        proposed_at: Some(promotion.created_at),
        approval: spec.approval.clone(),
        groups: groups.clone(),
        authors: authors(ctx, promotion, spec.approval.as_ref()).await?,
        approvals: ctx.store.approvals(&promotion.id).await?,
        freeze: spec.freeze.clone(),
        checks: outcomes(ctx, promotion, &policy).await?,
        deliveries: deliver::facts(ctx, promotion, look).await?,
        waivable: spec.waive.clone(),
        waivers: ctx.store.waivers(&promotion.id).await?,
        // What comes back has soaked before.
        soak: if promotion.undoes.is_some() { Span::default() } else { spec.soak },
        live_upstream_since: live_upstream_since(ctx, &policy, promotion.source).await?,
    }))
}

/// Answers the hold on an environment and its quarantine, also those from when it had the name that its rules know.
async fn kept_back(ctx: &Context, promotion: &Promotion, policy: &Policy) -> Result<(Option<Hold>, Vec<Quarantined>)> {
    let mut hold = ctx.store.held(&promotion.environment).await?;
    let mut quarantined = ctx.store.quarantined(&promotion.environment).await?;
    if policy.name != promotion.environment {
        hold = hold.or(ctx.store.held(&policy.name).await?);
        quarantined.extend(ctx.store.quarantined(&policy.name).await?);
    }
    Ok((hold, quarantined))
}

/// Answers what took the source of a promotion back where it comes from: its promotion there was rolled back and nothing
/// brought it back since, or the content is quarantined there.
async fn undone_upstream(ctx: &Context, promotion: &Promotion, policy: &Policy) -> Result<Option<UndoneUpstream>> {
    let upstream = policy.feeding.upstream(&ctx.config).filter(|_| promotion.hotfix.is_none());
    let Some(environment) = upstream.map(ToOwned::to_owned) else { return Ok(None) };
    let brought = ctx.store.latest_of(&environment, promotion.source).await?;
    let is_undone = |it: &Promotion| matches!(it.state, State::RollingBack | State::RolledBack | State::RollbackFailed);
    if let Some(undone) = brought.filter(is_undone) {
        return Ok(Some(UndoneUpstream { environment, promotion: undone.id, at: undone.updated_at }));
    }
    let source = promotion.source;
    let tree = ctx.git.run(move |repo| repo.tree_of(source)).await?;
    let entry = ctx.store.quarantined(&environment).await?.into_iter().find(|entry| entry.tree == tree);
    Ok(entry.map(|entry| UndoneUpstream { environment, promotion: entry.promotion, at: entry.at }))
}

/// Who wrote what a promotion brings only matters where they may not approve it.
async fn authors(ctx: &Context, promotion: &Promotion, approval: Option<&Approval>) -> Result<BTreeSet<String>> {
    if approval.is_none_or(|approval| approval.own) {
        return Ok(BTreeSet::new());
    }
    let (previous, source) = (promotion.previous, promotion.source);
    Ok(ctx.git.run(move |repo| repo.people_between(previous, source)).await?)
}

/// Answers what is known of each check: what this promotion recorded, else what is kept of the same content.
async fn outcomes(ctx: &Context, promotion: &Promotion, policy: &Policy) -> Result<Vec<CheckFact>> {
    let recorded = ctx.store.checks(&promotion.id).await?;
    let mut outcomes = Vec::new();
    for name in &policy.environment.checks {
        let own = recorded.iter().find(|record| record.phase == CheckPhase::Check && record.name == *name);
        let mut fact = CheckFact { name: name.clone(), outcome: None, failed_before: None };
        match (own, policy.checks.get(name), promotion.tree) {
            (Some(record), ..) => fact.outcome = Some(record.outcome.clone()),
            (None, Some(check), Some(tree)) => match forecast_of(ctx, name, check, tree).await? {
                Known::Passed => fact.outcome = Some(Outcome::Pass.as_str().to_owned()),
                Known::Failed(failed) => fact.failed_before = Some(failed),
                Known::Nothing => {}
            },
            _ => {}
        }
        outcomes.push(fact);
    }
    Ok(outcomes)
}

/// A fix descends from every commit that the rollback undid and is none of them.
async fn is_fix(ctx: &Context, source: ObjectId, undone: Vec<ObjectId>) -> Result<bool> {
    if undone.is_empty() || undone.contains(&source) {
        return Ok(false);
    }
    let descends =
        ctx.git.run(move |repo| undone.iter().try_fold(true, |all, bad| Ok(all && repo.is_ancestor(*bad, source)?)));
    Ok(descends.await?)
}

/// Answers since when a commit is live and verified in what feeds an environment by its rules; always, where that is the
/// sandbox.
pub(super) async fn live_upstream_since(ctx: &Context, policy: &Policy, source: ObjectId) -> Result<Option<Timestamp>> {
    let Some(upstream) = policy.feeding.upstream(&ctx.config) else { return Ok(Some(from_ms(0))) };
    let live = ctx.store.live(upstream).await?;
    Ok(live.filter(|live| live.candidate == Some(source)).and_then(|live| live.finished_at))
}

/// Answers every gate's finding for what a promotion by this person would bring, before there is a candidate: as if the
/// source itself were it. `look` says which targets of deliveries are looked at.
///
/// # Errors
/// Unknown environment; the store or the repository cannot be read.
pub async fn forecast(ctx: &Context, request: &Request, preview: &Preview, look: Look) -> Result<Vec<gate::Finding>> {
    let wished = proposal(ctx, request, preview.source).await?;
    let tree = preview.source_tree;
    let offered = Promotion { previous: preview.tip, candidate: Some(preview.source), tree: Some(tree), ..wished };
    let facts = facts_by(ctx, &offered, look).await?.map(|facts| Facts { promotion: None, proposed_at: None, ..facts });
    Ok(facts.map(|facts| gate::ask(&facts)).unwrap_or_default())
}

/// Answers every gate's finding for a promotion, for showing it; and what one waits for that rests unverified.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn findings(ctx: &Context, promotion: &Promotion) -> Result<Vec<gate::Finding>> {
    if promotion.is_paused() {
        return Ok(vec![verification::awaited(promotion)]);
    }
    match facts_by(ctx, promotion, Look::Again).await? {
        Some(facts) => ask(ctx, promotion, &facts).await,
        None => Ok(Vec::new()),
    }
}
