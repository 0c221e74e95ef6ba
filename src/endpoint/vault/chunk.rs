//! Cutting content where the content itself says so, and making chunks small. Pure.
//!
//! FastCDC finds the cuts, with tables that are this vault's own: the sizes of chunks tell nothing to whoever knows a
//! file. Content of up to [`CHUNK_BYTES_MIN`] is one chunk. What does not shrink is kept as it is.

use std::borrow::Cow;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

/// No chunk but the last of an item is smaller.
pub(super) const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_USUAL: usize = 256 << 10;
/// No chunk is larger.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Fast: beyond this it takes longer than the rest together.
const COMPRESSION_LEVEL: i32 = 1;
/// Smaller chunks do not shrink enough.
const COMPRESSED_BYTES_MIN: usize = 64;
/// So much of a large chunk is tried first.
const SAMPLE_BYTES: usize = 8 << 10;

/// Where content is cut.
#[derive(Debug)]
pub(super) struct Cutter {
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Cutter {
    pub fn new(seed: u64) -> Self {
        let (gear, gear_shifted) = get_gear_with_seed(seed);
        Self { gear, gear_shifted }
    }

    /// Answers how many bytes the first chunk of content has, of which `bytes` is the beginning; nothing where more of it
    /// must be seen first.
    pub fn cut(&self, bytes: &[u8], is_all: bool) -> Option<usize> {
        if bytes.len() < CHUNK_BYTES_MAX && !is_all {
            return None;
        }
        if bytes.len() <= CHUNK_BYTES_MIN {
            return (!bytes.is_empty()).then_some(bytes.len());
        }
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
        let (mask_s, mask_l) = select_masks(CHUNK_BYTES_USUAL, Normalization::Level1);
        let (_, length) = cut_gear(
            bytes,
            CHUNK_BYTES_MIN,
            CHUNK_BYTES_USUAL,
            CHUNK_BYTES_MAX,
            mask_s,
            mask_l,
            mask_s << 1,
            mask_l << 1,
            &self.gear,
            &self.gear_shifted,
        );
        Some(length.clamp(1, bytes.len()))
    }
}

/// Makes chunks small, with memory of its own that is used again.
pub(super) struct Compressor(Option<zstd::bulk::Compressor<'static>>);

impl Compressor {
    pub fn new() -> Self {
        Self(zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok())
    }

    /// Answers a chunk made smaller; nothing where that gains next to nothing.
    pub fn shrink(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        if chunk.len() < COMPRESSED_BYTES_MIN {
            return None;
        }
        if chunk.len() > 4 * SAMPLE_BYTES {
            let middle = chunk.len() / 2;
            self.smaller(&chunk[middle..middle + SAMPLE_BYTES])?;
        }
        self.smaller(chunk)
    }

    fn smaller(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let compressed = self.0.as_mut()?.compress(bytes).ok()?;
        (compressed.len() < bytes.len() - bytes.len() / 32).then_some(compressed)
    }
}

/// Makes a chunk whole again, which must have `size` bytes; nothing where it has not.
pub(super) fn expand(compressed: &[u8], size: usize) -> Option<Vec<u8>> {
    let chunk = zstd::bulk::decompress(compressed, size).ok()?;
    (chunk.len() == size).then_some(chunk)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Answers bytes without a pattern.
    pub(in super::super) fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn chunks(seed: u64, content: &[u8]) -> Vec<Vec<u8>> {
        let (cutter, mut rest, mut chunks) = (Cutter::new(seed), content, Vec::new());
        while let Some(length) = cutter.cut(rest, true) {
            chunks.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        chunks
    }

    #[test]
    fn a_change_moves_few_cuts_and_they_are_this_vaults_own() {
        let content = noise(1, 6 << 20);
        let before = chunks(9, &content);
        assert_eq!(before.concat(), content);
        assert!(before.len() > 8, "{}", before.len());
        assert!(before.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
        let mut changed = content.clone();
        changed.splice(100..100, *b"inserted");
        let after = chunks(9, &changed);
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(new <= 2, "{new} of {}", after.len());
        assert_ne!(chunks(10, &content), before);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn cuts_do_not_depend_on_how_content_comes(length in 0_usize..3 << 20, pieces in prop::collection::vec(1_usize..700_000, 1..9)) {
            let content = noise(3, length);
            let whole = chunks(5, &content);
            let (cutter, mut waiting, mut cut) = (Cutter::new(5), Vec::new(), Vec::new());
            let (mut at, mut sizes) = (0, pieces.iter().cycle());
            while at < content.len() {
                let end = (at + sizes.next().unwrap()).min(content.len());
                waiting.extend_from_slice(&content[at..end]);
                at = end;
                while let Some(length) = cutter.cut(&waiting, false) {
                    cut.push(waiting.drain(..length).collect::<Vec<u8>>());
                }
            }
            while let Some(length) = cutter.cut(&waiting, true) {
                cut.push(waiting.drain(..length).collect());
            }
            prop_assert_eq!(cut, whole);
        }

        #[test]
        fn what_shrinks_comes_back_whole(text in "[ab]{0,400}", noisy in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut compressor = Compressor::new();
            for chunk in [text.as_bytes(), &noisy] {
                if let Some(small) = compressor.shrink(chunk) {
                    prop_assert!(small.len() < chunk.len());
                    prop_assert_eq!(expand(&small, chunk.len()), Some(chunk.to_vec()));
                    prop_assert_eq!(expand(&small, chunk.len() - 1), None);
                    prop_assert_eq!(expand(&small, chunk.len() + 1), None);
                }
            }
            prop_assert!(expand(&noisy, 100).is_none_or(|chunk| chunk.len() == 100));
        }
    }
}
