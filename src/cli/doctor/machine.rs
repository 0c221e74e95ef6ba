//! The questions about the machine and about what cascade keeps on it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::status::{Sandbox, sandbox};
use super::super::{Shell, words};
use super::{Mode, ledger, of_error, of_failure};
use crate::base::clock::behind;
use crate::base::escape::{shell_word, shown};
use crate::base::{Diagnosis, Timestamp, Verdict};
use crate::check::space::Space;
use crate::config::Config;
use crate::git::{CommitSummary, Git};
use crate::promote;
use crate::store::{Error as StoreError, Home, Lock, LockError, ProjectHome, SandboxState, Store};
use crate::watch::{Rules, limits};

const HOME: &str = "cascade's directory";
const DATABASE: &str = "database";
const DISK: &str = "disk space";
const CLOCK: &str = "clock";
const SCRATCH: &str = "scratch checkouts";
const WATCHER: &str = "watcher";
const WATCHES: &str = "watch limits";

/// Asks about everything around the repository.
pub async fn all(shell: &Shell, git: &Git, config: Option<&Config>, mode: Mode, now: Timestamp) -> Vec<Diagnosis> {
    let (mut all, repo) = (home(shell), shell.repo());
    let places =
        repo.and_then(|repo| Ok((shell.edge.home()?, shell.project_home(&repo)?, repo.common_dir().to_owned())));
    // The same questions have told already why not.
    let Ok((home, project, common_dir)) = places else { return all };
    all.push(room(&common_dir.join("objects"), "the repository"));
    let (database, store) = database(&home, &project).await;
    all.push(database);
    all.push(clock(git, config, store.as_ref(), now).await);
    if let Some(config) = config {
        let places = ledger::Places { home: &home, project: &project };
        all.extend(ledger::all(git, config, places, mode, now).await);
        all.push(scratches(git, config, &project, mode).await);
        all.extend(watching(git, config, &project, common_dir).await);
        all.push(watcher(shell, &project, store.is_some()).await);
    }
    if let Some(store) = store {
        store.close().await;
    }
    all
}

/// Asks about the directory of cascade's own files.
pub fn home(shell: &Shell) -> Vec<Diagnosis> {
    match shell.edge.home() {
        Ok(home) => vec![writable(home.root()), room(home.root(), "cascade's own files")],
        Err(failure) => vec![of_failure(HOME, &failure)],
    }
}

fn writable(root: &Path) -> Diagnosis {
    let existing = root.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let path = shown(root.as_os_str().as_encoded_bytes());
    let may_write = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let place = match existing.is_dir() {
        true => rustix::fs::access(existing, may_write).map_err(|refused| refused.to_string()),
        false => Err("it is not a directory".to_owned()),
    };
    match place {
        Ok(()) if existing == root => Diagnosis::ok(HOME, path),
        Ok(()) => Diagnosis::ok(HOME, format!("{path} is made when it is needed")),
        Err(reason) => Diagnosis::problem(
            HOME,
            format!("{path} cannot be written: {reason}"),
            "make it writable for this user, or set CASCADE_HOME to another directory",
        ),
    }
}

fn room(directory: &Path, place: &str) -> Diagnosis {
    match Space::at(directory) {
        Ok(space) => space.judged(DISK, place),
        Err(refused) => Diagnosis::new(DISK, Verdict::Unknown, format!("{place}: {refused}")),
    }
}

/// A database that is not there yet is not made.
async fn database(home: &Home, project: &ProjectHome) -> (Diagnosis, Option<Store>) {
    let path = home.database();
    if !path.exists() {
        return (Diagnosis::ok(DATABASE, "nothing is recorded yet"), None);
    }
    let aside = |detail: String| {
        // With its write-ahead log, which must not be taken for a new database's.
        let kept = shell_word(home.root().join("broken").as_os_str().as_encoded_bytes());
        let advice = format!(
            "stop the watcher, then move it aside: `mkdir {kept} && mv {}* {kept}/`; what environments contain is in \
             git and stays, history and approvals are lost",
            shell_word(path.as_os_str().as_encoded_bytes())
        );
        Diagnosis::problem(DATABASE, detail, advice)
    };
    let store = match Store::open(home, project).await {
        Ok(store) => store,
        // It may be as good as ever.
        Err(problem @ StoreError::Unwritable { .. }) => return (Diagnosis::of_error(DATABASE, &problem), None),
        Err(problem) => return (aside(Diagnosis::of_error(DATABASE, &problem).detail), None),
    };
    match store.damage().await {
        Ok(damage) if damage.is_empty() => (Diagnosis::ok(DATABASE, "whole"), Some(store)),
        Ok(damage) => (aside(damage.join("; ")), Some(store)),
        Err(problem) => (aside(Diagnosis::of_error(DATABASE, &problem).detail), Some(store)),
    }
}

async fn clock(git: &Git, config: Option<&Config>, store: Option<&Store>, now: Timestamp) -> Diagnosis {
    let branches: Vec<String> =
        config.map(|config| config.branches().into_iter().map(str::to_owned).collect()).unwrap_or_default();
    let commit = match git.run(move |repo| Ok(repo.newest_tip(&branches))).await {
        Ok(commit) => commit,
        Err(problem) => return of_error(CLOCK, &problem),
    };
    let record = match store {
        Some(store) => store.newest_record().await,
        None => Ok(None),
    };
    match record {
        Ok(record) => judged_clock(now, commit.as_ref(), record),
        Err(problem) => Diagnosis::of_error(CLOCK, &problem),
    }
}

fn judged_clock(now: Timestamp, commit: Option<&CommitSummary>, record: Option<Timestamp>) -> Diagnosis {
    let set = "set the clock: `sudo timedatectl set-ntp true`";
    let says = format!("it says {}", words::moment(now));
    if let Some(at) = record.filter(|at| behind(now, *at).is_some()) {
        return Diagnosis::problem(CLOCK, format!("{says}, but something was recorded at {}", words::moment(at)), set);
    }
    match commit.filter(|commit| behind(now, commit.at).is_some()) {
        Some(commit) => Diagnosis::problem(
            CLOCK,
            format!("{says}, but commit {} was made at {}", commit.id.short(), words::moment(commit.at)),
            format!("{set}; if it is right, the clock of whoever made the commit was wrong"),
        ),
        None => Diagnosis::ok(CLOCK, says),
    }
}

/// Scratch checkouts that no environment has any more, or that can only be made afresh, are removed, while nobody
/// promotes.
async fn scratches(git: &Git, config: &Config, project: &ProjectHome, mode: Mode) -> Diagnosis {
    let slots = config.checks_at_once();
    let names = config.environments.keys().flat_map(|name| promote::scratch_names(name, slots));
    let wanted: BTreeSet<PathBuf> = names.map(|name| project.scratch(&name)).collect();
    let found = match project.scratches() {
        Ok(found) if found.is_empty() => return Diagnosis::ok(SCRATCH, "none is there"),
        Ok(found) => found,
        Err(refused) => return Diagnosis::new(SCRATCH, Verdict::Unknown, refused.to_string()),
    };
    let lock = match idle(project, mode) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Diagnosis::ok(SCRATCH, "in use by a promotion"),
        Err(problem) => return Diagnosis::of_error(SCRATCH, &crate::store::Error::from(problem)),
    };
    let number = found.len();
    let examined = git.run(move |repo| {
        let why = |path: &PathBuf| match wanted.contains(path) {
            false => Some("no environment has it".to_owned()),
            true => repo.scratch_damage(path),
        };
        Ok(found.into_iter().filter_map(|path| why(&path).map(|why| (path, why))).collect::<Vec<_>>())
    });
    let diagnosis = match examined.await {
        Ok(useless) if useless.is_empty() => Diagnosis::ok(SCRATCH, format!("{number} can be used")),
        Ok(useless) => cleared(&useless, mode),
        Err(problem) => of_error(SCRATCH, &problem),
    };
    drop(lock);
    diagnosis
}

/// Keeps promotions away while scratch checkouts are removed; for a mere look it is enough that there is none.
pub(super) fn idle(project: &ProjectHome, mode: Mode) -> Result<Option<Lock>, LockError> {
    let path = project.promotion_lock();
    if mode == Mode::Repair {
        return Lock::take(&path).map(Some);
    }
    match Lock::holder(&path)? {
        None => Ok(None),
        pid => Err(LockError::Held { path, pid }),
    }
}

fn cleared(useless: &[(PathBuf, String)], mode: Mode) -> Diagnosis {
    let told = |(path, why): &(PathBuf, String)| format!("{} ({why})", shown(path.as_os_str().as_encoded_bytes()));
    let detail = useless.iter().map(told).collect::<Vec<_>>().join(", ");
    if mode == Mode::Look {
        return Diagnosis::new(SCRATCH, Verdict::CanBeRepaired, detail);
    }
    match useless.iter().try_for_each(|(path, _)| remove(path)) {
        Ok(()) => Diagnosis::new(SCRATCH, Verdict::Repaired, format!("removed: {detail}")),
        Err(refused) => {
            Diagnosis::problem(SCRATCH, format!("{detail}: {refused}"), "remove it with the right to do so")
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

async fn watching(git: &Git, config: &Config, project: &ProjectHome, common_dir: PathBuf) -> Vec<Diagnosis> {
    let watcher = Lock::holder(&project.sandbox_lock()).ok().flatten();
    let (root, exclude) = (git.root().to_owned(), config.sandbox.exclude.clone());
    let read = git.run(|repo| Ok((repo.excludes_file(), repo.ignores_case()?))).await;
    let (excludes_file, folds) = read.unwrap_or_default();
    let asked = tokio::task::spawn_blocking(move || {
        let mut all = vec![limits::file_system(&root)];
        let Some(allowed) = limits::allowed() else { return all };
        all.push(match Rules::load(&root, &common_dir, &exclude, excludes_file.as_deref()) {
            Ok(rules) => {
                let needed = limits::needed(&root, &rules.folding_case(folds));
                limits::judged(allowed, needed, limits::used_by_others(watcher))
            }
            Err(problem) => Diagnosis::of_error(WATCHES, &problem),
        });
        all
    });
    asked.await.unwrap_or_else(|lost| vec![Diagnosis::new(WATCHES, Verdict::Unknown, lost.to_string())])
}

async fn watcher(shell: &Shell, project: &ProjectHome, has_store: bool) -> Diagnosis {
    match Lock::holder(&project.sandbox_lock()) {
        // Without a database no watcher has ever run, or what it said cannot be read.
        Ok(None) if !has_store => return stopped(),
        Ok(Some(pid)) if !has_store => {
            return Diagnosis::new(WATCHER, Verdict::Unknown, format!("process {pid}, but nothing can be read of it"));
        }
        Ok(_) => {}
        Err(problem) => return Diagnosis::of_error(WATCHER, &crate::store::Error::from(problem)),
    }
    let told = match shell.context().await {
        Ok(ctx) => sandbox(&ctx).await,
        Err(failure) => Err(failure),
    };
    told.map_or_else(|failure| of_failure(WATCHER, &failure), |sandbox| judged_watcher(&sandbox))
}

fn stopped() -> Diagnosis {
    Diagnosis::ok(WATCHER, "it is not running; `cascade start` starts it")
}

fn judged_watcher(sandbox: &Sandbox) -> Diagnosis {
    let reason = sandbox.reason.clone().unwrap_or_default();
    match (sandbox.state, &sandbox.push_problem) {
        (SandboxState::Stopped, _) => stopped(),
        _ if sandbox.is_silent => Diagnosis::problem(WATCHER, reason, "start it again: `cascade restart`"),
        (SandboxState::Paused, _) => Diagnosis::problem(
            WATCHER,
            format!("saving is paused: {reason}"),
            "it goes on by itself once the reason is gone; `cascade logs` tells more",
        ),
        (SandboxState::Watching, Some(problem)) => {
            let again =
                sandbox.push_again.map(|at| format!("it is tried again at {} at the latest", words::moment(at)));
            let again = again.unwrap_or_else(|| "it goes on by itself once that is settled".to_owned());
            let advice = format!("what is saved is safe here, and {again}");
            Diagnosis::problem(WATCHER, format!("it cannot push: {problem}"), advice)
        }
        (SandboxState::Watching, None) => match (&sandbox.elsewhere, &sandbox.limited) {
            (Some(watched), _) => Diagnosis::ok(WATCHER, format!("it runs in {watched}: nothing is saved here")),
            (None, Some(reason)) => {
                let advice = "it goes on; once more is allowed: `cascade restart`";
                Diagnosis::problem(WATCHER, format!("it looks at everything each minute: {reason}"), advice)
            }
            (None, None) => Diagnosis::ok(WATCHER, "it runs"),
        },
    }
}
