//! The loop of a watcher: hints → batches → saves.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::board::Board;
use super::composer::Composer;
use super::configuration::{Configured, Found as Configuration, Lookout, Reader};
use super::flush::Flusher;
use super::inspection::{Found, Inspection};
use super::pull::Puller;
use super::push::{Pusher, Theirs, unpushed};
use super::{Error, Follower, News, health, memory};
use crate::alert::Alert;
use crate::base::Kinded as _;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::retry::{Backoff, jitter};
use crate::config::{AlertEvent, FILE_NAME};
use crate::context::Context;
use crate::git::{Error as GitError, Hints, SaveAnswer, Saved, SetAside};
use crate::store::{Excluded, SandboxState};
use crate::watch::{Batch, Batcher, Hint, Rules, Source, Told};

/// Pause between two looks at everything: the harm of a lost event is bounded by it.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The same where the kernel does not report everything.
const LIMITED_LOOK_EVERY: Duration = Duration::from_secs(60);
/// Signs of life are not given more often than this.
const SHORTEST_BEAT: Duration = Duration::from_secs(1);
/// Pauses after saves that failed.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), ceiling: Duration::from_secs(60) };
/// After a save of more changes than this, memory is given back.
const LARGE_SAVE_CHANGES: usize = 1_000;
/// Most paths that are listed as staged.
const STAGED_LIMIT_PATHS: usize = 20;
/// Most paths that are listed as set aside.
const SET_ASIDE_LIMIT_PATHS: usize = 100;

/// What a watcher did from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Saves that were made.
    pub saves: u64,
    /// Changes in them.
    pub changes: u64,
}

/// How a watcher ended.
#[derive(Debug)]
pub struct Ended {
    /// What it did.
    pub summary: Summary,
    /// The configuration to go on with at once; nothing where it was stopped.
    pub next: Option<Box<Configured>>,
}

struct Watcher<'a> {
    ctx: &'a Context,
    board: Board,
    rules: Arc<Rules>,
    inspection: Inspection,
    source: Source,
    batcher: Batcher,
    follower: Follower,
    pusher: Pusher,
    puller: Puller,
    composer: Arc<Composer>,
    flusher: Flusher,
    /// Whether what was saved before is on the disk and whole: nothing is built upon saves that are not.
    is_settled: bool,
    /// Why nothing is saved now, in the words that people were told.
    stopped_by: Option<String>,
    /// Paths that were hinted during a pause: what follows it looks at everything.
    owed: usize,
    /// Why the kernel does not report everything.
    limited: Option<String>,
    /// Git's index.
    index: PathBuf,
    /// When it was written, as of the last look at what is staged.
    index_written: Option<SystemTime>,
    /// The same, as of the last save: what it wrote there is no news.
    index_saved: Option<SystemTime>,
    /// Paths with edits that the index keeps to the user: another index may let them be saved.
    kept_local: BTreeSet<Vec<u8>>,
    /// Whether the user has staged something that is not committed.
    has_staged: bool,
    failures: u32,
    not_before: Instant,
    tip: Option<ObjectId>,
    /// The last save.
    made: Option<ObjectId>,
    lookout: Lookout,
    /// Why the configuration of the checkout is not taken up, as it was told.
    refused: Option<String>,
    /// The configuration to go on with.
    next: Option<Box<Configured>>,
    summary: Summary,
}

/// Ends a task with its owner.
struct Ending(JoinHandle<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the checkout and saves what changes there until `stop` is ready, then saves and pushes what is left.
///
/// Begins by saving what changed while nobody watched. A save that fails is tried again; it is shown in the store and
/// alerted once. Ends as well where the checkout has another configuration by now, by `reader`, that can be taken up:
/// whoever calls runs it again with that. Whoever calls holds the sandbox's lock.
///
/// # Errors
/// The checkout cannot be watched, or is no longer there.
pub async fn run(
    ctx: &Context,
    stop: impl Future<Output = ()>,
    follower: Follower,
    reader: &Reader,
) -> Result<Ended, Error> {
    memory::return_large_buffers();
    let mut stop = pin!(stop);
    let (mut watcher, mut hints, mut theirs) = Watcher::start(ctx, &follower, reader).await?;
    watcher.save(everything()).await;
    watcher.board.beat().await;
    let _health = Ending(tokio::spawn(health::run(ctx.clone())));
    let mut beats = every(ctx.config.health.every.0.max(SHORTEST_BEAT));
    let mut looks = every(LOOK_EVERY);
    let mut limited_looks = every(LIMITED_LOOK_EVERY);
    while watcher.source.is_root_there() {
        if watcher.next.is_some() {
            return Ok(watcher.hand_over().await);
        }
        tokio::select! {
            told = hints.recv() => watcher.hinted(told).await?,
            () = tokio::time::sleep(watcher.wait()) => watcher.save_due().await,
            Ok(()) = theirs.changed() => watcher.bring_in(*theirs.borrow_and_update()).await,
            _ = beats.tick() => watcher.beat().await,
            _ = looks.tick() => watcher.look_at_everything(),
            _ = limited_looks.tick() => if watcher.source.is_limited() { watcher.note_everything() },
            () = &mut stop => {
                // The last events may not have come yet.
                watcher.note_everything();
                return Ok(watcher.stop().await);
            }
        }
    }
    Err(Error::RootGone { path: ctx.git.root().to_owned() })
}

fn every(pause: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + pause, pause);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn everything() -> Batch {
    Batch { paths: BTreeSet::new(), everything: true, first_ms: 0, last_ms: 0 }
}

impl<'a> Watcher<'a> {
    async fn start(
        ctx: &'a Context,
        follower: &Follower,
        reader: &Reader,
    ) -> Result<(Self, mpsc::Receiver<Told>, Theirs), Error> {
        let board = Board::new(ctx).await?;
        // Nothing below can be asked of a branch that nobody can read; what is wrong is told by the first save.
        let is_settled = super::settle(ctx).await.is_ok();
        let prepared = ctx.git.run(|repo| {
            repo.recover_save()?;
            Ok(repo.git_dir().to_owned())
        });
        let (git_dir, spec) = (prepared.await?, &ctx.config.sandbox);
        let rules = Arc::new(super::load_rules(ctx).await?);
        let inspection = Inspection::new(ctx)?;
        let (source, hints) = Source::start(ctx.git.root(), &git_dir, Arc::clone(&rules), spec.settle.0)?;
        tracing::info!(directories = source.watched_directories(), branch = spec.branch, "watching");
        let (pusher, theirs) = Pusher::start(ctx, &board, follower);
        let watcher = Self {
            ctx,
            puller: Puller::new(ctx, &board, &rules),
            rules,
            inspection,
            source,
            batcher: Batcher::new(spec.settle.0, spec.batch_window.0),
            follower: follower.clone(),
            pusher,
            composer: Arc::new(Composer::new(ctx)),
            flusher: Flusher::start(ctx),
            is_settled,
            board,
            stopped_by: None,
            owed: 0,
            limited: None,
            index: git_dir.join("index"),
            index_written: None,
            index_saved: None,
            kept_local: BTreeSet::new(),
            has_staged: false,
            failures: 0,
            not_before: Instant::now(),
            tip: None,
            made: None,
            lookout: Lookout::new(ctx, reader),
            refused: None,
            next: None,
            summary: Summary::default(),
        };
        Ok((watcher, hints, theirs))
    }

    fn now_ms(&self) -> i64 {
        self.ctx.now().as_millisecond()
    }

    /// The slow look, and the moment to let git tidy up what many saves have left.
    fn look_at_everything(&mut self) {
        self.note_everything();
        let git = self.ctx.git.clone();
        tokio::spawn(async move {
            if let Err(problem) = git.run(|repo| repo.consolidate()).await {
                tracing::warn!(%problem, "packs were not joined");
            }
        });
    }

    fn note_everything(&mut self) {
        let now = self.now_ms();
        self.batcher.note_everything(now);
    }

    async fn hinted(&mut self, told: Option<Told>) -> Result<(), Error> {
        let now = self.now_ms();
        let age = told.as_ref().map_or(Duration::ZERO, |told| told.at.elapsed());
        match told.map(|told| told.hint) {
            Some(Hint::Path(path)) => self.batcher.note(path, now, age),
            Some(Hint::Rescan | Hint::Repository) => self.batcher.note_everything(now),
            Some(Hint::Index) => self.index_replaced(now, age).await,
            Some(Hint::Failed(reason)) => {
                let reason = shown(reason.as_bytes());
                tracing::warn!(reason, "not everything is watched: looking at all files every minute as well");
                self.batcher.note_everything(now);
                self.limited = Some(reason);
            }
            Some(Hint::RootGone) | None => return Err(Error::RootGone { path: self.ctx.git.root().to_owned() }),
        }
        Ok(())
    }

    /// Answers how long until a batch is due, or may be tried again.
    fn wait(&mut self) -> Duration {
        let now = self.now_ms();
        let Some(due) = self.batcher.next_due(now) else { return LOOK_EVERY };
        let due = Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0));
        due.max(self.not_before.saturating_duration_since(Instant::now()))
    }

    async fn save_due(&mut self) {
        if !self.source.is_root_there() {
            return;
        }
        let now = self.now_ms();
        if let Some(batch) = self.batcher.take(now) {
            self.save(batch).await;
        }
    }

    /// Gives a sign of life; looks whether a pause is over and whether the user committed.
    async fn beat(&mut self) {
        if !self.source.is_root_there() {
            return;
        }
        self.look_at_index().await;
        // What an edit means is for the next save to find out: only there it is known which branch is checked out.
        if self.stopped_by.is_none() && self.lookout.is_touched() {
            let now = self.now_ms();
            self.batcher.note(FILE_NAME.as_bytes().to_vec(), now, Duration::ZERO);
        }
        if self.stopped_by.is_some() && self.failures == 0 {
            self.save(everything()).await;
        }
        self.bring_in_what_waits().await;
        self.look_at_tip().await;
        self.board.beat().await;
    }

    /// Brings in what others pushed, and lets it be pushed together with what is saved here.
    async fn bring_in(&mut self, theirs: Option<ObjectId>) {
        self.puller.want(theirs);
        self.bring_in_what_waits().await;
        self.look_at_tip().await;
    }

    async fn bring_in_what_waits(&mut self) {
        if self.stopped_by.is_none() && self.puller.bring_in().await {
            self.flusher.saved();
        }
    }

    async fn save(&mut self, batch: Batch) {
        // What was kept out of earlier saves may be allowed now.
        let is_reread = self.inspection.reread(self.ctx.git.root(), &batch);
        let look_at_all = batch.everything || self.owed > 0 || is_reread;
        let hints = if look_at_all { Hints::Everything } else { Hints::Paths(batch.paths.clone()) };
        let looked_at = if look_at_all { None } else { Some(&batch.paths) };
        let started = Instant::now();
        let mut is_large = batch.everything || batch.paths.len() > LARGE_SAVE_CHANGES;
        let looker = self.inspection.looker();
        if let Some(reason) = self.lost_saves().await {
            return self.owe(&batch, reason, (AlertEvent::SaveFailed, "saves were lost")).await;
        }
        match super::save(self.ctx, &self.rules, &self.composer, looker.clone(), hints).await {
            Ok(SaveAnswer::Saved(saved)) => {
                self.flusher.saved();
                self.index_saved = self.index_time();
                is_large |= saved.changes.len() > LARGE_SAVE_CHANGES;
                self.tell_of(&saved, started.elapsed()).await;
                self.tell_of_secrets(looked_at, &looker.found());
                if look_at_all || saved.keeps_staged || self.has_staged {
                    self.look_at_staged().await;
                }
                self.settled(looked_at, saved.set_aside, saved.unsettled, &saved.excluded).await;
            }
            Ok(SaveAnswer::Nothing { set_aside, unsettled, excluded }) => {
                self.tell_of_secrets(looked_at, &looker.found());
                if look_at_all {
                    self.look_at_staged().await;
                }
                self.settled(looked_at, set_aside, unsettled, &excluded).await;
            }
            Ok(SaveAnswer::Paused { reason }) => {
                self.owe(&batch, reason, (AlertEvent::Paused, "saving is paused")).await
            }
            Err(error) => self.failed(batch, &error).await,
        }
        self.bring_in_what_waits().await;
        self.look_at_tip().await;
        if self.stopped_by.is_none() {
            self.look_at_configuration().await;
        }
        if is_large {
            memory::give_back();
        }
    }

    /// Takes note of a configuration that is another than ours, where the files were written since they were last read.
    ///
    /// While another branch is checked out, or a merge or rebase goes on, nobody asks: saving is paused then.
    async fn look_at_configuration(&mut self) {
        if !self.lookout.is_touched() {
            return;
        }
        let (refused, next) = match self.lookout.look() {
            Configuration::Same => (None, None),
            Configuration::Other(next) => (None, Some(next)),
            Configuration::Refused(reason) => (Some(reason), None),
        };
        self.next = next;
        let is_news = refused.is_some() && refused != self.refused;
        if let Some(reason) = refused.as_ref().filter(|_| is_news) {
            let reason = reason.replace('\n', "; ");
            tracing::warn!(reason, "{FILE_NAME} has changed and is not taken up, the one before stays in force");
        }
        self.refused.clone_from(&refused);
        self.board.change(|record| record.notes.configuration = refused).await;
    }

    /// Sees, before the first save, that what was saved before is on the disk; answers why nothing may be built upon it.
    async fn lost_saves(&mut self) -> Option<String> {
        if self.is_settled {
            return None;
        }
        match super::settle(self.ctx).await {
            Err(lost @ GitError::SavesLost { .. }) => {
                return Some(format!("{lost}; {}", lost.hint().unwrap_or_default()));
            }
            // A promotion asks the disk again, and so does the next save.
            Err(problem) => tracing::warn!(%problem, "what was saved before may not be on the disk yet"),
            Ok(()) => {}
        }
        self.is_settled = true;
        None
    }

    async fn owe(&mut self, batch: &Batch, reason: String, what: (AlertEvent, &str)) {
        self.failures = 0;
        self.owed = self.owed.saturating_add(batch.paths.len()).max(1);
        self.pause(reason, what).await;
    }

    async fn tell_of(&mut self, saved: &Saved, took: Duration) {
        self.summary.saves += 1;
        self.summary.changes += saved.changes.len() as u64;
        self.made = saved.commit.to_string().parse().ok();
        let (commit, ms) = (saved.commit.to_string(), took.as_millis());
        tracing::info!(commit = commit.get(..10), changes = saved.changes.len(), ms, "saved: {}", saved.subject);
        let now = self.ctx.now();
        self.board.change(|record| record.saved_at = Some(now)).await;
    }

    fn tell_of_secrets(&mut self, looked_at: Option<&BTreeSet<Vec<u8>>>, found: &Found) {
        if let Some((title, body)) = self.inspection.news(looked_at, found) {
            tracing::warn!("{title}: {}", body.replace('\n', "; "));
            self.ctx.tell(Alert::new(AlertEvent::SecretFound, title, body));
        }
    }

    fn index_time(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.index).and_then(|found| found.modified()).ok()
    }

    /// Looks again at what only the index before kept out of saves, and at what is staged where no save wrote it.
    async fn index_replaced(&mut self, now: i64, age: Duration) {
        self.kept_local.iter().for_each(|path| self.batcher.note(path.clone(), now, age));
        if self.index_time() != self.index_saved {
            self.look_at_index().await;
        }
    }

    /// Looks at what is staged where the index was written since: to stage something may change no file.
    async fn look_at_index(&mut self) {
        let written = self.index_time();
        if written != self.index_written {
            self.index_written = written;
            self.look_at_staged().await;
        }
    }

    /// Shows what the user has staged and not committed.
    async fn look_at_staged(&mut self) {
        let listed = self.ctx.git.run(|repo| repo.staged_paths(STAGED_LIMIT_PATHS)).await;
        let staged: Vec<String> = listed.unwrap_or_default().iter().map(|path| shown(path)).collect();
        self.has_staged = !staged.is_empty();
        self.board.change(|record| record.staged = staged).await;
    }

    /// Takes note that git was asked and answered: nothing is owed but what is still being written.
    async fn settled(
        &mut self,
        looked_at: Option<&BTreeSet<Vec<u8>>>,
        set_aside: Vec<SetAside>,
        unsettled: Vec<Vec<u8>>,
        excluded: &[Vec<u8>],
    ) {
        (self.owed, self.failures) = (0, 0);
        if self.stopped_by.take().is_some() {
            tracing::info!("saving again");
        }
        let now = self.now_ms();
        unsettled.into_iter().for_each(|path| self.batcher.note(path, now, Duration::ZERO));
        self.kept_local.retain(|path| looked_at.is_some_and(|paths| !paths.contains(path)));
        self.kept_local.extend(set_aside.iter().filter(|one| one.is_kept_local).map(|one| one.path.clone()));
        let listed = set_aside.iter().take(SET_ASIDE_LIMIT_PATHS);
        let listed: Vec<(String, String)> =
            listed.map(|one| (shown(&one.path), shown(one.reason.as_bytes()))).collect();
        // Nobody is told of changes there: only a look at everything knows.
        let excluded = looked_at.is_none().then(|| Excluded {
            count: excluded.len(),
            paths: excluded.iter().take(SET_ASIDE_LIMIT_PATHS).map(|path| shown(path)).collect(),
        });
        let pending = self.pending();
        let limited = self.limited.clone().filter(|_| self.source.is_limited());
        self.board
            .change(|record| {
                (record.state, record.reason, record.pending) = (SandboxState::Watching, None, pending);
                record.limited = limited;
                record.notes.excluded = excluded.unwrap_or_else(|| std::mem::take(&mut record.notes.excluded));
                refresh(&mut record.set_aside, looked_at, listed);
            })
            .await;
    }

    async fn failed(&mut self, batch: Batch, error: &crate::git::Error) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + RETRY.wait(self.failures, jitter());
        let now = self.now_ms();
        if batch.everything {
            self.batcher.note_everything(now);
        }
        batch.paths.into_iter().for_each(|path| self.batcher.note(path, now, Duration::ZERO));
        let next = error.hint().filter(|_| matches!(error, GitError::SaveNotSigned { .. }));
        let reason = [Some(with_causes(error)), next].into_iter().flatten().collect::<Vec<_>>().join("; ");
        self.pause(reason, (AlertEvent::SaveFailed, "a save failed; it is tried again")).await;
    }

    /// Shows why nothing is saved; people are told once for each reason.
    async fn pause(&mut self, reason: String, (event, what): (AlertEvent, &str)) {
        let pending = self.pending();
        let stored = Some(reason.clone());
        self.board
            .change(|record| (record.state, record.reason, record.pending) = (SandboxState::Paused, stored, pending))
            .await;
        if self.stopped_by.as_ref() != Some(&reason) {
            tracing::warn!(reason, "{what}");
            self.ctx.tell(Alert::new(event, what, &reason));
            self.stopped_by = Some(reason);
        }
    }

    fn pending(&self) -> i64 {
        i64::try_from(self.batcher.pending().saturating_add(self.owed)).unwrap_or(i64::MAX)
    }

    /// Offers a new tip of the branch for pushing, whoever committed it.
    async fn look_at_tip(&mut self) {
        if !self.is_settled {
            return;
        }
        let branch = self.ctx.config.sandbox.branch.clone();
        let tip = self.ctx.git.run(move |repo| repo.branch_tip(&branch)).await.ok().flatten();
        if let Some(tip) = tip.filter(|tip| self.tip != Some(*tip)) {
            let unpushed = unpushed(self.ctx, tip).await;
            self.board.change(|record| (record.head, record.unpushed) = (Some(tip), unpushed)).await;
            // Whoever made it may have taken out what was saved: it is still in the working tree.
            if self.tip.is_some() && self.made != Some(tip) {
                self.note_everything();
            }
            self.tip = Some(tip);
            (self.follower)(News::Saved(tip));
            self.pusher.offer(tip);
        }
    }

    /// Makes room for a watcher with the next configuration. What is written meanwhile is found by its first look.
    async fn hand_over(mut self) -> Ended {
        tracing::info!("{FILE_NAME} has changed: taking it up");
        let next = self.next.take();
        self.flusher.finish().await;
        self.pusher.finish().await;
        Ended { summary: self.summary, next }
    }

    async fn stop(mut self) -> Ended {
        self.composer.hurry();
        // The second look is for what settled only during the first.
        for _ in 0..2 {
            if let Some(batch) = self.batcher.flush() {
                self.save(batch).await;
            }
        }
        self.flusher.finish().await;
        self.pusher.finish().await;
        let unsaved = self.stopped_by;
        self.board.change(|record| (record.state, record.reason) = (SandboxState::Stopped, unsaved)).await;
        tracing::info!(saves = self.summary.saves, changes = self.summary.changes, "stopped");
        Ended { summary: self.summary, next: None }
    }
}

/// Replaces what was known of the paths that were looked at, and of what lies below them (nothing: all paths).
fn refresh(known: &mut Vec<(String, String)>, looked_at: Option<&BTreeSet<Vec<u8>>>, found: Vec<(String, String)>) {
    let looked_at = looked_at.map(|paths| paths.iter().map(|path| shown(path)).collect::<BTreeSet<_>>());
    let covers = |paths: &BTreeSet<String>, path: &str| {
        let heads = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        heads.into_iter().any(|head| paths.contains(head))
    };
    known.retain(|(path, _)| looked_at.as_ref().is_some_and(|paths| !covers(paths, path)));
    known.retain(|(path, _)| !found.iter().any(|(other, _)| other == path));
    known.extend(found);
    let surplus = known.len().saturating_sub(SET_ASIDE_LIMIT_PATHS);
    known.drain(..surplus);
}

/// Answers an error and what it rests on, in one line.
fn with_causes(error: &crate::git::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    shown(text.as_bytes())
}
