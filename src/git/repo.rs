//! One opened repository and where its checkout stands.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Once, Weak};
use std::time::Duration;

use git2::{ErrorCode, Oid, Repository, RepositoryOpenFlags};

use super::error::{Error, Result};
use super::index::Proved;
use super::pack::PackWriter;
use super::program::NETWORK_DEADLINE;
use super::save::OldIndex;
use crate::config::Durability;

/// An opened repository with a working tree.
pub struct Repo {
    pub(super) inner: Repository,
    root: PathBuf,
    program_path: Option<OsString>,
    network_deadline: Duration,
    /// The index as this process left it, which need not be proved to be whole again.
    pub(super) proved_index: Cell<Option<Proved>>,
    /// The index as it was read last, for as long as somebody needs it: that of 100,000 files has 10 MB.
    pub(super) seen_index: RefCell<Weak<OldIndex>>,
    durability: Durability,
}

/// Where `HEAD` points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// At the tip of a branch.
    Branch {
        /// Short name of the branch.
        name: String,
        /// Its tip.
        commit: Oid,
    },
    /// At a branch that has no commit yet.
    Unborn {
        /// Short name of the branch.
        name: String,
    },
    /// At a commit, on no branch.
    Detached {
        /// The commit.
        commit: Oid,
    },
}

impl Repo {
    /// Opens the repository that contains `dir`.
    ///
    /// # Errors
    /// Not a repository, bare, or a format that libgit2 cannot read.
    pub fn open(dir: &Path) -> Result<Self> {
        prepare_library();
        let inner = Repository::open_ext(dir, RepositoryOpenFlags::empty(), &[] as &[&Path])
            .map_err(|source| open_error(dir, source))?;
        let root = inner.workdir().ok_or_else(|| Error::Bare { path: dir.to_owned() })?;
        let root = root.canonicalize().map_err(Error::io("resolve", root))?;
        Ok(Self {
            inner,
            root,
            program_path: None,
            network_deadline: NETWORK_DEADLINE,
            proved_index: Cell::new(None),
            seen_index: RefCell::default(),
            durability: Durability::Full,
        })
    }

    /// Lets the git program (and the hooks it runs) search for programs in `path` instead of the inherited `PATH`.
    #[must_use]
    pub fn with_program_path(mut self, path: Option<OsString>) -> Self {
        self.program_path = path;
        self
    }

    /// Gives commands that talk to a remote another time limit than two minutes.
    #[must_use]
    pub fn with_network_deadline(mut self, deadline: Duration) -> Self {
        self.network_deadline = deadline;
        self
    }

    /// Answers how long a command that talks to a remote may take.
    pub(in crate::git) fn network_deadline(&self) -> Duration {
        self.network_deadline
    }

    /// Says whether saves by this handle wait for the disk; they do unless it is called. Whatever else is written does.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Answers whether saves are acknowledged before they are on the disk.
    pub(super) fn is_fast(&self) -> bool {
        self.durability.is_fast()
    }

    /// Prepares a pack for the objects of a save.
    pub(super) fn pack_writer(&self) -> PackWriter {
        PackWriter::new(&self.common_dir().join("objects"), self.durability)
    }

    /// Answers the `PATH` for the git program, where it differs from the inherited one.
    pub(super) fn program_path(&self) -> Option<&OsStr> {
        self.program_path.as_deref()
    }

    /// Answers the top of the working tree, symlinks resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Answers this checkout's own git directory (differs from [`Repo::common_dir`] in linked worktrees).
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        self.inner.path()
    }

    /// Answers the git directory that all worktrees of the repository share: objects, refs and configuration.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        self.inner.commondir()
    }

    /// Answers where `HEAD` points.
    ///
    /// # Errors
    /// `HEAD` is unreadable.
    pub fn head(&self) -> Result<Head> {
        let head = self.inner.find_reference("HEAD").map_err(Error::library("read HEAD"))?;
        let Some(target) = head.symbolic_target_bytes() else {
            let commit = head.target().ok_or_else(|| Error::Integrity {
                what: "HEAD".to_owned(),
                reason: "it points at nothing".to_owned(),
            })?;
            return Ok(Head::Detached { commit });
        };
        let full = String::from_utf8_lossy(target).into_owned();
        let name = full.strip_prefix("refs/heads/").unwrap_or(&full).to_owned();
        match self.inner.refname_to_id(&full) {
            Ok(commit) => Ok(Head::Branch { name, commit }),
            Err(source) if source.code() == ErrorCode::NotFound => Ok(Head::Unborn { name }),
            Err(source) => Err(Error::library(format!("read branch `{name}`"))(source)),
        }
    }

    /// Answers the user's own ignore file (core.excludesFile, else the one beside the user's configuration).
    #[must_use]
    pub fn excludes_file(&self) -> Option<PathBuf> {
        let configured = self.inner.config().and_then(|config| config.get_path("core.excludesFile")).ok();
        configured.or_else(|| Some(git2::Config::find_xdg().ok()?.parent()?.join("ignore")))
    }

    /// Names the operation that the user is in the middle of (`rebase`, `merge`, …), if any.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        use git2::RepositoryState as State;
        match self.inner.state() {
            State::Clean => None,
            State::Merge => Some("merge"),
            State::Revert | State::RevertSequence => Some("revert"),
            State::CherryPick | State::CherryPickSequence => Some("cherry-pick"),
            State::Bisect => Some("bisect"),
            State::Rebase | State::RebaseInteractive | State::RebaseMerge => Some("rebase"),
            State::ApplyMailbox | State::ApplyMailboxOrRebase => Some("am"),
        }
    }
}

impl std::fmt::Debug for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repo").field("root", &self.root).finish_non_exhaustive()
    }
}

fn open_error(dir: &Path, source: git2::Error) -> Error {
    match source.code() {
        ErrorCode::NotFound => Error::NotARepository { path: dir.to_owned() },
        ErrorCode::Owner => Error::Foreign { path: top_above(dir) },
        _ => unsupported(dir, source.message()),
    }
}

/// Answers the nearest directory at or above `dir` that has a repository.
fn top_above(dir: &Path) -> PathBuf {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let top = dir.ancestors().find(|above| above.join(".git").exists());
    top.unwrap_or(&dir).to_owned()
}

fn unsupported(dir: &Path, reason: &str) -> Error {
    let path = dir.to_owned();
    if reason.contains("object format") || reason.contains("extensions.objectformat") {
        let what = "objects named by SHA-256";
        let instead = "use a repository with the SHA-1 object format: `git init --object-format=sha1`";
        return Error::Format { path, what, instead };
    }
    if reason.contains("extensions.refstorage") {
        let what = "references kept in reftables";
        let instead = "use the files backend: `git refs migrate --ref-format=files` (git 2.46 or newer)";
        return Error::Format { path, what, instead };
    }
    Error::Unsupported { path, reason: reason.to_owned() }
}

/// Answers the user's own git directories (`$XDG_CONFIG_HOME/git`), as the library found them in the environment.
pub(super) fn user_directories() -> Vec<PathBuf> {
    prepare_library();
    // SAFETY: this process never changes the library's search paths, so none is read while it changes.
    #[allow(unsafe_code)]
    let found = unsafe { git2::opts::get_search_path(git2::ConfigLevel::XDG) };
    let text = found.ok().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    text.split(':').filter(|directory| !directory.is_empty()).map(PathBuf::from).collect()
}

/// Turns on the library options that cascade's promises rest on, once per process.
fn prepare_library() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // Initialises libgit2 (and its allocator) before the first option is set.
        let _ = git2::Version::get();
        let on: libc::c_int = 1;
        // SAFETY: both options take one int by value, and no repository of this process is open yet.
        #[allow(unsafe_code)]
        unsafe {
            libgit2_sys::git_libgit2_opts(libgit2_sys::GIT_OPT_ENABLE_FSYNC_GITDIR as libc::c_int, on);
            libgit2_sys::git_libgit2_opts(libgit2_sys::GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION as libc::c_int, on);
        }
    });
}
