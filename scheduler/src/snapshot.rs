//! The world as one decision sees it: nodes, what runs on them, and the labels of namespaces.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use imbl::{OrdMap, Vector};

use crate::counts::Counts;
use crate::index::PodIndex;
pub use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::query::Query;
use crate::volumes::Storage;

/// Labels by namespace.
pub type Namespaces = OrdMap<String, BTreeMap<String, String>>;

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

    /// Lets go of a node, so that nobody else holds it and it can be changed where it stands; [`Self::set`] has to follow.
    pub(crate) fn release(&mut self, name: &str) {
        static NOBODY: LazyLock<Arc<NodeInfo>> = LazyLock::new(Arc::default);
        if let Some(at) = self.places.get(name)
            && *at < self.nodes.len()
        {
            self.nodes.set(*at, Arc::clone(&NOBODY));
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
        for info in nodes.values() {
            index.count_node(info, 1);
            for pod in info.pods.values() {
                index.count(pod, info, 1);
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
            if let Some(old) = old {
                changed.index.count(pod, old, -1);
            }
        }
        for (_, pod) in node.pods.iter().filter(|(uid, pod)| !same(uid, pod, before)) {
            changed.index.count(pod, &node, 1);
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

    /// Returns how many of the pods that are asked for are in each domain.
    pub fn counted(&self, query: &Query<'_>) -> Cow<'_, Counts> {
        self.index.counted(query, &self.nodes, &self.namespaces)
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
