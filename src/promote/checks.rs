//! Asking the checks on the candidate, each once per content and several at the same time.
//!
//! The checks begin in the order of the configuration, as many at the same time as `parallel_checks` says. Once one of
//! them did not pass no further one begins, and those that are under way go on to their answer, which is kept: the next
//! promotion of this content need not ask again what passed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::Result;
use super::gate::FailedBefore;
use super::phase::Event;
use super::policy::{self, Policy};
use super::room::{Room, Subject};
use super::run::Observer;
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::base::units::Span;
use crate::check::verification::Attempt;
use crate::check::{self, Answer, Listener, Outcome, Place};
use crate::config::{CheckSpec, Question, Waivable};
use crate::context::Context;
use crate::store::{CheckPhase, CheckRecord, EarlierAttempt, Promotion};

/// How often whoever looks on is told what is under way.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// A check that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The check.
    pub name: String,
    /// Since when.
    pub elapsed: Duration,
    /// What it printed last, escaped; empty where it printed nothing yet.
    pub line: String,
    /// How far it is from a verdict, where it is asked until there is one.
    pub attempts: Option<Attempts>,
}

/// How far a verification is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    /// Which attempt is under way or comes next, from 1.
    pub number: u32,
    /// How many have passed in a row.
    pub passed: u32,
    /// How many must.
    pub successes: u32,
    /// How long it may take in all.
    pub deadline: Span,
    /// What the last attempt answered, escaped; empty while there is none.
    pub last: String,
}

/// What is seen of a check that is under way.
#[derive(Debug, Default)]
struct Seen {
    line: String,
    attempts: Option<Attempts>,
}

type SharedSeen = Arc<Mutex<Seen>>;

fn look(seen: &SharedSeen) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Performs the checks on the candidate, each once per content.
pub(super) async fn perform(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let (Some(candidate), Some(tree)) = (promotion.candidate, promotion.tree) else {
        return Ok(Event::Failed("it has no candidate".to_owned()));
    };
    let policy = policy::of_promotion(ctx, promotion).await?;
    let waived = policy::is_waived(ctx, promotion, &policy, Waivable::Checks).await?;
    let mut round = Round {
        ctx,
        promotion,
        subject: Subject::new(promotion, candidate, CheckPhase::Check),
        tree,
        free: (0..ctx.config.checks_at_once()).collect(),
        waiting: VecDeque::new(),
        under_way: Vec::new(),
        failures: BTreeMap::new(),
        waived,
    };
    round.look_up(&policy, observer).await?;
    round.ask_all(observer).await
}

/// A check that is to be asked.
#[derive(Debug, Clone)]
struct Wanted<'a> {
    /// Its place in the configuration.
    position: usize,
    name: &'a str,
    check: &'a CheckSpec,
    /// How it failed before, where it is asked once more.
    earlier: Option<EarlierAttempt>,
}

struct UnderWay<'a> {
    wanted: Wanted<'a>,
    slot: usize,
    since: Instant,
    seen: SharedSeen,
    answer: Pin<Box<dyn Future<Output = Result<Answer>> + Send + 'a>>,
}

/// The checks of one candidate while they are asked.
struct Round<'a> {
    ctx: &'a Context,
    promotion: &'a Promotion,
    subject: Subject<'a>,
    tree: ObjectId,
    /// Scratch checkouts that nobody is in.
    free: BTreeSet<usize>,
    waiting: VecDeque<Wanted<'a>>,
    under_way: Vec<UnderWay<'a>>,
    /// What did not pass and why, by the place in the configuration.
    failures: BTreeMap<usize, String>,
    waived: bool,
}

impl<'a> Round<'a> {
    /// Sorts the checks into those of which the answer is known and those that are to be asked.
    async fn look_up(&mut self, policy: &'a Policy, observer: &mut dyn Observer) -> Result<()> {
        for (position, name) in policy.environment.checks.iter().enumerate() {
            let Some(check) = policy.checks.get(name) else { continue };
            match known(self.ctx, name, check, self.tree).await? {
                Some(known) => {
                    observer.known(self.promotion, name);
                    self.record(position, known).await?;
                }
                None => self.waiting.push_back(Wanted { position, name, check, earlier: None }),
            }
        }
        Ok(())
    }

    async fn ask_all(mut self, observer: &mut dyn Observer) -> Result<Event> {
        let _heeding = self.ctx.stop.heed();
        loop {
            self.begin(observer);
            let Some((done, answer)) = first_answer(&mut self.under_way, self.promotion, observer).await else { break };
            self.take(done, &answer?, observer).await?;
        }
        Ok(match self.ctx.stop.reason() {
            Some(stopped) if self.failures.is_empty() => Event::CheckFailed(stopped),
            _ if self.failures.is_empty() => Event::ChecksPassed,
            _ => Event::CheckFailed(self.failures.into_values().collect::<Vec<_>>().join("; ")),
        })
    }

    /// Begins what may begin.
    fn begin(&mut self, observer: &mut dyn Observer) {
        while self.failures.is_empty() && self.ctx.stop.reason().is_none() && !self.free.is_empty() {
            let Some(wanted) = self.waiting.pop_front() else { return };
            let Some(slot) = self.free.pop_first() else { return };
            observer.asking(self.promotion, CheckPhase::Check, wanted.name);
            self.begin_one(wanted, slot);
        }
    }

    fn begin_one(&mut self, wanted: Wanted<'a>, slot: usize) {
        let subject = Subject { slot, ..self.subject };
        self.under_way.push(UnderWay::begin(self.ctx, subject, wanted));
    }

    /// Takes an answer; what is known to fail now and then is asked once more.
    async fn take(&mut self, done: UnderWay<'a>, answer: &Answer, observer: &mut dyn Observer) -> Result<()> {
        let UnderWay { mut wanted, slot, .. } = done;
        observer.answered(self.promotion, CheckPhase::Check, wanted.name, answer);
        if answer.outcome == Outcome::Fail && wanted.check.flaky && wanted.earlier.is_none() {
            observer.asking_again(self.promotion, wanted.name);
            wanted.earlier = Some(attempt(answer));
            self.begin_one(wanted, slot);
            return Ok(());
        }
        self.free.insert(slot);
        let (position, name, check) = (wanted.position, wanted.name, wanted.check);
        let given = record(self.ctx, CheckPhase::Check, name, answer);
        let given = with_earlier(given, wanted.earlier);
        remember(self.ctx, check, self.tree, &given).await?;
        self.record(position, given).await
    }

    async fn record(&mut self, position: usize, answer: CheckRecord) -> Result<()> {
        let answer = CheckRecord { position: i64::try_from(position).unwrap_or(i64::MAX), ..answer };
        self.ctx.store.record_check(&self.promotion.id, &answer).await?;
        if answer.outcome != Outcome::Pass.as_str() && !self.waived {
            self.failures.insert(position, failure(&answer));
        }
        Ok(())
    }
}

impl<'a> UnderWay<'a> {
    fn begin(ctx: &'a Context, subject: Subject<'a>, wanted: Wanted<'a>) -> Self {
        let seen = SharedSeen::default();
        let subject = Subject { attempt: usize::from(wanted.earlier.is_some()), ..subject };
        let answer = Box::pin(ask(ctx, subject, (wanted.name, wanted.check), Arc::clone(&seen)));
        Self { wanted, slot: subject.slot, since: Instant::now(), seen, answer }
    }

    /// Asks until there is a verdict.
    fn verifying(ctx: &'a Context, subject: Subject<'a>, (name, check): (&'a str, &'a CheckSpec)) -> Self {
        let (successes, deadline) = (check.successes.max(1), check.deadline);
        let attempts = Attempts { number: 1, passed: 0, successes, deadline, last: String::new() };
        let seen = Arc::new(Mutex::new(Seen { line: String::new(), attempts: Some(attempts) }));
        let answer = Box::pin(ask_until_verdict(ctx, subject, (name, check), Arc::clone(&seen)));
        let wanted = Wanted { position: 0, name, check, earlier: None };
        Self { wanted, slot: subject.slot, since: Instant::now(), seen, answer }
    }

    fn running(&self) -> Running {
        let Seen { line, attempts } = &*look(&self.seen);
        let (line, attempts) = (line.clone(), attempts.clone());
        Running { name: self.wanted.name.to_owned(), elapsed: self.since.elapsed(), line, attempts }
    }
}

/// Waits for the first of them to answer, and takes it out.
async fn first_of<'a>(under_way: &mut Vec<UnderWay<'a>>) -> (UnderWay<'a>, Result<Answer>) {
    poll_fn(|context| {
        for at in 0..under_way.len() {
            if let Poll::Ready(answer) = under_way[at].answer.as_mut().poll(context) {
                return Poll::Ready((under_way.remove(at), answer));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits like [`first_of`] while the observer is told what is under way; answers nothing where nothing is.
async fn first_answer<'a>(
    under_way: &mut Vec<UnderWay<'a>>,
    promotion: &Promotion,
    observer: &mut dyn Observer,
) -> Option<(UnderWay<'a>, Result<Answer>)> {
    let mut beat = interval(TELL_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !under_way.is_empty() {
        tokio::select! {
            answered = first_of(under_way) => {
                observer.running(promotion, &[]);
                return Some(answered);
            }
            _ = beat.tick() => {
                let running: Vec<Running> = under_way.iter().map(UnderWay::running).collect();
                observer.running(promotion, &running);
            }
        }
    }
    None
}

/// Asks one check until there is a verdict, while the observer is told how far it is.
///
/// # Errors
/// As [`Room::prepare`].
pub(super) async fn verify(
    ctx: &Context,
    subject: Subject<'_>,
    named: (&str, &CheckSpec),
    observer: &mut dyn Observer,
) -> Result<Answer> {
    loop {
        let mut under_way = vec![UnderWay::verifying(ctx, subject, named)];
        if let Some((_, answer)) = first_answer(&mut under_way, subject.promotion, observer).await {
            return answer;
        }
    }
}

async fn ask_until_verdict(
    ctx: &Context,
    subject: Subject<'_>,
    (name, check): (&str, &CheckSpec),
    seen: SharedSeen,
) -> Result<Answer> {
    let room = Room::prepare(ctx, subject, name, check).await?;
    let hear = |printed: &str| printed.clone_into(&mut look(&seen).line);
    let place = Place { listener: Some(Listener(&hear)), ..room.place() };
    let mut count = |attempt: Attempt<'_>| {
        if let Some(attempts) = &mut look(&seen).attempts {
            (attempts.number, attempts.passed) = (attempt.number.saturating_add(1), attempt.passed);
            attempts.last.clone_from(&attempt.answer.detail);
        }
    };
    Ok(check::verify(name, check, &place, &mut count).await)
}

/// Asks one check; where it fails and is known to do so now and then, once more. Answers the record of both.
///
/// # Errors
/// As [`Room::prepare`].
pub(super) async fn ask_definitely(
    ctx: &Context,
    subject: Subject<'_>,
    (name, check): (&str, &CheckSpec),
    observer: &mut dyn Observer,
) -> Result<CheckRecord> {
    let mut earlier = None;
    loop {
        let wanted = Wanted { position: 0, name, check, earlier: earlier.clone() };
        let mut under_way = vec![UnderWay::begin(ctx, subject, wanted)];
        let Some((_, answer)) = first_answer(&mut under_way, subject.promotion, observer).await else { continue };
        let answer = answer?;
        if answer.outcome == Outcome::Fail && check.flaky && earlier.is_none() {
            earlier = Some(attempt(&answer));
            continue;
        }
        return Ok(with_earlier(record(ctx, subject.phase, name, &answer), earlier));
    }
}

/// Asks a check once, and keeps what it printed last in `seen`. An answer counts when the files were right for certain,
/// by a look at them before or after; files that the check changed itself prove nothing afterwards, so that it is asked
/// again then, after a look.
async fn ask(
    ctx: &Context,
    subject: Subject<'_>,
    (name, check): (&str, &CheckSpec),
    seen: SharedSeen,
) -> Result<Answer> {
    loop {
        let room = Room::prepare(ctx, subject, name, check).await?;
        let hear = |printed: &str| printed.clone_into(&mut look(&seen).line);
        let place = Place { stop: Some(&ctx.stop), listener: Some(Listener(&hear)), ..room.place() };
        let answer = check::ask(name, check, &place).await;
        let is_certain = room.settle(ctx, name).await;
        room.make_way().await;
        if is_certain {
            return Ok(answer);
        }
        if let Some(detail) = ctx.stop.reason() {
            return Ok(Answer { outcome: Outcome::Unknown, detail, ..answer });
        }
    }
}

/// Keeps a definite answer for the content that it is about.
///
/// # Errors
/// The store cannot be written.
pub(super) async fn remember(ctx: &Context, check: &CheckSpec, tree: ObjectId, answer: &CheckRecord) -> Result<()> {
    if depends_on_content_only(check) && answer.outcome != Outcome::Unknown.as_str() {
        ctx.store.remember_outcome(&definition(check), tree, answer).await?;
    }
    Ok(())
}

/// Says in one line what a check that did not pass answered.
pub(super) fn failure(record: &CheckRecord) -> String {
    let again = if record.earlier.is_some() { " again" } else { "" };
    match record.outcome.as_str() {
        "unknown" => format!("check `{}` could not answer: {}", record.name, record.detail),
        _ => format!("check `{}` failed{again}: {}", record.name, record.detail),
    }
}

/// Makes the record of an answer that was given now.
pub(super) fn record(ctx: &Context, phase: CheckPhase, name: &str, answer: &Answer) -> CheckRecord {
    let EarlierAttempt { outcome, detail, log, took_ms } = attempt(answer);
    let name = name.to_owned();
    CheckRecord { phase, name, outcome, detail, log, cached: false, took_ms, at: ctx.now(), position: 0, earlier: None }
}

fn attempt(answer: &Answer) -> EarlierAttempt {
    EarlierAttempt {
        outcome: answer.outcome.as_str().to_owned(),
        detail: answer.detail.clone(),
        log: answer.log.as_ref().map(|path| path.to_string_lossy().into_owned()),
        took_ms: i64::try_from(answer.duration.as_millis()).unwrap_or(i64::MAX),
    }
}

/// Adds how a check failed before it was asked once more. Where that could not answer, the failure stands.
fn with_earlier(again: CheckRecord, earlier: Option<EarlierAttempt>) -> CheckRecord {
    let Some(earlier) = earlier else { return again };
    let is_definite = again.outcome != Outcome::Unknown.as_str();
    let (outcome, detail) = match is_definite {
        true => (again.outcome, again.detail),
        false => (
            earlier.outcome.clone(),
            format!("{}; asked once more it could not answer: {}", earlier.detail, again.detail),
        ),
    };
    CheckRecord { outcome, detail, earlier: Some(earlier), ..again }
}

/// Names a check by what it asks, so that a changed check is asked again; how often it is asked is nothing to it.
pub(super) fn definition(check: &CheckSpec) -> String {
    let asked = CheckSpec { flaky: false, ..check.clone() };
    // A check's fields always serialise.
    Digest::of(&serde_json::to_vec(&asked).unwrap_or_default()).to_string()
}

/// Answers whether a check asks about files alone, and so answers the same for the same content.
pub(super) fn depends_on_content_only(check: &CheckSpec) -> bool {
    matches!(check.question(), Some(Question::Run(_) | Question::File(_)))
}

/// Answers what is known already about a check on a tree, be it good or bad.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn outcome(
    ctx: &Context,
    name: &str,
    check: &CheckSpec,
    tree: ObjectId,
) -> Result<Option<CheckRecord>> {
    if !depends_on_content_only(check) {
        return Ok(None);
    }
    Ok(ctx.store.known_outcome(name, &definition(check), tree).await?)
}

/// Answers that a check passed on a tree already. What failed is asked again by whoever promotes again.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn known(ctx: &Context, name: &str, check: &CheckSpec, tree: ObjectId) -> Result<Option<CheckRecord>> {
    Ok(outcome(ctx, name, check, tree).await?.filter(|known| known.outcome == Outcome::Pass.as_str()))
}

/// What is known of a check on a tree before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It passed: it need not be asked.
    Passed,
    /// It failed, and is asked again by whoever promotes again.
    Failed(FailedBefore),
    /// Nothing.
    Nothing,
}

/// Answers what is known already about a check on a tree.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn forecast_of(ctx: &Context, name: &str, check: &CheckSpec, tree: ObjectId) -> Result<Known> {
    Ok(match outcome(ctx, name, check, tree).await? {
        Some(known) if known.outcome == Outcome::Pass.as_str() => Known::Passed,
        Some(known) if known.outcome == Outcome::Fail.as_str() => {
            Known::Failed(FailedBefore { at: known.at, detail: known.detail, log: known.log })
        }
        _ => Known::Nothing,
    })
}

/// Answers which of an environment's checks would have to run on a tree, and what is known of each.
///
/// # Errors
/// The store cannot be read.
pub async fn check_forecast(ctx: &Context, policy: &Policy, tree: ObjectId) -> Result<Vec<(String, Known)>> {
    let mut forecast = Vec::new();
    for name in &policy.environment.checks {
        let Some(check) = policy.checks.get(name) else { continue };
        forecast.push((name.clone(), forecast_of(ctx, name, check, tree).await?));
    }
    Ok(forecast)
}
