//! Pushing saves, in a task of its own: saving never waits for the network.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::board::Board;
use super::{Follower, News};
use crate::alert::Alert;
use crate::base::clock::from_ms;
use crate::base::escape::shell_word;
use crate::base::id::ObjectId;
use crate::base::retry::{Backoff, jitter};
use crate::base::units::count;
use crate::base::{ErrorKind, Kinded as _};
use crate::check::secrets::BLOCKED_WORDS;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::git::{Error, Lease, Pushed, TakenBack};

/// Pauses after pushes that the network stopped.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), ceiling: Duration::from_secs(300) };
/// Pause after a push that somebody must do something about, unless a new save comes.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// The remote is not looked at more often than this.
const SHORTEST_PULL_PAUSE: Duration = Duration::from_secs(1);
/// Longest time that stopping waits for the last push.
pub(super) const LAST_PUSH_LIMIT: Duration = Duration::from_secs(10);

/// Tells what others pushed and the sandbox lacks.
pub(super) type Theirs = watch::Receiver<Option<ObjectId>>;

/// The task that pushes, and looks what others pushed; only the newest commit counts.
pub(super) struct Pusher {
    wishes: watch::Sender<Option<ObjectId>>,
    task: JoinHandle<()>,
}

/// What the task works with.
struct Work {
    ctx: Context,
    board: Board,
    follower: Follower,
    wishes: watch::Receiver<Option<ObjectId>>,
    theirs: watch::Sender<Option<ObjectId>>,
    failures: u32,
    problem: Option<String>,
    /// What the user took back here and the remote still has: nothing is pushed nor brought in while that is so.
    taken_back: Option<TakenBack>,
    /// Whether people know that the remote's branch was deleted.
    is_deleted: bool,
}

/// What others did to the branch that the remote had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// They left it or built upon it, or it was never there.
    Kept,
    /// They moved it back or aside.
    Rewritten,
    /// They deleted it.
    Deleted,
}

/// What the remote has that the sandbox lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Nothing,
    /// The work of others, up to this commit.
    Others(ObjectId),
    /// What the user has taken back here.
    TakenBack(TakenBack),
}

impl Pusher {
    /// Starts the task; it pushes nothing until a commit is offered.
    pub fn start(ctx: &Context, board: &Board, follower: &Follower) -> (Self, Theirs) {
        let (wishes, receiver) = watch::channel(None);
        let (theirs, told) = watch::channel(None);
        let work = Work {
            ctx: ctx.clone(),
            board: board.clone(),
            follower: follower.clone(),
            wishes: receiver,
            theirs,
            failures: 0,
            problem: None,
            taken_back: None,
            is_deleted: false,
        };
        (Self { wishes, task: tokio::spawn(work.run()) }, told)
    }

    /// Wishes that `commit`, the branch's new tip, gets to the remote; returns at once.
    pub fn offer(&self, commit: ObjectId) {
        self.wishes.send_replace(Some(commit));
    }

    /// Tries a last time to push what is not pushed, for at most [`LAST_PUSH_LIMIT`], and ends the task.
    pub async fn finish(self) {
        drop(self.wishes);
        let end = self.task.abort_handle();
        if timeout(LAST_PUSH_LIMIT, self.task).await.is_err() {
            end.abort();
            tracing::warn!("the last push was not finished in time; the next start pushes");
        }
    }
}

impl Work {
    async fn run(mut self) {
        let spec = &self.ctx.config.sandbox;
        let (pulls, pause) = (spec.pull, spec.pull_every.0.max(SHORTEST_PULL_PAUSE));
        let mut looks = tokio::time::interval(pause);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.wishes.changed() => match changed {
                    Ok(()) => self.push_newest().await,
                    Err(_) => return,
                },
                _ = looks.tick(), if pulls || self.taken_back.is_some() => self.look_again().await,
            }
        }
    }

    /// Looks at the remote; where what the user took back is not there any more, or is here again, pushing goes on.
    async fn look_again(&mut self) {
        let was_taken_back = self.taken_back.is_some();
        match self.look_at_remote().await {
            Ok(_) if was_taken_back && self.taken_back.is_none() => self.push_newest().await,
            Ok(_) => {}
            Err(problem) => tracing::debug!(%problem, "the remote was not looked at"),
        }
    }

    /// Fetches what the remote's branch has and the sandbox lacks, and wishes that what others pushed is brought in.
    async fn look_at_remote(&mut self) -> Result<Beyond, Error> {
        let (remote, branch) = (self.ctx.config.remote.clone(), self.ctx.config.sandbox.branch.clone());
        let looked = self.ctx.git.run(move |repo| {
            if !repo.has_remote(&remote) {
                return Ok((Beyond::Nothing, Fate::Kept));
            }
            let known = repo.tracking_tip(&remote, &branch)?;
            let Some(theirs) = repo.remote_tip(&remote, &branch)? else {
                return Ok((Beyond::Nothing, if known.is_some() { Fate::Deleted } else { Fate::Kept }));
            };
            if known != Some(theirs) {
                repo.fetch(&remote, &branch)?;
            }
            let is_built_upon = known.map(|known| repo.is_ancestor(known, theirs)).transpose()?.unwrap_or(true);
            let fate = if is_built_upon { Fate::Kept } else { Fate::Rewritten };
            let ours = repo.existing_branch_tip(&branch)?;
            if repo.is_ancestor(theirs, ours)? {
                return Ok((Beyond::Nothing, fate));
            }
            let taken_back = repo.taken_back(&branch, theirs)?;
            Ok((taken_back.map_or(Beyond::Others(theirs), Beyond::TakenBack), fate))
        });
        let (beyond, fate) = looked.await?;
        match fate {
            Fate::Kept => {}
            Fate::Rewritten => self.tell_of_rewriting(),
            Fate::Deleted => self.tell_of_deletion("the next save pushes it again, with all that the sandbox has"),
        }
        self.is_deleted = fate == Fate::Deleted;
        let was_taken_back = self.taken_back.take().is_some();
        match beyond {
            Beyond::Others(theirs) if self.ctx.config.sandbox.pull => {
                self.theirs.send_replace(Some(theirs));
            }
            Beyond::TakenBack(taken) => self.stay_apart(taken, was_taken_back).await,
            Beyond::Others(_) | Beyond::Nothing => {}
        }
        Ok(beyond)
    }

    /// Shows that the user took back what the remote has, and tells it once: only they know which of both is meant.
    async fn stay_apart(&mut self, taken: TakenBack, is_told: bool) {
        self.taken_back = Some(taken);
        self.theirs.send_replace(None);
        let problem = self.words_for_taken_back(taken);
        let tip = *self.wishes.borrow();
        let unpushed = match tip {
            Some(tip) => Some(unpushed(&self.ctx, tip).await),
            None => None,
        };
        let stored = Some(problem.clone());
        self.board
            .change(|record| {
                (record.push_problem, record.notes.push_again) = (stored, None);
                record.unpushed = unpushed.unwrap_or(record.unpushed);
            })
            .await;
        if !is_told {
            tracing::warn!(problem, "not pushed");
            self.ctx.tell(Alert::new(AlertEvent::Paused, "saves are not pushed", &problem));
        }
        self.problem = Some(problem);
    }

    fn words_for_taken_back(&self, taken: TakenBack) -> String {
        let (remote, branch) = (&self.ctx.config.remote, &self.ctx.config.sandbox.branch);
        let commits = count(taken.commits, "commit");
        let (others, too) = match taken.on_top {
            0 => (String::new(), ""),
            on_top => (format!(", and {} of others on top", count(on_top, "commit")), ", those of others too"),
        };
        format!(
            "{branch} was moved back or rewritten here; {remote}/{branch} still has {commits} of before{others}: \
             `git push --force-with-lease {remote} {branch}` drops them there{too}, `git merge {remote}/{branch}` takes \
             them back; saves go on here"
        )
    }

    fn tell_of_rewriting(&self) {
        let (remote, branch) = (&self.ctx.config.remote, &self.ctx.config.sandbox.branch);
        let body = format!(
            "somebody moved {remote}/{branch} back or aside: what the sandbox has stays, and is merged with it"
        );
        tracing::warn!("{body}");
        self.ctx.tell(Alert::new(AlertEvent::Conflict, "the remote was rewritten", body));
    }

    /// Tells once that others deleted the remote's branch, and what becomes of that.
    fn tell_of_deletion(&mut self, what_follows: &str) {
        if std::mem::replace(&mut self.is_deleted, true) {
            return;
        }
        let (remote, branch) = (&self.ctx.config.remote, &self.ctx.config.sandbox.branch);
        let follows = if self.ctx.config.sandbox.push { what_follows } else { "what the sandbox has stays" };
        let body = format!("somebody deleted {remote}/{branch}: {follows}");
        tracing::warn!("{body}");
        self.ctx.tell(Alert::new(AlertEvent::Conflict, "the remote's branch was deleted", body));
    }

    /// Looks what the remote has, where a push failed because others were first.
    async fn beyond(&mut self, error: &Error) -> Beyond {
        match error.kind() {
            ErrorKind::Superseded => self.look_at_remote().await.unwrap_or(Beyond::Nothing),
            _ => Beyond::Nothing,
        }
    }

    /// Pushes until the newest commit is there; when nobody wishes any more, one try is the last. Gives up where only the
    /// user knows what is meant.
    async fn push_newest(&mut self) {
        loop {
            let Some(commit) = *self.wishes.borrow_and_update() else { return };
            let Err(error) = self.push(commit).await else { return self.succeeded(commit).await };
            let is_transient = error.kind().is_transient();
            let pause =
                if is_transient { RETRY.wait(self.failures.saturating_add(1), jitter()) } else { REFUSED_PAUSE };
            match self.beyond(&error).await {
                Beyond::TakenBack(_) => return,
                // It is about to be brought in.
                Beyond::Others(_) if self.ctx.config.sandbox.pull => {}
                Beyond::Others(_) | Beyond::Nothing => self.failed(commit, &error, pause).await,
            }
            if !self.pause(pause, is_transient).await {
                // A save made during the pause still deserves its try.
                let last = *self.wishes.borrow();
                if let Some(last) = last.filter(|last| is_transient || *last != commit)
                    && self.push(last).await.is_ok()
                {
                    self.succeeded(last).await;
                }
                return;
            }
        }
    }

    /// Waits; a new save ends a pause that is not the network's. Answers whether there is still somebody who wishes.
    async fn pause(&mut self, pause: Duration, is_transient: bool) -> bool {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                changed = self.wishes.changed() => match changed {
                    Err(_) => return false,
                    Ok(()) if !is_transient => return true,
                    Ok(()) => {}
                },
            }
        }
    }

    /// Pushes one commit where there is a remote to push to.
    async fn push(&mut self, commit: ObjectId) -> Result<(), Error> {
        let (remote, branch) = (self.ctx.config.remote.clone(), self.ctx.config.sandbox.branch.clone());
        let wanted = self.ctx.config.sandbox.push;
        let pushed = self.ctx.git.run(move |repo| {
            let known = repo.tracking_tip(&remote, &branch)?;
            if !wanted || !repo.has_remote(&remote) || known == Some(commit) {
                return Ok(None);
            }
            let pushed = repo.push(&remote, commit, &branch, Lease::Forward)?;
            Ok(Some(pushed == Pushed::Created && known.is_some()))
        });
        let Some(is_made_again) = pushed.await? else { return Ok(()) };
        tracing::info!(commit = commit.short(), remote = self.ctx.config.remote, "pushed");
        if is_made_again {
            self.tell_of_deletion("it is pushed again, with all that the sandbox has");
        }
        self.is_deleted = false;
        Ok(())
    }

    async fn succeeded(&mut self, commit: ObjectId) {
        (self.failures, self.problem, self.taken_back) = (0, None, None);
        let unpushed = unpushed(&self.ctx, commit).await;
        self.board
            .change(|record| {
                record.unpushed = unpushed;
                (record.push_problem, record.notes.push_again) = (None, None);
            })
            .await;
        (self.follower)(News::Pushed(commit));
    }

    async fn failed(&mut self, commit: ObjectId, error: &Error, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        let problem = self.words_for(error);
        let unpushed = unpushed(&self.ctx, commit).await;
        let stored = Some(problem.clone());
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let again = from_ms(self.ctx.now().as_millisecond().saturating_add(pause_ms));
        self.board
            .change(|record| {
                (record.unpushed, record.push_problem) = (unpushed, stored);
                record.notes.push_again = Some(again);
            })
            .await;
        if self.problem.as_ref() == Some(&problem) {
            return;
        }
        tracing::warn!(commit = commit.short(), problem, "not pushed");
        if !error.kind().is_transient() {
            let is_secret = matches!(error, Error::RemoteRefused { reason, .. } if reason.contains(BLOCKED_WORDS));
            let event = if is_secret { AlertEvent::SecretFound } else { AlertEvent::Paused };
            self.ctx.tell(Alert::new(event, "saves are not pushed", &problem));
        }
        self.problem = Some(problem);
    }

    fn words_for(&self, error: &Error) -> String {
        let (remote, branch) = (&self.ctx.config.remote, &self.ctx.config.sandbox.branch);
        match error.kind() {
            ErrorKind::Superseded => format!(
                "{remote}/{branch} has commits that this sandbox lacks: bring them in with `git pull --rebase {} {}`",
                shell_word(remote),
                shell_word(branch)
            ),
            _ => error.to_string(),
        }
    }
}

/// Counts the saves that the remote does not have, as far as is known here; 0 where nothing is pushed.
pub(super) async fn unpushed(ctx: &Context, tip: ObjectId) -> i64 {
    let (remote, branch) = (ctx.config.remote.clone(), ctx.config.sandbox.branch.clone());
    let wanted = ctx.config.sandbox.push;
    let counted = ctx.git.run(move |repo| {
        if !wanted || !repo.has_remote(&remote) {
            return Ok(0);
        }
        match repo.tracking_tip(&remote, &branch)? {
            Some(pushed) => repo.count_between(pushed, tip),
            None => repo.commits_between(None, tip, 10_000).map(|commits| commits.len()),
        }
    });
    counted.await.ok().and_then(|count| i64::try_from(count).ok()).unwrap_or(0)
}
