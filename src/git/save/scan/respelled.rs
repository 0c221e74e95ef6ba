//! Looking at the working tree where the file system does not tell upper from lower case.

use std::os::fd::AsFd as _;

use rustix::fs::FileType;

use super::Scan;
use crate::base::escape::shown;
use crate::beneath::{FileStat, Place, stat_at};
use crate::git::error::Result;
use crate::git::index::Op;
use crate::git::save::spelling::{Spelling, folded};
use crate::git::tree::{self, MODE_GITLINK, MODE_TREE};

/// A tracked file whose path is spelled anew.
pub(super) struct Respelled {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Scan<'_> {
    /// Looks at a hinted path by the names that its directories have on the disk.
    pub(super) fn hint(&mut self, path: &[u8]) -> Result<()> {
        if !self.settings.ignore_case {
            return self.path(path);
        }
        let (mut at, mut names) = (Vec::new(), path.split(|byte| *byte == b'/').peekable());
        while let Some(name) = names.next() {
            if names.peek().is_none() || name == b".git" {
                return self.path(&tree::join(&at, name));
            }
            let name = match self.spelling(&at, name)? {
                Spelling::Others(others) if others.len() == 1 => others.concat(),
                // They can be told apart, so the hint would have named one of them.
                _ => name.to_vec(),
            };
            let next = tree::join(&at, &name);
            match self.spelling(&at, &name)? {
                Spelling::Plain | Spelling::Others(_) => at = next,
                Spelling::Renamed { .. } | Spelling::Twin { .. } | Spelling::Unlisted => return self.path(&next),
            }
        }
        Ok(())
    }

    /// Answers whether names that differ only by case are taken for one.
    pub fn ignores_case(&self) -> bool {
        self.settings.ignore_case
    }

    /// Answers whether a path, or a directory of it, is spelled anew.
    pub fn is_respelled(&mut self, path: &[u8]) -> Result<bool> {
        for end in tree::path_ends(path) {
            let (dir, name) = tree::split(&path[..end]);
            if matches!(self.spelling(dir, name)?, Spelling::Renamed { .. }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at what a path stands for where that is not the path itself; answers whether that was so.
    pub(super) fn is_looked_at_elsewhere(&mut self, path: &[u8]) -> Result<bool> {
        let (dir, name) = tree::split(path);
        match self.spelling(dir, name)? {
            Spelling::Plain => return Ok(false),
            Spelling::Others(others) => others.iter().try_for_each(|other| self.path(&tree::join(dir, other)))?,
            Spelling::Renamed { from } => return self.respell(tree::join(dir, &from), path),
            Spelling::Twin { of } => self.set_twin_aside(path, &tree::join(dir, &of)),
            Spelling::Unlisted => self.set_aside(path, "its directory lists it under another name"),
        }
        Ok(true)
    }

    fn spelling(&mut self, dir: &[u8], name: &[u8]) -> Result<Spelling> {
        self.spellings.of(dir, name, self.beneath, &mut self.base)
    }

    fn set_twin_aside(&mut self, path: &[u8], twin: &[u8]) {
        let is_dir = self.stat(path).is_some_and(|stat| stat.kind == FileType::Directory);
        if !(self.request.excluded)(path, is_dir) {
            let twin = shown(twin);
            let reason = format!(
                "its name differs only by case from `{twin}`, and with core.ignoreCase both are one: rename one of them"
            );
            self.set_aside(path, &reason);
        }
    }

    /// Notes that `from` is called `to` now; answers whether there is nothing to look at.
    fn respell(&mut self, from: Vec<u8>, to: &[u8]) -> Result<bool> {
        let Some(entry) = self.base.find(&from)? else { return Ok(false) };
        match entry.mode {
            MODE_GITLINK => return Ok(true),
            MODE_TREE => {
                let below = self.base.files_below(&from)?;
                let respelled = |path: Vec<u8>| Respelled { to: [to, &path[from.len()..]].concat(), from: path };
                self.respelled.extend(below.into_iter().map(respelled));
            }
            _ => self.respelled.push(Respelled { from, to: to.to_vec() }),
        }
        Ok(false)
    }

    /// Takes old spellings out where the new ones are saved, or where the file is gone. What could not be read stays as
    /// the commit has it.
    pub(super) fn settle_respelled(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.respelled);
        if all.is_empty() {
            return Ok(());
        }
        let put = self.found.changes.iter().filter(|(_, (_, op))| matches!(op, Op::Put(_)));
        let put: std::collections::HashSet<Vec<u8>> = put.map(|(path, _)| folded(path)).collect();
        for Respelled { from, to } in all {
            let is_there = || self.stat(&to).is_some_and(|stat| stat.kind != FileType::Directory);
            if put.contains(&folded(&to)) || !is_there() {
                self.absent_file(&from)?;
            }
        }
        Ok(())
    }

    fn absent_file(&mut self, path: &[u8]) -> Result<()> {
        if let Some(entry) = self.base.find(path)? {
            self.note_absent(path.to_vec(), entry);
        }
        Ok(())
    }

    fn stat(&self, path: &[u8]) -> Option<FileStat> {
        let (dir, name) = tree::split(path);
        let Ok(Place::Dir(fd)) = self.beneath.dir(dir) else { return None };
        stat_at(fd.as_fd(), name).ok()
    }
}
