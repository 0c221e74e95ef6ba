//! Editing a few paths of a large tree: only the directories on the way are read and written.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use flate2::Compress;
use git2::{ObjectType, Odb, Oid};

use super::error::{Error, Result};
use super::pack::{PackWriter, Packed, deflate};
use super::parts::in_parts;

/// Mode of a directory.
pub(super) const MODE_TREE: u32 = 0o040_000;
/// Mode of a plain file.
pub(super) const MODE_FILE: u32 = 0o100_644;
/// Mode of an executable file.
pub(super) const MODE_EXECUTABLE: u32 = 0o100_755;
/// Mode of a symlink.
pub(super) const MODE_LINK: u32 = 0o120_000;
/// Mode of another repository's commit.
pub(super) const MODE_GITLINK: u32 = 0o160_000;

/// Directories that one thread reads or writes; fewer are not worth another.
const DIRECTORIES_PER_THREAD: usize = 32;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub name: Vec<u8>,
    pub mode: u32,
    pub oid: Oid,
}

/// A commit's tree, read directory by directory as paths are asked for.
pub(super) struct BaseTree<'r> {
    odb: &'r Odb<'r>,
    root: Oid,
    dirs: HashMap<Vec<u8>, Option<Arc<Directory>>>,
}

struct Directory {
    oid: Oid,
    entries: Vec<TreeEntry>,
}

/// What a path becomes.
pub(super) type Edit = Option<(u32, Oid)>;

/// A directory before and after; none where it does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirChange {
    pub old: Option<Oid>,
    pub new: Option<Oid>,
}

/// A tree that was written.
pub(super) struct WrittenTree {
    pub root: Oid,
    /// Every directory on the way to an edit.
    pub dirs: BTreeMap<Vec<u8>, DirChange>,
}

impl<'r> BaseTree<'r> {
    /// Starts at the tree `root`.
    pub fn new(odb: &'r Odb<'r>, root: Oid) -> Self {
        Self { odb, root, dirs: HashMap::new() }
    }

    /// Finds the entry at `path`; one at or below another repository's commit answers that commit.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<TreeEntry>> {
        let (dir, name) = split(path);
        if let Some(directory) = self.directory(dir)? {
            return Ok(named(&directory.entries, name).cloned());
        }
        let above = if dir.is_empty() { None } else { self.find(dir)? };
        Ok(above.filter(|entry| entry.mode == MODE_GITLINK))
    }

    /// Answers the entries of the directory `path`; empty when it is none.
    pub fn entries(&mut self, path: &[u8]) -> Result<Vec<TreeEntry>> {
        Ok(self.directory(path)?.map_or_else(Vec::new, |directory| directory.entries.clone()))
    }

    /// Answers the paths of all files and symlinks below the directory `path`.
    pub fn files_below(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (mut files, mut waiting) = (Vec::new(), vec![path.to_vec()]);
        while let Some(dir) = waiting.pop() {
            for entry in self.entries(&dir)? {
                let path = join(&dir, &entry.name);
                match entry.mode {
                    MODE_TREE => waiting.push(path),
                    MODE_GITLINK => {}
                    _ => files.push(path),
                }
            }
        }
        Ok(files)
    }

    /// Answers the part of `dir` that is a file here, so that nothing can be below it.
    pub fn file_above<'p>(&mut self, mut dir: &'p [u8]) -> Result<Option<&'p [u8]>> {
        while !dir.is_empty() {
            if let Some(entry) = self.find(dir)? {
                return Ok((entry.mode != MODE_TREE).then_some(dir));
            }
            dir = split(dir).0;
        }
        Ok(None)
    }

    /// Reads the directories that `paths` are in, several at a time, so that they need not be read one by one later.
    pub fn read_ahead<'p>(&mut self, paths: impl Iterator<Item = &'p [u8]>) -> Result<()> {
        let mut waiting: BTreeSet<(usize, &[u8])> = BTreeSet::new();
        for mut dir in paths.map(|path| split(path).0) {
            while waiting.insert((depth(dir), dir)) && !dir.is_empty() {
                dir = split(dir).0;
            }
        }
        let waiting: Vec<_> = waiting.into_iter().collect();
        for level in waiting.chunk_by(|(one, _), (other, _)| one == other) {
            let mut unread = Vec::new();
            for (_, dir) in level {
                if self.dirs.contains_key(*dir) {
                    continue;
                }
                unread.extend(self.id(dir)?.map(|oid| (*dir, oid)));
            }
            let odb = self.odb;
            let read = |part: &[(&[u8], Oid)]| part.iter().map(|(_, oid)| read(odb, *oid)).collect::<Result<Vec<_>>>();
            for (part, directories) in in_parts(&unread, DIRECTORIES_PER_THREAD, read) {
                for ((dir, _), directory) in part.iter().zip(directories?) {
                    self.dirs.insert(dir.to_vec(), Some(Arc::new(directory)));
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8]) -> Result<Option<Arc<Directory>>> {
        if let Some(known) = self.dirs.get(path) {
            return Ok(known.clone());
        }
        let directory = self.id(path)?.map(|oid| read(self.odb, oid)).transpose()?.map(Arc::new);
        self.dirs.insert(path.to_vec(), directory.clone());
        Ok(directory)
    }

    /// Answers the tree of the directory `path`.
    fn id(&mut self, path: &[u8]) -> Result<Option<Oid>> {
        if path.is_empty() {
            return Ok(Some(self.root));
        }
        let (above, name) = split(path);
        let above = self.directory(above)?;
        let entry = above.as_ref().and_then(|above| named(&above.entries, name));
        Ok(entry.filter(|entry| entry.mode == MODE_TREE).map(|entry| entry.oid))
    }

    /// Writes the tree that differs from this one by `edits` (path to what it becomes).
    ///
    /// Directories that end up empty vanish. An edited file takes the place of a directory and the other
    /// way round; then the paths below must be edited to nothing.
    pub fn write(&mut self, edits: &BTreeMap<Vec<u8>, Edit>, pack: &mut PackWriter) -> Result<WrittenTree> {
        let mut waiting: BTreeMap<usize, BTreeMap<Vec<u8>, Edits>> = BTreeMap::new();
        for (path, edit) in edits {
            let (dir, name) = split(path);
            waiting.entry(depth(dir)).or_default().entry(dir.to_vec()).or_default().insert(name.to_vec(), *edit);
        }
        let mut dirs = BTreeMap::new();
        let mut root = self.root;
        while let Some((_, level)) = waiting.pop_last() {
            for (dir, change) in self.write_level(level, pack)? {
                if dir.is_empty() {
                    root = change.new.unwrap_or(root);
                } else {
                    let (above, name) = split(&dir);
                    let siblings = waiting.entry(depth(above)).or_default().entry(above.to_vec()).or_default();
                    // A file that took this directory's place stays; a file whose place it took goes.
                    if !matches!(siblings.get(name), Some(Some(_))) {
                        siblings.insert(name.to_vec(), change.new.map(|oid| (MODE_TREE, oid)));
                    }
                }
                dirs.insert(dir, change);
            }
        }
        Ok(WrittenTree { root, dirs })
    }

    /// Writes directories of which none is below another; answers what became of each.
    fn write_level(
        &mut self,
        level: BTreeMap<Vec<u8>, Edits>,
        pack: &mut PackWriter,
    ) -> Result<Vec<(Vec<u8>, DirChange)>> {
        let level: Result<Vec<_>> =
            level.into_iter().map(|(dir, edits)| Ok((self.directory(&dir)?, dir, edits))).collect();
        let level = level?;
        let written = in_parts(&level, DIRECTORIES_PER_THREAD, |part| {
            let mut deflate = deflate();
            let write = |(base, dir, edits): &(Option<Arc<Directory>>, Vec<u8>, Edits)| {
                let base = base.as_deref();
                let written = write_directory(base, edits, dir.is_empty(), &mut deflate);
                (dir.clone(), base.map(|base| base.oid), written)
            };
            part.iter().map(write).collect::<Vec<_>>()
        });
        let changes = written.into_iter().flat_map(|(_, part)| part).map(|(dir, old, written)| {
            let new = match written {
                Written::Empty => None,
                Written::Same(oid) => Some(oid),
                Written::New(packed) => Some(pack.add_packed(packed)?),
            };
            Ok((dir, DirChange { old, new }))
        });
        changes.collect()
    }
}

/// What becomes of the names in a directory.
type Edits = BTreeMap<Vec<u8>, Edit>;

/// What a directory has become.
enum Written {
    Empty,
    Same(Oid),
    New(io::Result<Packed>),
}

/// Answers how many directories a directory is in, itself among them; the top: none.
fn depth(dir: &[u8]) -> usize {
    if dir.is_empty() { 0 } else { 1 + dir.iter().filter(|byte| **byte == b'/').count() }
}

fn read(odb: &Odb<'_>, oid: Oid) -> Result<Directory> {
    let object = odb.read(oid).map_err(Error::library(format!("read tree {oid}")))?;
    let entries = (object.kind() == ObjectType::Tree).then(|| parse(object.data())).flatten();
    let entries = entries
        .ok_or_else(|| Error::Integrity { what: format!("tree {oid}"), reason: "it is malformed".to_owned() })?;
    Ok(Directory { oid, entries })
}

fn write_directory(base: Option<&Directory>, edits: &Edits, is_root: bool, deflate: &mut Compress) -> Written {
    let kept = base.map_or(&[][..], |base| &base.entries).iter().filter(|entry| !edits.contains_key(&entry.name));
    let mut entries: Vec<TreeEntry> = kept.cloned().collect();
    let put = edits.iter().filter_map(|(name, edit)| edit.map(|(mode, oid)| (name, mode, oid)));
    entries.extend(put.map(|(name, mode, oid)| TreeEntry { name: name.clone(), mode, oid }));
    if entries.is_empty() && !is_root {
        return Written::Empty;
    }
    entries.sort_by(tree_order);
    if let Some(base) = base
        && base.entries == entries
    {
        return Written::Same(base.oid);
    }
    let mut bytes = Vec::with_capacity(entries.len() * 40);
    for entry in &entries {
        bytes.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
        bytes.extend_from_slice(&entry.name);
        bytes.push(0);
        bytes.extend_from_slice(entry.oid.as_bytes());
    }
    Written::New(Packed::new(ObjectType::Tree, &bytes, deflate))
}

/// Finds a name, which stands at one place when it is a directory and at another when not.
fn named<'e>(entries: &'e [TreeEntry], name: &[u8]) -> Option<&'e TreeEntry> {
    [MODE_FILE, MODE_TREE].into_iter().find_map(|mode| {
        let at = entries.binary_search_by(|entry| order((&entry.name, entry.mode), (name, mode))).ok()?;
        entries.get(at)
    })
}

fn tree_order(a: &TreeEntry, b: &TreeEntry) -> Ordering {
    order((&a.name, a.mode), (&b.name, b.mode))
}

/// Git sorts a directory as if its name ended in a slash.
fn order(a: (&[u8], u32), b: (&[u8], u32)) -> Ordering {
    let common = a.0.len().min(b.0.len());
    let next = |(name, mode): (&[u8], u32)| name.get(common).copied().or((mode == MODE_TREE).then_some(b'/'));
    a.0[..common].cmp(&b.0[..common]).then_with(|| next(a).cmp(&next(b))).then_with(|| a.0.len().cmp(&b.0.len()))
}

pub(super) fn parse(mut bytes: &[u8]) -> Option<Vec<TreeEntry>> {
    let mut entries = Vec::with_capacity(bytes.len() / 32);
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let mode = u32::from_str_radix(std::str::from_utf8(&bytes[..space]).ok()?, 8).ok()?;
        let rest = &bytes[space + 1..];
        let end = rest.iter().position(|byte| *byte == 0)?;
        let oid = Oid::from_bytes(rest.get(end + 1..end + 21)?).ok()?;
        entries.push(TreeEntry { name: rest[..end].to_vec(), mode, oid });
        bytes = &rest[end + 21..];
    }
    Some(entries)
}

/// Answers the mode that git gives to such a thing now: old repositories have group-writable files.
pub(super) fn canonical(mode: u32) -> u32 {
    match mode {
        MODE_TREE | MODE_LINK | MODE_GITLINK => mode,
        _ if mode & 0o100 != 0 => MODE_EXECUTABLE,
        _ => MODE_FILE,
    }
}

/// Splits a path into its directory (empty: the top) and its last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Joins a directory (empty: the top) and a name.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// Answers where each directory of a path ends, from the top down, and then where the path itself does.
pub(super) fn path_ends(path: &[u8]) -> impl Iterator<Item = usize> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_sort_as_if_they_ended_in_a_slash() {
        let entry = |name: &str, mode| TreeEntry { name: name.into(), mode, oid: Oid::ZERO_SHA1 };
        let mut entries = vec![
            entry("a", MODE_TREE),
            entry("a.b", MODE_FILE),
            entry("a-b", MODE_TREE),
            entry("a0", MODE_FILE),
            entry("ab", MODE_LINK),
            entry("b", MODE_GITLINK),
        ];
        entries.sort_by(tree_order);
        let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
        assert_eq!(names, ["a-b", "a.b", "a", "a0", "ab", "b"]);
        assert!(entries.iter().all(|entry| named(&entries, &entry.name) == Some(entry)));
        assert_eq!(named(&entries, b"a."), None);
    }

    #[test]
    fn malformed_trees_are_no_trees() {
        assert!(parse(b"100644 a").is_none());
        assert!(parse(b"100644 a\0short").is_none());
        assert!(parse(b"x a\0twenty-bytes-of-an-id").is_none());
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn many_directories_are_read_and_written_as_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init_bare(dir.path()).unwrap();
        let odb = repo.odb().unwrap();
        let mut pack = PackWriter::new(&dir.path().join("objects"), crate::config::Durability::Fast);
        let blobs = [b"old", b"new"].map(|content| pack.add(ObjectType::Blob, content).unwrap());
        let empty = pack.add(ObjectType::Tree, b"").unwrap();
        let paths = |file: &str| (0..200).map(|n| format!("{}/{n}/{file}", n % 3).into_bytes()).collect::<Vec<_>>();
        let edits = |file, edit: Edit| paths(file).into_iter().map(move |path| (path, edit));
        pack.finish().unwrap();
        odb.refresh().unwrap();
        let mut tree = empty;
        let mut kept: BTreeMap<Vec<u8>, Edit> = BTreeMap::new();
        for (file, content) in [("a", Some(0)), ("b", Some(1)), ("a", None), ("b", Some(0))] {
            let mut pack = PackWriter::new(&dir.path().join("objects"), crate::config::Durability::Fast);
            let edit = content.map(|content| (MODE_FILE, blobs[content]));
            let edits: BTreeMap<Vec<u8>, Edit> = edits(file, edit).collect();
            let mut ahead = BaseTree::new(&odb, tree);
            ahead.read_ahead(paths(file).iter().map(Vec::as_slice)).unwrap();
            assert_eq!(ahead.dirs.values().flatten().count(), if kept.is_empty() { 1 } else { 204 });
            let written = ahead.write(&edits, &mut pack).unwrap();
            pack.finish().unwrap();
            odb.refresh().unwrap();
            kept.extend(edits);
            let mut builder = git2::build::TreeUpdateBuilder::new();
            for (path, (_, oid)) in kept.iter().filter_map(|(path, edit)| Some((path, (*edit)?))) {
                builder.upsert(path.as_slice(), oid, git2::FileMode::Blob);
            }
            let expected = builder.create_updated(&repo, &repo.find_tree(empty).unwrap()).unwrap();
            assert_eq!(written.root, expected);
            assert_eq!(written.dirs.len(), 204);
            tree = written.root;
        }
    }
}
