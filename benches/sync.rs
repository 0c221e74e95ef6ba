//! A directory brought to what another one says: whole processes, beside `rsync` and `rclone` where those are installed.
//!
//! Neither of them waits for the disk; where that counts, `sync` is run after them. cascade keeps what it replaces, and
//! reads the first copy of everything once to know its digest; they do neither. Programs take turns in being the first.
//! Under `cargo test` only a tiny size runs; `CASCADE_BENCH_FILES` asks for one number of small files; `CASCADE_BENCH_DIR`
//! says where they are made.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Spent, git, median, spent};

const WORDS: [&str; 12] =
    ["harbour", "candle", "violet", "engine", "of", "the", "river", "stone", "paper", "and", "winter", "light"];
/// Small files for each large one.
const SMALL_FOR_EACH_LARGE: usize = 50;
const LARGE_BYTES: usize = 1_000_000;
const MB: f64 = 1e6;

const STEPS: [&str; 7] = [
    "first copy",
    "nothing changed",
    "1 % changed",
    "by content",
    "first copy, durable",
    "1 % changed, durable",
    "first copy of 1 MB each",
];

fn main() {
    let (files, rounds) = if support::is_tiny() { (200, 1) } else { (100_000, 3) };
    let files = std::env::var("CASCADE_BENCH_FILES").ok().and_then(|files| files.parse().ok()).unwrap_or(files);
    let mut programs: Vec<Program> = vec![cascade(), rsync(), rclone()];
    programs.retain(|program| {
        let is_there = Command::new(program.file).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_there {
            println!("{} is not installed", program.name);
        }
        is_there
    });
    let mut figures = vec![vec![Vec::new(); STEPS.len()]; programs.len()];
    for round in 0..rounds {
        measure(&programs, &mut figures, files, round);
        // With many files a round takes minutes: what is known so far can be enough.
        println!("medians of {} rounds", round + 1);
        print(&programs, &figures, files);
    }
}

/// Puts what each step took each program into `figures`.
fn measure(programs: &[Program], figures: &mut [Vec<Vec<Spent>>], files: usize, round: usize) {
    let turns = || (0..programs.len()).map(|turn| (turn + round) % programs.len());
    let site = Site::make(round);
    (0..files).for_each(|file| site.write_small(file, round));
    for (step, target) in [(0, "fast"), (4, "full")] {
        for turn in turns() {
            figures[turn][step].push(programs[turn].bring(&site, target));
        }
    }
    for turn in turns() {
        figures[turn][1].push(programs[turn].bring(&site, "fast"));
    }
    (0..files).step_by(100).for_each(|file| site.write_small(file, round + 1_000));
    for (step, target) in [(2, "fast"), (5, "full")] {
        for turn in turns() {
            figures[turn][step].push(programs[turn].bring(&site, target));
        }
    }
    for turn in turns() {
        figures[turn][3].push(programs[turn].check(&site));
    }
    drop(site);
    let site = Site::make(round);
    (0..files.div_ceil(SMALL_FOR_EACH_LARGE)).for_each(|file| site.write_large(file));
    for turn in turns() {
        figures[turn][6].push(programs[turn].bring(&site, "fast"));
    }
}

fn print(programs: &[Program], figures: &[Vec<Vec<Spent>>], files: usize) {
    print!("{:>8} {:>24}", "files", "what");
    for (at, program) in programs.iter().enumerate() {
        print!(" {:>10} {:>7} {:>7}", format!("{} s", program.name), "CPU s", "most MB");
        if at > 0 {
            print!(" {:>6} {:>6}", "ratio", "of CPU");
        }
    }
    println!();
    for (step, what) in STEPS.iter().enumerate() {
        let files = if step == 6 { files.div_ceil(SMALL_FOR_EACH_LARGE) } else { files };
        print!("{files:>8} {what:>24}");
        let of = |at: usize, part: fn(&Spent) -> Duration| {
            median(figures[at][step].iter().map(part).collect()).as_secs_f64()
        };
        let (wall, cpu) = (|at| of(at, |spent| spent.wall), |at| of(at, |spent| spent.cpu));
        for (at, figures) in figures.iter().enumerate() {
            let largest = figures[step].iter().map(|spent| spent.peak_bytes).max().unwrap_or_default();
            print!(" {:>10.2} {:>7.2} {:>7.0}", wall(at), cpu(at), largest as f64 / MB);
            if at > 0 {
                print!(" {:>6.2} {:>6.2}", wall(0) / wall(at), cpu(0) / cpu(at));
            }
        }
        println!();
    }
}

/// A program that brings a directory to what another one says.
struct Program {
    name: &'static str,
    file: &'static str,
    /// Prepares to bring a target of a site to what is there.
    bring: fn(&Site, &str) -> Command,
    /// Prepares to compare all content.
    check: fn(&Site) -> Command,
    /// Whether it waits for the disk itself where it is to.
    waits: bool,
}

impl Program {
    fn bring(&self, site: &Site, target: &str) -> Spent {
        let mut command = (self.bring)(site, target);
        let mut to_disk = Command::new("sync");
        let is_left_to_us = target == "full" && !self.waits;
        support::sync(site.dir.path());
        let mut took = spent(&mut command);
        if is_left_to_us {
            let waited = spent(to_disk.arg("-f").arg(site.target(self, target)));
            (took.wall, took.cpu) = (took.wall + waited.wall, took.cpu + waited.cpu);
        }
        took
    }

    fn check(&self, site: &Site) -> Spent {
        spent(&mut (self.check)(site))
    }
}

fn ours(site: &Site, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade"));
    command.args(words).arg("--quiet").current_dir(site.path("repo")).env("CASCADE_HOME", site.path("home"));
    command
}

fn cascade() -> Program {
    let bring = |site: &Site, target: &str| ours(site, &["sync", target]);
    let check = |site: &Site| ours(site, &["sync", "verify", "fast"]);
    Program { name: "cascade", file: env!("CARGO_BIN_EXE_cascade"), bring, check, waits: true }
}

fn rsync() -> Program {
    fn command(site: &Site, flags: &str, target: &str) -> Command {
        let mut command = Command::new("rsync");
        command.arg(flags).arg(site.path("files/")).arg(site.path("rsync").join(target));
        command
    }
    let bring = |site: &Site, target: &str| command(site, "-a", target);
    let check = |site: &Site| command(site, "-acn", "fast");
    Program { name: "rsync", file: "rsync", bring, check, waits: false }
}

fn rclone() -> Program {
    fn command(site: &Site, flags: &[&str], target: &str) -> Command {
        let mut command = Command::new("rclone");
        command.args(["sync", "-q", "--config", ""]).args(flags).arg(site.path("files"));
        command.arg(site.path("rclone").join(target));
        command
    }
    let bring = |site: &Site, target: &str| command(site, &[], target);
    let check = |site: &Site| command(site, &["--checksum", "--dry-run"], "fast");
    Program { name: "rclone", file: "rclone", bring, check, waits: false }
}

/// Files, and what each program makes of them: `PROGRAM/fast`, and `PROGRAM/full` where it is to be on the disk.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn make(round: usize) -> Self {
        let place = std::env::var_os("CASCADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::Builder::new().prefix(&format!("sync-{round}-")).tempdir_in(place);
        let site = Self { dir: dir.expect("a directory can be made") };
        for name in ["cascade", "rsync", "rclone"] {
            for target in ["fast", "full"] {
                std::fs::create_dir_all(site.path(name).join(target)).expect("the directory can be made");
            }
        }
        let sync =
            |target: &str| format!("{{ from: {{ directory: ../files }}, to: {{ directory: ../cascade/{target} }}");
        let text = format!(
            "version: 1\nproject: bench\nnotify: {{ desktop: false }}\nsyncs:\n  fast: {}, durability: fast }}\n  full: {} }}\n",
            sync("fast"),
            sync("full")
        );
        let root = site.path("repo");
        std::fs::create_dir_all(&root).expect("the directory can be made");
        git(&root, &["init", "-q"]);
        std::fs::write(root.join("cascade-sync.yaml"), text).expect("the file can be written");
        // The database is made once, whatever is copied.
        spent(&mut ours(&site, &["status"]));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn target(&self, program: &Program, target: &str) -> PathBuf {
        self.path(program.name).join(target)
    }

    /// Writes a file of 500 to 7,500 bytes.
    fn write_small(&self, file: usize, round: usize) {
        let mut state = (file * 31 + round * 7_919 + 1) as u64;
        let mut next = || number(&mut state);
        let count = 80 + next() % 1_120;
        let words = std::iter::repeat_with(next).take(count);
        let text: String = words.map(|number| format!("{} {} ", WORDS[number % 12], number % 97)).collect();
        self.write(&self.path("files").join(format!("{:03}/{file}.txt", file % 500)), text.as_bytes());
    }

    fn write_large(&self, file: usize) {
        let mut state = file as u64 + 1;
        let words = std::iter::repeat_with(|| (number(&mut state) as u32).to_le_bytes());
        let content: Vec<u8> = words.take(LARGE_BYTES / 4).flatten().collect();
        self.write(&self.path("files").join(format!("{:02}/{file}.bin", file % 20)), &content);
    }

    fn write(&self, path: &Path, content: &[u8]) {
        std::fs::create_dir_all(path.parent().expect("it is below")).expect("the directory can be made");
        std::fs::write(path, content).expect("the file can be written");
    }
}

fn number(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}
