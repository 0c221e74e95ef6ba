//! What opens a vault: its master key, wrapped by a passphrase or by a key file. Pure but for key files and randomness.
//!
//! `cascade-vault.json` is the only object of a vault that is readable. It says which vault this is, by what kind of key it
//! is opened, and holds the wrapped master key, which is 32 random bytes and never changes: wrapping it with another key is
//! all that changing a passphrase takes. A passphrase becomes a key by argon2id with the parameters that stand there; a key
//! file has 64 hexadecimal digits. From either HKDF-SHA256 with a random salt derives the key that wraps, by AES-256-GCM with
//! all of the rest as associated data.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::seal::{Keys, VERSION, VaultId, derived, random, unwrap, wrap};

/// The object that says how a vault is opened.
pub(super) const OBJECT: &str = "cascade-vault.json";
/// A passphrase that is shorter is refused.
pub(super) const PASSPHRASE_CHARS_MIN: usize = 12;
/// More is no such object, and no key file.
const OBJECT_BYTES_LIMIT: usize = 64 << 10;
const KEY_FILE_BYTES_LIMIT: u64 = 256;
/// What the object calls itself.
const FORMAT: &str = "cascade-vault";

/// What a person opens a vault with.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// A file with a key.
    KeyFile(PathBuf),
}

impl Secret {
    /// Takes a passphrase.
    #[must_use]
    pub fn passphrase(text: &str) -> Self {
        Self::Passphrase(Zeroizing::new(text.to_owned()))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::KeyFile(_) => "key file",
        }
    }

    /// Refuses what is too easy to guess, before anything is closed with it.
    pub(super) fn require_strong(&self) -> Result<()> {
        match self {
            Self::Passphrase(text) if text.chars().count() < PASSPHRASE_CHARS_MIN => Err(Error::Weak),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(_) => f.write_str("Passphrase(not shown)"),
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
        }
    }
}

/// What guessing a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// A third of a second and 64 MiB.
    pub const USUAL: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 1 };
    /// Next to nothing: for tests.
    pub const LEAST: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// Answers whether a vault may ask for that: what stands there is believed by nobody before it is opened.
    fn is_sane(self) -> bool {
        (8 * self.lanes..=1 << 20).contains(&self.memory_kib)
            && (1..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
    }
}

/// By what the master key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Lock {
    /// A passphrase, by argon2id.
    Passphrase(Cost),
    /// A key file.
    KeyFile {},
}

impl Lock {
    fn needs(self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::KeyFile {} => "key file",
        }
    }
}

/// The object, as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u8,
    vault: String,
    opened_by: Lock,
    salt: String,
    wrapped_key: String,
}

/// What every version of the object has.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u64,
}

/// Makes the keys of a new vault.
pub(super) fn new_keys() -> Result<Keys> {
    Ok(Keys::new(random()?, Zeroizing::new(random()?)))
}

/// Answers the object that lets `secret` open a vault. Takes a while and memory: for blocking threads.
pub(super) fn close(keys: &Keys, secret: &Secret, cost: Cost) -> Result<Vec<u8>> {
    secret.require_strong()?;
    let salt: [u8; 32] = random()?;
    let lock = match secret {
        Secret::Passphrase(_) => Lock::Passphrase(cost),
        Secret::KeyFile(_) => Lock::KeyFile {},
    };
    let key = wrapping_key(secret, lock, &salt)?.ok_or(Error::NoRandomness)?;
    let wrapped = wrap(&key, &bound(&keys.id, lock, &salt), keys.master()).ok_or(Error::NoRandomness)?;
    let document = Document {
        format: FORMAT.to_owned(),
        version: VERSION,
        vault: hex(&keys.id),
        opened_by: lock,
        salt: hex(&salt),
        wrapped_key: hex(&wrapped),
    };
    let mut text = serde_json::to_vec_pretty(&document).map_err(|_| Error::NoRandomness)?;
    text.push(b'\n');
    Ok(text)
}

/// Opens a vault. Takes a while and memory: for blocking threads.
pub(super) fn open(place: &str, text: &[u8], secret: &Secret) -> Result<Keys> {
    let damaged = |reason| Error::Damaged { place: place.to_owned(), object: OBJECT.to_owned(), reason };
    let (lock, id, salt, wrapped) = read(place, text)?;
    if lock.needs() != secret.kind() {
        return Err(Error::OtherKey { place: place.to_owned(), needs: lock.needs(), given: secret.kind() });
    }
    let key = wrapping_key(secret, lock, &salt)?.ok_or_else(|| damaged("it asks for what no key is made with"))?;
    let wrong = || Error::WrongKey { place: place.to_owned(), key: secret.kind() };
    Ok(Keys::new(id, unwrap(&key, &bound(&id, lock, &salt), &wrapped).ok_or_else(wrong)?))
}

/// Answers the id of a vault, which anybody can read.
pub(super) fn id_of(place: &str, text: &[u8]) -> Result<VaultId> {
    read(place, text).map(|(_, id, _, _)| id)
}

fn read(place: &str, text: &[u8]) -> Result<(Lock, VaultId, [u8; 32], Vec<u8>)> {
    let damaged = |reason| Error::Damaged { place: place.to_owned(), object: OBJECT.to_owned(), reason };
    let shape = || damaged("it is not what a vault keeps there");
    if text.len() > OBJECT_BYTES_LIMIT {
        return Err(shape());
    }
    let Preamble { format, version } = serde_json::from_slice(text).map_err(|_| shape())?;
    if format == FORMAT && version > VERSION.into() {
        return Err(Error::Newer { place: place.to_owned(), object: OBJECT.to_owned(), version });
    }
    let document: Document = serde_json::from_slice(text).map_err(|_| shape())?;
    let id = unhex(&document.vault).and_then(|id| id.try_into().ok());
    let salt = unhex(&document.salt).and_then(|salt| salt.try_into().ok());
    match (id, salt, unhex(&document.wrapped_key)) {
        (Some(id), Some(salt), Some(wrapped)) if format == FORMAT && document.version == VERSION => {
            Ok((document.opened_by, id, salt, wrapped))
        }
        _ => Err(shape()),
    }
}

/// Answers the key that wraps; nothing where the parameters are not sane.
fn wrapping_key(secret: &Secret, lock: Lock, salt: &[u8; 32]) -> Result<Option<Zeroizing<[u8; 32]>>> {
    let purpose = b"cascade vault wrapping";
    match (secret, lock) {
        (Secret::Passphrase(text), Lock::Passphrase(cost)) if cost.is_sane() => {
            let Ok(params) = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)) else { return Ok(None) };
            let mut stretched = Zeroizing::new([0; 32]);
            let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
            let done = argon2.hash_password_into(text.as_bytes(), salt, &mut stretched[..]);
            Ok(done.ok().and_then(|()| derived(&stretched[..], salt, purpose)))
        }
        (Secret::KeyFile(path), Lock::KeyFile {}) => Ok(derived(&read_key_file(path)?[..], salt, purpose)),
        _ => Ok(None),
    }
}

fn bound(id: &VaultId, lock: Lock, salt: &[u8; 32]) -> Vec<u8> {
    let (kind, numbers) = match lock {
        Lock::Passphrase(Cost { memory_kib, passes, lanes }) => (1, [memory_kib, passes, lanes]),
        Lock::KeyFile {} => (2, [0; 3]),
    };
    let numbers: Vec<u8> = numbers.into_iter().flat_map(u32::to_be_bytes).collect();
    [FORMAT.as_bytes(), &[VERSION, kind], id, salt, &numbers].concat()
}

/// Reads a key file that only its owner may read.
fn read_key_file(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::OpenKeyFile { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_LIMIT as usize));
    file.take(KEY_FILE_BYTES_LIMIT).read_to_string(&mut text).map_err(failed)?;
    let key = unhex(text.trim_end()).map(Zeroizing::new).and_then(|bytes| bytes.as_slice().try_into().ok());
    let no_key = || failed(io::Error::new(io::ErrorKind::InvalidData, "it has not the 64 hexadecimal digits of a key"));
    key.map(Zeroizing::new).ok_or_else(no_key)
}

/// Makes a key file with a random key, where there is no file yet; answers whether it did.
///
/// # Errors
/// It cannot be written.
pub fn make_key_file(path: &Path) -> Result<bool> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), source };
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(refused) => return Err(failed(refused)),
    };
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex(&key[..]))));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(true)
}

/// Answers bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] writes; nothing else.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "correct horse battery";

    fn closed(secret: &Secret) -> (Keys, String) {
        let keys = new_keys().unwrap();
        let text = close(&keys, secret, Cost::LEAST).unwrap();
        (keys, String::from_utf8(text).unwrap())
    }

    #[test]
    fn only_the_passphrase_opens() {
        let (keys, text) = closed(&Secret::passphrase(GOOD));
        let opened = open("it", text.as_bytes(), &Secret::passphrase(GOOD)).unwrap();
        assert_eq!((opened.id, opened.master()), (keys.id, keys.master()));
        let refused = open("it", text.as_bytes(), &Secret::passphrase("correct horse batterY")).unwrap_err();
        assert_eq!(refused.to_string(), "the passphrase does not open it");
        let refused = open("it", text.as_bytes(), &Secret::KeyFile("/nowhere".into())).unwrap_err();
        assert_eq!(refused.to_string(), "it is opened by a passphrase, and not by a key file");
        assert!(!format!("{:?}", Secret::passphrase(GOOD)).contains("horse"));
        assert!(matches!(close(&keys, &Secret::passphrase("short"), Cost::LEAST), Err(Error::Weak)));
    }

    #[test]
    fn whatever_is_changed_in_the_object_keeps_it_closed() {
        let (_, text) = closed(&Secret::passphrase(GOOD));
        for (from, to) in [("\"passes\": 1", "\"passes\": 2"), ("\"memory_kib\": 8", "\"memory_kib\": 9")] {
            assert!(text.contains(from), "{text}");
            let changed = text.replace(from, to);
            assert!(matches!(open("it", changed.as_bytes(), &Secret::passphrase(GOOD)), Err(Error::WrongKey { .. })));
        }
        for (from, to) in [
            ("\"passes\": 1", "\"passes\": 4000000000"),
            ("\"memory_kib\": 8", "\"memory_kib\": 4000000000"),
            ("\"lanes\": 1", "\"lanes\": 0"),
            ("\"lanes\": 1", "\"lanes\": 16777215"),
            ("\"vault\": \"", "\"vault\": \"x"),
        ] {
            let changed = text.replace(from, to);
            let refused = open("it", changed.as_bytes(), &Secret::passphrase(GOOD)).unwrap_err();
            assert!(matches!(refused, Error::Damaged { .. }), "{to}: {refused}");
        }
        let newer = text.replace("\"version\": 1", "\"version\": 300, \"more\": true");
        let refused = open("it", newer.as_bytes(), &Secret::passphrase(GOOD)).unwrap_err();
        assert_eq!(refused.to_string(), "cascade-vault.json in it has format 300: this cascade reads formats up to 1");
    }

    #[test]
    fn a_key_file_is_made_once_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(make_key_file(&path).unwrap() && !make_key_file(&path).unwrap());
        let secret = Secret::KeyFile(path.clone());
        let (keys, text) = closed(&secret);
        assert_eq!(open("it", text.as_bytes(), &secret).unwrap().master(), keys.master());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = open("it", text.as_bytes(), &secret).unwrap_err();
        assert_eq!(refused.to_string(), format!("the key file {} is open to others (mode 640)", path.display()));
        let other = dir.path().join("other");
        make_key_file(&other).unwrap();
        assert!(matches!(open("it", text.as_bytes(), &Secret::KeyFile(other)), Err(Error::WrongKey { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(open("it", text.as_bytes(), &secret), Err(Error::KeyFile { .. })));
    }

    proptest! {
        #[test]
        fn digits_read_as_written(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[0-9a-gA-F]{0,9}") {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
            let read = unhex(&text);
            prop_assert!(read.is_none_or(|bytes| hex(&bytes) == text));
        }

        #[test]
        fn hostile_objects_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open("it", &text, &Secret::passphrase(GOOD)).is_err());
        }
    }
}
