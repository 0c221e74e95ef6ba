//! The save loop: batch → commit → push.
//!
//! [`run`] treats what [`crate::watch`] reports as hints, lets git say what really changed and saves it durably. Pushing
//! and health checks are tasks of their own: saving never waits for a network. What the watcher does is kept in the
//! store for everybody to read; promotions that follow a save are somebody else's, who is told by a [`Follower`].

mod back_merge;
mod board;
mod composer;
mod configuration;
mod flush;
mod health;
mod inspection;
mod memory;
pub mod message;
mod pull;
mod push;
mod restore;
mod watcher;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

pub use back_merge::back_merge;
pub use configuration::{Configured, Reader};
pub use restore::{restore, save_now};
pub use watcher::{Ended, Summary, run};

use self::composer::Composer;
use self::inspection::Looker;
use crate::alert::Alert;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::{ErrorKind, Kinded};
use crate::check::secrets;
use crate::config::AlertEvent;
use crate::context::Context;
use crate::git::save::Rebuilt;
use crate::git::{Hints, SaveAnswer, SaveRequest};
use crate::{git, store, watch};

/// Why a file that nobody saves is not saved, in words that follow its name.
pub const NEVER_SAVED: &str = "git ignores it, or `sandbox.exclude` names it";

/// Is told of each new tip of the sandbox's branch.
pub type Follower = Arc<dyn Fn(News) + Send + Sync>;

/// What becomes of a tip of the sandbox's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is there: saved, brought in or committed by the user.
    Saved(ObjectId),
    /// It may be promoted: it was pushed, or nothing is.
    Pushed(ObjectId),
}

/// Lets git decide what of the hinted paths really changed, and save it.
async fn save(
    ctx: &Context,
    rules: &Arc<watch::Rules>,
    composer: &Arc<Composer>,
    looker: Looker,
    hints: Hints,
) -> Result<SaveAnswer, git::Error> {
    let (config, rules, composer, now) = (Arc::clone(&ctx.config), Arc::clone(rules), Arc::clone(composer), ctx.now());
    let save = move |repo: &git::Repo| {
        let writing = composer.begin(now);
        let request = SaveRequest {
            branch: &config.sandbox.branch,
            hints,
            max_file_bytes: config.sandbox.max_file_size.0,
            excluded: &|path, is_dir| is_never_saved(&rules, repo, path, is_dir),
            inspect: &|path, content, committed| looker.inspect(path, content, committed, &|| gone(repo)),
            message: &|proposal| writing.message(proposal),
            author: None,
            now_seconds: now.as_second(),
            offset_minutes: 0,
        };
        repo.mending(|| repo.save(&request))
    };
    mended(ctx, save).await
}

/// Reads what the last commit has of the files that are not there any more; what cannot be read counts as nothing.
fn gone(repo: &git::Repo) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut paths = repo.changed_files().unwrap_or_default();
    paths.retain(|path| repo.root().join(OsStr::from_bytes(path)).symlink_metadata().is_err());
    let content = |path: Vec<u8>| Some((repo.committed(&path).ok().flatten()?, path));
    paths.into_iter().filter_map(content).map(|(content, path)| (path, content)).collect()
}

/// Runs git work that makes a damaged index again, and says so where it did.
async fn mended<T, F>(ctx: &Context, work: F) -> Result<T, git::Error>
where
    T: Send + 'static,
    F: FnOnce(&git::Repo) -> git::Result<(T, Option<Rebuilt>)> + Send + 'static,
{
    let (done, rebuilt) = ctx.git.run(work).await?;
    if let Some(rebuilt) = rebuilt {
        let title = format!("{}: git's index was damaged", ctx.config.project);
        let kept = rebuilt.kept.map_or_else(String::new, |kept| format!("; the damaged one is {}", kept.display()));
        let commit: String = rebuilt.commit.to_string().chars().take(10).collect();
        let body = format!("It is made again from commit {commit}; what was staged is not staged any more{kept}");
        tracing::warn!("{title}: {body}");
        ctx.tell(Alert::new(AlertEvent::Paused, title, &body));
    }
    Ok(done)
}

/// Sees that what was saved before is whole and on the disk, before anything is built upon it: a branch that a power cut
/// left broken goes back to its newest save that is whole, and people are told.
///
/// # Errors
/// [`git::Error::SavesLost`] where it cannot go back; the disk refuses.
async fn settle(ctx: &Context) -> Result<(), git::Error> {
    let (branch, now) = (ctx.config.sandbox.branch.clone(), ctx.now());
    let mended = ctx.git.run(move |repo| {
        let mended = repo.mend_saves(&branch, now)?;
        repo.flush(&branch)?;
        Ok(mended)
    });
    if let Some((lost, went)) = mended.await? {
        let title = format!("{}: saves were lost", ctx.config.project);
        let body = format!(
            "{}; `{}` is back at {}, and what is in the working tree is saved again{}",
            lost.reason,
            shown(lost.branch.as_bytes()),
            went.to.short(),
            went.index.map_or_else(String::new, |_| "; what was staged is not staged any more".to_owned())
        );
        tracing::warn!("{title}: {body}");
        ctx.tell(Alert::new(AlertEvent::SaveFailed, title, &body));
    }
    Ok(())
}

/// Answers whether a path is not the sandbox's business: what is tracked stays so, whatever the .gitignore files say;
/// the configured excludes are final.
fn is_never_saved(rules: &watch::Rules, repo: &git::Repo, path: &[u8], is_dir: bool) -> bool {
    rules.configured(path, is_dir) || rules.may_be_excluded(path, is_dir) && !repo.is_tracked(path).unwrap_or(false)
}

/// Why the watcher ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkout cannot be watched.
    #[error(transparent)]
    Watch(#[from] watch::Error),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is nothing to look for secrets with.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// The checkout was moved or deleted.
    #[error("the checkout {} is no longer there", .path.display())]
    RootGone {
        /// Where it was.
        path: PathBuf,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Watch(error) => error.kind(),
            Self::Git(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Secrets(error) => error.kind(),
            Self::RootGone { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Watch(error) => error.hint(),
            Self::Git(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Secrets(error) => error.hint(),
            Self::RootGone { .. } => Some("run `cascade start` where it is now".to_owned()),
        }
    }
}

/// Reads what is never saved, as it is configured and as git has it.
async fn load_rules(ctx: &Context) -> Result<watch::Rules, Error> {
    let read = |repo: &git::Repo| Ok((repo.common_dir().to_owned(), repo.excludes_file(), repo.ignores_case()?));
    let (common_dir, excludes, folds) = ctx.git.run(read).await?;
    let rules = watch::Rules::load(ctx.git.root(), &common_dir, &ctx.config.sandbox.exclude, excludes.as_deref())?;
    Ok(rules.folding_case(folds))
}
