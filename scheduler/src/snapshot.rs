//! The world as one decision sees it: nodes, what runs on them, and the labels of namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::index::{PodIndex, ZONE};
use crate::pod_info::PodInfo;
use crate::resources::Resources;
use crate::volumes::Storage;

/// Labels by namespace.
pub type Namespaces = OrdMap<String, BTreeMap<String, String>>;

/// A node and what is on it, assumed pods included.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; `None` while only pods are known that say they run there.
    pub node: Option<Arc<Node>>,
    /// Its name.
    pub name: String,
    /// The pods on it, by uid.
    pub pods: OrdMap<String, Arc<PodInfo>>,
    /// What they request together.
    pub requested: Resources,
    /// What they count for in scores together.
    pub scored: Resources,
    /// What the node can give.
    pub allocatable: Resources,
    /// Sizes of the images that it has, by every name.
    pub images: Arc<BTreeMap<String, i64>>,
}

impl NodeInfo {
    /// Takes (or replaces) the node's own part.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        self.name = node.metadata.name.clone().unwrap_or_default();
        self.allocatable = Resources::from_wire(status.and_then(|status| status.allocatable.as_ref()));
        let images: BTreeMap<String, i64> = status
            .and_then(|status| status.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image
                    .names
                    .iter()
                    .flatten()
                    .map(move |name| (normalized_image(name), size))
            })
            .collect();
        self.images = Arc::new(images);
        self.node = Some(node);
    }

    /// Adds a pod, or replaces it.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.uid);
        self.requested.add(&pod.requests);
        self.scored.add(&pod.scored);
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Takes a pod away; tells whether it was there.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(pod) = self.pods.remove(uid) else { return false };
        self.requested.sub(&pod.requests);
        self.scored.sub(&pod.scored);
        true
    }

    /// Returns a node label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node
            .as_ref()?
            .metadata
            .labels
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// Returns the node's region and zone, both empty where it has none.
    pub fn zone(&self) -> (&str, &str) {
        let region = self.label("topology.kubernetes.io/region").unwrap_or_default();
        (region, self.label(ZONE).unwrap_or_default())
    }

    /// Returns the node's taints.
    pub fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    /// Tells whether the node is cordoned.
    pub fn is_unschedulable(&self) -> bool {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.unschedulable).unwrap_or(false)
    }
}

/// Gives an image name a tag where it has none, as nodes report it.
pub fn normalized_image(name: &str) -> String {
    let after_slash = name.rsplit('/').next().unwrap_or(name);
    if after_slash.contains(':') || after_slash.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// Pods that a node is nominated for: others were asked to leave it so that they fit.
pub type Nominated = OrdMap<String, Vec<Arc<PodInfo>>>;

/// The world at one moment. Cloning costs a few pointers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By name; nodes without a `node` part are not in here.
    pub nodes: OrdMap<String, Arc<NodeInfo>>,
    /// Labels of namespaces.
    pub namespaces: Namespaces,
    /// Who waits for room that is being made, by node.
    pub nominated: Nominated,
    /// What placed pods mean to others.
    pub index: PodIndex,
    /// The nodes in the order in which they are tried.
    pub order: Order,
    /// Claims and volumes.
    pub storage: Storage,
}

/// Nodes in the order in which a decision tries them: a node of each zone in turn, so that who stops early has seen all zones.
#[derive(Clone, Debug, Default)]
pub struct Order {
    nodes: Vector<Arc<NodeInfo>>,
    places: Arc<BTreeMap<String, usize>>,
}

impl Order {
    /// Puts nodes in order.
    pub(crate) fn new(nodes: &OrdMap<String, Arc<NodeInfo>>) -> Self {
        let mut zones: BTreeMap<(&str, &str), Vec<&Arc<NodeInfo>>> = BTreeMap::new();
        for node in nodes.values() {
            zones.entry(node.zone()).or_default().push(node);
        }
        let mut ordered = Vector::new();
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        for turn in 0..longest {
            ordered.extend(
                zones
                    .values()
                    .filter_map(|zone| zone.get(turn))
                    .map(|node| Arc::clone(node)),
            );
        }
        let places = ordered.iter().enumerate().map(|(at, node)| (node.name.clone(), at));
        Self {
            places: Arc::new(places.collect()),
            nodes: ordered,
        }
    }

    /// Replaces a node by what it is now.
    pub(crate) fn set(&mut self, node: Arc<NodeInfo>) {
        if let Some(at) = self.places.get(&node.name)
            && *at < self.nodes.len()
        {
            self.nodes.set(*at, node);
        }
    }

    /// Visits all nodes, the one at `start` first.
    pub fn starting_at(&self, start: usize) -> impl Iterator<Item = &Arc<NodeInfo>> {
        let start = start.min(self.nodes.len());
        self.nodes
            .focus()
            .narrow(start..)
            .into_iter()
            .chain(self.nodes.focus().narrow(..start))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

impl Snapshot {
    /// Puts a world together from its nodes, with the pods on them.
    pub fn new(nodes: OrdMap<String, Arc<NodeInfo>>, namespaces: Namespaces, nominated: Nominated) -> Self {
        let mut index = PodIndex::default();
        for (name, info) in &nodes {
            if let Some(node) = &info.node {
                index.count_node(node, &info.images, 1);
            }
            for pod in info.pods.values() {
                index.count(pod, name, info.node.as_deref(), 1);
            }
        }
        Self {
            order: Order::new(&nodes),
            nodes,
            namespaces,
            nominated,
            index,
            storage: Storage::default(),
        }
    }

    /// Visits all nodes, the one at place `start` first. By name where nobody has put them in order.
    pub fn nodes_from(&self, start: usize) -> Box<dyn Iterator<Item = &Arc<NodeInfo>> + '_> {
        if self.order.len() == self.nodes.len() {
            return Box::new(self.order.starting_at(start));
        }
        let start = start.min(self.nodes.len());
        Box::new(self.nodes.values().skip(start).chain(self.nodes.values().take(start)))
    }

    /// The same world but for the pods on one node.
    #[must_use]
    pub fn with_node(&self, node: Arc<NodeInfo>) -> Self {
        let mut changed = self.clone();
        let none = OrdMap::new();
        let old = self.nodes.get(&node.name);
        let before = old.map_or(&none, |old| &old.pods);
        let same = |uid: &String, pod: &Arc<PodInfo>, pods: &OrdMap<String, Arc<PodInfo>>| {
            pods.get(uid).is_some_and(|other| Arc::ptr_eq(other, pod))
        };
        for (_, pod) in before.iter().filter(|(uid, pod)| !same(uid, pod, &node.pods)) {
            let on = old.and_then(|old| old.node.as_deref());
            changed.index.count(pod, &node.name, on, -1);
        }
        for (_, pod) in node.pods.iter().filter(|(uid, pod)| !same(uid, pod, before)) {
            changed.index.count(pod, &node.name, node.node.as_deref(), 1);
        }
        changed.order.set(Arc::clone(&node));
        changed.nodes.insert(node.name.clone(), node);
        changed
    }

    /// A node as it will be when those have come for whom room is made on it and who are no less important than `pod`; `None`
    /// where there are none.
    pub fn with_nominated(&self, pod: &PodInfo, node: &NodeInfo) -> Option<NodeInfo> {
        let waiting = self.nominated.get(&node.name)?;
        let mut waiting = waiting
            .iter()
            .filter(|other| other.priority >= pod.priority && other.uid != pod.uid)
            .peekable();
        waiting.peek()?;
        let mut later = node.clone();
        for other in waiting {
            later.add_pod(Arc::clone(other));
        }
        Some(later)
    }

    /// The same world after a pod has been placed.
    #[must_use]
    pub fn with_pod(&self, pod: Arc<PodInfo>, node: &str) -> Self {
        let Some(info) = self.nodes.get(node) else {
            return self.clone();
        };
        let mut info = NodeInfo::clone(info);
        info.add_pod(pod);
        self.with_node(Arc::new(info))
    }

    /// Visits every pod on every node.
    pub fn pods(&self) -> impl Iterator<Item = (&NodeInfo, &PodInfo)> {
        self.nodes
            .values()
            .flat_map(|node| node.pods.values().map(move |pod| (&**node, &**pod)))
    }

    /// Returns all values of a topology key.
    pub fn domains(&self, key: &str) -> BTreeSet<&str> {
        self.nodes.values().filter_map(|node| node.label(key)).collect()
    }
}
