//! Continuous health: the checks under `health`, asked again and again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::alert::Alert;
use crate::check::{self, Answer, Outcome, Place};
use crate::config::AlertEvent;
use crate::context::Context;
use crate::store::HealthRecord;

/// Rounds are not asked more often than this.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

/// Asks every check each `health.every`, forever; returns at once where there is none.
pub(super) async fn run(ctx: Context) {
    if ctx.config.health.checks.is_empty() {
        return;
    }
    let mut rounds = tokio::time::interval(ctx.config.health.every.0.max(SHORTEST_ROUND));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: HashMap<String, Outcome> = earlier(&ctx).await;
    loop {
        rounds.tick().await;
        for name in &ctx.config.health.checks {
            ask(&ctx, name, &mut known).await;
        }
    }
}

/// What the last watcher found: a restart is no change.
async fn earlier(ctx: &Context) -> HashMap<String, Outcome> {
    let records = ctx.store.health().await.unwrap_or_default();
    records.into_iter().filter_map(|record| Some((record.name, record.outcome.parse().ok()?))).collect()
}

async fn ask(ctx: &Context, name: &str, known: &mut HashMap<String, Outcome>) {
    let Some(spec) = ctx.config.checks.get(name) else { return };
    let place = Place { directory: Some(ctx.git.root()), ..Place::default() };
    let answer = check::ask(name, spec, &place).await;
    let now = ctx.now();
    let record = HealthRecord {
        name: name.to_owned(),
        outcome: answer.outcome.to_string(),
        detail: answer.detail.clone(),
        since: now,
        at: now,
    };
    if let Err(problem) = ctx.store.report_health(&record).await {
        tracing::warn!(%problem, "the answer of a health check cannot be stored");
    }
    let before = known.insert(name.to_owned(), answer.outcome);
    if before.is_some_and(|before| before != answer.outcome) || (before.is_none() && answer.outcome != Outcome::Pass) {
        tell(ctx, name, &answer);
    }
}

fn tell(ctx: &Context, name: &str, answer: &Answer) {
    let said = match answer.outcome {
        Outcome::Pass => "passes",
        Outcome::Fail => "fails",
        Outcome::Unknown => "cannot be answered",
    };
    tracing::info!(check = name, outcome = %answer.outcome, detail = answer.detail, "health changed");
    ctx.tell(Alert::new(AlertEvent::Health, format!("{name} {said}"), &answer.detail));
}
