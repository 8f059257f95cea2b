//! Two pods on one node cannot have the same port of the node.

use super::{About, ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::{HostPort, PodInfo};
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodGone)
    }

    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        let About::Pod { old: Some(old), .. } = about else {
            return true;
        };
        let freed = |wanted: &HostPort| old.host_ports.iter().any(|port| port.conflicts(wanted));
        pod.host_ports.iter().any(freed)
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        (!pod.host_ports.is_empty()).then(|| Box::new(Wanted(&pod.host_ports)) as Box<dyn Prepared>)
    }
}

struct Wanted<'a>(&'a [HostPort]);

impl Prepared for Wanted<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut taken = node.pods.values().flat_map(|pod| &pod.host_ports);
        if taken.any(|port| self.0.iter().any(|wanted| wanted.conflicts(port))) {
            let reason = "node(s) didn't have free ports for the requested pod ports";
            return Err(Rejection::new("NodePorts", reason, true));
        }
        Ok(())
    }
}
