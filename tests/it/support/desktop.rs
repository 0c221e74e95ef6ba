//! A desktop of its own: a bus, a screen that nobody sees, and a notification daemon.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::skip;

const PATIENCE: Duration = Duration::from_secs(30);
const PROGRAMS: [&str; 4] = ["dbus-daemon", "Xvfb", "dunst", "dunstctl"];

/// A running desktop, ended with the test.
pub struct Desktop {
    /// Where its bus listens.
    pub bus: String,
    processes: Vec<Child>,
}

impl Desktop {
    /// Starts one whose files are in `place`; answers nothing (and says so) where a program of it is missing.
    pub fn start(place: &Path) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_missing = |program: &&str| !std::env::split_paths(&path).any(|place| place.join(program).is_file());
        if let Some(missing) = PROGRAMS.iter().find(|program| is_missing(program)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        std::fs::write(place.join("dunstrc"), "[global]\nmonitor = 0\n").unwrap();
        let mut desktop = Self { bus: String::new(), processes: Vec::new() };
        desktop.bus = desktop.run(Command::new("dbus-daemon").args(["--session", "--nofork", "--print-address=1"]));
        let screen = desktop.run(Command::new("Xvfb").args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "320x200x24",
            "-nolisten",
            "tcp",
        ]));
        let mut dunst = Command::new("dunst");
        dunst.arg("-conf").arg(place.join("dunstrc")).env("DISPLAY", format!(":{screen}"));
        dunst.env("DBUS_SESSION_BUS_ADDRESS", &desktop.bus).stdout(Stdio::null()).stderr(Stdio::null());
        desktop.processes.push(dunst.spawn().unwrap());
        let begun = Instant::now();
        while desktop.control(&["count"]).is_none() {
            assert!(begun.elapsed() < PATIENCE, "dunst does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(desktop)
    }

    /// Starts a program and answers the first line that it prints.
    fn run(&mut self, command: &mut Command) -> String {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        self.processes.push(child);
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn control(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("dunstctl").args(words).env("DBUS_SESSION_BUS_ADDRESS", &self.bus).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Answers the notifications that were shown, by title: title, text and application.
    pub fn shown(&self) -> Vec<[String; 3]> {
        self.control(&["close-all"]).unwrap();
        let history: Value = serde_json::from_str(&self.control(&["history"]).unwrap()).unwrap();
        let field = |one: &Value, name: &str| one[name]["data"].as_str().unwrap_or_default().to_owned();
        let notifications = history["data"][0].as_array().cloned().unwrap_or_default();
        let fields = |one: &Value| ["summary", "body", "appname"].map(|name| field(one, name));
        let mut shown: Vec<[String; 3]> = notifications.iter().map(fields).collect();
        shown.sort();
        shown
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
