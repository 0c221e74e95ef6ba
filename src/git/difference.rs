//! What differs between two trees, directory by directory: equal ones are not looked into.

use std::collections::BTreeMap;

use git2::{Odb, Oid};

use super::error::Result;
use super::tree::{BaseTree, DirChange, Edit, MODE_TREE, TreeEntry, join};

/// The files that differ, and the directories on the way to them.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Each path with what it was and what it becomes.
    pub files: BTreeMap<Vec<u8>, (Edit, Edit)>,
    pub dirs: BTreeMap<Vec<u8>, DirChange>,
}

impl Difference {
    /// Compares two trees.
    pub fn between(odb: &Odb<'_>, old: Oid, new: Oid) -> Result<Self> {
        let mut difference = Self::default();
        let (mut old_tree, mut new_tree) = (BaseTree::new(odb, old), BaseTree::new(odb, new));
        let mut waiting = vec![(Vec::new(), Some(old), Some(new))];
        while let Some((dir, old, new)) = waiting.pop() {
            if old == new {
                continue;
            }
            difference.dirs.insert(dir.clone(), DirChange { old, new });
            let before = if old.is_some() { old_tree.entries(&dir)? } else { Vec::new() };
            let after = if new.is_some() { new_tree.entries(&dir)? } else { Vec::new() };
            for (name, (before, after)) in paired(before, after) {
                let path = join(&dir, &name);
                let (tree_before, file_before) = parted(before);
                let (tree_after, file_after) = parted(after);
                if file_before != file_after {
                    difference.files.insert(path.clone(), (file_before, file_after));
                }
                waiting.push((path, tree_before, tree_after));
            }
        }
        Ok(difference)
    }
}

type Pairs = BTreeMap<Vec<u8>, (Option<TreeEntry>, Option<TreeEntry>)>;

fn paired(before: Vec<TreeEntry>, after: Vec<TreeEntry>) -> Pairs {
    let mut pairs = Pairs::new();
    for entry in before {
        let name = entry.name.clone();
        pairs.entry(name).or_default().0 = Some(entry);
    }
    for entry in after {
        let name = entry.name.clone();
        pairs.entry(name).or_default().1 = Some(entry);
    }
    pairs.retain(|_, (before, after)| before != after);
    pairs
}

/// Tells a directory from anything else.
fn parted(entry: Option<TreeEntry>) -> (Option<Oid>, Edit) {
    match entry {
        Some(entry) if entry.mode == MODE_TREE => (Some(entry.oid), None),
        Some(entry) => (None, Some((entry.mode, entry.oid))),
        None => (None, None),
    }
}
