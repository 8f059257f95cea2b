//! The cluster's DNS, on every node: names of services and of the pods behind headless ones.
//!
//! ```text
//! Services, EndpointSlices, Namespaces --observe--> Observed --plan--> Zone
//!                                                                       |
//!             UDP and TCP --serve--> question --answer(zone)--> answer -+--> or the resolvers outside, where there are
//! ```
//!
//! Follows the Kubernetes DNS-Based Service Discovery specification, version 1.1.0.

mod answer;
mod run;
mod serve;
#[cfg(test)]
mod tests;
mod zone;

pub use answer::{Outcome, answer};
pub use run::{Config, Deps, Error, run};
pub use zone::{Observed, Target, Zone, plan};
