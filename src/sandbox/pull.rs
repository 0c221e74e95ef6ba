//! Bringing in what others pushed, between two saves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::board::Board;
use super::{NEVER_SAVED, message};
use crate::alert::Alert;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::git::{Clash, PullAnswer, PullRequest, Pulled, is_at_or_below};
use crate::store::LostEdit;
use crate::watch::Rules;

/// After so many tries people are told of files that are only being written: the save that follows them should have made
/// room.
const BUSY_TRIES_LIMIT: u32 = 3;
/// Most paths that an alert names.
const NAMED_LIMIT_PATHS: usize = 10;

/// Brings in commits of others, and says what became of it.
pub(super) struct Puller {
    ctx: Context,
    board: Board,
    rules: Arc<Rules>,
    /// What is still to be brought in.
    wanted: Option<ObjectId>,
    /// How often files in the way have kept it out.
    busy_tries: u32,
    /// Why it was not, in the words that `status` has.
    problem: Option<String>,
    /// The same, as people were alerted.
    alerted: Option<String>,
}

impl Puller {
    pub fn new(ctx: &Context, board: &Board, rules: &Arc<Rules>) -> Self {
        Self {
            ctx: ctx.clone(),
            board: board.clone(),
            rules: Arc::clone(rules),
            wanted: None,
            busy_tries: 0,
            problem: None,
            alerted: None,
        }
    }

    /// Notes what others have pushed; nothing: whatever was wanted is not wanted any more.
    pub fn want(&mut self, theirs: Option<ObjectId>) {
        self.wanted = theirs;
        if theirs.is_none() {
            (self.busy_tries, self.problem, self.alerted) = (0, None, None);
        }
    }

    /// Brings in what is wanted, if anything is; answers whether files changed. What does not work now stays wanted.
    pub async fn bring_in(&mut self) -> bool {
        let Some(theirs) = self.wanted else { return false };
        match self.ask_git(theirs).await {
            Ok(PullAnswer::Pulled(pulled)) => {
                self.done(theirs, &pulled).await;
                return true;
            }
            Ok(PullAnswer::Nothing) => self.settled().await,
            Ok(PullAnswer::Busy { paths, excluded }) => self.kept_out(&paths, &excluded).await,
            Ok(PullAnswer::Paused { reason }) => self.failed(reason, false).await,
            Err(error) => self.failed(error.to_string(), true).await,
        }
        false
    }

    async fn ask_git(&self, theirs: ObjectId) -> Result<PullAnswer, crate::git::Error> {
        let (config, rules, now) = (Arc::clone(&self.ctx.config), Arc::clone(&self.rules), self.ctx.now());
        let pull = move |repo: &crate::git::Repo| {
            let spec = &config.sandbox;
            let request = PullRequest {
                branch: &spec.branch,
                theirs,
                excluded: &|path, is_dir| super::is_never_saved(&rules, repo, path, is_dir),
                clash: Clash::OursWin,
                message: &|lost| message::compose_merge(&config.remote, &spec.branch, theirs, lost),
                now_seconds: now.as_second(),
            };
            // The user may have taken it back since it was wanted.
            match repo.taken_back(&spec.branch, theirs)? {
                Some(_) => Ok((PullAnswer::Nothing, None)),
                None => repo.mending(|| repo.pull(&request)),
            }
        };
        super::mended(&self.ctx, pull).await
    }

    async fn done(&mut self, theirs: ObjectId, pulled: &Pulled) {
        let files = count(pulled.changes.len(), "file");
        let commit = pulled.commit.to_string();
        tracing::info!(commit = commit.get(..10), theirs = theirs.short(), "brought in what others pushed: {files}");
        self.settled().await;
        if pulled.lost.is_empty() {
            return;
        }
        let named = pulled.lost.iter().take(NAMED_LIMIT_PATHS).map(|path| shown(path));
        let paths: Vec<String> = named.collect();
        let names = paths.join(", ");
        let edit = LostEdit { theirs, files: pulled.lost.len(), paths, at: self.ctx.now() };
        self.board.change(|record| record.notes.add_lost(edit)).await;
        let kept = count(pulled.lost.len(), "file");
        let body = format!("{kept} that others had changed too ({names}); theirs: cascade show {}", theirs.short());
        tracing::warn!("{body}");
        self.ctx.tell(Alert::new(AlertEvent::Conflict, "the sandbox's version was kept", body));
    }

    async fn settled(&mut self) {
        (self.wanted, self.busy_tries, self.alerted) = (None, 0, None);
        if self.problem.take().is_some() {
            self.board.change(|record| record.push_problem = None).await;
        }
    }

    /// Shows at once what is in the way; people are alerted at once too of what no save takes away, and of what is being
    /// written when saves have not done so.
    async fn kept_out(&mut self, paths: &[Vec<u8>], excluded: &[Vec<u8>]) {
        self.busy_tries = self.busy_tries.saturating_add(1);
        let (reason, stays) = in_the_way(paths, excluded, &self.board.set_aside().await);
        self.failed(reason, stays || self.busy_tries >= BUSY_TRIES_LIMIT).await;
    }

    async fn failed(&mut self, reason: String, is_alarming: bool) {
        let problem = format!("what others pushed is not brought in: {reason}");
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(problem, "not pulled");
            let stored = Some(problem.clone());
            self.board.change(|record| (record.push_problem, record.notes.push_again) = (stored, None)).await;
        }
        if is_alarming && self.alerted.as_ref() != Some(&problem) {
            self.ctx.tell(Alert::new(AlertEvent::Paused, "saves are not pushed", &problem));
            self.alerted = Some(problem.clone());
        }
        self.problem = Some(problem);
    }
}

/// Says what is in the way and what to do about it, and answers whether it stays there until somebody does that.
fn in_the_way(paths: &[Vec<u8>], excluded: &[Vec<u8>], set_aside: &[(String, String)]) -> (String, bool) {
    let mut kept: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut unsaved = Vec::new();
    for path in paths {
        let aside = set_aside.iter().find(|(aside, _)| is_at_or_below(shown(path).as_bytes(), aside.as_bytes()));
        let reason = aside.map(|(_, reason)| reason.as_str());
        match reason.or_else(|| excluded.contains(path).then_some(NEVER_SAVED)) {
            Some(reason) => kept.entry(reason).or_default().push(shown(path)),
            None => unsaved.push(shown(path)),
        }
    }
    let stays = !kept.is_empty();
    let mut parts: Vec<String> = kept.into_iter().map(|(reason, paths)| stuck(reason, &paths)).collect();
    if !unsaved.is_empty() || parts.is_empty() {
        parts.push(format!("{} changed here and not saved yet; it comes in after the save", subject(&unsaved)));
    }
    (parts.join("; "), stays)
}

fn stuck(reason: &str, paths: &[String]) -> String {
    let them = if paths.len() > 1 { "them" } else { "it" };
    format!("{} in the way here and not saved ({reason}): move {them} away or commit {them}", subject(paths))
}

/// Names paths as far as there is room; none: the branch. What is said of them follows.
fn subject(paths: &[String]) -> String {
    let rest = paths.len().saturating_sub(NAMED_LIMIT_PATHS);
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let named = paths.iter().take(NAMED_LIMIT_PATHS).map(String::as_str).collect::<Vec<_>>().join(", ");
    match paths.len() {
        0 => "the branch is".to_owned(),
        1 => format!("{named} is"),
        _ => format!("{named}{rest} are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_is_in_the_way_is_told_with_why_and_what_to_do() {
        let aside = [("big".to_owned(), "it has 9 bytes; the limit is 5".to_owned())];
        let told = |of: &[&str], excluded: &[&str]| in_the_way(&paths(of), &paths(excluded), &aside);
        let ignored = "build.log is in the way here and not saved (git ignores it, or `sandbox.exclude` names it): move \
                       it away or commit it";
        assert_eq!(told(&["build.log"], &["build.log"]), (ignored.to_owned(), true));
        let (words, stays) = told(&["big/part", "page"], &[]);
        assert!(words.starts_with("big/part is in the way here and not saved (it has 9 bytes"), "{words}");
        assert!(words.ends_with("; page is changed here and not saved yet; it comes in after the save"), "{words}");
        assert!(stays);
        assert!(!told(&["one", "two"], &[]).1 && !told(&[], &[]).1);
    }
}
