//! Torture: writers that are killed, disks that lose what was not synced.
//!
//! After each disaster the store is opened again and must show: every acknowledged write, whole; nothing that was never
//! written; and to a watcher that resumes from where it was before, every revision once.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod kill;
mod power;
mod witness;

/// Deterministic numbers to be random with.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
