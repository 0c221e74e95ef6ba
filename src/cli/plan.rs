//! `cascade plan ENV`, and every dry run.

use serde::Serialize;

use super::args::Named;
use super::standing::{self, Standing};
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, Ui, words};
use crate::base::ErrorKind;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::config::{Environment, RollbackMode};
use crate::context::Context;
use crate::git::CommitSummary;
use crate::promote::{self, Drift, Finding, Preview};
use crate::store::Quarantined;

/// Most commits and most files that are listed.
const LISTED_LIMIT: usize = 20;

/// What a promotion would do.
#[derive(Debug, Serialize)]
struct Document {
    environment: String,
    branch: String,
    source_branch: String,
    source: ObjectId,
    tip: Option<ObjectId>,
    nothing_to_promote: bool,
    commit_count: usize,
    commits: Vec<CommitSummary>,
    files: Vec<ChangedFile>,
    insertions: usize,
    deletions: usize,
    checks: Vec<PlannedCheck>,
    verify: Vec<String>,
    gates: Vec<PlannedGate>,
    drift: Vec<CommitSummary>,
    drift_fact: Option<String>,
    next: Option<String>,
    rollback: RollbackMode,
    undone_by: &'static str,
}

#[derive(Debug, Serialize)]
struct ChangedFile {
    status: char,
    path: String,
}

#[derive(Debug, Serialize)]
struct PlannedCheck {
    name: String,
    known: bool,
}

/// A gate as it stands before there is a candidate.
#[derive(Debug, Serialize)]
struct PlannedGate {
    gate: &'static str,
    open: bool,
    fact: String,
    clears: Option<String>,
}

/// Shows what a promotion would do.
///
/// # Errors
/// As [`show`]; not a project.
pub async fn run(shell: &Shell, args: &Named) -> Outcome {
    let ctx = shell.context().await?;
    show(shell, &ctx, &args.environment, None).await
}

/// Shows what a promotion into `environment`, or a `hotfix` for it, would do, from local references and the store; does
/// nothing.
///
/// # Errors
/// Unknown environment; the environment's branch has drifted (then the plan is printed first).
pub async fn show(shell: &Shell, ctx: &Context, environment: &str, hotfix: Option<&str>) -> Outcome {
    let (document, drift) = gather(ctx, environment, hotfix).await?;
    if shell.ui.is_json() {
        shell.ui.json(&document)?;
    } else {
        print(&shell.ui, &document);
    }
    drift.map_or(Ok(()), |drift| Err(drifted(environment, &drift)))
}

fn drifted(environment: &str, drift: &Drift) -> Failure {
    let hint = format!("`{}`; or keep it here alone with `cascade promote {environment} --merge`", drift.next);
    Failure::new(ErrorKind::Conflict, drift.fact.clone()).with_hint(hint)
}

async fn gather(ctx: &Context, environment: &str, hotfix: Option<&str>) -> Outcome<(Document, Option<Drift>)> {
    let spec = standing::known(ctx, environment)?;
    let standing = standing::of(ctx, environment).await?;
    let Preview { source_branch, source, tip, commits, commit_count, changes, drift } =
        promote::preview(ctx, environment, hotfix).await?;
    let tree = ctx.git.run(move |repo| repo.tree_of(source)).await?;
    let forecast = promote::check_forecast(ctx, environment, tree).await?;
    let quarantined = ctx.store.quarantined(environment).await?;
    let failed = quarantined.into_iter().find(|entry| entry.source == source || entry.tree == tree);
    let pushes = {
        let remote = ctx.config.remote.clone();
        ctx.git.run(move |repo| Ok(repo.has_remote(&remote))).await?
    };
    let soak = match hotfix {
        None => promote::soak(ctx, environment, source).await?,
        Some(_) => promote::no_soak(spec.soak),
    };
    let document = Document {
        environment: environment.to_owned(),
        branch: spec.branch.clone(),
        source_branch,
        source,
        tip,
        nothing_to_promote: commit_count == 0 && changes.files.is_empty(),
        commit_count,
        commits: commits.into_iter().take(LISTED_LIMIT).collect(),
        files: changes.files.into_iter().map(|(status, path)| ChangedFile { status, path }).collect(),
        insertions: changes.insertions,
        deletions: changes.deletions,
        checks: forecast.into_iter().map(|(name, known)| PlannedCheck { name, known }).collect(),
        verify: spec.verify.clone(),
        gates: gates(spec, &standing, failed, soak),
        drift: drift.iter().flat_map(|drift| drift.commits.clone()).collect(),
        drift_fact: drift.as_ref().map(|drift| drift.fact.clone()),
        next: drift.as_ref().map(|drift| drift.next.clone()),
        rollback: spec.rollback,
        undone_by: undone_by(spec.rollback, pushes),
    };
    Ok((document, drift))
}

fn gates(
    spec: &Environment,
    standing: &Standing,
    failed: Option<Quarantined>,
    soak: Option<Finding>,
) -> Vec<PlannedGate> {
    let resume = || Some(format!("cascade resume {}", standing.name));
    let hold = standing.hold.as_ref().map(|hold| PlannedGate {
        gate: "hold",
        open: false,
        fact: format!("held by {}: {}", words::name(&hold.person), hold.reason),
        clears: resume(),
    });
    let quarantine = failed.map(|entry| PlannedGate {
        gate: "quarantine",
        open: false,
        fact: format!("commit {} failed here in promotion {}", entry.source.short(), entry.promotion),
        clears: Some(format!("save a fix, or `cascade resume {}`", standing.name)),
    });
    let soak = soak.map(|soak| PlannedGate {
        gate: soak.gate.as_str(),
        open: soak.open,
        fact: soak.fact,
        clears: soak.clears,
    });
    let approval = spec.approval.as_ref().map(|policy| PlannedGate {
        gate: "approval",
        open: policy.required == 0,
        fact: format!(
            "{} of the candidate, within {}{}",
            count(policy.required as usize, "approval"),
            policy.expires,
            if policy.own { "" } else { ", not by who asks" }
        ),
        clears: Some("cascade approve".to_owned()),
    });
    [hold, quarantine, soak, approval].into_iter().flatten().collect()
}

fn undone_by(mode: RollbackMode, pushes: bool) -> &'static str {
    match (mode, pushes) {
        (RollbackMode::Auto, false) => "the branch is moved back: the candidate does not leave this machine",
        (RollbackMode::Reset, _) => "the branch is moved back, on the remote too where it allows that",
        (RollbackMode::Auto, true) | (RollbackMode::Restore, _) => "a new commit with the content verified before",
    }
}

fn print(ui: &Ui, document: &Document) {
    let (source, tip) = (document.source.short(), words::brief(document.tip));
    let title = format!("{} ({source}) → {} ({tip})", document.source_branch, document.environment);
    ui.heading(&title);
    if document.nothing_to_promote {
        ui.line("nothing to promote");
        return;
    }
    print_commits(ui, document);
    print_files(ui, document);
    print_questions(ui, document);
    print_gates(ui, &document.gates);
    ui.pieces(&[Cell::new("a failure is undone by: ", Tone::Dim), document.undone_by.into()]);
    for commit in document.drift.iter().take(LISTED_LIMIT) {
        let text = format!("drift: {} {} ({})", commit.id.short(), commit.subject, commit.author);
        ui.pieces(&[Cell::new(text, Tone::Bad)]);
    }
}

fn print_commits(ui: &Ui, document: &Document) {
    ui.heading(&count(document.commit_count, "commit"));
    for commit in &document.commits {
        let author = Cell::new(format!(" ({})", commit.author), Tone::Dim);
        ui.pieces(&[format!("  {} {}", commit.id.short(), commit.subject).into(), author]);
    }
    print_rest(ui, document.commit_count.saturating_sub(document.commits.len()));
}

fn print_files(ui: &Ui, document: &Document) {
    let lines = format!("+{} -{} lines", document.insertions, document.deletions);
    ui.heading(&format!("{}, {lines}", count(document.files.len(), "file")));
    for file in document.files.iter().take(LISTED_LIMIT) {
        ui.line(&format!("  {} {}", file.status, file.path));
    }
    print_rest(ui, document.files.len().saturating_sub(LISTED_LIMIT));
}

fn print_rest(ui: &Ui, rest: usize) {
    if rest > 0 {
        ui.line(&format!("  and {rest} more"));
    }
}

fn print_questions(ui: &Ui, document: &Document) {
    ui.heading("checks");
    for check in &document.checks {
        let (mark, tone, what) = match check.known {
            true => ("✓", Tone::Good, "known to pass on this content"),
            false => ("•", Tone::Plain, "will run"),
        };
        ui.pieces(&["  ".into(), Cell::new(mark, tone), format!(" {}: {what}", check.name).into()]);
    }
    for name in &document.verify {
        ui.line(&format!("  • {name}: verifies what is live"));
    }
    if document.checks.is_empty() && document.verify.is_empty() {
        ui.line("  none are configured");
    }
}

fn print_gates(ui: &Ui, gates: &[PlannedGate]) {
    if gates.is_empty() {
        return;
    }
    ui.heading("gates");
    for gate in gates {
        let clears = gate.clears.as_deref().map(|clears| format!(" → {clears}")).unwrap_or_default();
        let (mark, tone) = if gate.open { ("✓", Tone::Good) } else { ("•", Tone::Warn) };
        ui.pieces(&["  ".into(), Cell::new(mark, tone), format!(" {}: {}{clears}", gate.gate, gate.fact).into()]);
    }
}
