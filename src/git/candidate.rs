//! Building the commits that promotions and rollbacks land: exact trees, no merge algorithm, no working tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use git2::{ObjectType, Signature, Time};

use super::branch::{object_id, oid};
use super::error::{Error, Result};
use super::program::Program;
use super::repo::Repo;
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::base::id::ObjectId;

/// Longest time that a signature may take: somebody may have to enter a passphrase or to touch a key.
const SIGN_DEADLINE: Duration = Duration::from_secs(60);

/// A commit to build.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// Its content.
    pub tree: ObjectId,
    /// Its parents, in order.
    pub parents: Vec<ObjectId>,
    /// Its message, trailers included.
    pub message: String,
    /// When it is made.
    pub at: Timestamp,
}

impl Repo {
    /// Writes a commit object durably and reads it back; no reference moves.
    ///
    /// # Errors
    /// The object cannot be written, or reads back differently.
    pub fn build_commit(&self, new: &NewCommit) -> Result<ObjectId> {
        let tree = self.inner.find_tree(oid(new.tree)?).map_err(Error::library("read the candidate's tree"))?;
        let mut parents = Vec::with_capacity(new.parents.len());
        for parent in &new.parents {
            parents.push(self.inner.find_commit(oid(*parent)?).map_err(Error::library("read a parent commit"))?);
        }
        let signature = self.identity(new.at)?;
        let buffer = self
            .inner
            .commit_create_buffer(&signature, &signature, &new.message, &tree, &parents.iter().collect::<Vec<_>>())
            .map_err(Error::library("compose a commit"))?;
        let odb = self.inner.odb().map_err(Error::library("open the object store"))?;
        let id = odb.write(ObjectType::Commit, &buffer).map_err(Error::library("write a commit"))?;
        let read = odb.read(id).map_err(Error::library("read a commit back"))?;
        if read.data() != &buffer[..] {
            return Err(Error::Integrity {
                what: format!("commit {id}"),
                reason: "it reads back differently".to_owned(),
            });
        }
        object_id(id)
    }

    /// Lets the git program write a commit with the user's signature, durably; no reference moves.
    ///
    /// # Errors
    /// The program fails, most often because there is no key or its agent does not answer.
    pub fn build_signed_commit(&self, new: &NewCommit) -> Result<ObjectId> {
        let who = self.identity(new.at)?;
        let mut arguments = vec!["commit-tree".to_owned(), "-S".to_owned()];
        arguments.extend(new.parents.iter().flat_map(|parent| ["-p".to_owned(), parent.to_string()]));
        arguments.push(new.tree.to_string());
        let mut git = Program::durable(self.root(), arguments).deadline(SIGN_DEADLINE);
        if let Some(path) = self.program_path() {
            git = git.env("PATH", path);
        }
        let date = format!("@{} +0000", new.at.as_second());
        for role in ["AUTHOR", "COMMITTER"] {
            git = git.env(&format!("GIT_{role}_NAME"), OsStr::from_bytes(who.name_bytes()));
            git = git.env(&format!("GIT_{role}_EMAIL"), OsStr::from_bytes(who.email_bytes()));
            git = git.env(&format!("GIT_{role}_DATE"), &date);
        }
        let printed = git.input(new.message.clone().into_bytes()).succeed()?;
        let id = std::str::from_utf8(printed.trim_ascii()).unwrap_or_default().parse();
        id.map_err(|reason| Error::Integrity { what: "the signed commit".to_owned(), reason })
    }

    /// Writes a commit durably as git is told to: signed where `commit.gpgSign` is set. No reference moves.
    ///
    /// The same commit is signed differently each time: where `before` is it already, that is answered.
    ///
    /// # Errors
    /// [`Error::CommitNotSigned`], or as [`Repo::build_commit`].
    pub fn build_users_commit(&self, new: &NewCommit, before: Option<ObjectId>) -> Result<ObjectId> {
        let config = self.inner.config().map_err(Error::library("read the configuration"))?;
        if !config.get_bool("commit.gpgSign").unwrap_or(false) {
            return self.build_commit(new);
        }
        if let Some(before) = before.filter(|before| self.is_signed_form(*before, new)) {
            return Ok(before);
        }
        self.build_signed_commit(new).map_err(|refused| Error::CommitNotSigned { reason: refused.to_string() })
    }

    fn is_signed_form(&self, id: ObjectId, new: &NewCommit) -> bool {
        let Ok(commit) = oid(id).and_then(|id| self.inner.find_commit(id).map_err(Error::library("read a commit")))
        else {
            return false;
        };
        let is_signed = ["gpgsig", "gpgsig-sha256"].iter().any(|name| commit.header_field_bytes(name).is_ok());
        let parents: Result<Vec<ObjectId>> = commit.parent_ids().map(object_id).collect();
        is_signed
            && object_id(commit.tree_id()).is_ok_and(|tree| tree == new.tree)
            && parents.is_ok_and(|parents| parents == new.parents)
            && commit.message_bytes().trim_ascii_end() == new.message.as_bytes().trim_ascii_end()
            && commit.time().seconds() == new.at.as_second()
    }

    /// Merges two commits three-way as git does, in memory; answers the merged tree, which is durable.
    ///
    /// # Errors
    /// [`Error::MergeConflict`] with the paths, or git is older than 2.38.
    pub fn merge_trees(&self, ours: ObjectId, theirs: ObjectId) -> Result<ObjectId> {
        match self.apart(ours, theirs)? {
            Some(apart) => self.write_apart(&apart),
            None => self.merge_by_git(ours, theirs),
        }
    }

    /// Finds out whether two commits can be merged, without writing anything where that is plain.
    ///
    /// # Errors
    /// As [`Repo::merge_trees`].
    pub fn rehearse_merge(&self, ours: ObjectId, theirs: ObjectId) -> Result<()> {
        match self.apart(ours, theirs)? {
            Some(_) => Ok(()),
            None => self.merge_by_git(ours, theirs).map(drop),
        }
    }

    fn merge_by_git(&self, ours: ObjectId, theirs: ObjectId) -> Result<ObjectId> {
        let (ours_text, theirs_text) = (ours.to_string(), theirs.to_string());
        let arguments = ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", &ours_text, &theirs_text];
        let output = Program::new_durable(self, arguments).run()?;
        let mut fields = output.stdout.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let tree = fields.next().and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
        match (output.status.code(), tree) {
            (Some(0), Some(tree)) => Ok(tree),
            (Some(1), Some(_)) => {
                Err(Error::MergeConflict { source_commit: theirs, paths: fields.map(shown).collect() })
            }
            _ => Err(output.failure()),
        }
    }

    /// Answers who cascade's commits are by: the repository's configured user, else cascade itself.
    ///
    /// # Errors
    /// The configured name cannot stand in a commit.
    pub(super) fn identity(&self, at: Timestamp) -> Result<Signature<'static>> {
        let time = Time::new(at.as_second(), 0);
        let configured = self.inner.signature().ok();
        let (name, email) = configured
            .as_ref()
            .and_then(|user| Some((user.name().ok()?, user.email().ok()?)))
            .unwrap_or(("cascade", "cascade@localhost"));
        Signature::new(name, email, &time).map_err(Error::library("compose an author line"))
    }

    /// Answers `name <email>` of the repository's configured user, if any.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let user = self.inner.signature().ok()?;
        Some(format!("{} <{}>", shown(user.name_bytes()), shown(user.email_bytes())))
    }
}
