//! `cascade stop` and `cascade restart`.

use super::{Outcome, Shell, service, start};

/// Ends the watcher; it saves first what was changed before. Its checkout may be gone.
///
/// # Errors
/// It cannot be reached, or does not end in time.
pub async fn run(shell: &Shell) -> Outcome {
    let stopped = service::stop(shell).await?;
    if shell.ui.is_json() {
        return shell.ui.json(&stopped);
    }
    match stopped.process {
        Some(process) => shell.ui.success(&format!("stopped the watcher (process {process})")),
        None => shell.ui.note("no watcher was running"),
    }
    Ok(())
}

/// Ends the watcher, if one runs, and starts one with the configuration as it is now.
///
/// # Errors
/// As [`run`] and `start`; a configuration that does not fit is refused before anything is stopped.
pub async fn restart(shell: &Shell) -> Outcome {
    shell.context().await?;
    service::stop(shell).await?;
    start::background(shell).await
}
