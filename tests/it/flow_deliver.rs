//! Deliveries of promotions through the built binary: out with what lands, back with what is rolled back, and what somebody
//! else changed at the target in between.

use std::sync::Arc;

use cascade::alert::Alerts;
use cascade::base::Clock;
use cascade::base::clock::ManualClock;
use cascade::config::AlertEvent;
use cascade::sync::triggered;
use serde_json::Value;

use crate::support::Output;
use crate::support::pipeline::Pipeline;

const CHECKS: &str = "
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// A pipeline whose production delivers `public/` of its tree to the directory `live` beside the checkout.
pub struct Shop {
    pipeline: Pipeline,
}

impl std::ops::Deref for Shop {
    type Target = Pipeline;

    fn deref(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl Shop {
    /// Makes one with these further keys of production and of its sync; nothing is released yet.
    pub fn new(has_remote: bool, production: &str, sync: &str) -> Self {
        let environments = format!(
            "\n  staging: {{ from: develop, branch: staging }}\n  production: {{ from: staging, branch: main, verify: \
             [up], deliver: [website], {production} }}\n"
        );
        let syncs = format!(
            "syncs:\n  website: {{ from: {{ tree: production, path: public }}, to: {{ directory: ../live }}, max_delete: \
             100%, {sync} }}\n"
        );
        let checks = format!("{CHECKS}\n{syncs}");
        let pipeline = Pipeline::bare(has_remote);
        for directory in ["live", "build"] {
            std::fs::create_dir(pipeline.base().join(directory)).unwrap();
        }
        Self { pipeline: pipeline.configured(&environments, checks.trim_end()) }
    }

    pub fn live(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.base().join("live").join(name)).ok()
    }

    pub fn edit_live(&self, name: &str, content: &str) {
        std::fs::write(self.base().join("live").join(name), content).unwrap();
    }

    /// Saves files and promotes them through to production.
    #[track_caller]
    pub fn release(&self, files: &[(&str, &str)], code: i32) -> Output {
        files.iter().for_each(|(path, content)| self.write(path, content));
        self.save("Change something");
        self.promote("staging", 0);
        self.promote("production", code)
    }

    /// Answers how the deliveries of the newest promotion went: `phase sync outcome created updated deleted`.
    #[track_caller]
    pub fn told(&self) -> Vec<String> {
        let newest = self.newest("production");
        let text = |one: &Value| {
            let word = |name: &str| one[name].as_str().unwrap().to_owned();
            let counts = ["created", "updated", "deleted"].map(|name| one[name].to_string()).join(" ");
            format!("{} {} {} {counts}", word("phase"), word("sync"), word("outcome"))
        };
        newest["deliveries"].as_array().unwrap().iter().map(text).collect()
    }
}

#[test]
fn what_lands_is_delivered_and_exactly_that() {
    let shop = Shop::new(true, "", "");
    shop.release(&[("public/index", "one"), ("public/old", "x"), ("src", "not content")], 0);
    assert_eq!((shop.live("index").as_deref(), shop.live("src")), (Some("one"), None));
    assert_eq!(shop.told(), ["deliver website delivered 2 0 0"]);
    std::fs::remove_file(shop.root().join("public/old")).unwrap();
    let released = shop.release(&[("public/index", "two"), ("public/new", "y")], 0);
    assert!(released.stderr.contains("production: delivering website"), "{released:?}");
    assert_eq!(shop.told(), ["deliver website delivered 1 1 1"]);
    assert_eq!((shop.live("index").as_deref(), shop.live("old")), (Some("two"), None));
    shop.release(&[("src", "no content either")], 0);
    assert_eq!(shop.told(), ["deliver website delivered 0 0 0"]);
    let id = shop.newest("production")["id"].as_str().unwrap().to_owned();
    let shown = shop.cascade(&["show", &id]).expect_code(0);
    assert!(shown.stdout.contains("✓ website: 0 created, 0 updated, 0 deleted"), "{shown:?}");
}

#[test]
fn the_first_promotion_delivers_even_what_the_branch_has_already() {
    for history in ["merge", "linear"] {
        let shop = Shop::new(true, &format!("history: {history}"), "");
        shop.write("public/index", "one");
        shop.save("Begin");
        for branch in ["staging", "main"] {
            shop.git(&["branch", "--force", branch, "develop"]);
            shop.git(&["push", "--quiet", "--force", "origin", branch]);
        }
        shop.promote("production", 0);
        assert_eq!(shop.live("index").as_deref(), Some("one"), "{history}");
        assert_eq!(shop.told(), ["deliver website delivered 1 0 0"]);
        let tip = shop.git(&["rev-parse", "main"]);
        let again = shop.promote("production", 0);
        assert_eq!(shop.git(&["rev-parse", "main"]), tip, "{again:?}");
        shop.cascade(&["doctor"]).expect_code(0);
        shop.release(&[("public/index", "two")], 0);
        assert_eq!(shop.live("index").as_deref(), Some("two"), "{history}");
    }
}

#[test]
fn a_failed_verification_takes_back_what_was_delivered_and_a_fix_delivers_all_of_it_again() {
    for has_remote in [false, true] {
        let shop = Shop::new(has_remote, "", "");
        shop.release(&[("public/index", "one"), ("public/same", "s")], 0);
        shop.edit_live("theirs", "not ours");
        std::fs::remove_file(shop.root().join("public/same")).unwrap();
        shop.release(&[("public/index", "two"), ("public/new", "n"), ("broken", "")], 6);
        for (name, content) in
            [("index", Some("one")), ("same", Some("s")), ("new", None), ("theirs", Some("not ours"))]
        {
            assert_eq!(shop.live(name).as_deref(), content, "{name}");
        }
        assert_eq!(shop.told(), ["deliver website delivered 1 1 1", "take_back website delivered 1 1 1"]);
        // What is live again is what the branch says: there is nothing to do.
        let report = shop.cascade(&["sync", "website", "--json"]).expect_code(0).json();
        assert_eq!([&report["created"], &report["updated"], &report["deleted"]], [0, 0, 0]);
        std::fs::remove_file(shop.root().join("broken")).unwrap();
        shop.release(&[("fixed", "")], 0);
        for (name, content) in [("index", Some("two")), ("same", None), ("new", Some("n"))] {
            assert_eq!(shop.live(name).as_deref(), content, "{name}");
        }
    }
}

#[test]
fn a_delivery_that_cannot_be_made_goes_back_with_everything_before_it() {
    let more =
        "on_drift: flag }\n  second: { from: { directory: ../build }, to: { directory: ../second }, durability: fast";
    let shop = Shop::new(false, "", more);
    let config = shop.read("cascade-sync.yaml").replace("deliver: [website]", "deliver: [website, second]");
    shop.write("cascade-sync.yaml", config);
    std::fs::create_dir(shop.base().join("second")).unwrap();
    shop.release(&[("public/index", "one")], 0);
    assert_eq!(shop.told(), ["deliver website delivered 1 0 0", "deliver second delivered 0 0 0"]);
    let before = shop.tree("main");
    // The second target refuses what is new; nobody could know before.
    std::fs::write(shop.base().join("build/a"), "content").unwrap();
    std::fs::create_dir(shop.base().join("second/a")).unwrap();
    std::fs::write(shop.base().join("second/a/theirs"), "in the way").unwrap();
    shop.release(&[("public/index", "two")], 6);
    assert_eq!(shop.live("index").as_deref(), Some("one"));
    assert_eq!(shop.tree("main"), before);
    let told = shop.told();
    assert_eq!(told[0], "deliver website delivered 0 1 0");
    assert_eq!(told[1], "deliver second failed 0 0 0");
    assert_eq!(told[2..], ["take_back second delivered 0 0 0", "take_back website delivered 0 1 0"]);
    let why = shop.newest("production")["reason"].as_str().unwrap().to_owned();
    assert!(why.starts_with("delivery second: nothing could be done: 1 item flagged: a was changed"), "{why}");
}

#[test]
fn what_somebody_changed_at_the_target_is_a_gate_until_it_is_settled() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/index", "one"), ("public/a b", "x")], 0);
    shop.edit_live("a b", "by hand");
    shop.save_file("public/index", "two");
    shop.promote("staging", 0);
    let plan = shop.cascade(&["plan", "production", "--json"]).expect_code(0).json();
    let delivery = &plan["deliveries"][0];
    assert_eq!([&delivery["created"], &delivery["updated"], &delivery["deleted"]], [0, 1, 0]);
    assert_eq!(delivery["actions"][0]["key"], "index");
    assert_eq!(delivery["flagged"][0]["key"], "a b");
    let text = shop.cascade(&["plan", "production"]).expect_code(0).stdout;
    assert!(text.contains("website: 0 created, 1 updated, 0 deleted, 1 flagged"), "{text}");
    assert!(text.contains("update index"), "{text}");
    let waits = shop.promote("production", 3);
    let way = "cascade sync resolve website 'a b' --take source";
    assert!(waits.stderr.contains("delivery website: a b was changed at the target"), "{waits:?}");
    assert!(waits.stderr.contains(way), "{waits:?}");
    for words in [&["why", "production"][..], &["status"]] {
        let shown = shop.cascade(words).expect_code(0).stdout;
        assert!(shown.contains("a b was changed at the target"), "{words:?}: {shown}");
    }
    let status = shop.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["environments"][1]["promotion"]["waiting_for"][0]["gate"], "delivery");
    assert!(status["next"].as_str().unwrap().starts_with("cascade sync resolve website 'a b'"), "{status}");
    shop.cascade(&["sync", "resolve", "website", "a b", "--take", "target"]).expect_code(0);
    shop.promote("production", 0);
    assert_eq!((shop.live("index").as_deref(), shop.live("a b").as_deref()), (Some("two"), Some("by hand")));
}

#[test]
fn a_hand_edit_between_delivery_and_rollback_is_left_alone() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/index", "one"), ("public/other", "one")], 0);
    shop.release(&[("public/index", "two"), ("public/other", "two")], 0);
    shop.edit_live("index", "by hand");
    shop.cascade(&["rollback", "production"]).expect_code(0);
    assert_eq!((shop.live("index").as_deref(), shop.live("other").as_deref()), (Some("by hand"), Some("one")));
    assert_eq!(shop.told(), ["deliver website delivered 0 2 0", "take_back website flagged 0 1 0"]);
}

#[test]
fn a_rollback_past_several_deliveries_and_its_undoing_bring_the_target_along() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/index", "one")], 0);
    let first = shop.newest("production")["id"].as_str().unwrap().to_owned();
    shop.release(&[("public/index", "two"), ("public/second", "x")], 0);
    shop.release(&[("public/index", "three"), ("public/third", "y")], 0);
    shop.cascade(&["rollback", "production", "--to", &first]).expect_code(0);
    let names = ["index", "second", "third"];
    assert_eq!(names.map(|name| shop.live(name)), [Some("one".to_owned()), None, None]);
    shop.cascade(&["rollback", "production", "--undo"]).expect_code(0);
    assert_eq!(names.map(|name| shop.live(name)), ["three", "x", "y"].map(|text| Some(text.to_owned())));
}

#[test]
fn what_comes_from_elsewhere_is_taken_back_and_delivered_again_too() {
    let shop = Shop::new(false, "", "");
    let config =
        shop.read("cascade-sync.yaml").replace("{ tree: production, path: public }", "{ directory: ../build }");
    shop.write("cascade-sync.yaml", config);
    let build = |content: &str| std::fs::write(shop.base().join("build/index"), content).unwrap();
    build("one");
    shop.release(&[("a", "1")], 0);
    build("two");
    shop.release(&[("broken", "")], 6);
    assert_eq!(shop.live("index").as_deref(), Some("one"));
    std::fs::remove_file(shop.root().join("broken")).unwrap();
    shop.release(&[("fixed", "")], 0);
    assert_eq!(shop.live("index").as_deref(), Some("two"));
}

#[test]
fn the_promoted_commit_is_delivered_by_the_configuration_that_it_has() {
    let shop = Shop::new(false, "approval: { required: 1 }", "");
    shop.write("public/index", "one");
    shop.save("first");
    shop.promote("staging", 0);
    shop.promote("production", 3);
    // Neither what is saved nor what is configured since then has a part in it.
    shop.save_file("public/index", "later");
    let config = shop.read("cascade-sync.yaml").replace("deliver: [website]", "deliver: []");
    shop.write("cascade-sync.yaml", config);
    shop.cascade(&["approve", "production"]).expect_code(0);
    assert_eq!(shop.live("index").as_deref(), Some("one"));
}

/// A shop with one more sync, `assets`, from `build` to `second` beside the checkout.
fn with_assets(more: &str) -> Shop {
    let assets = format!(
        "on_drift: flag }}\n  assets: {{ from: {{ directory: ../build }}, to: {{ directory: ../second }}, max_delete: 100%, {more}"
    );
    let shop = Shop::new(false, "", &assets);
    std::fs::create_dir(shop.base().join("second")).unwrap();
    shop
}

impl Shop {
    fn build(&self, content: &str) {
        std::fs::write(self.base().join("build/asset"), content).unwrap();
    }

    fn asset(&self) -> Option<String> {
        std::fs::read_to_string(self.base().join("second/asset")).ok()
    }

    fn sync_status(&self, name: &str) -> Value {
        let status = self.cascade(&["status", "--json"]).expect_code(0).json();
        status["syncs"].as_array().unwrap().iter().find(|sync| sync["name"] == name).unwrap().clone()
    }
}

#[test]
fn a_sync_follows_each_deployment_once_and_no_rollback() {
    let shop = with_assets("after: production");
    shop.build("one");
    let released = shop.release(&[("public/index", "one")], 0);
    assert!(released.stderr.contains("assets: synced after production"), "{released:?}");
    assert_eq!(shop.asset().as_deref(), Some("one"));
    shop.build("two");
    // There is nothing to promote: no deployment.
    shop.promote("production", 0);
    assert_eq!(shop.asset().as_deref(), Some("one"));
    shop.release(&[("public/index", "two")], 0);
    assert_eq!(shop.asset().as_deref(), Some("two"));
    shop.build("three");
    shop.cascade(&["rollback", "production"]).expect_code(0);
    assert_eq!(shop.asset().as_deref(), Some("two"));
    // A watcher that begins later has nothing to make up for.
    shop.cascade(&["start"]).expect_code(0);
    shop.cascade(&["stop"]).expect_code(0);
    assert_eq!(shop.asset().as_deref(), Some("two"));
}

#[test]
fn the_watcher_runs_syncs_by_the_clock_and_makes_up_for_deployments_that_nobody_followed() {
    let shop = with_assets("every: 1s");
    shop.build("one");
    shop.cascade(&["start"]).expect_code(0);
    let arrives = |content: &str| {
        (0..2_000).any(|_| shop.cascade(&["status", "--json"]).code == 0 && shop.asset().as_deref() == Some(content))
    };
    assert!(arrives("one"));
    shop.build("two");
    assert!(arrives("two"));
    let status = shop.sync_status("assets");
    assert!(status["triggered"] == true && status["active"] == true && !status["last_run"].is_null(), "{status}");
    std::fs::write(shop.base().join("second/asset"), "by hand").unwrap();
    let flagged = (0..2_000).any(|_| shop.sync_status("assets")["flagged"][0]["key"] == "asset");
    shop.cascade(&["stop"]).expect_code(0);
    assert!(flagged);
    let text = shop.cascade(&["status"]).expect_code(0).stdout;
    assert!(text.contains("left alone: asset was changed at the target"), "{text}");
}

#[test]
fn a_sync_rests_between_runs_unless_it_is_forced() {
    let shop = with_assets("min_interval: 1h");
    shop.build("one");
    shop.cascade(&["sync", "assets"]).expect_code(0);
    shop.build("two");
    let rests = shop.cascade(&["sync", "assets"]).expect_code(3);
    assert!(rests.stderr.contains("cascade sync assets --force"), "{rests:?}");
    assert_eq!(shop.asset().as_deref(), Some("one"));
    shop.cascade(&["sync", "assets", "--dry-run"]).expect_code(0);
    shop.cascade(&["sync", "assets", "--force"]).expect_code(0);
    assert_eq!(shop.asset().as_deref(), Some("two"));
}

#[test]
fn a_sync_for_another_environment_runs_by_its_name_only() {
    let shop = with_assets("only_in: [production]");
    shop.build("one");
    shop.release(&[("public/index", "one")], 0);
    let all = shop.cascade(&["sync"]).expect_code(0);
    assert!(
        all.stderr.contains("assets: passed over, it is only for production, and CASCADE_ENV is not set"),
        "{all:?}"
    );
    assert_eq!((shop.asset(), shop.sync_status("assets")["active"].as_bool()), (None, Some(false)));
    let named = shop.cascade(&["sync", "assets"]).expect_code(0);
    assert!(named.stderr.contains("assets: run by hand all the same"), "{named:?}");
    shop.build("two");
    let mut here = shop.command(env!("CARGO_BIN_EXE_cascade"), &["sync"]);
    here.env("CASCADE_ENV", "production");
    assert_eq!(crate::support::output(here, b"").code, 0);
    assert_eq!(shop.asset().as_deref(), Some("two"));
}

#[test]
fn what_a_person_keeps_at_the_target_is_kept_by_the_promotion_that_waited_for_that_word() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/a", "1"), ("public/b", "1"), ("public/c", "1")], 0);
    ["a", "b"].iter().for_each(|name| shop.edit_live(name, "by hand"));
    shop.release(&[("public/a", "2"), ("public/b", "2"), ("public/c", "2")], 3);
    shop.write("merged", "both");
    shop.cascade(&["sync", "resolve", "website", "a", "--take", "target"]).expect_code(0);
    shop.cascade(&["sync", "resolve", "website", "b", "--take", "merged"]).expect_code(0);
    assert_eq!([shop.live("a"), shop.live("b"), shop.live("c")].map(Option::unwrap), ["by hand", "both", "1"]);
    shop.promote("production", 0);
    assert_eq!([shop.live("a"), shop.live("b"), shop.live("c")].map(Option::unwrap), ["by hand", "both", "2"]);
    // What a person decided is no part of what the promotion did, and no run since takes it for that.
    shop.cascade(&["rollback", "production"]).expect_code(0);
    shop.cascade(&["sync", "website"]).expect_code(0);
    assert_eq!([shop.live("a"), shop.live("b"), shop.live("c")].map(Option::unwrap), ["by hand", "both", "1"]);
}

#[test]
fn what_a_person_keeps_at_the_target_is_kept_when_the_promotion_that_waited_for_that_word_is_rejected() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/a", "1"), ("public/b", "1")], 0);
    ["a", "b"].iter().for_each(|name| shop.edit_live(name, "by hand"));
    shop.release(&[("public/a", "2"), ("public/b", "2")], 3);
    shop.write("merged", "both");
    shop.cascade(&["sync", "resolve", "website", "a", "--take", "target"]).expect_code(0);
    shop.cascade(&["sync", "resolve", "website", "b", "--take", "merged"]).expect_code(0);
    shop.cascade(&["reject", "production", "--reason", "not yet"]).expect_code(0);
    let kept = || [shop.live("a"), shop.live("b")].map(Option::unwrap) == ["by hand", "both"];
    for _ in 0..2 {
        shop.cascade(&["sync", "website"]).expect_code(0);
        assert!(kept());
        shop.cascade(&["sync", "verify", "website"]).expect_code(0);
    }
    // What was kept beside that content is kept beside it when it comes after all, and gives way to what nobody saw.
    shop.release(&[("else", "x")], 0);
    assert!(kept());
    shop.release(&[("public/a", "3")], 0);
    assert_eq!([shop.live("a"), shop.live("b")].map(Option::unwrap), ["3", "both"]);
}

#[test]
fn a_target_that_is_not_there_is_a_gate_wherever_gates_are_shown() {
    let shop = Shop::new(false, "", "");
    shop.release(&[("public/a", "1")], 0);
    let (live, gone) = (shop.base().join("live"), shop.base().join("gone"));
    std::fs::rename(&live, &gone).unwrap();
    let waits = shop.release(&[("public/a", "2")], 3);
    assert!(waits.stderr.contains("hint: ") && !waits.stderr.contains("hint: \n"), "{waits:?}");
    for command in ["why", "plan"] {
        let told = shop.cascade(&[command, "production"]).stdout;
        assert!(told.contains("delivery") && !told.contains("nothing is in the way"), "{command}: {told}");
    }
    let status: Value = serde_json::from_str(&shop.cascade(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["environments"][1]["promotion"]["waiting_for"][0]["gate"], "delivery");
    std::fs::rename(&gone, &live).unwrap();
    shop.promote("production", 0);
    assert_eq!(shop.live("a").as_deref(), Some("2"));
}

#[test]
fn what_a_rollback_could_not_take_back_is_taken_back_by_the_next_one_and_not_the_release_before() {
    for to in [false, true] {
        let shop = Shop::new(true, "", "");
        shop.release(&[("public/a", "1")], 0);
        shop.release(&[("public/a", "2")], 0);
        let second = shop.newest("production")["id"].as_str().unwrap().to_owned();
        shop.release(&[("public/a", "3"), ("public/b", "x")], 0);
        let (live, gone) = (shop.base().join("live"), shop.base().join("gone"));
        std::fs::rename(&live, &gone).unwrap();
        let words: &[&str] =
            if to { &["rollback", "production", "--to", &second] } else { &["rollback", "production"] };
        for _ in 0..2 {
            let failed = shop.cascade(&[words, &["--reason", "it is broken"]].concat());
            assert!(failed.code != 0 && failed.stderr.contains("`cascade rollback production` tries"), "{failed:?}");
            assert_eq!(failed.stderr.matches("it is broken").count(), 1, "{failed:?}");
        }
        std::fs::rename(&gone, &live).unwrap();
        let tip = shop.git(&["rev-parse", "main"]);
        shop.cascade(words).expect_code(0);
        assert_eq!(shop.git(&["rev-parse", "main"]), tip, "the branch was back already");
        assert_eq!((shop.live("a").as_deref(), shop.live("b")), (Some("2"), None));
        assert_eq!(shop.told(), ["deliver website delivered 1 1 0", "take_back website delivered 0 1 1"]);
        assert_eq!(shop.newest("production")["state"], "rolled_back");
        shop.cascade(&["doctor"]).expect_code(0);
        // What is back stays so: the next one goes back further.
        shop.cascade(&["rollback", "production"]).expect_code(0);
        assert_eq!(shop.live("a").as_deref(), Some("1"));
    }
}

#[test]
fn going_back_to_what_is_live_is_no_going_back() {
    let shop = Shop::new(false, "", "");
    let ids = ["1", "2", "3"].map(|content| {
        shop.release(&[("public/a", content)], 0);
        shop.newest("production")["id"].as_str().unwrap().to_owned()
    });
    shop.cascade(&["rollback", "production"]).expect_code(0);
    for (id, why) in [(&ids[1], "is what is live in production already"), (&ids[2], "was itself rolled back")] {
        let refused = shop.cascade(&["rollback", "production", "--to", id]);
        assert!(refused.code != 0 && refused.stderr.contains(why), "{refused:?}");
    }
    assert_eq!(shop.live("a").as_deref(), Some("2"));
    shop.cascade(&["rollback", "production", "--to", &ids[0]]).expect_code(0);
    assert_eq!(shop.live("a").as_deref(), Some("1"));
}

#[test]
fn a_ready_example_is_written_by_name() {
    for (name, has) in [("base44", "deliver: [website]"), ("storage", "after: production")] {
        let sandbox = crate::support::Sandbox::new();
        sandbox.cascade(&["init", "--template", name]).expect_code(0);
        sandbox.cascade(&["config", "check"]).expect_code(0);
        let config = sandbox.read("cascade-sync.yaml");
        assert!(config.contains(has) && config.contains("project: checkout"), "{config}");
        sandbox.cascade(&["status"]).expect_code(0);
    }
    crate::support::Sandbox::new().cascade(&["init", "--template", "nothing"]).expect_code(2);
}

#[test]
fn what_fails_or_drifts_is_told_once_and_nothing_runs_twice() {
    const MINUTE_MS: i64 = 60_000;
    let shop = with_assets("every: 5m");
    let clock = Arc::new(ManualClock::at_ms(1_800_000_000_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ctx = shop.context(Arc::clone(&clock) as Arc<dyn Clock>).await;
        let (alerts, sent) = Alerts::recording(Arc::clone(&clock) as Arc<dyn Clock>);
        ctx.alerts = Arc::new(alerts);
        let told =
            || std::mem::take(&mut *sent.lock().unwrap()).into_iter().map(|alert| alert.event).collect::<Vec<_>>();
        let runs = async || ctx.store.sync_runs("assets").await.unwrap().len();
        shop.build("one");
        let next = triggered::run_due(&ctx).await.unwrap().unwrap();
        assert_eq!((shop.asset().as_deref(), told(), runs().await), (Some("one"), vec![], 1));
        assert_eq!(next.as_millisecond(), clock.now().as_millisecond() + 5 * MINUTE_MS);
        shop.build("two");
        for back in [0, -60, 60] {
            clock.advance_ms(back * MINUTE_MS);
            // What was to come next comes a whole interval after the clock was set back.
            let due = back > 0;
            triggered::run_due(&ctx).await.unwrap();
            assert_eq!(runs().await, if due { 2 } else { 1 }, "{back}");
        }
        std::fs::rename(shop.base().join("second"), shop.base().join("gone")).unwrap();
        for _ in 0..3 {
            clock.advance_ms(5 * MINUTE_MS);
            triggered::run_due(&ctx).await.unwrap();
        }
        assert_eq!(told(), [AlertEvent::Failed], "the same failure is told once");
        let memory = ctx.store.sync_memory("assets").await.unwrap().unwrap();
        assert!(memory.problem.unwrap().contains("is not there"));
        std::fs::rename(shop.base().join("gone"), shop.base().join("second")).unwrap();
        std::fs::write(shop.base().join("second/asset"), "by hand").unwrap();
        for _ in 0..3 {
            clock.advance_ms(5 * MINUTE_MS);
            triggered::run_due(&ctx).await.unwrap();
        }
        assert_eq!(told(), [AlertEvent::Conflict], "and so is what somebody changed");
        assert_eq!(shop.asset().as_deref(), Some("by hand"));
        ctx.store.close().await;
    });
}

#[test]
fn what_an_environment_delivers_does_not_come_back_by_itself_after_a_rollback() {
    let shop = Shop::new(false, "", "every: 1s");
    let config =
        shop.read("cascade-sync.yaml").replace("{ tree: production, path: public }", "{ directory: ../build }");
    shop.write("cascade-sync.yaml", config);
    shop.build("one");
    shop.release(&[("a", "1")], 0);
    shop.build("two");
    shop.release(&[("broken", "")], 6);
    assert_eq!(shop.live("asset").as_deref(), Some("one"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ctx = shop.context(Arc::new(ManualClock::at_ms(4_000_000_000_000))).await;
        assert_eq!(triggered::run_due(&ctx).await.unwrap(), None);
        ctx.store.close().await;
    });
    assert_eq!(shop.live("asset").as_deref(), Some("one"));
    assert_eq!(shop.sync_status("website")["held_by"], "production");
    shop.cascade(&["resume", "production"]).expect_code(0);
    assert!(shop.sync_status("website")["held_by"].is_null());
}

#[test]
fn where_snapshots_are_gone_the_tree_itself_is_brought_again() {
    let shop = Shop::new(false, "", "snapshots: { keep: 1ms }");
    shop.release(&[("public/index", "one")], 0);
    shop.release(&[("public/index", "two"), ("public/new", "x")], 0);
    // What is older than a moment goes with the next run.
    shop.cascade(&["snapshots", "prune"]).expect_code(0);
    assert_eq!(shop.cascade(&["snapshots", "list", "website", "--json"]).expect_code(0).json(), serde_json::json!([]));
    shop.cascade(&["rollback", "production"]).expect_code(0);
    assert_eq!((shop.live("index").as_deref(), shop.live("new")), (Some("one"), None));
}
