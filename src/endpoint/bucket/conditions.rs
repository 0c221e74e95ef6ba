//! Finding out what a store does before anything is entrusted to it.

use opendal::Operator;
use opendal::options::{DeleteOptions, WriteOptions};

use super::refusal::{is_unmet, passes, unusable};
use super::{Bucket, Result};
use crate::base::digest::Digest;
use crate::base::id::entropy;

/// What an object is called that a store is tried with.
pub(super) const PROBE_PREFIX: &str = ".cascade-probe-";
/// An ETag that no object has.
const NOBODYS_ETAG: &str = "\"00000000000000000000000000000000\"";

/// A store that is written to.
#[derive(Debug)]
pub(super) struct Writing {
    pub operator: Operator,
    pub conditions: Conditions,
}

/// Which conditions a store honours: one that it ignores would be no condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Conditions {
    /// An object is only written where there is none.
    pub create: bool,
    /// An object is only replaced where it has a certain ETag.
    pub replace: bool,
    /// An object is only deleted where it has a certain ETag.
    pub delete: bool,
    /// Listings have ETags.
    pub lists_etags: bool,
}

impl Bucket {
    /// Answers the store for writing, with what it was found to do; it is tried once, with an object of its own.
    pub(super) async fn writing(&self) -> Result<&Writing> {
        let prepare = || async {
            let operator = self.writer()?;
            let name = format!("{PROBE_PREFIX}{}", Digest::of(&entropy()).short(16));
            let tried = probe(&operator, &name).await;
            let conditions = tried.map_err(|refused| unusable(&self.0.place, refused))?;
            tracing::debug!("{} honours {conditions:?}", self.0.place);
            Ok(Writing { operator, conditions })
        };
        self.0.writing.get_or_try_init(prepare).await
    }
}

async fn probe(operator: &Operator, name: &str) -> opendal::Result<Conditions> {
    let can = operator.info().capability();
    let written = operator.write(name, "1").await?;
    let mut conditions = Conditions::default();
    if can.write_with_if_not_exists {
        let options = WriteOptions { if_not_exists: true, ..WriteOptions::default() };
        conditions.create = is_honoured(operator.write_options(name, "2", options).await.map(drop))?;
    }
    if can.write_with_if_match {
        let options = WriteOptions { if_match: Some(NOBODYS_ETAG.to_owned()), ..WriteOptions::default() };
        conditions.replace = is_honoured(operator.write_options(name, "3", options).await.map(drop))?;
    }
    conditions.lists_etags = written.etag().is_some()
        && operator.list(name).await?.iter().all(|entry| entry.path() != name || entry.metadata().etag().is_some());
    if can.delete_with_if_match {
        let options = DeleteOptions { if_match: Some(NOBODYS_ETAG.to_owned()), ..DeleteOptions::default() };
        conditions.delete = is_honoured(operator.delete_options(name, options).await)?;
    }
    operator.delete(name).await?;
    Ok(conditions)
}

/// Answers whether a condition that is not met was what a request failed by.
fn is_honoured(answer: opendal::Result<()>) -> opendal::Result<bool> {
    match answer {
        Err(refused) if is_unmet(&refused) => Ok(true),
        Err(refused) if passes(&refused) => Err(refused),
        // Some stores refuse conditions altogether.
        Ok(()) | Err(_) => Ok(false),
    }
}
