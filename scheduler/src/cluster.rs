//! What the scheduler knows of the cluster: nodes with their pods, kept up to date change by change, and pods that it has
//! placed itself but not seen placed yet (assumed).

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ReplicationController, Service};
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;
use timonel_client::Reader;

use crate::index::PodIndex;
use crate::pod_info::PodInfo;
use crate::profile::Profile;
use crate::snapshot::{NodeInfo, Nominated, Order, Snapshot};

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
#[derive(Debug)]
struct Nomination {
    node: String,
    info: Arc<PodInfo>,
}

/// Where a pod is counted.
#[derive(Debug)]
struct Placed {
    node: String,
    assumed: bool,
}

/// The scheduler's own view of the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: OrdMap<String, Arc<NodeInfo>>,
    /// Nodes that only pods speak of: they are rare (one was just deleted), and no decision sees them.
    unknown: BTreeMap<String, Arc<NodeInfo>>,
    placed: BTreeMap<String, Placed>,
    nominations: BTreeMap<String, Nomination>,
    nominated: Nominated,
    namespaces: crate::snapshot::Namespaces,
    index: PodIndex,
    order: Order,
    /// Nodes came, went or moved to another zone since the order was made.
    disordered: bool,
}

impl Cluster {
    /// Returns what a decision sees.
    pub fn snapshot(&mut self) -> Snapshot {
        if std::mem::take(&mut self.disordered) {
            self.order = Order::new(&self.nodes);
        }
        Snapshot {
            nodes: self.nodes.clone(),
            namespaces: self.namespaces.clone(),
            nominated: self.nominated.clone(),
            index: self.index.clone(),
            order: self.order.clone(),
            ..Snapshot::default()
        }
    }

    /// Prepares for a decision about a pod: what its profile's plugins will ask of placed pods is kept from now on.
    pub fn attend_to(&mut self, profile: &Profile, pod: &PodInfo) {
        for enabled in &profile.plugins {
            for query in enabled.plugin.asks(pod) {
                self.index.attend(query, &self.nodes);
            }
        }
    }

    /// Returns what is known of a node.
    pub fn node(&self, name: &str) -> Option<Arc<NodeInfo>> {
        self.nodes.get(name).cloned()
    }

    fn renominate(&mut self) {
        let mut by_node: BTreeMap<&str, Vec<Arc<PodInfo>>> = BTreeMap::new();
        for nomination in self.nominations.values() {
            let waiting = by_node.entry(&nomination.node).or_default();
            waiting.push(Arc::clone(&nomination.info));
        }
        self.nominated = by_node
            .into_iter()
            .map(|(node, waiting)| (node.to_owned(), waiting))
            .collect();
    }

    /// Keeps room on a node for a pod that is not there yet.
    pub(crate) fn nominate(&mut self, info: Arc<PodInfo>, node: &str) {
        if self.placed.contains_key(&info.uid) {
            return;
        }
        let node = node.to_owned();
        self.nominations.insert(info.uid.clone(), Nomination { node, info });
        self.renominate();
    }

    /// Keeps room for a pod no longer; tells whether some was kept.
    pub(crate) fn withdraw(&mut self, uid: &str) -> bool {
        let withdrawn = self.nominations.remove(uid).is_some();
        if withdrawn {
            self.renominate();
        }
        withdrawn
    }

    /// Takes a node that is new or has changed; returns what it was before.
    pub fn set_node(&mut self, node: Arc<Node>) -> Option<Arc<Node>> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let known = self.nodes.remove(&name).or_else(|| self.unknown.remove(&name));
        let mut info = known.unwrap_or_else(|| fresh(&name));
        let old = info.node.clone();
        let moved = old
            .as_ref()
            .is_none_or(|old| old.metadata.labels != node.metadata.labels);
        self.index.count_node(&info, -1);
        if moved {
            self.count_pods(&info, -1);
        }
        let changed = Arc::make_mut(&mut info);
        changed.set_node(node);
        self.index.share_symbols(changed);
        self.index.count_node(&info, 1);
        if moved {
            self.count_pods(&info, 1);
        }
        self.disordered |= moved;
        if !self.disordered {
            self.order.set(Arc::clone(&info));
        }
        self.nodes.insert(name, info);
        old
    }

    fn count_pods(&mut self, node: &NodeInfo, by: i64) {
        for pod in node.pods.values() {
            self.index.count(pod, node, by);
        }
    }

    /// Forgets a node; pods that are still said to be on it stay counted.
    pub fn remove_node(&mut self, name: &str) {
        let Some(mut info) = self.nodes.remove(name) else {
            return;
        };
        self.disordered = true;
        self.index.count_node(&info, -1);
        self.count_pods(&info, -1);
        Arc::make_mut(&mut info).forget_node();
        self.count_pods(&info, 1);
        if !info.pods.is_empty() {
            self.unknown.insert(name.to_owned(), info);
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
    pub fn set_placed(&mut self, info: Arc<PodInfo>, node: &str) {
        self.place(info, node, false);
    }

    /// Returns a pod that is counted somewhere, and where.
    pub(crate) fn placed(&self, uid: &str) -> Option<(&Arc<PodInfo>, &str)> {
        let node = self.placed.get(uid)?.node.as_str();
        let info = self.nodes.get(node).or_else(|| self.unknown.get(node))?;
        Some((info.pods.get(uid)?, node))
    }

    /// Counts a pod on a node before the API server has confirmed that.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
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
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else {
            return false;
        };
        self.change_node(&placed.node, |info, index| {
            if let Some(pod) = info.pods.get(uid).cloned() {
                index.count(&pod, info, -1);
                info.remove_pod(uid);
            }
        });
        true
    }

    /// Changes what is on a node, and keeps what follows from it.
    fn change_node(&mut self, name: &str, change: impl FnOnce(&mut NodeInfo, &mut PodIndex)) {
        if let Some(info) = self.nodes.get_mut(name) {
            if !self.disordered {
                self.order.release(name);
            }
            change(Arc::make_mut(info), &mut self.index);
            if !self.disordered {
                self.order.set(Arc::clone(info));
            }
            return;
        }
        let info = self.unknown.entry(name.to_owned()).or_insert_with(|| fresh(name));
        change(Arc::make_mut(info), &mut self.index);
        if info.pods.is_empty() {
            self.unknown.remove(name);
        }
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
        self.renominate();
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
        self.withdraw(&uid);
        if self.placed.get(&uid).is_some_and(|placed| placed.node != node) {
            self.remove_pod(&uid);
        }
        self.change_node(node, |there, index| {
            if let Some(old) = there.pods.get(&info.uid).cloned() {
                index.count(&old, there, -1);
            }
            index.count(&info, there, 1);
            there.add_pod(info);
        });
        let node = node.to_owned();
        self.placed.insert(uid, Placed { node, assumed });
    }
}

fn fresh(name: &str) -> Arc<NodeInfo> {
    Arc::new(NodeInfo::named(name))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;
    use crate::query::Query;
    use crate::symbol::Symbol;

    fn node(at: u64, zone: u64) -> Arc<Node> {
        let name = format!("n{at}");
        let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("z{zone}")});
        let images = json!([{"names": [format!("image:{}", at % 2)], "sizeBytes": 1}]);
        let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"images": images, "allocatable": {"pods": "20"}}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(at: u64, kind: u64) -> Arc<PodInfo> {
        let term =
            json!({"labelSelector": {"matchLabels": {"app": "a0"}}, "topologyKey": "topology.kubernetes.io/zone"});
        let affinity = match kind {
            0 => json!({}),
            1 => json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
            2 => {
                json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": term}]}})
            }
            _ => json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
        };
        let constraint = json!({
            "maxSkew": 1 + at % 2, "topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": "a0"}},
            "whenUnsatisfiable": if at.is_multiple_of(3) { "DoNotSchedule" } else { "ScheduleAnyway" },
        });
        let spread = if at.is_multiple_of(2) {
            json!([constraint])
        } else {
            json!([])
        };
        let pod = json!({
            "metadata": {"name": format!("p{at}"), "namespace": "d", "uid": format!("u{at}"), "labels": {"app": format!("a{kind}")}},
            "spec": {"affinity": affinity, "topologySpreadConstraints": spread, "containers": []},
        });
        let selector = (at % 4 != 1).then(|| LabelSelector::parse("app in (a0,a2)").unwrap());
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()), selector))
    }

    /// What plugins would ask about such a pod.
    fn questions(of: &PodInfo) -> Vec<Query<'_>> {
        static PROFILE: LazyLock<Profile> = LazyLock::new(Profile::default);
        PROFILE
            .plugins
            .iter()
            .flat_map(|enabled| enabled.plugin.asks(of))
            .collect()
    }

    /// What is counted as things come and go is what counting all of them anew gives, whatever came and went.
    #[test]
    fn the_index_is_what_counting_anew_gives() {
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let mut cluster = Cluster::default();
        for step in 0..2000 {
            let (at, kind) = (next(6), next(4));
            match next(7) {
                0 | 1 => {
                    cluster.set_node(node(at, next(3)));
                }
                2 => cluster.remove_node(&format!("n{at}")),
                3 => {
                    cluster.remove_pod(&format!("u{}", next(12)));
                }
                4 => cluster.assume(pod(next(12), kind), &format!("n{at}")),
                5 => cluster.attend_to(&Profile::default(), &pod(next(12), kind)),
                _ => cluster.set_placed(pod(next(12), kind), &format!("n{at}")),
            }
            let snapshot = cluster.snapshot();
            let anew = Snapshot::new(snapshot.nodes.clone(), Default::default(), Default::default());
            // Pods on nodes that are not known any more are in the one and not in the other: they are in no domain.
            let known = |snapshot: &Snapshot| {
                let classes = snapshot.index.classes().map(|class| {
                    let on = class.on.iter();
                    let on: Vec<_> = on
                        .filter(|(name, _)| snapshot.nodes.contains_key(name.as_str()))
                        .collect();
                    format!("{:?} {:?} {on:?}", class.labels, class.leaving)
                });
                let carried = snapshot.index.carried();
                let carried = carried.map(|carried| format!("{:?} {:?}", carried.speech, carried.counts));
                let mut all: Vec<String> = classes.chain(carried).filter(|line| !line.ends_with("[]")).collect();
                all.retain(|line| !line.contains("values: {}"));
                let nodes = snapshot.index.nodes_per_domain("topology.kubernetes.io/zone");
                let images = snapshot.index.image(&Symbol::new("image:0"));
                format!("{all:#?} {nodes:?} {images:?} {}", snapshot.order.len())
            };
            assert_eq!(known(&snapshot), known(&anew), "after step {step}");
            for kept in snapshot.index.kept() {
                let counted = snapshot.index.counted_anew(&kept.query, &snapshot.nodes);
                assert_eq!(kept.counts, counted, "{:?} after step {step}", kept.query);
            }
        }
        assert!(cluster.index.kept().count() >= 4, "what is asked is kept");
    }

    /// A decision is the same whether the answers to its questions are kept or counted for it.
    #[test]
    fn kept_answers_change_no_decision() {
        let mut random = 3u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let (profile, mut cluster) = (Profile::default(), Cluster::default());
        for at in 0..8 {
            cluster.set_node(node(at, at % 3));
        }
        for step in 0..400u64 {
            let asked = pod(step, next(4));
            let turn = crate::Turn {
                tie: next(1000),
                ..crate::Turn::default()
            };
            let without = crate::decide_for(&profile, &asked, &cluster.snapshot(), turn);
            cluster.attend_to(&profile, &asked);
            assert!(questions(&asked).is_empty() || cluster.index.kept().count() > 0);
            let with = crate::decide_for(&profile, &asked, &cluster.snapshot(), turn);
            assert_eq!(without.verdicts(), with.verdicts(), "step {step}");
            assert_eq!(without.node, with.node, "step {step}");
            if let Some(node) = with.node {
                cluster.assume(asked, &node);
            }
            if next(3) == 0 {
                cluster.remove_pod(&format!("u{}", next(step + 1)));
            }
        }
    }
}
