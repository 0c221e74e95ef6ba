//! Repositories for benchmarks, made through `git fast-import`.

#![allow(dead_code)]

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

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
        let step = (self.files / count).max(1);
        let changed = (0..count).map(|n| (n * step + round * 7) % self.files);
        changed
            .map(|file| {
                std::fs::write(self.root.join(path(file)), content(file, round + 1)).expect("the file can be written");
                path(file).into_bytes()
            })
            .collect()
    }
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

/// Saves these paths.
pub fn save(repo: &Repo, paths: Vec<Vec<u8>>) -> SaveAnswer {
    let request = SaveRequest {
        branch: "develop",
        hints: Hints::Paths(paths.into_iter().collect()),
        max_file_bytes: 50 << 20,
        excluded: &|_, _| false,
        inspect: &|_, _, _| None,
        message: &|proposal| format!("Save {} files", proposal.changes().len()),
        author: None,
        now_seconds: 1_700_000_000,
        offset_minutes: 0,
    };
    repo.save(&request).expect("the save succeeds")
}

/// Runs git without the user's configuration.
pub fn git(root: &Path, args: &[&str]) {
    let output = command(root, args).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Prepares git without the user's configuration.
pub fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(root).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
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
