//! From configured records to endpoints.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::escape::shown;
use crate::config::{Expanded, JsonPointer, OnDrift, RecordsSource, RecordsTarget, SyncSpec, header_template};
use crate::context::Context;
use crate::endpoint::{
    self, Asking, Endpoint, Error, Origin, RecordApi, RecordFile, RecordTable, RecordTexts, Requests, Schema, Shape,
};

const SOURCE: &str = "the source of records";
const TARGET: &str = "the target of records";

/// Answers what the records of a sync have in common.
fn shape(spec: &SyncSpec, from: &RecordsSource) -> Shape {
    Shape {
        id: from.id.clone(),
        ignore: Vec::new(),
        schema: None,
        limit: usize::try_from(from.max_record.0).unwrap_or(usize::MAX),
        by_field: spec.on_drift == OnDrift::FlagField,
    }
}

/// Opens records to be read; `target` is a file that they must not come from.
pub(super) fn source(
    ctx: &Context,
    spec: &SyncSpec,
    from: &RecordsSource,
    target: Option<&Path>,
) -> endpoint::Result<Result<Arc<dyn Endpoint>, PathBuf>> {
    let schema = from.schema.as_deref().map(|path| schema(&ctx.git.root().join(path))).transpose()?;
    let shape = Shape { schema, ignore: from.ignore.clone(), ..shape(spec, from) };
    if let Some(table) = &from.table {
        return Ok(Ok(Arc::new(RecordTable::open(ctx.store.clone(), table, shape, Arc::clone(&ctx.clock)))));
    }
    let path = |path: &Expanded| ctx.git.root().join(path.value());
    let origin = match (&from.files, &from.command, &from.url) {
        (Some(files), ..) => Origin::Files(path(files)),
        (None, None, Some(url)) => {
            let asking = asking(url, &from.headers, from.timeout.0)?;
            Origin::Http(asking.turning(pointer(from.next.as_deref(), SOURCE)?).at_most(from.max_answer))
        }
        (None, Some(command), _) => Origin::Command {
            script: command.clone(),
            directory: ctx.git.root().to_owned(),
            limit: from.timeout,
            most: from.max_answer,
            surroundings: from.surroundings.clone(),
        },
        (None, None, None) => return Err(nothing(SOURCE)),
    };
    let texts = RecordTexts::open(origin, shape, pointer(from.items.as_deref(), SOURCE)?);
    match target.and_then(|target| texts.overlap(target)) {
        Some(path) => Ok(Err(path)),
        None => Ok(Ok(Arc::new(texts))),
    }
}

/// Opens records to be written; answers the file that they are in, too, where they are in one.
pub(super) fn target(
    ctx: &Context,
    spec: &SyncSpec,
    to: &RecordsTarget,
) -> endpoint::Result<(Arc<dyn Endpoint>, Option<PathBuf>)> {
    let from = spec.from.records.clone().unwrap_or_default();
    let shape = shape(spec, &from);
    if let Some(table) = &to.table {
        let table = RecordTable::open(ctx.store.clone(), table, shape, Arc::clone(&ctx.clock));
        return Ok((Arc::new(table), None));
    }
    if let Some(url) = &to.url {
        let same: Vec<Expanded> = to.headers.iter().filter(|text| header_template(text).is_none()).cloned().collect();
        let asking = asking(url, &same, to.timeout.0)?.turning(pointer(to.next.as_deref(), TARGET)?);
        let shape = Shape { ignore: to.ignore.clone(), ..shape };
        return Ok((Arc::new(RecordApi::open(asking, requests(to)?, shape)), None));
    }
    let Some(file) = &to.file else { return Err(nothing(TARGET)) };
    let file = RecordFile::open(&ctx.git.root().join(file.value()), shape)?;
    let path = file.path().to_owned();
    Ok((Arc::new(file), Some(path)))
}

fn asking(url: &Expanded, headers: &[Expanded], limit: Duration) -> endpoint::Result<Asking> {
    Asking::new(url, headers, limit).map_err(Error::unusable(&format!("the records of {}", url.written())))
}

fn requests(to: &RecordsTarget) -> endpoint::Result<Requests> {
    let template = |text: &str| text.parse().map_err(|problem| unfit(TARGET, problem));
    let headers = to.headers.iter().filter_map(header_template);
    let named = |(name, template): (&str, _)| match name.parse() {
        Ok(name) => Ok((name, template)),
        Err(_) => Err(unfit(TARGET, "one of its headers is none")),
    };
    Ok(Requests {
        read: template(&to.read)?,
        create: template(&to.create)?,
        update: template(&to.update)?,
        delete: template(&to.delete)?,
        headers: headers.map(named).collect::<endpoint::Result<_>>()?,
        body: to.body.clone(),
        items: pointer(to.items.as_deref(), TARGET)?,
        item: pointer(to.item.as_deref(), TARGET)?,
        parallel: usize::try_from(to.parallel.clamp(1, RecordsTarget::PARALLEL_LIMIT)).unwrap_or(1),
    })
}

fn pointer(text: Option<&str>, place: &str) -> endpoint::Result<Option<JsonPointer>> {
    text.map(|text| text.parse().map_err(|problem| unfit(place, problem))).transpose()
}

fn unfit(place: &str, problem: &str) -> Error {
    Error::unusable(place)(io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned()))
}

/// A checked configuration names one thing.
fn nothing(place: &str) -> Error {
    Error::Missing { place: place.to_owned() }
}

fn schema(path: &Path) -> endpoint::Result<Schema> {
    let place = format!("the schema {}", shown(path.as_os_str().as_encoded_bytes()));
    let text = std::fs::read(path).map_err(Error::unusable(&place))?;
    let unfit = |problem: String| io::Error::new(io::ErrorKind::InvalidData, shown(problem.as_bytes()));
    Schema::read(&text).map_err(|problem| Error::unusable(&place)(unfit(problem)))
}
