//! `cascade config check | show | schema | path`.

use serde_json::json;

use super::args::Config as Args;
use super::{Outcome, Shell};
use crate::base::units::count;
use crate::config::{self, FILE_NAME};

/// Answers about the configuration of the checkout.
///
/// # Errors
/// Not in a checkout; the configuration is missing or does not fit.
pub fn run(shell: &Shell, args: Args) -> Outcome {
    match args {
        Args::Check => check(shell),
        Args::Show => show(shell),
        Args::Schema => shell.ui.json(&config::schema()),
        Args::Path => path(shell),
    }
}

fn check(shell: &Shell) -> Outcome {
    let repo = shell.repo()?;
    let config = config::load(repo.root(), &shell.edge.variables())?;
    if let Some(lacking) = config.notify.lacking {
        return Err(config::Error::Invalid(lacking).into());
    }
    let environments: Vec<&String> = config.environments.keys().collect();
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "valid": true, "project": config.project, "environments": environments }));
    }
    let counts = [
        count(environments.len(), "environment"),
        count(config.checks.len(), "check"),
        count(config.syncs.len(), "sync"),
    ];
    shell.ui.success(&format!("{FILE_NAME} is fine: {}", counts.join(", ")));
    Ok(())
}

fn show(shell: &Shell) -> Outcome {
    let repo = shell.repo()?;
    let config = shell.config(repo.root())?;
    if shell.ui.is_json() {
        return shell.ui.json(&config);
    }
    shell.ui.line(config::to_yaml(&config).trim_end());
    Ok(())
}

fn path(shell: &Shell) -> Outcome {
    let path = shell.repo()?.root().join(FILE_NAME);
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "path": path.to_string_lossy(), "exists": path.exists() }));
    }
    shell.ui.line(&path.to_string_lossy());
    Ok(())
}
