//! Questions about commits: what lies between two of them, who made them, what they change.

use std::collections::{BTreeSet, HashSet};

use git2::{Diff, DiffFormat, DiffOptions, DiffStatsFormat, Patch, Revwalk, Sort};

use super::branch::{object_id, oid};
use super::error::{Error, Result};
use super::program::Program;
use super::repo::Repo;
use super::tree::{BaseTree, MODE_TREE};
use crate::base::Timestamp;
use crate::base::escape::{shown, shown_lines};
use crate::base::id::ObjectId;

/// The trailer that marks a commit which cascade made for a promotion.
pub const PROMOTION_TRAILER: &str = "Cascade-Promotion";

/// Most commits that are looked through for those that are not cascade's.
const WALKED_COMMITS_LIMIT: usize = 10_000;

/// Most commits that are listed one by one; beyond it only their number counts on.
pub const LISTED_COMMITS_LIMIT: usize = 1_000;

/// What people want to know of a commit; texts are escaped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CommitSummary {
    /// Its name.
    pub id: ObjectId,
    /// First line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When it was written.
    pub at: Timestamp,
}

/// A commit on a branch's first-parent line: what the branch was at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinedCommit {
    /// What people want to know of it.
    pub summary: CommitSummary,
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents.
    pub parents: Vec<ObjectId>,
    /// The promotion that made it, by its own word, escaped.
    pub promotion: Option<String>,
}

/// What changes between two trees, file by file; paths are escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct TreeChanges {
    /// Changed files, each with `A`, `M`, `D`, `R` or `T`.
    pub files: Vec<(char, String)>,
    /// Lines added.
    pub insertions: usize,
    /// Lines deleted.
    pub deletions: usize,
}

/// One changed file; its path is escaped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileChange {
    /// `A`, `M`, `D`, `R` or `T`.
    pub status: char,
    /// Where it is now, or was.
    pub path: String,
    /// Lines added; 0 for binary content.
    pub insertions: usize,
    /// Lines deleted; 0 for binary content.
    pub deletions: usize,
}

/// How a difference is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchForm {
    /// Every changed line with three lines around it.
    Full,
    /// Files and counts of lines.
    Stat,
}

/// A patch is cut beyond this size.
pub const PATCH_LIMIT_BYTES: usize = 16 << 20;

/// Characters that a line of [`PatchForm::Stat`] may take.
const STAT_WIDTH: usize = 80;

/// Answers the lines that make one text of another, as `diff -u` has them, without the names.
///
/// # Errors
/// They cannot be compared.
pub fn lines_between(old: &[u8], new: &[u8]) -> Result<Vec<u8>> {
    let action = "compare two texts";
    let mut options = DiffOptions::new();
    options.force_text(true);
    let mut patch = Patch::from_buffers(old, None, new, None, Some(&mut options)).map_err(Error::library(action))?;
    let mut lines = Vec::new();
    let printed = patch.print(&mut |_, _, line| {
        match line.origin() {
            '+' | '-' | ' ' => lines.extend(u8::try_from(line.origin())),
            'F' => return true,
            _ => {}
        }
        lines.extend_from_slice(line.content());
        true
    });
    printed.map_err(Error::library(action))?;
    Ok(lines)
}

impl Repo {
    /// Answers whether `ancestor` is `descendant` or reachable from it.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn is_ancestor(&self, ancestor: ObjectId, descendant: ObjectId) -> Result<bool> {
        if ancestor == descendant {
            return Ok(true);
        }
        self.inner.graph_descendant_of(oid(descendant)?, oid(ancestor)?).map_err(Error::library("compare two commits"))
    }

    /// Answers a commit's tree.
    ///
    /// # Errors
    /// The commit is missing.
    pub fn tree_of(&self, commit: ObjectId) -> Result<ObjectId> {
        let found =
            self.inner.find_commit(oid(commit)?).map_err(Error::library(format!("read commit {}", commit.short())))?;
        object_id(found.tree_id())
    }

    /// Answers the content that a commit has at `path` (relative to the top); nothing where it has no file there.
    ///
    /// # Errors
    /// The commit, a tree or the content is missing.
    pub fn content_at(&self, commit: ObjectId, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let found = BaseTree::new(&odb, self.base_tree(oid(commit)?)?).find(path)?;
        let Some(entry) = found.filter(|entry| entry.mode != MODE_TREE) else { return Ok(None) };
        let blob = odb.read(entry.oid).map_err(Error::library(format!("read blob {}", entry.oid)))?;
        Ok(Some(blob.data().to_vec()))
    }

    /// Answers the e-mail addresses of who wrote or committed what `tip` has more than `base`. Promotions that brought
    /// exactly their source's content are left out: whoever made them wrote nothing.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn people_between(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<BTreeSet<String>> {
        let mut people = BTreeSet::new();
        for id in self.walk_between(base, tip)? {
            let id = id.map_err(Error::library("walk commits"))?;
            let commit = self.inner.find_commit(id).map_err(Error::library(format!("read commit {id}")))?;
            let is_carried = commit.parent(1).is_ok_and(|source| source.tree_id() == commit.tree_id());
            if is_carried && self.is_promotion(id)? {
                continue;
            }
            for signature in [commit.author(), commit.committer()] {
                people.insert(shown(signature.email_bytes()));
            }
        }
        Ok(people)
    }

    /// Reads a file at the top of the newest branch that has it, of those here and those that were fetched; answers the
    /// branch's name, escaped, with it.
    ///
    /// # Errors
    /// The branches cannot be listed, or an object is missing.
    pub fn newest_with_file(&self, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        let branches = self.inner.branches(None).map_err(Error::library("list the branches"))?;
        let mut tips = Vec::new();
        for (branch, _) in branches.flatten() {
            let Ok(commit) = branch.get().peel_to_commit() else { continue };
            let shown_name = branch.name_bytes().map(shown).unwrap_or_default();
            tips.push((commit.time().seconds(), shown_name, object_id(commit.id())?));
        }
        tips.sort_by(|one, other| other.cmp(one));
        for (_, branch, tip) in tips {
            if let Some(bytes) = self.content_at(tip, name.as_bytes())? {
                return Ok(Some((branch, bytes)));
            }
        }
        Ok(None)
    }

    /// Looks whether everything that these commits contain is in the repository, by name and not by content.
    ///
    /// # Errors
    /// [`Error::Integrity`] names the first object that is missing or cannot be walked.
    pub fn require_complete(&self, commits: &[ObjectId]) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let arguments = ["rev-list", "--objects", "--quiet", "--no-walk=unsorted", "--exclude-promisor-objects"];
        let commits = commits.iter().map(ToString::to_string);
        let output = Program::new(self, arguments.map(str::to_owned).into_iter().chain(commits)).run()?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Integrity { what: "what the branches contain".to_owned(), reason: output.message() })
    }

    /// Answers the newest of some branches' tips by the time of the commit; branches that do not exist or cannot be
    /// read are passed over.
    #[must_use]
    pub fn newest_tip(&self, branches: &[String]) -> Option<CommitSummary> {
        let tips = branches.iter().filter_map(|branch| self.branch_tip(branch).ok()?);
        tips.filter_map(|tip| self.summary_of(oid(tip).ok()?).ok()).max_by_key(|tip| tip.at)
    }

    /// Lists the commits reachable from `tip` and not from `base`, newest first, up to `limit`.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn commits_between(&self, base: Option<ObjectId>, tip: ObjectId, limit: usize) -> Result<Vec<CommitSummary>> {
        let walk = self.walk_between(base, tip)?;
        walk.take(limit).map(|id| self.summary_of(id.map_err(Error::library("walk commits"))?)).collect()
    }

    /// Lists what a promotion of `tip` onto `base` brings, newest first, up to `limit`: the commits between them but
    /// those that cascade made for promotions.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn news_between(&self, base: Option<ObjectId>, tip: ObjectId, limit: usize) -> Result<Vec<CommitSummary>> {
        let mut news = Vec::new();
        for id in self.walk_between(base, tip)? {
            let id = id.map_err(Error::library("walk commits"))?;
            if news.len() == limit {
                break;
            }
            if !self.is_promotion(id)? {
                news.push(self.summary_of(id)?);
            }
        }
        Ok(news)
    }

    /// Counts what [`Repo::news_between`] lists; from [`LISTED_COMMITS_LIMIT`] commits on, cascade's own count too.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn count_news(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<usize> {
        let between: Vec<git2::Oid> = self
            .walk_between(base, tip)?
            .take(LISTED_COMMITS_LIMIT)
            .collect::<Result<_, _>>()
            .map_err(Error::library("walk commits"))?;
        match base {
            Some(base) if between.len() == LISTED_COMMITS_LIMIT => self.count_between(base, tip),
            _ => between.into_iter().try_fold(0, |count, id| Ok(count + usize::from(!self.is_promotion(id)?))),
        }
    }

    /// Counts the commits reachable from `tip` and not from `base`.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn count_between(&self, base: ObjectId, tip: ObjectId) -> Result<usize> {
        let counted = self.inner.graph_ahead_behind(oid(tip)?, oid(base)?);
        counted.map(|(ahead, _)| ahead).map_err(Error::library("count commits"))
    }

    /// Lists what an environment's branch has and its sources lack, newest first: the commits reachable from `tip`,
    /// neither from a source nor from `vetted` (what is known to be in order), and not made by cascade. What a rollback
    /// undid is not there any more and is left out. A commit that says it is a promotion's is only believed when
    /// `is_vouched` answers so.
    ///
    /// # Errors
    /// A commit is missing, or `is_vouched` fails.
    pub fn foreign_commits(
        &self,
        tip: ObjectId,
        sources: &[ObjectId],
        vetted: Option<ObjectId>,
        is_vouched: &mut dyn FnMut(ObjectId) -> Result<bool>,
    ) -> Result<Vec<CommitSummary>> {
        let lacking = self.lacking(tip, sources, vetted)?;
        let in_force = self.in_force(oid(tip)?, &lacking.iter().copied().collect())?;
        let mut foreign = Vec::new();
        for id in lacking.into_iter().filter(|id| in_force.contains(id)) {
            if foreign.len() == LISTED_COMMITS_LIMIT {
                break;
            }
            if !self.is_promotion(id)? || !is_vouched(object_id(id)?)? {
                foreign.push(self.summary_of(id)?);
            }
        }
        Ok(foreign)
    }

    /// Lists the commits that `tip` reaches, and neither `vetted` nor what the content of a source rests on: what was rolled
    /// back in a source is in its history, and no longer in it.
    fn lacking(&self, tip: ObjectId, sources: &[ObjectId], vetted: Option<ObjectId>) -> Result<Vec<git2::Oid>> {
        let listed = |walk: Revwalk<'_>| -> Result<Vec<git2::Oid>> {
            walk.take(WALKED_COMMITS_LIMIT).collect::<Result<_, _>>().map_err(Error::library("walk commits"))
        };
        let mut held = HashSet::new();
        let mut is_rolled_back = false;
        for source in sources {
            let own = listed(self.walk_without(*source, vetted.into_iter())?)?;
            for id in &own {
                is_rolled_back |= self.restored(*id)?.is_some();
            }
            held.extend(self.in_force(oid(*source)?, &own.into_iter().collect())?);
        }
        if !is_rolled_back {
            return listed(self.walk_without(tip, sources.iter().copied().chain(vetted))?);
        }
        let mut lacking = listed(self.walk_without(tip, vetted.into_iter())?)?;
        lacking.retain(|id| !held.contains(id));
        Ok(lacking)
    }

    /// Lists the commits on the first-parent lines from `tips` that are not on the one from `known`, newest first.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn first_parents(&self, tips: &[ObjectId], known: Option<ObjectId>, limit: usize) -> Result<Vec<LinedCommit>> {
        let mut walk = self.inner.revwalk().map_err(Error::library("walk commits"))?;
        walk.simplify_first_parent().map_err(Error::library("walk commits"))?;
        walk.set_sorting(Sort::TOPOLOGICAL).map_err(Error::library("sort commits"))?;
        for tip in tips {
            walk.push(oid(*tip)?).map_err(Error::library("walk commits"))?;
        }
        if let Some(known) = known {
            walk.hide(oid(known)?).map_err(Error::library("walk commits"))?;
        }
        walk.take(limit).map(|id| self.lined(id.map_err(Error::library("walk commits"))?)).collect()
    }

    fn lined(&self, id: git2::Oid) -> Result<LinedCommit> {
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        Ok(LinedCommit {
            summary: self.summary_of(id)?,
            tree: object_id(commit.tree_id())?,
            parents: commit.parent_ids().map(object_id).collect::<Result<_>>()?,
            promotion: trailer(commit.message_bytes(), PROMOTION_TRAILER),
        })
    }

    /// Answers whether a commit is here.
    #[must_use]
    pub fn has_commit(&self, commit: ObjectId) -> bool {
        oid(commit).is_ok_and(|id| self.inner.find_commit(id).is_ok())
    }

    /// Answers what people want to know of a commit.
    ///
    /// # Errors
    /// The commit is missing.
    pub fn summary(&self, commit: ObjectId) -> Result<CommitSummary> {
        self.summary_of(oid(commit)?)
    }

    /// Finds the commit whose name begins with these hexadecimal digits (at least four); nothing where there is none,
    /// or more than one.
    #[must_use]
    pub fn commit_named(&self, digits: &str) -> Option<ObjectId> {
        let is_name = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let found = is_name.then(|| self.inner.find_commit_by_prefix(digits).ok()).flatten()?;
        object_id(found.id()).ok()
    }

    /// Finds the commit that git understands by a revision: a branch, a tag, the beginning of a commit's name, `HEAD~2`.
    /// Nothing where there is none, or more than one. No text is an option or a command here: nothing is run.
    #[must_use]
    pub fn revision(&self, text: &str) -> Option<ObjectId> {
        let found = self.inner.revparse_single(text).and_then(|found| found.peel_to_commit()).ok()?;
        object_id(found.id()).ok()
    }

    /// Answers a commit's whole message, escaped, and its first parent.
    ///
    /// # Errors
    /// The commit is missing.
    pub fn message(&self, commit: ObjectId) -> Result<(String, Option<ObjectId>)> {
        let found = self.inner.find_commit(oid(commit)?).map_err(Error::library("read a commit"))?;
        let parent = found.parent_id(0).ok().map(object_id).transpose()?;
        Ok((shown_lines(found.message_bytes()), parent))
    }

    /// Compares the trees of two commits (nothing: the empty tree).
    ///
    /// # Errors
    /// An object is missing.
    pub fn changes_between(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<TreeChanges> {
        let diff = self.tree_diff(base, tip, 0)?;
        let stats = diff.stats().map_err(Error::library("count changed lines"))?;
        let files = diff.deltas().map(|delta| {
            let path = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes()).unwrap_or_default();
            (letter(delta.status()), shown(path))
        });
        Ok(TreeChanges { files: files.collect(), insertions: stats.insertions(), deletions: stats.deletions() })
    }

    /// Lists the files that differ between the trees of two commits (nothing: the empty tree), with counts of lines.
    ///
    /// # Errors
    /// An object is missing.
    pub fn file_changes(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<Vec<FileChange>> {
        let diff = self.renaming_diff(base, tip)?;
        let change = |(index, delta): (usize, git2::DiffDelta<'_>)| {
            let patch = Patch::from_diff(&diff, index).map_err(Error::library("compare a file"))?;
            let stats = patch.map(|patch| patch.line_stats()).transpose().map_err(Error::library("count lines"))?;
            let (_, insertions, deletions) = stats.unwrap_or_default();
            let path = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes()).unwrap_or_default();
            Ok(FileChange { status: letter(delta.status()), path: shown(path), insertions, deletions })
        };
        diff.deltas().enumerate().map(change).collect()
    }

    /// Writes the difference between the trees of two commits (nothing: the empty tree) as git does.
    ///
    /// The text is as the files have it: escape it before showing it. Beyond [`PATCH_LIMIT_BYTES`] it is cut.
    ///
    /// # Errors
    /// An object is missing.
    pub fn patch_between(&self, base: Option<ObjectId>, tip: ObjectId, form: PatchForm) -> Result<Vec<u8>> {
        let diff = self.renaming_diff(base, tip)?;
        if form == PatchForm::Stat {
            let stats = diff.stats().map_err(Error::library("count changed lines"))?;
            let text =
                stats.to_buf(DiffStatsFormat::FULL, STAT_WIDTH).map_err(Error::library("count changed lines"))?;
            return Ok(text.to_vec());
        }
        let mut text = Vec::new();
        let printed = diff.print(DiffFormat::Patch, |_, _, line| {
            if matches!(line.origin(), '+' | '-' | ' ') {
                text.extend(u8::try_from(line.origin()));
            }
            text.extend_from_slice(line.content());
            text.len() < PATCH_LIMIT_BYTES
        });
        match printed {
            Err(problem) if text.len() < PATCH_LIMIT_BYTES => Err(Error::library("write a patch")(problem)),
            Err(_) => {
                text.extend_from_slice(b"\n(cut here: the difference is larger than is shown)\n");
                Ok(text)
            }
            Ok(()) => Ok(text),
        }
    }

    fn renaming_diff(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<Diff<'_>> {
        let mut diff = self.tree_diff(base, tip, 3)?;
        diff.find_similar(None).map_err(Error::library("look for renamed files"))?;
        Ok(diff)
    }

    fn tree_diff(&self, base: Option<ObjectId>, tip: ObjectId, context_lines: u32) -> Result<Diff<'_>> {
        let tree = |commit: ObjectId| {
            let commit = self.inner.find_commit(oid(commit)?).map_err(Error::library("read a commit"))?;
            commit.tree().map_err(Error::library("read a tree"))
        };
        let old = base.map(tree).transpose()?;
        let mut options = DiffOptions::new();
        options.context_lines(context_lines);
        self.inner
            .diff_tree_to_tree(old.as_ref(), Some(&tree(tip)?), Some(&mut options))
            .map_err(Error::library("compare two trees"))
    }

    pub(super) fn walk_between(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<Revwalk<'_>> {
        self.walk_without(tip, base.into_iter())
    }

    /// Walks the commits reachable from `tip` and from none of `known`, newest first.
    pub(super) fn walk_without(&self, tip: ObjectId, known: impl Iterator<Item = ObjectId>) -> Result<Revwalk<'_>> {
        let mut walk = self.inner.revwalk().map_err(Error::library("walk commits"))?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).map_err(Error::library("sort commits"))?;
        walk.push(oid(tip)?).map_err(Error::library("walk commits"))?;
        for known in known {
            walk.hide(oid(known)?).map_err(Error::library("walk commits"))?;
        }
        Ok(walk)
    }

    /// Answers whether cascade made a commit for a promotion, by its trailer.
    pub(super) fn is_promotion(&self, id: git2::Oid) -> Result<bool> {
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        Ok(trailer(commit.message_bytes(), PROMOTION_TRAILER).is_some())
    }

    fn summary_of(&self, id: git2::Oid) -> Result<CommitSummary> {
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        let subject = commit.message_bytes().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let ms = commit.time().seconds().saturating_mul(1_000);
        Ok(CommitSummary {
            id: object_id(id)?,
            subject: shown(subject),
            author: shown(commit.author().name_bytes()),
            at: crate::base::clock::from_ms(ms),
        })
    }
}

fn letter(status: git2::Delta) -> char {
    match status {
        git2::Delta::Added => 'A',
        git2::Delta::Deleted => 'D',
        git2::Delta::Renamed => 'R',
        git2::Delta::Typechange => 'T',
        _ => 'M',
    }
}

/// Answers what a line `<name>: …` in the last paragraph of a message says, escaped; nothing where there is none.
pub(super) fn trailer(message: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let mut trailers = last.lines().filter_map(|line| line.split_once(':'));
    trailers.find(|(key, _)| *key == name).map(|(_, value)| shown(value.trim().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_looked_for_in_the_last_paragraph_only() {
        let promoted = b"Promote x\n\nbody\n\nChecked-by: y\nCascade-Promotion: k3f9\n";
        assert_eq!(trailer(promoted, PROMOTION_TRAILER).as_deref(), Some("k3f9"));
        assert_eq!(trailer(b"Cascade-Promotion: k3f9\n\nbody text\n", PROMOTION_TRAILER), None);
    }
}
