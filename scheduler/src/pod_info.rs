//! A pod with everything about it worked out once that plugins ask for again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, Toleration, WeightedPodAffinityTerm};
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;

use crate::resources::{Resources, scored_requests};
use crate::symbol::Symbol;

/// A port of the node itself that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` for all addresses.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Tells whether two pods on one node cannot have these two.
    pub fn conflicts(&self, other: &Self) -> bool {
        let overlap = self.ip == other.ip || self.ip == "0.0.0.0" || other.ip == "0.0.0.0";
        overlap && self.port == other.port && self.protocol == other.protocol
    }
}

/// One term of pod affinity or anti-affinity, parsed.
#[derive(Clone, Debug)]
pub struct AffinityTerm {
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
    selector: LabelSelector,
    /// Which node label makes nodes one domain.
    pub topology_key: Arc<str>,
    /// Equal for terms that select the same pods in the same domains, so that many pods' terms are asked once.
    pub(crate) identity: Symbol,
}

impl AffinityTerm {
    fn new(pod_namespace: &str, term: &PodAffinityTerm) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(pod_namespace.to_owned());
        }
        let identity = format!(
            "{} {namespaces:?} {:?} {:?}",
            term.topology_key, term.namespace_selector, term.label_selector
        );
        Self {
            namespaces,
            identity: Symbol::new(&identity),
            namespace_selector: term
                .namespace_selector
                .as_ref()
                .map(|selector| LabelSelector::from_optional(Some(selector))),
            selector: LabelSelector::from_optional(term.label_selector.as_ref()),
            topology_key: term.topology_key.as_str().into(),
        }
    }

    /// Tells whether the term selects a pod. `namespaces` gives the labels of namespaces.
    pub fn matches(&self, pod: &PodInfo, namespaces: &crate::snapshot::Namespaces) -> bool {
        self.selects(&pod.key.namespace, pod.pod.metadata.labels.as_ref(), namespaces)
    }

    /// Tells whether the term selects a pod, for all that is known without the labels of its namespace.
    pub(crate) fn may_match(&self, pod: &PodInfo) -> bool {
        (self.namespace_selector.is_some() || self.namespaces.contains(&pod.key.namespace))
            && self.selector.matches_optional(pod.pod.metadata.labels.as_ref())
    }

    /// Names the namespaces that it is about; `None` where their labels decide.
    pub(crate) fn fixed_namespaces(&self) -> Option<Vec<&str>> {
        let names = || self.namespaces.iter().map(String::as_str).collect();
        self.namespace_selector.is_none().then(names)
    }

    /// Tells whether the term selects pods of this namespace with these labels.
    pub(crate) fn selects(
        &self,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
        namespaces: &crate::snapshot::Namespaces,
    ) -> bool {
        let there = self.namespaces.contains(namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|selector| selector.matches_optional(namespaces.get(namespace)));
        there && self.selector.matches_optional(labels)
    }
}

/// Returns the node that a pod's status says it is nominated for.
pub fn nominated_node(pod: &Pod) -> Option<&str> {
    let node = pod.status.as_ref()?.nominated_node_name.as_deref()?;
    (!node.is_empty()).then_some(node)
}

/// Returns the name of the scheduler that a pod asks for.
pub fn scheduler_name(pod: &Pod) -> &str {
    let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    name.filter(|name| !name.is_empty()).unwrap_or("default-scheduler")
}

/// A pod, prepared for scheduling.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The pod itself.
    pub pod: Arc<Pod>,
    /// Its key.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// `spec.priority`, or 0.
    pub priority: i32,
    /// What it requests.
    pub requests: Resources,
    /// What it counts for in scores.
    pub scored: Resources,
    /// The node's ports that it takes.
    pub host_ports: Vec<HostPort>,
    /// Required pod affinity.
    pub affinity: Vec<AffinityTerm>,
    /// Required pod anti-affinity.
    pub anti_affinity: Vec<AffinityTerm>,
    /// Preferred pod affinity (positive weight) and anti-affinity (negative weight).
    pub preferred: Vec<(i64, AffinityTerm)>,
    /// What its owner and services select, for default topology spreading; `None` when nothing selects it.
    pub spread_selector: Option<LabelSelector>,
}

impl PodInfo {
    /// Prepares a pod.
    pub fn new(pod: Arc<Pod>, spread_selector: Option<LabelSelector>) -> Self {
        let key = timonel_client::runner::key_of(&*pod);
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let requests = Resources::from_quantities(&timonel_api::pod::requests(&pod));
        let scored = scored_requests(&pod);
        let affinity = spec.affinity.as_ref();
        let with = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let against = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let parse = |term: &PodAffinityTerm| AffinityTerm::new(&key.namespace, term);
        let required =
            |terms: Option<&Vec<PodAffinityTerm>>| terms.into_iter().flatten().map(parse).collect::<Vec<_>>();
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| {
            let terms = terms.into_iter().flatten();
            terms
                .map(|term| (sign * i64::from(term.weight), parse(&term.pod_affinity_term)))
                .collect::<Vec<_>>()
        };
        let mut preferred = weighted(
            with.and_then(|with| with.preferred_during_scheduling_ignored_during_execution.as_ref()),
            1,
        );
        preferred.extend(weighted(
            against.and_then(|against| against.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        let host_ports = spec
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                Some(HostPort {
                    ip: port
                        .host_ip
                        .clone()
                        .filter(|ip| !ip.is_empty())
                        .unwrap_or_else(|| "0.0.0.0".into()),
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    port: port.host_port.filter(|port| *port > 0)?,
                })
            })
            .collect();
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            affinity: required(with.and_then(|with| with.required_during_scheduling_ignored_during_execution.as_ref())),
            anti_affinity: required(
                against.and_then(|against| against.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            requests,
            scored,
            host_ports,
            preferred,
            spread_selector,
            key,
            pod,
        }
    }

    /// Returns the pod's spec, if it has one.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// Returns its tolerations.
    pub fn tolerations(&self) -> &[Toleration] {
        self.spec()
            .and_then(|spec| spec.tolerations.as_deref())
            .unwrap_or_default()
    }

    /// Returns the node on which room is being made for it.
    pub fn nominated(&self) -> Option<&str> {
        nominated_node(&self.pod)
    }

    /// Tells whether it is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
}
