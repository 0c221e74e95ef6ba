//! What reaches people: desktop notifications, questions and pictures in a terminal.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::Sandbox;
use crate::support::desktop::Desktop;
use crate::support::output;
use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::watched::Watched;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn desktop_notifications_tell_what_is_ready_and_what_awaits_whom() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let Some(desktop) = Desktop::start(pipeline.base()) else { return };
    let told = pipeline.read("cascade-sync.yaml").replace("desktop: false", "desktop: true");
    pipeline.write("cascade-sync.yaml", told);
    pipeline.save("Notify");
    let promote = |environment: &str, code: i32| {
        let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", environment]);
        command.env("DBUS_SESSION_BUS_ADDRESS", &desktop.bus);
        output(command, b"").expect_code(code);
    };
    promote("staging", 0);
    promote("production", 3);
    let shown = desktop.shown();
    let titles: Vec<&str> = shown.iter().map(|[title, ..]| title.as_str()).collect();
    assert_eq!(titles, ["shop: production waits", "shop: staging is live: ready for production"], "{shown:?}");
    let [_, text, application] = &shown[0];
    let id = pipeline.newest("production")["id"].as_str().unwrap().to_owned();
    assert_eq!(application, "cascade");
    assert!(text.contains(&format!("cascade approve {id}")), "{text}");
}

/// A program that believes it talks to a person at a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn run(sandbox: &Sandbox, words: &str) -> Self {
        let line = format!("{} {words}", env!("CARGO_BIN_EXE_cascade"));
        let log = sandbox.base().join("typescript");
        let mut command = sandbox.command("script", &["--quiet", "--flush", "--return", "--command", &line]);
        command.arg(log);
        command.env("TERM", "xterm").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0_u8; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keys: child.stdin.take().unwrap(), child, screen, seen: String::new() }
    }

    /// Waits until the screen has shown `text`, and forgets what came before its end.
    #[track_caller]
    fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let more = self.screen.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("`{text}` is not shown after: {}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn code(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

#[test]
fn in_a_terminal_the_approval_is_asked_in_place_with_what_it_covers() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.save_file("shop.txt", "open\n");
    pipeline.promote("staging", 0);
    let mut terminal = Terminal::run(&pipeline, "deploy-production");
    terminal.until("shop.txt");
    terminal.until("Approve this candidate for production? [y/N]");
    // Whoever is asked must not keep the others waiting.
    pipeline.promote("staging", 0);
    terminal.press("y\n");
    terminal.until("production is live");
    assert_eq!(terminal.code(), 0);
    assert_eq!(pipeline.tree("main"), pipeline.tree("staging"));
    assert_eq!(pipeline.newest("production")["approved_by"][0], "Ada <ada@example.test>");
}

#[test]
fn an_approval_in_place_comes_too_late_for_a_promotion_that_ended_meanwhile() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    let mut terminal = Terminal::run(&pipeline, "deploy-production");
    terminal.until("[y/N]");
    pipeline.cascade(&["reject", "production", "--reason", "not today"]).expect_code(0);
    let tip = pipeline.tip("main");
    terminal.press("y\n");
    terminal.until("not today");
    assert_eq!(terminal.code(), 1);
    assert_eq!(pipeline.tip("main"), tip);
}

#[test]
fn without_consent_in_the_terminal_the_promotion_goes_on_waiting() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    pipeline.promote("staging", 0);
    let mut terminal = Terminal::run(&pipeline, "deploy-production");
    terminal.until("[y/N]");
    terminal.press("\n");
    terminal.until("cascade approve");
    assert_eq!(terminal.code(), 3);
    assert_eq!(pipeline.newest("production")["state"], "waiting");
}

#[test]
fn status_watch_redraws_when_something_is_saved_and_ends_with_ctrl_c() {
    let watched = Watched::started();
    let mut terminal = Terminal::run(&watched, "status --watch");
    terminal.until("watching");
    watched.write("seen", "x\n");
    watched.until_saved("develop", "seen", "x");
    let tip = watched.git(&["rev-parse", "develop"]);
    terminal.until(&tip[..7]);
    terminal.press("\x03");
    assert_eq!(terminal.code(), 130);
}

#[test]
fn an_environment_s_branch_that_somebody_deleted_on_the_remote_is_told_when_it_is_made_again() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.promote("staging", 0);
    pipeline.git(&["clone", "--quiet", "../origin.git", "../other"]);
    pipeline.git(&["-C", "../other", "push", "--quiet", "origin", "--delete", "staging"]);
    pipeline.save_file("page", "x\n");
    let promoted = pipeline.promote("staging", 0);
    assert!(promoted.stderr.contains("somebody deleted origin/staging: this promotion made it again"), "{promoted:?}");
    assert_eq!(pipeline.remote_tip("staging"), pipeline.tip("staging"));
    pipeline.save_file("page", "y\n");
    let promoted = pipeline.promote("staging", 0);
    assert!(!promoted.stderr.contains("deleted"), "{promoted:?}");
}
