//! Promotions beside a remote to which others push between any two steps, that refuses, lies, hangs or dies.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};

use cascade::alert::{Alert, Alerts};
use cascade::base::clock::SystemClock;
use cascade::check::Answer;
use cascade::context::Context;
use cascade::promote::{self, Event, Observer, Request, Silent};
use cascade::store::{CheckPhase, Promotion, State, Step};

use crate::support::dice::Dice;
use crate::support::pipeline::Pipeline;
use crate::support::{context, dice};

const ENVIRONMENTS: &str = "
  staging: { from: develop, branch: staging, checks: [build], verify: [up] }
";
const CHECKS: &str = "
  build: { run: \"true\" }
  up: { run: \"test ! -e broken\", every: 10ms, failures: 1 }";

/// More moments than a promotion with its rollback has.
const MOMENTS_LIMIT: usize = 60;

/// Does something at one moment; moments are the beginning and the end of each step.
struct At<F: FnMut()> {
    is_moment: Box<dyn FnMut(Step, bool) -> bool + Send>,
    act: F,
    has_acted: bool,
}

impl<F: FnMut()> At<F> {
    /// Acts at the n-th moment.
    fn nth(mut moment: usize, act: F) -> Self {
        let is_moment = Box::new(move |_, _| {
            moment = moment.wrapping_sub(1);
            moment == usize::MAX
        });
        Self { is_moment, act, has_acted: false }
    }

    /// Acts before a step, or after it.
    fn step(step: Step, is_after: bool, act: F) -> Self {
        Self { is_moment: Box::new(move |now, after| (now, after) == (step, is_after)), act, has_acted: false }
    }

    fn look(&mut self, step: Step, is_after: bool) {
        if !self.has_acted && (self.is_moment)(step, is_after) {
            self.has_acted = true;
            (self.act)();
        }
    }
}

impl<F: FnMut() + Send> Observer for At<F> {
    fn step(&mut self, _: &Promotion, step: Step) {
        self.look(step, false);
    }
    fn performed(&mut self, _: &Promotion, step: Step, _: &Event) {
        self.look(step, true);
    }
    fn known(&mut self, _: &Promotion, _: &str) {}
    fn asking(&mut self, _: &Promotion, _: CheckPhase, _: &str) {}
    fn answered(&mut self, _: &Promotion, _: CheckPhase, _: &str, _: &Answer) {}
}

/// A pipeline with a remote and somebody who pushes to it without asking the pipeline.
struct Scene {
    pipeline: Pipeline,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// Sets up a pipeline whose first release is live in staging, and saves something more (`path`).
    fn ready(path: &str) -> Self {
        let pipeline = Pipeline::new(true, ENVIRONMENTS, CHECKS);
        pipeline.promote("staging", 0);
        pipeline.git(&["clone", "--quiet", "--branch", "staging", "../origin.git", "../peer"]);
        pipeline.save_file(path, path);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { pipeline, runtime }
    }

    /// Answers the project as the program sees it, and the list of what people are told.
    fn context(&self) -> (Context, Arc<Mutex<Vec<Alert>>>) {
        let mut ctx = self.runtime.block_on(self.pipeline.context(Arc::new(SystemClock)));
        let (alerts, told) = Alerts::recording(Arc::clone(&ctx.clock));
        ctx.alerts = Arc::new(alerts);
        (ctx, told)
    }

    fn promote(&self, ctx: &Context, merge: bool, observer: &mut dyn Observer) -> Promotion {
        self.try_promote(ctx, merge, observer).unwrap()
    }

    fn try_promote(&self, ctx: &Context, merge: bool, observer: &mut dyn Observer) -> promote::Result<Promotion> {
        self.runtime.block_on(async {
            let lock = promote::lock(ctx, true).await?;
            promote::promote(ctx, &lock, &Request { merge, ..Request::to("staging") }, observer).await
        })
    }

    /// Commits onto what the remote's staging has and pushes that; answers the commit, if the remote took it.
    fn peer_pushes(&self, name: &str) -> Option<String> {
        let git = |words: &[&str]| self.pipeline.try_git(&[&["-C", "../peer"], words].concat());
        assert_eq!(git(&["fetch", "--quiet", "origin"]).code, 0);
        git(&["reset", "--quiet", "--hard", "origin/staging"]);
        std::fs::write(self.pipeline.base().join("peer").join(name), name).unwrap();
        git(&["add", "-A"]);
        assert_eq!(git(&["commit", "--quiet", "-m", &format!("Peer {name}")]).code, 0);
        let is_taken = git(&["push", "--quiet", "origin", "HEAD:staging"]).code == 0;
        is_taken.then(|| git(&["rev-parse", "HEAD"]).stdout.trim().to_owned())
    }

    fn remote_has(&self, commit: &str) -> bool {
        self.pipeline.git(&["-C", "../origin.git", "rev-list", "staging"]).lines().any(|found| found == commit)
    }

    /// Every push that the remote acknowledged is in its history.
    #[track_caller]
    fn nothing_is_lost(&self, pushed: &[String], when: &str) {
        let history = self.pipeline.git(&["-C", "../origin.git", "rev-list", "staging"]);
        let history: HashSet<&str> = history.lines().collect();
        let lost: Vec<&String> = pushed.iter().filter(|commit| !history.contains(commit.as_str())).collect();
        if !lost.is_empty() {
            let reflog = self.pipeline.git(&["-C", "../origin.git", "log", "--oneline", "--graph", "-20", "staging"]);
            panic!("{when}: lost {lost:?} of {} pushes\n{reflog}", pushed.len());
        }
    }

    /// Everything that a promotion put on the remote's branch was checked, and is exactly what was checked.
    fn nothing_is_unchecked(&self, ctx: &Context) {
        let log = self.pipeline.git(&[
            "-C",
            "../origin.git",
            "log",
            "--first-parent",
            "--format=%H %T %(trailers:key=Cascade-Promotion,valueonly,separator=%x2C)",
            "staging",
        ]);
        for line in log.lines() {
            let [commit, tree, id] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { continue };
            if id.is_empty() {
                continue;
            }
            self.runtime.block_on(async {
                let promotion = ctx.store.promotion(id).await.unwrap();
                if promotion.rollback_commit.map(|id| id.to_string()).as_deref() == Some(commit) {
                    return;
                }
                assert_eq!(promotion.candidate.map(|id| id.to_string()).as_deref(), Some(commit));
                assert_eq!(promotion.tree.map(|id| id.to_string()).as_deref(), Some(tree));
                let checks = ctx.store.checks(&promotion.id).await.unwrap();
                assert!(checks.iter().any(|check| check.name == "build" && check.outcome == "pass"), "{checks:?}");
            });
        }
    }
}

fn push_between_any_two_steps(path: &str, expected: impl Fn(usize, State) -> bool) {
    for moment in 0..MOMENTS_LIMIT {
        let scene = Scene::ready(path);
        let (ctx, told) = scene.context();
        let pushed = Mutex::new(None);
        let mut observer = At::nth(moment, || *pushed.lock().unwrap() = scene.peer_pushes("between"));
        let promotion = scene.promote(&ctx, false, &mut observer);
        let (has_acted, reason) = (observer.has_acted, promotion.reason.clone().unwrap_or_default());
        drop(observer);
        if !has_acted {
            assert!(moment >= 14, "only {moment} moments");
            return;
        }
        let pushed = pushed.into_inner().unwrap().expect("nobody was in the peer's way");
        assert!(expected(moment, promotion.state), "moment {moment}: {} ({reason})", promotion.state);
        assert!(scene.remote_has(&pushed), "moment {moment}: the peer's push is lost");
        let candidate = promotion.candidate.map(|id| id.to_string());
        let has_landed = candidate.is_some_and(|candidate| scene.remote_has(&candidate));
        let is_live = matches!(promotion.state, State::Promoted | State::RolledBack | State::RollbackFailed);
        assert_eq!(has_landed, is_live, "moment {moment}: {}", promotion.state);
        assert!(promotion.state == State::Superseded || !told.lock().unwrap().is_empty(), "moment {moment}");
        scene.nothing_is_unchecked(&ctx);
        scene.pipeline.git(&["fsck", "--strict", "--no-dangling"]);
    }
    panic!("a promotion has more than {MOMENTS_LIMIT} moments");
}

#[test]
fn a_push_between_any_two_steps_is_kept_and_said() {
    push_between_any_two_steps("fine", |moment, state| match moment {
        // Before it is planned, before it lands, after it has landed.
        0 => state == State::Drifted,
        1..=10 => state == State::Superseded,
        _ => state == State::Promoted,
    });
}

#[test]
fn a_push_between_any_two_steps_of_what_goes_back_is_kept_too() {
    push_between_any_two_steps("broken", |moment, state| match moment {
        0 => state == State::Drifted,
        1..=10 => state == State::Superseded,
        // On top of what failed: a person has to look, for nothing of theirs is taken back.
        11..=22 => state == State::RollbackFailed,
        _ => state == State::RolledBack,
    });
}

/// Puts a hook into the remote that does something to the branch after each push to it.
fn after_each_push(pipeline: &Pipeline, act: &str) {
    let hook =
        format!("#!/bin/sh\nwhile read old new ref; do\n  test $ref = refs/heads/staging || continue\n  {act}\ndone\n");
    pipeline.write_program("../origin.git/hooks/post-receive", &hook);
}

const COMMIT: &str = "git -c user.name=x -c user.email=x@x commit-tree -m hook";

#[test]
fn a_remote_that_has_something_else_afterwards_is_found_out_and_goes_back() {
    let empty = "$(git mktree < /dev/null)";
    for (what, act, expected, words) in [
        ("back", "git update-ref $ref $old".to_owned(), State::RolledBack, "does not have what was checked"),
        (
            "aside",
            format!("git update-ref $ref $({COMMIT} -p $old {empty})"),
            State::RollbackFailed,
            "neither what failed",
        ),
        ("on top", format!("git update-ref $ref $({COMMIT} -p $new {empty})"), State::RollbackFailed, "on top of what"),
        ("gone", "git update-ref -d $ref".to_owned(), State::RolledBack, "it reads nothing"),
        ("on top, the same", format!("git update-ref $ref $({COMMIT} -p $new $new^{{tree}})"), State::Promoted, ""),
    ] {
        let scene = Scene::ready("fine");
        let (ctx, told) = scene.context();
        let before = scene.pipeline.tree("staging");
        after_each_push(&scene.pipeline, &act);
        let promotion = scene.promote(&ctx, false, &mut Silent);
        let reason = promotion.reason.clone().unwrap_or_default();
        assert_eq!(promotion.state, expected, "{what}: {reason}");
        assert!(reason.contains(words), "{what}: {reason}");
        let is_left_to_people = expected == State::RollbackFailed;
        assert_eq!(reason.contains("then `cascade resume staging`"), is_left_to_people, "{what}: {reason}");
        let told = told.lock().unwrap();
        let held = scene.runtime.block_on(ctx.store.held("staging")).unwrap();
        assert_eq!(held.is_some(), expected != State::Promoted, "{what}: nothing follows by itself");
        if expected != State::Promoted {
            assert_eq!(scene.pipeline.tree("staging"), before, "{what}: here nothing moved");
            assert!(told.iter().any(|alert| alert.urgent && alert.body == reason), "{what}: {told:?}");
        }
    }
}

#[test]
fn a_remote_that_takes_the_candidate_and_not_the_way_back_needs_a_person() {
    let scene = Scene::ready("broken");
    let (ctx, told) = scene.context();
    let hook = "#!/bin/sh\ntest -e taken && { echo 'only once' >&2; exit 1; }\ntouch taken\n";
    scene.pipeline.write_program("../origin.git/hooks/pre-receive", hook);
    let promotion = scene.promote(&ctx, false, &mut Silent);
    let reason = promotion.reason.unwrap_or_default();
    assert_eq!(promotion.state, State::RollbackFailed, "{reason}");
    assert!(reason.contains("only once"), "{reason}");
    assert!(told.lock().unwrap().iter().any(|alert| alert.title.contains("could NOT be rolled back")));
}

#[test]
fn a_remote_that_dies_after_it_landed_does_not_keep_a_good_candidate_from_being_verified() {
    let scene = Scene::ready("fine");
    let (ctx, _) = scene.context();
    let (here, away) = (scene.pipeline.base().join("origin.git"), scene.pipeline.base().join("away.git"));
    let mut dies = At::step(Step::LandRemote, true, || std::fs::rename(&here, &away).unwrap());
    let promotion = scene.promote(&ctx, false, &mut dies);
    drop(dies);
    assert_eq!(promotion.state, State::Promoted, "{:?}", promotion.reason);
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(scene.pipeline.tip("staging"), scene.pipeline.remote_tip("staging"));
}

#[test]
fn a_remote_that_dies_before_a_rollback_is_put_back_when_it_answers_again() {
    let scene = Scene::ready("broken");
    let (ctx, _) = scene.context();
    let good = scene.pipeline.tree("staging");
    let (here, away) = (scene.pipeline.base().join("origin.git"), scene.pipeline.base().join("away.git"));
    let mut dies = At::step(Step::LandLocal, false, || std::fs::rename(&here, &away).unwrap());
    let stopped = scene.try_promote(&ctx, false, &mut dies).unwrap_err();
    drop(dies);
    assert!(stopped.to_string().contains("cannot be reached"), "{stopped}");
    std::fs::rename(&away, &here).unwrap();
    assert_ne!(scene.pipeline.tree(&scene.pipeline.remote_tip("staging")), good, "what failed is still out there");
    scene.promote(&ctx, false, &mut Silent);
    let tried = scene.runtime.block_on(ctx.store.promotions(Some("staging"), 10)).unwrap();
    assert!(tried.iter().any(|promotion| promotion.state == State::RolledBack), "{tried:?}");
    scene.pipeline.git(&["fetch", "--quiet", "origin"]);
    assert_eq!(scene.pipeline.tree(&scene.pipeline.remote_tip("staging")), good);
}

/// Lets git reach the remote through a program that stands for ssh; `receive` is what it does with a push.
fn through(pipeline: &Pipeline, fetch: &str, receive: &str) {
    let script = format!(
        "#!/bin/sh\nfor command; do :; done\ncase $command in\n*receive-pack*) {receive} ;;\n*) {fetch} ;;\nesac\n"
    );
    pipeline.write_program("../ssh", &script);
    let origin = pipeline.base().join("origin.git");
    pipeline.git(&["remote", "set-url", "origin", &format!("ssh://nowhere.invalid{}", origin.display())]);
    pipeline.git(&["config", "core.sshCommand", pipeline.base().join("ssh").to_str().unwrap()]);
    pipeline.git(&["config", "ssh.variant", "simple"]);
}

#[test]
fn a_remote_that_never_answers_is_given_up_and_nothing_moves() {
    let scene = Scene::ready("fine");
    let pipeline = &scene.pipeline;
    let tip = pipeline.tip("staging");
    let text = pipeline.read("cascade-sync.yaml").replace("project: shop", "project: shop\nremote_deadline: 1s");
    pipeline.write("cascade-sync.yaml", text);
    through(pipeline, "exec sleep 600", "exec sleep 600");
    let hung = pipeline.promote("staging", 1);
    assert!(hung.stderr.contains("remote `origin` did not answer within 1 s"), "{hung:?}");
    assert_eq!(pipeline.tip("staging"), tip);
    assert_eq!(pipeline.newest("staging")["state"], "failed");
}

#[test]
fn a_push_without_an_answer_is_taken_up_by_comparing_and_not_by_guessing() {
    for (receive, has_landed) in [("exec sleep 600", false), ("eval \"$command\"; exec sleep 600", true)] {
        let scene = Scene::ready("fine");
        let pipeline = &scene.pipeline;
        let text = pipeline.read("cascade-sync.yaml").replace("project: shop", "project: shop\nremote_deadline: 2s");
        pipeline.write("cascade-sync.yaml", text);
        through(pipeline, "eval \"$command\"", receive);
        let (local, hung) = (pipeline.tip("staging"), pipeline.promote("staging", 1));
        assert!(hung.stderr.contains("did not answer within 2 s"), "{hung:?}");
        assert_eq!(pipeline.tip("staging"), local, "unknown is not done");
        let newest = pipeline.newest("staging");
        assert_eq!(newest["state"], "landing");
        through(pipeline, "eval \"$command\"", "eval \"$command\"");
        let landed = pipeline.git(&["-C", "../origin.git", "rev-parse", "staging"]);
        assert_eq!(landed == newest["candidate"], has_landed);
        pipeline.promote("staging", 0);
        let history = pipeline.cascade(&["history", "staging", "--json"]).expect_code(0).json();
        let taken_up = history.as_array().unwrap().iter().find(|entry| entry["id"] == newest["id"]).unwrap();
        assert_eq!(taken_up["state"], "promoted");
        assert_eq!(pipeline.git(&["-C", "../origin.git", "rev-parse", "staging"]), pipeline.tip("staging"));
    }
}

#[test]
fn a_connection_that_ends_after_the_remote_took_all_is_no_refusal_of_the_ledger() {
    let scene = Scene::ready("fine");
    let pipeline = &scene.pipeline;
    let hook = "#!/bin/sh\ntest -e died && exit 0\ntouch died\nkill -9 $PPID\n";
    pipeline.write_program("../origin.git/hooks/post-receive", hook);
    let cut_off = pipeline.promote("staging", 1);
    assert!(cut_off.stderr.contains("cannot be reached") && !cut_off.stderr.contains("refuses"), "{cut_off:?}");
    pipeline.promote("staging", 0);
    pipeline.in_a_clone(&["verify", "staging"]).expect_code(0);
}

/// Holds a promotion before it lands until the other is there too.
fn together(barrier: &Arc<Barrier>) -> At<impl FnMut() + Send + use<>> {
    let barrier = Arc::clone(barrier);
    At::step(Step::LandRemote, false, move || {
        barrier.wait();
    })
}

#[test]
fn of_two_machines_that_promote_at_once_one_wins_and_the_other_names_it() {
    let scene = Scene::ready("fine");
    let (other, home): (PathBuf, PathBuf) =
        (scene.pipeline.base().join("second"), scene.pipeline.base().join("second-home"));
    scene.pipeline.git(&["clone", "--quiet", "--branch", "develop", "../origin.git", "../second"]);
    scene.pipeline.git(&["-C", "../second", "branch", "--quiet", "staging", "origin/staging"]);
    for round in 0..2 * dice::runs() {
        scene.pipeline.save_file("round", &round.to_string());
        scene.pipeline.git(&["-C", "../second", "pull", "--quiet", "--ff-only", "origin", "develop"]);
        let (ctx, _) = scene.context();
        let second = scene.runtime.block_on(context(&other, &home, Arc::new(SystemClock)));
        let barrier = Arc::new(Barrier::new(2));
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| scene.promote(&ctx, false, &mut together(&barrier)));
            let two = scope.spawn(|| scene.promote(&second, false, &mut together(&barrier)));
            (one.join().unwrap(), two.join().unwrap())
        });
        let (winner, loser) = if one.state == State::Promoted { (one, two) } else { (two, one) };
        let reason = loser.reason.unwrap_or_default();
        assert_eq!((winner.state, loser.state), (State::Promoted, State::Superseded), "round {round}: {reason}");
        assert!(reason.contains(&format!("(promotion {})", winner.id)), "{reason}");
        let candidate = winner.candidate.unwrap().to_string();
        assert_eq!(scene.pipeline.remote_tip("staging"), candidate);
        assert!(!scene.remote_has(&loser.candidate.unwrap().to_string()));
    }
}

#[test]
fn beside_somebody_who_keeps_pushing_nothing_is_lost_and_nothing_lands_unchecked() {
    dice::once(race_on);
}

/// Promotes again and again beside somebody who pushes.
fn race_on(dice: &mut Dice) {
    let scene = Scene::ready("fine");
    let (ctx, _) = scene.context();
    let pushed = Mutex::new(Vec::new());
    let rounds = 12 * dice::runs();
    let states = std::thread::scope(|scope| {
        let (push, wishes) = channel::<usize>();
        let (scene, pushed) = (&scene, &pushed);
        scope.spawn(move || {
            // Races with whatever the promotion does from the moment of the wish on.
            for number in wishes {
                let taken = scene.peer_pushes(&format!("peer-{number}"));
                pushed.lock().unwrap().extend(taken);
            }
        });
        let one = |round| race(scene, &ctx, pushed, &push, dice, round);
        (0..rounds).map(one).collect::<Vec<State>>()
    });
    let promoted = states.iter().filter(|state| **state == State::Promoted).count();
    assert!(promoted > 0 && promoted < rounds, "both win now and then: {states:?}");
    scene.nothing_is_lost(&pushed.lock().unwrap(), "at the end");
    scene.nothing_is_unchecked(&ctx);
    scene.promote(&ctx, true, &mut Silent);
    assert_eq!(scene.pipeline.git(&["show", "staging:round"]), (rounds - 1).to_string());
    scene.pipeline.git(&["fsck", "--strict", "--no-dangling"]);
}

/// Promotes while somebody may push from any moment on.
fn race(
    scene: &Scene,
    ctx: &Context,
    pushed: &Mutex<Vec<String>>,
    push: &Sender<usize>,
    dice: &mut Dice,
    round: usize,
) -> State {
    scene.pipeline.save_file("round", &round.to_string());
    // A promotion has 14 moments: in some rounds nobody pushes.
    let mut observer = At::nth(dice.below(20), || push.send(round).unwrap());
    let promotion = scene.promote(ctx, !dice.once_in(4), &mut observer);
    let candidate = promotion.candidate.map(|id| id.to_string());
    match promotion.state {
        State::Promoted => assert!(scene.remote_has(&candidate.unwrap()), "round {round}"),
        State::Superseded => assert!(!scene.remote_has(&candidate.unwrap()), "round {round}"),
        State::Drifted => assert_eq!(candidate, None),
        // Somebody was on top before it was read back.
        State::RollbackFailed => {
            assert!(scene.remote_has(&candidate.unwrap()), "round {round}");
            assert!(scene.runtime.block_on(promote::hold::resume(ctx, "staging")).unwrap().changed, "it is held");
        }
        other => panic!("round {round}: {other} ({:?})", promotion.reason),
    }
    let known = pushed.lock().unwrap().clone();
    scene.nothing_is_lost(&known, &format!("round {round}, {} ({:?})", promotion.state, promotion.reason));
    promotion.state
}

#[test]
fn content_that_the_remote_exchanged_is_not_told_to_be_mended() {
    let scene = Scene::ready("fine");
    let pipeline = &scene.pipeline;
    after_each_push(pipeline, "git update-ref $ref $old");
    let exchanged = pipeline.promote("staging", 6);
    let hint = "what was checked is not to blame";
    assert!(exchanged.stderr.contains(hint) && exchanged.stderr.contains("cascade resume staging"), "{exchanged:?}");
    assert!(!exchanged.stderr.contains("fix"), "{exchanged:?}");
    let status = pipeline.cascade(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["next"], "cascade resume staging", "{status}");
    std::fs::remove_file(pipeline.base().join("origin.git/hooks/post-receive")).unwrap();
    pipeline.cascade(&["resume", "staging"]).expect_code(0);
    pipeline.promote("staging", 0);
    assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
}
