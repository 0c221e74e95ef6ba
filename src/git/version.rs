//! Which git program is installed, and whether it is new enough.

use std::ffi::OsStr;
use std::path::Path;

use super::error::Result;
use super::program::Program;
use crate::base::escape::shown;
use crate::base::{Diagnosis, Verdict};

/// The oldest git that has `merge-tree --write-tree`.
const OLDEST: (u32, u32) = (2, 38);
/// What the question is called.
const QUESTION: &str = "git program";

/// Asks the installed git for its version: `2.47.3`.
///
/// # Errors
/// [`super::Error::ProgramMissing`], or it does not run.
pub fn installed(directory: &Path, program_path: Option<&OsStr>) -> Result<String> {
    let program = Program::at(directory, ["--version"]);
    let program = match program_path {
        Some(path) => program.env("PATH", path),
        None => program,
    };
    let said = shown(program.succeed()?.trim_ascii());
    Ok(said.strip_prefix("git version ").unwrap_or(&said).to_owned())
}

/// Answers whether a version will do.
#[must_use]
pub fn judged(version: &str) -> Diagnosis {
    let (major, minor) = OLDEST;
    match parsed(version) {
        Some(found) if found >= OLDEST => Diagnosis::ok(QUESTION, format!("git {version}")),
        Some(_) => Diagnosis::problem(
            QUESTION,
            format!("git {version} is too old"),
            format!("install git {major}.{minor} or newer"),
        ),
        None => Diagnosis::new(QUESTION, Verdict::Unknown, format!("`git --version` says `{version}`"))
            .advise(format!("see that it is git {major}.{minor} or newer")),
    }
}

/// Answers what is wrong where git cannot be asked.
#[must_use]
pub fn missing(problem: &super::Error) -> Diagnosis {
    Diagnosis::of_error(QUESTION, problem)
}

fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_must_be_new_enough_to_merge_trees() {
        for (version, expected) in [
            ("2.38.0", Verdict::Ok),
            ("2.47.3", Verdict::Ok),
            ("3.0.rc1", Verdict::Ok),
            ("2.39.5 (Apple Git-154)", Verdict::Ok),
            ("2.37.9", Verdict::Problem),
            ("1.99.0", Verdict::Problem),
            ("from the future", Verdict::Unknown),
        ] {
            assert_eq!(judged(version).verdict, expected, "{version}");
        }
        assert_eq!(judged("2.30.1").detail, "git 2.30.1 is too old");
    }
}
