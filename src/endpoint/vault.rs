//! An encrypted vault: items that another endpoint holds, sealed, so that it learns neither their names nor their content.
//!
//! # What is where
//! | object | what it is |
//! |---|---|
//! | `cascade-vault.json` | how the vault is opened: its id and the wrapped master key ([`key`]) |
//! | `head` | which segments belong to the vault now, and the number of this state; the only object that is replaced |
//! | `index/ID` | segments of the index: items, their chunks, and where those are ([`segment`]) |
//! | `packs/ID` | packs of 8 MiB: chunks one after the other, each sealed for itself, closed by their number |
//!
//! Each of them but the first is sealed with a key of its own ([`seal`]). Content is cut by FastCDC ([`chunk`]); a chunk that
//! the vault has already is not written again. The index is read as a whole when the vault is opened, and is in memory then
//! (some 300 bytes an item).
//!
//! # When something counts
//! What is written goes into new packs, and counts when a new head says so: at [`Endpoint::flush`], and after every
//! [`COMMITTED_AT_ONCE_BYTES`]. Until then the state before is what everybody else sees, and what a crash leaves. The head is
//! only replaced as long as it is what it was: where somebody else was faster, their state is read and what does not
//! collide with it is put on top. What nobody refers to any more is removed now and then ([`clean`]): a head that counts
//! those cleanings goes before, so that whoever writes at the same time and finds the count changed gives up instead of
//! relying on what may be gone. An endpoint without conditional writes protects nobody from another writer.
//!
//! # What is not hidden
//! How much there is, when it changes and by how much, and which objects are read. Whoever can write to the endpoint can
//! destroy the vault, or put an older state of it back; the latter is found by machines that saw the newer one ([`seen`]).

mod check;
mod chunk;
mod clean;
pub mod error;
mod index;
mod key;
mod objects;
mod pack;
mod read;
mod seal;
mod seen;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Mutex, OnceCell};

pub use check::Checked;
pub use clean::Cleaned;
pub use error::Error as VaultError;
pub use key::{Cost, Secret, make_key_file};

use super::{
    Capabilities, Class, Content, Ended, Endpoint, Error, IsKept, Item, Key, Known, Later, Leftover, Lister, Listing,
    Put, Result, Take,
};
use crate::endpoint::Fingerprint;
use chunk::Cutter;
use index::Index;
use objects::{HEAD, Objects};
use seal::{Keys, VaultId};
use seen::Seen;
use segment::Head;
use state::State;

/// When so much was written, it counts before the rest follows.
const COMMITTED_AT_ONCE_BYTES: u64 = 256 << 20;
/// Items that are taken from the index at a time.
const LISTED_AT_ONCE_ITEMS: usize = 1_000;

/// A vault at an endpoint; cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Shared>);

struct Shared {
    objects: Objects,
    secret: Secret,
    cost: Cost,
    seen: Option<Seen>,
    opened: OnceCell<Opened>,
    index: RwLock<Index>,
    state: Arc<Mutex<State>>,
}

/// A vault that was opened.
struct Opened {
    keys: Keys,
    cutter: Cutter,
}

impl Shared {
    /// Answers the vault's keys; they are unwrapped when they are first needed.
    async fn keys(&self) -> Result<&Keys> {
        let opened = self.opened.get_or_try_init(|| async {
            let missing = || error::Error::NotInitialised { place: self.objects.place.clone() };
            let (text, _) = self.objects.current(key::OBJECT).await?.ok_or_else(missing)?;
            let (place, secret) = (self.objects.place.clone(), self.secret.clone());
            let opening = tokio::task::spawn_blocking(move || key::open(&place, &text, &secret));
            let lost = |lost: tokio::task::JoinError| Error::Lost {
                place: self.objects.place.clone(),
                reason: lost.to_string(),
            };
            Ok::<_, Error>(Opened::with(opening.await.map_err(lost)??))
        });
        Ok(&opened.await?.keys)
    }

    /// Answers the id of a vault that is open.
    fn id(&self) -> Result<VaultId> {
        Ok(self.opened()?.keys.id)
    }

    fn opened(&self) -> Result<&Opened> {
        let closed = || Error::Lost { place: self.objects.place.clone(), reason: "it is not open".to_owned() };
        self.opened.get().ok_or_else(closed)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    fn with(keys: Keys) -> Self {
        let cutter = Cutter::new(keys.seed());
        Self { keys, cutter }
    }
}

impl Vault {
    /// Takes an endpoint for one that holds a vault; it is opened, with `secret`, when it is first used.
    #[must_use]
    pub fn new(inner: Arc<dyn Endpoint>, secret: Secret) -> Self {
        Self::made(inner, secret, Cost::USUAL, None)
    }

    /// Remembers in a directory which states of vaults this machine has seen.
    #[must_use]
    pub fn remembering(self, directory: PathBuf) -> Self {
        let Shared { objects, secret, cost, .. } = &*self.0;
        let objects = Objects::new(objects.inner());
        Self::of(objects, secret.clone(), *cost, Some(Seen::new(directory)))
    }

    /// Lets guessing the passphrases that it is closed with cost this.
    #[must_use]
    pub fn costing(self, cost: Cost) -> Self {
        let Shared { objects, secret, seen, .. } = &*self.0;
        Self::of(Objects::new(objects.inner()), secret.clone(), cost, seen.clone())
    }

    fn made(inner: Arc<dyn Endpoint>, secret: Secret, cost: Cost, seen: Option<Seen>) -> Self {
        Self::of(Objects::new(inner), secret, cost, seen)
    }

    fn of(objects: Objects, secret: Secret, cost: Cost, seen: Option<Seen>) -> Self {
        let (opened, index, state) = (OnceCell::new(), RwLock::default(), Arc::default());
        Self(Arc::new(Shared { objects, secret, cost, seen, opened, index, state }))
    }

    /// Makes the vault, where nothing is yet.
    ///
    /// # Errors
    /// Something is there, the passphrase is too easy to guess, or the endpoint refuses.
    pub async fn init(&self) -> Result<()> {
        self.0.secret.require_strong()?;
        let objects = &self.0.objects;
        let place = objects.place.clone();
        let (items, ended) = objects.list().await?;
        if items.iter().any(|item| item.key.as_bytes() == key::OBJECT.as_bytes()) {
            return Err(error::Error::Initialised { place }.into());
        }
        // A head without the object that opens it is what an interrupted beginning leaves.
        if items.iter().any(|item| item.key.as_bytes() != HEAD.as_bytes()) || !ended.unlisted.is_empty() {
            return Err(error::Error::Occupied { place }.into());
        }
        let opened = Opened::with(key::new_keys()?);
        let text = self.close(&opened.keys, &self.0.secret, self.0.cost).await?;
        let sealed = opened.keys.seal(seal::Kind::Head, HEAD, &Head { serial: 1, ..Head::default() }.encode())?;
        let before = objects.look(HEAD).await?;
        objects.put(HEAD, sealed, before).await?;
        objects.put(key::OBJECT, text, None).await?;
        objects.flush().await
    }

    /// Lets the vault be opened with another secret from now on; nothing else is written. This one does not open it any
    /// more.
    ///
    /// # Errors
    /// It cannot be opened, the passphrase is too easy to guess, or somebody else was faster.
    pub async fn rekey(&self, secret: &Secret) -> Result<()> {
        secret.require_strong()?;
        let keys = self.0.keys().await?;
        let missing = || error::Error::NotInitialised { place: self.place_text().to_owned() };
        let (text, known) = self.0.objects.current(key::OBJECT).await?.ok_or_else(missing)?;
        if key::id_of(self.place_text(), &text)? != keys.id {
            return Err(self.damaged(key::OBJECT, "it is of another vault"));
        }
        let text = self.close(keys, secret, self.0.cost).await?;
        self.0.objects.put(key::OBJECT, text, Some(known)).await?;
        self.0.objects.flush().await
    }

    /// Takes what is there for the newest state, even where this machine saw a newer one.
    ///
    /// # Errors
    /// It cannot be opened, or that cannot be remembered.
    pub async fn accept_older(&self) -> Result<()> {
        self.0.keys().await?;
        self.0.remember(0)
    }

    async fn close(&self, keys: &Keys, secret: &Secret, cost: Cost) -> Result<Vec<u8>> {
        let (keys, secret) = (keys.again(), secret.clone());
        let closing = tokio::task::spawn_blocking(move || key::close(&keys, &secret, cost));
        let lost = |lost: tokio::task::JoinError| Error::Lost {
            place: self.place_text().to_owned(),
            reason: lost.to_string(),
        };
        Ok(closing.await.map_err(lost)??)
    }

    fn place_text(&self) -> &str {
        &self.0.objects.place
    }

    fn damaged(&self, object: &str, reason: &'static str) -> Error {
        let (place, object) = (self.place_text().to_owned(), object.to_owned());
        error::Error::Damaged { place, object, reason }.into()
    }

    /// Gives all items to the lister, some at a time: others may change the index meanwhile.
    async fn give_all(&self, mut lister: Lister) -> Result<(Lister, Ended)> {
        self.refresh(&mut *self.0.state.lock().await).await?;
        let mut last: Option<Key> = None;
        loop {
            let items: Vec<Item> = {
                let index = self.0.index();
                let after = match &last {
                    Some(last) => index.entries.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)),
                    None => index.entries.range::<Key, _>(..),
                };
                after.take(LISTED_AT_ONCE_ITEMS).map(|(key, entry)| entry.item(key)).collect()
            };
            let Some(item) = items.last() else { return Ok((lister, Ended::default())) };
            last = Some(item.key.clone());
            for item in items {
                if !lister.hand(item).await {
                    return Ok((lister, Ended::default()));
                }
            }
        }
    }
}

/// Answers an error and what it rests on in one line.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Answers an error's kind as the system would have said it: what passes by itself is told from what does not.
fn kind_of(error: &Error) -> io::ErrorKind {
    match error.class() {
        Class::Transient => io::ErrorKind::TimedOut,
        Class::Denied => io::ErrorKind::PermissionDenied,
        Class::Missing | Class::Permanent => io::ErrorKind::Other,
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("place", &self.0.objects.place).finish_non_exhaustive()
    }
}

impl Endpoint for Vault {
    fn place(&self) -> String {
        self.0.objects.place.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: true, links: true }
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::running(self.place(), move |lister| async move { this.give_all(lister).await })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        Box::pin(read::read(self, items))
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        Box::pin(read::digest(self, items))
    }

    fn recall(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        Box::pin(read::recall(self, items))
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        Box::pin(write::write(self, puts))
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        Box::pin(write::delete(self, takes))
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        Box::pin(async move {
            let mut state = self.0.state.lock().await;
            self.commit(&mut state).await?;
            // What was written counts; that something else stays for now harms nobody.
            if let Err(refused) = self.clean_now_and_then(&mut state).await {
                tracing::warn!("{} could not be cleaned up: {}", self.place_text(), said(&refused));
            }
            Ok(())
        })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        // What an interrupted write left is removed with what nobody refers to any more.
        Box::pin(async { Vec::new() })
    }
}
