//! Moving a scratch checkout by the difference of two commits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;

use git2::{Odb, Oid};

use super::left::{Left, Moment, Moved};
use super::look::{Findings, files_of, own_files};
use super::mover::Mover;
use super::survey::{Survey, restamp};
use super::{IGNORES, Scratch, damaged};
use crate::base::id::ObjectId;
use crate::git::branch::oid;
use crate::git::difference::Difference;
use crate::git::error::{Error, Result};
use crate::git::index::{Content, Index, Op, Patch, Patched};
use crate::git::program::Program;
use crate::git::save::attributes::Attributes;
use crate::git::tree::{BaseTree, Edit, MODE_GITLINK, MODE_LINK, split};

/// More files whose content a filter or line ends change are left to the git program.
const CONVERTED_LIMIT_FILES: usize = 20;
/// Larger files are, too: it need not have them in memory.
const FILE_LIMIT_BYTES: usize = 64 << 20;
const ATTRIBUTES: &[u8] = b".gitattributes";

/// A base and what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Indexed<'i> {
    pub odb: &'i Odb<'i>,
    pub index: &'i Index<'i>,
    pub bytes: &'i [u8],
}

impl Indexed<'_> {
    /// Answers the index for the files that a record tells of, which are those of `commit`.
    pub fn patched(&self, scratch: &Scratch<'_>, left: &Left, commit: ObjectId) -> Result<Patched> {
        let base = left.base.ok_or_else(|| damaged(&scratch.directory))?;
        let difference = match base.commit == commit {
            true => Difference::default(),
            false => scratch.difference(self.odb, base.commit, commit)?,
        };
        let op = |(path, moved): (&'_ Vec<u8>, &Option<Moved>)| {
            let same = || moved.map(|moved| moved.oid);
            let before = difference.files.get(path).map_or_else(same, |(old, _)| old.map(|old| old.1));
            match *moved {
                None => Op::Drop { before },
                Some(Moved { mode, oid, stat }) => {
                    Op::Put(Content { mode, oid, before, stat: Some(stat), recent: false, left_out: false })
                }
            }
        };
        let ops: BTreeMap<&[u8], Op> = left.moved.iter().map(|moved| (moved.0.as_slice(), op(moved))).collect();
        let counts: BTreeMap<&[u8], i64> = difference.counts().collect();
        // What changed in the tick in which it was looked at is looked at again: no entry is smudged for it.
        let (index_mtime, unchanged) = ((i64::MAX, 0), &|_: &[u8], _, _| true);
        let patch = Patch { ops: &ops, dirs: &difference.dirs, counts: &counts, index_mtime, unchanged };
        Ok(self.index.patched(&patch))
    }
}

/// A way from how the checkout was found to a commit.
pub(super) struct Move<'m> {
    pub scratch: &'m Scratch<'m>,
    pub base: Indexed<'m>,
    pub findings: Findings,
    /// What a killed move may have brought; all of it goes, or becomes what the record says.
    pub brought: BTreeSet<Vec<u8>>,
    pub moment: Moment,
}

impl Move<'_> {
    /// Brings the checkout from how it was left to `commit`; answers how it is left then, and whether all files that were
    /// looked at were as they had been left.
    pub fn run(mut self, left: Left, commit: ObjectId) -> Result<(Left, bool)> {
        self.settle_doubts()?;
        let is_untouched = self.findings.files.is_empty();
        Ok((self.bring(left, commit)?, is_untouched))
    }

    fn bring(&self, mut left: Left, commit: ObjectId) -> Result<Left> {
        let mover = Mover::new(&self.scratch.checkout, self.scratch.path("aside"))?;
        self.prepare(&left, &mover)?;
        let difference = match self.scratch.difference(self.base.odb, left.commit, commit) {
            Ok(difference) => difference,
            // The old commit is in no branch any more and was cleared away; git goes by the index then.
            Err(_) => return self.run_program(left, &mover, false, commit),
        };
        let edits = self.edits(&difference);
        let Some(converted) = self.converted(&mover, &difference, &edits, commit)? else {
            return self.run_program(left, &mover, difference.touches(ATTRIBUTES), commit);
        };
        let contents = Contents { scratch: self.scratch, odb: self.base.odb, converted };
        self.apply(&mut left, &mover, &contents, &edits)?;
        let findings = &self.findings;
        if !edits.is_empty() || left.commit != commit || findings.is_git_changed || findings.is_index_changed {
            self.write_git(&left, &mover, commit, commit)?;
        }
        left.commit = commit;
        self.conclude(left, &mover, &edits, findings.has_new_rules || difference.touches(IGNORES))
    }

    /// Asks git about files whose content is another than that of their blobs: filters and line ends may have done that.
    fn settle_doubts(&mut self) -> Result<()> {
        let findings = &mut self.findings;
        let are_attributes_sure = !findings.files.keys().any(|path| split(path).1 == ATTRIBUTES);
        if !are_attributes_sure || findings.has_strangers || findings.is_git_changed {
            return Ok(());
        }
        let asked: Vec<&Vec<u8>> = findings.doubtful.iter().filter(|path| !path.contains(&b'\n')).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let input = asked.iter().flat_map(|path| path.iter().copied().chain([b'\n'])).collect();
        let answer = self.scratch.program(&["hash-object", "--stdin-paths"]).input(input).keep_all().run()?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        for (path, blob) in asked.into_iter().zip(answer.lines()) {
            if findings.files.get(path).is_some_and(|(_, oid)| oid.to_string() == blob) {
                findings.files.remove(path);
            }
        }
        Ok(())
    }

    /// Puts right what has a say in what follows: git's own files, attributes and ignore rules, and what is ignored by none.
    fn prepare(&self, left: &Left, mover: &Mover<'_>) -> Result<()> {
        let findings = &self.findings;
        findings.dirs.iter().for_each(|dir| mover.permit(dir));
        if findings.is_git_changed {
            self.scratch.renew_git()?;
            mover.beneath().forget();
        }
        let rules = findings.files.iter().filter(|(path, _)| [ATTRIBUTES, IGNORES].contains(&split(path).1));
        for (path, (mode, blob)) in rules {
            let content = self.base.odb.read(*blob).map_err(Error::library(format!("read blob {blob}")))?;
            mover.put(path, *mode, content.data())?;
        }
        for path in &self.brought {
            mover.remove(path)?;
        }
        if findings.has_strangers {
            if findings.is_git_changed || findings.is_index_changed {
                self.write_git(left, mover, left.commit, left.commit)?;
            }
            self.scratch.clean()?;
        }
        Ok(())
    }

    /// Answers what becomes of each path.
    fn edits(&self, difference: &Difference) -> BTreeMap<Vec<u8>, Edit> {
        let mut edits: BTreeMap<Vec<u8>, Edit> =
            difference.files.iter().map(|(path, (_, new))| (path.clone(), *new)).collect();
        for (path, file) in &self.findings.files {
            edits.entry(path.clone()).or_insert(Some(*file));
        }
        edits
    }

    /// Answers which of the files that come have another form than their blobs; none where the git program knows best.
    fn converted(
        &self,
        mover: &Mover<'_>,
        difference: &Difference,
        edits: &BTreeMap<Vec<u8>, Edit>,
        commit: ObjectId,
    ) -> Result<Option<BTreeSet<Vec<u8>>>> {
        let is_other = |edit: &Edit| edit.is_some_and(|(mode, _)| mode == MODE_GITLINK);
        let is_large = |edit: &Edit| edit.is_some_and(|(_, blob)| self.is_large(blob));
        if difference.touches(ATTRIBUTES) || edits.values().any(|edit| is_other(edit) || is_large(edit)) {
            return Ok(None);
        }
        // The checkout has no settings that the repository does not have; git itself is asked in the checkout.
        let repo = self.scratch.repo;
        let config = repo.inner.config().and_then(|mut config| config.snapshot());
        let config = config.map_err(Error::library("read the configuration"))?;
        let tree = oid(repo.tree_of(commit)?)?;
        let (mut attributes, mut tree) = (Attributes::new(repo, &config), BaseTree::new(self.base.odb, tree));
        let mut asked: Vec<&[u8]> = Vec::new();
        for (path, _) in edits.iter().filter(|(_, edit)| edit.is_some_and(|(mode, _)| mode != MODE_LINK)) {
            if attributes.may_convert(path, mover.beneath(), &mut tree)? {
                asked.push(path);
            }
        }
        if asked.is_empty() {
            return Ok(Some(BTreeSet::new()));
        }
        let is_crlf = config.get_bool("core.autocrlf").unwrap_or(false)
            || config.get_string("core.eol").is_ok_and(|eol| eol.eq_ignore_ascii_case("crlf"));
        let converted = attributes.converted(&self.scratch.checkout, &asked, is_crlf)?;
        let converted: BTreeSet<Vec<u8>> = converted.into_iter().map(<[u8]>::to_vec).collect();
        Ok((converted.len() <= CONVERTED_LIMIT_FILES).then_some(converted))
    }

    /// What cannot be asked about is not there, which reading it tells.
    fn is_large(&self, blob: Oid) -> bool {
        self.base.odb.read_header(blob).is_ok_and(|(size, _)| size > FILE_LIMIT_BYTES)
    }

    /// Changes the files, and the record with them.
    fn apply(
        &self,
        left: &mut Left,
        mover: &Mover<'_>,
        contents: &Contents<'_>,
        edits: &BTreeMap<Vec<u8>, Edit>,
    ) -> Result<()> {
        // What goes makes room for what comes.
        for (path, _) in edits.iter().filter(|(_, edit)| edit.is_none()) {
            mover.remove(path)?;
            left.moved.insert(path.clone(), None);
        }
        for (path, edit) in edits {
            let Some((mode, blob)) = *edit else { continue };
            let stat = mover.put(path, mode, &contents.of(path, mode, blob)?)?;
            left.moved.insert(path.clone(), Some(Moved { mode, oid: blob, stat }));
        }
        Ok(())
    }

    /// Gives git the index of the record, for the files of `commit`, and says that `head` is checked out.
    fn write_git(&self, left: &Left, mover: &Mover<'_>, commit: ObjectId, head: ObjectId) -> Result<()> {
        let index = self.base.patched(self.scratch, left, commit)?;
        mover.put_own("index", |file| index.write_to(self.base.bytes, file).map(drop))?;
        mover.put_own("HEAD", |mut file| file.write_all(format!("{head}\n").as_bytes()))
    }

    /// The git program knows what attributes that changed and other repositories inside this one mean.
    fn run_program(&self, left: Left, mover: &Mover<'_>, everything: bool, commit: ObjectId) -> Result<Left> {
        // It goes by the index, and a check may have told it there to look away.
        self.write_git(&left, mover, left.commit, commit)?;
        if everything {
            // Without an index it writes every file again, those too that only look different now.
            let index = self.scratch.checkout.join(".git/index");
            fs::remove_file(&index).map_err(Error::io("delete", index))?;
        }
        self.scratch.move_by_program(commit)?;
        self.scratch.recorded(commit, self.moment, Some(&left))
    }

    /// Records how everything but the files is left.
    fn conclude(
        &self,
        mut left: Left,
        mover: &Mover<'_>,
        edits: &BTreeMap<Vec<u8>, Edit>,
        has_new_rules: bool,
    ) -> Result<Left> {
        let mut changed: BTreeSet<Vec<u8>> = self.findings.dirs.iter().cloned().chain([Vec::new()]).collect();
        changed.extend(edits.keys().chain(&self.brought).flat_map(|path| above(path)));
        if has_new_rules {
            self.scratch.clean()?;
        }
        if has_new_rules || self.findings.has_strangers {
            let known = left.clone();
            let files = files_of(self.base.index, &known).ok_or_else(|| damaged(&self.scratch.directory))?;
            let survey = Survey::new(self.scratch, &files)?;
            if has_new_rules { survey.run_all(&mut left)? } else { survey.run(&mut left, changed)? }
        } else {
            let failed = Error::io("look at", &self.scratch.checkout);
            changed.iter().try_for_each(|dir| restamp(mover.beneath(), &mut left, dir)).map_err(failed)?;
        }
        left.own = own_files(&self.scratch.checkout);
        Ok(self.scratch.dated(left, self.moment))
    }
}

impl Difference {
    fn touches(&self, name: &[u8]) -> bool {
        self.files.keys().any(|path| split(path).1 == name)
    }

    /// Answers each path that is added (1) or deleted (-1).
    fn counts(&self) -> impl Iterator<Item = (&[u8], i64)> {
        let count = |(old, new): &(Edit, Edit)| i64::from(new.is_some()) - i64::from(old.is_some());
        self.files.iter().map(move |(path, edits)| (path.as_slice(), count(edits))).filter(|(_, count)| *count != 0)
    }
}

/// Answers the directories that a path is in, the top included.
fn above(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    std::iter::successors(Some(split(path).0), |dir| (!dir.is_empty()).then(|| split(dir).0)).map(<[u8]>::to_vec)
}

/// The content of files as a checkout has it.
struct Contents<'c> {
    scratch: &'c Scratch<'c>,
    odb: &'c Odb<'c>,
    converted: BTreeSet<Vec<u8>>,
}

impl Contents<'_> {
    fn of(&self, path: &[u8], mode: u32, blob: Oid) -> Result<Vec<u8>> {
        if mode != MODE_LINK && self.converted.contains(path) {
            let path = std::ffi::OsString::from_vec([b"--path=", path].concat());
            let arguments = ["cat-file".into(), "--filters".into(), path, blob.to_string().into()];
            let checkout = &self.scratch.checkout;
            return Program::at(checkout, arguments).env("GIT_DIR", checkout.join(".git")).keep_all().succeed();
        }
        Ok(self.odb.read(blob).map_err(Error::library(format!("read blob {blob}")))?.data().to_vec())
    }
}
