//! What an endpoint holds: keys, and what is under them.

use std::fmt;

use crate::base::digest::Digest;
use crate::base::escape::shown;

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There are none.
    #[error("it is empty")]
    Empty,
    /// A part between slashes is empty, `.` or `..`.
    #[error("it has a part that is empty, `.` or `..`")]
    Part,
    /// It has a NUL.
    #[error("it has a NUL")]
    Nul,
    /// It is longer than [`Key::LIMIT_BYTES`].
    #[error("it is longer than {} bytes", Key::LIMIT_BYTES)]
    Long,
}

/// An item's name within its endpoint: parts between slashes, none of them empty, `.` or `..`, without NUL.
///
/// Keys are ordered by their bytes: `a.` comes before `a/b`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// The longest key: what paths on Linux and names in object stores may have.
    pub const LIMIT_BYTES: usize = 4_096;

    /// Takes bytes for a key.
    ///
    /// # Errors
    /// They could lead out of an endpoint, or name nothing.
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        match bytes.as_slice() {
            [] => Err(KeyError::Empty),
            bytes if bytes.len() > Self::LIMIT_BYTES => Err(KeyError::Long),
            bytes if bytes.contains(&0) => Err(KeyError::Nul),
            bytes if bytes.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) => {
                Err(KeyError::Part)
            }
            _ => Ok(Self(bytes)),
        }
    }

    /// Answers the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Answers the keys above this one, the first part first: those of directories where there are such.
    pub fn above(&self) -> impl Iterator<Item = Self> + '_ {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| Self(self.0[..at].to_vec()))
    }

    /// Answers whether this key is `other`, or stands above or below it: one file system cannot hold both.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        let is_at_or_below = |below: &[u8], above: &[u8]| {
            below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        is_at_or_below(&self.0, &other.0) || is_at_or_below(&other.0, &self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Content, which may be a program where an endpoint knows such a thing.
    File {
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link: its content is where it leads.
    Link,
}

/// What two endpoints agree or differ on: equal versions are the same content in the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// SHA-256 of the content.
    pub digest: Digest,
    /// What it is.
    pub form: Form,
    /// Bytes of the content.
    pub size: u64,
}

/// What tells cheaply that an item was not touched; compared only with what the same endpoint said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Anything that changes when the item does.
    pub bytes: Vec<u8>,
    /// Whether the item was so young that it may have changed again without its fingerprint telling: it is worth nothing
    /// later.
    pub is_racy: bool,
}

impl Fingerprint {
    /// Answers whether an item with this fingerprint is what it was when the endpoint said `before`.
    #[must_use]
    pub fn proves(&self, before: &Self) -> bool {
        !before.is_racy && self.bytes == before.bytes
    }
}

/// An item as an endpoint lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub key: Key,
    /// What it is.
    pub form: Form,
    /// Bytes of its content.
    pub size: u64,
    /// What tells cheaply that it was not touched.
    pub fingerprint: Fingerprint,
    /// Its digest, where the endpoint knows it without reading the content.
    pub digest: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_key_cannot_lead_out_of_an_endpoint() {
        for (bytes, problem) in [
            (&b""[..], KeyError::Empty),
            (b"/etc/passwd", KeyError::Part),
            (b"a/../b", KeyError::Part),
            (b"..", KeyError::Part),
            (b"a//b", KeyError::Part),
            (b"a/", KeyError::Part),
            (b"./a", KeyError::Part),
            (b"a\0b", KeyError::Nul),
            (&[b'a'; 4_097], KeyError::Long),
        ] {
            assert_eq!(Key::new(bytes.to_vec()), Err(problem), "{}", bytes.escape_ascii());
        }
        for good in ["a", "a/b", "...", "a..b/.c", "\n"] {
            assert_eq!(key(good).as_bytes(), good.as_bytes());
        }
    }

    #[test]
    fn keys_sort_by_bytes_and_are_shown_escaped() {
        let mut keys = [key("a/b"), key("a"), key("a.")];
        keys.sort();
        assert_eq!(keys, [key("a"), key("a."), key("a/b")]);
        assert_eq!(key("a\u{1b}[31m").to_string(), shown(b"a\x1b[31m"));
    }

    #[test]
    fn the_keys_above_one_are_its_directories() {
        assert_eq!(key("a/b.c/d").above().collect::<Vec<_>>(), [key("a"), key("a/b.c")]);
        assert_eq!(key("a").above().count(), 0);
    }

    #[test]
    fn a_file_and_what_would_be_below_it_clash() {
        assert!(
            key("a").clashes_with(&key("a/b"))
                && key("a/b").clashes_with(&key("a"))
                && key("a").clashes_with(&key("a"))
        );
        assert!(!key("a").clashes_with(&key("ab")) && !key("a/b").clashes_with(&key("a/c")));
    }

    #[test]
    fn a_racy_fingerprint_proves_nothing_later() {
        let print = |is_racy| Fingerprint { bytes: b"1".to_vec(), is_racy };
        assert!(print(false).proves(&print(false)) && print(true).proves(&print(false)));
        assert!(!print(false).proves(&print(true)));
    }
}
