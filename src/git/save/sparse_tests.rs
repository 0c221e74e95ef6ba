//! Sparse checkouts of both kinds, with full and sparse indexes: what others push comes in as `git pull` brings it.

use std::fs;

use super::pull_tests::Pair;
use super::tests::{Checkout, Dice, hints, kinds, random_edit, run, saved};
use super::*;
use crate::git::branch::object_id;

/// Ways to leave out `dir/` and have `other/`.
const KINDS: [&[&str]; 4] = [
    &["set", "other"],
    &["set", "--no-cone", "/*", "!/dir/", "!/new*/"],
    &["set", "--sparse-index", "other"],
    &["set", "--no-cone", "other/*", "o*", "t*", "*.kept"],
];

fn leave_out(at: &Checkout, kind: &[&str]) {
    // What a save wrote is too young for git to believe that it is unchanged.
    at.git(&["update-index", "--refresh"]);
    at.git(&[&["sparse-checkout"], kind].concat());
    assert!(!at.path("dir").exists() && at.path("other/d").exists(), "{kind:?}");
}

/// A sparse checkout, somebody's clone of it, and one that git itself pulls into.
struct Trio {
    pair: Pair,
    git: Checkout,
}

impl Trio {
    fn new(kind: &[&str]) -> Self {
        let (pair, dir) = (Pair::new(), tempfile::tempdir().unwrap());
        run(dir.path(), &["clone", "-q", pair.at.dir.path().to_str().unwrap(), "."]);
        let git = Checkout { repo: Repo::open(dir.path()).unwrap(), dir };
        leave_out(&pair.at, kind);
        leave_out(&git, kind);
        Self { pair, git }
    }

    /// Brings in what the other made, here and with git; both have the same afterwards.
    #[track_caller]
    fn pulled(&self) -> Pulled {
        let pulled = self.pair.pulled();
        self.git.git(&["pull", "-q", "--ff-only", self.pair.at.dir.path().to_str().unwrap(), "develop"]);
        // A pull by git leaves out a file that took the place of a directory of a sparse index; this sets it right.
        self.git.git(&["sparse-checkout", "reapply"]);
        let state = |at: &Checkout| (at.git(&["ls-files", "-s", "-t"]), files(at));
        assert_eq!(state(&self.pair.at), state(&self.git));
        pulled
    }
}

/// Answers every path of the working tree.
fn files(at: &Checkout) -> Vec<String> {
    let listed = at.git(&["ls-files", "-z", "--cached", "--others"]);
    let is_there = |path: &&str| at.path(path).symlink_metadata().is_ok();
    listed.split('\0').filter(|path| !path.is_empty()).filter(is_there).map(str::to_owned).collect()
}

#[test]
fn what_is_left_out_reaches_branch_and_index_and_no_directory() {
    for kind in KINDS {
        let trio = Trio::new(kind);
        trio.pair.theirs("one", "theirs");
        trio.pair.theirs("dir/a", "theirs");
        trio.pair.theirs("dir/deep/new", "theirs");
        trio.pair.theirs("newdir/x", "theirs");
        trio.pair.theirs("other/e", "theirs");
        trio.pair.theirs("other/deep/f.kept", "theirs");
        fs::remove_file(trio.pair.other.path("dir/b")).unwrap();
        fs::remove_file(trio.pair.other.path("other/d")).unwrap();
        assert_eq!(trio.pulled().changes.len(), 8, "{kind:?}");
        let at = &trio.pair.at;
        assert!(!at.path("dir").exists() && !at.path("newdir").exists());
        assert_eq!([at.blob("dir/a"), at.blob("newdir/x")], ["theirs", "theirs"]);
        assert_eq!(trio.pair.read("other/e").as_deref(), Some("theirs"));
        assert!(matches!(at.try_save(Hints::Everything).unwrap(), SaveAnswer::Nothing { .. }));
        assert!(matches!(at.try_save(hints(&["dir", "newdir", "dir/deep/new"])).unwrap(), SaveAnswer::Nothing { .. }));
    }
}

#[test]
fn a_sparse_index_stays_one() {
    let pair = Pair::new();
    pair.ours("far/x", "far");
    leave_out(&pair.at, KINDS[2]);
    assert_eq!(pair.at.git(&["ls-files", "--sparse", "-t"]), "S dir/\nS far/\nH one\nH other/d\nH two\n");
    pair.other.git(&["pull", "-q"]);
    pair.theirs("dir/a", "theirs");
    pair.pulled();
    let listed = pair.at.git(&["ls-files", "--sparse", "-t"]);
    assert!(listed.contains("S dir/a\nS dir/b\nS dir/deep/\nS far/\n"), "only what was touched is opened: {listed}");
}

#[test]
fn a_merge_with_own_saves_leaves_out_the_same() {
    for kind in KINDS {
        let pair = Pair::new();
        leave_out(&pair.at, kind);
        pair.ours("other/d", "mine");
        pair.ours("one", "mine");
        pair.theirs("one", "theirs");
        pair.theirs("dir/deep/c", "theirs");
        pair.theirs("newdir/x", "theirs");
        let pulled = pair.pulled();
        assert_eq!(pulled.lost, [b"one"], "{kind:?}");
        assert_eq!([pair.at.blob("one"), pair.at.blob("dir/deep/c")], ["mine", "theirs"]);
        let skipped = pair.at.git(&["ls-files", "-t", "dir", "newdir"]);
        assert_eq!(skipped, "S dir/a\nS dir/b\nS dir/deep/c\nS newdir/x\n", "{kind:?}");
        assert!(!pair.at.path("dir").exists() && !pair.at.path("newdir").exists());
        pair.at.git(&["sparse-checkout", "disable"]);
        assert_eq!(pair.read("dir/deep/c").as_deref(), Some("theirs"));
        pair.at.check_clean();
    }
}

#[test]
fn files_and_directories_that_change_places_across_the_border_are_told_apart() {
    for kind in &KINDS[..3] {
        let trio = Trio::new(kind);
        fs::remove_dir_all(trio.pair.other.path("dir")).unwrap();
        trio.pair.theirs("dir", "now a file, which is not left out with what was below it");
        fs::remove_file(trio.pair.other.path("one")).unwrap();
        trio.pair.theirs("one/inside", "now a directory");
        trio.pulled();
    }
}

#[test]
fn a_file_that_is_there_although_it_is_left_out_is_one_like_any_other() {
    for kind in KINDS {
        let pair = Pair::new();
        leave_out(&pair.at, kind);
        pair.at.write("dir/a", "dir/a");
        pair.theirs("dir/a", "theirs");
        pair.theirs("dir/b", "theirs");
        pair.pulled();
        assert_eq!(
            (pair.read("dir/a").as_deref(), pair.at.path("dir/b").exists()),
            (Some("theirs"), false),
            "{kind:?}"
        );
        pair.at.write("dir/a", "mine, not saved");
        pair.theirs("dir/a", "theirs again");
        let theirs = pair.push();
        assert_eq!(pair.pull(theirs), PullAnswer::Busy { paths: vec![b"dir/a".to_vec()], excluded: Vec::new() });
        assert_eq!(kinds(&pair.at.save(&["dir/a"])), [("dir/a".to_owned(), ChangeKind::Modified)]);
        let PullAnswer::Pulled(pulled) = pair.pull(theirs) else { panic!() };
        assert_eq!((pulled.lost, pair.read("dir/a").as_deref()), (vec![b"dir/a".to_vec()], Some("mine, not saved")));
    }
}

#[test]
fn something_untracked_in_the_place_of_what_is_left_out_stops_the_pull() {
    let pair = Pair::new();
    leave_out(&pair.at, KINDS[0]);
    pair.at.write("newdir/x", "mine, not saved");
    pair.theirs("newdir/x", "theirs");
    let theirs = pair.push();
    assert_eq!(pair.pull(theirs), PullAnswer::Busy { paths: vec![b"newdir/x".to_vec()], excluded: Vec::new() });
    assert_eq!(pair.read("newdir/x").as_deref(), Some("mine, not saved"));
}

#[test]
fn an_earlier_content_of_what_is_left_out_is_brought_back_in_the_branch() {
    for kind in KINDS {
        let at = Checkout::new();
        let before = object_id(at.repo.inner.refname_to_id("refs/heads/develop").unwrap()).unwrap();
        at.write("dir/a", "newer");
        at.write("one", "newer");
        at.save(&["dir/a", "one"]);
        leave_out(&at, kind);
        let what = Restore::Paths { paths: Vec::new(), to: before };
        let request = RestoreRequest {
            branch: "develop",
            what,
            excluded: &|_, _| false,
            message: &|_| "x".into(),
            now_seconds: 0,
        };
        let RestoreAnswer::Restored { changes, .. } = at.repo.restore(&request).unwrap() else { panic!() };
        assert_eq!((changes.len(), at.blob("dir/a").as_str()), (2, "dir/a"));
        assert_eq!((fs::read_to_string(at.path("one")).unwrap().as_str(), at.path("dir").exists()), ("one", false));
        at.check_clean();
    }
}

#[test]
fn what_the_user_staged_of_a_left_out_path_stays_staged() {
    for kind in &KINDS[..2] {
        let pair = Pair::new();
        leave_out(&pair.at, kind);
        let blob = pair.at.git(&["rev-parse", "HEAD:one"]);
        pair.at.git(&["update-index", "--cacheinfo", &format!("100644,{},dir/a", blob.trim())]);
        pair.at.git(&["update-index", "--skip-worktree", "dir/a"]);
        pair.theirs("dir/a", "theirs");
        let theirs = pair.push();
        assert!(matches!(pair.pull(theirs), PullAnswer::Pulled(_)));
        assert_eq!((pair.at.blob("dir/a").as_str(), pair.at.git(&["show", ":dir/a"]).as_str()), ("theirs", "one"));
    }
}

#[test]
fn what_is_absent_while_git_makes_the_checkout_sparse_is_not_deleted() {
    for kind in KINDS {
        let at = Checkout::new();
        at.write("other/d", "new");
        // Git removes the files first: a batch may end in between.
        fs::remove_dir_all(at.path("dir")).unwrap();
        let tries = std::cell::Cell::new(0);
        let answer = at.save_with(hints(&["dir", "other"]), &|_| {
            if tries.replace(tries.get() + 1) == 0 {
                at.git(&[&["sparse-checkout"], kind].concat());
            }
            "Save".to_owned()
        });
        assert_eq!(kinds(&saved(answer.unwrap())), [("other/d".to_owned(), ChangeKind::Modified)], "{kind:?}");
        at.check_clean();
    }
}

#[test]
fn random_edits_of_others_come_in_as_git_brings_them() {
    let mut dice = Dice(11);
    for kind in KINDS {
        for _ in 0..2 {
            let trio = Trio::new(kind);
            for _ in 0..2 {
                (0..4).for_each(|_| drop(random_edit(&trio.pair.other, &mut dice)));
                trio.pulled();
                trio.pair.other.git(&["pull", "-q"]);
            }
        }
    }
}

/// The ways to make an index that git alone can change, and the common one.
const FORMS: [&[&str]; 2] = [&["update-index", "--index-version", "2"], &["update-index", "--split-index"]];

#[test]
fn an_edit_that_git_shall_not_look_at_is_set_aside_and_keeps_its_mark() {
    for (mark, tag) in [("--skip-worktree", "S"), ("--assume-unchanged", "h")] {
        for form in FORMS {
            let at = Checkout::new();
            at.git(form);
            at.git(&["update-index", mark, "dir/b"]);
            at.write("dir/b", "hush: nobody else's business");
            at.write("one", "saved");
            let saved = at.save(&["dir/b", "one"]);
            assert_eq!(kinds(&saved), [("one".to_owned(), ChangeKind::Modified)], "{mark}");
            let [aside] = &saved.set_aside[..] else { panic!("{:?}", saved.set_aside) };
            let way_back = mark.replacen("--", "--no-", 1);
            assert!(aside.path == b"dir/b" && aside.reason.contains(&way_back), "{aside:?}");
            for look in [Hints::Everything, hints(&["dir"])] {
                let SaveAnswer::Nothing { set_aside, .. } = at.try_save(look).unwrap() else { panic!() };
                assert_eq!(set_aside, saved.set_aside);
            }
            assert_eq!(at.git(&["ls-files", "-v", "dir/b"]), format!("{tag} dir/b\n"));
            assert_eq!(at.blob("dir/b"), "dir/b");
            at.git(&["update-index", &way_back, "dir/b"]);
            at.write("dir/b", "everybody's business");
            assert_eq!(kinds(&at.save(&["dir/b"])), [("dir/b".to_owned(), ChangeKind::Modified)]);
        }
    }
}

#[test]
fn a_file_that_git_assumes_unchanged_is_not_deleted_unless_a_directory_takes_its_place() {
    let at = Checkout::new();
    at.git(&["update-index", "--assume-unchanged", "one", "two"]);
    fs::remove_file(at.path("one")).unwrap();
    let SaveAnswer::Nothing { set_aside, .. } = at.try_save(hints(&["one"])).unwrap() else { panic!() };
    assert_eq!(set_aside.len(), 1);
    fs::remove_file(at.path("two")).unwrap();
    at.write("two/inside", "x");
    let saved = at.save(&["two"]);
    let expected = [("two", ChangeKind::Deleted), ("two/inside", ChangeKind::Added)];
    assert_eq!(kinds(&saved), expected.map(|(path, kind)| (path.to_owned(), kind)));
}
