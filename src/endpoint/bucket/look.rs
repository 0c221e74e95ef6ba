//! Reading objects, and finding out what they are.

use opendal::options::{ReadOptions, StatOptions};
use opendal::{Buffer, Metadata};
use tokio::sync::mpsc;

use super::mark::{self, Mark};
use super::put::{DIGEST_NAME, ETAG_NAME};
use super::refusal::{io, is_unmet};
use super::{Bucket, path};
use crate::base::digest::{Digest, Digesting};
use crate::endpoint::{self, Content, Error, Form, Item, Key, Known, PIECE_BYTES, Result, Version, pieces};

/// How often an object that is being changed is read again.
const READ_ATTEMPTS: u32 = 3;
const CHANGED_MEANWHILE: &str = "was changed while it was read";

/// Reads an object; only as it was listed, where the store can be asked for that.
pub(super) async fn read(bucket: &Bucket, item: Item) -> Result<Content> {
    let name = path(&item.key, "read")?;
    let mark = Mark::of(&item.fingerprint);
    if item.size > PIECE_BYTES as u64 {
        let (sender, content) = pieces();
        tokio::spawn(give(bucket.clone(), item, sender));
        return Ok(content);
    }
    let reading = Reading { bucket, key: &item.key, path: name, etag: mark.as_ref().and_then(Mark::etag) };
    let bytes = match reading.etag.and_then(|etag| bucket.0.recent.take(&item.key, etag)) {
        Some(read_before) => read_before,
        None => reading.whole(item.size).await?.to_vec(),
    };
    let is_same = match mark {
        Some(Mark::Etag(_)) => bytes.len() as u64 == item.size,
        Some(Mark::Time) => reading.stat().await.is_ok_and(|now| {
            mark::by_time(&now, bucket.now_ms()).bytes == item.fingerprint.bytes && bytes.len() as u64 == item.size
        }),
        None => false,
    };
    Ok(Content::whole(bytes).proved_by(is_same.then_some(item.fingerprint)))
}

/// Reads a part of an object; fewer bytes where it ends before.
pub(super) async fn read_part(bucket: &Bucket, item: Item, at: u64, length: u64) -> Result<Vec<u8>> {
    let name = path(&item.key, "read")?;
    // A store refuses a part that begins behind the end.
    let end = at.saturating_add(length).min(item.size);
    if at >= end {
        return Ok(Vec::new());
    }
    let mark = Mark::of(&item.fingerprint);
    let reading = Reading { bucket, key: &item.key, path: name, etag: mark.as_ref().and_then(Mark::etag) };
    // Nobody closes them.
    let _permit = bucket.0.permits.acquire().await;
    bucket.0.pace.pass(end - at).await;
    let options = ReadOptions { range: (at..end).into(), ..ReadOptions::default() };
    Ok(reading.get(options).await?.to_vec())
}

/// Gives a large object piece by piece.
async fn give(bucket: Bucket, item: Item, sender: mpsc::Sender<endpoint::Result<Vec<u8>>>) {
    let Ok(name) = path(&item.key, "read") else { return };
    let mark = Mark::of(&item.fingerprint);
    let reading = Reading { bucket: &bucket, key: &item.key, path: name, etag: mark.as_ref().and_then(Mark::etag) };
    let mut at = 0;
    while at < item.size {
        let piece = reading.part(at, item.size).await;
        let next = match piece {
            Ok(piece) if piece.is_empty() => Err(Error::changed(&item.key, CHANGED_MEANWHILE)),
            piece => piece,
        };
        at += next.as_ref().map_or(0, Buffer::len) as u64;
        let is_last = next.is_err();
        // Nobody wants more of it where this fails.
        if sender.send(next.map(|piece| piece.to_vec())).await.is_err() || is_last {
            return;
        }
    }
}

/// An object that is read, as long as it has a certain ETag where that is known.
struct Reading<'r> {
    bucket: &'r Bucket,
    key: &'r Key,
    path: &'r str,
    etag: Option<&'r str>,
}

impl Reading<'_> {
    async fn whole(&self, size: u64) -> Result<Buffer> {
        self.bucket.0.pace.pass(size).await;
        self.get(ReadOptions::default()).await
    }

    /// Reads the part that begins at `at`.
    async fn part(&self, at: u64, size: u64) -> Result<Buffer> {
        let end = (at + self.bucket.0.part_bytes as u64).min(size);
        self.bucket.0.pace.pass(end - at).await;
        self.get(ReadOptions { range: (at..end).into(), ..ReadOptions::default() }).await
    }

    async fn get(&self, options: ReadOptions) -> Result<Buffer> {
        let can = self.bucket.0.operator.info().capability().read_with_if_match;
        let if_match = self.etag.filter(|_| can).map(str::to_owned);
        let read = self.bucket.0.operator.read_options(self.path, ReadOptions { if_match, ..options }).await;
        read.map_err(|refused| match is_unmet(&refused) {
            true => Error::changed(self.key, CHANGED_MEANWHILE),
            false => Error::item("read", self.key)(io(refused)),
        })
    }

    async fn stat(&self) -> Result<Metadata> {
        let stat = self.bucket.0.operator.stat_options(self.path, StatOptions::default()).await;
        stat.map_err(|refused| Error::item("read", self.key)(io(refused)))
    }

    /// Digests all of the object; a small one may be kept for whoever asks for it next.
    async fn digest(&self, size: u64, keeps: bool) -> Result<(Digest, u64)> {
        let mut digesting = Digesting::default();
        if size <= self.bucket.0.part_bytes as u64 {
            let whole = self.whole(size).await?;
            if let Some(etag) = self.etag.filter(|_| keeps && whole.len() <= PIECE_BYTES) {
                self.bucket.0.recent.keep(self.key, etag, &whole.to_vec());
            }
            whole.for_each(|piece| digesting.add(&piece));
            return Ok(digesting.finish());
        }
        let mut at = 0;
        while at < size {
            let part = self.part(at, size).await?;
            if part.is_empty() {
                return Err(Error::changed(self.key, CHANGED_MEANWHILE));
            }
            at += part.len() as u64;
            part.for_each(|piece| digesting.add(&piece));
        }
        Ok(digesting.finish())
    }
}

/// Answers what an object is, by its content.
pub(super) async fn known(bucket: &Bucket, item: Item) -> Result<Known> {
    known_keeping(bucket, item, false).await
}

async fn known_keeping(bucket: &Bucket, item: Item, keeps: bool) -> Result<Known> {
    let name = path(&item.key, "read")?;
    let look = Reading { bucket, key: &item.key, path: name, etag: None };
    let (mut size, mut fingerprint) = (item.size, item.fingerprint.clone());
    for _ in 0..READ_ATTEMPTS {
        let Some(mark) = Mark::of(&fingerprint) else {
            let now = look.stat().await?;
            (size, fingerprint) = (now.content_length(), mark::of(&now, bucket.now_ms()));
            continue;
        };
        let seen_ms = bucket.now_ms();
        let read = Reading { etag: mark.etag(), ..look }.digest(size, keeps).await;
        let (digest, count) = match read {
            Ok(read) => read,
            Err(error) if error.is_change() => {
                let now = look.stat().await?;
                (size, fingerprint) = (now.content_length(), bucket.fingerprint(&now, &mark, seen_ms));
                continue;
            }
            Err(error) => return Err(error),
        };
        if mark == Mark::Time {
            let now = look.stat().await?;
            let before = std::mem::replace(&mut fingerprint, mark::by_time(&now, seen_ms));
            size = now.content_length();
            if fingerprint.bytes != before.bytes {
                continue;
            }
        }
        let version = Version { digest, form: Form::File { executable: false }, size: count };
        return Ok(Known { version, fingerprint });
    }
    Err(Error::item("read", &item.key)(std::io::Error::other("it is being changed all the time")))
}

/// Answers what an object is, by what was recorded with it where that is proved to be of this content: an ETag that is
/// the one its content must have. What has no such record is read.
pub(super) async fn recalled(bucket: &Bucket, item: Item) -> Result<Known> {
    // Small objects are read by one request as well.
    let is_small = item.size <= PIECE_BYTES as u64;
    let Some(Mark::Etag(etag)) = Mark::of(&item.fingerprint).filter(|_| !is_small) else {
        // What is not as it was agreed is likely to be copied next.
        return known_keeping(bucket, item, is_small).await;
    };
    let reading = Reading { bucket, key: &item.key, path: path(&item.key, "read")?, etag: None };
    let now = reading.stat().await?;
    match recorded(&now).filter(|_| now.etag() == Some(&etag)) {
        Some(digest) => {
            let version = Version { digest, form: Form::File { executable: false }, size: now.content_length() };
            Ok(Known { version, fingerprint: mark::by_etag(&etag, now.content_length()) })
        }
        None => known(bucket, item).await,
    }
}

fn recorded(metadata: &Metadata) -> Option<Digest> {
    let recorded = metadata.user_metadata()?;
    let is_of_this = metadata.etag()?.trim_matches('"') == recorded.get(ETAG_NAME)?;
    recorded.get(DIGEST_NAME).filter(|_| is_of_this)?.parse().ok()
}

/// Answers what is under a key now; nothing where there is nothing.
pub(super) async fn now(bucket: &Bucket, key: &Key) -> Result<Option<Metadata>> {
    let path = path(key, "read")?;
    match bucket.0.operator.stat(path).await {
        Ok(metadata) => Ok(Some(metadata)),
        Err(refused) if refused.kind() == opendal::ErrorKind::NotFound => Ok(None),
        Err(refused) => match io(refused) {
            // Nothing is below a file.
            refused if refused.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
            refused => Err(Error::item("read", key)(refused)),
        },
    }
}
