use super::tests::{Checkout, Dice, random_edit, run};
use super::*;
use crate::base::id::ObjectId;
use crate::git::branch::{object_id, oid};

/// A checkout and somebody else's clone of it.
pub(super) struct Pair {
    pub at: Checkout,
    pub other: Checkout,
}

impl Pair {
    pub fn new() -> Self {
        let (at, dir) = (Checkout::new(), tempfile::tempdir().unwrap());
        run(dir.path(), &["clone", "-q", at.dir.path().to_str().unwrap(), "."]);
        for (key, value) in [("user.name", "O"), ("user.email", "o@localhost"), ("core.autocrlf", "false")] {
            run(dir.path(), &["config", key, value]);
        }
        Self { at, other: Checkout { repo: Repo::open(dir.path()).unwrap(), dir } }
    }

    pub fn theirs(&self, path: &str, content: &str) {
        self.other.write(path, content);
    }

    pub fn ours(&self, path: &str, content: &str) {
        self.at.write(path, content);
        self.at.save(&[path]);
    }

    /// Commits what the other did and fetches it.
    pub fn push(&self) -> ObjectId {
        self.other.git(&["add", "-A"]);
        self.other.git(&["commit", "-q", "--allow-empty", "-m", "theirs"]);
        self.at.git(&["fetch", "-q", self.other.dir.path().to_str().unwrap(), "develop"]);
        self.at.git(&["rev-parse", "FETCH_HEAD"]).trim().parse().unwrap()
    }

    pub fn pull(&self, theirs: ObjectId) -> PullAnswer {
        self.try_pull(theirs).unwrap()
    }

    pub fn try_pull(&self, theirs: ObjectId) -> Result<PullAnswer> {
        let request = PullRequest {
            branch: "develop",
            theirs,
            excluded: &|path, _| path.ends_with(b".log"),
            clash: Clash::OursWin,
            message: &|lost| format!("Bring in what others made\n\nlost: {}", lost.len()),
            now_seconds: 1_700_000_000,
        };
        self.at.repo.pull(&request)
    }

    #[track_caller]
    pub fn pulled(&self) -> Pulled {
        let pulled = self.pulled_untidy();
        self.at.check_clean();
        pulled
    }

    /// The same where files are left that are not tracked.
    #[track_caller]
    pub fn pulled_untidy(&self) -> Pulled {
        let theirs = self.push();
        match self.pull(theirs) {
            PullAnswer::Pulled(pulled) => {
                assert!(self.at.repo.is_ancestor(theirs, object_id(pulled.commit).unwrap()).unwrap());
                pulled
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.at.path(path)).ok()
    }
}

fn names(paths: &[Vec<u8>]) -> Vec<String> {
    paths.iter().map(|path| String::from_utf8(path.clone()).unwrap()).collect()
}

#[test]
fn without_own_saves_the_branch_moves_forward_with_its_files() {
    let pair = Pair::new();
    pair.theirs("one", "new");
    pair.theirs("new/deep/er/file", "added");
    std::fs::remove_file(pair.other.path("dir/deep/c")).unwrap();
    let theirs = pair.push();
    let PullAnswer::Pulled(pulled) = pair.pull(theirs) else { panic!() };
    assert_eq!(pulled.commit, oid(theirs).unwrap());
    assert_eq!((pair.read("one").as_deref(), pair.read("new/deep/er/file").as_deref()), (Some("new"), Some("added")));
    assert!(!pair.at.path("dir/deep").exists(), "directories that are empty go");
    pair.at.check_clean();
    assert_eq!(pair.pull(theirs), PullAnswer::Nothing);
}

#[test]
fn both_sides_are_merged_and_both_histories_kept() {
    let pair = Pair::new();
    pair.ours("two", "mine");
    pair.theirs("one", "theirs");
    let pulled = pair.pulled();
    assert_eq!((pair.read("one").as_deref(), pair.read("two").as_deref()), (Some("theirs"), Some("mine")));
    assert_eq!(pair.at.git(&["rev-list", "--count", "--merges", "-1", "HEAD"]).trim(), "1");
    assert_eq!((pulled.lost, pulled.changes.len()), (Vec::<Vec<u8>>::new(), 1));
    pair.at.git(&["fsck", "--strict"]);
}

#[test]
fn a_merge_is_signed_when_git_is_told_to() {
    let pair = Pair::new();
    pair.at.sign();
    pair.ours("two", "mine");
    pair.theirs("one", "theirs");
    pair.pulled();
    let merge = pair.at.git(&["cat-file", "commit", "HEAD"]);
    assert!(merge.contains("gpgsig -----BEGIN") && merge.matches("parent ").count() == 2, "{merge}");
}

#[test]
fn of_a_line_that_both_changed_the_sandbox_wins_and_the_rest_is_merged() {
    let pair = Pair::new();
    let text = |first: &str, last: &str| format!("{first}\n2\n3\n4\n5\n6\n7\n8\n{last}\n");
    pair.ours("text", &text("1", "9"));
    pair.other.git(&["pull", "-q"]);
    pair.ours("text", &text("mine", "9"));
    pair.theirs("text", &text("theirs", "their end"));
    let pulled = pair.pulled();
    assert_eq!(pair.read("text"), Some(text("mine", "their end")));
    assert_eq!(names(&pulled.lost), ["text"]);
    assert!(pair.at.git(&["log", "-1", "--format=%B"]).contains("lost: 1"));
}

#[test]
fn a_clash_that_is_refused_leaves_everything_as_it_was() {
    let pair = Pair::new();
    pair.ours("one", "mine");
    pair.theirs("one", "theirs");
    pair.theirs("two", "theirs too");
    let (theirs, before) = (pair.push(), pair.at.git(&["rev-parse", "HEAD"]));
    let request = |clash| PullRequest {
        branch: "develop",
        theirs,
        excluded: &|_, _| false,
        clash,
        message: &|_| "Bring in".to_owned(),
        now_seconds: 1_700_000_000,
    };
    let refused = pair.at.repo.pull(&request(Clash::Refuse)).unwrap_err();
    assert!(matches!(&refused, Error::MergeConflict { paths, .. } if paths == &["one"]), "{refused}");
    assert_eq!(pair.at.git(&["rev-parse", "HEAD"]), before);
    assert_eq!((pair.read("one").as_deref(), pair.read("two").as_deref()), (Some("mine"), Some("two")));
    pair.at.check_clean();
    assert!(matches!(pair.at.repo.pull(&request(Clash::OursWin)).unwrap(), PullAnswer::Pulled(_)));
}

#[test]
fn deletions_against_edits_end_as_the_sandbox_has_them() {
    let pair = Pair::new();
    pair.ours("one", "edited");
    std::fs::remove_file(pair.at.path("two")).unwrap();
    pair.at.save(&["two"]);
    std::fs::remove_file(pair.other.path("one")).unwrap();
    pair.theirs("two", "edited by them");
    pair.theirs("dir/a", "and this comes in");
    let pulled = pair.pulled();
    assert_eq!((pair.read("one").as_deref(), pair.read("two")), (Some("edited"), None));
    assert_eq!(pair.read("dir/a").as_deref(), Some("and this comes in"));
    assert_eq!(names(&pulled.lost), ["one", "two"]);
}

#[test]
fn a_directory_of_the_sandbox_is_not_replaced_by_a_file_of_others() {
    let pair = Pair::new();
    pair.ours("place/file", "mine");
    pair.theirs("place", "a file");
    pair.theirs("other/e", "comes in");
    let pulled = pair.pulled();
    assert_eq!((pair.read("place/file").as_deref(), pair.read("other/e").as_deref()), (Some("mine"), Some("comes in")));
    assert_eq!(names(&pulled.lost), ["place"]);
}

#[test]
fn a_clash_elsewhere_does_not_keep_a_file_from_taking_the_place_of_a_directory() {
    let pair = Pair::new();
    pair.ours("one", "mine");
    std::fs::remove_dir_all(pair.other.path("dir")).unwrap();
    pair.theirs("dir", "now a file");
    std::fs::remove_file(pair.other.path("two")).unwrap();
    pair.theirs("two/inside", "now a directory");
    pair.theirs("one", "theirs");
    let pulled = pair.pulled();
    assert_eq!(names(&pulled.lost), ["one"]);
    assert_eq!(pair.read("one").as_deref(), Some("mine"));
    assert_eq!(pair.read("dir").as_deref(), Some("now a file"));
    assert_eq!(pair.read("two/inside").as_deref(), Some("now a directory"));
}

#[test]
fn files_directories_modes_and_links_change_as_others_changed_them() {
    let pair = Pair::new();
    let other = |path: &str| pair.other.path(path);
    std::fs::remove_dir_all(other("dir")).unwrap();
    pair.theirs("dir", "now a file");
    std::fs::remove_file(other("one")).unwrap();
    pair.theirs("one/inside", "now a directory");
    std::os::unix::fs::symlink("one/inside", other("link")).unwrap();
    pair.theirs("run", "#!/bin/sh\n");
    std::fs::set_permissions(other("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    pair.pulled();
    assert_eq!(
        (pair.read("dir").as_deref(), pair.read("one/inside").as_deref()),
        (Some("now a file"), Some("now a directory"))
    );
    assert_eq!(std::fs::read_link(pair.at.path("link")).unwrap().to_str(), Some("one/inside"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(pair.at.path("run")).unwrap().permissions());
    assert_eq!(mode & 0o111, 0o111);
}

#[test]
fn a_file_takes_the_place_of_the_only_directory_in_a_directory() {
    let pair = Pair::new();
    pair.ours("outer/inner/file", "mine");
    pair.other.git(&["pull", "-q"]);
    std::fs::remove_dir_all(pair.other.path("outer/inner")).unwrap();
    pair.theirs("outer/inner", "now a file");
    pair.pulled();
    assert_eq!(pair.read("outer/inner").as_deref(), Some("now a file"));
}

#[test]
fn a_directory_takes_the_place_of_a_link() {
    let pair = Pair::new();
    std::os::unix::fs::symlink("dir", pair.at.path("link")).unwrap();
    pair.at.save(&["link"]);
    pair.other.git(&["pull", "-q"]);
    std::fs::remove_file(pair.other.path("link")).unwrap();
    pair.theirs("link/deep/file", "theirs");
    pair.pulled();
    assert_eq!(pair.read("link/deep/file").as_deref(), Some("theirs"));
    assert!(!pair.at.path("dir/deep/file").exists());
}

#[test]
fn unsaved_work_at_a_changed_path_stops_it_and_elsewhere_it_is_left_alone() {
    let pair = Pair::new();
    pair.theirs("one", "theirs");
    pair.theirs("dir/a", "theirs");
    let theirs = pair.push();
    pair.at.write("one", "unsaved");
    pair.at.write("untracked", "unsaved");
    let tip = pair.at.git(&["rev-parse", "HEAD"]);
    let PullAnswer::Busy { paths, excluded } = pair.pull(theirs) else { panic!() };
    assert_eq!((names(&paths), excluded.len()), (vec!["one".to_owned()], 0));
    assert_eq!((pair.at.git(&["rev-parse", "HEAD"]), pair.read("dir/a").as_deref()), (tip, Some("dir/a")));
    pair.at.save(&["one"]);
    let PullAnswer::Pulled(pulled) = pair.pull(theirs) else { panic!() };
    assert_eq!(names(&pulled.lost), ["one"]);
    assert_eq!((pair.read("one").as_deref(), pair.read("dir/a").as_deref()), (Some("unsaved"), Some("theirs")));
    assert_eq!(pair.at.git(&["status", "--porcelain"]), "?? untracked\n");
}

#[test]
fn a_file_written_at_the_very_last_moment_is_put_back_with_all_others() {
    let pair = Pair::new();
    pair.theirs("dir/a", "theirs");
    pair.theirs("one", "theirs");
    pair.theirs("zzz", "theirs");
    let theirs = pair.push();
    let request = PullRequest {
        branch: "develop",
        theirs,
        excluded: &|_, _| false,
        clash: Clash::OursWin,
        // The message is composed before the files are looked at, so this comes between nothing and everything.
        message: &|_| {
            pair.at.write("one", "in between");
            String::new()
        },
        now_seconds: 1_700_000_000,
    };
    assert!(matches!(pair.at.repo.pull(&request).unwrap(), PullAnswer::Busy { .. }));
    assert_eq!((pair.read("dir/a").as_deref(), pair.read("one").as_deref()), (Some("dir/a"), Some("in between")));
    assert_eq!(pair.read("zzz"), None);
}

#[test]
fn what_the_user_staged_elsewhere_stays_staged() {
    let pair = Pair::new();
    pair.theirs("one", "theirs");
    let theirs = pair.push();
    pair.at.write("staged", "staged");
    pair.at.git(&["add", "staged"]);
    assert!(matches!(pair.pull(theirs), PullAnswer::Pulled(_)));
    assert_eq!(pair.read("one").as_deref(), Some("theirs"));
    assert_eq!(pair.at.git(&["status", "--porcelain"]), "A  staged\n");
}

#[test]
fn an_ignored_file_is_in_the_way_of_one_that_others_track_and_is_never_committed() {
    let pair = Pair::new();
    pair.ours(".gitignore", "*.log\n/out/\n");
    for path in ["build.log", "out/result", "deep/er/link.log"] {
        pair.theirs(path, "theirs");
    }
    pair.theirs("one", "theirs");
    let theirs = pair.push();
    pair.at.write("build.log", "private");
    pair.at.write("out/result", "private");
    std::fs::create_dir_all(pair.at.path("deep/er")).unwrap();
    std::os::unix::fs::symlink("/private", pair.at.path("deep/er/link.log")).unwrap();
    let request = PullRequest {
        branch: "develop",
        theirs,
        excluded: &|path, _| path.ends_with(b".log") || path.starts_with(b"out"),
        clash: Clash::OursWin,
        message: &|_| String::new(),
        now_seconds: 1_700_000_000,
    };
    let PullAnswer::Busy { paths, excluded } = pair.at.repo.pull(&request).unwrap() else { panic!() };
    assert_eq!(names(&paths), ["build.log", "deep/er/link.log", "out/result"]);
    assert_eq!(excluded, paths);
    assert_eq!((pair.read("build.log").as_deref(), pair.read("one").as_deref()), (Some("private"), Some("one")));
    pair.at.check_clean();
    for path in ["build.log", "out/result", "deep/er/link.log"] {
        std::fs::remove_file(pair.at.path(path)).unwrap();
    }
    assert!(matches!(pair.at.repo.pull(&request).unwrap(), PullAnswer::Pulled(_)));
    assert_eq!(pair.read("build.log").as_deref(), Some("theirs"));
    pair.at.check_clean();
}

#[test]
fn an_ignored_file_that_is_what_others_track_is_tracked_from_then_on() {
    let pair = Pair::new();
    pair.ours(".gitignore", "*.log\n");
    pair.theirs("build.log", "the same");
    let theirs = pair.push();
    pair.at.write("build.log", "the same");
    assert!(matches!(pair.pull(theirs), PullAnswer::Pulled(_)));
    pair.at.check_clean();
}

#[test]
fn a_tracked_file_that_is_never_saved_is_not_overwritten() {
    let pair = Pair::new();
    pair.at.write("local.log", "first");
    pair.at.git(&["add", "-f", "local.log"]);
    pair.at.git(&["commit", "-qm", "tracked, and never saved"]);
    pair.other.git(&["pull", "-q"]);
    pair.theirs("local.log", "theirs");
    let theirs = pair.push();
    pair.at.write("local.log", "mine, saved nowhere");
    let PullAnswer::Busy { paths, excluded } = pair.pull(theirs) else { panic!() };
    assert_eq!((names(&paths), excluded), (vec!["local.log".to_owned()], paths.clone()));
    assert_eq!(pair.read("local.log").as_deref(), Some("mine, saved nowhere"));
}

#[test]
fn files_come_in_with_the_line_ends_that_the_attributes_ask_for() {
    let pair = Pair::new();
    pair.ours(".gitattributes", "*.txt text eol=crlf\n");
    pair.other.git(&["pull", "-q"]);
    pair.theirs("note.txt", "a\r\nb\r\n");
    pair.pulled();
    assert_eq!(pair.read("note.txt").as_deref(), Some("a\r\nb\r\n"));
    assert_eq!(pair.at.git(&["show", "HEAD:note.txt"]), "a\nb\n");
}

#[test]
fn histories_without_a_common_commit_are_not_mixed() {
    let (pair, stranger) = (Pair::new(), Pair::new());
    stranger.at.git(&["commit", "-q", "--amend", "-m", "another beginning"]);
    pair.at.git(&["fetch", "-q", stranger.at.dir.path().to_str().unwrap(), "develop"]);
    let theirs: ObjectId = pair.at.git(&["rev-parse", "FETCH_HEAD"]).trim().parse().unwrap();
    let request = PullRequest {
        branch: "develop",
        theirs,
        excluded: &|_, _| false,
        clash: Clash::OursWin,
        message: &|_| String::new(),
        now_seconds: 0,
    };
    assert!(matches!(pair.at.repo.pull(&request), Err(Error::Integrity { .. })));
}

#[test]
fn what_the_user_took_out_of_the_branch_is_told_from_the_work_of_others() {
    let taken_back = |pair: &Pair, theirs| {
        pair.at.repo.taken_back("develop", theirs).unwrap().map(|taken| (taken.commits, taken.on_top))
    };
    for way in [&["reset", "--hard", "HEAD~2"][..], &["commit", "--amend", "-m", "amended"]] {
        let pair = Pair::new();
        pair.ours("one", "mine");
        pair.ours("two", "mine");
        pair.other.git(&["pull", "-q"]);
        pair.theirs("other/e", "theirs");
        let theirs = pair.push();
        assert_eq!(taken_back(&pair, theirs), None);
        pair.at.git(way);
        let commits = if way[0] == "reset" { 2 } else { 1 };
        assert_eq!(taken_back(&pair, theirs), Some((commits, 1)), "{way:?}");
        pair.ours("dir/a", "saved since");
        assert_eq!(taken_back(&pair, theirs), Some((commits, 1)), "{way:?}");
        pair.at.git(&["merge", "-q", "-m", "merged", &theirs.to_string()]);
        assert_eq!(taken_back(&pair, theirs), None);
        pair.theirs("other/f", "theirs");
        let theirs = pair.push();
        assert_eq!(taken_back(&pair, theirs), None);
    }
}

#[test]
fn what_was_taken_back_in_several_steps_is_all_the_users() {
    let pair = Pair::new();
    pair.ours("one", "mine");
    pair.ours("two", "mine");
    let theirs: ObjectId = pair.at.git(&["rev-parse", "HEAD"]).trim().parse().unwrap();
    pair.at.git(&["reset", "-q", "--hard", "HEAD~1"]);
    pair.at.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let taken = pair.at.repo.taken_back("develop", theirs).unwrap().unwrap();
    assert_eq!((taken.commits, taken.on_top), (2, 0));
}

#[test]
fn after_random_edits_of_both_sides_nothing_of_the_sandbox_is_missing() {
    let mut dice = Dice(7);
    for _ in 0..12 {
        let pair = Pair::new();
        for _ in 0..6 {
            random_edit(&pair.at, &mut dice);
            random_edit(&pair.other, &mut dice);
        }
        let _ = pair.at.try_save(Hints::Everything).unwrap();
        let before = pair.at.git(&["ls-files", "-s"]);
        let tip = pair.at.git(&["rev-parse", "HEAD"]);
        pair.pulled();
        // What the sandbox changed since the fork is there, unless it is a text that was merged by lines.
        let own = pair.at.git(&["diff", "--name-only", "-z", "HEAD^2...HEAD^1"]);
        let touched_by_both = pair.at.git(&["diff", "--name-only", "-z", "HEAD^1...HEAD^2"]);
        for path in own.split('\0').filter(|path| !path.is_empty()) {
            if !touched_by_both.split('\0').any(|other| other == path) {
                let difference = pair.at.git(&["diff", "--name-only", tip.trim(), "HEAD", "--", path]);
                assert_eq!(difference, "", "{path}\n{before}");
            }
        }
    }
}

/// Replaces a file by a directory, a directory by a file, or writes or deletes one file.
fn swap(at: &Checkout, who: &str, dice: &mut Dice) {
    let (place, name) = (format!("p{}", dice.roll(4)), ["", "/a", "/b", "/a/x"][dice.roll(4)]);
    let path = format!("{place}{name}");
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    for above in ends.map(|end| at.path(&path[..end])) {
        match std::fs::symlink_metadata(&above) {
            Ok(found) if found.is_dir() && above == at.path(&path) => std::fs::remove_dir_all(above).unwrap(),
            Ok(found) if !found.is_dir() => std::fs::remove_file(above).unwrap(),
            _ => {}
        }
    }
    if dice.roll(4) > 0 {
        at.write(&path, format!("{who} {}", dice.roll(1_000)));
    }
}

fn listed(at: &Checkout, commit: &str) -> BTreeMap<String, String> {
    let lines = at.git(&["ls-tree", "-r", "-z", commit]);
    let lines = lines.split('\0').filter_map(|line| line.split_once('\t'));
    lines.map(|(entry, path)| (path.to_owned(), entry.to_owned())).collect()
}

#[test]
fn beside_a_clash_each_path_that_one_side_changed_is_as_that_side_has_it() {
    let mut dice = Dice(11);
    let mut swapped = 0;
    for _ in 0..25 {
        let pair = Pair::new();
        (0..6).for_each(|_| swap(&pair.at, "base", &mut dice));
        let _ = pair.at.try_save(Hints::Everything).unwrap();
        pair.other.git(&["pull", "-q"]);
        (0..3).for_each(|_| swap(&pair.at, "ours", &mut dice));
        pair.at.write("one", "mine");
        let _ = pair.at.try_save(Hints::Everything).unwrap();
        (0..3).for_each(|_| swap(&pair.other, "theirs", &mut dice));
        pair.theirs("one", "theirs");
        let pulled = pair.pulled();
        let lost = names(&pulled.lost);
        let base = listed(&pair.at, pair.at.git(&["merge-base", "HEAD^1", "HEAD^2"]).trim());
        let [ours, theirs, now] = ["HEAD^1", "HEAD^2", "HEAD"].map(|commit| listed(&pair.at, commit));
        let is_beside = |path: &str, other: &str| {
            path != other && (path.starts_with(&format!("{other}/")) || other.starts_with(&format!("{path}/")))
        };
        for path in base.keys().chain(ours.keys()).chain(theirs.keys()) {
            let (was, mine, other) = (base.get(path), ours.get(path), theirs.get(path));
            if other == was {
                assert_eq!(now.get(path), mine, "{path}: only the sandbox may have changed it");
            } else if mine == was && !lost.contains(path) {
                assert_eq!(now.get(path), other, "{path}: only others changed it");
                swapped += usize::from(other.is_some() && ours.keys().any(|mine| is_beside(path, mine)));
            } else if mine == was {
                assert!(ours.keys().any(|mine| is_beside(path, mine) && now.contains_key(mine)), "{path}: {lost:?}");
            }
        }
    }
    assert!(swapped > 0, "no file took the place of a directory");
}
