//! Two hundred lives of a cluster, each with faults of every kind; and proof that the harness sees what it is there to see.
//!
//! `SIM_SEED=42 cargo nextest run -p timonel-tests --test simulation` lives one seed; `SIM_SEEDS=2000` lives so many.
//! With `SIM_HISTORY=FILE` the history of the one seed is written down, to be compared with another run's.

mod autoscaling;
mod bugs;
mod cron;
mod jobs;
mod perturbed;
mod planted;
mod roles;
mod scenarios;
mod seeds;
mod storage;
mod walks;
mod workloads;

/// The server's own (docs/decisions/0009); a life of the simulation is mostly small pieces that come and go.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
