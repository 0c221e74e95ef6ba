//! `cascade snapshots list|show|diff|restore|prune|check`.

use serde::Serialize;
use serde_json::json;

use super::args::{CheckSnapshots, DiffSnapshots, RestoreSnapshot, ShowSnapshot, Snapshots};
use super::sync::{bytes, list as note_all, show, show_plan, verdict};
use super::transfer::watched;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, moment, words};
use crate::base::ErrorKind;
use crate::base::escape::shown;
use crate::base::units::count;
use crate::context::Context;
use crate::endpoint::Version;
use crate::store::SnapshotRecord;
use crate::sync::keeping::Changed;
use crate::sync::{self, At, Wanted};

/// One run that replaced something.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: &'a str,
    at: String,
    items: i64,
    bytes: i64,
}

/// What was under a key before a run.
#[derive(Debug, Serialize)]
struct Item {
    key: String,
    /// The content's SHA-256; none: nothing was there.
    digest: Option<String>,
    bytes: u64,
}

/// Lists, shows or restores what syncs replaced.
///
/// # Errors
/// No such sync or snapshot; a restore leaves items as they are (all is printed).
pub async fn run(shell: &Shell, command: &Snapshots) -> Outcome {
    let ctx = shell.context().await?;
    match command {
        Snapshots::List(args) => list(shell, &ctx, &args.name).await,
        Snapshots::Show(args) => show_one(shell, &ctx, args).await,
        Snapshots::Diff(args) => diff(shell, &ctx, args).await,
        Snapshots::Prune(args) => prune(shell, &ctx, args.name.as_deref()).await,
        Snapshots::Check(args) => check(shell, &ctx, args).await,
        Snapshots::Restore(args) => restore(shell, &ctx, args).await,
    }
}

async fn list(shell: &Shell, ctx: &Context, name: &str) -> Outcome {
    sync::require(ctx, name)?;
    let mut records = ctx.store.snapshots(name).await?;
    records.reverse();
    if shell.ui.is_json() {
        let entry = |record: &SnapshotRecord| {
            json!(Entry { id: &record.run, at: record.at.to_string(), items: record.items, bytes: record.bytes })
        };
        return shell.ui.json(&records.iter().map(entry).collect::<Vec<_>>());
    }
    let now = ctx.now();
    let row = |record: &SnapshotRecord| {
        let items = count(usize::try_from(record.items).unwrap_or(0), "item");
        let size = bytes(u64::try_from(record.bytes).unwrap_or(0));
        vec![Cell::new(&record.run, Tone::Strong), words::age(now, record.at).into(), items.into(), size.into()]
    };
    shell.ui.table(&records.iter().map(row).collect::<Vec<_>>());
    if records.is_empty() {
        shell.ui.note(&format!("{name} has replaced nothing yet"));
    }
    Ok(())
}

async fn show_one(shell: &Shell, ctx: &Context, args: &ShowSnapshot) -> Outcome {
    sync::require(ctx, &args.name)?;
    let before = sync::restore::snapshot_of(ctx, &args.name, args.id.as_deref()).await?;
    let item = |(key, version): (&crate::endpoint::Key, &Option<crate::endpoint::Version>)| Item {
        key: key.to_string(),
        digest: version.map(|version| version.digest.to_string()),
        bytes: version.map_or(0, |version| version.size),
    };
    let items: Vec<Item> = before.iter().map(item).collect();
    if shell.ui.is_json() {
        return shell.ui.json(&items);
    }
    let row = |item: &Item| match &item.digest {
        Some(digest) => vec![item.key.as_str().into(), bytes(item.bytes).into(), Cell::new(&digest[..12], Tone::Dim)],
        None => vec![item.key.as_str().into(), Cell::new("nothing was there", Tone::Dim)],
    };
    shell.ui.table(&items.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// Answers the moment that somebody means: a run's, where one has that name.
async fn at(ctx: &Context, sync: &str, text: Option<&str>) -> Outcome<At> {
    let Some(text) = text else { return Ok(At::BeforeNewest) };
    if ctx.store.snapshots(sync).await?.iter().any(|record| record.run == text) {
        return Ok(At::Before(text.to_owned()));
    }
    let Ok(moment) = moment::parse(text, ctx.now()) else {
        let failure = Failure::usage(format!("sync {sync} has no snapshot `{}`", shown(text.as_bytes())));
        return Err(
            failure.with_hint(format!("`cascade snapshots list {sync}` lists them; a moment: {}", moment::EXAMPLES))
        );
    };
    Ok(At::Time(moment))
}

/// What is different under a key.
#[derive(Debug, Serialize)]
struct Difference {
    /// `created`, `updated`, `deleted`.
    change: &'static str,
    key: String,
    /// SHA-256 of what was there; none: nothing.
    from: Option<String>,
    to: Option<String>,
    bytes: u64,
}

async fn diff(shell: &Shell, ctx: &Context, args: &DiffSnapshots) -> Outcome {
    sync::require(ctx, &args.name)?;
    let from = at(ctx, &args.name, args.from.as_deref()).await?;
    let to = match &args.to {
        Some(text) => Some(at(ctx, &args.name, Some(text)).await?),
        None => None,
    };
    let changes = sync::open(ctx, &args.name, None).await?.changes_between(&from, to.as_ref()).await?;
    let digest = |version: Option<Version>| version.map(|version| version.digest.to_string());
    let difference = |change: &Changed| Difference {
        change: match (change.from, change.to) {
            (None, _) => "created",
            (_, None) => "deleted",
            _ => "updated",
        },
        key: change.key.to_string(),
        from: digest(change.from),
        to: digest(change.to),
        bytes: change.to.map_or(0, |version| version.size),
    };
    let differences: Vec<Difference> = changes.iter().map(difference).collect();
    if shell.ui.is_json() {
        return shell.ui.json(&differences);
    }
    let row = |one: &Difference| {
        let size = if one.to.is_some() { bytes(one.bytes) } else { String::new() };
        vec![one.change.into(), one.key.as_str().into(), size.into()]
    };
    shell.ui.table(&differences.iter().map(row).collect::<Vec<_>>());
    if differences.is_empty() {
        shell.ui.note("nothing is different");
    }
    Ok(())
}

/// Answers the names of one sync or of all.
fn names<'c>(ctx: &'c Context, name: Option<&'c str>) -> Outcome<Vec<&'c str>> {
    match name {
        Some(name) => sync::require(ctx, name).map(|_| vec![name]).map_err(Into::into),
        None => Ok(ctx.config.syncs.keys().map(String::as_str).collect()),
    }
}

async fn prune(shell: &Shell, ctx: &Context, name: Option<&str>) -> Outcome {
    let _lock = sync::lock(ctx)?;
    let mut documents = Vec::new();
    for name in names(ctx, name)? {
        let pruned = sync::open(ctx, name, None).await?.prune().await?;
        let (snapshots, contents) = (count(pruned.snapshots, "snapshot"), count(pruned.contents, "content"));
        shell.ui.success(&format!("{name}: {snapshots} forgotten, {contents} removed"));
        documents.push(json!({ "sync": name, "snapshots": pruned.snapshots, "contents": pruned.contents }));
    }
    if shell.ui.is_json() { shell.ui.json(&documents) } else { Ok(()) }
}

async fn check(shell: &Shell, ctx: &Context, args: &CheckSnapshots) -> Outcome {
    let (mut documents, mut wrong) = (Vec::new(), 0);
    for name in names(ctx, args.name.as_deref())? {
        let check = sync::open(ctx, name, None).await?.check_snapshots(args.read_data).await?;
        wrong += check.missing.len() + check.damaged.len();
        if !shell.ui.is_json() {
            note_all(shell, name, "missing", &check.missing);
            note_all(shell, name, "damaged", &check.damaged);
            let (snapshots, contents) = (count(check.snapshots, "snapshot"), count(check.contents, "content"));
            let read = if check.read { "all read" } else { "not read; --read-data does" };
            shell.ui.answer(&format!("{name}: {snapshots}, {contents} of {} ({read})", bytes(check.bytes)));
        }
        documents.push(check);
    }
    if shell.ui.is_json() {
        shell.ui.json(&documents)?;
    }
    if wrong == 0 {
        return Ok(());
    }
    let failure = Failure::new(ErrorKind::Integrity, format!("{} cannot be restored", count(wrong, "item")));
    Err(failure.with_hint("everything else can"))
}

async fn restore(shell: &Shell, ctx: &Context, args: &RestoreSnapshot) -> Outcome {
    let wanted = Wanted { at: at(ctx, &args.name, args.at.as_deref()).await?, keys: args.keys.clone() };
    if args.dry_run {
        let sync = sync::open(ctx, &args.name, None).await?;
        let document = show_plan(shell, &sync, &sync.prepare_restore(&wanted).await?, None);
        return if shell.ui.is_json() { shell.ui.json(&document) } else { Ok(()) };
    }
    let _lock = sync::lock(ctx)?;
    let sync = sync::open(ctx, &args.name, None).await?;
    let report = watched(shell, ctx, &sync, sync.restore(&wanted)).await?;
    show(shell, &report);
    if shell.ui.is_json() {
        shell.ui.json(&report)?;
    }
    verdict(&report).map_or(Ok(()), Err)
}
