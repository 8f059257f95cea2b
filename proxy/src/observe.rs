//! What the planners look at: a copy of what the caches hold.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The cluster as this node's proxy sees it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// This node's name.
    pub node_name: String,
    /// Every service.
    pub services: Vec<Arc<Service>>,
    /// Every endpoint slice.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Every node.
    pub nodes: Vec<Arc<Node>>,
    /// Service addresses that a program on this node serves itself (DNS); no rule may touch them.
    pub served_here: BTreeSet<Ipv4Addr>,
}
