//! A checkout with a watcher.

use std::ops::Deref;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Output, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Sandbox {
    /// Starts the watcher in the background, until what is answered goes out of scope.
    #[track_caller]
    pub fn watcher(&self) -> Watcher<'_> {
        let process = self.cascade(&["start", "--json"]).expect_code(0).json()["process"].as_u64().unwrap();
        Watcher { sandbox: self, process }
    }

    /// Answers the end of the watcher's log.
    pub fn log(&self) -> String {
        self.cascade(&["logs", "-n", "100"]).stdout
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A watcher in the background.
pub struct Watcher<'a> {
    sandbox: &'a Sandbox,
    process: u64,
}

impl Watcher<'_> {
    /// Kills it as nothing else may.
    pub fn kill(self) {
        let process = rustix::process::Pid::from_raw(i32::try_from(self.process).unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.sandbox.cascade(&["stop"]);
    }
}

/// A checkout whose watcher ends with the test.
pub struct Watched(Sandbox);

impl Deref for Watched {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.cascade(&["stop"]);
    }
}

impl Watched {
    /// Sets up a pipeline that saves fast; nothing is started.
    pub fn ready(settle: &str, more: &str) -> Self {
        Self::of(Sandbox::with_origin(), settle, more)
    }

    /// The same in a checkout that is there.
    pub fn of(sandbox: Sandbox, settle: &str, more: &str) -> Self {
        let pipeline = format!(
            "version: 1\nproject: p\nsandbox: {{ settle: {settle}, batch_window: 1s, exclude: [\"node_modules/\"] }}\n\
             health: {{ every: 1s }}\nnotify: {{ desktop: false }}\n{more}\n"
        );
        sandbox.write("cascade-sync.yaml", pipeline);
        sandbox.cascade(&["init"]).expect_code(0);
        sandbox.commit("Set up");
        Self(sandbox)
    }

    /// Sets up a pipeline and starts its watcher.
    pub fn started() -> Self {
        let watched = Self::ready("200ms", "");
        watched.start();
        watched
    }

    /// Starts the watcher in the background and answers what that printed.
    #[track_caller]
    pub fn start(&self) -> Value {
        let started = self.cascade(&["start", "--json"]);
        let log = self.log();
        assert_eq!(started.code, 0, "{started:#?}\n{log}");
        started.json()
    }

    /// Stops the watcher.
    #[track_caller]
    pub fn stop(&self) -> Output {
        self.cascade(&["stop", "--json"]).expect_code(0)
    }

    /// Answers a file as a revision has it, trimmed.
    pub fn at(&self, revision: &str, path: &str) -> Option<String> {
        let shown = self.try_git(&["show", &format!("{revision}:{path}")]);
        (shown.code == 0).then(|| shown.stdout.trim().to_owned())
    }

    /// Waits until a file has this content on a revision.
    #[track_caller]
    pub fn until_saved(&self, revision: &str, path: &str, content: &str) {
        self.until(&format!("{path} on {revision}"), || self.at(revision, path).as_deref() == Some(content));
    }

    /// Waits until the remote's `develop` is where the local one is.
    #[track_caller]
    pub fn until_pushed(&self) {
        let pushed = || self.git(&["ls-remote", "origin", "develop"]).split('\t').next().map(str::to_owned);
        self.until("develop on origin", || pushed() == Some(self.git(&["rev-parse", "develop"])));
    }

    /// Counts the saves on `develop`.
    pub fn saves(&self) -> usize {
        self.git(&["rev-list", "--count", "--grep=^Cascade-Batch: ", "develop"]).parse().unwrap()
    }
}
