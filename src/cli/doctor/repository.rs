//! The questions about the repository and what leads to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Shell, health, init};
use super::{Mode, of_error};
use crate::base::escape::{shell_word, shown};
use crate::base::units::count;
use crate::base::{Diagnosis, Timestamp, Verdict};
use crate::config::Config;
use crate::git::leftover::Leftover;
use crate::git::save::{DeadSave, IndexDamage, Obstacle};
use crate::git::setup::FoundHook;
use crate::git::{Error, Git, Head, Repo, Setup, WentBack, locks, version};

/// What the question about the repository as a whole is called.
pub const QUESTION: &str = "repository";

const LOCKS: &str = "locks";
const SAVES: &str = "saves";
const INDEX: &str = "index";
const LEFTOVERS: &str = "left-over files";
const HOOKS: &str = "hooks";
const REMOTE: &str = "remote";
const PUSHING: &str = "pushing";

/// A lock that is gone after this time was in use.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Most files that are named in one line.
const NAMED_FILES_LIMIT: usize = 3;

/// Answers which git program there is.
pub fn program(shell: &Shell) -> Diagnosis {
    match version::installed(&shell.directory, shell.edge.program_path().as_deref()) {
        Ok(found) => version::judged(&found),
        Err(problem) => version::missing(&problem),
    }
}

/// Asks what needs no network.
pub async fn local(git: &Git, config: Option<&Config>, mode: Mode, now: Timestamp) -> Vec<Diagnosis> {
    let branches = config.map(|config| config.branches().into_iter().map(str::to_owned).collect::<Vec<_>>());
    let sandbox = config.map(|config| config.sandbox.branch.clone());
    let asked = git.run(move |repo| {
        let mut all = locked(repo, mode, now);
        all.extend(saves(repo, sandbox, mode, now));
        all.push(index(repo, mode));
        all.push(leftovers(repo, mode, now));
        all.push(whole(repo, branches));
        all.push(hooks(repo));
        Ok(all)
    });
    asked.await.unwrap_or_else(|lost| vec![Diagnosis::of_error(QUESTION, &lost)])
}

/// What dead saves of ours left is put right; what others left is only told.
fn locked(repo: &Repo, mode: Mode, now: Timestamp) -> Vec<Diagnosis> {
    let (verdict, found) = match mode {
        Mode::Look => (Verdict::CanBeRepaired, repo.dead_saves().map(|dead| (Vec::new(), dead))),
        Mode::Repair => {
            (Verdict::Repaired, repo.clear_dead_locks().and_then(|locks| Ok((locks, repo.recover_save()?))))
        }
    };
    let (cleared, dead) = match found {
        Ok(found) => found,
        Err(problem) => return vec![of_error(LOCKS, &problem)],
    };
    let of_dead =
        |lock: &PathBuf| Diagnosis::new(LOCKS, verdict, format!("left by a killed process: {}", display(lock)));
    let mut all: Vec<Diagnosis> = cleared.iter().map(of_dead).collect();
    all.extend(dead.iter().map(|dead| Diagnosis::new(LOCKS, verdict, told(dead))));
    let ours = |path: &Path| dead.iter().any(|dead| dead.index.iter().chain(&dead.files).any(|own| own == path));
    match lasting_locks(repo, now) {
        Ok(locks) => {
            all.extend(locks.iter().filter(|lock| !ours(&lock.path)).map(|lock| locks::judged(LOCKS, lock)));
        }
        Err(problem) => all.push(of_error(LOCKS, &problem)),
    }
    if all.is_empty() {
        all.push(Diagnosis::ok(LOCKS, "none is there"));
    }
    all
}

fn told(dead: &DeadSave) -> String {
    let files: Vec<&Path> = dead.index.iter().chain(&dead.files).map(std::path::PathBuf::as_path).collect();
    let follows = if dead.index.is_some() { "; the index follows its branch" } else { "" };
    let commit: String = dead.commit.to_string().chars().take(10).collect();
    format!("left by a killed save of {commit}: {}{follows}", named(&files))
}

/// Lists the locks that are there for longer than a git command at work takes.
fn lasting_locks(repo: &Repo, now: Timestamp) -> crate::git::Result<Vec<locks::GitLock>> {
    let before = repo.locks(now)?;
    if before.is_empty() {
        return Ok(before);
    }
    std::thread::sleep(LOCK_PATIENCE);
    let after = repo.locks(now)?;
    Ok(after.into_iter().filter(|lock| before.iter().any(|earlier| earlier.path == lock.path)).collect())
}

/// Where saves do not wait for the disk a power cut may have taken some with it: the branch goes back to what is whole.
fn saves(repo: &Repo, sandbox: Option<String>, mode: Mode, now: Timestamp) -> Option<Diagnosis> {
    let sandbox = sandbox?;
    let lost = match repo.durable_tip().and_then(|durable| Ok((durable, repo.lost_saves(&sandbox)?))) {
        Ok((None, _)) => return None,
        Ok((Some(durable), None)) => {
            let detail = format!("all are whole; up to {} they are on the disk for certain", durable.short());
            return Some(Diagnosis::ok(SAVES, detail));
        }
        Ok((_, Some(lost))) => lost,
        Err(problem) => return Some(of_error(SAVES, &problem)),
    };
    let from = lost.tip.map_or_else(|| "nowhere".to_owned(), |tip| tip.short());
    let detail = format!("the newest on `{}` ({from}) are not whole: {}", shown(sandbox.as_bytes()), lost.reason);
    if mode == Mode::Look {
        let advice =
            format!("the branch goes back to the newest save that is whole, {} at the least", lost.durable.short());
        return Some(Diagnosis::new(SAVES, Verdict::CanBeRepaired, detail).advise(advice));
    }
    Some(match repo.go_back(&lost, now) {
        Ok(went) => Diagnosis::new(SAVES, Verdict::Repaired, format!("{detail}; it is back at {}", went.to.short()))
            .advise(gone_back(&went)),
        Err(problem) => of_error(SAVES, &problem),
    })
}

fn gone_back(went: &WentBack) -> String {
    let mut told = vec!["no file was changed: what is in the working tree is saved again by the watcher".to_owned()];
    told.extend(
        went.index.iter().map(|kept| format!("the index was made again, the old one is kept as {}", display(kept))),
    );
    let unreadable: Vec<&Path> = went.unreadable.iter().map(std::path::PathBuf::as_path).collect();
    if !unreadable.is_empty() {
        told.push(format!("what nobody can read got another name: {}", named(&unreadable)));
    }
    told.join("; ")
}

fn index(repo: &Repo, mode: Mode) -> Diagnosis {
    let damage = match repo.index_damage() {
        Ok(None) => return Diagnosis::ok(INDEX, "git can read it"),
        Ok(Some(damage)) => damage,
        Err(problem) => return of_error(INDEX, &problem),
    };
    if let Some(obstacle) = damage.obstacle {
        return by_hand(repo, &damage, obstacle);
    }
    if mode == Mode::Look {
        return Diagnosis::new(INDEX, Verdict::CanBeRepaired, damage.reason)
            .advise("it is made again from the commit at HEAD; the broken one is kept");
    }
    match repo.rebuild_index() {
        Ok(Some(rebuilt)) => {
            let detail = format!("{}: made again from commit {}", damage.reason, &rebuilt.commit.to_string()[..10]);
            let kept =
                rebuilt.kept.map_or_else(String::new, |kept| format!("the broken one is kept as {}; ", display(&kept)));
            Diagnosis::new(INDEX, Verdict::Repaired, detail)
                .advise(format!("{kept}what was staged is not staged any more, no file was changed"))
        }
        Ok(None) => Diagnosis::ok(INDEX, "git can read it again"),
        Err(problem) => of_error(INDEX, &problem),
    }
}

fn by_hand(repo: &Repo, damage: &IndexDamage, obstacle: Obstacle) -> Diagnosis {
    let path = |name| shell_word(repo.git_dir().join(name).as_os_str().as_encoded_bytes());
    let (index, kept) = (path("index"), path("index.broken"));
    let again = format!("mv {index} {kept} && git read-tree HEAD");
    let (why, advice) = match obstacle {
        Obstacle::Operation(operation) => (
            format!("a {operation} is in progress"),
            format!("`{again}`, then add again what was staged and go on with the {operation}"),
        ),
        Obstacle::Sparse => (
            "the checkout is sparse, and git (2.41 or newer) does not say by which patterns".to_owned(),
            // Until the second command is done, what is left out looks deleted.
            format!("while no watcher runs: `{again} && git sparse-checkout reapply`"),
        ),
        Obstacle::NoCommit => ("HEAD has no commit".to_owned(), format!("`mv {index} {kept}`, then `git add` again")),
        Obstacle::Unproven => (
            "whether it is broken is not proved".to_owned(),
            format!("if `git status` with the git that wrote it says so too: `{again}`"),
        ),
    };
    Diagnosis::problem(INDEX, format!("{}; not made again, because {why}", damage.reason), advice)
}

fn leftovers(repo: &Repo, mode: Mode, now: Timestamp) -> Diagnosis {
    let found = repo.leftovers(now).and_then(|mut found| {
        found.extend(init::leftovers(repo, now)?);
        Ok(found)
    });
    let found = match found {
        Ok(found) if found.is_empty() => return Diagnosis::ok(LEFTOVERS, "none of cascade's"),
        Ok(found) => found,
        Err(problem) => return of_error(LEFTOVERS, &problem),
    };
    let paths: Vec<&Path> = found.iter().map(|left| left.path.as_path()).collect();
    let detail = format!("{} of killed processes: {}", count(found.len(), "temporary file"), named(&paths));
    if mode == Mode::Look {
        return Diagnosis::new(LEFTOVERS, Verdict::CanBeRepaired, detail);
    }
    match found.iter().try_for_each(Leftover::remove) {
        Ok(()) => Diagnosis::new(LEFTOVERS, Verdict::Repaired, detail),
        Err(problem) => of_error(LEFTOVERS, &problem),
    }
}

/// Without a configuration only the branch at `HEAD` is known.
fn whole(repo: &Repo, branches: Option<Vec<String>>) -> Diagnosis {
    let current = || match repo.head() {
        Ok(Head::Branch { name, .. }) => vec![name],
        _ => Vec::new(),
    };
    let branches = branches.unwrap_or_else(current);
    match health::complete(repo, &branches) {
        Ok(detail) => Diagnosis::ok(QUESTION, detail),
        Err(problem) => {
            let found = of_error(QUESTION, &problem);
            let is_told = found.advice.is_some() || found.verdict == Verdict::Unknown;
            if is_told { found } else { found.advise(reference_advice(repo, branches.first())) }
        }
    }
}

/// Answers how to set right what says where branches are; git's own commands refuse to work without `HEAD`.
fn reference_advice(repo: &Repo, sandbox: Option<&String>) -> String {
    let branch = sandbox.map_or_else(|| "main".to_owned(), |branch| shown(branch.as_bytes()));
    if repo.head().is_err() {
        let path = shell_word(repo.git_dir().join("HEAD").as_os_str().as_encoded_bytes());
        return format!("say again which branch is checked out: `echo 'ref: refs/heads/{branch}' > {path}`");
    }
    "`git fsck` names what is damaged; where a branch was tell `git reflog show BRANCH`, `cascade history` and the remote"
        .to_owned()
}

fn hooks(repo: &Repo) -> Diagnosis {
    let setup = Setup::new(repo);
    let (hook, directory) = match setup.hook("pre-push").and_then(|hook| Ok((hook, setup.hooks_directory()?))) {
        Ok(found) => found,
        Err(problem) => return of_error(HOOKS, &problem),
    };
    let call = "call `cascade hook pre-push \"$@\"` from it";
    match hook {
        FoundHook::Program(path, content) => {
            let text = String::from_utf8_lossy(&content);
            if text.contains("cascade hook") || text.contains("\"$program\" hook pre-push") {
                return Diagnosis::ok(HOOKS, "pre-push is installed");
            }
            Diagnosis::problem(HOOKS, format!("{} does not call cascade", display(&path)), call)
        }
        FoundHook::NotExecutable(path) => {
            let command = format!("`chmod +x {}`", shell_word(path.as_os_str().as_encoded_bytes()));
            Diagnosis::problem(HOOKS, format!("{} may not be executed: git passes it over", display(&path)), command)
        }
        FoundHook::Missing if directory.own => {
            Diagnosis::problem(HOOKS, "pre-push is not installed: pushes are not looked at", "run `cascade init`")
        }
        FoundHook::Missing => {
            let detail = format!("{} (core.hooksPath) has no pre-push", display(&directory.path));
            Diagnosis::problem(HOOKS, detail, format!("add one there and {call}"))
        }
    }
}

/// Asks whether the remote answers, where there is one, and whether it lets us push.
pub async fn remote(git: &Git, config: Option<&Config>) -> Option<Vec<Diagnosis>> {
    let config = config?;
    let (name, branch) = (config.remote.clone(), config.sandbox.branch.clone());
    let asked = git.run(move |repo| {
        let remote = shown(name.as_bytes());
        if !repo.has_remote(&name) {
            return Ok(vec![Diagnosis::ok(REMOTE, format!("there is no `{remote}`: nothing is pushed"))]);
        }
        let problem = match repo.probe(&name, &branch) {
            Ok(()) => {
                let answers = Diagnosis::ok(REMOTE, format!("{remote} answers"));
                return Ok([Some(answers), pushing(repo, &name, &branch)].into_iter().flatten().collect());
            }
            Err(problem) => problem,
        };
        let found = of_error(REMOTE, &problem);
        let is_problem = found.verdict == Verdict::Problem;
        Ok(vec![if is_problem { found.advise(repo.access_advice(&name, &problem)) } else { found }])
    });
    Some(asked.await.unwrap_or_else(|lost| vec![Diagnosis::of_error(REMOTE, &lost)]))
}

/// Asks a remote that answers whether it takes what is pushed; nothing where there is nothing to push.
fn pushing(repo: &Repo, remote: &str, branch: &str) -> Option<Diagnosis> {
    let tip = repo.branch_tip(branch).ok().flatten()?;
    let place = format!("`{}` to {}", shown(branch.as_bytes()), shown(remote.as_bytes()));
    Some(match repo.probe_push(remote, tip, branch) {
        Ok(()) => Diagnosis::ok(PUSHING, format!("{place} is allowed, as far as it tells before a push")),
        Err(Error::RemoteMoved { .. }) => {
            Diagnosis::ok(PUSHING, format!("{place} is allowed, once what others pushed there is brought in"))
        }
        Err(problem @ Error::RemoteDenied { .. }) => of_error(PUSHING, &problem).advise(format!(
            "it may be read and not written: give this account the right to push, or use another key or token; {}",
            repo.access_advice(remote, &problem)
        )),
        Err(problem) => of_error(PUSHING, &problem),
    })
}

fn named(paths: &[&Path]) -> String {
    let mut names: Vec<String> = paths.iter().take(NAMED_FILES_LIMIT).map(|path| display(path)).collect();
    if paths.len() > NAMED_FILES_LIMIT {
        names.push(format!("and {} more", paths.len() - NAMED_FILES_LIMIT));
    }
    names.join(", ")
}

fn display(path: &Path) -> String {
    shown(path.as_os_str().as_encoded_bytes())
}
