//! `cascade status | history | show | plan | why | diff | health`.

use cascade::base::clock::{Clock as _, SystemClock};
use cascade::git::Repo;
use cascade::store::{Home, Lock, ProjectHome, SandboxNotes, SandboxRecord, SandboxState, Store};

use crate::support::{Output, Sandbox};

const CONFIG: &str = r#"version: 1
project: shop
sandbox: { branch: develop }
environments:
  staging: { from: develop, branch: staging, checks: [build], verify: [up] }
  production: { from: staging, branch: main, approval: { required: 1, expires: 24h, self: true } }
checks:
  build: { run: "test ! -e broken" }
  up: { run: "test ! -e down" }
health: { every: 20s, checks: [build] }
notify: { desktop: false }
"#;

/// A pipeline with one commit on `develop` that staging does not have.
fn pipeline() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.git(&["branch", "staging"]);
    sandbox.git(&["switch", "--quiet", "-c", "develop"]);
    sandbox.write("cascade-sync.yaml", CONFIG);
    sandbox.commit("Set up the pipeline");
    sandbox
}

fn project_home(sandbox: &Sandbox) -> (Home, ProjectHome) {
    let home = Home::new(sandbox.base().join("cascade"));
    let project = home.project(Repo::open(&sandbox.root()).unwrap().common_dir());
    (home, project)
}

/// Stores what a watcher would say of itself.
fn report(sandbox: &Sandbox, record: &SandboxRecord) {
    let (home, project) = project_home(sandbox);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&home, &project).await.unwrap();
        store.report_sandbox(record).await.unwrap();
        store.close().await;
    });
}

fn record(state: SandboxState, reason: Option<&str>, silent_ms: i64) -> SandboxRecord {
    let now = SystemClock.now();
    SandboxRecord {
        state,
        reason: reason.map(str::to_owned),
        branch: "develop".to_owned(),
        head: None,
        pending: 3,
        unpushed: 2,
        push_problem: Some("the remote is away".to_owned()),
        set_aside: (0..7).map(|number| (format!("big{number}.bin"), "larger than 50MiB".to_owned())).collect(),
        limited: None,
        staged: Vec::new(),
        notes: SandboxNotes::default(),
        saved_at: Some(now),
        seen_at: cascade::base::clock::from_ms(now.as_millisecond() - silent_ms),
    }
}

/// Runs `assertion` with filters for ids, commits, ages, moments and durations.
fn filtered(sandbox: &Sandbox, assertion: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9a-f]{40}\b", "[OID]");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[MOMENT]");
    settings.add_filter(r"\b[0-9a-f]{10}\b", "[COMMIT..]");
    settings.add_filter(r"\b[0-9a-f]{7}\b", "[COMM.]");
    settings.add_filter(r"(just now|\d+ s ago)", "[AGE]");
    settings.add_filter(r"\b\d+\.\ds", "[TOOK]");
    settings.add_filter(r"logs/\w+/\w+/(\w+)-\w+\.log", "logs/[LOG]");
    settings.add_filter(r"(promotion|approve) [0-9a-hjkmnp-tv-z]{8}\b", "$1 [ID]");
    settings.bind(|| sandbox.filtered(assertion));
}

fn lines(output: Output) -> String {
    let widest = output.stdout.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= 80 || !output.stdout.contains("next: "), "{widest} columns: {}", output.stdout);
    output.stdout
}

#[test]
fn status_before_the_first_promotion_leads_to_the_watcher() {
    let sandbox = pipeline();
    let text = lines(sandbox.cascade(&["status"]).expect_code(0));
    filtered(&sandbox, || {
        insta::assert_snapshot!(text, @r#"
    shop  [BASE]/checkout

      ○ sandbox      develop [COMM.]                     stopped
      │   no save yet · no remote to push to
      │
      ▼ 1 to promote, clean
      ? staging      staging [COMM.]                     never promoted
      │
      ▼ up to date
      ? production   main [COMM.]                        never promoted

    next: cascade start
    "#)
    });
}

#[test]
fn status_of_a_waiting_promotion_says_who_and_how() {
    let sandbox = pipeline();
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    sandbox.cascade(&["promote", "production"]).expect_code(3);
    let text = lines(sandbox.cascade(&["status"]).expect_code(0));
    filtered(&sandbox, || {
        insta::assert_snapshot!(text, @r#"
    shop  [BASE]/checkout

      ○ sandbox      develop [COMM.]                     stopped
      │   no save yet · no remote to push to
      │
      ▼ up to date
      ✓ staging      staging [COMM.]                     promoted [AGE]
      │
      ▼ 1 to promote, clean
      ? production   main [COMM.]                        never promoted
          promotion [ID] is waiting, asked for by Ada [AGE]
          needs 1 approval of candidate [COMMIT..]
          → `cascade approve [ID]`

    next: cascade approve [ID]
    "#)
    });
    let document = sandbox.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(document["project"], "shop");
    assert_eq!(document["environments"][0]["health"], "pass");
    assert_eq!(document["environments"][0]["pending_commits"], 0);
    let promotion = &document["environments"][1]["promotion"];
    assert_eq!(promotion["state"], "waiting");
    assert_eq!(promotion["waiting_for"][0]["gate"], "approval");
    let id = promotion["id"].as_str().unwrap();
    assert_eq!(promotion["waiting_for"][0]["clears"], format!("`cascade approve {id}`"));
    assert_eq!(document["next"], format!("cascade approve {id}"));
}

#[test]
fn watcher_that_lives_is_believed_and_one_that_died_is_not() {
    let sandbox = pipeline();
    let (_, project) = project_home(&sandbox);
    report(&sandbox, &record(SandboxState::Paused, Some("a rebase is going on"), 0));
    let stopped = sandbox.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(stopped["sandbox"]["state"], "stopped");
    assert_eq!(stopped["sandbox"]["pending"], serde_json::Value::Null);
    let held = Lock::take(&project.sandbox_lock()).unwrap();
    let without = sandbox.cascade(&["status", "--json"]).expect_code(0).json()["sandbox"].clone();
    assert!(["remote", "unpushed", "push_problem"].iter().all(|key| without[key].is_null()), "{without}");
    let text = sandbox.cascade(&["status"]).expect_code(0).stdout;
    assert!(text.contains("no remote to push to") && !text.contains("cannot push"), "{text}");
    sandbox.git(&["remote", "add", "origin", "../origin.git"]);
    let text = lines(sandbox.cascade(&["status"]).expect_code(0));
    filtered(&sandbox, || {
        insta::assert_snapshot!(text, @r#"
    shop  [BASE]/checkout

      ‖ sandbox      develop [COMM.]                     paused
      │   a rebase is going on
      │   last save [AGE] · 3 paths to save · 2 commits not pushed
      │   cannot push: the remote is away
      │   not saved: big0.bin (larger than 50MiB)
      │   not saved: big1.bin (larger than 50MiB)
      │   not saved: big2.bin (larger than 50MiB)
      │   not saved: big3.bin (larger than 50MiB)
      │   not saved: big4.bin (larger than 50MiB)
      │   and 2 more: `cascade status --all`
      │
      ▼ 1 to promote, clean
      ? staging      staging [COMM.]                     never promoted
      │
      ▼ up to date
      ? production   main [COMM.]                        never promoted

    next: cascade promote staging
    "#)
    });
    report(&sandbox, &record(SandboxState::Watching, None, 61_000));
    let silent = sandbox.cascade(&["status", "--json"]).expect_code(0).json();
    let reason = silent["sandbox"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("not responding since "), "{reason}");
    assert_eq!(silent["next"], "cascade restart");
    drop(held);
}

#[test]
fn doctor_takes_over_what_the_watcher_says_of_itself() {
    let sandbox = pipeline();
    let (_, project) = project_home(&sandbox);
    let limited = Some("the kernel's limit is reached after 7 directories".to_owned());
    report(&sandbox, &SandboxRecord { limited, push_problem: None, ..record(SandboxState::Watching, None, 0) });
    let _held = Lock::take(&project.sandbox_lock()).unwrap();
    let told = sandbox.cascade(&["doctor", "--json"]).expect_code(1).stdout;
    assert!(told.contains("it looks at everything each minute: the kernel's limit is reached after 7"), "{told}");
}

#[test]
fn everything_that_is_not_saved_is_listed_where_that_is_asked_for() {
    let sandbox = pipeline();
    report(&sandbox, &record(SandboxState::Watching, None, 0));
    let all = sandbox.cascade(&["status", "--all"]).expect_code(0).stdout;
    assert!(all.contains("big6.bin") && !all.contains("more"), "{all}");
}

#[test]
fn what_another_machine_promoted_is_not_called_never_promoted() {
    let sandbox = pipeline();
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    std::fs::remove_dir_all(sandbox.base().join("cascade")).unwrap();
    let status = sandbox.cascade(&["status"]).expect_code(0).stdout;
    assert!(status.contains("promoted elsewhere"), "{status}");
}

#[test]
fn a_promotion_that_found_nothing_to_do_is_no_history() {
    let sandbox = pipeline();
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    let history = |words: &[&str]| sandbox.cascade(words).expect_code(0).json();
    let before = history(&["history", "--json"]);
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    assert_eq!(history(&["history", "--json"]), before);
    assert_eq!(history(&["why", "staging", "--json"])["promotion"], before[0]["id"]);
    assert_eq!(history(&["history", "--all", "--json"])[0]["state"], "cancelled");
}

#[test]
fn each_closed_gate_has_a_line_with_its_name() {
    let sandbox = pipeline();
    let soaking = CONFIG.replace("approval: {", "soak: 1h, approval: {");
    sandbox.write("cascade-sync.yaml", soaking);
    sandbox.commit("Let it soak");
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    let waits = sandbox.cascade(&["promote", "production"]).expect_code(3).stderr;
    assert!(waits.contains("production waits at 2 gates\n"), "{waits}");
    let line = |start: &str, rest: &str| waits.lines().any(|line| line.starts_with(start) && line.contains(rest));
    assert!(
        line("    soak: must soak upstream for another ", " → time: `cascade promote production --wait`"),
        "{waits}"
    );
    assert!(line("    approval: needs 1 approval of candidate ", " → `cascade approve "), "{waits}");
    // Whoever has done what they can is told who or what comes next, and no circle.
    let again = sandbox.cascade(&["approve"]).expect_code(3).stderr;
    assert!(again.contains("must soak upstream"), "{again}");
    let approved = sandbox.cascade(&["approve"]).expect_code(2).stderr;
    assert!(approved.contains("approved by you already") && approved.contains("production --wait"), "{approved}");
    let why = sandbox.cascade(&["why", "production", "--json"]).expect_code(0).json();
    assert_eq!(why["next"], "cascade promote production --wait");
}

#[test]
fn unpushed_saves_are_counted_without_a_watcher() {
    let sandbox = pipeline();
    let document = sandbox.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(document["sandbox"]["unpushed"], serde_json::Value::Null);
    sandbox.git(&["remote", "add", "origin", "../origin.git"]);
    sandbox.git(&["update-ref", "refs/remotes/origin/develop", "main"]);
    let document = sandbox.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!((&document["sandbox"]["unpushed"], &document["sandbox"]["remote"]), (&1.into(), &"origin".into()));
}

#[test]
fn plan_shows_commits_files_checks_and_gates_and_moves_nothing() {
    let sandbox = pipeline();
    let branches = ["for-each-ref", "refs/heads", "refs/remotes", "refs/tags"];
    let before = sandbox.git(&branches);
    let text = lines(sandbox.cascade(&["plan", "staging"]).expect_code(0));
    filtered(&sandbox, || {
        insta::assert_snapshot!(text, @r#"
    develop ([COMMIT..]) → staging ([COMM.])
    1 commit
      [COMMIT..] Set up the pipeline (Ada)
    1 file, +11 -0 lines
      A cascade-sync.yaml
    checks
      • build: will run
      • up: verifies what is live
    gates
      • checks: not asked yet: build → `cascade promote staging`
    a failure is undone by: the branch is moved back: the candidate does not leave this machine
    rules: cascade-sync.yaml of the candidate, for `staging` has none for it yet
    candidate: [COMMIT..] as promotion [ID]: cascade promote staging
    "#)
    });
    assert_eq!(sandbox.git(&branches), before);
    let production = lines(sandbox.cascade(&["plan", "production"]).expect_code(0));
    assert!(production.ends_with("nothing to promote\n"), "{production}");
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    let document = sandbox.cascade(&["promote", "production", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!(document["gates"][0]["gate"], "approval");
    assert_eq!(document["files"][0]["path"], "cascade-sync.yaml");
}

#[test]
fn drift_is_planned_as_a_conflict_with_its_way_out() {
    let sandbox = pipeline();
    let foreign = sandbox.git(&["commit-tree", "-m", "Hotfix", "-p", "staging", "main^{tree}"]);
    sandbox.git(&["update-ref", "refs/heads/staging", &foreign]);
    let plan = sandbox.cascade(&["plan", "staging"]).expect_code(5);
    assert!(plan.stderr.contains("cascade promote staging --merge"), "{plan:#?}");
    let document = sandbox.cascade(&["plan", "staging", "--json"]).expect_code(5).json();
    assert_eq!(document["drift"][0]["subject"], "Hotfix");
    let why = sandbox.cascade(&["why", "staging", "--json"]).expect_code(0).json();
    assert_eq!(why["next"], "cascade back-merge staging");
}

#[test]
fn why_leads_from_a_failed_check_to_its_log() {
    let sandbox = pipeline();
    let never = lines(sandbox.cascade(&["why", "staging"]).expect_code(0));
    filtered(&sandbox, || {
        insta::assert_snapshot!(never, @r#"
    [COMMIT..] is not live in staging: nobody promoted it yet
      there was no promotion yet
      gate checks is closed: not asked yet: build → `cascade promote staging`
      develop → staging: clean
    rules: cascade-sync.yaml of the candidate, for `staging` has none for it yet
    next: cascade promote staging
    "#)
    });
    sandbox.write("broken", "");
    sandbox.commit("Break the build");
    sandbox.cascade(&["promote", "staging"]).expect_code(4);
    let failed = sandbox.cascade(&["why", "staging"]).expect_code(0).stdout;
    filtered(&sandbox, || {
        insta::assert_snapshot!(failed, @r#"
    [COMMIT..] is not live in staging: its promotion failed
      last promotion [ID] failed [AGE]
      check `build` failed: exit code 1
      its output: tail [BASE]/cascade/logs/[LOG]
      the first bad save is [COMMIT..] "Break the build" by Ada: A broken (check `build`, 2 saves, 2 runs)
      what comes before it: `cascade promote staging --healthy-prefix`
    rules: cascade-sync.yaml of the candidate, for `staging` has none for it yet
    next: save a fix, then cascade promote staging
    "#)
    });
    let planned = sandbox.cascade(&["plan", "staging"]).expect_code(0).stdout;
    let told =
        planned.lines().find(|line| line.contains("✗ build: will run again")).unwrap_or_else(|| panic!("{planned}"));
    let rest = told.split_once("; its output: tail ").map(|(_, log)| log.to_owned());
    assert!(told.contains("failed on this very content") && told.contains("ago: exit code 1"), "{told}");
    assert!(std::path::Path::new(&rest.unwrap()).exists(), "{told}");
    let why = sandbox.cascade(&["why", "staging", "--json"]).expect_code(0).json();
    let gate = why["waiting_for"].as_array().unwrap().iter().find(|gate| gate["gate"] == "checks").unwrap();
    assert!(gate["fact"].as_str().unwrap().starts_with("build failed on this very content"), "{gate}");
    sandbox.git(&["commit", "--quiet", "--allow-empty", "-m", "The same again"]);
    let why_same = sandbox.cascade(&["why", "staging", "--json"]).expect_code(0).json();
    assert_eq!(why_same["next"], "save a fix, then cascade promote staging", "it failed on this very content");
    let why_next = sandbox.cascade(&["why", "production"]).expect_code(0).stdout;
    assert!(!why_next.contains("cascade approve"), "nothing waits that could be approved: {why_next}");
    assert!(gate["since"].is_string() && gate["clears"].as_str().unwrap().starts_with("save a fix"), "{gate}");
}

#[test]
fn why_and_history_of_a_rollback_name_the_hold() {
    let sandbox = pipeline();
    sandbox.write("down", "");
    sandbox.commit("Bring it down");
    let config = CONFIG.replace("run: \"test ! -e down\"", "run: \"test ! -e down\", every: 10ms, failures: 1");
    sandbox.write("cascade-sync.yaml", config);
    sandbox.cascade(&["promote", "staging"]).expect_code(6);
    let why = sandbox.cascade(&["why", "staging"]).expect_code(0).stdout;
    filtered(&sandbox, || {
        insta::assert_snapshot!(why, @r#"
    [COMMIT..] is not live in staging: its promotion was rolled back
      last promotion [ID] rolled back [AGE]
      verify `up` failed: exit code 1
      its output: tail [BASE]/cascade/logs/[LOG]
      held since [AGE] by Ada (rollback)
      [COMMIT..] is quarantined: it failed in promotion [ID]
    rules: cascade-sync.yaml of the candidate, for `staging` has none for it yet
    next: save a fix, then cascade promote staging
    "#)
    });
    let status = lines(sandbox.cascade(&["status"]).expect_code(0));
    filtered(&sandbox, || {
        insta::assert_snapshot!(status, @r#"
    shop  [BASE]/checkout

      ○ sandbox      develop [COMM.]                     stopped
      │   no save yet · no remote to push to
      │
      ▼ 2 to promote
      ? staging      staging [COMM.]                     rolled back
      │   held since a rollback
      │   promotion [ID] rolled back [AGE]: check `up` failed: exit code 1
      │
      ▼ up to date
      ? production   main [COMM.]                        never promoted

    next: save a fix, then cascade promote staging
    "#)
    });
    let history = sandbox.cascade(&["history", "--json"]).expect_code(0).json();
    assert_eq!(history[0]["state"], "rolled_back");
    assert_eq!(history[0]["checks"][1]["outcome"], "fail");
}

#[test]
fn history_and_show_tell_a_promotion_from_wish_to_end() {
    let sandbox = pipeline();
    let empty = sandbox.cascade(&["history"]).expect_code(0).stdout;
    assert!(empty.starts_with("nothing was promoted yet"), "{empty}");
    sandbox.cascade(&["promote", "staging", "--reason", "friday"]).expect_code(0);
    let entry = sandbox.cascade(&["history", "staging", "--json"]).expect_code(0).json()[0].clone();
    assert_eq!((&entry["state"], &entry["purpose"]), (&"promoted".into(), &"friday".into()));
    let id = entry["id"].as_str().unwrap();
    let table = sandbox.cascade(&["history"]).expect_code(0).stdout;
    assert!(table.contains(id) && table.contains("promoted") && table.contains("Ada"), "{table}");
    let shown = sandbox.cascade(&["show", &id[..5]]).expect_code(0).stdout;
    filtered(&sandbox, || {
        insta::assert_snapshot!(shown, @r#"
    promotion [ID] to staging: promoted
      asked for     friday
      by            Ada <ada@example.test>
      proposed      [MOMENT] ([AGE])
      ended         [MOMENT] (after [TOOK])
      source        [OID]
      previous      [OID]
      candidate     [OID]
      tree          [OID]
      pushed        no
    changes: 1 file, +11 -0 lines
      [COMMIT..] Set up the pipeline (Ada)
    checks
      ✓ check build ([TOOK]): exit code 0
        log [BASE]/cascade/logs/[LOG]
      ✓ verify up ([TOOK]): exit code 0
        log [BASE]/cascade/logs/[LOG]
    journal
      [MOMENT]  begun
      [MOMENT]  planned
      [MOMENT]  admitted
      [MOMENT]  checks passed
      [MOMENT]  opened
      [MOMENT]  probed
      [MOMENT]  landed local
      [MOMENT]  verified
    "#)
    });
    let document = sandbox.cascade(&["show", id, "--json"]).expect_code(0).json();
    assert_eq!(document["journal"][0]["name"], "begun");
    assert_eq!(document["candidate"], entry["candidate"]);
    sandbox.cascade(&["show", "nosuchid"]).expect_code(2);
    sandbox.cascade(&["history", "stagign"]).expect_code(2);
}

#[test]
fn diff_shows_what_would_change_without_control_characters() {
    let sandbox = pipeline();
    sandbox.write("evil", "one\n\x1b[31mtwo\n");
    sandbox.commit("Add evil");
    let patch = sandbox.cascade(&["diff", "staging"]).expect_code(0).stdout;
    assert!(patch.contains("+one\n+\\x1b[31mtwo\n"), "{patch}");
    let stat = sandbox.cascade(&["diff", "staging", "--stat"]).expect_code(0).stdout;
    assert!(stat.contains("2 files changed, 13 insertions(+)"), "{stat}");
    let document = sandbox.cascade(&["diff", "staging", "--json"]).expect_code(0).json();
    let expected = serde_json::json!({ "status": "A", "path": "evil", "insertions": 2, "deletions": 0 });
    assert_eq!(document["files"][1], expected);
}

#[test]
fn health_asks_now_and_fails_with_the_check_failed_code() {
    let sandbox = pipeline();
    let (_, project) = project_home(&sandbox);
    let stopped = sandbox.cascade(&["health"]).expect_code(4);
    filtered(&sandbox, || {
        insta::assert_snapshot!(stopped.stdout, @r#"
    ✗  service        the watcher is not running
    ✓  configuration  cascade-sync.yaml is valid
    ✓  repository     HEAD is on develop, 3 branches are complete
    ✓  staging        ready: 1 to promote
    ✓  production     ready: up to date
    ✓  build          exit code 0                                  [TOOK]
    "#)
    });
    let held = Lock::take(&project.sandbox_lock()).unwrap();
    let well = sandbox.cascade(&["health", "--json"]).expect_code(0).json();
    assert_eq!((&well["service"]["outcome"], &well["checks"][0]["outcome"]), (&"pass".into(), &"pass".into()));
    let blob = sandbox.git(&["rev-parse", "develop:README"]);
    let object = sandbox.root().join(format!(".git/objects/{}/{}", &blob[..2], &blob[2..]));
    let aside = sandbox.base().join("object");
    std::fs::rename(&object, &aside).unwrap();
    let damaged = sandbox.cascade(&["health", "--json"]).expect_code(4).json();
    assert_eq!(damaged["repository"]["outcome"], "fail");
    assert!(damaged["repository"]["detail"].as_str().unwrap().contains(&blob), "{damaged}");
    std::fs::rename(&aside, &object).unwrap();
    assert_eq!(sandbox.cascade(&["health", "staging", "--json"]).expect_code(0).json()["service"]["outcome"], "pass");
    sandbox.write("down", "");
    let down = sandbox.cascade(&["health", "staging", "--json"]).expect_code(4).json();
    assert_eq!((&down["checks"][0]["name"], &down["checks"][0]["outcome"]), (&"up".into(), &"fail".into()));
    drop(held);
    std::fs::remove_file(sandbox.root().join("down")).unwrap();
    let unwatched = sandbox.cascade(&["health", "staging", "--json"]).expect_code(0).json();
    assert_eq!(unwatched["service"]["outcome"], "fail", "it is told, and is not staging's fault");
}

#[test]
fn any_two_commits_can_be_compared_and_any_one_shown_by_whatever_names_it() {
    let sandbox = pipeline();
    sandbox.cascade(&["promote", "staging"]).expect_code(0);
    let history = sandbox.cascade(&["history", "staging", "--json"]).expect_code(0).json();
    let id = history[0]["id"].as_str().unwrap().to_owned();
    sandbox.git(&["tag", "-a", "-m", "First", "v1", "develop"]);
    sandbox.write("later", "x\n");
    sandbox.commit("Add later");
    let develop = sandbox.git(&["rev-parse", "develop"]);
    let candidate = sandbox.git(&["rev-parse", "refs/heads/staging"]);
    for from in ["staging", &id, "v1", "develop~1", &candidate[..9]] {
        for to in ["develop", "HEAD", "", &develop] {
            let range = format!("{from}..{to}");
            let document = sandbox.cascade(&["diff", &range, "--json"]).expect_code(0).json();
            assert_eq!(document["files"][0]["path"], "later", "{range}: {document:#}");
            assert_eq!(document["to"], develop.as_str(), "{range}");
        }
    }
    let same = sandbox.cascade(&["diff", "staging..v1"]).expect_code(0);
    assert!(same.stderr.contains("staging and v1 have the same content"), "{same:?}");
    for name in ["HEAD", "develop", "refs/heads/develop", &develop] {
        assert!(sandbox.cascade(&["show", name]).expect_code(0).stdout.contains("Add later"), "{name}");
    }
    assert!(sandbox.cascade(&["show", "v1"]).expect_code(0).stdout.starts_with("commit "));
    for hostile in ["nosuch..develop", "develop..\u{1b}[31m", "HEAD..--output=x", "HEAD...develop", "v1..HEAD:later"] {
        let refused = sandbox.cascade(&["diff", hostile]).expect_code(2);
        assert!(refused.stderr.contains("there is no ") && !refused.stderr.contains('\u{1b}'), "{refused:?}");
    }
    sandbox.cascade(&["show", "--", "--output=x"]).expect_code(2);
    sandbox.cascade(&["show", "HEAD^{tree}"]).expect_code(2);
}
