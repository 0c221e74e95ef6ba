//! Merging where the two sides touched different files: nothing is left to git's algorithm then.
//!
//! Git's own way reads and writes through a process and one synced file for each directory. Where no content has to be
//! merged and no side can have renamed anything, its answer is known: each side's files as that side left them.

use std::collections::BTreeMap;

use git2::Oid;

use super::branch::{object_id, oid};
use super::error::{Error, Result};
use super::repo::Repo;
use super::tree::{BaseTree, Edit, MODE_GITLINK, MODE_LINK, MODE_TREE};
use crate::base::id::ObjectId;

/// What a side changed, path by path.
type Edits = BTreeMap<Vec<u8>, Edit>;

/// Two sides that touched different files.
pub(super) struct Apart {
    /// The tree of the one side.
    ours: Oid,
    /// What the other changed.
    theirs: Edits,
}

impl Repo {
    /// Answers how two commits are put together where that is plain; nothing where git has to decide: they have several
    /// bases or none, touched the same file in different ways, or a side may have renamed something.
    ///
    /// # Errors
    /// A commit or a tree is missing.
    pub(super) fn apart(&self, ours: ObjectId, theirs: ObjectId) -> Result<Option<Apart>> {
        let bases = self.inner.merge_bases(oid(ours)?, oid(theirs)?).map_err(Error::library("find what is common"));
        let bases = bases?;
        let [base] = &bases[..] else { return Ok(None) };
        let (ours, theirs) = (oid(ours)?, oid(theirs)?);
        let Some((here, there)) = self.plain_edits(*base, ours)?.zip(self.plain_edits(*base, theirs)?) else {
            return Ok(None);
        };
        let ours = self.base_tree(ours)?;
        Ok(are_apart(&here, &there).then_some(Apart { ours, theirs: there }))
    }

    /// Writes what two sides make together, durably where promotions and saves are; answers its tree.
    ///
    /// # Errors
    /// A tree is missing, or the pack cannot be written.
    pub(super) fn write_apart(&self, apart: &Apart) -> Result<ObjectId> {
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let mut pack = self.pack_writer();
        let written = BaseTree::new(&odb, apart.ours).write(&apart.theirs, &mut pack)?;
        if pack.finish()? {
            odb.refresh().map_err(Error::library("look for new packs"))?;
        }
        object_id(written.root)
    }

    /// Answers what a side changed; nothing where it may have renamed a file (one came and one went), where something
    /// became another kind of thing, or where it touched another repository's commit.
    fn plain_edits(&self, base: Oid, side: Oid) -> Result<Option<Edits>> {
        let edits = self.edits_between(base, side)?;
        let odb = self.inner.odb().map_err(Error::library("open the object database"))?;
        let mut before = BaseTree::new(&odb, self.base_tree(base)?);
        let (mut came, mut went) = (false, false);
        for (path, edit) in &edits {
            let known = before.find(path)?.map(|entry| entry.mode);
            match (known, edit.map(|(mode, _)| mode)) {
                (Some(MODE_GITLINK), _) | (_, Some(MODE_GITLINK)) => return Ok(None),
                (Some(old), Some(new)) if (old == MODE_LINK) != (new == MODE_LINK) || old == MODE_TREE => {
                    return Ok(None);
                }
                (Some(_), Some(_)) => {}
                (None, _) => came = true,
                (_, None) => went = true,
            }
        }
        Ok((!came || !went).then_some(edits))
    }
}

/// Answers whether no path of one side is one of the other's (but for the very same change), or above one of them.
fn are_apart(here: &Edits, there: &Edits) -> bool {
    let meets = |one: &Edits, other: &Edits| {
        one.iter().any(|(path, edit)| {
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            other.get(path).is_some_and(|theirs| theirs != edit)
                || slashes.into_iter().any(|(slash, _)| other.contains_key(&path[..slash]))
        })
    };
    !meets(here, there) && !meets(there, here)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What happens to a file on a side.
    #[derive(Debug, Clone, Copy)]
    enum Deed {
        Write(u8),
        Remove,
        Link,
        Execute,
        /// The directory that the file is in moves.
        Move,
    }

    const PATHS: [&str; 9] = ["a", "b", "d/a", "d/b", "d/e/a", "f/a", "f/a/b", "d.x", "g"];

    fn git(root: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(root).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Ada").env(format!("GIT_{role}_EMAIL"), "ada@example.test");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn do_it(root: &Path, path: &str, deed: Deed) {
        let at = root.join(path);
        if let Deed::Remove = deed {
            let _ = std::fs::remove_file(&at);
            return;
        }
        // What stands in the way stays: then there is no such file on this side.
        let _ = std::fs::create_dir_all(at.parent().unwrap());
        match deed {
            Deed::Write(content) => drop(std::fs::write(&at, format!("{content}\n").repeat(40))),
            Deed::Link => drop(std::fs::remove_file(&at).and_then(|()| std::os::unix::fs::symlink("a", &at))),
            Deed::Execute if at.is_file() => {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            Deed::Move => drop(std::fs::rename(at.parent().unwrap(), root.join("moved"))),
            Deed::Execute | Deed::Remove => {}
        }
    }

    fn commit(root: &Path, deeds: &[(usize, Deed)]) -> ObjectId {
        deeds.iter().for_each(|(path, deed)| do_it(root, PATHS[*path], *deed));
        git(root, &["add", "-A"]);
        git(root, &["commit", "-q", "--allow-empty", "-m", "side"]);
        git(root, &["rev-parse", "HEAD"]).parse().unwrap()
    }

    fn deeds(most: usize) -> impl Strategy<Value = Vec<(usize, Deed)>> {
        let deed = prop_oneof![
            4 => (0_u8..6).prop_map(Deed::Write),
            2 => Just(Deed::Remove),
            1 => Just(Deed::Link),
            1 => Just(Deed::Execute),
            1 => Just(Deed::Move),
        ];
        proptest::collection::vec((0..PATHS.len(), deed), 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn what_is_put_together_is_what_git_makes_of_it(first in deeds(12), one in deeds(4), other in deeds(4)) {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            git(root, &["init", "-q", "-b", "main"]);
            commit(root, &first);
            git(root, &["branch", "other"]);
            let ours = commit(root, &one);
            git(root, &["switch", "-q", "other"]);
            let theirs = commit(root, &other);
            let repo = Repo::open(root).unwrap();
            if let Some(apart) = repo.apart(ours, theirs).unwrap() {
                let expected = git(root, &["merge-tree", "--write-tree", &ours.to_string(), &theirs.to_string()]);
                prop_assert_eq!(repo.write_apart(&apart).unwrap().to_string(), expected);
            }
        }
    }

    #[test]
    fn different_files_are_put_together_without_git() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        git(root, &["init", "-q", "-b", "main"]);
        commit(root, &[(0, Deed::Write(1)), (2, Deed::Write(2)), (3, Deed::Write(3))]);
        git(root, &["branch", "other"]);
        let ours = commit(root, &[(2, Deed::Write(4)), (5, Deed::Write(5))]);
        git(root, &["switch", "-q", "other"]);
        let theirs = commit(root, &[(0, Deed::Remove), (3, Deed::Execute)]);
        let repo = Repo::open(root).unwrap();
        assert!(repo.apart(ours, theirs).unwrap().is_some());
        let moved = commit(root, &[(1, Deed::Write(2))]);
        assert!(repo.apart(ours, moved).unwrap().is_none(), "it may have been renamed");
        assert!(repo.apart(theirs, theirs).unwrap().is_some());
        let same_file = commit(root, &[(2, Deed::Write(5))]);
        assert!(repo.apart(ours, same_file).unwrap().is_none());
    }
}
