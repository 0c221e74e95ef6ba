//! `cascade verify [ENV] [--require-signed] [--offline]`: needs a clone and nothing else.

use super::args::Verify;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell, Ui, words};
use crate::base::units::count;
use crate::base::{Clock as _, ErrorKind, Timestamp, clock::SystemClock, escape::shown};
use crate::config::{Config, Error, FILE_NAME, load_written, parse_written};
use crate::git::{Git, Signature, SignatureStatus};
use crate::promote;
use crate::promote::audit::{EnvironmentReport, Kind, LedgerReport, Release, Report, Wish, audit};

/// Characters of a subject.
const SUBJECT_CHARS: usize = 50;

/// Audits the releases on the environments' branches by the ledger and the committed rules.
///
/// # Errors
/// [`ErrorKind::Integrity`] where a release was not promoted by the rules or the ledger is not sound (the answer is printed
/// first); unknown environment, no configuration, or the repository cannot be read.
pub async fn run(shell: &Shell, args: &Verify) -> Outcome {
    let git = Git::open(&shell.directory, shell.edge.program_path())?;
    let config = configuration(shell, &git).await?;
    if let Some(name) = &args.environment {
        require(&config, name)?;
    }
    let wish =
        Wish { environment: args.environment.clone(), requires_signature: args.require_signed, offline: args.offline };
    let report = git.run(move |repo| audit(repo, &config, &wish)).await?;
    if shell.ui.is_json() {
        shell.ui.json(&report)?;
    } else {
        print(&shell.ui, &report, SystemClock.now());
    }
    conclude(&report)
}

/// Answers the configuration at the top of the checkout; where what is checked out has none, that of the newest branch
/// with one.
async fn configuration(shell: &Shell, git: &Git) -> Outcome<Config> {
    let missing = match load_written(git.root()) {
        Err(missing @ Error::Missing { .. }) => missing,
        loaded => return Ok(loaded?),
    };
    let Some((branch, bytes)) = git.run(|repo| repo.newest_with_file(FILE_NAME)).await? else {
        return Err(missing.into());
    };
    shell.ui.note(&format!("{FILE_NAME} is read from {branch}"));
    Ok(parse_written(&String::from_utf8_lossy(&bytes), &format!("{branch}:{FILE_NAME}")).map_err(Error::from)?)
}

fn require(config: &Config, name: &str) -> Outcome {
    if config.environments.contains_key(name) {
        return Ok(());
    }
    let nearest = config.nearest_environment(name).map(ToOwned::to_owned);
    let known = config.environments.keys().cloned().collect();
    Err(promote::Error::UnknownEnvironment { name: shown(name.as_bytes()), nearest, known }.into())
}

fn conclude(report: &Report) -> Outcome {
    if report.is_good() {
        return Ok(());
    }
    let releases = report.environments.iter().flat_map(|environment| &environment.releases);
    let bad = releases.filter(|release| !release.problems.is_empty()).count();
    let message = match bad {
        0 => "the ledger does not vouch for what the branches have".to_owned(),
        _ => format!("{} not promoted by the rules", released(bad)),
    };
    if bad == 0 && !report.ledger.problems.is_empty() {
        return Err(Failure::new(ErrorKind::Integrity, message).with_hint(
            "a clone that still has what is missing or was rewritten can push it again: `git push origin refs/cascade/ledger`",
        ));
    }
    let hint = "what somebody else put on a branch is taken over by the promotion that brings it once more (`cascade back-merge \
         ENV`, then promote), or by `cascade promote ENV --merge`, with checks and gates";
    Err(Failure::new(ErrorKind::Integrity, message).with_hint(hint))
}

fn released(number: usize) -> String {
    format!("{} {}", count(number, "release"), if number == 1 { "was" } else { "were" })
}

fn print(ui: &Ui, report: &Report, now: Timestamp) {
    print_ledger(ui, &report.ledger);
    for environment in &report.environments {
        print_environment(ui, environment, now);
    }
    report.notes.iter().for_each(|note| ui.warning(note));
}

fn print_ledger(ui: &Ui, ledger: &LedgerReport) {
    let (entries, signed) = (ledger.entries, ledger.signed);
    let entries = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
    ui.pieces(&[Cell::new("ledger", Tone::Strong), format!(": {entries}, {signed} signed").into()]);
    for problem in &ledger.problems {
        ui.pieces(&[Cell::new("  ✗ ", Tone::Bad), problem.words().into()]);
    }
}

fn print_environment(ui: &Ui, environment: &EnvironmentReport, now: Timestamp) {
    let EnvironmentReport { name, branch, tip, since, held, releases, problems } = environment;
    let bad = releases.iter().filter(|release| !release.problems.is_empty()).count();
    let summary = match (tip, since, bad + problems.len()) {
        (None, None, 0) => "there is no such branch yet".to_owned(),
        (_, None, 0) => "nothing was promoted yet".to_owned(),
        (_, Some(since), 0) => {
            format!("{} since {}, all by the rules", count(releases.len(), "release"), words::moment(*since))
        }
        _ => format!("{} of {} by the rules", releases.len() - bad, count(releases.len(), "release")),
    };
    ui.pieces(&[Cell::new(name, Tone::Strong), format!(" ({branch}): {summary}").into()]);
    for problem in problems {
        ui.pieces(&[Cell::new("  ✗ ", Tone::Bad), problem.words().into()]);
    }
    if let Some(held) = held {
        let reason = held.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("held by {} since {}{reason}", words::name(&held.person), words::moment(held.since));
        ui.pieces(&[Cell::new("  ‖ ", Tone::Warn), text.into(), Cell::new(signature(&held.signature), Tone::Dim)]);
    }
    releases.iter().for_each(|release| print_release(ui, release, now));
}

fn print_release(ui: &Ui, release: &Release, now: Timestamp) {
    let (mark, tone) = match (release.problems.is_empty(), release.kind) {
        (false, _) => ("✗", Tone::Bad),
        (true, Kind::TakenOver) => ("?", Tone::Warn),
        (true, _) => ("✓", Tone::Good),
    };
    let text = format!(" {} {} {}", release.commit.short(), what(release), words::age(now, release.at));
    let signature = Cell::new(signature(&release.signature), Tone::Dim);
    ui.pieces(&["  ".into(), Cell::new(mark, tone), text.into(), signature]);
    for problem in &release.problems {
        ui.pieces(&[Cell::new(format!("      {}", problem.words()), Tone::Bad)]);
    }
}

/// Answers what brought a release: a promotion with its end, or somebody with the subject of the commit.
fn what(release: &Release) -> String {
    let promotion = release.promotion.as_ref().map(ToString::to_string).unwrap_or_default();
    let state = release.state.map_or_else(|| "no verdict yet".to_owned(), words::state);
    let subject = format!("\"{}\" by {}", words::cut(&release.subject, SUBJECT_CHARS), release.author);
    match release.kind {
        Kind::Promotion => format!("promotion {promotion}, {state}"),
        Kind::Rollback => format!("rollback of promotion {promotion}"),
        Kind::TakenOver => format!("{subject}, taken over by promotion {promotion}"),
        Kind::Foreign => subject,
    }
}

fn signature(signature: &Signature) -> String {
    let signer = signature.signer.as_deref().map(|signer| format!(" by {signer}")).unwrap_or_default();
    match signature.status {
        SignatureStatus::None | SignatureStatus::Bad => String::new(),
        SignatureStatus::Good => format!(", signed{signer}"),
        SignatureStatus::Unknown => format!(", signed with an unknown key{signer}"),
        SignatureStatus::Unchecked => ", signed (cannot be checked here)".to_owned(),
    }
}
