//! `cascade demo`: the whole main job, for real, in a throw-away repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::args::Demo;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell};
use crate::git::Repo;

/// How the demo's pipeline differs from what `init` writes: it is quick, and production verifies what is live.
const CONFIGURATION: &str = "\
version: 1
project: demo
sandbox: { settle: 300ms, batch_window: 2s }
notify: { desktop: false }
environments:
  staging:
    from: develop
    branch: staging
    checks: [build]
  production:
    from: staging
    branch: main
    approval: { required: 1, expires: 24h }
    checks: [build]
    verify: [site-up]
checks:
  build: { run: \"test -s public/index.html\" }
  site-up: { run: \"grep '<h1>' public/index.html\", every: 200ms, failures: 2, deadline: 10s }
";

/// Longest time a save may take to arrive.
const SAVE_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks for a save.
const SAVE_POLL: Duration = Duration::from_millis(50);

/// Runs the demo and tells it step by step.
///
/// # Errors
/// A step did not end as it must; the repository is kept then.
pub async fn run(shell: &Shell, args: &Demo) -> Outcome {
    let directory = tempfile::Builder::new()
        .prefix("cascade-demo-")
        .tempdir()
        .map_err(|source| Failure::unavailable("cannot make a temporary directory", &source))?;
    let stage = Stage { shell, base: directory.path().to_owned() };
    let told = stage.tell().await;
    // Whatever happened, the watcher must not outlive its sandbox.
    let stopped = stage.cascade(&["stop"], 0);
    if args.keep || told.is_err() {
        let kept = directory.keep();
        shell.ui.line(&format!("\nThe demo is kept in {}", kept.display()));
        shell.ui.line(&format!("  cd {0}/sandbox && CASCADE_HOME={0}/home cascade status", kept.display()));
    }
    told.and(stopped)?;
    if shell.ui.is_json() {
        return shell.ui.json(&serde_json::json!({ "demo": "done" }));
    }
    Ok(())
}

struct Stage<'a> {
    shell: &'a Shell,
    base: PathBuf,
}

impl Stage<'_> {
    async fn tell(&self) -> Outcome {
        self.set_the_stage()?;
        self.first_release().await?;
        self.bad_release().await?;
        self.fix().await?;
        self.chapter("Where everything is now");
        self.cascade(&["status"], 0)?;
        self.cascade(&["history"], 0)?;
        self.chapter("That was the whole job");
        self.say("Saves became commits, commits became releases, and the bad release went back by itself.");
        self.say("Begin with your own checkout: `cascade init`, then `cascade start`.");
        Ok(())
    }

    fn set_the_stage(&self) -> Outcome {
        self.chapter("A scratch origin and a sandbox");
        let root = self.sandbox();
        self.git(&self.base, &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"])?;
        self.git(&self.base, &["init", "--quiet", "--initial-branch=main", "sandbox"])?;
        for setting in [["user.name", "Demo"], ["user.email", "demo@localhost"], ["commit.gpgSign", "false"]] {
            self.git(&root, &["config", setting[0], setting[1]])?;
        }
        self.write("public/index.html", "<h1>Hello</h1>\n")?;
        self.git(&root, &["add", "--all"])?;
        self.git(&root, &["commit", "--quiet", "-m", "First commit"])?;
        self.git(&root, &["remote", "add", "origin", "../origin.git"])?;
        self.git(&root, &["push", "--quiet", "origin", "main"])?;
        self.write("cascade-sync.yaml", CONFIGURATION)?;
        self.cascade(&["init"], 0)?;
        self.cascade(&["start"], 0)
    }

    async fn first_release(&self) -> Outcome {
        self.chapter("A save becomes a commit on develop");
        self.edit("public/index.html", "<h1>Hello, world</h1>\n").await?;
        self.chapter("The commit becomes a release");
        self.cascade(&["deploy-staging"], 0)?;
        self.say("Production has an approval gate: without a terminal to ask, the command exits 3.");
        self.cascade(&["deploy-production"], 3)?;
        self.cascade(&["approve", "--reason", "looks good"], 0)
    }

    async fn bad_release(&self) -> Outcome {
        self.chapter("A bad release goes back");
        self.say("This page builds, but production's verification wants a heading that it lacks.");
        self.edit("public/index.html", "<p>no heading</p>\n").await?;
        self.cascade(&["deploy-staging"], 0)?;
        self.cascade(&["deploy-production"], 3)?;
        self.say("Somebody approves it all the same; exit code 6 says that it was rolled back.");
        self.cascade(&["approve"], 6)?;
        self.say("Production has the good page again, here and on the origin:");
        self.git_shown(&["show", "main:public/index.html"])?;
        self.say("And it stays so: the environment is held, the commit quarantined.");
        self.cascade(&["why", "production"], 0)
    }

    async fn fix(&self) -> Outcome {
        self.chapter("A fix gets through");
        self.edit("public/index.html", "<h1>Hello again</h1>\n<p>with a heading</p>\n").await?;
        self.cascade(&["deploy-staging"], 0)?;
        self.cascade(&["deploy-production"], 3)?;
        self.cascade(&["approve"], 0)
    }

    fn sandbox(&self) -> PathBuf {
        self.base.join("sandbox")
    }

    fn chapter(&self, title: &str) {
        self.shell.ui.line("");
        self.shell.ui.heading(title);
    }

    fn say(&self, text: &str) {
        self.shell.ui.line(text);
    }

    fn write(&self, path: &str, content: &str) -> Outcome {
        let path = self.sandbox().join(path);
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, content));
        written.map_err(|source| Failure::unavailable(format!("cannot write {}", path.display()), &source))
    }

    /// Writes a file as an editor would, and waits until the watcher has committed and pushed it.
    async fn edit(&self, path: &str, content: &str) -> Outcome {
        let before = self.tip()?;
        self.shell.ui.pieces(&[Cell::new("$ ", Tone::Dim), Cell::new(format!("edit {path}"), Tone::Strong)]);
        self.write(path, content)?;
        let saved = async {
            loop {
                let (here, there) = self.tip()?;
                if here != before.0 && here == there {
                    return Ok(());
                }
                tokio::time::sleep(SAVE_POLL).await;
            }
        };
        let in_time = tokio::time::timeout(SAVE_DEADLINE, saved).await;
        in_time.unwrap_or_else(|_| Err(Failure::internal("the watcher did not save the edit")))?;
        self.git_shown(&["log", "-1", "--stat", "--format=%h %s%n%n%b", "develop"])
    }

    /// Answers where `develop` is, here and on the origin.
    fn tip(&self) -> Outcome<(Option<String>, Option<String>)> {
        let repo = Repo::open(&self.sandbox())?;
        let here = repo.branch_tip("develop")?.map(|id| id.to_string());
        let there = repo.tracking_tip("origin", "develop")?.map(|id| id.to_string());
        Ok((here, there))
    }

    /// Runs this very program in the sandbox and shows what it says; the exit code must be `code`.
    fn cascade(&self, words: &[&str], code: i32) -> Outcome {
        let program = std::env::current_exe()
            .map_err(|source| Failure::unavailable("this program does not know where it is", &source))?;
        let mut command = Command::new(program);
        command.args(words).current_dir(self.sandbox()).env("CASCADE_HOME", self.base.join("home"));
        self.show(&mut command, &format!("cascade {}", words.join(" ")), code)
    }

    fn git_shown(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new("git");
        command.args(words).current_dir(self.sandbox());
        self.show(&mut command, &format!("git {}", words.join(" ")), 0)
    }

    fn show(&self, command: &mut Command, shown: &str, code: i32) -> Outcome {
        let ui = &self.shell.ui;
        ui.pieces(&[Cell::new("$ ", Tone::Dim), Cell::new(shown, Tone::Strong)]);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Failure::unavailable(format!("cannot run `{shown}`"), &source))?;
        for text in [&output.stderr, &output.stdout] {
            String::from_utf8_lossy(text).lines().for_each(|line| ui.line(&format!("  {line}")));
        }
        match output.status.code() {
            Some(found) if found == code => Ok(()),
            found => Err(Failure::internal(format!("`{shown}` ended with {found:?} where the demo expects {code}"))),
        }
    }

    fn git(&self, directory: &Path, words: &[&str]) -> Outcome {
        let output = Command::new("git")
            .args(words)
            .current_dir(directory)
            .output()
            .map_err(|_| Failure::from(crate::git::Error::ProgramMissing))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::internal(format!("`git {}` failed: {said}", words.join(" "))))
    }
}
