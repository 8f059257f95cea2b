//! What the scheduler knows of the cluster: nodes with their pods, kept up to date change by change, and pods that it has
//! placed itself but not seen placed yet (assumed).

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ReplicationController, Service};
use timonel_api::selector::LabelSelector;
use timonel_api::{ObjectKey, pod};
use timonel_client::Reader;

use crate::plugins::ClusterEvent;
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Nominated, Snapshot};

/// Owners and services, for default topology spreading.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    /// ReplicaSets.
    pub(crate) replica_sets: Reader<ReplicaSet>,
    /// StatefulSets.
    pub(crate) stateful_sets: Reader<StatefulSet>,
    /// ReplicationControllers.
    pub(crate) replication_controllers: Reader<ReplicationController>,
    /// Services.
    pub(crate) services: Reader<Service>,
}

impl Owners {
    /// Returns what a pod's services and owner select, all together; `None` when nothing selects it.
    pub(crate) fn selector(&self, pod: &Pod) -> Option<LabelSelector> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let empty = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for service in self.services.list_in(namespace) {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            if let Some(selector) = selector.filter(|selector| !selector.is_empty())
                && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            {
                wanted.extend(selector.clone());
            }
        }
        let mut requirements = LabelSelector::from_map(&wanted).requirements().to_vec();
        let owner = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true));
        if let Some(owner) = owner {
            let key = ObjectKey::new(namespace, owner.name.clone());
            let typed = match owner.kind.as_str() {
                "ReplicaSet" => self
                    .replica_sets
                    .get(&key)
                    .and_then(|set| Some(set.spec.as_ref()?.selector.clone())),
                "StatefulSet" => self
                    .stateful_sets
                    .get(&key)
                    .and_then(|set| Some(set.spec.as_ref()?.selector.clone())),
                _ => None,
            };
            if let Some(typed) = typed {
                requirements.extend(
                    LabelSelector::from_optional(Some(&typed))
                        .requirements()
                        .iter()
                        .cloned(),
                );
            } else if owner.kind == "ReplicationController"
                && let Some(controller) = self.replication_controllers.get(&key)
                && let Some(selector) = controller.spec.as_ref().and_then(|spec| spec.selector.as_ref())
            {
                requirements.extend(LabelSelector::from_map(selector).requirements().iter().cloned());
            } else if requirements.is_empty() {
                // Its owner has not arrived in our cache yet (or is of another kind): pods of one owner carry the same
                // labels, so these tell its siblings as well.
                requirements = LabelSelector::from_map(labels).requirements().to_vec();
            }
        }
        (!requirements.is_empty()).then(|| LabelSelector::new(requirements))
    }
}

/// A pod without a node, and the one on which room is being made for it.
struct Nomination {
    node: String,
    info: Arc<PodInfo>,
}

/// Where a pod is counted.
struct Placed {
    node: String,
    assumed: bool,
}

/// The scheduler's own view of the cluster.
#[derive(Default)]
pub(crate) struct Cluster {
    nodes: OrdMap<String, Arc<NodeInfo>>,
    placed: BTreeMap<String, Placed>,
    nominations: BTreeMap<String, Nomination>,
    namespaces: crate::snapshot::Namespaces,
}

impl Cluster {
    /// Returns what a decision sees.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut nodes = self.nodes.clone();
        // Nodes that only pods speak of are rare (a node was just deleted); leave them out.
        let unknown: Vec<String> = nodes
            .iter()
            .filter(|(_, info)| info.node.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in unknown {
            nodes.remove(&name);
        }
        Snapshot {
            nodes,
            namespaces: self.namespaces.clone(),
            nominated: self.nominated(),
            ..Snapshot::default()
        }
    }

    fn nominated(&self) -> Nominated {
        let mut by_node: BTreeMap<&str, Vec<Arc<PodInfo>>> = BTreeMap::new();
        for nomination in self.nominations.values() {
            let waiting = by_node.entry(&nomination.node).or_default();
            waiting.push(Arc::clone(&nomination.info));
        }
        by_node
            .into_iter()
            .map(|(node, waiting)| (node.to_owned(), waiting))
            .collect()
    }

    /// Keeps room on a node for a pod that is not there yet.
    pub(crate) fn nominate(&mut self, info: Arc<PodInfo>, node: &str) {
        if self.placed.contains_key(&info.uid) {
            return;
        }
        let node = node.to_owned();
        self.nominations.insert(info.uid.clone(), Nomination { node, info });
    }

    /// Keeps room for a pod no longer; tells whether some was kept.
    pub(crate) fn withdraw(&mut self, uid: &str) -> bool {
        self.nominations.remove(uid).is_some()
    }

    /// Takes a node that is new or has changed; tells what that may help.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) -> Vec<ClusterEvent> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let info = self.info(&name);
        let old = info.node.clone();
        Arc::make_mut(info).set_node(Arc::clone(&node));
        let Some(old) = old else {
            return vec![ClusterEvent::NodeAdded];
        };
        let mut events = Vec::new();
        let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
        if allocatable(&old) != allocatable(&node) {
            events.push(ClusterEvent::NodeAllocatable);
        }
        if old.metadata.labels != node.metadata.labels {
            events.push(ClusterEvent::NodeLabels);
        }
        let taints = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable));
        if taints(&old) != taints(&node) {
            events.push(ClusterEvent::NodeTaints);
        }
        events
    }

    /// Forgets a node; pods that are still said to be on it stay counted.
    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(info) = self.nodes.get_mut(name) else { return };
        if info.pods.is_empty() {
            self.nodes.remove(name);
        } else {
            Arc::make_mut(info).node = None;
        }
    }

    /// Takes a namespace's labels.
    pub(crate) fn set_namespace(&mut self, namespace: &Namespace) {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        self.namespaces
            .insert(name, namespace.metadata.labels.clone().unwrap_or_default());
    }

    /// Forgets a namespace.
    pub(crate) fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Takes a pod that is bound to a node.
    pub(crate) fn set_placed(&mut self, info: Arc<PodInfo>, node: &str) -> ClusterEvent {
        if pod::is_terminal(&info.pod) {
            self.remove_pod(&info.uid);
            return ClusterEvent::PodGone;
        }
        self.place(info, node, false);
        ClusterEvent::PodPlaced
    }

    /// Counts a pod on a node before the API server has confirmed that.
    pub(crate) fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
        self.place(info, node, true);
    }

    /// Takes back an assumption, if it is still one.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.placed.get(uid).is_some_and(|placed| placed.assumed) {
            self.remove_pod(uid);
        }
    }

    /// Tells whether a pod is counted somewhere.
    pub(crate) fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    /// Takes a pod off its node; tells whether it was on one.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(info) = self.nodes.get_mut(&placed.node) {
            Arc::make_mut(info).remove_pod(uid);
            if info.node.is_none() && info.pods.is_empty() {
                self.nodes.remove(&placed.node);
            }
        }
        true
    }

    /// Forgets everything but assumptions, to be told all again.
    pub(crate) fn clear_placed(&mut self) {
        let seen: Vec<String> = self
            .placed
            .iter()
            .filter(|(_, placed)| !placed.assumed)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in seen {
            self.remove_pod(&uid);
        }
        self.nominations.clear();
    }

    /// Forgets all nodes that are not in `known`.
    pub(crate) fn keep_nodes(&mut self, known: &std::collections::BTreeSet<String>) {
        let gone: Vec<String> = self
            .nodes
            .keys()
            .filter(|name| !known.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.remove_node(&name);
        }
    }

    fn place(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) {
        let uid = info.uid.clone();
        self.nominations.remove(&uid);
        if self.placed.get(&uid).is_some_and(|placed| placed.node != node) {
            self.remove_pod(&uid);
        }
        Arc::make_mut(self.info(node)).add_pod(info);
        let node = node.to_owned();
        self.placed.insert(uid, Placed { node, assumed });
    }

    fn info(&mut self, name: &str) -> &mut Arc<NodeInfo> {
        self.nodes.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(NodeInfo {
                name: name.to_owned(),
                ..NodeInfo::default()
            })
        })
    }
}
