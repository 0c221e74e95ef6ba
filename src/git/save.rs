//! The save: what changed in the working tree becomes a commit, by default one that survives a power cut.
//!
//! Files are read and hashed first, without any lock. All new objects go into one pack, synced unless saves
//! do not wait for the disk. Then
//! `.git/index.lock` is held for milliseconds while branch and index move together, so that the user's
//! own `git add` and `git commit` beside it neither disturb a save nor are undone by one.

pub(super) mod attributes;
#[cfg(test)]
mod case_tests;
mod commit;
#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod form_tests;
mod known;
#[cfg(test)]
mod known_tests;
mod lock;
mod mend;
#[cfg(test)]
mod mend_tests;
mod old_index;
mod proposal;
mod publish;
mod pull;
#[cfg(test)]
mod pull_tests;
mod replace;
mod restore;
mod scan;
mod seen;
mod sparse;
#[cfg(test)]
mod sparse_tests;
mod spelling;
#[cfg(test)]
mod tests;
mod tip;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use git2::Oid;

pub use self::lock::DeadSave;
pub(super) use self::mend::PLACE_PREFIX as INDEX_PLACE_PREFIX;
pub use self::mend::{IndexDamage, Obstacle, Rebuilt};
pub(super) use self::old_index::OldIndex;
pub use self::proposal::{PATCH_LIMIT_BYTES, PATCH_LIMIT_FILES, Proposal};
use self::publish::{Moved, Publication};
pub use self::pull::{Clash, PullAnswer, PullRequest, Pulled};
pub(super) use self::replace::ASIDE_PREFIX;
pub use self::restore::{Restore, RestoreAnswer, RestoreRequest, is_at_or_below};
use self::scan::Scan;
use self::seen::Standing;
use self::sparse::Absence;
pub(super) use self::tip::Tip;
use super::branch::object_id;
use super::error::{Error, Result};
use super::index::Op;
use super::program::Program;
use super::repo::{Head, Repo};
use super::tree::{BaseTree, Edit};
use crate::beneath::Beneath;

/// Packs up to this number cost reading nothing worth mentioning; git's own limit is the same.
pub const PACKS_KEPT: usize = 50;
/// How often a save begins again because the user committed meanwhile.
const ATTEMPTS: usize = 5;

/// Where changes are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hints {
    /// At these paths, relative to the top, files or directories (with everything below them).
    Paths(BTreeSet<Vec<u8>>),
    /// Wherever git's own status sees a change: cost follows the size of the checkout.
    Everything,
}

/// Says why new content is kept out of a commit: asked with the path, what would be committed, and a way to read what
/// the commit before has there. Answers nothing where it may be saved.
pub type Inspect<'a> = dyn Fn(&[u8], &[u8], &dyn Fn() -> Option<Vec<u8>>) -> Option<String> + 'a;

/// A wish to save.
pub struct SaveRequest<'a> {
    /// Short name of the branch; nothing is saved while `HEAD` is elsewhere.
    pub branch: &'a str,
    /// Where to look.
    pub hints: Hints,
    /// A larger file is set aside; where a filter stores another content, that counts.
    pub max_file_bytes: u64,
    /// Answers whether a path (and whether it is a directory) is never saved.
    ///
    /// Its word is final, for tracked paths too: where only new files shall be ignored, ask
    /// [`Repo::is_tracked`]. New files below an excluded directory are not asked about.
    pub excluded: &'a dyn Fn(&[u8], bool) -> bool,
    /// Looks at the content of each changed file; files over 4 MiB and links are not looked at.
    pub inspect: &'a Inspect<'a>,
    /// Answers the commit message for what is saved. Asked while nothing is locked, and again when the user committed
    /// meanwhile.
    pub message: &'a dyn Fn(&mut Proposal<'_, '_>) -> String,
    /// Name and e-mail address; default: `user.name` and `user.email`, else cascade itself.
    pub author: Option<(String, String)>,
    /// The commit's time, seconds since the epoch.
    pub now_seconds: i64,
    /// Its distance from UTC, minutes.
    pub offset_minutes: i32,
}

/// What became of the wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveAnswer {
    /// There is a new commit; it is durable unless [`Repo::with_durability`] said that saves do not wait for the disk.
    Saved(Saved),
    /// The commit has everything already that can be saved now.
    Nothing {
        /// What cannot be saved.
        set_aside: Vec<SetAside>,
        /// What changed while it was read: try again later.
        unsettled: Vec<Vec<u8>>,
        /// Tracked paths that have changed and are never saved; they are found by [`Hints::Everything`] alone.
        excluded: Vec<Vec<u8>>,
    },
    /// The user is doing something that a save would disturb.
    Paused {
        /// What, for people.
        reason: String,
    },
}

/// A save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The new commit, now the branch's tip.
    pub commit: Oid,
    /// The tip before it.
    pub parent: Oid,
    /// The first line of its message.
    pub subject: String,
    /// What it changed, sorted by path.
    pub changes: Vec<Change>,
    /// What could not be saved.
    pub set_aside: Vec<SetAside>,
    /// What changed while it was read: try again later.
    pub unsettled: Vec<Vec<u8>>,
    /// Tracked paths that have changed and are never saved; they are found by [`Hints::Everything`] alone.
    pub excluded: Vec<Vec<u8>>,
    /// Whether something that the user staged was kept in the index instead of what was saved.
    pub keeps_staged: bool,
}

/// One path of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Size on disk (0 when deleted).
    pub bytes: u64,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or type changed.
    Modified,
    /// It is gone.
    Deleted,
    /// Only its permission to execute changed.
    ModeChanged,
}

/// A path that cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// Why, for people.
    pub reason: String,
    /// Whether it is git's index that keeps edits there to the user: another index may let them be saved.
    pub is_kept_local: bool,
}

/// One try.
enum Attempt {
    Done(SaveAnswer),
    /// The branch or `HEAD` moved meanwhile.
    Superseded {
        parent: Oid,
    },
}

impl Repo {
    /// Commits what changed at the hinted paths on top of the branch; durably, where [`Repo::with_durability`] says
    /// nothing else ([`Repo::flush`] makes up for it).
    ///
    /// The index follows; what the user staged of other paths stays staged. What cannot be saved is set
    /// aside and does not keep the rest from being saved. Paths in an excluded or nested repository stay
    /// as they are; of a submodule the commit that it is at is saved.
    ///
    /// # Errors
    /// [`Error::NoCommits`] on an unborn branch; [`Error::IndexDamaged`] (see [`Repo::mending`]); [`Error::Locked`] when
    /// another program holds the index for two seconds; [`Error::RefMoved`] when the user committed faster than five tries; what the file system
    /// or git refuse. The branch has not moved then, except after an error about moving the index into place.
    pub fn save(&self, request: &SaveRequest<'_>) -> Result<SaveAnswer> {
        let mut expected = None;
        for _ in 0..ATTEMPTS {
            match self.try_save(request)? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Superseded { parent } => expected = Some(parent),
            }
        }
        let name = format!("refs/heads/{}", request.branch);
        let found = self.inner.refname_to_id(&name).ok();
        let expected = expected.and_then(|expected| object_id(expected).ok());
        Err(Error::RefMoved { name, expected, found: found.and_then(|found| object_id(found).ok()) })
    }

    /// Counts the packs of the repository: each save adds one, and `git gc` or `git repack` joins them.
    #[must_use]
    pub fn save_packs(&self) -> usize {
        let packs = std::fs::read_dir(self.common_dir().join("objects/pack"));
        let is_pack = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "pack");
        packs.map_or(0, |entries| entries.flatten().filter(is_pack).count())
    }

    /// Lets git join the packs that many saves have left, where there are more than [`PACKS_KEPT`]; git's own settings
    /// (`gc.auto`, `gc.autoPackLimit`) have the last word.
    ///
    /// # Errors
    /// git fails; nothing is lost then.
    pub fn consolidate(&self) -> Result<()> {
        if self.save_packs() <= PACKS_KEPT {
            return Ok(());
        }
        let arguments = ["-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"];
        Program::durable(self.root(), arguments).succeed().map(drop)
    }

    /// Answers the paths that git's status sees a change at, sorted; ignored ones are left out.
    ///
    /// # Errors
    /// [`Error::IndexDamaged`]; git fails.
    pub fn changed_files(&self) -> Result<Vec<Vec<u8>>> {
        self.whole_index()?;
        Ok(self.seen(None)?.paths.into_keys().collect())
    }

    /// Answers the files at and below `paths` (relative to the top) that are tracked or not ignored, sorted.
    ///
    /// # Errors
    /// git fails, for example at a path outside of the checkout.
    pub fn files_at(&self, paths: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"].map(OsString::from);
        let top = |path: &Vec<u8>| OsString::from_vec([b":(top,literal)", path.as_slice()].concat());
        let listed = Program::durable(self.root(), words.into_iter().chain(paths.iter().map(top))).succeed()?;
        let files: BTreeSet<&[u8]> = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
        Ok(files.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Answers the content that the commit at `HEAD` has at `path` (relative to the top); nothing where it has no file.
    ///
    /// # Errors
    /// `HEAD`, a tree or the content is unreadable.
    pub fn committed(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let commit = match self.head()? {
            Head::Branch { commit, .. } | Head::Detached { commit } => commit,
            Head::Unborn { .. } => return Ok(None),
        };
        self.content_at(object_id(commit)?, path)
    }

    /// Lists the paths whose staged content is not what the commit at `HEAD` has, up to `limit`.
    ///
    /// # Errors
    /// The index or a tree is unreadable.
    pub fn staged_paths(&self, limit: usize) -> Result<Vec<Vec<u8>>> {
        let arguments = ["diff-index", "--cached", "--name-only", "-z", "--no-renames", "HEAD"];
        let output = Program::durable(self.root(), arguments).succeed()?;
        let paths = output.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.take(limit).map(<[u8]>::to_vec).collect())
    }

    /// Answers whether the commit at `HEAD` has something at `path` (relative to the top).
    ///
    /// # Errors
    /// `HEAD` or a tree is unreadable.
    pub fn is_tracked(&self, path: &[u8]) -> Result<bool> {
        let commit = match self.head()? {
            Head::Branch { commit, .. } | Head::Detached { commit } => commit,
            Head::Unborn { .. } => return Ok(false),
        };
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        Ok(BaseTree::new(&odb, self.base_tree(commit)?).find(path)?.is_some())
    }

    /// Finishes or undoes what a killed save left half done: the index follows where the branch has moved already,
    /// and the locks of cascade's dead processes are removed. Those of other programs are left alone.
    ///
    /// # Errors
    /// Git's directory cannot be read or written.
    pub fn recover_save(&self) -> Result<Vec<DeadSave>> {
        self.clear_dead_locks()?;
        lock::recover(self)
    }

    /// Finds what [`Repo::recover_save`] would finish or undo; changes nothing.
    ///
    /// # Errors
    /// Git's directory cannot be read.
    pub fn dead_saves(&self) -> Result<Vec<DeadSave>> {
        lock::find(self)
    }

    fn try_save(&self, request: &SaveRequest<'_>) -> Result<Attempt> {
        if lock::lock_path(&self.git_dir().join("index")).exists() {
            self.recover_save()?;
        }
        let parent = match self.stand(request.branch)? {
            Ok(parent) => parent,
            Err(reason) => return Ok(Attempt::Done(SaveAnswer::Paused { reason })),
        };
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let beneath = Beneath::open(self.root()).map_err(Error::io("open", self.root()))?;
        let tree = self.base_tree(parent)?;
        let mut scan = Scan::new(self, &odb, request, &beneath, tree)?;
        match &request.hints {
            Hints::Paths(paths) if !paths.iter().any(|path| matches!(path.as_slice(), b"" | b"." | b"/")) => {
                scan.run(paths.iter().map(Vec::as_slice))?;
            }
            _ => {
                // Git would believe a damaged index.
                self.whole_index()?;
                let seen = self.seen(None)?;
                let is_excluded = |path: &&Vec<u8>| (request.excluded)(path, false);
                scan.found.excluded = seen.tracked().filter(is_excluded).cloned().collect();
                let mut more = seen.unread;
                if scan.ignores_case() {
                    more.extend(self.respelled_paths(&mut scan, &seen.paths)?);
                }
                // Git sees no change at these.
                more.extend(scan.kept_local()?.paths().cloned());
                scan.run(seen.paths.keys().chain(&more).map(Vec::as_slice))?;
            }
        }
        let absence = self.resolve_absent(&mut scan)?;
        if scan.found.changes.is_empty() {
            let Reports { set_aside, unsettled, excluded } = reports(&scan);
            return Ok(Attempt::Done(SaveAnswer::Nothing { set_aside, unsettled, excluded }));
        }
        let edits: BTreeMap<Vec<u8>, Edit> =
            scan.found.changes.iter().map(|(path, (_, op))| (path.clone(), edit_of(op))).collect();
        let written = scan.base.write(&edits, &mut scan.pack)?;
        let changes: Vec<Change> = scan.found.changes.values().map(|(change, _)| change.clone()).collect();
        let mut proposal = Proposal::new(&changes, &scan.found.changes, &mut scan.base, &mut scan.pack, &odb);
        let message = (request.message)(&mut proposal);
        let draft = commit::Draft {
            branch: request.branch,
            tree: written.root,
            parent,
            merged: None,
            message: &message,
            author: request.author.as_ref(),
            now_seconds: request.now_seconds,
            offset_minutes: request.offset_minutes,
        };
        let ops = scan.found.changes.iter().map(|(path, (change, op))| (path.as_slice(), (change.kind, op)));
        let publication = Publication::new(self, &draft, ops, &written.dirs).unless_refuted(absence);
        let Reports { set_aside, unsettled, excluded } = reports(&scan);
        match publication.run(scan.pack, &odb)? {
            Moved::Superseded => Ok(Attempt::Superseded { parent }),
            Moved::To { commit, keeps_staged } => {
                let subject = draft.subject().to_owned();
                let saved = Saved { commit, parent, subject, changes, set_aside, unsettled, excluded, keeps_staged };
                Ok(Attempt::Done(SaveAnswer::Saved(saved)))
            }
        }
    }

    /// Answers the branch's tip, or why nothing may be saved now.
    fn stand(&self, branch: &str) -> Result<std::result::Result<Oid, String>> {
        if let Some(operation) = self.operation() {
            return Ok(Err(format!("a {operation} is in progress")));
        }
        Ok(match self.head()? {
            Head::Branch { name, commit } if name == branch => Ok(commit),
            Head::Branch { name, .. } => Err(format!("the checkout is on branch `{name}`, not on `{branch}`")),
            Head::Detached { .. } => Err(format!("the checkout is on no branch, not on `{branch}`")),
            Head::Unborn { name } if name == branch => {
                return Err(Error::NoCommits { path: self.root().to_owned() });
            }
            Head::Unborn { name } => Err(format!("the checkout is on branch `{name}`, not on `{branch}`")),
        })
    }

    pub(super) fn base_tree(&self, commit: Oid) -> Result<Oid> {
        let commit = self.inner.find_commit(commit).map_err(Error::library(format!("read commit {commit}")))?;
        Ok(commit.tree_id())
    }

    /// Answers the paths that are only spelled anew: git is blind to them where it ignores case.
    fn respelled_paths(&self, scan: &mut Scan<'_>, seen: &BTreeMap<Vec<u8>, Standing>) -> Result<Vec<Vec<u8>>> {
        let mut respelled = Vec::new();
        for path in self.seen(Some("core.ignoreCase=false"))?.paths.into_keys() {
            if !seen.contains_key(&path) && scan.is_respelled(&path)? {
                respelled.push(path);
            }
        }
        Ok(respelled)
    }

    /// Turns what is absent into deletions, except what a sparse checkout leaves out and what git shall not look at.
    fn resolve_absent(&self, scan: &mut Scan<'_>) -> Result<Absence> {
        if scan.found.absent.is_empty() {
            return Ok(Absence::default());
        }
        let skipped = self.skip_worktree()?;
        let mut paths = Vec::new();
        for (path, entry) in std::mem::take(&mut scan.found.absent) {
            let kept = scan.kept_local()?.reason(&path).filter(|_| !scan.is_displaced(&path));
            if let Some(reason) = kept.filter(|_| skipped.assumed.contains(&path)) {
                scan.set_aside(&path, &reason);
            } else if !skipped.paths.contains(&path) {
                // What has taken its place below it, or what it is below of, is noted by its own path.
                scan.delete(path.clone(), Some(entry.oid));
                paths.push(path);
            }
        }
        Ok(Absence { paths, index: skipped.index })
    }
}

impl std::fmt::Debug for SaveRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaveRequest").field("branch", &self.branch).field("hints", &self.hints).finish_non_exhaustive()
    }
}

fn edit_of(op: &Op) -> Edit {
    match op {
        Op::Put(content) => Some((content.mode, content.oid)),
        Op::Drop { .. } => None,
    }
}

/// What a save has to say of what it did not save.
struct Reports {
    set_aside: Vec<SetAside>,
    unsettled: Vec<Vec<u8>>,
    excluded: Vec<Vec<u8>>,
}

fn reports(scan: &Scan<'_>) -> Reports {
    let found = &scan.found;
    let set_aside = found.set_aside.iter().map(|(path, reason)| SetAside {
        path: path.clone(),
        reason: reason.clone(),
        is_kept_local: scan.is_kept_local(path),
    });
    let unsettled = found.unsettled.iter().cloned().collect();
    Reports { set_aside: set_aside.collect(), unsettled, excluded: found.excluded.clone() }
}
