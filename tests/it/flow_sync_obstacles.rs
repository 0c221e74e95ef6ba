//! What is in the way of a sync: things that are no items, files where directories should be, failures that stay.

use std::os::unix::fs::symlink;

use crate::flow_deliver::Shop;
use crate::flow_sync::{Site, counts, noted};
use crate::support::pipeline::Pipeline;

/// A site whose source is the directory `pail` beside the checkout, used as a bucket.
fn from_pail(more: &str) -> Site {
    let site = Site::new("");
    std::fs::create_dir(site.path("pail")).unwrap();
    let address = format!("fs://{}", site.path("pail").canonicalize().unwrap().display());
    site.configure(&format!(
        "from: {{ bucket: \"{address}\" }}, to: {{ directory: ../target }}, max_delete: 100%{more}"
    ));
    site
}

#[test]
fn a_link_in_a_pail_keeps_only_back_what_was_below_it_and_that_is_told() {
    let site = from_pail("");
    for name in ["gone", "kept", "dir/a", "dir/b"] {
        site.put(&format!("pail/{name}"), name);
    }
    site.sync(0);
    site.remove("pail/gone");
    symlink("/", site.path("pail/link")).unwrap();
    // What was never there hides nothing of ours.
    let report = site.sync(0);
    assert_eq!((counts(&report), &report["kept_back"]), ([0, 0, 1, 3], &0.into()));
    assert_eq!(noted(&report, "skipped"), ["link at the source: it is a link, or no file at all"]);
    std::fs::rename(site.path("pail/dir"), site.path("dir")).unwrap();
    symlink(site.path("dir"), site.path("pail/dir")).unwrap();
    site.remove("pail/kept");
    let report = site.sync(5);
    assert_eq!((counts(&report), &report["kept_back"]), ([0, 0, 1, 0], &2.into()));
    let said = site.run(&["sync", "site"]).expect_code(5);
    assert!(said.stderr.contains("2 items are not deleted") && said.stderr.contains("`exclude`"), "{said:?}");
    assert_eq!(site.run(&["sync", "site", "--dry-run", "--json"]).expect_code(0).json()["kept_back"], 2);
    let status = site.run(&["status"]).expect_code(0).stdout;
    assert!(status.contains("2 items not deleted") && status.contains("dir at the source"), "{status}");
    let verified = site.run(&["sync", "verify", "site", "--json"]).expect_code(0).json();
    assert_eq!((noted(&verified, "skipped").len(), noted(&verified, "failed").len()), (2, 0), "{verified}");
    // Nobody means what is excluded.
    let address = format!("fs://{}", site.path("pail").canonicalize().unwrap().display());
    let sides = format!("from: {{ bucket: \"{address}\" }}, to: {{ directory: ../target }}");
    site.configure(&format!("{sides}, max_delete: 100%, exclude: [dir, link]"));
    assert_eq!(site.sync(0)["skipped"].as_array().unwrap().len(), 0);
}

#[test]
fn files_and_directories_take_each_others_place_in_a_pail() {
    let site = Site::new("");
    std::fs::create_dir(site.path("pail")).unwrap();
    let address = format!("fs://{}", site.path("pail").canonicalize().unwrap().display());
    site.configure(&format!("from: {{ directory: ../source }}, to: {{ bucket: \"{address}\" }}, max_delete: 100%"));
    site.put("source/a", "a file");
    site.put("source/dir/deep/b", "in a directory");
    assert_eq!(counts(&site.sync(0)), [2, 0, 0, 0]);
    site.remove("source/a");
    site.put("source/a/b", "in a directory now");
    std::fs::remove_dir_all(site.path("source/dir")).unwrap();
    site.put("source/dir", "a file now");
    assert_eq!(counts(&site.sync(0)), [2, 0, 2, 0]);
    assert_eq!(site.content("pail/a/b").as_deref(), Some("in a directory now"));
    assert_eq!(site.content("pail/dir").as_deref(), Some("a file now"));
    site.run(&["snapshots", "restore", "site"]).expect_code(0);
    assert_eq!(site.content("pail/a").as_deref(), Some("a file"));
    assert_eq!(site.content("pail/dir/deep/b").as_deref(), Some("in a directory"));
}

#[test]
fn what_somebody_put_on_the_way_at_the_target_is_told_with_what_can_be_done() {
    let site = Site::new("max_delete: 100%");
    site.put("source/dir/a", "one");
    site.sync(0);
    std::fs::rename(site.path("target/dir"), site.path("elsewhere")).unwrap();
    symlink(site.path("elsewhere"), site.path("target/dir")).unwrap();
    site.put("source/dir/new", "two");
    let told = "has something on its way at the target that is no directory: move that aside";
    let plan = site.run(&["sync", "site", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!(noted(&plan, "flagged"), ["a", "new"].map(|name| format!("dir/{name} {told}")));
    assert_eq!(plan["actions"].as_array().unwrap().len(), 0, "{plan}");
    let said = site.run(&["sync", "site"]).expect_code(5);
    assert!(said.stderr.contains(told) && !said.stderr.contains("--take source"), "{said:?}");
    assert!(!site.path("elsewhere/new").exists());
    std::fs::remove_file(site.path("target/dir")).unwrap();
    // Now only what is gone is left to be decided about.
    site.sync(5);
    assert_eq!(site.content("target/dir/new").as_deref(), Some("two"));
    site.run(&["sync", "resolve", "site", "dir/a", "--take", "source"]).expect_code(0);
    assert_eq!(site.content("target/dir/a").as_deref(), Some("one"));
}

#[test]
fn a_linked_directory_at_the_target_is_a_gate() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/dir/a", "one")], 0);
    let (dir, elsewhere) = (shop.base().join("live/dir"), shop.base().join("elsewhere"));
    std::fs::rename(&dir, &elsewhere).unwrap();
    symlink(&elsewhere, &dir).unwrap();
    let waits = shop.release(&[("public/dir/b", "two")], 3);
    assert!(waits.stderr.contains("move that aside") && !waits.stderr.contains("--take source"), "{waits:?}");
    std::fs::remove_file(&dir).unwrap();
    std::fs::rename(&elsewhere, &dir).unwrap();
    shop.promote("production", 0);
    assert_eq!(shop.live("dir/b").as_deref(), Some("two"));
}

#[test]
fn what_fails_again_is_not_to_be_run_again() {
    let site = Site::new("");
    let address = format!("fs://{}", site.path("target").canonicalize().unwrap().display());
    site.configure(&format!("from: {{ directory: ../source }}, to: {{ bucket: \"{address}\" }}"));
    site.put("source/good", "x");
    site.put("source/ led", "a bucket has no such name");
    let said = site.run(&["sync", "site"]).expect_code(1);
    assert!(said.stderr.contains("fails again until") && !said.stderr.contains("run it again"), "{said:?}");
    assert_eq!(site.content("target/good").as_deref(), Some("x"));
}

#[test]
fn a_damaged_snapshot_is_made_whole_when_its_content_is_replaced_again() {
    let site = Site::new("");
    site.put("source/a", "one");
    site.sync(0);
    site.put("source/a", "two");
    site.sync(0);
    let mut waiting = vec![site.path("cascade")];
    let mut kept = None;
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.parent().unwrap().file_name().unwrap().len() == 2
            && path.to_string_lossy().contains("/snapshots/")
        {
            kept = Some(path);
        }
    }
    let kept = kept.unwrap();
    std::fs::write(&kept, "\0broken").unwrap();
    site.run(&["snapshots", "check", "site", "--read-data"]).expect_code(1);
    site.put("source/a", "one");
    site.sync(0);
    site.put("source/a", "two");
    site.sync(0);
    site.run(&["snapshots", "check", "site", "--read-data"]).expect_code(0);
}

#[test]
fn what_cannot_be_used_is_said_once() {
    let sandbox = Pipeline::bare(false);
    let config = "version: 1\nproject: p\nnotify: { desktop: false }\nsyncs:\n  nowhere: { from: { directory: ../none }, to: { directory: \
                  ../target } }\n  deaf: { from: { directory: ../target }, to: { bucket: \"s3://somewhere\", store: { endpoint: \
                  \"http://127.0.0.1:1\", access_key: \"${KEY}\", secret_key: \"${KEY}\" } } }\n  unsigned: { from: { directory: \
                  ../target }, to: { bucket: \"s3://elsewhere\", store: { endpoint: \"http://127.0.0.1:1\" } } }\n";
    sandbox.write("cascade-sync.yaml", config);
    sandbox.write(".env", "KEY=secret\n");
    std::fs::create_dir(sandbox.base().join("target")).unwrap();
    for (name, why) in [("nowhere", "is not there"), ("deaf", "connection refused"), ("unsigned", "no credentials")] {
        let said = sandbox.cascade(&["sync", name]).expect_code(1).stderr;
        assert_eq!((said.matches(why).count(), said.matches("cannot be used").count() < 2), (1, true), "{said}");
    }
    let checked = sandbox.cascade(&["config", "check"]).expect_code(0);
    assert!(checked.stdout.contains("3 syncs") || checked.stderr.contains("3 syncs"), "{checked:?}");
}
