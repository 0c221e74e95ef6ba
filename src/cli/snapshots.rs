//! `cascade snapshots list|show|restore NAME`.

use serde::Serialize;
use serde_json::json;

use super::args::{RestoreSnapshot, ShowSnapshot, Snapshots};
use super::sync::{bytes, show, show_plan, verdict};
use super::ui::{Cell, Tone};
use super::{Outcome, Shell, words};
use crate::base::units::count;
use crate::context::Context;
use crate::store::SnapshotRecord;
use crate::sync::{self, Wanted};

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

async fn restore(shell: &Shell, ctx: &Context, args: &RestoreSnapshot) -> Outcome {
    let wanted = Wanted { before_run: args.at.clone(), keys: args.keys.clone() };
    if args.dry_run {
        let sync = sync::open(ctx, &args.name, None).await?;
        let document = show_plan(shell, &sync, &sync.prepare_restore(&wanted).await?, None);
        return if shell.ui.is_json() { shell.ui.json(&document) } else { Ok(()) };
    }
    let _lock = sync::lock(ctx)?;
    let sync = sync::open(ctx, &args.name, None).await?;
    let report = sync.restore(&wanted).await?;
    show(shell, &report);
    if shell.ui.is_json() {
        shell.ui.json(&report)?;
    }
    verdict(&report).map_or(Ok(()), Err)
}
