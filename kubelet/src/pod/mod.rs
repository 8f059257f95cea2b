//! The pod planner: what to do next for one pod, and what to say about it, decided from what was observed.
//!
//! ```text
//! Observed (spec, sandboxes, containers, probe verdicts, memory) --plan_pod--> PodPlan
//!                                                                   |-- actions   (volumes, sandbox, images, containers, clean-up)
//!                                                                   |-- probes    (which should be running)
//!                                                                   |-- status    (projected from observation only)
//!                                                                   |-- requeue   (when to look again)
//!                                                                   '-- because   (typed reasons)
//! ```
//!
//! Nothing here waits, reads a clock or talks to anything: `worker` does that.

pub mod backoff;
mod containers;
pub mod observed;
pub mod plan;
pub mod probes;
pub mod reason;
pub mod restart;
mod status;
mod terminate;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use observed::{Busy, ImageMemory, Memory, NodeFacts, Observed, StartFailure, Terminal, VolumeMemory};
pub use plan::{Action, Lifecycle, PodEvent, PodPlan, ProbeKind, ProbeTask, plan_pod};
pub use probes::{ProbeResult, ProbeTracker, ProbeView, Verdict};
pub use reason::Because;
pub(crate) use status::key as pod_key;
