//! The index that is there: read, and proved to be whole before a new one is built on it.
//!
//! Git does not look at the checksum of an index that it reads. What is patched gets a new checksum, so damage in it
//! would be signed as if somebody had meant it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::lock::NewIndex;
use super::mend::{MISSING, flaw};
use crate::beneath::FileStat;
use crate::git::error::{Error, Result};
use crate::git::index::{Index, Outline, Proved};
use crate::git::repo::Repo;

/// An index as it is on disk.
pub(in crate::git) struct OldIndex {
    path: PathBuf,
    pub stat: FileStat,
    pub bytes: Vec<u8>,
    outline: OnceLock<Option<Outline>>,
}

impl OldIndex {
    /// Reads the index in `git_dir`; nothing where there is none.
    pub fn read(git_dir: &Path) -> Result<Option<Self>> {
        let path = git_dir.join("index");
        match read(&path) {
            Ok((stat, bytes)) => Ok(Some(Self { path, stat, bytes, outline: OnceLock::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Answers what it says; none for a form that only the git program should change.
    pub fn index(&self) -> Option<Index<'_>> {
        let outline = self.outline.get_or_init(|| Outline::parse(&self.bytes)).as_ref()?;
        Some(Index::outlined(&self.bytes, outline))
    }

    /// Proves that it is whole: by its checksum, unless it is the one that is `known` to be.
    ///
    /// # Errors
    /// [`Error::IndexDamaged`].
    pub fn prove(&self, known: Option<Proved>) -> Result<Proved> {
        let this = Proved { stat: self.stat, checksum: self.bytes.last_chunk().copied().unwrap_or_default() };
        if known == Some(this) {
            return Ok(this);
        }
        match flaw(&self.bytes) {
            None => Ok(this),
            Some(reason) => Err(Error::IndexDamaged { path: self.path.clone(), reason: reason.to_owned() }),
        }
    }
}

impl Repo {
    /// Reads the index, proved to be whole; nothing where there is none.
    ///
    /// # Errors
    /// [`Error::IndexDamaged`], also where it is missing from a sparse checkout: nothing else says there what is left out
    /// on purpose.
    pub(super) fn whole_index(&self) -> Result<Option<Arc<OldIndex>>> {
        let old = self.present_index()?;
        if let Some(old) = &old {
            self.proved_index.set(Some(old.prove(self.proved_index.get())?));
        }
        Ok(old)
    }

    /// Reads the index as it is, whole or not, unless somebody still has it from before; nothing where there is none.
    ///
    /// # Errors
    /// [`Error::IndexDamaged`] where it is missing from a sparse checkout.
    pub(super) fn present_index(&self) -> Result<Option<Arc<OldIndex>>> {
        if let Some(seen) = self.seen_index()? {
            return Ok(Some(seen));
        }
        let old = OldIndex::read(self.git_dir())?.map(Arc::new);
        if old.is_none() && self.is_sparse()? {
            let path = self.git_dir().join("index");
            return Err(Error::IndexDamaged { path, reason: MISSING.to_owned() });
        }
        *self.seen_index.borrow_mut() = old.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(old)
    }

    /// Answers the index where somebody still has it who read it, and it is the same now.
    pub(super) fn seen_index(&self) -> Result<Option<Arc<OldIndex>>> {
        let Some(seen) = self.seen_index.borrow().upgrade() else { return Ok(None) };
        Ok((index_stat(self.git_dir())? == Some(seen.stat)).then_some(seen))
    }

    /// Moves a new index into its place, and notes that this process did: it need not be proved to be whole.
    pub(super) fn put_index(&self, new: NewIndex) -> Result<()> {
        let checksum = new.commit()?;
        let stat = index_stat(self.git_dir()).ok().flatten();
        self.proved_index.set(stat.map(|stat| Proved { stat, checksum }));
        Ok(())
    }
}

/// Reads a file, with its stat from the same opening: another one may take its place meanwhile.
fn read(path: &Path) -> io::Result<(FileStat, Vec<u8>)> {
    let mut file = File::open(path)?;
    let stat = FileStat::of_open(&file)?;
    let mut bytes = Vec::with_capacity(usize::try_from(stat.size).map_err(io::Error::other)? + 1);
    file.read_to_end(&mut bytes)?;
    Ok((stat, bytes))
}

/// Answers what the index in `git_dir` is now; nothing where there is none.
pub(super) fn index_stat(git_dir: &Path) -> Result<Option<FileStat>> {
    let path = git_dir.join("index");
    match File::open(&path).and_then(|file| FileStat::of_open(&file)) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
