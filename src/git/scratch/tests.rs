use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Who uses the checkout.
const BY: &str = "unit";

/// A repository and a scratch directory beside it.
struct World {
    base: TempDir,
    repo: Repo,
    /// What fresh clones look like, by commit.
    fresh: RefCell<BTreeMap<String, Vec<(String, String)>>>,
}

impl World {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("repo");
        fs::create_dir(&root).unwrap();
        git(&root, &["init", "-q", "-b", "develop"]);
        for (key, value) in [("user.name", "x"), ("user.email", "x@x"), ("gc.auto", "0")] {
            git(&root, &["config", key, value]);
        }
        git(&root, &["commit", "-q", "--allow-empty", "-m", "x"]);
        Self { repo: Repo::open(&root).unwrap(), base, fresh: RefCell::default() }
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("repo")
    }

    fn directory(&self) -> PathBuf {
        self.base.path().join("scratch")
    }

    fn checkout(&self) -> PathBuf {
        self.directory().join(CHECKOUT)
    }

    fn scratch(&self) -> Scratch<'_> {
        Scratch::new(&self.repo, &self.directory())
    }

    fn left(&self) -> Left {
        Left::read(&self.directory().join("left")).unwrap()
    }

    fn write(&self, path: &str, content: &str) {
        write(&self.root().join(path), content);
    }

    fn remove(&self, path: &str) {
        remove(&self.root().join(path)).unwrap();
    }

    fn commit(&self) -> ObjectId {
        git(&self.root(), &["add", "-A", "-f"]);
        git(&self.root(), &["commit", "-q", "--allow-empty", "-m", "x"]);
        git(&self.root(), &["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// Moves the scratch and expects it to be exactly what a fresh clone is; answers whether every file was looked at.
    #[track_caller]
    fn moved(&self, commit: ObjectId) -> bool {
        let is_proven = self.repo.check_out_scratch(&self.directory(), commit, Some(BY)).unwrap().is_proven;
        self.is_exactly(commit);
        git(&self.checkout(), &["fsck", "--no-dangling", "--connectivity-only"]);
        is_proven
    }

    #[track_caller]
    fn is_exactly(&self, commit: ObjectId) {
        let checkout = self.checkout();
        assert_eq!(git(&checkout, &["rev-parse", "HEAD"]), commit.to_string());
        let (mut fresh, name) = (self.fresh.borrow_mut(), commit.to_string());
        let expected = fresh.entry(name.clone()).or_insert_with(|| {
            let clone = self.base.path().join(&name);
            git(&self.root(), &["clone", "-q", "--no-checkout", ".", &clone.to_string_lossy()]);
            git(&clone, &["checkout", "-q", "--detach", &name]);
            seen(&clone)
        });
        assert_eq!(seen(&checkout), *expected);
        // Asked last: it may write the index.
        assert_eq!(git(&checkout, &["--no-optional-locks", "status", "--porcelain"]), "");
    }

    #[track_caller]
    fn settled(&self) -> bool {
        self.repo.settle_scratch(&self.directory(), BY).unwrap()
    }

    /// Moves and settles until the next move trusts the files: what was written only just now is looked at again.
    #[track_caller]
    fn trusted(&self, commit: ObjectId) {
        self.moved(commit);
        while self.moved(commit) {
            self.settled();
        }
        self.settled();
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[track_caller]
fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(words).current_dir(dir).env("GIT_CONFIG_GLOBAL", "").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Lists the index, and everything in a checkout but git's own and what is ignored: paths, kinds and contents.
fn seen(root: &Path) -> Vec<(String, String)> {
    let ignored = git(root, &["ls-files", "--others", "--ignored", "--exclude-standard", "-z"]);
    let ignored: BTreeSet<&str> = ignored.split('\0').collect();
    let mut found = vec![("index".to_owned(), git(root, &["ls-files", "-s"]))];
    let mut waiting = vec![PathBuf::new()];
    while let Some(dir) = waiting.pop() {
        let entries: Vec<_> = fs::read_dir(root.join(&dir)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        if entries.is_empty() {
            found.push((dir.display().to_string(), "empty".to_owned()));
        }
        for path in entries.iter().map(|name| dir.join(name)).filter(|path| path != Path::new(".git")) {
            let (at, name) = (root.join(&path), path.display().to_string());
            let stat = at.symlink_metadata().unwrap();
            if stat.is_dir() {
                waiting.push(path);
            } else if ignored.contains(name.as_str()) {
                continue;
            } else if stat.is_symlink() {
                found.push((name, format!("-> {}", fs::read_link(&at).unwrap().display())));
            } else {
                found.push((name, format!("{:o} {}", stat.mode(), fs::read_to_string(&at).unwrap())));
            }
        }
    }
    found.sort();
    found
}

/// What a check may do to the checkout it is asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    ChangesFile,
    RemovesDirectory,
    LeavesFile,
    LeavesEmptyDirectory,
    LinksDirectoryAway,
    MakesFileADirectory,
    MakesDirectoryAFile,
    MakesExecutable,
    Commits,
    HidesChange,
    RemovesGit,
    LinksGitAway,
    ExcludesAll,
    BreaksIndex,
    OverwritesIndex,
    IgnoresAll,
    RemovesCheckout,
    LinksCheckoutAway,
    LeavesIgnored,
    LocksIndex,
    ChangesUnseen,
    MovesDirectory,
    NestsRepository,
    TakesRights,
    SwapsFiles,
    ChangesAttributes,
    Configures,
    RefreshesIndex,
    BreaksRecord,
    BreaksBase,
    IgnoresItself,
}

const DEEDS: [Deed; 32] = [
    Deed::Nothing,
    Deed::ChangesFile,
    Deed::RemovesDirectory,
    Deed::LeavesFile,
    Deed::LeavesEmptyDirectory,
    Deed::LinksDirectoryAway,
    Deed::MakesFileADirectory,
    Deed::MakesDirectoryAFile,
    Deed::MakesExecutable,
    Deed::Commits,
    Deed::HidesChange,
    Deed::RemovesGit,
    Deed::LinksGitAway,
    Deed::ExcludesAll,
    Deed::BreaksIndex,
    Deed::OverwritesIndex,
    Deed::IgnoresAll,
    Deed::RemovesCheckout,
    Deed::LinksCheckoutAway,
    Deed::LeavesIgnored,
    Deed::LocksIndex,
    Deed::ChangesUnseen,
    Deed::MovesDirectory,
    Deed::NestsRepository,
    Deed::TakesRights,
    Deed::SwapsFiles,
    Deed::ChangesAttributes,
    Deed::Configures,
    Deed::RefreshesIndex,
    Deed::BreaksRecord,
    Deed::BreaksBase,
    Deed::IgnoresItself,
];

impl Deed {
    /// Answers whether all can be put right, and what was built stays.
    fn is_repaired(self) -> bool {
        !matches!(self, Self::RemovesCheckout | Self::LinksCheckoutAway | Self::BreaksRecord | Self::BreaksBase)
    }

    fn perform(self, world: &World) {
        let checkout = world.checkout();
        let at = |path: &str| checkout.join(path);
        let outside = world.base.path().join("outside");
        match self {
            Self::Nothing => {}
            Self::ChangesFile => write(&at("a/one"), "changed"),
            Self::RemovesDirectory => remove(&at("a")).unwrap(),
            Self::LeavesFile => write(&at("stray/deep/file"), "stray"),
            Self::LeavesEmptyDirectory => fs::create_dir_all(at("hollow/deep")).unwrap(),
            Self::LinksDirectoryAway => link_away(&at("a"), &outside),
            Self::MakesFileADirectory => {
                remove(&at("a/one")).unwrap();
                write(&at("a/one/inside"), "x");
            }
            Self::MakesDirectoryAFile => {
                remove(&at("a")).unwrap();
                write(&at("a"), "x");
            }
            Self::MakesExecutable => fs::set_permissions(at("a/one"), fs::Permissions::from_mode(0o755)).unwrap(),
            Self::IgnoresAll => {
                write(&at(".gitignore"), "*\n");
                write(&at("a/stray"), "ignored for now");
            }
            Self::RemovesCheckout => remove(&checkout).unwrap(),
            Self::LinksCheckoutAway => link_away(&checkout, &outside),
            Self::LeavesIgnored => {
                write(&at("half/out.log"), "kept");
                write(&at("half/new"), "stray");
            }
            Self::ChangesUnseen => {
                // The content changes while size and times stay.
                let before = fs::metadata(at("top")).unwrap();
                let content = fs::read_to_string(at("top")).unwrap();
                fs::write(at("top"), content.chars().rev().collect::<String>()).unwrap();
                fs::File::open(at("top")).unwrap().set_modified(before.modified().unwrap()).unwrap();
            }
            Self::MovesDirectory => fs::rename(at("a"), at("elsewhere")).unwrap(),
            Self::TakesRights => fs::set_permissions(at("a"), fs::Permissions::from_mode(0o500)).unwrap(),
            Self::SwapsFiles => {
                fs::rename(at("a/one"), at("swapped")).unwrap();
                fs::rename(at("top"), at("a/one")).unwrap();
                fs::rename(at("swapped"), at("top")).unwrap();
            }
            Self::ChangesAttributes => {
                write(&at(".gitattributes"), "* text eol=crlf\n");
                write(&at("top"), "x\n");
            }
            Self::IgnoresItself => {
                write(&at("cache/.gitignore"), "*\n");
                write(&at("cache/entry"), "kept");
            }
            _ => self.perform_on_gits(world, &checkout, &outside),
        }
    }

    /// The same for those that concern git's own files, or the record.
    fn perform_on_gits(self, world: &World, checkout: &Path, outside: &Path) {
        let at = |path: &str| checkout.join(path);
        match self {
            Self::Commits => {
                write(&at("a/one"), "committed");
                git(checkout, &["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qam", "x"]);
            }
            Self::HidesChange => {
                write(&at("top"), "hidden");
                git(checkout, &["update-index", "--assume-unchanged", "top"]);
            }
            Self::RemovesGit => remove(&at(".git")).unwrap(),
            Self::LinksGitAway => link_away(&at(".git"), outside),
            Self::ExcludesAll => {
                write(&at(".git/info/exclude"), "*\n");
                write(&at("stray"), "excluded");
            }
            Self::BreaksIndex => {
                write(&at("top"), "x");
                remove(&at(".git/index")).unwrap();
                write(&at(".git/index"), "no index");
            }
            Self::OverwritesIndex => {
                write(&at("top"), "staged");
                git(checkout, &["add", "top"]);
                // In place, as some libraries do.
                let staged = fs::read(at(".git/index")).unwrap();
                fs::write(at(".git/index"), staged).unwrap();
            }
            Self::LocksIndex => write(&at(".git/index.lock"), ""),
            Self::NestsRepository => {
                git(checkout, &["init", "-q", "nested"]);
                write(&at("nested/file"), "x");
            }
            Self::Configures => drop(git(checkout, &["config", "core.autocrlf", "true"])),
            Self::RefreshesIndex => {
                write(&at("top"), "x");
                git(checkout, &["status"]);
                git(checkout, &["checkout", "-q", "top"]);
            }
            Self::BreaksRecord => write(&checkout.parent().unwrap().join("left"), "nothing"),
            Self::BreaksBase => {
                let base = world.left().base.unwrap().number;
                write(&checkout.parent().unwrap().join(format!("index.{base}")), "nothing");
            }
            _ => unreachable!("{self:?} concerns files"),
        }
    }
}

/// Moves a directory out of the checkout and leaves a symlink to it.
fn link_away(dir: &Path, outside: &Path) {
    let _ = remove(outside);
    fs::rename(dir, outside).unwrap();
    symlink(outside, dir).unwrap();
}

/// Commits that differ in content, modes, links, directories, ignore rules and line ends; all have `top` and `a/one`.
fn history(world: &World) -> Vec<ObjectId> {
    world.write(".gitignore", "*.log\ntarget/\n");
    world.write("top", "one\n");
    world.write("a/one", "1");
    world.write("a/b/two", "2");
    world.write("c/three", "3");
    symlink("a/one", world.root().join("link")).unwrap();
    let mut commits = vec![world.commit()];
    world.write("a/one", "1 changed");
    world.write("a/new/file", "new");
    world.remove("c");
    world.write("c", "a file now");
    commits.push(world.commit());
    world.remove("a/b");
    world.remove("link");
    world.write("link/is/a/dir", "x");
    fs::set_permissions(world.root().join("top"), fs::Permissions::from_mode(0o755)).unwrap();
    commits.push(world.commit());
    world.write(".gitignore", "*.log\n");
    world.write("target", "a file that was ignored");
    commits.push(world.commit());
    world.write(".gitattributes", "*.txt text eol=crlf\n*.key ident\n");
    world.write("win.txt", "a\r\nb\r\n");
    world.write("some.key", "$Id$\n");
    commits.push(world.commit());
    world.write("win.txt", "a\r\nc\r\n");
    world.write("a/one", "again");
    world.write("some.key", "$Id$ too\n");
    world.write("tracked.log", "in spite of the rules");
    commits.push(world.commit());
    world.remove("tracked.log");
    world.remove("link");
    symlink("nowhere", world.root().join("link")).unwrap();
    world.remove("a/new");
    world.write("A/ONE", "another name");
    commits.push(world.commit());
    commits
}

/// Number of commits of [`history`].
const COMMITS: usize = 7;

/// How a use ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Settled,
    /// The process that used it was killed.
    Left,
    /// The next move was killed before it had recorded anything.
    MoveKilled,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_check_did_the_next_one_sees_exactly_its_commit(
        visits in prop::collection::vec(
            (0..COMMITS, prop::sample::subsequence(&DEEDS[..], 0..3), prop::sample::select(&[End::Settled, End::Left, End::MoveKilled][..])),
            1..7,
        )
    ) {
        let world = World::new();
        let commits = history(&world);
        for (at, (commit, deeds, end)) in visits.iter().enumerate() {
            world.moved(commits[*commit]);
            for deed in deeds {
                // What an earlier deed has made impossible is not done.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| deed.perform(&world)));
            }
            match end {
                // What cannot be put right is made afresh by the next move.
                End::Settled => drop(world.repo.settle_scratch(&world.directory(), BY)),
                End::Left => {}
                End::MoveKilled => {
                    let record = fs::read(world.directory().join("left"));
                    let next = visits.get(at + 1).map_or(0, |visit| visit.0);
                    let _ = world.scratch().arrive(commits[next], Some(BY));
                    if let Ok(record) = record && world.directory().exists() {
                        fs::write(world.directory().join("left"), record).unwrap();
                        fs::write(world.directory().join("moving"), commits[next].to_string()).unwrap();
                    }
                }
            }
        }
        world.moved(commits[0]);
    }
}

/// What stands at a path of a random tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Program,
    Link,
}

const PATHS: [&str; 12] =
    ["a", "a/b", "a/b/c", "a/b/d", "a.b", "A", "d/e", "d/e.log", "d/.gitignore", "f/g/h/i", "f/g/h/j", "z.log"];

type RandomTree = Vec<(usize, Kind, u8)>;

fn random_trees() -> impl Strategy<Value = Vec<RandomTree>> {
    let kind = prop::sample::select(&[Kind::File, Kind::File, Kind::Program, Kind::Link][..]);
    let entry = (0..PATHS.len(), kind, 0..3_u8);
    prop::collection::vec(prop::collection::vec(entry, 0..9), 3)
}

/// Commits files as a random tree has them; what a path is in the way of is left out.
fn commit_random(world: &World, tree: &RandomTree) -> ObjectId {
    for entry in fs::read_dir(world.root()).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.ends_with(".git") {
            remove(&entry).unwrap();
        }
    }
    for (path, kind, content) in tree {
        put(&world.root().join(PATHS[*path]), *kind, *content);
    }
    world.commit()
}

/// Puts something at a path, as far as nothing is in its way; answers nothing of what failed.
fn put(at: &Path, kind: Kind, content: u8) {
    if fs::create_dir_all(at.parent().unwrap()).is_err() || at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return;
    }
    if kind == Kind::Link {
        let _ = fs::remove_file(at);
        symlink(PATHS[usize::from(content)], at).unwrap();
        return;
    }
    if at.is_symlink() {
        fs::remove_file(at).unwrap();
    }
    // Rules in an ignore file, words elsewhere; in place where a file is there already.
    fs::write(at, ["e*\n", "*.log\n", "same size\n"][usize::from(content)]).unwrap();
    let mode = if kind == Kind::Program { 0o755 } else { 0o644 };
    fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_tree_after_any_other_is_what_a_fresh_checkout_has(
        trees in random_trees(),
        visits in prop::collection::vec((0..3_usize, random_trees(), any::<[bool; 2]>()), 1..6),
    ) {
        let world = World::new();
        let commits: Vec<ObjectId> = trees.iter().map(|tree| commit_random(&world, tree)).collect();
        for (commit, others, [removes, settles]) in visits {
            world.moved(commits[commit]);
            for (path, kind, content) in &others[0] {
                let at = world.checkout().join(PATHS[*path]);
                if removes {
                    remove(&at).unwrap_or_default();
                }
                put(&at, *kind, *content);
            }
            if settles {
                world.repo.settle_scratch(&world.directory(), BY).unwrap();
            }
        }
        world.moved(commits[0]);
    }
}

#[test]
fn what_a_check_did_is_put_right_and_what_it_built_stays() {
    let world = World::new();
    let commits = history(&world);
    for deed in DEEDS {
        for settles in [true, false] {
            world.trusted(commits[0]);
            world.moved(commits[0]);
            write(&world.checkout().join("target/built"), "slowly");
            let untouched = || {
                let found = fs::metadata(world.checkout().join("c/three")).ok();
                found.map(|found| (found.ino(), found.ctime(), found.ctime_nsec()))
            };
            let before = untouched();
            deed.perform(&world);
            if settles {
                let settled = world.repo.settle_scratch(&world.directory(), BY);
                assert_eq!(settled.is_ok(), deed.is_repaired(), "{deed:?}");
            }
            world.moved(commits[0]);
            assert_eq!(world.checkout().join("target/built").exists(), deed.is_repaired(), "{deed:?}");
            assert_eq!(untouched() == before, deed.is_repaired(), "{deed:?}");
            assert!(!world.checkout().join("a/stray").exists());
            world.moved(commits[1]);
        }
    }
}

#[test]
fn only_what_differs_is_written() {
    let world = World::new();
    (0..50).for_each(|number| world.write(&format!("d{}/{number}", number % 7), "same"));
    let one = world.commit();
    world.write("d3/3", "other");
    let two = world.commit();
    world.trusted(one);
    let times = || -> Vec<_> {
        let at = |number: usize| world.checkout().join(format!("d{}/{number}", number % 7));
        (0..50).map(|number| fs::metadata(at(number)).unwrap()).map(|stat| (stat.ino(), stat.ctime_nsec())).collect()
    };
    let before = times();
    assert!(!world.moved(two));
    let after = times();
    let changed: Vec<usize> = (0..50).filter(|number| before[*number] != after[*number]).collect();
    assert_eq!(changed, [3]);
}

#[test]
fn a_file_that_others_wrote_before_a_use_shows_after_it() {
    let world = World::new();
    world.write("a", "1");
    let one = world.commit();
    world.write("b", "2");
    let two = world.commit();
    world.trusted(one);
    write(&world.checkout().join("a"), "in place");
    let checkout = world.repo.check_out_scratch(&world.directory(), two, Some(BY)).unwrap();
    assert!(!checkout.is_proven && !world.settled());
    assert!(world.moved(two), "it is looked at before its next use");
    assert!(world.settled() && !world.moved(two));
}

#[test]
fn files_are_looked_at_before_for_whoever_changed_some() {
    let world = World::new();
    world.write("a", "1");
    let one = world.commit();
    world.trusted(one);
    assert!(!world.moved(one));
    write(&world.checkout().join("a"), "formatted");
    assert!(!world.settled());
    let by = |by| world.repo.check_out_scratch(&world.directory(), one, by).unwrap().is_proven;
    // Until what was put right is no news any more; others changed nothing.
    while by(Some("other")) {
        assert!(world.repo.settle_scratch(&world.directory(), "other").unwrap());
    }
    assert!(world.repo.settle_scratch(&world.directory(), "other").unwrap());
    assert!(by(Some(BY)) && world.settled() && !by(Some(BY)));
    assert!(by(None), "who does not settle gets what was looked at");
    assert!(by(Some(BY)), "and so does whoever comes next");
}

#[test]
fn names_that_others_made_since_are_noticed_by_a_move() {
    for path in ["stray", "d/stray", "d/a"] {
        let world = World::new();
        world.write("d/a", "1");
        let one = world.commit();
        world.trusted(one);
        write(&world.directory().join("new"), "1");
        fs::rename(world.directory().join("new"), world.checkout().join(path)).unwrap();
        assert!(world.moved(one), "{path}");
    }
}

#[test]
fn after_a_restart_of_the_machine_contents_are_compared() {
    let world = World::new();
    world.write("a", "1");
    let one = world.commit();
    world.trusted(one);
    let at = world.checkout().join("a");
    fs::write(&at, "0").unwrap();
    // A record whose times fit content that does not, as a power cut leaves it.
    let mut left = world.left();
    let (mode, blob) = (0o100_644, git(&world.root(), &["rev-parse", "HEAD:a"]).parse().unwrap());
    let stat = look::stat(&at).unwrap();
    left.moved.insert(b"a".to_vec(), Some(left::Moved { mode, oid: blob, stat }));
    left.write(&world.directory().join("left")).unwrap();
    world.repo.check_out_scratch(&world.directory(), one, Some(BY)).unwrap();
    assert_eq!(fs::read_to_string(&at).unwrap(), "0", "the record is believed");
    left.boot = "another".to_owned();
    left.write(&world.directory().join("left")).unwrap();
    fs::write(world.directory().join("settled"), "").unwrap();
    assert!(world.moved(one));
}

#[test]
fn a_move_that_stops_anywhere_is_finished_or_undone_by_the_next() {
    let world = World::new();
    let commits = history(&world);
    let blobs = ["a/one", "some.key", "tracked.log", "win.txt"];
    for (stops_at, next) in blobs.iter().flat_map(|path| [(path, 4), (path, 5), (path, 6)]) {
        world.trusted(commits[4]);
        let blob = git(&world.root(), &["rev-parse", &format!("{}:{stops_at}", commits[5])]);
        let object = world.root().join(".git/objects").join(&blob[..2]).join(&blob[2..]);
        let aside = world.base.path().join("object");
        fs::rename(&object, &aside).unwrap();
        let built = world.checkout().join("out.log");
        write(&built, "kept");
        assert!(world.scratch().arrive(commits[5], Some(BY)).is_err(), "{stops_at}");
        assert!(world.directory().join("moving").exists());
        fs::rename(&aside, &object).unwrap();
        world.moved(commits[next]);
        assert!(built.exists(), "it was put right, not made afresh");
        assert_eq!(world.checkout().join("tracked.log").exists(), next == 5);
    }
}

#[test]
fn the_old_commit_may_be_gone() {
    let world = World::new();
    let commits = history(&world);
    world.trusted(commits[0]);
    git(&world.root(), &["checkout", "-q", "--orphan", "fresh"]);
    world.write("top", "of another history");
    let other = world.commit();
    git(&world.root(), &["branch", "-D", "develop"]);
    git(&world.root(), &["reflog", "expire", "--expire=now", "--all"]);
    git(&world.root(), &["prune", "--expire=now"]);
    write(&world.checkout().join("out.log"), "kept");
    world.repo.check_out_scratch(&world.directory(), other, Some(BY)).unwrap();
    world.is_exactly(other);
    assert!(world.checkout().join("out.log").exists());
}

#[test]
fn converted_files_are_written_as_git_writes_them() {
    let world = World::new();
    let attributes =
        "*.bin -text\n* text=auto\n*.txt text eol=crlf\n*.id ident\n*.utf working-tree-encoding=UTF-16LE\n";
    world.write(".gitattributes", attributes);
    world.write("sub/.gitattributes", "*.txt -text\n");
    let all = ["a.txt", "sub/a.txt", "a.bin", "plain", "x.id"];
    all.iter().for_each(|path| world.write(path, "one\n$Id$\n"));
    world.write("x.utf", "a\0b\0");
    let one = world.commit();
    all.iter().for_each(|path| world.write(path, "two\n$Id$\n"));
    world.write("x.utf", "c\0d\0");
    let two = world.commit();
    world.trusted(one);
    let kept = fs::metadata(world.checkout().join(".gitattributes")).unwrap().ino();
    assert!(!world.moved(two));
    assert_eq!(fs::metadata(world.checkout().join(".gitattributes")).unwrap().ino(), kept);
    assert_eq!(fs::read(world.checkout().join("x.utf")).unwrap(), b"c\0d\0");
    let text = fs::read_to_string(world.checkout().join("a.txt")).unwrap();
    assert_eq!(text, "two\r\n$Id$\r\n");
    assert!(world.settled(), "git says that they are right");
    write(&world.checkout().join("a.txt"), "two\r\n$Id$?\n");
    assert!(!world.settled());
    (0..30).for_each(|number| world.write(&format!("many/{number}.txt"), "x\n"));
    world.moved(world.commit());
    assert!(world.settled());
}

#[test]
fn a_repository_with_another_inside_is_left_to_the_git_program() {
    let world = World::new();
    world.write("a", "1");
    let plain = world.commit();
    let inner = git(&world.root(), &["rev-parse", "HEAD"]);
    git(&world.root(), &["update-index", "--add", "--cacheinfo", &format!("160000,{inner},inner")]);
    git(&world.root(), &["commit", "-q", "-m", "x"]);
    let nested: ObjectId = git(&world.root(), &["rev-parse", "HEAD"]).parse().unwrap();
    world.moved(plain);
    assert!(world.left().base.is_some());
    for _ in 0..2 {
        assert!(world.moved(nested) && world.settled());
        assert!(world.left().base.is_none());
        write(&world.checkout().join("a"), "changed");
    }
    world.moved(plain);
    assert!(world.left().base.is_some());
}

#[test]
fn what_is_kept_follows_the_rules_that_changed_in_the_checkout() {
    let world = World::new();
    world.write("a", "1");
    let one = world.commit();
    world.trusted(one);
    Deed::IgnoresItself.perform(&world);
    assert!(world.settled());
    let cache = |name: &str| world.checkout().join("cache").join(name);
    assert!(cache("entry").exists(), "an ignored file that ignores itself");
    write(&cache(".gitignore"), ".gitignore\nother\n");
    world.settled();
    assert!(!cache("entry").exists() && cache(".gitignore").exists());
    world.moved(one);
}

#[test]
fn a_scratch_of_an_earlier_form_is_made_afresh() {
    let world = World::new();
    world.write("a", "1");
    let one = world.commit();
    git(&world.root(), &["clone", "-q", ".", &world.directory().to_string_lossy()]);
    assert!(world.repo.scratch_damage(&world.directory()).is_some());
    assert!(world.moved(one));
    assert_eq!(world.repo.scratch_damage(&world.directory()), None);
    assert!(!world.directory().join(".git").exists());
}
