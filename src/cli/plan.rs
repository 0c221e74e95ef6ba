//! `cascade plan ENV`, and every dry run.

use serde::Serialize;

use super::args::Named;
use super::standing;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, Ui, words};
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::{Span, count};
use crate::base::{ErrorKind, Timestamp};
use crate::config::RollbackMode;
use crate::context::Context;
use crate::git::CommitSummary;
use crate::promote::{self, Drift, FailedBefore, Finding, GoesBack, Known, Preview, Request};
use crate::store::Promotion;

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
    goes_back: Option<GoesBack>,
    commit_count: usize,
    commits: Vec<CommitSummary>,
    files: Vec<ChangedFile>,
    insertions: usize,
    deletions: usize,
    checks: Vec<PlannedCheck>,
    verify: Vec<String>,
    watch_for: Span,
    gates: Vec<Finding>,
    drift: Vec<CommitSummary>,
    drift_fact: Option<String>,
    next: Option<String>,
    rollback: RollbackMode,
    undone_by: &'static str,
    rules: String,
    promotion: Option<PromotionId>,
    candidate: Option<ObjectId>,
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
    failed_before: Option<FailedBefore>,
}

impl From<(String, Known)> for PlannedCheck {
    fn from((name, known): (String, Known)) -> Self {
        match known {
            Known::Passed => Self { name, known: true, failed_before: None },
            Known::Failed(failed) => Self { name, known: false, failed_before: Some(failed) },
            Known::Nothing => Self { name, known: false, failed_before: None },
        }
    }
}

/// Builds a promotion's candidate, where nothing stands in its way, and shows what it would do.
///
/// # Errors
/// As [`show`]; not a project; another command promotes right now.
pub async fn run(shell: &Shell, args: &Named) -> Outcome {
    let ctx = shell.context().await?;
    standing::known(&ctx, &args.environment)?;
    let request = Request::to(&args.environment);
    let lock = promote::lock(&ctx, false).await?;
    let offered = promote::offer(&ctx, &lock, &request).await?;
    show(shell, &ctx, &request, offered).await
}

/// Shows what a promotion would do, the one that is `offered` if any, from local references and the store; does nothing.
///
/// # Errors
/// Unknown environment; the environment's branch has drifted (then the plan is printed first).
pub async fn show(shell: &Shell, ctx: &Context, request: &Request, offered: Option<Promotion>) -> Outcome {
    let (document, drift) = gather(ctx, request, offered).await?;
    if shell.ui.is_json() {
        shell.ui.json(&document)?;
    } else {
        print(&shell.ui, &document, ctx.now());
    }
    drift.map_or(Ok(()), |drift| Err(drifted(&request.environment, &drift)))
}

fn drifted(environment: &str, drift: &Drift) -> Failure {
    let hint = format!("`{}`; or keep it here alone with `cascade promote {environment} --merge`", drift.next);
    Failure::new(ErrorKind::Conflict, drift.fact.clone()).with_hint(hint)
}

async fn gather(ctx: &Context, request: &Request, offered: Option<Promotion>) -> Outcome<(Document, Option<Drift>)> {
    let environment = &request.environment;
    standing::known(ctx, environment)?;
    let preview = promote::preview(ctx, environment, request.hotfix()).await?;
    let gates = match &offered {
        Some(promotion) => promote::findings(ctx, promotion).await?,
        None => promote::forecast(ctx, request, &preview).await?,
    };
    let policy = promote::policy::of_environment(ctx, environment, preview.tip, Some(preview.source)).await?;
    let tree = offered.as_ref().and_then(|offered| offered.tree).unwrap_or(preview.source_tree);
    let forecast = promote::check_forecast(ctx, &policy, tree).await?;
    let spec = policy.environment;
    let Preview { source_branch, source, tip, commits, commit_count, changes, drift, goes_back, .. } = preview;
    let pushes = {
        let remote = ctx.config.remote.clone();
        ctx.git.run(move |repo| Ok(repo.has_remote(&remote))).await?
    };
    let document = Document {
        environment: environment.to_owned(),
        branch: spec.branch.clone(),
        source_branch,
        source,
        tip,
        nothing_to_promote: commit_count == 0 && changes.files.is_empty(),
        goes_back,
        commit_count,
        commits: commits.into_iter().take(LISTED_LIMIT).collect(),
        files: changes.files.into_iter().map(|(status, path)| ChangedFile { status, path }).collect(),
        insertions: changes.insertions,
        deletions: changes.deletions,
        checks: forecast.into_iter().map(PlannedCheck::from).collect(),
        verify: spec.verify.clone(),
        watch_for: spec.watch_for,
        gates,
        drift: drift.iter().flat_map(|drift| drift.commits.clone()).collect(),
        drift_fact: drift.as_ref().map(|drift| drift.fact.clone()),
        next: drift.as_ref().map(|drift| drift.next.clone()),
        rollback: spec.rollback,
        undone_by: undone_by(spec.rollback, pushes),
        rules: words::origin(policy.origin, &spec.branch),
        promotion: offered.as_ref().map(|offered| offered.id.clone()),
        candidate: offered.and_then(|offered| offered.candidate),
    };
    Ok((document, drift))
}

fn undone_by(mode: RollbackMode, pushes: bool) -> &'static str {
    match (mode, pushes) {
        (RollbackMode::Auto, false) => "the branch is moved back: the candidate does not leave this machine",
        (RollbackMode::Reset, _) => "the branch is moved back, on the remote too where it allows that",
        (RollbackMode::Auto, true) | (RollbackMode::Restore, _) => "a new commit with the content verified before",
    }
}

fn print(ui: &Ui, document: &Document, now: Timestamp) {
    let (source, tip) = (document.source.short(), words::brief(document.tip));
    let title = format!("{} ({source}) → {} ({tip})", document.source_branch, document.environment);
    ui.heading(&title);
    if document.nothing_to_promote {
        ui.line("nothing to promote");
        return;
    }
    if let Some(back) = &document.goes_back {
        ui.pieces(&[Cell::new(back.words(&document.environment), Tone::Bad)]);
    }
    print_commits(ui, document);
    print_files(ui, document);
    print_questions(ui, document, now);
    print_gates(ui, &document.gates);
    ui.pieces(&[Cell::new("a failure is undone by: ", Tone::Dim), document.undone_by.into()]);
    ui.pieces(&[Cell::new("rules: ", Tone::Dim), document.rules.as_str().into()]);
    if let Some((id, candidate)) = document.promotion.as_ref().zip(document.candidate) {
        let offered = format!("{} as promotion {id}: cascade promote {}", candidate.short(), document.environment);
        ui.pieces(&[Cell::new("candidate: ", Tone::Dim), offered.into()]);
    }
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

fn print_questions(ui: &Ui, document: &Document, now: Timestamp) {
    ui.heading("checks");
    for check in &document.checks {
        let (mark, tone, what) = match (check.known, &check.failed_before) {
            (true, _) => ("✓", Tone::Good, "known to pass on this content".to_owned()),
            (false, None) => ("•", Tone::Plain, "will run".to_owned()),
            (false, Some(failed)) => ("✗", Tone::Bad, format!("will run again; it {}", failed.words(now))),
        };
        ui.pieces(&["  ".into(), Cell::new(mark, tone), format!(" {}: {what}", check.name).into()]);
    }
    let on = match document.watch_for {
        span if span.0.is_zero() => String::new(),
        span => format!(", and goes on for {span}"),
    };
    for name in &document.verify {
        ui.line(&format!("  • {name}: verifies what is live{on}"));
    }
    if document.checks.is_empty() && document.verify.is_empty() {
        ui.line("  none are configured");
    }
}

fn print_gates(ui: &Ui, gates: &[Finding]) {
    if gates.is_empty() {
        return;
    }
    ui.heading("gates");
    for gate in gates {
        let clears = gate.clears.as_deref().map(|clears| format!(" → {clears}")).unwrap_or_default();
        let (mark, tone) = if gate.open { ("✓", Tone::Good) } else { ("•", Tone::Warn) };
        ui.pieces(&[
            "  ".into(),
            Cell::new(mark, tone),
            format!(" {}: {}{clears}", gate.gate.as_str(), gate.fact).into(),
        ]);
    }
}
