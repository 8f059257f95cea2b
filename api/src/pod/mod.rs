//! What components ask of a pod: its state, what it requests, its quality of service, and which pod goes first.
//!
//! ```text
//! Pod --state--> ready? active? available?      --resources--> requests, limits --qos--> Guaranteed, Burstable, BestEffort
//! Pods --ranking--> the order in which a ReplicaSet deletes them
//! tolerations x taints --taints--> tolerated?   node selector, affinity x node --node_affinity--> asked for?
//! ```

mod node_affinity;
mod qos;
mod ranking;
mod resources;
mod state;
mod taints;

pub use node_affinity::{matches_node, matches_node_term};
pub use qos::{BEST_EFFORT, BURSTABLE, GUARANTEED, qos_class};
pub use ranking::{deletion_cost, deletion_order, parse_deletion_cost, ranks_by_node, restarts};
pub use resources::{
    ResourceList, container_limits, container_requests, is_restartable_init, limits, requests, requests_or, to_list,
    to_wire,
};
pub use state::{
    available_in, condition, is_active, is_available, is_failed, is_ready, is_scheduled, is_succeeded, is_terminal,
    is_terminating, phase, ready_since,
};
pub use taints::{find_untolerated, tolerates};
