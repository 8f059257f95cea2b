//! A pod's node selector and node affinity.

use k8s_openapi::api::core::v1::PreferredSchedulingTerm;
use timonel_api::pod::matches_node_term;

use super::{ClusterEvent, Plugin, Prepared, Rejection, normalize};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

pub(super) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let spec = pod.spec()?;
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref());
        let preferred = affinity
            .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
            .unwrap_or_default();
        let required = spec.node_selector.is_some()
            || affinity.is_some_and(|affinity| affinity.required_during_scheduling_ignored_during_execution.is_some());
        (required || !preferred.is_empty()).then(|| Box::new(Wants { pod, preferred }) as Box<dyn Prepared>)
    }
}

struct Wants<'a> {
    pod: &'a PodInfo,
    preferred: &'a [PreferredSchedulingTerm],
}

impl Prepared for Wants<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if matches_required(self.pod, node) {
            return Ok(());
        }
        Err(Rejection::new(
            "NodeAffinity",
            "node(s) didn't match Pod's node affinity/selector",
            false,
        ))
    }

    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        if self.preferred.is_empty() {
            return Vec::new();
        }
        let score = |node: &&NodeInfo| {
            let label = |key: &str| node.label(key);
            let matching = self
                .preferred
                .iter()
                .filter(|term| term.weight != 0 && matches_node_term(&term.preference, &node.name, &label, true));
            matching.map(|term| i64::from(term.weight)).sum()
        };
        let mut scores: Vec<i64> = feasible.iter().map(score).collect();
        normalize(&mut scores, false);
        scores
    }
}

/// Tells whether a node satisfies a pod's node selector and required node affinity.
pub fn matches_required(pod: &PodInfo, node: &NodeInfo) -> bool {
    let label = |key: &str| node.label(key);
    pod.spec()
        .is_none_or(|spec| timonel_api::pod::matches_node(spec, &node.name, &label))
}
