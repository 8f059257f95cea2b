//! The simulation: a whole cluster in one process, on a paused clock, from a seed.
//!
//! ```text
//!  user ----+                     +--> scheduler
//!           |                     +--> controllers      each behind its own Link: requests delayed, lost before or after
//!  API server (real, MemoryStore) +--> kubelet n1..n3   they took effect; watches cut, or their events held back
//!                                          |
//!                                    simulated runtime (survives its kubelet, dies with its machine)
//! ```
//!
//! Time moves only when everybody waits, so that minutes of a cluster's life take milliseconds. A seed decides about every fault;
//! the same seed gives the same history, byte for byte ([`World::history`]).

pub mod chaos;
pub mod invariants;
pub mod link;
pub mod perturb;
pub mod planted;
pub mod rest;
pub mod script;
pub mod stats;
pub mod storage;
pub mod tap;
pub mod workloads;
pub mod world;

pub use link::{Faults, Link};
pub use world::{Component, World};

/// Lives a life on a paused clock, where whatever is random follows from the seed: also which of tokio's tasks is woken first.
///
/// # Panics
/// When the machine gives no runtime.
pub fn simulate<T>(seed: u64, life: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true);
    #[cfg(tokio_unstable)]
    runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    runtime.build().expect("a runtime").block_on(life)
}
