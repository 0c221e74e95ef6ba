//! Whose fault a failed check is: the first bad save of those that a promotion was to bring.
//!
//! The saves are searched by halves ([`bisect`] decides), with the one check that failed, in the environment's scratch
//! checkout. Whatever is known of a content by then counts, and what is learnt is kept.

use serde::Serialize;

use super::bisect::{self, Place, Search, Seen, Turn};
use super::checks::{self, definition};
use super::error::{Error, Result};
use super::policy;
use super::room::Subject;
use super::run::Observer;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::check::Outcome;
use crate::config::CheckSpec;
use crate::context::Context;
use crate::git::{self, CommitSummary, Repo};
use crate::store::{Blame, CheckPhase, CulpritRecord, Lock, Promotion, State};

/// Most files of the first bad save that are named.
const FILES_LIMIT: usize = 10;

/// What is to blame for a failed check, for people and programs; texts are escaped.
#[derive(Debug, Clone, Serialize)]
pub struct Culprit {
    /// What was found.
    #[serde(flatten)]
    pub record: CulpritRecord,
    /// The first bad save, or the newest that can be it; nothing where there is none or it is not here any more.
    pub save: Option<CommitSummary>,
    /// The files that it changed, each with `A`, `M`, `D`, `R` or `T`.
    pub files: Vec<(char, String)>,
    /// How many more it changed.
    pub files_more: usize,
}

/// A save that a search is about.
#[derive(Debug, Clone, Copy)]
struct Save {
    commit: ObjectId,
    tree: ObjectId,
}

/// What is searched, and by which check.
struct Range {
    name: String,
    check: CheckSpec,
    base: Save,
    saves: Vec<Save>,
}

/// Finds out which save is to blame for the failed check of a promotion, and keeps it.
///
/// Answers nothing where there is nothing to find out: no check failed on its content, several saves are not what it
/// brings, the environment does not want it (`bisect: false`), or somebody stopped it half-way.
///
/// # Errors
/// The store or the repository cannot be used.
pub async fn find(
    ctx: &Context,
    _lock: &Lock,
    promotion: &Promotion,
    observer: &mut dyn Observer,
) -> Result<Option<CulpritRecord>> {
    if let Some(known) = ctx.store.culprit(&promotion.id).await? {
        return Ok(Some(known));
    }
    let is_wanted = ctx.config.environment(&promotion.environment).is_some_and(|spec| spec.bisect);
    if !is_wanted || ctx.stop.reason().is_some() {
        return Ok(None);
    }
    let _heeding = ctx.stop.heed();
    let Some(range) = range(ctx, promotion).await? else { return Ok(None) };
    let mut search = range.begin(ctx).await?;
    // For a single save it is not worth a run to find out whether that, or what it builds on, is bad.
    if range.saves.len() == 1 && search.turn() == Turn::Ask(Place::Base) {
        return Ok(None);
    }
    let verdict = loop {
        match search.turn() {
            Turn::End(verdict) => break verdict,
            Turn::Ask(place) => {
                if search.runs() == 0 {
                    let limit = search.runs_limit();
                    observer.searching(promotion, &range.name, range.saves.len(), limit);
                }
                let seen = range.ask(ctx, promotion, place, observer).await?;
                if ctx.stop.reason().is_some() {
                    return Ok(None);
                }
                search.answer(place, seen);
                range.twins(place).for_each(|twin| search.learn(twin, seen));
            }
        }
    };
    let found = range.found(ctx, promotion, &search, &verdict).await?;
    ctx.store.record_culprit(&promotion.id, &found).await?;
    Ok(Some(found))
}

/// Answers what is to blame for the failed check of a promotion, as far as it was found out.
///
/// # Errors
/// The store or the repository cannot be read.
pub async fn of(ctx: &Context, promotion: &Promotion) -> Result<Option<Culprit>> {
    let Some(record) = ctx.store.culprit(&promotion.id).await? else { return Ok(None) };
    let Some(save) = record.first_bad else {
        return Ok(Some(Culprit { record, save: None, files: Vec::new(), files_more: 0 }));
    };
    // A save that was cleared away since is no reason to tell nothing.
    let told = ctx.git.run(move |repo| {
        if !repo.has_commit(save) {
            return Ok((None, Vec::new()));
        }
        let (_, parent) = repo.message(save)?;
        Ok((Some(repo.summary(save)?), repo.changes_between(parent, save)?.files))
    });
    let (save, mut files) = told.await?;
    let files_more = files.len().saturating_sub(FILES_LIMIT);
    files.truncate(FILES_LIMIT);
    Ok(Some(Culprit { record, save, files, files_more }))
}

/// Answers the last commit before the first bad save that can be promoted to an environment whose last promotion failed
/// by a check; where nobody has looked for that save, it is looked for now.
///
/// # Errors
/// [`Error::NoHealthyPrefix`] where there is none; as [`find`].
pub async fn healthy_prefix(
    ctx: &Context,
    lock: &Lock,
    environment: &str,
    observer: &mut dyn Observer,
) -> Result<ObjectId> {
    super::plan::environment_of(ctx, environment)?;
    let none = |why: &str| Error::NoHealthyPrefix { environment: environment.to_owned(), why: why.to_owned() };
    let newest = ctx.store.promotions(Some(environment), 1).await?.pop();
    let failed = newest.filter(|newest| newest.state == State::Failed);
    let failed = failed.ok_or_else(|| none("its last promotion did not fail by a check"))?;
    let found = find(ctx, lock, &failed, observer).await?;
    let found = found.ok_or_else(|| none("the first bad save of its last promotion is not known"))?;
    match (found.blame, found.healthy) {
        (Blame::Older, _) => Err(none("what is live there fails the check already")),
        (_, None) => Err(none("the oldest of its saves is bad already")),
        (_, Some(healthy)) => Ok(healthy),
    }
}

impl Culprit {
    /// Answers in one line who is to blame.
    #[must_use]
    pub fn fact(&self) -> String {
        let Self { record, save, .. } = self;
        let CulpritRecord { name, saves, runs, .. } = record;
        let amount = |number: i64, what| count(usize::try_from(number).unwrap_or(0), what);
        let effort = format!("{}, {}", amount(*saves, "save"), amount(*runs, "run"));
        let save = match (save, record.first_bad) {
            (Some(save), _) => save,
            (None, Some(gone)) => return format!("the first bad save is {}, which is not here any more", gone.short()),
            (None, None) => {
                return format!("no save is to blame: check `{name}` failed before them already ({effort})");
            }
        };
        let named = format!("{} \"{}\" by {}", save.id.short(), save.subject, save.author);
        let files = self.files.iter().map(|(letter, path)| format!("{letter} {path}")).collect::<Vec<_>>().join(", ");
        let more = if self.files_more > 0 { format!(", and {} more", self.files_more) } else { String::new() };
        match record.blame {
            Blame::Among => format!(
                "the first bad save is {named} or one of the {} before it ({files}{more}; check `{name}` could not answer \
                 on all, {effort})",
                record.suspects.saturating_sub(1)
            ),
            _ => format!("the first bad save is {named}: {files}{more} (check `{name}`, {effort})"),
        }
    }

    /// Answers the command that promotes what comes before, where something does.
    #[must_use]
    pub fn way_out(&self, environment: &str) -> Option<String> {
        self.record.healthy.map(|_| format!("cascade promote {environment} --healthy-prefix"))
    }
}

/// Gathers what could be searched; nothing where that makes no sense.
async fn range(ctx: &Context, promotion: &Promotion) -> Result<Option<Range>> {
    let (Some(previous), Some(tree)) = (promotion.previous, promotion.tree) else { return Ok(None) };
    if promotion.state != State::Failed || promotion.hotfix.is_some() {
        return Ok(None);
    }
    let answers = ctx.store.checks(&promotion.id).await?;
    let is_failure = |phase, outcome: &str| phase == CheckPhase::Check && outcome == Outcome::Fail.as_str();
    let Some(failed) = answers.into_iter().find(|answer| is_failure(answer.phase, &answer.outcome)) else {
        return Ok(None);
    };
    let policy = policy::of_promotion(ctx, promotion).await?;
    let check = policy.checks.get(&failed.name).filter(|check| checks::depends_on_content_only(check));
    let Some(check) = check.cloned() else { return Ok(None) };
    let source = promotion.source;
    let read = ctx.git.run(move |repo| {
        let save = |commit| Ok(Save { commit, tree: repo.tree_of(commit)? });
        let saves = repo.saves_between(&[previous], source)?.into_iter().map(save).collect::<git::Result<Vec<_>>>()?;
        Ok((save(previous)?, saves))
    });
    let (base, saves) = read.await?;
    // A merge has content that no save has.
    let is_theirs = saves.last().is_some_and(|last| last.tree == tree);
    Ok(is_theirs.then_some(Range { name: failed.name, check, base, saves }))
}

impl Range {
    async fn begin(&self, ctx: &Context) -> Result<Search> {
        let known = ctx.store.outcomes(&definition(&self.check)).await?;
        let seen = |save: &Save| known.get(&save.tree).map_or(Seen::Unasked, |outcome| seen(outcome));
        Ok(Search::new(seen(&self.base), self.saves.iter().map(seen).collect()))
    }

    fn save(&self, place: Place) -> Save {
        match place {
            Place::Base => self.base,
            Place::Save(at) => self.saves.get(at).copied().unwrap_or(self.base),
        }
    }

    /// Lists the other places that have the same content.
    fn twins(&self, place: Place) -> impl Iterator<Item = Place> {
        let tree = self.save(place).tree;
        let places = std::iter::once(Place::Base).chain((0..self.saves.len()).map(Place::Save));
        places.filter(move |twin| *twin != place && self.save(*twin).tree == tree)
    }

    /// Asks the check about a save; what is known to fail now and then is asked once more, as before landing.
    async fn ask(
        &self,
        ctx: &Context,
        promotion: &Promotion,
        place: Place,
        observer: &mut dyn Observer,
    ) -> Result<Seen> {
        let save = self.save(place);
        let subject = Subject::new(promotion, save.commit, CheckPhase::Check);
        let answer = checks::ask_definitely(ctx, subject, (&self.name, &self.check), observer).await?;
        if ctx.stop.reason().is_none() {
            checks::remember(ctx, &self.check, save.tree, &answer).await?;
            observer.tried(promotion, save.commit, &answer);
        }
        Ok(seen(&answer.outcome))
    }

    async fn found(
        &self,
        ctx: &Context,
        promotion: &Promotion,
        search: &Search,
        verdict: &bisect::Verdict,
    ) -> Result<CulpritRecord> {
        let (blame, suspects) = match verdict {
            bisect::Verdict::Older => (Blame::Older, None),
            bisect::Verdict::First(at) => (Blame::First, Some(*at..=*at)),
            bisect::Verdict::Among(suspects) => (Blame::Among, Some(suspects.clone())),
        };
        let commit = |at: usize| self.saves.get(at).map(|save| save.commit);
        let (previous, source) = (self.base.commit, promotion.source);
        let healthy = match suspects.as_ref().and_then(|suspects| commit(*suspects.start())) {
            Some(bad) => ctx.git.run(move |repo| last_without(repo, (previous, source), bad)).await?,
            None => None,
        };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(CulpritRecord {
            name: self.name.clone(),
            blame,
            first_bad: suspects.as_ref().and_then(|suspects| commit(*suspects.end())),
            healthy,
            saves: number(self.saves.len()),
            suspects: number(suspects.map_or(0, Iterator::count)),
            runs: i64::from(search.runs()),
            at: ctx.now(),
        })
    }
}

/// Answers the last commit on the way from `previous` to `source` that does not contain `bad`.
fn last_without(repo: &Repo, (previous, source): (ObjectId, ObjectId), bad: ObjectId) -> git::Result<Option<ObjectId>> {
    for commit in repo.line_between(&[previous], source)?.into_iter().rev() {
        if !repo.is_ancestor(bad, commit)? {
            return Ok(Some(commit));
        }
    }
    Ok(None)
}

fn seen(outcome: &str) -> Seen {
    match outcome.parse() {
        Ok(Outcome::Pass) => Seen::Good,
        Ok(Outcome::Fail) => Seen::Bad,
        _ => Seen::Unclear,
    }
}
