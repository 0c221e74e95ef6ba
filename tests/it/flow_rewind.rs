//! Going back in time: every save can be brought back, and nothing is rewritten.

use std::process::Command;

use crate::support::watched::Watched;
use crate::support::{Output, output};

/// A checkout with three commits of two files, at ten o'clock, a quarter past and half past.
fn history() -> Watched {
    let watched = Watched::ready("50ms", "");
    for (minute, content) in [("00", "one"), ("15", "two"), ("30", "three")] {
        watched.write("dir/page", format!("{content}\n"));
        watched.write(&format!("dir/only {content}"), "x\n");
        watched.git(&["add", "--all"]);
        let date = format!("2026-01-05T10:{minute}:00Z");
        let mut command: Command = watched.command("git", &["commit", "--quiet", "-m", content]);
        command.env("GIT_COMMITTER_DATE", &date).env("GIT_AUTHOR_DATE", &date);
        output(command, b"").expect_code(0);
    }
    watched
}

fn files(output: &Output) -> Vec<String> {
    let files = output.json()["files"].as_array().unwrap().clone();
    files
        .iter()
        .map(|file| format!("{} {}", file["status"].as_str().unwrap(), file["path"].as_str().unwrap()))
        .collect()
}

#[test]
fn saves_are_listed_for_everything_a_directory_and_a_file() {
    let watched = history();
    let subjects = |words: &[&str]| -> Vec<String> {
        let listed = watched.cascade(&[&["saves", "--json"], words].concat()).expect_code(0).json();
        listed.as_array().unwrap().iter().map(|save| save["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(subjects(&["-n", "2"]), ["three", "two"]);
    assert_eq!(subjects(&["dir"]), ["three", "two", "one"]);
    assert_eq!(subjects(&["dir/only two"]), ["two"]);
    watched.cascade(&["saves", "../elsewhere"]).expect_code(2);
}

#[test]
fn a_path_goes_back_to_a_moment_and_forward_again() {
    let watched = history();
    let tip = watched.git(&["rev-parse", "HEAD"]);
    let moment = ["rewind", "dir/page", "--to", "2026-01-05T10:20:00Z"];
    let planned = watched.cascade(&[&moment[..], &["--dry-run", "--json"]].concat()).expect_code(0);
    assert_eq!(files(&planned), ["M dir/page"]);
    assert_eq!((watched.read("dir/page").as_str(), watched.git(&["rev-parse", "HEAD"])), ("three\n", tip.clone()));
    watched.cascade(&moment).expect_code(0);
    assert_eq!((watched.read("dir/page").as_str(), watched.read("dir/only three").as_str()), ("two\n", "x\n"));
    assert_eq!(watched.git(&["rev-parse", "HEAD^"]), tip);
    assert!(watched.git(&["log", "-1", "--format=%b"]).starts_with("M dir/page (4 B)\n"));
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    watched.cascade(&["undo"]).expect_code(0);
    assert_eq!(watched.read("dir/page"), "three\n");
    assert_eq!(watched.git(&["rev-parse", "HEAD^{tree}"]), watched.git(&["rev-parse", &format!("{tip}^{{tree}}")]));
}

#[test]
fn everything_goes_back_to_a_commit_and_what_was_not_saved_is_saved_first() {
    let watched = history();
    let first = watched.git(&["rev-parse", "HEAD~2"]);
    watched.write("dir/page", "not saved\n");
    watched.write("new", "not saved\n");
    let done = watched.cascade(&["rewind", "--to", &first[..10], "--json"]).expect_code(0);
    assert_eq!(files(&done), ["D dir/only three", "D dir/only two", "M dir/page", "D new"]);
    assert_eq!(watched.git(&["rev-parse", "HEAD^{tree}"]), watched.git(&["rev-parse", &format!("{first}^{{tree}}")]));
    assert_eq!(watched.at("HEAD^", "new").as_deref(), Some("not saved"));
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
}

#[test]
fn an_older_save_is_undone_only_where_nothing_was_built_upon_it() {
    let watched = history();
    let second = watched.git(&["rev-parse", "HEAD^"]);
    let refused = watched.cascade(&["undo", &second[..10]]).expect_code(5);
    assert!(refused.stderr.contains("dir/page") && refused.stderr.contains("cascade rewind"), "{refused:#?}");
    watched.write("other", "x\n");
    watched.commit("four");
    let third = watched.git(&["rev-parse", "HEAD^"]);
    let done = watched.cascade(&["undo", &third[..10], "--json"]).expect_code(0);
    assert_eq!(files(&done), ["D dir/only three", "M dir/page"]);
    assert_eq!((watched.read("dir/page").as_str(), watched.read("other").as_str()), ("two\n", "x\n"));
}

#[test]
fn moments_and_commits_that_do_not_exist_are_refused_with_examples() {
    let watched = history();
    let refused = watched.cascade(&["rewind", "--to", "soon"]).expect_code(2);
    assert!(refused.stderr.contains("10 minutes ago") && refused.stderr.contains("hint:"), "{refused:#?}");
    watched.cascade(&["rewind", "--to", "2001-01-01"]).expect_code(2);
    watched.cascade(&["undo", "0123456789"]).expect_code(2);
}

#[test]
fn a_running_watcher_makes_no_save_of_what_was_brought_back_and_pushes_it() {
    let watched = history();
    watched.start();
    watched.until_pushed();
    watched.cascade(&["rewind", "dir/page", "--to", "2026-01-05T10:00:00Z"]).expect_code(0);
    let tip = watched.git(&["rev-parse", "develop"]);
    watched.until_pushed();
    watched.stop();
    assert_eq!(watched.git(&["rev-parse", "develop"]), tip);
    assert_eq!(watched.read("dir/page"), "one\n");
}

#[test]
fn a_typo_in_the_configuration_takes_nothing_away_that_takes_it_back() {
    let watched = history();
    let good = watched.read("cascade-sync.yaml");
    watched.write("cascade-sync.yaml", format!("{good}oops: [\n"));
    watched.commit("a typo");
    let tip = watched.git(&["rev-parse", "HEAD"]);
    let views: [&[&str]; 5] =
        [&["status"], &["history"], &["saves"], &["show", &tip], &["rewind", "--to", &tip, "--dry-run"]];
    for words in views {
        warned(&watched.cascade(words).expect_code(0));
    }
    for words in [&["promote", "staging"][..], &["approve"], &["config", "check"], &["start"]] {
        watched.cascade(words).expect_code(2);
    }
    warned(&watched.cascade(&["undo"]).expect_code(0));
    assert_eq!(watched.read("cascade-sync.yaml"), good);
    assert_eq!(watched.cascade(&["status"]).expect_code(0).stderr, "");
}

/// A warning names what is wrong with the checkout's configuration, and which one is used.
fn warned(output: &Output) {
    let told =
        output.stderr.contains("warning: cascade-sync.yaml") && output.stderr.contains("goes by the configuration of");
    assert!(told, "{output:#?}");
}

#[test]
fn on_a_branch_without_configuration_the_pipeline_is_shown_by_that_of_another() {
    let watched = Watched::started();
    watched.git(&["switch", "--quiet", "--orphan", "elsewhere"]);
    watched.git(&["commit", "--quiet", "--allow-empty", "-m", "nothing is here"]);
    watched.until("paused", || {
        let status = watched.cascade(&["status", "--json"]);
        status.code == 0 && status.json()["sandbox"]["state"] == "paused"
    });
    let status = watched.cascade(&["status"]).expect_code(0);
    assert!(status.stdout.contains("paused") && status.stdout.contains("elsewhere"), "{status:#?}");
    assert!(status.stderr.contains("cascade-sync.yaml does not exist"), "{status:#?}");
    watched.cascade(&["promote", "staging"]).expect_code(2);
}

#[test]
fn paths_that_never_were_are_misspelled_and_those_that_were_are_not() {
    let watched = history();
    for words in [&["saves", "nosuch"][..], &["rewind", "nosuch", "--to", "1 minute ago"]] {
        let refused = watched.cascade(words).expect_code(2);
        assert!(refused.stderr.contains("nosuch is not in the checkout, and no save ever had it"), "{refused:#?}");
    }
    watched.write("fresh", "x\n");
    assert!(watched.cascade(&["saves", "fresh"]).expect_code(0).stderr.contains("it was never saved"));
    std::fs::remove_file(watched.root().join("dir/page")).unwrap();
    watched.commit("gone");
    watched.cascade(&["saves", "dir/page"]).expect_code(0);
    watched.cascade(&["rewind", "dir/page", "--to", "1 minute ago"]).expect_code(0);
    assert_eq!(watched.read("dir/page"), "three\n");
}

#[test]
fn what_is_in_the_way_and_not_saved_is_told_with_its_reason_and_never_committed() {
    let watched = history();
    let (first, second) = (watched.git(&["rev-parse", "HEAD~1"]), watched.git(&["rev-parse", "HEAD"]));
    for path in ["notes.local", "also.local"] {
        watched.write(path, "public\n");
    }
    watched.commit("tracked");
    let tracked = watched.git(&["rev-parse", "HEAD"]);
    watched.git(&["rm", "--quiet", "--cached", "notes.local", "also.local"]);
    watched.write(".gitignore", "*.local\n");
    watched.commit("ignored");
    for path in ["notes.local", "also.local"] {
        watched.write(path, "private\n");
    }
    let tip = watched.git(&["rev-parse", "HEAD"]);
    let refused = watched.cascade(&["rewind", "notes.local", "also.local", "--to", &tracked]).expect_code(1);
    let reason = "nothing was brought back: also.local, notes.local are in the way and not saved: git ignores it";
    assert!(refused.stderr.contains(reason), "{refused:#?}");
    let refused = watched.cascade(&["rewind", "notes.local", "--to", &tracked]).expect_code(1);
    assert!(refused.stderr.contains("notes.local is in the way and not saved"), "{refused:#?}");
    assert_eq!((watched.git(&["rev-parse", "HEAD"]), watched.read("notes.local").as_str()), (tip, "private\n"));
    let token = format!("token = \"ghp_{}\"\n", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    watched.write("dir/page", &token);
    let refused = watched.cascade(&["rewind", "dir/page", "--to", &first]).expect_code(1);
    assert!(
        refused.stderr.contains("dir/page is in the way and not saved: line 1 looks like a secret"),
        "{refused:#?}"
    );
    assert_eq!((watched.read("dir/page"), first == second), (token, false));
}

#[test]
fn what_was_done_is_told_in_its_own_words() {
    let watched = history();
    let (first, tip) = (watched.git(&["rev-parse", "HEAD~2"]), watched.git(&["rev-parse", "HEAD"]));
    let planned = watched.cascade(&["rewind", "--to", &first, "--dry-run"]).expect_code(0).stdout;
    assert!(planned.contains("would bring back 1 file and delete 2 files"), "{planned}");
    assert!(planned.starts_with(&format!("going back to {} of 2026-01-05 ", &first[..10])), "{planned}");
    watched.write("fresh", "x\n");
    watched.commit("an addition");
    let undone = watched.cascade(&["undo"]).expect_code(0);
    assert!(format!("{}{}", undone.stdout, undone.stderr).contains("deleted 1 file (save "), "{undone:#?}");
    assert_eq!(watched.git(&["rev-parse", "HEAD^{tree}"]), watched.git(&["rev-parse", &format!("{tip}^{{tree}}")]));
}
