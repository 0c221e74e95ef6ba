//! Faults while saving: a watcher that is killed, a full disk, a checkout that goes away, a remote that says no.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::skip;
use crate::support::small_disk::SmallDisk;
use crate::support::watched::Watched;

/// A watcher in the foreground, killed with the test.
struct Foreground(Child);

impl Foreground {
    fn start(watched: &Watched) -> Self {
        let mut command: Command = watched.command(env!("CARGO_BIN_EXE_cascade"), &["start", "--foreground"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Self(command.spawn().unwrap());
        // One that only starts has a reason that says so.
        let is_watching = || {
            let sandbox = watched.cascade(&["status", "--json"]).json()["sandbox"].clone();
            sandbox["state"] == "watching" && sandbox["reason"].is_null()
        };
        watched.until("watching", is_watching);
        started
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking() {
            let mut told = String::new();
            let _ = self.0.stderr.take().map(|mut stderr| stderr.read_to_string(&mut told));
            eprintln!("the watcher said: {told}");
        }
    }
}

#[test]
fn a_watcher_killed_at_any_moment_of_a_save_loses_nothing_and_blocks_nobody() {
    let watched = Watched::ready("10ms", "");
    let mut paths = Vec::new();
    for round in 0..16_u64 {
        let mut watcher = Foreground::start(&watched);
        let path = format!("dir{}/file {round}", round % 3);
        watched.write(&path, format!("{round}\n"));
        paths.push((path, round.to_string()));
        // Events take a tick or two; a save follows. The moments are spread over all of it.
        std::thread::sleep(Duration::from_millis(90 + round * 9));
        watcher.kill();
    }
    watched.start();
    paths.iter().for_each(|(path, content)| watched.until_saved("develop", path, content));
    watched.stop();
    watched.git(&["fsck", "--strict", "--no-dangling"]);
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    watched.git(&["commit", "--quiet", "--allow-empty", "-m", "nothing is locked"]);
    let names = std::fs::read_dir(watched.root().join(".git")).unwrap();
    let left: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("cascade-")), "{left:?}");
}

#[test]
fn rot_in_the_index_under_a_running_watcher_is_mended_and_told() {
    let watched = Watched::started();
    watched.write("first", "x\n");
    watched.until_saved("develop", "first", "x");
    // The branch moves first, and what replaces the index would take the rot with it.
    watched.until("the index is written", || watched.git(&["ls-files", "first"]) == "first");
    let index = watched.root().join(".git/index");
    let mut rotten = std::fs::read(&index).unwrap();
    // In the blob of the first entry: git reads that without complaint.
    rotten[52] ^= 1;
    std::fs::write(&index, &rotten).unwrap();
    watched.write("second", "x\n");
    watched.until_saved("develop", "second", "x");
    watched.until("a word on it", || watched.log().contains("git's index was damaged: It is made again from commit"));
    assert_eq!(std::fs::read(index.with_extension("broken-1")).unwrap(), rotten);
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    let changed = watched.git(&["diff", "--name-only", "develop~1", "develop"]);
    assert_eq!(changed, "second", "the rot went nowhere");
}

#[test]
fn a_full_disk_pauses_saving_with_its_reason_until_there_is_room() {
    let watched = Watched::ready("50ms", "");
    let small = watched.base().join("small");
    let Some(_disk) = SmallDisk::mount(&small, 4) else { return };
    // The objects go to the small disk; everything else stays where it is.
    let objects = watched.root().join(".git/objects");
    let moved = Command::new("cp").arg("-a").arg(&objects).arg(&small).status().unwrap();
    assert!(moved.success());
    std::fs::remove_dir_all(&objects).unwrap();
    std::os::unix::fs::symlink(small.join("objects"), &objects).unwrap();
    watched.start();
    let filler = small.join("filler");
    // As much as goes in; the error at the end is the point.
    let _ = std::fs::write(&filler, vec![0_u8; 5 << 20]);
    let tip = watched.git(&["rev-parse", "develop"]);
    let noise: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    watched.write("large", &noise);
    let sandbox = || watched.cascade(&["status", "--json"]).json()["sandbox"].clone();
    watched.until("a word on the full disk", || {
        let sandbox = sandbox();
        sandbox["state"] == "paused"
            && sandbox["reason"].as_str().is_some_and(|reason| reason.contains("No space left"))
    });
    assert_eq!(watched.git(&["rev-parse", "develop"]), tip);
    std::fs::remove_file(&filler).unwrap();
    watched.until("saved once there is room", || watched.git(&["rev-parse", "develop"]) != tip);
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    watched.git(&["fsck", "--strict", "--no-dangling"]);
    watched.until("no pause", || sandbox()["state"] == "watching");
    watched.stop();
}

/// A limit of the kernel that is another one for a while.
struct Limit {
    file: &'static str,
    before: String,
}

impl Limit {
    /// Sets it; answers nothing (and says so) where this user may not.
    fn set(file: &'static str, value: &str) -> Option<Self> {
        let before = std::fs::read_to_string(file).unwrap_or_default();
        if before.is_empty() || std::fs::write(file, value).is_err() {
            skip(&format!("{file} cannot be changed here"));
            return None;
        }
        Some(Self { file, before })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        std::fs::write(self.file, &self.before).unwrap();
    }
}

#[test]
fn a_queue_of_events_that_overflows_costs_no_change() {
    let watched = Watched::ready("300ms", "");
    (0..5).for_each(|number| watched.write(&format!("storm/{number}/first"), "x\n"));
    watched.commit("directories");
    // A watcher keeps the limit that it began with.
    let Some(limit) = Limit::set("/proc/sys/fs/inotify/max_queued_events", "16") else { return };
    watched.start();
    drop(limit);
    let written = 3_000;
    for number in 0..written {
        std::fs::write(watched.root().join(format!("storm/{}/{number}", number % 5)), "x\n").unwrap();
    }
    watched.until("every file", || {
        let tracked = watched.git(&["ls-tree", "-r", "--name-only", "develop", "storm"]);
        tracked.lines().count() == written + 5
    });
    assert!(watched.log().contains("events were lost"), "{}", watched.log());
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_checkout_that_goes_away_ends_the_watcher_with_a_word_on_it() {
    let watched = Watched::ready("50ms", "");
    let mut watcher = Foreground::start(&watched);
    let (here, away) = (watched.root(), watched.base().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let status = watcher.0.wait().unwrap();
    std::fs::rename(&away, &here).unwrap();
    let mut said = String::new();
    watcher.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("is no longer there") && said.contains("hint:"), "{said}");
    assert_eq!(watched.cascade(&["status", "--json"]).json()["sandbox"]["state"], "stopped");
}

/// Answers every request with "who are you?", until the process ends.
fn denying_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0_u8; 4096];
            let _ = stream.read(&mut request);
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\
                          Connection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn a_remote_that_denies_access_is_told_once_and_saving_goes_on() {
    let watched = Watched::ready("50ms", "environments:\n  staging: { from: develop, branch: staging }\n");
    let url = format!("http://127.0.0.1:{}/shop.git", denying_server());
    watched.git(&["remote", "set-url", "origin", &url]);
    watched.start();
    for path in ["one", "two", "three"] {
        watched.write(path, "x\n");
        watched.until_saved("develop", path, "x");
    }
    let sandbox = || watched.cascade(&["status", "--json"]).json()["sandbox"].clone();
    watched.until("why it is not pushed", || {
        sandbox()["push_problem"].as_str().is_some_and(|problem| problem.contains("denied"))
    });
    assert_eq!(sandbox()["state"], "watching");
    assert!(watched.cascade(&["status"]).stdout.contains("denied"));
    assert_eq!(watched.log().matches("not pushed").count(), 1, "{}", watched.log());
    let refused = watched.cascade(&["promote", "staging"]);
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert!(refused.stderr.contains("denied") && refused.stderr.contains("hint:"), "{refused:#?}");
    let begun = Instant::now();
    watched.stop();
    assert!(begun.elapsed() < Duration::from_secs(30), "stopping does not wait for a remote that says no");
}
