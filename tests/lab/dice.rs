//! Chance that can be had again: the seed is printed and can be given back.

use std::time::{Duration, SystemTime};

/// The generator splitmix64; the seed is printed and can be given back in the environment.
pub struct Dice(u64);

impl Dice {
    /// The seed of `DFAGENT_TEST_SEED`, or another one each time.
    pub fn new(name: &str) -> Self {
        let given = std::env::var("DFAGENT_TEST_SEED").ok();
        let given = given.and_then(|text| text.parse().ok());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let seed = given.unwrap_or_else(|| u64::from(now.subsec_nanos()));
        eprintln!("{name}: DFAGENT_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from 0 to 1.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// A whole number below this one.
    pub fn roll_below(&mut self, limit: u32) -> u32 {
        let place = self.roll() * f64::from(limit);
        (0..limit)
            .rfind(|one| f64::from(*one) <= place)
            .unwrap_or(0)
    }

    /// One of so many places.
    pub fn index(&mut self, count: usize) -> usize {
        let limit = u32::try_from(count).unwrap();
        self.roll_below(limit) as usize
    }

    /// A moment of a run, the first ones included.
    pub fn moment(&mut self, length: Duration) -> Duration {
        length.mul_f64(self.roll())
    }
}
