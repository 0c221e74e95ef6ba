//! A save that is killed, or refused by the system, at every single system call that changes something.
//!
//! The test binary runs itself as the victim under strace, which injects the fault. Whatever happens, an acknowledged
//! save is there, the branch is whole, and the next save works without anybody's help.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cascade::config::Durability;
use cascade::git::{Clash, Hints, PullAnswer, PullRequest, Repo, SaveAnswer, SaveRequest};
use cascade::watch::Rules;

use crate::support::{Sandbox, dice, skip};

/// What changes something, or makes it durable.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,\
                     ftruncate,fchmod,chmod,mkdir";
/// What opens files.
const OPENS: &str = "openat,openat2";
/// How opening is refused: no handle is left here or on the machine, the disk fails, memory is short.
const REFUSALS: [&str; 4] = ["EMFILE", "ENFILE", "EIO", "ENOMEM"];
/// Refusals that are played, of all at every opening.
const SAMPLES: u64 = 24;
/// More calls than a save has.
const MOMENTS_LIMIT: usize = 200;

/// Does nothing unless the variables of a fault run are set.
#[test]
fn victim() {
    let variable = |name| std::env::var_os(name);
    let (Some(root), Some(log)) = (variable("FAULT_SAVE_ROOT"), variable("FAULT_SAVE_LOG")) else { return };
    let durability = if variable("FAULT_SAVE_FAST").is_some() { Durability::Fast } else { Durability::Full };
    let acknowledged = match variable("FAULT_SAVE_THEIRS") {
        Some(theirs) => match pull(Path::new(&root), theirs.to_str().unwrap()) {
            Ok(PullAnswer::Pulled(pulled)) => pulled.commit,
            _ => return,
        },
        None => match save(Path::new(&root), durability) {
            Ok(SaveAnswer::Saved(saved)) => saved.commit,
            _ => return,
        },
    };
    std::fs::write(log, acknowledged.to_string()).unwrap();
}

fn pull(root: &Path, theirs: &str) -> cascade::git::Result<PullAnswer> {
    Repo::open(root)?.pull(&PullRequest {
        branch: "develop",
        theirs: theirs.parse().unwrap(),
        excluded: &|_, _| false,
        clash: Clash::OursWin,
        message: &|_| "Bring in".to_owned(),
        now_seconds: 1_800_000_000,
    })
}

/// Saves everything but what is ignored, as a watcher does.
pub fn save(root: &Path, durability: Durability) -> cascade::git::Result<SaveAnswer> {
    let repo = Repo::open(root)?.with_durability(durability);
    let rules = Rules::load(repo.root(), repo.common_dir(), &[], None).unwrap();
    repo.save(&SaveRequest {
        branch: "develop",
        hints: Hints::Everything,
        max_file_bytes: 1 << 20,
        excluded: &|path, is_dir| rules.may_be_excluded(path, is_dir) && !repo.is_tracked(path).unwrap_or(false),
        inspect: &|_, _, _| None,
        message: &|proposal| format!("Save {} files", proposal.changes().len()),
        author: None,
        now_seconds: 1_800_000_000,
        offset_minutes: 0,
    })
}

/// A checkout with a change of every kind.
fn changed() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.git(&["switch", "--quiet", "-c", "develop"]);
    for path in ["changed", "deleted", "dir/kept"] {
        sandbox.write(path, "before\n");
    }
    sandbox.commit("before");
    sandbox.write("changed", "after\n");
    sandbox.write("dir/new/added", "after\n");
    std::fs::remove_file(sandbox.root().join("deleted")).unwrap();
    sandbox
}

/// A checkout that has saved something, and a commit of others that changes, adds and deletes other files.
fn diverged() -> (Sandbox, String) {
    let sandbox = changed();
    sandbox.git(&["stash", "--quiet", "--include-untracked"]);
    sandbox.git(&["switch", "--quiet", "-c", "theirs"]);
    sandbox.write("dir/kept", "theirs\n");
    sandbox.write("come/in", "theirs\n");
    std::fs::remove_file(sandbox.root().join("README")).unwrap();
    sandbox.commit("theirs");
    let theirs = sandbox.git(&["rev-parse", "HEAD"]);
    sandbox.git(&["switch", "--quiet", "develop"]);
    sandbox.git(&["stash", "pop", "--quiet"]);
    sandbox.commit("ours");
    (sandbox, theirs)
}

/// What the victim does.
#[derive(Clone, Copy)]
enum Deed<'a> {
    Save,
    FastSave,
    Pull(&'a str),
}

/// Runs the victim with a fault at its n-th call; answers whether the fault came.
fn run_with(sandbox: &Sandbox, fault: &str, moment: usize, deed: Deed<'_>) -> bool {
    let trace = traced(sandbox, CALLS, Some(&format!("{fault}:when={moment}")), deed);
    trace.contains("INJECTED") || trace.contains("killed by SIGKILL")
}

/// Runs the victim, perhaps with a fault, and answers these calls of it, as strace writes them.
fn traced(sandbox: &Sandbox, calls: &str, fault: Option<&str>, deed: Deed<'_>) -> String {
    let traced = sandbox.base().join("trace");
    let mut command = sandbox.command("strace", &["-f", "-y", "-qq", "-e", &format!("trace={calls}")]);
    fault.map(|fault| command.args(["-e", &format!("inject={calls}:{fault}")]));
    command.arg("-o").arg(&traced).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "fault_syscalls::victim", "--nocapture"]);
    command.env("FAULT_SAVE_ROOT", sandbox.root()).env("FAULT_SAVE_LOG", sandbox.base().join("acknowledged"));
    match deed {
        Deed::Save => &mut command,
        Deed::FastSave => command.env("FAULT_SAVE_FAST", "1"),
        Deed::Pull(theirs) => command.env("FAULT_SAVE_THEIRS", theirs),
    };
    command.env("RUST_BACKTRACE", "0").output().unwrap();
    std::fs::read_to_string(traced).unwrap()
}

/// What must hold whatever happened, and how it is brought to its end.
#[track_caller]
fn check(sandbox: &Sandbox, before: &str, what: &str) {
    let tip = sandbox.git(&["rev-parse", "develop"]);
    let acknowledged = std::fs::read_to_string(sandbox.base().join("acknowledged")).unwrap_or_default();
    assert!(acknowledged.is_empty() || acknowledged == tip, "{what}: {acknowledged} is not the branch's tip {tip}");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
    match save(&sandbox.root(), Durability::Full) {
        Ok(SaveAnswer::Saved(saved)) => assert_eq!(saved.parent.to_string(), before, "{what}: saved twice"),
        Ok(SaveAnswer::Nothing { .. }) => assert_ne!(tip, before, "{what}: nothing is saved"),
        other => panic!("{what}: {other:?}"),
    }
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "", "{what}");
    assert_eq!(sandbox.git(&["show", "develop:dir/new/added"]), "after", "{what}");
    // The user's own git is not blocked.
    sandbox.git(&["commit", "--quiet", "--allow-empty", "-m", "mine"]);
}

fn fault_everywhere(fault: &str, deed: Deed<'_>) {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let mut moments = 0;
    for moment in 1..MOMENTS_LIMIT {
        let sandbox = changed();
        let before = sandbox.git(&["rev-parse", "develop"]);
        if !run_with(&sandbox, fault, moment, deed) {
            break;
        }
        moments = moment;
        check(&sandbox, &before, &format!("{fault} at call {moment}"));
    }
    assert!((10..MOMENTS_LIMIT - 1).contains(&moments), "{moments} moments");
}

/// What must hold after a pull with a fault: nothing of either side is missing once it is done again.
#[track_caller]
fn check_pull(sandbox: &Sandbox, theirs: &str, what: &str) {
    let tip = sandbox.git(&["rev-parse", "develop"]);
    let acknowledged = std::fs::read_to_string(sandbox.base().join("acknowledged")).unwrap_or_default();
    assert!(acknowledged.is_empty() || acknowledged == tip, "{what}: {acknowledged} is not the branch's tip {tip}");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
    // What came into the working tree before the fault is saved as anything else there is.
    save(&sandbox.root(), Durability::Full).unwrap_or_else(|problem| panic!("{what}: {problem:?}"));
    match pull(&sandbox.root(), theirs) {
        Ok(PullAnswer::Pulled(_) | PullAnswer::Nothing) => {}
        other => panic!("{what}: {other:?}"),
    }
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "", "{what}");
    sandbox.git(&["merge-base", "--is-ancestor", theirs, "develop"]);
    let content = |path: &str| sandbox.git(&["show", &format!("develop:{path}")]);
    let contents = ["changed", "dir/new/added", "dir/kept", "come/in"].map(content);
    assert_eq!(contents, ["after", "after", "theirs", "theirs"], "{what}");
    let gone = ["deleted", "README"].map(|path| sandbox.root().join(path).exists());
    assert_eq!(gone, [false, false], "{what}");
}

#[test]
fn a_pull_killed_or_refused_at_any_call_loses_nothing_of_either_side() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    for fault in ["signal=KILL", "error=EIO"] {
        let mut moments = 0;
        for moment in 1..MOMENTS_LIMIT {
            let (sandbox, theirs) = diverged();
            if !run_with(&sandbox, fault, moment, Deed::Pull(&theirs)) {
                break;
            }
            moments = moment;
            check_pull(&sandbox, &theirs, &format!("{fault} at call {moment}"));
        }
        assert!((10..MOMENTS_LIMIT - 1).contains(&moments), "{moments} moments");
    }
}

#[test]
fn a_save_killed_at_any_call_is_whole_or_not_there_and_blocks_nobody() {
    fault_everywhere("signal=KILL", Deed::Save);
}

#[test]
fn a_save_that_the_disk_refuses_at_any_call_is_whole_or_not_there() {
    fault_everywhere("error=EIO", Deed::Save);
}

#[test]
fn a_save_beyond_the_quota_or_on_a_disk_turned_read_only_is_whole_or_not_there() {
    fault_everywhere("error=EDQUOT", Deed::Save);
    fault_everywhere("error=EROFS", Deed::Save);
}

#[test]
fn a_save_that_runs_out_of_space_at_any_call_is_whole_or_not_there() {
    fault_everywhere("error=ENOSPC", Deed::Save);
}

#[test]
fn a_save_that_does_not_wait_for_the_disk_is_whole_or_not_there_and_blocks_nobody_all_the_same() {
    fault_everywhere("signal=KILL", Deed::FastSave);
    fault_everywhere("error=EIO", Deed::FastSave);
}

/// A checkout like [`changed`], with what decides how content is stored and which files are none of a save's.
fn changed_by_rules() -> Sandbox {
    let sandbox = changed();
    sandbox.write(".gitattributes", "*.dos text\n");
    sandbox.write("lines.dos", "one\r\ntwo\r\n");
    sandbox.write(".gitignore", "*.log\n");
    sandbox.write("dir/.gitignore", "/scratch\n");
    sandbox.write("dir/scratch", "not to be saved\n");
    sandbox.write("noise.log", "not to be saved\n");
    sandbox
}

/// Lists which openings are about the sandbox, counted from 1 as strace does: for each thread and each call.
fn openings(trace: &str, sandbox: &Sandbox) -> Vec<usize> {
    let base = sandbox.base().to_str().unwrap();
    let (mut counts, mut found) = (BTreeMap::new(), BTreeSet::new());
    for line in trace.lines().filter(|line| line.contains(" openat") && !line.contains("resumed>")) {
        let count = counts.entry(line.split('(').next().unwrap()).or_insert(0);
        *count += 1;
        if line.contains(base) {
            found.insert(*count);
        }
    }
    found.into_iter().collect()
}

#[test]
fn a_save_that_cannot_open_a_file_loses_nothing_and_saves_nothing_wrong() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let undisturbed = changed_by_rules();
    let openings = openings(&traced(&undisturbed, OPENS, None, Deed::Save), &undisturbed);
    assert!(openings.len() > 20, "{openings:?}");
    let expected = undisturbed.git(&["ls-tree", "-r", "develop"]);
    assert_eq!(undisturbed.git(&["status", "--porcelain"]), "");
    let every = openings.iter().flat_map(|opening| REFUSALS.map(|refusal| (*opening, refusal)));
    if dice::runs() as u64 * SAMPLES >= every.clone().count() as u64 {
        return every.for_each(|(opening, refusal)| refuse(opening, refusal, &expected));
    }
    let every: Vec<_> = every.collect();
    dice::rounds(SAMPLES, |dice| {
        let (opening, refusal) = *dice.one_of(&every);
        refuse(opening, refusal, &expected);
    });
}

/// Saves while one file cannot be opened, and expects that to be made up for by the next save.
#[track_caller]
fn refuse(opening: usize, refusal: &str, expected: &str) {
    let sandbox = changed_by_rules();
    let before = sandbox.git(&["rev-parse", "develop"]);
    let trace = traced(&sandbox, OPENS, Some(&format!("error={refusal}:when={opening}")), Deed::Save);
    let acknowledged = std::fs::read_to_string(sandbox.base().join("acknowledged")).unwrap_or_default();
    let refused: Vec<&str> = trace.lines().filter(|line| line.contains("INJECTED")).collect();
    let what = format!("{refusal} at opening {opening}: {refused:?}");
    let tip = sandbox.git(&["rev-parse", "develop"]);
    assert!(acknowledged.is_empty() || acknowledged == tip, "{what}: {acknowledged} is not the branch's tip {tip}");
    let range = format!("{before}..develop");
    let deleted = sandbox.git(&["log", "--format=", "--name-only", "--diff-filter=D", &range]);
    assert!(["", "deleted"].contains(&deleted.as_str()), "{what}: {deleted}");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
    save(&sandbox.root(), Durability::Full).unwrap_or_else(|problem| panic!("{what}: {problem:?}"));
    assert_eq!(sandbox.git(&["ls-tree", "-r", "develop"]), expected, "{what}");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "", "{what}");
    assert_eq!(sandbox.left_behind(), [""; 0], "{what}");
}
