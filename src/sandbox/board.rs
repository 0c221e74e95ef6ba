//! What the watcher says of itself, in the store.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::base::escape::shown;
use crate::context::Context;
use crate::store::SandboxRecord;

/// The record of one watcher; cheap to clone, shared by its tasks.
#[derive(Debug, Clone)]
pub(super) struct Board {
    ctx: Context,
    record: Arc<Mutex<SandboxRecord>>,
}

impl Board {
    /// Makes the record of a watcher that has just begun; nothing is written yet.
    pub async fn new(ctx: &Context) -> Result<Self, crate::store::Error> {
        let mut record = SandboxRecord::begun(&ctx.config.sandbox.branch, ctx.now());
        record.notes.root = Some(shown(ctx.git.root().as_os_str().as_encoded_bytes()));
        if let Some(earlier) = ctx.store.sandbox().await? {
            record.saved_at = earlier.saved_at;
            record.notes.lost = earlier.notes.lost;
        }
        Ok(Self { ctx: ctx.clone(), record: Arc::new(Mutex::new(record)) })
    }

    /// Changes the record, and stores it where that made a difference.
    ///
    /// A store that refuses does not stop saving: it is logged, and the next change or sign of life tries again.
    pub async fn change(&self, change: impl FnOnce(&mut SandboxRecord) + Send) {
        let mut record = self.record.lock().await;
        let before = record.clone();
        change(&mut record);
        if *record != before {
            self.write(&mut record).await;
        }
    }

    /// Answers the paths that were not saved lately, each with its reason.
    pub async fn set_aside(&self) -> Vec<(String, String)> {
        self.record.lock().await.set_aside.clone()
    }

    /// Stores the record with the current moment: a sign of life.
    pub async fn beat(&self) {
        self.write(&mut *self.record.lock().await).await;
    }

    async fn write(&self, record: &mut SandboxRecord) {
        record.seen_at = self.ctx.now();
        if let Err(problem) = self.ctx.store.report_sandbox(record).await {
            tracing::warn!(%problem, "the state of the sandbox cannot be stored");
        }
    }
}
