//! `cascade health [ENV]`.

use serde::Serialize;

use super::args::Health;
use super::standing::{self, Standing};
use super::status::{Sandbox, sandbox};
use super::ui::Cell;
use super::{Failure, Outcome, Shell, words};
use crate::base::ErrorKind;
use crate::check::{self, Outcome as Answer, Place};
use crate::config::FILE_NAME;
use crate::context::Context;
use crate::git::{Head, Repo};
use crate::store::{SandboxState, State};

/// More changed paths than this, and the watcher does not keep up.
const PENDING_LIMIT_PATHS: i64 = 10_000;

/// One question and its answer.
#[derive(Debug, Clone, Serialize)]
struct Verdict {
    name: String,
    outcome: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// How everything is.
#[derive(Debug, Serialize)]
struct Document {
    service: Verdict,
    configuration: Verdict,
    repository: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Verdict>,
    environments: Vec<Verdict>,
    checks: Vec<Verdict>,
}

impl Verdict {
    fn new(name: &str, outcome: Answer, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), outcome: outcome.as_str(), detail: detail.into(), seconds: None }
    }

    fn row(&self) -> Vec<Cell> {
        let (mark, tone) = words::mark(self.outcome);
        let took = self.seconds.map(|seconds| format!("{seconds:.1}s")).unwrap_or_default();
        vec![Cell::new(mark, tone), self.name.as_str().into(), self.detail.as_str().into(), took.into()]
    }
}

/// Asks now how service, configuration, repository, environments and what runs are.
///
/// # Errors
/// Unknown environment; [`ErrorKind::CheckFailed`] where an answer is not *pass* (all are printed first).
pub async fn run(shell: &Shell, args: &Health) -> Outcome {
    let ctx = shell.context().await?;
    let checks = match &args.environment {
        Some(name) => standing::known(&ctx, name)?.verify.clone(),
        None => ctx.config.health.checks.clone(),
    };
    let mut standings = standing::all(&ctx).await?;
    standings.retain(|standing| args.environment.as_ref().is_none_or(|name| standing.name == *name));
    let document = Document {
        service: service(&sandbox(&ctx).await?),
        configuration: Verdict::new("configuration", Answer::Pass, format!("{FILE_NAME} is valid")),
        repository: repository(&ctx).await,
        remote: remote(&ctx).await,
        environments: standings.iter().map(readiness).collect(),
        checks: ask(&ctx, &checks).await,
    };
    if shell.ui.is_json() {
        shell.ui.json(&document)?;
    } else {
        shell.ui.table(&document.verdicts().map(Verdict::row).collect::<Vec<_>>());
    }
    conclude(&document, args.environment.is_none())
}

impl Document {
    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        let own = [&self.service, &self.configuration, &self.repository].into_iter();
        own.chain(&self.remote).chain(&self.environments).chain(&self.checks)
    }
}

/// An environment is as well as it is, whether anybody watches the checkout or not.
fn conclude(document: &Document, counts_service: bool) -> Outcome {
    let counts = |verdict: &&Verdict| counts_service || !std::ptr::eq(*verdict, &document.service);
    let bad = document.verdicts().filter(counts).filter(|verdict| verdict.outcome != "pass");
    let bad: Vec<&str> = bad.map(|verdict| verdict.name.as_str()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let hint = if document.service.outcome == "pass" || !counts_service {
        "see `cascade status`"
    } else {
        "start it with `cascade start`"
    };
    Err(Failure::new(ErrorKind::CheckFailed, format!("not healthy: {}", bad.join(", "))).with_hint(hint))
}

/// The watcher lives, shows it, and keeps up.
fn service(sandbox: &Sandbox) -> Verdict {
    let reason = sandbox.reason.clone().unwrap_or_default();
    let (outcome, detail) = match sandbox.state {
        SandboxState::Stopped => (Answer::Fail, "the watcher is not running".to_owned()),
        _ if sandbox.is_silent => (Answer::Unknown, reason),
        SandboxState::Paused => (Answer::Fail, format!("paused: {reason}")),
        SandboxState::Watching => match sandbox.pending {
            Some(pending) if pending > PENDING_LIMIT_PATHS => {
                (Answer::Fail, format!("{pending} paths wait to be saved"))
            }
            _ if sandbox.durability.is_fast() => {
                (Answer::Pass, "the watcher runs and keeps up; saves reach the disk seconds later (fast)".to_owned())
            }
            _ => (Answer::Pass, "the watcher runs and keeps up".to_owned()),
        },
    };
    match &sandbox.push_problem {
        Some(problem) if outcome == Answer::Pass => {
            Verdict::new("service", Answer::Fail, format!("cannot push: {problem}"))
        }
        _ => Verdict::new("service", outcome, detail),
    }
}

async fn repository(ctx: &Context) -> Verdict {
    let branches: Vec<String> = ctx.config.branches().into_iter().map(str::to_owned).collect();
    let checked = ctx.git.run(move |repo| complete(repo, &branches)).await;
    match checked {
        Ok(detail) => Verdict::new("repository", Answer::Pass, detail),
        Err(problem) => Verdict::new("repository", Answer::Fail, problem.to_string()),
    }
}

/// Asks the remote for its branches, where there is one: without it nothing can be promoted.
async fn remote(ctx: &Context) -> Option<Verdict> {
    let (name, branch) = (ctx.config.remote.clone(), ctx.config.sandbox.branch.clone());
    let asked = ctx.git.run(move |repo| repo.has_remote(&name).then(|| repo.probe(&name, &branch)).transpose()).await;
    let (outcome, detail) = match asked {
        Ok(None) => return None,
        Ok(Some(())) => (Answer::Pass, format!("{} answers", ctx.config.remote)),
        Err(problem) => (Answer::Fail, problem.to_string()),
    };
    Some(Verdict::new("remote", outcome, detail))
}

/// Reads `HEAD` and every branch's tip, and looks whether all that they contain is there. Whether old objects still
/// have the content that their names say is for `git fsck`.
pub(super) fn complete(repo: &Repo, branches: &[String]) -> crate::git::Result<String> {
    let head = match repo.head()? {
        Head::Branch { name, .. } | Head::Unborn { name } => format!("HEAD is on {name}"),
        Head::Detached { .. } => "HEAD is detached".to_owned(),
    };
    let tips = branches.iter().map(|branch| repo.existing_branch_tip(branch)).collect::<Result<Vec<_>, _>>()?;
    repo.require_complete(&tips)?;
    Ok(format!("{head}, {} branches are complete", branches.len()))
}

/// Whether a promotion could begin, and nothing is stuck.
fn readiness(standing: &Standing) -> Verdict {
    let open = standing.open.as_ref();
    let (outcome, detail) = if standing.tip.is_none() {
        (Answer::Fail, format!("`{}` does not exist: run `cascade init`", standing.branch))
    } else if let Some(paused) = &standing.paused {
        (Answer::Fail, format!("promotion {} is live and not verified", paused.id))
    } else if let Some(hold) = &standing.hold {
        (Answer::Fail, format!("held: {}", hold.reason))
    } else if standing.is_interrupted {
        (Answer::Fail, format!("a promotion was interrupted: `cascade promote {}` takes it up", standing.name))
    } else if standing.last.as_ref().is_some_and(|last| last.state == State::RollbackFailed) {
        (Answer::Fail, "the last rollback failed".to_owned())
    } else if standing.health == Answer::Fail {
        (Answer::Fail, "what is live does not pass its verification".to_owned())
    } else if let Some(open) = open {
        (Answer::Pass, format!("promotion {} is {}", open.id, words::state(open.state)))
    } else {
        (Answer::Pass, format!("ready: {}", standing.distance()))
    };
    Verdict::new(&standing.name, outcome, detail)
}

async fn ask(ctx: &Context, names: &[String]) -> Vec<Verdict> {
    let place = Place { directory: Some(ctx.git.root()), ..Place::default() };
    let mut verdicts = Vec::new();
    for name in names {
        let Some(spec) = ctx.config.checks.get(name) else { continue };
        let answer = check::ask(name, spec, &place).await;
        let verdict = Verdict::new(name, answer.outcome, answer.detail);
        verdicts.push(Verdict { seconds: Some(answer.duration.as_secs_f64()), ..verdict });
    }
    verdicts
}
