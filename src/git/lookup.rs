//! Looking for one path in a tree, as a checkout of it would have it.

use git2::Odb;

use super::branch::oid;
use super::error::{Error, Result};
use super::repo::Repo;
use super::tree::{BaseTree, MODE_EXECUTABLE, MODE_FILE, MODE_LINK, MODE_TREE, join, split};
use crate::base::id::ObjectId;

/// Symlinks that one path may lead through, as in Linux.
const LINKS_LIMIT: usize = 40;

/// What a path of a tree leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookedUp {
    /// A regular file, reached without leaving the tree.
    File,
    /// A directory or another repository.
    NoFile,
    /// Nothing.
    Missing,
    /// Something outside the tree.
    Outside,
}

impl Repo {
    /// Looks for `path` in a tree; symlinks are followed inside it.
    ///
    /// # Errors
    /// An object is missing.
    pub fn look_up(&self, tree: ObjectId, path: &[u8]) -> Result<LookedUp> {
        let odb = self.inner.odb().map_err(Error::library("open the object store"))?;
        let mut tree = BaseTree::new(&odb, oid(tree)?);
        let mut waiting: Vec<Vec<u8>> = reversed(path);
        let (mut at, mut links) = (Vec::new(), 0);
        if path.starts_with(b"/") {
            return Ok(LookedUp::Outside);
        }
        while let Some(word) = waiting.pop() {
            match word.as_slice() {
                b"" | b"." => continue,
                b".." if at.is_empty() => return Ok(LookedUp::Outside),
                b".." => {
                    at = split(&at).0.to_vec();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, &word);
            let Some(entry) = tree.find(&next)? else { return Ok(LookedUp::Missing) };
            match entry.mode {
                MODE_LINK => {
                    links += 1;
                    let target = link_target(&odb, entry.oid)?;
                    if links > LINKS_LIMIT {
                        return Ok(LookedUp::Missing);
                    }
                    if target.starts_with(b"/") {
                        return Ok(LookedUp::Outside);
                    }
                    waiting.extend(reversed(&target));
                }
                MODE_TREE => at = next,
                MODE_FILE | MODE_EXECUTABLE if waiting.is_empty() => return Ok(LookedUp::File),
                // Nothing is below a file; what is below another repository is not in this tree.
                _ if waiting.is_empty() => return Ok(LookedUp::NoFile),
                _ => return Ok(LookedUp::Missing),
            }
        }
        Ok(LookedUp::NoFile)
    }
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
}

fn link_target(odb: &Odb<'_>, oid: git2::Oid) -> Result<Vec<u8>> {
    Ok(odb.read(oid).map_err(Error::library(format!("read blob {oid}")))?.data().to_vec())
}
