//! A small generator for jitter: pools that fail together must not retry together.
//!
//! It is not for secrets. The daemon draws the seed; the same seed gives the same decisions, which is what the simulation needs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The state of splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        // 53 bits are what a double holds exactly
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        low + unit * (high - low)
    }

    /// `duration` times a number from `low` to `high`.
    pub(super) fn stretch(&mut self, duration: Duration, low: f64, high: f64) -> Duration {
        duration.mul_f64(self.between(low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_the_bounds() {
        let mut one = Jitter::new(7);
        let mut other = Jitter::new(7);
        for _ in 0..1000 {
            let number = one.between(0.75, 1.0);
            assert!((0.75..1.0).contains(&number));
            assert_eq!(number.to_bits(), other.between(0.75, 1.0).to_bits());
        }
    }
}
