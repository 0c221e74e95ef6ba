//! `cascade man [COMMAND]`.

use clap::CommandFactory as _;

use super::args::{Args, Man};
use super::{Failure, Outcome, Shell};

/// Prints a manual page in roff: that of the program, or that of one command.
///
/// # Errors
/// There is no such command.
pub fn run(shell: &Shell, args: &Man) -> Outcome {
    let mut command = Args::command();
    command.build();
    let mut name = "cascade".to_owned();
    for word in &args.command {
        let unknown = || Failure::usage(format!("there is no command `{word}`")).with_hint("see `cascade --help`");
        command = command.find_subcommand(word).cloned().ok_or_else(unknown)?;
        name = format!("{name}-{word}");
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .title(name)
        .render(&mut page)
        .map_err(|source| Failure::unavailable("the page cannot be written", &source))?;
    shell.ui.raw(&page);
    Ok(())
}
