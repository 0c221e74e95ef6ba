//! Files that a filter stores in another form (`filter=lfs`): one call of git serves many of them, so that a filter that
//! can do so is started once.

use std::collections::HashMap;

use git2::Oid;
use rustix::fs::FileType;

use super::Scan;
use crate::beneath::FileStat;
use crate::git::error::{Error, Result};
use crate::git::program::Program;
use crate::git::save::replace::stat_of;

/// Most bytes of files that one call is given: it must end in time.
const CALL_LIMIT_BYTES: u64 = 1 << 30;

/// What git stored of each file, and how the file was before that.
pub(super) type Filtered = HashMap<Vec<u8>, (FileStat, Oid)>;

impl Scan<'_> {
    /// Lets git store what filters make of the files. What cannot be asked about together, or was refused, is missing in
    /// the answer: asked about alone, each has its own reason.
    ///
    /// Git opens the files by their names: an answer counts only for a file that is still as it was before.
    pub(super) fn filter_at_once<'p>(&self, paths: impl Iterator<Item = &'p [u8]>) -> Result<Filtered> {
        let regular = |stat: &FileStat| stat.kind == FileType::RegularFile;
        let seen = |path: &'p [u8]| Some((path, stat_of(self.beneath, path).filter(regular)?));
        let mut filtered = Filtered::new();
        let (mut call, mut bytes) = (Vec::new(), 0_u64);
        for (path, stat) in paths.filter(|path| is_one_line(path)).filter_map(seen) {
            bytes = bytes.saturating_add(stat.size);
            call.push((path, stat));
            if bytes >= CALL_LIMIT_BYTES {
                filtered.extend(self.filter_call(&std::mem::take(&mut call))?);
                bytes = 0;
            }
        }
        filtered.extend(self.filter_call(&call)?);
        Ok(filtered)
    }

    fn filter_call(&self, files: &[(&[u8], FileStat)]) -> Result<Filtered> {
        if files.len() < 2 {
            return Ok(Filtered::new());
        }
        let input = files.iter().flat_map(|(path, _)| [path, b"\n".as_slice()]).flatten().copied().collect();
        let program = Program::saving(self.repo, ["hash-object", "-w", "--stdin-paths"]).input(input).keep_all();
        let printed = match program.succeed() {
            Err(Error::Program { .. } | Error::ProgramTimeout { .. }) => return Ok(Filtered::new()),
            printed => printed?,
        };
        let text = String::from_utf8_lossy(&printed);
        let oids: Vec<Oid> = text.lines().filter_map(|line| Oid::from_str(line).ok()).collect();
        if oids.len() != files.len() {
            return Ok(Filtered::new());
        }
        Ok(files.iter().zip(oids).map(|((path, stat), oid)| (path.to_vec(), (*stat, oid))).collect())
    }
}

/// Answers whether git reads a line with this name as the very name.
fn is_one_line(path: &[u8]) -> bool {
    !path.contains(&b'\n') && !path.starts_with(b"\"") && !path.ends_with(b"\r")
}
