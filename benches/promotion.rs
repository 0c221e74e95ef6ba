//! A promotion of a save, without checks (plan → landed, journaled), against checkout + merge in a worktree, 10 files
//! changed; and the rehearsal that follows a save.
//!
//! Under `cargo test` only a tiny size runs; `CASCADE_BENCH_FILES` asks for one size of repository;
//! `CASCADE_BENCH_DIR` says where the repositories are made.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade::alert::Alerts;
use cascade::base::clock::SystemClock;
use cascade::config::{self, Variables};
use cascade::context::Context;
use cascade::git::{Git, Hints, Repo};
use cascade::promote::{self, Request, Silent};
use cascade::store::{Home, State, Store, Verdict};
use support::{Sample, git, median, ms, save};

const CONFIGURATION: &str = "\
version: 1
project: bench
notify: { desktop: false }
environments:
  staging: { from: develop, branch: staging }
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
    println!("{:>8} {:>12} {:>12} {:>7} {:>13}", "files", "cascade ms", "worktree ms", "ratio", "rehearsal ms");
    for files in repositories {
        let base = dir.path().join(files.to_string());
        let sample = Sample::make(&base.join("repo"), files);
        let (ours, gits, rehearsals) = runtime.block_on(compare(&sample, &base, rounds));
        let ratio = ms(gits) / ms(ours);
        println!("{files:>8} {:>12.1} {:>12.1} {ratio:>6.1}x {:>13.2}", ms(ours), ms(gits), ms(rehearsals));
    }
}

/// Promotes in turn by cascade into `staging` and by git into `release`; answers the medians, and that of rehearsing
/// cascade's promotion before.
async fn compare(sample: &Sample, base: &Path, rounds: usize) -> (Duration, Duration, Duration) {
    let ctx = context(sample, &base.join("home")).await;
    let worktree = base.join("worktree");
    git(&sample.root, &["branch", "staging"]);
    git(&sample.root, &["branch", "release"]);
    git(&sample.root, &["worktree", "add", "-q", &worktree.to_string_lossy(), "release"]);
    let (mut ours, mut gits, mut rehearsals) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let paths = sample.change(CHANGED_FILES, round);
        ctx.git.run(|repo| Ok(save(repo, Hints::Paths(paths.into_iter().collect())))).await.expect("git runs");
        let start = Instant::now();
        let rehearsal = promote::rehearsal(&ctx, "staging").await.expect("it runs").expect("both branches are there");
        rehearsals.push(start.elapsed());
        assert_eq!(rehearsal.verdict, Verdict::Clean);
        let start = Instant::now();
        let lock = promote::lock(&ctx, false).await.expect("the lock is free");
        let request = Request::to("staging");
        let promotion = promote::promote(&ctx, &lock, &request, &mut Silent).await.expect("it runs");
        ours.push(start.elapsed());
        assert_eq!(promotion.state, State::Promoted, "{:?}", promotion.reason);
        let start = Instant::now();
        git(&worktree, &["merge", "-q", "--no-ff", "-m", "Promote", "develop"]);
        gits.push(start.elapsed());
    }
    (median(ours), median(gits), median(rehearsals))
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
        home: project,
        stop: Arc::default(),
        person: "bench".to_owned(),
    }
}
