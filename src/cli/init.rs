//! `cascade init`: configuration, branches, `HEAD` and hooks of a checkout.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;

use super::args::Init;
use super::{Failure, Outcome, Shell};
use crate::base::Timestamp;
use crate::base::escape::{shell_word, shown};
use crate::config::{self, Config, FILE_NAME, template};
use crate::git::leftover::Leftover;
use crate::git::setup::Attached;
use crate::git::{self, Head, Oid, Repo, Setup};

/// The remote that is looked at before a configuration names one.
const FIRST_REMOTE: &str = "origin";
/// What a file is called, with six letters or digits more, while it is being written.
const UNFINISHED_PREFIX: &str = ".cascade-";
/// The hooks that are installed: name below the hooks directory, content.
const HOOKS: [(&str, &str); 4] = [
    ("pre-push", include_str!("../../hooks/pre-push")),
    ("pre-push.d/10-lint", include_str!("../../hooks/pre-push.d/10-lint")),
    ("pre-push.d/20-test", include_str!("../../hooks/pre-push.d/20-test")),
    ("pre-push.d/30-security-scan", include_str!("../../hooks/pre-push.d/30-security-scan")),
];

/// How the line of a hook begins that names the program.
const PROGRAM_LINE: &str = "program=";

/// What was done, what was there, and what comes next.
#[derive(Debug, Default, Serialize)]
struct Report {
    created: Vec<String>,
    kept: Vec<String>,
    next: Vec<String>,
}

/// Sets the pipeline up. Nothing that exists is overwritten or moved; running it again finishes what is missing.
///
/// # Errors
/// Not a checkout with a commit and a branch; the configuration that exists does not fit; git or the disk refuses.
pub fn run(shell: &Shell, args: &Init) -> Outcome {
    let repo = shell.repo()?;
    let commit = current_commit(&repo)?;
    let setup = Setup::new(&repo);
    let mut report = Report::default();
    write_config(&repo, setup, args.template.as_deref(), &mut report)?;
    let config = shell.config(repo.root())?;
    create_branches(setup, &config, commit, &mut report)?;
    attach_head(setup, &config, &mut report)?;
    install_hooks(setup, shell.edge.program().ok().as_deref(), &mut report)?;
    say_what_is_next(setup, &config, &mut report);
    print(shell, &report)
}

/// Answers the commit that `HEAD`'s branch is at.
fn current_commit(repo: &Repo) -> Outcome<Oid> {
    match repo.head()? {
        Head::Branch { commit, .. } => Ok(commit),
        Head::Unborn { .. } => Err(crate::git::Error::NoCommits { path: repo.root().to_owned() }.into()),
        Head::Detached { commit } => {
            Err(Failure::usage(format!("HEAD is detached at {commit}: no branch is checked out"))
                .with_hint("go onto a branch, for example `git switch main`, then run `cascade init` again"))
        }
    }
}

fn write_config(repo: &Repo, setup: Setup<'_>, example: Option<&str>, report: &mut Report) -> Outcome {
    let path = repo.root().join(FILE_NAME);
    let directory = repo.root().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let production = setup.production_branch(FIRST_REMOTE)?;
    let text = match example {
        Some(name) => config::example(name, &project_name(&directory), production),
        None => template(&project_name(&directory), production),
    };
    match write_new(&path, text.as_bytes(), 0o666) {
        Ok(true) => report.created.push(FILE_NAME.to_owned()),
        Ok(false) => report.kept.push(FILE_NAME.to_owned()),
        Err(source) => return Err(write_failure(&path, &source)),
    }
    Ok(())
}

/// Makes a project's name of a directory's: letters, digits, `.`, `_` and `-` stay.
fn project_name(directory: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = directory.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "project".to_owned() } else { name.to_owned() }
}

/// Creates what is missing: the production branch first, because the others begin where it is.
fn create_branches(setup: Setup<'_>, config: &Config, head: Oid, report: &mut Report) -> Outcome {
    let environments = config.environments.values().map(|environment| environment.branch.as_str());
    let production = environments.clone().next_back();
    let base = match production {
        Some(branch) => ensure_branch(setup, config, branch, head, report)?,
        None => head,
    };
    for branch in [config.sandbox.branch.as_str()].into_iter().chain(environments) {
        if Some(branch) != production {
            ensure_branch(setup, config, branch, base, report)?;
        }
    }
    Ok(())
}

/// Answers where the branch is; where it is missing, creates it where the remote has it, else at `base`.
fn ensure_branch(setup: Setup<'_>, config: &Config, branch: &str, base: Oid, report: &mut Report) -> Outcome<Oid> {
    let name = shown(branch.as_bytes());
    if let Some(tip) = setup.local(branch)? {
        report.kept.push(format!("branch {name}"));
        return Ok(tip);
    }
    let tracked = setup.tracked(&config.remote, branch)?;
    setup.create_branch(branch, tracked.unwrap_or(base))?;
    if tracked.is_some() {
        setup.follow(&config.remote, branch)?;
        report.created.push(format!("branch {name} (from {}/{name})", shown(config.remote.as_bytes())));
    } else {
        report.created.push(format!("branch {name}"));
    }
    Ok(tracked.unwrap_or(base))
}

fn attach_head(setup: Setup<'_>, config: &Config, report: &mut Report) -> Outcome {
    let branch = shown(config.sandbox.branch.as_bytes());
    let switch =
        format!("`git switch {}`: the watcher saves only while that branch is checked out", shell_word(&branch));
    match setup.attach_head(&config.sandbox.branch)? {
        Attached::Already => report.kept.push(format!("HEAD on {branch}")),
        Attached::Moved => report.created.push(format!("HEAD on {branch} (no file changed)")),
        Attached::Differs => report.next.push(format!("{switch} (its files differ, so this is yours to do)")),
        Attached::Busy(operation) => report.next.push(format!("finish the {operation}, then {switch}")),
        Attached::Elsewhere => {
            report.next.push(format!("run cascade in the worktree that has {branch} checked out, or free it there"));
        }
    }
    Ok(())
}

/// Answers a hook that calls this very program where it is still there, else the one on the `PATH`.
fn rendered(content: &str, program: Option<&Path>) -> String {
    // A shell that cannot be told the path exactly looks for the program itself.
    let program =
        program.and_then(Path::to_str).filter(|path| path.starts_with('/') && !path.contains(char::is_control));
    let Some(program) = program else { return content.to_owned() };
    let word = shell_word(program);
    let call = format!("{PROGRAM_LINE}{word}\n[ -x \"$program\" ] || program=cascade\nexec \"$program\" hook ");
    content.replacen("exec cascade hook ", &call, 1)
}

/// Answers whether a hook is one that was installed here, by whichever program.
fn is_own(existing: &[u8], content: &str) -> bool {
    let Ok(existing) = std::str::from_utf8(existing) else { return false };
    let without_program = |text: &str| {
        text.lines().filter(|line| !line.starts_with(PROGRAM_LINE)).map(|line| format!("{line}\n")).collect::<String>()
    };
    existing == content || without_program(existing) == without_program(&rendered(content, Some(Path::new("/cascade"))))
}

fn install_hooks(setup: Setup<'_>, program: Option<&Path>, report: &mut Report) -> Outcome {
    let directory = setup.hooks_directory()?;
    if !directory.own {
        let path = shown(directory.path.as_os_str().as_encoded_bytes());
        report.kept.push(format!("hooks in {path} (core.hooksPath is shared with other repositories)"));
        report.next.push(format!("call `cascade hook pre-push \"$@\"` from {path}/pre-push"));
        return Ok(());
    }
    for (name, content) in HOOKS {
        let path = directory.path.join(name);
        let text = rendered(content, program);
        let written = write_new(&path, text.as_bytes(), 0o777).map_err(|source| write_failure(&path, &source))?;
        if written {
            report.created.push(format!("hook {name}"));
        } else if fs::read(&path).is_ok_and(|existing| existing == text.as_bytes()) {
            report.kept.push(format!("hook {name}"));
        } else if fs::read(&path).is_ok_and(|existing| is_own(&existing, content)) {
            renew(&path, text.as_bytes()).map_err(|source| write_failure(&path, &source))?;
            report.created.push(format!("hook {name} (it called another program)"));
        } else {
            keep_theirs(name, report);
        }
    }
    Ok(())
}

fn keep_theirs(name: &str, report: &mut Report) {
    report.kept.push(format!("hook {name} (kept yours)"));
    if name == "pre-push" {
        report.next.push("call `cascade hook pre-push \"$@\"` from your pre-push hook".to_owned());
    }
}

fn say_what_is_next(setup: Setup<'_>, config: &Config, report: &mut Report) {
    if !setup.has_remote(&config.remote) {
        let remote = shell_word(&config.remote);
        report.next.push(format!("`git remote add {remote} URL`, if what you save and promote is to be pushed"));
    }
    report.next.push(format!("look through {FILE_NAME} and name your checks"));
    report.next.push("`cascade start` to watch this checkout".to_owned());
}

fn print(shell: &Shell, report: &Report) -> Outcome {
    let ui = &shell.ui;
    if ui.is_json() {
        return ui.json(report);
    }
    report.created.iter().for_each(|what| ui.success(&format!("created  {what}")));
    report.kept.iter().for_each(|what| ui.note(&format!("kept     {what}")));
    if report.created.is_empty() {
        ui.hint("Everything was in place: nothing changed.");
    }
    ui.hint("Next:");
    report.next.iter().for_each(|step| ui.hint(&format!("  {step}")));
    Ok(())
}

/// Writes a file that is complete or absent, whatever happens, with the permissions `mode` less the umask. Answers
/// false where something of that name exists; it is left alone.
fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    let directory = path.parent().unwrap_or(Path::new("."));
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    fs::create_dir_all(directory)?;
    let permissions = fs::Permissions::from_mode(mode);
    let mut file =
        tempfile::Builder::new().prefix(UNFINISHED_PREFIX).permissions(permissions).tempfile_in(directory)?;
    // Held for as long as this process lives; without locks in the file system, age alone must tell.
    let _ = file.as_file().try_lock();
    file.write_all(content)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(directory)?.sync_all().map(|()| true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) if refused.error.kind() == io::ErrorKind::PermissionDenied => put_over(refused.file, path),
        Err(refused) => Err(refused.error),
    }
}

/// Puts other content in the place of a hook that was installed here.
fn renew(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let permissions = fs::metadata(path)?.permissions();
    let mut file = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(directory)?;
    let _ = file.as_file().try_lock();
    file.write_all(content)?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|refused| refused.error)?;
    File::open(directory)?.sync_all()
}

/// The same on a file system without hard links (FAT): the name is taken by an empty file first.
fn put_over(file: tempfile::NamedTempFile, path: &Path) -> io::Result<bool> {
    match File::create_new(path) {
        Ok(_) => file.persist(path).map(|_| true).map_err(|refused| refused.error),
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(refused),
    }
}

/// Finds what a killed `init` began to write; changes nothing.
///
/// # Errors
/// A directory or git's configuration cannot be read.
pub(super) fn leftovers(repo: &Repo, now: Timestamp) -> git::Result<Vec<Leftover>> {
    let directory = repo.root().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let configurations = ["main", "master"].map(|production| template(&project_name(&directory), production));
    let mut found = repo.begun_in(repo.root(), UNFINISHED_PREFIX, &configurations, now)?;
    let hooks = Setup::new(repo).hooks_directory()?;
    if hooks.own {
        let program = std::env::current_exe().ok();
        let contents = HOOKS.map(|(_, content)| rendered(content, program.as_deref()));
        for place in [hooks.path.clone(), hooks.path.join("pre-push.d")] {
            found.extend(repo.begun_in(&place, UNFINISHED_PREFIX, &contents, now)?);
        }
    }
    Ok(found)
}

fn write_failure(path: &Path, source: &io::Error) -> Failure {
    Failure::unavailable(format!("cannot write {}", path.display()), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_keep_what_is_plain() {
        for (directory, expected) in
            [("my site", "my-site"), (".git-café", "git-caf"), ("Ω", "project"), ("a_b.c", "a_b.c")]
        {
            assert_eq!(project_name(directory), expected);
        }
    }

    #[test]
    fn a_hook_calls_the_program_that_installed_it_else_the_one_on_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("it's $HOME `here`");
        let hook = dir.path().join("hook");
        let (_, content) = HOOKS[0];
        fs::write(&hook, rendered(content, Some(&program))).unwrap();
        let script = |says: &str| format!("#!/bin/sh\necho {says} \"$@\"\n");
        let install = |path: &Path, says: &str| {
            fs::write(path, script(says)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        install(&program, "own");
        install(&dir.path().join("cascade"), "other");
        let path = std::env::join_paths([dir.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        let said = || {
            let mut shell = std::process::Command::new("sh");
            let output = shell.arg(&hook).args(["a b", "c"]).env("PATH", &path).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(said(), "own hook pre-push a b c\n");
        fs::remove_file(&program).unwrap();
        assert_eq!(said(), "other hook pre-push a b c\n");
        assert_eq!(rendered(content, None), content);
        assert!(is_own(content.as_bytes(), content) && is_own(&fs::read(&hook).unwrap(), content));
        assert!(!is_own(b"#!/bin/sh\nexec mine\n", content));
    }

    #[test]
    fn existing_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/file");
        assert!(write_new(&path, b"one", 0o666).unwrap());
        assert!(!write_new(&path, b"two", 0o666).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }
}
