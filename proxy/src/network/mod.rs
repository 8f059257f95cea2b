//! The pod network: each node's pods on a bridge of its own, other nodes' pods through their nodes.
//!
//! Nodes must share a link (a lab, one VM network). The controller manager gives each node its range (`spec.podCIDR`).

mod apply;
mod plan;

pub use apply::{Network, NetworkConfig, prepare};
pub use plan::{NetworkPlan, internal_ip, plan, pod_cidr};
