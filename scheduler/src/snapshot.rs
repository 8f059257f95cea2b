//! The world as one decision sees it: nodes, what runs on them, and the labels of namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod_info::PodInfo;
use crate::resources::Resources;

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
    pub images: BTreeMap<String, i64>,
}

impl NodeInfo {
    /// Takes (or replaces) the node's own part.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        self.name = node.metadata.name.clone().unwrap_or_default();
        self.allocatable = Resources::from_wire(status.and_then(|status| status.allocatable.as_ref()));
        self.images = status
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

/// The world at one moment. Cloning costs three pointers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By name; nodes without a `node` part are not in here.
    pub nodes: OrdMap<String, Arc<NodeInfo>>,
    /// Labels of namespaces.
    pub namespaces: Namespaces,
    /// Who waits for room that is being made, by node.
    pub nominated: Nominated,
    /// Claims and volumes.
    pub storage: crate::volumes::Storage,
}

impl Snapshot {
    /// The same world but for one node.
    #[must_use]
    pub fn with_node(&self, node: Arc<NodeInfo>) -> Self {
        Self {
            nodes: self.nodes.update(node.name.clone(), node),
            ..self.clone()
        }
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

    /// Visits every pod on every node.
    pub fn pods(&self) -> impl Iterator<Item = (&NodeInfo, &PodInfo)> {
        self.nodes
            .values()
            .flat_map(|node| node.pods.values().map(move |pod| (&**node, &**pod)))
    }

    /// Counts the nodes that have an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.nodes
            .values()
            .filter(|node| node.images.contains_key(image))
            .count()
    }

    /// Returns all values of a topology key.
    pub fn domains(&self, key: &str) -> BTreeSet<&str> {
        self.nodes.values().filter_map(|node| node.label(key)).collect()
    }
}
