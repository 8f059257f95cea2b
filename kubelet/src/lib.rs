//! The node agent.
mod cgroups;
pub mod config;
pub mod cri;
pub mod runtime;
pub mod simulated;
pub mod pod;
pub mod spec;
pub mod volumes;
pub mod worker;
