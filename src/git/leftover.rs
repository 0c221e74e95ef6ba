//! Temporary files of cascade's own that a process left in git's directory when it was killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::error::{Error, Result};
use super::pack::UNFINISHED_PREFIX;
use super::repo::Repo;
use super::save::{ASIDE_PREFIX, INDEX_PLACE_PREFIX};
use crate::base::Timestamp;

/// A file may be this young before it is locked by its maker.
const AGE_MIN: Duration = Duration::from_secs(600);

/// What a dead process left.
#[derive(Debug)]
pub struct Leftover {
    /// The file or directory.
    pub path: PathBuf,
    /// Held, so that nobody takes it up again.
    held: File,
}

impl Repo {
    /// Finds temporary files that cascade made and that no living process holds; changes nothing.
    ///
    /// # Errors
    /// Git's directory cannot be read.
    pub fn leftovers(&self, now: Timestamp) -> Result<Vec<Leftover>> {
        let packs = self.common_dir().join("objects/pack");
        let mut found = in_directory(self.git_dir(), &[INDEX_PLACE_PREFIX, ASIDE_PREFIX], now)?;
        found.extend(in_directory(&packs, &[UNFINISHED_PREFIX], now)?);
        Ok(found)
    }
}

impl Leftover {
    /// Removes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self) -> Result<()> {
        let is_directory = self.held.metadata().is_ok_and(|found| found.is_dir());
        let removed = if is_directory { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
        removed.map_err(Error::io("remove", &self.path))
    }
}

fn in_directory(directory: &Path, prefixes: &[&str], now: Timestamp) -> Result<Vec<Leftover>> {
    let entries = match fs::read_dir(directory) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", directory))?,
    };
    let is_ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let ours = entries.flatten().map(|entry| entry.path()).filter(|path| is_ours(path));
    Ok(ours.filter_map(|path| dead(path, now)).collect())
}

/// Answers a file or directory that nobody has touched for a while and whose maker holds no lock on it.
fn dead(path: PathBuf, now: Timestamp) -> Option<Leftover> {
    let found = fs::symlink_metadata(&path).ok().filter(|found| found.is_file() || found.is_dir())?;
    let at_ms = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis();
    let now_ms = u128::try_from(now.as_millisecond()).ok()?;
    let held = File::open(&path).ok()?;
    let is_old = now_ms.saturating_sub(at_ms) >= AGE_MIN.as_millis();
    (is_old && held.try_lock().is_ok()).then_some(Leftover { path, held })
}
