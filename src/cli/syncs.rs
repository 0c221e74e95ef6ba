//! How the syncs of a project stand, for `status` and `why`.

use serde::Serialize;

use super::{Outcome, words};
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::units::count;
use crate::context::Context;
use crate::sync::triggered::{self, Standing};

/// Most flagged items that are named.
const NAMED_LIMIT_ITEMS: usize = 5;

/// A sync at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct SyncStatus {
    /// Its name.
    pub name: String,
    /// The environments that deliver it.
    pub delivered_by: Vec<String>,
    /// Whether it runs by itself, by the clock or after deployments.
    pub triggered: bool,
    /// Whether it is active here.
    pub active: bool,
    /// The environments in which it is, where that is not everywhere.
    pub only_in: Vec<String>,
    /// The environment whose rollback keeps it from running by itself.
    pub held_by: Option<String>,
    /// When it last began to run with success.
    pub last_run: Option<Timestamp>,
    /// When it last failed, where it did not succeed since.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub problem: Option<String>,
    /// When it runs next, as far as the clock decides.
    pub next_run: Option<Timestamp>,
    /// Items that are left alone at its target until somebody decides.
    pub flagged: Vec<Flagged>,
}

/// An item that is left alone.
#[derive(Debug, Clone, Serialize)]
pub struct Flagged {
    /// Its key, safe to show.
    pub key: String,
    /// What is the matter.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Gathers how every sync stands, in the order of the configuration.
///
/// # Errors
/// The store cannot be read.
pub async fn all(ctx: &Context) -> Outcome<Vec<SyncStatus>> {
    let mut all = Vec::new();
    for standing in triggered::standings(ctx).await? {
        all.push(status(ctx, standing).await?);
    }
    Ok(all)
}

async fn status(ctx: &Context, standing: Standing) -> Outcome<SyncStatus> {
    let Standing { name, is_triggered, is_active, held_by, memory, next } = standing;
    let flags = ctx.store.sync_flags(&name).await?.into_iter();
    let flagged =
        flags.map(|flag| Flagged { key: shown(&flag.key), reason: flag.finding, since: flag.since }).collect();
    let delivers = |environment: &&String| ctx.config.environments[*environment].deliver.contains(&name);
    Ok(SyncStatus {
        delivered_by: ctx.config.environments.keys().filter(delivers).cloned().collect(),
        triggered: is_triggered,
        active: is_active,
        only_in: ctx.config.syncs.get(&name).map(|spec| spec.only_in.clone()).unwrap_or_default(),
        held_by,
        last_run: memory.ran_at,
        failed_at: memory.failed_at,
        problem: memory.problem,
        next_run: next,
        flagged,
        name,
    })
}

impl SyncStatus {
    /// Answers whether something is the matter that people should know.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.problem.is_none() && self.flagged.is_empty()
    }

    /// Says in one line when it ran and when it runs.
    #[must_use]
    pub fn line(&self, now: Timestamp) -> String {
        let ran = self.last_run.map_or_else(|| "never ran".to_owned(), |at| format!("ran {}", words::age(now, at)));
        let active = (!self.active).then(|| format!("only in {}", self.only_in.join(", ")));
        let held =
            self.held_by.as_ref().filter(|_| self.triggered).map(|by| format!("waits: {by} is held since a rollback"));
        let next = self.next_run.map(|at| format!("next {}", words::moment(at)));
        let delivered =
            (!self.delivered_by.is_empty()).then(|| format!("delivered by {}", self.delivered_by.join(", ")));
        [Some(ran), next, delivered, active, held].into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    /// Says what is the matter, a line for each thing.
    #[must_use]
    pub fn troubles(&self, now: Timestamp) -> Vec<String> {
        let failed = self.problem.as_ref().zip(self.failed_at);
        let failed = failed.map(|(problem, at)| format!("failed {}: {problem}", words::age(now, at)));
        let named = self.flagged.iter().take(NAMED_LIMIT_ITEMS).map(|one| format!("{} {}", one.key, one.reason));
        let rest = self.flagged.len().saturating_sub(NAMED_LIMIT_ITEMS);
        let rest = (rest > 0).then(|| format!("and {}", count(rest, "more item")));
        let flagged: Vec<String> = named.chain(rest).collect();
        let flagged = (!flagged.is_empty())
            .then(|| format!("left alone: {}: `cascade sync {} --dry-run`", flagged.join(", "), self.name));
        failed.into_iter().chain(flagged).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;

    #[test]
    fn a_sync_tells_when_it_ran_where_it_is_active_and_what_is_the_matter() {
        let now = from_ms(1_000_000_000_000);
        let mut status = SyncStatus {
            name: "site".to_owned(),
            delivered_by: vec!["production".to_owned()],
            triggered: false,
            active: false,
            only_in: vec!["production".to_owned()],
            held_by: None,
            last_run: Some(from_ms(now.as_millisecond() - 120_000)),
            failed_at: None,
            problem: None,
            next_run: None,
            flagged: Vec::new(),
        };
        assert_eq!(status.line(now), "ran 2 min ago · delivered by production · only in production");
        assert!(status.is_well() && status.troubles(now).is_empty());
        (status.problem, status.failed_at) = (Some("it is not there".to_owned()), Some(now));
        status.flagged = vec![Flagged { key: "a".to_owned(), reason: "was changed".to_owned(), since: now }; 7];
        let troubles = status.troubles(now);
        assert_eq!(troubles[0], "failed just now: it is not there");
        assert!(troubles[1].ends_with("and 2 more items: `cascade sync site --dry-run`"), "{troubles:?}");
        assert!(!status.is_well());
    }
}
