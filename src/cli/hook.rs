//! `cascade hook …`: what the installed git hooks call.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::args::{Hook, Push};
use super::{Failure, Outcome, Shell, fallback};
use crate::base::ErrorKind;
use crate::base::escape::shown;
use crate::check::secrets::{self, Scanner};
use crate::config::{self, CheckSpec, Config, FILE_NAME, Question};
use crate::git::outgoing::{Added, Update, added_lines, unbound};
use crate::git::{Repo, Setup};

/// Most bytes of the list of pushed references that are read (about 40,000 references).
const INPUT_BYTES: u64 = 16 << 20;
/// Most findings that are shown.
const FINDINGS_SHOWN: usize = 50;

/// Does the work of a hook; a failure blocks the push.
///
/// # Errors
/// Something says no to the push, or the question cannot be answered.
pub fn run(shell: &Shell, hook: &Hook) -> Outcome {
    let repo = shell.repo()?;
    match hook {
        Hook::PrePush(push) => pre_push(&repo, push),
        Hook::Lint(push) => named_check(shell, &repo, push, "lint"),
        Hook::Test(push) => named_check(shell, &repo, push, "test"),
        Hook::SecurityScan(push) => security_scan(shell, &repo, push),
    }
}

/// Runs the programs in `pre-push.d` one after the other; the first that fails blocks the push.
fn pre_push(repo: &Repo, push: &Push) -> Outcome {
    let input = input(push)?;
    let directory = Setup::new(repo).hooks_directory()?.path.join("pre-push.d");
    for program in programs(&directory)? {
        let name = program.file_name().map(|name| shown(name.as_encoded_bytes())).unwrap_or_default();
        let ended = run_program(&program, repo, push, &input)
            .map_err(|source| Failure::unavailable(format!("the push is blocked: `{name}` cannot be run"), &source))?;
        if !ended.success() {
            return Err(Failure::denied(format!("the push is blocked: `{name}` failed ({ended})"))
                .with_hint("mend what it reports and push again; `git push --no-verify` goes past every check"));
        }
    }
    Ok(())
}

/// Answers the executables of a directory in the order of their names; none where it does not exist.
fn programs(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let failure = |source: &io::Error| Failure::unavailable(format!("cannot read {}", directory.display()), source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failure(&source)),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|source| failure(&source))?;
    paths.retain(|path| is_executable(path));
    paths.sort();
    Ok(paths)
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn run_program(program: &Path, repo: &Repo, push: &Push, input: &[u8]) -> io::Result<ExitStatus> {
    let words = [&push.remote, &push.url].into_iter().flatten();
    let mut child = Command::new(program).args(words).current_dir(repo.root()).stdin(Stdio::piped()).spawn()?;
    feed(&mut child, input)?;
    child.wait()
}

/// Gives the child its input; one that does not read it to the end is fine.
fn feed(child: &mut Child, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    match stdin.write_all(input) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(source),
        _ => Ok(()),
    }
}

/// Reads what git says on stdin; by hand, without a remote, nothing is read.
fn input(push: &Push) -> Outcome<Vec<u8>> {
    let mut input = Vec::new();
    if push.remote.is_none() || io::stdin().is_terminal() {
        return Ok(input);
    }
    let read = io::stdin().lock().take(INPUT_BYTES + 1).read_to_end(&mut input);
    read.map_err(|source| Failure::unavailable("cannot read what is pushed", &source))?;
    if input.len() as u64 > INPUT_BYTES {
        return Err(Failure::denied("the push is blocked: it moves too many references to look at")
            .with_hint("push fewer references at once"));
    }
    Ok(input)
}

/// Runs a configured command check in the working tree. Pushes of cascade itself, of the sandbox's branch alone and
/// deletions are passed over.
fn named_check(shell: &Shell, repo: &Repo, push: &Push, name: &str) -> Outcome {
    if shell.edge.pushed_by_cascade() {
        return Ok(());
    }
    let updates = Update::parse_all(&input(push)?)?;
    if !repo.root().join(FILE_NAME).exists() {
        shell.ui.note(&format!("no {FILE_NAME}: nothing to do"));
        return Ok(());
    }
    let config = fallback::config(shell, repo)?;
    if push.remote.is_some() && feeds_sandbox_only(&updates, &config) {
        return Ok(());
    }
    match config.checks.get(name).and_then(CheckSpec::question) {
        Some(Question::Run(command)) => run_check(shell, repo, name, command),
        _ => {
            shell.ui.note(&format!("no check named `{name}`: nothing to do"));
            Ok(())
        }
    }
}

fn feeds_sandbox_only(updates: &[Update], config: &Config) -> bool {
    let sandbox = format!("refs/heads/{}", config.sandbox.branch);
    updates.iter().all(|update| update.local.is_none() || update.remote_ref == sandbox)
}

fn run_check(shell: &Shell, repo: &Repo, name: &str, line: &str) -> Outcome {
    shell.ui.note(&format!("{name}: {line}"));
    let mut shell_program = unbound("sh");
    shell_program.args(["-c", line]).current_dir(repo.root()).stdin(Stdio::null());
    let ended =
        shell_program.status().map_err(|source| Failure::unavailable(format!("cannot run `{name}`"), &source))?;
    if ended.success() {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::CheckFailed, format!("check `{name}` failed: {ended}")))
}

/// Looks for secrets in the lines that the push adds, whatever becomes of them in a save.
fn security_scan(shell: &Shell, repo: &Repo, push: &Push) -> Outcome {
    let updates = match push.remote {
        Some(_) => Update::parse_all(&input(push)?)?,
        None => vec![Update::of_head()],
    };
    // A slip of the pen in the configuration keeps nothing that was saved from the remote.
    let secrets =
        config::load_secrets(repo.root()).or_else(|_| Ok::<_, Failure>(fallback::config(shell, repo)?.secrets))?;
    let scanner = Scanner::new(repo.root(), &secrets)?;
    let mut findings = Vec::new();
    added_lines(repo, &updates, &mut |added| findings.extend(scanned(&scanner, added)))?;
    if findings.is_empty() {
        return Ok(());
    }
    let hint = "take it out of the commits (`git commit --amend`, `git rebase -i`) and replace the secret, for it may be \
         known; where it is none, say so by `cascade secrets allow PATH --reason TEXT`, or put the comment \
         `cascade:allow-secret` on its line";
    let message = format!("the push is blocked: {} ({} found)", secrets::BLOCKED_WORDS, findings.len());
    findings.truncate(FINDINGS_SHOWN);
    Err(Failure { causes: findings, ..Failure::denied(message).with_hint(hint) })
}

fn scanned(scanner: &Scanner, added: &Added) -> Vec<String> {
    let place = |line: usize| line.checked_sub(1).and_then(|index| added.numbers.get(index)).copied().unwrap_or(line);
    let commit = added.commit.get(..10).unwrap_or(&added.commit);
    let findings = scanner.scan(&added.path, &added.text).into_iter().filter(|found| found.allowed.is_none());
    findings
        .map(|found| {
            let (line, rule) = (place(found.line), shown(found.rule.as_bytes()));
            format!("{}:{line}: {rule}: {} (commit {commit})", added.path, found.masked)
        })
        .collect()
}
