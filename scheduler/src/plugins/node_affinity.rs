//! A pod's node selector and node affinity, and what the profile adds to it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeAffinity as Affinity, NodeSelectorTerm, PreferredSchedulingTerm};
use timonel_api::pod::matches_node_term;

use super::args::NodeAffinityArgs;
use super::{About, ClusterEvent, Plugin, Prepared, Rejection, node_label, normalize};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct NodeAffinity {
    added: Option<Affinity>,
}

impl NodeAffinity {
    pub(super) fn new(args: &NodeAffinityArgs) -> Self {
        Self {
            added: args.added_affinity.clone(),
        }
    }
}

fn required(affinity: Option<&Affinity>) -> Option<&[NodeSelectorTerm]> {
    let required = affinity?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

fn preferred(affinity: Option<&Affinity>) -> &[PreferredSchedulingTerm] {
    affinity
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

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

    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        let About::Node { new: Some(new), .. } = about else {
            return true;
        };
        let name = new.metadata.name.as_deref().unwrap_or_default();
        let label = |key: &str| node_label(new, key);
        pod.spec()
            .is_none_or(|spec| timonel_api::pod::matches_node(spec, name, &label))
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let spec = pod.spec()?;
        let affinity = spec.affinity.as_ref();
        let own = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let wants = Wants {
            pod,
            terms: required(own),
            added: required(self.added.as_ref()),
            preferred: [preferred(own), preferred(self.added.as_ref())],
        };
        let concerned = spec.node_selector.is_some()
            || wants.terms.is_some()
            || wants.added.is_some()
            || wants.preferred.iter().any(|terms| !terms.is_empty());
        concerned.then(|| Box::new(wants) as Box<dyn Prepared>)
    }
}

struct Wants<'a> {
    pod: &'a PodInfo,
    terms: Option<&'a [NodeSelectorTerm]>,
    added: Option<&'a [NodeSelectorTerm]>,
    preferred: [&'a [PreferredSchedulingTerm]; 2],
}

/// The nodes that a term names, where it names them.
fn names(term: &NodeSelectorTerm) -> Option<BTreeSet<String>> {
    let fields = term.match_fields.iter().flatten();
    let named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    named
        .map(|field| field.values.iter().flatten().cloned().collect::<BTreeSet<_>>())
        .reduce(|one, other| &one & &other)
}

impl Prepared for Wants<'_> {
    fn refusal(&self) -> Option<Rejection> {
        let none_left = self.only()?.is_empty();
        none_left.then(|| Rejection::new("NodeAffinity", "pod affinity terms conflict", false))
    }

    fn only(&self) -> Option<BTreeSet<String>> {
        let terms = self.terms.filter(|terms| !terms.is_empty())?;
        // The terms are alternatives: all have to name nodes.
        terms
            .iter()
            .map(names)
            .reduce(|one, other| Some(&one? | &other?))
            .flatten()
    }

    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let label = |key: &str| node.label(key);
        let matches = |term: &NodeSelectorTerm| matches_node_term(term, &node.name, &label, false);
        if self.added.is_some_and(|added| !added.iter().any(matches)) {
            let reason = "node(s) didn't match scheduler-enforced node affinity";
            return Err(Rejection::new("NodeAffinity", reason, false));
        }
        if !matches_required(self.pod, node) {
            let reason = "node(s) didn't match Pod's node affinity/selector";
            return Err(Rejection::new("NodeAffinity", reason, false));
        }
        Ok(())
    }

    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        if self.preferred.iter().all(|terms| terms.is_empty()) {
            return Vec::new();
        }
        let score =
            |node: &&NodeInfo| {
                let label = |key: &str| node.label(key);
                let matching =
                    self.preferred.iter().copied().flatten().filter(|term| {
                        term.weight != 0 && matches_node_term(&term.preference, &node.name, &label, true)
                    });
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
