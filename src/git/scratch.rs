//! Scratch checkouts: where checks see a candidate's files without touching the user's checkout.
//!
//! A scratch checkout is a clone of its own that borrows the repository's objects, so that nothing a check does
//! with git there reaches the user's branches, index or configuration. It is moved from commit to commit by their
//! difference. How it was left is recorded beside it: whatever a check changes, breaks or deletes is found by comparing
//! with that and put right, and ignored files (build output, caches) stay.
//!
//! Looking at every file takes as long as all of `git checkout`, so it is done once for each use, and after it:
//! [`Repo::settle_scratch`]. What that look finds unchanged was so when the use began, whoever else had access in
//! between; what it finds changed proves nothing, and then the use has to be repeated on files that were looked at before.

mod left;
mod look;
mod mover;
mod moving;
mod survey;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use git2::Odb;
use sha1::{Digest as _, Sha1};

use self::left::{Base, Left, Moment, boot};
use self::look::{Findings, Look, files_of, is_quiet, own_files};
use self::mover::{path_of, remove};
use self::moving::{Indexed, Move};
use self::survey::Survey;
use super::branch::oid;
use super::difference::Difference;
use super::error::{Error, Result};
use super::index::{CHECKSUM_BYTES, Index};
use super::program::Program;
use super::repo::Repo;
use crate::base::digest::Digest;
use crate::base::id::ObjectId;

/// Name of the checkout in a scratch directory.
const CHECKOUT: &str = "checkout";
/// Settings that give the index a form that can be changed here, and let git believe what the file system says.
const SETTINGS: [&str; 9] = [
    "index.version=2",
    "index.skipHash=false",
    "index.sparse=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "core.fsmonitor=false",
    "core.trustctime=true",
    "core.checkStat=default",
    "core.ignoreStat=false",
];
/// Settings of file systems and checkouts that only the git program knows to handle.
const UNUSUAL: [(&str, bool); 5] = [
    ("core.ignorecase", true),
    ("core.precomposeunicode", true),
    ("core.sparsecheckout", true),
    ("core.filemode", false),
    ("core.symlinks", false),
];
/// What filters and submodules have fetched; it stays when git's own files are made afresh.
const FETCHED: [&str; 2] = ["lfs", "modules"];
/// Name of the files that say what is ignored.
const IGNORES: &[u8] = b".gitignore";
/// Digits of a digest that tell one content from another.
const DIGEST_DIGITS: usize = 16;

/// A scratch checkout that has the files of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Top of the checkout.
    pub path: PathBuf,
    /// Whether every file was looked at. Otherwise [`Repo::settle_scratch`] tells afterwards whether they were right.
    pub is_proven: bool,
}

/// A scratch directory: the checkout, the record of how it was left, and room for what is about to be moved in.
struct Scratch<'r> {
    repo: &'r Repo,
    directory: PathBuf,
    checkout: PathBuf,
}

impl Repo {
    /// Brings the checkout in the scratch directory to exactly `commit`, moving from what it held before; files that
    /// `.gitignore` names stay. Nobody else may use the directory meanwhile.
    ///
    /// `by` names who is going to use it and to settle it afterwards, so that files need not be looked at before; that is
    /// done all the same for whoever changed some the last time, and where the last use was not settled.
    ///
    /// # Errors
    /// The directory cannot be written, or git fails twice: a scratch that cannot be moved is made afresh once.
    pub fn check_out_scratch(&self, directory: &Path, commit: ObjectId, by: Option<&str>) -> Result<Checkout> {
        let scratch = Scratch::new(self, directory);
        let is_proven = match scratch.arrive(commit, by) {
            Ok(is_proven) => is_proven,
            Err(damage) => {
                tracing::debug!(%damage, directory = %directory.display(), "the scratch checkout is made afresh");
                scratch.make(commit)?;
                true
            }
        };
        Ok(Checkout { path: scratch.checkout, is_proven })
    }

    /// Looks at every file of a scratch directory after `by` has used it, and puts right what is not as it was; the next
    /// move need not look then. Answers whether all files of the commit were as they had been put.
    ///
    /// # Errors
    /// It cannot be read or written; the next move makes it afresh then.
    pub fn settle_scratch(&self, directory: &Path, by: &str) -> Result<bool> {
        Scratch::new(self, directory).settle(by)
    }

    /// Answers what is wrong with the scratch directory, so that it can only be made afresh; nothing where it can be used,
    /// or where git cannot be asked.
    #[must_use]
    pub fn scratch_damage(&self, directory: &Path) -> Option<String> {
        let scratch = Scratch::new(self, directory);
        if !scratch.checkout.join(".git").is_dir() {
            return Some("it is no checkout".to_owned());
        }
        if Left::read(&scratch.path("left")).is_none() {
            return Some("how it was left is not known".to_owned());
        }
        let ask = |arguments: &[&str]| {
            let asked = scratch.program(arguments).run();
            asked.ok().filter(|asked| !asked.status.success()).map(|asked| asked.message())
        };
        ask(&["cat-file", "-e", "HEAD^{tree}"]).or_else(|| ask(&["ls-files", "--unmerged"]))
    }
}

impl<'r> Scratch<'r> {
    fn new(repo: &'r Repo, directory: &Path) -> Self {
        Self { repo, directory: directory.to_owned(), checkout: directory.join(CHECKOUT) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Comes to `commit` from whatever is there; answers whether every file was looked at.
    fn arrive(&self, commit: ObjectId, by: Option<&str>) -> Result<bool> {
        // What cannot be taken back must not be relied on.
        let is_settled = fs::remove_file(self.path("settled")).is_ok();
        let left = Left::read(&self.path("left")).ok_or_else(|| damaged(&self.directory))?;
        let is_changer = by.is_none_or(|by| left.changers.contains(by.as_bytes()));
        let trusts = is_settled && !is_changer && left.base.is_some() && left.excludes == self.excludes();
        if trusts && left.commit == commit && is_quiet(&self.checkout, &left)? {
            return Ok(false);
        }
        let (left, found) = self.bring(left, trusts, commit)?;
        self.keep(&left)?;
        Ok(found.is_some())
    }

    fn settle(&self, by: &str) -> Result<bool> {
        let left = Left::read(&self.path("left")).ok_or_else(|| damaged(&self.directory))?;
        if left.base.is_none() {
            return Ok(true);
        }
        let commit = left.commit;
        let (mut left, found) = self.bring(left, false, commit)?;
        let is_untouched = found == Some(true);
        match is_untouched {
            true => left.changers.remove(by.as_bytes()),
            false => left.changers.insert(by.as_bytes().to_vec()),
        };
        self.fold(&mut left)?;
        self.keep(&left)?;
        let path = self.path("settled");
        fs::write(&path, "").map_err(Error::io("write", path))?;
        Ok(is_untouched)
    }

    /// Brings the checkout from how it was left to `commit`. Answers how it is left then, and whether all files were as they
    /// had been left; nothing where it was trusted, and they were not looked at.
    fn bring(&self, left: Left, trusts: bool, commit: ObjectId) -> Result<(Left, Option<bool>)> {
        let moment = Moment::now(&self.path("clock"))?;
        let Some(base) = left.base else {
            self.move_by_program(commit)?;
            return Ok((self.recorded(commit, moment, Some(&left))?, Some(true)));
        };
        let (is_trusted, bytes) = thread::scope(|scope| {
            let (checkout, left) = (&self.checkout, &left);
            let quiet = scope.spawn(move || trusts && is_quiet(checkout, left).unwrap_or(false));
            let bytes = self.base_bytes(base, left);
            (quiet.join().unwrap_or(false), bytes)
        });
        let bytes = bytes?;
        let index = Index::parse(&bytes).ok_or_else(|| damaged(&self.directory))?;
        let odb = self.repo.inner.odb().map_err(Error::library("open the object database"))?;
        let (mut findings, mut brought) = (Findings::default(), BTreeSet::new());
        if !is_trusted {
            let files = files_of(&index, &left).ok_or_else(|| damaged(&self.directory))?;
            findings = Look::new(&self.checkout, &left, files)?.run()?;
            findings.has_new_rules |= left.excludes != self.excludes();
            brought = self.brought(&odb, &left)?;
        }
        if left.commit != commit {
            self.note_moving(commit)?;
        }
        let base = Indexed { odb: &odb, index: &index, bytes: &bytes };
        let step = Move { scratch: self, base, findings, brought, moment };
        let (left, is_untouched) = step.run(left, commit)?;
        Ok((left, (!is_trusted).then_some(is_untouched)))
    }

    /// Reads the index of the record, proved to be the one that was recorded.
    fn base_bytes(&self, base: Base, left: &Left) -> Result<Vec<u8>> {
        let path = self.base_path(base.number);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let is_still = look::stat(&path).is_some_and(|found| found.is_still(&base.stat));
        let is_whole = || {
            let body = bytes.split_last_chunk::<CHECKSUM_BYTES>();
            body.is_some_and(|(body, checksum)| Sha1::digest(body)[..] == *checksum)
        };
        // The machine may have lost what it had written.
        if is_still && (left.boot == boot() || is_whole()) { Ok(bytes) } else { Err(damaged(&self.directory)) }
    }

    fn base_path(&self, number: u32) -> PathBuf {
        self.path(&format!("index.{number}"))
    }

    /// Notes, before the first file changes, where the checkout is moved to.
    fn note_moving(&self, commit: ObjectId) -> Result<()> {
        let (new, path) = (self.path("moving.new"), self.path("moving"));
        let noted = fs::write(&new, commit.to_string()).and_then(|()| fs::rename(&new, &path));
        noted.map_err(Error::io("write", path))
    }

    /// Lists what a killed move may have brought that the record does not know.
    fn brought(&self, odb: &Odb<'_>, left: &Left) -> Result<BTreeSet<Vec<u8>>> {
        let path = self.path("moving");
        if look::stat(&path).is_none() {
            return Ok(BTreeSet::new());
        }
        let target = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
        let target: ObjectId = target.ok_or_else(|| damaged(&self.directory))?;
        let difference = self.difference(odb, left.commit, target)?;
        let added = difference.files.into_iter().filter(|(_, (old, _))| old.is_none());
        Ok(added.map(|(path, _)| path).collect())
    }

    /// Makes the record current.
    fn keep(&self, left: &Left) -> Result<()> {
        left.write(&self.path("left"))?;
        remove(&self.path("moving"))?;
        match left.base.and_then(|base| base.number.checked_sub(1)) {
            Some(old) => remove(&self.base_path(old)),
            None => Ok(()),
        }
    }

    fn dated(&self, left: Left, moment: Moment) -> Left {
        Left { moment, boot: boot(), excludes: self.excludes(), ..left }
    }

    /// Makes a new base of what the record says.
    fn fold(&self, left: &mut Left) -> Result<()> {
        let Some(base) = left.base.filter(|base| base.commit != left.commit || !left.moved.is_empty()) else {
            return Ok(());
        };
        let bytes = self.base_bytes(base, left)?;
        let index = Index::parse(&bytes).ok_or_else(|| damaged(&self.directory))?;
        let odb = self.repo.inner.odb().map_err(Error::library("open the object database"))?;
        let patched = Indexed { odb: &odb, index: &index, bytes: &bytes }.patched(self, left, left.commit)?;
        let number = base.number.wrapping_add(1);
        let path = self.base_path(number);
        let written = fs::File::create(&path).and_then(|file| patched.write_to(&bytes, &file));
        written.map_err(Error::io("write", &path))?;
        let stat = look::stat(&path).ok_or_else(|| damaged(&self.directory))?;
        left.base = Some(Base { commit: left.commit, number, stat });
        left.moved.clear();
        Ok(())
    }

    fn difference(&self, odb: &Odb<'_>, old: ObjectId, new: ObjectId) -> Result<Difference> {
        Difference::between(odb, oid(self.repo.tree_of(old)?)?, oid(self.repo.tree_of(new)?)?)
    }

    /// Answers what the user's own ignore file says, in short.
    fn excludes(&self) -> String {
        let content = self.repo.excludes_file().and_then(|path| fs::read(path).ok());
        content.map_or_else(|| "none".to_owned(), |content| Digest::of(&content).short(DIGEST_DIGITS))
    }

    /// Prepares the git program for the checkout.
    fn program(&self, arguments: &[&str]) -> Program {
        let quiet = ["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "gc.auto=0"];
        let program = Program::at(&self.checkout, quiet.iter().chain(arguments));
        program.env("GIT_DIR", self.checkout.join(".git"))
    }

    /// Makes it afresh.
    fn make(&self, commit: ObjectId) -> Result<()> {
        remove(&self.directory)?;
        fs::create_dir_all(&self.directory).map_err(Error::io("create", &self.directory))?;
        let moment = Moment::now(&self.path("clock"))?;
        self.clone_into(&self.checkout)?;
        self.move_by_program(commit)?;
        self.keep(&self.recorded(commit, moment, None)?)
    }

    fn clone_into(&self, target: &Path) -> Result<()> {
        let arguments =
            ["clone", "--quiet", "--shared", "--no-checkout", "--no-tags", "--template="].map(str::to_owned);
        let settings = SETTINGS.iter().map(|setting| format!("--config={setting}"));
        let arguments = arguments.into_iter().chain(settings).chain(["--".to_owned()]).map(Into::into);
        let places = [self.repo.common_dir().as_os_str().to_owned(), target.as_os_str().to_owned()];
        Program::new(self.repo, arguments.chain(places)).succeed().map(drop)
    }

    /// Makes git's own files in the checkout afresh; the files of the working tree stay.
    fn renew_git(&self) -> Result<()> {
        let (new, old) = (self.path("renewed"), self.checkout.join(".git"));
        remove(&new)?;
        self.clone_into(&new)?;
        for name in FETCHED {
            let fetched = old.join(name);
            let is_real = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
            if is_real(&old) && is_real(&fetched) {
                fs::rename(&fetched, new.join(".git").join(name)).map_err(Error::io("move", &fetched))?;
            }
        }
        remove(&old)?;
        fs::rename(new.join(".git"), &old).map_err(Error::io("replace", old))?;
        remove(&new)
    }

    /// Lets the git program check `commit` out and remove what is neither in it nor ignored.
    fn move_by_program(&self, commit: ObjectId) -> Result<()> {
        let checkout = ["checkout", "--quiet", "--force", "--detach", &commit.to_string()];
        self.program(&checkout).succeed()?;
        self.clean()
    }

    /// Removes what is neither tracked nor ignored. What an ignore file ignored that was removed goes with it.
    fn clean(&self) -> Result<()> {
        loop {
            let removed = self.program(&["clean", "-ffd"]).keep_all().succeed()?;
            if !removed.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end().ends_with(IGNORES)) {
                return Ok(());
            }
        }
    }

    /// Answers which of some directories are ignored with all that will ever be in them.
    fn ignored(&self, dirs: &BTreeSet<Vec<u8>>) -> Result<BTreeSet<Vec<u8>>> {
        if dirs.is_empty() {
            return Ok(BTreeSet::new());
        }
        // With a slash behind its name, a directory would count as ignored by the ignore file in it.
        let input = dirs.iter().flat_map(|dir| dir.iter().copied().chain([0])).collect();
        let asked = self.program(&["check-ignore", "-z", "--stdin"]).input(input).keep_all().run()?;
        // One is the code where none is.
        if !matches!(asked.status.code(), Some(0 | 1)) {
            return Err(asked.failure());
        }
        Ok(asked.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Records how the git program has left the checkout, which it began after `moment`; without a base where only it can
    /// move the checkout on.
    fn recorded(&self, commit: ObjectId, moment: Moment, before: Option<&Left>) -> Result<Left> {
        let mut left = Left::new(commit, moment, self.excludes());
        left.changers = before.map(|before| before.changers.clone()).unwrap_or_default();
        let number = before.and_then(|before| before.base).map_or(0, |base| base.number.wrapping_add(1));
        let (own, path) = (self.checkout.join(".git/index"), self.base_path(number));
        if !own.is_file() {
            return Ok(left);
        }
        fs::copy(&own, &path).map_err(Error::io("write", &path))?;
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let files = Index::parse(&bytes).and_then(|index| index.files());
        let Some(files) = files.filter(|_| self.is_usual()) else { return Ok(left) };
        let stat = look::stat(&path).ok_or_else(|| damaged(&self.directory))?;
        left.base = Some(Base { commit, number, stat });
        Survey::new(self, &files)?.run_all(&mut left)?;
        left.own = own_files(&self.checkout);
        Ok(left)
    }

    fn is_usual(&self) -> bool {
        let config =
            Repo::open(&self.checkout).and_then(|opened| opened.inner.config().map_err(Error::library("read")));
        let is_unusual = |(key, odd): &(&str, bool)| match &config {
            Ok(config) => config.get_bool(key).is_ok_and(|value| value == *odd),
            Err(_) => true,
        };
        !UNUSUAL.iter().any(is_unusual)
    }
}

fn damaged(directory: &Path) -> Error {
    let what = format!("the record of the scratch checkout {}", directory.display());
    Error::Integrity { what, reason: "it does not fit what is there".to_owned() }
}

#[cfg(test)]
mod tests;
