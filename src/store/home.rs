//! Where cascade keeps its own files, all under `$CASCADE_HOME`.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;

/// The directory that holds everything cascade keeps outside the repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// The files of one project below [`Home`]; a project is one repository, however many worktrees it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectHome {
    root: PathBuf,
    key: String,
}

impl Home {
    /// Uses `root`; nothing is created yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Chooses the directory: `cascade_home` when set, else `cascade` in the XDG state directory, else
    /// `.local/state/cascade` below `user_home`. Answers nothing when none of them is known.
    #[must_use]
    pub fn choose(cascade_home: Option<&str>, xdg_state: Option<&str>, user_home: Option<&str>) -> Option<Self> {
        let set = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
        set(cascade_home)
            .or_else(|| set(xdg_state).filter(|path| path.is_absolute()).map(|path| path.join("cascade")))
            .or_else(|| set(user_home).map(|path| path.join(".local/state/cascade")))
            .map(Self::new)
    }

    /// Answers the directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Answers the database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("cascade.db")
    }

    /// Answers the files of the repository whose shared git directory is `common_dir`.
    #[must_use]
    pub fn project(&self, common_dir: &Path) -> ProjectHome {
        let digest = Digest::of(common_dir.as_os_str().as_encoded_bytes());
        self.project_of(&digest.short(12))
    }

    /// Answers the files of the project that has this key in the store.
    #[must_use]
    pub fn project_of(&self, key: &str) -> ProjectHome {
        ProjectHome { root: self.root.clone(), key: key.to_owned() }
    }
}

impl ProjectHome {
    /// Answers the project's key in the store: stable for one repository at one place.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Answers the log of the project's watcher.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", self.key))
    }

    /// Answers the page that a report of the project is, where no other place is wished for.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join("reports").join(format!("{}.html", self.key))
    }

    /// Answers the directory for the logs of checks.
    #[must_use]
    pub fn check_logs(&self) -> PathBuf {
        self.root.join("logs").join(&self.key)
    }

    /// Answers the lock that the one watcher of the project holds.
    #[must_use]
    pub fn sandbox_lock(&self) -> PathBuf {
        self.root.join("run").join(format!("{}.sandbox.lock", self.key))
    }

    /// Answers the lock that whoever promotes or rolls back holds.
    #[must_use]
    pub fn promotion_lock(&self) -> PathBuf {
        self.root.join("run").join(format!("{}.promotion.lock", self.key))
    }

    /// Answers the lock that whoever syncs holds.
    #[must_use]
    pub fn sync_lock(&self) -> PathBuf {
        self.root.join("run").join(format!("{}.sync.lock", self.key))
    }

    /// Answers the directory for the content that syncs replace.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots").join(&self.key)
    }

    /// Answers the directory that remembers which states of vaults this machine has seen; a vault has an id of its own.
    #[must_use]
    pub fn vaults(&self) -> PathBuf {
        self.root.join("vaults")
    }

    /// Answers the note that says why the ledger of promotions is not on the remote.
    #[must_use]
    pub fn ledger_note(&self) -> PathBuf {
        self.root.join("run").join(format!("{}.ledger.json", self.key))
    }

    /// Answers the lock that whoever watches what was promoted into an environment holds.
    #[must_use]
    pub fn watch_lock(&self, environment: &str) -> PathBuf {
        let digest = Digest::of(environment.as_bytes()).short(8);
        self.root.join("run").join(format!("{}.{digest}.watch.lock", self.key))
    }

    /// Answers the scratch checkout of an environment.
    #[must_use]
    pub fn scratch(&self, environment: &str) -> PathBuf {
        let digest = Digest::of(environment.as_bytes()).short(8);
        self.root.join("scratch").join(&self.key).join(digest)
    }

    /// Lists the scratch checkouts that are there, of whichever environments.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn scratches(&self) -> io::Result<Vec<PathBuf>> {
        let directory = self.root.join("scratch").join(&self.key);
        match std::fs::read_dir(directory) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(source),
        }
    }

    /// Creates the directories that the files above live in.
    ///
    /// # Errors
    /// A directory cannot be created.
    pub fn create(&self) -> io::Result<()> {
        for directory in [self.root.join("logs"), self.root.join("run"), self.check_logs()] {
            std::fs::create_dir_all(directory)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: [Option<&str>; 3], expected: Option<&str>) {
        let home = Home::choose(given[0], given[1], given[2]);
        assert_eq!(home.map(|home| home.root().to_owned()), expected.map(PathBuf::from));
    }

    #[test]
    fn home_is_the_first_directory_that_is_set() {
        check([Some("/c"), Some("/x"), Some("/h")], Some("/c"));
        check([None, Some("/x"), Some("/h")], Some("/x/cascade"));
        check([Some(""), Some("relative"), Some("/h")], Some("/h/.local/state/cascade"));
        check([None, None, None], None);
    }

    #[test]
    fn projects_at_different_places_do_not_share_files() {
        let home = Home::new("/c");
        let (one, two) = (home.project(Path::new("/a/.git")), home.project(Path::new("/b/.git")));
        assert_ne!(one.sandbox_lock(), two.sandbox_lock());
        assert_ne!(one.scratch("staging"), one.scratch("production"));
    }
}
