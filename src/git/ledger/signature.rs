//! Whether what signs an entry is good, by git's own word.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::git::error::Result;
use crate::git::program::Program;
use crate::git::repo::Repo;

/// What git says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureStatus {
    /// There is none.
    None,
    /// It is good, and its key is one that git is told to trust.
    Good,
    /// It is good, but nobody told git whose key it is, or the key has expired.
    Unknown,
    /// It does not fit what it signs, or its key was revoked.
    Bad,
    /// It cannot be checked here: the key or the list of allowed signers is missing.
    Unchecked,
}

/// A signature, as far as it could be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// What git says of it.
    pub status: SignatureStatus,
    /// Who made it, escaped, where git knows.
    pub signer: Option<String>,
}

impl Signature {
    /// The signature that is not there.
    pub const NONE: Self = Self { status: SignatureStatus::None, signer: None };
}

impl Repo {
    /// Lets git check the signatures of these commits, which all carry one.
    ///
    /// # Errors
    /// The git program is missing or fails.
    pub fn signatures(&self, signed: &[ObjectId]) -> Result<BTreeMap<ObjectId, Signature>> {
        if signed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let format = "--format=tformat:%H%x09%G?%x09%GS";
        let arguments = ["log", "--no-walk=unsorted", "--no-show-signature", "--no-color", format, "--stdin"];
        let input: String = signed.iter().map(|id| format!("{id}\n")).collect();
        let listed = Program::new(self, arguments).input(input.into_bytes()).keep_all().succeed()?;
        Ok(listed.split(|byte| *byte == b'\n').filter_map(parsed).collect())
    }
}

/// Reads `<commit>\t<status>\t<signer>`. Git answers `N` as well where it cannot even begin to check.
fn parsed(line: &[u8]) -> Option<(ObjectId, Signature)> {
    let mut fields = line.splitn(3, |byte| *byte == b'\t');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let status = match fields.next()? {
        b"G" => SignatureStatus::Good,
        b"U" | b"X" | b"Y" => SignatureStatus::Unknown,
        b"B" | b"R" => SignatureStatus::Bad,
        _ => SignatureStatus::Unchecked,
    };
    let signer = fields.next().filter(|signer| !signer.is_empty()).map(shown);
    Some((id, Signature { status, signer }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_signature_of_a_known_key_is_good() {
        let id = "1".repeat(40);
        for (letter, expected) in [
            ("G", SignatureStatus::Good),
            ("U", SignatureStatus::Unknown),
            ("Y", SignatureStatus::Unknown),
            ("B", SignatureStatus::Bad),
            ("R", SignatureStatus::Bad),
            ("E", SignatureStatus::Unchecked),
            ("N", SignatureStatus::Unchecked),
            ("?", SignatureStatus::Unchecked),
        ] {
            let (_, found) = parsed(format!("{id}\t{letter}\tann\x1b[m").as_bytes()).unwrap();
            assert_eq!((found.status, found.signer.as_deref()), (expected, Some("ann\\x1b[m")), "{letter}");
        }
        assert_eq!(parsed(format!("{id}\tG\t").as_bytes()).unwrap().1.signer, None);
        assert_eq!(parsed(b""), None);
    }
}
