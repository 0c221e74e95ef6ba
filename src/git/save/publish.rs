//! Moving branch and index together under git's own lock.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::path::Path;

use git2::{Odb, Oid};

use super::ChangeKind;
use super::commit::Draft;
use super::lock::NewIndex;
use super::mend::IndexPlace;
use super::old_index::{OldIndex, index_stat};
use super::sparse::Absence;
use super::tip::Tip;
use crate::beneath::{FileStat, stat_at};
use crate::git::error::{Error, Result};
use crate::git::index::{Op, Patch, Proved};
use crate::git::moves::LOG_PREFIX;
use crate::git::pack::PackWriter;
use crate::git::program::Program;
use crate::git::repo::{Head, Repo};
use crate::git::tree::DirChange;

/// A commit about to become the branch's tip.
pub(super) struct Publication<'a> {
    repo: &'a Repo,
    draft: &'a Draft<'a>,
    reference: String,
    edits: Edits<'a>,
    absence: Absence,
}

/// What becomes of the index.
struct Edits<'a> {
    ops: BTreeMap<&'a [u8], Op>,
    counts: BTreeMap<&'a [u8], i64>,
    dirs: &'a BTreeMap<Vec<u8>, DirChange>,
}

/// Where the branch is now.
pub(super) enum Moved {
    To {
        commit: Oid,
        /// Whether something that the user staged was kept in the index instead of what was saved.
        keeps_staged: bool,
    },
    /// Somebody else moved `HEAD` or the branch first, or what was found is not so any more; nothing was moved.
    Superseded,
}

/// What was made of the index that was there.
struct Prepared {
    /// The old one's stat; none when there was none.
    from: Option<FileStat>,
    /// Whether something staged is kept in the new one; none when the git program must make it.
    keeps_staged: Option<bool>,
}

impl<'a> Publication<'a> {
    /// Prepares to publish `draft`, which changed `ops` and with them the directories `dirs`.
    pub fn new(
        repo: &'a Repo,
        draft: &'a Draft<'a>,
        ops: impl Iterator<Item = (&'a [u8], (ChangeKind, &'a Op))>,
        dirs: &'a BTreeMap<Vec<u8>, DirChange>,
    ) -> Self {
        let (mut all, mut counts) = (BTreeMap::new(), BTreeMap::new());
        for (path, (kind, op)) in ops {
            match kind {
                ChangeKind::Added => counts.insert(path, 1),
                ChangeKind::Deleted => counts.insert(path, -1),
                ChangeKind::Modified | ChangeKind::ModeChanged => None,
            };
            all.insert(path, op.clone());
        }
        let reference = format!("refs/heads/{}", draft.branch);
        Self { repo, draft, reference, edits: Edits { ops: all, counts, dirs }, absence: Absence::default() }
    }

    /// Gives up where the index says by then that some of what is absent is left out on purpose.
    pub fn unless_refuted(self, absence: Absence) -> Self {
        Self { absence, ..self }
    }

    /// Makes the commit and all other objects durable (where saves wait for that), then moves branch and index.
    pub fn run(&self, pack: PackWriter, odb: &Odb<'_>) -> Result<Moved> {
        let (commit, pack) = self.draft.add_to(self.repo, pack, odb)?;
        self.run_to(commit, pack, odb)
    }

    /// The same for a commit that there is already.
    pub fn run_to(&self, commit: Oid, pack: PackWriter, odb: &Odb<'_>) -> Result<Moved> {
        let (root, git_dir, known) = (self.repo.root(), self.repo.git_dir(), self.repo.proved_index.get());
        let (edits, seen) = (&self.edits, self.repo.seen_index()?);
        let seen = seen.as_deref();
        // The disk syncs the pack while the processor patches the index.
        let (written, packed) = std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut index = NewIndex::create(git_dir, commit)?;
                let prepared = edits.prepare(&mut index, root, git_dir, seen, known)?;
                Ok((index, prepared))
            });
            let packed = pack.finish();
            (writing.join(), packed)
        });
        packed?;
        let (mut index, prepared) = written.map_err(|_| Error::Lost("patching the index".to_owned()))??;
        odb.refresh().map_err(Error::library("look for new packs"))?;
        self.settle()?;
        index.lock()?;
        if !self.is_current()? || self.absence.is_refuted(self.repo)? {
            return Ok(Moved::Superseded);
        }
        let keeps_staged = self.renew(&mut index, &prepared, commit)?;
        match self.move_reference(commit) {
            Ok(true) => {
                if !self.repo.is_fast() {
                    // Where the note stays, the next save asks the disk once more.
                    let _ = self.repo.end_undurable();
                }
                self.repo.put_index(index)?;
            }
            Ok(false) => return Ok(Moved::Superseded),
            Err(refused) => {
                // It may have moved all the same, with only its being durable in doubt: the index goes with it.
                if self.repo.inner.refname_to_id(&self.reference).is_ok_and(|tip| tip == commit) {
                    self.repo.put_index(index)?;
                }
                return Err(refused);
            }
        }
        Ok(Moved::To { commit, keeps_staged })
    }

    /// Sees that a save that waits for the disk does not rest on a commit that has not, and that it is known where saves
    /// that do not wait begin.
    fn settle(&self) -> Result<()> {
        match self.repo.is_fast() {
            true => self.repo.begin_undurable(self.draft.parent),
            false => self.repo.settle_undurable(self.draft.branch, self.draft.parent),
        }
    }

    /// Answers whether the branch is still checked out, and where it was.
    fn is_current(&self) -> Result<bool> {
        let expected = Head::Branch { name: self.draft.branch.to_owned(), commit: self.draft.parent };
        Ok(self.repo.operation().is_none() && self.repo.head()? == expected)
    }

    /// Writes the new index again where it could not be prepared, or where somebody wrote the old one meanwhile.
    /// Answers whether something staged is kept.
    fn renew(&self, index: &mut NewIndex, prepared: &Prepared, commit: Oid) -> Result<bool> {
        let (root, git_dir) = (self.repo.root(), self.repo.git_dir());
        let keeps_staged = match prepared.from == index_stat(git_dir)? {
            true => prepared.keeps_staged,
            false => self.edits.prepare(index, root, git_dir, None, self.repo.proved_index.get())?.keeps_staged,
        };
        if let Some(keeps_staged) = keeps_staged {
            return Ok(keeps_staged);
        }
        let (bytes, keeps_staged) = self.index_by_program(commit)?;
        index.write(&bytes).map(|()| keeps_staged)
    }

    /// Moves the branch by compare-and-swap and reads it back; false when somebody else moved it.
    fn move_reference(&self, commit: Oid) -> Result<bool> {
        let who = self.draft.committer(self.repo);
        let message = format!("{LOG_PREFIX}{}", self.draft.subject());
        let tip = Tip { repo: self.repo, name: &self.reference, who: &who, message: &message };
        tip.advance(self.draft.parent, commit)
    }

    /// Lets the git program change an index of a form that is not patched in place, or make one; answers whether
    /// something staged is kept.
    fn index_by_program(&self, commit: Oid) -> Result<(Vec<u8>, bool)> {
        let (root, git_dir) = (self.repo.root(), self.repo.git_dir());
        let place = IndexPlace::create(git_dir)?;
        let (old, copy) = (git_dir.join("index"), place.index());
        if !copy_index(&old, &copy).map_err(Error::io("copy", &old))? {
            place.read_tree(self.repo, commit)?;
            return Ok((place.into_bytes()?, false));
        }
        let staged = self.staged(&copy)?;
        let is_kept = |path: &[u8], op: &Op| staged.get(path).is_some_and(|staged| is_kept(op, *staged));
        let (kept, settled): (Vec<_>, Vec<_>) = self.edits.ops.iter().partition(|(path, op)| is_kept(path, op));
        let git = Program::durable(root, ["update-index", "-z", "--index-info"]).env("GIT_INDEX_FILE", &copy);
        git.input(index_info(&settled)).succeed()?;
        let is_left_out = |op: &Op| matches!(op, Op::Put(content) if content.left_out);
        self.repo.skip(&copy, settled.iter().filter(|(_, op)| is_left_out(op)).map(|(path, _)| **path))?;
        Ok((place.into_bytes()?, !kept.is_empty()))
    }

    /// Answers what the index at `place` has where it differs from the parent commit: a blob, or nothing any more.
    ///
    /// As in an index that is patched in place, neither a conflict nor the mere intent to add a file counts.
    fn staged(&self, place: &Path) -> Result<BTreeMap<Vec<u8>, Option<Oid>>> {
        let parent = self.draft.parent.to_string();
        let options =
            ["diff-index", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--ita-invisible-in-index"];
        let git = Program::durable(self.repo.root(), options.into_iter().chain([parent.as_str()]));
        let printed = git.env("GIT_INDEX_FILE", place).keep_all().succeed()?;
        let words: Vec<&[u8]> = printed.split(|byte| *byte == 0).collect();
        let difference = |pair: &[&[u8]]| {
            let [header, path] = pair else { return None };
            // `:<mode> <mode> <blob> <blob> <status>`
            let fields: Vec<&[u8]> = header.split(|byte| *byte == b' ').collect();
            let (blob, status) = (fields.get(3)?, fields.get(4)?);
            let oid = Oid::from_str(std::str::from_utf8(blob).ok()?).ok()?;
            (*status != b"U").then(|| (path.to_vec(), (*status != b"D").then_some(oid)))
        };
        Ok(words.chunks(2).filter_map(difference).collect())
    }
}

impl Edits<'_> {
    /// Writes to `new` what becomes of the index in `git_dir`, where that can be patched in place; it is not read again
    /// where it was `seen`.
    ///
    /// # Errors
    /// [`Error::IndexDamaged`] where it is not whole: `new` is worthless then.
    fn prepare(
        &self,
        new: &mut NewIndex,
        root: &Path,
        git_dir: &Path,
        seen: Option<&OldIndex>,
        known: Option<Proved>,
    ) -> Result<Prepared> {
        let read = if seen.is_none() { OldIndex::read(git_dir)? } else { None };
        let Some(old) = seen.or(read.as_ref()) else { return Ok(Prepared { from: None, keeps_staged: None }) };
        // One processor proves the old index while the other patches it: 100,000 files have 10 MB of it.
        let (proof, written) = std::thread::scope(|scope| {
            let proof = scope.spawn(|| old.prove(known));
            let written = self.patch(new, root, old);
            (proof.join(), written)
        });
        proof.map_err(|_| Error::Lost("proving the index".to_owned()))??;
        Ok(Prepared { from: Some(old.stat), keeps_staged: written? })
    }

    fn patch(&self, new: &mut NewIndex, root: &Path, old: &OldIndex) -> Result<Option<bool>> {
        let Some(index) = old.index() else { return Ok(None) };
        let top = File::open(root).map_err(Error::io("open", root))?;
        let unchanged = |name: &[u8], ctime, mtime| {
            let word = |time: (i64, u32)| (time.0 as u32, time.1);
            stat_at(std::os::fd::AsFd::as_fd(&top), name)
                .is_ok_and(|stat| word(stat.ctime) == ctime && word(stat.mtime) == mtime)
        };
        let (ops, counts) = (&self.ops, &self.counts);
        let patch = Patch { ops, counts, dirs: self.dirs, index_mtime: old.stat.mtime, unchanged: &unchanged };
        let patched = index.patched(&patch);
        new.write_patched(&old.bytes, &patched).map(|()| Some(patched.keeps_staged))
    }
}

/// Answers whether what the user staged at a path is kept there instead of what `op` makes of it: it is neither what the
/// parent commit has nor what is saved.
fn is_kept(op: &Op, staged: Option<Oid>) -> bool {
    match op {
        Op::Put(content) => {
            staged.map_or(content.before.is_some(), |_| staged != content.before && staged != Some(content.oid))
        }
        Op::Drop { before } => staged.is_some() && staged != *before,
    }
}

/// Answers the operations as `git update-index --index-info` reads them.
fn index_info(ops: &[(&&[u8], &Op)]) -> Vec<u8> {
    let mut lines = Vec::new();
    let gone_first = ops.iter().filter(|(_, op)| matches!(op, Op::Drop { .. }));
    for (path, op) in gone_first.chain(ops.iter().filter(|(_, op)| matches!(op, Op::Put(_)))) {
        let (mode, oid) = match op {
            Op::Put(content) => (content.mode, content.oid),
            Op::Drop { .. } => (0, Oid::ZERO_SHA1),
        };
        lines.extend_from_slice(format!("{mode:o} {oid}\t").as_bytes());
        lines.extend_from_slice(path);
        lines.push(0);
    }
    lines
}

/// Copies an index with its time, which tells git which entries to distrust; false when there is none.
fn copy_index(old: &Path, copy: &Path) -> io::Result<bool> {
    let bytes = match std::fs::read(old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        bytes => bytes?,
    };
    let modified = std::fs::metadata(old)?.modified()?;
    let mut file = File::create(copy)?;
    file.write_all(&bytes)?;
    file.set_times(FileTimes::new().set_modified(modified))?;
    Ok(true)
}
