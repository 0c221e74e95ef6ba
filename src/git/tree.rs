//! Editing a few paths of a large tree: only the directories on the way are read and written.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use git2::{ObjectType, Odb, Oid};

use super::error::{Error, Result};
use super::pack::PackWriter;

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
    dirs: HashMap<Vec<u8>, Option<Rc<Directory>>>,
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

    fn directory(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>> {
        if let Some(known) = self.dirs.get(path) {
            return Ok(known.clone());
        }
        let oid = if path.is_empty() {
            Some(self.root)
        } else {
            let (above, name) = split(path);
            let above = self.directory(above)?;
            let entry = above.as_ref().and_then(|above| named(&above.entries, name));
            entry.filter(|entry| entry.mode == MODE_TREE).map(|entry| entry.oid)
        };
        let directory = oid.map(|oid| self.read(oid)).transpose()?.map(Rc::new);
        self.dirs.insert(path.to_vec(), directory.clone());
        Ok(directory)
    }

    fn read(&self, oid: Oid) -> Result<Directory> {
        let object = self.odb.read(oid).map_err(Error::library(format!("read tree {oid}")))?;
        let entries = (object.kind() == ObjectType::Tree).then(|| parse(object.data())).flatten();
        let entries = entries
            .ok_or_else(|| Error::Integrity { what: format!("tree {oid}"), reason: "it is malformed".to_owned() })?;
        Ok(Directory { oid, entries })
    }

    /// Writes the tree that differs from this one by `edits` (path to what it becomes).
    ///
    /// Directories that end up empty vanish. An edited file takes the place of a directory and the other
    /// way round; then the paths below must be edited to nothing.
    pub fn write(&mut self, edits: &BTreeMap<Vec<u8>, Edit>, pack: &mut PackWriter) -> Result<WrittenTree> {
        let mut waiting: BTreeMap<DeepestFirst, BTreeMap<Vec<u8>, Edit>> = BTreeMap::new();
        for (path, edit) in edits {
            let (dir, name) = split(path);
            waiting.entry(deepest_first(dir)).or_default().insert(name.to_vec(), *edit);
        }
        let mut dirs = BTreeMap::new();
        let mut root = self.root;
        while let Some(((_, dir), edits)) = waiting.pop_first() {
            let base = self.directory(&dir)?;
            let new = write_directory(base.as_deref(), &edits, dir.is_empty(), pack)?;
            dirs.insert(dir.clone(), DirChange { old: base.map(|base| base.oid), new });
            if dir.is_empty() {
                root = new.unwrap_or(root);
                continue;
            }
            let (above, name) = split(&dir);
            let siblings = waiting.entry(deepest_first(above)).or_default();
            // A file that took this directory's place stays; a file whose place it took goes.
            if !matches!(siblings.get(name), Some(Some(_))) {
                siblings.insert(name.to_vec(), new.map(|oid| (MODE_TREE, oid)));
            }
        }
        Ok(WrittenTree { root, dirs })
    }
}

/// A directory by its depth and name.
type DeepestFirst = (Reverse<usize>, Vec<u8>);

fn deepest_first(dir: &[u8]) -> DeepestFirst {
    let depth = if dir.is_empty() { 0 } else { 1 + dir.iter().filter(|byte| **byte == b'/').count() };
    (Reverse(depth), dir.to_vec())
}

fn write_directory(
    base: Option<&Directory>,
    edits: &BTreeMap<Vec<u8>, Edit>,
    is_root: bool,
    pack: &mut PackWriter,
) -> Result<Option<Oid>> {
    let kept = base.map_or(&[][..], |base| &base.entries).iter().filter(|entry| !edits.contains_key(&entry.name));
    let mut entries: Vec<TreeEntry> = kept.cloned().collect();
    let put = edits.iter().filter_map(|(name, edit)| edit.map(|(mode, oid)| (name, mode, oid)));
    entries.extend(put.map(|(name, mode, oid)| TreeEntry { name: name.clone(), mode, oid }));
    if entries.is_empty() && !is_root {
        return Ok(None);
    }
    entries.sort_by(tree_order);
    if let Some(base) = base
        && base.entries == entries
    {
        return Ok(Some(base.oid));
    }
    let mut bytes = Vec::with_capacity(entries.len() * 40);
    for entry in &entries {
        bytes.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
        bytes.extend_from_slice(&entry.name);
        bytes.push(0);
        bytes.extend_from_slice(entry.oid.as_bytes());
    }
    pack.add(ObjectType::Tree, &bytes).map(Some)
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
}
