//! Promotions without checks (plan → landed, journaled), 10 files changed, each beside what git does of the kind in a
//! worktree: of a save, against checkout + merge; going back, against `git reset --hard`; past somebody's hotfix, with
//! `--merge`, against `git merge`. Also the rehearsal that follows a save, and how many saves are promoted in a minute.
//!
//! Under `cargo test` only a tiny size runs; `CASCADE_BENCH_FILES` asks for one size of repository;
//! `CASCADE_BENCH_DIR` says where the repositories are made.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade::alert::Alerts;
use cascade::base::Clock as _;
use cascade::base::clock::SystemClock;
use cascade::config::{self, Variables};
use cascade::context::Context;
use cascade::git::{Git, Hints, Repo};
use cascade::promote::{self, Request, Silent};
use cascade::store::{Home, State, Store, Verdict};
use support::{Sample, command, git, median, ms, save};

const CONFIGURATION: &str = "\
version: 1
project: bench
notify: { desktop: false }
environments:
  staging: { from: develop, branch: staging }
  fixed: { from: develop, branch: fixed }
";

const CHANGED_FILES: usize = 10;

fn main() {
    let tiny = support::is_tiny();
    let (repositories, rounds) = if tiny { (vec![100], 2) } else { (vec![1_000, 10_000, 100_000], 9) };
    let only = std::env::var("CASCADE_BENCH_FILES").ok().and_then(|files| files.parse().ok());
    let repositories = only.map_or(repositories, |files| vec![files]);
    let place = std::env::var_os("CASCADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory can be made");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    println!("{:>8} {:>10} {:>11} {:>11} {:>7}", "files", "what", "cascade ms", "git ms", "ratio");
    for files in repositories {
        let base = dir.path().join(files.to_string());
        let sample = Sample::make(&base.join("repo"), files);
        runtime.block_on(measure(&sample, &base, rounds, if tiny { 2 } else { 200 }));
    }
}

/// What the same took here and there, round by round.
#[derive(Default)]
struct Times {
    ours: Vec<Duration>,
    gits: Vec<Duration>,
}

impl Times {
    fn print(self, sample: &Sample, what: &str) {
        let (ours, gits) = (ms(median(self.ours)), ms(median(self.gits)));
        println!("{:>8} {what:>10} {ours:>11.1} {gits:>11.1} {:>6.1}x", sample.files, gits / ours);
    }
}

/// Does the same in turn by cascade with `staging` and by git with `release`, in a worktree of its own.
async fn measure(sample: &Sample, base: &Path, rounds: usize, in_a_row: usize) {
    let ctx = context(sample, &base.join("home")).await;
    let worktree = base.join("worktree");
    for branch in ["staging", "fixed", "release"] {
        git(&sample.root, &["branch", branch]);
    }
    git(&sample.root, &["worktree", "add", "-q", &worktree.to_string_lossy(), "release"]);
    there_and_back(&ctx, sample, &worktree, rounds).await;
    past_hotfixes(&ctx, sample, &worktree, rounds).await.print(sample, "merge");
    let took = promote_in_a_row(&ctx, sample, in_a_row).await;
    println!("{:>8} {:>10} {:.0} a minute", sample.files, "in a row", 60.0 * in_a_row as f64 / took.as_secs_f64());
}

async fn there_and_back(ctx: &Context, sample: &Sample, worktree: &Path, rounds: usize) {
    let [mut rehearsed, mut promoted, mut rolled_back]: [Times; 3] = Default::default();
    for round in 0..rounds {
        change(ctx, sample, round).await;
        rehearsed.ours.push(rehearse(ctx).await);
        rehearsed.gits.push(timed(|| git(&sample.root, &["merge-tree", "--write-tree", "release", "develop"])));
        promoted.ours.push(promote(ctx, "staging").await);
        promoted.gits.push(merge(worktree));
        rolled_back.ours.push(roll_back(ctx).await);
        rolled_back.gits.push(timed(|| git(worktree, &["reset", "-q", "--hard", "HEAD~1"])));
    }
    rehearsed.print(sample, "rehearsal");
    promoted.print(sample, "promotion");
    rolled_back.print(sample, "rollback");
}

/// Promotes past a commit that somebody else put on the environment's branch.
async fn past_hotfixes(ctx: &Context, sample: &Sample, worktree: &Path, rounds: usize) -> Times {
    let mut merged = Times::default();
    for round in 0..rounds {
        change(ctx, sample, 500 + round).await;
        commit_on(&sample.root, "fixed", round);
        commit_on(&sample.root, "release", round);
        git(worktree, &["reset", "-q", "--hard"]);
        merged.ours.push(promote(ctx, "fixed").await);
        merged.gits.push(merge(worktree));
    }
    merged
}

fn merge(worktree: &Path) -> Duration {
    timed(|| git(worktree, &["merge", "-q", "--no-ff", "-m", "Promote", "develop"]))
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

async fn change(ctx: &Context, sample: &Sample, round: usize) {
    let paths = sample.change(CHANGED_FILES, round);
    ctx.git.run(|repo| Ok(save(repo, Hints::Paths(paths.into_iter().collect())))).await.expect("git runs");
}

/// Commits a new file on a branch that no checkout of cascade's has, as somebody else would.
fn commit_on(root: &Path, branch: &str, round: usize) {
    let now = SystemClock.now().as_second();
    let stream = format!(
        "commit refs/heads/{branch}\ncommitter Else <else@localhost> {now} +0000\ndata 7\nHotfix\n\
         from refs/heads/{branch}^0\nM 100644 inline hotfix-{round}.txt\ndata 4\nfix\n\n"
    );
    let mut import = command(root, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git starts");
    import.stdin.take().expect("stdin is piped").write_all(stream.as_bytes()).expect("pipe");
    assert!(import.wait().expect("git ends").success());
}

async fn rehearse(ctx: &Context) -> Duration {
    let start = Instant::now();
    let rehearsal = promote::rehearsal(ctx, "staging").await.expect("it runs").expect("both branches are there");
    let took = start.elapsed();
    assert_eq!(rehearsal.verdict, Verdict::Clean);
    took
}

async fn promote(ctx: &Context, environment: &str) -> Duration {
    let start = Instant::now();
    let lock = promote::lock(ctx, false).await.expect("the lock is free");
    let request = Request { merge: environment == "fixed", ..Request::to(environment) };
    let promotion = promote::promote(ctx, &lock, &request, &mut Silent).await.expect("it runs");
    let took = start.elapsed();
    assert_eq!(promotion.state, State::Promoted, "{:?}", promotion.reason);
    took
}

async fn roll_back(ctx: &Context) -> Duration {
    let start = Instant::now();
    let lock = promote::lock(ctx, false).await.expect("the lock is free");
    let undone = promote::rollback::roll_back(ctx, &lock, "staging", None, None, &mut Silent).await.expect("it runs");
    let took = start.elapsed();
    assert_eq!(undone.state, State::RolledBack, "{:?}", undone.reason);
    took
}

async fn promote_in_a_row(ctx: &Context, sample: &Sample, count: usize) -> Duration {
    let start = Instant::now();
    for round in 0..count {
        change(ctx, sample, 1_000 + round).await;
        promote(ctx, "staging").await;
    }
    start.elapsed()
}

async fn context(sample: &Sample, home: &Path) -> Context {
    let config = config::parse(CONFIGURATION, "bench.yaml", &Variables::default()).expect("it is well-formed");
    let repo = Repo::open(&sample.root).expect("the repository opens");
    let home = Home::new(home);
    let project = home.project(repo.common_dir());
    Context {
        git: Git::open(&sample.root, None).expect("the repository opens"),
        store: Store::open(&home, &project).await.expect("the store opens"),
        alerts: Arc::new(Alerts::new(&config, Arc::new(SystemClock))),
        config: Arc::new(config),
        clock: Arc::new(SystemClock),
        variables: Arc::default(),
        committed: Arc::default(),
        home: project,
        stop: Arc::default(),
        person: "bench".to_owned(),
    }
}
