//! Finding out what really changed at the hinted paths.

mod filtered;
mod respelled;
mod submodule;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::rc::Rc;

use git2::{ObjectType, Odb, Oid};
use rustix::fs::FileType;

use self::filtered::Filtered;
use self::respelled::Respelled;
use super::attributes::{Attributes, Conversion};
use super::known::Known;
use super::sparse::KeptLocal;
use super::spelling::Spellings;
use super::{Change, ChangeKind, SaveRequest};
use crate::beneath::{self, Beneath, FileStat, Place};
use crate::git::error::{Error, Result};
use crate::git::index::{Content, Op};
use crate::git::names;
use crate::git::pack::{self, PackWriter};
use crate::git::program::Program;
use crate::git::repo::Repo;
use crate::git::tree::{
    self, BaseTree, MODE_EXECUTABLE, MODE_FILE, MODE_GITLINK, MODE_LINK, MODE_TREE, TreeEntry, canonical,
};

/// Largest file that is read into memory at once; a larger one is read twice in pieces.
const WHOLE_BYTES: u64 = 4 * 1024 * 1024;

/// One look at the working tree against a commit's tree.
pub(super) struct Scan<'a> {
    repo: &'a Repo,
    odb: &'a Odb<'a>,
    request: &'a SaveRequest<'a>,
    settings: Settings,
    attributes: Attributes,
    beneath: &'a Beneath,
    pub base: BaseTree<'a>,
    pub pack: PackWriter,
    pub found: Findings,
    seen: HashSet<Vec<u8>>,
    dirs: HashMap<Vec<u8>, Verdict>,
    converted: Vec<Converted>,
    /// What filters made of files, as far as they were asked about together.
    filtered: Filtered,
    known: Known,
    spellings: Spellings,
    respelled: Vec<Respelled>,
    /// Asked once something has changed.
    kept_local: OnceCell<KeptLocal>,
    started_s: i64,
}

/// What a scan found.
#[derive(Default)]
pub(super) struct Findings {
    pub changes: BTreeMap<Vec<u8>, (Change, Op)>,
    /// Tracked files that are not there.
    pub absent: BTreeMap<Vec<u8>, TreeEntry>,
    pub set_aside: BTreeMap<Vec<u8>, String>,
    pub unsettled: BTreeSet<Vec<u8>>,
    /// Tracked paths with a change that are never saved.
    pub excluded: Vec<Vec<u8>>,
}

impl Findings {
    /// Answers the paths at which not all is as the commit has it.
    pub fn into_paths(self) -> impl Iterator<Item = Vec<u8>> {
        let changed = self.changes.into_keys().chain(self.absent.into_keys());
        changed.chain(self.set_aside.into_keys()).chain(self.unsettled)
    }
}

/// What the configuration says about the file system.
struct Settings {
    file_mode: bool,
    symlinks: bool,
    ignore_case: bool,
}

/// Whether new files in a directory are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    Excluded,
    Nested,
}

/// A file that attributes may apply to, looked at again when all are known.
struct Converted {
    path: Vec<u8>,
    tracked: Option<TreeEntry>,
}

/// A directory entry under examination.
struct Candidate<'p> {
    path: &'p [u8],
    dir: BorrowedFd<'p>,
    name: &'p [u8],
    tracked: Option<TreeEntry>,
}

impl<'a> Scan<'a> {
    /// Prepares to compare with the tree `root`.
    pub fn new(
        repo: &'a Repo,
        odb: &'a Odb<'a>,
        request: &'a SaveRequest<'a>,
        beneath: &'a Beneath,
        root: Oid,
    ) -> Result<Self> {
        let mut config = repo.inner.config().map_err(Error::library("read the configuration"))?;
        let config = config.snapshot().map_err(Error::library("read the configuration"))?;
        let yes = |key| config.get_bool(key).unwrap_or(true);
        let settings = Settings {
            file_mode: yes("core.fileMode"),
            symlinks: yes("core.symlinks"),
            ignore_case: repo.ignores_case()?,
        };
        Ok(Self {
            repo,
            odb,
            request,
            settings,
            attributes: Attributes::new(repo, &config),
            beneath,
            base: BaseTree::new(odb, root),
            pack: repo.pack_writer(),
            found: Findings::default(),
            seen: HashSet::new(),
            dirs: HashMap::new(),
            converted: Vec::new(),
            filtered: Filtered::new(),
            known: Known::new(repo.git_dir()),
            spellings: Spellings::default(),
            respelled: Vec::new(),
            kept_local: OnceCell::new(),
            started_s: request.now_seconds,
        })
    }

    /// Reads every file, whatever the index knows of it.
    pub fn reading_all(self) -> Self {
        Self { known: Known::nothing(), ..self }
    }

    /// Compares every hinted path and what lies below it.
    pub fn run<'p>(&mut self, hints: impl IntoIterator<Item = &'p [u8]> + Clone) -> Result<()> {
        self.base.read_ahead(hints.clone().into_iter())?;
        for hint in hints {
            self.hint(hint.strip_suffix(b"/").unwrap_or(hint))?;
        }
        self.known.forget();
        self.convert()?;
        self.settle_respelled()
    }

    fn path(&mut self, path: &[u8]) -> Result<()> {
        let in_git_dir = path.split(|byte| *byte == b'/').next() == Some(b".git");
        if in_git_dir || !self.seen.insert(path.to_vec()) {
            return Ok(());
        }
        if let Some(reason) = names::refused(path) {
            self.set_aside(path, reason);
            return Ok(());
        }
        if self.settings.ignore_case && self.is_looked_at_elsewhere(path)? {
            return Ok(());
        }
        let tracked = self.base.find(path)?;
        if let Some(submodule) = tracked.as_ref().filter(|entry| entry.mode == MODE_GITLINK) {
            return self.submodule(path, submodule);
        }
        let (parent, name) = tree::split(path);
        if tracked.is_none()
            && let Some(displaced) = self.base.file_above(parent)?
        {
            self.path(displaced)?;
        }
        let dir = match self.beneath.dir(parent) {
            Ok(Place::Dir(dir)) => dir,
            Ok(Place::Gone) => return self.absent(path, tracked),
            Ok(Place::Blocked { prefix, link }) => return self.blocked(path, &path[..prefix], link),
            Err(error) => return self.unreadable(path, &error),
        };
        match beneath::stat_at(dir.as_fd(), name) {
            Ok(stat) => self.present(Candidate { path, dir: dir.as_fd(), name, tracked }, &stat),
            Err(error) if is_absence(&error) => self.absent(path, tracked),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn present(&mut self, candidate: Candidate<'_>, stat: &FileStat) -> Result<()> {
        match stat.kind {
            FileType::Directory => self.directory(&candidate),
            FileType::RegularFile | FileType::Symlink => self.file(candidate, stat),
            kind => {
                if !self.is_excluded(&candidate)? {
                    self.set_aside(candidate.path, &format!("it is a {}, not a file", kind_name(kind)));
                }
                Ok(())
            }
        }
    }

    /// A non-directory stands where a directory of the path should be.
    fn blocked(&mut self, path: &[u8], obstacle: &[u8], link: bool) -> Result<()> {
        let displaced = self.base.find(obstacle)?.is_some_and(|entry| entry.mode == MODE_TREE);
        if link && !displaced {
            self.set_aside(path, "it lies beyond a symbolic link");
        }
        self.path(obstacle)
    }

    fn absent(&mut self, path: &[u8], tracked: Option<TreeEntry>) -> Result<()> {
        let Some(entry) = tracked else { return Ok(()) };
        if entry.mode != MODE_TREE {
            self.note_absent(path.to_vec(), entry);
            return Ok(());
        }
        for file in self.base.files_below(path)? {
            if let Some(entry) = self.base.find(&file)? {
                self.note_absent(file, entry);
            }
        }
        Ok(())
    }

    fn note_absent(&mut self, path: Vec<u8>, entry: TreeEntry) {
        if !(self.request.excluded)(&path, false) {
            self.found.absent.insert(path, entry);
        }
    }

    fn directory(&mut self, candidate: &Candidate<'_>) -> Result<()> {
        let path = candidate.path;
        let verdict = self.verdict(path)?;
        if let Some(entry) = candidate.tracked.as_ref().filter(|entry| entry.mode != MODE_TREE)
            && verdict == Verdict::Open
        {
            // A directory has taken the file's place.
            self.note_absent(path.to_vec(), entry.clone());
        }
        let mut names: BTreeSet<Vec<u8>> = self.base.entries(path)?.into_iter().map(|entry| entry.name).collect();
        if verdict == Verdict::Open {
            match self.beneath.dir(path).and_then(|place| list_place(&place)) {
                Ok(listed) => names.extend(listed),
                Err(error) => return self.unreadable(path, &error),
            }
        }
        names.iter().try_for_each(|name| self.path(&tree::join(path, name)))
    }

    /// Decides about new files in `dir`, once.
    fn verdict(&mut self, dir: &[u8]) -> Result<Verdict> {
        if dir.is_empty() {
            return Ok(Verdict::Open);
        }
        if let Some(known) = self.dirs.get(dir) {
            return Ok(*known);
        }
        let verdict = match self.verdict(tree::split(dir).0)? {
            Verdict::Open if (self.request.excluded)(dir, true) => Verdict::Excluded,
            Verdict::Open if self.is_nested(dir)? => Verdict::Nested,
            above => above,
        };
        if verdict == Verdict::Nested {
            self.set_aside(dir, "it is a repository of its own");
        }
        self.dirs.insert(dir.to_vec(), verdict);
        Ok(verdict)
    }

    /// Answers whether `dir` is a repository that this one does not track files of.
    fn is_nested(&mut self, dir: &[u8]) -> Result<bool> {
        let Ok(Place::Dir(fd)) = self.beneath.dir(dir) else { return Ok(false) };
        if beneath::stat_at(fd.as_fd(), b".git").is_err() {
            return Ok(false);
        }
        Ok(self.base.find(dir)?.is_none_or(|entry| entry.mode != MODE_TREE))
    }

    fn is_excluded(&mut self, candidate: &Candidate<'_>) -> Result<bool> {
        let shut = candidate.tracked.is_none() && self.verdict(tree::split(candidate.path).0)? != Verdict::Open;
        Ok(shut || (self.request.excluded)(candidate.path, false))
    }

    fn file(&mut self, candidate: Candidate<'_>, stat: &FileStat) -> Result<()> {
        if self.is_excluded(&candidate)? {
            return Ok(());
        }
        // What counts is what goes into the repository: a filter may make less of it.
        let may_convert = stat.kind != FileType::Symlink
            && self.attributes.may_convert(candidate.path, self.beneath, &mut self.base)?;
        if self.is_too_large(stat.size) && !may_convert {
            self.too_large(candidate.path, stat.size);
            return Ok(());
        }
        if stat.kind == FileType::Symlink {
            return self.link(&candidate, stat);
        }
        if self.is_known(&candidate, stat) {
            return Ok(());
        }
        if may_convert {
            self.converted.push(Converted { path: candidate.path.to_vec(), tracked: candidate.tracked });
            return Ok(());
        }
        self.regular(&candidate, Conversion::None)
    }

    /// Answers whether the index proves that a file is as the commit has it.
    fn is_known(&mut self, candidate: &Candidate<'_>, stat: &FileStat) -> bool {
        let Some(tracked) = &candidate.tracked else { return false };
        let mode = self.mode_of(candidate, stat);
        let is_regular = matches!(mode, MODE_FILE | MODE_EXECUTABLE) && mode == canonical(tracked.mode);
        is_regular && self.known.find(candidate.path, stat) == Some((mode, tracked.oid))
    }

    fn link(&mut self, candidate: &Candidate<'_>, stat: &FileStat) -> Result<()> {
        if names::is_gitmodules(candidate.name) {
            self.set_aside(candidate.path, "git refuses a symbolic link of this name");
            return Ok(());
        }
        let read = beneath::read_link(candidate.dir, candidate.name);
        let after = beneath::stat_at(candidate.dir, candidate.name);
        match (read, after) {
            (Ok(target), Ok(after)) if after == *stat => {
                let oid = pack::hash(ObjectType::Blob, &target);
                if is_news(candidate, MODE_LINK, oid) {
                    self.pack.add(ObjectType::Blob, &target)?;
                }
                self.record(candidate, MODE_LINK, oid, stat)
            }
            (Err(error), _) | (_, Err(error)) => self.unreadable(candidate.path, &error),
            _ => self.unsettled(candidate.path),
        }
    }

    fn regular(&mut self, candidate: &Candidate<'_>, conversion: Conversion) -> Result<()> {
        let opened = beneath::open_file(candidate.dir, candidate.name);
        let opened = opened.and_then(|file| Ok((FileStat::of_open(&file)?, file)));
        let (before, file) = match opened {
            Ok(opened) => opened,
            // It was replaced since it was looked at.
            Err(error) if is_absence(&error) || error.raw_os_error() == Some(libc::ELOOP) => {
                return self.unsettled(candidate.path);
            }
            Err(error) => return self.unreadable(candidate.path, &error),
        };
        if before.kind != FileType::RegularFile {
            return self.unsettled(candidate.path);
        }
        if self.is_too_large(before.size) && conversion != Conversion::Program {
            self.too_large(candidate.path, before.size);
            return Ok(());
        }
        let mode = self.mode_of(candidate, &before);
        let stored = match conversion {
            Conversion::None if before.size > WHOLE_BYTES => self.store_large(candidate, mode, &file, before.size),
            Conversion::None => self.store_whole(candidate, mode, &file, before.size),
            Conversion::LineEnds { guessed } => self.store_text(candidate, &file, &before, guessed),
            Conversion::Program => self.store_converted(candidate, &file, &before),
        };
        match stored {
            Ok(Some(oid)) if FileStat::of_open(&file).is_ok_and(|after| after == before) => {
                self.record(candidate, mode, oid, &before)
            }
            Ok(_) => self.unsettled(candidate.path),
            Err(Failure::Read(error)) => self.unreadable(candidate.path, &error),
            Err(Failure::Conversion(reason) | Failure::Refused(reason)) => {
                self.set_aside(candidate.path, &reason);
                Ok(())
            }
            Err(Failure::Fatal(error)) => Err(error),
        }
    }

    /// Answers git's mode for a regular file.
    fn mode_of(&self, candidate: &Candidate<'_>, stat: &FileStat) -> u32 {
        let tracked = candidate.tracked.as_ref().map(|entry| entry.mode).filter(|mode| *mode != MODE_TREE);
        match tracked {
            Some(MODE_LINK) if !self.settings.symlinks => MODE_LINK,
            Some(mode) if !self.settings.file_mode && mode != MODE_LINK => canonical(mode),
            _ if self.settings.file_mode && stat.executable() => MODE_EXECUTABLE,
            _ => MODE_FILE,
        }
    }

    fn store_whole(&mut self, candidate: &Candidate<'_>, mode: u32, file: &File, size: u64) -> Stored {
        let Some(bytes) = read_whole(file, size)? else { return Ok(None) };
        self.store_bytes(candidate, mode, &bytes)
    }

    fn store_bytes(&mut self, candidate: &Candidate<'_>, mode: u32, bytes: &[u8]) -> Stored {
        let oid = pack::hash(ObjectType::Blob, bytes);
        if is_news(candidate, mode, oid) {
            self.inspect(candidate, bytes)?;
            self.pack.add(ObjectType::Blob, bytes)?;
        }
        Ok(Some(oid))
    }

    /// Answers of which paths the user wants to keep edits to themselves.
    pub fn kept_local(&self) -> Result<&KeptLocal> {
        if self.kept_local.get().is_none() {
            // It cannot have been set since.
            let _ = self.kept_local.set(self.repo.kept_local()?);
        }
        Ok(self.kept_local.get_or_init(KeptLocal::default))
    }

    /// Answers whether that was found to be the reason for setting `path` aside.
    pub fn is_kept_local(&self, path: &[u8]) -> bool {
        self.kept_local.get().is_some_and(|kept| kept.reason(path).is_some())
    }

    /// Lets the one who wishes to save look at new content, unless the user keeps it to themselves.
    fn inspect(&self, candidate: &Candidate<'_>, bytes: &[u8]) -> std::result::Result<(), Failure> {
        if let Some(reason) = self.kept_local()?.reason(candidate.path) {
            return Err(Failure::Refused(reason));
        }
        // What cannot be read counts as nothing, so that all of the new content is looked at.
        let committed = || self.tracked_bytes(candidate).ok().flatten();
        (self.request.inspect)(candidate.path, bytes, &committed).map_or(Ok(()), |reason| Err(Failure::Refused(reason)))
    }

    fn store_large(&mut self, candidate: &Candidate<'_>, mode: u32, mut file: &File, size: u64) -> Stored {
        let Some(oid) = pack::hash_large(size, &mut file)? else { return Ok(None) };
        if is_news(candidate, mode, oid) {
            if let Some(reason) = self.kept_local()?.reason(candidate.path) {
                return Err(Failure::Refused(reason));
            }
            file.seek(SeekFrom::Start(0))?;
            return Ok(self.pack.add_large(size, &mut file, oid)?.then_some(oid));
        }
        Ok(Some(oid))
    }

    /// Stores a file whose CRLF become LF; without any it is stored as it is.
    fn store_text(&mut self, candidate: &Candidate<'_>, mut file: &File, before: &FileStat, guessed: bool) -> Stored {
        let Some(bytes) = read_whole(file, before.size)? else { return Ok(None) };
        let has_crlf = |bytes: &[u8]| bytes.windows(2).any(|pair| pair == b"\r\n");
        // Git leaves a file alone that was committed with CRLF, unless it is declared to be text.
        let stays = guessed && self.tracked_bytes(candidate)?.is_some_and(|bytes| has_crlf(&bytes));
        if stays || !has_crlf(&bytes) {
            let mode = self.mode_of(candidate, before);
            return self.store_bytes(candidate, mode, &bytes);
        }
        file.seek(SeekFrom::Start(0))?;
        self.store_converted(candidate, file, before)
    }

    fn tracked_bytes(&self, candidate: &Candidate<'_>) -> Result<Option<Vec<u8>>> {
        let Some(entry) = candidate.tracked.as_ref().filter(|entry| entry.mode != MODE_TREE) else { return Ok(None) };
        let blob = self.odb.read(entry.oid).map_err(Error::library(format!("read blob {}", entry.oid)))?;
        Ok(Some(blob.data().to_vec()))
    }

    fn store_converted(&mut self, candidate: &Candidate<'_>, file: &File, before: &FileStat) -> Stored {
        let oid = match self.filtered.get(candidate.path) {
            Some((seen, oid)) if seen == before => *oid,
            _ => self.convert_alone(candidate, file)?,
        };
        if candidate.tracked.as_ref().is_none_or(|entry| entry.oid != oid) {
            let header = self.odb.read_header(oid).map_err(Error::library(format!("look at blob {oid}")))?;
            if self.is_too_large(header.0 as u64) {
                let limit = self.request.max_file_bytes;
                return Err(Failure::Refused(format!(
                    "its filter makes {} bytes of it; the limit is {limit}",
                    header.0
                )));
            }
            let blob = self.odb.read(oid).map_err(Error::library(format!("read blob {oid}")))?;
            self.inspect(candidate, blob.data())?;
            self.pack.add(ObjectType::Blob, blob.data())?;
        }
        Ok(Some(oid))
    }

    /// Lets git store one file in the form that its attributes ask for.
    fn convert_alone(&self, candidate: &Candidate<'_>, file: &File) -> std::result::Result<Oid, Failure> {
        let path = OsString::from_vec([b"--path=", candidate.path].concat());
        let arguments = ["hash-object".into(), "-w".into(), "--stdin".into(), path];
        let printed = Program::saving(self.repo, arguments).input_file(file.try_clone()?).succeed();
        let printed = match printed {
            Err(Error::Program { message, .. }) => return Err(Failure::Conversion(message)),
            printed => printed?,
        };
        let oid = std::str::from_utf8(printed.trim_ascii()).ok().and_then(|text| Oid::from_str(text).ok());
        oid.ok_or_else(|| Failure::Conversion("git answered no object id".to_owned()))
    }

    /// Examines the files that attributes may apply to.
    fn convert(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.converted);
        if waiting.is_empty() {
            return Ok(());
        }
        let paths: Vec<&[u8]> = waiting.iter().map(|file| file.path.as_slice()).collect();
        let conversions = self.attributes.conversions(self.repo.root(), &paths)?;
        let by_program = paths.iter().zip(&conversions).filter(|(_, conversion)| **conversion == Conversion::Program);
        self.filtered = self.filter_at_once(by_program.map(|(path, _)| *path))?;
        for (file, conversion) in waiting.into_iter().zip(conversions) {
            let (parent, name) = tree::split(&file.path);
            let Ok(Place::Dir(dir)) = self.beneath.dir(parent) else {
                self.found.unsettled.insert(file.path);
                continue;
            };
            let dir = Rc::clone(&dir);
            let candidate = Candidate { path: &file.path, dir: dir.as_fd(), name, tracked: file.tracked };
            self.regular(&candidate, conversion)?;
        }
        Ok(())
    }

    fn record(&mut self, candidate: &Candidate<'_>, mode: u32, oid: Oid, stat: &FileStat) -> Result<()> {
        let path = candidate.path;
        let kind = match &candidate.tracked {
            Some(entry) if entry.mode == MODE_TREE => {
                for file in self.base.files_below(path)? {
                    let before = self.base.find(&file)?.map(|entry| entry.oid);
                    self.delete(file, before);
                }
                ChangeKind::Added
            }
            Some(entry) if entry.oid == oid && canonical(entry.mode) == mode => return Ok(()),
            Some(entry) if entry.oid == oid && (mode == MODE_LINK) == (entry.mode == MODE_LINK) => {
                ChangeKind::ModeChanged
            }
            Some(_) => ChangeKind::Modified,
            None => ChangeKind::Added,
        };
        if let Some(reason) = self.kept_local()?.reason(path) {
            self.set_aside(path, &reason);
            return Ok(());
        }
        let recent = stat.ctime.0.max(stat.mtime.0) + 1 >= self.started_s;
        let change = Change { path: path.to_vec(), kind, bytes: stat.size };
        let before = candidate.tracked.as_ref().filter(|entry| entry.mode != MODE_TREE).map(|entry| entry.oid);
        let op = Op::Put(Content { mode, oid, before, stat: Some(*stat), recent, left_out: false });
        self.found.changes.insert(path.to_vec(), (change, op));
        Ok(())
    }

    /// Notes that a tracked file, whose content was `before`, is deleted.
    pub fn delete(&mut self, path: Vec<u8>, before: Option<Oid>) {
        self.found.absent.remove(&path);
        let change = Change { path: path.clone(), kind: ChangeKind::Deleted, bytes: 0 };
        self.found.changes.insert(path, (change, Op::Drop { before }));
    }

    /// Answers whether something is saved below `path`, where that is no directory in the commit.
    pub fn is_displaced(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        self.found.changes.range(below.clone()..).next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    fn is_too_large(&self, bytes: u64) -> bool {
        bytes > self.request.max_file_bytes
    }

    fn too_large(&mut self, path: &[u8], bytes: u64) {
        let limit = self.request.max_file_bytes;
        self.set_aside(path, &format!("it has {bytes} bytes; the limit is {limit}"));
    }

    pub fn set_aside(&mut self, path: &[u8], reason: &str) {
        self.found.set_aside.insert(path.to_vec(), reason.to_owned());
    }

    fn unreadable(&mut self, path: &[u8], error: &io::Error) -> Result<()> {
        self.set_aside(path, &format!("it cannot be read: {error}"));
        Ok(())
    }

    fn unsettled(&mut self, path: &[u8]) -> Result<()> {
        self.found.unsettled.insert(path.to_vec());
        Ok(())
    }
}

/// Answer of storing a file: its blob; none when it changed meanwhile.
type Stored = std::result::Result<Option<Oid>, Failure>;

/// Why a file was not stored.
enum Failure {
    Read(io::Error),
    Conversion(String),
    Refused(String),
    Fatal(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// Reads exactly `size` bytes; none when the file has another length by now.
fn read_whole(file: &File, size: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(io::Error::other)? + 1);
    file.take(size + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == size).then_some(bytes))
}

fn is_news(candidate: &Candidate<'_>, mode: u32, oid: Oid) -> bool {
    candidate.tracked.as_ref().is_none_or(|entry| entry.oid != oid || (mode == MODE_LINK) != (entry.mode == MODE_LINK))
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn list_place(place: &Place) -> io::Result<Vec<Vec<u8>>> {
    match place {
        Place::Dir(dir) => beneath::list(dir.as_fd()),
        _ => Ok(Vec::new()),
    }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special thing",
    }
}
