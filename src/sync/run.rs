//! One run of a sync: compare, plan, keep what will be replaced, act, look again, and only then agree.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use super::apply::{Applied, Apply, Supply};
use super::archive::Archive;
use super::baseline::{self, Changes, Entry};
use super::compare::{Comparison, Intents, Origin, compare};
use super::diff::Finding;
use super::error::{Error, Result};
use super::filter::Filter;
use super::join::{Row, join};
use super::packed::Entries;
use super::parts::Merges;
use super::patience::Patience;
use super::plan::{Action, Plan, Planner, Policy};
use super::progress::{Phase, Progress};
use super::report::{Noted, Report};
use super::retention::Retention;
use super::snapshot::{self, Before};
use super::take_back;
use super::verify::Verification;
use super::walk::{Found, Reading, Sides};
use super::words::Words;
use crate::base::digest::Digest;
use crate::base::id::{PromotionId, entropy};
use crate::base::units::Share;
use crate::base::{Clock, Timestamp};
use crate::config::{DeleteMode, VerifyMode};
use crate::endpoint::{Endpoint, Fingerprint, IsKept, Key, Known, Version};
use crate::store::{Advance, SnapshotRecord, Store, StoredBaseline, SyncRun};

/// A sync with everything that acts for it.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Its name.
    pub name: String,
    /// Where the content comes from.
    pub source: Arc<dyn Endpoint>,
    /// What is brought to that.
    pub target: Arc<dyn Endpoint>,
    /// How it decides.
    pub policy: Policy,
    /// What may be deleted at most, for messages.
    pub max_delete: Share,
    /// What takes part.
    pub filter: Filter,
    /// Which content is read.
    pub reading: Reading,
    /// How closely the target is looked at after a run.
    pub verify: VerifyMode,
    /// How long what was replaced is kept.
    pub retention: Retention,
    /// What it remembers.
    pub store: Store,
    /// What it replaced.
    pub archive: Archive,
    /// How long it puts up with failures that may pass by themselves.
    pub patience: Patience,
    /// What it is at, for whoever watches.
    pub progress: Arc<Progress>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The promotion that it is run for.
    pub promotion: Option<PromotionId>,
    /// Whether the source is what a promotion that waits would bring, and not what has landed.
    pub is_awaited: bool,
}

/// What a sync would do, with all that it was decided on.
#[derive(Debug)]
pub struct Prepared {
    /// What would be done.
    pub plan: Plan,
    /// What takes no part, and what could not be read.
    pub comparison: Comparison,
    /// What was planned earlier and is not done, for something is not as it was then.
    pub stale: Vec<Noted>,
    pub(super) found: BTreeMap<Key, Found>,
    pub(super) merges: Merges,
    pub(super) stored: Arc<StoredBaseline>,
    pub(super) is_fresh: bool,
    pub(super) started_at: Timestamp,
}

impl Prepared {
    /// Flags what cannot be put there, for something that only the target has is on its way.
    fn bar(&mut self) {
        let plan = &mut self.plan;
        let deleted: BTreeSet<&Key> =
            plan.actions.iter().filter(|action| snapshot::after(action).is_none()).map(Action::key).collect();
        let stays = |row: &&Found| row.source.is_none() && row.target.is_some() && !deleted.contains(&row.key);
        let in_the_way: BTreeSet<Key> = self.found.values().filter(stays).map(|row| row.key.clone()).collect();
        if in_the_way.is_empty() {
            return;
        }
        let new = &mut self.comparison.new;
        let barred = plan.bar(&in_the_way, new.iter().map(|item| item.key));
        if !barred.is_empty() {
            *new = new.only(|key| !barred.contains(key));
        }
    }

    /// Answers how many items stay at the target for not all of the source is listed.
    #[must_use]
    pub fn kept_back(&self) -> usize {
        self.plan.kept_back + self.comparison.kept_back
    }

    /// Answers what is flagged beside what the plan flags: no decision of a person settles that.
    pub fn left_alone(&self) -> impl Iterator<Item = &Noted> {
        self.comparison.colliding.iter().chain(&self.stale)
    }
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Bring the target to what the source says.
    Sync,
    /// Let the source win, as a person decided about one item.
    Resolve,
    /// Put there what a person chose for one item.
    Choose,
    /// Bring back what was replaced.
    Restore,
    /// Undo runs, as if the source had never said what they brought.
    TakeBack,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Resolve | Self::Choose => "resolve",
            Self::Restore => "restore",
            Self::TakeBack => "take_back",
        }
    }

    fn origin(self) -> Origin {
        match self {
            Self::Sync | Self::Resolve => Origin::Source,
            Self::Choose => Origin::Person,
            Self::Restore | Self::TakeBack => Origin::Snapshot,
        }
    }
}

impl Sync {
    /// Looks at both sides and plans; nothing is changed.
    ///
    /// # Errors
    /// An endpoint cannot be listed, or what the sync remembers cannot be read.
    pub async fn prepare(&self) -> Result<Prepared> {
        self.prepare_leaving(false).await
    }

    /// Plans; what is new at the source may be left to be read when it is copied.
    async fn prepare_leaving(&self, leaves_new_unread: bool) -> Result<Prepared> {
        let started_at = self.clock.now();
        let (stored, is_fresh) = self.baseline().await?;
        let source = Some(Arc::clone(&self.source));
        let sides = Sides { leaves_new_unread, ..self.sides(source) };
        let comparison = self.compare(&sides, &stored, is_fresh).await?;
        let mut planner = Planner::new(&self.policy, comparison.is_partial);
        planner.add_unchanged(comparison.unchanged);
        let merges = self.bring_together(&comparison.found).await?;
        for found in &comparison.found {
            match merges.get(&found.key) {
                Some(together) => planner.add_together(&found.key, together),
                None => planner.add(versions(found)),
            }
        }
        let prepared = self.prepared(planner.finish(), comparison, (stored, is_fresh), started_at);
        let mut prepared = Prepared { merges, ..prepared };
        if self.target.is_nested() {
            prepared.bar();
        }
        if self.policy.delete == DeleteMode::Never {
            prepared.comparison.kept_back = 0;
        }
        Ok(prepared)
    }

    /// Answers what was agreed on last, and whether that is nothing yet between these endpoints.
    pub(super) async fn baseline(&self) -> Result<(Arc<StoredBaseline>, bool)> {
        let (stored, is_fresh) = self.store.sync_baseline(&self.name, &self.endpoints()).await?;
        Ok((Arc::new(stored), is_fresh))
    }

    pub(super) fn prepared(
        &self,
        plan: Plan,
        mut comparison: Comparison,
        (stored, is_fresh): (Arc<StoredBaseline>, bool),
        started_at: Timestamp,
    ) -> Prepared {
        let found = std::mem::take(&mut comparison.found).into_iter().map(|row| (row.key.clone(), row)).collect();
        Prepared { plan, comparison, stale: Vec::new(), found, merges: Merges::new(), stored, is_fresh, started_at }
    }

    pub(super) fn endpoints(&self) -> String {
        format!("{} → {}", self.source.place(), self.target.place())
    }

    /// Looks at both sides.
    pub(super) async fn compare(
        &self,
        sides: &Sides,
        stored: &Arc<StoredBaseline>,
        is_fresh: bool,
    ) -> Result<Comparison> {
        let mut intents = Intents::new();
        if !is_fresh {
            for body in self.store.sync_intents(&self.name).await? {
                snapshot::decode_intents(&body, &mut intents).map_err(|source| self.damaged(source))?;
            }
        }
        let words = self.words(is_fresh).await?;
        let mut attempts = 1;
        loop {
            self.begin(Phase::Comparing, 0, 0);
            match compare(sides, (&intents, &words), Arc::clone(stored)).await {
                Err(Error::Endpoint { source, .. }) if self.patience.lasts(&source, attempts) => {
                    self.patience.wait(attempts).await;
                    attempts += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Answers what people let be at the target.
    pub(super) async fn words(&self, is_fresh: bool) -> Result<Words> {
        let body = if is_fresh { None } else { self.store.sync_words(&self.name).await? };
        let words = body.map(|body| Words::decode(&body)).transpose();
        Ok(words.map_err(|source| self.damaged(source))?.unwrap_or_default())
    }

    /// Tells whoever watches that the next part begins.
    pub(super) fn begin(&self, phase: Phase, of_items: u64, of_bytes: u64) {
        self.progress.begin(phase, self.clock.now().as_millisecond(), of_items, of_bytes);
    }

    /// Answers who is walked; without a source the target alone.
    pub(super) fn sides(&self, source: Option<Arc<dyn Endpoint>>) -> Sides {
        let (name, target, filter) = (self.name.clone(), Arc::clone(&self.target), self.filter.clone());
        let progress = Arc::clone(&self.progress);
        let (reading, patience) = (self.reading, self.patience);
        Sides { name, source, target, filter, reading, leaves_new_unread: false, patience, progress }
    }

    pub(super) fn damaged(&self, source: super::codec::Damaged) -> Error {
        Error::Damaged { name: self.name.clone(), source }
    }

    /// Brings the target to what the source says.
    ///
    /// # Errors
    /// As [`Sync::prepare`]; too much would be deleted; what is replaced cannot be kept; the database cannot be written.
    /// What goes wrong with single items is in the report.
    pub async fn run(&self) -> Result<Report> {
        let prepared = self.prepare_leaving(true).await?;
        self.require_guard(&prepared.plan)?;
        self.perform(prepared, Purpose::Sync, &Supply::Endpoint(Arc::clone(&self.source))).await
    }

    pub(super) fn require_guard(&self, plan: &Plan) -> Result<()> {
        self.refusal(plan).map_or(Ok(()), Err)
    }

    /// Answers why a plan may not be carried out, where it may not.
    #[must_use]
    pub fn refusal(&self, plan: &Plan) -> Option<Error> {
        plan.guard.map(|guard| Error::Guard {
            name: self.name.clone(),
            deletes: guard.deletes,
            of: guard.of,
            limit: self.max_delete,
        })
    }

    /// Does what was planned.
    pub(super) async fn perform(&self, prepared: Prepared, purpose: Purpose, supply: &Supply) -> Result<Report> {
        let mut report = self.begin_report(&prepared).await;
        let planned = report.flagged.len();
        let actions: Vec<&Action> = prepared.plan.actions.iter().filter(|action| action.touches_target()).collect();
        let new = &prepared.comparison.new;
        let mut changes = agreements(&prepared, purpose);
        let run = (!actions.is_empty() || new.items > 0).then(|| self.new_run(&prepared, purpose));
        let (mut done, mut copied) = (Before::new(), Entries::default());
        if let Some(run) = &run {
            let planned: Before =
                actions.iter().map(|action| (action.key().clone(), snapshot::before(action))).collect();
            // What is brought together part by part comes to the same once more after a crash.
            let told: Vec<&Action> =
                actions.iter().filter(|action| !prepared.merges.contains_key(action.key())).copied().collect();
            let intents = snapshot::encode_intents(&told, purpose.origin());
            let endpoints = prepared.is_fresh.then(|| self.endpoints());
            let record = record(run, planned, new.iter().map(|item| item.key));
            self.store.begin_sync(run, intents, &record, endpoints).await?;
            let apply = Apply { sync: self, supply, found: &prepared.found, merges: &prepared.merges };
            let size = |action: &&Action| snapshot::after(action).map_or(0, |version| version.size);
            let bytes: u64 = actions.iter().map(size).sum();
            self.begin(Phase::Applying, actions.len() as u64 + new.items, bytes + new.bytes);
            let written = apply.perform(&actions, &mut report).await?;
            let put = apply.copy(&self.source, new, &mut report).await?;
            apply.flush().await?;
            self.begin(Phase::Verifying, 0, 0);
            let (verified, there) = apply.verify(written, &put, &mut report).await?;
            report.created += put.items;
            report.bytes +=
                put.iter().filter_map(|(_, entry)| entry.target).map(|known| known.version.size).sum::<u64>();
            let (replaced, agreed) = self.conclude(&prepared, &put, purpose, verified, &mut report);
            (done, copied) = (replaced, there);
            changes.extend(agreed);
        }
        // What is flagged only now was to be changed, and was not.
        report.conflicts += report.flagged.len() - planned;
        self.agree(&prepared, &changes, &copied, &report, purpose).await?;
        if run.is_some() && self.verify == VerifyMode::Full {
            note_differences(&self.verify().await?, &mut report);
        }
        report.seconds = seconds(prepared.started_at, self.clock.now());
        if let Some(run) = run {
            report.run = Some(run.id.clone());
            let told = serde_json::to_string(&report).ok();
            let finished = SyncRun { finished_at: Some(self.clock.now()), report: told, ..run };
            let record = record(&finished, done, copied.iter().map(|(key, _)| key));
            self.store.finish_sync(&finished, &record).await?;
        }
        self.forget_old().await?;
        Ok(report)
    }

    pub(super) async fn begin_report(&self, prepared: &Prepared) -> Report {
        let archive = self.archive.clone();
        let is_kept: IsKept = Arc::new(move |digest: &Digest| archive.has(digest));
        let left = self.target.sweep(prepared.comparison.leftovers.clone(), is_kept).await;
        let flag = |flag: &super::plan::Flag| Noted::new(&flag.key, flag.reason());
        Report {
            sync: self.name.clone(),
            source: self.source.place(),
            target: self.target.place(),
            unchanged: prepared.plan.unchanged,
            kept: prepared.plan.kept,
            kept_back: prepared.kept_back(),
            programs: prepared.comparison.programs,
            flagged: prepared.plan.flags.iter().map(flag).chain(prepared.left_alone().cloned()).collect(),
            conflicts: prepared.plan.flags.iter().filter(|flag| matches!(flag.finding, Finding::Conflict(_))).count(),
            resolvable: prepared.plan.resolvable(),
            skipped: prepared.comparison.skipped.clone(),
            // A person who decides about one item is not told of others.
            set_aside: if self.filter.named().is_none() { prepared.comparison.set_aside } else { 0 },
            failed: prepared.comparison.failed.clone(),
            passing: prepared.comparison.passing,
            left,
            ..Report::default()
        }
    }

    fn new_run(&self, prepared: &Prepared, purpose: Purpose) -> SyncRun {
        SyncRun {
            id: PromotionId::from_entropy(&entropy()).to_string(),
            sync: self.name.clone(),
            purpose: purpose.as_str().to_owned(),
            started_at: prepared.started_at,
            finished_at: None,
            report: None,
            promotion: self.promotion.clone(),
        }
    }

    /// Counts what was done; answers what it replaced, and what of it was verified and is agreed from now on.
    fn conclude(
        &self,
        prepared: &Prepared,
        put: &Entries,
        purpose: Purpose,
        mut verified: BTreeMap<Key, Applied>,
        report: &mut Report,
    ) -> (Before, Changes) {
        let (mut done, mut changes) = (Before::new(), Changes::new());
        if !verified.is_empty() {
            // What was copied and had to be looked at closely.
            for (key, entry) in put.iter() {
                let Some(applied) = verified.remove(&key) else { continue };
                done.insert(key.clone(), None);
                if let Applied::Verified(target) = applied {
                    changes.insert(key, Some(Entry { target, ..entry }));
                }
            }
        }
        for action in &prepared.plan.actions {
            let Some(applied) = verified.remove(action.key()) else { continue };
            done.insert(action.key().clone(), snapshot::before(action));
            match action {
                Action::Create { .. } => report.created += 1,
                Action::Replace { .. } => report.updated += 1,
                _ => report.deleted += 1,
            }
            report.bytes += snapshot::after(action).map_or(0, |version| version.size);
            if let Applied::Verified(target) = applied {
                let found = prepared.found.get(action.key());
                let source = match purpose {
                    Purpose::TakeBack => snapshot::after(action).map(unproved),
                    Purpose::Restore => found.and_then(|row| row.baseline.as_ref()?.source.clone()),
                    Purpose::Sync | Purpose::Resolve | Purpose::Choose => found.and_then(|row| row.source.clone()),
                };
                let entry = Entry { source, target };
                let together = prepared.merges.get(action.key());
                let entry = together.map_or_else(|| entry.clone(), |together| together.agreed(entry.clone()));
                changes.insert(action.key().clone(), Some(entry));
            }
        }
        (done, changes)
    }

    /// Moves on what is agreed and what is flagged, where that changes anything.
    pub(super) async fn agree(
        &self,
        prepared: &Prepared,
        changes: &Changes,
        copied: &Entries,
        report: &Report,
        purpose: Purpose,
    ) -> Result<()> {
        let before = self.store.sync_flags(&self.name).await?;
        let mut flags: Vec<(Vec<u8>, String)> =
            prepared.plan.flags.iter().map(|flag| (flag.key.as_bytes().to_vec(), flag.reason())).collect();
        // What this run did not look at stays as it was.
        let is_seen = |key: &[u8]| match self.filter.named() {
            Some(named) => named.iter().any(|one| one.as_bytes() == key),
            None => purpose == Purpose::Sync,
        };
        flags.extend(
            before.iter().filter(|flag| !is_seen(&flag.key)).map(|flag| (flag.key.clone(), flag.finding.clone())),
        );
        let is_same = before.len() == flags.len()
            && before
                .iter()
                .all(|flag| flags.iter().any(|(key, finding)| *key == flag.key && *finding == flag.finding));
        let words = self.words_after(prepared, changes).await?;
        if changes.is_empty() && is_same && !prepared.is_fresh && report.changed() == 0 {
            return Ok(());
        }
        let changed = changes.iter().map(|(key, change)| (key.clone(), change.clone()));
        let all = join(changed, iter::empty::<(Key, ())>(), copied.iter());
        let all = all.map(|row| (row.key, row.source.unwrap_or(row.target)));
        let (removed, added) = baseline::rewritten(&prepared.stored, all).map_err(|source| self.damaged(source))?;
        let advance = Advance {
            endpoints: self.endpoints(),
            from_serial: prepared.stored.serial,
            is_fresh: prepared.is_fresh,
            removed,
            added,
            flags,
            words,
        };
        Ok(self.store.advance_sync(&self.name, &advance, self.clock.now()).await?)
    }
}

impl Sync {
    /// Answers what people let be from now on, where that changes: what they decide while a promotion waits stays whatever
    /// becomes of that.
    async fn words_after(&self, prepared: &Prepared, changes: &Changes) -> Result<Option<Vec<u8>>> {
        let mut words = self.words(prepared.is_fresh).await?;
        let before = words.clone();
        for (key, entry) in changes {
            words.forget(key, entry.as_ref());
            let agreed = prepared.found.get(key).and_then(|row| row.baseline.as_ref()).map(Entry::agreed);
            if let Some(entry) = entry.as_ref().filter(|_| self.is_awaited) {
                let version = |known: &Option<Known>| known.as_ref().map(|known| known.version);
                let sources = [agreed.unwrap_or_default().source, version(&entry.source)];
                words.add(key.clone(), version(&entry.target), sources);
            }
        }
        Ok((words != before).then(|| words.encode()))
    }
}

/// Takes in what a full comparison found, but for what is told already.
fn note_differences(verification: &Verification, report: &mut Report) {
    let told: BTreeSet<String> = [&report.flagged, &report.failed, &report.unverified]
        .into_iter()
        .flatten()
        .map(|one| one.key.clone())
        .collect();
    let news = verification.wrong().filter(|one| !told.contains(&one.key)).cloned();
    report.unverified.extend(news);
    report.verified = Some(verification.same);
}

pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.as_millisecond() - from.as_millisecond()) as f64 / 1_000.0
}

/// Answers a version of which the source itself never said anything: nothing proves that it still has it.
pub(super) fn unproved(version: Version) -> Known {
    Known { version, fingerprint: Fingerprint { bytes: Vec::new(), is_racy: true } }
}

/// Answers a row by what decides.
pub(super) fn versions(found: &Found) -> Row<crate::endpoint::Version, super::diff::Agreed, crate::endpoint::Version> {
    Row {
        key: found.key.clone(),
        source: found.source.as_ref().map(|known| known.version),
        baseline: found.baseline.as_ref().map(Entry::agreed),
        target: found.target.as_ref().map(|known| known.version),
    }
}

/// Answers what is agreed without touching anything: what both have already, what nobody has any more, and what is as it
/// was but tells so in another way now.
fn agreements(prepared: &Prepared, purpose: Purpose) -> Changes {
    let mut changes = Changes::new();
    match purpose {
        Purpose::Restore => return changes,
        Purpose::TakeBack => return take_back::agreements(prepared),
        Purpose::Sync | Purpose::Resolve | Purpose::Choose => {}
    }
    let entry = |row: &Found| Entry { source: row.source.clone(), target: row.target.clone() };
    for (key, row) in &prepared.found {
        let Row { source, baseline, target, .. } = versions(row);
        if super::diff::judge(source, baseline.unwrap_or_default(), target) == super::diff::Finding::Unchanged {
            changes.insert(key.clone(), Some(entry(row)));
        }
    }
    for (key, together) in prepared.merges.iter().filter(|(_, together)| together.from == together.to) {
        if together.merged.is_news || together.merged.kept.is_empty() {
            changes.insert(key.clone(), prepared.found.get(key).map(|row| together.agreed(entry(row))));
        }
    }
    for action in &prepared.plan.actions {
        match action {
            Action::Adopt { key, .. } => changes.insert(key.clone(), prepared.found.get(key).map(entry)),
            Action::Forget { key } => changes.insert(key.clone(), None),
            _ => None,
        };
    }
    changes
}

/// Answers what a run replaces as it is stored: under `new` keys nothing.
fn record(run: &SyncRun, before: Before, new: impl Iterator<Item = Key>) -> SnapshotRecord {
    let new = new.map(|key| (key, None::<()>));
    let all = join(before.into_iter(), iter::empty::<(Key, ())>(), new);
    summarised(&run.id, run.started_at, all.map(|row| (row.key, row.source.flatten())))
}

/// Answers what a run replaced as it is stored; items come in the order of keys.
pub(super) fn summarised<K: Borrow<Key>>(
    run: &str,
    at: Timestamp,
    before: impl Iterator<Item = (K, Option<Version>)>,
) -> SnapshotRecord {
    let (body, items, bytes) = snapshot::encode(before);
    let [items, bytes] = [items as u64, bytes].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    SnapshotRecord { run: run.to_owned(), at, items, bytes, body }
}
