//! Where choices come from: a list of bytes, which proptest makes and shrinks. Fewer and smaller bytes are fewer and simpler choices.

use std::fmt;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

/// How often each law is tried: `usual` times with a fixed seed, or `PROPTEST_CASES` times with another seed each time.
pub(crate) fn cases(usual: u32) -> Config {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    Config {
        cases: usual,
        rng_seed: RngSeed::Fixed(0x0711_04e1),
        ..config
    }
}

/// The bytes of one case.
#[derive(Clone)]
pub(crate) struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shrunk ones end in many zeros.
        let used = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        write!(f, "{:?} and {} zeros", &self.0[..used], self.0.len() - used)
    }
}

/// Up to so many bytes.
pub(crate) fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes)
}

/// Chooses, byte by byte. When the bytes are used up, every choice is the first.
pub(crate) struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes: &bytes.0 }
    }

    /// One of `0..of`.
    pub(crate) fn below(&mut self, of: usize) -> usize {
        match self.bytes {
            [first, second, rest @ ..] if of > 256 => {
                self.bytes = rest;
                (usize::from(*first) * 256 + usize::from(*second)) % of
            }
            [first, rest @ ..] => {
                self.bytes = rest;
                usize::from(*first) % of.max(1)
            }
            [] => 0,
        }
    }

    pub(crate) fn pick<'b, T: ?Sized>(&mut self, among: &[&'b T]) -> &'b T {
        among[self.below(among.len())]
    }

    /// True in `percent` of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) + percent >= 100
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.bytes.is_empty()
    }
}
