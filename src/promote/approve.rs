//! A person's word on a candidate.

use super::error::{Error, Result};
use super::facts::{facts, findings, gates};
use super::gate::{self, Facts, Gate, Refusal, same_person};
use super::phase::Event;
use super::run::{Observer, drive, recover};
use crate::base::clock::from_ms;
use crate::config::Approval;
use crate::context::Context;
use crate::store::{ApprovalRecord, Lock, Promotion, State};

/// What a person means who says yes.
#[derive(Debug, Clone)]
pub enum Found {
    /// A promotion that waits for an answer.
    Waiting(Promotion),
    /// One that a crash interrupted when it waited no longer, now at rest.
    TakenUp(Promotion),
}

/// Takes up what a crash interrupted, then finds the promotion that a person means, as [`find_waiting`].
///
/// # Errors
/// As [`find_waiting`] and [`recover`].
pub async fn find(ctx: &Context, lock: &Lock, target: Option<&str>, observer: &mut dyn Observer) -> Result<Found> {
    let recovered = recover(ctx, lock, observer).await?;
    let is_meant = |promotion: &Promotion| {
        target.is_none_or(|target| promotion.environment == target || promotion.id.as_str().starts_with(target))
    };
    let taken_up = recovered.into_iter().rfind(is_meant).filter(|promotion| !can_be_judged(promotion));
    let waiting = match target {
        Some(_) => find_waiting(ctx, target).await,
        None => find_awaiting_consent(ctx).await,
    };
    match (waiting, taken_up) {
        (Err(Error::NothingWaits { .. }), Some(taken_up)) => Ok(Found::TakenUp(taken_up)),
        (Ok(named), Some(taken_up)) if named.id == taken_up.id => Ok(Found::TakenUp(taken_up)),
        (found, _) => found.map(Found::Waiting),
    }
}

/// Finds the promotion that a person means: by id, by environment, or the only one that waits.
///
/// # Errors
/// Nothing waits there, or several do.
pub async fn find_waiting(ctx: &Context, target: Option<&str>) -> Result<Promotion> {
    let waiting: Vec<Promotion> = ctx.store.unfinished().await?.into_iter().filter(can_be_judged).collect();
    let environment = target.filter(|target| ctx.config.environments.contains_key(*target));
    let fitting = waiting.into_iter().filter(|promotion| environment.is_none_or(|name| promotion.environment == name));
    match (target, environment) {
        (Some(id), None) => ctx.store.promotion(id).await.map_err(Error::from),
        _ => only(fitting, environment.unwrap_or("any environment")),
    }
}

/// Finds the only promotion that a consent brings on: what waits for a hold, or for time, is not meant by it. One of which
/// all gates are open was left by somebody whose consent it has.
///
/// # Errors
/// None does, or several do.
async fn find_awaiting_consent(ctx: &Context) -> Result<Promotion> {
    let (mut awaiting, mut approved) = (Vec::new(), Vec::new());
    for promotion in ctx.store.unfinished().await?.into_iter().filter(can_be_judged) {
        let findings = findings(ctx, &promotion).await?;
        let approval = findings.iter().find(|finding| finding.gate == Gate::Approval);
        if approval.is_some_and(|approval| !approval.open) || findings.iter().all(|finding| finding.open) {
            awaiting.push(promotion);
        } else if approval.is_some() {
            approved.push(promotion);
        }
    }
    // Who asks about one that is approved is told what it waits for.
    let meant = if awaiting.is_empty() { approved } else { awaiting };
    only(meant.into_iter(), "any environment")
}

/// Answers the only one of several promotions that wait.
fn only(mut waiting: impl Iterator<Item = Promotion>, place: &str) -> Result<Promotion> {
    let first = waiting.next().ok_or_else(|| Error::NothingWaits { environment: place.to_owned() })?;
    match waiting.next() {
        None => Ok(first),
        Some(other) => Err(Error::NotNow {
            id: first.id.to_string(),
            why: format!("is not the only one that waits: {} does too", other.id),
            hint: Some(format!("say which: `cascade approve {}`", first.id)),
        }),
    }
}

/// Answers whether people can say yes or no to a promotion: it waits, or is only offered.
fn can_be_judged(promotion: &Promotion) -> bool {
    matches!((promotion.state, promotion.step), (State::Waiting, _) | (State::Planned, None))
}

/// Records a person's consent to the candidate and goes on with the promotion, unless it is only offered. Where a crash
/// came between the two, asking again goes on. One whose time for approvals is over ends, and nobody's word is recorded.
///
/// # Errors
/// The promotion does not wait (any more), or the person may not approve it, or has done so and it waits for others.
pub async fn approve(
    ctx: &Context,
    _lock: &Lock,
    promotion: Promotion,
    reason: Option<String>,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    if let Some(over) = expired(ctx, &promotion).await? {
        return drive(ctx, promotion, Event::Expired(over), observer).await;
    }
    record_word(ctx, &promotion, true, reason).await?;
    if promotion.state == State::Planned {
        return Ok(promotion);
    }
    drive(ctx, promotion, Event::Begun, observer).await
}

async fn expired(ctx: &Context, promotion: &Promotion) -> Result<Option<String>> {
    if !can_be_judged(promotion) {
        return Ok(None);
    }
    Ok(facts(ctx, promotion).await?.as_ref().and_then(gate::expired))
}

/// Goes on with a promotion whose gates opened meanwhile, takes up one that a crash interrupted, and verifies one again that
/// rests unverified; any other is answered as it is.
///
/// # Errors
/// As [`super::promote`].
pub async fn proceed(ctx: &Context, lock: &Lock, id: &str, observer: &mut dyn Observer) -> Result<Promotion> {
    let mut promotion = ctx.store.promotion(id).await?;
    if promotion.step.is_some() {
        recover(ctx, lock, observer).await?;
        promotion = ctx.store.promotion(id).await?;
    }
    if promotion.state == State::Waiting || promotion.is_paused() {
        return drive(ctx, promotion, Event::Begun, observer).await;
    }
    Ok(promotion)
}

/// Records a person's refusal of the candidate and ends the promotion. Where the environment names who may approve, they
/// alone may refuse; who asked for the promotion may always take that back.
///
/// # Errors
/// The promotion does not wait (any more), or the person may not refuse it.
pub async fn reject(
    ctx: &Context,
    _lock: &Lock,
    promotion: Promotion,
    reason: Option<String>,
    observer: &mut dyn Observer,
) -> Result<Promotion> {
    let words = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let event = Event::Rejected(format!("rejected by {}{words}", ctx.person));
    record_word(ctx, &promotion, false, reason).await?;
    drive(ctx, promotion, event, observer).await
}

async fn record_word(ctx: &Context, promotion: &Promotion, consent: bool, reason: Option<String>) -> Result<()> {
    let not_waiting = || match promotion.state {
        State::Superseded => Error::Superseded {
            id: promotion.id.to_string(),
            environment: promotion.environment.clone(),
            why: promotion.reason.clone().unwrap_or_else(|| "no reason was recorded".to_owned()),
        },
        state => Error::NotNow {
            id: promotion.id.to_string(),
            why: format!("is {state}: it does not wait for an answer"),
            hint: Some("see `cascade status`".to_owned()),
        },
    };
    let candidate = promotion.candidate.filter(|_| can_be_judged(promotion)).ok_or_else(not_waiting)?;
    let facts = facts(ctx, promotion).await?.ok_or_else(not_waiting)?;
    let policy = facts.approval.clone().unwrap_or_default();
    if consent && is_approved_by_asker(ctx, promotion, &policy, &facts)? {
        return match gates(ctx, promotion).await? {
            Event::Opened if promotion.state == State::Waiting => Ok(()),
            _ => Err(approved_already(promotion, &facts)),
        };
    }
    if !consent && !facts.electorate(&policy).may_refuse(&ctx.person) {
        let environment = promotion.environment.clone();
        return Err(Error::NotARefuser { person: ctx.person.clone(), environment, from: policy.from.clone() });
    }
    let at = ctx.now();
    let expires_at = from_ms(at.as_millisecond().saturating_add(policy.expires.as_ms()));
    let word = ApprovalRecord { person: ctx.person.clone(), candidate, consent, reason, at, expires_at };
    Ok(ctx.store.record_approval(&promotion.id, &word).await?)
}

/// Answers whether the person who asks has approved it; refuses an approval that would not count.
fn is_approved_by_asker(ctx: &Context, promotion: &Promotion, policy: &Approval, facts: &Facts) -> Result<bool> {
    let person = ctx.person.clone();
    let electorate = facts.electorate(policy);
    match electorate.refusal(&person) {
        Some(Refusal::Nobody) => {
            let environment = promotion.environment.clone();
            Err(Error::NoAddress { person: person.trim().to_owned(), environment })
        }
        Some(Refusal::Own) => Err(Error::OwnApproval { person }),
        Some(Refusal::Stranger) => {
            let environment = promotion.environment.clone();
            Err(Error::NotAnApprover { person, environment, from: policy.from.clone() })
        }
        None => Ok(electorate.valid(&facts.approvals).iter().any(|word| same_person(&word.person, &person))),
    }
}

/// What more this person can do is no approval.
fn approved_already(promotion: &Promotion, facts: &Facts) -> Error {
    let closed = gate::ask(facts).into_iter().filter(|finding| !finding.open);
    let ways = closed.filter_map(|finding| match finding.gate {
        Gate::Approval => Some(format!("somebody else must run `cascade approve {}`", promotion.id)),
        _ => finding.clears,
    });
    let ways: Vec<String> = ways.collect();
    let offered = (promotion.state == State::Planned).then(|| format!("`cascade promote {}`", promotion.environment));
    let ways: Vec<String> = if ways.is_empty() { offered.into_iter().collect() } else { ways };
    Error::NotNow {
        id: promotion.id.to_string(),
        why: format!("is approved by you already: {}", promotion.reason.as_deref().unwrap_or("it waits for others")),
        hint: (!ways.is_empty()).then(|| ways.join("; ")),
    }
}
