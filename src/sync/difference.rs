//! What actions change in the content of items, for people.

use serde::Serialize;

use super::apply::source_item;
use super::error::{Error, Result};
use super::parts::whole;
use super::plan::Action;
use super::run::{Prepared, Sync};
use super::snapshot::{after, before};
use super::walk::reason;
use crate::endpoint::{Endpoint, Item};
use crate::git;

/// Larger content is not compared line by line.
const COMPARED_LIMIT_BYTES: u64 = 256 << 10;
/// Beyond so many bytes of differences no more are made.
const SHOWN_LIMIT_BYTES: usize = 4 << 20;
/// Content with a NUL so near to its beginning is no text, as git has it.
const BINARY_SAMPLE_BYTES: usize = 8_000;

/// What changes in the content of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// These lines, as `diff -u` has them, without the names; to be escaped before they are shown.
    Text(String),
    /// It is no text.
    Binary,
    /// There is too much of it, here or in all.
    Large,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

impl Sync {
    /// Answers what the actions of a plan that touch the target change, in their order.
    ///
    /// # Errors
    /// Reading ended without an answer; what cannot be read is its own answer.
    pub async fn differences(&self, prepared: &Prepared) -> Result<Vec<Difference>> {
        let (mut differences, mut shown) = (Vec::new(), 0);
        for action in prepared.plan.actions.iter().filter(|action| action.touches_target()) {
            let difference = if shown > SHOWN_LIMIT_BYTES || is_large(action) {
                Difference::Large
            } else {
                self.difference(action, prepared).await?
            };
            shown += if let Difference::Text(text) = &difference { text.len() } else { 0 };
            differences.push(difference);
        }
        Ok(differences)
    }

    async fn difference(&self, action: &Action, prepared: &Prepared) -> Result<Difference> {
        let key = action.key();
        let old = match before(action) {
            Some(version) => self.text(&*self.target, source_item(None, key, &version)).await?,
            None => Ok(Vec::new()),
        };
        let found = prepared.found.get(key).and_then(|row| row.source.as_ref());
        let new = match after(action) {
            _ if prepared.merges.contains_key(key) => {
                Ok(prepared.merges.get(key).map(|one| one.merged.content.clone()).unwrap_or_default())
            }
            Some(version) => self.text(&*self.source, source_item(found, key, &version)).await?,
            None => Ok(Vec::new()),
        };
        let (old, new) = match (old, new) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(why), _) | (_, Err(why)) => return Ok(Difference::Unreadable(why)),
        };
        if is_binary(&old) || is_binary(&new) {
            return Ok(Difference::Binary);
        }
        let lines = git::lines_between(&old, &new)?;
        Ok(Difference::Text(String::from_utf8_lossy(&lines).into_owned()))
    }

    /// Reads one item.
    async fn text(&self, endpoint: &dyn Endpoint, item: Item) -> Result<std::result::Result<Vec<u8>, String>> {
        let Some(read) = endpoint.read(vec![item]).await.pop() else { return Ok(Ok(Vec::new())) };
        let content = match read {
            Ok(content) => content,
            Err(refused) => return Ok(Err(reason(&refused))),
        };
        let drained = tokio::task::spawn_blocking(move || whole(content).map_err(|refused| reason(&refused)));
        drained.await.map_err(|lost| Error::Lost { name: self.name.clone(), reason: lost.to_string() })
    }
}

fn is_large(action: &Action) -> bool {
    [before(action), after(action)].into_iter().flatten().any(|version| version.size > COMPARED_LIMIT_BYTES)
}

fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(BINARY_SAMPLE_BYTES)].contains(&0)
}
