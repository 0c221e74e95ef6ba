//! What `cascade sync` answers without changing anything: whether it would, and whether both sides are the same.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::flow_sync::{Site, noted};

/// Changes a file so that neither its size nor its times tell.
fn change_unseen(site: &Site, place: &str, content: &str) {
    let before = std::fs::metadata(site.path(place)).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    site.put(place, content);
    let file = std::fs::File::options().write(true).open(site.path(place)).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn a_verification_reads_both_sides_and_tells_what_differs() {
    let site = Site::new("max_delete: 100%");
    for name in ["same", "changed", "gone", "program"] {
        site.put(&format!("source/{name}"), "before");
    }
    site.sync(0);
    let fine = site.run(&["sync", "verify", "site"]).expect_code(0);
    assert!(fine.stdout.contains("site: 4 items are the same on both sides"), "{fine:?}");
    change_unseen(&site, "target/changed", "BEFORE");
    site.remove("target/gone");
    std::fs::set_permissions(site.path("target/program"), std::fs::Permissions::from_mode(0o755)).unwrap();
    site.put("target/extra", "theirs");
    let found = site.run(&["sync", "verify", "site", "--json"]).expect_code(4).json();
    assert_eq!(noted(&found, "missing"), ["gone is not at the target"]);
    assert_eq!(noted(&found, "mismatched"), ["changed has other content", "program can be executed"]);
    assert_eq!(noted(&found, "extra"), ["extra is only at the target"]);
    assert_eq!((&found["same"], &found["extra_is_wrong"]), (&1.into(), &false.into()));
    let told = site.run(&["sync", "verify", "site"]).expect_code(4);
    assert!(told.stderr.contains("sync site: 3 items are not as at the source"), "{told:?}");
    assert_eq!(site.content("target/changed").as_deref(), Some("BEFORE"), "nothing is changed");
}

#[test]
fn what_only_the_target_has_counts_where_it_should_mirror_the_source() {
    for (delete, code) in [("tracked", 0), ("mirror", 4)] {
        let site = Site::new(&format!("delete: {delete}"));
        site.put("source/a", "one");
        site.sync(0);
        site.put("target/extra", "theirs");
        site.run(&["sync", "verify", "site"]).expect_code(code);
    }
}

#[test]
fn what_a_person_lets_differ_passes_a_verification() {
    let site = Site::new("");
    site.put("source/a", "one");
    site.sync(0);
    site.put("target/a", "by hand");
    site.sync(5);
    site.run(&["sync", "verify", "site"]).expect_code(4);
    site.run(&["sync", "resolve", "site", "a", "--take", "target"]).expect_code(0);
    let found = site.run(&["sync", "verify", "site", "--json"]).expect_code(0).json();
    assert_eq!((&found["same"], &found["kept"]), (&0.into(), &1.into()));
}

#[test]
fn a_run_that_verifies_fully_finds_what_happened_outside_of_it() {
    let site = Site::new("verify: full");
    site.put("source/a", "one");
    site.put("source/b", "two");
    assert_eq!(site.sync(0)["verified"], 2);
    site.put("source/new", "new");
    site.remove("target/b");
    let report = site.sync(5);
    assert_eq!((&report["verified"], noted(&report, "unverified").len()), (&2.into(), 0), "told once: {report}");
    let report = site.sync(5);
    assert_eq!(report.get("verified"), None, "nothing was changed");
}

#[test]
fn whether_anything_would_change_is_answered_by_the_exit_code() {
    let site = Site::new("max_delete: 100%");
    site.put("source/a", "one");
    let pending = site.run(&["sync", "site", "--check-only"]).expect_code(10);
    assert!(pending.stderr.contains("site: 1 item would change") && !pending.stderr.contains("error"), "{pending:?}");
    let pending = site.run(&["sync", "--check-only", "--json"]).expect_code(10).json();
    assert_eq!(pending[0]["would_change"], 1);
    assert!(!site.path("target/a").exists());
    site.sync(0);
    let done = site.run(&["sync", "site", "--check-only"]).expect_code(0);
    assert!(done.stdout.contains("site: nothing to do"), "{done:?}");
    site.run(&["sync", "site", "--check-only", "--dry-run"]).expect_code(2);
}

#[test]
fn a_report_counts_what_was_left_alone() {
    let site = Site::new("");
    site.put("source/a", "one");
    site.put("source/b", "two");
    site.sync(0);
    site.put("target/a", "by hand");
    site.put("source/b", "three");
    let told = site.run(&["sync", "site"]).expect_code(5);
    assert!(told.stdout.contains("0 created, 1 updated, 0 deleted, 0 unchanged, 1 flagged (5 B in "), "{told:?}");
}

#[test]
fn a_source_that_cannot_be_used_is_told_clearly_before_anything_is_done() {
    let site = Site::new("");
    (0..3).for_each(|at| site.put(&format!("source/{at}"), "content"));
    site.sync(0);
    std::fs::rename(site.path("source"), site.path("away")).unwrap();
    let refused = |words: &[&str]| {
        let refused = site.run(&["sync", "site"]);
        assert!(words.iter().all(|word| refused.stderr.contains(word)), "{words:?}: {refused:?}");
        assert_eq!(std::fs::read_dir(site.path("target")).unwrap().count(), 3);
    };
    std::fs::create_dir(site.path("source")).unwrap();
    refused(&["would delete 3 of 3 items", "see that what belongs there is mounted", "--max-delete 100%"]);
    std::fs::remove_dir(site.path("source")).unwrap();
    symlink("source", site.path("source")).unwrap();
    refused(&["source cannot be used", "leads back to itself"]);
    std::fs::remove_file(site.path("source")).unwrap();
    site.put("source", "a file");
    refused(&["source cannot be used", "name a directory"]);
}
