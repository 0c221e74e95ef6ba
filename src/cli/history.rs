//! `cascade history [ENV] [--limit N]`.

use serde::Serialize;
use serde_json::Value;

use super::args::History;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, standing, words};
use crate::base::Timestamp;
use crate::base::id::{ObjectId, PromotionId};
use crate::context::Context;
use crate::git::LEDGER;
use crate::promote::culprit::{self, Culprit};
use crate::store::{CheckPhase, CheckRecord, EarlierAttempt, Promotion, State, Waiver};

/// Characters of a reason in the table; `cascade show` has all of it.
const REASON_CHARS: usize = 60;
const HEADER: [&str; 8] = ["ID", "ENVIRONMENT", "STATE", "CHANGE", "BY", "WHEN", "TOOK", "REASON"];

/// A promotion as programs read it.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its name.
    pub id: PromotionId,
    /// The environment it goes to.
    pub environment: String,
    /// The commit that was offered.
    pub candidate: Option<ObjectId>,
    /// The commit that it was made from.
    pub source: ObjectId,
    /// The branch that it comes from past the environments before: a hotfix.
    pub hotfix: Option<String>,
    /// The environment's tip before.
    pub previous: Option<ObjectId>,
    /// How far it is.
    pub state: State,
    /// Whether it is live and rests unverified: what fails now failed before it landed.
    pub paused: bool,
    /// Who asked for it.
    pub requested_by: String,
    /// Who consented to the candidate.
    pub approved_by: Vec<String>,
    /// Gates that somebody waived.
    pub waivers: Vec<Waiver>,
    /// What the checks answered.
    pub checks: Vec<CheckEntry>,
    /// Which save is to blame for a failed check, where that was found out.
    pub culprit: Option<Culprit>,
    /// When it was proposed.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Until when it is verified again and again.
    pub watching_until: Option<Timestamp>,
    /// Why it is in its state.
    pub reason: Option<String>,
    /// Why it was asked for.
    pub purpose: Option<String>,
}

/// A check's answer as programs read it.
#[derive(Debug, Clone, Serialize)]
pub struct CheckEntry {
    /// The check.
    pub name: String,
    /// Before or after landing.
    pub phase: CheckPhase,
    /// `pass`, `fail` or `unknown`.
    pub outcome: String,
    /// One line on why.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether the answer was known already.
    pub cached: bool,
    /// The kept output.
    pub log: Option<String>,
    /// How it failed first, where it was asked once more because it is known to fail now and then.
    pub earlier: Option<AttemptEntry>,
}

/// The first of two attempts at a check as programs read it.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptEntry {
    /// `fail`.
    pub outcome: String,
    /// One line on why.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
    /// The kept output.
    pub log: Option<String>,
}

impl From<CheckRecord> for CheckEntry {
    fn from(check: CheckRecord) -> Self {
        let CheckRecord { phase, name, outcome, detail, log, cached, took_ms, earlier, .. } = check;
        let earlier = earlier.map(AttemptEntry::from);
        Self { name, phase, outcome, detail, seconds: seconds(took_ms), cached, log, earlier }
    }
}

impl From<EarlierAttempt> for AttemptEntry {
    fn from(attempt: EarlierAttempt) -> Self {
        let EarlierAttempt { outcome, detail, log, took_ms } = attempt;
        Self { outcome, detail, seconds: seconds(took_ms), log }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

/// Lists promotions, the newest first.
///
/// # Errors
/// Unknown environment; the store cannot be read.
pub async fn run(shell: &Shell, args: &History) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let environment = args.environment.as_deref();
    if let Some(name) = environment {
        standing::known(&ctx, name)?;
    }
    let limit = i64::from(args.limit);
    let promotions = match args.all {
        true => ctx.store.promotions(environment, limit).await?,
        false => ctx.store.attempts(environment, limit).await?,
    };
    let elsewhere = if promotions.is_empty() { elsewhere(&ctx).await? } else { None };
    if let Some(place) = &elsewhere {
        let advice = "`cascade doctor` makes it again from that";
        shell.ui.warning(&format!("this machine has no record of promotions, and {place} has: {advice}"));
    }
    if shell.ui.is_json() {
        let mut entries = Vec::with_capacity(promotions.len());
        for promotion in &promotions {
            entries.push(entry(&ctx, promotion).await?);
        }
        return shell.ui.json(&entries);
    }
    if elsewhere.is_some() {
        return Ok(());
    }
    if promotions.is_empty() {
        shell.ui.line("nothing was promoted yet: begin with `cascade plan` and `cascade promote`");
        return Ok(());
    }
    let header = HEADER.iter().map(|title| Cell::new(title, Tone::Dim)).collect();
    let rows = promotions.iter().map(|promotion| row(promotion, ctx.now()));
    shell.ui.table(&std::iter::once(header).chain(rows).collect::<Vec<_>>());
    Ok(())
}

/// Answers where promotions are recorded of which the database here knows none: in the ledger, here or on the remote.
async fn elsewhere(ctx: &Context) -> Outcome<Option<String>> {
    if !ctx.store.promotions(None, 1).await?.is_empty() {
        return Ok(None);
    }
    let (remote, branch) = (ctx.config.remote.clone(), ctx.config.sandbox.branch.clone());
    let found = ctx.git.run(move |repo| {
        if repo.ledger_tip()?.is_some() {
            return Ok(Some(LEDGER.to_owned()));
        }
        // Who cannot be asked has nothing to tell.
        let theirs = repo.has_remote(&remote).then(|| repo.remote_tips(&remote, &branch).ok()).flatten();
        Ok(theirs.and_then(|(_, ledger)| ledger).map(|_| format!("{LEDGER} on {remote}")))
    });
    Ok(found.await?)
}

/// Answers a promotion as programs read it.
///
/// # Errors
/// The store cannot be read.
pub async fn document(ctx: &Context, promotion: &Promotion) -> Outcome<Value> {
    let problem = |problem: serde_json::Error| Failure::internal(format!("cannot write JSON: {problem}"));
    serde_json::to_value(entry(ctx, promotion).await?).map_err(problem)
}

/// Gathers what programs read of a promotion.
///
/// # Errors
/// The store cannot be read.
pub async fn entry(ctx: &Context, promotion: &Promotion) -> Outcome<Entry> {
    let Promotion { id, environment, candidate, source, previous, state, .. } = promotion.clone();
    let approvals = ctx.store.approvals(&id).await?;
    let approved = approvals.into_iter().filter(|word| word.consent && Some(word.candidate) == candidate);
    let checks = ctx.store.checks(&id).await?;
    Ok(Entry {
        paused: promotion.is_paused(),
        approved_by: approved.map(|word| word.person).collect(),
        waivers: ctx.store.waivers(&id).await?,
        checks: checks.into_iter().map(CheckEntry::from).collect(),
        culprit: culprit::of(ctx, promotion).await?,
        requested_by: promotion.requested_by.clone(),
        created_at: promotion.created_at,
        finished_at: promotion.finished_at,
        watching_until: promotion.watching_until,
        reason: promotion.reason.clone(),
        purpose: promotion.purpose.clone(),
        hotfix: promotion.hotfix.clone(),
        id,
        environment,
        candidate,
        source,
        previous,
        state,
    })
}

fn row(promotion: &Promotion, now: Timestamp) -> Vec<Cell> {
    let end = promotion.finished_at.unwrap_or(now);
    let took_ms = end.as_millisecond() - promotion.created_at.as_millisecond();
    let reason = promotion.reason.as_deref().or(promotion.purpose.as_deref()).unwrap_or_default();
    vec![
        Cell::new(promotion.id.as_str(), Tone::Strong),
        promotion.environment.as_str().into(),
        Cell::new(words::progress(promotion), words::progress_tone(promotion)),
        change(promotion).into(),
        words::name(&promotion.requested_by).into(),
        words::age(now, promotion.created_at).into(),
        words::duration(took_ms).into(),
        words::cut(reason, REASON_CHARS).into(),
    ]
}

/// Answers what replaced what; a promotion without a candidate only has a source.
fn change(promotion: &Promotion) -> String {
    let new = promotion.candidate.unwrap_or(promotion.source);
    format!("{} → {}", words::brief(promotion.previous), words::brief(Some(new)))
}
