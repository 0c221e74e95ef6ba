//! Bringing saves to the disk behind their back, where they do not wait for it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::alert::Alert;
use crate::config::AlertEvent;
use crate::context::Context;

/// A save begins to be brought to the disk after this time; what is saved meanwhile comes along.
const FLUSH_AFTER: Duration = Duration::from_secs(5);

/// The task that does so; nothing where saves wait for the disk themselves.
pub(super) struct Flusher(Option<(watch::Sender<()>, JoinHandle<()>)>);

/// What the task works with.
struct Work {
    ctx: Context,
    saved: watch::Receiver<()>,
    /// Why it does not work, in the words that people were told.
    problem: Option<String>,
}

impl Flusher {
    /// Starts the task; it does nothing until something is saved.
    pub fn start(ctx: &Context) -> Self {
        Self(ctx.config.sandbox.durability.is_fast().then(|| {
            let (sender, saved) = watch::channel(());
            let work = Work { ctx: ctx.clone(), saved, problem: None };
            (sender, tokio::spawn(work.run()))
        }))
    }

    /// Notes that something was saved; returns at once.
    pub fn saved(&self) {
        if let Some((sender, _)) = &self.0 {
            sender.send_replace(());
        }
    }

    /// Brings to the disk what is not there yet, and ends the task.
    pub async fn finish(self) {
        let Some((sender, task)) = self.0 else { return };
        drop(sender);
        if let Err(lost) = task.await {
            tracing::warn!(%lost, "the last saves may not be on the disk yet");
        }
    }
}

impl Work {
    async fn run(mut self) {
        while self.saved.changed().await.is_ok() {
            while !self.is_ended_while_waiting().await {
                if self.flush().await {
                    break;
                }
            }
        }
        self.flush().await;
    }

    /// Gives more saves the time to come along; answers whether nobody saves any more.
    async fn is_ended_while_waiting(&mut self) -> bool {
        let ended = async { while self.saved.changed().await.is_ok() {} };
        timeout(FLUSH_AFTER, ended).await.is_ok()
    }

    /// Answers whether everything is on the disk; people are told once for each reason why not.
    async fn flush(&mut self) -> bool {
        let branch = self.ctx.config.sandbox.branch.clone();
        let Err(problem) = self.ctx.git.run(move |repo| repo.flush(&branch)).await else {
            self.problem = None;
            return true;
        };
        let words = problem.to_string();
        if self.problem.as_ref() != Some(&words) {
            tracing::warn!(%problem, "saves do not reach the disk; it is tried again");
            self.ctx.tell(Alert::new(AlertEvent::SaveFailed, "saves do not reach the disk", &words));
            self.problem = Some(words);
        }
        false
    }
}
