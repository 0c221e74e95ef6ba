//! A checkout with a whole pipeline, driven through the built binary.

use std::ops::Deref;

use serde_json::Value;

use super::{Output, Sandbox, output};

/// A checkout on `develop` with `staging` and `production`, with or without a bare remote.
pub struct Pipeline {
    sandbox: Sandbox,
    has_remote: bool,
}

impl Deref for Pipeline {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// Environments without checks; production wants one approval.
pub const PLAIN: &str = "
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 1 } }
";

impl Pipeline {
    /// Makes one whose `environments:` section is `environments` and whose `checks:` section is `checks`.
    pub fn new(has_remote: bool, environments: &str, checks: &str) -> Self {
        Self::bare(has_remote).configured(environments, checks)
    }

    /// The same in a repository that there is already; whether it has a remote must be told.
    pub fn around(sandbox: Sandbox, has_remote: bool, environments: &str, checks: &str) -> Self {
        Self { sandbox, has_remote }.configured(environments, checks)
    }

    /// A checkout that has no pipeline before [`Pipeline::configured`].
    pub fn bare(has_remote: bool) -> Self {
        let sandbox = if has_remote { Sandbox::with_origin() } else { Sandbox::new() };
        Self { sandbox, has_remote }
    }

    /// Configures it and makes its branches.
    pub fn configured(self, environments: &str, checks: &str) -> Self {
        self.configure(environments, checks);
        self.cascade(&["init"]).expect_code(0);
        self.save("cascade-sync.yaml is here");
        self
    }

    /// Writes the configuration.
    pub fn configure(&self, environments: &str, checks: &str) {
        let checks = if checks.is_empty() { " {}" } else { checks };
        let text = format!(
            "version: 1\nproject: shop\nnotify: {{ desktop: false }}\nenvironments:{environments}\nchecks:{checks}\n"
        );
        self.write("cascade-sync.yaml", text);
    }

    /// Commits everything on `develop` and pushes it.
    pub fn save(&self, message: &str) -> String {
        self.commit(message);
        if self.has_remote {
            self.git(&["push", "--quiet", "--no-verify", "origin", "develop"]);
        }
        self.tip("develop")
    }

    /// Writes a file and saves it.
    pub fn save_file(&self, path: &str, content: &str) -> String {
        self.write(path, content);
        self.save(&format!("Change {path}"))
    }

    /// Answers a local branch's commit.
    #[track_caller]
    pub fn tip(&self, branch: &str) -> String {
        self.git(&["rev-parse", &format!("refs/heads/{branch}")])
    }

    /// Answers a branch's commit on the remote.
    #[track_caller]
    pub fn remote_tip(&self, branch: &str) -> String {
        let line = self.git(&["ls-remote", "origin", &format!("refs/heads/{branch}")]);
        line.split('\t').next().unwrap_or_default().to_owned()
    }

    /// Answers the newest entry of the remote's ledger; nothing where it has none.
    #[track_caller]
    pub fn remote_ledger(&self) -> String {
        let line = self.git(&["ls-remote", "origin", "refs/cascade/ledger"]);
        line.split('\t').next().unwrap_or_default().to_owned()
    }

    /// Answers the tree of a commit.
    #[track_caller]
    pub fn tree(&self, commit: &str) -> String {
        self.git(&["rev-parse", &format!("{commit}^{{tree}}")])
    }

    /// Promotes and expects an exit code.
    #[track_caller]
    pub fn promote(&self, environment: &str, code: i32) -> Output {
        self.cascade(&["promote", environment]).expect_code(code)
    }

    /// Answers the newest promotion of an environment, as `history --json` tells it.
    #[track_caller]
    pub fn newest(&self, environment: &str) -> Value {
        let history = self.cascade(&["history", environment, "--json"]).expect_code(0).json();
        history[0].clone()
    }

    /// Clones the remote afresh and runs cascade in the clone, which has no database of its own.
    pub fn in_a_clone(&self, words: &[&str]) -> Output {
        let clone = self.base().join("clone");
        if clone.exists() {
            std::fs::remove_dir_all(&clone).unwrap();
        }
        self.git(&["clone", "--quiet", "../origin.git", "../clone"]);
        self.in_place("clone", words)
    }

    /// Runs cascade in another checkout beside this one, with a directory of cascade's own.
    pub fn in_place(&self, place: &str, words: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_cascade"), words);
        command.current_dir(self.base().join(place)).env("CASCADE_HOME", self.base().join(format!("{place}-home")));
        output(command, b"")
    }

    /// Makes a second machine at `second`: a clone with a database of its own.
    pub fn second_machine(&self) {
        self.git(&["clone", "--quiet", "--branch", "develop", "../origin.git", "../second"]);
        for branch in ["staging", "main"] {
            if self.try_git(&["-C", "../second", "rev-parse", "--verify", &format!("origin/{branch}")]).code == 0 {
                self.git(&["-C", "../second", "branch", "--quiet", branch, &format!("origin/{branch}")]);
            }
        }
    }
}
