//! A pod's node selector and node affinity.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm};

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
            let matching = self
                .preferred
                .iter()
                .filter(|term| term.weight != 0 && matches_term(&term.preference, node, true));
            matching.map(|term| i64::from(term.weight)).sum()
        };
        let mut scores: Vec<i64> = feasible.iter().map(score).collect();
        normalize(&mut scores, false);
        scores
    }
}

/// Tells whether a node satisfies a pod's node selector and required node affinity.
pub fn matches_required(pod: &PodInfo, node: &NodeInfo) -> bool {
    let Some(spec) = pod.spec() else { return true };
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| node.label(key) == Some(value.as_str()));
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|required| {
            required
                .node_selector_terms
                .iter()
                .any(|term| matches_term(term, node, false))
        })
}

/// An empty term selects nothing when required, and everything when preferred, as upstream.
fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo, empty: bool) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return empty;
    }
    let field = |requirement: &NodeSelectorRequirement| {
        (requirement.key == "metadata.name") && matches(requirement, Some(&node.name))
    };
    expressions
        .iter()
        .all(|requirement| matches(requirement, node.label(&requirement.key)))
        && fields.iter().all(field)
}

fn matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = || value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
