//! Chance that can be had once more.

use std::{
    env,
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Whether there is time for everything.
pub(crate) fn is_long() -> bool {
    env::var("FAULTS").is_ok_and(|length| length == "long")
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// By the seed that the environment asks for, or another each time; says which.
    pub(crate) fn new(of: &str) -> Self {
        let seed = match env::var("FAULTS_SEED") {
            Ok(seed) => seed.parse().expect("FAULTS_SEED is a number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.unwrap().subsec_nanos().into()
            }
        };
        println!("{of}: FAULTS_SEED={seed}");
        Self(seed)
    }

    /// Another, for somebody whose turn comes at any time.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}
