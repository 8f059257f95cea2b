//! What a pod requests must fit into what is left of a node; emptier nodes are better (LeastAllocated).

use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

pub(super) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded | ClusterEvent::NodeAllocatable | ClusterEvent::PodGone
        )
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        Some(Box::new(Wants(pod)))
    }
}

struct Wants<'a>(&'a PodInfo);

impl Prepared for Wants<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut reasons = Vec::new();
        let mut resolvable = true;
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        if pods + 1 > node.allocatable.get("pods") {
            reasons.push("Too many pods".to_owned());
        }
        for (name, &wanted) in &self.0.requests.0 {
            let allocatable = node.allocatable.get(name);
            if wanted > 0 && wanted > allocatable - node.requested.get(name) {
                reasons.push(format!("Insufficient {name}"));
                // Not even an empty node could take it.
                resolvable &= wanted <= allocatable;
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Rejection {
            of_pod: false,
            plugin: "NodeResourcesFit",
            reasons,
            detail: None,
            resolvable,
        })
    }

    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        feasible.iter().map(|node| least_allocated(self.0, node)).collect()
    }
}

fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |name: &str| {
        let capacity = node.allocatable.get(name);
        let used = node.scored.get(name) + pod.scored.get(name);
        (capacity > 0).then(|| (capacity - used).max(0) * MAX_SCORE / capacity)
    };
    let shares: Vec<i64> = ["cpu", "memory"].into_iter().filter_map(share).collect();
    let count = i64::try_from(shares.len()).unwrap_or(1).max(1);
    shares.iter().sum::<i64>() / count
}
