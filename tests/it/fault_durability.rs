//! When something is on the disk: what a save waits for, what a promotion waits for, and what is left after the power
//! was cut.

use std::path::{Path, PathBuf};
use std::process::Command;

use cascade::config::Durability;
use cascade::git::save::PACKS_KEPT;
use cascade::git::{Clash, Hints, PullAnswer, PullRequest, Repo, SaveAnswer, SaveRequest};

use crate::support::cut_disk::CutDisk;
use crate::support::{Sandbox, output, skip};

/// Calls that wait for the disk, and the one that shows a change.
const CALLS: &str = "fsync,fdatasync,sync,syncfs,sync_file_range,msync,rename,renameat,renameat2";
/// References of which git makes one file when it tidies up.
const MANY_REFERENCES: usize = 40;
const PIPELINE: &str = "version: 1\nproject: shop\nsandbox: { durability: DURABILITY }\nnotify: { desktop: false }\n\
                        environments: { staging: { from: develop, branch: staging } }\n";

/// Saves once when it is started by a test.
#[test]
fn victim() {
    let variable = |name| std::env::var_os(name);
    let (Some(root), Some(durability)) = (variable("DURABILITY_ROOT"), variable("DURABILITY")) else { return };
    let durability = if durability == "fast" { Durability::Fast } else { Durability::Full };
    save(Path::new(&root), durability);
}

/// Saves everything, by a handle of its own that makes a damaged index again, and answers the branch's tip.
fn save(root: &Path, durability: Durability) -> String {
    let repo = Repo::open(root).unwrap().with_durability(durability);
    let request = SaveRequest {
        branch: "develop",
        hints: Hints::Everything,
        max_file_bytes: 1 << 20,
        excluded: &|_, _| false,
        inspect: &|_, _, _| None,
        message: &|proposal| format!("Save {} files", proposal.changes().len()),
        author: None,
        now_seconds: 1_700_000_000,
        offset_minutes: 0,
    };
    match repo.mending(|| repo.save(&request)).unwrap().0 {
        SaveAnswer::Saved(saved) => saved.commit.to_string(),
        other => panic!("not saved: {other:?}"),
    }
}

fn flush(root: &Path) {
    Repo::open(root).unwrap().flush("develop").unwrap();
}

/// Sets a pipeline up in a checkout that is empty.
fn set_up(sandbox: &Sandbox, durability: &str) {
    sandbox.git(&["init", "--quiet"]);
    sandbox.write("cascade-sync.yaml", PIPELINE.replace("DURABILITY", durability));
    sandbox.write("page", "first\n");
    sandbox.commit("First commit");
    sandbox.cascade(&["init"]).expect_code(0);
    sandbox.git(&["add", "--all"]);
    sandbox.git(&["commit", "--quiet", "--allow-empty", "-m", "Set up"]);
}

/// Traces a program; answers the calls that wait for the disk or show a change, in order.
fn traced(sandbox: &Sandbox, command: Command) -> Vec<String> {
    let log = sandbox.base().join("trace");
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(ToOwned::to_owned).collect();
    let mut strace = sandbox
        .command("strace", &["-f", "-qq", "-y", "-e", "signal=none", "-e", &format!("trace={CALLS},openat"), "-o"]);
    strace.arg(&log).args(words);
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    output(strace, b"").expect_code(0);
    let trace = std::fs::read_to_string(log).unwrap();
    // Opening alone is not of interest, but files may be opened so that every write waits.
    let is_waiting = |line: &&str| !line.contains("openat") || line.contains("O_SYNC") || line.contains("O_DSYNC");
    trace.lines().filter(is_waiting).map(ToOwned::to_owned).collect()
}

fn traced_save(sandbox: &Sandbox, durability: &str) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fault_durability::victim", "--nocapture"]);
    command.env("DURABILITY_ROOT", sandbox.root()).env("DURABILITY", durability);
    traced(sandbox, command)
}

/// Answers where in a trace a call stands that has these words.
#[track_caller]
fn place(trace: &[String], words: &[&str]) -> usize {
    let found = trace.iter().position(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("{words:?} is not in {trace:#?}"))
}

fn waits(trace: &[String]) -> Vec<&String> {
    trace.iter().filter(|line| !line.contains("rename")).collect()
}

fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("-V").output().is_ok();
    if !is_there {
        skip("strace is not installed");
    }
    is_there
}

#[test]
fn a_full_save_is_on_the_disk_before_the_branch_moves_and_a_fast_one_waits_for_nothing() {
    if !has_strace() {
        return;
    }
    let sandbox = Sandbox::empty();
    set_up(&sandbox, "full");
    sandbox.write("page", "full\n");
    let full = traced_save(&sandbox, "full");
    let moved = place(&full, &["rename", "refs/heads/develop.lock"]);
    for synced in ["tmp_cascade_", "objects/pack>"] {
        assert!(place(&full, &["fsync", synced]) < moved, "{full:#?}");
    }
    sandbox.write("page", "the first one that does not wait\n");
    save(&sandbox.root(), Durability::Fast);
    sandbox.write("page", "fast\n");
    let fast = traced_save(&sandbox, "fast");
    place(&fast, &["rename", "refs/heads/develop.lock"]);
    assert_eq!(waits(&fast), Vec::<&String>::new());
    assert_eq!(sandbox.git(&["log", "-1", "--format=%s", "develop"]), "Save 1 files");
    // One that waits brings what it is built upon to the disk, too.
    sandbox.write("page", "full again\n");
    let again = traced_save(&sandbox, "full");
    assert!(place(&again, &["syncfs"]) < place(&again, &["rename", "refs/heads/develop.lock"]), "{again:#?}");
    assert_eq!(Repo::open(&sandbox.root()).unwrap().durable_tip().unwrap(), None);
}

#[test]
fn a_promotion_of_fast_saves_brings_them_to_the_disk_before_anything_points_at_them() {
    if !has_strace() {
        return;
    }
    for (durability, is_fast) in [("fast", true), ("full", false)] {
        let sandbox = Sandbox::empty();
        set_up(&sandbox, durability);
        // What git itself committed is waited for in any case.
        sandbox.cascade(&["promote", "staging"]).expect_code(0);
        sandbox.write("page", "second\n");
        save(&sandbox.root(), if is_fast { Durability::Fast } else { Durability::Full });
        let promote = || traced(&sandbox, sandbox.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]));
        let trace = promote();
        let kept = place(&trace, &["fsync", "refs/cascade/promotions/"]);
        let landed = place(&trace, &["rename", "refs/heads/staging.lock"]);
        match is_fast {
            true => assert!(place(&trace, &["syncfs", ".git/objects"]) < kept.min(landed), "{trace:#?}"),
            false => assert!(!trace.iter().any(|line| line.contains("syncfs")), "{trace:#?}"),
        }
        // The landing itself waits for the disk in any case.
        assert!(place(&trace, &["fsync", "refs/heads/staging.lock"]) < landed, "{trace:#?}");
    }
}

/// A checkout on a disk whose power can be cut.
struct Cuttable {
    disk: CutDisk,
    sandbox: Sandbox,
}

impl Cuttable {
    fn new(durability: &str) -> Option<Self> {
        let sandbox = Sandbox::empty();
        let disk = CutDisk::mount(&sandbox.base().join("disk"), &sandbox.root(), 64)?;
        set_up(&sandbox, durability);
        disk.write_journal();
        std::fs::write(sandbox.root().join(".git/info/exclude"), "others\nlost+found\n").unwrap();
        disk.sync();
        Some(Self { disk, sandbox })
    }

    fn root(&self) -> PathBuf {
        self.sandbox.root()
    }

    fn save(&self, content: &str, durability: Durability) -> String {
        self.sandbox.write("page", content);
        save(&self.root(), durability)
    }

    /// Expects a repository that git finds nothing wrong with.
    #[track_caller]
    fn check_whole(&self) {
        self.sandbox.git(&["fsck", "--strict", "--no-dangling"]);
        self.sandbox.git(&["status"]);
        self.sandbox.git(&["gc", "--quiet"]);
    }
}

#[test]
fn a_full_save_survives_the_power_cut_that_follows_its_acknowledgement() {
    let Some(at) = Cuttable::new("full") else { return };
    for number in 0..3 {
        let saved = at.save(&format!("{number}\n"), Durability::Full);
        at.disk.cut();
        assert_eq!(at.sandbox.git(&["rev-parse", "develop"]), saved);
        at.check_whole();
    }
}

#[test]
fn what_others_pushed_survives_the_power_cut_that_follows_its_being_brought_in() {
    let Some(at) = Cuttable::new("full") else { return };
    let git = |words: &[&str]| at.sandbox.git(words);
    git(&["init", "--quiet", "--bare", "../origin.git"]);
    git(&["remote", "add", "origin", "../origin.git"]);
    git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
    git(&["clone", "--quiet", "--branch", "develop", "../origin.git", "../other"]);
    std::fs::write(at.sandbox.base().join("other/theirs"), "theirs\n").unwrap();
    git(&["-C", "../other", "add", "theirs"]);
    git(&["-C", "../other", "commit", "--quiet", "-m", "Theirs"]);
    git(&["-C", "../other", "push", "--quiet", "origin", "develop"]);
    at.save("ours\n", Durability::Full);
    let theirs = git(&["-C", "../other", "rev-parse", "HEAD"]);
    let pulled = bring_in(&at.root(), &theirs);
    at.disk.cut();
    assert_eq!(git(&["rev-parse", "develop", "develop^2"]), [pulled, theirs].join("\n"));
    at.check_whole();
}

/// Fetches and merges; answers the branch's tip.
fn bring_in(root: &Path, theirs: &str) -> String {
    let repo = Repo::open(root).unwrap();
    repo.fetch("origin", "develop").unwrap();
    let answer = repo.pull(&PullRequest {
        branch: "develop",
        theirs: theirs.parse().unwrap(),
        clash: Clash::OursWin,
        excluded: &|_, _| false,
        message: &|_| "Bring in".to_owned(),
        now_seconds: 1_700_000_000,
    });
    match answer.unwrap() {
        PullAnswer::Pulled(pulled) => pulled.commit.to_string(),
        other => panic!("not brought in: {other:?}"),
    }
}

#[test]
fn a_promotion_of_what_git_itself_committed_survives_the_power_cut_that_follows_it() {
    let Some(at) = Cuttable::new("full") else { return };
    at.sandbox.write("page", "by hand\n");
    at.sandbox.commit("By hand");
    let committed = at.sandbox.git(&["rev-parse", "develop"]);
    at.sandbox.cascade(&["promote", "staging"]).expect_code(0);
    at.disk.cut();
    assert_eq!(at.sandbox.git(&["rev-parse", "staging^2"]), committed);
    assert_eq!(at.sandbox.git(&["show", "staging:page"]), "by hand");
    // What says where `develop` is was the user's git's to sync.
    at.sandbox.git(&["log", "staging"]);
}

#[test]
fn a_merged_promotion_survives_the_power_cut_that_follows_it() {
    let Some(at) = Cuttable::new("full") else { return };
    let git = |words: &[&str]| at.sandbox.git(words);
    at.save("ours\n", Durability::Full);
    // A hotfix, on the disk, that only a merge keeps.
    git(&["worktree", "add", "--quiet", "../hotfix", "staging"]);
    std::fs::write(at.sandbox.base().join("hotfix/fix"), "fix\n").unwrap();
    git(&["-C", "../hotfix", "add", "fix"]);
    git(&["-C", "../hotfix", "commit", "--quiet", "-m", "Fix"]);
    git(&["worktree", "remove", "../hotfix"]);
    at.disk.sync();
    at.sandbox.cascade(&["promote", "staging", "--merge"]).expect_code(0);
    let staging = git(&["rev-parse", "staging"]);
    at.disk.cut();
    assert_eq!(git(&["rev-parse", "staging"]), staging);
    assert_eq!(git(&["show", "staging:fix", "staging:page"]), "fix\nours");
    at.check_whole();
}

#[test]
fn a_power_cut_after_fast_saves_is_told_and_doctor_goes_back_to_the_newest_save_that_is_whole() {
    let Some(at) = Cuttable::new("fast") else { return };
    at.save("durable\n", Durability::Fast);
    let durable = at.save("durable too\n", Durability::Fast);
    flush(&at.root());
    at.save("lost\n", Durability::Fast);
    at.save("lost too\n", Durability::Fast);
    // References reach the disk (whole or not), and what they name does not.
    at.disk.write_journal();
    at.disk.cut();
    assert_ne!(at.sandbox.try_git(&["log", "-1"]).code, 0, "nothing was lost: the test shows nothing");
    check_way_back(&at.sandbox, &durable);
    at.check_whole();
}

/// Expects a checkout whose newest saves were lost to say so, and doctor to bring it back to `whole`.
#[track_caller]
fn check_way_back(sandbox: &Sandbox, whole: &str) {
    let status = sandbox.cascade(&["status"]);
    let hint = "hint: `cascade doctor` goes back to the newest save that is whole";
    assert!(status.code == 1 && status.stderr.contains(hint), "{status:#?}");
    sandbox.cascade(&["promote", "staging"]).expect_code(1);
    let looked = sandbox.cascade(&["doctor", "--dry-run", "--json"]).expect_code(1);
    assert!(looked.stdout.contains("the branch goes back to the newest save that is whole"), "{looked:#?}");
    let told = sandbox.cascade(&["doctor", "--json"]);
    assert!(told.stdout.contains(&format!("it is back at {}", &whole[..10])), "{told:#?}");
    assert!(sandbox.cascade(&["doctor"]).stdout.contains("all are whole"));
    assert_eq!(sandbox.git(&["rev-parse", "develop"]), whole);
    // What the working tree has is saved again.
    sandbox.write("page", "again\n");
    let again = save(&sandbox.root(), Durability::Fast);
    assert_eq!(sandbox.git(&["rev-parse", "develop", "develop~1"]), [&again, whole].join("\n"));
    assert_eq!(sandbox.git(&["show", "develop:page"]), "again");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
}

/// Expects a watcher to bring a broken branch back to `whole` when it starts, and to save what is in the working tree.
#[track_caller]
fn check_start(sandbox: &Sandbox, whole: &str) {
    let started = sandbox.cascade(&["start", "--json"]).expect_code(0).json();
    let (log, stopped) = (sandbox.cascade(&["logs"]), sandbox.cascade(&["stop"]));
    assert_eq!(started["state"], "watching", "{started:#} {log:#?} {stopped:#?}");
    assert!(log.stdout.contains("saves were lost") && log.stdout.contains(&whole[..10]), "{log:#?}");
    let tips = sandbox.git(&["log", "--first-parent", "--format=%H", "develop"]);
    assert!(tips.lines().take(2).any(|tip| tip == whole), "{whole} is not in {tips}");
    assert_eq!(sandbox.git(&["show", "develop:page"]), sandbox.read("page").trim_end());
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
    let told = sandbox.cascade(&["doctor"]);
    assert!(told.stdout.contains("HEAD is on develop"), "{told:#?}");
}

/// Empties the file of an object, as a power cut does.
fn empty(sandbox: &Sandbox, object: &str) {
    let id = sandbox.git(&["rev-parse", object]);
    overwrite(&sandbox.root().join(format!(".git/objects/{}/{}", &id[..2], &id[2..])), b"");
}

/// What happens, whether the user's commit is whole all the same, and how.
type Wreck<'a> = (&'a str, bool, &'a dyn Fn(&Sandbox));

#[test]
fn what_a_power_cut_left_broken_of_a_commit_of_gits_is_mended_by_the_next_start() {
    let develop = |sandbox: &Sandbox| sandbox.root().join(".git/refs/heads/develop");
    let damages: [Wreck<'_>; 7] = [
        ("the branch is empty", true, &|sandbox| overwrite(&develop(sandbox), b"")),
        ("the branch is zeros", true, &|sandbox| overwrite(&develop(sandbox), &[0; 41])),
        ("the branch is gone", true, &|sandbox| std::fs::remove_file(develop(sandbox)).unwrap()),
        ("the commit is empty", false, &|sandbox| empty(sandbox, "develop")),
        ("its tree is empty", false, &|sandbox| empty(sandbox, "develop^{tree}")),
        ("its file is empty", false, &|sandbox| empty(sandbox, "develop:page")),
        ("its file is gone", false, &|sandbox| {
            let id = sandbox.git(&["rev-parse", "develop:page"]);
            let path = format!(".git/objects/{}/{}", &id[..2], &id[2..]);
            std::fs::remove_file(sandbox.root().join(path)).unwrap();
        }),
    ];
    for (what, is_whole, damage) in damages {
        // Shown where it fails.
        println!("{what}");
        let sandbox = Sandbox::empty();
        set_up(&sandbox, "full");
        sandbox.write("page", "saved\n");
        let saved = save(&sandbox.root(), Durability::Full);
        sandbox.write("page", "committed\n");
        sandbox.commit("By hand");
        let committed = sandbox.git(&["rev-parse", "develop"]);
        damage(&sandbox);
        check_start(&sandbox, if is_whole { &committed } else { &saved });
    }
}

#[test]
fn commits_that_a_user_took_back_stay_so_when_the_branch_is_mended() {
    let sandbox = Sandbox::empty();
    set_up(&sandbox, "full");
    let save = |content: &str| {
        sandbox.write("page", content);
        save(&sandbox.root(), Durability::Full)
    };
    let (first, _) = (save("kept\n"), save("taken back\n"));
    sandbox.git(&["reset", "--quiet", "--hard", &first]);
    sandbox.write("page", "committed\n");
    sandbox.commit("By hand");
    empty(&sandbox, "develop");
    check_start(&sandbox, &first);
}

#[test]
fn a_save_upon_a_commit_of_gits_survives_the_power_cut_that_follows_its_acknowledgement() {
    let Some(at) = Cuttable::new("full") else { return };
    at.save("ours\n", Durability::Full);
    at.sandbox.write("page", "by hand\n");
    at.sandbox.commit("By hand");
    let committed = at.sandbox.git(&["rev-parse", "develop"]);
    let saved = at.save("ours again\n", Durability::Full);
    at.disk.write_journal();
    at.disk.cut();
    assert_eq!(at.sandbox.git(&["rev-parse", "develop", "develop~1"]), [saved, committed].join("\n"));
    at.check_whole();
}

#[test]
fn a_power_cut_after_a_commit_of_gits_loses_no_save_and_the_next_start_goes_on() {
    let Some(at) = Cuttable::new("full") else { return };
    let saved = at.save("ours\n", Durability::Full);
    at.sandbox.write("page", "by hand\n");
    at.sandbox.commit("By hand");
    at.disk.write_journal();
    at.disk.cut();
    assert_ne!(at.sandbox.try_git(&["log", "-1"]).code, 0, "nothing was lost: the test shows nothing");
    check_start(&at.sandbox, &saved);
    at.check_whole();
}

#[test]
fn branches_survive_the_power_cut_that_follows_the_joining_of_packs() {
    let Some(at) = Cuttable::new("full") else { return };
    let repo = Repo::open(&at.root()).unwrap();
    while repo.save_packs() <= PACKS_KEPT {
        at.save(&format!("{}\n", repo.save_packs()), Durability::Full);
    }
    let tip = at.sandbox.git(&["rev-parse", "develop"]);
    let tag = |number| at.sandbox.git(&["tag", &format!("tag-{number}")]);
    (0..MANY_REFERENCES).for_each(|number| drop(tag(number)));
    at.disk.sync();
    repo.consolidate().unwrap();
    assert!(repo.save_packs() < PACKS_KEPT && !at.root().join(".git/refs/heads/develop").exists());
    at.disk.write_journal();
    at.disk.cut();
    assert_eq!(at.sandbox.git(&["rev-parse", "develop"]), tip);
    at.check_whole();
}

#[test]
fn a_ledger_that_was_fetched_survives_the_power_cut_that_follows_the_promotion_upon_it() {
    let Some(at) = Cuttable::new("full") else { return };
    let git = |words: &[&str]| at.sandbox.git(words);
    git(&["init", "--quiet", "--bare", "../origin.git"]);
    git(&["remote", "add", "origin", "../origin.git"]);
    git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
    at.sandbox.cascade(&["promote", "staging"]).expect_code(0);
    // As in a clone that has not seen it yet.
    for name in git(&["for-each-ref", "--format=%(refname)", "refs/cascade"]).lines() {
        git(&["update-ref", "-d", name]);
    }
    git(&["reflog", "expire", "--expire=now", "--all"]);
    git(&["prune", "--expire=now"]);
    at.disk.sync();
    at.save("second\n", Durability::Full);
    at.sandbox.cascade(&["promote", "staging"]).expect_code(0);
    let entries = git(&["rev-list", "--count", "refs/cascade/ledger"]);
    at.disk.write_journal();
    at.disk.cut();
    assert_eq!(git(&["rev-list", "--count", "refs/cascade/ledger"]), entries);
    at.check_whole();
}

#[test]
fn a_promotion_of_fast_saves_survives_the_power_cut_that_follows_it() {
    let Some(at) = Cuttable::new("fast") else { return };
    at.save("one\n", Durability::Fast);
    let promoted = at.save("two\n", Durability::Fast);
    at.sandbox.cascade(&["promote", "staging"]).expect_code(0);
    let staging = at.sandbox.git(&["rev-parse", "staging"]);
    at.disk.cut();
    assert_eq!(
        at.sandbox.git(&["rev-parse", "staging", "staging^2", "develop"]),
        [&staging[..], &promoted, &promoted].join("\n")
    );
    at.check_whole();
}

/// Where git keeps the packs of a checkout.
fn packs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.root().join(".git/objects/pack")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Puts something else in the place of a file, as a power cut does.
fn overwrite(path: &Path, content: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, content).unwrap();
}

/// What happens to a file.
type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn whatever_of_a_fast_save_was_lost_there_is_a_way_back() {
    let zeros = |path: &Path| overwrite(path, &vec![0; path.metadata().unwrap().len() as usize]);
    let is = |path: &Path, end: &str| path.extension().is_some_and(|found| found == end);
    let damages: [(&str, Damage<'_>); 6] = [
        ("the pack is gone", &|path| std::fs::remove_file(path).unwrap()),
        ("pack and index are empty", &|path| overwrite(path, b"")),
        ("the pack is empty", &|path| {
            if is(path, "pack") {
                overwrite(path, b"")
            }
        }),
        ("the pack is zeros", &|path| {
            if is(path, "pack") {
                zeros(path)
            }
        }),
        ("the index is zeros", &|path| {
            if is(path, "idx") {
                zeros(path)
            }
        }),
        ("the end of the pack was not written", &|path| {
            let mut bytes = std::fs::read(path).unwrap();
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
            if is(path, "pack") {
                overwrite(path, &bytes)
            }
        }),
    ];
    for (what, damage) in damages {
        check_damage(what, damage, None);
    }
    for also in [".git/index", ".git/refs/heads/develop", ".git/logs/HEAD"] {
        check_damage(also, damages[0].1, Some(also));
    }
}

/// Expects a way back after damage to each file of the newest pack, and to one more file, by the doctor and by a start.
#[track_caller]
fn check_damage(what: &str, damage: Damage<'_>, also: Option<&str>) {
    for check in [check_way_back, check_start] {
        // Shown where it fails.
        println!("{what}");
        let (sandbox, durable) = damaged(damage, also);
        check(&sandbox, &durable);
    }
}

/// Makes a checkout whose last save is damaged; answers the last one that was on the disk.
fn damaged(damage: Damage<'_>, also: Option<&str>) -> (Sandbox, String) {
    let sandbox = Sandbox::empty();
    set_up(&sandbox, "fast");
    sandbox.write("page", "durable\n");
    let durable = save(&sandbox.root(), Durability::Fast);
    flush(&sandbox.root());
    let before = packs(&sandbox);
    sandbox.write("page", "lost\n");
    save(&sandbox.root(), Durability::Fast);
    packs(&sandbox).iter().filter(|path| !before.contains(path)).for_each(|path| damage(path));
    also.into_iter().for_each(|also| overwrite(&sandbox.root().join(also), &[0; 64]));
    (sandbox, durable)
}

#[test]
fn the_way_back_ends_at_the_newest_save_that_is_whole() {
    let sandbox = Sandbox::empty();
    set_up(&sandbox, "fast");
    sandbox.write("page", "durable\n");
    save(&sandbox.root(), Durability::Fast);
    flush(&sandbox.root());
    sandbox.write("page", "not flushed, but whole\n");
    let whole = save(&sandbox.root(), Durability::Fast);
    let before = packs(&sandbox);
    sandbox.write("page", "lost\n");
    save(&sandbox.root(), Durability::Fast);
    packs(&sandbox).iter().filter(|path| !before.contains(path)).for_each(|path| overwrite(path, b""));
    check_way_back(&sandbox, &whole);
}

#[test]
fn a_repository_of_full_saves_is_never_put_back() {
    let sandbox = Sandbox::empty();
    set_up(&sandbox, "full");
    sandbox.write("page", "new\n");
    let tip = save(&sandbox.root(), Durability::Full);
    packs(&sandbox).iter().for_each(|path| overwrite(path, b""));
    let told = sandbox.cascade(&["doctor", "--json"]).expect_code(1);
    assert!(told.stdout.contains("git fsck") && !told.stdout.contains("\"saves\""), "{told:#?}");
    assert_eq!(std::fs::read_to_string(sandbox.root().join(".git/refs/heads/develop")).unwrap().trim(), tip);
    assert!(packs(&sandbox).iter().all(|path| path.extension().is_some_and(|end| end != "broken")));
}
