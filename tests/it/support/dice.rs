//! Chance that can be repeated.

use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A source of chance that gives the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Answers any number (splitmix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Answers a number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).unwrap()
    }

    /// Answers yes once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Answers one of several things.
    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    /// Answers `from` to `to` pieces in a row.
    pub fn some(&mut self, from: usize, to: usize, mut piece: impl FnMut(&mut Self) -> Vec<u8>) -> Vec<u8> {
        let count = from + self.below(to - from + 1);
        (0..count).flat_map(|_| piece(self)).collect()
    }

    /// Answers up to `limit` bytes of any kind.
    pub fn bytes(&mut self, limit: usize) -> Vec<u8> {
        self.some(0, limit, |dice| vec![dice.number() as u8])
    }
}

/// Answers how many times as long as usual is asked for, by `CASCADE_FAULT_RUNS`.
pub fn runs() -> usize {
    std::env::var("CASCADE_FAULT_RUNS").map_or(1, |text| text.parse().unwrap())
}

/// Plays `count` rounds, each with a seed of its own; `CASCADE_FAULT_RUNS=N` plays N times as many.
///
/// A round that fails prints its seed: `CASCADE_FUZZ_SEED=<seed>` begins with that round.
pub fn rounds(count: u64, play: impl FnMut(&mut Dice)) {
    exactly(count * runs() as u64, play);
}

/// Plays one round however many are asked for, which makes itself longer.
pub fn once(play: impl FnMut(&mut Dice)) {
    exactly(1, play);
}

fn exactly(count: u64, mut play: impl FnMut(&mut Dice)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("CASCADE_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(()) >> 16);
    for seed in first..first + count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(&mut Dice::new(seed)))) {
            eprintln!("repeat with CASCADE_FUZZ_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
