//! Which of many hinted files are not read, and that none of them has changed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use sha1::{Digest as _, Sha1};

use super::pull_tests::Pair;
use super::tests::{Checkout, Dice, kinds, random_edit, saved};
use super::*;

/// More files than are read before the index is asked; their names come before all others.
const FILES: usize = 100;
/// A file whose name is found in the bytes of an index.
const VICTIM: &str = "the-victim";
/// How much younger than its files an index is that is believed.
const SETTLED: Duration = Duration::from_millis(1_001);

fn many() -> Checkout {
    let at = Checkout::new();
    fill(&at);
    at
}

fn fill(at: &Checkout) {
    write_all(at, "first");
    at.write(VICTIM, "before");
    at.git(&["add", "-A"]);
    at.git(&["commit", "-qm", "many"]);
}

fn write_all(at: &Checkout, content: &str) {
    (0..FILES).for_each(|number| at.write(format!("0/{number}"), content));
}

/// Hints at so many files that the index is asked about the last of them.
fn all_and(path: &str) -> Hints {
    Hints::Paths(["0", path].map(|path| path.as_bytes().to_vec()).into())
}

fn set_index_time(at: &Checkout, time: SystemTime) {
    File::options().write(true).open(at.path(".git/index")).unwrap().set_modified(time).unwrap();
}

/// Makes the index as it would be had it learned of the victim when that was as it is now; answers the file's time.
fn forge(at: &Checkout) -> SystemTime {
    let found = fs::metadata(at.path(VICTIM)).unwrap();
    let mut bytes = fs::read(at.path(".git/index")).unwrap();
    let name = bytes.windows(VICTIM.len()).position(|window| window == VICTIM.as_bytes()).unwrap();
    let entry = name - 62;
    let words = [found.ctime(), found.ctime_nsec(), found.mtime(), found.mtime_nsec(), 0, found.ino() as i64];
    for (number, word) in words.into_iter().enumerate() {
        bytes[entry + number * 4..entry + number * 4 + 4].copy_from_slice(&(word as u32).to_be_bytes());
    }
    bytes[entry + 36..entry + 40].copy_from_slice(&(found.len() as u32).to_be_bytes());
    let end = bytes.len() - 20;
    let checksum = Sha1::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum);
    fs::write(at.path(".git/index"), bytes).unwrap();
    found.modified().unwrap()
}

#[test]
fn files_that_the_index_knows_to_be_unchanged_are_not_read_and_git_agrees() {
    let at = many();
    at.write(VICTIM, "behind");
    let time = forge(&at);
    set_index_time(&at, time + SETTLED);
    assert_eq!(at.git(&["status", "--porcelain"]), "", "git does not read it either");
    assert!(matches!(at.try_save(all_and(VICTIM)).unwrap(), SaveAnswer::Nothing { .. }));
    let few = Hints::Paths([VICTIM.as_bytes().to_vec()].into());
    assert_eq!(saved(at.try_save(few).unwrap()).changes.len(), 1, "a few files are always read");
}

#[test]
fn a_change_in_the_same_second_as_the_index_is_saved() {
    for distance in [0, 10, 900] {
        let at = many();
        at.write(VICTIM, "behind");
        let time = forge(&at);
        set_index_time(&at, time + Duration::from_millis(distance));
        if distance == 0 {
            assert_eq!(at.git(&["status", "--porcelain"]), format!(" M {VICTIM}\n"), "git sees it too");
        }
        let saved = saved(at.try_save(all_and(VICTIM)).unwrap());
        assert_eq!(kinds(&saved), [(VICTIM.to_owned(), ChangeKind::Modified)], "{distance} ms");
        assert_eq!(at.blob(VICTIM), "behind");
        at.check_clean();
    }
}

#[test]
fn a_change_whose_time_was_set_back_is_saved_even_where_git_is_told_not_to_look() {
    let at = many();
    at.git(&["config", "core.trustctime", "false"]);
    at.git(&["config", "core.checkStat", "minimal"]);
    let time = fs::metadata(at.path(VICTIM)).unwrap().modified().unwrap();
    set_index_time(&at, time + SETTLED);
    at.write(VICTIM, "behind");
    File::options().write(true).open(at.path(VICTIM)).unwrap().set_modified(time).unwrap();
    assert_eq!(at.git(&["status", "--porcelain"]), "", "git does not see it");
    assert_eq!(saved(at.try_save(all_and(VICTIM)).unwrap()).changes.len(), 1);
    assert_eq!(at.blob(VICTIM), "behind");
}

#[test]
fn what_only_the_index_has_is_saved_without_a_change_of_the_file() {
    let at = many();
    at.write(VICTIM, "staged");
    at.git(&["add", VICTIM]);
    let time = fs::metadata(at.path(VICTIM)).unwrap().modified().unwrap();
    set_index_time(&at, time + SETTLED);
    assert_eq!(saved(at.try_save(all_and(VICTIM)).unwrap()).changes.len(), 1);
    assert_eq!(at.blob(VICTIM), "staged");
    at.check_clean();
}

#[test]
fn a_mode_that_the_index_was_not_told_is_saved() {
    let at = many();
    fs::set_permissions(at.path(VICTIM), fs::Permissions::from_mode(0o755)).unwrap();
    let time = forge(&at);
    set_index_time(&at, time + SETTLED);
    let saved = saved(at.try_save(all_and(VICTIM)).unwrap());
    assert_eq!(kinds(&saved), [(VICTIM.to_owned(), ChangeKind::ModeChanged)]);
    at.check_clean();
}

#[test]
fn entries_that_git_shall_not_look_at_are_read_and_what_changed_is_told() {
    let tellings: [fn(&Checkout); 2] = [
        |at| drop(at.git(&["update-index", "--assume-unchanged", VICTIM])),
        |at| drop(at.git(&["update-index", "--skip-worktree", VICTIM])),
    ];
    for tell in tellings {
        let at = many();
        tell(&at);
        at.write(VICTIM, "behind");
        let time = forge(&at);
        set_index_time(&at, time + SETTLED);
        let SaveAnswer::Nothing { set_aside, .. } = at.try_save(all_and(VICTIM)).unwrap() else { panic!() };
        assert!(set_aside.len() == 1 && set_aside[0].path == VICTIM.as_bytes(), "{set_aside:?}");
    }
}

#[test]
fn rewriting_many_files_at_once_with_as_many_bytes_is_saved_each_time() {
    let at = many();
    for round in 0..6 {
        write_all(&at, &format!("s{round:04}"));
        let saved = saved(at.try_save(all_and(VICTIM)).unwrap());
        assert_eq!(saved.changes.len(), FILES, "after git's commit, round {round}");
        write_all(&at, &format!("t{round:04}"));
        let answer = super::tests::saved(at.try_save(all_and(VICTIM)).unwrap());
        assert_eq!(answer.changes.len(), FILES, "after the own save, round {round}");
        write_all(&at, &format!("g{round:04}"));
        at.git(&["commit", "-qam", "by hand"]);
    }
    at.check_clean();
}

#[test]
fn a_checkout_by_the_user_makes_no_save() {
    let at = many();
    at.git(&["checkout", "-q", "-b", "else"]);
    write_all(&at, "other");
    at.git(&["commit", "-qam", "else"]);
    at.git(&["checkout", "-q", "develop"]);
    assert!(matches!(at.try_save(all_and(VICTIM)).unwrap(), SaveAnswer::Nothing { .. }));
    assert_eq!(at.repo.save_packs(), 0);
}

#[test]
fn what_a_pull_would_overwrite_is_read_whatever_the_index_says() {
    let pair = Pair::new();
    fill(&pair.at);
    pair.other.git(&["pull", "-q"]);
    write_all(&pair.other, "theirs");
    pair.theirs(VICTIM, "theirs");
    let theirs = pair.push();
    pair.at.write(VICTIM, "behind");
    let time = forge(&pair.at);
    set_index_time(&pair.at, time + SETTLED);
    assert_eq!(pair.pull(theirs), PullAnswer::Busy { paths: vec![VICTIM.into()], excluded: Vec::new() });
    assert_eq!(pair.read(VICTIM).as_deref(), Some("behind"));
}

#[test]
fn random_edits_among_many_known_files_give_the_tree_that_git_gives() {
    for seed in 20..22 {
        let at = many();
        let mut dice = Dice(seed);
        for round in 0..6 {
            let mut paths: BTreeSet<Vec<u8>> = [b"0".to_vec()].into();
            paths.extend((0..1 + dice.roll(6)).map(|_| random_edit(&at, &mut dice).into_bytes()));
            if dice.roll(2) == 0 {
                at.git(&["status", "--porcelain"]);
            }
            at.try_save(Hints::Paths(paths)).unwrap();
            let fresh = at.path(".git/fresh-index");
            let _ = fs::remove_file(&fresh);
            let add = super::tests::command(at.dir.path(), &["add", "-A"]).env("GIT_INDEX_FILE", &fresh).output();
            assert!(add.unwrap().status.success());
            let tree = super::tests::command(at.dir.path(), &["write-tree"]).env("GIT_INDEX_FILE", &fresh).output();
            let expected = String::from_utf8(tree.unwrap().stdout).unwrap();
            assert_eq!(at.git(&["rev-parse", "HEAD^{tree}"]), expected, "seed {seed} round {round}");
        }
        at.check_clean();
    }
}
