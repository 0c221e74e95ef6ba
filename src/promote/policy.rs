//! The rules by which candidates land in an environment, as the environment itself has them.
//!
//! They are read from the configuration that is committed on the environment's branch, so that no change can weaken the
//! gates that it has to pass itself; it counts from the next promotion on.

use std::collections::BTreeMap;

use super::error::{Error, Result};
use super::plan::unknown;
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::config::{self, CheckSpec, Config, Environment, FILE_NAME, Waivable};
use crate::context::Context;
use crate::store::Promotion;

/// The rules of one environment.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its gates, and which checks it asks.
    pub environment: Environment,
    /// What each check asks.
    pub checks: BTreeMap<String, CheckSpec>,
    /// Who belongs to which group.
    pub groups: BTreeMap<String, Vec<String>>,
    /// The digest of all this, as it is written.
    pub digest: Option<Digest>,
    /// Where it was read.
    pub origin: Origin,
}

/// Where rules come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The environment's branch, at this commit.
    Target(ObjectId),
    /// The candidate or its source: the environment has no rules of its own yet.
    Candidate(ObjectId),
    /// The working tree: none are committed.
    Checkout,
}

impl Policy {
    fn of(config: &Config, name: &str, origin: Origin) -> Option<Self> {
        Some(Self {
            environment: config.environment(name)?.clone(),
            checks: config.checks.clone(),
            groups: config.groups.clone(),
            digest: config.policy_digest(name),
            origin,
        })
    }
}

/// Answers the rules that hold for a promotion.
///
/// # Errors
/// As [`of_environment`].
pub async fn of_promotion(ctx: &Context, promotion: &Promotion) -> Result<Policy> {
    let offered = promotion.candidate.unwrap_or(promotion.source);
    of_environment(ctx, &promotion.environment, promotion.previous, Some(offered)).await
}

/// Answers the rules of an environment whose branch is at `tip`, for what is `offered` to it: those committed at the
/// tip; where that has none, those of what is offered; else those of the working tree.
///
/// # Errors
/// Unknown environment; a commit cannot be read; [`Error::Policy`] where what is committed is no good configuration.
pub async fn of_environment(
    ctx: &Context,
    name: &str,
    tip: Option<ObjectId>,
    offered: Option<ObjectId>,
) -> Result<Policy> {
    for origin in [tip.map(Origin::Target), offered.map(Origin::Candidate)].into_iter().flatten() {
        let (Origin::Target(commit) | Origin::Candidate(commit)) = origin else { continue };
        if let Some(policy) = committed(ctx, commit).await?.and_then(|config| Policy::of(&config, name, origin)) {
            return Ok(policy);
        }
    }
    Policy::of(&ctx.config, name, Origin::Checkout).ok_or_else(|| unknown(ctx, name))
}

/// Answers whether somebody waived a gate for a promotion, and the rules let that be.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn is_waived(ctx: &Context, promotion: &Promotion, policy: &Policy, gate: Waivable) -> Result<bool> {
    let waivers = ctx.store.waivers(&promotion.id).await?;
    Ok(policy.environment.waive.contains(&gate) && waivers.iter().any(|waiver| waiver.gate == gate.as_str()))
}

/// Answers the configuration that a commit has; nothing where it has none.
///
/// # Errors
/// The commit cannot be read, or its configuration is no good.
pub(super) async fn committed(ctx: &Context, commit: ObjectId) -> Result<Option<Config>> {
    let found = ctx.git.run(move |repo| repo.content_at(commit, FILE_NAME.as_bytes())).await?;
    let Some(bytes) = found else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let source_name = format!("{FILE_NAME} of {}", commit.short());
    let refused = |problems| Error::Policy { commit: commit.short(), problems: Box::new(problems) };
    config::parse(&text, &source_name, &ctx.variables).map(Some).map_err(refused)
}
