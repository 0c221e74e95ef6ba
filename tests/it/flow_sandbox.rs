//! `cascade start` … `cascade stop`, with real repositories, a bare remote and the built program.

use std::time::{Duration, Instant};

use crate::support::receiver::Receiver;
use crate::support::watched::Watched;

#[test]
fn saved_file_becomes_a_commit_here_and_on_the_remote() {
    let watched = Watched::started();
    watched.write("src/a b.txt", "one\n");
    watched.until_saved("develop", "src/a b.txt", "one");
    watched.until_pushed();
    let message = watched.git(&["log", "-1", "--format=%B", "develop"]);
    assert!(message.starts_with("Add src/a b.txt\n\nA src/a b.txt (4 B)\n"), "{message}");
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    assert!(watched.log().contains("saved: Add src/a b.txt"), "{}", watched.log());
}

#[test]
fn changes_made_while_nobody_watched_are_saved_at_start() {
    let watched = Watched::ready("200ms", "");
    watched.write("early", "x\n");
    assert_eq!(watched.start()["state"], "watching");
    assert_eq!(watched.at("develop", "early").as_deref(), Some("x"));
}

#[test]
fn stop_saves_what_is_pending() {
    let watched = Watched::ready("1s", "");
    watched.start();
    watched.write("late", "x\n");
    assert_eq!(watched.stop().json()["was_running"], true);
    assert_eq!(watched.at("develop", "late").as_deref(), Some("x"));
    watched.until_pushed();
    assert_eq!(watched.stop().json()["was_running"], false);
}

#[test]
fn second_watcher_is_refused_with_the_process_of_the_first() {
    let watched = Watched::ready("200ms", "");
    let process = watched.start()["process"].as_u64().unwrap();
    for words in [&["start"][..], &["start", "--foreground"]] {
        let refused = watched.cascade(words).expect_code(1);
        let expected = format!("watched already (process {process})");
        assert!(refused.stderr.contains(&expected) && refused.stderr.contains("hint:"), "{refused:#?}");
    }
}

#[test]
fn restart_ends_one_watcher_and_begins_another() {
    let watched = Watched::ready("200ms", "");
    let first = watched.start()["process"].clone();
    let second = watched.cascade(&["restart", "--json"]).expect_code(0).json()["process"].clone();
    assert_ne!(first, second);
    watched.write("after", "x\n");
    watched.until_saved("develop", "after", "x");
}

#[test]
fn saving_pauses_on_another_branch_and_catches_up_afterwards() {
    let watched = Watched::started();
    watched.git(&["switch", "--quiet", "-c", "feature"]);
    watched.write("f", "one\n");
    watched.until("a word on the pause", || watched.log().contains("on branch `feature`"));
    let before = watched.git(&["rev-parse", "develop"]);
    assert_eq!(watched.at("develop", "f"), None);
    assert_eq!(watched.git(&["rev-parse", "develop", "feature"]).lines().nth(1), Some(&before[..]));
    watched.git(&["switch", "--quiet", "develop"]);
    watched.until_saved("develop", "f", "one");
}

#[test]
fn started_on_another_branch_it_says_so_and_saves_nothing() {
    let watched = Watched::ready("200ms", "");
    watched.git(&["switch", "--quiet", "-c", "feature"]);
    watched.write("f", "one\n");
    let started = watched.start();
    assert_eq!(started["state"], "paused");
    assert!(started["reason"].as_str().unwrap().contains("feature"), "{started}");
    assert_eq!(watched.saves(), 0);
}

#[test]
fn file_that_never_gets_quiet_is_saved_once_per_window() {
    let watched = Watched::ready("300ms", "");
    watched.start();
    let (begun, mut number, mut pauses) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(4) {
        let written = Instant::now();
        number += 1;
        watched.write("busy", format!("{number}\n"));
        std::thread::sleep(Duration::from_millis(20));
        // Where the machine keeps this thread from writing, the file does get quiet.
        pauses += usize::from(written.elapsed() >= Duration::from_millis(150));
    }
    watched.until_saved("develop", "busy", &number.to_string());
    let saves = watched.saves();
    assert!((2..=7 + pauses).contains(&saves), "{saves} saves, {pauses} pauses\n{}", watched.log());
}

#[test]
fn excluded_directories_are_not_saved() {
    let watched = Watched::started();
    watched.write("node_modules/x/index.js", "x\n");
    watched.write("seen", "x\n");
    watched.until_saved("develop", "seen", "x");
    watched.stop();
    assert_eq!(watched.at("develop", "node_modules/x/index.js"), None);
}

#[test]
fn saves_go_on_without_the_remote_and_reach_it_when_it_is_back() {
    let watched = Watched::started();
    watched.until_pushed();
    let (here, away) = (watched.base().join("origin.git"), watched.base().join("away.git"));
    std::fs::rename(&here, &away).unwrap();
    watched.write("offline", "x\n");
    watched.until_saved("develop", "offline", "x");
    watched.until("a word on the push", || watched.log().contains("not pushed"));
    let health = watched.cascade(&["health", "--json"]).expect_code(4).json();
    assert_eq!(health["remote"]["outcome"], "fail", "{health}");
    watched.write("offline too", "x\n");
    watched.until_saved("develop", "offline too", "x");
    std::fs::rename(&away, &here).unwrap();
    watched.until_pushed();
}

/// Somebody else's clone of the remote.
struct Other<'a>(&'a Watched);

impl<'a> Other<'a> {
    fn of(watched: &'a Watched) -> Self {
        watched.until_pushed();
        Self::of_pushed(watched)
    }

    /// The same, whatever the sandbox has that is not there.
    fn of_pushed(watched: &'a Watched) -> Self {
        watched.git(&["clone", "--quiet", "--branch", "develop", "../origin.git", "../other"]);
        Self(watched)
    }

    fn push(&self, path: &str, content: &str) -> String {
        std::fs::write(self.0.base().join("other").join(path), content).unwrap();
        let other = |words: &[&str]| self.0.git(&[&["-C", "../other"], words].concat());
        other(&["add", "--all"]);
        other(&["commit", "--quiet", "-m", "theirs"]);
        other(&["push", "--quiet", "origin", "develop"]);
        other(&["rev-parse", "HEAD"])
    }
}

#[test]
fn health_is_asked_all_the_time_and_its_changes_are_told() {
    let watched = Watched::ready("200ms", "checks:\n  up: { run: \"test ! -e down\" }\n");
    let config = watched.read("cascade-sync.yaml").replace("every: 1s", "every: 1s, checks: [up]");
    watched.write("cascade-sync.yaml", config);
    watched.start();
    watched.write("down", "x\n");
    watched.until("a failure", || watched.log().contains("outcome=fail"));
    std::fs::remove_file(watched.root().join("down")).unwrap();
    watched.until("well again", || watched.log().contains("outcome=pass"));
}

#[test]
fn what_a_commit_of_the_user_takes_out_is_saved_again_while_it_is_there() {
    let watched = Watched::started();
    watched.write("kept", "x\n");
    watched.until_saved("develop", "kept", "x");
    watched.git(&["rm", "--quiet", "--cached", "kept"]);
    watched.git(&["commit", "--quiet", "--no-verify", "-m", "without it"]);
    watched.until_saved("develop", "kept", "x");
    assert_eq!(watched.read("kept"), "x\n");
}

#[test]
fn where_pulling_is_off_commits_of_others_are_told_and_never_overwritten() {
    let watched = Watched::ready("200ms", "");
    let config = watched.read("cascade-sync.yaml").replace("settle: 200ms", "settle: 200ms, pull: false");
    watched.write("cascade-sync.yaml", config);
    watched.start();
    Other::of(&watched).push("theirs", "x\n");
    watched.write("mine", "x\n");
    watched.until_saved("develop", "mine", "x");
    watched.until("a word on what to do", || watched.log().contains("git pull --rebase origin develop"));
    watched.git(&["pull", "--quiet", "--rebase", "origin", "develop"]);
    watched.until_pushed();
    assert!(watched.git(&["log", "--format=%s", "origin/develop"]).contains("theirs"));
}

#[test]
fn what_others_pushed_comes_in_before_a_save_is_pushed() {
    let watched = Watched::started();
    let theirs = Other::of(&watched).push("theirs", "from afar\n");
    watched.write("mine", "x\n");
    watched.until_saved("origin/develop", "mine", "x");
    assert_eq!(watched.read("theirs"), "from afar\n");
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    watched.git(&["merge-base", "--is-ancestor", &theirs, "develop"]);
}

#[test]
fn what_others_pushed_comes_in_without_any_save() {
    let watched = Watched::ready("200ms", "");
    let config = watched.read("cascade-sync.yaml").replace("settle: 200ms", "settle: 200ms, pull_every: 1s");
    watched.write("cascade-sync.yaml", config);
    watched.start();
    let theirs = Other::of(&watched).push("theirs", "from afar\n");
    watched.until("their file", || watched.root().join("theirs").exists());
    watched.until("their commit", || watched.git(&["rev-parse", "develop"]) == theirs);
    // The index follows the branch.
    watched.until("a clean status", || watched.git(&["status", "--porcelain"]).is_empty());
}

/// A watcher that looks at the remote each second, and one of whose saves is pushed.
fn pushed() -> Watched {
    let watched = Watched::ready("200ms", "");
    let config = watched.read("cascade-sync.yaml").replace("settle: 200ms", "settle: 200ms, pull_every: 1s");
    watched.write("cascade-sync.yaml", config);
    watched.start();
    watched.write("dropped", "x\n");
    watched.until_saved("develop", "dropped", "x");
    watched.until_pushed();
    watched
}

fn push_problem(watched: &Watched) -> String {
    let status = watched.cascade(&["status", "--json"]).json();
    status["sandbox"]["push_problem"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_the_user_took_back_stays_out_until_the_user_says_what_is_meant() {
    let watched = pushed();
    watched.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    watched.until("a word on it", || push_problem(&watched).contains("still has 1 commit of before: "));
    watched.write("since", "x\n");
    watched.until_saved("develop", "since", "x");
    let theirs = Other::of_pushed(&watched).push("theirs", "x\n");
    watched.until("others on top", || push_problem(&watched).contains("and 1 commit of others on top"));
    assert!(!watched.root().join("dropped").exists() && !watched.root().join("theirs").exists());
    assert_eq!(watched.log().matches("not pushed").count(), 1, "{}", watched.log());
    watched.git(&["merge", "--quiet", "--no-edit", "origin/develop"]);
    watched.until_pushed();
    watched.until("no problem", || push_problem(&watched).is_empty());
    watched.git(&["merge-base", "--is-ancestor", &theirs, "develop"]);
    assert_eq!(watched.at("develop", "since").as_deref(), Some("x"));
}

#[test]
fn what_the_user_amended_is_not_merged_with_what_it_was_and_a_forced_push_settles_it() {
    let watched = pushed();
    watched.git(&["commit", "--quiet", "--no-verify", "--amend", "-m", "Said better"]);
    watched.until("a word on it", || push_problem(&watched).contains("--force-with-lease origin develop"));
    assert_eq!(watched.git(&["log", "-1", "--format=%s", "develop"]), "Said better");
    watched.git(&["push", "--quiet", "--force-with-lease", "origin", "develop"]);
    watched.until("no problem", || push_problem(&watched).is_empty());
    assert_eq!(watched.git(&["log", "--merges", "--format=%s", "develop"]), "");
    watched.write("since", "x\n");
    watched.until_saved("origin/develop", "since", "x");
}

#[test]
fn a_sparse_checkout_saves_and_pulls_and_deletes_nothing_that_it_leaves_out() {
    let watched = Watched::ready("200ms", "");
    watched.write("src/a", "first\n");
    watched.write("art/b", "first\n");
    watched.commit("Two directories");
    watched.git(&["sparse-checkout", "set", "src"]);
    watched.start();
    Other::of(&watched).push("art/b", "theirs\n");
    watched.write("src/a", "mine\n");
    watched.until_saved("origin/develop", "src/a", "mine");
    assert_eq!(watched.at("develop", "art/b").as_deref(), Some("theirs"));
    assert!(!watched.root().join("art").exists());
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    watched.git(&["sparse-checkout", "set", "art"]);
    assert_eq!(watched.read("art/b"), "theirs\n");
    watched.write("art/b", "mine\n");
    watched.until_saved("develop", "art/b", "mine");
    watched.stop();
    let deleted = watched.git(&["log", "--diff-filter=D", "--name-only", "--format=", "develop"]);
    assert_eq!((deleted.as_str(), watched.at("develop", "src/a").as_deref()), ("", Some("mine")));
}

#[test]
fn a_file_in_the_way_of_what_others_pushed_is_left_alone_and_told() {
    let watched = Watched::ready("200ms", "");
    watched.write("node_modules/tracked", "first\n");
    watched.git(&["add", "--force", "node_modules/tracked"]);
    watched.git(&["commit", "--quiet", "--no-verify", "-m", "tracked, and excluded from saving"]);
    watched.start();
    let other = Other::of(&watched);
    watched.write("node_modules/tracked", "mine, saved nowhere\n");
    let theirs = other.push("node_modules/tracked", "theirs\n");
    watched.write("mine", "x\n");
    let problem = || watched.cascade(&["status", "--json"]).json()["sandbox"]["push_problem"].clone();
    watched
        .until("what is in the way", || problem().as_str().is_some_and(|text| text.contains("node_modules/tracked")));
    assert_eq!(watched.read("node_modules/tracked"), "mine, saved nowhere\n");
    watched.git(&["checkout", "--quiet", "node_modules/tracked"]);
    watched.until("their commit", || watched.try_git(&["merge-base", "--is-ancestor", &theirs, "develop"]).code == 0);
    watched.until("no problem", || problem().is_null());
    assert_eq!(watched.read("node_modules/tracked"), "theirs\n");
}

/// A watcher that tells a webhook and looks at the remote when a push is refused, and hardly otherwise.
fn told(receiver: &Receiver) -> Watched {
    let watched = Watched::ready("200ms", "");
    let notify = format!("notify: {{ desktop: false, webhook: {{ url: \"{}\" }} }}", receiver.url());
    watched.write(".git/info/exclude", "*.log\n");
    let config = watched.read("cascade-sync.yaml").replace("every: 1s", "every: 1h");
    watched.write("cascade-sync.yaml", config.replace("notify: { desktop: false }", &notify));
    watched.start();
    watched
}

#[test]
fn an_ignored_file_in_the_way_is_told_at_the_first_try_with_what_to_do() {
    let receiver = Receiver::start(&["204 Done"]);
    let watched = told(&receiver);
    let other = Other::of(&watched);
    watched.write("build.log", "mine\n");
    other.push("build.log", "theirs\n");
    watched.write("page", "x\n");
    let words = "build.log is in the way here and not saved (git ignores it, or `sandbox.exclude` names it): move it away \
                 or commit it";
    watched.until("what is in the way", || push_problem(&watched).contains(words));
    let alert = receiver.next().json();
    assert_eq!((&alert["event"], &alert["title"]), (&"paused".into(), &"p: saves are not pushed".into()), "{alert}");
    assert!(alert["body"].as_str().unwrap().contains(words), "{alert}");
    watched.write("page", "y\n");
    watched.until_saved("develop", "page", "y");
    watched.stop();
    assert!(receiver.all().is_empty(), "it is told once");
    assert_eq!(watched.read("build.log"), "mine\n");
}

#[test]
fn a_branch_that_others_deleted_is_told_before_it_is_pushed_again() {
    for every in ["1h", "1s"] {
        let receiver = Receiver::start(&["204 Done"]);
        let watched = told(&receiver);
        let config = watched.read("cascade-sync.yaml");
        watched.write(
            "cascade-sync.yaml",
            config.replace("settle: 200ms", &format!("settle: 200ms, pull_every: {every}")),
        );
        watched.until("it is taken up", || watched.log().contains("taking it up"));
        watched.until_pushed();
        watched.git(&["clone", "--quiet", "../origin.git", "../other"]);
        watched.git(&["-C", "../other", "push", "--quiet", "origin", "--delete", "develop"]);
        if every == "1s" {
            watched.until("a word on it", || watched.log().contains("the next save pushes it again"));
        }
        watched.write("page", "x\n");
        let alert = receiver.next().json();
        assert_eq!(
            (&alert["event"], &alert["title"]),
            (&"conflict".into(), &"p: the remote's branch was deleted".into())
        );
        assert!(alert["body"].as_str().unwrap().starts_with("somebody deleted origin/develop: "), "{alert}");
        watched.until_saved("develop", "page", "x");
        watched.until_pushed();
        watched.stop();
        assert!(receiver.all().is_empty(), "it is told once");
    }
}

#[test]
fn a_save_that_fails_is_told_as_what_it_is() {
    let receiver = Receiver::start(&["204 Done"]);
    let watched = told(&receiver);
    watched.git(&["config", "gpg.program", "/nowhere/gpg"]);
    watched.git(&["config", "commit.gpgSign", "true"]);
    watched.write("page", "x\n");
    let alert = receiver.next().json();
    assert_eq!(alert["event"], "save_failed", "{alert}");
    watched.git(&["config", "commit.gpgSign", "false"]);
    watched.until_saved("develop", "page", "x");
    watched.git(&["switch", "--quiet", "-c", "elsewhere"]);
    watched.write("page", "y\n");
    let alert = receiver.next().json();
    assert_eq!((&alert["event"], &alert["title"]), (&"paused".into(), &"p: saving is paused".into()), "{alert}");
}

#[test]
fn an_edit_of_others_that_loses_is_told_and_can_be_looked_at() {
    let watched = Watched::started();
    watched.write("page", "first\n");
    watched.until_saved("develop", "page", "first");
    let theirs = Other::of(&watched).push("page", "theirs\n");
    watched.write("page", "mine\n");
    watched.until_saved("origin/develop", "page", "mine");
    assert_eq!(watched.read("page"), "mine\n");
    let word = format!("theirs: cascade show {}", &theirs[..10]);
    assert!(watched.log().contains(&word), "{}", watched.log());
    let shown = watched.cascade(&["show", &theirs[..10]]).expect_code(0).stdout;
    assert!(shown.contains(&theirs) && shown.contains("M page"), "{shown}");
    watched.stop();
    watched.start();
    let lost = watched.cascade(&["status", "--json"]).json()["sandbox"]["lost_edits"][0].clone();
    assert_eq!(
        (&lost["theirs"], &lost["files"], &lost["paths"][0]),
        (&theirs.clone().into(), &1.into(), &"page".into())
    );
    let status = watched.cascade(&["status"]).stdout;
    assert!(status.contains("yours was kept in 1 file that others changed too"), "{status}");
    assert!(status.contains(&format!("`cascade show {}`", &theirs[..10])), "{status}");
    assert!(watched.git(&["log", "-1", "--merges", "--format=%B", "develop"]).contains("was kept:\n  page\n"));
}

#[test]
fn automatic_environment_follows_each_pushed_save() {
    let watched =
        Watched::ready("200ms", "environments:\n  staging: { from: develop, branch: staging, promote: auto }\n");
    watched.start();
    watched.write("feature", "x\n");
    watched.until_saved("staging", "feature", "x");
    watched.until("staging on origin", || {
        let tip = watched.git(&["rev-parse", "staging"]);
        watched.git(&["ls-remote", "origin", "staging"]).starts_with(&tip)
    });
}

#[test]
fn home_that_cannot_be_written_is_named() {
    let watched = Watched::ready("200ms", "");
    std::fs::write(watched.base().join("cascade"), "a file").unwrap();
    let refused = watched.cascade(&["start"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stderr.contains("/cascade"), "{refused:#?}");
    std::fs::remove_file(watched.base().join("cascade")).unwrap();
}

#[test]
fn the_end_of_the_terminal_does_not_end_a_watcher_in_the_background() {
    let watched = Watched::ready("50ms", "");
    let process = watched.start()["process"].to_string();
    let hung_up = watched.command("kill", &["-HUP", &process]).status().unwrap();
    assert!(hung_up.success());
    watched.write("after", "x\n");
    watched.until_saved("develop", "after", "x");
    let refused = watched.cascade(&["start"]).expect_code(1);
    assert!(refused.stderr.contains(&process), "{refused:#?}");
}

#[test]
fn a_log_that_grows_large_while_the_watcher_runs_is_put_aside_too() {
    let watched = Watched::ready("50ms", "");
    let started = watched.start();
    let log = std::path::PathBuf::from(started["log"].as_str().unwrap());
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().set_len(11 << 20).unwrap();
    watched.command("kill", &["-HUP", &started["process"].to_string()]).status().unwrap();
    watched.until("a new log", || log.with_extension("log.1").exists() && log.exists());
    watched.write("after", "x\n");
    watched.until("a line in the new log", || watched.log().contains("saved: Add after"));
    assert!(std::fs::metadata(&log).unwrap().len() < 1 << 20);
}

#[test]
fn a_log_that_has_grown_large_is_put_aside_at_start() {
    let watched = Watched::ready("50ms", "");
    let log = watched.start()["log"].as_str().unwrap().to_owned();
    watched.stop();
    let large = vec![b'x'; 11 << 20];
    std::fs::write(&log, &large).unwrap();
    watched.start();
    assert!(std::fs::metadata(&log).unwrap().len() < 1 << 20);
    let aside = std::path::Path::new(&log).with_extension("log.1");
    assert_eq!(std::fs::metadata(aside).unwrap().len(), large.len() as u64);
}

/// Looks like a token; in two parts, so that this file does not.
fn token() -> String {
    format!("ghp_{}", "q7Rf2LxVb9KdTz4MnWc8HpYs3GjEa6UvQr5X")
}

#[test]
fn secret_is_kept_out_of_a_save_and_the_rest_is_saved() {
    let watched = Watched::started();
    watched.write("config", format!("first\nkey = {}\n", token()));
    watched.write("other", "x\n");
    watched.until_saved("develop", "other", "x");
    watched
        .until("a word on the secret", || watched.log().contains("config: line 2 looks like a secret: github-token"));
    assert_eq!(watched.at("develop", "config"), None);
    let status = watched.cascade(&["status", "--json"]).json();
    let aside = &status["sandbox"]["not_saved"][0];
    assert_eq!(aside["path"], "config", "{status}");
    let reason = aside["reason"].as_str().unwrap();
    assert!(reason.contains("(ghp_…, 40 characters)") && reason.contains("cascade secrets allow config:2"), "{reason}");
    watched.write("config", format!("moved\nfirst\nkey = {}\n", token()));
    watched.write("third", "x\n");
    watched.until_saved("develop", "third", "x");
    assert_eq!(watched.log().matches("not saved, for it looks like a secret").count(), 1, "{}", watched.log());
    assert!(!watched.log().contains(&token()) && !status.to_string().contains(&token()));
}

#[test]
fn secret_that_is_allowed_is_saved_without_a_restart_and_pushed() {
    let watched = Watched::started();
    watched.write("fixtures/a", format!("{}\n", token()));
    watched.until("a word on the secret", || watched.log().contains("fixtures/a: line 1 looks like a secret"));
    watched.cascade(&["secrets", "allow", "fixtures/a:1", "--reason", "made up"]).expect_code(0);
    watched.until_saved("develop", "fixtures/a", &token());
    watched.until_pushed();
    watched.until("nothing is left out", || {
        watched.cascade(&["status", "--json"]).json()["sandbox"]["not_saved"].as_array().is_some_and(Vec::is_empty)
    });
}

#[test]
fn secret_is_saved_with_a_warning_where_the_configuration_says_so() {
    let watched = Watched::ready("200ms", "");
    let pipeline = watched.read("cascade-sync.yaml").replace("settle:", "secrets: warn, push: false, settle:");
    watched.write("cascade-sync.yaml", pipeline);
    watched.start();
    watched.write("config", token());
    watched.until_saved("develop", "config", &token());
    watched.until("a word on the secret", || watched.log().contains("saved, but it looks like a secret"));
}

#[test]
fn what_the_user_staged_and_did_not_commit_is_kept_and_shown() {
    let watched = Watched::ready("200ms", "");
    watched.write("page", "first\n");
    watched.commit("first");
    watched.start();
    watched.write("page", "staged\n");
    watched.git(&["add", "page"]);
    watched.write("page", "newer\n");
    watched.until_saved("develop", "page", "newer");
    assert_eq!(watched.git(&["show", ":page"]), "staged");
    let staged = || watched.cascade(&["status", "--json"]).json()["sandbox"]["staged"].clone();
    watched.until("staged work in status", || staged() == serde_json::json!(["page"]));
    assert!(watched.cascade(&["status"]).stdout.contains("staged by you, not committed: page"));
    watched.git(&["reset", "--quiet", "page"]);
    watched.write("page", "newest\n");
    watched.until("nothing staged in status", || staged() == serde_json::json!([]));
    watched.git(&["rm", "--quiet", "--cached", "page"]);
    watched.until("a staged deletion in status", || staged() == serde_json::json!(["page"]));
    watched.write("page", "newer again\n");
    watched.until_saved("develop", "page", "newer again");
    assert_eq!(watched.git(&["ls-files", "page"]), "");
    watched.until("the staged deletion still", || staged() == serde_json::json!(["page"]));
}

#[test]
fn a_watcher_whose_checkout_goes_ends_by_itself_and_says_so() {
    for is_moved in [false, true] {
        let watched = Watched::ready("200ms", "");
        let started = watched.start();
        let (process, log) = (started["process"].as_u64().unwrap(), started["log"].as_str().unwrap());
        let elsewhere = watched.base().join("elsewhere");
        match is_moved {
            true => std::fs::rename(watched.root(), elsewhere).unwrap(),
            false => std::fs::remove_dir_all(watched.root()).unwrap(),
        }
        let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        watched.until("it ends with its checkout", || rustix::process::test_kill_process(process).is_err());
        // What stops a watcher that is left needs a place.
        std::fs::create_dir(watched.root()).unwrap();
        let said = std::fs::read_to_string(log).unwrap();
        assert!(said.contains("is no longer there"), "{said}");
        if is_moved {
            let place = watched.base().join("elsewhere");
            let status =
                watched.cascade(&["status", "--json", "--project", place.to_str().unwrap()]).expect_code(0).json();
            let reason = status["sandbox"]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("is no longer there: run `cascade start`"), "{status}");
        }
    }
}

#[test]
fn fast_saves_reach_the_disk_in_the_background_and_at_the_end() {
    let watched = Watched::ready("200ms", "");
    let text = watched.read("cascade-sync.yaml").replace("sandbox: {", "sandbox: { durability: fast,");
    watched.write("cascade-sync.yaml", text);
    watched.start();
    let durable = || watched.try_git(&["rev-parse", "--quiet", "--verify", "refs/cascade/durable"]).stdout;
    let tip = || format!("{}\n", watched.git(&["rev-parse", "develop"]));
    watched.write("f", "one\n");
    watched.until_saved("develop", "f", "one");
    watched.until("on the disk", || durable() == tip());
    let status = watched.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["sandbox"]["durability"], "fast");
    let told = watched.cascade(&["status"]).stdout + &watched.cascade(&["health"]).stdout;
    assert_eq!(told.matches("saves reach the disk seconds later").count(), 2, "{told}");
    watched.write("f", "two\n");
    watched.until_saved("develop", "f", "two");
    watched.stop();
    assert_eq!(durable(), tip());
    watched.write("g", "saved first\n");
    watched.cascade(&["undo"]).expect_code(0);
    assert_eq!((durable(), watched.read("f")), (tip(), "one\n".to_owned()));
}

#[test]
fn a_watcher_whose_saves_wait_for_the_disk_settles_those_that_did_not() {
    let watched = Watched::ready("200ms", "");
    watched.git(&["update-ref", "refs/cascade/durable", "develop~1"]);
    watched.start();
    let durable = || watched.try_git(&["rev-parse", "--quiet", "--verify", "refs/cascade/durable"]).stdout;
    assert_eq!(durable().trim(), watched.git(&["rev-parse", "develop"]));
    watched.write("f", "one\n");
    watched.until_saved("develop", "f", "one");
    watched.until("no note that saves may be lost", || durable().is_empty());
    assert_eq!(watched.cascade(&["status", "--json"]).expect_code(0).json()["sandbox"]["durability"], "full");
}

/// Answers what `stop` says of a place, asked from elsewhere.
fn stop_at(watched: &Watched, place: &str) -> std::process::Child {
    let mut command = watched.command(env!("CARGO_BIN_EXE_cascade"), &["stop", "--json", "--project", place]);
    command.current_dir(watched.base()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn the_watcher_of_a_checkout_that_is_gone_can_be_stopped() {
    use rustix::process::{Pid, Signal, kill_process};

    let watched = Watched::ready("200ms", "");
    let number = watched.start()["process"].as_u64().unwrap();
    let process = Pid::from_raw(i32::try_from(number).unwrap()).unwrap();
    // It would notice by itself, but not while it sleeps.
    kill_process(process, Signal::STOP).unwrap();
    std::fs::remove_dir_all(watched.root()).unwrap();
    let stop = stop_at(&watched, "checkout/below");
    let is_asked = || {
        let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        u64::from_str_radix(pending.trim(), 16).unwrap() & (1 << 14) != 0
    };
    watched.until("it is asked to end", is_asked);
    kill_process(process, Signal::CONT).unwrap();
    let stopped = stop.wait_with_output().unwrap();
    let again = stop_at(&watched, "checkout").wait_with_output().unwrap();
    let unknown = stop_at(&watched, "elsewhere").wait_with_output().unwrap();
    std::fs::create_dir(watched.root()).unwrap();
    let no_repository = stop_at(&watched, "checkout").wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let answer = text(stopped.stdout);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["process"], number, "{answer}");
    watched.until("it has ended", || rustix::process::test_kill_process(process).is_err());
    for nobody in [again.stdout, no_repository.stdout].map(text) {
        assert!(nobody.contains("\"was_running\": false"), "{nobody}");
    }
    let said = text(unknown.stdout) + &text(unknown.stderr);
    assert!(said.contains("elsewhere is not there, and no project that cascade knows was"), "{said}");
    assert_eq!(unknown.status.code(), Some(2));
}
