//! `cascade why ENV`.

use serde::Serialize;

use super::args::Named;
use super::standing::{self, Standing};
use super::syncs::{self, SyncStatus};
use super::ui::{Cell, Tone};
use super::{Outcome, Shell, words};
use crate::base::Timestamp;
use crate::base::escape::{shell_word, shown};
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::promote::{self, Finding, Gate, Preview, culprit};
use crate::store::{CheckRecord, Promotion, State, Verdict};

/// Why the newest commit of the source is not live, or that it is.
#[derive(Debug, Serialize)]
struct Document {
    environment: String,
    source: ObjectId,
    tip: Option<ObjectId>,
    state: Option<State>,
    promotion: Option<String>,
    summary: String,
    facts: Vec<String>,
    /// Every gate, open or closed, in the order they are asked.
    gates: Vec<Finding>,
    waiting_for: Vec<Finding>,
    next: Option<String>,
    rules: String,
}

/// Explains why the source's newest commit is not live in an environment.
///
/// # Errors
/// Unknown environment; the store or the repository cannot be read.
pub async fn run(shell: &Shell, args: &Named) -> Outcome {
    let ctx = shell.context().await?;
    let standing = standing::of(&ctx, &args.environment).await?;
    let preview = promote::preview(&ctx, &args.environment, None).await?;
    let document = explain(&ctx, standing, &preview).await?;
    if shell.ui.is_json() {
        return shell.ui.json(&document);
    }
    shell.ui.heading(&document.summary);
    document.facts.iter().for_each(|fact| shell.ui.line(&format!("  {fact}")));
    shell.ui.pieces(&[Cell::new("rules: ", Tone::Dim), document.rules.as_str().into()]);
    if let Some(next) = &document.next {
        shell.ui.pieces(&[Cell::new("next: ", Tone::Dim), Cell::new(next, Tone::Strong)]);
    }
    Ok(())
}

async fn explain(ctx: &Context, standing: Standing, preview: &Preview) -> Outcome<Document> {
    let now = ctx.now();
    let mut facts = Vec::new();
    let checks = match standing.failure() {
        Some(last) => ctx.store.checks(&last.id).await?,
        None => Vec::new(),
    };
    let check_facts: Vec<String> =
        checks.iter().filter(|check| check.outcome != "pass").flat_map(check_facts).collect();
    let with_reason = check_facts.is_empty() && !standing.is_told_by_rehearsal();
    facts.extend(last_fact(&standing, with_reason, now));
    facts.extend(check_facts);
    facts.extend(culprit_facts(ctx, &standing).await?);
    facts.extend(standing.watch());
    facts.extend(hold_fact(&standing, now));
    let gates = gates(ctx, &standing, preview).await?;
    facts.extend(gates.iter().map(|finding| gate_fact(finding, now)));
    let is_told =
        |sync: &str| gates.iter().any(|finding| finding.gate == Gate::Delivery && finding.fact.contains(sync));
    facts.extend(delivery_facts(ctx, &standing.name, is_told, now).await?);
    facts.extend(quarantine_fact(ctx, &standing, preview.source).await?);
    facts.extend(rehearsal_fact(&standing, preview, now));
    if standing.is_interrupted {
        facts.push("it was left in the middle of a step (its process died, or the remote did not answer): the next promotion takes it up".to_owned());
    }
    let policy = promote::policy::of_environment(ctx, &standing.name, preview.tip, Some(preview.source)).await?;
    Ok(Document {
        summary: summary(&standing, preview),
        source: preview.source,
        tip: preview.tip,
        state: standing.last.as_ref().map(|last| last.state),
        promotion: standing.last.as_ref().map(|last| last.id.to_string()),
        facts,
        next: standing.next(),
        environment: standing.name,
        waiting_for: gates.iter().filter(|finding| !finding.open).cloned().collect(),
        gates,
        rules: words::origin(policy.origin, &standing.branch),
    })
}

/// Answers what is the matter with what the environment delivers, where no gate tells it.
async fn delivery_facts(
    ctx: &Context,
    environment: &str,
    is_told: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Outcome<Vec<String>> {
    let delivered = |sync: &SyncStatus| sync.delivered_by.iter().any(|by| by == environment);
    let syncs = syncs::all(ctx).await?.into_iter().filter(|sync| delivered(sync) && !is_told(&sync.name));
    let facts = syncs.flat_map(|sync| {
        let name = sync.name.clone();
        sync.troubles(now).into_iter().map(move |trouble| format!("delivery {name}: {trouble}"))
    });
    Ok(facts.collect())
}

/// Answers which save is to blame for a failed check, and how to promote what comes before it.
async fn culprit_facts(ctx: &Context, standing: &Standing) -> Outcome<Vec<String>> {
    let Some(failed) = standing.failure() else { return Ok(Vec::new()) };
    let Some(found) = culprit::of(ctx, failed).await? else { return Ok(Vec::new()) };
    let way_out = found.way_out(&standing.name).map(|command| format!("what comes before it: `{command}`"));
    Ok(std::iter::once(found.fact()).chain(way_out).collect())
}

/// Answers the gates of the open promotion, else those that the newest commit would meet.
async fn gates(ctx: &Context, standing: &Standing, preview: &Preview) -> Outcome<Vec<Finding>> {
    let is_offered = standing.open.is_none() && standing.has_news() && standing.failure().is_none();
    match is_offered {
        true => Ok(promote::forecast(ctx, &promote::Request::to(&standing.name), preview, promote::Look::Now).await?),
        false => Ok(standing.gates.clone()),
    }
}

fn summary(standing: &Standing, preview: &Preview) -> String {
    let (name, newest) = (&standing.name, preview.source);
    let source = standing.open.as_ref().map_or(newest, |open| open.source).short();
    match (&standing.open, standing.failure()) {
        (Some(open), _) if open.state == State::Waiting => format!("{source} waits at a gate of {name}"),
        (Some(open), _) if open.state == State::Planned && open.step.is_none() => {
            format!("{source} is planned for {name}: nobody promoted it yet")
        }
        (Some(open), _) if open.is_paused() => format!("{name} is paused: what is live there is not verified"),
        (Some(open), _) => format!("{source} is on its way to {name}: {}", words::state(open.state)),
        (None, Some(Promotion { hotfix: Some(branch), source, state, .. })) => {
            let (hotfix, branch) = (source.short(), shown(branch.as_bytes()));
            format!("the hotfix {hotfix} from `{branch}` is not live in {name}: it {}", ended(*state))
        }
        (None, _) if preview.is_empty() => format!("nothing to promote: {name} has {source} already"),
        (None, Some(last)) => format!("{source} is not live in {name}: its promotion {}", ended(last.state)),
        (None, None) if preview.drift.is_some() => format!("{source} is not live in {name}: its branch drifted"),
        (None, None) if standing.hold.is_some() => format!("{source} is not live in {name}: it is held"),
        (None, None) => format!("{source} is not live in {name}: nobody promoted it yet"),
    }
}

fn ended(state: State) -> &'static str {
    match state {
        State::RolledBack => "was rolled back",
        State::RollbackFailed => "could not be rolled back",
        State::Drifted => "found that the branch drifted",
        State::Conflict => "has conflicts",
        State::Rejected => "was rejected",
        State::Expired => "expired",
        _ => "failed",
    }
}

/// The reason is told here unless the facts that follow do it in detail.
fn last_fact(standing: &Standing, with_reason: bool, now: Timestamp) -> Option<String> {
    let Some(last) = &standing.last else {
        return Some("there was no promotion yet".to_owned());
    };
    // What a paused one waits for says it.
    let reason = last.reason.as_deref().filter(|_| with_reason && !last.is_paused());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let age = words::age(now, last.updated_at);
    Some(format!("last promotion {} {} {age}{reason}", last.id, words::progress(last)))
}

fn hold_fact(standing: &Standing, now: Timestamp) -> Option<String> {
    let hold = standing.hold.as_ref()?;
    let age = words::age(now, hold.at);
    let reason = if standing.is_held_by_last() { String::new() } else { format!(": {}", hold.reason) };
    Some(format!("held since {age} by {} ({}){reason}", words::name(&hold.person), hold.cause))
}

fn gate_fact(finding: &Finding, now: Timestamp) -> String {
    let since = finding.since.map(|since| format!(" since {}", words::age(now, since))).unwrap_or_default();
    let clears = finding.clears.as_deref().map(|clears| format!(" → {clears}")).unwrap_or_default();
    let state = if finding.open { "open" } else { "closed" };
    format!("gate {} is {state}{since}: {}{clears}", finding.gate.as_str(), finding.fact)
}

async fn quarantine_fact(ctx: &Context, standing: &Standing, source: ObjectId) -> Outcome<Option<String>> {
    let quarantined = ctx.store.quarantined(&standing.name).await?;
    let entry = quarantined.into_iter().find(|entry| entry.source == source);
    Ok(entry.map(|entry| format!("{} is quarantined: it failed in promotion {}", source.short(), entry.promotion)))
}

fn check_facts(check: &CheckRecord) -> Vec<String> {
    let verb = if check.outcome == "fail" { "failed" } else { "could not answer" };
    let fact = format!("{} `{}` {verb}: {}", words::phase(check.phase), check.name, check.detail);
    let log = check.log.as_deref().map(|log| format!("its output: tail {}", shell_word(log)));
    std::iter::once(fact).chain(log).collect()
}

/// Answers what the next promotion would meet: what stops it even when all that is saved has come to the source, or what
/// only the source lacks yet.
fn rehearsal_fact(standing: &Standing, preview: &Preview, now: Timestamp) -> Option<String> {
    let rehearsal = standing.rehearsal.as_ref()?;
    let way = format!("{} → {}", rehearsal.from, rehearsal.environment);
    let since = rehearsal.since.map(|since| format!(", since {}", words::age(now, since))).unwrap_or_default();
    match (rehearsal.verdict, &rehearsal.fact) {
        (Verdict::Clean, None) => {
            let is_ready = !preview.is_empty() && standing.failure().is_none() && standing.hold.is_none();
            is_ready.then(|| format!("{way}: clean"))
        }
        (Verdict::Clean, Some(fact)) => Some(format!("{way}: {fact} yet")),
        (Verdict::Drift | Verdict::Conflict, fact) => {
            Some(format!("{way} would stop: {}{since}", fact.as_deref().unwrap_or_default()))
        }
    }
}
