//! `cascade completions SHELL`.

use clap::CommandFactory as _;

use super::args::{Args, Completions};
use super::{Outcome, Shell};

/// Prints the completion script.
///
/// # Errors
/// None of its own.
pub fn run(shell: &Shell, args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "cascade", &mut script);
    shell.ui.raw(&script);
    Ok(())
}
