//! `cascade show ID|COMMIT`.

use serde::Serialize;

use super::args::Show;
use super::history::{CheckEntry, DeliveryEntry, Entry, entry};
use super::sync::bytes;
use super::ui::{Cell, Tone};
use super::{Outcome, Shell, Ui, revision, words};
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::count;
use crate::context::Context;
use crate::git::{CommitSummary, FileChange};
use crate::promote::{self, Finding};
use crate::store::{ApprovalRecord, Error, JournalEntry, Promotion};

/// Most commits that are listed.
const COMMITS_LIMIT: usize = 20;
/// Columns of a label.
const LABEL_CHARS: usize = 14;

/// All that is known of a promotion: what `history` lists and more.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    entry: Entry,
    tree: Option<ObjectId>,
    pushed: bool,
    rollback_to: Option<ObjectId>,
    rollback_commit: Option<ObjectId>,
    undoes: Option<PromotionId>,
    commits: Vec<CommitSummary>,
    commits_more: bool,
    files_changed: usize,
    insertions: usize,
    deletions: usize,
    approvals: Vec<ApprovalRecord>,
    gates: Vec<Finding>,
    journal: Vec<JournalEntry>,
}

/// A commit: a save, or what others pushed.
#[derive(Debug, Serialize)]
struct CommitDocument {
    #[serde(flatten)]
    summary: CommitSummary,
    message: String,
    files: Vec<FileChange>,
}

/// Shows one promotion or one commit.
///
/// # Errors
/// No promotion and no commit is called so, or several are; the store or the repository cannot be read.
pub async fn run(shell: &Shell, args: &Show) -> Outcome {
    let ctx = shell.lenient_context().await?;
    let promotion = match ctx.store.promotion(&args.id).await {
        Ok(promotion) => promotion,
        Err(Error::NoSuchPromotion { .. } | Error::AmbiguousPromotion { .. }) => {
            let commit = revision::commit(&ctx, &args.id).await?;
            return show_commit(shell, &ctx, commit).await;
        }
        Err(unreadable) => return Err(unreadable.into()),
    };
    let document = gather(&ctx, &promotion).await?;
    if shell.ui.is_json() {
        return shell.ui.json(&document);
    }
    print(&shell.ui, &document, ctx.now());
    Ok(())
}

async fn show_commit(shell: &Shell, ctx: &Context, commit: ObjectId) -> Outcome {
    let document = ctx.git.run(move |repo| {
        let (message, parent) = repo.message(commit)?;
        Ok(CommitDocument { summary: repo.summary(commit)?, message, files: repo.file_changes(parent, commit)? })
    });
    let document = document.await?;
    if shell.ui.is_json() {
        return shell.ui.json(&document);
    }
    let ui = &shell.ui;
    ui.heading(&format!("commit {}", document.summary.id));
    labelled(ui, "by", &document.summary.author);
    let at = document.summary.at;
    labelled(ui, "made", &format!("{} ({})", words::moment(at), words::age(ctx.now(), at)));
    document.message.lines().for_each(|line| ui.line(&format!("  {line}")));
    ui.heading(&count(document.files.len(), "file"));
    for file in &document.files {
        ui.line(&format!("  {} {} (+{} -{})", file.status, file.path, file.insertions, file.deletions));
    }
    Ok(())
}

async fn gather(ctx: &Context, promotion: &Promotion) -> Outcome<Document> {
    let (previous, source) = (promotion.previous, promotion.source);
    let new = promotion.candidate.unwrap_or(source);
    let git = ctx.git.run(move |repo| {
        let commits = repo.news_between(previous, source, COMMITS_LIMIT + 1)?;
        Ok((commits, repo.changes_between(previous, new)?))
    });
    let (mut commits, changes) = git.await?;
    let commits_more = commits.len() > COMMITS_LIMIT;
    commits.truncate(COMMITS_LIMIT);
    let gates = if promotion.state.is_final() { Vec::new() } else { promote::findings(ctx, promotion).await? };
    Ok(Document {
        entry: entry(ctx, promotion).await?,
        tree: promotion.tree,
        pushed: promotion.pushed,
        rollback_to: promotion.rollback_to,
        rollback_commit: promotion.rollback_commit,
        undoes: promotion.undoes.clone(),
        commits,
        commits_more,
        files_changed: changes.files.len(),
        insertions: changes.insertions,
        deletions: changes.deletions,
        approvals: ctx.store.approvals(&promotion.id).await?,
        gates,
        journal: ctx.store.journal(&promotion.id).await?,
    })
}

fn print(ui: &Ui, document: &Document, now: Timestamp) {
    print_facts(ui, document, now);
    print_objects(ui, document);
    print_commits(ui, document);
    print_checks(ui, &document.entry.checks);
    if let Some(culprit) = &document.entry.culprit {
        ui.line(&format!("  {}", culprit.fact()));
    }
    print_deliveries(ui, &document.entry.deliveries);
    print_people(ui, document);
    print_journal(ui, &document.journal);
}

fn labelled(ui: &Ui, label: &str, text: &str) {
    ui.pieces(&[Cell::new(format!("  {label:LABEL_CHARS$}"), Tone::Dim), text.into()]);
}

fn print_facts(ui: &Ui, document: &Document, now: Timestamp) {
    let entry = &document.entry;
    let state = match entry.paused {
        true => Cell::new("paused", Tone::Warn),
        false => Cell::new(words::state(entry.state), words::state_tone(entry.state)),
    };
    let title = format!("promotion {} to {}: ", entry.id, entry.environment);
    ui.pieces(&[Cell::new(title, Tone::Strong), state]);
    let hotfix = entry.hotfix.as_ref().map(|branch| shown(branch.as_bytes()));
    let texts = [("reason", &entry.reason), ("asked for", &entry.purpose), ("hotfix from", &hotfix)];
    for (label, text) in texts {
        text.iter().for_each(|text| labelled(ui, label, text));
    }
    let created = format!("{} ({})", words::moment(entry.created_at), words::age(now, entry.created_at));
    labelled(ui, "by", &entry.requested_by);
    labelled(ui, "proposed", &created);
    if let Some(end) = entry.finished_at {
        let took = words::duration(end.as_millisecond() - entry.created_at.as_millisecond());
        labelled(ui, "ended", &format!("{} (after {took})", words::moment(end)));
    }
    entry.watching_until.iter().for_each(|until| labelled(ui, "watched until", &words::moment(*until)));
}

fn print_objects(ui: &Ui, document: &Document) {
    let entry = &document.entry;
    let objects = [
        ("source", Some(entry.source)),
        ("previous", entry.previous),
        ("candidate", entry.candidate),
        ("tree", document.tree),
        ("back to", document.rollback_to),
        ("rollback", document.rollback_commit),
    ];
    for (label, id) in objects {
        id.iter().for_each(|id| labelled(ui, label, &id.to_string()));
    }
    document.undoes.iter().for_each(|undone| labelled(ui, "undoes", &format!("the rollback of {undone}")));
    labelled(ui, "pushed", if document.pushed { "yes" } else { "no" });
}

fn print_commits(ui: &Ui, document: &Document) {
    let lines = format!("+{} -{} lines", document.insertions, document.deletions);
    ui.heading(&format!("changes: {}, {lines}", count(document.files_changed, "file")));
    for commit in &document.commits {
        let author = Cell::new(format!(" ({})", commit.author), Tone::Dim);
        ui.pieces(&[format!("  {} ", commit.id.short()).into(), commit.subject.as_str().into(), author]);
    }
    if document.commits_more {
        ui.line("  and earlier ones");
    }
}

fn print_checks(ui: &Ui, checks: &[CheckEntry]) {
    if checks.is_empty() {
        return;
    }
    ui.heading("checks");
    for check in checks {
        let (mark, tone) = words::mark(&check.outcome);
        let took = if check.cached { "known".to_owned() } else { format!("{:.1}s", check.seconds) };
        let text = format!(" {} {} ({took})", words::phase(check.phase), check.name);
        let detail = if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
        ui.pieces(&["  ".into(), Cell::new(mark, tone), text.into(), detail.into()]);
        let log = |log: &String| ui.pieces(&[Cell::new(format!("    log {log}"), Tone::Dim)]);
        check.log.iter().for_each(log);
        if let Some(first) = &check.earlier {
            let (mark, tone) = words::mark(&first.outcome);
            let text = format!(" at first ({:.1}s): {}", first.seconds, first.detail);
            ui.pieces(&["    ".into(), Cell::new(mark, tone), text.into()]);
            first.log.iter().for_each(log);
        }
    }
}

fn print_deliveries(ui: &Ui, deliveries: &[DeliveryEntry]) {
    if !deliveries.is_empty() {
        ui.heading("deliveries");
    }
    for delivery in deliveries {
        let (_, tone) = words::delivery_mark(delivery.outcome);
        let size =
            if delivery.bytes > 0 { format!(", {}", bytes(delivery.bytes.unsigned_abs())) } else { String::new() };
        ui.pieces(&["  ".into(), Cell::new(words::delivery(&delivery.record), tone), size.into()]);
    }
}

fn print_people(ui: &Ui, document: &Document) {
    if !document.approvals.is_empty() {
        ui.heading("approvals");
    }
    for word in &document.approvals {
        let (verb, tone) = if word.consent { ("approved", Tone::Good) } else { ("rejected", Tone::Bad) };
        let reason = word.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let rest = format!(" by {} at {}{reason}", word.person, words::moment(word.at));
        ui.pieces(&["  ".into(), Cell::new(verb, tone), rest.into()]);
    }
    if !document.entry.waivers.is_empty() {
        ui.heading("waivers");
    }
    for waiver in &document.entry.waivers {
        let text = format!("  {} by {} at {}: {}", waiver.gate, waiver.person, words::moment(waiver.at), waiver.reason);
        ui.line(&text);
    }
    if !document.gates.is_empty() {
        ui.heading("gates");
    }
    for gate in &document.gates {
        let (mark, tone) = if gate.open { ("✓", Tone::Good) } else { ("✗", Tone::Warn) };
        let clears = gate.clears.as_deref().map(|clears| format!(" → {clears}")).unwrap_or_default();
        let text = format!(" {}: {}{clears}", gate.gate.as_str(), gate.fact);
        ui.pieces(&["  ".into(), Cell::new(mark, tone), text.into()]);
    }
}

fn print_journal(ui: &Ui, journal: &[JournalEntry]) {
    ui.heading("journal");
    for line in journal {
        let at = Cell::new(format!("  {}  ", words::moment(line.at)), Tone::Dim);
        let detail = if line.detail.is_empty() { String::new() } else { format!(": {}", line.detail) };
        ui.pieces(&[at, words_of(&line.name).into(), detail.into()]);
    }
}

fn words_of(name: &str) -> String {
    name.replace('_', " ")
}
