//! Long random histories of saves, promotions, hotfixes, failures and rollbacks: after each step every branch has exactly
//! what a small model says, which knows files and nothing of commits.

use std::collections::{BTreeMap, BTreeSet};

use cascade::config::Durability;
use cascade::git::SaveAnswer;

use crate::fault_syscalls::save;
use crate::support::Output;
use crate::support::dice::{self, Dice};
use crate::support::pipeline::Pipeline;

const ENVIRONMENTS: &str = "
  staging: { from: develop, branch: staging, checks: [complete], verify: [up] }
  production: { from: staging, branch: main, checks: [complete], verify: [healthy] }
";
/// Files by which a content fails: a check, the verification everywhere, that of production.
const FLAWS: [&str; 3] = ["incomplete", "broken", "ill"];
const CHECKS: &str = "
  complete: { run: \"test ! -e incomplete\" }
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }
  healthy: { run: \"test ! -e broken -a ! -e ill\", every: 10ms, failures: 1 }";
/// Files that saves change.
const FILES: [&str; 5] = ["page", "a/one", "a/two", "b/one", "b"];
/// What every hotfix brings.
const FIXED: &str = "fixed\n";
const ROUNDS: u64 = 2;
const STEPS: usize = 24;

/// Exit codes of a promotion.
const DONE: i32 = 0;
const WAITS: i32 = 3;
const CHECK_FAILED: i32 = 4;
const DRIFTED: i32 = 5;
const ROLLED_BACK: i32 = 6;

type Files = BTreeMap<String, String>;

/// What landed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Release {
    files: Files,
    /// What it was made from.
    source: Files,
    is_hotfix: bool,
}

/// What an environment is to have.
#[derive(Debug, Clone)]
struct Place {
    name: &'static str,
    branch: &'static str,
    /// What was live and verified, the newest last; the first is what was there before cascade.
    live: Vec<Release>,
    /// What the last rollback took away, while nothing has landed since.
    taken: Option<Release>,
    is_held: bool,
    /// Where the branch was before the step.
    tip: String,
    /// What was rolled back, and is refused without a person's word.
    bad: Vec<Release>,
}

/// A pipeline and the model of it.
struct History {
    pipeline: Pipeline,
    has_remote: bool,
    develop: Files,
    places: [Place; 2],
    /// Files that came to production past the others, and are not back in the sandbox for certain.
    hotfixes: BTreeSet<String>,
    was_rolled_back: bool,
    number: usize,
    told: Vec<String>,
}

impl Place {
    fn new(name: &'static str, branch: &'static str, files: &Files) -> Self {
        let before = Release { files: files.clone(), source: files.clone(), is_hotfix: false };
        Self { name, branch, live: vec![before], taken: None, is_held: false, tip: String::new(), bad: Vec::new() }
    }

    fn files(&self) -> &Files {
        &self.live.last().unwrap().files
    }

    fn fails(&self, files: &Files) -> bool {
        files.contains_key("broken") || self.name == "production" && files.contains_key("ill")
    }

    fn land(&mut self, release: Release) {
        self.live.push(release);
        (self.taken, self.is_held) = (None, false);
    }

    /// What landed fails its verification and goes back.
    fn bounce(&mut self, release: &Release) {
        self.bad.push(release.clone());
        (self.taken, self.is_held) = (Some(release.clone()), true);
    }

    fn may_refuse(&self, release: &Release) -> bool {
        let is_bad = |bad: &Release| bad.source == release.source || bad.files == release.files;
        self.is_held || self.bad.iter().any(is_bad)
    }
}

impl History {
    fn begin(has_remote: bool) -> Self {
        let pipeline = Pipeline::new(has_remote, ENVIRONMENTS, CHECKS);
        let files = |branch: &str| {
            let paths = pipeline.git(&["ls-tree", "-r", "--name-only", branch]);
            let content = |path: &str| pipeline.try_git(&["show", &format!("{branch}:{path}")]).stdout;
            paths.lines().map(|path| (path.to_owned(), content(path))).collect::<Files>()
        };
        let places = [("staging", "staging"), ("production", "main")]
            .map(|(name, branch)| Place::new(name, branch, &files(branch)));
        let (develop, hotfixes) = (files("develop"), BTreeSet::new());
        let (was_rolled_back, number, told) = (false, 0, Vec::new());
        let mut history = Self { pipeline, has_remote, develop, places, hotfixes, was_rolled_back, number, told };
        // The rules of an environment are read from its own branch, once it has any.
        history.promote(0, false);
        history.promote(1, false);
        history
    }

    fn step(&mut self, dice: &mut Dice) {
        self.number += 1;
        self.places.iter_mut().for_each(|place| place.tip = self.pipeline.tip(place.branch));
        match dice.below(16) {
            0..=4 => self.save(dice),
            5..=7 => self.promote(0, false),
            8..=10 => self.promote(1, false),
            11 => self.promote(1, true),
            12 => self.roll_back(dice.below(2)),
            13 => self.undo(dice.below(2)),
            14 => self.hotfix(),
            _ => self.back_merge(),
        }
    }

    /// Changes files, now and then to what fails or does not any more, and saves them: as the watcher does, or by git.
    fn save(&mut self, dice: &mut Dice) {
        let content = format!("{}\n", self.number);
        let path = *dice.one_of(&FILES);
        // A file takes the place of a directory, and the other way round.
        let in_the_way = |other: &str| {
            other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
                || path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
        };
        let gone: Vec<String> = self.develop.keys().filter(|other| in_the_way(other)).cloned().collect();
        gone.iter().for_each(|path| self.delete(path));
        self.put(path, &content);
        for flaw in FLAWS {
            match self.develop.contains_key(flaw) {
                true if dice.once_in(2) => self.delete(flaw),
                false if dice.once_in(8) => self.put(flaw, &content),
                _ => {}
            }
        }
        if self.develop.len() > 5 && dice.once_in(3) {
            let other = *dice.one_of(&FILES);
            if other != path {
                self.delete(other);
            }
        }
        let by_git = dice.once_in(2);
        if by_git {
            self.pipeline.commit("By hand");
        } else {
            let saved = save(&self.pipeline.root(), Durability::Full).unwrap();
            assert!(matches!(saved, SaveAnswer::Saved(_)), "{saved:?}");
        }
        if self.has_remote {
            self.pipeline.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
        }
        self.tell(&format!("saved {path} (by git: {by_git})"));
    }

    fn put(&mut self, path: &str, content: &str) {
        self.pipeline.write(path, content);
        self.develop.insert(path.to_owned(), content.to_owned());
    }

    fn delete(&mut self, path: &str) {
        if self.develop.remove(path).is_some() {
            std::fs::remove_file(self.pipeline.root().join(path)).unwrap();
            let mut above = std::path::Path::new(path).parent();
            while let Some(directory) = above.filter(|above| !above.as_os_str().is_empty()) {
                // One that is not empty stays.
                let _ = std::fs::remove_dir(self.pipeline.root().join(directory));
                above = directory.parent();
            }
        }
    }

    /// Answers what feeds an environment.
    fn source(&self, at: usize) -> &Files {
        if at == 0 { &self.develop } else { self.places[0].files() }
    }

    fn promote(&mut self, at: usize, merge: bool) {
        let name = self.places[at].name;
        let words: &[&str] = if merge { &["promote", name, "--merge"] } else { &["promote", name] };
        let ended = self.pipeline.cascade(words);
        let mut wanted = self.source(at).clone();
        let foreign = self.foreign(at);
        if merge {
            wanted.extend(foreign.iter().map(|path| (path.clone(), FIXED.to_owned())));
        }
        let is_blocked = !merge && !foreign.is_empty();
        self.tell(&format!("{words:?}: {}, foreign: {foreign:?}", ended.code));
        let release = Release { files: wanted, source: self.source(at).clone(), is_hotfix: false };
        self.landed(at, &release, is_blocked, &ended);
    }

    /// Answers the hotfixes that an environment has and its source has not.
    fn foreign(&self, at: usize) -> Vec<String> {
        let lacks = |path: &&String| !self.source(at).contains_key(*path);
        let has = self.hotfixes.iter().filter(|path| self.places[at].files().contains_key(*path));
        has.filter(lacks).cloned().collect()
    }

    /// Notes what became of the wish to bring `wanted` to an environment, and expects it to be what had to become of it.
    fn landed(&mut self, at: usize, release: &Release, is_blocked: bool, ended: &Output) {
        let (place, wanted) = (&mut self.places[at], &release.files);
        let is_there = place.files() == wanted;
        let expected: &[i32] = match () {
            () if is_blocked => &[DRIFTED],
            // What was rolled back is refused, and whether something is a fix of it is said by its history.
            () if wanted.contains_key("incomplete") && place.may_refuse(release) => &[CHECK_FAILED, WAITS, DONE],
            () if place.may_refuse(release) && place.fails(wanted) => &[ROLLED_BACK, WAITS, DONE],
            () if place.may_refuse(release) => &[DONE, WAITS],
            () if is_there => &[DONE],
            () if wanted.contains_key("incomplete") => &[CHECK_FAILED],
            () if place.fails(wanted) => &[ROLLED_BACK],
            () => &[DONE],
        };
        assert!(expected.contains(&ended.code), "expected {expected:?}: {ended:?}\n{}", self.told.join("\n"));
        match ended.code {
            // A release may have nothing new but commits: going back goes back to before it.
            DONE if is_there && self.pipeline.tip(place.branch) == place.tip => {}
            DONE => {
                assert!(!place.fails(wanted) && !wanted.contains_key("incomplete"), "{}", self.told.join("\n"));
                place.land(release.clone());
            }
            ROLLED_BACK => {
                place.bounce(release);
                self.was_rolled_back = true;
            }
            _ => {}
        }
    }

    fn roll_back(&mut self, at: usize) {
        let place = &mut self.places[at];
        // Before the first release there were no rules, by which the ledger could be verified.
        if place.live.len() <= 2 {
            return;
        }
        let ended = self.pipeline.cascade(&["rollback", place.name]);
        assert_eq!(ended.code, 0, "{ended:?}\n{}", self.told.join("\n"));
        let taken = place.live.pop().unwrap();
        place.bounce(&taken);
        self.was_rolled_back = true;
        self.tell(&format!("rollback {}", self.places[at].name));
    }

    fn undo(&mut self, at: usize) {
        let name = self.places[at].name;
        let ended = self.pipeline.cascade(&["rollback", name, "--undo"]);
        self.tell(&format!("undo {name}: {}", ended.code));
        match self.places[at].taken.clone() {
            Some(taken) if ended.code != 2 => {
                self.landed(at, &taken, false, &ended);
            }
            _ => assert_eq!(ended.code, 2, "{ended:?}\n{}", self.told.join("\n")),
        }
    }

    /// Brings a file to production past the others.
    fn hotfix(&mut self) {
        let (path, place) = (format!("fix-{}", self.number), self.pipeline.base().join("elsewhere"));
        let at = place.to_str().unwrap();
        self.pipeline.git(&["worktree", "add", "--quiet", "-B", &path, at, "main"]);
        std::fs::write(place.join(&path), FIXED).unwrap();
        self.pipeline.git(&["-C", at, "add", "-A"]);
        self.pipeline.git(&["-C", at, "commit", "--quiet", "--no-verify", "-m", "Fix"]);
        self.pipeline.git(&["worktree", "remove", "--force", at]);
        let ended = self.pipeline.cascade(&["promote", "production", "--from", &path, "--reason", "it is down"]);
        self.tell(&format!("hotfix {path}: {}", ended.code));
        let mut wanted = self.places[1].files().clone();
        wanted.insert(path.clone(), FIXED.to_owned());
        self.hotfixes.insert(path);
        self.landed(1, &Release { files: wanted.clone(), source: wanted, is_hotfix: true }, false, &ended);
    }

    /// Brings what production has and the sandbox lacks back into the sandbox.
    fn back_merge(&mut self) {
        let ended = self.pipeline.cascade(&["back-merge", "production"]);
        let missing: Vec<String> =
            self.hotfixes.iter().filter(|path| self.places[1].files().contains_key(*path)).cloned().collect();
        self.tell(&format!("back-merge: {}, missing: {missing:?}", ended.code));
        if ended.code != 0 {
            // Where a merge would bring a rollback along, a person is told how to bring over the rest.
            let is_refused = self.was_rolled_back && ended.stderr.contains("git cherry-pick");
            assert!(is_refused, "{ended:?}\n{}", self.told.join("\n"));
            return;
        }
        for path in missing {
            self.develop.insert(path, FIXED.to_owned());
        }
    }

    fn tell(&mut self, what: &str) {
        self.told.push(format!("{}: {what}", self.number));
    }

    /// Compares every branch, here and on the remote, with the model.
    fn compare(&self) {
        let of_places = self.places.iter().map(|place| (place.branch, place.files()));
        for (branch, expected) in of_places.chain([("develop", &self.develop)]) {
            let listed = self.pipeline.git(&["ls-tree", "-r", "--format=%(path) %(objectname)", branch]);
            let found: BTreeSet<&str> = listed.lines().collect();
            let blob = |content: &str| git2::Oid::hash_object(git2::ObjectType::Blob, content.as_bytes()).unwrap();
            let expected: Vec<String> =
                expected.iter().map(|(path, content)| format!("{path} {}", blob(content))).collect();
            let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
            assert_eq!(found, expected, "{branch}\n{}", self.told.join("\n"));
            // The sandbox is pushed by the watcher, and by the test.
            if self.has_remote && branch != "develop" {
                assert_eq!(self.pipeline.remote_tip(branch), self.pipeline.tip(branch), "{branch}");
            }
        }
    }
}

#[test]
fn after_every_step_of_a_random_history_every_branch_has_what_the_model_says() {
    dice::rounds(ROUNDS, |dice| {
        let mut history = History::begin(dice.once_in(2));
        history.compare();
        for _ in 0..STEPS {
            history.step(dice);
            history.compare();
        }
        history.pipeline.git(&["fsck", "--strict", "--no-dangling"]);
        history.pipeline.cascade(&["verify"]).expect_code(0);
    });
}
