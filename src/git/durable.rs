//! What is not on the disk yet: up to where everything is there for certain, and the way back to that after a power cut.
//!
//! Saves that do not wait leave one reference that says up to which commit everything is on the disk. While there is none,
//! everything is that cascade moved the branch to, by its log; what git itself commits is not, by default.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use git2::{ErrorCode, Oid};

use super::branch::{full_name, object_id, oid};
use super::error::{Error, Result};
use super::moves::LOG_PREFIX;
use super::program::Program;
use super::repo::{Head, Repo};
use super::save::Tip;
use super::unreadable;
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::ObjectId;

/// Everything that this commit reaches is on the disk.
const DURABLE: &str = "refs/cascade/durable";
/// Most objects whose content is read back; of the rest it is enough that they are there.
const READ_LIMIT_OBJECTS: usize = 10_000;
/// Most commits of which it is asked who wrote them.
const WALK_LIMIT_COMMITS: usize = 10_000;
/// Most earlier tips of a branch that are tried, newest first.
const TIPS_LIMIT: usize = 100;

/// A branch whose newest saves are not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSaves {
    /// Short name of the branch.
    pub branch: String,
    /// Where it is; nothing where even that is unreadable.
    pub tip: Option<ObjectId>,
    /// What is wrong with it, for people.
    pub reason: String,
    /// Up to here everything was on the disk.
    pub durable: ObjectId,
}

/// What going back did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WentBack {
    /// Where the branch is now: the newest save that is whole.
    pub to: ObjectId,
    /// Where the index is now that knew the lost saves; nothing where it stays.
    pub index: Option<PathBuf>,
    /// Packs and objects that nobody can read, under their new names.
    pub unreadable: Vec<PathBuf>,
}

impl LostSaves {
    /// Answers them as an error that says what to do.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::SavesLost { branch: shown(self.branch.as_bytes()), reason: self.reason, durable: self.durable }
    }
}

impl Repo {
    /// Answers the commit up to which everything is on the disk, where saves may be ahead of it.
    ///
    /// # Errors
    /// The reference is unreadable.
    pub fn durable_tip(&self) -> Result<Option<ObjectId>> {
        match self.inner.refname_to_id(DURABLE) {
            Ok(target) => object_id(target).map(Some),
            Err(missing) if missing.code() == ErrorCode::NotFound => Ok(None),
            Err(source) => Err(Error::library(format!("read {DURABLE}"))(source)),
        }
    }

    /// Brings what was saved to `branch` to the disk, where it may not be there yet.
    ///
    /// # Errors
    /// [`Error::SavesLost`] when something of it is missing or unreadable; the disk refuses.
    pub fn flush(&self, branch: &str) -> Result<()> {
        let Some(durable) = self.durable_tip()? else { return Ok(()) };
        let tip = self.branch_tip(branch).ok().flatten();
        if tip == Some(durable) {
            return Ok(());
        }
        self.sync_file_system()?;
        if let Some(lost) = self.lost_saves(branch)? {
            return Err(lost.into_error());
        }
        tip.map_or(Ok(()), |tip| self.note_durable(tip))
    }

    /// Brings what `commit` has and `base` (none: nothing) has not to the disk, where it may not be there yet: saves to
    /// `branch` that did not wait for it, and what git itself wrote, which does not wait by default.
    ///
    /// # Errors
    /// As [`Repo::flush`].
    pub fn make_durable(&self, branch: &str, base: Option<ObjectId>, commit: ObjectId) -> Result<()> {
        let is_known = |durable| self.is_ancestor(commit, durable).unwrap_or(false);
        if self.durable_tip()?.is_some_and(|durable| !is_known(durable)) {
            return self.flush(branch);
        }
        if self.has_loose_commits(base, commit)? { self.sync_file_system() } else { Ok(()) }
    }

    /// Finds out whether everything is there that was saved or committed to `branch` and was not on the disk for certain;
    /// changes nothing.
    ///
    /// Only what the files themselves prove counts: what cannot be read at the moment is an error.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn lost_saves(&self, branch: &str) -> Result<Option<LostSaves>> {
        let tip = self.branch_tip(branch);
        let durable = match (self.durable_tip()?, &tip) {
            (Some(durable), _) => durable,
            (None, Ok(Some(tip))) if self.is_own_move(branch, oid(*tip)?)? => return Ok(None),
            (None, _) => match self.last_own_move(branch)? {
                Some(own) => own,
                None => return Ok(None),
            },
        };
        let (tip, reason) = match tip {
            Ok(None) if self.is_gone(branch)? => (None, "the branch is gone, and its log is still there".to_owned()),
            Ok(None) => return Ok(None),
            Ok(Some(tip)) => match self.missing_part(durable, tip)? {
                Some(reason) => (Some(tip), reason),
                None => return Ok(None),
            },
            Err(_) if self.is_torn(branch)? => (None, "where the branch was is not readable".to_owned()),
            Err(other) => return Err(other),
        };
        Ok(Some(LostSaves { branch: branch.to_owned(), tip, reason, durable }))
    }

    /// Puts a branch whose newest saves are not whole back, as [`Repo::go_back`] does; answers nothing where they are.
    ///
    /// # Errors
    /// As [`Repo::lost_saves`]; [`Error::SavesLost`] where it cannot go back now.
    pub fn mend_saves(&self, branch: &str, now: Timestamp) -> Result<Option<(LostSaves, WentBack)>> {
        let Some(lost) = self.lost_saves(branch)? else { return Ok(None) };
        match self.go_back(&lost, now) {
            Ok(went) => Ok(Some((lost, went))),
            Err(problem) => {
                tracing::warn!(%problem, "the branch is not put back");
                Err(lost.into_error())
            }
        }
    }

    /// Puts a branch back to its newest save that is whole. No file of the working tree changes, so what is there is
    /// saved again; the index is made again (the old one is kept), and what nobody can read gets another name.
    ///
    /// # Errors
    /// [`Error::RefMoved`] when the branch moved meanwhile; not even the last durable save is whole; the disk refuses.
    pub fn go_back(&self, lost: &LostSaves, now: Timestamp) -> Result<WentBack> {
        // Git works, and there is something to go back to.
        self.require_complete(&[lost.durable])?;
        let unreadable = unreadable::set_aside(&self.common_dir().join("objects"))?;
        let to = self.newest_whole(lost)?;
        let full = full_name(&lost.branch)?;
        for name in [&full, "HEAD"] {
            self.forget_missing(name)?;
        }
        let who = self.identity(now)?;
        let who = format!("{} <{}> {} +0000", shown(who.name_bytes()), shown(who.email_bytes()), now.as_second());
        let message = format!("{LOG_PREFIX}back to the newest save that is whole");
        let tip = Tip { repo: self, name: &full, who: &who, message: &message };
        self.sync_file_system()?;
        if !tip.put_back(lost.tip.map(oid).transpose()?, oid(to)?)? {
            let found = self.branch_tip(&lost.branch).ok().flatten();
            return Err(Error::RefMoved { name: full, expected: lost.tip, found });
        }
        if self.durable_tip()?.is_some() {
            self.note_durable(to)?;
        }
        // A killed save may have left its lock on the index.
        self.recover_save()?;
        let index = self.replace_index(oid(to)?)?;
        Ok(WentBack { to, index, unreadable })
    }

    /// Notes, before the first save that does not wait for the disk, from where on that is so.
    pub(super) fn begin_undurable(&self, parent: Oid) -> Result<()> {
        if self.durable_tip()?.is_some() {
            return Ok(());
        }
        self.sync_file_system()?;
        self.note_durable(object_id(parent)?)
    }

    /// Brings what saves left for later, or git itself committed, to the disk, before a save that waits for it is built
    /// upon `parent`.
    pub(super) fn settle_undurable(&self, branch: &str, parent: Oid) -> Result<()> {
        let is_settled = match self.durable_tip()? {
            Some(durable) => oid(durable)? == parent,
            None => self.is_own_move(branch, parent)?,
        };
        if is_settled { Ok(()) } else { self.sync_file_system() }
    }

    /// Notes that everything is on the disk.
    pub(super) fn end_undurable(&self) -> Result<()> {
        match self.inner.find_reference(DURABLE) {
            Ok(mut found) => found.delete().map_err(Error::library(format!("delete {DURABLE}"))),
            Err(missing) if missing.code() == ErrorCode::NotFound => Ok(()),
            Err(source) => Err(Error::library(format!("read {DURABLE}"))(source)),
        }
    }

    fn note_durable(&self, commit: ObjectId) -> Result<()> {
        let noted = self.inner.reference(DURABLE, oid(commit)?, true, "cascade: on the disk");
        noted.map(drop).map_err(Error::library(format!("write {DURABLE}")))
    }

    /// Brings everything that was written to the file systems of git's directory to the disk.
    pub(super) fn sync_file_system(&self) -> Result<()> {
        let mut synced = None;
        for place in [self.common_dir().join("objects"), self.common_dir().to_owned()] {
            let opened = File::open(&place).and_then(|file| Ok((file.metadata()?.dev(), file)));
            let (device, file) = opened.map_err(Error::io("open", &place))?;
            if synced.replace(device) != Some(device) {
                sync(&file).map_err(Error::io("bring to the disk what was written in", &place))?;
            }
        }
        Ok(())
    }

    /// Answers whether git itself wrote commits between these two: it puts each into a file of its own, saves and what is
    /// fetched come in packs.
    fn has_loose_commits(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<bool> {
        for id in self.walk_between(base, tip)?.take(WALK_LIMIT_COMMITS) {
            let id = id.map_err(Error::library("walk commits"))?;
            let (folder, file) = (id.to_string()[..2].to_owned(), id.to_string()[2..].to_owned());
            let is_loose = self.common_dir().join("objects").join(folder).join(file).exists();
            // Those of promotions are loose, and were waited for.
            if is_loose && !self.is_promotion(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Answers what is wrong with what `tip` has and `durable` has not, where that is proved.
    fn missing_part(&self, durable: ObjectId, tip: ObjectId) -> Result<Option<String>> {
        match self.require_whole(durable, tip) {
            Err(Error::Integrity { .. }) => {}
            known => return known.map(|()| None),
        }
        // What is passed over because it cannot be opened looks as if it were not there.
        let objects = self.common_dir().join("objects");
        unreadable::require_readable(&objects).map_err(Error::io("read", objects))?;
        match self.require_whole(durable, tip) {
            Ok(()) => Ok(None),
            Err(Error::Integrity { reason, .. }) => Ok(Some(reason)),
            Err(other) => Err(other),
        }
    }

    /// Reads what `tip` has and `durable` has not.
    fn require_whole(&self, durable: ObjectId, tip: ObjectId) -> Result<()> {
        let damaged = |reason| Error::Integrity { what: format!("commit {}", tip.short()), reason };
        let (tip, durable) = (tip.to_string(), durable.to_string());
        let arguments =
            ["rev-list", "--objects", "--no-object-names", "--exclude-promisor-objects", &tip, "--not", &durable];
        let listed = Program::new(self, arguments).keep_all().run()?;
        if !listed.status.success() {
            let message = listed.message();
            return Err(damaged(message.lines().last().unwrap_or_default().to_owned()));
        }
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        odb.refresh().map_err(Error::library("look for new packs"))?;
        let text = String::from_utf8_lossy(&listed.stdout);
        for object in text.lines().take(READ_LIMIT_OBJECTS) {
            let read = Oid::from_str(object).and_then(|id| odb.read(id).map(drop));
            read.map_err(|unreadable| damaged(format!("{object}: {}", unreadable.message())))?;
        }
        Ok(())
    }

    /// Finds the newest tip that the branch had since the last durable one and that is whole, by its log.
    fn newest_whole(&self, lost: &LostSaves) -> Result<ObjectId> {
        let moves = self.moves_of(&lost.branch)?;
        let tips = moves.iter().filter_map(|made| object_id(made.to).ok());
        let tips: Vec<ObjectId> = tips.take_while(|tip| *tip != lost.durable).collect();
        // Where the log has lost its end, what it has left may be older.
        let is_later = |tip: ObjectId| tips.len() < moves.len() || self.is_ancestor(lost.durable, tip).unwrap_or(false);
        let is_whole = |tip: &&ObjectId| is_later(**tip) && self.require_whole(lost.durable, **tip).is_ok();
        Ok(tips.iter().take(TIPS_LIMIT).find(is_whole).copied().unwrap_or(lost.durable))
    }

    /// Takes out of a reference's log what names commits that are not there: `git fsck` would complain of it for months.
    fn forget_missing(&self, name: &str) -> Result<()> {
        // One that the power cut has torn is left as it is.
        let Ok(mut log) = self.inner.reflog(name) else { return Ok(()) };
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let is_missing = |at: usize| log.get(at).is_some_and(|entry| !odb.exists(entry.id_new()));
        let missing: Vec<usize> = (0..log.len()).filter(|at| is_missing(*at)).collect();
        for at in missing.into_iter().rev() {
            log.remove(at, true).map_err(Error::library(format!("change the log of {name}")))?;
        }
        log.write().map_err(Error::library(format!("write the log of {name}")))
    }

    /// Answers whether what says where a branch is was never written.
    fn is_torn(&self, branch: &str) -> Result<bool> {
        let path = self.common_dir().join(full_name(branch)?);
        if !path.is_file() {
            return Ok(false);
        }
        let text = fs::read(&path).map_err(Error::io("read", path))?;
        let is_readable = text.starts_with(b"ref:")
            || std::str::from_utf8(text.trim_ascii_end()).is_ok_and(|text| text.parse::<ObjectId>().is_ok());
        Ok(!is_readable)
    }

    /// Answers where cascade moved a branch last, of what is still there: the user may have rewritten the branch since.
    fn last_own_move(&self, branch: &str) -> Result<Option<ObjectId>> {
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let moves = self.moves_of(branch)?;
        moves.iter().find(|made| made.is_own && odb.exists(made.to)).map(|made| object_id(made.to)).transpose()
    }

    /// Answers whether the branch that is checked out is nowhere any more: who deletes a branch deletes its log as well.
    fn is_gone(&self, branch: &str) -> Result<bool> {
        let is_checked_out = matches!(self.head()?, Head::Unborn { name } if name == branch);
        Ok(is_checked_out && self.moves_of(branch)?.iter().any(|made| made.is_own))
    }
}

#[cfg(target_os = "linux")]
fn sync(file: &File) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(file.as_fd())?)
}

/// Elsewhere no save is left for later.
#[cfg(not(target_os = "linux"))]
fn sync(file: &File) -> std::io::Result<()> {
    file.sync_all()
}
