//! Records that are only read: from files, from what a command prints.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::http::Asking;
use super::index::{Index, Survey, Text};
use super::scan::Layout;
use super::shape::{Shape, item};
use crate::base::escape::shown;
use crate::base::units::{ByteSize, Span};
use crate::check::filter;
use crate::config::{JsonPointer, Surroundings};
use crate::endpoint::{
    Capabilities, Content, Ended, Endpoint, Error, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Lister,
    Listing, Put, Result, Take,
};

/// Directories within directories beyond this are not looked into.
const DEPTH_LIMIT: usize = 64;

/// Where texts come from.
#[derive(Clone)]
pub enum Origin {
    /// A file, all `*.json`, `*.ndjson` and `*.jsonl` below a directory, or files of one directory by a pattern.
    Files(PathBuf),
    /// What a command prints.
    Command {
        /// What `sh` is given.
        script: String,
        /// Where it runs.
        directory: PathBuf,
        /// How long it may take.
        limit: Span,
        /// How much it may print.
        most: ByteSize,
        /// What it gets to see of the environment.
        surroundings: Surroundings,
    },
    /// What an address answers with, page after page.
    Http(Asking),
}

/// Records of texts; cheap to clone.
#[derive(Clone)]
pub struct RecordTexts(Arc<Held>);

struct Held {
    origin: Origin,
    shape: Shape,
    items: Option<JsonPointer>,
    /// The texts as they were listed last.
    index: Mutex<Option<Arc<Index>>>,
}

impl RecordTexts {
    /// Opens what has records, in the array to which `items` points where that is said; nothing is read yet.
    #[must_use]
    pub fn open(origin: Origin, shape: Shape, items: Option<JsonPointer>) -> Self {
        Self(Arc::new(Held { origin, shape, items, index: Mutex::new(None) }))
    }

    /// Answers what is read of files where a file, or one in a directory, is part of it.
    #[must_use]
    pub fn overlap(&self, other: &Path) -> Option<PathBuf> {
        let Origin::Files(path) = &self.0.origin else { return None };
        let (above, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let real = path.canonicalize();
        let is_read = match &real {
            Ok(real) => other.starts_with(real) || real.starts_with(other),
            Err(_) => {
                let is_beside = above.canonicalize().is_ok_and(|above| other.parent() == Some(&above));
                is_beside && fits(name.as_bytes(), other.file_name().unwrap_or_default().as_bytes())
            }
        };
        is_read.then(|| path.clone())
    }

    /// Reads everything anew, on a blocking thread.
    fn survey(&self) -> Result<Arc<Index>> {
        let unusable = |source| Error::unusable(&self.place())(source);
        let texts = match &self.0.origin {
            Origin::Files(path) => files(path).map_err(unusable)?,
            Origin::Command { script, directory, limit, most, surroundings } => {
                let (file, path) = tempfile::NamedTempFile::new().map_err(unusable)?.into_parts();
                let spool = filter::Spool { file, limit: *most };
                let printed = filter::print(script, directory, (*limit, surroundings), spool);
                printed.map_err(|failure| unusable(said(&failure)))?;
                let name = "what the command printed".to_owned();
                vec![Text { name, path: path.to_path_buf(), layout: None, spool: Some(path) }]
            }
            Origin::Http(asking) => Handle::current().block_on(asking.pages()).map_err(unusable)?,
        };
        let index = Arc::new(Survey::new(&self.0.shape, self.0.items.as_ref()).of(texts).map_err(unusable)?);
        *self.0.index.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Answers where records are, as they were listed last.
    fn index(&self) -> Result<Arc<Index>> {
        let known = self.0.index.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.map_or_else(|| self.survey(), Ok)
    }

    /// Answers records as they are now where they were when they were listed.
    fn look<R: Send + 'static>(
        &self,
        items: Vec<Item>,
        make: impl Fn(super::shape::Record) -> R + Send + 'static,
    ) -> Later<'static, Vec<Result<R>>> {
        let this = self.clone();
        Box::pin(crate::endpoint::in_batch(self.place(), items, move |items| match this.index() {
            Ok(index) => items.iter().map(|item| read(&index, &this.0.shape, &item.key).map(&make)).collect(),
            Err(error) => {
                let reason = error.to_string();
                items.iter().map(|_| Err(Error::Lost { place: this.place(), reason: reason.clone() })).collect()
            }
        }))
    }
}

/// Reads a record at the place where it was.
pub(super) fn read(index: &Index, shape: &Shape, key: &Key) -> Result<super::shape::Record> {
    let located = index.find(key).map_err(Error::item("read", key))?.ok_or_else(|| super::gone(key))?;
    let text = index.text(&located).map_err(Error::item("read", key))?;
    let record = shape.record(&text).ok().filter(|record| record.known == located.known && record.key == *key);
    record.ok_or_else(|| Error::changed(key, "was changed at the source meanwhile"))
}

/// Gives all records of an index to whoever lists; answers what is none.
pub(super) fn give(index: &Index, lister: &mut Lister) -> io::Result<Ended> {
    for found in index.all()? {
        let (key, located) = found?;
        if !lister.give(item(key, &located.known)) {
            break;
        }
    }
    Ok(index.ended.clone())
}

fn said(failure: &filter::Failure) -> io::Error {
    let said = if failure.said.is_empty() { String::new() } else { format!(": {}", failure.said) };
    io::Error::other(format!("{}{said}", failure.reason))
}

/// Answers how records are put together where the name of a file tells.
pub(super) fn layout(path: &Path) -> Option<Layout> {
    let extension = path.extension()?.to_ascii_lowercase();
    (extension == "ndjson" || extension == "jsonl").then_some(Layout::Lines)
}

fn text(path: PathBuf, name: &OsStr) -> Text {
    Text { name: shown(name.as_bytes()), layout: layout(&path), path, spool: None }
}

/// Answers the files that a path means, in the order of their names.
fn files(path: &Path) -> io::Result<Vec<Text>> {
    let name = path.file_name().unwrap_or_default();
    if !name.as_bytes().contains(&b'*') {
        let found = std::fs::metadata(path)?;
        if !found.is_dir() {
            return Ok(vec![text(path.to_owned(), name)]);
        }
        let mut texts = Vec::new();
        collect(path, OsString::new(), DEPTH_LIMIT, &mut texts)?;
        return Ok(texts);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names =
        names(directory)?.into_iter().filter(|(other, is_dir)| !is_dir && fits(name.as_bytes(), other.as_bytes()));
    let texts: Vec<Text> = names.map(|(name, _)| text(directory.join(&name), &name)).collect();
    if texts.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(texts) }
}

/// Answers the names in a directory, sorted, and whether each is that of a directory.
fn names(directory: &Path) -> io::Result<Vec<(OsString, bool)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        names.push((entry.file_name(), entry.file_type()?.is_dir()));
    }
    names.sort();
    Ok(names)
}

fn collect(directory: &Path, above: OsString, depth: usize, texts: &mut Vec<Text>) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("it has too many directories within directories"));
    }
    for (name, is_dir) in names(directory)? {
        let path = directory.join(&name);
        let mut shown = above.clone();
        shown.push(&name);
        if is_dir && name != ".git" {
            shown.push("/");
            collect(&path, shown, depth - 1, texts)?;
        } else if !is_dir && is_text(&path) {
            texts.push(text(path, &shown));
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    extension == "json" || layout(path).is_some()
}

/// Answers whether a name is what a pattern says; `*` stands for any text, even none.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(&pattern[..star]) else { return false };
    (0..=rest.len()).any(|at| fits(&pattern[star + 1..], &rest[at..]))
}

impl fmt::Debug for RecordTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordTexts").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Endpoint for RecordTexts {
    fn place(&self) -> String {
        let id = shown(self.0.shape.id.as_bytes());
        match &self.0.origin {
            Origin::Files(path) => format!("the records of {} by {id}", shown(path.as_os_str().as_bytes())),
            Origin::Command { script, .. } => format!("the records that `{}` prints by {id}", shown(script.as_bytes())),
            Origin::Http(asking) => format!("the records of {} by {id}", asking.name),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: false, executables: false, links: false }
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::blocking(self.place(), move |lister| {
            let index = this.survey()?;
            give(&index, lister).map_err(Error::unusable(&this.place()))
        })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        self.look(items, |record| Content::whole(record.canonical).proved_by(Some(record.known.fingerprint)))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.look(items, |record| record.known)
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        crate::endpoint::read_only(self.place(), puts.len())
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        crate::endpoint::read_only(self.place(), takes.len())
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, is) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.jsonl", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXc", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), is, "{pattern} {name}");
        }
    }
}
