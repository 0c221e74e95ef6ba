//! What this machine saw of vaults: a state that is older was put back by somebody.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::key::hex;
use super::seal::VaultId;

/// A directory with a file for each vault: the number of the newest state that was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    directory: PathBuf,
}

impl Seen {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Answers the newest state that was seen; 0: none.
    pub fn newest(&self, id: &VaultId) -> io::Result<u64> {
        match fs::read_to_string(self.directory.join(hex(id))) {
            Ok(text) => text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into()),
            Err(none) if none.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(refused) => Err(refused),
        }
    }

    /// Remembers a state.
    pub fn note(&self, id: &VaultId, serial: u64) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        writeln!(file, "{serial}")?;
        file.persist(self.directory.join(hex(id))).map(drop).map_err(|refused| refused.error)
    }
}
