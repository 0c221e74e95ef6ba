//! What syncs replaced, through the built binary: back to a moment, what is different, whether all of it is whole.

use std::path::PathBuf;

use crate::flow_sync::Site;

/// A site whose target has had three contents.
fn site() -> Site {
    let site = Site::new("max_delete: 100%");
    for content in ["one", "two", "three"] {
        site.put("source/a", content);
        site.put(&format!("source/{content}"), content);
        site.sync(0);
    }
    site
}

fn snapshots(site: &Site) -> Vec<(String, String)> {
    let list = site.run(&["snapshots", "list", "site", "--json"]).expect_code(0).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|one| (text(&one["id"]), text(&one["at"]))).collect()
}

/// The files of the archive, with what they are named after.
fn contents(site: &Site) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![site.path("cascade")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let is_content =
                path.file_name().unwrap().len() == 62 && path.parent().unwrap().file_name().unwrap().len() == 2;
            if path.is_dir() {
                open.push(path);
            } else if is_content {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_target_goes_back_to_what_it_was_at_a_moment() {
    let site = site();
    let made = snapshots(&site);
    let moment = &made[1].1;
    let plan = site.run(&["snapshots", "restore", "site", "--at", moment, "--dry-run"]).expect_code(0);
    assert!(plan.stdout.contains("update  a"), "{plan:?}");
    assert_eq!(site.content("target/a").as_deref(), Some("three"));
    site.run(&["snapshots", "restore", "site", "--at", moment, "--keys", "a"]).expect_code(0);
    assert_eq!(site.content("target/a").as_deref(), Some("one"));
    assert!(site.path("target/three").exists(), "only what was named");
    site.run(&["snapshots", "restore", "site"]).expect_code(0);
    assert_eq!(site.content("target/a").as_deref(), Some("three"), "a restore is a plan with a snapshot");
    let refused = site.run(&["snapshots", "restore", "site", "--at", "sometime"]).expect_code(2);
    assert!(
        refused.stderr.contains("no snapshot `sometime`") && refused.stderr.contains("10 minutes ago"),
        "{refused:?}"
    );
}

#[test]
fn moments_of_a_target_can_be_compared() {
    let site = site();
    let made = snapshots(&site);
    let newest = site.run(&["snapshots", "diff", "site", "--json"]).expect_code(0).json();
    let told = |diff: &serde_json::Value| -> Vec<String> {
        let one =
            |one: &serde_json::Value| format!("{} {}", one["change"].as_str().unwrap(), one["key"].as_str().unwrap());
        diff.as_array().unwrap().iter().map(one).collect()
    };
    assert_eq!(told(&newest), ["updated a", "created three"]);
    let (first, second) = (&made[2].0, &made[1].0);
    let between = site.run(&["snapshots", "diff", "site", first, second, "--json"]).expect_code(0).json();
    assert_eq!(told(&between), ["created a", "created one"]);
    let back = site.run(&["snapshots", "diff", "site", second, first, "--json"]).expect_code(0).json();
    assert_eq!(told(&back), ["deleted a", "deleted one"]);
    let text = site.run(&["snapshots", "diff", "site"]).expect_code(0);
    assert!(text.stdout.contains("updated  a      5 B"), "{text:?}");
}

#[test]
fn content_that_is_gone_or_not_what_it_was_is_found() {
    let site = site();
    let fine = site.run(&["snapshots", "check", "--read-data"]).expect_code(0);
    assert!(fine.stdout.contains("site: 3 snapshots, 2 contents of 6 B (all read)"), "{fine:?}");
    let kept = contents(&site);
    assert_eq!(kept.len(), 2);
    let mut bytes = std::fs::read(&kept[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&kept[0], bytes).unwrap();
    site.run(&["snapshots", "check", "site"]).expect_code(0);
    let damaged = site.run(&["snapshots", "check", "site", "--read-data"]).expect_code(1);
    assert!(damaged.stderr.contains("site: damaged: a its content is not what it was"), "{damaged:?}");
    std::fs::remove_file(&kept[1]).unwrap();
    let found = site.run(&["snapshots", "check", "site", "--json"]).expect_code(1).json();
    assert_eq!(found[0]["missing"][0]["key"], "a");
}

#[test]
fn pruning_removes_what_no_snapshot_names() {
    let site = site();
    let kept = contents(&site);
    let stray = kept[0].with_file_name("0".repeat(62));
    std::fs::write(&stray, "x").unwrap();
    let pruned = site.run(&["snapshots", "prune", "site", "--json"]).expect_code(0).json();
    assert_eq!((&pruned[0]["snapshots"], &pruned[0]["contents"]), (&0.into(), &1.into()));
    assert!(!stray.exists() && kept.iter().all(|path| path.exists()));
}
