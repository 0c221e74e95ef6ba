//! Checkouts on a file system that takes names which differ only by case for one (macOS, Windows, USB sticks).

use std::collections::BTreeSet;
use std::fs;

use cascade::git::{ChangeKind, Clash, Hints, PullAnswer, PullRequest, Repo, SaveAnswer, SaveRequest, Saved};

use crate::support::Sandbox;
use crate::support::folding_disk::folding_checkout;
use crate::support::watched::Watched;

fn hints(paths: &[&str]) -> Hints {
    Hints::Paths(paths.iter().map(|path| path.as_bytes().to_vec()).collect::<BTreeSet<_>>())
}

fn save(at: &Sandbox, hints: Hints) -> SaveAnswer {
    let request = SaveRequest {
        branch: "develop",
        hints,
        max_file_bytes: 1 << 20,
        excluded: &|path, _| path.ends_with(b".log"),
        inspect: &|_, _, _| None,
        message: &|proposal| format!("Save {} files", proposal.changes().len()),
        author: None,
        now_seconds: 1_800_000_000,
        offset_minutes: 0,
    };
    Repo::open(&at.root()).unwrap().save(&request).unwrap()
}

#[track_caller]
fn saved(at: &Sandbox, hints: Hints) -> Saved {
    match save(at, hints) {
        SaveAnswer::Saved(saved) => saved,
        other => panic!("{other:?}"),
    }
}

fn kinds(saved: &Saved) -> Vec<(String, ChangeKind)> {
    saved.changes.iter().map(|change| (String::from_utf8_lossy(&change.path).into_owned(), change.kind)).collect()
}

fn rename(at: &Sandbox, from: &str, to: &str) {
    fs::rename(at.root().join(from), at.root().join(to)).unwrap();
}

/// Answers what the last commit has, after a look that everything is as it should be.
#[track_caller]
fn tree(at: &Sandbox) -> String {
    assert_eq!(at.git(&["status", "--porcelain"]), "");
    at.git(&["fsck", "--strict", "--no-dangling"]);
    let tree = at.git(&["ls-tree", "-r", "--name-only", "HEAD"]);
    assert_eq!(at.git(&["ls-files"]), tree, "the index has the same");
    tree
}

#[test]
fn an_event_in_another_spelling_adds_no_second_path() {
    let Some((at, _disk)) = folding_checkout() else { return };
    // Files are written under their own names: exFAT in user space keeps a cache for each spelling.
    for (round, path) in ["README.MD", "readme.md", "Readme.md"].into_iter().enumerate() {
        at.write("Readme.md", format!("{round}\n"));
        assert_eq!(kinds(&saved(&at, hints(&[path]))), [("Readme.md".to_owned(), ChangeKind::Modified)]);
    }
    at.write("src/a", "edited\n");
    at.write("src/new", "new\n");
    let expected = [("src/a".to_owned(), ChangeKind::Modified), ("src/new".to_owned(), ChangeKind::Added)];
    assert_eq!(kinds(&saved(&at, hints(&["SRC/A", "SRC/NEW"]))), expected);
    assert_eq!(tree(&at), "Readme.md\nsrc/a\nsrc/deep/b\nsrc/new");
    fs::remove_file(at.root().join("Readme.md")).unwrap();
    assert_eq!(kinds(&saved(&at, hints(&["README.md"]))), [("Readme.md".to_owned(), ChangeKind::Deleted)]);
}

#[test]
fn a_new_spelling_is_saved_whoever_tells_of_it() {
    let tellings =
        [hints(&["README.md"]), hints(&["Readme.md"]), hints(&["Readme.md", "README.md"]), Hints::Everything];
    for telling in tellings {
        let Some((at, _disk)) = folding_checkout() else { return };
        rename(&at, "Readme.md", "README.md");
        assert_eq!(at.git(&["status", "--porcelain"]), "", "git is blind to it");
        let expected = [("README.md", ChangeKind::Added), ("Readme.md", ChangeKind::Deleted)];
        let saved = saved(&at, telling);
        assert_eq!(kinds(&saved), expected.map(|(path, kind)| (path.to_owned(), kind)));
        assert_eq!(tree(&at), "README.md\nsrc/a\nsrc/deep/b");
        assert!(matches!(save(&at, Hints::Everything), SaveAnswer::Nothing { .. }));
    }
}

#[test]
fn a_directory_spelled_anew_is_saved_with_all_that_is_in_it() {
    for telling in [hints(&["Src"]), hints(&["src"]), hints(&["Src/a"]), hints(&["src/deep/b"]), Hints::Everything] {
        let Some((at, _disk)) = folding_checkout() else { return };
        rename(&at, "src", "Src");
        at.write("Src/new", "new\n");
        assert_eq!(saved(&at, telling).changes.len(), 5);
        assert_eq!(tree(&at), "Readme.md\nSrc/a\nSrc/deep/b\nSrc/new");
        assert!(matches!(save(&at, Hints::Everything), SaveAnswer::Nothing { .. }));
    }
}

#[test]
fn two_paths_of_the_commit_that_are_one_here_are_set_aside_and_never_deleted() {
    let Some((at, _disk)) = folding_checkout() else { return };
    let blob = at.git(&["rev-parse", "HEAD:src/a"]);
    for path in ["README.MD", "Src/c"] {
        at.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{path}")]);
    }
    at.git(&["commit", "--quiet", "-m", "Twins, made where they are two"]);
    let before = at.git(&["ls-tree", "-r", "HEAD"]);
    let twins = ["README.MD", "Readme.md", "Src", "Src/c", "src", "src/a"];
    at.write("alone", "1\n");
    let first = saved(&at, hints(&[&twins[..], &["alone"]].concat()));
    assert_eq!(kinds(&first), [("alone".to_owned(), ChangeKind::Added)]);
    let aside: Vec<_> = first.set_aside.iter().map(|one| String::from_utf8_lossy(&one.path)).collect();
    assert_eq!(aside, ["README.MD", "Readme.md", "Src", "src"]);
    assert!(first.set_aside[0].reason.contains("differs only by case from `Readme.md`"), "{first:?}");
    fs::remove_file(at.root().join("readme.md")).unwrap();
    for (round, telling) in [hints(&twins), Hints::Everything].into_iter().enumerate() {
        at.write("alone", format!("more {round}\n"));
        let telling = match telling {
            Hints::Paths(mut paths) => {
                paths.insert(b"alone".to_vec());
                Hints::Paths(paths)
            }
            everything => everything,
        };
        assert_eq!(kinds(&saved(&at, telling)), [("alone".to_owned(), ChangeKind::Modified)]);
    }
    let after = at.git(&["ls-tree", "-r", "HEAD"]);
    assert!(before.lines().all(|line| after.contains(line)), "{before}\n{after}");
}

/// Commits what somebody made elsewhere on top of `develop` and answers the commit.
fn theirs(at: &Sandbox, change: impl FnOnce(&Sandbox)) -> String {
    let other = Sandbox::empty();
    other.git(&["clone", "--quiet", at.root().to_str().unwrap(), "."]);
    change(&other);
    other.commit("Theirs");
    at.git(&["fetch", "--quiet", other.root().to_str().unwrap(), "develop"]);
    at.git(&["rev-parse", "FETCH_HEAD"])
}

fn pull(at: &Sandbox, theirs: &str) -> PullAnswer {
    let request = PullRequest {
        branch: "develop",
        theirs: theirs.parse().unwrap(),
        clash: Clash::OursWin,
        excluded: &|path, _| path.ends_with(b".log"),
        message: &|_| "Bring in".to_owned(),
        now_seconds: 1_800_000_000,
    };
    Repo::open(&at.root()).unwrap().pull(&request).unwrap()
}

/// Answers the names in a directory of the checkout.
fn listed(at: &Sandbox, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(at.root().join(directory)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".git");
    names.sort();
    names
}

#[test]
fn new_spellings_of_others_come_in_and_are_not_taken_for_deletions() {
    let Some((at, _disk)) = folding_checkout() else { return };
    let theirs = theirs(&at, |other| {
        rename(other, "Readme.md", "README.md");
        rename(other, "src", "Src");
        other.write("Src/a", "theirs\n");
        other.write("Src/new", "theirs\n");
    });
    at.write("src/build.log", "mine, and ignored\n");
    assert!(matches!(pull(&at, &theirs), PullAnswer::Pulled(_)));
    assert_eq!(listed(&at, ""), ["README.md", "Src"]);
    assert_eq!(listed(&at, "Src"), ["a", "build.log", "deep", "new"]);
    assert_eq!((at.read("Src/a").as_str(), at.read("Src/build.log").as_str()), ("theirs\n", "mine, and ignored\n"));
    for telling in [hints(&["Readme.md", "src", "Src", "README.md"]), Hints::Everything] {
        assert!(matches!(save(&at, telling), SaveAnswer::Nothing { .. }));
    }
    assert_eq!(at.git(&["ls-files"]), "README.md\nSrc/a\nSrc/deep/b\nSrc/new");
}

#[test]
fn of_others_two_paths_that_would_be_one_here_do_not_come_in_and_it_is_told() {
    let changes: [fn(&Sandbox); 3] = [
        |other| other.write("README.MD", "theirs\n"),
        |other| other.write("Src/c", "theirs\n"),
        |other| {
            other.write("new", "theirs\n");
            other.write("New", "theirs\n");
        },
    ];
    for change in changes {
        let Some((at, _disk)) = folding_checkout() else { return };
        let theirs = theirs(&at, change);
        let PullAnswer::Paused { reason } = pull(&at, &theirs) else { panic!() };
        assert!(reason.contains("differ only by case"), "{reason}");
        assert_eq!(tree(&at), "Readme.md\nsrc/a\nsrc/deep/b");
        assert_eq!((at.read("Readme.md").as_str(), listed(&at, "").len()), ("hello\n", 2));
    }
}

#[test]
fn what_others_push_comes_in_without_hard_links_and_exchanges() {
    let Some((at, _disk)) = folding_checkout() else { return };
    let theirs = theirs(&at, |other| {
        other.write("src/a", "theirs\n");
        other.write("new/deep/file", "theirs\n");
        fs::remove_dir_all(other.root().join("src/deep")).unwrap();
    });
    assert!(matches!(pull(&at, &theirs), PullAnswer::Pulled(_)));
    assert_eq!(tree(&at), "Readme.md\nnew/deep/file\nsrc/a");
    assert_eq!((at.read("src/a").as_str(), at.read("new/deep/file").as_str()), ("theirs\n", "theirs\n"));
}

#[test]
fn a_watcher_saves_new_spellings_as_they_are_made_and_those_made_before() {
    let Some((at, disk)) = folding_checkout() else { return };
    let watched = Watched::of(at, "200ms", "");
    rename(&watched, "src", "Src");
    watched.start();
    watched.until("the directory", || watched.at("develop", "Src/deep/b").as_deref() == Some("b"));
    rename(&watched, "Readme.md", "README.md");
    watched.until_saved("develop", "README.md", "hello");
    rename(&watched, "Src/deep", "Src/DEEP");
    watched.until_saved("develop", "Src/DEEP/b", "b");
    watched.stop();
    assert_eq!(tree(&watched), "README.md\nSrc/DEEP/b\nSrc/a\ncascade-sync.yaml");
    drop(disk);
}

#[test]
fn a_scratch_checkout_follows_names_that_are_spelled_anew() {
    let Some((at, _disk)) = folding_checkout() else { return };
    at.write("Notes", "one\n");
    at.write("docs/page", "one\n");
    at.commit("One");
    let mut commits = vec![at.git(&["rev-parse", "HEAD"])];
    rename(&at, "Notes", "NOTES");
    rename(&at, "docs", "Docs");
    at.git(&["rm", "--quiet", "-r", "--cached", "."]);
    at.commit("Two");
    commits.push(at.git(&["rev-parse", "HEAD"]));
    let (repo, scratch) = (Repo::open(&at.root()).unwrap(), at.root().join(".git/scratch"));
    for round in 0..4 {
        let commit = commits[round % 2].parse().unwrap();
        let checkout = repo.check_out_scratch(&scratch, commit, Some("names")).unwrap();
        assert!(checkout.is_proven, "the git program moves it");
        let list = |dir: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(checkout.path.join(dir)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let names = [["Notes", "docs"], ["NOTES", "Docs"]][round % 2];
        assert!(names.iter().all(|name| list(".").contains(*name)), "{:?}", list("."));
        fs::write(checkout.path.join(names[0]), "changed by a check\n").unwrap();
        fs::write(checkout.path.join("stray"), "").unwrap();
        assert!(repo.settle_scratch(&scratch, "names").unwrap());
    }
}
