//! Building the candidate: which commit, on which tip, and whether anything stands in the way.

use super::error::{Error, Result};
use super::ledger::Vouchers;
use super::phase::Event;
use super::policy;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::config::Environment;
use crate::context::Context;
use crate::git::{self, CommitSummary, NewCommit, PROMOTION_TRAILER, Repo, TreeChanges};
use crate::store::Promotion;

/// Most subjects that a candidate's message lists.
const SUBJECTS_LIMIT: usize = 20;

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
    /// Commits that somebody else put on the environment's branch.
    pub foreign: Vec<CommitSummary>,
}

impl Preview {
    /// Answers whether there is nothing to promote.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commit_count == 0 && self.changes.files.is_empty()
    }
}

/// Looks at what a promotion into `environment` would bring, from local references alone.
///
/// # Errors
/// Unknown environment, missing source branch, unreadable repository.
pub async fn preview(ctx: &Context, environment: &str) -> Result<Preview> {
    let (spec, source_branch) = environment_of(ctx, environment)?;
    let (branch, vetted) = (spec.branch.clone(), vetted(ctx, environment).await?);
    let mut vouchers = Vouchers::new(ctx, &branch, false);
    let preview = ctx.git.run(move |repo| {
        let source = repo.existing_branch_tip(&source_branch)?;
        let tip = repo.branch_tip(&branch)?;
        let commits = repo.news_between(tip, source, git::history::LISTED_COMMITS_LIMIT)?;
        let commit_count = repo.count_news(tip, source)?;
        let foreign = match tip {
            Some(tip) => repo.foreign_commits(tip, source, vetted, &mut |commit| vouchers.vouch_for(repo, commit))?,
            None => Vec::new(),
        };
        let changes = repo.changes_between(tip, source)?;
        let source_tree = repo.tree_of(source)?;
        Ok(Preview { source_branch, source, source_tree, tip, commits, commit_count, changes, foreign })
    });
    Ok(preview.await?)
}

/// Finds an environment's configuration and the branch that feeds it.
///
/// # Errors
/// Unknown environment.
pub(super) fn environment_of<'a>(ctx: &'a Context, name: &str) -> Result<(&'a Environment, String)> {
    let environment = ctx.config.environment(name).ok_or_else(|| unknown(ctx, name))?;
    let source = ctx.config.source_branch(name).ok_or_else(|| unknown(ctx, name))?;
    Ok((environment, source.to_owned()))
}

/// Makes the error about an environment that the configuration does not have.
pub(super) fn unknown(ctx: &Context, name: &str) -> Error {
    Error::UnknownEnvironment {
        name: shown(name.as_bytes()),
        nearest: ctx.config.nearest_environment(name).map(ToOwned::to_owned),
        known: ctx.config.environments.keys().cloned().collect(),
    }
}

/// Answers the commit up to which the environment's branch is known to be in order: what cascade last left there.
pub(super) async fn vetted(ctx: &Context, environment: &str) -> Result<Option<ObjectId>> {
    let finished = ctx.store.promotions(Some(environment), 50).await?;
    let left = |promotion: &Promotion| match promotion.state {
        crate::store::State::Promoted => promotion.candidate,
        crate::store::State::RolledBack => promotion.rollback_commit,
        _ => None,
    };
    Ok(finished.iter().find_map(left))
}

/// Performs the step: decides on what the candidate builds, makes it and keeps it alive.
pub(super) async fn perform(ctx: &Context, promotion: &mut Promotion) -> Result<Event> {
    let (spec, source_branch) = environment_of(ctx, &promotion.environment)?;
    let vetted = vetted(ctx, &promotion.environment).await?;
    let vouchers = Vouchers::new(ctx, &spec.branch, true);
    let (branch, sandbox) = (spec.branch.clone(), ctx.config.sandbox.branch.clone());
    let work = Planner { branch, source_branch, sandbox, vetted, vouchers, promotion: promotion.clone() };
    match ctx.git.run(move |repo| work.plan(repo)).await {
        Ok(Planned::Candidate(planned)) => {
            *promotion = *planned;
            require_good_rules(ctx, promotion).await
        }
        Ok(Planned::Stopped(event)) => Ok(event),
        Err(conflict @ git::Error::MergeConflict { .. }) => Ok(Event::Conflicted(conflict.to_string())),
        Err(lost @ git::Error::SavesLost { .. }) => Ok(Event::Failed(format!("{lost}: run `cascade doctor`"))),
        Err(other) => Ok(Event::Failed(other.to_string())),
    }
}

/// What a candidate has as its configuration would be the environment's rules once it is live.
async fn require_good_rules(ctx: &Context, promotion: &Promotion) -> Result<Event> {
    let Some(candidate) = promotion.candidate else { return Ok(Event::Failed("it has no candidate".to_owned())) };
    match policy::committed(ctx, candidate).await {
        Ok(_) => Ok(Event::Planned),
        Err(Error::Policy { problems, .. }) => {
            Ok(Event::Failed(format!("its configuration could not serve as the rules here: {problems}")))
        }
        Err(other) => Err(other),
    }
}

struct Planner {
    branch: String,
    source_branch: String,
    /// The branch that saves go to.
    sandbox: String,
    vetted: Option<ObjectId>,
    vouchers: Vouchers,
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
        let tip = match self.environment_tip(repo)? {
            Ok(tip) => tip,
            Err(event) => return Ok(Planned::Stopped(event)),
        };
        let source = self.promotion.source;
        let source_tree = repo.tree_of(source)?;
        let Some(tip) = tip else { return self.finish(repo, None, source_tree) };
        if repo.is_ancestor(source, tip)? && repo.tree_of(tip)? == source_tree {
            return Ok(Planned::Stopped(Event::NothingToDo));
        }
        let vouchers = &mut self.vouchers;
        let foreign = repo.foreign_commits(tip, source, self.vetted, &mut |commit| vouchers.vouch_for(repo, commit))?;
        if foreign.is_empty() {
            return self.finish(repo, Some(tip), source_tree);
        }
        if !self.promotion.merge_allowed {
            return Ok(Planned::Stopped(Event::Drifted(drift_reason(&self.branch, &foreign))));
        }
        let merged = repo.merge_trees(tip, source)?;
        self.finish(repo, Some(tip), merged)
    }

    /// Answers the commit that the environment is at: the remote's branch where it is ahead of the local one.
    fn environment_tip(&self, repo: &Repo) -> git::Result<Result<Option<ObjectId>, Event>> {
        let local = repo.branch_tip(&self.branch)?;
        let Some(remote) = &self.promotion.remote else { return Ok(Ok(local)) };
        let Some(theirs) = repo.remote_tip(remote, &self.branch)? else { return Ok(Ok(local)) };
        let Some(ours) = local else {
            repo.fetch(remote, &self.branch)?;
            return Ok(Ok(Some(theirs)));
        };
        if ours == theirs {
            return Ok(Ok(Some(ours)));
        }
        repo.fetch(remote, &self.branch)?;
        if repo.is_ancestor(theirs, ours)? {
            return Ok(Ok(Some(ours)));
        }
        if repo.is_ancestor(ours, theirs)? {
            return Ok(Ok(Some(theirs)));
        }
        let reason = format!(
            "local `{0}` ({1}) and `{0}` on {remote} ({2}) went different ways: bring them together with git first",
            self.branch,
            ours.short(),
            theirs.short()
        );
        Ok(Err(Event::Drifted(reason)))
    }

    fn finish(&mut self, repo: &Repo, tip: Option<ObjectId>, tree: ObjectId) -> git::Result<Planned> {
        let source = self.promotion.source;
        // Nothing that is on the disk for good may rest on something that is not.
        repo.make_durable(&self.sandbox, tip, source)?;
        let commits = repo.news_between(tip, source, SUBJECTS_LIMIT + 1)?;
        let candidate = repo.build_commit(&NewCommit {
            tree,
            parents: tip.into_iter().chain([source]).collect(),
            message: self.message(&commits),
            // The moment of the wish: planning again after a crash gives the very same commit.
            at: self.promotion.created_at,
        })?;
        repo.keep(&self.promotion.id, candidate)?;
        let mut planned = self.promotion.clone();
        planned.previous = tip;
        planned.candidate = Some(candidate);
        planned.tree = Some(tree);
        Ok(Planned::Candidate(Box::new(planned)))
    }

    fn message(&self, commits: &[CommitSummary]) -> String {
        let environment = &self.promotion.environment;
        let mut text = format!("Promote {} to {environment}\n\n", self.source_branch);
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
        text
    }
}

fn drift_reason(branch: &str, foreign: &[CommitSummary]) -> String {
    let newest =
        foreign.first().map(|commit| format!("{} \"{}\" by {}", commit.id.short(), commit.subject, commit.author));
    format!(
        "{} on `{branch}` did not come through the pipeline, the newest {}: promote with --merge to keep them",
        count(foreign.len(), "commit"),
        newest.unwrap_or_default()
    )
}
