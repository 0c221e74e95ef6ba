//! A durable save by cascade, and one that does not wait for the disk, against `git add -A && git commit` (with git's
//! defaults: not durable): files modified, added and deleted, and as many new files as the repository has.
//!
//! Both begin when the disk has what was written, for a save waits until files have settled; but for the rows that say `at
//! once`: there the save has to wait for the disk to take what whoever wrote the files left in its queue.
//!
//! Under `cargo test` only tiny sizes run; `CASCADE_BENCH_FILES` asks for one size of repository; `CASCADE_BENCH_DIR` says where the repositories are made.

mod support;

use std::path::{Path, PathBuf};

use cascade::config::Durability;
use cascade::git::{Hints, Repo, SaveAnswer};
use support::{Cost, Sample, cost, git, medians, save, unpack};

/// What happens to files before a save, given how many and which round; answers their paths.
type Deed = fn(&Sample, usize, usize) -> Vec<Vec<u8>>;

/// Deleting comes right after adding: it deletes what that added.
const DEEDS: [(&str, Deed); 3] = [("modified", Sample::change), ("added", Sample::add), ("deleted", Sample::delete)];

fn main() {
    let tiny = support::is_tiny();
    let (repositories, counts, rounds) =
        if tiny { (vec![100], vec![1, 10], 2) } else { (vec![1_000, 10_000, 100_000], vec![1, 10, 1_000], 9) };
    let only = std::env::var("CASCADE_BENCH_FILES").ok().and_then(|files| files.parse().ok());
    let repositories = only.map_or(repositories, |files| vec![files]);
    let place = std::env::var_os("CASCADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory can be made");
    println!(
        "{:>8} {:>8} {:>9} {:>11} {:>11} {:>8} {:>15} {:>11} {:>8}",
        "files", "changed", "how", "cascade ms", "git ms", "ratio", "cascade CPU ms", "git CPU ms", "ratio"
    );
    for files in repositories {
        let sample = Sample::make(&dir.path().join(files.to_string()), files);
        for &changed in &counts {
            let changed = changed.min(files / 2);
            for (how, deed) in DEEDS {
                print(files, changed, how, compare(&sample, deed, changed, rounds, support::sync));
            }
            if Some(&changed) == counts.last() {
                print(files, changed, "at once", compare(&sample, Sample::add, changed, rounds, |_| ()));
            }
            print(files, changed, "fast", fast(&sample, changed, rounds));
        }
        print(files, files, "unpacked", catch_up(&sample));
    }
}

fn print(files: usize, changed: usize, how: &str, (ours, gits): (Cost, Cost)) {
    support::print(&format!("{files:>8} {changed:>8} {how:>9}"), ours, gits);
}

/// Saves `changed` files in turn by cascade and by git, each after `wait`; answers the medians.
fn compare(sample: &Sample, deed: Deed, changed: usize, rounds: usize, wait: fn(&Path)) -> (Cost, Cost) {
    let repo = Repo::open(&sample.root).expect("the repository opens");
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Measured are saves upon saves: before one upon a commit of git's, that is brought to the disk.
        let change = sample.change(1, changed * 1_000 + 700 + round);
        save(&repo, Hints::Paths(change.into_iter().collect()));
        let paths = deed(sample, changed, changed * 1_000 + round * 2);
        let hints = Hints::Paths(paths.into_iter().collect());
        wait(&sample.root);
        let (answer, took) = cost(|| save(&repo, hints));
        ours.push(took);
        assert!(matches!(answer, SaveAnswer::Saved(saved) if saved.changes.len() == changed));
        deed(sample, changed, changed * 1_000 + round * 2 + 1);
        wait(&sample.root);
        gits.push(git_save(sample));
    }
    (medians(&ours), medians(&gits))
}

/// Saves as many new files as there are already, once by cascade, which has to find them, and once by git.
fn catch_up(sample: &Sample) -> (Cost, Cost) {
    let repo = Repo::open(&sample.root).expect("the repository opens");
    unpack(&sample.root.join("ours"), sample.files, 9_000_001);
    support::sync(&sample.root);
    let (answer, ours) = cost(|| save(&repo, Hints::Everything));
    assert!(matches!(answer, SaveAnswer::Saved(saved) if saved.changes.len() == sample.files));
    git(&sample.root, &["rm", "-rq", "ours"]);
    git(&sample.root, &["commit", "-qm", "x"]);
    unpack(&sample.root.join("gits"), sample.files, 9_000_002);
    support::sync(&sample.root);
    (ours, git_save(sample))
}

fn git_save(sample: &Sample) -> Cost {
    let work = || {
        git(&sample.root, &["add", "-A"]);
        git(&sample.root, &["commit", "-qm", "x"]);
    };
    cost(work).1
}

/// Saves `changed` files in turn without waiting for the disk, and by git; answers the medians.
fn fast(sample: &Sample, changed: usize, rounds: usize) -> (Cost, Cost) {
    let repo = Repo::open(&sample.root).expect("the repository opens").with_durability(Durability::Fast);
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    // The first one waits until what was saved before is on the disk.
    for round in 0..=rounds {
        let paths = sample.change(changed, changed * 1_000 + 500 + round * 2);
        ours.push(cost(|| save(&repo, Hints::Paths(paths.into_iter().collect()))).1);
        sample.change(changed, changed * 1_000 + 501 + round * 2);
        gits.push(git_save(sample));
    }
    // What follows is not to wait for these, nor to note that it need not.
    repo.flush("develop").expect("the disk takes it");
    let full = Repo::open(&sample.root).expect("the repository opens");
    save(&full, Hints::Paths(sample.change(1, changed * 1_000 + 900).into_iter().collect()));
    ours.remove(0);
    (medians(&ours), medians(&gits))
}
