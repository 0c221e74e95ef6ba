//! Sealing and opening the objects of a vault. Pure but for the randomness of salts.
//!
//! An object begins with a header of [`HEADER_BYTES`]: the magic `csvault`, the version of the format, what kind of object
//! it is, and 32 random bytes. From those and the master key HKDF-SHA256 derives the key of this object alone. Then parts
//! follow, each sealed with AES-256-GCM, its tag behind it. The nonce counts the parts and says which is the last; the
//! associated data are the header, the id of the vault and the object's name. So a part that is changed, left out, repeated,
//! or taken from elsewhere does not open, and neither does an object under another name or in another vault.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use std::fmt;

use super::error::Error;

/// What every object begins with.
const MAGIC: &[u8; 7] = b"csvault";
/// The version of the format.
pub(super) const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
/// Bytes before the first part.
pub(super) const HEADER_BYTES: usize = MAGIC.len() + 2 + SALT_BYTES;
/// Bytes that sealing adds to a part.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes of a part of an object that is sealed as a whole.
const PART_BYTES: usize = 1 << 20;

const _: () = assert!(MAX_TAG_LEN == TAG_BYTES);

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The one that says what belongs to the vault now.
    Head = 1,
    /// A part of the index.
    Segment = 2,
    /// Content.
    Pack = 3,
}

/// Why an object does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is too short, or does not begin as an object of its kind does.
    Shape,
    /// It is of a later version.
    Newer(u8),
    /// It was not sealed so with this key.
    Seal,
}

impl Broken {
    /// Says what is the matter with an object.
    pub fn of(self, place: &str, object: &str) -> Error {
        let (place, object) = (place.to_owned(), object.to_owned());
        match self {
            Self::Newer(version) => Error::Newer { place, object, version: version.into() },
            Self::Shape => Error::Damaged { place, object, reason: "it is not what a vault keeps there" },
            Self::Seal => Error::Damaged { place, object, reason: "its seal is broken" },
        }
    }
}

/// The id of a vault.
pub(super) type VaultId = [u8; 16];

/// What opens and closes the objects of one vault.
pub(super) struct Keys {
    /// The vault.
    pub id: VaultId,
    master: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Answers bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
    Ok(bytes)
}

/// A length that HKDF is asked for.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Derives 32 bytes from a secret; nothing only where ring would not give that length.
pub(super) fn derived(secret: &[u8], salt: &[u8], purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    extracted.expand(&[purpose], Length(32)).ok()?.fill(&mut key[..]).ok()?;
    Some(key)
}

impl Keys {
    pub fn new(id: VaultId, master: Zeroizing<[u8; 32]>) -> Self {
        Self { id, master }
    }

    /// Answers the same keys.
    pub fn again(&self) -> Self {
        Self { id: self.id, master: self.master.clone() }
    }

    /// Answers the key that everything rests on, to be wrapped.
    pub fn master(&self) -> &[u8; 32] {
        &self.master
    }

    /// Answers a number that only this vault's chunking is made with.
    pub fn seed(&self) -> u64 {
        let derived = derived(&*self.master, &self.id, b"cascade vault chunking");
        derived.map_or(0, |bytes| bytes.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn key(&self, header: &[u8], name: &str) -> Option<ObjectKey> {
        let salt = header.get(HEADER_BYTES - SALT_BYTES..)?;
        let secret = derived(&*self.master, salt, b"cascade vault object")?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*secret).ok()?);
        let bound = [header, &self.id[..], name.as_bytes()].concat();
        Some(ObjectKey { key, bound })
    }

    /// Begins an object; its header is written already.
    pub fn sealer(&self, kind: Kind, name: &str) -> Result<Sealer, Error> {
        let salt: [u8; SALT_BYTES] = random()?;
        let header = [&MAGIC[..], &[VERSION, kind as u8], &salt].concat();
        let key = self.key(&header, name).ok_or(Error::NoRandomness)?;
        Ok(Sealer { key, bytes: header, parts: 0 })
    }

    /// Begins to open an object.
    pub fn opener(&self, kind: Kind, name: &str, object: &[u8]) -> Result<ObjectKey, Broken> {
        let header = object.get(..HEADER_BYTES).ok_or(Broken::Shape)?;
        match header.strip_prefix(&MAGIC[..]) {
            Some([VERSION, found, ..]) if *found == kind as u8 => self.key(header, name).ok_or(Broken::Seal),
            Some([version, ..]) if *version > VERSION => Err(Broken::Newer(*version)),
            _ => Err(Broken::Shape),
        }
    }

    /// Seals an object as a whole.
    pub fn seal(&self, kind: Kind, name: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealer = self.sealer(kind, name)?;
        let parts = plain.len().div_ceil(PART_BYTES).max(1);
        for part in 0..parts {
            let end = ((part + 1) * PART_BYTES).min(plain.len());
            sealer.add(&plain[part * PART_BYTES..end], part + 1 == parts)?;
        }
        Ok(sealer.bytes)
    }

    /// Opens an object as a whole.
    pub fn open(&self, kind: Kind, name: &str, object: &[u8]) -> Result<Vec<u8>, Broken> {
        let key = self.opener(kind, name, object)?;
        let sealed = &object[HEADER_BYTES..];
        let mut plain = Vec::with_capacity(sealed.len());
        let parts: Vec<&[u8]> = sealed.chunks(PART_BYTES + TAG_BYTES).collect();
        for (number, part) in parts.iter().enumerate() {
            plain.extend_from_slice(&key.open(number as u64, number + 1 == parts.len(), part)?);
        }
        if parts.is_empty() { Err(Broken::Shape) } else { Ok(plain) }
    }
}

/// An object in the making.
pub(super) struct Sealer {
    key: ObjectKey,
    bytes: Vec<u8>,
    parts: u64,
}

impl Sealer {
    /// Seals the next part; answers its number.
    pub fn add(&mut self, plain: &[u8], is_last: bool) -> Result<u64, Error> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(plain);
        let nonce = nonce(self.parts, is_last);
        let sealed =
            self.key.key.seal_in_place_separate_tag(nonce, Aad::from(&self.key.bound), &mut self.bytes[start..]);
        self.bytes.extend_from_slice(sealed.map_err(|_| Error::NoRandomness)?.as_ref());
        self.parts += 1;
        Ok(self.parts - 1)
    }

    /// Answers how many bytes there are so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Answers the object.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The key of one object.
pub(super) struct ObjectKey {
    key: LessSafeKey,
    bound: Vec<u8>,
}

impl ObjectKey {
    /// Opens a part.
    pub fn open(&self, number: u64, is_last: bool, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut bytes = sealed.to_vec();
        let plain = self.key.open_in_place(nonce(number, is_last), Aad::from(&self.bound), &mut bytes);
        let length = plain.map_err(|_| Broken::Seal)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

/// Wraps a master key with one that a passphrase or a key file gives; `bound` is what it belongs to.
pub(super) fn wrap(key: &[u8; 32], bound: &[u8], master: &[u8; 32]) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut bytes = master.to_vec();
    // Every key is derived with a salt of its own, and wraps once.
    key.seal_in_place_append_tag(nonce(0, true), Aad::from(bound), &mut bytes).ok()?;
    Some(bytes)
}

/// Unwraps a master key; nothing where the key is another one.
pub(super) fn unwrap(key: &[u8; 32], bound: &[u8], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut bytes = Zeroizing::new(wrapped.to_vec());
    let plain = key.open_in_place(nonce(0, true), Aad::from(bound), &mut bytes).ok()?;
    Some(Zeroizing::new((&*plain).try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(id: u8) -> Keys {
        Keys::new([id; 16], Zeroizing::new([7; 32]))
    }

    #[test]
    fn an_object_opens_only_as_what_it_is_where_it_is() {
        let sealed = keys(1).seal(Kind::Segment, "index/a", b"content").unwrap();
        assert_eq!(keys(1).open(Kind::Segment, "index/a", &sealed).unwrap(), b"content");
        let is_refused = |keys: &Keys, kind, name: &str| keys.open(kind, name, &sealed).unwrap_err();
        assert_eq!(is_refused(&keys(2), Kind::Segment, "index/a"), Broken::Seal, "another vault");
        assert_eq!(is_refused(&keys(1), Kind::Segment, "index/b"), Broken::Seal, "another name");
        assert_eq!(is_refused(&keys(1), Kind::Head, "index/a"), Broken::Shape, "another kind");
        let other = Keys::new([1; 16], Zeroizing::new([8; 32]));
        assert_eq!(is_refused(&other, Kind::Segment, "index/a"), Broken::Seal, "another key");
        let mut newer = sealed.clone();
        newer[7] = 2;
        assert_eq!(keys(1).open(Kind::Segment, "index/a", &newer), Err(Broken::Newer(2)));
        let again = keys(1).seal(Kind::Segment, "index/a", b"content").unwrap();
        assert_ne!(sealed[HEADER_BYTES..], again[HEADER_BYTES..], "every object has a key of its own");
    }

    #[test]
    fn parts_cannot_be_left_out_repeated_or_change_places() {
        let plain = vec![5; PART_BYTES * 2 + 9];
        let sealed = keys(1).seal(Kind::Head, "head", &plain).unwrap();
        assert_eq!(keys(1).open(Kind::Head, "head", &sealed).unwrap(), plain);
        let part = PART_BYTES + TAG_BYTES;
        let (header, body) = sealed.split_at(HEADER_BYTES);
        let (first, second, last) = (&body[..part], &body[part..2 * part], &body[2 * part..]);
        for parts in [vec![first, second], vec![first], vec![second, first, last], vec![first, first, last], vec![]] {
            let changed = [header, &parts.concat()].concat();
            assert!(keys(1).open(Kind::Head, "head", &changed).is_err());
        }
    }

    #[test]
    fn nothing_shows_a_key() {
        let shown = format!("{:?}", keys(9));
        assert!(!shown.contains('7') && !shown.contains('9'), "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_is_changed_is_found(plain in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let sealed = keys(1).seal(Kind::Head, "head", &plain).unwrap();
            prop_assert_eq!(keys(1).open(Kind::Head, "head", &sealed), Ok(plain));
            let mut flipped = sealed.clone();
            let at = at.index(sealed.len());
            flipped[at] ^= 1 << bit;
            prop_assert!(keys(1).open(Kind::Head, "head", &flipped).is_err());
            prop_assert!(keys(1).open(Kind::Head, "head", &sealed[..at]).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let begun = [&MAGIC[..], &[VERSION, 1], &bytes].concat();
            prop_assert!(keys(1).open(Kind::Head, "head", &bytes).is_err());
            prop_assert!(keys(1).open(Kind::Head, "head", &begun).is_err());
        }
    }
}
