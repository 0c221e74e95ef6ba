//! Bringing in what others pushed, between two saves.

use std::sync::Arc;

use super::board::Board;
use super::message;
use crate::alert::Alert;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::git::{Clash, PullAnswer, PullRequest, Pulled};
use crate::store::LostEdit;
use crate::watch::Rules;

/// After so many tries it is told what is in the way: no save has cleared it away.
const BUSY_TRIES_LIMIT: u32 = 5;
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
    /// Why it was not, in the words that people were told.
    problem: Option<String>,
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
        }
    }

    /// Notes what others have pushed; nothing: whatever was wanted is not wanted any more.
    pub fn want(&mut self, theirs: Option<ObjectId>) {
        self.wanted = theirs;
        if theirs.is_none() {
            (self.busy_tries, self.problem) = (0, None);
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
            // The save that follows makes room; if it does not, the next one may.
            Ok(PullAnswer::Busy { paths }) if self.busy_tries < BUSY_TRIES_LIMIT => {
                self.busy_tries += 1;
                tracing::debug!(
                    theirs = theirs.short(),
                    paths = paths.len(),
                    "not brought in yet: files are being changed"
                );
            }
            Ok(PullAnswer::Busy { paths }) => self.failed(in_the_way(&paths), true).await,
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
        (self.wanted, self.busy_tries) = (None, 0);
        if self.problem.take().is_some() {
            self.board.change(|record| record.push_problem = None).await;
        }
    }

    async fn failed(&mut self, reason: String, is_alarming: bool) {
        let problem = format!("what others pushed is not brought in: {reason}");
        if self.problem.as_ref() == Some(&problem) {
            return;
        }
        tracing::warn!(problem, "not pulled");
        let stored = Some(problem.clone());
        self.board.change(|record| (record.push_problem, record.notes.push_again) = (stored, None)).await;
        if is_alarming {
            self.ctx.tell(Alert::new(AlertEvent::Paused, "saves are not pushed", &problem));
        }
        self.problem = Some(problem);
    }
}

fn in_the_way(paths: &[Vec<u8>]) -> String {
    let named: Vec<String> = paths.iter().take(NAMED_LIMIT_PATHS).map(|path| shown(path)).collect();
    format!("it changes what is here and not saved, {}: commit that, or move it away", named.join(", "))
}
