//! Whether entries of the ledger are signed where the rules of then wanted that.

use std::collections::HashMap;

use super::attestation::{Moment, Record, landing_key};
use crate::base::digest::Digest;
use crate::base::id::ObjectId;
use crate::config::{self, FILE_NAME, SignMode};
use crate::git::{self, LedgerEntry, Repo};

/// Tells entries to go by from those that anybody could have written.
#[derive(Debug, Default)]
pub(super) struct Signing {
    /// Whether a configuration wants every entry signed that lets something land.
    wants: HashMap<Digest, bool>,
}

impl Signing {
    /// Answers whether an entry counts: it is signed, or the rules that were committed when it was written did not ask for
    /// that. A verdict need not be, where what let it land is. Whose signature it is, is another question.
    ///
    /// # Errors
    /// A commit or the chain cannot be read.
    pub fn counts(&mut self, repo: &Repo, entry: &LedgerEntry, record: &Record) -> git::Result<bool> {
        if entry.is_signed || record.candidate.is_none() || !self.is_wanted(repo, record.previous)? {
            return Ok(true);
        }
        if record.moment == Moment::Landing {
            return Ok(false);
        }
        let landing = repo.find_entry(&landing_key(&record.id), record.created_at)?;
        Ok(landing.is_some_and(|landing| landing.is_signed))
    }

    /// Answers whether the configuration at a commit wants entries signed.
    fn is_wanted(&mut self, repo: &Repo, commit: Option<ObjectId>) -> git::Result<bool> {
        let Some(commit) = commit.filter(|commit| repo.has_commit(*commit)) else { return Ok(false) };
        let Some(bytes) = repo.content_at(commit, FILE_NAME.as_bytes())? else { return Ok(false) };
        let wants = || {
            let written = config::parse_written(&String::from_utf8_lossy(&bytes), FILE_NAME);
            written.is_ok_and(|written| written.ledger.sign == SignMode::Always)
        };
        Ok(*self.wants.entry(Digest::of(&bytes)).or_insert_with(wants))
    }
}
