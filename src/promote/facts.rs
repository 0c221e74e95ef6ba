//! Asking the gates: what they look at, before checks and after them.

use super::error::Result;
use super::gate::{self, Facts, Gate};
use super::phase::Event;
use super::plan::environment_of;
use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::store::Promotion;

/// Performs the admission: the gates that make checks pointless while they are closed.
pub(super) async fn admit(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    let findings: Vec<_> = gate::ask(&facts).into_iter().filter(|finding| finding.gate.is_admission()).collect();
    Ok(gate::closed_summary(&findings).map_or(Event::Admitted, Event::Closed))
}

/// Performs the gates: every one of them, on what is known now.
pub(super) async fn gates(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    if let Some(word) = gate::rejection(&facts) {
        let reason = word.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Ok(Event::Rejected(format!("rejected by {}{reason}", word.person)));
    }
    let findings = gate::ask(&facts);
    let is_unapproved = findings.iter().any(|finding| finding.gate == Gate::Approval && !finding.open);
    if let Some(expired) = expired(&facts, promotion).filter(|_| is_unapproved) {
        return Ok(expired);
    }
    Ok(gate::closed_summary(&findings).map_or(Event::Opened, Event::Closed))
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
    let quarantined = ctx.store.quarantined(&promotion.environment).await?;
    let undone = hold.as_ref().and_then(|hold| hold.promotion.clone());
    let undone: Vec<ObjectId> = quarantined
        .iter()
        .filter(|entry| Some(&entry.promotion) == undone.as_ref())
        .map(|entry| entry.source)
        .collect();
    let is_fix = is_fix(ctx, promotion.source, undone).await?;
    Ok(Some(Facts {
        now: ctx.now(),
        environment: promotion.environment.clone(),
        promotion: promotion.id.clone(),
        requested_by: promotion.requested_by.clone(),
        source: promotion.source,
        is_hotfix: promotion.hotfix.is_some(),
        candidate,
        tree,
        hold,
        is_fix,
        quarantined,
        approval: spec.approval.clone(),
        approvals: ctx.store.approvals(&promotion.id).await?,
        soak: spec.soak,
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

/// Answers every gate's finding for a promotion, for showing it.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn findings(ctx: &Context, promotion: &Promotion) -> Result<Vec<gate::Finding>> {
    Ok(facts(ctx, promotion).await?.map(|facts| gate::ask(&facts)).unwrap_or_default())
}
