//! Carrying out a plan that was saved, exactly as it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply::Supply;
use super::error::{Error, Result};
use super::filter::Filter;
use super::parts::Together;
use super::plan::{Action, Plan};
use super::report::{Noted, Report};
use super::run::{Prepared, Purpose, Sync};
use super::saved::{Now, SavedPlan, Unfit, fitting};
use super::snapshot;

impl Sync {
    /// Answers a plan as it can be saved and carried out later.
    ///
    /// # Errors
    /// It deletes too much.
    pub fn saved(&self, prepared: &Prepared) -> Result<SavedPlan> {
        self.require_guard(&prepared.plan)?;
        Ok(SavedPlan::new(self.name.clone(), self.endpoints(), prepared.stored.serial, &prepared.plan.actions))
    }

    /// Carries out a plan that was saved; what is not as the plan expects is left alone and told. What a run of it that was
    /// killed has done already is agreed on.
    ///
    /// # Errors
    /// It was made for other endpoints, or something was synced since; as [`Sync::run`].
    pub async fn apply(&self, saved: &SavedPlan) -> Result<Report> {
        let started_at = self.clock.now();
        let stale = |reason| Error::Stale { name: self.name.clone(), reason };
        if saved.endpoints != self.endpoints() {
            return Err(stale("the sync is between other places now"));
        }
        let stored = self.baseline().await?;
        if stored.0.serial != saved.serial {
            return Err(stale("something was synced, resolved or restored since it was made"));
        }
        let unfit = |source: Unfit| Error::Unfit { path: format!("the plan of sync {}", self.name), source };
        let actions = saved.actions().map_err(unfit)?;
        let keys: BTreeSet<_> = actions.iter().map(|action| action.key().clone()).collect();
        let one = Self { filter: Filter::only(keys), ..self.clone() };
        let comparison = one.compare(&one.sides(Some(Arc::clone(&one.source))), &stored.0, stored.1).await?;
        let mut merges = one.bring_together(&comparison.found).await?;
        let mut prepared = one.prepared(Plan::default(), comparison, stored, started_at);
        for action in actions {
            match merges.remove(action.key()) {
                Some(together) => take_in_together(action, together, &mut prepared),
                None => take_in(action, &mut prepared),
            }
        }
        one.perform(prepared, Purpose::Sync, &Supply::Endpoint(Arc::clone(&one.source))).await
    }
}

fn take_in(action: Action, prepared: &mut Prepared) {
    let key = action.key().clone();
    match fitting(action, prepared.found.get(&key)) {
        Now::Do(action) => prepared.plan.actions.push(action),
        Now::Stale(reason) => {
            let noted = Noted::new(&key, reason);
            // What could not be read is told already.
            if !prepared.comparison.failed.iter().any(|failed| failed.key == noted.key) {
                prepared.stale.push(noted);
            }
        }
    }
}

/// Takes in what was to be brought together part by part, where that comes to what was planned.
fn take_in_together(action: Action, together: Together, prepared: &mut Prepared) {
    let key = action.key().clone();
    let (before, after) = (snapshot::before(&action), snapshot::after(&action));
    // A run that was killed may have put it there.
    let is_done = together.from == together.to && after == Some(together.to);
    if before != Some(together.from) && !is_done {
        return prepared.stale.push(Noted::new(&key, "was changed at the target since the plan was made"));
    }
    if after != Some(together.to) {
        return prepared.stale.push(Noted::new(&key, "was changed at the source since the plan was made"));
    }
    prepared.plan.flags.extend(together.flag(&key));
    prepared.plan.actions.extend((!is_done).then_some(action));
    prepared.merges.insert(key, together);
}
