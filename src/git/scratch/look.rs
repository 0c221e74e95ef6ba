//! Looking at a scratch checkout: what is not as it was left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use git2::{ObjectType, Oid};
use rustix::fs::{CWD, FileType};

use super::left::{Left, Moment, Stats, boot};
use crate::beneath::{Beneath, FileStat, Place, list, open_file, read_link, stat_at};
use crate::git::error::{Error, Result};
use crate::git::index::{Index, Known, kept_times};
use crate::git::pack;
use crate::git::parts::in_parts;
use crate::git::tree::{MODE_EXECUTABLE, MODE_LINK, join, split};

/// What git may write into its own directory without changing what it does there.
const UNIMPORTANT: [&str; 8] =
    ["logs", "lfs", "modules", "FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "gc.log", "description"];
/// Files that one thread looks at; fewer are not worth another.
const FILES_PER_THREAD: usize = 4_000;

/// What was found to be not as it was left.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Files of the commit that were written, replaced or removed, with the mode and blob that they shall have.
    pub files: BTreeMap<Vec<u8>, (u32, Oid)>,
    /// Those of them that may be right: only their content is another than that of their blobs.
    pub doubtful: BTreeSet<Vec<u8>>,
    /// Directories in which something appeared or vanished, or that vanished themselves.
    pub dirs: BTreeSet<Vec<u8>>,
    /// Whether something changed so short before it was looked at that it has to be looked at again.
    pub has_recent: bool,
    /// Whether something is there that neither the commit has nor is known to be ignored.
    pub has_strangers: bool,
    /// Whether other files may be ignored now.
    pub has_new_rules: bool,
    /// Whether git's own files changed.
    pub is_git_changed: bool,
    /// Whether git wrote its index.
    pub is_index_changed: bool,
}

/// One look.
pub(super) struct Look<'l> {
    checkout: &'l Path,
    beneath: Beneath,
    left: &'l Left,
    files: Vec<Known<'l>>,
    /// Whether times prove nothing: the machine may have lost what it had written.
    by_content: bool,
}

/// Lists the files that the checkout has; none where the index is none that can be read here.
pub(super) fn files_of<'l>(base: &Index<'l>, left: &'l Left) -> Option<Vec<Known<'l>>> {
    let mut files = base.files()?;
    if !left.moved.is_empty() {
        files.retain(|file| !left.moved.contains_key(file.name));
        let moved = left.moved.iter().filter_map(|(name, moved)| Some((name, (*moved)?)));
        files.extend(moved.map(|(name, moved)| {
            let times = kept_times(&moved.stat);
            Known { name, mode: moved.mode, oid: moved.oid, times }
        }));
        files.sort_unstable_by_key(|file| file.name);
    }
    Some(files)
}

/// Answers whether all but the files is certainly as it was left: names that came or went show in their directories.
pub(super) fn is_quiet(checkout: &Path, left: &Left) -> Result<bool> {
    if left.boot.is_empty() || left.boot != boot() {
        return Ok(false);
    }
    let mut findings = Findings::default();
    let beneath = Beneath::open_real(checkout).map_err(Error::io("open", checkout))?;
    look_at_git(checkout, left, &mut findings);
    look_at_dirs(&beneath, left, &mut findings).map_err(Error::io("look at", checkout))?;
    let Findings { dirs, has_recent, has_new_rules, is_git_changed, is_index_changed, .. } = findings;
    Ok(dirs.is_empty() && !(has_recent || has_new_rules || is_git_changed || is_index_changed))
}

fn look_at_git(checkout: &Path, left: &Left, findings: &mut Findings) {
    const INDEX: &[u8] = b"index";
    let now = own_files(checkout);
    let is_still = |path: &[u8]| match (left.own.get(path), now.get(path)) {
        (Some(before), Some(now)) => now.is_still(before),
        (before, now) => before.is_none() && now.is_none(),
    };
    findings.is_index_changed = !is_still(INDEX);
    let mut all = left.own.keys().chain(now.keys()).filter(|path| path.as_slice() != INDEX);
    findings.is_git_changed = !all.all(|path| is_still(path));
}

fn look_at_dirs(beneath: &Beneath, left: &Left, findings: &mut Findings) -> io::Result<BTreeSet<Vec<u8>>> {
    let Place::Dir(top) = beneath.dir(b"")? else { return Ok(BTreeSet::new()) };
    let stat = |path: &[u8]| stat_at(top.as_fd(), if path.is_empty() { b"." } else { path }).ok();
    let mut recent = BTreeSet::new();
    for (path, before) in &left.dirs {
        match stat(path) {
            Some(now) if now.is_still(before) => {
                if left.moment.is_about(now.ctime) {
                    recent.insert(path.clone());
                }
                continue;
            }
            Some(now) => findings.has_strangers |= now.kind != FileType::Directory,
            None => {}
        }
        findings.dirs.insert(path.clone());
    }
    findings.has_recent = !recent.is_empty();
    findings.has_new_rules =
        left.rules.iter().any(|(path, before)| !stat(path).is_some_and(|now| now.is_still(before)));
    Ok(recent)
}

impl<'l> Look<'l> {
    /// Opens the checkout, which was left with these `files`.
    pub fn new(checkout: &'l Path, left: &'l Left, files: Vec<Known<'l>>) -> Result<Self> {
        let beneath = Beneath::open_real(checkout).map_err(Error::io("open", checkout))?;
        let by_content = left.boot.is_empty() || left.boot != boot();
        Ok(Self { checkout, beneath, left, files, by_content })
    }

    /// Finds what changed.
    pub fn run(&self) -> Result<Findings> {
        let mut findings = Findings::default();
        look_at_git(self.checkout, self.left, &mut findings);
        let failed = || Error::io("look at", self.checkout);
        let recent = look_at_dirs(&self.beneath, self.left, &mut findings).map_err(failed())?;
        self.look_at_files(&mut findings);
        if !findings.has_strangers {
            findings.has_strangers = self.has_strangers(recent.union(&findings.dirs)).map_err(failed())?;
        }
        Ok(findings)
    }

    fn look_at_files(&self, findings: &mut Findings) {
        let (checkout, moment, by_content) = (self.checkout, self.left.moment, self.by_content);
        let look = |files| FilesLook { checkout, moment, by_content, files }.run();
        for (files, look) in in_parts(&self.files, FILES_PER_THREAD, look) {
            // Where nothing could be opened, nothing is known to be unchanged.
            let found = look.unwrap_or_else(|| Changed { files: files.iter().collect(), ..Changed::default() });
            findings.has_recent |= found.has_recent;
            findings.doubtful.extend(found.doubtful.iter().map(|file| file.name.to_vec()));
            let all = found.files.iter().chain(&found.doubtful);
            findings.files.extend(all.map(|file| (file.name.to_vec(), (file.mode, file.oid))));
        }
    }

    fn has_strangers<'d>(&self, mut dirs: impl Iterator<Item = &'d Vec<u8>>) -> io::Result<bool> {
        let is_strange = |dir: &Vec<u8>| {
            let Place::Dir(fd) = self.beneath.dir(dir)? else { return Ok(false) };
            let names = list(fd.as_fd())?;
            let is_known = |name: &Vec<u8>| self.is_known(&join(dir, name), fd.as_fd(), name);
            let is_empty = names.is_empty() && !dir.is_empty() && !self.has_below(dir);
            Ok(is_empty || !names.iter().all(is_known))
        };
        // The first that cannot be listed ends it, too.
        let found = dirs.find_map(|dir| is_strange(dir).map(|strange| strange.then_some(())).transpose());
        found.transpose().map(|found| found.is_some())
    }

    fn is_known(&self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> bool {
        let is_dir = || stat_at(dir, name).is_ok_and(|found| found.kind == FileType::Directory);
        path == b".git"
            || self.left.dirs.contains_key(path)
            || self.files.binary_search_by_key(&path, |file| file.name).is_ok()
            || (self.left.kept.contains(path) && !is_dir())
            || (self.left.kept.contains(&join(path, b"")) && is_dir())
    }

    fn has_below(&self, dir: &[u8]) -> bool {
        let prefix = join(dir, b"");
        let at = self.files.partition_point(|file| file.name < prefix.as_slice());
        self.files.get(at).is_some_and(|file| file.name.starts_with(&prefix))
    }
}

/// The files that changed among some.
#[derive(Default)]
struct Changed<'f> {
    files: Vec<&'f Known<'f>>,
    doubtful: Vec<&'f Known<'f>>,
    has_recent: bool,
}

/// A look at some of the files.
struct FilesLook<'f> {
    checkout: &'f Path,
    moment: Moment,
    by_content: bool,
    files: &'f [Known<'f>],
}

impl<'f> FilesLook<'f> {
    /// Files of one directory mostly follow each other: it is opened once.
    fn run(&self) -> Option<Changed<'f>> {
        let beneath = Beneath::open_real(self.checkout).ok()?;
        let mut changed = Changed::default();
        let mut open: Option<(&[u8], Option<Rc<OwnedFd>>)> = None;
        for file in self.files {
            let (dir, name) = split(file.name);
            let fd = match &open {
                Some((at, fd)) if *at == dir => fd,
                _ => {
                    let opened = match beneath.dir(dir) {
                        Ok(Place::Dir(fd)) => Some(fd),
                        _ => None,
                    };
                    &open.insert((dir, opened)).1
                }
            };
            match fd {
                Some(fd) => self.look(file, fd.as_fd(), name, &mut changed),
                None => changed.files.push(file),
            }
        }
        Some(changed)
    }

    fn look(&self, file: &'f Known<'f>, dir: BorrowedFd<'_>, name: &[u8], changed: &mut Changed<'f>) {
        let Some(stat) = stat_at(dir, name).ok().filter(|stat| is_as_left(file, stat)) else {
            return changed.files.push(file);
        };
        let is_recent = self.moment.is_about(stat.ctime);
        changed.has_recent |= is_recent;
        if (is_recent || self.by_content) && content(file, dir, name) != Some(file.oid) {
            changed.doubtful.push(file);
        }
    }
}

/// Answers whether a file is the one of the index, unwritten since.
fn is_as_left(file: &Known<'_>, stat: &FileStat) -> bool {
    let is_kind = match (file.mode, stat.kind) {
        (MODE_LINK, kind) => kind == FileType::Symlink,
        (mode, FileType::RegularFile) => stat.executable() == (mode == MODE_EXECUTABLE),
        _ => false,
    };
    is_kind && file.times == kept_times(stat)
}

/// Names the content of a file as a blob.
fn content(file: &Known<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Option<Oid> {
    if file.mode == MODE_LINK {
        return Some(pack::hash(ObjectType::Blob, &read_link(dir, name).ok()?));
    }
    let mut opened = open_file(dir, name).ok()?;
    let size = FileStat::of_open(&opened).ok()?.size;
    pack::hash_large(size, &mut opened).ok()?
}

/// Answers how git's own files in a checkout are; nothing where git's directory is none.
pub(super) fn own_files(checkout: &Path) -> Stats {
    let git = checkout.join(".git");
    let mut found = Stats::new();
    let is_real = git.symlink_metadata().is_ok_and(|found| found.is_dir());
    let mut waiting: Vec<PathBuf> = is_real.then(PathBuf::new).into_iter().collect();
    while let Some(dir) = waiting.pop() {
        // What cannot be listed differs from what was left, or was not listed then either.
        for entry in fs::read_dir(git.join(&dir)).into_iter().flatten().flatten() {
            let path = dir.join(entry.file_name());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if UNIMPORTANT.iter().any(|name| path == Path::new(name)) {
                continue;
            }
            match is_dir {
                true if path == Path::new("objects") => waiting.push(path.join("info")),
                true => waiting.push(path),
                // What else is there speeds git up and says nothing.
                false if path.starts_with("objects") && !path.ends_with("alternates") => {}
                false => found.extend(stat(&git.join(&path)).map(|stat| (path.as_os_str().as_bytes().to_vec(), stat))),
            }
        }
    }
    found
}

/// Answers what is at a path, a link itself.
pub(super) fn stat(path: &Path) -> Option<FileStat> {
    stat_at(CWD, path.as_os_str().as_bytes()).ok()
}
