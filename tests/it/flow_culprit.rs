//! Who is to blame for a failed check, and what can be promoted all the same.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::pipeline::Pipeline;

const ENVIRONMENTS: &str = "
  staging: { from: develop, branch: staging, checks: [test] }
  production: { from: staging, branch: main, checks: [strict] }
";

/// Fails where there is a file `bad`, cannot answer where there is one `unclear`, and counts its runs; production's fails
/// where there is a file `worse`.
fn checks(pipeline: &Pipeline) -> String {
    let runs = pipeline.base().join("runs").display().to_string();
    format!(
        "
  test: {{ run: \"echo >> {runs}; if test -e unclear; then exit 127; fi; test ! -e bad\" }}
  strict: {{ run: \"echo >> {runs}; test ! -e worse\" }}"
    )
}

fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new(false, "\n  staging: { from: develop, branch: staging }", "");
    configure(&pipeline, ENVIRONMENTS);
    pipeline
}

/// Brings the rules, and something good, to every environment.
fn configure(pipeline: &Pipeline, environments: &str) {
    pipeline.configure(environments, &checks(pipeline));
    pipeline.save("rules");
    for branch in ["staging", "main"] {
        pipeline.git(&["branch", "--quiet", "--force", branch, "develop"]);
    }
    pipeline.save_file("page", "good");
    pipeline.promote("staging", 0);
    if environments.contains("production") {
        pipeline.promote("production", 0);
    }
}

/// Answers how often checks ran since the last time.
fn runs(pipeline: &Pipeline) -> usize {
    let path = pipeline.base().join("runs");
    let count = std::fs::read(&path).unwrap_or_default().len();
    std::fs::write(path, "").unwrap();
    count
}

/// Saves pages `from..to`; what is `bad` comes with the one of that number. Answers the saves.
fn save_pages(pipeline: &Pipeline, pages: std::ops::Range<usize>, bad: (&str, usize)) -> Vec<String> {
    let save = |number: usize| {
        if number == bad.1 {
            pipeline.write(bad.0, "");
        }
        pipeline.save_file("page", &format!("page {number}"))
    };
    pages.map(save).collect()
}

#[test]
fn the_first_bad_save_is_named_and_what_comes_before_it_can_be_promoted() {
    for (bad, saves) in [(0, 2), (1, 2), (4, 9), (8, 9), (6, 16)] {
        let pipeline = pipeline();
        runs(&pipeline);
        let pages = save_pages(&pipeline, 0..saves, ("bad", bad));
        let before = pipeline.tip("staging");
        let failed = pipeline.promote("staging", 4);
        let limit = usize::try_from(saves.next_power_of_two().trailing_zeros()).unwrap();
        let taken = runs(&pipeline);
        assert!(taken <= 1 + limit, "{taken} runs for {saves} saves");
        let named = format!("the first bad save is {} \"Change page\" by Ada: ", &pages[bad][..10]);
        assert!(failed.stderr.contains(&named) && failed.stderr.contains("A bad"), "{failed:#?}");
        assert_eq!(pipeline.tip("staging"), before);
        let culprit = pipeline.newest("staging")["culprit"].clone();
        assert_eq!((&culprit["first_bad"], &culprit["blame"]), (&json!(pages[bad]), &json!("first")));
        assert_eq!((&culprit["saves"], &culprit["runs"]), (&json!(saves), &json!(taken - 1)));
        let why = pipeline.cascade(&["why", "staging"]).expect_code(0);
        assert!(why.stdout.contains(&named), "{why:#?}");
        let told = why.stdout.contains("cascade promote staging --healthy-prefix");
        assert_eq!(told, bad > 0, "{why:#?}");
        if bad == 0 {
            let nothing = pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(2);
            assert!(nothing.stderr.contains("the oldest of its saves is bad already"), "{nothing:#?}");
            continue;
        }
        pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(0);
        assert_eq!(pipeline.tree("staging"), pipeline.tree(&pages[bad - 1]));
        assert!(runs(&pipeline) <= 1, "its last save is known to pass, or is checked once");
        let again = pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(2);
        assert!(again.stderr.contains("its last promotion did not fail by a check"), "{again:#?}");
    }
}

#[test]
fn what_is_live_and_fails_already_is_told_with_one_run() {
    let pipeline = pipeline();
    let environments = ENVIRONMENTS.replace("[test]", "[test, new]");
    let counted = checks(&pipeline);
    let runs_file = pipeline.base().join("runs").display().to_string();
    pipeline.configure(&environments, &format!("{counted}\n  new: {{ run: \"echo >> {runs_file}; false\" }}"));
    pipeline.save("a check that never passes");
    // The rules count from the next promotion on.
    pipeline.promote("staging", 0);
    save_pages(&pipeline, 0..8, ("fine", 3));
    runs(&pipeline);
    let failed = pipeline.promote("staging", 4);
    assert!(failed.stderr.contains("no save is to blame: check `new` failed before them already"), "{failed:#?}");
    assert_eq!(runs(&pipeline), 3, "two checks of the candidate, and one run on what is live");
    let refused = pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(2);
    assert!(refused.stderr.contains("what is live there fails the check already"), "{refused:#?}");
    assert_eq!(runs(&pipeline), 0);
}

#[test]
fn saves_on_which_the_check_cannot_answer_are_passed_over() {
    let pipeline = pipeline();
    let mut pages = save_pages(&pipeline, 0..2, ("none", 9));
    pipeline.write("unclear", "");
    pages.extend(save_pages(&pipeline, 2..4, ("bad", 3)));
    std::fs::remove_file(pipeline.root().join("unclear")).unwrap();
    pages.extend(save_pages(&pipeline, 4..6, ("none", 9)));
    runs(&pipeline);
    let failed = pipeline.promote("staging", 4);
    assert!(failed.stderr.contains("could not answer"), "{failed:#?}");
    let culprit = pipeline.newest("staging")["culprit"].clone();
    assert_eq!(culprit["blame"], "among");
    let newest = pages.iter().position(|page| *page == culprit["first_bad"]).unwrap();
    let oldest = newest + 1 - usize::try_from(culprit["suspects"].as_u64().unwrap()).unwrap();
    assert!((oldest..=newest).contains(&3), "{culprit:#}");
    assert!(runs(&pipeline) <= 1 + 4);
    pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(0);
    assert_eq!(pipeline.tree("staging"), pipeline.tree(&pages[oldest - 1]));
}

#[test]
fn a_search_goes_through_the_promotions_that_fed_the_environment() {
    let pipeline = pipeline();
    let first = save_pages(&pipeline, 0..4, ("none", 9));
    pipeline.promote("staging", 0);
    let staged = pipeline.tip("staging");
    let second = save_pages(&pipeline, 4..8, ("worse", 6));
    pipeline.promote("staging", 0);
    runs(&pipeline);
    let failed = pipeline.promote("production", 4);
    assert!(failed.stderr.contains("cascade promote production --healthy-prefix"), "{failed:#?}");
    let culprit = pipeline.newest("production")["culprit"].clone();
    assert_eq!((&culprit["first_bad"], &culprit["saves"]), (&json!(second[2]), &json!(8)));
    assert!(runs(&pipeline) <= 1 + 3);
    assert_eq!(culprit["healthy"], json!(staged), "what is live nowhere before cannot be promoted");
    pipeline.cascade(&["promote", "production", "--healthy-prefix"]).expect_code(0);
    assert_eq!(pipeline.tree("main"), pipeline.tree(&first[3]));
}

#[test]
fn what_is_known_of_a_content_is_not_asked_again() {
    let pipeline = pipeline();
    save_pages(&pipeline, 0..8, ("bad", 5));
    pipeline.promote("staging", 4);
    runs(&pipeline);
    pipeline.promote("staging", 4);
    assert_eq!(runs(&pipeline), 2, "the candidate, and what came after the bad one: it may have been mended there");
    pipeline.promote("staging", 4);
    assert_eq!(runs(&pipeline), 1, "the candidate alone is asked again");
    assert_eq!(pipeline.newest("staging")["culprit"]["runs"], 0);
}

#[test]
fn hostile_names_of_authors_and_files_stay_names() {
    let pipeline = pipeline();
    pipeline.git(&["config", "user.name", "Eve \u{1b}[2J<script>"]);
    save_pages(&pipeline, 0..3, ("bad", 1));
    pipeline.write("bad \u{1b}]0;x\u{7}\n<b>", "");
    pipeline.git(&["add", "--all"]);
    pipeline.git(&["commit", "--quiet", "--no-verify", "--amend", "-m", "\u{1b}[31mred\nsecond"]);
    pipeline.save_file("page", "more");
    std::fs::remove_file(pipeline.root().join("bad")).unwrap();
    std::fs::write(pipeline.root().join("bad"), "again").unwrap();
    pipeline.save("again");
    let id = {
        let failed = pipeline.promote("staging", 4);
        assert!(failed.stderr.contains(r"Eve \x1b[2J") && !failed.stderr.contains('\u{1b}'), "{failed:#?}");
        pipeline.newest("staging")["id"].as_str().unwrap().to_owned()
    };
    for words in [&["why", "staging"][..], &["show", &id], &["history", "--json"]] {
        let told = pipeline.cascade(words).expect_code(0);
        assert!(!format!("{}{}", told.stdout, told.stderr).contains('\u{1b}'), "{told:#?}");
    }
}

#[test]
fn nobody_is_looked_for_where_the_environment_does_not_want_it_or_one_save_is_all_there_is() {
    let pipeline = pipeline();
    save_pages(&pipeline, 0..1, ("bad", 0));
    runs(&pipeline);
    let failed = pipeline.promote("staging", 4);
    assert!(failed.stderr.contains("the first bad save is "), "{failed:#?}");
    assert_eq!(runs(&pipeline), 1, "what it builds on is known to pass");
    let unwanted = ENVIRONMENTS.replace("checks: [test]", "checks: [test], bisect: false");
    std::fs::remove_file(pipeline.root().join("bad")).unwrap();
    pipeline.configure(&unwanted, &checks(&pipeline));
    pipeline.save("no search");
    pipeline.promote("staging", 0);
    save_pages(&pipeline, 1..9, ("bad", 4));
    runs(&pipeline);
    let failed = pipeline.promote("staging", 4);
    assert!(!failed.stderr.contains("first bad save") && runs(&pipeline) == 1, "{failed:#?}");
}

#[test]
fn a_search_can_be_left() {
    let pipeline = Pipeline::new(false, "\n  staging: { from: develop, branch: staging }", "");
    let place = pipeline.base().display().to_string();
    let check = format!(
        "\n  slow: {{ run: \"if test -e bad; then exit 1; fi; echo > {place}/begun; test ! -e {place}/wait || sleep 1000\" }}"
    );
    pipeline.configure("\n  staging: { from: develop, branch: staging, checks: [slow] }", &check);
    pipeline.save("rules");
    pipeline.git(&["branch", "--quiet", "--force", "staging", "develop"]);
    pipeline.save_file("page", "good");
    pipeline.promote("staging", 0);
    std::fs::remove_file(pipeline.base().join("begun")).unwrap();
    std::fs::write(pipeline.base().join("wait"), "").unwrap();
    save_pages(&pipeline, 0..8, ("bad", 7));
    let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    pipeline.until("the search has begun", || pipeline.base().join("begun").exists());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    let newest = pipeline.newest("staging");
    assert_eq!((&newest["reason"], &newest["culprit"]), (&json!("check `slow` failed: exit code 1"), &json!(null)));
    std::fs::remove_file(pipeline.base().join("wait")).unwrap();
    pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(0);
    assert_eq!(pipeline.git(&["show", "staging:page"]), "page 6");
}

#[test]
fn the_watcher_finds_who_broke_an_automatic_environment() {
    let pipeline = pipeline();
    let automatic = ENVIRONMENTS.replace("checks: [test]", "checks: [test], promote: auto");
    pipeline.configure(&automatic, &checks(&pipeline));
    pipeline.save("automatic");
    pipeline.promote("staging", 0);
    let pages = save_pages(&pipeline, 0..6, ("bad", 2));
    let watcher = pipeline.watcher();
    pipeline.write("one-more", "");
    pipeline.until("somebody is to blame", || pipeline.newest("staging")["culprit"]["first_bad"] == json!(pages[2]));
    drop(watcher);
    assert!(pipeline.log().contains("the first bad save"), "{}", pipeline.log());
}

#[test]
fn what_was_mended_is_not_blamed_for_what_broke_later() {
    let pipeline = pipeline();
    pipeline.write("bad", "");
    let first = pipeline.save_file("page", "one");
    pipeline.promote("staging", 4);
    std::fs::remove_file(pipeline.root().join("bad")).unwrap();
    pipeline.save("a fix");
    let good = pipeline.save_file("page", "two");
    pipeline.write("bad", "");
    let second = pipeline.save_file("page", "three");
    let failed = pipeline.promote("staging", 4);
    let culprit = pipeline.newest("staging")["culprit"].clone();
    assert_eq!((&culprit["first_bad"], &culprit["blame"]), (&json!(second), &json!("first")), "{first} {failed:#?}");
    pipeline.cascade(&["promote", "staging", "--healthy-prefix"]).expect_code(0);
    assert_eq!(pipeline.tree("staging"), pipeline.tree(&good));
}

#[test]
fn quiet_promotions_print_what_came_of_them_and_no_advice() {
    let pipeline = pipeline();
    pipeline.save_file("page", "one");
    let quiet = pipeline.cascade(&["promote", "staging", "-q"]).expect_code(0);
    assert!(quiet.stdout.starts_with("staging is live at ") && quiet.stdout.lines().count() == 1, "{quiet:#?}");
    assert_eq!(quiet.stderr, "");
}
