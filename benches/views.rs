//! What a person waits for `cascade status`, `history` and `why` with many promotions recorded: whole processes, beside
//! `git log` over as many commits.
//!
//! Under `cargo test` only a tiny size runs.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cascade::base::clock::from_ms;
use cascade::base::id::{ObjectId, PromotionId};
use cascade::git::Git;
use cascade::store::{Home, Promotion, State, Store};
use support::{Sample, cost, git, median, ms};

const CONFIGURATION: &str = "\
version: 1
project: bench
notify: { desktop: false }
environments:
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 1 } }
";

const VIEWS: [&[&str]; 4] = [&["status"], &["history"], &["history", "--json"], &["why", "production"]];

fn main() {
    let (promotions, rounds) = if support::is_tiny() { (20, 2) } else { (10_000, 15) };
    let dir = tempfile::tempdir().expect("a directory can be made");
    let (sample, home) = (Sample::make(&dir.path().join("repo"), 1_000), dir.path().join("home"));
    std::fs::write(sample.root.join("cascade-sync.yaml"), CONFIGURATION).expect("the file can be written");
    git(&sample.root, &["add", "-A"]);
    git(&sample.root, &["commit", "-q", "-m", "Configure"]);
    for branch in ["staging", "main"] {
        git(&sample.root, &["branch", branch]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
    runtime.block_on(record(&sample, &home, promotions));
    println!("{:>10} {:>18} {:>11} {:>11}", "promotions", "command", "cascade ms", "git log ms");
    for view in VIEWS {
        let (mut ours, mut gits) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(run(&sample.root, &home, view));
            gits.push(cost(|| git(&sample.root, &["log", "--oneline", "-n", "20"])).1.wall);
        }
        println!("{promotions:>10} {:>18} {:>11.1} {:>11.1}", view.join(" "), ms(median(ours)), ms(median(gits)));
    }
}

/// Records so many promotions of both environments.
async fn record(sample: &Sample, home: &Path, promotions: usize) {
    let git = Git::open(&sample.root, None).expect("the repository opens");
    let (common, tip) = git
        .run(|repo| Ok((repo.common_dir().to_owned(), repo.existing_branch_tip("develop")?)))
        .await
        .expect("git runs");
    let home = Home::new(home);
    let store = Store::open(&home, &home.project(&common)).await.expect("the store opens");
    let mut before = tip;
    for number in 0..promotions {
        let promotion = promoted(number, tip, before);
        before = promotion.candidate.unwrap_or(tip);
        store.record(&promotion, &[]).await.expect("it is recorded");
    }
}

fn promoted(number: usize, source: ObjectId, previous: ObjectId) -> Promotion {
    let at = from_ms(1_700_000_000_000 + number as i64 * 60_000);
    let id = PromotionId::from_entropy(&number.to_le_bytes());
    let environment = ["staging", "production"][number % 2];
    Promotion {
        state: State::Promoted,
        previous: Some(previous),
        candidate: Some(source),
        finished_at: Some(at),
        ..Promotion::proposed(id, environment, source, "bench", at)
    }
}

fn run(root: &Path, home: &Path, arguments: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade"));
    command.args(arguments).current_dir(root).env("CASCADE_HOME", home).stdout(Stdio::null());
    let (status, took) = cost(|| command.status().expect("cascade starts"));
    assert!(status.success(), "cascade {arguments:?}: {status}");
    took.wall
}
