//! Edits of `cascade-sync.yaml` while a watcher runs.

use serde_json::Value;

use crate::support::watched::Watched;

fn sandbox(watched: &Watched) -> Value {
    watched.cascade(&["status", "--json"]).json()["sandbox"].take()
}

/// Answers what `status` says of a configuration that is not taken up.
fn refusal(watched: &Watched) -> String {
    sandbox(watched)["configuration"].as_str().unwrap_or_default().to_owned()
}

fn edit(watched: &Watched, from: &str, to: &str) {
    let text = watched.read("cascade-sync.yaml");
    assert!(text.contains(from), "{text}");
    watched.write("cascade-sync.yaml", text.replace(from, to));
}

#[test]
fn a_valid_edit_is_taken_up_by_the_watcher_that_runs_and_saved() {
    let watched = Watched::ready("200ms", "");
    let process = watched.start()["process"].clone();
    watched.write("a.skip", "one\n");
    watched.until_saved("develop", "a.skip", "one");
    edit(&watched, "node_modules/", "*.skip");
    watched.until("the edit is taken up", || watched.log().contains("cascade-sync.yaml has changed: taking it up"));
    watched.write("a.skip", "two\n");
    watched.write("b", "x\n");
    watched.until_saved("origin/develop", "b", "x");
    watched.stop();
    assert_eq!(watched.at("develop", "a.skip").as_deref(), Some("one"));
    assert!(watched.at("develop", "cascade-sync.yaml").is_some_and(|text| text.contains("*.skip")));
    let log = watched.log();
    assert_eq!(log.matches("watching directories=").count(), 2, "{process}: {log}");
    assert_eq!(log.matches("taking it up").count(), 1, "{log}");
}

#[test]
fn what_is_written_while_the_configuration_is_taken_up_is_saved() {
    let watched = Watched::ready("50ms", "");
    watched.start();
    for round in 0..5 {
        edit(&watched, "project: p", &format!("project: p{round}"));
        for number in 0..20 {
            watched.write(&format!("f{number}"), format!("{round}\n"));
        }
        let taken_up = || watched.log().matches("taking it up").count() > round;
        watched.until("it is taken up", taken_up);
    }
    for number in 0..20 {
        watched.until_saved("develop", &format!("f{number}"), "4");
    }
}

#[test]
fn an_invalid_edit_leaves_the_old_configuration_in_force_and_is_told_until_it_is_mended() {
    let watched = Watched::started();
    edit(&watched, "settle: 200ms", "settel: 200ms");
    watched.until("a word in status", || refusal(&watched).contains("settel"));
    assert!(refusal(&watched).starts_with("cascade-sync.yaml:3:"), "{}", refusal(&watched));
    let told = watched.cascade(&["status"]).stdout;
    assert!(told.contains("is not taken up"), "{told}");
    assert!(watched.log().contains("is not taken up, the one before stays in force"), "{}", watched.log());
    watched.write("node_modules/a", "x\n");
    watched.write("since", "x\n");
    watched.until_saved("develop", "since", "x");
    assert_eq!(watched.at("develop", "node_modules/a"), None);
    edit(&watched, "settel: 200ms", "settle: 200ms");
    watched.until("no word any more", || sandbox(&watched)["configuration"].is_null());
    assert!(!watched.log().contains("taking it up"), "{}", watched.log());
}

#[test]
fn another_branch_is_not_taken_up_and_status_says_what_to_do() {
    let watched = Watched::started();
    edit(&watched, "sandbox: {", "sandbox: { branch: work,");
    watched.until("a word in status", || refusal(&watched).contains("`cascade restart` takes it up"));
    watched.write("since", "x\n");
    watched.until_saved("develop", "since", "x");
}

#[test]
fn a_configuration_that_another_branch_has_is_left_alone() {
    let watched = Watched::ready("200ms", "");
    watched.git(&["switch", "--quiet", "-c", "other"]);
    edit(&watched, "project: p", "project: [");
    watched.commit("Broken there");
    watched.git(&["switch", "--quiet", "develop"]);
    watched.start();
    watched.git(&["switch", "--quiet", "other"]);
    watched.until("saving is paused", || sandbox(&watched)["state"] == "paused");
    watched.git(&["switch", "--quiet", "develop"]);
    watched.write("since", "x\n");
    watched.until_saved("develop", "since", "x");
    watched.until("it watches again", || sandbox(&watched)["state"] == "watching");
    assert!(!watched.log().contains("not taken up"), "{}", watched.log());
}
