//! What can go wrong with git, by what the caller does about it.

use std::io;
use std::path::PathBuf;

use crate::base::escape::shell_word;
use crate::base::id::ObjectId;
use crate::base::{ErrorKind, Kinded};

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a git operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repository at or above a directory.
    #[error("{} is not inside a git repository", .path.display())]
    NotARepository {
        /// Where the search began.
        path: PathBuf,
    },
    /// The repository has no working tree.
    #[error("{} is a bare repository: cascade needs a checkout", .path.display())]
    Bare {
        /// The repository.
        path: PathBuf,
    },
    /// The repository has no commit to build on.
    #[error("{} has no commits yet", .path.display())]
    NoCommits {
        /// The checkout.
        path: PathBuf,
    },
    /// The repository keeps its objects or references in a way that libgit2 cannot read.
    #[error("cascade does not support {what}, as {} has it", .path.display())]
    Format {
        /// Where the repository is.
        path: PathBuf,
        /// The way.
        what: &'static str,
        /// How to make a repository that is supported.
        instead: &'static str,
    },
    /// The repository belongs to somebody else.
    #[error("{} belongs to another user", .path.display())]
    Foreign {
        /// Its top.
        path: PathBuf,
    },
    /// The repository has something else that libgit2 cannot read.
    #[error("{} cannot be opened: {reason}", .path.display())]
    Unsupported {
        /// The repository.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A branch does not exist.
    #[error("branch `{name}` does not exist")]
    BranchMissing {
        /// The branch's short name.
        name: String,
    },
    /// A branch that somebody named exists neither here nor on the remote.
    #[error("there is no branch `{name}`, neither here nor on {remote}")]
    BranchUnknown {
        /// The branch's short name, escaped.
        name: String,
        /// The remote.
        remote: String,
    },
    /// A name is not a valid branch name.
    #[error("`{name}` is not a valid branch name")]
    InvalidBranch {
        /// The name, escaped.
        name: String,
    },
    /// Somebody else moved a reference first.
    #[error("`{name}` moved: expected {}, found {}", shown_oid(.expected), shown_oid(.found))]
    RefMoved {
        /// The full reference name.
        name: String,
        /// What it should have been (none: absent).
        expected: Option<ObjectId>,
        /// What it is (none: absent).
        found: Option<ObjectId>,
    },
    /// Another program holds a lock of git's.
    #[error("{} is held by another git process", .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A merge has conflicts.
    #[error("merging {source_commit} conflicts in {}", .paths.join(", "))]
    MergeConflict {
        /// The commit that was merged in.
        source_commit: ObjectId,
        /// The paths in conflict, escaped.
        paths: Vec<String>,
    },
    /// The remote does not accept an update because its branch is elsewhere.
    #[error("remote `{remote}` has other commits on `{branch}`")]
    RemoteMoved {
        /// The remote's name.
        remote: String,
        /// The branch.
        branch: String,
    },
    /// The remote refuses an update: a hook, a protected branch, a rule.
    #[error("remote `{remote}` refused `{branch}`: {reason}")]
    RemoteRefused {
        /// The remote's name.
        remote: String,
        /// The branch.
        branch: String,
        /// The remote's own words, escaped.
        reason: String,
    },
    /// The remote wants other credentials.
    #[error("remote `{remote}` denied access: {reason}")]
    RemoteDenied {
        /// The remote's name.
        remote: String,
        /// Its words, escaped.
        reason: String,
    },
    /// The remote cannot be reached.
    #[error("remote `{remote}` cannot be reached: {reason}")]
    RemoteUnavailable {
        /// The remote's name.
        remote: String,
        /// What git said, escaped.
        reason: String,
    },
    /// A signature is required and cannot be made.
    #[error("its entry in the ledger cannot be signed: {reason}")]
    NotSigned {
        /// Why not, escaped.
        reason: String,
    },
    /// Git is told to sign commits, and this one cannot be signed.
    #[error("its commit cannot be signed, as `commit.gpgSign` wants it: {reason}")]
    CommitNotSigned {
        /// Why not, escaped.
        reason: String,
    },
    /// Git is told to sign commits, and a save cannot be signed.
    #[error("the save cannot be signed: {reason}")]
    SaveNotSigned {
        /// What git said, escaped.
        reason: String,
    },
    /// The git program is not installed.
    #[error("the git program was not found")]
    ProgramMissing,
    /// The git program failed.
    #[error("git failed at {}: {message}", purpose(.command))]
    Program {
        /// Subcommand and arguments, escaped.
        command: String,
        /// The end of what it printed, escaped.
        message: String,
    },
    /// The git program did not end in time and was stopped.
    #[error("{}", too_slow(.command, *.seconds))]
    ProgramTimeout {
        /// Subcommand and arguments, escaped.
        command: String,
        /// The limit in seconds.
        seconds: u64,
    },
    /// An object that must exist is missing or unreadable, or content read back differs.
    #[error("{what} is not what it must be: {reason}")]
    Integrity {
        /// The object or reference.
        what: String,
        /// What was found.
        reason: String,
    },
    /// The index is damaged, so that nothing may be built on it.
    #[error("the index {} is damaged: {reason}", .path.display())]
    IndexDamaged {
        /// The index.
        path: PathBuf,
        /// What proves it.
        reason: String,
    },
    /// The newest saves of a branch are not whole: a power cut came before they were on the disk.
    #[error("the newest saves on `{branch}` are not whole, as after a power cut: {reason}")]
    SavesLost {
        /// Short name of the branch.
        branch: String,
        /// What was found, escaped.
        reason: String,
        /// Up to here everything was on the disk.
        durable: ObjectId,
    },
    /// What a remote keeps in the place of the ledger is none.
    #[error("refs/cascade/ledger on remote `{remote}` is no ledger: {found} is no commit")]
    NotALedger {
        /// The remote's name.
        remote: String,
        /// What is there.
        found: ObjectId,
    },
    /// The file system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// libgit2 refused.
    #[error("cannot {action}")]
    Library {
        /// What was tried, as a verb with its object.
        action: String,
        /// Why not.
        source: git2::Error,
    },
    /// The blocking pool lost a piece of work.
    #[error("git work ended early: {0}")]
    Lost(String),
}

fn too_slow(command: &str, seconds: u64) -> String {
    match purpose(command) {
        purpose @ ("asking the remote" | "fetching from the remote" | "pushing to the remote") => {
            let remote = remote_of(command).map_or_else(|| "the remote".to_owned(), |name| format!("remote `{name}`"));
            format!("{remote} did not answer within {seconds} s ({purpose})")
        }
        purpose => format!("{purpose} took longer than {seconds} s and was stopped"),
    }
}

/// Answers the remote that a call of the git program talks to: the first word that is no option.
fn remote_of(command: &str) -> Option<&str> {
    command.split(' ').skip_while(|word| *word != "--end-of-options").nth(1)
}

/// Answers what a call of the git program is for, by its subcommand: what it was called with says nothing to people.
fn purpose(command: &str) -> &'static str {
    let mut words = command.split(' ');
    let mut subcommand = words.next();
    while subcommand == Some("-c") {
        subcommand = words.nth(1);
    }
    match subcommand.unwrap_or_default() {
        "status" | "diff-index" | "diff-files" | "ls-files" => "looking for changes",
        "log" | "rev-list" | "rev-parse" | "show" | "diff" | "diff-tree" | "ls-tree" | "cat-file" | "for-each-ref" => {
            "reading commits"
        }
        "config" => "reading its settings",
        "check-attr" | "sparse-checkout" => "reading what it is told about files",
        "hash-object" => "storing the content of a file",
        "commit-tree" | "commit" | "mktree" => "making a commit",
        "update-ref" | "symbolic-ref" => "moving a branch",
        "update-index" | "read-tree" => "writing its index",
        "merge-tree" | "merge" | "merge-base" | "merge-file" => "merging",
        "checkout" | "worktree" | "clean" | "reset" | "checkout-index" => "preparing a checkout",
        "gc" | "repack" | "prune" | "pack-refs" => "joining packs",
        "fsck" => "looking for damage",
        "ls-remote" => "asking the remote",
        "fetch" => "fetching from the remote",
        "push" => "pushing to the remote",
        _ => "its work",
    }
}

fn shown_oid(id: &Option<ObjectId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.short())
}

impl Error {
    /// Wraps a libgit2 error with what was tried.
    pub(crate) fn library(action: impl Into<String>) -> impl FnOnce(git2::Error) -> Self {
        let action = action.into();
        move |source| Self::Library { action, source }
    }

    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotARepository { .. }
            | Self::Bare { .. }
            | Self::NoCommits { .. }
            | Self::Format { .. }
            | Self::Foreign { .. }
            | Self::Unsupported { .. }
            | Self::BranchMissing { .. }
            | Self::BranchUnknown { .. }
            | Self::InvalidBranch { .. } => ErrorKind::Usage,
            Self::RefMoved { .. } | Self::RemoteMoved { .. } => ErrorKind::Superseded,
            Self::MergeConflict { .. } => ErrorKind::Conflict,
            Self::RemoteRefused { .. }
            | Self::RemoteDenied { .. }
            | Self::NotSigned { .. }
            | Self::CommitNotSigned { .. }
            | Self::SaveNotSigned { .. } => ErrorKind::Denied,
            Self::Locked { .. }
            | Self::RemoteUnavailable { .. }
            | Self::ProgramMissing
            | Self::Program { .. }
            | Self::ProgramTimeout { .. }
            | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Integrity { .. } | Self::NotALedger { .. } | Self::IndexDamaged { .. } | Self::SavesLost { .. } => {
                ErrorKind::Integrity
            }
            Self::Library { source, .. } => library_kind(source),
            Self::Lost(_) => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Foreign { path } => {
                let path = shell_word(path.as_os_str().as_encoded_bytes());
                return Some(format!("if you trust it: `git config --global --add safe.directory {path}`"));
            }
            Self::Format { instead, .. } => instead,
            Self::SavesLost { durable, .. } => {
                return Some(format!(
                    "`cascade doctor` goes back to the newest save that is whole ({} at the least)",
                    durable.short()
                ));
            }
            Self::NotARepository { .. } => "go into a checkout, or make one with `git init`, then run `cascade init`",
            Self::Bare { .. } => "clone it and run cascade in the clone",
            Self::NoCommits { .. } => "make the first commit: `git add -A && git commit -m \"First commit\"`",
            Self::BranchMissing { .. } => "run `cascade init` to create the pipeline's branches",
            Self::BranchUnknown { .. } => "list them with `git branch --all`",
            Self::RefMoved { .. } => "nothing was overwritten: do it again",
            Self::RemoteMoved { .. } => "nothing was overwritten: promote again, `cascade status` shows what came",
            Self::RemoteDenied { remote, .. } => {
                let remote = shell_word(remote);
                return Some(format!(
                    "`cascade doctor` says what helps; `git ls-remote {remote}` tries the same credentials"
                ));
            }
            Self::NotALedger { remote, .. } => {
                let remote = shell_word(remote);
                return Some(format!(
                    "a clone that has the ledger puts it back: `git push --force {remote} refs/cascade/ledger`"
                ));
            }
            Self::RemoteUnavailable { .. } => "what is saved here is safe; `cascade doctor` says what is in the way",
            Self::Locked { .. } => "wait for that process; `cascade doctor` tells whether there is one",
            Self::ProgramMissing => "install git 2.38 or newer and make sure that it is on PATH",
            Self::IndexDamaged { .. } => "run `cascade doctor`: it makes the index again, or says what to do first",
            Self::CommitNotSigned { .. } => {
                "`git commit-tree -S -m test 'HEAD^{tree}'` must work here, for it signs the same way; or sign nothing: \
                 `git config commit.gpgSign false`"
            }
            Self::SaveNotSigned { .. } => {
                "see that `git config user.signingKey` names a key of yours of the kind that `git config gpg.format` says, \
                 and that `git commit-tree -S -m test 'HEAD^{tree}'` works here; or sign nothing: \
                 `git config commit.gpgSign false`"
            }
            Self::NotSigned { .. } => {
                "see `gpg.format` and `user.signingKey` of `git config`: `git commit-tree -S -m test 'HEAD^{tree}'` must work \
                 here, for it signs the same way; or set `ledger: { sign: auto }`"
            }
            Self::Integrity { .. } => {
                "`git fsck --full` names all that is damaged: bring that back from a clone that has it, before anything else"
            }
            Self::Program { .. } | Self::ProgramTimeout { .. } => "`cascade doctor` looks for what is in git's way",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn library_kind(source: &git2::Error) -> ErrorKind {
    match source.code() {
        git2::ErrorCode::Locked => ErrorKind::Unavailable,
        git2::ErrorCode::Modified => ErrorKind::Superseded,
        git2::ErrorCode::NotFound => ErrorKind::Integrity,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_git_is_told_by_what_it_was_for() {
        let failed = |command: &str| Error::Program { command: command.to_owned(), message: "no".to_owned() };
        let settings = "-c core.fsync=objects -c core.fsyncMethod=fsync";
        for (command, words) in [
            (format!("{settings} status --porcelain=v1"), "git failed at looking for changes: no"),
            ("push --porcelain origin".to_owned(), "git failed at pushing to the remote: no"),
            (format!("{settings} something-new"), "git failed at its work: no"),
            ("-c".to_owned(), "git failed at its work: no"),
        ] {
            assert_eq!(failed(&command).to_string(), words);
        }
        let slow = Error::ProgramTimeout { command: "ls-remote origin".to_owned(), seconds: 7 };
        assert_eq!(slow.to_string(), "the remote did not answer within 7 s (asking the remote)");
        let command = "-c core.fsyncMethod=fsync push --porcelain --end-of-options upstream a:b".to_owned();
        let slow = Error::ProgramTimeout { command, seconds: 7 };
        assert_eq!(slow.to_string(), "remote `upstream` did not answer within 7 s (pushing to the remote)");
        let slow = Error::ProgramTimeout { command: "merge-tree a b".to_owned(), seconds: 7 };
        assert_eq!(slow.to_string(), "merging took longer than 7 s and was stopped");
    }

    #[test]
    fn commands_in_hints_are_whole() {
        let denied = Error::RemoteDenied { remote: "my remote".to_owned(), reason: String::new() };
        assert!(denied.hint().unwrap().contains("`git ls-remote 'my remote'`"), "{denied:?}");
        let damaged = Error::Integrity { what: "it".to_owned(), reason: String::new() };
        assert!(damaged.hint().unwrap().contains("`git fsck --full`"), "{damaged:?}");
    }
}
