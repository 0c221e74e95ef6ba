//! Where the repositories of submodules are.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// A larger file does not only say where a repository is.
const POINTER_LIMIT_BYTES: u64 = 16 << 10;
/// What such a file begins with.
const POINTER: &[u8] = b"gitdir: ";

/// A submodule whose repository is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// Its directory, relative to the top of the checkout.
    pub path: Vec<u8>,
    /// The directory that has its `HEAD`, symlinks resolved.
    pub git_dir: PathBuf,
}

/// Lists the submodules that the `.gitmodules` file of the checkout at `root` names and whose repositories are there.
///
/// What cannot be read or leads out of the checkout is left out: whoever asks looks at everything now and then all the
/// same.
#[must_use]
pub fn submodules(root: &Path) -> Vec<Submodule> {
    let file = root.join(".gitmodules");
    if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
        return Vec::new();
    }
    let mut paths: Vec<Vec<u8>> = named(&file).unwrap_or_default();
    paths.sort();
    paths.dedup();
    paths.into_iter().filter_map(|path| Some(Submodule { git_dir: git_dir(root, &path)?, path })).collect()
}

fn named(file: &Path) -> Result<Vec<Vec<u8>>, git2::Error> {
    let config = git2::Config::open(file)?;
    let mut entries = config.entries(Some(r"^submodule\..*\.path$"))?;
    let mut paths = Vec::new();
    while let Some(entry) = entries.next() {
        paths.push(entry?.value_bytes().to_vec());
    }
    Ok(paths)
}

fn git_dir(root: &Path, path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let place = root.join(path).canonicalize().ok().filter(|_| is_inside && path.components().next().is_some())?;
    if !place.starts_with(root.canonicalize().ok()?) {
        return None;
    }
    let git = place.join(".git");
    let found = fs::symlink_metadata(&git).ok()?;
    if found.is_dir() {
        return Some(git);
    }
    let pointer = fs::read(&git).ok().filter(|_| found.is_file() && found.len() <= POINTER_LIMIT_BYTES)?;
    let target = pointer.strip_prefix(POINTER)?.trim_ascii_end();
    place.join(OsStr::from_bytes(target)).canonicalize().ok().filter(|target| target.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), content).unwrap();
    }

    #[test]
    fn repositories_are_found_where_git_keeps_them_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("checkout");
        write(&root, "a/kept/.git", "gitdir: ../../.git/modules/kept\n");
        write(&root, ".git/modules/kept/HEAD", "");
        write(&root, "own/.git/HEAD", "");
        write(&root, "empty/x", "");
        write(&root, "../outside/.git/HEAD", "");
        std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
        assert_eq!(submodules(&root), []);
        let section = |path: &str| format!("[submodule \"{path}\"]\n\tpath = \"{path}\"\n\turl = x\n");
        let text = ["own", "a/kept", "empty", "missing", "../outside", "link", ""].map(section).concat();
        write(&root, ".gitmodules", &text);
        let found = |path: &str, git_dir: &str| Submodule { path: path.into(), git_dir: root.join(git_dir) };
        assert_eq!(submodules(&root), [found("a/kept", ".git/modules/kept"), found("own", "own/.git")]);
        write(&root, ".gitmodules", "[broken");
        assert_eq!(submodules(&root), []);
    }
}
