//! `core.ignoreCase` on a file system that does tell upper from lower case: what the setting alone must not do.
//!
//! `tests/it/flow_case.rs` asks the same of a file system that does not.

use std::fs;

use super::pull_tests::Pair;
use super::tests::{Checkout, hints, kinds, saved};
use super::*;

fn ignoring(setting: &str) -> Checkout {
    let at = Checkout::new();
    at.git(&["config", "core.ignoreCase", setting]);
    at.write("Readme.md", "hello");
    at.save(&["Readme.md"]);
    at
}

fn rename(at: &Checkout, from: &str, to: &str) {
    fs::rename(at.path(from), at.path(to)).unwrap();
}

/// Every way to be told of what happened at these paths.
fn tellings(paths: [&str; 2]) -> [Hints; 4] {
    [hints(&paths), hints(&paths[..1]), hints(&paths[1..]), Hints::Everything]
}

#[test]
fn a_hint_in_another_spelling_adds_no_second_path() {
    let at = ignoring("true");
    assert!(matches!(at.try_save(hints(&["README.MD", "DIR/A"])).unwrap(), SaveAnswer::Nothing { .. }));
    at.write("Readme.md", "new");
    at.write("dir/a", "new");
    let expected = [("Readme.md", ChangeKind::Modified), ("dir/a", ChangeKind::Modified)];
    let saved = at.save(&["README.MD", "DIR/A"]);
    assert_eq!(kinds(&saved), expected.map(|(path, kind)| (path.to_owned(), kind)));
    fs::remove_file(at.path("Readme.md")).unwrap();
    assert_eq!(kinds(&at.save(&["readme.MD"])), [("Readme.md".to_owned(), ChangeKind::Deleted)]);
    at.check_clean();
}

#[test]
fn a_second_file_that_git_would_take_for_the_first_is_set_aside() {
    let at = ignoring("true");
    at.write("README.MD", "another");
    at.write("one", "new");
    for telling in [hints(&["README.MD", "one"]), Hints::Everything, hints(&["README.MD", "one"])] {
        at.write("one", format!("new {telling:?}"));
        let saved = saved(at.try_save(telling.clone()).unwrap());
        assert_eq!(kinds(&saved), [("one".to_owned(), ChangeKind::Modified)]);
        if telling != Hints::Everything {
            assert_eq!(saved.set_aside[0].path, b"README.MD");
            assert!(saved.set_aside[0].reason.contains("`Readme.md`"), "{saved:?}");
        }
    }
    at.git(&["add", "README.MD"]);
    assert_eq!(at.git(&["ls-files", "--", ":(icase)readme.md"]), "Readme.md\n", "git adds no second path either");
}

#[test]
fn a_file_spelled_anew_is_saved_under_its_new_name() {
    for setting in ["true", "false"] {
        for (round, telling) in tellings(["README.md", "Readme.md"]).into_iter().enumerate() {
            // Without the setting each path stands for itself, and both have to be told.
            if setting == "false" && matches!(round, 1 | 2) {
                continue;
            }
            let at = ignoring(setting);
            rename(&at, "Readme.md", "README.md");
            let saved = saved(at.try_save(telling.clone()).unwrap());
            let expected = [("README.md", ChangeKind::Added), ("Readme.md", ChangeKind::Deleted)];
            assert_eq!(kinds(&saved), expected.map(|(path, kind)| (path.to_owned(), kind)), "{setting} {telling:?}");
            assert_eq!(at.blob("README.md"), "hello");
            at.check_clean();
        }
    }
}

#[test]
fn a_directory_spelled_anew_is_saved_with_all_that_is_in_it() {
    for telling in tellings(["DIR", "dir"]).into_iter().chain([hints(&["DIR/a"]), hints(&["dir/deep/c"])]) {
        let at = ignoring("true");
        rename(&at, "dir", "DIR");
        at.write("DIR/new", "new");
        at.write("DIR/b", "edited");
        saved(at.try_save(telling.clone()).unwrap());
        let listed = "DIR/a\nDIR/b\nDIR/deep/c\nDIR/new\nReadme.md\none\nother/d\ntwo\n";
        assert_eq!(at.git(&["ls-files"]), listed, "{telling:?}");
        assert_eq!(at.blob("DIR/b"), "edited");
        at.check_clean();
    }
}

#[test]
fn a_new_spelling_that_cannot_be_saved_deletes_nothing() {
    let at = ignoring("true");
    rename(&at, "Readme.md", "README.md");
    at.write("README.md", "hush");
    rename(&at, "dir", "DIR");
    at.write("DIR/a", "hush");
    let saved = at.save(&["README.md", "Readme.md", "DIR"]);
    let aside: Vec<_> = saved.set_aside.iter().map(|one| String::from_utf8_lossy(&one.path)).collect();
    assert_eq!(aside, ["DIR/a", "README.md"]);
    let tree = at.git(&["ls-tree", "-r", "--name-only", "HEAD"]);
    assert_eq!(tree, "DIR/b\nDIR/deep/c\nReadme.md\ndir/a\none\nother/d\ntwo\n");
}

#[test]
fn what_is_gone_from_a_directory_spelled_anew_is_deleted() {
    let at = ignoring("true");
    rename(&at, "dir", "DIR");
    fs::remove_file(at.path("DIR/b")).unwrap();
    at.save(&["DIR"]);
    assert_eq!(at.git(&["ls-files"]), "DIR/a\nDIR/deep/c\nReadme.md\none\nother/d\ntwo\n");
    at.check_clean();
}

#[test]
fn a_file_and_a_directory_that_differ_by_case_displace_each_other() {
    let at = ignoring("true");
    fs::remove_file(at.path("one")).unwrap();
    at.write("ONE/inside", "now a directory");
    fs::remove_dir_all(at.path("other")).unwrap();
    at.write("OTHER", "now a file");
    at.save(&["ONE", "one", "OTHER", "other"]);
    assert_eq!(at.git(&["ls-files"]), "ONE/inside\nOTHER\nReadme.md\ndir/a\ndir/b\ndir/deep/c\ntwo\n");
    at.check_clean();
}

#[test]
fn twins_of_the_commit_are_two_files_where_the_file_system_has_two() {
    let at = ignoring("false");
    at.write("README.MD", "another");
    at.save(&["README.MD"]);
    at.git(&["config", "core.ignoreCase", "true"]);
    at.write("README.MD", "edited");
    at.write("Readme.md", "edited too");
    assert_eq!(at.save(&["README.MD", "Readme.md"]).changes.len(), 2);
    fs::remove_file(at.path("README.MD")).unwrap();
    assert_eq!(kinds(&at.save(&["README.MD"])), [("README.MD".to_owned(), ChangeKind::Deleted)]);
    assert_eq!(at.git(&["ls-tree", "--name-only", "HEAD", "Readme.md", "README.MD"]), "Readme.md\n");
}

#[test]
fn submodules_are_not_spelled_anew() {
    let at = ignoring("true");
    let commit = at.git(&["rev-parse", "HEAD"]);
    at.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", commit.trim())]);
    at.git(&["commit", "-qm", "submodule"]);
    at.write("SUB/file", "x");
    assert!(matches!(at.try_save(hints(&["SUB", "SUB/file", "sub"])).unwrap(), SaveAnswer::Nothing { .. }));
}

#[test]
fn a_new_spelling_of_others_comes_in() {
    let pair = Pair::new();
    pair.at.git(&["config", "core.ignoreCase", "true"]);
    rename(&pair.other, "one", "ONE");
    rename(&pair.other, "dir", "DIR");
    pair.at.write("dir/untracked.log", "stays");
    pair.pulled_untidy();
    assert_eq!((pair.read("ONE").as_deref(), pair.at.path("one").exists()), (Some("one"), false));
    assert_eq!(
        (pair.read("DIR/a").as_deref(), pair.read("dir/untracked.log").as_deref()),
        (Some("dir/a"), Some("stays"))
    );
}

#[test]
fn without_symbolic_links_one_of_others_comes_in_as_a_file() {
    let pair = Pair::new();
    pair.at.git(&["config", "core.symlinks", "false"]);
    std::os::unix::fs::symlink("one", pair.other.path("link")).unwrap();
    pair.pulled();
    assert!(!pair.at.path("link").symlink_metadata().unwrap().is_symlink());
    assert_eq!(pair.read("link").as_deref(), Some("one"));
    pair.ours("link", "two");
    assert_eq!(pair.at.git(&["ls-tree", "HEAD", "link"]).split(' ').next(), Some("120000"));
}
