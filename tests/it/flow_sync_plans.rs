//! Plans that are looked at first: their differences, saved ones that are carried out later, what a person decides instead.

use std::os::unix::fs::PermissionsExt as _;

use crate::flow_sync::{Site, counts, noted};

/// A site whose next run creates, updates and deletes; it has synced once.
fn changed() -> Site {
    let site = Site::new("max_delete: 100%");
    for name in ["same", "updated", "deleted"] {
        site.put(&format!("source/{name}"), "one\ntwo\n");
    }
    site.sync(0);
    site.put("source/updated", "one\nTWO\n");
    site.put("source/created", "new\n");
    site.remove("source/deleted");
    site
}

#[test]
fn a_saved_plan_is_carried_out_exactly() {
    let site = changed();
    let written = site.run(&["sync", "site", "--plan", "../plan.json"]).expect_code(0);
    assert!(written.stdout.contains("delete  deleted") && written.stderr.contains("sync apply"), "{written:?}");
    assert!(!site.path("target/created").exists(), "nothing is done yet");
    // What comes later is not in the plan.
    site.put("source/later", "later\n");
    let report = site.run(&["sync", "apply", "../plan.json", "--json"]).expect_code(0).json();
    assert_eq!(counts(&report)[..3], [1, 1, 1]);
    assert_eq!(site.content("target/updated").as_deref(), Some("one\nTWO\n"));
    assert!(!site.path("target/later").exists() && !site.path("target/deleted").exists());
    let again = site.run(&["sync", "apply", "../plan.json"]).expect_code(5);
    assert!(again.stderr.contains("the plan of sync site is stale: something was synced"), "{again:?}");
    assert!(again.stderr.contains("cascade sync site --plan FILE"), "{again:?}");
    site.run(&["snapshots", "restore", "site"]).expect_code(0);
    assert_eq!(site.content("target/deleted").as_deref(), Some("one\ntwo\n"));
}

#[test]
fn what_is_not_as_the_plan_expects_is_left_alone_and_told() {
    let site = changed();
    site.run(&["sync", "site", "--plan", "../plan.json"]).expect_code(0);
    site.put("target/updated", "by hand");
    site.put("source/created", "newer\n");
    let report = site.run(&["sync", "apply", "../plan.json", "--json"]).expect_code(5).json();
    assert_eq!(
        noted(&report, "flagged"),
        [
            "created was changed at the source since the plan was made",
            "updated was changed at the target since the plan was made",
        ]
    );
    assert_eq!(counts(&report)[..3], [0, 0, 1], "the rest is done");
    assert_eq!(site.content("target/updated").as_deref(), Some("by hand"));
    assert!(!site.path("target/created").exists());
    assert_eq!(noted(&site.sync(5), "flagged"), ["updated was changed on both sides"]);
}

#[test]
fn a_plan_that_was_tampered_with_or_is_none_is_refused() {
    let site = changed();
    site.run(&["sync", "site", "--plan", "../plan.json"]).expect_code(0);
    let text = site.content("plan.json").unwrap();
    site.put("plan.json", &text.replace("\"created\"", "\"elsewhere\""));
    let refused = site.run(&["sync", "apply", "../plan.json"]).expect_code(1);
    assert!(refused.stderr.contains("it was changed after it was written"), "{refused:?}");
    site.put("other.json", "{}");
    site.run(&["sync", "apply", "../other.json"]).expect_code(2);
    let refused = site.run(&["sync", "site", "--plan", "../other.json"]).expect_code(2);
    assert!(refused.stderr.contains("is there already, and it is no plan"), "{refused:?}");
    assert_eq!(site.content("other.json").as_deref(), Some("{}"));
    assert!(!site.path("target/created").exists());
}

#[test]
fn a_plan_that_would_delete_too_much_is_not_saved_unasked() {
    let site = Site::new("");
    (0..20).for_each(|at| site.put(&format!("source/{at}"), "content"));
    site.sync(0);
    (0..5).for_each(|at| site.remove(&format!("source/{at}")));
    site.run(&["sync", "site", "--plan", "../plan.json"]).expect_code(1);
    assert!(!site.path("plan.json").exists());
    site.run(&["sync", "site", "--plan", "../plan.json", "--max-delete", "50%"]).expect_code(0);
    let report = site.run(&["sync", "apply", "../plan.json", "--json"]).expect_code(0).json();
    assert_eq!(report["deleted"], 5);
}

#[test]
fn a_dry_run_shows_what_changes_in_texts_and_steers_no_terminal() {
    let site = changed();
    std::fs::write(site.path("source/binary"), b"a\0b").unwrap();
    site.put("source/large", &"x\n".repeat(200_000));
    site.put("source/hostile", "\u{1b}[2Jgone\u{202e}\n");
    let shown = site.run(&["sync", "site", "--dry-run", "--diff"]).expect_code(0);
    for line in
        [" one\n-two\n+TWO\n", "create created\n@@ -0,0 +1 @@\n+new\n", "create binary\n(no text)\n", "-one\n-two\n"]
    {
        assert!(shown.stdout.contains(line), "{line:?}: {shown:?}");
    }
    assert!(shown.stdout.contains("create large\n(too large to be shown)\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("+\\x1b[2Jgone\\u{202e}\n"), "{}", shown.stdout);
    assert!(!shown.stdout.contains('\u{1b}') && !shown.stdout.contains('\u{202e}'));
    let json = site.run(&["sync", "site", "--dry-run", "--diff", "--json"]).expect_code(0).json();
    let of =
        |key: &str| json["actions"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap()["diff"].clone();
    assert_eq!((of("binary"), of("large")), ("binary".into(), "large".into()));
    assert_eq!(of("updated")["text"], "@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n");
    site.run(&["sync", "site", "--diff"]).expect_code(2);
}

#[test]
fn a_person_can_put_a_third_content_in_place_of_two_that_conflict() {
    let site = Site::new("");
    site.put("source/a", "before");
    site.sync(0);
    site.put("target/a", "by hand");
    site.put("source/a", "after");
    site.sync(5);
    site.put("merged", "both");
    std::fs::set_permissions(site.path("merged"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let missing = site.run(&["sync", "resolve", "site", "a", "--take", "../none"]).expect_code(2);
    assert!(missing.stderr.contains("../none cannot be read"), "{missing:?}");
    site.run(&["sync", "resolve", "site", "a", "--take", ".."]).expect_code(2);
    assert_eq!(site.content("target/a").as_deref(), Some("by hand"));
    let done = site.run(&["sync", "resolve", "site", "a", "--take", "../merged"]).expect_code(0);
    assert!(done.stdout.contains("the content of ../merged as a stays"), "{done:?}");
    assert_eq!(site.content("target/a").as_deref(), Some("both"));
    assert_eq!(site.path("target/a").metadata().unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(counts(&site.sync(0)), [0, 0, 0, 1], "it rests");
    site.put("source/a", "newer");
    assert_eq!(counts(&site.sync(0)), [0, 1, 0, 0], "until the source has something new");
    let list = site.run(&["snapshots", "list", "site", "--json"]).expect_code(0).json();
    let before_choice = list[1]["id"].as_str().unwrap().to_owned();
    site.run(&["snapshots", "restore", "site", "--at", &before_choice]).expect_code(0);
    assert_eq!(site.content("target/a").as_deref(), Some("by hand"), "what the choice replaced is kept");
}
