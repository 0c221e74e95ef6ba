//! Syncs through the built binary: directories and branches, hand edits at the target, snapshots, what is refused.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::folding_disk::FoldingDisk;
use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::{Output, Sandbox};

/// A checkout with one sync, `site`, from a directory or a branch to the directory `target` beside it.
pub struct Site {
    sandbox: Sandbox,
}

impl Site {
    /// Makes one whose sync has these further keys, with a source directory `source` beside the checkout.
    pub fn new(more: &str) -> Self {
        let site = Self { sandbox: Sandbox::new() };
        for directory in ["source", "target"] {
            std::fs::create_dir(site.sandbox.base().join(directory)).unwrap();
        }
        site.configure(&format!("from: {{ directory: ../source }}, to: {{ directory: ../target }}, {more}"));
        site
    }

    pub fn configure(&self, sync: &str) {
        let text = format!("version: 1\nproject: shop\nnotify: {{ desktop: false }}\nsyncs:\n  site: {{ {sync} }}\n");
        self.sandbox.write("cascade-sync.yaml", text);
    }

    pub fn path(&self, place: &str) -> PathBuf {
        self.sandbox.base().join(place)
    }

    pub fn put(&self, place: &str, content: &str) {
        let path = self.path(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn remove(&self, place: &str) {
        std::fs::remove_file(self.path(place)).unwrap();
    }

    #[track_caller]
    pub fn content(&self, place: &str) -> Option<String> {
        std::fs::read_to_string(self.path(place)).ok()
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.sandbox.cascade(words)
    }

    /// Prepares a program in the checkout.
    pub fn command(&self, program: &str, words: &[&str]) -> Command {
        self.sandbox.command(program, words)
    }

    /// Syncs, expects an exit code and answers the report.
    #[track_caller]
    pub fn sync(&self, code: i32) -> Value {
        self.run(&["sync", "site", "--json"]).expect_code(code).json()
    }
}

/// The counts of a report: created, updated, deleted, unchanged.
pub fn counts(report: &Value) -> [u64; 4] {
    ["created", "updated", "deleted", "unchanged"].map(|name| report[name].as_u64().unwrap())
}

pub fn noted(report: &Value, list: &str) -> Vec<String> {
    let text = |one: &Value| format!("{} {}", one["key"].as_str().unwrap(), one["reason"].as_str().unwrap());
    report[list].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn a_directory_is_brought_to_what_another_one_says_and_only_what_changed_is_touched() {
    let site = Site::new("max_delete: 100%");
    site.put("source/a/b.html", "one");
    site.put("source/a.html", "two");
    site.put("source/run", "#!/bin/sh\n");
    std::fs::set_permissions(site.path("source/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a.html", site.path("source/link")).unwrap();
    site.put("target/theirs.html", "not ours");
    assert_eq!(counts(&site.sync(0)), [4, 0, 0, 0]);
    assert_eq!(site.content("target/a/b.html").as_deref(), Some("one"));
    assert_eq!(std::fs::read_link(site.path("target/link")).unwrap(), PathBuf::from("a.html"));
    let mode = |place: &str| std::fs::metadata(site.path(place)).unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("target/run"), mode("target/a.html")), (0o111, 0));
    let modified = |place: &str| std::fs::metadata(site.path(place)).unwrap().modified().unwrap();
    let before = modified("target/a.html");
    assert_eq!(before, modified("source/a.html"), "times are kept");
    site.put("source/a/b.html", "three");
    site.remove("source/run");
    assert_eq!(counts(&site.sync(0)), [0, 1, 1, 2]);
    assert_eq!(modified("target/a.html"), before);
    assert_eq!(site.content("target/theirs.html").as_deref(), Some("not ours"));
    assert_eq!(counts(&site.sync(0)), [0, 0, 0, 3]);
    // A directory takes a file's place, and the other way round.
    std::fs::remove_dir_all(site.path("source/a")).unwrap();
    site.put("source/a", "a file now");
    site.remove("source/a.html");
    site.put("source/a.html/index", "a directory now");
    assert_eq!(counts(&site.sync(0)), [2, 0, 2, 1]);
    assert_eq!(site.content("target/a.html/index").as_deref(), Some("a directory now"));
    let left: Vec<_> = std::fs::read_dir(site.path("target")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn what_an_environment_has_arrives_without_a_checkout() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    std::fs::create_dir(pipeline.base().join("live")).unwrap();
    let mut config = pipeline.read("cascade-sync.yaml");
    config.push_str("syncs:\n  website: { from: { tree: staging, path: public/ }, to: { directory: ../live } }\n");
    pipeline.write("cascade-sync.yaml", config);
    let live = |path: &str| std::fs::read_to_string(pipeline.base().join("live").join(path)).ok();
    let missing = pipeline.cascade(&["sync", "website"]).expect_code(1);
    assert!(missing.stderr.contains("public of the branch staging is not there"), "{missing:?}");
    pipeline.write("src/main", "not content");
    pipeline.save_file("public/index.html", "one");
    pipeline.promote("staging", 0);
    pipeline.save_file("public/index.html", "not promoted");
    pipeline.cascade(&["sync", "website"]).expect_code(0);
    assert_eq!((live("index.html").as_deref(), live("src/main")), (Some("one"), None));
    pipeline.promote("staging", 0);
    let report = pipeline.cascade(&["sync", "--json"]).expect_code(0).json();
    assert_eq!(counts(&report[0]), [0, 1, 0, 0]);
    assert_eq!(live("index.html").as_deref(), Some("not promoted"));
}

#[test]
fn a_hand_edit_at_the_target_is_left_alone_until_somebody_decides() {
    let site = Site::new("");
    for name in ["a", "b c", "d"] {
        site.put(&format!("source/{name}"), "before");
    }
    site.sync(0);
    site.put("target/a", "by hand");
    site.put("target/b c", "by hand");
    site.put("source/b c", "after");
    site.put("source/d", "after");
    let flagged = site.run(&["sync", "site"]).expect_code(5);
    assert!(flagged.stderr.contains("warning: site: flagged: a was changed at the target"), "{flagged:?}");
    assert!(
        flagged.stderr.contains("`cascade sync resolve site a --take source` (or `target`, or a file)"),
        "{flagged:?}"
    );
    assert_eq!(site.content("target/d").as_deref(), Some("after"), "the rest goes on");
    assert_eq!(noted(&site.sync(5), "flagged"), ["a was changed at the target", "b c was changed on both sides"]);
    site.run(&["sync", "resolve", "site", "d", "--take", "source"]).expect_code(2);
    site.run(&["sync", "resolve", "site", "a", "--take", "target"]).expect_code(0);
    site.run(&["sync", "resolve", "site", "b c", "--take", "source"]).expect_code(0);
    assert_eq!(counts(&site.sync(0)), [0, 0, 0, 3]);
    assert_eq!(["a", "b c"].map(|name| site.content(&format!("target/{name}")).unwrap()), ["by hand", "after"]);
    // What the decision replaced is kept.
    site.run(&["snapshots", "restore", "site"]).expect_code(0);
    assert_eq!(site.content("target/b c").as_deref(), Some("by hand"));
}

#[test]
fn drift_can_be_kept_or_overwritten_by_rule() {
    for (rule, expected) in [("keep", "by hand"), ("overwrite", "before")] {
        let site = Site::new(&format!("on_drift: {rule}"));
        site.put("source/a", "before");
        site.sync(0);
        site.put("target/a", "by hand");
        let report = site.sync(0);
        assert_eq!(site.content("target/a").as_deref(), Some(expected));
        assert_eq!(report["kept"], u64::from(rule == "keep"));
    }
}

#[test]
fn what_a_sync_replaced_is_listed_shown_and_brought_back() {
    let site = Site::new("max_delete: 100%");
    let large = "x".repeat(3 << 20);
    site.put("source/large", &large);
    site.put("source/gone", "gone");
    site.sync(0);
    site.put("source/large", "small");
    site.remove("source/gone");
    site.put("source/new", "new");
    let run = site.sync(0)["run"].as_str().unwrap().to_owned();
    let list = site.run(&["snapshots", "list", "site", "--json"]).expect_code(0).json();
    assert_eq!((&list[0]["id"], &list[0]["items"]), (&run.as_str().into(), &2.into()));
    let shown = site.run(&["snapshots", "show", "site", "--json"]).expect_code(0).json();
    let keys: Vec<_> = shown.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["gone", "large", "new"]);
    assert_eq!((&shown[1]["bytes"], &shown[2]["digest"]), (&(3 << 20).into(), &Value::Null));
    let plan = site.run(&["snapshots", "restore", "site", "--dry-run"]).expect_code(0);
    assert!(plan.stdout.contains("delete  new"), "{plan:?}");
    assert_eq!(site.content("target/large").as_deref(), Some("small"));
    site.run(&["snapshots", "restore", "site", "--keys", "gone"]).expect_code(0);
    assert_eq!(
        (site.content("target/gone").as_deref(), site.content("target/new").as_deref()),
        (Some("gone"), Some("new"))
    );
    site.run(&["snapshots", "restore", "site", "--at", &run]).expect_code(0);
    assert_eq!(site.content("target/large"), Some(large));
    assert_eq!(site.content("target/new"), None);
    assert_eq!(counts(&site.sync(0)), [0, 0, 0, 2]);
    let unknown = site.run(&["snapshots", "show", "site", "nope"]).expect_code(2);
    assert!(unknown.stderr.contains("sync site has no snapshot `nope`"), "{unknown:?}");
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let site = Site::new("max_delete: 100%");
    site.put("source/a", "before");
    site.put("source/b", "before");
    site.sync(0);
    site.put("source/a", "after!");
    site.remove("source/b");
    site.put("source/c", "new");
    let text = site.run(&["sync", "site", "--dry-run"]).expect_code(0);
    for line in ["delete  b", "update  a  6 B", "create  c  3 B", "site: 3 items would change"] {
        assert!(text.stdout.contains(line), "{line}: {text:?}");
    }
    let plan = site.run(&["sync", "site", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!(plan["actions"].as_array().unwrap().len(), 3);
    assert_eq!(site.content("target/a").as_deref(), Some("before"));
    assert!(site.path("target/b").exists() && !site.path("target/c").exists());
}

#[test]
fn nothing_is_deleted_for_an_empty_missing_or_unreadable_source() {
    let site = Site::new("");
    (0..20).for_each(|at| site.put(&format!("source/{at}"), "content"));
    site.sync(0);
    std::fs::rename(site.path("source"), site.path("away")).unwrap();
    let missing = site.run(&["sync", "site"]).expect_code(1);
    assert!(missing.stderr.contains("source is not there") && missing.stderr.contains("hint:"), "{missing:?}");
    std::fs::create_dir(site.path("source")).unwrap();
    let emptied = site.run(&["sync", "site"]).expect_code(1);
    assert!(
        emptied.stderr.contains("sync site would delete 20 of 20 items: more than max_delete (10%)"),
        "{emptied:?}"
    );
    assert!(emptied.stderr.contains("--max-delete 100%"), "{emptied:?}");
    assert_eq!(std::fs::read_dir(site.path("target")).unwrap().count(), 20);
    site.run(&["sync", "site", "--max-delete", "100%"]).expect_code(0);
    assert_eq!(std::fs::read_dir(site.path("target")).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_takes_no_part_and_is_told() {
    let site = Site::new("exclude: [\"*.tmp\"]");
    site.put("source/a", "one");
    site.put("source/b.tmp", "two");
    site.put("source/.git/config", "not content");
    let fifo = Command::new("mkfifo").arg(site.path("source/pipe")).status().unwrap();
    assert!(fifo.success());
    site.put("target/b.tmp", "theirs");
    let report = site.sync(0);
    assert_eq!(
        (counts(&report), noted(&report, "skipped")),
        ([1, 0, 0, 0], vec!["pipe at the source: it is a FIFO".to_owned()])
    );
    assert_eq!(site.content("target/b.tmp").as_deref(), Some("theirs"));
    assert!(!site.path("target/.git").exists());
}

#[test]
fn names_that_are_no_text_arrive_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let site = Site::new("");
    let name = OsStr::from_bytes(b"caf\xe9\n");
    std::fs::write(site.path("source").join(name), "one").unwrap();
    site.sync(0);
    assert_eq!(std::fs::read(site.path("target").join(name)).unwrap(), b"one");
    std::fs::write(site.path("target").join(name), "by hand").unwrap();
    assert_eq!(noted(&site.sync(5), "flagged"), ["caf\\xe9\\n was changed at the target"]);
}

#[test]
fn source_target_and_what_cascade_works_with_must_not_overlap() {
    let site = Site::new("");
    let refused = |sync: &str, place: &str| {
        site.configure(sync);
        let refused = site.run(&["sync", "site"]).expect_code(2);
        assert!(refused.stderr.contains(place), "{sync}: {refused:?}");
    };
    std::fs::create_dir_all(site.path("source/inner")).unwrap();
    symlink(site.path("source/inner"), site.path("alias")).unwrap();
    refused("from: { directory: ../source }, to: { directory: ../source/inner }", "source and target overlap");
    refused("from: { directory: ../source }, to: { directory: ../alias }", "lies in");
    refused("from: { directory: ../source }, to: { directory: . }", ".git");
    refused("from: { directory: ../source }, to: { directory: ../cascade }", "cascade");
    let unknown = site.run(&["sync", "other"]).expect_code(2);
    assert!(unknown.stderr.contains("there is no sync `other`"), "{unknown:?}");
}

#[test]
fn a_target_that_cannot_be_written_fails_clearly_and_the_rest_goes_on() {
    let site = Site::new("");
    site.put("source/closed/a", "one");
    site.put("source/open", "two");
    site.put("target/closed", "a file is in the way");
    let report = site.sync(5);
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(
        noted(&report, "flagged"),
        ["closed/a has something on its way at the target that is no directory: move that aside"]
    );
    std::fs::remove_dir_all(site.path("target")).unwrap();
    let missing = site.run(&["sync", "site"]).expect_code(1);
    assert!(missing.stderr.contains("target is not there"), "{missing:?}");
}

#[test]
fn two_runs_do_not_act_at_the_same_time() {
    let site = Site::new("");
    site.put("source/a", "one");
    site.sync(0);
    let lock = std::fs::read_dir(site.path("cascade/run")).unwrap().map(|one| one.unwrap().path());
    let lock = lock.into_iter().find(|path| path.to_str().unwrap().ends_with(".sync.lock")).unwrap();
    let held = std::fs::File::options().write(true).open(lock).unwrap();
    held.lock().unwrap();
    let refused = site.run(&["sync", "site"]).expect_code(1);
    assert!(refused.stderr.contains("another cascade command is at work on this project"), "{refused:?}");
    site.run(&["sync", "site", "--dry-run"]).expect_code(0);
}

#[test]
fn names_that_a_disk_takes_for_one_are_flagged_and_the_rest_goes_on() {
    let site = Site::new("");
    let (place, image) = (site.path("target"), site.path("image"));
    let Some(_disk) = FoldingDisk::mount(&place, &image) else { return };
    for name in ["Readme", "README", "Dir/a", "dir/b", "plain"] {
        site.put(&format!("source/{name}"), name);
    }
    let report = site.sync(5);
    let flagged = noted(&report, "flagged");
    assert!(flagged.len() == 4 && flagged[0].starts_with("Dir/a has a name that the target takes"), "{flagged:?}");
    assert_eq!((counts(&report)[0], site.content("target/plain").as_deref()), (1, Some("plain")));
    site.remove("source/README");
    std::fs::remove_dir_all(site.path("source/dir")).unwrap();
    // A disk without permissions may flag what is there; that is not the question here.
    assert_eq!(counts(&site.run(&["sync", "site", "--json"]).json())[0], 2);
}
