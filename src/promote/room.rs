//! Where a check is asked: a scratch checkout where it needs files, a log, and what it may know.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::check::space::{FREE_MIN_BYTES, Space};
use crate::check::{self, Mark, Place};
use crate::config::{CheckSpec, Question};
use crate::context::Context;
use crate::git::{Checkout, Git};
use crate::store::{CheckPhase, Promotion};

/// What a check is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// On whose behalf.
    pub promotion: &'a Promotion,
    /// The files.
    pub commit: ObjectId,
    /// Why it is asked.
    pub phase: CheckPhase,
    /// Which of the environment's scratch checkouts it gets; checks that run at the same time have different ones.
    pub slot: usize,
    /// Which attempt it is, from 0; each has a log of its own.
    pub attempt: usize,
}

impl<'a> Subject<'a> {
    /// Names what a promotion's check is asked about, in the environment's first scratch checkout.
    pub fn new(promotion: &'a Promotion, commit: ObjectId, phase: CheckPhase) -> Self {
        Self { promotion, commit, phase, slot: 0, attempt: 0 }
    }

    /// What is watched has a scratch checkout of its own: a promotion may use the others meanwhile.
    fn scratch_name(&self) -> String {
        let environment = &self.promotion.environment;
        match self.phase {
            CheckPhase::Watch => watched_scratch(environment),
            _ => slot_scratch(environment, self.slot),
        }
    }

    fn log_name(&self, check: &str) -> String {
        let (phase, digest) = (self.phase, Digest::of(check.as_bytes()).short(6));
        // Before landing, nothing but the candidate is asked about unless somebody looks for who is to blame.
        let is_search = phase == CheckPhase::Check && Some(self.commit) != self.promotion.candidate;
        let commit = if is_search { format!("-{}", self.commit.short()) } else { String::new() };
        let attempt = if self.attempt == 0 { String::new() } else { format!(".{}", self.attempt) };
        format!("{phase}-{digest}{commit}{attempt}.log")
    }
}

/// Answers the names of all scratch checkouts that an environment may have, where so many checks run at the same time.
pub fn scratch_names(environment: &str, slots: usize) -> impl Iterator<Item = String> {
    (0..slots.max(1)).map(move |slot| slot_scratch(environment, slot)).chain([watched_scratch(environment)])
}

// No environment can have a name with a slash.
fn slot_scratch(environment: &str, slot: usize) -> String {
    if slot == 0 { environment.to_owned() } else { format!("{environment}/{slot}") }
}

fn watched_scratch(environment: &str) -> String {
    format!("{environment}/{}", CheckPhase::Watch)
}

/// Where one check is asked.
pub(super) struct Room {
    scratch: Option<Scratch>,
    tree: Option<(Git, ObjectId)>,
    log: PathBuf,
    variables: Vec<(String, String)>,
}

/// A scratch directory and the checkout in it.
struct Scratch {
    directory: PathBuf,
    checkout: Checkout,
}

impl Room {
    /// Prepares it for the check `name`; only a command needs the files on the disk.
    ///
    /// # Errors
    /// The commit cannot be checked out, or there is no place for the log.
    pub async fn prepare(ctx: &Context, subject: Subject<'_>, name: &str, check: &CheckSpec) -> Result<Self> {
        let Subject { promotion, commit, phase, .. } = subject;
        let (mut scratch, mut tree) = (None, None);
        match check.question() {
            Some(Question::Run(_)) => scratch = Some(check_out(ctx, subject, name).await?),
            Some(Question::File(_)) => tree = Some(ctx.git.run(move |repo| repo.tree_of(commit)).await?),
            _ => {}
        }
        let logs = ctx.home.check_logs().join(promotion.id.as_str());
        std::fs::create_dir_all(&logs).map_err(|source| Error::Directory { path: logs.clone(), source })?;
        let variables = vec![
            ("CASCADE_ENVIRONMENT".to_owned(), promotion.environment.clone()),
            ("CASCADE_PROMOTION".to_owned(), promotion.id.to_string()),
            ("CASCADE_CANDIDATE".to_owned(), commit.to_string()),
            ("CASCADE_PHASE".to_owned(), phase.to_string()),
        ];
        let tree = tree.map(|tree| (ctx.git.clone(), tree));
        Ok(Self { scratch, tree, log: logs.join(subject.log_name(name)), variables })
    }

    /// Answers it as checks want it.
    pub fn place(&self) -> Place<'_> {
        Place {
            directory: self.scratch.as_ref().map(|scratch| scratch.checkout.path.as_path()),
            tree: self.tree.as_ref().map(|(git, tree)| (git, *tree)),
            log: Some(&self.log),
            variables: &self.variables,
            mark: self.scratch.as_ref().map(|scratch| mark_of(&scratch.directory)),
            ..Place::default()
        }
    }

    /// Looks at the files after the check `name`, and answers whether they were the commit's for certain while it was asked.
    pub async fn settle(&self, ctx: &Context, name: &str) -> bool {
        let Some(Scratch { directory, checkout }) = &self.scratch else { return true };
        let (directory, by) = (directory.clone(), name.to_owned());
        let settled = ctx.git.run(move |repo| repo.settle_scratch(&directory, &by)).await;
        let is_untouched = settled.unwrap_or_else(|problem| {
            tracing::debug!(check = name, %problem, "the scratch checkout is looked at before its next use");
            false
        });
        checkout.is_proven || is_untouched
    }

    /// Gives a full disk back what the check wrote to its checkout, so that its answer can be kept.
    pub async fn make_way(&self) {
        let Some(directory) = self.scratch.as_ref().map(|scratch| scratch.directory.clone()) else { return };
        if Space::at(&directory).is_ok_and(|space| space.free_bytes >= FREE_MIN_BYTES) {
            return;
        }
        tracing::warn!("there is little room left on the disk: the scratch checkout is deleted");
        // What cannot be deleted now is by whoever checks out the next time, who says why it cannot.
        let _ = tokio::fs::remove_dir_all(directory).await;
    }
}

async fn check_out(ctx: &Context, subject: Subject<'_>, name: &str) -> Result<Scratch> {
    let directory = ctx.home.scratch(&subject.scratch_name());
    // What a cascade that was killed left running here would disturb this check.
    check::end_leftovers(mark_of(&directory));
    let (target, commit) = (directory.clone(), subject.commit);
    // Whatever is asked for another reason does not settle what it used.
    let by = (subject.phase == CheckPhase::Check).then(|| name.to_owned());
    let checkout = ctx.git.run(move |repo| repo.check_out_scratch(&target, commit, by.as_deref())).await?;
    Ok(Scratch { directory, checkout })
}

fn mark_of(scratch: &Path) -> Mark {
    Mark::of_place(scratch.as_os_str().as_encoded_bytes())
}
