//! What changes in the cluster is taken in: nodes, namespaces, pods; and those are told whom it may help.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use timonel_api::pod;
use timonel_client::informer::Change;
use tokio::time::Instant;

use super::Scheduler;
use crate::plugins::{About, ClusterEvent, Happened};
use crate::pod_info::{PodInfo, nominated_node};

impl Scheduler {
    pub(super) fn resync_nodes(&mut self) {
        let nodes = self.nodes.list();
        let known: BTreeSet<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
        self.cluster.keep_nodes(&known);
        for node in nodes {
            self.take_node(node);
        }
    }

    fn take_node(&mut self, node: Arc<Node>) {
        let old = self.cluster.set_node(Arc::clone(&node));
        for event in changed_in(old.as_deref(), &node) {
            let about = About::Node {
                old: old.clone(),
                new: Some(Arc::clone(&node)),
            };
            self.queue.happened(Happened { event, about }, Instant::now());
        }
    }

    fn drop_node(&mut self, node: Arc<Node>) {
        self.cluster
            .remove_node(node.metadata.name.as_deref().unwrap_or_default());
        let about = About::Node {
            old: Some(node),
            new: None,
        };
        let event = ClusterEvent::NodeRemoved;
        self.queue.happened(Happened { event, about }, Instant::now());
    }

    pub(super) fn node_changed(&mut self, change: Change<Node>) {
        match change {
            Change::Applied(node) => self.take_node(node),
            Change::Deleted(node) => self.drop_node(node),
            Change::Resynced => self.resync_nodes(),
        }
    }

    pub(super) fn resync_namespaces(&mut self) {
        for namespace in self.namespaces.list() {
            self.cluster.set_namespace(&namespace);
        }
    }

    pub(super) fn namespace_changed(&mut self, change: Change<Namespace>) {
        match change {
            Change::Applied(namespace) => {
                self.cluster.set_namespace(&namespace);
                self.queue.happened(ClusterEvent::Other, Instant::now());
            }
            Change::Deleted(namespace) => {
                self.cluster
                    .remove_namespace(namespace.metadata.name.as_deref().unwrap_or_default());
            }
            Change::Resynced => self.resync_namespaces(),
        }
    }

    pub(super) fn resync_pods(&mut self) {
        self.cluster.clear_placed();
        for pod in self.pods.list() {
            self.take_pod(pod, None);
        }
        self.queue.happened(ClusterEvent::PodGone, Instant::now());
    }

    pub(super) fn pod_changed(&mut self, (change, old): (Change<Pod>, Option<Arc<Pod>>)) {
        match change {
            Change::Applied(pod) => self.take_pod(pod, old),
            Change::Deleted(pod) => self.drop_pod(&pod),
            Change::Resynced => self.resync_pods(),
        }
    }

    fn drop_pod(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let key = timonel_client::runner::key_of(pod);
        self.queue.remove(&key);
        self.desk.forget(&key);
        if self.cluster.withdraw(uid) {
            self.queue.happened(ClusterEvent::PodGone, Instant::now());
        }
        self.take_off(uid);
    }

    /// Takes a pod off its node, and tells those whom that may help.
    fn take_off(&mut self, uid: &str) {
        let Some((old, node)) = self.cluster.placed(uid) else {
            return;
        };
        let (old, node) = (Arc::clone(old), node.to_owned());
        self.cluster.remove_pod(uid);
        let about = About::Pod {
            old: Some(old),
            new: None,
            node: self.cluster.node(&node),
        };
        let event = ClusterEvent::PodGone;
        self.queue.happened(Happened { event, about }, Instant::now());
    }

    /// Counts a pod where it is said to be, and tells those whom that may help.
    fn put_on(&mut self, info: Arc<PodInfo>, node: &str) {
        if pod::is_terminal(&info.pod) {
            self.cluster.withdraw(&info.uid);
            return self.take_off(&info.uid);
        }
        let old = self.cluster.placed(&info.uid).map(|(old, _)| Arc::clone(old));
        self.cluster.set_placed(Arc::clone(&info), node);
        // A pod that was made smaller leaves room as one that is gone.
        let shrunk = |old: &Arc<PodInfo>| old.requests.each().any(|(name, was)| info.requests.get(name) < was);
        let shrank = old.as_ref().is_some_and(shrunk);
        let about = About::Pod {
            old,
            new: Some(info),
            node: self.cluster.node(node),
        };
        let event = ClusterEvent::PodPlaced;
        let now = Instant::now();
        if shrank {
            let event = ClusterEvent::PodGone;
            let about = about.clone();
            self.queue.happened(Happened { event, about }, now);
        }
        self.queue.happened(Happened { event, about }, now);
    }

    /// Follows what the status of a pod without a node says of the room that it waits for.
    fn follow_nomination(&mut self, pod: &Arc<Pod>, old: Option<&Pod>) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        match nominated_node(pod) {
            Some(node) => self
                .cluster
                .nominate(Arc::new(PodInfo::new(Arc::clone(pod), None)), node),
            // What has never been written may be known here already.
            None if old.and_then(nominated_node).is_some() && self.cluster.withdraw(uid) => {
                self.queue.happened(ClusterEvent::PodGone, Instant::now());
            }
            None => {}
        }
    }

    fn take_pod(&mut self, pod: Arc<Pod>, old: Option<Arc<Pod>>) {
        let now = Instant::now();
        if let Some(old) = &old
            && old.metadata.uid != pod.metadata.uid
        {
            self.drop_pod(old);
        }
        let key = timonel_client::runner::key_of(&*pod);
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .filter(|name| !name.is_empty());
        if let Some(node) = node {
            self.queue.remove(&key);
            let same = |old: &Pod| {
                old.spec == pod.spec
                    && old.metadata.labels == pod.metadata.labels
                    && old.metadata.deletion_timestamp == pod.metadata.deletion_timestamp
                    && pod::is_terminal(old) == pod::is_terminal(&pod)
            };
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            if self.cluster.is_placed(uid) && old.is_some_and(|old| same(&old)) {
                return;
            }
            self.put_on(Arc::new(PodInfo::new(pod, None)), &node);
        } else if self.is_ours(&pod) {
            self.follow_nomination(&pod, old.as_deref());
            let matters = old.is_none_or(|old| {
                old.spec != pod.spec || old.metadata.labels != pod.metadata.labels || !self.queue.contains(&key)
            });
            let assumed = self.cluster.is_placed(pod.metadata.uid.as_deref().unwrap_or_default());
            if matters && !assumed {
                let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
                self.queue.add(&key, priority, now);
            }
        } else {
            self.queue.remove(&key);
            self.cluster.withdraw(pod.metadata.uid.as_deref().unwrap_or_default());
        }
    }
}

/// What it may mean for waiting pods that a node is now as it is.
fn changed_in(old: Option<&Node>, node: &Node) -> Vec<ClusterEvent> {
    let Some(old) = old else {
        return vec![ClusterEvent::NodeAdded];
    };
    let mut events = Vec::new();
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    if allocatable(old) != allocatable(node) {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != node.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    let taints = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable));
    if taints(old) != taints(node) {
        events.push(ClusterEvent::NodeTaints);
    }
    events
}
