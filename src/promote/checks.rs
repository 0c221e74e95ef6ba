//! Asking the checks on the candidate, each once per content; and where any check is asked.

use std::path::PathBuf;

use super::error::{Error, Result};
use super::phase::Event;
use super::policy::{self, Policy};
use super::run::Observer;
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::check::{self, Answer, Mark, Outcome, Place};
use crate::config::{CheckSpec, Question, Waivable};
use crate::context::Context;
use crate::store::{CheckPhase, CheckRecord, Promotion};

/// Performs the checks on the candidate, each once per content.
pub(super) async fn perform(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let (Some(candidate), Some(tree)) = (promotion.candidate, promotion.tree) else {
        return Ok(Event::Failed("it has no candidate".to_owned()));
    };
    let policy = policy::of_promotion(ctx, promotion).await?;
    let waived = policy::is_waived(ctx, promotion, &policy, Waivable::Checks).await?;
    for name in &policy.environment.checks {
        let Some(check) = policy.checks.get(name) else { continue };
        let record = match known(ctx, name, check, tree).await? {
            Some(known) => {
                observer.known(promotion, name);
                known
            }
            None => {
                observer.asking(promotion, CheckPhase::Check, name);
                let place = Room::prepare(ctx, promotion, candidate, CheckPhase::Check, name, check).await?;
                let answer = check::ask(name, check, &place.place()).await;
                observer.answered(promotion, CheckPhase::Check, name, &answer);
                let record = record(ctx, CheckPhase::Check, name, &answer);
                if answer.outcome == Outcome::Pass && depends_on_content_only(check) {
                    ctx.store.remember_outcome(&definition(check), tree, &record).await?;
                }
                record
            }
        };
        ctx.store.record_check(&promotion.id, &record).await?;
        if record.outcome != Outcome::Pass.as_str() && !waived {
            return Ok(Event::CheckFailed(failure(&record)));
        }
    }
    Ok(Event::ChecksPassed)
}

/// Says in one line what a check that did not pass answered.
pub(super) fn failure(record: &CheckRecord) -> String {
    match record.outcome.as_str() {
        "unknown" => format!("check `{}` could not answer: {}", record.name, record.detail),
        _ => format!("check `{}` failed: {}", record.name, record.detail),
    }
}

/// Makes the record of an answer that was given now.
pub(super) fn record(ctx: &Context, phase: CheckPhase, name: &str, answer: &Answer) -> CheckRecord {
    CheckRecord {
        phase,
        name: name.to_owned(),
        outcome: answer.outcome.as_str().to_owned(),
        detail: answer.detail.clone(),
        log: answer.log.as_ref().map(|path| path.to_string_lossy().into_owned()),
        cached: false,
        took_ms: i64::try_from(answer.duration.as_millis()).unwrap_or(i64::MAX),
        at: ctx.now(),
    }
}

/// Names a check by what it asks, so that a changed check is asked again.
fn definition(check: &CheckSpec) -> String {
    // A check's fields always serialise.
    Digest::of(&serde_json::to_vec(check).unwrap_or_default()).to_string()
}

/// Answers whether a check asks about files alone, and so needs a checkout of them.
pub(super) fn depends_on_content_only(check: &CheckSpec) -> bool {
    matches!(check.question(), Some(Question::Run(_) | Question::File(_)))
}

pub(super) async fn known(ctx: &Context, name: &str, check: &CheckSpec, tree: ObjectId) -> Result<Option<CheckRecord>> {
    if !depends_on_content_only(check) {
        return Ok(None);
    }
    Ok(ctx.store.known_outcome(name, &definition(check), tree).await?)
}

/// Answers which of an environment's checks would have to run on a tree, and which are known to pass.
///
/// # Errors
/// The store cannot be read.
pub async fn check_forecast(ctx: &Context, policy: &Policy, tree: ObjectId) -> Result<Vec<(String, bool)>> {
    let mut forecast = Vec::new();
    for name in &policy.environment.checks {
        let Some(check) = policy.checks.get(name) else { continue };
        forecast.push((name.clone(), known(ctx, name, check, tree).await?.is_some()));
    }
    Ok(forecast)
}

/// Names the scratch checkout of a phase. What is watched has one of its own: a promotion may use the other meanwhile.
fn scratch_name(environment: &str, phase: CheckPhase) -> String {
    match phase {
        // No environment can have this name.
        CheckPhase::Watch => format!("{environment}/{phase}"),
        _ => environment.to_owned(),
    }
}

/// Where one check is asked: a scratch checkout where it needs files, a log, and what it may know.
pub(super) struct Room {
    directory: Option<PathBuf>,
    mark: Option<Mark>,
    log: PathBuf,
    variables: Vec<(String, String)>,
}

impl Room {
    /// Prepares it for the check `name` on `commit`.
    ///
    /// # Errors
    /// The commit cannot be checked out, or there is no place for the log.
    pub(super) async fn prepare(
        ctx: &Context,
        promotion: &Promotion,
        commit: ObjectId,
        phase: CheckPhase,
        name: &str,
        check: &CheckSpec,
    ) -> Result<Self> {
        let directory = match depends_on_content_only(check) {
            false => None,
            true => {
                let scratch = ctx.home.scratch(&scratch_name(&promotion.environment, phase));
                let target = scratch.clone();
                // What a cascade that was killed left running here would disturb this check.
                check::end_leftovers(Mark::of_place(scratch.as_os_str().as_encoded_bytes()));
                ctx.git.run(move |repo| repo.check_out_scratch(&target, commit)).await?;
                Some(scratch)
            }
        };
        let logs = ctx.home.check_logs().join(promotion.id.as_str());
        std::fs::create_dir_all(&logs).map_err(|source| Error::Directory { path: logs.clone(), source })?;
        let digest = Digest::of(name.as_bytes()).short(6);
        let log = logs.join(format!("{phase}-{digest}.log"));
        let variables = vec![
            ("CASCADE_ENVIRONMENT".to_owned(), promotion.environment.clone()),
            ("CASCADE_PROMOTION".to_owned(), promotion.id.to_string()),
            ("CASCADE_CANDIDATE".to_owned(), commit.to_string()),
            ("CASCADE_PHASE".to_owned(), phase.to_string()),
        ];
        let mark = directory.as_ref().map(|place| Mark::of_place(place.as_os_str().as_encoded_bytes()));
        Ok(Self { directory, mark, log, variables })
    }

    /// Answers it as checks want it.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            directory: self.directory.as_deref(),
            log: Some(&self.log),
            variables: &self.variables,
            mark: self.mark,
            ..Place::default()
        }
    }
}
