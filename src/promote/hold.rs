//! A person's stop on an environment and its end: here, in the ledger, and told to the remote.

use super::attestation::{Change, HoldChange, HoldStatement};
use super::error::Result;
use super::ledger::{self, HoldEntry};
use super::others;
use super::plan::environment_of;
use super::policy;
use crate::base::clock::from_ms;
use crate::base::id::{PromotionId, entropy};
use crate::context::Context;
use crate::store::{HoldCause, Lock};

/// Why others do not know a person's word yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard(pub String);

/// Stops promotions into an environment until [`resume`]. Nothing keeps an environment from being held here: what stands
/// between the word and the ledger or the remote is answered.
///
/// # Errors
/// Unknown environment, or the store cannot be written.
pub async fn hold(ctx: &Context, environment: &str, reason: Option<String>) -> Result<Option<Unheard>> {
    environment_of(ctx, environment)?;
    let word = word(ctx, environment, Change::Held, reason, Vec::new());
    if let Some(hold) = word.hold() {
        ctx.store.hold(environment, &hold).await?;
    }
    let entry = HoldEntry::new(ctx, HoldStatement::new(word));
    Ok(match entry.append(ctx).await {
        Ok(()) => ledger::tell(ctx).await.map(Unheard),
        Err(problem) => Some(Unheard(format!("it is not in the ledger: {problem}"))),
    })
}

/// What became of the wish to let an environment go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Whether there was anything to lift.
    pub changed: bool,
    /// Why others do not know it yet.
    pub unheard: Option<Unheard>,
}

/// Lifts the hold on an environment and its quarantine, those included that other machines left in the ledger, unless
/// somebody promotes just now: then what is known here.
///
/// # Errors
/// Unknown environment, the ledger cannot take it, or the store cannot be written.
pub async fn resume(ctx: &Context, environment: &str) -> Result<Resumed> {
    environment_of(ctx, environment)?;
    let lock = Lock::take(&ctx.home.promotion_lock()).ok();
    if lock.is_some() {
        others::learn(ctx).await?;
    }
    let mut resumed = Resumed::default();
    for name in policy::names(ctx, environment).await? {
        let (held, quarantined) = (ctx.store.held(&name).await?, ctx.store.quarantined(&name).await?);
        if held.is_none() && quarantined.is_empty() {
            continue;
        }
        let undone = held.filter(|hold| hold.cause == HoldCause::Rollback).and_then(|hold| hold.promotion);
        let mut forgiven: Vec<PromotionId> =
            undone.into_iter().chain(quarantined.into_iter().map(|it| it.promotion)).collect();
        forgiven.sort();
        forgiven.dedup();
        let word = word(ctx, &name, Change::Resumed, None, forgiven);
        HoldEntry::new(ctx, HoldStatement::new(word)).append(ctx).await?;
        resumed.changed |= ctx.store.lift_hold(&name).await?;
        resumed.changed |= ctx.store.end_quarantine(&name).await? > 0;
    }
    if resumed.changed {
        resumed.unheard = ledger::tell(ctx).await.map(Unheard);
    }
    Ok(resumed)
}

fn word(
    ctx: &Context,
    environment: &str,
    change: Change,
    reason: Option<String>,
    forgives: Vec<PromotionId>,
) -> HoldChange {
    HoldChange {
        id: PromotionId::from_entropy(&entropy()).to_string(),
        project: ctx.config.project.clone(),
        environment: environment.to_owned(),
        change,
        person: ctx.person.clone(),
        reason,
        forgives,
        // As exact as the database keeps it.
        at: from_ms(ctx.now().as_millisecond()),
    }
}
