//! Lists of items as compact bytes: sorted keys share their beginnings. Pure.

use crate::base::digest::Digest;
use crate::endpoint::{Fingerprint, Form, Item, Key, Known, Version};

/// Bytes that are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored list of items is damaged")]
pub struct Damaged;

/// The first byte of every list; another one is of another version.
const VERSION: u8 = 1;

/// Writes a list.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    last_key: Vec<u8>,
}

/// Reads a list.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    last_key: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { bytes: vec![VERSION], last_key: Vec::new() }
    }
}

impl Encoder {
    /// Answers how many bytes there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Answers whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == 1
    }

    /// Answers what was written so far.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.bytes
    }

    /// Answers what was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes a key, by what it does not share with the one before.
    pub fn key(&mut self, key: &Key) {
        let bytes = key.as_bytes();
        let shared = bytes.iter().zip(&self.last_key).take_while(|(one, other)| one == other).count();
        self.number(shared as u64);
        self.blob(&bytes[shared..]);
        self.last_key = bytes.to_vec();
    }

    /// Writes a version, or that there is none.
    pub fn version(&mut self, version: Option<&Version>) {
        let Some(version) = version else { return self.bytes.push(0) };
        self.bytes.push(mark_of(version.form));
        self.bytes.extend_from_slice(version.digest.as_bytes());
        self.number(version.size);
    }

    /// Writes a fingerprint.
    pub fn fingerprint(&mut self, fingerprint: &Fingerprint) {
        self.bytes.push(u8::from(fingerprint.is_racy));
        self.blob(&fingerprint.bytes);
    }

    /// Writes an item, but for its digest.
    pub fn item(&mut self, item: &Item) {
        self.key(&item.key);
        self.mark(mark_of(item.form));
        self.number(item.size);
        self.fingerprint(&item.fingerprint);
    }

    /// Writes what is known of an item, or that there is none.
    pub fn known(&mut self, known: Option<&Known>) {
        self.version(known.map(|known| &known.version));
        if let Some(known) = known {
            self.fingerprint(&known.fingerprint);
        }
    }

    /// Writes a mark.
    pub fn mark(&mut self, mark: u8) {
        self.bytes.push(mark);
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

impl<'a> Decoder<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// It is no list, or one of another version.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Damaged> {
        match bytes.split_first() {
            Some((&VERSION, bytes)) => Ok(Self { bytes, last_key: Vec::new() }),
            _ => Err(Damaged),
        }
    }

    /// Answers whether all of it was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// There is none.
    pub fn key(&mut self) -> Result<Key, Damaged> {
        let shared = self.length()?;
        let rest = self.blob()?;
        let start = self.last_key.get(..shared).ok_or(Damaged)?;
        self.last_key = [start, rest].concat();
        Key::new(self.last_key.clone()).map_err(|_| Damaged)
    }

    /// Reads a version, or that there is none.
    ///
    /// # Errors
    /// There is neither.
    pub fn version(&mut self) -> Result<Option<Version>, Damaged> {
        let form = match self.byte()? {
            0 => return Ok(None),
            mark => form_of(mark)?,
        };
        let digest = self.take(32)?.try_into().map(Digest::from_bytes).map_err(|_| Damaged)?;
        Ok(Some(Version { digest, form, size: self.number()? }))
    }

    /// Reads what is known of an item, or that there is none.
    ///
    /// # Errors
    /// There is neither.
    pub fn known(&mut self) -> Result<Option<Known>, Damaged> {
        let Some(version) = self.version()? else { return Ok(None) };
        Ok(Some(Known { version, fingerprint: self.fingerprint()? }))
    }

    /// Reads an item, which is without its digest.
    ///
    /// # Errors
    /// There is none.
    pub fn item(&mut self) -> Result<Item, Damaged> {
        let key = self.key()?;
        let form = form_of(self.byte()?)?;
        Ok(Item { key, form, size: self.number()?, fingerprint: self.fingerprint()?, digest: None })
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, Damaged> {
        let is_racy = self.flag()?;
        Ok(Fingerprint { is_racy, bytes: self.blob()?.to_vec() })
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// There is none.
    pub fn mark(&mut self) -> Result<u8, Damaged> {
        self.byte()
    }

    fn flag(&mut self) -> Result<bool, Damaged> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }

    fn blob(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.length()?;
        self.take(length)
    }

    fn length(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.number()?).map_err(|_| Damaged)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(Damaged)?;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Damaged)?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn mark_of(form: Form) -> u8 {
    match form {
        Form::File { executable: false } => 1,
        Form::File { executable: true } => 2,
        Form::Link => 3,
    }
}

fn form_of(mark: u8) -> Result<Form, Damaged> {
    match mark {
        1 => Ok(Form::File { executable: false }),
        2 => Ok(Form::File { executable: true }),
        3 => Ok(Form::Link),
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known() -> impl Strategy<Value = Option<Known>> {
        let form = prop_oneof![
            Just(Form::Link),
            Just(Form::File { executable: true }),
            Just(Form::File { executable: false })
        ];
        let known = (any::<u8>(), form, any::<u64>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..50));
        proptest::option::of(known.prop_map(|(content, form, size, is_racy, bytes)| Known {
            version: Version { digest: Digest::of(&[content]), form, size },
            fingerprint: Fingerprint { bytes, is_racy },
        }))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            items in proptest::collection::vec(("[a-c/]{0,5}[a-c]{1,2}", known()), 0..9), at in any::<usize>(),
        ) {
            let items: Vec<(Key, Option<Known>)> = items
                .into_iter()
                .filter_map(|(key, known)| Some((Key::new(key.into_bytes()).ok()?, known)))
                .collect();
            let mut encoder = Encoder::default();
            for (key, known) in &items {
                encoder.key(key);
                encoder.known(known.as_ref());
            }
            let bytes = encoder.finish();
            let read = |bytes: &[u8]| -> Result<Vec<(Key, Option<Known>)>, Damaged> {
                let (mut decoder, mut read) = (Decoder::new(bytes)?, Vec::new());
                while !decoder.is_at_end() {
                    read.push((decoder.key()?, decoder.known()?));
                }
                Ok(read)
            };
            prop_assert_eq!(read(&bytes), Ok(items.clone()));
            // A part of it is never taken for more than there is.
            let part = read(&bytes[..at % (bytes.len() + 1)]);
            prop_assert!(part.is_err() || part.is_ok_and(|part| items.starts_with(&part)));
        }
    }
}
