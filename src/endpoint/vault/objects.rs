//! The objects of a vault at the endpoint that holds them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error as VaultError;
use super::index::{Pack, PackId};
use super::key::hex;
use super::segment::SegmentRef;
use crate::base::digest::Digest;
use crate::base::retry::{Backoff, jitter};
use crate::endpoint::{
    Class, Content, Ended, Endpoint, Error, Fingerprint, Form, Item, Key, Known, Listed, Put, Result, Take, Version,
};

/// The object that says what belongs to the vault now.
pub(super) const HEAD: &str = "head";
const SEGMENTS: &str = "index/";
const PACKS: &str = "packs/";
const FORM: Form = Form::File { executable: false };
/// How often an object that is being changed is read again.
const READ_ATTEMPTS: u32 = 5;
/// How often it is tried to put an object.
const PUT_ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), ceiling: Duration::from_secs(5) };

/// An endpoint that is used for the objects of a vault.
#[derive(Debug)]
pub(super) struct Objects {
    inner: Arc<dyn Endpoint>,
    /// What people call the vault.
    pub place: String,
}

/// Answers what a pack is called.
pub(super) fn pack_name(id: &PackId) -> String {
    let digits = hex(id);
    format!("{PACKS}{}/{digits}", &digits[..2])
}

/// Answers what a segment is called.
pub(super) fn segment_name(id: &[u8; 16]) -> String {
    format!("{SEGMENTS}{}", hex(id))
}

/// Answers whether a name is one that the packs and segments of a vault have.
pub(super) fn is_part(name: &[u8]) -> bool {
    name.starts_with(SEGMENTS.as_bytes()) || name.starts_with(PACKS.as_bytes())
}

/// Answers what an object with this content is known as.
pub(super) fn version(digest: Digest, size: u64) -> Version {
    Version { digest, form: FORM, size }
}

fn key(name: &str) -> Result<Key> {
    let unfit = || Error::Lost { place: name.to_owned(), reason: "it is no name for an object".to_owned() };
    Key::new(name.as_bytes().to_vec()).map_err(|_| unfit())
}

fn unknown() -> Fingerprint {
    Fingerprint { bytes: Vec::new(), is_racy: true }
}

fn item(name: &str, size: u64) -> Result<Item> {
    Ok(Item { key: key(name)?, form: FORM, size, fingerprint: unknown(), digest: None })
}

fn only<T>(mut answers: Vec<Result<T>>, place: &str) -> Result<T> {
    let lost = || Err(Error::Lost { place: place.to_owned(), reason: "it gave no answer".to_owned() });
    answers.pop().unwrap_or_else(lost)
}

/// Answers all of some content.
pub(super) async fn bytes(content: Content, place: &str) -> Result<Vec<u8>> {
    if let crate::endpoint::Body::Whole(bytes) = content.body {
        return Ok(bytes);
    }
    let drained = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        content.drain(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, Error>(())
        })?;
        Ok(bytes)
    });
    drained.await.map_err(|lost| Error::Lost { place: place.to_owned(), reason: lost.to_string() })?
}

/// Answers whether something is not there.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Item { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

impl Objects {
    pub fn new(inner: Arc<dyn Endpoint>) -> Self {
        let place = format!("the vault in {}", inner.place());
        Self { inner, place }
    }

    /// Answers the endpoint.
    pub fn inner(&self) -> Arc<dyn Endpoint> {
        Arc::clone(&self.inner)
    }

    /// Says that an object is not there that should be.
    pub fn missing(&self, name: &str) -> VaultError {
        VaultError::Missing { place: self.place.clone(), object: name.to_owned() }
    }

    /// Answers what an object is; nothing where there is none.
    pub async fn look(&self, name: &str) -> Result<Option<Known>> {
        match only(self.inner.digest(vec![item(name, 0)?]).await, &self.place) {
            Ok(known) => Ok(Some(known)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an object that others may replace, with what it is; nothing where there is none.
    pub async fn current(&self, name: &str) -> Result<Option<(Vec<u8>, Known)>> {
        for _ in 0..READ_ATTEMPTS {
            let Some(known) = self.look(name).await? else { return Ok(None) };
            match self.get(name, known.version.size).await {
                Ok(bytes) if Digest::of(&bytes) == known.version.digest => return Ok(Some((bytes, known))),
                Ok(_) => {}
                Err(error) if error.is_change() || is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::Contended { place: self.place.clone() }.into())
    }

    /// Reads an object.
    pub async fn get(&self, name: &str, size: u64) -> Result<Vec<u8>> {
        let content = only(self.inner.read(vec![item(name, size)?]).await, &self.place)?;
        bytes(content, &self.place).await
    }

    /// Reads a part of an object.
    pub async fn part(&self, name: &str, size: u64, at: u64, length: u64) -> Result<Vec<u8>> {
        self.inner.read_part(item(name, size)?, at, length).await
    }

    /// Puts an object where `expected` is; answers what it is then.
    pub async fn put(&self, name: &str, bytes: Vec<u8>, expected: Option<Known>) -> Result<Known> {
        let to = version(Digest::of(&bytes), bytes.len() as u64);
        let content = Content { digest: Some(to.digest), ..Content::whole(bytes) };
        let put = Put { key: key(name)?, to, content, expected };
        let fingerprint = only(self.inner.write(vec![put]).await, &self.place)?;
        Ok(Known { version: to, fingerprint })
    }

    /// Puts an object under a new name, again and again where it may help.
    pub async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.put(name, bytes.clone(), None).await {
                Ok(_) => return Ok(()),
                Err(error) if error.class() == Class::Transient && attempt < PUT_ATTEMPTS => {}
                // The answer to an earlier attempt was lost.
                Err(error) if error.is_change() && attempt > 1 => {
                    let there = self.look(name).await?.map(|known| known.version.digest);
                    return if there == Some(Digest::of(&bytes)) { Ok(()) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(BACKOFF.wait(attempt, jitter())).await;
            attempt += 1;
        }
    }

    /// Removes an object of which it is known what it is; that it is gone already is no failure.
    pub async fn remove(&self, name: &str, is: Version) -> Result<()> {
        let expected = Known { version: is, fingerprint: unknown() };
        match only(self.inner.delete(vec![Take { key: key(name)?, expected }]).await, &self.place) {
            Err(error) if error.is_change() && self.look(name).await?.is_none() => Ok(()),
            answer => answer,
        }
    }

    /// Removes whatever is there as it was listed; answers how many bytes that had.
    pub async fn remove_item(&self, item: Item) -> Result<u64> {
        let name = String::from_utf8_lossy(item.key.as_bytes()).into_owned();
        let Some(known) = self.look(&name).await? else { return Ok(0) };
        self.remove(&name, known.version).await?;
        Ok(known.version.size)
    }

    /// Removes a segment.
    pub async fn remove_segment(&self, segment: &SegmentRef) -> Result<()> {
        self.remove(&segment_name(&segment.id), version(segment.digest, segment.bytes)).await
    }

    /// Removes a pack.
    pub async fn remove_pack(&self, pack: &Pack) -> Result<()> {
        self.remove(&pack_name(&pack.id), version(pack.digest, pack.bytes())).await
    }

    /// Answers everything that is there, and how the listing ended.
    pub async fn list(&self) -> Result<(Vec<Item>, Ended)> {
        let (mut listing, mut items) = (self.inner.list(), Vec::new());
        while let Some(part) = listing.next().await {
            match part? {
                Listed::Items(batch) => items.extend(batch),
                Listed::End(ended) => return Ok((items, ended)),
            }
        }
        Err(Error::Lost { place: self.place.clone(), reason: "its listing has no end".to_owned() })
    }

    /// Removes what interrupted writes left behind at the endpoint itself.
    pub async fn sweep(&self, ended: Ended) {
        // What stays there for a reason is told by nobody: no person puts anything into a vault.
        self.inner.sweep(ended.leftovers, Arc::new(|_| true)).await;
    }

    /// Waits until everything would survive a power cut.
    pub async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }
}
