//! Verification: asking whether what is live is well, after it landed.

use super::checks::{Room, failure, record};
use super::error::Result;
use super::phase::Event;
use super::plan::environment_of;
use super::run::Observer;
use crate::check::{self, Outcome};
use crate::context::Context;
use crate::store::{CheckPhase, Promotion};

/// Performs the verification of what is live.
pub(super) async fn perform(ctx: &Context, promotion: &Promotion, observer: &mut dyn Observer) -> Result<Event> {
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
