//! `cascade records list|show|history|set`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{ListRecords, NamedRecord, Records, SetRecord};
use super::sync::bytes;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, words};
use crate::base::escape::{shown, shown_lines};
use crate::base::units::count;
use crate::context::Context;
use crate::endpoint::{RecordTable, Shape, record_key};
use crate::store::{RecordHead, RecordRevision, RecordTableSummary};

/// Lists, shows or changes records of the store's own tables.
///
/// # Errors
/// No such table or record; the store cannot be used.
pub async fn run(shell: &Shell, command: &Records) -> Outcome {
    let ctx = shell.context().await?;
    match command {
        Records::List(args) => match &args.table {
            Some(table) => list(shell, &ctx, table, args).await,
            None => tables(shell, &ctx).await,
        },
        Records::Show(args) => show(shell, &ctx, args).await,
        Records::History(args) => history(shell, &ctx, args).await,
        Records::Set(args) => set(shell, &ctx, args).await,
    }
}

async fn tables(shell: &Shell, ctx: &Context) -> Outcome {
    let tables = ctx.store.record_tables().await?;
    if shell.ui.is_json() {
        let table = |one: &RecordTableSummary| json!({ "table": one.name, "records": one.records, "changed_at": one.changed_at.to_string() });
        return shell.ui.json(&tables.iter().map(table).collect::<Vec<_>>());
    }
    let now = ctx.now();
    let row = |one: &RecordTableSummary| {
        let records = count(usize::try_from(one.records).unwrap_or(0), "record");
        vec![Cell::new(&one.name, Tone::Strong), records.into(), words::age(now, one.changed_at).into()]
    };
    shell.ui.table(&tables.iter().map(row).collect::<Vec<_>>());
    if tables.is_empty() {
        shell.ui.note("there are no records yet: a sync with `to: { records: { table: NAME } }` makes a table");
    }
    Ok(())
}

async fn list(shell: &Shell, ctx: &Context, table: &str, args: &ListRecords) -> Outcome {
    require(ctx, table).await?;
    let after = args.after.as_ref().map(|id| key(id)).transpose()?.unwrap_or_default();
    let heads = ctx.store.record_heads(table, after, i64::from(args.limit)).await?;
    if shell.ui.is_json() {
        let head = |head: &RecordHead| {
            json!({ "key": shown(&head.key), "revision": head.revision, "digest": head.digest.to_string(),
                "bytes": head.size, "changed_at": head.changed_at.to_string() })
        };
        return shell.ui.json(&heads.iter().map(head).collect::<Vec<_>>());
    }
    let now = ctx.now();
    let row = |head: &RecordHead| {
        let revision = format!("revision {}", head.revision);
        let key = Cell::new(shown(&head.key), Tone::Strong);
        vec![key, revision.into(), bytes(head.size).into(), words::age(now, head.changed_at).into()]
    };
    shell.ui.table(&heads.iter().map(row).collect::<Vec<_>>());
    if heads.len() >= args.limit as usize {
        shell.ui.note("there may be more: `--after ID` goes on, `--limit N` lists more at a time");
    }
    Ok(())
}

async fn show(shell: &Shell, ctx: &Context, args: &NamedRecord) -> Outcome {
    require(ctx, &args.table).await?;
    let found = ctx.store.records_of(&args.table, vec![key(&args.id)?]).await?.pop().flatten();
    let found = found.ok_or_else(|| missing(args))?;
    if shell.ui.is_json() {
        let record = json!({ "key": shown(&found.key), "revision": found.revision, "record": value(&found.body) });
        return shell.ui.json(&record);
    }
    print(shell, &found.body);
    Ok(())
}

async fn history(shell: &Shell, ctx: &Context, args: &NamedRecord) -> Outcome {
    let revisions = ctx.store.record_history(&args.table, key(&args.id)?).await?;
    if revisions.is_empty() {
        require(ctx, &args.table).await?;
        return Err(missing(args));
    }
    if shell.ui.is_json() {
        let revision = |one: &RecordRevision| json!({ "revision": one.revision, "at": one.at.to_string(), "record": one.body.as_deref().map(value) });
        return shell.ui.json(&revisions.iter().map(revision).collect::<Vec<_>>());
    }
    let now = ctx.now();
    for one in &revisions {
        let deleted = if one.body.is_none() { ": deleted" } else { "" };
        shell.ui.heading(&format!("revision {}, {}{deleted}", one.revision, words::age(now, one.at)));
        one.body.iter().for_each(|body| print(shell, body));
    }
    Ok(())
}

async fn set(shell: &Shell, ctx: &Context, args: &SetRecord) -> Outcome {
    let path = shown(args.file.as_os_str().as_encoded_bytes());
    let text = std::fs::read(&args.file);
    let text = text.map_err(|refused| Failure::unavailable(format!("cannot read {path}"), &refused))?;
    let into_table = |spec: &&crate::config::SyncSpec| {
        spec.to.records.as_ref().is_some_and(|to| to.table.as_deref() == Some(args.table.as_str()))
    };
    let sync = ctx.config.syncs.values().find(into_table);
    let configured = sync.and_then(|spec| spec.from.records.as_ref()).map(|from| from.id.clone());
    let id = args.id.clone().or(configured).unwrap_or_else(|| "id".to_owned());
    let shape = Shape { id, ignore: Vec::new(), schema: None, limit: usize::MAX, by_field: false };
    let table = RecordTable::open(ctx.store.clone(), &args.table, shape, Arc::clone(&ctx.clock));
    let (key, revision) = match table.set(&text).await {
        Ok(set) => set,
        Err(refused) => return Err(Failure::usage(format!("{path}: {refused}"))),
    };
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "key": key.to_string(), "revision": revision }));
    }
    shell.ui.success(&format!("{}: {key} has revision {revision} now", args.table));
    Ok(())
}

/// Refuses a table that has no records.
async fn require(ctx: &Context, table: &str) -> Outcome {
    let known = ctx.store.record_tables().await?;
    if known.iter().any(|one| one.name == table) {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(|one| one.name.as_str()).collect();
    let hint = if names.is_empty() {
        "no table has records yet".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    Err(Failure::usage(format!("there are no records in a table `{}`", shown(table.as_bytes()))).with_hint(hint))
}

fn missing(args: &NamedRecord) -> Failure {
    let NamedRecord { table, id } = args;
    let failure = Failure::usage(format!("the table {table} has no record `{}`", shown(id.as_bytes())));
    failure.with_hint(format!("`cascade records list {table}` lists them"))
}

/// Answers the key of an id.
fn key(id: &str) -> Outcome<Vec<u8>> {
    let key =
        record_key(id).ok_or_else(|| Failure::usage("an id is no empty text, and not longer than 4,096 bytes"))?;
    Ok(key.as_bytes().to_vec())
}

fn value(body: &[u8]) -> Value {
    // What cannot be held here is shown as text.
    serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body)))
}

fn print(shell: &Shell, body: &[u8]) {
    let text = crate::endpoint::record_lines(body);
    text.lines().for_each(|line| shell.ui.pieces(&[Cell::new(shown_lines(line.as_bytes()), Tone::Plain)]));
}
