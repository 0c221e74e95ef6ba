//! Items in memory: for tests, and as the plainest example of the contract.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Capabilities, Content, Ended, Endpoint, Error, Fingerprint, Folding, Form, IsKept, Item, Key, Known, Later,
    Leftover, Listing, Put, Result, Take, Version,
};
use crate::base::digest::Digest;

/// A holder of items in memory; cheap to clone, clones share the items.
#[derive(Clone)]
pub struct Memory {
    name: String,
    folding: Folding,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    items: BTreeMap<Key, Stored>,
    /// Counts every change.
    revision: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    form: Form,
    content: Vec<u8>,
    revision: u64,
}

impl Stored {
    fn version(&self) -> Version {
        Version { digest: Digest::of(&self.content), form: self.form, size: self.content.len() as u64 }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint { bytes: self.revision.to_le_bytes().to_vec(), is_racy: false }
    }

    fn known(&self) -> Known {
        Known { version: self.version(), fingerprint: self.fingerprint() }
    }
}

impl Memory {
    /// Makes an empty one.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), folding: Folding::default(), held: Arc::default() }
    }

    /// Lets it say that it takes names for one.
    #[must_use]
    pub fn folding(self, folding: Folding) -> Self {
        Self { folding, ..self }
    }

    /// Puts something there, as somebody else would.
    pub fn set(&self, key: &Key, form: Form, content: impl Into<Vec<u8>>) {
        let mut held = self.held();
        held.revision += 1;
        let stored = Stored { form, content: content.into(), revision: held.revision };
        held.items.insert(key.clone(), stored);
    }

    /// Takes something away, as somebody else would.
    pub fn unset(&self, key: &Key) {
        self.held().items.remove(key);
    }

    /// Answers all content.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<Key, Vec<u8>> {
        self.held().items.iter().map(|(key, stored)| (key.clone(), stored.content.clone())).collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, key: &Key, action: &'static str) -> Result<Stored> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        self.held().items.get(key).cloned().ok_or_else(|| Error::item(action, key)(gone()))
    }

    fn put(&self, put: Put) -> Result<Fingerprint> {
        let mut content = Vec::new();
        put.content.drain(|piece| {
            content.extend_from_slice(piece);
            Ok::<_, Error>(())
        })?;
        let mut held = self.held();
        require(&put.key, held.items.get(&put.key), put.expected.as_ref())?;
        let stored = Stored { form: put.to.form, content, revision: held.revision + 1 };
        if stored.version() != put.to {
            return Err(Error::changed(&put.key, "was changed at the source meanwhile"));
        }
        held.revision += 1;
        let fingerprint = stored.fingerprint();
        held.items.insert(put.key, stored);
        Ok(fingerprint)
    }
}

fn require(key: &Key, found: Option<&Stored>, expected: Option<&Known>) -> Result<()> {
    match (found, expected) {
        (None, None) => Ok(()),
        (Some(found), Some(expected))
            if found.fingerprint().proves(&expected.fingerprint) || found.version() == expected.version =>
        {
            Ok(())
        }
        _ => Err(Error::changed(key, "was changed at the target meanwhile")),
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Endpoint for Memory {
    fn place(&self) -> String {
        format!("memory {}", self.name)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: true, executables: true, links: true }
    }

    fn folding(&self) -> Later<'_, Folding> {
        Box::pin(async { self.folding })
    }

    fn list(&self) -> Listing {
        let this = self.clone();
        Listing::blocking(self.place(), move |lister| {
            let items: Vec<(Key, Stored)> =
                this.held().items.iter().map(|(key, stored)| (key.clone(), stored.clone())).collect();
            for (key, stored) in items {
                let size = stored.content.len() as u64;
                lister.give(Item { key, form: stored.form, size, fingerprint: stored.fingerprint(), digest: None });
            }
            Ok(Ended::default())
        })
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        let read = |item: Item| {
            let content = |stored: Stored| {
                let fingerprint = stored.fingerprint();
                Content::whole(stored.content).proved_by(Some(fingerprint))
            };
            self.look(&item.key, "read").map(content)
        };
        let read = items.into_iter().map(read).collect();
        Box::pin(async move { read })
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        let known = items.iter().map(|item| self.look(&item.key, "read").map(|stored| stored.known())).collect();
        Box::pin(async move { known })
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        let this = self.clone();
        // Content may come in pieces, which are waited for.
        Box::pin(super::in_batch(self.place(), puts, move |puts| puts.into_iter().map(|put| this.put(put)).collect()))
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        let take = |take: Take| {
            let mut held = self.held();
            require(&take.key, held.items.get(&take.key), Some(&take.expected))?;
            held.items.remove(&take.key);
            Ok(())
        };
        let taken = takes.into_iter().map(take).collect();
        Box::pin(async move { taken })
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }
}
