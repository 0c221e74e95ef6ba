//! Bringing a change into branch, index and files at once, without touching what the user is writing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use git2::{Odb, Oid};

use super::commit::Draft;
use super::publish::{Moved, Publication};
use super::replace::{Refusal, Replaced, Replacement, stat_of};
use super::scan::{Findings, Scan};
use super::spelling::{Spellings, folded};
use super::{Change, ChangeKind, Hints, SaveRequest};
use crate::base::escape::shown;
use crate::beneath::{Beneath, FileStat};
use crate::git::error::{Error, Result};
use crate::git::index::{Content, Op};
use crate::git::repo::Repo;
use crate::git::tree::{BaseTree, Edit, MODE_GITLINK, MODE_TREE, join, path_ends, split};

/// A change that has to reach files, index and branch together.
pub(super) struct Transfer<'p> {
    pub repo: &'p Repo,
    pub odb: &'p Odb<'p>,
    /// Answers whether a path (and whether it is a directory) is never saved.
    pub excluded: &'p dyn Fn(&[u8], bool) -> bool,
    /// The commit that the branch moves forward to; none: one is made of the draft.
    pub forward: Option<Oid>,
    /// Its tree is found out.
    pub draft: Draft<'p>,
}

/// What became of it.
pub(super) enum Transferred {
    Done {
        commit: Oid,
        changes: Vec<Change>,
    },
    /// These paths are not as the commit has them, or something is in their way; none: the branch moved. Nothing was done.
    Busy {
        paths: Vec<Vec<u8>>,
        /// Those of them that are never saved.
        excluded: Vec<Vec<u8>>,
    },
    /// The file system cannot have both of these. Nothing was done.
    Clash {
        path: Vec<u8>,
        with: Vec<u8>,
    },
}

impl Transfer<'_> {
    /// Brings files, index and branch from the draft's parent to what `edits` make of it, or does nothing.
    pub fn run(mut self, edits: &BTreeMap<Vec<u8>, Edit>) -> Result<Transferred> {
        let beneath = Beneath::open(self.repo.root()).map_err(Error::io("open", self.repo.root()))?;
        let mut base = BaseTree::new(self.odb, self.repo.base_tree(self.draft.parent)?);
        let mut spellings = Spellings::default();
        let folds = self.repo.ignores_case()? && spellings.folds(b"", &beneath);
        if folds && let Some((path, with)) = clash(&mut base, &mut spellings, edits)? {
            return Ok(Transferred::Clash { path, with });
        }
        // What is found by another spelling is another file: it goes, comes or stays under its own.
        let mut is_exact = |path: &Vec<u8>| !folds || spellings.is_exact(path, &beneath);
        let stats: BTreeMap<&[u8], Option<FileStat>> =
            edits.keys().map(|path| (path.as_slice(), stat_of(&beneath, path).filter(|_| is_exact(path)))).collect();
        let skipped = self.repo.skip_worktree()?.paths;
        let left_out = self.left_out(&mut base, edits, &stats, &skipped)?;
        let written_to = edits.keys().filter(|path| !left_out.contains(path.as_slice()));
        let mut unsaved = self.in_the_way(&beneath, &mut base, written_to, edits, &stats)?;
        unsaved.retain(|path| !skipped.contains(path) || stats.get(path.as_slice()).is_some_and(Option::is_some));
        if !unsaved.is_empty() {
            return Ok(self.busy(unsaved));
        }
        let mut replacements = Vec::new();
        for (path, edit) in edits {
            let from = stats.get(path.as_slice()).copied().flatten();
            let is_left_out = left_out.contains(path.as_slice());
            if !is_left_out && edit.is_none_or(|(mode, _)| mode != MODE_GITLINK) {
                replacements.push(Replacement { path: path.clone(), from, to: *edit });
            }
        }
        let mut pack = self.repo.pack_writer();
        let written = base.write(edits, &mut pack)?;
        self.draft.tree = written.root;
        if !self.repo.is_fast() {
            // Other programs may have written what comes in.
            self.repo.sync_file_system()?;
        }
        let replaced = match Replaced::perform(self.repo, self.odb, &beneath, &mut base, &replacements) {
            Ok(replaced) => replaced,
            Err(Refusal::Changed(path)) => return Ok(self.busy(vec![path])),
            Err(Refusal::Failed(error)) => return Err(error),
        };
        let ops = self.ops(&mut base, edits, &replaced, &left_out)?;
        let each = ops.iter().map(|(change, op)| (change.path.as_slice(), (change.kind, op)));
        let publication = Publication::new(self.repo, &self.draft, each, &written.dirs);
        let moved = match self.forward {
            Some(commit) => publication.run_to(commit, pack, self.odb)?,
            None => publication.run(pack, self.odb)?,
        };
        let Moved::To { commit, .. } = moved else { return Ok(self.busy(Vec::new())) };
        replaced.keep();
        Ok(Transferred::Done { commit, changes: ops.into_iter().map(|(change, _)| change).collect() })
    }

    fn busy(&self, paths: Vec<Vec<u8>>) -> Transferred {
        let excluded = paths.iter().filter(|path| (self.excluded)(path, false)).cloned().collect();
        Transferred::Busy { paths, excluded }
    }

    /// Answers the paths that reach index and branch only: a sparse checkout leaves them out of the working tree.
    ///
    /// A file that is there all the same is one like any other, as for git.
    fn left_out<'e>(
        &self,
        base: &mut BaseTree<'_>,
        edits: &'e BTreeMap<Vec<u8>, Edit>,
        stats: &BTreeMap<&[u8], Option<FileStat>>,
        skipped: &HashSet<Vec<u8>>,
    ) -> Result<BTreeSet<&'e [u8]>> {
        let (mut left_out, mut new) = (BTreeSet::new(), Vec::new());
        let is_there = |path: &[u8]| stats.get(path).is_some_and(Option::is_some);
        for (path, edit) in edits.iter().filter(|(path, _)| !is_there(path)) {
            if skipped.contains(path) {
                left_out.insert(path.as_slice());
            } else if edit.is_some() && base.find(path)?.is_none_or(|entry| entry.mode == MODE_TREE) {
                new.push(path.as_slice());
            }
        }
        left_out.extend(self.repo.left_out(new.into_iter())?);
        Ok(left_out)
    }

    /// Answers what is not as the commit has it at these paths, and what is there without being saved.
    fn in_the_way<'e>(
        &self,
        beneath: &Beneath,
        base: &mut BaseTree<'_>,
        paths: impl Iterator<Item = &'e Vec<u8>>,
        edits: &BTreeMap<Vec<u8>, Edit>,
        stats: &BTreeMap<&[u8], Option<FileStat>>,
    ) -> Result<Vec<Vec<u8>>> {
        let (mut tracked, mut others) = (Vec::new(), Vec::new());
        for path in paths {
            let is_tracked = base.find(path)?.is_some_and(|entry| entry.mode != MODE_TREE);
            if is_tracked {
                tracked.push(path);
            } else if base.file_above(split(path).0)?.is_none() {
                // Below a file nothing can be; the file itself is among the paths, for it has to go.
                others.push(path);
            }
        }
        // A tracked file that is never saved may have changed all the more.
        let mut found: BTreeSet<_> = self.look(beneath, &tracked, &|_, _| false)?.into_paths().collect();
        found.extend(self.look(beneath, &others, self.excluded)?.into_paths());
        // What is there all the same is never saved, and nobody else has it.
        others.retain(|path| !found.contains(*path) && stats.get(path.as_slice()).is_some_and(Option::is_some));
        let private = self.look(beneath, &others, &|_, _| false)?;
        let is_same = |path: &Vec<u8>| {
            let (Some((_, Op::Put(here))), Some(edit)) = (private.changes.get(path), edits.get(path)) else {
                return false;
            };
            *edit == Some((here.mode, here.oid))
        };
        found.extend(others.into_iter().filter(|path| !is_same(path)).cloned());
        Ok(found.into_iter().collect())
    }

    /// Compares the paths with the commit, and what is below them.
    fn look(&self, beneath: &Beneath, paths: &[&Vec<u8>], excluded: &dyn Fn(&[u8], bool) -> bool) -> Result<Findings> {
        let request = SaveRequest {
            branch: self.draft.branch,
            hints: Hints::Everything,
            max_file_bytes: u64::MAX,
            excluded,
            inspect: &|_, _, _| None,
            message: &|_| String::new(),
            author: None,
            now_seconds: self.draft.now_seconds,
            offset_minutes: 0,
        };
        let tree = self.repo.base_tree(self.draft.parent)?;
        // What is replaced is gone for good: a change that left no trace in a file's times must not be overlooked.
        let mut scan = Scan::new(self.repo, self.odb, &request, beneath, tree)?.reading_all();
        scan.run(paths.iter().map(|path| path.as_slice()))?;
        Ok(scan.found)
    }

    /// Answers what becomes of each path in the index.
    fn ops(
        &self,
        base: &mut BaseTree<'_>,
        edits: &BTreeMap<Vec<u8>, Edit>,
        replaced: &Replaced<'_>,
        left_out: &BTreeSet<&[u8]>,
    ) -> Result<Vec<(Change, Op)>> {
        let mut ops = Vec::new();
        for (path, edit) in edits {
            let stat = replaced.stat(path);
            let entry = base.find(path)?.filter(|entry| entry.mode != MODE_TREE);
            let before = entry.as_ref().map(|entry| entry.oid);
            let kind = match (entry, edit) {
                (_, None) => ChangeKind::Deleted,
                (None, Some(_)) => ChangeKind::Added,
                (Some(entry), Some((_, oid))) if entry.oid == *oid => ChangeKind::ModeChanged,
                (Some(_), Some(_)) => ChangeKind::Modified,
            };
            let bytes = stat.map_or(0, |stat| stat.size);
            let op = match edit {
                None => Op::Drop { before },
                Some((mode, oid)) => {
                    let left_out = left_out.contains(path.as_slice());
                    Op::Put(Content { mode: *mode, oid: *oid, before, stat, recent: true, left_out })
                }
            };
            ops.push((Change { path: path.clone(), kind, bytes }, op));
        }
        Ok(ops)
    }
}

/// Finds two paths of the edited tree, or a path that changes and one of the tree before, that differ only by case.
fn clash(
    base: &mut BaseTree<'_>,
    spellings: &mut Spellings,
    edits: &BTreeMap<Vec<u8>, Edit>,
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut coming: HashMap<Vec<u8>, &[u8]> = HashMap::new();
    for (path, edit) in edits {
        for place in path_ends(path).map(|end| &path[..end]) {
            if edit.is_some()
                && let Some(with) = coming.insert(folded(place), place).filter(|with| *with != place)
            {
                return Ok(Some((place.to_vec(), with.to_vec())));
            }
            let (dir, name) = split(place);
            for other in spellings.committed_like(dir, name, base)?.iter().filter(|other| *other != name) {
                let other = join(dir, other);
                if !is_taken_out(base, edits, &other)? {
                    return Ok(Some((place.to_vec(), other)));
                }
            }
        }
    }
    Ok(None)
}

/// Answers whether nothing is left at `path` and below it.
pub(super) fn is_taken_out(base: &mut BaseTree<'_>, edits: &BTreeMap<Vec<u8>, Edit>, path: &[u8]) -> Result<bool> {
    let is_out = |path: &[u8]| edits.get(path).is_some_and(Option::is_none);
    let is_dir = base.find(path)?.is_some_and(|entry| entry.mode == MODE_TREE);
    Ok(if is_dir { base.files_below(path)?.iter().all(|file| is_out(file)) } else { is_out(path) })
}

/// Says why a [`Transferred::Clash`] is no change that can be made here.
pub(super) fn clash_reason(path: &[u8], with: &[u8]) -> String {
    let (path, with) = (shown(path), shown(with));
    format!("`{path}` and `{with}` differ only by case, and this file system takes both for one: rename one with git")
}
