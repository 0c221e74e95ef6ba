//! The kernel's events → hints about paths of one checkout.

mod heads;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::EventKindMask;
use notify::{ErrorKind, PathOp, RecursiveMode, WatchPathConfig};
use notify_debouncer_full::{DebounceEventResult, Debouncer, NoCache, new_debouncer_opt};
use tokio::sync::mpsc;

use self::heads::{Head, names_submodules};
use super::coalesce::{Class, Coalescing};
use super::rules::{as_path, beneath, parent};
use super::{Error, Rules, limits};
use crate::base::escape::shown;

/// More hints than this wait for the caller; what does not fit becomes one [`Hint::Rescan`].
pub const HINT_CAPACITY: usize = 8192;

/// What to do when the kernel refuses more watches.
pub(super) const RAISE_LIMITS: &str = "raise the limits: `sudo sysctl fs.inotify.max_user_watches=1048576 \
     fs.inotify.max_user_instances=1024`";

/// Events are held this long to be merged, and the debouncer's thread looks this often. It does so while all is quiet
/// too, which is most of what an idle watcher costs: 0.006 % of a core once a second, 0.06 % ten times a second.
const SLOT_MAX: Duration = Duration::from_secs(1);
const SLOT_MIN: Duration = Duration::from_millis(20);
/// So many slots fit into the time that a path must be quiet. It takes two at most to hear of an event.
const SLOTS_PER_SETTLE: u32 = 3;

/// When this many directories go in one tick, starting over is cheaper than taking watches back one by one.
const MAX_UNWATCHED_PER_TICK: usize = 32;

/// What in git's directory tells where HEAD is and whether an operation is under way.
/// The last two are written with every commit and every move of a branch by the user's git.
const REPOSITORY_NAMES: [&[u8]; 9] = [
    b"HEAD",
    b"MERGE_HEAD",
    b"CHERRY_PICK_HEAD",
    b"REVERT_HEAD",
    b"BISECT_LOG",
    b"rebase-merge",
    b"rebase-apply",
    b"COMMIT_EDITMSG",
    b"ORIG_HEAD",
];

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hint {
    /// This path (relative to the checkout) changed, came or went. When it is or was a directory,
    /// everything beneath it may have: a directory that goes is not reported file by file.
    Path(Vec<u8>),
    /// Anything may have changed, in the checkout and in the repository's state.
    Rescan,
    /// The user committed, HEAD moved, or a merge, rebase, cherry-pick, revert or bisect began or ended.
    Repository,
    /// Git's index was replaced, by a save or by somebody else.
    Index,
    /// The checkout is no longer where it was; nothing more will come.
    RootGone,
    /// Some directories are not watched, and why: from now on the caller has to look periodically.
    Failed(String),
}

/// A hint, and when the latest of what it tells of happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Told {
    /// Where to look.
    pub hint: Hint,
    /// When it happened, as far as that is known; else when it was noticed.
    pub at: Instant,
}

/// Watches one checkout until it is dropped.
///
/// Only directories that the rules do not exclude are watched, one by one, so an excluded tree costs
/// nothing. Symbolic links are not followed. A path is hinted one or two slots after its event (and says when
/// that was), and again about every slot while it goes on changing; reading files hints nothing.
#[derive(Debug)]
pub struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    root_id: Id,
    git_dir: PathBuf,
    rules: Arc<Rules>,
    slot: Duration,
    /// The kind of file system, where it does not tell of all changes.
    silent: Option<&'static str>,
    /// Whether a directory's two links tell that there are none in it.
    counts_directories: bool,
    state: Mutex<State>,
}

/// Device and inode: which directory it is, whatever its name.
type Id = (u64, u64);

#[derive(Debug)]
struct State {
    debouncer: Option<Debouncer<Coalescing, NoCache>>,
    watched: BTreeMap<Vec<u8>, Id>,
    /// Directories that were found to be unreadable when they were touched.
    shut: BTreeSet<Vec<u8>>,
    /// What is watched of the repositories of submodules.
    heads: BTreeMap<PathBuf, Head>,
    out: Outbox,
    limited: bool,
    gone: bool,
}

/// What one delivery of events asks for once all of them were looked at.
#[derive(Debug, Default)]
struct Afterwards {
    /// When the event under examination happened.
    at: Option<Instant>,
    repository: bool,
    index: bool,
    submodules: bool,
    overflow: bool,
    unwatched: usize,
    rules_changed: BTreeSet<Vec<u8>>,
}

/// Whether the files found while watches are set are news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    News,
    Known,
}

impl Source {
    /// Watches the checkout at `root` and the repository's state in `git_dir` (HEAD is there; for a
    /// linked worktree that is not the common directory) for a caller that waits until a path is quiet for `settle`:
    /// a slot is a third of it, between 20 ms and a second.
    ///
    /// When this returns, every directory is watched: what is looked up from now on misses nothing. What
    /// was there before is not hinted. [`Error::Io`] when a directory cannot be found, [`Error::Watch`]
    /// when the root or `git_dir` cannot be watched; any other directory that cannot is a
    /// [`Hint::Failed`].
    pub fn start(
        root: &Path,
        git_dir: &Path,
        rules: Arc<Rules>,
        settle: Duration,
    ) -> Result<(Self, mpsc::Receiver<Told>), Error> {
        let root = root.canonicalize().map_err(Error::io("find", root))?;
        let git_dir = git_dir.canonicalize().map_err(Error::io("find", git_dir))?;
        let root_id = fs::metadata(&root).map(|found| id_of(&found)).map_err(Error::io("look at", &root))?;
        // One place is kept back for the Rescan that stands for whatever does not fit.
        let (tx, hints) = mpsc::channel(HINT_CAPACITY + 1);
        let out = Outbox { spare: tx.clone().try_reserve_owned().ok(), tx };
        let state = State {
            debouncer: None,
            watched: BTreeMap::new(),
            shut: BTreeSet::new(),
            heads: BTreeMap::new(),
            out,
            limited: false,
            gone: false,
        };
        let shared = Arc::new(Shared {
            root_id,
            git_dir,
            rules,
            silent: limits::silent_file_system(&root),
            counts_directories: limits::counts_directories(&root),
            root,
            slot: (settle / SLOTS_PER_SETTLE).clamp(SLOT_MIN, SLOT_MAX),
            state: Mutex::new(state),
        });
        shared.watch_all(&mut shared.state())?;
        Ok((Self { shared }, hints))
    }

    /// Answers how many directories of the checkout are watched.
    #[must_use]
    pub fn watched_directories(&self) -> usize {
        self.shared.state().watched.len()
    }

    /// Answers whether the checkout is still where it was: the kernel does not tell while anybody, the watcher itself
    /// among them, works in a directory that was deleted.
    #[must_use]
    pub fn is_root_there(&self) -> bool {
        self.shared.directory_id(b"") == Some(self.shared.root_id)
    }

    /// Answers whether the kernel refused watches, so that only looking periodically finds everything.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.shared.state().limited
    }
}

impl Shared {
    /// Looks at what the debouncer delivers; runs on its thread.
    fn handle(self: &Arc<Self>, delivery: DebounceEventResult) {
        let mut state = self.state();
        let mut after = Afterwards::default();
        match delivery {
            Ok(events) => {
                for event in events {
                    after.at = Some(event.time);
                    let class = Class::of(event.kind);
                    event.paths.iter().for_each(|path| self.event(&mut state, &mut after, path, class));
                }
            }
            // An error of the event stream says nothing about which events it cost.
            Err(errors) => {
                after.overflow = true;
                errors.into_iter().for_each(|error| state.out.send(Hint::Failed(words(error))));
            }
        }
        self.finish(&mut state, after);
    }

    fn event(&self, state: &mut State, after: &mut Afterwards, path: &Path, class: Class) {
        if class == Class::Overflow {
            after.overflow = true;
        } else if path == self.git_dir {
            self.git_dir_event(state, after, class);
        } else if path.parent() == Some(&self.git_dir) {
            self.git_event(after, path);
        } else if self.head_event(state, after, path) {
            // It is told.
        } else if let Ok(relative) = path.strip_prefix(&self.root) {
            match relative.as_os_str().as_bytes() {
                b"" => self.root_event(state, class),
                relative => self.changed(state, after, relative, class),
            }
        }
    }

    fn finish(self: &Arc<Self>, state: &mut State, after: Afterwards) {
        if state.gone {
            return;
        }
        if after.overflow || after.unwatched > MAX_UNWATCHED_PER_TICK {
            if after.overflow {
                tracing::info!("events were lost: everything is watched anew and looked at");
            }
            self.start_over(state);
        } else {
            for directory in &after.rules_changed {
                self.reexamine(state, directory);
            }
            if !after.rules_changed.is_empty() {
                state.out.send(Hint::Rescan);
            }
            if after.submodules {
                self.follow_submodules(state);
            }
        }
        if after.repository {
            state.out.send(Hint::Repository);
        }
        if after.index {
            state.out.send_at(Hint::Index, after.at);
        }
    }

    /// Makes a new watcher: after an overflow nobody knows which watches and directories still match.
    fn start_over(self: &Arc<Self>, state: &mut State) {
        if let Err(error) = self.watch_all(state) {
            state.limited = true;
            state.out.send(Hint::Failed(error_chain(&error)));
        }
        state.out.send(Hint::Rescan);
    }

    fn watch_all(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        state.debouncer = None;
        state.watched.clear();
        state.shut.clear();
        state.heads.clear();
        state.limited = self.silent.is_some();
        if let Some(kind) = self.silent {
            state.out.send(Hint::Failed(format!(
                "the checkout is on {kind}, which does not tell what is changed elsewhere"
            )));
        }
        self.rules.forget_all();
        let weak = Arc::downgrade(self);
        let deliver = move |delivery: DebounceEventResult| {
            if let Some(shared) = weak.upgrade() {
                shared.handle(delivery);
            }
        };
        let config = notify::Config::default().with_event_kinds(EventKindMask::CORE).with_follow_symlinks(false);
        let (slot, config) = (self.slot, config.with_poll_interval(self.slot));
        let mut debouncer = new_debouncer_opt::<_, Coalescing, _>(slot, Some(slot), deliver, NoCache::new(), config)
            .map_err(Error::watch(&self.root))?;
        for needed in [&self.git_dir, &self.root] {
            debouncer.watch(needed, RecursiveMode::NonRecursive).map_err(Error::watch(needed))?;
        }
        state.debouncer = Some(debouncer);
        state.watched.insert(Vec::new(), self.root_id);
        self.watch_tree(state, Vec::new(), Found::Known);
        self.follow_submodules(state);
        Ok(())
    }

    fn root_event(&self, state: &mut State, class: Class) {
        let still_there = self.directory_id(b"") == Some(self.root_id);
        if class == Class::Replaced && !still_there && !state.gone {
            state.gone = true;
            state.debouncer = None;
            state.watched.clear();
            state.out.send(Hint::RootGone);
        }
    }

    /// Git's directory came back or went: watch the one that is there now.
    fn git_dir_event(&self, state: &mut State, after: &mut Afterwards, class: Class) {
        if class == Class::Touched {
            return;
        }
        after.repository = true;
        if let Some(debouncer) = &mut state.debouncer {
            // It fails while there is none; its coming back is an event again.
            let _ = debouncer.unwatch(&self.git_dir);
            let _ = debouncer.watch(&self.git_dir, RecursiveMode::NonRecursive);
        }
    }

    fn git_event(&self, after: &mut Afterwards, path: &Path) {
        let name = path.file_name().unwrap_or_default().as_bytes();
        after.repository |= REPOSITORY_NAMES.contains(&name);
        after.index |= name == b"index";
    }

    fn changed(&self, state: &mut State, after: &mut Afterwards, path: &[u8], class: Class) {
        after.submodules |= names_submodules(path);
        let directory = self.directory_id(path);
        if class == Class::Touched && directory.is_some() && !self.is_opened_or_shut(state, path, directory) {
            return;
        }
        if class == Class::Replaced {
            self.rules.forget(path);
            self.forget(state, after, path);
        }
        let above = parent(path).unwrap_or_default();
        if path.rsplit(|byte| *byte == b'/').next() == Some(b".gitignore") {
            self.rules.forget(above);
            after.rules_changed.insert(above.to_vec());
        }
        if self.rules.is_excluded(path, directory.is_some()) {
            return;
        }
        state.out.send_at(Hint::Path(path.to_vec()), after.at);
        if directory.is_some() && state.watched.get(path) != directory.as_ref() {
            self.rules.forget(path);
            self.watch_tree(state, path.to_vec(), Found::News);
        }
    }

    /// Forgets the watches at and below a directory that is no longer what was watched there; notify
    /// itself took them back already, and forgets with the top what the debouncer knows beneath.
    fn forget(&self, state: &mut State, after: &mut Afterwards, path: &[u8]) {
        let stale: Vec<Vec<u8>> = beneath(&state.watched, path).cloned().collect();
        for path in &stale {
            state.watched.remove(path);
        }
        after.unwatched += usize::from(!stale.is_empty());
        if let (Some(debouncer), false) = (&mut state.debouncer, stale.is_empty())
            && after.unwatched <= MAX_UNWATCHED_PER_TICK
        {
            // Only forgetting is asked for; what cannot be unwatched is not watched.
            let _ = debouncer.unwatch(self.root.join(as_path(path)));
        }
    }

    /// Applies changed rules to the watches at and below a directory; the caller sends the Rescan.
    fn reexamine(self: &Arc<Self>, state: &mut State, directory: &[u8]) {
        let watched: Vec<Vec<u8>> = beneath_or_all(&state.watched, directory);
        let excluded: Vec<Vec<u8>> = watched.into_iter().filter(|path| self.rules.is_excluded(path, true)).collect();
        if excluded.len() > MAX_UNWATCHED_PER_TICK {
            return self.start_over(state);
        }
        for path in excluded {
            state.watched.remove(&path);
            if let Some(debouncer) = &mut state.debouncer {
                // A watch too many is no harm: its hints are dropped by the rules.
                let _ = debouncer.unwatch(self.root.join(as_path(&path)));
            }
        }
        self.watch_tree(state, directory.to_vec(), Found::Known);
    }

    /// Watches a directory and those beneath it, level by level: first watched, then listed, because
    /// files that arrive between the two would be missed the other way round.
    fn watch_tree(&self, state: &mut State, top: Vec<u8>, found: Found) {
        let mut level = vec![top];
        while !level.is_empty() {
            self.watch_level(state, &level);
            let mut below = Vec::new();
            for directory in &level {
                self.list(state, directory, found, &mut below);
            }
            level = below;
        }
    }

    fn watch_level(&self, state: &mut State, level: &[Vec<u8>]) {
        let known = level.iter().filter_map(|path| Some((path, self.directory_id(path)?)));
        let fresh: Vec<(&Vec<u8>, Id)> = known.filter(|(path, id)| state.watched.get(*path) != Some(id)).collect();
        let paths: Vec<PathBuf> = fresh.iter().map(|(path, _)| self.root.join(as_path(path))).collect();
        let refused = self.add_watches(state, &paths);
        for ((path, id), _) in fresh.into_iter().zip(&paths).filter(|(_, full)| !refused.contains(*full)) {
            state.watched.insert(path.clone(), id);
        }
    }

    /// Adds watches in one go and answers the paths that got none.
    fn add_watches(&self, state: &mut State, paths: &[PathBuf]) -> HashSet<PathBuf> {
        let mut refused = HashSet::new();
        let Some(debouncer) = &mut state.debouncer else { return refused };
        let config = WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
        let mut ops: Vec<PathOp> = paths.iter().map(|path| PathOp::Watch(path.clone(), config.clone())).collect();
        while let Err(error) = debouncer.update_paths(std::mem::take(&mut ops)) {
            let origin = error.origin.map(PathOp::into_path);
            refused.extend(origin.clone());
            match error.source.kind {
                // It went while we were on our way: its parent's event tells.
                ErrorKind::PathNotFound => ops = error.remaining,
                ErrorKind::MaxFilesWatch => {
                    refused.extend(error.remaining.into_iter().map(PathOp::into_path));
                    if !std::mem::replace(&mut state.limited, true) {
                        let placed = state.watched.len() + paths.len().saturating_sub(refused.len());
                        state.out.send(Hint::Failed(limit_message(placed)));
                    }
                }
                _ => {
                    state.limited = true;
                    state.out.send(Hint::Failed(self.refusal(origin.as_deref(), error.source)));
                    ops = error.remaining;
                }
            }
        }
        refused
    }

    /// Says which directory is not watched, and why.
    fn refusal(&self, directory: Option<&Path>, error: notify::Error) -> String {
        let relative = directory.map(|path| path.strip_prefix(&self.root).unwrap_or(path));
        let named =
            relative.map(|path| format!("the directory {} is not watched: ", shown(path.as_os_str().as_bytes())));
        format!("{}{}", named.unwrap_or_default(), words(error))
    }

    fn list(&self, state: &mut State, directory: &[u8], found: Found, below: &mut Vec<Vec<u8>>) {
        if found == Found::Known && self.has_no_directories(directory) {
            return;
        }
        // A directory that went has told so itself; one that may not be read was reported when watched.
        let Ok(entries) = fs::read_dir(self.root.join(as_path(directory))) else { return };
        for entry in entries.flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_dir && found == Found::Known {
                continue;
            }
            let path = joined(directory, entry.file_name().as_bytes());
            if self.rules.is_excluded(&path, is_dir) {
                continue;
            }
            match is_dir {
                true => below.push(path),
                false => state.out.send(Hint::Path(path)),
            }
        }
    }

    /// Answers whether a directory is known to have none in it, which saves reading it: most of a large checkout.
    fn has_no_directories(&self, path: &[u8]) -> bool {
        let links = || fs::symlink_metadata(self.root.join(as_path(path))).map(|found| (found.dev(), found.nlink()));
        // Another file system may be mounted below.
        self.counts_directories && links().is_ok_and(|found| found == (self.root_id.0, 2))
    }

    /// Answers whether a directory that was touched can be read by now and could not before, or the other way round.
    fn is_opened_or_shut(&self, state: &mut State, path: &[u8], id: Option<Id>) -> bool {
        let full = self.root.join(as_path(path));
        // Whoever may not search it cannot look at what it lists.
        let is_open = fs::read_dir(&full).is_ok() && fs::symlink_metadata(full.join(".")).is_ok();
        let was_shut = state.shut.contains(path) || state.watched.get(path) != id.as_ref();
        match is_open {
            true => state.shut.remove(path),
            false => state.shut.insert(path.to_vec()),
        };
        was_shut || !is_open
    }

    /// Answers which directory is at a path now, if it is one (a link to one is not).
    fn directory_id(&self, path: &[u8]) -> Option<Id> {
        let found = fs::symlink_metadata(self.root.join(as_path(path))).ok()?;
        found.is_dir().then(|| id_of(&found))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands hints to the caller without ever waiting for it.
#[derive(Debug)]
struct Outbox {
    tx: mpsc::Sender<Told>,
    /// The place kept for a Rescan. While it is used up, that Rescan is the last in the full channel, so
    /// whatever is dropped happened before the caller sees it.
    spare: Option<mpsc::OwnedPermit<Told>>,
}

impl Outbox {
    fn send(&mut self, hint: Hint) {
        self.send_at(hint, None);
    }

    fn send_at(&mut self, hint: Hint, at: Option<Instant>) {
        let at = at.unwrap_or_else(Instant::now);
        if self.spare.is_none() {
            self.spare = self.tx.clone().try_reserve_owned().ok();
        }
        if self.tx.try_send(Told { hint, at }).is_err()
            && let Some(spare) = self.spare.take()
        {
            spare.send(Told { hint: Hint::Rescan, at });
        }
    }
}

fn id_of(found: &Metadata) -> Id {
    (found.dev(), found.ino())
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory.is_empty() {
        true => name.to_vec(),
        false => [directory, b"/", name].concat(),
    }
}

fn beneath_or_all(watched: &BTreeMap<Vec<u8>, Id>, directory: &[u8]) -> Vec<Vec<u8>> {
    match directory.is_empty() {
        true => watched.keys().cloned().collect(),
        false => beneath(watched, directory).cloned().collect(),
    }
}

fn limit_message(watched: usize) -> String {
    format!(
        "the kernel's limit fs.inotify.max_user_watches is reached after {}: changes in the others are \
         found only by looking periodically; {RAISE_LIMITS}",
        if watched == 1 { "1 directory".to_owned() } else { format!("{watched} directories") }
    )
}

/// Says what is wrong without the paths, which notify would add as a programmer sees them.
fn words(error: notify::Error) -> String {
    notify::Error { paths: Vec::new(), ..error }.to_string()
}

fn error_chain(error: &Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[cfg(test)]
mod tests;
