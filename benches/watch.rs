//! How long until a checkout is watched, against `find -type d` over it, and what that takes of memory.
//!
//! Under `cargo test` only a tiny size runs; `CASCADE_BENCH_DIR` says where the checkout is made.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cascade::watch::{Rules, Source};
use support::{Cost, cost, git, medians, ms};

const FILES_PER_DIRECTORY: usize = 10;
const SETTLE: Duration = Duration::from_secs(3);

fn main() {
    let (directories, rounds) = if support::is_tiny() { (vec![20], 2) } else { (vec![1_000, 10_000], 9) };
    let place = std::env::var_os("CASCADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory can be made");
    println!("{:>11} {:>9} {:>14} {:>9} {:>7}", "directories", "files", "ready after ms", "find ms", "ratio");
    for directories in directories {
        let root = dir.path().join(directories.to_string());
        make(&root, directories);
        let (ours, finds) = compare(&root, directories, rounds);
        println!(
            "{directories:>11} {:>9} {:>14.1} {:>9.1} {:>6.2}x",
            directories * FILES_PER_DIRECTORY,
            ms(ours.wall),
            ms(finds.wall),
            ms(finds.wall) / ms(ours.wall)
        );
    }
}

/// Makes a checkout of so many directories, a hundred of them in one above.
fn make(root: &Path, directories: usize) {
    std::fs::create_dir_all(root).expect("the directory can be made");
    git(root, &["init", "-q", "-b", "develop"]);
    for directory in 0..directories {
        let at = root.join(format!("d{:03}/s{directory:05}", directory / 100));
        std::fs::create_dir_all(&at).expect("the directory can be made");
        for file in 0..FILES_PER_DIRECTORY {
            std::fs::write(at.join(format!("file-{file}.txt")), "x\n").expect("the file can be written");
        }
    }
}

fn compare(root: &Path, directories: usize, rounds: usize) -> (Cost, Cost) {
    let (mut ours, mut finds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let git_dir = root.join(".git");
        let rules = Arc::new(Rules::load(root, &git_dir, &[], None).expect("the rules are readable"));
        let (started, took) = cost(|| Source::start(root, &git_dir, rules, SETTLE));
        let (source, _hints) = started.expect("it can be watched");
        assert!(!source.is_limited() && source.watched_directories() > directories);
        ours.push(took);
        drop(source);
        let mut find = Command::new("find");
        find.arg(root).args(["-type", "d"]).stdout(Stdio::null());
        finds.push(cost(|| assert!(find.status().expect("find starts").success())).1);
    }
    (medians(&ours), medians(&finds))
}
