//! Scratch checkouts: where checks see a candidate's files without touching the user's checkout.
//!
//! A scratch checkout is a clone of its own that borrows the repository's objects, so that nothing a check does
//! with git there reaches the user's branches, index or configuration.

use std::fs;
use std::path::Path;

use super::error::{Error, Result};
use super::program::Program;
use super::repo::Repo;
use crate::base::id::ObjectId;

impl Repo {
    /// Brings the scratch checkout at `directory` to exactly `commit`, moving from what it held before; files that
    /// `.gitignore` names (build output, caches) stay.
    ///
    /// # Errors
    /// The directory cannot be written, or git fails twice: a scratch that cannot be moved is made afresh once.
    pub fn check_out_scratch(&self, directory: &Path, commit: ObjectId) -> Result<()> {
        if directory.join(".git").is_dir() && move_scratch(directory, commit).is_ok() {
            return Ok(());
        }
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(Error::io("delete", directory))?;
        }
        self.make_scratch(directory)?;
        move_scratch(directory, commit)
    }

    /// Answers what is wrong with the scratch checkout at `directory`, so that it can only be made afresh; nothing where
    /// it can be used, or where git cannot be asked.
    #[must_use]
    pub fn scratch_damage(&self, directory: &Path) -> Option<String> {
        if !directory.join(".git").is_dir() {
            return Some("it is no checkout".to_owned());
        }
        if directory.join(".git/index.lock").exists() {
            return Some("a git command was killed in it".to_owned());
        }
        let ask = |arguments: &[&str]| {
            let program = Program::at(directory, arguments).env("GIT_DIR", directory.join(".git"));
            program.run().ok().filter(|asked| !asked.status.success()).map(|asked| asked.message())
        };
        ask(&["cat-file", "-e", "HEAD^{tree}"]).or_else(|| ask(&["ls-files", "--unmerged"]))
    }

    fn make_scratch(&self, directory: &Path) -> Result<()> {
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        let (source, target) = (self.common_dir().as_os_str(), directory.as_os_str());
        let arguments = ["clone", "--quiet", "--shared", "--no-checkout", "--no-tags", "--template=", "--"];
        let arguments = arguments.iter().map(AsRef::as_ref).chain([source, target]);
        Program::new(self, arguments).succeed().map(drop)
    }
}

fn move_scratch(directory: &Path, commit: ObjectId) -> Result<()> {
    let commit = commit.to_string();
    let quiet = ["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "gc.auto=0"];
    let call = |arguments: &[&str]| {
        Program::at(directory, quiet.iter().chain(arguments)).env("GIT_DIR", directory.join(".git")).succeed().map(drop)
    };
    call(&["checkout", "--quiet", "--force", "--detach", &commit])?;
    call(&["clean", "--quiet", "-ffd"])
}
