//! Locks of git's that are there now: how old they are, and whether somebody still needs them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Oid;

use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::escape::{shell_word, shown};
use crate::base::units::Span;
use crate::base::{Diagnosis, Timestamp, Verdict};

/// Git commands take their locks for moments: a younger one may just be in use.
const YOUNG_LIMIT: Duration = Duration::from_secs(60);
/// Who holds a lock for longer hangs, or waits for a person.
const HELD_LIMIT: Duration = Duration::from_secs(600);
/// Where references are that only cascade moves.
const OWN_REFERENCES: &str = "refs/cascade";
/// How long a lock on a reference stays as it is before it is taken for a dead process's.
const DEAD_LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Directories of references are not searched deeper than this.
const DEPTH_LIMIT: usize = 32;

/// A lock of git's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitLock {
    /// The file.
    pub path: PathBuf,
    /// How long it has been there.
    pub age: Duration,
    /// Processes that may need it; nothing where the system does not tell.
    pub users: Option<Vec<User>>,
}

/// A process that has a lock open, or a git program at work in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub pid: u32,
    /// Its name, escaped.
    pub name: String,
}

impl Repo {
    /// Lists git's locks: on the index, `HEAD`, the configuration, and on every reference.
    ///
    /// # Errors
    /// Git's directory cannot be read.
    pub fn locks(&self, now: Timestamp) -> Result<Vec<GitLock>> {
        let (git_dir, common) = (self.git_dir(), self.common_dir());
        let own = ["index.lock", "HEAD.lock"].map(|name| git_dir.join(name));
        let shared = ["HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock"].map(|name| common.join(name));
        let mut paths: Vec<PathBuf> = own.into_iter().chain(shared).collect();
        collect(&common.join("refs"), 0, &mut paths).map_err(Error::io("list", common.join("refs")))?;
        paths.sort();
        paths.dedup();
        let found: Vec<(PathBuf, Duration)> =
            paths.into_iter().filter_map(|path| age(&path, now).map(|age| (path, age))).collect();
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let processes = processes(self.root());
        Ok(found.into_iter().map(|(path, age)| GitLock { users: users(&processes, &path), path, age }).collect())
    }

    /// Removes the locks on references of cascade's own that nobody holds any more; answers them.
    ///
    /// Where the system does not tell who has a file open they stay.
    ///
    /// # Errors
    /// Git's directory cannot be read, or a lock not be removed.
    pub fn clear_dead_locks(&self) -> Result<Vec<PathBuf>> {
        let own = self.common_dir().join(OWN_REFERENCES);
        let mut locks = Vec::new();
        if own.is_dir() {
            collect(&own, 0, &mut locks).map_err(Error::io("list", &own))?;
        }
        if locks.is_empty() {
            return Ok(locks);
        }
        let before: Vec<Option<u64>> = locks.iter().map(|lock| inode(lock)).collect();
        std::thread::sleep(DEAD_LOCK_PATIENCE);
        let processes = processes(self.root());
        let is_dead = |lock: &Path, before: Option<u64>| {
            let is_held = users(&processes, lock).is_none_or(|users| !users.is_empty()) || is_open_here(lock);
            before.is_some() && inode(lock) == before && !is_held
        };
        let dead = locks.into_iter().zip(before).filter(|(lock, before)| is_dead(lock, *before)).map(|(lock, _)| lock);
        dead.map(|lock| fs::remove_file(&lock).map_err(Error::io("clear away", &lock)).map(|()| lock)).collect()
    }

    /// Answers whether a lock on a reference was left by somebody who was to move it to `commit` and died: it names that
    /// commit, or nothing was written into it yet. One that somebody living has just made does not stay empty, except
    /// where git locks many references at once.
    pub(super) fn is_dead_lock(&self, lock: &Path, commit: Oid) -> bool {
        let is_empty = || fs::read(lock).is_ok_and(|bytes| bytes.is_empty());
        if is_empty() {
            std::thread::sleep(DEAD_LOCK_PATIENCE);
            return is_empty() && users(&processes(self.root()), lock).is_some_and(|users| users.is_empty());
        }
        fs::read(lock).is_ok_and(|bytes| bytes.trim_ascii() == commit.to_string().as_bytes())
    }
}

/// Answers what a lock of unknown origin means. It is never removed: nobody can prove whose it is.
#[must_use]
pub fn judged(question: &'static str, lock: &GitLock) -> Diagnosis {
    let path = lock.path.to_string_lossy();
    let seconds = lock.age.as_secs();
    let age = Span::seconds(if seconds < 60 { seconds } else { seconds - seconds % 60 });
    let there = format!("{} is there for {age}", shown(path.as_bytes()));
    let remove = format!(
        "when no git command runs in this repository: `rm {}`",
        shell_word(lock.path.as_os_str().as_encoded_bytes())
    );
    if let Some(user) = lock.users.as_ref().and_then(|users| users.first()) {
        let needed = format!("{there}: {} (process {}) may need it", user.name, user.pid);
        return if lock.age < HELD_LIMIT {
            Diagnosis::ok(question, needed)
        } else {
            let end = format!("see what it waits for, end it if it hangs (`kill {}`)", user.pid);
            Diagnosis::problem(question, needed, format!("{end}; {remove}"))
        };
    }
    if lock.age < YOUNG_LIMIT {
        return Diagnosis::new(question, Verdict::Unknown, format!("{there}: a git command may be at work"))
            .advise("ask again in a minute");
    }
    let nobody = match lock.users {
        Some(_) => "no process that can be seen has it open",
        None => "whether a process has it open cannot be seen here",
    };
    Diagnosis::problem(question, format!("{there}: {nobody}"), remove)
}

fn collect(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && depth < DEPTH_LIMIT {
            collect(&path, depth + 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "lock") {
            found.push(path);
        }
    }
    Ok(())
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// Answers whether this very process has a file open.
fn is_open_here(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    look(std::process::id(), Path::new("/proc/self"), Path::new("/")).files.contains(&real)
}

fn age(path: &Path, now: Timestamp) -> Option<Duration> {
    let modified = fs::symlink_metadata(path).ok()?.modified().ok()?;
    let at_ms = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    let now_ms = u128::try_from(now.as_millisecond()).unwrap_or(0);
    let age_ms = u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(u64::MAX);
    Some(Duration::from_millis(age_ms))
}

/// A process as far as it can be seen.
struct Process {
    user: User,
    files: Vec<PathBuf>,
    is_git_here: bool,
}

/// Lists the processes that this user may look into; nothing where the system has no `/proc`.
fn processes(root: &Path) -> Option<Vec<Process>> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let numbered = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let seen: Vec<Process> = numbered.filter(|(pid, _)| *pid != own).map(|(pid, at)| look(pid, &at, root)).collect();
    (!seen.is_empty()).then_some(seen)
}

fn look(pid: u32, at: &Path, root: &Path) -> Process {
    let name = fs::read(at.join("comm")).unwrap_or_default();
    // Links are read and never followed: nothing waits for a file system that does not answer.
    let open = fs::read_dir(at.join("fd")).into_iter().flatten().flatten();
    let files = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let is_here = fs::read_link(at.join("cwd")).is_ok_and(|directory| directory.starts_with(root));
    let is_git_here = name.starts_with(b"git") && is_here;
    Process { user: User { pid, name: shown(name.trim_ascii()) }, files, is_git_here }
}

fn users(processes: &Option<Vec<Process>>, lock: &Path) -> Option<Vec<User>> {
    let real = lock.canonicalize().unwrap_or_else(|_| lock.to_owned());
    let needs = |process: &&Process| process.is_git_here || process.files.contains(&real);
    Some(processes.as_ref()?.iter().filter(needs).map(|process| process.user.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(age_seconds: u64, users: Option<&[u32]>) -> GitLock {
        let user = |pid: &u32| User { pid: *pid, name: "git".to_owned() };
        let users = users.map(|pids| pids.iter().map(user).collect());
        GitLock { path: "/my site/.git/index.lock".into(), age: Duration::from_secs(age_seconds), users }
    }

    #[test]
    fn a_lock_that_nobody_needs_is_a_problem_with_the_command_that_removes_it() {
        let found = judged("locks", &lock(7_200, Some(&[])));
        assert_eq!(found.verdict, Verdict::Problem);
        assert_eq!(found.detail, "/my site/.git/index.lock is there for 2h: no process that can be seen has it open");
        assert!(found.advice.unwrap().ends_with("`rm '/my site/.git/index.lock'`"));
        assert!(judged("locks", &lock(7_200, None)).detail.ends_with("cannot be seen here"));
    }

    #[test]
    fn a_lock_in_use_is_in_order_until_it_is_held_too_long() {
        assert_eq!(judged("locks", &lock(599, Some(&[7]))).verdict, Verdict::Ok);
        let held = judged("locks", &lock(600, Some(&[7])));
        assert_eq!(held.verdict, Verdict::Problem);
        assert!(held.advice.unwrap().contains("`kill 7`"));
    }

    #[test]
    fn nothing_is_said_about_a_young_lock() {
        assert_eq!(judged("locks", &lock(59, Some(&[]))).verdict, Verdict::Unknown);
        assert_eq!(judged("locks", &lock(60, Some(&[]))).verdict, Verdict::Problem);
    }

    #[test]
    fn a_process_that_has_the_lock_open_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("index.lock");
        let file = fs::File::create(&path).unwrap();
        let mut holder = std::process::Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
        let seen = users(&processes(Path::new("/nowhere")), &path);
        holder.kill().unwrap();
        holder.wait().unwrap();
        // A child of another test may have it too, for the moment between its beginning and its program's; and a name
        // changes a moment after its program has begun.
        let seen: Vec<u32> = seen.unwrap().into_iter().map(|user| user.pid).collect();
        assert!(seen.contains(&holder.id()), "{seen:?}");
    }
}
