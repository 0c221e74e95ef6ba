//! `cascade promote`, `approve` and `rollback`, killed or refused at system calls: at no moment is anything on the branch
//! that was not checked and approved, and whatever was half done is brought to its end by the next command.
//!
//! What was checked and approved is noted outside of the repository, by the check and by the test itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dice::{self, Dice};
use crate::support::pipeline::Pipeline;
use crate::support::{Output, output, skip};

const OPEN: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, checks: [build], verify: [up] }
";
const APPROVED: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, checks: [build], approval: { required: 1 } }
";

/// The check notes what it has seen.
const CHECKS: &str = "
  build: { run: 'cat mark >> \"$HOME/checked\"' }
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// Calls that change something or make it durable, and about how many of each one thread makes.
const CALLS: [(&str, usize); 12] = [
    ("openat", 120),
    ("write", 60),
    ("pwrite64", 90),
    ("fsync", 16),
    ("fdatasync", 16),
    ("rename", 6),
    ("link", 2),
    ("unlink", 6),
    ("mkdir", 20),
    ("ftruncate", 2),
    ("fcntl", 90),
    ("clone3", 12),
];
/// What is done at a call, and whether calls that change nothing are of interest.
const FAULTS: [(&str, &[&str]); 3] =
    [("signal=KILL", &[]), ("error=EIO", &["fcntl", "clone3"]), ("error=ENOSPC", &["fcntl", "clone3"])];
const ROUNDS: u64 = 8;
/// From so many times as long as usual on, every fault at every call is played.
const EVERYTHING_RUNS: usize = 1_000;
/// More calls of one kind than one thread makes.
const CALLS_LIMIT: usize = 1_000;
/// Options of strace by which git and the checks, once started, are left alone.
const CASCADE_ALONE: &[&str] = &["-f", "--detach-on=execve"];
const WHOEVER_COMES: &[&str] = &["-f"];

/// What is done to a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// A promotion that lands.
    Promote,
    /// One that fails its verification and goes back.
    Break,
    /// One that has to wait for an approval.
    Ask,
    Approve,
    RollBack,
}

const DEEDS: [Deed; 5] = [Deed::Promote, Deed::Break, Deed::Ask, Deed::Approve, Deed::RollBack];

/// A pipeline in which something can be done.
struct Scene {
    pipeline: Pipeline,
    deed: Deed,
    has_remote: bool,
    before: String,
}

/// What happens to whom.
#[derive(Debug, Clone, Copy)]
struct Fault<'a> {
    call: &'a str,
    what: &'a str,
    when: usize,
    whom: &'a [&'a str],
}

impl Scene {
    fn ready(deed: Deed, has_remote: bool) -> Self {
        let environments = if matches!(deed, Deed::Ask | Deed::Approve) { APPROVED } else { OPEN };
        let pipeline = Pipeline::new(has_remote, environments, CHECKS);
        let mut scene = Self { pipeline, deed, has_remote, before: String::new() };
        scene.release("first", true);
        if deed == Deed::RollBack {
            scene.release("second", true);
        }
        scene.before = scene.pipeline.tree("main");
        match deed {
            Deed::RollBack => {}
            Deed::Approve => {
                scene.release("new", false);
                scene.pipeline.promote("production", 3);
            }
            Deed::Break => {
                scene.pipeline.write("broken", "");
                scene.release("new", false);
            }
            Deed::Promote | Deed::Ask => scene.release("new", false),
        }
        scene
    }

    /// Brings a change to staging, and to production where that is asked for.
    fn release(&self, mark: &str, to_production: bool) {
        self.pipeline.save_file("mark", &format!("{mark}\n"));
        self.pipeline.promote("staging", 0);
        if to_production && self.pipeline.cascade(&["promote", "production"]).code == 3 {
            self.pipeline.cascade(&["approve", "production"]).expect_code(0);
        }
    }

    fn words(&self) -> &'static [&'static str] {
        match self.deed {
            Deed::Promote | Deed::Break | Deed::Ask => &["promote", "production"],
            Deed::Approve => &["approve", "production"],
            Deed::RollBack => &["rollback", "production"],
        }
    }

    /// Answers the tree that the branch has at the end.
    fn end(&self) -> String {
        match self.deed {
            Deed::Promote | Deed::Approve => self.pipeline.tree("staging"),
            Deed::Break | Deed::Ask => self.before.clone(),
            // The release before the one that was live.
            Deed::RollBack => self.pipeline.tree("main^"),
        }
    }

    /// Does it with a fault; answers whether the fault came.
    fn disturb(&self, fault: &Fault<'_>) -> (bool, Output) {
        let trace = self.pipeline.base().join("trace");
        let (calls, inject) = (format!("trace={}", fault.call), format!("inject={}:{}", fault.call, fault.what));
        let mut command = self.pipeline.command("strace", &["-qq", "-e", &calls]);
        command.args(["-e", &format!("{inject}:when={}", fault.when), "-o"]).arg(&trace).args(fault.whom);
        command.arg(env!("CARGO_BIN_EXE_cascade")).args(self.words());
        let ended = output(command, b"");
        let trace = std::fs::read_to_string(trace).unwrap();
        (trace.contains("INJECTED") || trace.contains("killed by SIGKILL"), ended)
    }

    /// Everything that is on the branch, here and on the remote, may be there.
    #[track_caller]
    fn expect_allowed(&self, end: &str, what: &str) {
        let mut tips = vec![self.pipeline.tip("main")];
        if self.has_remote {
            self.pipeline.git(&["fetch", "--quiet", "origin"]);
            tips.push(self.pipeline.remote_tip("main"));
        }
        let checked = std::fs::read_to_string(checked(&self.pipeline)).unwrap();
        let checked: BTreeSet<&str> = checked.lines().collect();
        for tip in tips {
            let tree = self.pipeline.tree(&tip);
            // What breaks is live until its verification has failed.
            let may_be = [&self.before, end, &self.pipeline.tree("staging")];
            let count = if matches!(self.deed, Deed::Break | Deed::Promote) { 3 } else { 2 };
            assert!(may_be[..count].contains(&tree.as_str()), "{what}: {tree} is neither of {may_be:?}");
            let mark = self.pipeline.git(&["show", &format!("{tip}:mark")]);
            assert!(checked.contains(mark.as_str()), "{what}: {mark} was never checked: {checked:?}");
        }
    }

    /// Asks for it again, as somebody does who saw it die.
    #[track_caller]
    fn go_on(&self, what: &str) {
        let state = || self.pipeline.newest("production")["state"].as_str().unwrap().to_owned();
        let again = || self.pipeline.cascade(self.words());
        let expect = |codes: &[i32], answer: Output| {
            assert!(codes.contains(&answer.code), "{what}: {answer:?}");
        };
        match self.deed {
            Deed::Promote => expect(&[0], again()),
            Deed::Ask => expect(&[3], again()),
            Deed::Break => {
                // What was quarantined is refused, and waits.
                expect(&[3, 6], again());
                self.pipeline.cascade(&["reject", "production"]);
            }
            Deed::Approve => {
                expect(&[0, 1, 2], again());
                if state() == "failed" {
                    // It has an end already, and another one waits for a consent of its own.
                    expect(&[3], self.pipeline.cascade(&["promote", "production"]));
                    expect(&[0], again());
                }
            }
            // It was over, and going back again would go back further.
            Deed::RollBack if state() == "rolled_back" => {}
            Deed::RollBack => expect(&[0], again()),
        }
    }

    #[track_caller]
    fn expect_end(&self, end: &str, what: &str) {
        assert_eq!(self.pipeline.tree("main"), end, "{what}");
        if self.has_remote {
            assert_eq!(self.pipeline.remote_tip("main"), self.pipeline.tip("main"), "{what}");
        }
        let environments = self.pipeline.cascade(&["status", "--json"]).json()["environments"].clone();
        let production = &environments[1];
        let is_back = matches!(self.deed, Deed::Break | Deed::RollBack);
        assert_eq!(production["held"].is_null(), !is_back, "{what}: {production:#}");
        assert_eq!(production["promotion"].is_null(), self.deed != Deed::Ask, "{what}: {production:#}");
        assert_eq!(locks_in(&self.pipeline.root().join(".git")), Vec::<PathBuf>::new(), "{what}");
        self.pipeline.git(&["fsck", "--strict", "--no-dangling"]);
        self.pipeline.cascade(&["verify", "production"]).expect_code(0);
    }
}

fn checked(pipeline: &Pipeline) -> PathBuf {
    pipeline.base().join("home/checked")
}

fn locks_in(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|end| end == "lock") {
                found.push(path);
            } else if path.is_dir() {
                directories.push(path);
            }
        }
    }
    found
}

fn remove(files: &[PathBuf]) {
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
}

/// Plays one fault; answers whether it came.
#[track_caller]
fn play(deed: Deed, has_remote: bool, fault: &Fault<'_>) -> bool {
    let scene = Scene::ready(deed, has_remote);
    let end = scene.end();
    let (has_come, disturbed) = scene.disturb(fault);
    let what = format!("{deed:?}, remote: {has_remote}, {fault:?}: {disturbed:?}");
    if has_remote {
        // The remote is another machine: whoever runs it clears away what a killed git left there.
        remove(&locks_in(&scene.pipeline.base().join("origin.git")));
        // Nobody can prove whose the locks of a killed git are: the doctor names them, and a person removes them.
        remove(&locks_in(&scene.pipeline.root().join(".git/refs/remotes")));
    }
    scene.expect_allowed(&end, &what);
    scene.go_on(&what);
    scene.expect_allowed(&end, &what);
    scene.expect_end(&end, &what);
    has_come
}

/// Plays every fault at every call of one kind.
fn play_all(deed: Deed, has_remote: bool, (what, skipped): (&str, &[&str]), whom: &[&str]) {
    for (call, _) in CALLS.iter().filter(|(call, _)| !skipped.contains(call)) {
        for when in 1..CALLS_LIMIT {
            if !play(deed, has_remote, &Fault { call, what, when, whom }) {
                break;
            }
        }
    }
}

#[test]
fn killed_or_refused_at_any_system_call_it_comes_to_the_same_end_and_lets_nothing_unchecked_in() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    if dice::runs() < EVERYTHING_RUNS {
        return dice::rounds(ROUNDS, play_one);
    }
    for deed in DEEDS {
        for has_remote in [false, true] {
            FAULTS.iter().for_each(|fault| play_all(deed, has_remote, *fault, CASCADE_ALONE));
            play_all(deed, has_remote, FAULTS[0], WHOEVER_COMES);
        }
    }
}

fn play_one(dice: &mut Dice) {
    let (deed, has_remote) = (*dice.one_of(&DEEDS), dice.once_in(2));
    // Most that matters happens between kills.
    let (what, skipped) = if dice.once_in(2) { FAULTS[0] } else { *dice.one_of(&FAULTS) };
    let calls: Vec<_> = CALLS.iter().filter(|(call, _)| !skipped.contains(call)).collect();
    let (call, limit) = *dice.one_of(&calls);
    let whom = if what == FAULTS[0].0 && dice.once_in(2) { WHOEVER_COMES } else { CASCADE_ALONE };
    let when = 1 + dice.below(*limit).min(dice.below(*limit));
    play(deed, has_remote, &Fault { call, what, when, whom });
}
