//! The ledger: a chain of commits on a reference of its own, each with one statement; the single parent is the chain.
//!
//! The statement is the commit's message, between a line for people and a trailer, and its tree is empty: an entry is
//! one object to make durable instead of three, and a signature covers each byte of it and not only names of content.
//!
//! Entries are only ever added. Commit times never go back along the chain, whatever the clocks of its writers say, so
//! that a search for what was added since some moment knows where to end.

mod exchange;
mod signature;

use std::ops::ControlFlow;

use git2::{Oid, Sort};

pub use self::exchange::{BranchPush, Brought, Published};
pub use self::signature::{Signature, SignatureStatus};
use super::branch::{object_id, oid};
use super::candidate::NewCommit;
use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::ObjectId;

/// Where the chain is.
pub const LEDGER: &str = "refs/cascade/ledger";

/// The trailer that tells entries apart without reading their statements.
const KEY_TRAILER: &str = "Cascade-Entry: ";
/// How often a change of the chain begins again because somebody else moved it.
const ATTEMPTS: usize = 10;
/// What the reflog says, where there is one.
const LOG_MESSAGE: &str = "cascade: ledger";

/// An entry to add.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Tells it from every other entry.
    pub key: String,
    /// One line for people.
    pub subject: String,
    /// Its statement: JSON, ended by a line break, without an empty line.
    pub statement: String,
    /// When what it says happened.
    pub at: Timestamp,
}

/// Whether an entry is signed, by the git program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It is not.
    Never,
    /// It is, unless that does not work.
    IfPossible,
    /// It is, or it is not added.
    Required,
}

/// An entry that is in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its commit.
    pub id: ObjectId,
    /// Why it is not signed although it should be.
    pub unsigned_because: Option<String>,
}

/// An entry as the chain has it, its statement aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Its commit.
    pub id: ObjectId,
    /// The entry before it; a sound chain has at most one.
    pub parents: Vec<ObjectId>,
    /// What tells it from every other; nothing where its message is not of cascade's form.
    pub key: Option<String>,
    /// The time of its commit.
    pub at: Timestamp,
    /// Whether it carries a signature, good or not.
    pub is_signed: bool,
}

impl Repo {
    /// Answers the newest entry; nothing where there is no ledger here.
    ///
    /// # Errors
    /// The reference cannot be read.
    pub fn ledger_tip(&self) -> Result<Option<ObjectId>> {
        self.reference_target(LEDGER)
    }

    /// Adds an entry as the newest, durably, unless one of its key was added since `since`: then answers that one.
    ///
    /// # Errors
    /// [`Error::NotSigned`] where a signature is required and cannot be made; objects or reference cannot be written.
    pub fn append_entry(&self, new: &NewEntry, since: Timestamp, sign: Sign) -> Result<Appended> {
        let mut attempts_left = ATTEMPTS;
        loop {
            let tip = self.ledger_tip()?;
            if let Some(found) = self.find_entry(&new.key, since)? {
                return Ok(Appended { id: found.id, unsigned_because: None });
            }
            let message = format!("{}\n\n{}\n{KEY_TRAILER}{}\n", new.subject, new.statement, new.key);
            let added = self.chain(Link { message, at: new.at, parent: tip }, sign)?;
            attempts_left -= 1;
            match self.move_reference(LEDGER, tip, added.id, LOG_MESSAGE) {
                Ok(()) => return Ok(added),
                Err(Error::RefMoved { .. }) if attempts_left > 0 => {}
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Finds the newest entry of this key among those that were added since `since`.
    ///
    /// # Errors
    /// The chain cannot be read.
    pub fn find_entry(&self, key: &str, since: Timestamp) -> Result<Option<LedgerEntry>> {
        let Some(tip) = self.ledger_tip()? else { return Ok(None) };
        let mut found = None;
        self.walk_ledger(&[tip], &mut |entry| {
            // Commits know whole seconds.
            if entry.at.as_second() < since.as_second() {
                return Ok(ControlFlow::Break(()));
            }
            if entry.key.as_deref() == Some(key) {
                found = Some(entry);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Shows `visit` the entries that lead to `tips`, newer ones before those that they rest on, until it has enough.
    ///
    /// # Errors
    /// An entry is missing or cannot be read, or `visit` fails.
    pub fn walk_ledger(
        &self,
        tips: &[ObjectId],
        visit: &mut dyn FnMut(LedgerEntry) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut walk = self.inner.revwalk().map_err(Error::library("walk the ledger"))?;
        if tips.len() > 1 {
            walk.set_sorting(Sort::TOPOLOGICAL).map_err(Error::library("sort the ledger"))?;
        }
        for tip in tips {
            walk.push(oid(*tip)?).map_err(Error::library("walk the ledger"))?;
        }
        for id in walk {
            let id = id.map_err(Error::library("walk the ledger"))?;
            if visit(self.ledger_entry(id)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the statement of an entry; nothing where its commit has none.
    ///
    /// # Errors
    /// The commit is missing.
    pub fn statement_of(&self, entry: ObjectId) -> Result<Option<Vec<u8>>> {
        let commit = self.inner.find_commit(oid(entry)?).map_err(Error::library("read an entry of the ledger"))?;
        Ok(statement_in(commit.message_bytes()).map(ToOwned::to_owned))
    }

    /// Reads an entry, its statement aside.
    ///
    /// # Errors
    /// The commit is missing or damaged.
    pub fn entry_of_ledger(&self, id: ObjectId) -> Result<LedgerEntry> {
        self.ledger_entry(oid(id)?)
    }

    fn ledger_entry(&self, id: Oid) -> Result<LedgerEntry> {
        let commit = self.inner.find_commit(id).map_err(Error::library(format!("read entry {id} of the ledger")))?;
        Ok(LedgerEntry {
            id: object_id(id)?,
            parents: commit.parent_ids().map(object_id).collect::<Result<_>>()?,
            key: key_in(commit.message_bytes()),
            at: crate::base::clock::from_ms(commit.time().seconds().saturating_mul(1_000)),
            is_signed: ["gpgsig", "gpgsig-sha256"].iter().any(|name| commit.header_field_bytes(name).is_ok()),
        })
    }

    /// Writes the commit of an entry; no reference moves.
    fn chain(&self, link: Link, sign: Sign) -> Result<Appended> {
        let Link { message, at, parent } = link;
        let before = parent.map(|parent| self.ledger_entry(oid(parent)?)).transpose()?;
        let at = before.map_or(at, |before| before.at.max(at));
        let empty = self.inner.treebuilder(None).and_then(|tree| tree.write());
        let tree = object_id(empty.map_err(Error::library("write an empty tree"))?)?;
        let commit = NewCommit { tree, parents: parent.into_iter().collect(), message, at };
        if sign == Sign::Never {
            return Ok(Appended { id: self.build_commit(&commit)?, unsigned_because: None });
        }
        match self.build_signed_commit(&commit) {
            Ok(id) => Ok(Appended { id, unsigned_because: None }),
            Err(refused) if sign == Sign::Required => Err(Error::NotSigned { reason: refused.to_string() }),
            Err(refused) => {
                Ok(Appended { id: self.build_commit(&commit)?, unsigned_because: Some(refused.to_string()) })
            }
        }
    }

    /// Answers whether git is configured to sign: commits are signed by default, or key and form of a signature are set.
    #[must_use]
    pub fn signs(&self) -> bool {
        let Ok(config) = self.inner.config().and_then(|mut config| config.snapshot()) else { return false };
        let is_set = |name| config.get_string(name).is_ok_and(|value| !value.is_empty());
        config.get_bool("commit.gpgSign").unwrap_or(false) || (is_set("user.signingKey") && is_set("gpg.format"))
    }
}

/// An entry on its place in the chain.
struct Link {
    message: String,
    at: Timestamp,
    parent: Option<ObjectId>,
}

/// Answers the last line's key.
fn key_in(message: &[u8]) -> Option<String> {
    let last = message.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
    last.strip_prefix(KEY_TRAILER.as_bytes()).map(shown)
}

/// Answers what is between the first line and the trailer, each set off by an empty line.
fn statement_in(message: &[u8]) -> Option<&[u8]> {
    let start = message.windows(2).position(|pair| pair == b"\n\n")? + 2;
    let trailer = format!("\n\n{KEY_TRAILER}");
    let end = message.windows(trailer.len()).rposition(|found| found == trailer.as_bytes())?;
    message.get(start..=end)
}

#[cfg(test)]
mod tests;
