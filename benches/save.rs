//! A durable save by cascade, and one that does not wait for the disk, against `git add -A && git commit` (with git's
//! defaults: not durable).
//!
//! Under `cargo test` only tiny sizes run; `CASCADE_BENCH_FILES` asks for one size of repository; `CASCADE_BENCH_DIR` says where the repositories are made.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cascade::config::Durability;
use cascade::git::{Repo, SaveAnswer};
use support::{Sample, git, median, ms, save};

fn main() {
    let tiny = support::is_tiny();
    let (repositories, counts, rounds) =
        if tiny { (vec![100], vec![1, 10], 2) } else { (vec![1_000, 10_000, 100_000], vec![1, 10, 1_000], 9) };
    let only = std::env::var("CASCADE_BENCH_FILES").ok().and_then(|files| files.parse().ok());
    let repositories = only.map_or(repositories, |files| vec![files]);
    let place = std::env::var_os("CASCADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory can be made");
    println!(
        "{:>8} {:>8} {:>12} {:>12} {:>7} {:>10} {:>9}",
        "files", "changed", "cascade ms", "git ms", "ratio", "fast ms", "full/fast"
    );
    for files in repositories {
        let sample = Sample::make(&dir.path().join(files.to_string()), files);
        for &changed in &counts {
            let changed = changed.min(files / 2);
            let (ours, gits) = compare(&sample, changed, rounds);
            let ratio = ms(gits) / ms(ours);
            let fast = fast(&sample, changed, rounds);
            let gain = ms(ours) / ms(fast);
            println!(
                "{files:>8} {changed:>8} {:>12.1} {:>12.1} {ratio:>6.1}x {:>10.1} {gain:>8.1}x",
                ms(ours),
                ms(gits),
                ms(fast)
            );
        }
    }
}

/// Saves `changed` files in turn by cascade and by git; answers the medians.
fn compare(sample: &Sample, changed: usize, rounds: usize) -> (Duration, Duration) {
    let repo = Repo::open(&sample.root).expect("the repository opens");
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let paths = sample.change(changed, changed * 1_000 + round * 2);
        let start = Instant::now();
        let answer = save(&repo, paths);
        ours.push(start.elapsed());
        assert!(matches!(answer, SaveAnswer::Saved(saved) if saved.changes.len() == changed));
        sample.change(changed, changed * 1_000 + round * 2 + 1);
        let start = Instant::now();
        git(&sample.root, &["add", "-A"]);
        git(&sample.root, &["commit", "-qm", "x"]);
        gits.push(start.elapsed());
    }
    (median(ours), median(gits))
}

/// Saves `changed` files in turn without waiting for the disk; answers the median.
fn fast(sample: &Sample, changed: usize, rounds: usize) -> Duration {
    let repo = Repo::open(&sample.root).expect("the repository opens").with_durability(Durability::Fast);
    let mut times = Vec::new();
    // The first one waits until what was saved before is on the disk.
    for round in 0..=rounds {
        let paths = sample.change(changed, changed * 1_000 + 500 + round);
        let start = Instant::now();
        save(&repo, paths);
        times.push(start.elapsed());
    }
    // What follows is not to wait for these, nor to note that it need not.
    repo.flush("develop").expect("the disk takes it");
    let full = Repo::open(&sample.root).expect("the repository opens");
    save(&full, sample.change(1, changed * 1_000 + 900));
    times.remove(0);
    median(times)
}
