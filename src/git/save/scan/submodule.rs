//! Submodules: of each the commit that it is at is saved, never what is in it.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::FileType;

use super::Scan;
use crate::base::escape::shell_word;
use crate::beneath::{Place, stat_at};
use crate::git::error::Result;
use crate::git::index::{Content, Op};
use crate::git::save::{Change, ChangeKind};
use crate::git::tree::{MODE_GITLINK, TreeEntry, split};

impl Scan<'_> {
    /// Notes where the submodule at or above `path` has gone, which the commit has at `entry`.
    pub(super) fn submodule(&mut self, path: &[u8], entry: &TreeEntry) -> Result<()> {
        let (parent, name) = split(path);
        if !parent.is_empty() && self.base.find(parent)?.is_some_and(|above| above.mode == MODE_GITLINK) {
            return self.path(parent);
        }
        if (self.request.excluded)(path, true) {
            return Ok(());
        }
        let found = match self.beneath.dir(parent) {
            Ok(Place::Dir(dir)) => stat_at(dir.as_fd(), name).ok().map(|stat| stat.kind),
            _ => None,
        };
        match found {
            None => self.set_aside(path, &gone(path)),
            Some(FileType::Directory) => self.moved(path, entry)?,
            Some(_) => self.set_aside(path, &replaced(path)),
        }
        Ok(())
    }

    /// Without a repository in it there is nothing to follow: it was not fetched.
    fn moved(&mut self, path: &[u8], entry: &TreeEntry) -> Result<()> {
        let inner = git2::Repository::open(self.repo.root().join(OsStr::from_bytes(path))).ok();
        let head = inner.and_then(|inner| inner.refname_to_id("HEAD").ok()).filter(|head| *head != entry.oid);
        let Some(head) = head else { return Ok(()) };
        if let Some(reason) = self.kept_local()?.reason(path) {
            self.set_aside(path, &reason);
            return Ok(());
        }
        let change = Change { path: path.to_vec(), kind: ChangeKind::Modified, bytes: 0 };
        let content = Content {
            mode: MODE_GITLINK,
            oid: head,
            before: Some(entry.oid),
            stat: None,
            recent: true,
            left_out: false,
        };
        self.found.changes.insert(path.to_vec(), (change, Op::Put(content)));
        Ok(())
    }
}

/// Says why a submodule is not saved of which nothing is there.
fn gone(path: &[u8]) -> String {
    let path = shell_word(path);
    format!(
        "the submodule is not there: `git submodule update --init -- {path}` brings it back, `git rm --cached -- {path}` and \
         a commit take it out"
    )
}

/// The same where something else is.
fn replaced(path: &[u8]) -> String {
    let path = shell_word(path);
    format!("something else is in the place of the submodule: `git rm --cached -- {path}` and a commit take that out")
}
