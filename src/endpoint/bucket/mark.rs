//! What tells that an object was not changed: the fingerprint of a bucket's items.

use opendal::Metadata;

use super::Bucket;
use crate::endpoint::{Fingerprint, Known};

/// An object may be changed again without its time telling for so long, by the coarsest clock of a store and with the
/// difference between its clock and ours.
const YOUNG_MS: i64 = 5_000;
/// The first byte of a fingerprint.
const BY_ETAG: u8 = b'e';
const BY_TIME: u8 = b't';

/// What tells that an object was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// The store's own word, another one with every other content.
    Etag(String),
    /// Nothing but the object's size and time.
    Time,
}

/// Makes a fingerprint of an ETag, as the store wrote it.
pub(super) fn by_etag(etag: &str, size: u64) -> Fingerprint {
    let mut bytes = vec![BY_ETAG];
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(etag.as_bytes());
    Fingerprint { bytes, is_racy: false }
}

/// Makes a fingerprint of size and time; `now_ms` is a moment before it was looked at.
pub(super) fn by_time(metadata: &Metadata, now_ms: i64) -> Fingerprint {
    let nanoseconds = metadata.last_modified().map(|time| time.into_inner().as_nanosecond());
    let mut bytes = vec![BY_TIME];
    bytes.extend_from_slice(&metadata.content_length().to_le_bytes());
    bytes.extend_from_slice(&nanoseconds.unwrap_or(-1).to_le_bytes());
    if let Some(version) = metadata.version() {
        bytes.extend_from_slice(version.as_bytes());
    }
    let is_old = |time: i128| time / 1_000_000 + i128::from(YOUNG_MS) < i128::from(now_ms);
    Fingerprint { bytes, is_racy: !nanoseconds.is_some_and(is_old) }
}

/// Makes a fingerprint as the store's listings have it.
pub(super) fn of(metadata: &Metadata, now_ms: i64) -> Fingerprint {
    match metadata.etag() {
        Some(etag) => by_etag(etag, metadata.content_length()),
        None => by_time(metadata, now_ms),
    }
}

impl Mark {
    /// Reads a fingerprint; nothing where it is none of this kind.
    pub fn of(fingerprint: &Fingerprint) -> Option<Self> {
        match (*fingerprint.bytes.first()?, fingerprint.bytes.get(9..)?) {
            (BY_ETAG, etag) => Some(Self::Etag(String::from_utf8(etag.to_vec()).ok()?)),
            (BY_TIME, _) => Some(Self::Time),
            _ => None,
        }
    }

    /// Answers the ETag.
    pub fn etag(&self) -> Option<&str> {
        match self {
            Self::Etag(etag) => Some(etag),
            Self::Time => None,
        }
    }
}

impl Bucket {
    /// Answers the fingerprint of what was looked at alone, as `mark` is made: listings may know less of it.
    pub(super) fn fingerprint(&self, metadata: &Metadata, mark: &Mark, now_ms: i64) -> Fingerprint {
        match mark {
            Mark::Etag(_) => of(metadata, now_ms),
            Mark::Time => by_time(metadata, now_ms),
        }
    }

    /// Answers the time, for fingerprints.
    pub(super) fn now_ms(&self) -> i64 {
        self.0.clock.now().as_millisecond()
    }
}

/// Answers the ETag of what is known.
pub(super) fn etag_of(known: &Known) -> Option<String> {
    Mark::of(&known.fingerprint).and_then(|mark| mark.etag().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opendal::MetadataBuilder;

    #[test]
    fn an_etag_tells_and_a_young_time_does_not() {
        let etag = by_etag("\"abc\"", 3);
        assert_eq!(Mark::of(&etag), Some(Mark::Etag("\"abc\"".to_owned())));
        assert!(etag.proves(&by_etag("\"abc\"", 3)) && !etag.proves(&by_etag("\"abd\"", 3)));
        assert!(!etag.proves(&by_etag("\"abc\"", 4)));
        let mut metadata = MetadataBuilder::file(3);
        metadata.last_modified(opendal::raw::Timestamp::from_millisecond(10_000).unwrap());
        let metadata = metadata.build();
        assert!(by_time(&metadata, 10_000).is_racy && by_time(&metadata, 15_000).is_racy);
        assert!(!by_time(&metadata, 15_001).is_racy && !by_time(&metadata, i64::MAX).is_racy);
        assert_eq!(Mark::of(&by_time(&metadata, 0)), Some(Mark::Time));
        assert!(by_time(&MetadataBuilder::file(3).build(), i64::MAX).is_racy, "no time tells nothing");
        assert_eq!(Mark::of(&Fingerprint { bytes: Vec::new(), is_racy: true }), None);
    }
}
