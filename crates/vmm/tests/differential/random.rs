//! Random numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marsaglia's xorshift64*.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of case `case` in the run that `seed` names.
    pub(crate) fn new(seed: u64, case: u64) -> Self {
        let mut random = Self((seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1));
        // Seeds that differ in a few bits give numbers that differ in a few bits, at first.
        for _ in 0..8 {
            random.word();
        }
        random
    }

    /// Any number.
    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One of the options.
    pub(crate) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        let index = (self.word() >> 32) % options.len() as u64;
        options[usize::try_from(index).expect("an index")]
    }

    /// A register value: any, or one at the edges of what a register holds.
    pub(crate) fn value(&mut self) -> u64 {
        match self.word() >> 61 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (self.word() >> 58),
            3 => self.word() >> 32,
            4 => self.word() | 0xffff_8000_0000_0000,
            _ => self.word(),
        }
    }
}

/// The seed of this run: `SEAWALL_SEED`, or one that no run had.
pub(crate) fn seed() -> u64 {
    setting("SEAWALL_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) << 32 | now.as_secs() & 0xffff_ffff
    })
}

/// How many cases to try in which no guest runs: `SEAWALL_CASES`, or what takes some twenty seconds in the lab.
pub(crate) fn cases() -> u64 {
    setting("SEAWALL_CASES").unwrap_or(4000)
}

/// How many cases to try in which guests run.
pub(crate) fn slow_cases() -> u64 {
    cases().div_ceil(40)
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text
        .strip_prefix("0x")
        .map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    match number {
        Ok(number) => Some(number),
        Err(_) => panic!("Expected a number for {name} but received {text:?}"),
    }
}
