//! Repositories for benchmarks, made through `git fast-import`.

#![allow(dead_code)]

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cascade::base::Clock as _;
use cascade::base::clock::SystemClock;
use cascade::git::{Hints, Repo, SaveAnswer, SaveRequest};

/// Files in one directory of a made repository.
const FILES_PER_DIRECTORY: usize = 50;

/// A repository on branch `develop` with a checkout.
pub struct Sample {
    /// Top of the checkout.
    pub root: PathBuf,
    /// Number of files.
    pub files: usize,
}

impl Sample {
    /// Makes a repository of `files` small files in `root`, checked out and with a fresh index.
    pub fn make(root: &Path, files: usize) -> Self {
        std::fs::create_dir_all(root).expect("the directory can be made");
        git(root, &["init", "-q", "-b", "develop"]);
        for (key, value) in [("user.name", "Bench"), ("user.email", "bench@localhost"), ("gc.auto", "0")] {
            git(root, &["config", key, value]);
        }
        let mut import = command(root, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git starts");
        let mut stream = BufWriter::new(import.stdin.take().expect("stdin is piped"));
        write!(stream, "commit refs/heads/develop\ncommitter Bench <bench@localhost> 1700000000 +0000\n")
            .expect("pipe");
        write!(stream, "data 6\nFirst\n\n").expect("pipe");
        for file in 0..files {
            let content = content(file, 0);
            write!(stream, "M 100644 inline {}\ndata {}\n{content}\n", path(file), content.len()).expect("pipe");
        }
        drop(stream);
        assert!(import.wait().expect("git ends").success());
        git(root, &["reset", "-q", "--hard"]);
        git(root, &["status", "--porcelain"]);
        Self { root: root.to_owned(), files }
    }

    /// Rewrites `count` files, spread over the repository, with content of this `round`; answers their paths.
    pub fn change(&self, count: usize, round: usize) -> Vec<Vec<u8>> {
        self.spread(count, round).map(|file| self.write(path(file), content(file, round + 1))).collect()
    }

    /// Makes `count` new files, spread over the directories of the repository; answers their paths.
    pub fn add(&self, count: usize, round: usize) -> Vec<Vec<u8>> {
        let new = |file| (format!("{}-{round}", path(file)), content(file, round));
        self.spread(count, round).map(new).map(|(path, content)| self.write(path, content)).collect()
    }

    /// Deletes what [`Sample::add`] made in that `round`; answers the paths.
    pub fn delete(&self, count: usize, round: usize) -> Vec<Vec<u8>> {
        let gone = self.spread(count, round).map(|file| format!("{}-{round}", path(file)));
        gone.map(|path| {
            std::fs::remove_file(self.root.join(&path)).expect("the file is there");
            path.into_bytes()
        })
        .collect()
    }

    fn spread(&self, count: usize, round: usize) -> impl Iterator<Item = usize> {
        let (step, files) = ((self.files / count).max(1), self.files);
        (0..count).map(move |n| (n * step + round * 7) % files)
    }

    fn write(&self, path: String, content: String) -> Vec<u8> {
        std::fs::write(self.root.join(&path), content).expect("the file can be written");
        path.into_bytes()
    }
}

/// Makes `files` small files below `root`, as an unpacked archive has them; their content is that of this `round`.
pub fn unpack(root: &Path, files: usize, round: usize) {
    for file in 0..files {
        let at = root.join(path(file));
        std::fs::create_dir_all(at.parent().expect("it is below")).expect("the directory can be made");
        std::fs::write(at, content(file, round)).expect("the file can be written");
    }
}

/// Waits until the disk has what was written.
pub fn sync(root: &Path) {
    let root = std::fs::File::open(root).expect("the directory opens");
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&root).expect("the disk takes it");
    #[cfg(not(target_os = "linux"))]
    root.sync_all().expect("the disk takes it");
}

/// What something took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// By the clock.
    pub wall: Duration,
    /// Of processors, this process and the children it waited for.
    pub cpu: Duration,
}

/// Measures `work`.
pub fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (start, used) = (Instant::now(), cpu_used());
    let answer = work();
    (answer, Cost { wall: start.elapsed(), cpu: cpu_used().saturating_sub(used) })
}

/// Answers the medians, each by itself.
pub fn medians(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> Duration| median(costs.iter().map(part).collect());
    Cost { wall: of(|cost| cost.wall), cpu: of(|cost| cost.cpu) }
}

/// What a whole process took.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// By the clock.
    pub wall: Duration,
    /// Of processors, with what it started and waited for.
    pub cpu: Duration,
    /// The most memory that it, or one that it started and waited for, held at a time.
    pub peak_bytes: u64,
}

/// Runs a program that must succeed; what it says goes nowhere.
// It is waited for by a call that also tells what it took.
#[allow(unsafe_code, clippy::zombie_processes)]
pub fn spent(command: &mut Command) -> Spent {
    let start = Instant::now();
    let child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let pid = libc::pid_t::try_from(child.id()).expect("it is a process");
    let mut status = 0;
    // SAFETY: the structure is plain numbers, and the call fills it; nobody else waits for this child.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        usage
    };
    assert_eq!(status, 0, "{command:?}");
    let unit_bytes = if cfg!(target_os = "macos") { 1 } else { 1_024 };
    Spent { wall: start.elapsed(), cpu: cpu_of(&usage), peak_bytes: usage.ru_maxrss as u64 * unit_bytes }
}

/// Answers the processor time that this process and the children it waited for have used.
#[allow(unsafe_code)]
fn cpu_used() -> Duration {
    let used_by = |who| {
        // SAFETY: the structure is plain numbers, and the call fills it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &raw mut usage);
            usage
        };
        cpu_of(&usage)
    };
    used_by(libc::RUSAGE_SELF) + used_by(libc::RUSAGE_CHILDREN)
}

fn cpu_of(usage: &libc::rusage) -> Duration {
    let time = |part: libc::timeval| Duration::new(part.tv_sec as u64, part.tv_usec as u32 * 1_000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn path(file: usize) -> String {
    let dir = file / FILES_PER_DIRECTORY;
    format!("d{:02}/s{:03}/file-{file:06}.txt", dir % 20, dir / 20)
}

fn content(file: usize, round: usize) -> String {
    let mut text = format!("file {file} round {round}\n");
    for line in 0..20 {
        text.push_str(&format!("line {line} of {file} {}\n", (file * 31 + line * 17 + round) % 9_973));
    }
    text
}

/// Saves what is hinted at.
pub fn save(repo: &Repo, hints: Hints) -> SaveAnswer {
    let request = SaveRequest {
        branch: "develop",
        hints,
        max_file_bytes: 50 << 20,
        excluded: &|_, _| false,
        inspect: &|_, _, _| None,
        message: &|proposal| format!("Save {} files", proposal.changes().len()),
        author: None,
        // A history whose times say nothing takes longer to walk.
        now_seconds: SystemClock.now().as_second(),
        offset_minutes: 0,
    };
    repo.save(&request).expect("the save succeeds")
}

/// Prints what the same took cascade and git, by the clock and of processors; `what` are the columns before.
pub fn print(what: &str, ours: Cost, gits: Cost) {
    let (wall, cpu) = ((ms(ours.wall), ms(gits.wall)), (ms(ours.cpu), ms(gits.cpu)));
    println!(
        "{what} {:>11.1} {:>11.1} {:>7.1}x {:>15.1} {:>11.1} {:>7.1}x",
        wall.0,
        wall.1,
        wall.1 / wall.0,
        cpu.0,
        cpu.1,
        cpu.1 / cpu.0
    );
}

/// Runs git without the user's configuration.
pub fn git(root: &Path, args: &[&str]) {
    let output = command(root, args).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Prepares git without the user's configuration.
pub fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(root).env("GIT_CONFIG_GLOBAL", "").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Answers whether this is a test run, which only shows that the benchmark still works: `cargo bench` says `--bench`.
pub fn is_tiny() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

/// Answers the median.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Answers milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
