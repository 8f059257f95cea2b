//! Nodes on which CPU and memory fill up evenly are better.

use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

pub(super) struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn wakes_on(&self, _: ClusterEvent) -> bool {
        false
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        // A pod without requests changes no balance; upstream skips it too.
        (pod.requests.get("cpu") > 0 || pod.requests.get("memory") > 0)
            .then(|| Box::new(Wants(pod)) as Box<dyn Prepared>)
    }
}

struct Wants<'a>(&'a PodInfo);

impl Prepared for Wants<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let score = |node: &&NodeInfo| {
            let fraction = |name: &str| {
                let capacity = node.allocatable.get(name);
                let used = node.requested.get(name) + self.0.requests.get(name);
                (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
            };
            let deviation = match (fraction("cpu"), fraction("memory")) {
                (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
                _ => 0.0,
            };
            ((1.0 - deviation) * MAX_SCORE as f64) as i64
        };
        feasible.iter().map(score).collect()
    }
}
