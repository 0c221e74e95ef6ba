//! What a watcher sets going besides saving: rehearsals, automatic promotions, syncs, and verifying on what was promoted.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::id::ObjectId;
use crate::context::Context;
use crate::promote::{auto, rehearse, watch as watch_promoted};
use crate::sandbox::{Follower, News};
use crate::sync::triggered;

/// What the tasks go by until the configuration changes.
#[derive(Clone)]
struct Generation {
    ctx: Context,
    saves: watch::Receiver<Option<ObjectId>>,
    tips: watch::Receiver<Option<ObjectId>>,
}

type Generations = watch::Receiver<Option<Generation>>;

/// The tasks; none of them runs before [`Following::go_by`].
pub(super) struct Following {
    generations: watch::Sender<Option<Generation>>,
    tasks: [JoinHandle<()>; 3],
    verifying: Option<JoinHandle<()>>,
}

impl Following {
    pub fn new() -> Self {
        let (generations, told) = watch::channel(None);
        Self {
            generations,
            tasks: [
                tokio::spawn(rehearse(told.clone())),
                tokio::spawn(sync(told.clone())),
                tokio::spawn(promote(told)),
            ],
            verifying: None,
        }
    }

    /// Lets the tasks go by `ctx`; answers whom to tell of each tip.
    ///
    /// A promotion that is under way by an earlier configuration comes to its end first.
    pub fn go_by(&mut self, ctx: &Context) -> Follower {
        let (saved, saves) = watch::channel(None);
        let (pushed, tips) = watch::channel(None);
        self.generations.send_replace(Some(Generation { ctx: ctx.clone(), saves, tips }));
        let verifying = tokio::spawn(watch_promoted::keep_verifying(ctx.clone()));
        if let Some(before) = self.verifying.replace(verifying) {
            // What it was at is in the store, for the one that begins.
            before.abort();
        }
        Arc::new(move |news| {
            match news {
                News::Saved(tip) => saved.send_replace(Some(tip)),
                News::Pushed(tip) => pushed.send_replace(Some(tip)),
            };
        })
    }

    /// Ends the tasks. A promotion that is cut here is journaled: the next command takes it up.
    pub async fn end(self) {
        for task in self.tasks.into_iter().chain(self.verifying) {
            task.abort();
            // The commands of its checks end with it.
            let _ = task.await;
        }
    }
}

async fn rehearse(mut generations: Generations) {
    while let Some(generation) = next(&mut generations).await {
        rehearse::follow(generation.ctx, generation.saves).await;
    }
}

async fn promote(mut generations: Generations) {
    while let Some(generation) = next(&mut generations).await {
        auto::follow(generation.ctx, generation.tips).await;
    }
}

async fn sync(mut generations: Generations) {
    while let Some(generation) = next(&mut generations).await {
        triggered::follow(generation.ctx, generation.saves).await;
    }
}

/// Waits for a generation; those before the newest are passed over.
async fn next(generations: &mut Generations) -> Option<Generation> {
    generations.changed().await.ok()?;
    generations.borrow_and_update().clone()
}
