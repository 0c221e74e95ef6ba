//! Short identifiers that people can type.

use std::fmt;

use crate::base::digest::Digest;

/// Letters and digits that are not mistaken for one another (Crockford's base 32, lower case).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 8;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_eight_characters_and_differ() {
        let one = PromotionId::from_entropy(b"one");
        let two = PromotionId::from_entropy(b"two");
        assert_eq!(one.as_str().len(), LENGTH);
        assert!(one.as_str().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(one, two);
    }
}
