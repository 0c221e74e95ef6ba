//! Drift: what an environment has and the source of its next promotion lacks.

use super::error::Result;
use super::ledger::Vouchers;
use super::policy;
use crate::base::escape::{shell_word, shown};
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::count;
use crate::context::Context;
use crate::git::{self, CommitSummary, Repo};
use crate::store::Promotion;

/// So many promotions that landed are looked through for the last one that left everything in order.
const LANDED_LIMIT: i64 = 50;

/// What would be undone if the environment got exactly the source's content.
#[derive(Debug, Clone)]
pub struct Drift {
    /// The commits that would be, newest first; there is one at least.
    pub commits: Vec<CommitSummary>,
    /// What is the matter, in a sentence.
    pub fact: String,
    /// The command that brings the commits to where the source comes from.
    pub next: String,
}

impl Drift {
    /// Answers what is the matter and the ways out of it.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{}: bring that over with `{}`, or promote with --merge to keep it here alone", self.fact, self.next)
    }
}

/// What is known of an environment's past, and of the way that commits take to it.
#[derive(Debug)]
pub(super) struct Past {
    environment: String,
    branch: String,
    remote: String,
    /// Candidates, sources and trees that landed from upstream, newest first.
    landed: Vec<(ObjectId, ObjectId, ObjectId)>,
    /// Candidates that were rolled back in what feeds the environment: whether or not its branch still has them, what they
    /// brought came through the pipeline.
    taken_back: Vec<ObjectId>,
    /// The hotfixes that landed.
    hotfixes: Vec<Hotfix>,
    /// What feeds the environment, and what feeds that, with their branches; the sandbox comes last.
    upstream: Vec<(String, String)>,
    /// What commits that say they are a promotion's are believed by.
    vouchers: Vouchers,
}

#[derive(Debug, Clone)]
struct Hotfix {
    promotion: PromotionId,
    branch: String,
    commit: ObjectId,
}

impl Past {
    /// Gathers it; `environment` must be one of the configuration's.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(ctx: &Context, environment: &str) -> Result<Self> {
        let landed = ctx.store.landed(environment, LANDED_LIMIT).await?;
        let hotfix = |promotion: &Promotion| {
            let branch = promotion.hotfix.clone()?;
            Some(Hotfix { promotion: promotion.id.clone(), branch, commit: promotion.source })
        };
        let branch = ctx.config.environment(environment).map(|spec| spec.branch.clone()).unwrap_or_default();
        let upstream = upstream(ctx, environment).await?;
        let rolled_back = match upstream.first() {
            Some((above, _)) => ctx.store.rolled_back(above, LANDED_LIMIT).await?,
            None => Vec::new(),
        };
        let from_upstream = landed.iter().filter(|promotion| promotion.hotfix.is_none());
        Ok(Self {
            environment: environment.to_owned(),
            vouchers: Vouchers::new(ctx, &branch, false),
            branch,
            remote: ctx.config.remote.clone(),
            hotfixes: landed.iter().filter_map(hotfix).collect(),
            landed: from_upstream
                .filter_map(|promotion| Some((promotion.candidate?, promotion.source, promotion.tree?)))
                .collect(),
            taken_back: rolled_back.iter().filter_map(|promotion| promotion.candidate).collect(),
            upstream,
        })
    }

    /// Lets the remote be asked for what its ledger knows.
    pub fn asking(self) -> Self {
        Self { vouchers: self.vouchers.asking(), ..self }
    }

    /// Answers the candidates that were rolled back in what feeds the environment.
    pub fn taken_back(&self) -> &[ObjectId] {
        &self.taken_back
    }

    /// Answers what a promotion of `sources` (the last ones feed the first) would undo of what is at `tip`.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn drift(&mut self, repo: &Repo, tip: ObjectId, sources: &[ObjectId]) -> git::Result<Option<Drift>> {
        let (vetted, vouchers) = (self.vetted(repo, sources), &mut self.vouchers);
        let commits = repo.foreign_commits(tip, sources, vetted, &mut |commit| vouchers.vouch_for(repo, commit))?;
        let Some(newest) = commits.first() else { return Ok(None) };
        let (fact, next) = match self.are_pushed(repo, &commits)? {
            true => (self.fact_of_pushed(&commits, newest), "git pull".to_owned()),
            false => (self.fact(&commits, newest), self.next(repo, tip)?),
        };
        Ok(Some(Drift { commits, fact, next }))
    }

    /// Answers what a hotfix lacks of what is live in the environment at `tip`; nothing where it was made from that.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn behind(&self, repo: &Repo, tip: ObjectId, (hotfix, source): (&str, ObjectId)) -> git::Result<Option<Drift>> {
        // What was rolled back is not live, and a hotfix that did not pass can be mended on its branch.
        let live = repo.stands_for(tip)?;
        if repo.is_ancestor(live, source)? {
            return Ok(None);
        }
        let commits = repo.commits_between(Some(source), live, git::history::LISTED_COMMITS_LIMIT)?;
        let newest = commits.first().map(|newest| format!("{} \"{}\"", newest.id.short(), newest.subject));
        let fact = format!(
            "`{}` lacks {} of `{}`, the newest {}",
            shown(hotfix.as_bytes()),
            count(commits.len(), "commit"),
            self.branch,
            newest.unwrap_or_default()
        );
        let live = repo.name_of(&self.remote, &self.branch, tip)?;
        let next = format!("git switch {} && git merge {}", shell_word(hotfix), shell_word(&live));
        Ok(Some(Drift { commits, fact, next }))
    }

    /// Answers the tips of what feeds the environment, and what feeds that: the sandbox's comes last. Nothing where the
    /// branch of the nearest or the sandbox's is missing.
    ///
    /// # Errors
    /// A reference cannot be read.
    pub fn sources(&self, repo: &Repo) -> git::Result<Vec<ObjectId>> {
        let tips = self.upstream.iter().map(|(_, branch)| self.known_tip(repo, branch));
        let tips = tips.collect::<git::Result<Vec<_>>>()?;
        let is_whole = tips.first().is_some_and(Option::is_some) && tips.last().is_some_and(Option::is_some);
        Ok(if is_whole { tips.into_iter().flatten().collect() } else { Vec::new() })
    }

    fn known_tip(&self, repo: &Repo, branch: &str) -> git::Result<Option<ObjectId>> {
        if self.is_sandbox(branch) { repo.branch_tip(branch) } else { repo.furthest_tip(&self.remote, branch) }
    }

    fn is_sandbox(&self, branch: &str) -> bool {
        self.upstream.last().is_some_and(|(_, sandbox)| sandbox == branch)
    }

    /// Answers whether others have pushed all of these to the sandbox's branch, as far as is known here.
    fn are_pushed(&self, repo: &Repo, commits: &[CommitSummary]) -> git::Result<bool> {
        let Some((_, sandbox)) = self.upstream.last() else { return Ok(false) };
        let Some(theirs) = repo.tracking_tip(&self.remote, sandbox)? else { return Ok(false) };
        commits.iter().try_fold(true, |all, commit| Ok(all && repo.is_ancestor(commit.id, theirs)?))
    }

    /// Answers the newest candidate that left nothing open: it had exactly its source's content, came from upstream, and
    /// that source is in one of `sources`, or was taken out of them by a rollback. Everything that it rests on is there
    /// then, or was; sources that are older, on a machine that others are ahead of, have to be compared with all of it.
    fn vetted(&self, repo: &Repo, sources: &[ObjectId]) -> Option<ObjectId> {
        let is_exact = |source: ObjectId, tree: ObjectId| repo.tree_of(source).is_ok_and(|of_source| of_source == tree);
        let is_in = |source: ObjectId| sources.iter().any(|tip| repo.is_ancestor(source, *tip).unwrap_or(false));
        let is_known = |source: ObjectId| self.taken_back.contains(&source) || is_in(source);
        let mut exact = self.landed.iter().filter(|(_, source, tree)| is_exact(*source, *tree) && is_known(*source));
        exact.find(|(candidate, ..)| repo.tree_of(*candidate).is_ok()).map(|(candidate, ..)| *candidate)
    }

    fn fact_of_pushed(&self, commits: &[CommitSummary], newest: &CommitSummary) -> String {
        format!(
            "{} has {} that {} on {} has and this machine lacks, the newest {} \"{}\" by {}",
            self.environment,
            count(commits.len(), "commit"),
            self.upstream.last().map(|(sandbox, _)| shown(sandbox.as_bytes())).unwrap_or_default(),
            self.remote,
            newest.id.short(),
            newest.subject,
            newest.author
        )
    }

    fn fact(&self, commits: &[CommitSummary], newest: &CommitSummary) -> String {
        let from = self.upstream.first().map(|(name, _)| name.as_str()).unwrap_or_default();
        let hotfix = self.hotfixes.iter().find(|hotfix| commits.iter().any(|commit| commit.id == hotfix.commit));
        match hotfix {
            Some(Hotfix { promotion, branch, commit }) => {
                let subject = commits.iter().find(|found| found.id == *commit).map(|found| found.subject.as_str());
                let id = commit.short();
                let (subject, branch) = (subject.unwrap_or_default(), shown(branch.as_bytes()));
                format!("the hotfix {id} \"{subject}\" (promotion {promotion}, from `{branch}`) is not in {from}")
            }
            None => format!(
                "{} on `{}` did not come through the pipeline, the newest {} \"{}\" by {}",
                count(commits.len(), "commit"),
                self.branch,
                newest.id.short(),
                newest.subject,
                newest.author
            ),
        }
    }

    /// Answers the command that brings what is at `tip` one step nearer to the source: a promotion where it is upstream
    /// already, else the way back into the sandbox.
    fn next(&mut self, repo: &Repo, tip: ObjectId) -> git::Result<String> {
        for (below, (_, branch)) in self.upstream.iter().zip(self.upstream.iter().skip(1)) {
            let Some(above) = self.known_tip(repo, branch)? else { continue };
            let (vetted, vouchers) = (self.vetted(repo, &[above]), &mut self.vouchers);
            let mut is_vouched = |commit| vouchers.vouch_for(repo, commit);
            if repo.foreign_commits(tip, &[above], vetted, &mut is_vouched)?.is_empty() {
                return Ok(format!("cascade promote {}", below.0));
            }
        }
        Ok(format!("cascade back-merge {}", self.environment))
    }
}

/// What feeds the environment itself is as its rules say; further up, what the configuration says is enough to show a way.
async fn upstream(ctx: &Context, environment: &str) -> Result<Vec<(String, String)>> {
    let feeding = policy::shown_feeding(ctx, environment).await?;
    let mut chain = Vec::new();
    let mut next = feeding.upstream(&ctx.config).map(|name| (name, feeding.branch(&ctx.config)));
    // A chain by two configurations may come back to where it began.
    while let Some((above, branch)) = next.filter(|(above, _)| chain.iter().all(|(known, _)| known != above)) {
        chain.push((above.to_owned(), branch.to_owned()));
        next = ctx.config.upstream(above).and_then(|name| Some((name, ctx.config.environment(name)?.branch.as_str())));
    }
    let sandbox = &ctx.config.sandbox.branch;
    chain.push((sandbox.clone(), sandbox.clone()));
    Ok(chain)
}
