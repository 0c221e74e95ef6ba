//! Asking: admission, checks on the candidate, gates, and verification of what is live.

use std::path::PathBuf;

use super::error::{Error, Result};
use super::gate::{self, Facts, Gate};
use super::phase::Event;
use super::plan::environment_of;
use super::run::Observer;
use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::check::{self, Answer, Outcome, Place};
use crate::config::{CheckSpec, Question};
use crate::context::Context;
use crate::store::{CheckPhase, CheckRecord, Promotion};

/// Performs the admission: the gates that make checks pointless while they are closed.
pub(super) async fn admit(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    let findings: Vec<_> = gate::ask(&facts).into_iter().filter(|finding| finding.gate.is_admission()).collect();
    Ok(gate::closed_summary(&findings).map_or(Event::Admitted, Event::Closed))
}

/// Performs the gates: every one of them, on what is known now.
pub(super) async fn gates(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(facts) = facts(ctx, promotion).await? else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    if let Some(word) = gate::rejection(&facts) {
        let reason = word.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Ok(Event::Rejected(format!("rejected by {}{reason}", word.person)));
    }
    let findings = gate::ask(&facts);
    let is_unapproved = findings.iter().any(|finding| finding.gate == Gate::Approval && !finding.open);
    if let Some(expired) = expired(&facts, promotion).filter(|_| is_unapproved) {
        return Ok(expired);
    }
    Ok(gate::closed_summary(&findings).map_or(Event::Opened, Event::Closed))
}

fn expired(facts: &Facts, promotion: &Promotion) -> Option<Event> {
    let policy = facts.approval.as_ref()?;
    let ends_ms = promotion.created_at.as_millisecond().saturating_add(policy.expires.as_ms());
    let approved = gate::expired_by(facts);
    let reason = match approved.is_empty() {
        true => format!("nobody approved it within {}", policy.expires),
        false => format!("the approval by {} expired after {}", approved.join(", "), policy.expires),
    };
    (ends_ms <= facts.now.as_millisecond()).then_some(Event::Expired(reason))
}

/// Gathers everything the gates look at; nothing while there is no candidate.
///
/// # Errors
/// The store or the repository cannot be read.
pub(super) async fn facts(ctx: &Context, promotion: &Promotion) -> Result<Option<Facts>> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    let (Some(candidate), Some(tree)) = (promotion.candidate, promotion.tree) else { return Ok(None) };
    let hold = ctx.store.held(&promotion.environment).await?;
    let quarantined = ctx.store.quarantined(&promotion.environment).await?;
    let undone = hold.as_ref().and_then(|hold| hold.promotion.clone());
    let undone: Vec<ObjectId> = quarantined
        .iter()
        .filter(|entry| Some(&entry.promotion) == undone.as_ref())
        .map(|entry| entry.source)
        .collect();
    let is_fix = is_fix(ctx, promotion.source, undone).await?;
    Ok(Some(Facts {
        now: ctx.now(),
        environment: promotion.environment.clone(),
        promotion: promotion.id.clone(),
        requested_by: promotion.requested_by.clone(),
        source: promotion.source,
        candidate,
        tree,
        hold,
        is_fix,
        quarantined,
        approval: spec.approval.clone(),
        approvals: ctx.store.approvals(&promotion.id).await?,
        soak: spec.soak,
        live_upstream_since: live_upstream_since(ctx, &promotion.environment, promotion.source).await?,
    }))
}

/// A fix descends from every commit that the rollback undid and is none of them.
async fn is_fix(ctx: &Context, source: ObjectId, undone: Vec<ObjectId>) -> Result<bool> {
    if undone.is_empty() || undone.contains(&source) {
        return Ok(false);
    }
    let descends =
        ctx.git.run(move |repo| undone.iter().try_fold(true, |all, bad| Ok(all && repo.is_ancestor(*bad, source)?)));
    Ok(descends.await?)
}

async fn live_upstream_since(ctx: &Context, environment: &str, source: ObjectId) -> Result<Option<Timestamp>> {
    let Some(upstream) = ctx.config.upstream(environment) else { return Ok(Some(from_ms(0))) };
    let live = ctx.store.live(upstream).await?;
    Ok(live.filter(|live| live.candidate == Some(source)).and_then(|live| live.finished_at))
}

/// Answers whether `source` has been live upstream long enough for `environment`; nothing where it need not be.
///
/// # Errors
/// Unknown environment, or the store cannot be read.
pub async fn soak(ctx: &Context, environment: &str, source: ObjectId) -> Result<Option<gate::Finding>> {
    let (spec, _) = environment_of(ctx, environment)?;
    Ok(gate::soak(spec.soak, live_upstream_since(ctx, environment, source).await?, ctx.now()))
}

/// Performs the checks on the candidate, each once per content.
pub(super) async fn checks(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    let (Some(candidate), Some(tree)) = (promotion.candidate, promotion.tree) else {
        return Ok(Event::Failed("it has no candidate".to_owned()));
    };
    for name in &spec.checks {
        let Some(check) = ctx.config.checks.get(name) else { continue };
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
        if record.outcome != Outcome::Pass.as_str() {
            return Ok(Event::CheckFailed(failure(&record)));
        }
    }
    Ok(Event::ChecksPassed)
}

/// Performs the verification of what is live.
pub(super) async fn verification(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
    let (spec, _) = environment_of(ctx, &promotion.environment)?;
    let Some(candidate) = promotion.candidate else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    for name in &spec.verify {
        let Some(check) = ctx.config.checks.get(name) else { continue };
        observer.asking(promotion, CheckPhase::Verify, name);
        let room = Room::prepare(ctx, promotion, candidate, CheckPhase::Verify, name, check).await?;
        let answer = check::verification::verify(name, check, &room.place(), &mut |_, _| {}).await;
        observer.answered(promotion, CheckPhase::Verify, name, &answer);
        let record = record(ctx, CheckPhase::Verify, name, &answer);
        ctx.store.record_check(&promotion.id, &record).await?;
        if answer.outcome != Outcome::Pass {
            return Ok(Event::VerificationFailed(failure(&record)));
        }
    }
    Ok(Event::Verified)
}

fn failure(record: &CheckRecord) -> String {
    match record.outcome.as_str() {
        "unknown" => format!("check `{}` could not answer: {}", record.name, record.detail),
        _ => format!("check `{}` failed: {}", record.name, record.detail),
    }
}

fn record(ctx: &Context, phase: CheckPhase, name: &str, answer: &Answer) -> CheckRecord {
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

fn depends_on_content_only(check: &CheckSpec) -> bool {
    matches!(check.question(), Some(Question::Run(_) | Question::File(_)))
}

async fn known(ctx: &Context, name: &str, check: &CheckSpec, tree: ObjectId) -> Result<Option<CheckRecord>> {
    if !depends_on_content_only(check) {
        return Ok(None);
    }
    Ok(ctx.store.known_outcome(name, &definition(check), tree).await?)
}

/// Answers which of an environment's checks would have to run on a tree, and which are known to pass.
///
/// # Errors
/// The store cannot be read.
pub async fn check_forecast(ctx: &Context, environment: &str, tree: ObjectId) -> Result<Vec<(String, bool)>> {
    let (spec, _) = environment_of(ctx, environment)?;
    let mut forecast = Vec::new();
    for name in &spec.checks {
        let Some(check) = ctx.config.checks.get(name) else { continue };
        forecast.push((name.clone(), known(ctx, name, check, tree).await?.is_some()));
    }
    Ok(forecast)
}

/// Where one check is asked: a scratch checkout where it needs files, a log, and what it may know.
struct Room {
    directory: Option<PathBuf>,
    log: PathBuf,
    variables: Vec<(String, String)>,
}

impl Room {
    async fn prepare(
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
                let scratch = ctx.home.scratch(&promotion.environment);
                let target = scratch.clone();
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
        Ok(Self { directory, log, variables })
    }

    fn place(&self) -> Place<'_> {
        Place { directory: self.directory.as_deref(), log: Some(&self.log), variables: &self.variables }
    }
}

/// Answers every gate's finding for a promotion, for showing it.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn findings(ctx: &Context, promotion: &Promotion) -> Result<Vec<gate::Finding>> {
    Ok(facts(ctx, promotion).await?.map(|facts| gate::ask(&facts)).unwrap_or_default())
}
