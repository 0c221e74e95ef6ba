//! What git's own status sees of the working tree, and what it could not read.

use std::collections::{BTreeMap, BTreeSet};

use crate::git::error::Result;
use crate::git::program::Program;
use crate::git::repo::Repo;

/// What git complains with about a directory that it cannot list, and what ends the directory's name.
const UNLISTED: [&[u8]; 2] = [b"warning: could not open directory '", b"/': "];
/// What ends its complaint about a tracked file that it cannot look at.
const DENIED: &[u8] = b": Permission denied";

/// Git says 4,096 bytes at most: a name that is longer than this may be cut.
const WHOLE_NAME_BYTES: usize = 4_000;

/// Whether git tracks a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The commit or the index has it, or both.
    Tracked,
    /// It is new to git, be it that the user staged it.
    New,
}

/// The answer of git's status.
pub(super) struct Seen {
    /// Where working tree, index and commit are not the same.
    pub paths: BTreeMap<Vec<u8>, Standing>,
    /// Where it perhaps could not look, and so saw no change: a hint, for names may look like anything.
    pub unread: BTreeSet<Vec<u8>>,
}

impl Seen {
    /// Lists the tracked paths with a change.
    pub fn tracked(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.paths.iter().filter(|(_, standing)| **standing == Standing::Tracked).map(|(path, _)| path)
    }
}

impl Repo {
    /// Asks git where working tree, index and commit differ, as it sees them with one of its settings (`key=value`).
    ///
    /// The git program reads every form of index, looks with several threads, and takes its memory with it.
    pub(super) fn seen(&self, setting: Option<&str>) -> Result<Seen> {
        // Of a submodule only the commit that it is at is saved.
        let status =
            ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"];
        let setting = setting.into_iter().flat_map(|setting| ["-c", setting]);
        let output = Program::durable(self.root(), setting.chain(status)).keep_all().run()?;
        if !output.status.success() {
            return Err(output.failure());
        }
        let paths = output.stdout.split(|byte| *byte == 0).filter_map(change).collect();
        Ok(Seen { paths, unread: unread(&output.stderr) })
    }
}

/// Reads one line of the status: two letters, a space, the path.
fn change(line: &[u8]) -> Option<(Vec<u8>, Standing)> {
    let path = line.get(3..)?.to_vec();
    let standing = if matches!(line[0], b'?' | b'A') { Standing::New } else { Standing::Tracked };
    Some((path, standing))
}

/// Finds the directories and files that git complains about; what lies below such a directory is left out.
fn unread(complaints: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut directories = BTreeSet::new();
    let mut rest = complaints;
    while let Some(start) = find(rest, UNLISTED[0]) {
        rest = &rest[start + UNLISTED[0].len()..];
        match find(rest, UNLISTED[1]).filter(|end| *end <= WHOLE_NAME_BYTES) {
            Some(end) => drop(directories.insert(rest[..end].to_vec())),
            // Git cuts what it says; what is known is the way there.
            None => {
                let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let above = line.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |at| &line[..at]);
                directories.insert(above.to_vec());
            }
        }
    }
    let lines = complaints.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(DENIED));
    let files = lines.filter(|line| !line.starts_with(b"warning: ") && !line.ends_with(b"/'"));
    let is_told = |path: &[u8]| {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| &path[..at]).any(|above| directories.contains(above))
    };
    let files: Vec<Vec<u8>> = files.filter(|path| !is_told(path)).map(<[u8]>::to_vec).collect();
    directories.into_iter().chain(files).filter(|path| !path.is_empty()).collect()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::save::tests::{Checkout, saved};
    use crate::git::{Hints, SaveAnswer};

    #[test]
    fn tracked_paths_that_changed_and_are_excluded_are_told_by_a_look_at_everything() {
        let at = Checkout::new();
        for path in ["kept.tmp", "gone.tmp", "same.tmp"] {
            at.write(path, "first");
        }
        at.git(&["add", "--all"]);
        at.git(&["commit", "-qm", "tracked, and excluded"]);
        at.write("kept.tmp", "second");
        std::fs::remove_file(at.path("gone.tmp")).unwrap();
        at.write("new.tmp", "never tracked");
        at.write("staged.tmp", "new");
        at.git(&["add", "staged.tmp"]);
        let expected = [b"gone.tmp".to_vec(), b"kept.tmp".to_vec()];
        let SaveAnswer::Nothing { excluded, .. } = at.try_save(Hints::Everything).unwrap() else { panic!() };
        assert_eq!(excluded, expected);
        at.write("one", "saved beside it");
        assert_eq!(saved(at.try_save(Hints::Everything).unwrap()).excluded, expected);
        assert_eq!(at.blob("kept.tmp"), "first");
    }

    #[test]
    fn directories_and_files_that_git_cannot_read_are_found_in_its_complaints() {
        let complaints = "closed/t: Permission denied\nopen/t: Permission denied\n\
            warning: could not open directory 'un\nread\"able/': Permission denied\n\
            warning: could not open directory 'closed/': Permission denied\n\
            warning: unable to access 'closed/.gitattributes': Permission denied\n";
        let found = unread(complaints.as_bytes());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [&b"closed"[..], b"open/t", b"un\nread\"able"]);
        assert!(unread(b"warning: could not open directory 'cut").is_empty());
    }

    #[test]
    fn a_path_that_is_too_long_for_the_system_is_set_aside() {
        let at = Checkout::new();
        let name = "n".repeat(200);
        // A path of that length cannot be named, so the directories are made one in the other.
        let script = "for n in $(seq 22); do mkdir $0 && cd -P $0 || exit 1; done; echo deep > file";
        let made = std::process::Command::new("sh").args(["-c", script, &name]).current_dir(at.dir.path()).status();
        assert!(made.unwrap().success());
        at.write("one", "saved beside it");
        let set_aside = saved(at.try_save(Hints::Everything).unwrap()).set_aside;
        let [aside] = &set_aside[..] else { panic!("{set_aside:?}") };
        assert!(aside.path.starts_with(name.as_bytes()) && aside.path.len() > 4_000, "{}", aside.path.len());
        assert!(aside.reason.starts_with("its name is too long"), "{}", aside.reason);
    }

    #[test]
    fn what_is_new_to_git_is_not_tracked() {
        for (line, standing) in
            [(" M a b", Standing::Tracked), ("D  a b", Standing::Tracked), ("?? a b", Standing::New)]
        {
            assert_eq!(change(line.as_bytes()), Some((b"a b".to_vec(), standing)));
        }
        assert_eq!(change(b""), None);
    }
}
