//! What a push is about to send: the updates that git tells the pre-push hook, and the lines they add.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::process::{Command, ExitStatus, Stdio};

use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::escape::{shown, shown_lines};

/// Variables that git sets for hooks and that bind a git program to one repository (`git rev-parse --local-env-vars`).
const LOCAL_VARIABLES: [&str; 15] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
];

/// Most bytes of one file's added lines that are handed over at once.
const PORTION_BYTES: usize = 8 << 20;
/// Most bytes of git's own words that an error repeats.
const MESSAGE_BYTES: u64 = 2_000;

/// One reference that a push moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The commit (or tag) that is sent; nothing when the remote's reference is deleted.
    pub local: Option<String>,
    /// The full name of the reference on the remote.
    pub remote_ref: String,
    /// What the remote has; nothing when the reference is new there.
    pub remote: Option<String>,
}

impl Update {
    /// The push of everything that `HEAD` has and no remote: for a look without a push.
    #[must_use]
    pub fn of_head() -> Self {
        Self { local: Some("HEAD".to_owned()), remote_ref: String::new(), remote: None }
    }

    /// Reads the lines `<local ref> <local id> <remote ref> <remote id>` that git gives the pre-push hook.
    ///
    /// # Errors
    /// A line of another form.
    pub fn parse_all(input: &[u8]) -> Result<Vec<Self>> {
        let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(Self::parse).collect()
    }

    fn parse(line: &[u8]) -> Result<Self> {
        let malformed =
            || Error::Integrity { what: "the pre-push hook's input".to_owned(), reason: format!("`{}`", shown(line)) };
        let text = String::from_utf8_lossy(line);
        let [_, local, remote_ref, remote] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        if !is_id(local) || !is_id(remote) {
            return Err(malformed());
        }
        let real = |id: &str| id.bytes().any(|digit| digit != b'0').then(|| id.to_owned());
        Ok(Self { local: real(local), remote_ref: remote_ref.to_owned(), remote: real(remote) })
    }
}

/// Lines that one commit adds to one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Added {
    /// The commit.
    pub commit: String,
    /// The file, escaped.
    pub path: String,
    /// The lines, each ended by a line break.
    pub text: Vec<u8>,
    /// For each line of `text` its number in the file, counted from 1.
    pub numbers: Vec<usize>,
}

/// Shows `visit` every line that the commits of `updates` add and that the remote does not have; of a merge
/// commit, what it adds to the automatic merge. Lines with NUL bytes are passed over. Memory is bounded by a portion.
///
/// # Errors
/// The git program is missing or fails.
pub fn added_lines(repo: &Repo, updates: &[Update], visit: &mut dyn FnMut(&Added)) -> Result<()> {
    for update in updates {
        if let Some(local) = &update.local {
            log_patches(repo, range(repo, local, update.remote.as_deref()), visit)?;
        }
    }
    Ok(())
}

/// Prepares a program that a hook starts: it does not inherit what binds git to the hook's own repository.
#[must_use]
pub fn unbound(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in LOCAL_VARIABLES {
        command.env_remove(name);
    }
    command
}

/// Answers the revisions to look at; a remote commit that is not here says nothing about what the remote lacks.
fn range(repo: &Repo, local: &str, remote: Option<&str>) -> Vec<OsString> {
    let here = |id: &&str| git2::Oid::from_str(id).is_ok_and(|id| repo.inner.odb().is_ok_and(|odb| odb.exists(id)));
    match remote.filter(here) {
        Some(remote) => vec![local.into(), format!("^{remote}").into()],
        None => vec![local.into(), "--not".into(), "--remotes".into()],
    }
}

fn log_patches(repo: &Repo, range: Vec<OsString>, visit: &mut dyn FnMut(&Added)) -> Result<()> {
    let words = tempfile::tempfile().map_err(Error::io("create a temporary file in", std::env::temp_dir()))?;
    let theirs = words.try_clone().map_err(Error::io("create a temporary file in", std::env::temp_dir()))?;
    let mut command = unbound("git");
    command.arg("-C").arg(repo.root()).args(["--no-pager", "--no-replace-objects"]);
    command.args(["-c", "core.quotePath=false", "-c", "log.showRoot=true", "log", "--find-renames"]);
    command.args(["--patch", "--unified=0", "--inter-hunk-context=0", "--text", "--no-color", "--no-ext-diff"]);
    command.args(["--no-textconv", "--no-prefix", "--remerge-diff", "--submodule=short", "--no-show-signature"]);
    command.arg("--format=tformat:commit %H").args(range).arg("--");
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(theirs);
    let mut child = command.spawn().map_err(start_error)?;
    let read = match child.stdout.take() {
        Some(stdout) => PatchReader::default().read(&mut BufReader::new(stdout), visit),
        None => Ok(()),
    };
    let ended = child.wait().map_err(Error::io("wait for git in", repo.root()))?;
    read.map_err(Error::io("read what git says in", repo.root()))?;
    program_result(ended, words)
}

fn start_error(source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::NotFound {
        return Error::ProgramMissing;
    }
    Error::Io { action: "start", path: "git".into(), source }
}

fn program_result(ended: ExitStatus, mut words: std::fs::File) -> Result<()> {
    if ended.success() {
        return Ok(());
    }
    let mut message = Vec::new();
    // Without git's words the failure is still reported.
    let _ = words.seek(SeekFrom::Start(0)).and_then(|_| words.take(MESSAGE_BYTES).read_to_end(&mut message));
    let message = shown_lines(message.trim_ascii());
    let message = if message.is_empty() { ended.to_string() } else { message };
    Err(Error::Program { command: "log --patch".to_owned(), message })
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads the patches of `git log -p -U0`; counts the lines of a hunk, so that no content is taken for a header.
#[derive(Debug, Default)]
struct PatchReader {
    added: Added,
    /// Lines of the hunk still to come: removed and added ones.
    removed_left: usize,
    added_left: usize,
    /// Number in the file of the next added line.
    number: usize,
}

impl PatchReader {
    fn read(mut self, input: &mut impl BufRead, visit: &mut dyn FnMut(&Added)) -> std::io::Result<()> {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line)? > 0 {
            self.line(line.strip_suffix(b"\n").unwrap_or(&line), visit);
            line.clear();
        }
        self.hand_over(visit);
        Ok(())
    }

    fn line(&mut self, line: &[u8], visit: &mut dyn FnMut(&Added)) {
        match line.split_first() {
            Some((b'-', _)) if self.removed_left > 0 => self.removed_left -= 1,
            Some((b'+', content)) if self.added_left > 0 => self.content(content, visit),
            _ if self.removed_left + self.added_left > 0 => {}
            _ => self.header(line, visit),
        }
    }

    fn content(&mut self, content: &[u8], visit: &mut dyn FnMut(&Added)) {
        self.added_left -= 1;
        if !content.contains(&0) {
            self.added.text.extend_from_slice(content);
            self.added.text.push(b'\n');
            self.added.numbers.push(self.number);
        }
        self.number += 1;
        if self.added.text.len() >= PORTION_BYTES {
            self.hand_over(visit);
        }
    }

    fn header(&mut self, line: &[u8], visit: &mut dyn FnMut(&Added)) {
        if let Some(commit) = line.strip_prefix(b"commit ") {
            self.hand_over(visit);
            self.added.commit = shown(commit);
        } else if let Some(path) = line.strip_prefix(b"+++ ") {
            self.hand_over(visit);
            // Git ends a path that has blanks with a tab.
            self.added.path = shown(path.strip_suffix(b"\t").unwrap_or(path));
        } else if let Some(hunk) = line.strip_prefix(b"@@ -") {
            self.hunk(&String::from_utf8_lossy(hunk));
        }
    }

    /// Reads `a,b +c,d @@ …`.
    fn hunk(&mut self, text: &str) {
        let mut sides = text.split([' ', '+']).filter(|side| !side.is_empty()).map(counted);
        self.removed_left = sides.next().map_or(0, |(_, count)| count);
        (self.number, self.added_left) = sides.next().unwrap_or((0, 0));
    }

    fn hand_over(&mut self, visit: &mut dyn FnMut(&Added)) {
        if !self.added.numbers.is_empty() {
            visit(&self.added);
        }
        self.added.text.clear();
        self.added.numbers.clear();
    }
}

/// Reads `start,count`; a count that is left out is 1.
fn counted(side: &str) -> (usize, usize) {
    let (start, count) = side.split_once(',').unwrap_or((side, "1"));
    (start.parse().unwrap_or(0), count.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patch: &[u8], expected: &[(&str, &str, &[usize])]) {
        let mut seen = Vec::new();
        let mut keep = |added: &Added| seen.push(added.clone());
        PatchReader::default().read(&mut &patch[..], &mut keep).unwrap();
        let seen: Vec<_> = seen
            .iter()
            .map(|added| (added.path.as_str(), std::str::from_utf8(&added.text).unwrap(), &added.numbers[..]))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn added_lines_come_with_their_file_and_number() {
        check(
            b"commit 1\n\ndiff --git a b\n--- a\n+++ a b\t\n@@ -1 +1,2 @@ fn\n-old\n+one\n+two\n@@ -9,0 +11 @@\n+three\n\\ No newline at end of file\n",
            &[("a b", "one\ntwo\nthree\n", &[1, 2, 11])],
        );
    }

    #[test]
    fn content_that_looks_like_a_header_is_content() {
        check(b"+++ f\n@@ -0,0 +1,2 @@\n+++ g\n+@@ -1 +1 @@\n", &[("f", "++ g\n@@ -1 +1 @@\n", &[1, 2])]);
    }

    #[test]
    fn lines_with_nul_bytes_are_passed_over() {
        check(b"+++ f\n@@ -0,0 +1,2 @@\n+a\0b\n+c\n", &[("f", "c\n", &[2])]);
    }

    #[test]
    fn zero_ids_mean_new_and_deleted() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let input = format!("refs/heads/a {one} refs/heads/a {zero}\n(delete) {zero} refs/heads/b {one}\n");
        let updates = Update::parse_all(input.as_bytes()).unwrap();
        assert_eq!(updates[0].remote, None);
        assert_eq!(updates[1].local, None);
        assert!(Update::parse_all(b"refs/heads/a --output=x refs/heads/a 0\n").is_err());
    }
}
