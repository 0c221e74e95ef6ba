//! Verifying on: what was promoted is watched for a while, and what rests unverified is taken up again once what failed
//! passes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::approve::proceed;
use super::checks::{depends_on_content_only, failure, record};
use super::error::{Error, Result};
use super::phase::Event;
use super::room::{Room, Subject};
use super::run::{Observer, Silent, drive, lock, note, recover};
use super::verification::{ask_together, failing};
use crate::base::id::{ObjectId, PromotionId};
use crate::check::verification::Tracker;
use crate::check::{self, Answer, Outcome};
use crate::context::Context;
use crate::store::{CheckPhase, Lock, LockError, Promotion, State};

/// Pause between two looks for what is to be verified on, and at whether a watch is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row may find the database's files as they were before it is asked all the same.
const LOOKS_PASSED_OVER: u32 = 30;
/// A check is not asked more often than this.
const SHORTEST_PACE: Duration = Duration::from_secs(1);
/// Pause after something could not be verified on.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Answers of a watch that wait to be counted.
const ANSWERS_LIMIT: usize = 16;

/// Looks after every promotion that is watched or rests unverified, forever; returns at once where nothing is verified.
///
/// A failure is logged, and tried again later.
pub async fn keep_verifying(ctx: Context) {
    if ctx.config.environments.values().all(|spec| spec.verify.is_empty()) {
        return;
    }
    let mut tasks = JoinSet::new();
    let mut attended: HashMap<PromotionId, AbortHandle> = HashMap::new();
    let mut looks = every(LOOK_EVERY);
    let (mut stamp, mut passed_over) = (None, 0);
    loop {
        looks.tick().await;
        let has_ended = tasks.try_join_next().is_some();
        while tasks.try_join_next().is_some() {}
        attended.retain(|_, task| !task.is_finished());
        let now = Some(ctx.store.stamp());
        if stamp == now && !has_ended && passed_over < LOOKS_PASSED_OVER {
            passed_over += 1;
            continue;
        }
        (stamp, passed_over) = (now, 0);
        match wanted(&ctx).await {
            Ok(promotions) => {
                for promotion in promotions {
                    let id = promotion.id.clone();
                    attended.entry(id).or_insert_with(|| tasks.spawn(attend(ctx.clone(), promotion)));
                }
            }
            Err(problem) => tracing::warn!(%problem, "cannot look for what is to be verified on"),
        }
    }
}

fn every(pause: Duration) -> Interval {
    let mut interval = interval(pause);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn wanted(ctx: &Context) -> Result<Vec<Promotion>> {
    let paused = ctx.store.unfinished().await?.into_iter().filter(Promotion::is_paused);
    let mut wanted: Vec<Promotion> = ctx.store.watched().await?.into_iter().chain(paused).collect();
    wanted.retain(|promotion| ctx.config.environment(&promotion.environment).is_some());
    Ok(wanted)
}

async fn attend(ctx: Context, promotion: Promotion) {
    let (environment, id) = (promotion.environment.clone(), promotion.id.clone());
    let attended = match promotion.is_paused() {
        true => take_up(&ctx, &promotion, &mut Silent).await,
        false => watch(&ctx, &promotion, &mut Silent).await,
    };
    match attended {
        Ok(after) => {
            let reason = after.reason.as_deref().unwrap_or_default();
            tracing::info!(environment, %id, state = %after.state, reason, "verified on");
        }
        Err(problem) => {
            tracing::warn!(environment, %id, %problem, "cannot be verified on");
            sleep(RETRY_AFTER).await;
        }
    }
}

/// Waits until everything passes that did not when the promotion came to rest unverified, then verifies it again;
/// answers it as it is then, or as soon as it does not rest any more.
///
/// # Errors
/// As [`super::promote`].
pub async fn take_up(ctx: &Context, paused: &Promotion, observer: &mut dyn Observer) -> Result<Promotion> {
    let failing = failing(ctx, paused).await?;
    let paces = failing.iter().map(|(_, check)| check.every.0);
    let pace = paces.max().unwrap_or_default().max(SHORTEST_PACE);
    loop {
        sleep(pace).await;
        let current = ctx.store.promotion(paused.id.as_str()).await?;
        if !current.is_paused() {
            return Ok(current);
        }
        if all_pass(ask_together(&failing)).await {
            let held = lock(ctx, true).await?;
            return proceed(ctx, &held, paused.id.as_str(), observer).await;
        }
    }
}

async fn all_pass(mut asked: JoinSet<(String, Answer)>) -> bool {
    let mut all = true;
    while let Some(answered) = asked.join_next().await {
        all &= answered.is_ok_and(|(_, answer)| answer.outcome == Outcome::Pass);
    }
    all
}

/// Verifies what was promoted again and again until its time is over, something else is live, or a check fails so often
/// in a row that it is rolled back; answers the promotion as it is then.
///
/// Waits for its turn while another process does so.
///
/// # Errors
/// As [`super::promote`]; the watch goes on when this is called again.
pub async fn watch(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Promotion> {
    let id = promotion.id.as_str();
    let Some(_turn) = turn(ctx, promotion).await? else { return Ok(ctx.store.promotion(id).await?) };
    let Some(reason) = first_verdict(ctx, promotion, observer).await? else {
        return Ok(ctx.store.promotion(id).await?);
    };
    let held = lock(ctx, true).await?;
    recover(ctx, &held, observer).await?;
    let current = ctx.store.promotion(id).await?;
    match is_watched(&current) {
        true => drive(ctx, current, Event::WatchFailed(reason), observer).await,
        false => Ok(current),
    }
}

/// Answers whether the promotion is live and its watch was not ended.
#[must_use]
pub fn is_watched(promotion: &Promotion) -> bool {
    promotion.state == State::Promoted && promotion.watching_until.is_some()
}

/// Waits until nobody else watches the environment; answers nothing where the watch is over by then.
async fn turn(ctx: &Context, promotion: &Promotion) -> Result<Option<Lock>> {
    let path = ctx.home.watch_lock(&promotion.environment);
    loop {
        if is_over(ctx, promotion).await? {
            return Ok(None);
        }
        match Lock::take(&path) {
            Ok(turn) => return Ok(Some(turn)),
            Err(LockError::Held { .. }) => sleep(LOOK_EVERY).await,
            Err(other) => return Err(Error::Store(other.into())),
        }
    }
}

/// Answers whether there is nothing to watch any more; ends a watch whose time is over.
async fn is_over(ctx: &Context, promotion: &Promotion) -> Result<bool> {
    let current = ctx.store.promotion(promotion.id.as_str()).await?;
    let Some(until) = current.watching_until.filter(|_| is_watched(&current)) else { return Ok(true) };
    if ctx.now() < until {
        return Ok(false);
    }
    ctx.store.end_watch(&promotion.id, &note(ctx, "watched", String::new())).await?;
    Ok(true)
}

/// Asks every check at its own pace until one has failed often enough; answers why, or nothing once the watch is over.
async fn first_verdict(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Option<String>> {
    let (sender, mut answers) = mpsc::channel(ANSWERS_LIMIT);
    let _askers = spawn_askers(ctx, promotion, &sender);
    drop(sender);
    let mut rows: HashMap<String, (Tracker, Option<Outcome>)> = HashMap::new();
    let mut looks = every(LOOK_EVERY);
    loop {
        tokio::select! {
            Some((name, answer)) = answers.recv() => {
                let failures = ctx.config.checks.get(&name).map_or(1, |check| check.failures);
                let (tracker, said) = rows.entry(name.clone()).or_insert_with(|| (Tracker::new(1, failures), None));
                let record = record(ctx, CheckPhase::Watch, &name, &answer);
                if said.replace(answer.outcome) != Some(answer.outcome) {
                    observer.answered(promotion, CheckPhase::Watch, &name, &answer);
                    ctx.store.record_check(&promotion.id, &record).await?;
                }
                if tracker.observe(answer.outcome) == Some(Outcome::Fail) {
                    return Ok(Some(format!("{}, while it was watched", failure(&record))));
                }
            }
            _ = looks.tick() => if is_over(ctx, promotion).await? { return Ok(None) },
        }
    }
}

/// Starts a task for each check of the environment's verification; they end when the answered set is dropped.
fn spawn_askers(ctx: &Context, promotion: &Promotion, answers: &mpsc::Sender<(String, Answer)>) -> JoinSet<()> {
    let mut askers = JoinSet::new();
    let Some(candidate) = promotion.candidate else { return askers };
    let files = Arc::new(Mutex::new(()));
    for name in ctx.config.environment(&promotion.environment).into_iter().flat_map(|spec| &spec.verify) {
        let asker = Asker {
            ctx: ctx.clone(),
            promotion: promotion.clone(),
            candidate,
            name: name.clone(),
            files: Arc::clone(&files),
        };
        askers.spawn(asker.run(answers.clone()));
    }
    askers
}

/// Asks one check again and again.
struct Asker {
    ctx: Context,
    promotion: Promotion,
    candidate: ObjectId,
    name: String,
    /// Whoever has it may use the scratch checkout.
    files: Arc<Mutex<()>>,
}

impl Asker {
    async fn run(self, answers: mpsc::Sender<(String, Answer)>) {
        let every = self.ctx.config.checks.get(&self.name).map(|check| check.every.0);
        let pace = every.unwrap_or_default().max(SHORTEST_PACE);
        loop {
            sleep(pace).await;
            match self.ask().await {
                Ok(Some(answer)) => {
                    if answers.send((self.name.clone(), answer)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                // Nothing is known of what is live then.
                Err(problem) => tracing::warn!(check = self.name, %problem, "cannot be asked"),
            }
        }
    }

    async fn ask(&self) -> Result<Option<Answer>> {
        let Some(check) = self.ctx.config.checks.get(&self.name) else { return Ok(None) };
        let _files = if depends_on_content_only(check) { Some(self.files.lock().await) } else { None };
        let subject = Subject::new(&self.promotion, self.candidate, CheckPhase::Watch);
        let room = Room::prepare(&self.ctx, subject, &self.name, check).await?;
        Ok(Some(check::ask(&self.name, check, &room.place()).await))
    }
}
