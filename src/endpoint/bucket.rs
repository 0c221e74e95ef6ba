//! A bucket: objects under keys, in an object store or in a directory that is used like one.
//!
//! Everything goes through OpenDAL. What a store can do is found out and not assumed: conditions that it honours make a
//! concurrent change an answer instead of a loss, elsewhere an object is looked at right before it is replaced. Objects are
//! listed with what tells that they were changed (an ETag, else size and time), so that what is as it was costs no request.

mod conditions;
mod courtesy;
mod list;
mod look;
mod mark;
mod open;
mod pace;
mod put;
mod recent;
mod refusal;
mod room;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use opendal::Operator;
use opendal::raw::normalize_path;
use tokio::sync::{OnceCell, Semaphore};

use super::{
    Capabilities, Content, Endpoint, Error, Fingerprint, IsKept, Item, Key, Known, Later, Leftover, Listing, Put,
    Result, Take,
};
use crate::base::Clock;
use conditions::Writing;
use open::Source;
use pace::Pace;
use recent::Recent;

/// A bucket, or what begins with a prefix in one; cheap to clone.
#[derive(Clone)]
pub struct Bucket(Arc<Store>);

/// A store, and how it is used.
struct Store {
    place: String,
    source: Source,
    /// For everything but writing.
    operator: Operator,
    /// For writing; made, with what is found out for that, when it is first needed.
    writing: OnceCell<Writing>,
    parallel: usize,
    permits: Semaphore,
    pace: Pace,
    recent: Recent,
    part_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl Bucket {
    /// Answers the directory that is used as a bucket, where it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.source.path()
    }

    /// Does work on many items, some of them at the same time; answers in their order.
    async fn each<'a, T, R, F>(&'a self, items: Vec<T>, work: impl Fn(T) -> F) -> Vec<Result<R>>
    where
        F: Future<Output = Result<R>> + 'a,
    {
        let permitted = |item| {
            let work = work(item);
            async {
                // Nobody closes them.
                let _permit = self.0.permits.acquire().await;
                work.await
            }
        };
        stream::iter(items.into_iter().map(permitted)).buffered(self.0.parallel).collect().await
    }
}

/// Answers a key as the store takes it.
fn path<'k>(key: &'k Key, action: &'static str) -> Result<&'k str> {
    let refuse = |reason: &'static str| Error::item(action, key)(io::Error::new(io::ErrorKind::InvalidInput, reason));
    let path = std::str::from_utf8(key.as_bytes()).map_err(|_| refuse("names in a bucket are UTF-8"))?;
    if is_reachable(path) { Ok(path) } else { Err(refuse("a name in a bucket has no space around it")) }
}

/// Answers whether a name means itself to OpenDAL, which takes some for others.
fn is_reachable(path: &str) -> bool {
    normalize_path(path) == path
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("place", &self.0.place).finish_non_exhaustive()
    }
}

impl Endpoint for Bucket {
    fn place(&self) -> String {
        self.0.place.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: false, links: false }
    }

    fn is_nested(&self) -> bool {
        self.path().is_some()
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::running(self.place(), move |lister| async move { list::list(&this, lister).await })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        Box::pin(self.each(items, |item| look::read(self, item)))
    }

    fn read_part(&self, item: Item, at: u64, length: u64) -> Later<'_, Result<Vec<u8>>> {
        Box::pin(look::read_part(self, item, at, length))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        Box::pin(self.each(items, |item| look::known(self, item)))
    }

    fn recall(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        Box::pin(self.each(items, |item| look::recalled(self, item)))
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        Box::pin(async move {
            match self.writing().await {
                Ok(writing) => self.each(puts, |one| put::put(self, writing, one)).await,
                Err(refused) => put::all_refused(&refused, puts.iter().map(|put| &put.key), "write"),
            }
        })
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        Box::pin(async move {
            if takes.is_empty() {
                return Vec::new();
            }
            match self.writing().await {
                Ok(writing) => self.each(takes, |take| put::delete(self, writing, take)).await,
                Err(refused) => put::all_refused(&refused, takes.iter().map(|take| &take.key), "delete"),
            }
        })
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        // A store answers when it has what it was given.
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async move {
            let mut left = Vec::new();
            for name in leftovers {
                left.extend(list::sweep(self, &name).await);
            }
            left
        })
    }
}

#[cfg(test)]
mod tests;
