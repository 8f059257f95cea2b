//! Decides the node's CNI configuration and its routes. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::observe::Observed;

/// What the node's network should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPlan {
    /// This node's pods; none until a range was given out.
    pub own: Option<Ipv4Net>,
    /// Other nodes' pods, and the node that they are behind.
    pub routes: BTreeMap<Ipv4Net, Ipv4Addr>,
}

impl NetworkPlan {
    /// Returns the bridge's address: the first of the range.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.own.and_then(|net| net.hosts().next())
    }

    /// Renders the CNI configuration; `port_mappings` asks for the plugin that needs iptables.
    pub fn cni(&self, port_mappings: bool) -> Option<String> {
        let own = self.own?;
        let bridge = json!({
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": own.trunc().to_string() }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
                // Addresses that were given out end with the machine's power, as the pods do.
                "dataDir": "/run/timonel/cni",
            },
        });
        let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
        let plugins: Vec<_> = [Some(bridge), port_mappings.then_some(portmap)]
            .into_iter()
            .flatten()
            .collect();
        let list = json!({ "cniVersion": "1.0.0", "name": "timonel", "plugins": plugins });
        serde_json::to_string_pretty(&list).ok()
    }
}

/// Computes the network of this node.
pub fn plan(observed: &Observed) -> NetworkPlan {
    let mut plan = NetworkPlan::default();
    for node in &observed.nodes {
        let Some(pods) = pod_cidr(node) else { continue };
        if node.metadata.name.as_deref() == Some(&observed.node_name) {
            plan.own = Some(pods);
        } else if let Some(address) = internal_ip(node) {
            plan.routes.insert(pods, address);
        }
    }
    plan
}

/// Returns a node's range of pod addresses.
pub fn pod_cidr(node: &Node) -> Option<Ipv4Net> {
    node.spec.as_ref()?.pod_cidr.as_deref()?.parse().ok()
}

/// Returns the address under which other nodes reach a node.
pub fn internal_ip(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses
        .iter()
        .find(|a| a.type_ == "InternalIP")
        .and_then(|a| a.address.parse().ok())
}
