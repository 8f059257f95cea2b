//! Time and randomness as ports. Waiting is done with `tokio::time`, which a simulation pauses.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};
use uuid::Uuid;

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns the time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port that everyone else must use")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that starts at a given time and goes on with tokio's clock, so that pausing tokio pauses it too.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    epoch: Timestamp,
    started: tokio::time::Instant,
}

impl TokioClock {
    /// Starts at `epoch`. Must be called inside a tokio runtime.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self {
            epoch,
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.started.elapsed()
    }
}

/// Gives random numbers.
pub trait Rng: Send + Sync + fmt::Debug + 'static {
    /// Returns a uniformly random number.
    fn next_u64(&self) -> u64;

    /// Returns a random (version 4) UUID.
    fn uuid(&self) -> Uuid {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        uuid::Builder::from_u128(bits)
            .with_variant(uuid::Variant::RFC4122)
            .with_version(uuid::Version::Random)
            .into_uuid()
    }

    /// Returns a random name suffix of `len` characters from the alphabet that `generateName` uses (no vowels, no look-alikes).
    fn suffix(&self, len: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let pick =
            || usize::try_from(self.next_u64() % ALPHABET.len() as u64).map_or('b', |at| char::from(ALPHABET[at]));
        (0..len).map(|_| pick()).collect()
    }

    /// Returns a random factor in `[0, 1)`, for jitter.
    fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Randomness from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRng;

impl Rng for OsRng {
    #[expect(clippy::disallowed_methods, reason = "this is the port that everyone else must use")]
    fn next_u64(&self) -> u64 {
        let (high, _) = Uuid::new_v4().as_u64_pair();
        let (_, low) = Uuid::new_v4().as_u64_pair();
        // A version 4 UUID has 6 fixed bits; mixing two of them leaves none.
        high ^ low.rotate_left(32)
    }
}

/// Randomness from a seed: the same seed gives the same numbers.
#[derive(Debug)]
pub struct SeededRng(Mutex<StdRng>);

impl SeededRng {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Rng for SeededRng {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_uuids() {
        let (one, two) = (SeededRng::new(7), SeededRng::new(7));
        assert_eq!(one.uuid(), two.uuid());
        assert_ne!(one.uuid(), SeededRng::new(8).uuid());
        assert_eq!(one.uuid().get_version_num(), 4);
    }
}
