//! The node agent.
pub mod cri;
pub mod runtime;
pub mod simulated;
pub mod pod;
pub mod spec;
