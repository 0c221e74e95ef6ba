//! The rules by which candidates land in an environment, as the environment itself has them.
//!
//! They are read from the configuration that is committed on the environment's branch, so that no change can weaken the
//! gates that it has to pass itself; it counts from the next promotion on. There the environment is the one with that
//! branch: under whichever name it is known elsewhere, its rules stay the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Error, Result};
use super::plan::{source_tip, unknown};
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::config::{self, CheckSpec, Config, Environment, FILE_NAME, SyncSpec, Waivable};
use crate::context::Context;
use crate::store::Promotion;

/// The rules of one environment.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What it is called where the rules were read.
    pub name: String,
    /// Its gates, and which checks it asks.
    pub environment: Environment,
    /// What each check asks.
    pub checks: BTreeMap<String, CheckSpec>,
    /// What it delivers, in this order: each sync with its name.
    pub deliveries: Vec<(String, SyncSpec)>,
    /// Who belongs to which group.
    pub groups: BTreeMap<String, Vec<String>>,
    /// The digest of all this, as it is written.
    pub digest: Option<Digest>,
    /// What feeds it.
    pub feeding: Feeding,
    /// Where it was read.
    pub origin: Origin,
}

/// What feeds an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feeding {
    /// The sandbox, whichever branch it saves to now.
    Sandbox,
    /// Another environment.
    Environment {
        /// What it is called where the rules were read.
        name: String,
        /// Its branch.
        branch: String,
    },
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
    fn of(config: &Config, branch: &str, origin: Origin) -> Option<Self> {
        let (name, environment) = config.environment_on(branch)?;
        Some(Self {
            name: name.to_owned(),
            environment: environment.clone(),
            checks: config.checks.clone(),
            deliveries: deliveries(config, environment),
            groups: config.groups.clone(),
            digest: config.policy_digest(name),
            feeding: Feeding::of(config, name)?,
            origin,
        })
    }
}

/// Answers the syncs that an environment delivers, in order.
pub(super) fn deliveries(config: &Config, environment: &Environment) -> Vec<(String, SyncSpec)> {
    let named = environment.deliver.iter().filter_map(|name| config.syncs.get_key_value(name));
    named.map(|(name, spec)| (name.clone(), spec.clone())).collect()
}

impl Feeding {
    fn of(config: &Config, name: &str) -> Option<Self> {
        let Some(upstream) = config.upstream(name) else {
            return config.environment(name).map(|_| Self::Sandbox);
        };
        let branch = config.environment(upstream)?.branch.clone();
        Some(Self::Environment { name: upstream.to_owned(), branch })
    }

    /// Answers the branch that candidates come from.
    #[must_use]
    pub fn branch<'a>(&'a self, config: &'a Config) -> &'a str {
        match self {
            Self::Sandbox => &config.sandbox.branch,
            Self::Environment { branch, .. } => branch,
        }
    }

    /// Answers the environment that candidates come from, by the name that it has here; nothing where it is the sandbox.
    #[must_use]
    pub fn upstream<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        match self {
            Self::Sandbox => None,
            Self::Environment { name, branch } => Some(config.environment_on(branch).map_or(name, |(name, _)| name)),
        }
    }

    /// Whatever the two are called, the same branch feeds.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Environment { branch, .. }, Self::Environment { branch: other, .. }) => branch == other,
            (one, other) => one == other,
        }
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
    let branch = ctx.config.environment(name).ok_or_else(|| unknown(ctx, name))?.branch.as_str();
    for origin in [tip.map(Origin::Target), offered.map(Origin::Candidate)].into_iter().flatten() {
        let (Origin::Target(commit) | Origin::Candidate(commit)) = origin else { continue };
        if let Some(policy) = committed(ctx, commit).await?.and_then(|config| Policy::of(&config, branch, origin)) {
            return Ok(policy);
        }
    }
    Policy::of(&ctx.config, branch, Origin::Checkout).ok_or_else(|| unknown(ctx, name))
}

/// Answers what feeds an environment by the rules that it has here.
///
/// # Errors
/// As [`of_environment`].
pub async fn feeding(ctx: &Context, name: &str) -> Result<Feeding> {
    let tip = tip_of(ctx, name).await?;
    Ok(of_environment(ctx, name, tip, None).await?.feeding)
}

/// Answers what feeds an environment, for showing it: rules that cannot be read are those of the working tree here.
///
/// # Errors
/// Unknown environment; a commit cannot be read.
pub async fn shown_feeding(ctx: &Context, name: &str) -> Result<Feeding> {
    match feeding(ctx, name).await {
        Err(Error::Policy { .. }) => Feeding::of(&ctx.config, name).ok_or_else(|| unknown(ctx, name)),
        answered => answered,
    }
}

/// Answers the branch that a promotion's source comes from; refuses where the working tree names another one than the
/// rules do, unless that change is what the promotion brings.
///
/// # Errors
/// [`Error::OtherSource`]; otherwise as [`of_environment`].
pub(super) async fn source_branch(ctx: &Context, name: &str) -> Result<String> {
    let policy = of_environment(ctx, name, tip_of(ctx, name).await?, None).await?;
    let branch = policy.feeding.branch(&ctx.config).to_owned();
    let (place, sandbox, remote) = (branch.clone(), ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let source = ctx.git.run(move |repo| source_tip(repo, (&place, &sandbox), &remote)).await?;
    require_source(ctx, name, &policy, source).await?;
    Ok(branch)
}

/// Refuses where the working tree names another source than the rules do, and `brought` does not have that change.
pub(super) async fn require_source(ctx: &Context, name: &str, policy: &Policy, brought: ObjectId) -> Result<()> {
    let written = Feeding::of(&ctx.config, name).ok_or_else(|| unknown(ctx, name))?;
    if written.is_same(&policy.feeding) {
        return Ok(());
    }
    let branch = &policy.environment.branch;
    let brought = committed(ctx, brought).await?.and_then(|config| Policy::of(&config, branch, policy.origin));
    if brought.is_some_and(|brought| written.is_same(&brought.feeding)) {
        return Ok(());
    }
    Err(Error::OtherSource {
        environment: name.to_owned(),
        written: written.branch(&ctx.config).to_owned(),
        ruled: policy.feeding.branch(&ctx.config).to_owned(),
        commit: match policy.origin {
            Origin::Target(commit) | Origin::Candidate(commit) => commit.short(),
            Origin::Checkout => FILE_NAME.to_owned(),
        },
    })
}

/// Answers the names that an environment goes by: its own, and the one by which its rules know it where that is another.
///
/// # Errors
/// Unknown environment; a commit cannot be read.
pub(super) async fn names(ctx: &Context, name: &str) -> Result<Vec<String>> {
    let tip = tip_of(ctx, name).await?;
    let ruled = match of_environment(ctx, name, tip, None).await {
        Err(Error::Policy { .. }) => None,
        found => Some(found?.name).filter(|ruled| ruled != name),
    };
    Ok(std::iter::once(name.to_owned()).chain(ruled).collect())
}

async fn tip_of(ctx: &Context, name: &str) -> Result<Option<ObjectId>> {
    known_tip(ctx, &ctx.config.environment(name).ok_or_else(|| unknown(ctx, name))?.branch).await
}

/// Answers where an environment's branch is, as far as is known here.
///
/// # Errors
/// The repository cannot be read.
pub(super) async fn known_tip(ctx: &Context, branch: &str) -> Result<Option<ObjectId>> {
    let (branch, remote) = (branch.to_owned(), ctx.config.remote.clone());
    Ok(ctx.git.run(move |repo| repo.furthest_tip(&remote, &branch)).await?)
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
pub(super) async fn committed(ctx: &Context, commit: ObjectId) -> Result<Option<Arc<Config>>> {
    if let Some(known) = ctx.committed.get(commit) {
        return Ok(known);
    }
    let found = ctx.git.run(move |repo| repo.content_at(commit, FILE_NAME.as_bytes())).await?;
    let refused = |problems| Error::Policy { commit: commit.short(), problems: Box::new(problems) };
    let parsed = found.map(|bytes| {
        let source_name = format!("{FILE_NAME} of {}", commit.short());
        config::parse(&String::from_utf8_lossy(&bytes), &source_name, &ctx.variables).map(Arc::new).map_err(refused)
    });
    let config = parsed.transpose()?;
    ctx.committed.keep(commit, config.clone());
    Ok(config)
}
