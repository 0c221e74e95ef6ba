//! A backup of many small files into a vault and back: whole processes, beside `restic` where that is installed.
//!
//! restic does not wait for the disk when it restores; what does is told apart. Under `cargo test` only a tiny size runs.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{cost, git, median};

const WORDS: [&str; 12] =
    ["harbour", "candle", "violet", "engine", "of", "the", "river", "stone", "paper", "and", "winter", "light"];

fn main() {
    let (files, rounds) = if support::is_tiny() { (200, 1) } else { (100_000, 3) };
    let has_restic = Command::new("restic").arg("version").output().is_ok_and(|output| output.status.success());
    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    for round in 0..rounds {
        let site = Site::make(files, round);
        site.measure(&mut ours, &Cascade(&site));
        if has_restic {
            let site = Site::make(files, round);
            site.measure(&mut theirs, &Restic(&site));
        }
    }
    println!("{:>9} {:>20} {:>10} {:>10} {:>7}", "files", "what", "cascade s", "restic s", "times");
    for (what, (ours, theirs)) in STEPS.iter().zip(ours.0.into_iter().zip(theirs.0)) {
        let (ours, theirs) = (median(ours).as_secs_f64(), has_restic.then(|| median(theirs).as_secs_f64()));
        let told = theirs.map_or("-".to_owned(), |theirs| format!("{theirs:.2}"));
        let times = theirs.map_or("-".to_owned(), |theirs| format!("{:.1}", theirs / ours));
        println!("{files:>9} {what:>20} {ours:>10.2} {told:>10} {times:>7}");
    }
    println!("sent by the second backup, in percent of the first: {:.2}", ours.1);
}

const STEPS: [&str; 5] = ["first backup", "nothing changed", "1 % changed", "restore", "restore, durable"];

/// What each step took in each round, and what the backup after a change sent.
#[derive(Default)]
struct Figures([Vec<Duration>; 5], f64);

/// A program that keeps backups.
trait Keeper {
    /// Makes a place for them.
    fn init(&self);
    fn backup(&self) -> Duration;
    /// Restores into a directory that is empty.
    fn restore(&self, is_durable: bool) -> Duration;
    /// Answers where the backups are.
    fn place(&self) -> PathBuf;
}

/// Files, and what works with them.
struct Site {
    dir: tempfile::TempDir,
    files: usize,
}

impl Site {
    fn make(files: usize, round: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let site = Self { dir, files };
        for name in ["repo", "files", "safe", "fast", "full"] {
            std::fs::create_dir(site.path(name)).expect("the directory can be made");
        }
        (0..files).for_each(|file| site.write(file, round));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of 500 to 7,500 bytes.
    fn write(&self, file: usize, round: usize) {
        let mut state = (file * 31 + round * 7_919 + 1) as u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let numbers: Vec<usize> = std::iter::repeat_with(next).take(1_200).collect();
        let count = 80 + numbers[0] % 1_120;
        let word = |number: &usize| format!("{} {} ", WORDS[number % 12], number % 97);
        let text: String = numbers[..count].iter().map(word).collect();
        let directory = self.path("files").join(format!("{:03}", file % 500));
        std::fs::create_dir_all(&directory).expect("the directory can be made");
        std::fs::write(directory.join(format!("{file}.txt")), text).expect("the file can be written");
    }

    fn measure(&self, figures: &mut Figures, keeper: &dyn Keeper) {
        keeper.init();
        let steps = &mut figures.0;
        steps[0].push(keeper.backup());
        let before = bytes_below(&keeper.place());
        steps[1].push(keeper.backup());
        let unchanged = bytes_below(&keeper.place());
        (0..self.files).step_by(100).for_each(|file| self.write(file, 99));
        steps[2].push(keeper.backup());
        figures.1 = (bytes_below(&keeper.place()) as f64 - unchanged as f64) * 100.0 / before as f64;
        steps[3].push(keeper.restore(false));
        steps[4].push(keeper.restore(true));
    }
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let bytes = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("it can be read");
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() }
    };
    entries.map(bytes).sum()
}

fn run(command: &mut Command) -> Duration {
    let (status, took) = cost(|| command.stdout(Stdio::null()).status().expect("it starts"));
    assert!(status.success(), "{command:?}: {status}");
    took.wall
}

struct Cascade<'s>(&'s Site);

impl Cascade<'_> {
    fn run(&self, words: &[&str]) -> Duration {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cascade"));
        command.args(words).arg("--quiet").current_dir(self.0.path("repo"));
        run(command.env("CASCADE_HOME", self.0.path("home")))
    }
}

impl Keeper for Cascade<'_> {
    fn init(&self) {
        let root = self.0.path("repo");
        let vault = "directory: ../safe, vault: { key_file: ../key }";
        let text = format!(
            "version: 1\nproject: bench\nnotify: {{ desktop: false }}\nsyncs:\n  up: {{ from: {{ directory: ../files }}, to: {{ \
             {vault} }} }}\n  fast: {{ from: {{ {vault} }}, to: {{ directory: ../fast }}, durability: fast }}\n  full: {{ from: \
             {{ {vault} }}, to: {{ directory: ../full }} }}\n"
        );
        git(&root, &["init", "-q"]);
        std::fs::write(root.join("cascade-sync.yaml"), text).expect("the file can be written");
        self.run(&["vault", "init", "up"]);
    }

    fn backup(&self) -> Duration {
        self.run(&["sync", "up"])
    }

    fn restore(&self, is_durable: bool) -> Duration {
        self.run(&["sync", if is_durable { "full" } else { "fast" }])
    }

    fn place(&self) -> PathBuf {
        self.0.path("safe")
    }
}

struct Restic<'s>(&'s Site);

impl Restic<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command.args(["-q", "-r"]).arg(self.0.path("safe/restic")).args(words).current_dir(self.0.dir.path());
        command.env("RESTIC_PASSWORD", "bench").env("RESTIC_CACHE_DIR", self.0.path("cache"));
        command
    }
}

impl Keeper for Restic<'_> {
    fn init(&self) {
        run(&mut self.command(&["init"]));
    }

    fn backup(&self) -> Duration {
        run(&mut self.command(&["backup", "files"]))
    }

    fn restore(&self, is_durable: bool) -> Duration {
        let target = if is_durable { "full" } else { "fast" };
        let took = run(&mut self.command(&["restore", "latest", "--target", target]));
        let synced = || run(Command::new("sync").arg("-f").arg(self.0.path(target)));
        if is_durable { took + synced() } else { took }
    }

    fn place(&self) -> PathBuf {
        self.0.path("safe")
    }
}
