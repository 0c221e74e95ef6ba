//! A machine of its own for each test: home, git configuration, checkout and remote in one temporary directory.

pub mod certificate;
pub mod cut_disk;
pub mod desktop;
pub mod dice;
pub mod folding_disk;
pub mod mail;
pub mod object_store;
pub mod pipeline;
pub mod receiver;
pub mod service;
pub mod small_disk;
pub mod watched;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cascade::alert::Alerts;
use cascade::base::Clock;
use cascade::config::{self, Variables};
use cascade::context::Context;
use cascade::git::{Git, Repo};
use cascade::store::{Home, Store};
use tempfile::TempDir;

/// The identity of every commit.
const GIT_CONFIG: &str = "[user]\n\tname = Ada\n\temail = ada@example.test\n[init]\n\tdefaultBranch = main\n\
    [commit]\n\tgpgSign = false\n[advice]\n\tdetachedHead = false\n";

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// How many tests could not ask what they are for.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Notes that a test cannot run on this machine, with the count so far; a failure where everything is required.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CASCADE_REQUIRE_ALL").is_none(), "required, but {reason}");
    skip_unsupported(reason);
}

/// Notes that this machine cannot do what a test is for, whatever is installed on it; counted, and never a failure.
pub fn skip_unsupported(reason: &str) {
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Written past the harness, which keeps to itself what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped ({number}): {reason}");
}

/// A checkout in its own world.
pub struct Sandbox {
    directory: TempDir,
    /// Who runs its programs, where that is not who runs the tests.
    user: Option<u32>,
}

/// What a program answered.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Output {
    /// Answers stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|problem| panic!("not JSON ({problem}): {self:?}"))
    }

    /// Expects an exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl Sandbox {
    /// Makes an empty directory `checkout` that is no repository.
    pub fn empty() -> Self {
        let sandbox = Self { directory: tempfile::tempdir().unwrap(), user: None };
        for name in ["home", "checkout"] {
            std::fs::create_dir(sandbox.base().join(name)).unwrap();
        }
        std::fs::write(sandbox.base().join("home/.gitconfig"), GIT_CONFIG).unwrap();
        sandbox
    }

    /// Makes a repository with one commit on `main`.
    pub fn new() -> Self {
        let sandbox = Self::empty();
        sandbox.git(&["init", "--quiet"]);
        sandbox.write("README", "hello\n");
        sandbox.commit("First commit");
        sandbox
    }

    /// Makes a repository like [`Sandbox::new`] whose `origin` is a bare repository that has `main`.
    pub fn with_origin() -> Self {
        let sandbox = Self::new();
        sandbox.git(&["init", "--quiet", "--bare", "../origin.git"]);
        sandbox.git(&["remote", "add", "origin", "../origin.git"]);
        sandbox.git(&["push", "--quiet", "-u", "origin", "main"]);
        sandbox
    }

    /// Sees that its programs run as somebody to whom permissions apply; nothing, with a note, where none may.
    pub fn unprivileged(mut self) -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            return Some(self);
        }
        give(self.base(), NOBODY);
        self.user = Some(NOBODY);
        let reached = output(self.command("test", &["-x", env!("CARGO_BIN_EXE_cascade")]), b"").code == 0;
        if !reached {
            skip("nobody but root can reach the built program");
        }
        reached.then_some(self)
    }

    /// The temporary directory.
    pub fn base(&self) -> &Path {
        self.directory.path()
    }

    /// The checkout.
    pub fn root(&self) -> PathBuf {
        self.base().join("checkout")
    }

    /// Writes a file of the checkout.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        if let Some(user) = self.user {
            let made = path.ancestors().take_while(|above| *above != self.root());
            made.for_each(|path| std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap());
        }
    }

    /// Writes an executable file of the checkout.
    pub fn write_program(&self, path: &str, content: &str) {
        self.write(path, content);
        std::fs::set_permissions(self.root().join(path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Reads a file of the checkout.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Commits everything that changed.
    #[track_caller]
    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--no-verify", "-m", message]);
    }

    /// Runs git in the checkout, expects success and answers what it printed, trimmed.
    #[track_caller]
    pub fn git(&self, words: &[&str]) -> String {
        let output = self.try_git(words);
        assert_eq!(output.code, 0, "git {words:?}: {output:#?}");
        output.stdout.trim().to_owned()
    }

    /// Runs git in the checkout.
    pub fn try_git(&self, words: &[&str]) -> Output {
        output(self.command("git", words), b"")
    }

    /// Runs cascade in the checkout.
    pub fn cascade(&self, words: &[&str]) -> Output {
        self.cascade_fed(words, b"")
    }

    /// Runs cascade in the checkout with something on stdin.
    pub fn cascade_fed(&self, words: &[&str], input: &[u8]) -> Output {
        output(self.command(env!("CARGO_BIN_EXE_cascade"), words), input)
    }

    /// Prepares a program in the checkout with nothing of the real environment but PATH, cascade first.
    pub fn command(&self, program: &str, words: &[&str]) -> Command {
        let home = self.base().join("home");
        let mut command = Command::new(program);
        command.args(words).current_dir(self.root()).env_clear().env("PATH", program_path()).env("LC_ALL", "C.UTF-8");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("xdg")).env("USER", "ada");
        command.env("CASCADE_HOME", self.base().join("cascade"));
        command.env("GIT_CONFIG_GLOBAL", home.join(".gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CEILING_DIRECTORIES", self.base());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Lists what is locked or left over in git's directory, the index that is replaced at the moment aside.
    pub fn left_behind(&self) -> Vec<String> {
        let git_dir = self.root().join(".git");
        let (mut left, mut directories) = (Vec::new(), vec![git_dir.clone()]);
        while let Some(directory) = directories.pop() {
            for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                let name = path.file_name().unwrap().to_str().unwrap();
                let is_ours = name.starts_with("cascade-") && !name.ends_with(".old");
                if is_ours || name.ends_with(".lock") || name.starts_with("tmp_") {
                    left.push(path.strip_prefix(&git_dir).unwrap().to_str().unwrap().to_owned());
                } else if path.is_dir() {
                    directories.push(path);
                }
            }
        }
        left.sort();
        left
    }

    /// Opens the checkout as the program does.
    pub async fn context(&self, clock: Arc<dyn Clock>) -> Context {
        context(&self.root(), &self.base().join("cascade"), clock).await
    }

    /// Runs `assertion` with snapshot filters for what differs from run to run: paths and object ids.
    pub fn filtered(&self, assertion: impl FnOnce()) {
        let mut settings = insta::Settings::clone_current();
        let real = self.base().canonicalize().unwrap();
        settings.add_filter(&escaped(&real), "[BASE]");
        settings.add_filter(&escaped(self.base()), "[BASE]");
        settings.add_filter(r"\b[0-9a-f]{40}\b", "[OID]");
        settings.add_filter(r"\(commit [0-9a-f]{10}\)", "(commit [OID])");
        settings.bind(assertion);
    }
}

/// Makes a directory and everything in it the property of a user.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

/// Answers a `PATH` on which cascade comes first.
fn program_path() -> OsString {
    let own = Path::new(env!("CARGO_BIN_EXE_cascade")).parent().unwrap().to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([own].into_iter().chain(std::env::split_paths(&inherited))).unwrap()
}

/// Opens a checkout as the program does, with a clock of the test's choice and nobody to alert.
pub async fn context(root: &Path, home: &Path, clock: Arc<dyn Clock>) -> Context {
    let repo = Repo::open(root).unwrap();
    let config = config::load(root, &Variables::default()).unwrap();
    let home = Home::new(home);
    let project = home.project(repo.common_dir());
    Context {
        git: Git::open(root, Some(program_path()))
            .unwrap()
            .with_durability(config.sandbox.durability)
            .with_network_deadline(config.remote_deadline.0),
        store: Store::open(&home, &project).await.unwrap(),
        alerts: Arc::new(Alerts::recording(Arc::clone(&clock)).0),
        config: Arc::new(config),
        variables: Arc::default(),
        committed: Arc::default(),
        clock,
        home: project,
        stop: Arc::default(),
        person: "ada".to_owned(),
    }
}

/// Runs a prepared program to its end.
pub fn output(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program need not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn escaped(path: &Path) -> String {
    path.to_str().unwrap().replace('.', r"\.")
}
