//! Changing a bucket object by object, beside others who may do so too.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use md5::{Digest as _, Md5};
use opendal::options::{DeleteOptions, WriteOptions};
use opendal::{Metadata, Writer};

use super::conditions::Writing;
use super::mark::{self, Mark};
use super::refusal::{io, is_unmet};
use super::{Bucket, look, path, room};
use crate::base::digest::{Digest, Digesting};
use crate::endpoint::{
    Body, Content, Error, Fingerprint, Item, Key, Known, Opened, Put, Result, Take, Version, content_of,
};

/// Where the digest of an object is recorded with it.
pub(super) const DIGEST_NAME: &str = "cascade-sha256";
/// Where the ETag is recorded that an object of this content has: programs that change an object may keep what is
/// recorded with it.
pub(super) const ETAG_NAME: &str = "cascade-etag";
/// Parts that an upload may have at most.
const PARTS_LIMIT: u64 = 9_000;
/// Parts of one object that are sent at the same time.
const PARTS_AT_ONCE: usize = 4;

const CHANGED_HERE: &str = "was changed at the target meanwhile";
const CHANGED_THERE: &str = "was changed at the source meanwhile";

/// What must hold for an object to be changed, as far as the store sees to it.
enum Guard {
    /// There is none.
    Absent,
    /// It has this ETag.
    Etag(String),
    /// It was looked at, right before.
    Seen,
}

/// Writes one object.
pub(super) async fn put(bucket: &Bucket, writing: &Writing, put: Put) -> Result<Fingerprint> {
    let Put { key, to, content, expected } = put;
    let path = path(&key, "write")?;
    room::made(bucket, &key).await?;
    let guard = match &expected {
        None => absent(bucket, writing, &key).await?,
        Some(known) => present(bucket, &key, known, writing.conditions.replace).await?,
    };
    let putting = Putting { bucket, writing, key: &key, path, to };
    let body = match content.body {
        Body::File(opened) => checked(bucket, opened, to).await?,
        Body::Whole(bytes) => Sending::whole(bytes),
        Body::Pieces(pieces) => Sending { content: Content { body: Body::Pieces(pieces), ..content }, etag: None },
    };
    match putting.send(body, &guard).await {
        Ok(written) => putting.fingerprint(written).await,
        Err(Sent::Never(error)) => Err(error),
        // An answer may have been lost on its way: what is there may be what was sent.
        Err(Sent::Perhaps(refused)) => match is_unmet(&refused) || refused.kind() == opendal::ErrorKind::NotFound {
            true => putting.arrived().await,
            false => Err(Error::item("write", &key)(io(refused))),
        },
    }
}

async fn absent(bucket: &Bucket, writing: &Writing, key: &Key) -> Result<Guard> {
    if writing.conditions.create {
        return Ok(Guard::Absent);
    }
    match look::now(bucket, key).await? {
        None => Ok(Guard::Seen),
        Some(_) => Err(Error::changed(key, CHANGED_HERE)),
    }
}

/// Sees that an object is what is expected; the store sees to it where `is_honoured`.
async fn present(bucket: &Bucket, key: &Key, expected: &Known, is_honoured: bool) -> Result<Guard> {
    if let Some(etag) = mark::etag_of(expected).filter(|_| is_honoured) {
        return Ok(Guard::Etag(etag));
    }
    let changed = || Error::changed(key, CHANGED_HERE);
    let seen_ms = bucket.now_ms();
    let now = look::now(bucket, key).await?.ok_or_else(changed)?;
    let mark = Mark::of(&expected.fingerprint).unwrap_or(Mark::Time);
    if !bucket.fingerprint(&now, &mark, seen_ms).proves(&expected.fingerprint) {
        let item = item(key, &expected.version, mark::of(&now, seen_ms));
        let known = look::known(bucket, Item { size: now.content_length(), ..item }).await?;
        if known.version != expected.version {
            return Err(changed());
        }
    }
    Ok(now.etag().filter(|_| is_honoured).map_or(Guard::Seen, |etag| Guard::Etag(etag.to_owned())))
}

fn item(key: &Key, version: &Version, fingerprint: Fingerprint) -> Item {
    Item { key: key.clone(), form: version.form, size: version.size, fingerprint, digest: None }
}

/// Content on its way to a store.
struct Sending {
    content: Content,
    /// The ETag that it has there, where that can be foreseen.
    etag: Option<String>,
}

impl Sending {
    fn whole(bytes: Vec<u8>) -> Self {
        let etag = hex(&Md5::digest(&bytes));
        Self { content: Content::whole(bytes), etag: Some(etag) }
    }
}

/// Reads a file before it is sent: nothing is begun that is not what was promised.
async fn checked(bucket: &Bucket, opened: Opened, to: Version) -> Result<Sending> {
    let part_bytes = part_bytes(bucket, to.size);
    let key = opened.key.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut file = opened.file;
        let (digest, size, etag) = etag_of(&mut file, part_bytes).map_err(Error::item("read", &opened.key))?;
        if (digest, size) != (to.digest, to.size) {
            return Err(Error::changed(&opened.key, CHANGED_THERE));
        }
        file.rewind().map_err(Error::item("read", &opened.key))?;
        let content = content_of(file, size, &opened.key, "read").map_err(Error::item("read", &opened.key))?;
        Ok(Sending { content, etag: Some(etag) })
    });
    let lost = |lost: tokio::task::JoinError| Error::item("read", &key)(io::Error::other(lost.to_string()));
    read.await.map_err(lost)?
}

/// Answers the digest of a file, its size, and the ETag that an object has when it is sent in parts of that size.
fn etag_of(file: &mut File, part_bytes: usize) -> io::Result<(Digest, u64, String)> {
    let (mut digesting, mut parts, mut count) = (Digesting::default(), Md5::new(), 0_u32);
    let mut part = Vec::new();
    loop {
        part.clear();
        file.by_ref().take(part_bytes as u64).read_to_end(&mut part)?;
        if part.is_empty() && count > 0 {
            break;
        }
        digesting.add(&part);
        parts.update(Md5::digest(&part));
        count += 1;
        if part.len() < part_bytes {
            break;
        }
    }
    let etag = match count {
        1 => hex(&Md5::digest(&part)),
        count => format!("{}-{count}", hex(&parts.finalize())),
    };
    let (digest, size) = digesting.finish();
    Ok((digest, size, etag))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers how large the parts of an object are.
fn part_bytes(bucket: &Bucket, size: u64) -> usize {
    bucket.0.part_bytes.max(usize::try_from(size.div_ceil(PARTS_LIMIT)).unwrap_or(usize::MAX))
}

/// Why content was not sent.
enum Sent {
    /// Nothing of it is there.
    Never(Error),
    /// The store says so.
    Perhaps(opendal::Error),
}

impl From<opendal::Error> for Sent {
    fn from(refused: opendal::Error) -> Self {
        Self::Perhaps(refused)
    }
}

/// An object that is written.
struct Putting<'p> {
    bucket: &'p Bucket,
    writing: &'p Writing,
    key: &'p Key,
    path: &'p str,
    to: Version,
}

impl Putting<'_> {
    async fn send(&self, sending: Sending, guard: &Guard) -> Result<Metadata, Sent> {
        let options = self.options(sending.etag, guard);
        let mut pieces = match sending.content.body {
            Body::Whole(bytes) => return self.send_whole(bytes, options).await,
            Body::Pieces(pieces) => pieces,
            // Those were read already.
            Body::File(_) => return Err(Sent::Never(Error::changed(self.key, CHANGED_THERE))),
        };
        if self.to.size <= self.bucket.0.part_bytes as u64 {
            let mut gathered = Vec::new();
            while let Some(piece) = pieces.recv().await {
                gathered.extend_from_slice(&piece.map_err(Sent::Never)?);
                if gathered.len() as u64 > self.to.size {
                    return Err(Sent::Never(Error::changed(self.key, CHANGED_THERE)));
                }
            }
            return self.send_whole(gathered, options).await;
        }
        let part_bytes = part_bytes(self.bucket, self.to.size);
        let options = WriteOptions { chunk: Some(part_bytes), concurrent: PARTS_AT_ONCE, ..options };
        let mut writer = self.writing.operator.writer_options(self.path, options).await?;
        let sent = self.send_parts(&mut writer, &mut pieces).await;
        if sent.is_err() {
            // What is complete, for only the answer was lost, is not there to be aborted any more.
            if let Err(refused) = writer.abort().await {
                tracing::debug!("an upload to {} is not aborted: {}", self.bucket.0.place, io(refused));
            }
        }
        sent
    }

    async fn send_whole(&self, bytes: Vec<u8>, options: WriteOptions) -> Result<Metadata, Sent> {
        if (Digest::of(&bytes), bytes.len() as u64) != (self.to.digest, self.to.size) {
            return Err(Sent::Never(Error::changed(self.key, CHANGED_THERE)));
        }
        self.bucket.0.pace.pass(bytes.len() as u64).await;
        Ok(self.writing.operator.write_options(self.path, bytes, options).await?)
    }

    async fn send_parts(
        &self,
        writer: &mut Writer,
        pieces: &mut tokio::sync::mpsc::Receiver<Result<Vec<u8>>>,
    ) -> Result<Metadata, Sent> {
        let mut digesting = Digesting::default();
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(Sent::Never)?;
            digesting.add(&piece);
            self.bucket.0.pace.pass(piece.len() as u64).await;
            writer.write(piece).await?;
        }
        if digesting.finish() != (self.to.digest, self.to.size) {
            return Err(Sent::Never(Error::changed(self.key, CHANGED_THERE)));
        }
        Ok(writer.close().await?)
    }

    fn options(&self, etag: Option<String>, guard: &Guard) -> WriteOptions {
        let can = self.writing.operator.info().capability();
        let mut options = WriteOptions::default();
        // What knows no ETags cannot tell whether what is recorded is of what is there.
        if can.write_with_user_metadata && can.write_with_if_match {
            let digest = (DIGEST_NAME.to_owned(), self.to.digest.to_string());
            let etag = etag.map(|etag| (ETAG_NAME.to_owned(), etag));
            options.user_metadata = Some(HashMap::from_iter([digest].into_iter().chain(etag)));
        }
        if can.write_with_content_type {
            options.content_type = Some(mime_guess::from_path(self.path).first_or_octet_stream().to_string());
        }
        match guard {
            Guard::Absent => options.if_not_exists = true,
            Guard::Etag(etag) => options.if_match = Some(etag.clone()),
            Guard::Seen => {}
        }
        options
    }

    /// Answers what listings will say of what was written.
    async fn fingerprint(&self, written: Metadata) -> Result<Fingerprint> {
        match written.etag() {
            Some(etag) if self.writing.conditions.lists_etags => Ok(mark::by_etag(etag, self.to.size)),
            _ => {
                let seen_ms = self.bucket.now_ms();
                let now = look::now(self.bucket, self.key).await?;
                let now = now.ok_or_else(|| Error::changed(self.key, CHANGED_HERE))?;
                Ok(mark::by_time(&now, seen_ms))
            }
        }
    }

    /// Answers the fingerprint of what is there, where that is what was to be written.
    async fn arrived(&self) -> Result<Fingerprint> {
        let changed = || Error::changed(self.key, CHANGED_HERE);
        let seen_ms = self.bucket.now_ms();
        let now = look::now(self.bucket, self.key).await?.ok_or_else(changed)?;
        if now.content_length() != self.to.size {
            return Err(changed());
        }
        let fingerprint = match self.writing.conditions.lists_etags {
            true => mark::of(&now, seen_ms),
            false => mark::by_time(&now, seen_ms),
        };
        let known = look::recalled(self.bucket, item(self.key, &self.to, fingerprint)).await?;
        if known.version == self.to { Ok(known.fingerprint) } else { Err(changed()) }
    }
}

/// Deletes one object.
pub(super) async fn delete(bucket: &Bucket, writing: &Writing, take: Take) -> Result<()> {
    let path = path(&take.key, "delete")?;
    let guard = present(bucket, &take.key, &take.expected, writing.conditions.delete).await?;
    let if_match = match guard {
        Guard::Etag(etag) => Some(etag),
        Guard::Absent | Guard::Seen => None,
    };
    let deleted = writing.operator.delete_options(path, DeleteOptions { if_match, ..DeleteOptions::default() }).await;
    match deleted {
        Ok(()) => {
            room::left(bucket, &take.key).await;
            Ok(())
        }
        // It is gone where an answer was lost on its way.
        Err(refused) if is_unmet(&refused) => match look::now(bucket, &take.key).await? {
            None => Ok(()),
            Some(_) => Err(Error::changed(&take.key, CHANGED_HERE)),
        },
        Err(refused) => Err(Error::item("delete", &take.key)(io(refused))),
    }
}

/// Answers for every item that the store as a whole refuses.
pub(super) fn all_refused<'k, R>(
    refused: &Error,
    keys: impl Iterator<Item = &'k Key>,
    action: &'static str,
) -> Vec<Result<R>> {
    let kind = match refused {
        Error::Unusable { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    let reason = match refused {
        Error::Unusable { source, .. } => source.to_string(),
        refused => refused.to_string(),
    };
    keys.map(|key| Err(Error::item(action, key)(io::Error::new(kind, reason.clone())))).collect()
}
