//! Temporary files of cascade's own that a process left in git's directory when it was killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::error::{Error, Result};
use super::pack::UNFINISHED_PREFIX;
use super::repo::Repo;
use super::save::{ASIDE_PREFIX, INDEX_PLACE_PREFIX};
use crate::base::Timestamp;

/// A file may be this young before it is locked by its maker.
const AGE_MIN: Duration = Duration::from_secs(600);
/// Letters and digits that make a temporary name unique.
const RANDOM_CHARS: usize = 6;

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

impl Repo {
    /// Finds files of `directory` that somebody began under a temporary name, `prefix` and six letters or digits, and
    /// that no living process holds; changes nothing.
    ///
    /// Only what begins one of `contents` is taken for ours, and nothing that is tracked.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn begun_in(
        &self,
        directory: &Path,
        prefix: &str,
        contents: &[String],
        now: Timestamp,
    ) -> Result<Vec<Leftover>> {
        let is_ours = |left: &Leftover| {
            let name = left.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let random = name.strip_prefix(prefix).unwrap_or_default();
            let is_random = random.len() == RANDOM_CHARS && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_random && left.begins_one_of(contents) && !self.is_tracked_at(&left.path)
        };
        let found = in_directory(directory, &[prefix], now)?;
        Ok(found.into_iter().filter(is_ours).collect())
    }

    /// What cannot be asked about is taken for tracked.
    fn is_tracked_at(&self, path: &Path) -> bool {
        let below = path.strip_prefix(self.root()).ok().map(|below| below.as_os_str().as_bytes());
        below.is_some_and(|below| self.is_tracked(below).unwrap_or(true))
    }
}

impl Leftover {
    fn begins_one_of(&self, contents: &[String]) -> bool {
        let longest = contents.iter().map(String::len).max().unwrap_or_default() as u64;
        let is_readable = self.held.metadata().is_ok_and(|found| found.is_file() && found.len() <= longest);
        let bytes = is_readable.then(|| fs::read(&self.path).ok()).flatten();
        bytes.is_some_and(|bytes| contents.iter().any(|content| content.as_bytes().starts_with(&bytes)))
    }

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
