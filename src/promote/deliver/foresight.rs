//! What deliveries would do, before anything lands: for gates, and for whoever plans.

use serde::Serialize;

use super::{configured, told};
use crate::base::Kinded as _;
use crate::base::id::ObjectId;
use crate::config::SyncSpec;
use crate::context::Context;
use crate::promote::error::Result;
use crate::promote::gate::{DeliveryFact, Hindrance};
use crate::store::Promotion;
use crate::sync::report::flagged;
use crate::sync::{self, Noted, Opening, Prepared, Step};

/// How closely targets are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// All of them, as they are now; what is flagged is noted.
    Now,
    /// All of them, as they are now, only to be shown.
    Again,
    /// Those at which something was flagged when somebody looked last.
    Flagged,
}

/// What one delivery would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Foreseen {
    /// The sync.
    pub sync: String,
    /// Where the content would come from.
    pub source: String,
    /// What would be brought to that.
    pub target: String,
    /// Items that would be put where nothing is.
    pub created: usize,
    /// Items that would be replaced.
    pub updated: usize,
    /// Items that would be taken away.
    pub deleted: usize,
    /// Items that are as they should be.
    pub unchanged: usize,
    /// What would be done, item by item.
    pub actions: Vec<Step>,
    /// Items that would be left alone until a person decides.
    pub flagged: Vec<Noted>,
    /// Why nothing of it could be done.
    pub problem: Option<String>,
}

/// Answers what each delivery would do if `candidate` landed in an environment, whose branch is at `tip`.
///
/// # Errors
/// Unknown environment; the store or the repository cannot be read.
pub async fn foresee(
    ctx: &Context,
    environment: &str,
    candidate: ObjectId,
    tip: Option<ObjectId>,
) -> Result<Vec<Foreseen>> {
    let mut all = Vec::new();
    for (name, spec) in configured(ctx, environment, (candidate, tip)).await? {
        all.push(match prepare(ctx, environment, candidate, (&name, &spec)).await {
            Ok((sync, prepared)) => Foreseen::of(&sync, &prepared),
            Err(problem) => Foreseen { sync: name, problem: Some(told(problem)?), ..Foreseen::default() },
        });
    }
    Ok(all)
}

async fn prepare(
    ctx: &Context,
    environment: &str,
    candidate: ObjectId,
    (name, spec): (&str, &SyncSpec),
) -> sync::Result<(sync::Sync, Prepared)> {
    let branch = ctx.config.environment(environment).map_or("", |it| it.branch.as_str());
    let sync = sync::open_as(ctx, name, Opening { spec, pinned: (branch, candidate), promotion: None }).await?;
    let prepared = sync.prepare().await?;
    Ok((sync, prepared))
}

impl Foreseen {
    fn of(sync: &sync::Sync, prepared: &Prepared) -> Self {
        let actions: Vec<Step> = prepared.plan.actions.iter().filter_map(Step::of).collect();
        let so_many = |word| actions.iter().filter(|step| step.action == word).count();
        Self {
            sync: sync.name.clone(),
            source: sync.source.place(),
            target: sync.target.place(),
            created: so_many("create"),
            updated: so_many("update"),
            deleted: so_many("delete"),
            unchanged: prepared.plan.unchanged,
            flagged: notes(prepared),
            problem: sync.refusal(&prepared.plan).map(|refusal| refusal.to_string()),
            actions,
        }
    }
}

fn notes(prepared: &Prepared) -> Vec<Noted> {
    let flags = prepared.plan.flags.iter().map(|flag| Noted::new(&flag.key, flagged(flag.finding)));
    flags.chain(prepared.left_alone().cloned()).collect()
}

/// Answers what the gate of deliveries looks at.
pub(in crate::promote) async fn facts(ctx: &Context, promotion: &Promotion, look: Look) -> Result<Vec<DeliveryFact>> {
    let Some(candidate) = promotion.candidate else { return Ok(Vec::new()) };
    let mut facts = Vec::new();
    for delivery in configured(ctx, &promotion.environment, (candidate, promotion.previous)).await? {
        facts.push(fact(ctx, promotion, candidate, (&delivery.0, &delivery.1), look).await?);
    }
    Ok(facts)
}

async fn fact(
    ctx: &Context,
    promotion: &Promotion,
    candidate: ObjectId,
    (name, spec): (&str, &SyncSpec),
    look: Look,
) -> Result<DeliveryFact> {
    let known = ctx.store.sync_flags(name).await?;
    let fact = DeliveryFact { sync: name.to_owned(), ..DeliveryFact::default() };
    if look == Look::Flagged && known.is_empty() {
        return Ok(fact);
    }
    let (sync, prepared) = match prepare(ctx, &promotion.environment, candidate, (name, spec)).await {
        Ok(prepared) => prepared,
        Err(problem) => return Ok(DeliveryFact { problem: Some(hindrance(name, problem)?), ..fact }),
    };
    let flags: Vec<(Vec<u8>, String)> = prepared
        .plan
        .flags
        .iter()
        .map(|flag| (flag.key.as_bytes().to_vec(), flagged(flag.finding).to_owned()))
        .collect();
    if look == Look::Now {
        ctx.store.flag_sync(name, &flags, ctx.now()).await?;
    }
    let is_still = |key: &[u8]| flags.iter().any(|(flagged, _)| flagged == key);
    let refusal = sync.refusal(&prepared.plan);
    Ok(DeliveryFact {
        flagged: notes(&prepared).into_iter().map(|one| (one.key, one.reason)).collect(),
        resolvable: prepared.plan.resolvable(),
        since: known.iter().filter(|flag| is_still(&flag.key)).map(|flag| flag.since).min(),
        problem: refusal.map(|refusal| hindrance(name, refusal)).transpose()?,
        ..fact
    })
}

fn hindrance(name: &str, problem: sync::Error) -> Result<Hindrance> {
    let clears = match &problem {
        sync::Error::Guard { .. } => format!("raise `max_delete` of sync {name} where all of it may go"),
        other => other.hint().unwrap_or_else(|| format!("`cascade sync {name} --dry-run` says more")),
    };
    Ok(Hindrance { fact: told(problem)?, clears })
}
