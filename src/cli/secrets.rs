//! `cascade secrets [PATH…]` and `cascade secrets allow PATH[:LINE]`.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::{AllowSecret, Secrets, SecretsCommand};
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell};
use crate::base::ErrorKind;
use crate::base::escape::shown;
use crate::base::units::count;
use crate::check::secrets::{Finding, Scanner};
use crate::config::{self, AllowedSecret, Config, FILE_NAME, Refusal};
use crate::git::Repo;
use crate::watch::Rules;

/// Larger files are not read.
const FILE_LIMIT_BYTES: u64 = 64 << 20;

/// What was found in one file: its path, escaped, and the findings.
type InFile = (String, Vec<Finding>);

/// Lists what looks like a secret, or notes that it is none.
///
/// # Errors
/// [`ErrorKind::CheckFailed`] where something is found that is not allowed; a path that does not exist; a configuration
/// that cannot be used or added to.
pub fn run(shell: &Shell, args: &Secrets) -> Outcome {
    let repo = shell.repo()?;
    let config = shell.config(repo.root())?;
    let scanner = Scanner::new(repo.root(), &config.secrets)?;
    match &args.command {
        Some(SecretsCommand::Allow(wish)) => allow(shell, &repo, &scanner, wish),
        None => list(shell, &repo, &config, &scanner, &args.paths),
    }
}

fn list(shell: &Shell, repo: &Repo, config: &Config, scanner: &Scanner, named: &[PathBuf]) -> Outcome {
    let (files, found) = if named.is_empty() {
        in_changed(shell, repo, config, scanner)?
    } else {
        let paths = named.iter().map(|path| below_top(shell, repo, path)).collect::<Outcome<Vec<_>>>()?;
        in_named(shell, repo, scanner, &paths)?
    };
    let findings: Vec<(&str, &Finding)> =
        found.iter().flat_map(|(path, findings)| findings.iter().map(move |one| (path.as_str(), one))).collect();
    let open = findings.iter().filter(|(_, finding)| finding.allowed.is_none()).count();
    if shell.ui.is_json() {
        let listed: Vec<Value> = findings.iter().map(|(path, finding)| document(path, finding)).collect();
        shell.ui.json(&json!({ "files": files, "findings": listed, "not_allowed": open }))?;
    } else if !findings.is_empty() {
        let head = ["", "place", "rule", "value", "fingerprint", ""].map(|title| Cell::new(title, Tone::Dim)).to_vec();
        let rows = findings.iter().map(|(path, finding)| row(path, finding));
        shell.ui.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    if open > 0 {
        let message = format!("{} found ({} looked at)", count(open, "likely secret"), count(files, "file"));
        let hint = "take them out; what is no secret: `cascade secrets allow PATH:LINE --reason TEXT`";
        return Err(Failure::new(ErrorKind::CheckFailed, message).with_hint(hint));
    }
    shell.ui.success(&format!("no secrets in {}", count(files, "file")));
    Ok(())
}

/// Looks at what the changed files have that the last commit has not.
fn in_changed(shell: &Shell, repo: &Repo, config: &Config, scanner: &Scanner) -> Outcome<(usize, Vec<InFile>)> {
    let rules = Rules::load(repo.root(), repo.common_dir(), &config.sandbox.exclude, None)?;
    let rules = rules.folding_case(repo.ignores_case()?);
    let mut paths = repo.changed_files()?;
    paths.retain(|path| !rules.configured(path, false));
    look(shell, repo, paths, |path, name, content| {
        // What cannot be read counts as nothing, so that all of the file is looked at; a save does the same.
        scanner.scan_added(name, content, &|| repo.committed(path).ok().flatten())
    })
}

/// Looks at files, and at what is below directories; answers how many files that were, too.
fn in_named(shell: &Shell, repo: &Repo, scanner: &Scanner, paths: &[Vec<u8>]) -> Outcome<(usize, Vec<InFile>)> {
    let is_directory = |path: &Vec<u8>| repo.root().join(OsStr::from_bytes(path)).is_dir();
    let (directories, mut files): (Vec<Vec<u8>>, Vec<Vec<u8>>) = paths.iter().cloned().partition(is_directory);
    if !directories.is_empty() {
        files.extend(repo.files_at(&directories)?);
    }
    files.sort();
    files.dedup();
    look(shell, repo, files, |_, name, content| scanner.scan(name, content))
}

/// Asks of each file that is there: with its path, its name to show and its content.
fn look(
    shell: &Shell,
    repo: &Repo,
    files: Vec<Vec<u8>>,
    ask: impl Fn(&[u8], &str, &[u8]) -> Vec<Finding>,
) -> Outcome<(usize, Vec<InFile>)> {
    let (mut count, mut found) = (0, Vec::new());
    for path in files {
        if let Some(content) = content(shell, repo, &path)? {
            let name = shown(&path);
            count += 1;
            found.push((name.clone(), ask(&path, &name, &content)));
        }
    }
    Ok((count, found))
}

/// Reads a regular file; nothing where there is none any more.
fn content(shell: &Shell, repo: &Repo, path: &[u8]) -> Outcome<Option<Vec<u8>>> {
    let place = repo.root().join(OsStr::from_bytes(path));
    let metadata = match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(None),
        Err(gone) if matches!(gone.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(source) => return Err(Failure::unavailable(format!("cannot read {}", shown(path)), &source)),
    };
    if metadata.len() > FILE_LIMIT_BYTES {
        shell.ui.warning(&format!("{} is not looked at: it has more than 64 MiB", shown(path)));
        return Ok(None);
    }
    fs::read(&place).map(Some).map_err(|source| Failure::unavailable(format!("cannot read {}", shown(path)), &source))
}

/// Answers a path of the command line as one below the top of the checkout.
fn below_top(shell: &Shell, repo: &Repo, path: &Path) -> Outcome<Vec<u8>> {
    let outside = || {
        let name = shown(path.as_os_str().as_bytes());
        Failure::usage(format!("{name} is not in the checkout")).with_hint("name files or directories of the checkout")
    };
    let whole = shell.directory.join(path);
    // A link is looked at where it is, not where it leads to.
    let real = match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) if whole.is_symlink() => parent.canonicalize().map(|parent| parent.join(name)),
        _ => whole.canonicalize(),
    };
    let real = real.map_err(|_| outside())?;
    let below = real.strip_prefix(repo.root()).map_err(|_| outside())?;
    Ok(below.as_os_str().as_bytes().to_vec())
}

fn document(path: &str, finding: &Finding) -> Value {
    json!({
        "path": path,
        "line": finding.line,
        "rule": finding.rule,
        "masked": finding.masked,
        "fingerprint": finding.fingerprint(),
        "allowed": finding.allowed,
    })
}

fn row(path: &str, finding: &Finding) -> Vec<Cell> {
    let (mark, tone) = if finding.allowed.is_some() { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
    let reason = finding.allowed.as_ref().map(|reason| format!("allowed: {reason}")).unwrap_or_default();
    let place = format!("{path}:{}", finding.line);
    let fingerprint = finding.fingerprint();
    let texts = [place, finding.rule.clone(), finding.masked.clone(), fingerprint, reason];
    std::iter::once(Cell::new(mark, tone)).chain(texts.into_iter().map(Cell::from)).collect()
}

/// Adds what is found at a place to the allow list.
fn allow(shell: &Shell, repo: &Repo, scanner: &Scanner, wish: &AllowSecret) -> Outcome {
    let (path, line) = place(shell, &wish.place);
    let path = below_top(shell, repo, &path)?;
    let (_, found) = in_named(shell, repo, scanner, std::slice::from_ref(&path))?;
    let is_meant = |finding: &Finding| {
        let on_line = line.is_none_or(|line| (finding.line..=finding.last_line).contains(&line));
        on_line && wish.rule.as_ref().is_none_or(|rule| *rule == finding.rule)
    };
    let meant = found.iter().flat_map(|(path, findings)| {
        let meant = findings.iter().filter(|finding| is_meant(finding));
        meant.map(move |finding| (path.as_str(), finding))
    });
    let meant: Vec<(&str, &Finding)> = meant.collect();
    if meant.is_empty() {
        let message = format!("nothing at {} looks like a secret", shown(wish.place.as_bytes()));
        return Err(Failure::usage(message).with_hint("`cascade secrets PATH` lists what does, with lines and rules"));
    }
    let mut entries: Vec<AllowedSecret> = Vec::new();
    for (path, finding) in meant.into_iter().filter(|(_, finding)| finding.allowed.is_none()) {
        let entry = entry(path, finding, &wish.reason);
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    if !entries.is_empty() {
        add(shell, repo, &entries)?;
    }
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "added": entries, "file": FILE_NAME }));
    }
    match entries.len() {
        0 => shell.ui.success("it is allowed already"),
        count => shell.ui.success(&format!("{FILE_NAME} allows {count} more")),
    }
    Ok(())
}

/// Reads `PATH[:LINE]`; what exists as it is written is a path.
fn place(shell: &Shell, text: &OsStr) -> (PathBuf, Option<usize>) {
    let bytes = text.as_bytes();
    let colon = bytes.iter().rposition(|byte| *byte == b':').filter(|_| !shell.directory.join(text).exists());
    let line = colon.and_then(|at| std::str::from_utf8(&bytes[at + 1..]).ok()?.parse().ok());
    match (colon, line) {
        (Some(at), Some(line)) => (PathBuf::from(OsStr::from_bytes(&bytes[..at])), Some(line)),
        _ => (PathBuf::from(text), None),
    }
}

/// Answers the narrowest entry: this value, found by this rule, in this file.
fn entry(path: &str, finding: &Finding, reason: &str) -> AllowedSecret {
    let is_sign = |c: char| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ' ');
    let literal = path.chars().flat_map(|c| is_sign(c).then_some('\\').into_iter().chain([c]));
    AllowedSecret {
        path: Some(std::iter::once('/').chain(literal).collect()),
        rule: Some(finding.rule.clone()),
        fingerprint: Some(finding.fingerprint()),
        reason: reason.trim().to_owned(),
    }
}

/// Writes the entries into the configuration, all or nothing.
fn add(shell: &Shell, repo: &Repo, entries: &[AllowedSecret]) -> Outcome {
    // A link to the file stays one.
    let file = repo.root().join(FILE_NAME);
    let failure = |source: io::Error| Failure::unavailable(format!("cannot change {FILE_NAME}"), &source);
    let file = file.canonicalize().map_err(failure)?;
    let text = fs::read_to_string(&file).map_err(failure)?;
    // `.env` counts here as it does when the file is loaded.
    let dotenv = fs::read_to_string(repo.root().join(".env")).unwrap_or_default();
    let variables = shell.edge.variables().with_dotenv(&dotenv);
    let amended = config::allowing(&text, entries, &variables).map_err(|refusal| match refusal {
        Refusal::Form { .. } => Failure::new(ErrorKind::Config, refusal.to_string())
            .with_hint(format!("write `allow:` in {FILE_NAME} as a list with one `- ` a line, and try again")),
    })?;
    replace(&file, &amended).map_err(failure)
}

/// Puts a new content in place of the old one, which stays whole until then.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".cascade-sync.").suffix(".tmp").tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::metadata(file)?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(file).map(drop).map_err(|refused| refused.error)
}
