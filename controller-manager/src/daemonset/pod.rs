//! A pod of a DaemonSet: its tolerations, its one node, its revision.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Toleration,
};

use crate::history::REVISION_LABEL;
use crate::{owner, template};

/// Counts the changes of the template; what revisions replaced. The API server keeps it.
const GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";

/// What daemons bear: they run where nothing else would.
const BORNE: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Adds the tolerations that every daemon has.
fn tolerate(spec: &mut PodSpec) {
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let network = spec.host_network.unwrap_or(false).then_some(network);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in BORNE.iter().copied().chain(network) {
        let wanted = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let same =
            |one: &&mut Toleration| one.key == wanted.key && one.effect == wanted.effect && one.value == wanted.value;
        match tolerations.iter_mut().find(same) {
            Some(found) => *found = wanted,
            None => tolerations.push(wanted),
        }
    }
}

/// Makes the template that the set's pods have in truth: with tolerations and labels.
pub(super) fn complete(set: &DaemonSet, template: &PodTemplateSpec, hash: &str) -> PodTemplateSpec {
    let mut template = template.clone();
    tolerate(template.spec.get_or_insert_default());
    let labels: &mut BTreeMap<String, String> =
        template.metadata.get_or_insert_default().labels.get_or_insert_default();
    if let Some(generation) = generation(set) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_owned());
    }
    labels.insert(REVISION_LABEL.to_owned(), hash.to_owned());
    template
}

fn generation(set: &DaemonSet) -> Option<&str> {
    let annotations = set.metadata.annotations.as_ref()?;
    annotations.get(GENERATION).map(String::as_str)
}

/// Makes the pod for a node.
pub(super) fn for_node(set: &DaemonSet, complete: &PodTemplateSpec, node: &str) -> Pod {
    let namespace = owner::namespace(&set.metadata);
    let mut pod = template::pod_for(namespace, owner::controller_reference(set), complete);
    let affinity: &mut Affinity = pod.spec.get_or_insert_default().affinity.get_or_insert_default();
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    // In place of the template's own terms: this node was chosen by them already.
    let required = NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![by_name]),
            match_expressions: None,
        }],
    };
    affinity
        .node_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution = Some(required);
    pod
}

/// Returns the node that a pod is on or is meant for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    fields
        .filter(|field| field.key == "metadata.name" && field.operator == "In")
        .find_map(|field| match field.values.as_deref() {
            Some([only]) => Some(only.as_str()),
            _ => None,
        })
}

/// Whether a pod is of the current revision.
pub(super) fn is_updated(set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let label = |key| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    label(REVISION_LABEL) == Some(hash)
        || generation(set).is_some_and(|generation| label(GENERATION_LABEL) == Some(generation))
}
