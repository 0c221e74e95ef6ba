//! From configured records to endpoints.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::escape::shown;
use crate::config::{Expanded, OnDrift, RecordsSource, RecordsTarget, SyncSpec};
use crate::context::Context;
use crate::endpoint::{
    self, Asking, Endpoint, Error, Origin, RecordApi, RecordFile, RecordTable, RecordTexts, Requests, Schema, Shape,
};

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
        (None, None, Some(url)) => Origin::Http(asking(url, &from.headers, from.timeout.0)?),
        (None, Some(command), _) => Origin::Command {
            script: command.clone(),
            directory: ctx.git.root().to_owned(),
            limit: from.timeout,
            surroundings: from.surroundings.clone(),
        },
        (None, None, None) => return Err(nothing("the source of records")),
    };
    let texts = RecordTexts::open(origin, shape);
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
        let asking = asking(url, &to.headers, to.timeout.0)?;
        let shape = Shape { ignore: to.ignore.clone(), ..shape };
        return Ok((Arc::new(RecordApi::open(asking, requests(to)?, shape)), None));
    }
    let Some(file) = &to.file else { return Err(nothing("the target of records")) };
    let file = RecordFile::open(&ctx.git.root().join(file.value()), shape)?;
    let path = file.path().to_owned();
    Ok((Arc::new(file), Some(path)))
}

fn asking(url: &Expanded, headers: &[Expanded], limit: Duration) -> endpoint::Result<Asking> {
    Asking::new(url, headers, limit).map_err(Error::unusable(&format!("the records of {}", url.written())))
}

fn requests(to: &RecordsTarget) -> endpoint::Result<Requests> {
    let template = |text: &str| {
        let unfit = |problem: &str| io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned());
        text.parse().map_err(|problem| Error::unusable("the target of records")(unfit(problem)))
    };
    Ok(Requests {
        read: template(&to.read)?,
        create: template(&to.create)?,
        update: template(&to.update)?,
        delete: template(&to.delete)?,
        parallel: usize::try_from(to.parallel.clamp(1, RecordsTarget::PARALLEL_LIMIT)).unwrap_or(1),
    })
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
