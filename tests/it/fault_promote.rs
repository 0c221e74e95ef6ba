//! kill -9 before and after every step of a promotion, then a restart: the end state is the same as without the kill.
//!
//! The test binary runs itself as the victim: [`victim`] promotes with an observer that kills its own process.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;

use cascade::base::clock::SystemClock;
use cascade::check::Answer;
use cascade::promote::{self, Event, Observer, Request};
use cascade::store::{CheckPhase, DeliveryRecord, Promotion, Step};

use crate::support::cut_disk::CutDisk;
use crate::support::pipeline::Pipeline;
use crate::support::{Sandbox, context, dice};

const ENVIRONMENTS: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, checks: [build], verify: [up] }
";
const CHECKS: &str = "
  build: { run: \"true\" }
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// More moments than a promotion with its rollback has.
pub const MOMENTS_LIMIT: usize = 60;

/// Kills its process at the n-th moment; moments are the beginning and the end of each step.
struct Killer {
    moments_left: usize,
}

impl Killer {
    fn moment(&mut self) {
        if self.moments_left == 0 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
            std::thread::park();
        }
        self.moments_left -= 1;
    }
}

impl Observer for Killer {
    fn step(&mut self, _: &Promotion, _: Step) {
        self.moment();
    }
    fn performed(&mut self, _: &Promotion, _: Step, _: &Event) {
        self.moment();
    }
    fn delivering(&mut self, _: &Promotion, _: &str) {
        self.moment();
    }
    fn delivered(&mut self, _: &Promotion, _: &DeliveryRecord) {
        self.moment();
    }
    fn known(&mut self, _: &Promotion, _: &str) {}
    fn asking(&mut self, _: &Promotion, _: CheckPhase, _: &str) {}
    fn answered(&mut self, _: &Promotion, _: CheckPhase, _: &str, _: &Answer) {}
}

/// Does nothing unless the variables of a fault run are set.
#[test]
fn victim() {
    let variable = |name| std::env::var(name).ok();
    let (Some(root), Some(home), Some(moment)) =
        (variable("FAULT_ROOT"), variable("FAULT_HOME"), variable("FAULT_MOMENT"))
    else {
        return;
    };
    let mut killer = Killer { moments_left: moment.parse().unwrap() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ctx = context(root.as_ref(), home.as_ref(), Arc::new(SystemClock)).await;
        // Whoever asks again is the same.
        ctx.person = "Ada <ada@example.test>".to_owned();
        let lock = promote::lock(&ctx, false).await.unwrap();
        match variable("FAULT_WISH").as_deref() {
            Some("undo") => promote::undo::undo_rollback(&ctx, &lock, "production", None, &mut killer).await,
            Some("roll back") => promote::rollback::roll_back(&ctx, &lock, "production", None, None, &mut killer).await,
            Some("approve") => {
                let waiting = promote::approve::find_waiting(&ctx, None).await.unwrap();
                promote::approve::approve(&ctx, &lock, waiting, None, &mut killer).await
            }
            _ => promote::promote(&ctx, &lock, &Request::to("production"), &mut killer).await,
        }
        .unwrap();
    });
}

/// Answers whether a promotion to production was killed (and not done before the moment came).
pub fn kill_at(pipeline: &Pipeline, moment: usize) -> bool {
    kill_wish_at(pipeline, moment, "promote")
}

/// Answers whether the undoing of a rollback of production was killed.
pub fn kill_undo_at(pipeline: &Pipeline, moment: usize) -> bool {
    kill_wish_at(pipeline, moment, "undo")
}

fn kill_wish_at(pipeline: &Pipeline, moment: usize, wish: &str) -> bool {
    let inherited = pipeline.command("true", &[]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fault_promote::victim"]).env_clear();
    for (name, value) in inherited.get_envs() {
        value.map(|value| command.env(name, value));
    }
    command.env("FAULT_ROOT", pipeline.root()).env("FAULT_HOME", pipeline.base().join("cascade"));
    command.env("FAULT_MOMENT", moment.to_string()).env("FAULT_WISH", wish);
    let output = command.output().unwrap();
    match output.status.signal() {
        Some(9) => true,
        other => {
            assert!(output.status.success() && other.is_none(), "{output:?}");
            false
        }
    }
}

/// What must be the same with and without a kill.
#[derive(Debug, PartialEq, Eq)]
struct EndState {
    state: String,
    main_tree: String,
    remote_is_local: bool,
    held: bool,
    unfinished: usize,
    first_parents: String,
    moments: Vec<String>,
}

/// What the ledger has of a promotion, the commits left out: they differ from run to run.
fn moments(pipeline: &Pipeline, id: &str) -> Vec<String> {
    let format = "--format=%(trailers:key=Cascade-Entry,valueonly,separator=)";
    let listed = pipeline.git(&["log", "--reverse", format, "refs/cascade/ledger"]);
    let own = listed.lines().filter_map(|key| key.strip_prefix(id));
    own.map(|moment| moment.split(' ').filter(|word| word.len() < 40).collect::<Vec<_>>().join(" ")).collect()
}

fn end_state(pipeline: &Pipeline, has_remote: bool) -> EndState {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (id, state, held, unfinished) = runtime.block_on(async {
        let ctx = pipeline.context(Arc::new(SystemClock)).await;
        let newest = ctx.store.promotions(Some("production"), 1).await.unwrap().remove(0);
        let held = ctx.store.held("production").await.unwrap().is_some();
        let unfinished = ctx.store.unfinished().await.unwrap().len();
        ctx.store.close().await;
        (newest.id.to_string(), newest.state.to_string(), held, unfinished)
    });
    EndState {
        state,
        main_tree: pipeline.tree("main"),
        remote_is_local: !has_remote || pipeline.remote_tip("main") == pipeline.tip("main"),
        held,
        unfinished,
        first_parents: pipeline.git(&["rev-list", "--count", "--first-parent", "main"]),
        moments: moments(pipeline, &id),
    }
}

/// A pipeline whose next promotion to production lands (`breaks`: and is rolled back).
fn ready(has_remote: bool, breaks: bool) -> Pipeline {
    released(Pipeline::new(has_remote, ENVIRONMENTS, CHECKS), breaks)
}

fn released(pipeline: Pipeline, breaks: bool) -> Pipeline {
    pipeline.promote("staging", 0);
    pipeline.promote("production", 0);
    pipeline.save_file(if breaks { "broken" } else { "fine" }, "");
    pipeline.promote("staging", 0);
    pipeline
}

fn kill_everywhere(has_remote: bool, breaks: bool) {
    let code = if breaks { 6 } else { 0 };
    let undisturbed = ready(has_remote, breaks);
    undisturbed.promote("production", code);
    let expected = end_state(&undisturbed, has_remote);
    assert!(expected.remote_is_local && expected.unfinished == 0, "{expected:?}");
    let moments: &[&str] =
        if breaks { &["landing", "returning", "settled rolled_back"] } else { &["landing", "settled promoted"] };
    assert_eq!(expected.moments.iter().map(|moment| moment.trim()).collect::<Vec<_>>(), moments);
    for moment in 0..MOMENTS_LIMIT {
        let pipeline = ready(has_remote, breaks);
        if !kill_at(&pipeline, moment) {
            assert!(moment >= 12, "only {moment} moments");
            return;
        }
        // The next command takes the interrupted promotion up; its own wish then finds the end state.
        let after = pipeline.cascade(&["promote", "production"]);
        let allowed: &[i32] = if breaks { &[3, 6] } else { &[0] };
        assert!(allowed.contains(&after.code), "killed at {moment}: {after:?}");
        pipeline.cascade(&["reject", "production"]);
        let found = end_state_of_first(&pipeline, has_remote);
        assert_eq!(found, expected, "killed at {moment}");
        pipeline.cascade(&["verify", "production"]).expect_code(0);
        pipeline.git(&["fsck", "--strict"]);
    }
    panic!("a promotion has more than {MOMENTS_LIMIT} moments");
}

/// The end state by the promotion that was killed, whatever was asked for afterwards.
fn end_state_of_first(pipeline: &Pipeline, has_remote: bool) -> EndState {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (id, state) = runtime.block_on(async {
        let ctx = pipeline.context(Arc::new(SystemClock)).await;
        let mut all = ctx.store.promotions(Some("production"), 10).await.unwrap();
        all.reverse();
        // The very first one is the release that made the pipeline ready.
        let killed = (all[1].id.to_string(), all[1].state.to_string());
        ctx.store.close().await;
        killed
    });
    EndState { state, moments: moments(pipeline, &id), ..end_state(pipeline, has_remote) }
}

#[test]
fn starting_the_watcher_takes_up_what_was_interrupted() {
    let pipeline = ready(false, false);
    let source = pipeline.tree("staging");
    // The sixth moment is the beginning of the check: nothing has moved yet.
    assert!(kill_at(&pipeline, 5));
    assert_ne!(pipeline.tree("main"), source);
    pipeline.cascade(&["start"]).expect_code(0);
    let landed = (0..600).any(|_| {
        let status = pipeline.cascade(&["status", "--json"]).json();
        status["environments"][1]["promotion"].is_null() && pipeline.tree("main") == source
    });
    pipeline.cascade(&["stop"]).expect_code(0);
    assert!(landed);
}

#[test]
fn killed_at_every_step_of_a_good_promotion_it_still_lands() {
    kill_everywhere(true, false);
}

#[test]
fn killed_at_every_step_of_a_bad_promotion_it_is_still_rolled_back() {
    kill_everywhere(true, true);
}

#[test]
fn killed_at_every_step_without_a_remote_it_is_still_rolled_back() {
    kill_everywhere(false, true);
}

#[test]
fn killed_at_every_step_of_an_approval_it_can_be_asked_for_again() {
    let environments = ENVIRONMENTS.replace("checks: [build]", "approval: { required: 1 }");
    for moment in 0..MOMENTS_LIMIT {
        let pipeline = Pipeline::new(true, &environments, CHECKS);
        pipeline.promote("staging", 0);
        pipeline.promote("production", 3);
        if !kill_wish_at(&pipeline, moment, "approve") {
            assert!(moment >= 8, "only {moment} moments");
            return;
        }
        let again = pipeline.cascade(&["approve", "production"]);
        assert_eq!(again.code, 0, "killed at {moment}: {again:?}");
        let found = end_state(&pipeline, true);
        assert_eq!((found.state.as_str(), found.unfinished, found.remote_is_local), ("promoted", 0, true));
        assert_eq!(found.main_tree, pipeline.tree("staging"), "killed at {moment}");
        let approvals = pipeline.newest("production")["approved_by"].as_array().unwrap().len();
        assert_eq!(approvals, 1, "killed at {moment}");
    }
    panic!("an approval has more than {MOMENTS_LIMIT} moments");
}

#[test]
fn killed_at_every_step_of_a_rollback_it_can_be_asked_for_again_and_goes_back_once() {
    for (moment, has_remote) in (0..MOMENTS_LIMIT).flat_map(|moment| [(moment, true), (moment, false)]) {
        let pipeline = ready(has_remote, false);
        let before = pipeline.tree("main");
        pipeline.promote("production", 0);
        pipeline.save_file("finer", "");
        pipeline.promote("staging", 0);
        let expected = pipeline.tree("main");
        pipeline.promote("production", 0);
        if !kill_wish_at(&pipeline, moment, "roll back") {
            assert!(moment >= 8, "only {moment} moments");
            return;
        }
        pipeline.cascade(&["rollback", "production"]).expect_code(0);
        assert_ne!(expected, before);
        assert_eq!(pipeline.tree("main"), expected, "killed at {moment}");
        let found = end_state(&pipeline, has_remote);
        assert_eq!(
            (found.state.as_str(), found.held, found.unfinished),
            ("rolled_back", true, 0),
            "killed at {moment}"
        );
        assert!(found.remote_is_local, "killed at {moment}");
    }
    panic!("a rollback has more than {MOMENTS_LIMIT} moments");
}

#[test]
fn a_lock_that_a_killed_promotion_left_on_its_branch_stops_nobody_and_one_of_others_is_left_alone() {
    let lock_of = |pipeline: &Pipeline| pipeline.root().join(".git/refs/heads/main.lock");
    for is_empty in [false, true] {
        let pipeline = ready(false, false);
        // The sixth moment is the beginning of the check: there is a candidate.
        assert!(kill_at(&pipeline, 5));
        let candidate = pipeline.newest("production")["candidate"].as_str().unwrap().to_owned();
        let content = if is_empty { String::new() } else { format!("{candidate}\n") };
        std::fs::write(lock_of(&pipeline), content).unwrap();
        pipeline.promote("production", 0);
        assert_eq!(pipeline.tip("main"), candidate);
        assert!(!lock_of(&pipeline).exists());
    }
    let pipeline = ready(false, false);
    let others = format!("{}\n", pipeline.tip("develop"));
    std::fs::write(lock_of(&pipeline), &others).unwrap();
    let refused = pipeline.cascade(&["promote", "production"]);
    assert!(refused.code != 0 && refused.stderr.contains("main.lock"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(lock_of(&pipeline)).unwrap(), others);
    std::fs::remove_file(lock_of(&pipeline)).unwrap();
    pipeline.promote("production", 0);
}

#[test]
fn locks_that_killed_processes_left_on_references_of_cascades_own_stop_nobody() {
    let pipeline = ready(true, false);
    let git_dir = pipeline.root().join(".git");
    let locks = ["ledger.lock", "remotes/origin/ledger.lock", "remotes/origin/arrived.lock"]
        .map(|lock| git_dir.join("refs/cascade").join(lock));
    for lock in &locks {
        std::fs::write(lock, format!("{}\n", pipeline.tip("develop"))).unwrap();
    }
    pipeline.promote("production", 0);
    assert!(locks.iter().all(|lock| !lock.exists()));
    assert_eq!(pipeline.remote_tip("main"), pipeline.tip("main"));
    assert_eq!(pipeline.remote_ledger(), pipeline.git(&["rev-parse", "refs/cascade/ledger"]));
    // The doctor clears them away as well, and says so.
    std::fs::write(&locks[0], "").unwrap();
    let told = pipeline.cascade(&["doctor"]);
    assert!(told.stdout.contains("left by a killed process") && !locks[0].exists(), "{told:?}");
}

/// A pipeline that is, with cascade's own files, on a disk whose power can be cut.
fn on_cut_disk(breaks: bool) -> Option<(CutDisk, Pipeline)> {
    let sandbox = Sandbox::empty();
    let disk = CutDisk::mount(&sandbox.base().join("disk"), &sandbox.root(), 64)?;
    sandbox.git(&["init", "--quiet"]);
    std::fs::write(sandbox.root().join(".git/info/exclude"), "others\nlost+found\ncascade-home\n").unwrap();
    let home = sandbox.root().join("cascade-home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::symlink(home, sandbox.base().join("cascade")).unwrap();
    sandbox.write("README", "hello\n");
    sandbox.commit("First commit");
    let pipeline = released(Pipeline::around(sandbox, false, ENVIRONMENTS, CHECKS), breaks);
    disk.sync();
    Some((disk, pipeline))
}

#[test]
fn a_promotion_is_brought_to_its_end_after_a_power_cut_at_any_step() {
    dice::rounds(4, |dice| {
        let (breaks, moment) = (dice.once_in(2), dice.below(20));
        let Some((disk, pipeline)) = on_cut_disk(breaks) else { return };
        let (before, new) = (pipeline.tree("main"), pipeline.tree("staging"));
        kill_at(&pipeline, moment);
        // What was renamed and not synced is there without its content.
        disk.write_journal();
        disk.cut();
        let after = pipeline.cascade(&["promote", "production"]);
        let allowed: &[i32] = if breaks { &[3, 6] } else { &[0] };
        assert!(allowed.contains(&after.code), "cut at {moment}: {after:?}");
        pipeline.cascade(&["reject", "production"]);
        let found = end_state_of_first(&pipeline, false);
        let (state, tree) = if breaks { ("rolled_back", before) } else { ("promoted", new) };
        assert_eq!((found.state.as_str(), found.held, found.unfinished), (state, breaks, 0), "cut at {moment}");
        assert_eq!(found.main_tree, tree, "cut at {moment}");
        pipeline.cascade(&["verify", "production"]).expect_code(0);
        pipeline.git(&["fsck", "--strict"]);
    });
}
