//! Moving a scratch checkout to a commit with 10 other files, against `git checkout --detach` in a linked worktree; and
//! looking at all files after a use, against `git clean`, which whoever lets git move it needs as well.
//!
//! Under `cargo test` only a tiny size runs; `CASCADE_BENCH_FILES` asks for one size of repository; `CASCADE_BENCH_DIR` says where the repositories are made.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cascade::base::id::ObjectId;
use cascade::git::Repo;
use support::{Cost, Sample, command, cost, git, medians};

const CHANGED_FILES: usize = 10;
/// How long a use takes at least: what was put in place right before a look is looked at again.
const USE: Duration = Duration::from_millis(30);
/// Who uses the checkout.
const BY: &str = "bench";

/// Medians of one size.
struct Medians {
    /// To the other commit.
    moved: Cost,
    /// The look after a use that left all files alone.
    settled: Cost,
    /// `git checkout --detach`.
    checkout: Cost,
    /// `git clean`.
    clean: Cost,
}

fn main() {
    let (repositories, rounds) = if support::is_tiny() { (vec![100], 2) } else { (vec![1_000, 10_000, 100_000], 9) };
    let only = std::env::var("CASCADE_BENCH_FILES").ok().and_then(|files| files.parse().ok());
    let repositories = only.map_or(repositories, |files| vec![files]);
    let place = std::env::var_os("CASCADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory can be made");
    println!(
        "{:>8} {:>9} {:>11} {:>11} {:>8} {:>15} {:>11} {:>8}",
        "files", "what", "cascade ms", "git ms", "ratio", "cascade CPU ms", "git CPU ms", "ratio"
    );
    for files in repositories {
        let base = dir.path().join(files.to_string());
        let found = compare(&Sample::make(&base.join("repo"), files), &base, rounds);
        print(files, "move", found.moved, found.checkout);
        print(files, "look", found.settled, found.clean);
        print(files, "both", sum(found.moved, found.settled), sum(found.checkout, found.clean));
    }
}

fn print(files: usize, what: &str, ours: Cost, gits: Cost) {
    support::print(&format!("{files:>8} {what:>9}"), ours, gits);
}

fn sum(one: Cost, other: Cost) -> Cost {
    Cost { wall: one.wall + other.wall, cpu: one.cpu + other.cpu }
}

/// Moves in turn by cascade and by git between commits that differ in ten files.
fn compare(sample: &Sample, base: &Path, rounds: usize) -> Medians {
    let repo = Repo::open(&sample.root).expect("the repository opens");
    let (scratch, worktree) = (base.join("scratch"), base.join("worktree"));
    git(&sample.root, &["worktree", "add", "-q", "--detach", &worktree.to_string_lossy()]);
    let made = repo.check_out_scratch(&scratch, tip(&sample.root), Some(BY)).expect("it is made");
    std::thread::sleep(USE);
    assert!(made.is_proven && repo.settle_scratch(&scratch, BY).expect("it is looked at"));
    let mut costs: [Vec<Cost>; 4] = Default::default();
    for round in 0..rounds {
        sample.change(CHANGED_FILES, round);
        git(&sample.root, &["commit", "-qam", "Change"]);
        let commit = tip(&sample.root);
        let name = commit.to_string();
        let (moved, took) = cost(|| repo.check_out_scratch(&scratch, commit, Some(BY)).expect("it is moved"));
        assert!(!moved.is_proven, "it was looked at before");
        costs[0].push(took);
        std::thread::sleep(USE);
        git(&moved.path, &["diff", "--quiet", "HEAD"]);
        costs[1].push(cost(|| assert!(repo.settle_scratch(&scratch, BY).expect("it is looked at"))).1);
        costs[2].push(cost(|| git(&worktree, &["checkout", "-q", "--detach", &name])).1);
        costs[3].push(cost(|| git(&worktree, &["clean", "-qffd"])).1);
    }
    let [moved, settled, checkout, clean] = costs.each_ref().map(|costs| medians(costs));
    Medians { moved, settled, checkout, clean }
}

fn tip(root: &Path) -> ObjectId {
    let output = command(root, &["rev-parse", "HEAD"]).output().expect("git starts");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("it is a name")
}
