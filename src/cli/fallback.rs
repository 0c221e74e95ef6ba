//! The configuration for commands that need none of its rules: where the checkout's cannot be read, the last committed
//! one that can. Otherwise one slip of the pen would take away the very commands that take it back.

use super::{Outcome, Shell};
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::config::{self, Config, FILE_NAME, Variables};
use crate::git::{Head, Repo};

/// Most commits that are looked through.
const COMMITS_LIMIT: usize = 500;

/// Loads the configuration at the top of the checkout; where that cannot be used, a committed one, with a warning.
///
/// # Errors
/// There is no configuration that can be used: what is wrong with the checkout's.
pub fn config(shell: &Shell, repo: &Repo) -> Outcome<Config> {
    let environment = shell.edge.variables();
    let problem = match config::load(repo.root(), &environment) {
        Ok(config) => {
            shell.warn_of_lacking(&config);
            return Ok(config);
        }
        Err(problem) => problem,
    };
    let variables = config::variables(repo.root(), &environment)?;
    let Some((origin, config)) = committed(repo, &variables) else { return Err(problem.into()) };
    shell.ui.warning(&format!("{problem}\nuntil that is mended, this command goes by the configuration of {origin}"));
    Ok(config)
}

/// Answers the first configuration that can be used on the line of commits that leads to `HEAD`, else that of the newest
/// branch that has one, each with where it is. What cannot be read is passed over.
fn committed(repo: &Repo, variables: &Variables) -> Option<(String, Config)> {
    let parsed = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        config::parse(text, FILE_NAME, variables).ok()
    };
    let mut tried = Vec::new();
    for commit in line_to_head(repo) {
        let Ok(Some(bytes)) = repo.content_at(commit, FILE_NAME.as_bytes()) else { continue };
        if bytes == tried {
            continue;
        }
        if let Some(config) = parsed(&bytes) {
            return Some((commit.short(), config));
        }
        tried = bytes;
    }
    let (branch, bytes) = repo.newest_with_file(FILE_NAME).ok()??;
    Some((format!("branch {}", shown(branch.as_bytes())), parsed(&bytes)?))
}

fn line_to_head(repo: &Repo) -> Vec<ObjectId> {
    let Ok(Head::Branch { commit, .. } | Head::Detached { commit }) = repo.head() else { return Vec::new() };
    let tip = commit.to_string().parse::<ObjectId>();
    let line = tip.ok().and_then(|tip| repo.first_parents(&[tip], None, COMMITS_LIMIT).ok());
    line.unwrap_or_default().into_iter().map(|commit| commit.summary.id).collect()
}
