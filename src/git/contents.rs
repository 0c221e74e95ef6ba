//! Listing and reading what a commit contains, straight from the objects.

use git2::{ObjectType, Odb, Oid};

use super::branch::{object_id, oid};
use super::error::{Error, Result};
use super::repo::Repo;
use super::tree::{BaseTree, MODE_EXECUTABLE, MODE_GITLINK, MODE_LINK, MODE_TREE, TreeEntry, join, parse};
use crate::base::id::ObjectId;

/// What a path of a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentForm {
    /// A file.
    File {
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link; its content is where it leads.
    Link,
    /// Another repository, of which only a commit is named.
    Repository,
}

/// One path of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentEntry {
    /// The path, below the directory that was listed.
    pub path: Vec<u8>,
    /// What it is.
    pub form: ContentForm,
    /// Its content (of another repository: the commit).
    pub object: ObjectId,
    /// Bytes of the content.
    pub size: u64,
}

impl Repo {
    /// Answers the tree of the directory `path` in a commit (empty: the top); nothing where there is none.
    ///
    /// # Errors
    /// An object is unreadable.
    pub fn directory_of(&self, commit: ObjectId, path: &[u8]) -> Result<Option<ObjectId>> {
        let top = self.tree_of(commit)?;
        if path.is_empty() {
            return Ok(Some(top));
        }
        let odb = self.inner.odb().map_err(Error::library("open the object store"))?;
        let entry = BaseTree::new(&odb, oid(top)?).find(path)?;
        entry.filter(|entry| entry.mode == MODE_TREE).map(|entry| object_id(entry.oid)).transpose()
    }

    /// Gives everything below a tree to `give`, in byte order of the paths, until that answers no.
    ///
    /// # Errors
    /// An object is unreadable.
    pub fn list_contents(&self, tree: ObjectId, give: &mut dyn FnMut(ContentEntry) -> bool) -> Result<()> {
        let odb = self.inner.odb().map_err(Error::library("open the object store"))?;
        let mut levels = vec![(Vec::new(), reversed(&odb, oid(tree)?)?)];
        while let Some((prefix, entries)) = levels.last_mut() {
            let Some(entry) = entries.pop() else {
                levels.pop();
                continue;
            };
            let path = join(prefix, &entry.name);
            if entry.mode == MODE_TREE {
                // Git sorts a directory as if its name ended in a slash: that is the order of full paths.
                levels.push((path, reversed(&odb, entry.oid)?));
            } else if !give(content_entry(&odb, path, &entry)?) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the content of a file or link.
    ///
    /// # Errors
    /// There is no such object, or it is unreadable.
    pub fn read_content(&self, object: ObjectId) -> Result<Vec<u8>> {
        let blob = self.inner.find_blob(oid(object)?).map_err(Error::library(format!("read {object}")))?;
        Ok(blob.content().to_vec())
    }
}

fn reversed(odb: &Odb<'_>, tree: Oid) -> Result<Vec<TreeEntry>> {
    let object = odb.read(tree).map_err(Error::library(format!("read tree {tree}")))?;
    let entries = (object.kind() == ObjectType::Tree).then(|| parse(object.data())).flatten();
    let mut entries = entries
        .ok_or_else(|| Error::Integrity { what: format!("tree {tree}"), reason: "it is malformed".to_owned() })?;
    entries.reverse();
    Ok(entries)
}

fn content_entry(odb: &Odb<'_>, path: Vec<u8>, entry: &TreeEntry) -> Result<ContentEntry> {
    let form = match entry.mode {
        MODE_GITLINK => ContentForm::Repository,
        MODE_LINK => ContentForm::Link,
        mode => ContentForm::File { executable: mode == MODE_EXECUTABLE },
    };
    let size = match form {
        ContentForm::Repository => 0,
        _ => odb.read_header(entry.oid).map_err(Error::library(format!("read {}", entry.oid)))?.0 as u64,
    };
    Ok(ContentEntry { path, form, object: object_id(entry.oid)?, size })
}
