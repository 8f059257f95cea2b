//! Exponential back-off, capped and jittered.

use std::time::Duration;

use crate::Rng;

/// Doubles a pause from a base to a cap; each pause is shortened by up to half at random, so that a crowd spreads out.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `base` and never exceeds `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, next: base }
    }

    /// Returns how long to wait now.
    pub fn next(&mut self, rng: &dyn Rng) -> Duration {
        let whole = self.next;
        self.next = (self.next * 2).min(self.cap);
        whole.mul_f64(0.5 + rng.unit() / 2.0)
    }

    /// Goes back to the base, after a success.
    pub fn reset(&mut self) {
        self.next = self.base;
    }
}
