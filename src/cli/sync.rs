//! `cascade sync [NAME]` and `cascade sync resolve NAME KEY`.

use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Resolve, Sync as Asked, SyncCommand};
use super::transfer::watched;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, words};
use crate::base::ErrorKind as Kind;
use crate::base::escape::{shell_word, shown};
use crate::base::units::count;
use crate::config::SyncSpec;
use crate::context::Context;
use crate::endpoint::Key;
use crate::promote;
use crate::sync::difference::Difference;
use crate::sync::plan::Guard;
use crate::sync::saved::{SavedPlan, Unfit};
use crate::sync::{self, Noted, Prepared, Reading, Report, Step, Verification, triggered};

/// Items of one kind that are listed for people.
const LISTED_LIMIT_ITEMS: usize = 20;

/// What a sync would do.
#[derive(Debug, Serialize)]
struct Planned {
    sync: String,
    source: String,
    target: String,
    actions: Vec<Step>,
    flagged: Vec<Noted>,
    skipped: Vec<Noted>,
    failed: Vec<Noted>,
    unchanged: usize,
    kept: usize,
    kept_back: usize,
    /// Whether more would be deleted than may be.
    deletes_too_much: bool,
}

/// Syncs, or decides about an item.
///
/// # Errors
/// No such sync; an endpoint is not there; items are flagged, failed or not there as they were written (all is printed).
pub async fn run(shell: &Shell, args: &Asked) -> Outcome {
    let ctx = shell.context().await?;
    match &args.command {
        Some(SyncCommand::Resolve(resolve)) => return decide(shell, &ctx, resolve).await,
        Some(SyncCommand::Apply(plan)) => return apply(shell, &ctx, &plan.file).await,
        Some(SyncCommand::Verify(named)) => return verify(shell, &ctx, &named.name).await,
        None => {}
    }
    if let Some(name) = &args.name {
        let (document, failure) = one(shell, &ctx, name, args).await?;
        if shell.ui.is_json() {
            shell.ui.json(&document)?;
        }
        return failure.map_or(Ok(()), Err);
    }
    all(shell, &ctx, args).await
}

/// Runs every sync; one that cannot run stops no other.
async fn all(shell: &Shell, ctx: &Context, args: &Asked) -> Outcome {
    if ctx.config.syncs.is_empty() {
        let failure = Failure::usage("there are no syncs");
        return Err(failure.with_hint("name one under `syncs` in cascade-sync.yaml"));
    }
    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    for (name, spec) in &ctx.config.syncs {
        if !triggered::is_active(ctx, spec) {
            shell.ui.note(&format!("{name}: passed over, {}", elsewhere(ctx, spec)));
            documents.push(json!({ "sync": name, "skipped": elsewhere(ctx, spec) }));
            continue;
        }
        match one(shell, ctx, name, args).await {
            Ok((document, failure)) => {
                documents.push(document);
                failures.extend(failure);
            }
            Err(failure) => {
                documents.push(with_name(name, &failure));
                failures.push(failure);
            }
        }
    }
    if shell.ui.is_json() {
        shell.ui.json(&documents)?;
    }
    // The worst of them is told last, and decides the exit code.
    failures.sort_by_key(severity);
    let Some(worst) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(|failure| shell.ui.failure(failure));
    Err(worst)
}

fn with_name(name: &str, failure: &Failure) -> Value {
    let mut document = json!(failure.document());
    document["sync"] = name.into();
    document
}

fn severity(failure: &Failure) -> u8 {
    match failure.kind {
        Kind::Pending => 0,
        Kind::Conflict => 1,
        Kind::CheckFailed => 2,
        _ => 3,
    }
}

/// Runs or plans one sync; answers its document, and what is wrong with the result.
async fn one(shell: &Shell, ctx: &Context, name: &str, args: &Asked) -> Outcome<(Value, Option<Failure>)> {
    if args.dry_run || args.check_only {
        let sync = open(ctx, name, args).await?;
        let prepared = watched(shell, ctx, &sync, sync.prepare()).await?;
        return Ok(if args.check_only {
            answer(shell, &sync, &prepared)
        } else {
            let differences = if args.diff { Some(sync.differences(&prepared).await?) } else { None };
            (show_plan(shell, &sync, &prepared, differences), None)
        });
    }
    if args.name.is_some() && !triggered::is_active(ctx, sync::require(ctx, name)?) {
        shell.ui.note(&format!("{name}: run by hand all the same: {}", elsewhere(ctx, sync::require(ctx, name)?)));
    }
    if let Some(file) = &args.plan {
        return Ok((plan(shell, ctx, &open(ctx, name, args).await?, file).await?, None));
    }
    let _lock = sync::lock(ctx)?;
    if let Some(failure) = rests(ctx, name, args).await? {
        return Ok((with_name(name, &failure), Some(failure)));
    }
    let sync = open(ctx, name, args).await?;
    let begun = ctx.now();
    let report = watched(shell, ctx, &sync, sync.run()).await?;
    triggered::remember(ctx, name, begun, triggered::problem_of(&report)).await?;
    show(shell, &report);
    Ok((json!(report), verdict(&report)))
}

/// Says that a sync ran so lately that it is left alone.
async fn rests(ctx: &Context, name: &str, args: &Asked) -> Outcome<Option<Failure>> {
    let spec = sync::require(ctx, name)?;
    let until = if args.force { None } else { triggered::rests_until(ctx, name, spec).await? };
    Ok(until.map(|until| {
        let message =
            format!("sync {name} ran less than {} ago: it rests until {}", spec.min_interval, words::moment(until));
        Failure::new(Kind::Waiting, message).with_hint(format!("`cascade sync {name} --force` runs it now"))
    }))
}

/// Says where a sync is active, and that it is not so here.
fn elsewhere(ctx: &Context, spec: &SyncSpec) -> String {
    let here =
        triggered::here(ctx).map_or_else(|| "is not set".to_owned(), |here| format!("is {}", shown(here.as_bytes())));
    format!("it is only for {}, and CASCADE_ENV {here}", spec.only_in.join(", "))
}

/// Makes a plan and writes it down; answers its document.
async fn plan(shell: &Shell, ctx: &Context, sync: &sync::Sync, file: &Path) -> Outcome<Value> {
    let prepared = watched(shell, ctx, sync, sync.prepare()).await?;
    let saved = sync.saved(&prepared)?;
    let shown = shown(file.as_os_str().as_bytes());
    let is_other = match std::fs::read(file) {
        Ok(text) => SavedPlan::from_text(&text).is_err_and(|unfit| unfit != Unfit::Changed),
        Err(missing) => missing.kind() != io::ErrorKind::NotFound,
    };
    if is_other {
        let failure = Failure::usage(format!("{shown} is there already, and it is no plan"));
        return Err(failure.with_hint("nothing was written; give the plan another name"));
    }
    write(file, &saved.to_text()).map_err(|refused| Failure::unavailable(format!("cannot write {shown}"), &refused))?;
    let document = show_plan(shell, sync, &prepared, None);
    shell
        .ui
        .note(&format!("`cascade sync apply {}` does exactly that", shell_word(file.as_os_str().as_encoded_bytes())));
    Ok(document)
}

/// Writes a file, wholly or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file).map(drop).map_err(|refused| refused.error)
}

async fn apply(shell: &Shell, ctx: &Context, file: &Path) -> Outcome {
    let path = shown(file.as_os_str().as_bytes());
    let text = std::fs::read(file).map_err(|refused| Failure::unavailable(format!("cannot read {path}"), &refused))?;
    let saved = SavedPlan::from_text(&text).map_err(|source| sync::Error::Unfit { path, source })?;
    let _lock = sync::lock(ctx)?;
    let sync = sync::open(ctx, &saved.sync, None).await?;
    let report = watched(shell, ctx, &sync, sync.apply(&saved)).await?;
    show(shell, &report);
    if shell.ui.is_json() {
        shell.ui.json(&report)?;
    }
    match verdict(&report) {
        Some(failure) if failure.kind == Kind::Conflict => {
            Err(failure.with_hint(format!("plan anew: `cascade sync {} --plan FILE`", sync.name)))
        }
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

async fn open(ctx: &Context, name: &str, args: &Asked) -> Outcome<sync::Sync> {
    let sync = sync::open(ctx, name, args.max_delete).await?;
    let reading = if args.force { Reading::Everything } else { sync.reading };
    Ok(sync::Sync { reading, ..sync })
}

/// Says whether a plan would change anything; answers its document, and that as what the exit code tells.
fn answer(shell: &Shell, sync: &sync::Sync, prepared: &Prepared) -> (Value, Option<Failure>) {
    let planned = planned(sync, prepared);
    let changes = planned.actions.len();
    let document = json!({ "sync": planned.sync, "would_change": changes, "flagged": planned.flagged.len(),
        "deletes_too_much": planned.deletes_too_much });
    if changes == 0 {
        shell.ui.success(&format!("{}: nothing to do", sync.name));
        return (document, None);
    }
    let message = format!("{}: {} would change", sync.name, count(changes, "item"));
    (document, Some(Failure::new(Kind::Pending, message)))
}

async fn verify(shell: &Shell, ctx: &Context, name: &str) -> Outcome {
    let sync = sync::open(ctx, name, None).await?;
    let verification = watched(shell, ctx, &sync, sync.verify()).await?;
    if shell.ui.is_json() {
        shell.ui.json(&verification)?;
    } else {
        let Verification { sync, same, kept, seconds, .. } = &verification;
        list(shell, sync, "missing", &verification.missing);
        list(shell, sync, "mismatched", &verification.mismatched);
        list(shell, sync, "extra", &verification.extra);
        list(shell, sync, "skipped", &verification.skipped);
        list(shell, sync, "failed", &verification.failed);
        let (size, took) = (bytes(verification.bytes), words::duration((seconds * 1_000.0) as i64));
        let may = if *kept > 0 { format!(", {kept} may differ") } else { String::new() };
        shell.ui.answer(&format!("{sync}: {} the same on both sides{may} ({size} in {took})", are(*same)));
    }
    differences(&verification).map_or(Ok(()), Err)
}

/// Answers what is wrong with what a full comparison found.
fn differences(verification: &Verification) -> Option<Failure> {
    let name = &verification.sync;
    let wrong = verification.wrong().count();
    if wrong > 0 {
        let message = format!("sync {name}: {} not as at the source", are(wrong));
        let hint = format!("`cascade sync {name} --dry-run` says what a run would do about it");
        return Some(Failure::new(Kind::CheckFailed, message).with_hint(hint));
    }
    let failed = verification.failed.len();
    let message = format!("sync {name}: {} could not be read", count(failed, "item"));
    (failed > 0).then(|| Failure::new(Kind::Unavailable, message).with_hint("everything else is the same"))
}

async fn decide(shell: &Shell, ctx: &Context, args: &Resolve) -> Outcome {
    let _lock = sync::lock(ctx)?;
    // The source's word is what has landed: what waits does not get to the target before it may.
    let sync = match args.take.as_os_str().as_bytes() {
        b"source" => sync::open(ctx, &args.name, None).await?,
        _ => promote::open_awaited(ctx, &args.name).await?,
    };
    let key = Key::new(args.key.as_bytes().to_vec())
        .map_err(|problem| Failure::usage(format!("this cannot be a key: {problem}")))?;
    let (report, what) = match args.take.as_os_str().as_bytes() {
        b"source" => (sync.take_source(&key).await?, "the source's".to_owned()),
        b"target" => (sync.take_target(&key).await?, "the target's".to_owned()),
        file => (sync.take_file(&key, &args.take).await?, format!("the content of {} as", shown(file))),
    };
    if shell.ui.is_json() {
        shell.ui.json(&report)?;
    } else if report.flagged.is_empty() && report.failed.is_empty() && report.unverified.is_empty() {
        shell.ui.success(&format!("{}: {what} {key} stays", args.name));
    } else {
        tell(shell, &report);
    }
    verdict(&report).map_or(Ok(()), Err)
}

/// Prints a plan for people; answers its document.
pub(super) fn show_plan(
    shell: &Shell,
    sync: &sync::Sync,
    prepared: &Prepared,
    differences: Option<Vec<Difference>>,
) -> Value {
    let mut planned = planned(sync, prepared);
    let steps = planned.actions.iter_mut();
    steps.zip(differences.into_iter().flatten()).for_each(|(step, difference)| step.diff = Some(difference));
    if !shell.ui.is_json() {
        print_plan(shell, &planned, prepared.plan.guard);
    }
    json!(planned)
}

fn planned(sync: &sync::Sync, prepared: &Prepared) -> Planned {
    let plan = &prepared.plan;
    let flag = |flag: &sync::plan::Flag| Noted::new(&flag.key, flag.reason());
    Planned {
        sync: sync.name.clone(),
        source: sync.source.place(),
        target: sync.target.place(),
        actions: plan.actions.iter().filter_map(Step::of).collect(),
        flagged: plan.flags.iter().map(flag).chain(prepared.left_alone().cloned()).collect(),
        skipped: prepared.comparison.skipped.clone(),
        failed: prepared.comparison.failed.clone(),
        unchanged: plan.unchanged,
        kept: plan.kept,
        kept_back: prepared.kept_back(),
        deletes_too_much: plan.guard.is_some(),
    }
}

fn print_plan(shell: &Shell, planned: &Planned, guard: Option<Guard>) {
    let row = |step: &Step| {
        let tone = if step.action == "delete" { Tone::Warn } else { Tone::Plain };
        let bytes = if step.action == "delete" { String::new() } else { bytes(step.bytes) };
        vec![Cell::new(step.action, tone), step.key.as_str().into(), bytes.into()]
    };
    shell.ui.table(&planned.actions.iter().map(row).collect::<Vec<_>>());
    planned.actions.iter().for_each(|step| show_difference(shell, step));
    list(shell, &planned.sync, "flagged", &planned.flagged);
    list(shell, &planned.sync, "skipped", &planned.skipped);
    list(shell, &planned.sync, "failed", &planned.failed);
    warn_kept_back(shell, &planned.sync, planned.kept_back);
    if let Some(guard) = guard {
        let warning = format!(
            "{}: {} of {} would be deleted, which is more than max_delete: the run would stop there",
            planned.sync,
            guard.deletes,
            count(guard.of, "item")
        );
        shell.ui.warning(&warning);
    }
    let would = format!(
        "{}: {} would change, {} unchanged: {} → {}",
        planned.sync,
        count(planned.actions.len(), "item"),
        planned.unchanged,
        planned.source,
        planned.target
    );
    shell.ui.success(&would);
}

/// Prints what changes in an item, where that is known; nothing of it can steer a terminal.
fn show_difference(shell: &Shell, step: &Step) {
    let Some(difference) = &step.diff else { return };
    shell.ui.heading(&format!("{} {}", step.action, step.key));
    let said = match difference {
        Difference::Text(text) => {
            return text.split_terminator('\n').for_each(|line| shell.ui.pieces(&[changed_line(line)]));
        }
        Difference::Binary => "(no text)".to_owned(),
        Difference::Large => "(too large to be shown)".to_owned(),
        Difference::Unreadable(reason) => format!("({reason})"),
    };
    shell.ui.pieces(&[Cell::new(said, Tone::Dim)]);
}

fn changed_line(line: &str) -> Cell {
    let tone = match line.as_bytes().first() {
        Some(b'+') => Tone::Good,
        Some(b'-') => Tone::Bad,
        Some(b'@' | b'\\') => Tone::Dim,
        _ => Tone::Plain,
    };
    Cell::new(line.replace('\t', "    "), tone)
}

/// Prints what was done, for people.
pub(super) fn show(shell: &Shell, report: &Report) {
    if shell.ui.is_json() {
        return;
    }
    tell(shell, report);
    let ms = (report.seconds * 1_000.0) as i64;
    let took = words::duration(ms);
    let done = if report.changed() == 0 {
        format!(
            "{}: nothing to do, {} unchanged{} ({took})",
            report.sync,
            count(report.unchanged, "item"),
            left_alone(report)
        )
    } else {
        format!(
            "{}: {} created, {} updated, {} deleted, {} unchanged{} ({} in {took})",
            report.sync,
            report.created,
            report.updated,
            report.deleted,
            report.unchanged,
            left_alone(report),
            bytes(report.bytes)
        )
    };
    shell.ui.success(&done);
}

/// Counts what was left alone: `, 2 flagged, 1 failed`.
fn left_alone(report: &Report) -> String {
    let counts = [
        (report.kept, "kept"),
        (report.kept_back, "kept back"),
        (report.skipped.len(), "skipped"),
        (report.flagged.len(), "flagged"),
        (report.failed.len(), "failed"),
        (report.unverified.len(), "not as written"),
    ];
    counts.into_iter().filter(|(items, _)| *items > 0).map(|(items, word)| format!(", {items} {word}")).collect()
}

/// Prints what deserves attention, for people.
fn tell(shell: &Shell, report: &Report) {
    list(shell, &report.sync, "flagged", &report.flagged);
    list(shell, &report.sync, "skipped", &report.skipped);
    list(shell, &report.sync, "failed", &report.failed);
    list(shell, &report.sync, "not as it was written", &report.unverified);
    warn_kept_back(shell, &report.sync, report.kept_back);
    if report.programs > 0 && report.changed() > 0 {
        let items = count(report.programs, "item");
        shell.ui.note(&format!("{}: {items} may be executed, which the target cannot keep", report.sync));
    }
    report.left.iter().for_each(|text| shell.ui.warning(&format!("{}: {text}", report.sync)));
}

fn warn_kept_back(shell: &Shell, sync: &str, items: usize) {
    if items > 0 {
        let message = format!(
            "{sync}: {} at the target stay though the source does not list them: what is not listed there may hide them",
            count(items, "item")
        );
        shell.ui.warning(&message);
    }
}

pub(super) fn list(shell: &Shell, sync: &str, word: &str, items: &[Noted]) {
    for item in items.iter().take(LISTED_LIMIT_ITEMS) {
        shell.ui.warning(&format!("{sync}: {word}: {} {}", item.key, item.reason));
    }
    if items.len() > LISTED_LIMIT_ITEMS {
        let more = count(items.len() - LISTED_LIMIT_ITEMS, "more item");
        shell.ui.warning(&format!("{sync}: {word}: {more} (--json lists all)"));
    }
}

/// Answers what is wrong with what a run did.
pub(super) fn verdict(report: &Report) -> Option<Failure> {
    let name = &report.sync;
    if !report.unverified.is_empty() {
        let message = format!("sync {name}: {} not there as written", are(report.unverified.len()));
        let hint = format!("somebody else changes the target now; run `cascade sync {name}` again");
        return Some(Failure::new(Kind::CheckFailed, message).with_hint(hint));
    }
    if !report.failed.is_empty() {
        let message = format!("sync {name}: {} could not be brought over", count(report.failed.len(), "item"));
        return Some(Failure::new(Kind::Unavailable, message).with_hint(way_on(report)));
    }
    if report.flagged.is_empty() {
        return kept_back(report).or_else(|| set_aside(report));
    }
    let message = format!("sync {name}: {} flagged: left alone until somebody decides", are(report.flagged.len()));
    let hint = match &report.resolvable {
        Some(key) => {
            let is_dashed = key.starts_with('-');
            let key = shell_word(key);
            let wish = match is_dashed {
                true => format!("--take source -- {name} {key}"),
                false => format!("{name} {key} --take source"),
            };
            format!("for each: `cascade sync resolve {wish}` (or `target`, or a file)")
        }
        None => format!("see why above; when that is settled, run `cascade sync {name}` again"),
    };
    Some(Failure::new(Kind::Conflict, message).with_hint(hint))
}

/// Answers what to do about what failed.
fn way_on(report: &Report) -> &'static str {
    match report.passing {
        0 => "everything else was; it fails again until what is said above is put right",
        passing if passing < report.failed.len() => {
            "everything else was; put right what is said above, and run it again"
        }
        _ => "everything else was; run it again",
    }
}

/// What stays at the target, for not all of the source is listed, is no success.
fn kept_back(report: &Report) -> Option<Failure> {
    let Report { sync, kept_back: items, .. } = report;
    let message =
        format!("sync {sync}: {} not deleted: what is not listed at the source may hide {}", are(*items), them(*items));
    let hint = "see what is skipped above: make it an item, or leave it out with `exclude`";
    (*items > 0).then(|| Failure::new(Kind::Conflict, message).with_hint(hint))
}

/// What the source has and no run brings over is no success.
fn set_aside(report: &Report) -> Option<Failure> {
    let message = format!("sync {}: not all of the source was brought over", report.sync);
    let hint = "see what is skipped above: it is left alone until that is put right at the source";
    (report.set_aside > 0).then(|| Failure::new(Kind::Conflict, message).with_hint(hint))
}

fn them(items: usize) -> &'static str {
    if items == 1 { "it" } else { "them" }
}

fn are(items: usize) -> String {
    format!("{} {}", count(items, "item"), if items == 1 { "is" } else { "are" })
}

/// Answers bytes as people read them: `512 B`, `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        assert_eq!([0, 1_023, 1_536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn what_is_not_as_written_counts_more_than_what_failed_and_that_more_than_what_is_flagged() {
        let noted = || vec![Noted { key: "a b".to_owned(), reason: "x".to_owned() }];
        let mut report = Report { sync: "site".to_owned(), ..Report::default() };
        let code = |report: &Report| verdict(report).map_or(0, |failure| failure.exit_code());
        assert_eq!(code(&report), 0);
        report.set_aside = 1;
        assert_eq!(code(&report), 5);
        report.flagged = noted();
        assert!(verdict(&report).unwrap().hint.unwrap().contains("run `cascade sync site` again"));
        report.resolvable = Some("a b".to_owned());
        let flagged = verdict(&report).unwrap();
        assert_eq!(
            (flagged.exit_code(), flagged.message.as_str()),
            (5, "sync site: 1 item is flagged: left alone until somebody decides")
        );
        assert!(flagged.hint.unwrap().contains("resolve site 'a b' --take"));
        report.failed = noted();
        assert_eq!(code(&report), 1);
        report.unverified = noted();
        assert_eq!(code(&report), 4);
    }
}
