//! `cascade report`: one page that needs nothing else, and the figures behind it.

use crate::support::pipeline::Pipeline;

const VERIFIED: &str = "\n  staging: { from: develop, branch: staging, verify: [up] }\n";
const UP: &str = "\n  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// Two releases, one of them rolled back.
fn released() -> Pipeline {
    let pipeline = Pipeline::new(false, VERIFIED, UP);
    pipeline.git(&["config", "user.name", "Mallory & Sons"]);
    pipeline.save_file("a", "1");
    pipeline.promote("staging", 0);
    pipeline.save_file("broken", "yes");
    pipeline.cascade(&["promote", "staging", "--reason", "<img src=x onerror=alert(1)>"]).expect_code(6);
    pipeline
}

#[test]
fn figures_count_what_went_live_and_what_went_back() {
    let pipeline = released();
    let report = pipeline.cascade(&["report", "--json", "--since", "1 week ago"]).expect_code(0).json();
    let staging = &report["environments"][0];
    assert_eq!(staging["environment"], "staging");
    assert_eq!(staging["deployments"], 2);
    assert_eq!(staging["deployments_per_week"], 2.0);
    assert_eq!(staging["change_failure_rate"], 0.5);
    assert!(staging["lead_time_ms"].as_i64().is_some_and(|ms| ms >= 0), "{report}");
    assert!(staging["time_to_restore_ms"].as_i64().is_some_and(|ms| ms >= 0), "{report}");
    assert_eq!(staging["weeks"][0]["live"], 1);
    assert_eq!(staging["weeks"][0]["rolled_back"], 1);
    assert!(!pipeline.root().join("cascade-report.html").exists());
}

#[test]
fn the_page_stands_alone_and_shows_hostile_names_as_text() {
    let pipeline = released();
    let told = pipeline.cascade(&["report", "--output", "page.html"]).expect_code(0);
    assert!(told.stdout.contains("page.html"), "{told:?}");
    let page = pipeline.read("page.html");
    assert!(pipeline.cascade(&["report", "--output", "-"]).expect_code(0).stdout.starts_with("<!doctype html>"));
    for expected in
        ["<svg", "change failure rate", "50 %", "rolled back", "class=\"rolled-back\"", "Mallory &#38; Sons"]
    {
        assert!(page.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {page}");
    }
    for foreign in ["<script", "<img", "src=", "href=", "http://", "https://", "url("] {
        let outside = page.replace("&#60;img src=x", "");
        assert!(!outside.contains(foreign), "{foreign}: {page}");
    }
    assert_balanced(&page);
}

/// Every element that is opened is closed, in order.
fn assert_balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        match tag {
            _ if tag.starts_with('!') || tag.ends_with('/') || name == "meta" => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn nothing_released_yet_is_a_page_too() {
    let pipeline = Pipeline::new(false, VERIFIED, UP);
    let page = pipeline.cascade(&["report", "--output", "-"]).expect_code(0).stdout;
    assert!(page.contains("There was none in this time."), "{page}");
    let refused = pipeline.cascade(&["report", "--since", "someday"]).expect_code(2);
    assert!(refused.stderr.contains("is not a moment"), "{refused:?}");
    let pipe = pipeline.root().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
    pipeline.cascade(&["report", "--output", "pipe"]).expect_code(0);
    assert!(reader.join().unwrap().starts_with("<!doctype html>"), "what is no file is written to, not replaced");
    let refused = pipeline.cascade(&["report", "--output", "no/such/place.html"]).expect_code(1);
    assert!(refused.stderr.contains("cannot be written"), "{refused:?}");
}

#[test]
fn the_page_goes_into_the_checkout_only_where_that_is_asked_for() {
    let pipeline = Pipeline::new(false, VERIFIED, UP);
    let page = pipeline.cascade(&["report"]).expect_code(0).stdout;
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(pipeline.git(&["status", "--porcelain"]), "");
}

#[test]
fn the_page_shows_what_would_hide_or_reorder_text() {
    let pipeline = released();
    let reason = "\u{1b}[31mred\u{202e}gnp.exe";
    pipeline.cascade(&["rollback", "staging", "--reason", reason]).expect_code(0);
    let page = pipeline.cascade(&["report", "--output", "-"]).expect_code(0).stdout;
    assert!(page.contains("\\x1b[31mred\\u{202e}gnp.exe"), "{page}");
    assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page}");
}
