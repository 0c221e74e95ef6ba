//! `cascade sync [NAME]` and `cascade sync resolve NAME KEY`.

use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Resolve, Sync as Asked, SyncCommand, SyncSide};
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, words};
use crate::base::ErrorKind;
use crate::base::escape::shell_word;
use crate::base::units::count;
use crate::context::Context;
use crate::endpoint::Key;
use crate::sync::{self, Noted, Prepared, Report, Step};

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
    /// Whether more would be deleted than may be.
    deletes_too_much: bool,
}

/// Syncs, or decides about an item.
///
/// # Errors
/// No such sync; an endpoint is not there; items are flagged, failed or not there as they were written (all is printed).
pub async fn run(shell: &Shell, args: &Asked) -> Outcome {
    let ctx = shell.context().await?;
    if let Some(SyncCommand::Resolve(resolve)) = &args.command {
        return decide(shell, &ctx, resolve).await;
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
    for name in ctx.config.syncs.keys() {
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
        ErrorKind::Conflict => 0,
        ErrorKind::CheckFailed => 1,
        _ => 2,
    }
}

/// Runs or plans one sync; answers its document, and what is wrong with the result.
async fn one(shell: &Shell, ctx: &Context, name: &str, args: &Asked) -> Outcome<(Value, Option<Failure>)> {
    if args.dry_run {
        let sync = sync::open(ctx, name, args.max_delete).await?;
        let prepared = sync.prepare().await?;
        return Ok((show_plan(shell, &sync, &prepared), None));
    }
    let _lock = sync::lock(ctx)?;
    let sync = sync::open(ctx, name, args.max_delete).await?;
    let report = sync.run().await?;
    show(shell, &report);
    Ok((json!(report), verdict(&report)))
}

async fn decide(shell: &Shell, ctx: &Context, args: &Resolve) -> Outcome {
    let _lock = sync::lock(ctx)?;
    let sync = sync::open(ctx, &args.name, None).await?;
    let key = Key::new(args.key.as_bytes().to_vec())
        .map_err(|problem| Failure::usage(format!("this cannot be a key: {problem}")))?;
    let report = match args.take {
        SyncSide::Source => sync.take_source(&key).await?,
        SyncSide::Target => sync.take_target(&key).await?,
    };
    if shell.ui.is_json() {
        shell.ui.json(&report)?;
    } else if report.flagged.is_empty() && report.failed.is_empty() && report.unverified.is_empty() {
        let side = if args.take == SyncSide::Source { "the source's" } else { "the target's" };
        shell.ui.success(&format!("{}: {side} {key} stays", args.name));
    } else {
        tell(shell, &report);
    }
    verdict(&report).map_or(Ok(()), Err)
}

/// Prints a plan for people; answers its document.
pub(super) fn show_plan(shell: &Shell, sync: &sync::Sync, prepared: &Prepared) -> Value {
    let plan = &prepared.plan;
    let flag = |flag: &sync::plan::Flag| Noted::new(&flag.key, sync::report::flagged(flag.finding));
    let planned = Planned {
        sync: sync.name.clone(),
        source: sync.source.place(),
        target: sync.target.place(),
        actions: plan.actions.iter().filter_map(Step::of).collect(),
        flagged: plan.flags.iter().map(flag).collect(),
        skipped: prepared.comparison.skipped.clone(),
        failed: prepared.comparison.failed.clone(),
        unchanged: plan.unchanged,
        kept: plan.kept,
        deletes_too_much: plan.guard.is_some(),
    };
    if !shell.ui.is_json() {
        let row = |step: &Step| {
            let tone = if step.action == "delete" { Tone::Warn } else { Tone::Plain };
            let bytes = if step.action == "delete" { String::new() } else { bytes(step.bytes) };
            vec![Cell::new(step.action, tone), step.key.as_str().into(), bytes.into()]
        };
        shell.ui.table(&planned.actions.iter().map(row).collect::<Vec<_>>());
        list(shell, &planned.sync, "flagged", &planned.flagged);
        list(shell, &planned.sync, "skipped", &planned.skipped);
        list(shell, &planned.sync, "failed", &planned.failed);
        if let Some(guard) = plan.guard {
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
    json!(planned)
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
        format!("{}: nothing to do, {} unchanged ({took})", report.sync, count(report.unchanged, "item"))
    } else {
        format!(
            "{}: {} created, {} updated, {} deleted, {} unchanged ({} in {took})",
            report.sync,
            report.created,
            report.updated,
            report.deleted,
            report.unchanged,
            bytes(report.bytes)
        )
    };
    shell.ui.success(&done);
}

/// Prints what deserves attention, for people.
fn tell(shell: &Shell, report: &Report) {
    list(shell, &report.sync, "flagged", &report.flagged);
    list(shell, &report.sync, "skipped", &report.skipped);
    list(shell, &report.sync, "failed", &report.failed);
    list(shell, &report.sync, "not as it was written", &report.unverified);
    report.left.iter().for_each(|text| shell.ui.warning(&format!("{}: {text}", report.sync)));
}

fn list(shell: &Shell, sync: &str, word: &str, items: &[Noted]) {
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
        return Some(Failure::new(ErrorKind::CheckFailed, message).with_hint(hint));
    }
    if !report.failed.is_empty() {
        let message = format!("sync {name}: {} could not be brought over", count(report.failed.len(), "item"));
        return Some(Failure::new(ErrorKind::Unavailable, message).with_hint("everything else was; run it again"));
    }
    let first = report.flagged.first()?;
    let message = format!("sync {name}: {} flagged: left alone until somebody decides", are(report.flagged.len()));
    let key = shell_word(&first.key);
    let wish = match first.key.starts_with('-') {
        true => format!("--take source -- {name} {key}"),
        false => format!("{name} {key} --take source"),
    };
    let hint = format!("for each: `cascade sync resolve {wish}` (or `target`)");
    Some(Failure::new(ErrorKind::Conflict, message).with_hint(hint))
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
        report.flagged = noted();
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
