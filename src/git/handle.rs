//! The bridge from async code to git.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::error::{Error, Result};
use super::repo::Repo;
use crate::config::Durability;

/// Most git operations that run at the same time for one project.
const CONCURRENT_OPERATIONS: usize = 4;

/// A repository that async code can use; cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    root: PathBuf,
    program_path: Option<OsString>,
    network_deadline: Option<Duration>,
    durability: Durability,
    idle: Arc<Mutex<Vec<Repo>>>,
    places: Arc<Semaphore>,
}

impl Git {
    /// Opens the repository that contains `dir`; `program_path` is the `PATH` for the git program and its hooks, where
    /// it differs from the inherited one.
    ///
    /// # Errors
    /// As [`Repo::open`].
    pub fn open(dir: &Path, program_path: Option<OsString>) -> Result<Self> {
        let repo = Repo::open(dir)?.with_program_path(program_path.clone());
        Ok(Self {
            program_path,
            network_deadline: None,
            durability: Durability::Full,
            root: repo.root().to_owned(),
            idle: Arc::new(Mutex::new(vec![repo])),
            places: Arc::new(Semaphore::new(CONCURRENT_OPERATIONS)),
        })
    }

    /// Gives commands that talk to a remote another time limit than two minutes.
    #[must_use]
    pub fn with_network_deadline(mut self, deadline: Duration) -> Self {
        self.network_deadline = Some(deadline);
        // What is open already has the old limit.
        self.idle = Arc::default();
        self
    }

    /// Says whether saves wait for the disk; they do unless it is called.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Answers the top of the working tree, symlinks resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `work` on a blocking thread with an opened repository.
    ///
    /// # Errors
    /// What `work` answers; [`Error::Lost`] when it panicked.
    pub async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Repo) -> Result<T> + Send + 'static,
    {
        let place = self.places.clone().acquire_owned().await.map_err(|closed| Error::Lost(closed.to_string()))?;
        let (root, path, idle) = (self.root.clone(), self.program_path.clone(), Arc::clone(&self.idle));
        let deadline = self.network_deadline;
        let durability = self.durability;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            let kept = idle.lock().ok().and_then(|mut idle| idle.pop());
            let repo = kept.map_or_else(|| open(&root, path, deadline), Ok)?.with_durability(durability);
            let answer = work(&repo);
            if let Ok(mut idle) = idle.lock() {
                idle.push(repo);
            }
            answer
        });
        done.await.map_err(|lost| Error::Lost(lost.to_string()))?
    }
}

fn open(root: &Path, program_path: Option<OsString>, network_deadline: Option<Duration>) -> Result<Repo> {
    let repo = Repo::open(root)?.with_program_path(program_path);
    Ok(match network_deadline {
        Some(deadline) => repo.with_network_deadline(deadline),
        None => repo,
    })
}
