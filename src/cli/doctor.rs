//! `cascade doctor [--dry-run]`: asks everything that can be asked, repairs what can be repaired, and tells the rest.

mod ledger;
mod machine;
mod repository;

use serde::Serialize;

use super::args::Doctor;
use super::ui::{Cell, Tone};
use super::{Failure, Outcome, Shell};
use crate::base::units::count;
use crate::base::{Clock as _, Diagnosis, ErrorKind, Timestamp, Verdict, clock::SystemClock};
use crate::git::{Error, Git};

/// What is done about something that can be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is named.
    Look,
    /// It is repaired.
    Repair,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Document {
    dry_run: bool,
    diagnoses: Vec<Diagnosis>,
}

/// Asks all questions in turn; one that cannot be asked does not keep the others from being asked.
///
/// # Errors
/// [`ErrorKind::Unavailable`] where something is left to do (all answers are printed first).
pub async fn run(shell: &Shell, args: Doctor) -> Outcome {
    let mode = if args.dry_run { Mode::Look } else { Mode::Repair };
    let document = Document { dry_run: args.dry_run, diagnoses: diagnose(shell, mode, SystemClock.now()).await };
    if shell.ui.is_json() {
        shell.ui.json(&document)?;
    } else {
        print(shell, &document);
    }
    conclude(&document, mode)
}

async fn diagnose(shell: &Shell, mode: Mode, now: Timestamp) -> Vec<Diagnosis> {
    let mut all = vec![repository::program(shell)];
    let git = match Git::open(&shell.directory, shell.edge.program_path()) {
        Ok(git) => git,
        Err(problem) => {
            all.push(Diagnosis::of_error(repository::QUESTION, &problem));
            all.extend(machine::home(shell));
            return all;
        }
    };
    let config = shell.config(git.root());
    all.push(match &config {
        Ok(_) => Diagnosis::ok("configuration", format!("{} is valid", crate::config::FILE_NAME)),
        Err(failure) => of_failure("configuration", failure),
    });
    let config = config.ok();
    all.extend(repository::local(&git, config.as_ref(), mode, now).await);
    all.extend(repository::remote(&git, config.as_ref()).await.unwrap_or_default());
    all.extend(machine::all(shell, &git, config.as_ref(), mode, now).await);
    all
}

fn print(shell: &Shell, document: &Document) {
    let rows: Vec<Vec<Cell>> = document.diagnoses.iter().map(row).collect();
    shell.ui.table(&rows);
    // In full: a table is cut at the edge of the terminal, and a command that is cut cannot be copied.
    let worth_it = |found: &&Diagnosis| found.verdict != Verdict::Ok || found.advice.is_some();
    for (number, found) in document.diagnoses.iter().filter(worth_it).enumerate() {
        if number == 0 {
            shell.ui.line("");
        }
        shell.ui.line(&format!("{}: {}", found.question, found.detail));
        if let Some(advice) = &found.advice {
            shell.ui.line(&format!("  → {advice}"));
        }
    }
}

fn row(diagnosis: &Diagnosis) -> Vec<Cell> {
    let (mark, tone) = match diagnosis.verdict {
        Verdict::Ok => ("✓", Tone::Good),
        Verdict::Repaired => ("✓", Tone::Warn),
        Verdict::CanBeRepaired | Verdict::Unknown => ("?", Tone::Warn),
        Verdict::Problem => ("✗", Tone::Bad),
    };
    let word = Cell::new(diagnosis.verdict.as_str(), tone);
    vec![Cell::new(mark, tone), diagnosis.question.into(), word, diagnosis.detail.as_str().into()]
}

fn conclude(document: &Document, mode: Mode) -> Outcome {
    let left = |verdict: Verdict| document.diagnoses.iter().filter(|found| found.verdict == verdict).count();
    let told = [
        (left(Verdict::Problem), "problem"),
        (left(Verdict::Unknown), "question without an answer"),
        (left(Verdict::CanBeRepaired), "thing that can be repaired"),
    ];
    let told: Vec<String> =
        told.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| counted(number, what)).collect();
    if document.diagnoses.iter().all(|diagnosis| diagnosis.verdict.is_good()) {
        return Ok(());
    }
    let failure = Failure::new(ErrorKind::Unavailable, told.join(", "));
    Err(match left(Verdict::CanBeRepaired) {
        0 => failure,
        _ if mode == Mode::Look => failure.with_hint("`cascade doctor` repairs what can be repaired"),
        _ => failure.with_hint("what is left can be repaired once what is in the way, as said above, is gone"),
    })
}

/// Counts things whose name does not end with their noun.
fn counted(number: usize, what: &str) -> String {
    let (noun, rest) = what.split_once(' ').map_or((what, String::new()), |(noun, rest)| (noun, format!(" {rest}")));
    format!("{}{rest}", count(number, noun))
}

/// Answers what an error of git's means: without the program a question has no answer.
fn of_error(question: &'static str, problem: &Error) -> Diagnosis {
    match problem {
        Error::ProgramMissing => Diagnosis::new(question, Verdict::Unknown, "cannot be asked without the git program"),
        // The way out that others are told is the doctor.
        Error::Program { .. } | Error::ProgramTimeout { .. } => {
            Diagnosis { advice: None, ..Diagnosis::of_error(question, problem) }
        }
        _ => Diagnosis::of_error(question, problem),
    }
}

fn of_failure(question: &'static str, failure: &Failure) -> Diagnosis {
    let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
    let detail = format!("{}{causes}", failure.message);
    Diagnosis { advice: failure.hint.clone(), ..Diagnosis::new(question, Verdict::Problem, detail) }
}
