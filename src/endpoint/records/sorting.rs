//! Sorting more than memory should hold: pairs of a key and what belongs to it, spilled in sorted runs and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};

/// Bytes of pairs that are held in memory.
const HELD_LIMIT_BYTES: usize = 8 << 20;
/// Bytes of a run that are read or written at a time.
const RUN_BUFFER_BYTES: usize = 32 << 10;

/// A key and what belongs to it.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Takes pairs in any order.
pub(super) struct Sorter {
    held: Vec<Pair>,
    bytes: usize,
    limit: usize,
    runs: Vec<File>,
}

/// Gives them back in the order of keys; those with the same key in the order in which they came.
pub(super) struct Sorted {
    heap: BinaryHeap<Reverse<(Pair, usize)>>,
    runs: Vec<Run>,
}

enum Run {
    Held(std::vec::IntoIter<Pair>),
    Spilled(BufReader<File>),
}

impl Default for Sorter {
    fn default() -> Self {
        Self { held: Vec::new(), bytes: 0, limit: HELD_LIMIT_BYTES, runs: Vec::new() }
    }
}

impl Sorter {
    /// Takes a pair; what belongs to a key must sort in the order in which it comes.
    pub fn add(&mut self, key: &[u8], value: Vec<u8>) -> io::Result<()> {
        self.bytes += key.len() + value.len() + 2 * size_of::<Vec<u8>>();
        self.held.push((key.to_vec(), value));
        if self.bytes < self.limit {
            return Ok(());
        }
        self.held.sort_unstable();
        let mut writer = BufWriter::with_capacity(RUN_BUFFER_BYTES, tempfile::tempfile()?);
        for pair in self.held.drain(..) {
            write_pair(&mut writer, &pair)?;
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        self.bytes = 0;
        Ok(())
    }

    /// Answers all of them, sorted.
    pub fn finish(mut self) -> io::Result<Sorted> {
        self.held.sort_unstable();
        let spilled = |file| Run::Spilled(BufReader::with_capacity(RUN_BUFFER_BYTES, file));
        let mut runs: Vec<Run> = self.runs.into_iter().map(spilled).collect();
        runs.push(Run::Held(self.held.into_iter()));
        let mut heap = BinaryHeap::new();
        for (place, run) in runs.iter_mut().enumerate() {
            heap.extend(run.next()?.map(|pair| Reverse((pair, place))));
        }
        Ok(Sorted { heap, runs })
    }
}

impl Sorted {
    /// Answers the next pair.
    pub fn next(&mut self) -> io::Result<Option<Pair>> {
        let Some(Reverse((pair, place))) = self.heap.pop() else { return Ok(None) };
        if let Some(next) = self.runs[place].next()? {
            self.heap.push(Reverse((next, place)));
        }
        Ok(Some(pair))
    }
}

impl Run {
    fn next(&mut self) -> io::Result<Option<Pair>> {
        match self {
            Self::Held(pairs) => Ok(pairs.next()),
            Self::Spilled(reader) => read_pair(reader),
        }
    }
}

/// Writes a pair; answers how many bytes it takes.
pub(super) fn write_pair(writer: &mut impl Write, (key, value): &Pair) -> io::Result<u64> {
    for part in [key, value] {
        let length = u32::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        writer.write_all(&length.to_le_bytes())?;
    }
    writer.write_all(key)?;
    writer.write_all(value)?;
    Ok((8 + key.len() + value.len()) as u64)
}

/// Reads a pair; nothing at the end.
pub(super) fn read_pair(reader: &mut impl Read) -> io::Result<Option<Pair>> {
    let mut lengths = [0_u8; 8];
    match reader.read(&mut lengths[..1])? {
        0 => return Ok(None),
        _ => reader.read_exact(&mut lengths[1..])?,
    }
    let length = |at: usize| {
        let bytes = [lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]];
        u32::from_le_bytes(bytes) as usize
    };
    let (mut key, mut value) = (vec![0; length(0)], vec![0; length(4)]);
    reader.read_exact(&mut key)?;
    reader.read_exact(&mut value)?;
    Ok(Some((key, value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_spilled_comes_back_sorted(
            pairs in proptest::collection::vec(("[ab]{0,3}", proptest::collection::vec(any::<u8>(), 0..9)), 0..60),
            limit in 1_usize..900,
        ) {
            let mut sorter = Sorter { limit, ..Sorter::default() };
            let pairs: Vec<Pair> = pairs.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
            for (key, value) in &pairs {
                sorter.add(key, value.clone()).unwrap();
            }
            let (mut sorted, mut found) = (sorter.finish().unwrap(), Vec::new());
            while let Some(pair) = sorted.next().unwrap() {
                found.push(pair);
            }
            let mut expected = pairs;
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
