//! Short identifiers that people can type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::digest::Digest;
use crate::base::escape::shown;

/// Letters and digits that are not mistaken for one another (Crockford's base 32, lower case).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 8;
/// A longer id was not made by any version of cascade.
const LENGTH_MAX: usize = 32;

/// Answers bytes that nobody else uses, to make an id of.
///
/// Without a source of randomness the process and the address of a fresh allocation still tell ids apart.
#[must_use]
pub fn entropy() -> Vec<u8> {
    let mut entropy = vec![0_u8; 16];
    if getrandom::fill(&mut entropy).is_err() {
        let place = Box::new(0_u8);
        entropy = format!("{}-{:p}", std::process::id(), &raw const *place).into_bytes();
    }
    entropy
}

/// The name of one promotion: eight letters and digits, unique within a store.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PromotionId(String);

impl PromotionId {
    /// Derives an id from bytes that nobody else uses (randomness, or a seed in tests).
    #[must_use]
    pub fn from_entropy(entropy: &[u8]) -> Self {
        let digest = Digest::of(entropy).to_string();
        let id = digest
            .as_bytes()
            .chunks(2)
            .take(LENGTH)
            .map(|pair| {
                let value = pair.iter().fold(0_usize, |sum, digit| sum * 31 + usize::from(*digit));
                char::from(ALPHABET[value % ALPHABET.len()])
            })
            .collect();
        Self(id)
    }

    /// Reads an id back from the store or the command line, as it stands.
    #[must_use]
    pub fn from_stored(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// Answers the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PromotionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PromotionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-1 name of a git object, as 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// Takes the name as its 20 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Answers the name's 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Answers the first ten digits: what people see.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(10).collect()
    }
}

impl FromStr for ObjectId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{}` is not a git object name", shown(text.as_bytes()));
        if text.len() != 40 || !text.is_ascii() {
            return Err(problem());
        }
        let mut bytes = [0; 20];
        for (byte, position) in bytes.iter_mut().zip((0..40).step_by(2)) {
            *byte = u8::from_str_radix(&text[position..position + 2], 16).map_err(|_| problem())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PromotionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Reads what others wrote: letters and digits only.
impl<'de> Deserialize<'de> for PromotionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_id = (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let problem = || de::Error::custom(format!("`{}` is not the id of a promotion", shown(text.as_bytes())));
        if is_id { Ok(Self(text.clone())) } else { Err(problem()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_read_back_as_shown() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        let id: ObjectId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.short(), "0123456789");
        assert!("0123".parse::<ObjectId>().is_err());
        assert!("zz23456789abcdef0123456789abcdef01234567".parse::<ObjectId>().is_err());
    }

    #[test]
    fn ids_of_other_forms_are_not_read() {
        let read = |text: &str| serde_json::from_value::<PromotionId>(text.into());
        assert_eq!(read("k3f9x2ab").unwrap().as_str(), "k3f9x2ab");
        for bad in ["", "a b", "a\nb", "../x", &"a".repeat(33)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_eight_characters_and_differ() {
        let one = PromotionId::from_entropy(b"one");
        let two = PromotionId::from_entropy(b"two");
        assert_eq!(one.as_str().len(), LENGTH);
        assert!(one.as_str().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(one, two);
    }
}
