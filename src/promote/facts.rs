//! Asking the gates: what they look at, before checks and after them.

use super::error::Result;
use super::gate::{self, Facts, Gate};
use super::phase::Event;
use super::plan::environment_of;
use super::verification;
use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::id::ObjectId;
use crate::base::units::Span;
use crate::context::Context;
use crate::store::Promotion;

/// Performs the admission: the gates that make checks pointless while they are closed.
pub(super) async fn admit(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    let mut findings = ask(ctx, promotion, &facts).await?;
    findings.retain(|finding| finding.gate.is_admission());
    Ok(gate::closed_summary(&findings).map_or(Event::Admitted, Event::Closed))
}

/// Performs the gates: every one of them, on what is known now.
pub(super) async fn gates(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    if let Some(word) = gate::rejection(&facts) {
        let reason = word.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Ok(Event::Rejected(format!("rejected by {}{reason}", word.person)));
    }
    let findings = ask(ctx, promotion, &facts).await?;
    let is_unapproved = findings.iter().any(|finding| finding.gate == Gate::Approval && !finding.open);
    if let Some(expired) = expired(&facts, promotion).filter(|_| is_unapproved) {
        return Ok(expired);
    }
    Ok(gate::closed_summary(&findings).map_or(Event::Opened, Event::Closed))
}

/// Asks every gate about a promotion.
async fn ask(ctx: &Context, promotion: &Promotion, facts: &Facts) -> Result<Vec<gate::Finding>> {
    let source = verification::source_finding(ctx, promotion).await?;
    Ok(gate::ask(facts).into_iter().chain(source).collect())
}

fn expired(facts: &Facts, promotion: &Promotion) -> Option<Event> {
    let policy = facts.approval.as_ref()?;
    let ends_ms = promotion.created_at.as_millisecond().saturating_add(policy.expires.as_ms());
    (ends_ms <= facts.now.as_millisecond())
        .then(|| Event::Expired(format!("nobody approved it within {}", policy.expires)))
}

/// Gathers everything the gates look at; nothing while there is no candidate.
///
/// # Errors
/// The store or the repository cannot be read.
pub(super) async fn facts(ctx: &Context, promotion: &Promotion) -> Result<Option<Facts>> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    let (Some(candidate), Some(tree)) = (promotion.candidate, promotion.tree) else { return Ok(None) };
    let hold = ctx.store.held(&promotion.environment).await?;
    let mut quarantined = ctx.store.quarantined(&promotion.environment).await?;
    let undone = hold.as_ref().and_then(|hold| hold.promotion.clone());
    let undone: Vec<ObjectId> = quarantined
        .iter()
        .filter(|entry| Some(&entry.promotion) == undone.as_ref())
        .map(|entry| entry.source)
        .collect();
    let ends_hold = promotion.undoes.is_some() && hold.as_ref().map(|hold| &hold.promotion) == Some(&promotion.undoes);
    let is_fix = ends_hold || is_fix(ctx, promotion.source, undone).await?;
    quarantined.retain(|entry| promotion.undoes.as_ref() != Some(&entry.promotion));
    Ok(Some(Facts {
        now: ctx.now(),
        environment: promotion.environment.clone(),
        promotion: promotion.id.clone(),
        requested_by: promotion.requested_by.clone(),
        source: promotion.source,
        candidate,
        tree,
        hold,
        is_fix,
        quarantined,
        approval: spec.approval.clone(),
        approvals: ctx.store.approvals(&promotion.id).await?,
        // What comes back has soaked before.
        soak: if promotion.undoes.is_some() { Span::default() } else { spec.soak },
        live_upstream_since: live_upstream_since(ctx, &promotion.environment, promotion.source).await?,
    }))
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

async fn live_upstream_since(ctx: &Context, environment: &str, source: ObjectId) -> Result<Option<Timestamp>> {
    let Some(upstream) = ctx.config.upstream(environment) else { return Ok(Some(from_ms(0))) };
    let live = ctx.store.live(upstream).await?;
    Ok(live.filter(|live| live.candidate == Some(source)).and_then(|live| live.finished_at))
}

/// Answers whether `source` has been live upstream long enough for `environment`; nothing where it need not be.
///
/// # Errors
/// Unknown environment, or the store cannot be read.
pub async fn soak(ctx: &Context, environment: &str, source: ObjectId) -> Result<Option<gate::Finding>> {
    let (spec, _) = environment_of(ctx, environment)?;
    Ok(gate::soak(spec.soak, live_upstream_since(ctx, environment, source).await?, ctx.now()))
}

/// Answers every gate's finding for a promotion, for showing it; and what one waits for that rests unverified.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn findings(ctx: &Context, promotion: &Promotion) -> Result<Vec<gate::Finding>> {
    if promotion.is_paused() {
        return Ok(vec![verification::awaited(promotion)]);
    }
    match facts(ctx, promotion).await? {
        Some(facts) => ask(ctx, promotion, &facts).await,
        None => Ok(Vec::new()),
    }
}
