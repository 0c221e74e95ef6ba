//! A directory of a git branch, read straight from the objects: no checkout, no filters.

use std::fmt;

use super::{
    Capabilities, Content, Ended, Endpoint, Error, Fingerprint, Form, IsKept, Item, Key, Known, Later, Leftover,
    Lister, Listing, Put, Result, Take, Unlisted, Version,
};
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::git::{self, ContentEntry, ContentForm, Git};

/// What a branch contained when this was opened; commits that come later do not matter. It is only read from.
#[derive(Clone)]
pub struct Tree {
    git: Git,
    branch: String,
    path: Vec<u8>,
    commit: ObjectId,
    tree: ObjectId,
}

impl Tree {
    /// Opens the directory `path` (empty: the top) of a branch as it is now.
    ///
    /// # Errors
    /// There is no such branch, or no such directory in it.
    pub async fn open(git: &Git, branch: &str, path: &[u8]) -> Result<Self> {
        let wanted = branch.to_owned();
        let commit = git.run(move |repo| repo.existing_branch_tip(&wanted)).await?;
        Self::open_at(git, branch, commit, path).await
    }

    /// Opens the directory `path` (empty: the top) of a commit that a branch has, or had.
    ///
    /// # Errors
    /// There is no such commit, or no such directory in it.
    pub async fn open_at(git: &Git, branch: &str, commit: ObjectId, path: &[u8]) -> Result<Self> {
        let directory = path.to_vec();
        let tree = git.run(move |repo| repo.directory_of(commit, &directory)).await?;
        let tree = tree.ok_or_else(|| Error::Missing { place: place_of(branch, path) })?;
        Ok(Self { git: git.clone(), branch: branch.to_owned(), path: path.to_vec(), commit, tree })
    }

    /// Answers the commit that is read.
    #[must_use]
    pub fn commit(&self) -> ObjectId {
        self.commit
    }

    /// Reads many objects at once.
    fn contents<R: Send + 'static>(
        &self,
        items: Vec<Item>,
        make: impl Fn(&Item, Vec<u8>) -> R + Send + 'static,
    ) -> Later<'static, Vec<Result<R>>> {
        let (git, count) = (self.git.clone(), items.len());
        Box::pin(async move {
            let read = git.run(move |repo| {
                let one = |item: &Item| {
                    let content = object(item).and_then(|object| repo.read_content(object));
                    content.map(|content| make(item, content)).map_err(Error::from)
                };
                Ok(items.iter().map(one).collect())
            });
            let lost = |error: git::Error| {
                let reason = error.to_string();
                (0..count).map(|_| Err(Error::Git(git::Error::Lost(reason.clone())))).collect()
            };
            read.await.unwrap_or_else(lost)
        })
    }
}

fn place_of(branch: &str, path: &[u8]) -> String {
    if path.is_empty() { format!("the branch {branch}") } else { format!("{} of the branch {branch}", shown(path)) }
}

/// The fingerprint of an item is the name of its object, which is its content.
fn object(item: &Item) -> git::Result<ObjectId> {
    let bytes: Option<[u8; 20]> = item.fingerprint.bytes.get(..20).and_then(|bytes| bytes.try_into().ok());
    let malformed =
        || git::Error::Integrity { what: item.key.to_string(), reason: "it names no object of git".to_owned() };
    bytes.map(ObjectId::from_bytes).ok_or_else(malformed)
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("branch", &self.branch).field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl Endpoint for Tree {
    fn place(&self) -> String {
        place_of(&self.branch, &self.path)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: false, executables: true, links: true }
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::running(self.place(), move |mut lister| async move {
            let tree = this.tree;
            let listed = this.git.run(move |repo| {
                let mut ended = Ended::default();
                repo.list_contents(tree, &mut |entry| give(entry, &mut lister, &mut ended))?;
                Ok((lister, ended))
            });
            Ok(listed.await?)
        })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        self.contents(items, |item, content| Content::whole(content).proved_by(Some(item.fingerprint.clone())))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.contents(items, |item, content| {
            let version = Version { digest: Digest::of(&content), form: item.form, size: content.len() as u64 };
            Known { version, fingerprint: item.fingerprint.clone() }
        })
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        super::read_only(self.place(), puts.len())
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        super::read_only(self.place(), takes.len())
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}

/// Lists one path; answers whether anybody still wants more.
fn give(entry: ContentEntry, lister: &mut Lister, ended: &mut Ended) -> bool {
    let ContentEntry { path, form, object, size } = entry;
    let key = match Key::new(path.clone()) {
        Ok(key) => key,
        Err(problem) => {
            let start = path.get(..Key::LIMIT_BYTES / 2).and_then(|start| Key::new(start.to_vec()).ok());
            let reason = format!("it cannot be a key: {problem}");
            ended.unlisted.extend(start.map(|key| Unlisted { key, reason, hides_items: true }));
            return true;
        }
    };
    let (form, mark) = match form {
        ContentForm::File { executable } => (Form::File { executable }, u8::from(executable)),
        ContentForm::Link => (Form::Link, 2),
        ContentForm::Repository => {
            let reason = "it is another repository (a submodule)".to_owned();
            ended.unlisted.push(Unlisted { key, reason, hides_items: false });
            return true;
        }
    };
    let bytes = object.as_bytes().iter().copied().chain([mark]).collect();
    lister.give(Item { key, form, size, fingerprint: Fingerprint { bytes, is_racy: false }, digest: None })
}
