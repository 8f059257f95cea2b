//! The node agent: makes pods that were bound to this node run, and tells the API server how they are.
//!
//! ```text
//!   API server --pods of this node--> worker::manager --one task per pod--> pod::plan_pod (pure)
//!        ^                                                                      | actions
//!        |  status, events, leases                                              v
//!        +-- worker, node                        spec, volumes, cgroups --> runtime (port) --> cri | simulated
//!        +-- serve (logs, exec, attach, port-forward on :10250) -------------------^
//! ```

mod cgroups;
pub mod config;
pub mod cri;
pub mod node;
pub mod pod;
mod run;
pub mod runtime;
pub mod serve;
pub mod simulated;
pub mod spec;
pub mod stats;
pub mod volumes;
pub mod worker;

pub use config::{Capacity, Config, Timings};
pub use run::{Deps, Error, Kubelet, run, run_serving};
pub use serve::serve;
