//! Writing the commit of a save or of a merge.

use git2::{ObjectType, Odb, Oid};

use crate::git::error::{Error, Result};
use crate::git::pack::PackWriter;
use crate::git::program::Program;
use crate::git::repo::Repo;

/// Who commits when nobody is configured.
const FALLBACK: (&str, &str) = ("cascade", "cascade@localhost");

/// Everything that goes into a commit.
pub(super) struct Draft<'a> {
    /// Short name of the branch that it is for.
    pub branch: &'a str,
    pub tree: Oid,
    /// The branch's tip.
    pub parent: Oid,
    /// What is merged in.
    pub merged: Option<Oid>,
    pub message: &'a str,
    /// Default: `user.name` and `user.email`, else cascade itself.
    pub author: Option<&'a (String, String)>,
    /// The commit's time, seconds since the epoch, and its distance from UTC, minutes.
    pub now_seconds: i64,
    pub offset_minutes: i32,
}

impl Draft<'_> {
    /// Answers the message's first line.
    pub fn subject(&self) -> &str {
        self.message.trim_start().lines().next().unwrap_or_default()
    }

    /// Adds the commit to `pack`; when commits are to be signed the git program makes it.
    pub fn add_to(&self, repo: &Repo, mut pack: PackWriter, odb: &Odb<'_>) -> Result<(Oid, PackWriter)> {
        let config = repo.inner.config().map_err(Error::library("read the configuration"))?;
        if !config.get_bool("commit.gpgSign").unwrap_or(false) {
            let oid = pack.add(ObjectType::Commit, &self.bytes(repo))?;
            return Ok((oid, pack));
        }
        // The program must see the tree, and its own commit is copied to where it is synced.
        pack.finish()?;
        odb.refresh().map_err(Error::library("look for new packs"))?;
        let oid = self.signed(repo)?;
        let commit = odb.read(oid).map_err(Error::library(format!("read commit {oid}")))?;
        let mut pack = repo.pack_writer();
        pack.add(ObjectType::Commit, commit.data())?;
        Ok((oid, pack))
    }

    fn signed(&self, repo: &Repo) -> Result<Oid> {
        let (name, email) = self.author(repo);
        let date = format!("@{}", self.date());
        let mut arguments = vec!["commit-tree".to_owned(), "-S".to_owned()];
        arguments.extend(self.parents().flat_map(|parent| ["-p".to_owned(), parent.to_string()]));
        arguments.push(self.tree.to_string());
        let mut git = Program::saving(repo, arguments);
        for role in ["AUTHOR", "COMMITTER"] {
            git = git.env(&format!("GIT_{role}_NAME"), &name).env(&format!("GIT_{role}_EMAIL"), &email);
            git = git.env(&format!("GIT_{role}_DATE"), &date);
        }
        let printed = git.input(self.clean_message().into_bytes()).succeed().map_err(|failed| match failed {
            Error::Program { message, .. } => Error::SaveNotSigned { reason: message },
            other => other,
        })?;
        let oid = std::str::from_utf8(printed.trim_ascii()).ok().and_then(|text| Oid::from_str(text).ok());
        oid.ok_or_else(|| Error::Integrity {
            what: "the signed commit".to_owned(),
            reason: "git answered no object id".to_owned(),
        })
    }

    fn bytes(&self, repo: &Repo) -> Vec<u8> {
        let who = self.committer(repo);
        let parents: String = self.parents().map(|parent| format!("parent {parent}\n")).collect();
        let text = format!("tree {}\n{parents}author {who}\ncommitter {who}\n\n{}", self.tree, self.clean_message());
        text.into_bytes()
    }

    /// Answers who commits and when, as git writes it.
    pub fn committer(&self, repo: &Repo) -> String {
        let (name, email) = self.author(repo);
        format!("{name} <{email}> {}", self.date())
    }

    fn parents(&self) -> impl Iterator<Item = Oid> {
        std::iter::once(self.parent).chain(self.merged)
    }

    fn clean_message(&self) -> String {
        let text = self.message.replace('\0', "");
        let text = text.trim_start_matches('\n').trim_end();
        if text.is_empty() { "Save\n".to_owned() } else { format!("{text}\n") }
    }

    fn author(&self, repo: &Repo) -> (String, String) {
        let asked = self.author.cloned();
        let configured = || {
            let signature = repo.inner.signature().ok()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(signature.name_bytes()), text(signature.email_bytes())))
        };
        let (name, email) = asked.or_else(configured).unwrap_or_default();
        let or = |text: String, fallback: &str| if text.is_empty() { fallback.to_owned() } else { text };
        (or(clean(&name), FALLBACK.0), or(clean(&email), FALLBACK.1))
    }

    fn date(&self) -> String {
        let minutes = self.offset_minutes;
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.unsigned_abs();
        format!("{} {sign}{:02}{:02}", self.now_seconds.max(0), minutes / 60, minutes % 60)
    }
}

/// Drops what would break the line of a commit that names a person.
fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
    kept.trim_matches([' ', '.', ',', ':', ';', '"', '\'', '\\']).to_owned()
}
