//! Building the candidate: which commit, on which tip, and whether anything stands in the way.

use serde::Serialize;

use super::drift::{Drift, Past};
use super::error::{Error, Result};
use super::phase::Event;
use super::policy::{self, Feeding};
use super::{deliver, ledger};
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::config::{self, Environment, HistoryMode, SignMode};
use crate::context::Context;
use crate::git::{
    self, CommitSummary, HOTFIX_TRAILER, NewCommit, PROMOTION_TRAILER, ROLLBACK_TRAILER, Repo, TreeChanges,
};
use crate::store::Promotion;

/// Most subjects that a candidate's message lists.
const SUBJECTS_LIMIT: usize = 20;

/// A promotion that would take an environment back to older content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GoesBack {
    /// How many commits would not be live any more.
    pub commits: usize,
    /// The commit whose content would be.
    pub to: ObjectId,
}

impl GoesBack {
    /// Answers whether the content of `source` is older than what a branch at `tip` has, and by how much.
    fn from_tip(repo: &Repo, tip: Option<ObjectId>, source: ObjectId) -> git::Result<Option<Self>> {
        let Some(tip) = tip else { return Ok(None) };
        let (live, to) = (repo.origin_of(tip)?, repo.origin_of(source)?);
        if live == to || !repo.is_ancestor(to, live)? {
            return Ok(None);
        }
        Ok(Some(Self { commits: repo.count_between(to, live)?, to }))
    }

    /// Says so, of an environment.
    #[must_use]
    pub fn words(&self, environment: &str) -> String {
        let commits = count(self.commits, "commit");
        format!(
            "this takes {environment} back by {commits}, to {}: what feeds it is older than what is live",
            self.to.short()
        )
    }
}

/// What a promotion would bring, without doing anything.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The branch the candidate comes from.
    pub source_branch: String,
    /// Its tip.
    pub source: ObjectId,
    /// The tip's content.
    pub source_tree: ObjectId,
    /// The environment's tip.
    pub tip: Option<ObjectId>,
    /// Commits that would become live, newest first.
    pub commits: Vec<CommitSummary>,
    /// How many there are in all.
    pub commit_count: usize,
    /// What changes in the environment.
    pub changes: TreeChanges,
    /// What the environment has and the source lacks.
    pub drift: Option<Drift>,
    /// How far it would go back, where the source is older than what is live.
    pub goes_back: Option<GoesBack>,
}

impl Preview {
    /// Answers whether there is nothing to promote.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commit_count == 0 && self.changes.files.is_empty()
    }
}

/// Looks at what a promotion into `environment` would bring, from its usual source or as a hotfix from another branch,
/// from what is known here alone: nothing is fetched.
///
/// # Errors
/// Unknown environment, missing source branch, unreadable repository.
pub async fn preview(ctx: &Context, environment: &str, hotfix: Option<&str>) -> Result<Preview> {
    let spec = environment_of(ctx, environment)?;
    let feeding = policy::shown_feeding(ctx, environment).await?.branch(&ctx.config).to_owned();
    let (branch, remote) = (spec.branch.clone(), ctx.config.remote.clone());
    let sandbox = ctx.config.sandbox.branch.clone();
    let mut past = Past::of(ctx, environment).await?;
    let hotfix = hotfix.map(str::to_owned);
    let preview = ctx.git.run(move |repo| {
        let source = match &hotfix {
            None => source_tip(repo, (&feeding, &sandbox), &remote)?,
            Some(hotfix) => repo.known_branch_tip(&remote, hotfix)?,
        };
        let source_branch = hotfix.clone().unwrap_or(feeding);
        let tip = repo.furthest_tip(&remote, &branch)?;
        let commits = repo.news_between(tip, source, git::history::LISTED_COMMITS_LIMIT)?;
        let commit_count = repo.count_news(tip, source)?;
        let drift = match (tip, &hotfix) {
            (None, _) => None,
            (Some(tip), Some(hotfix)) => past.behind(repo, tip, (hotfix, source))?,
            (Some(tip), None) => past.drift(repo, tip, &[source])?,
        };
        let changes = repo.changes_between(tip, source)?;
        let source_tree = repo.tree_of(source)?;
        let goes_back = GoesBack::from_tip(repo, tip, source)?.filter(|_| hotfix.is_none());
        Ok(Preview { source_branch, source, source_tree, tip, commits, commit_count, changes, drift, goes_back })
    });
    Ok(preview.await?)
}

/// Answers how far an environment would go back by a promotion from what feeds it, as far as is known here.
///
/// # Errors
/// As [`preview`].
pub async fn goes_back(ctx: &Context, environment: &str) -> Result<Option<GoesBack>> {
    let spec = environment_of(ctx, environment)?;
    let feeding = policy::shown_feeding(ctx, environment).await?.branch(&ctx.config).to_owned();
    let (branch, remote) = (spec.branch.clone(), ctx.config.remote.clone());
    let sandbox = ctx.config.sandbox.branch.clone();
    let compared = ctx.git.run(move |repo| {
        let source = source_tip(repo, (&feeding, &sandbox), &remote)?;
        GoesBack::from_tip(repo, repo.furthest_tip(&remote, &branch)?, source)
    });
    Ok(compared.await?)
}

/// Finds an environment's configuration.
///
/// # Errors
/// Unknown environment.
pub(super) fn environment_of<'a>(ctx: &'a Context, name: &str) -> Result<&'a Environment> {
    ctx.config.environment(name).ok_or_else(|| unknown(ctx, name))
}

/// Makes the error about an environment that the configuration does not have.
pub(super) fn unknown(ctx: &Context, name: &str) -> Error {
    Error::UnknownEnvironment {
        name: shown(name.as_bytes()),
        nearest: ctx.config.nearest_environment(name).map(ToOwned::to_owned),
        known: ctx.config.environments.keys().cloned().collect(),
    }
}

/// Performs the step: decides on what the candidate builds, makes it and keeps it alive.
pub(super) async fn perform(ctx: &Context, promotion: &mut Promotion) -> Result<Event> {
    let spec = environment_of(ctx, &promotion.environment)?;
    let source_branch = policy::shown_feeding(ctx, &promotion.environment).await?.branch(&ctx.config).to_owned();
    let past = Past::of(ctx, &promotion.environment).await?.asking();
    let comes_back = match &promotion.undoes {
        Some(undone) => {
            let undone = ctx.store.promotion(undone.as_str()).await?;
            undone.candidate.zip(undone.tree)
        }
        None => None,
    };
    let (branch, sandbox, history) = (spec.branch.clone(), ctx.config.sandbox.branch.clone(), spec.history);
    let sign = ctx.config.ledger.sign;
    let delivers_first = delivers_first(ctx, promotion).await?;
    let (takes_back, promotion_now) = (None, promotion.clone());
    let work = Planner {
        branch,
        source_branch,
        sandbox,
        history,
        past,
        comes_back,
        takes_back,
        sign,
        delivers_first,
        promotion: promotion_now,
    };
    let planned = ctx.git.run(move |repo| work.plan(repo)).await;
    // Gates go by what other machines did too.
    ledger::take_over(ctx).await?;
    match planned {
        Ok(Planned::Candidate(planned)) => {
            *promotion = *planned;
            admissible(ctx, promotion).await
        }
        Ok(Planned::Stopped(event)) => Ok(event),
        Err(conflict @ git::Error::MergeConflict { .. }) => Ok(Event::Conflicted(conflict.to_string())),
        Err(lost @ git::Error::SavesLost { .. }) => Ok(Event::Failed(format!("{lost}: run `cascade doctor`"))),
        Err(other) => Ok(Event::Failed(other.to_string())),
    }
}

/// Answers whether an environment gets its deliveries for the first time: then there is something to do even where its
/// branch has that content already.
async fn delivers_first(ctx: &Context, promotion: &Promotion) -> Result<bool> {
    if ctx.store.live(&promotion.environment).await?.is_some() {
        return Ok(false);
    }
    Ok(!deliver::configured(ctx, &promotion.environment, (promotion.source, None)).await?.is_empty())
}

/// What a candidate has as its configuration would be the environment's rules once it is live; and what it brings must
/// come from where the rules of now want it.
async fn admissible(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(candidate) = promotion.candidate else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    match policy::committed(ctx, candidate).await {
        Ok(_) => came_by_the_rules(ctx, promotion).await,
        Err(Error::Policy { problems, .. }) => {
            Ok(Event::Failed(format!("its configuration could not serve as the rules here: {problems}")))
        }
        Err(other) => Err(other),
    }
}

/// A hotfix comes past the environments before, and what undoes a rollback was here before.
async fn came_by_the_rules(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    if promotion.hotfix.is_some() || promotion.undoes.is_some() {
        return Ok(Event::Planned);
    }
    // Rules that cannot be read are told by the gates.
    let policy = match policy::of_promotion(ctx, promotion).await {
        Err(Error::Policy { .. }) => return Ok(Event::Planned),
        found => found?,
    };
    if let Err(other @ Error::OtherSource { .. }) =
        policy::require_source(ctx, &promotion.environment, &policy, promotion.source).await
    {
        return Ok(Event::Failed(other.to_string()));
    }
    // Nothing keeps what is saved from being taken back meanwhile.
    if policy.feeding == Feeding::Sandbox {
        return Ok(Event::Planned);
    }
    let (feeding, source) = (policy.feeding.branch(&ctx.config).to_owned(), promotion.source);
    let contains = match policy::known_tip(ctx, &feeding).await? {
        Some(tip) => ctx.git.run(move |repo| repo.is_ancestor(source, tip)).await?,
        None => false,
    };
    Ok(match contains {
        true => Event::Planned,
        false => Event::Failed(format!("{} is not on `{feeding}`, from where the rules want it", source.short())),
    })
}

struct Planner {
    branch: String,
    source_branch: String,
    /// The branch that saves go to.
    sandbox: String,
    /// How the branch grows where no committed configuration says it.
    history: HistoryMode,
    past: Past,
    /// The commit that a rollback took away, and its tree, which this promotion brings back.
    comes_back: Option<(ObjectId, ObjectId)>,
    /// The tip of which the candidate takes back what was rolled back upstream.
    takes_back: Option<ObjectId>,
    /// How entries of the ledger are signed.
    sign: SignMode,
    /// Whether something is delivered that never was.
    delivers_first: bool,
    promotion: Promotion,
}

enum Planned {
    Candidate(Box<Promotion>),
    Stopped(Event),
}

impl Planner {
    fn plan(mut self, repo: &Repo) -> git::Result<Planned> {
        if let Some(place) = repo.checked_out_at(&self.branch)? {
            let place = shown(place.as_os_str().as_encoded_bytes());
            let reason =
                format!("`{}` is checked out in {place}: switch it to another branch, then promote", self.branch);
            return Ok(Planned::Stopped(Event::Failed(reason)));
        }
        let tip = match environment_tip(repo, &self.branch, self.promotion.remote.as_deref(), self.sign)? {
            Ok(tip) => tip,
            Err(different_ways) => return Ok(Planned::Stopped(Event::Drifted(different_ways))),
        };
        let source = self.promotion.source;
        let source_tree = self.comes_back.map_or_else(|| repo.tree_of(source), |(_, tree)| Ok(tree))?;
        let Some(tip) = tip else { return self.finish(repo, None, source_tree) };
        let has_it_all = repo.is_ancestor(source, tip)? && repo.tree_of(tip)? == source_tree;
        if has_it_all && !self.delivers_first {
            return Ok(Planned::Stopped(Event::NothingToDo));
        }
        let drift = match &self.promotion.hotfix {
            Some(hotfix) => self.past.behind(repo, tip, (hotfix, source))?,
            // What comes back had been merged with what was there before.
            None => self.past.drift(repo, tip, &[self.comes_back.map_or(source, |(undone, _)| undone)])?,
        };
        match drift {
            None => self.finish(repo, Some(tip), source_tree),
            Some(_) if self.promotion.merge_allowed => {
                let (merged, takes_back) = repo.merge_past_rollbacks(tip, source, self.past.taken_back())?;
                self.takes_back = takes_back.then_some(tip);
                self.finish(repo, Some(tip), merged)
            }
            Some(drift) => Ok(Planned::Stopped(Event::Drifted(drift.reason()))),
        }
    }

    fn finish(&mut self, repo: &Repo, tip: Option<ObjectId>, tree: ObjectId) -> git::Result<Planned> {
        // Nothing that is on the disk for good may rest on something that is not.
        repo.make_durable(&self.sandbox, tip, self.promotion.source)?;
        let candidate = match self.is_forward(repo, tip, tree)? {
            true => self.promotion.source,
            false => self.build(repo, tip, tree)?,
        };
        repo.keep(&self.promotion.id, candidate)?;
        let mut planned = self.promotion.clone();
        planned.previous = tip;
        planned.candidate = Some(candidate);
        planned.tree = Some(tree);
        Ok(Planned::Candidate(Box::new(planned)))
    }

    /// Answers whether the branch can move on to the source itself.
    fn is_forward(&self, repo: &Repo, tip: Option<ObjectId>, tree: ObjectId) -> git::Result<bool> {
        let source = self.promotion.source;
        let is_exact = repo.tree_of(source)? == tree;
        let follows = tip.map(|tip| repo.is_ancestor(tip, source)).transpose()?.unwrap_or(true);
        Ok(is_exact && follows && self.history_on(repo, tip)? == HistoryMode::Linear)
    }

    /// Answers how the branch grows: as the tip has it or, where that says nothing of the environment, the source.
    fn history_on(&self, repo: &Repo, tip: Option<ObjectId>) -> git::Result<HistoryMode> {
        for commit in tip.into_iter().chain([self.promotion.source]) {
            let Some(bytes) = repo.content_at(commit, config::FILE_NAME.as_bytes())? else { continue };
            let written = config::parse_written(&String::from_utf8_lossy(&bytes), config::FILE_NAME).ok();
            let spec = written.and_then(|written| written.environment_on(&self.branch).map(|(_, it)| it.history));
            if let Some(history) = spec {
                return Ok(history);
            }
        }
        Ok(self.history)
    }

    fn build(&self, repo: &Repo, tip: Option<ObjectId>, tree: ObjectId) -> git::Result<ObjectId> {
        let source = self.promotion.source;
        let commits = repo.news_between(tip, source, SUBJECTS_LIMIT + 1)?;
        let new = NewCommit {
            tree,
            parents: tip.into_iter().chain(Some(source).filter(|source| Some(*source) != tip)).collect(),
            message: self.message(&commits),
            // The moment of the wish: planning again after a crash gives the very same commit.
            at: self.promotion.created_at,
        };
        repo.build_users_commit(&new, repo.kept(&self.promotion.id)?)
    }

    fn message(&self, commits: &[CommitSummary]) -> String {
        let environment = &self.promotion.environment;
        let hotfix = self.promotion.hotfix.as_deref().map(|branch| shown(branch.as_bytes()));
        let what = hotfix.as_ref().map_or_else(|| self.source_branch.clone(), |branch| format!("hotfix {branch}"));
        let mut text = format!("Promote {what} to {environment}\n\n");
        if let Some(purpose) = &self.promotion.purpose {
            text.push_str(&format!("{}\n\n", shown(purpose.as_bytes())));
        }
        for commit in commits.iter().take(SUBJECTS_LIMIT) {
            text.push_str(&format!("- {} {}\n", commit.id.short(), commit.subject));
        }
        if commits.len() > SUBJECTS_LIMIT {
            text.push_str("- and earlier ones\n");
        }
        let (id, source) = (&self.promotion.id, self.promotion.source);
        text.push_str(&format!("\n{PROMOTION_TRAILER}: {id}\nCascade-Source: {source}\n"));
        hotfix.iter().for_each(|branch| text.push_str(&format!("{HOTFIX_TRAILER}: {branch}\n")));
        self.takes_back.iter().for_each(|tip| text.push_str(&format!("{ROLLBACK_TRAILER}: {tip}\n")));
        text
    }
}

/// Answers the tip of what feeds an environment: another environment is wherever the remote or this machine has it, the
/// sandbox is what is saved here.
///
/// # Errors
/// The branch is missing.
pub(super) fn source_tip(repo: &Repo, (feeding, sandbox): (&str, &str), remote: &str) -> git::Result<ObjectId> {
    known_source(repo, (feeding, sandbox), remote)?.map_or_else(|| repo.existing_branch_tip(feeding), Ok)
}

/// The same; nothing where the branch is missing.
///
/// # Errors
/// A reference or a commit is unreadable.
pub fn known_source(repo: &Repo, (feeding, sandbox): (&str, &str), remote: &str) -> git::Result<Option<ObjectId>> {
    if feeding == sandbox { repo.branch_tip(feeding) } else { repo.furthest_tip(remote, feeding) }
}

/// Answers the commit that an environment is at: the remote's branch where that is ahead of the local one. What the two
/// have become where they went different ways is answered in words. What the remote's ledger has is brought in with it.
///
/// # Errors
/// The remote does not answer.
pub(super) fn environment_tip(
    repo: &Repo,
    branch: &str,
    remote: Option<&str>,
    sign: SignMode,
) -> git::Result<Result<Option<ObjectId>, String>> {
    let local = repo.branch_tip(branch)?;
    let Some(remote) = remote else { return Ok(Ok(local)) };
    let (theirs, ledger) = repo.remote_tips(remote, branch)?;
    ledger::catch_up(repo, remote, ledger, sign)?;
    if theirs.is_some() && theirs != local {
        repo.fetch(remote, branch)?;
    }
    further(repo, (branch, local), (remote, theirs))
}

/// Answers which of a branch here and on the remote has the other; in words where neither does.
///
/// # Errors
/// A commit is missing.
pub(super) fn further(
    repo: &Repo,
    (branch, local): (&str, Option<ObjectId>),
    (remote, theirs): (&str, Option<ObjectId>),
) -> git::Result<Result<Option<ObjectId>, String>> {
    let Some((ours, theirs)) = local.zip(theirs) else { return Ok(Ok(local.or(theirs))) };
    if repo.is_ancestor(theirs, ours)? {
        return Ok(Ok(Some(ours)));
    }
    if repo.is_ancestor(ours, theirs)? {
        return Ok(Ok(Some(theirs)));
    }
    Ok(Err(format!(
        "local `{branch}` ({}) and `{branch}` on {remote} ({}) went different ways: bring them together with git first",
        ours.short(),
        theirs.short()
    )))
}
