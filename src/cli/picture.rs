//! The pipeline as a picture of at most 80 columns: the sandbox, then the environments it flows into.

use super::status::{Document, Environment, Sandbox};
use super::syncs::SyncStatus;
use super::ui::{Cell, Tone};
use super::words;
use crate::base::Timestamp;
use crate::base::units::count;
use crate::config::FILE_NAME;
use crate::promote::Rehearsal;
use crate::store::{HoldCause, Promotion, SandboxState, State, Verdict};

/// Columns of the whole picture.
const WIDTH: usize = 80;
/// Columns left of the text: the line that connects the environments.
const INDENT: usize = 6;
/// Most set-aside paths that are listed.
const NOT_SAVED_LIMIT: usize = 5;
/// Columns of a path that is not saved: some are longer than any screen.
const PATH_WIDTH: usize = 240;
/// Most edits of others that lost which are listed.
const LOST_LIMIT: usize = 2;

type Line = Vec<Cell>;

/// Draws the pipeline; of what is not saved `everything`, or the first few paths.
#[must_use]
pub fn draw(document: &Document, everything: bool, now: Timestamp) -> Vec<Line> {
    let root_width = WIDTH.saturating_sub(document.project.chars().count() + 2);
    let root = Cell::new(format!("  {}", words::cut(&document.root, root_width)), Tone::Dim);
    let mut lines = vec![vec![Cell::new(&document.project, Tone::Strong), root], Vec::new()];
    lines.extend(sandbox(&document.sandbox, everything, now));
    for (index, environment) in document.environments.iter().enumerate() {
        let above = index.checked_sub(1).map_or(&document.sandbox.branch, |above| &document.environments[above].name);
        lines.extend(arrow(environment, above));
        lines.extend(stage(environment, now, index + 1 == document.environments.len()));
    }
    lines.extend(syncs(&document.syncs, now));
    if let Some(kept) = &document.ledger.kept_here {
        lines.push(Vec::new());
        let told = words::wrapped(&format!("the ledger stays on this machine: {}", kept.reason), WIDTH).into_iter();
        lines.extend(told.map(|line| vec![Cell::new(line, Tone::Warn)]));
    }
    let next = document.next.as_deref().unwrap_or("nothing to do");
    lines.push(Vec::new());
    lines.push(vec![Cell::new("next: ", Tone::Dim), Cell::new(next, Tone::Strong)]);
    lines
}

/// Those that run by themselves, are delivered, or have something the matter.
fn syncs(syncs: &[SyncStatus], now: Timestamp) -> Vec<Line> {
    let is_shown = |sync: &&SyncStatus| sync.triggered || !sync.delivered_by.is_empty() || !sync.is_well();
    let shown: Vec<&SyncStatus> = syncs.iter().filter(is_shown).collect();
    let mut lines = if shown.is_empty() { Vec::new() } else { vec![Vec::new()] };
    for sync in shown {
        let (mark, tone) = match (sync.problem.is_some(), sync.is_well()) {
            (true, _) => ("✗", Tone::Bad),
            (false, false) => ("•", Tone::Warn),
            (false, true) => ("⇄", Tone::Dim),
        };
        let name = Cell::new(format!(" {:12} ", words::cut(&sync.name, 14)), Tone::Strong);
        let line = words::cut(&sync.line(now), WIDTH - INDENT - 12);
        lines.push(vec![Cell::new("  ", Tone::Plain), Cell::new(mark, tone), name, Cell::new(line, Tone::Dim)]);
        sync.troubles(now).iter().for_each(|trouble| lines.extend(text_lines(trouble, tone, true)));
    }
    lines
}

fn sandbox(sandbox: &Sandbox, everything: bool, now: Timestamp) -> Vec<Line> {
    let (mark, tone) = match (sandbox.state, sandbox.is_silent) {
        (_, true) => ("?", Tone::Warn),
        (SandboxState::Watching, _) => ("●", Tone::Good),
        (SandboxState::Paused, _) => ("‖", Tone::Warn),
        (SandboxState::Stopped, _) => ("○", Tone::Dim),
    };
    let place = place(&sandbox.branch, words::brief(sandbox.commit));
    let (mark, tone) = if sandbox.elsewhere.is_some() { ("○", Tone::Warn) } else { (mark, tone) };
    let state = Cell::new(if sandbox.elsewhere.is_some() { "elsewhere" } else { sandbox.state.as_str() }, tone);
    let mut lines = vec![title(Cell::new(mark, tone), "sandbox", place, state)];
    let mut tell = |text: &str, tone| lines.extend(text_lines(text, tone, false));
    if let Some(watched) = &sandbox.elsewhere {
        tell(&format!("nothing is saved here: the checkout that is watched is {watched}"), Tone::Warn);
    }
    sandbox.reason.iter().for_each(|reason| tell(reason, Tone::Warn));
    tell(&saves(sandbox, now), Tone::Dim);
    if sandbox.durability.is_fast() {
        tell("saves reach the disk seconds later (durability: fast)", Tone::Dim);
    }
    sandbox.push_problem.iter().for_each(|problem| tell(&format!("cannot push: {problem}"), Tone::Bad));
    if let Some(at) = sandbox.push_again {
        tell(&format!("the push is tried again at {} at the latest", words::moment(at)), Tone::Dim);
    }
    not_saved(sandbox, everything).iter().for_each(|line| tell(line, Tone::Warn));
    excluded(sandbox, everything).iter().for_each(|line| tell(line, Tone::Dim));
    lost(sandbox, everything, now).iter().for_each(|line| tell(line, Tone::Warn));
    if let Some(reason) = &sandbox.configuration {
        tell(&format!("{FILE_NAME} has changed and is not taken up, the watcher goes by the one before:"), Tone::Warn);
        reason.lines().for_each(|line| tell(line, Tone::Warn));
    }
    if let Some(reason) = &sandbox.limited {
        tell(&format!("looks at everything each minute: {reason}"), Tone::Warn);
    }
    if let Some(first) = sandbox.staged.first() {
        let others = sandbox.staged.len() - 1;
        let others = if others > 0 { format!(" and {others} more") } else { String::new() };
        tell(&format!("staged by you, not committed: {first}{others}"), Tone::Dim);
    }
    lines
}

fn lost(sandbox: &Sandbox, everything: bool, now: Timestamp) -> Vec<String> {
    let limit = if everything { usize::MAX } else { LOST_LIMIT };
    let listed = sandbox.lost_edits.iter().take(limit).map(|edit| {
        let more = edit.files.saturating_sub(edit.paths.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (files, names) = (count(edit.files, "file"), edit.paths.join(", "));
        let (age, theirs) = (words::age(now, edit.at), edit.theirs.short());
        format!(
            "yours was kept in {files} that others changed too, {age}: {names}{more}; theirs: `cascade show {theirs}`"
        )
    });
    let rest = sandbox.lost_edits.len().saturating_sub(limit);
    let rest = (rest > 0).then(|| format!("and so {rest} times more: `cascade status --all`"));
    listed.chain(rest).collect()
}

/// Lists what is tracked and excluded apart from the rest: that is as somebody wants it.
fn excluded(sandbox: &Sandbox, everything: bool) -> Vec<String> {
    let excluded = &sandbox.excluded;
    let named = if everything { &excluded.paths[..] } else { &[] };
    let rest = match (excluded.count.saturating_sub(named.len()), everything) {
        (0, _) => None,
        (rest, false) => Some(format!("{} that changed (`cascade status --all`)", count(rest, "tracked file"))),
        (rest, true) => Some(format!("{} more", count(rest, "tracked file"))),
    };
    let told = named.iter().cloned().chain(rest);
    told.map(|what| format!("not saved: {what}: excluded by sandbox.exclude")).collect()
}

fn not_saved(sandbox: &Sandbox, everything: bool) -> Vec<String> {
    let limit = if everything { usize::MAX } else { NOT_SAVED_LIMIT };
    let listed = sandbox.not_saved.iter().take(limit);
    let rest = sandbox.not_saved.len().saturating_sub(limit);
    let rest = (rest > 0).then(|| format!("and {rest} more: `cascade status --all`"));
    listed
        .map(|path| format!("not saved: {} ({})", words::cut(&path.path, PATH_WIDTH), path.reason))
        .chain(rest)
        .collect()
}

fn saves(sandbox: &Sandbox, now: Timestamp) -> String {
    let saved = sandbox.saved_at.map_or("no save yet".to_owned(), |at| format!("last save {}", words::age(now, at)));
    let pending = sandbox.pending.filter(|pending| *pending > 0).and_then(|pending| usize::try_from(pending).ok());
    let pending = pending.map(|pending| format!("{} to save", count(pending, "path")));
    let unpushed = match sandbox.unpushed {
        None if sandbox.remote.is_none() => Some("no remote to push to".to_owned()),
        None => Some("not on a remote".to_owned()),
        Some(0) => Some("all pushed".to_owned()),
        Some(commits) => Some(format!("{} not pushed", count(commits, "commit"))),
    };
    [Some(saved), pending, unpushed].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn arrow(environment: &Environment, above: &str) -> Vec<Line> {
    let standing = &environment.standing;
    let from = if standing.from == above { String::new() } else { format!("from {}: ", standing.from) };
    let tone = if standing.has_news() { Tone::Warn } else { Tone::Dim };
    let is_clean = standing.rehearsal.as_ref().is_some_and(|rehearsal| rehearsal.verdict == Verdict::Clean);
    let is_ready = is_clean && standing.has_news() && standing.hold.is_none() && standing.failure().is_none();
    let clean = if is_ready { ", clean" } else { "" };
    let distance = Cell::new(format!(" {from}{}{clean}", standing.distance()), tone);
    vec![vec![Cell::new("  │", Tone::Dim)], vec![Cell::new("  ▼", Tone::Dim), distance]]
}

fn stage(environment: &Environment, now: Timestamp, is_last: bool) -> Vec<Line> {
    let standing = &environment.standing;
    let (mark, tone) = words::mark(environment.health);
    let place = place(&environment.branch, words::brief(environment.commit));
    let live = match &standing.live {
        None => Cell::new(standing.why_nothing_is_live(), Tone::Dim),
        Some(live) => {
            let at = live.finished_at.unwrap_or(live.updated_at);
            Cell::new(format!("promoted {}", words::age(now, at)), Tone::Plain)
        }
    };
    let mut lines = vec![title(Cell::new(mark, tone), &environment.name, place, live)];
    let mut tell = |text: &str, tone| lines.extend(text_lines(text, tone, is_last));
    if let Some(hold) = &environment.held {
        let cause = match hold.cause {
            HoldCause::Person => format!("held by {}", words::name(&hold.person)),
            HoldCause::Rollback => "held since a rollback".to_owned(),
        };
        let reason = if standing.is_held_by_last() { String::new() } else { format!(": {}", hold.reason) };
        tell(&format!("{cause}{reason}"), Tone::Bad);
    }
    if let Some(watch) = standing.watch() {
        tell(&watch, if standing.is_watched { Tone::Dim } else { Tone::Warn });
    }
    if let Some(paused) = standing.paused.as_ref().filter(|paused| Some(*paused) != standing.open.as_ref()) {
        tell(&progress(paused, false, now), Tone::Warn);
    }
    if let Some(open) = &standing.open {
        tell(&progress(open, standing.is_interrupted, now), Tone::Warn);
    } else if let Some(last) = standing.failure().filter(|_| !standing.is_told_by_rehearsal()) {
        tell(&ending(last, now), words::state_tone(last.state));
    }
    for finding in standing.closed() {
        tell(&finding.fact, Tone::Plain);
        finding.clears.iter().for_each(|clears| tell(&format!("→ {clears}"), Tone::Strong));
    }
    if let Some((text, tone)) = standing.rehearsal.as_ref().and_then(|rehearsal| rehearsed(rehearsal, now)) {
        tell(&text, tone);
        standing.way_out().iter().for_each(|command| tell(&format!("→ {command}"), Tone::Strong));
    }
    lines
}

/// Answers what is in the way of the next promotion, if anything is.
fn rehearsed(rehearsal: &Rehearsal, now: Timestamp) -> Option<(String, Tone)> {
    let fact = rehearsal.fact.as_deref()?;
    let since = rehearsal.since.map(|since| format!(" (since {})", words::age(now, since)));
    Some(match rehearsal.verdict {
        Verdict::Clean => (format!("{fact} yet"), Tone::Warn),
        Verdict::Drift | Verdict::Conflict => (format!("would stop: {fact}{}", since.unwrap_or_default()), Tone::Bad),
    })
}

fn progress(open: &Promotion, is_interrupted: bool, now: Timestamp) -> String {
    let state = if is_interrupted { "interrupted".to_owned() } else { words::progress(open) };
    let asked = words::age(now, open.created_at);
    let verb = if open.state == State::Waiting || open.is_paused() { "is" } else { "is now" };
    format!("promotion {} {verb} {state}, asked for by {} {asked}", open.id, words::name(&open.requested_by))
}

fn ending(last: &Promotion, now: Timestamp) -> String {
    let reason = last.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("promotion {} {} {}{reason}", last.id, words::state(last.state), words::age(now, last.updated_at))
}

/// Mark, name, branch at commit, and a word on what it does; long names of branches are cut.
fn title(mark: Cell, name: &str, place: String, state: Cell) -> Line {
    let used = INDENT + 14 + state.width();
    let place = words::cut(&place, WIDTH.saturating_sub(used + 2).min(44));
    let name = Cell::new(format!(" {:12} ", words::cut(name, 14)), Tone::Strong);
    vec![Cell::new("  ", Tone::Plain), mark, name, Cell::new(format!("{place:34}  "), Tone::Dim), state]
}

fn place(branch: &str, commit: String) -> String {
    format!("{} {commit}", words::cut(branch, 32))
}

/// Breaks text into lines right of the connecting line, which ends with the last environment.
fn text_lines(text: &str, tone: Tone, is_last: bool) -> Vec<Line> {
    let edge = if is_last { "      " } else { "  │   " };
    let lines = words::wrapped(text, WIDTH - INDENT).into_iter();
    lines.map(|line| vec![Cell::new(edge, Tone::Dim), Cell::new(words::cut(&line, WIDTH - INDENT), tone)]).collect()
}
