//! Bringing in what others pushed to the sandbox's branch: three-way, and the sandbox wins.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{ObjectType, Odb, Oid};

use super::Change;
use super::commit::Draft;
use super::transfer::{Transfer, Transferred, clash_reason, is_taken_out};
use crate::base::id::ObjectId;
use crate::git::branch::{object_id, oid};
use crate::git::difference::Difference;
use crate::git::error::{Error, Result};
use crate::git::pack::PackWriter;
use crate::git::program::Program;
use crate::git::repo::Repo;
use crate::git::tree::{BaseTree, Edit, MODE_GITLINK, MODE_LINK, MODE_TREE, canonical, split};

/// Larger files are not merged line by line: the sandbox's stays.
const MERGED_LIMIT_BYTES: usize = 8 << 20;

/// A wish to bring in a commit.
pub struct PullRequest<'a> {
    /// Short name of the branch; nothing happens while `HEAD` is elsewhere.
    pub branch: &'a str,
    /// What others made of it.
    pub theirs: ObjectId,
    /// Answers whether a path (and whether it is a directory) is never saved.
    pub excluded: &'a dyn Fn(&[u8], bool) -> bool,
    /// What becomes of edits that clash.
    pub clash: Clash,
    /// Answers the message of the merge from the paths of which an edit by others lost.
    pub message: &'a dyn Fn(&[Vec<u8>]) -> String,
    /// The commit's time, seconds since the epoch.
    pub now_seconds: i64,
}

/// What becomes of edits of others that clash with the sandbox's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// The sandbox's stay, and are told.
    OursWin,
    /// Nothing is brought in.
    Refuse,
}

/// What became of the wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullAnswer {
    /// The branch has that commit.
    Nothing,
    /// The branch, the index and the files have what others made.
    Pulled(Pulled),
    /// These paths changed and are not saved yet, or something is in the way of them: nothing was done.
    Busy {
        /// The paths.
        paths: Vec<Vec<u8>>,
        /// Those of them that are never saved.
        excluded: Vec<Vec<u8>>,
    },
    /// The user is doing something that this would disturb, or the file system cannot have it.
    Paused {
        /// What, for people.
        reason: String,
    },
}

/// What was brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The branch's new tip.
    pub commit: Oid,
    /// The tip before it.
    pub parent: Oid,
    /// What changed, sorted by path: in the working tree too, but for what a sparse checkout leaves out.
    pub changes: Vec<Change>,
    /// Where the sandbox won: what others made of these paths is in their commit only.
    pub lost: Vec<Vec<u8>>,
}

/// What a merge makes of our tree.
#[derive(Default)]
struct Merged {
    edits: BTreeMap<Vec<u8>, Edit>,
    lost: Vec<Vec<u8>>,
}

impl Repo {
    /// Merges `theirs` into the sandbox's branch and brings the changed files into the working tree.
    ///
    /// Where nothing was saved since `theirs` was forked the branch moves forward to it, else there is a merge of both.
    /// Where both changed a line, or one deleted what the other changed, the sandbox wins. Only files that are as the
    /// commit has them are touched, each in one step, and put back if anything goes wrong; what the user staged of
    /// other paths stays staged. What a sparse checkout leaves out reaches branch and index, and stays left out.
    ///
    /// # Errors
    /// The two have no common commit; [`Error::MergeConflict`] where a clash is refused; what the file system or git
    /// refuse. Then neither files nor branch have changed.
    pub fn pull(&self, request: &PullRequest<'_>) -> Result<PullAnswer> {
        let ours = match self.stand(request.branch)? {
            Ok(ours) => ours,
            Err(reason) => return Ok(PullAnswer::Paused { reason }),
        };
        let (ours_id, theirs) = (object_id(ours)?, oid(request.theirs)?);
        if self.is_ancestor(request.theirs, ours_id)? {
            return Ok(PullAnswer::Nothing);
        }
        let is_forward = self.is_ancestor(ours_id, request.theirs)?;
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let merged = match is_forward {
            true => Merged { edits: self.edits_between(ours, theirs)?, lost: Vec::new() },
            false => self.merged(ours, theirs, request.clash)?,
        };
        odb.refresh().map_err(Error::library("look for new packs"))?;
        let message = (request.message)(&merged.lost);
        let draft = Draft {
            branch: request.branch,
            tree: Oid::ZERO_SHA1,
            parent: ours,
            merged: Some(theirs),
            message: &message,
            author: None,
            now_seconds: request.now_seconds,
            offset_minutes: 0,
        };
        let forward = is_forward.then_some(theirs);
        let transfer = Transfer { repo: self, odb: &odb, excluded: request.excluded, forward, draft };
        Ok(match transfer.run(&merged.edits)? {
            Transferred::Done { commit, changes } => {
                PullAnswer::Pulled(Pulled { commit, parent: ours, changes, lost: merged.lost })
            }
            Transferred::Busy { paths, excluded } => PullAnswer::Busy { paths, excluded },
            Transferred::Clash { path, with } => PullAnswer::Paused { reason: clash_reason(&path, &with) },
        })
    }

    /// Answers what turns the tree of one commit into that of another.
    pub(in crate::git) fn edits_between(&self, from: Oid, to: Oid) -> Result<BTreeMap<Vec<u8>, Edit>> {
        self.tree_edits(self.base_tree(from)?, self.base_tree(to)?)
    }

    fn tree_edits(&self, from: Oid, to: Oid) -> Result<BTreeMap<Vec<u8>, Edit>> {
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let now = |edit: Edit| edit.map(|(mode, oid)| (canonical(mode), oid));
        let files = Difference::between(&odb, from, to)?.files.into_iter();
        let edits = files.map(|(path, (old, new))| (path, now(old), now(new)));
        Ok(edits.filter(|(_, old, new)| old != new).map(|(path, _, new)| (path, new)).collect())
    }

    /// Merges two commits: git's way where that is clean, else path by path, ours first.
    fn merged(&self, ours: Oid, theirs: Oid, clash: Clash) -> Result<Merged> {
        let base = self.inner.merge_base(ours, theirs).map_err(|_| Error::Integrity {
            what: "what others pushed".to_owned(),
            reason: "it has no commit in common with the sandbox: bring the two together with git".to_owned(),
        })?;
        match self.merge_trees(object_id(ours)?, object_id(theirs)?) {
            Ok(tree) => {
                let edits = self.tree_edits(self.base_tree(ours)?, oid(tree)?)?;
                Ok(Merged { edits, lost: Vec::new() })
            }
            Err(Error::MergeConflict { .. }) if clash == Clash::OursWin => {
                let (own, other) = (self.edits_between(base, ours)?, self.edits_between(base, theirs)?);
                let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
                let (base, ours) = (self.base_tree(base)?, self.base_tree(ours)?);
                let (base, ours) = (BaseTree::new(&odb, base), BaseTree::new(&odb, ours));
                let pack = self.pack_writer();
                let mut merge = PathMerge { odb: &odb, base, ours, own: &own, pack };
                // What goes makes room for what comes.
                let (gone, put): (Vec<_>, Vec<_>) = other.iter().partition(|(_, edit)| edit.is_none());
                let paths = gone.into_iter().chain(put);
                let mut merged = paths
                    .into_iter()
                    .try_fold(Merged::default(), |merged, (path, edit)| merge.path(merged, path, *edit))?;
                merged.lost.sort();
                merge.pack.finish()?;
                Ok(merged)
            }
            Err(other) => Err(other),
        }
    }
}

/// A merge path by path.
struct PathMerge<'m> {
    odb: &'m Odb<'m>,
    base: BaseTree<'m>,
    ours: BaseTree<'m>,
    /// What the sandbox changed since the base.
    own: &'m BTreeMap<Vec<u8>, Edit>,
    /// The contents that are neither ours nor theirs.
    pack: PackWriter,
}

impl PathMerge<'_> {
    /// Decides about one path that others made `theirs` of.
    fn path(&mut self, mut merged: Merged, path: &[u8], theirs: Edit) -> Result<Merged> {
        match self.own.get(path) {
            Some(ours) if *ours == theirs => {}
            Some(ours) => match self.content(path, *ours, theirs)? {
                Some((edit, is_whole)) => {
                    if Some(edit) != *ours {
                        merged.edits.insert(path.to_vec(), Some(edit));
                    }
                    if !is_whole {
                        merged.lost.push(path.to_vec());
                    }
                }
                None => merged.lost.push(path.to_vec()),
            },
            None if theirs.is_some() && self.is_in_the_way(path, &merged.edits)? => merged.lost.push(path.to_vec()),
            None => {
                merged.edits.insert(path.to_vec(), theirs);
            }
        }
        Ok(merged)
    }

    /// Answers whether the sandbox keeps a directory at `path`, or a file where a directory of it would have to be, when
    /// `edits` are made.
    fn is_in_the_way(&mut self, path: &[u8], edits: &BTreeMap<Vec<u8>, Edit>) -> Result<bool> {
        if self.ours.find(path)?.is_some_and(|entry| entry.mode == MODE_TREE) {
            return Ok(!is_taken_out(&mut self.ours, edits, path)?);
        }
        match self.ours.file_above(split(path).0)? {
            Some(above) => Ok(!is_taken_out(&mut self.ours, edits, above)?),
            None => Ok(false),
        }
    }

    /// Merges two versions of a file; answers the content and whether all that others changed is in it. None where there
    /// is nothing to merge by lines.
    fn content(&mut self, path: &[u8], ours: Edit, theirs: Edit) -> Result<Option<((u32, Oid), bool)>> {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(None) };
        let base = self.base.find(path)?.map(|entry| (entry.mode, entry.oid));
        let is_file = |(mode, _): (u32, Oid)| !matches!(mode, MODE_LINK | MODE_GITLINK | MODE_TREE);
        if !is_file(ours) || !is_file(theirs) || base.is_some_and(|base| !is_file(base)) {
            return Ok(None);
        }
        let mode = if base.is_none_or(|base| base.0 != ours.0) { ours.0 } else { theirs.0 };
        let read = |oid: Oid| Ok(self.odb.read(oid).map_err(Error::library("read a blob"))?.data().to_vec());
        let old = base.map(|base| read(base.1)).transpose()?.unwrap_or_default();
        let Some((text, is_whole)) = merge_lines(&old, &read(ours.1)?, &read(theirs.1)?)? else { return Ok(None) };
        let oid = self.pack.add(ObjectType::Blob, &text)?;
        Ok(Some(((mode, oid), is_whole)))
    }
}

/// Merges line by line with git's own algorithm, ours where both changed; none for what is no text.
fn merge_lines(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Option<(Vec<u8>, bool)>> {
    if [base, ours, theirs].iter().any(|text| text.len() > MERGED_LIMIT_BYTES || text.contains(&0)) {
        return Ok(None);
    }
    let place = tempfile::tempdir().map_err(Error::io("make a directory in", std::env::temp_dir()))?;
    for (name, text) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        let file = place.path().join(name);
        std::fs::write(&file, text).map_err(Error::io("write", file))?;
    }
    let merge = |place: &Path, option: &[&str]| {
        let arguments = [&["merge-file", "-p", "-q"], option, &["ours", "base", "theirs"]].concat();
        Program::at(place, arguments).run()
    };
    let plain = merge(place.path(), &[])?;
    match plain.status.code() {
        Some(0) => Ok(Some((plain.stdout, true))),
        // The number of conflicts.
        Some(1..=127) => Ok(Some((merge(place.path(), &["--ours"])?.stdout, false))),
        _ => Err(plain.failure()),
    }
}
