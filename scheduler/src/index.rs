//! What placed pods mean to others, counted per topology domain as pods come and go, so that no decision visits all pods.
//!
//! Pods of one namespace with the same labels are one [`Class`]: a selector is asked once per class. Their affinity terms are
//! kept once per distinct term ([`Carried`]). Both hold, per topology key, how many there are per value of the key.
//! Everything is persistent: a snapshot shares it, and changing it copies what changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::core::v1::Node;

use crate::pod_info::{AffinityTerm, PodInfo};

/// The node label that is a node's own domain.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// The node label of zones.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// How many per value of a topology key.
pub type Counts = OrdMap<Arc<str>, i64>;

/// What makes pods equal to a selector: namespace, whether they are leaving, labels.
type ClassKey = (String, bool, BTreeMap<String, String>);

/// Placed pods that no selector can tell apart.
#[derive(Clone, Debug)]
pub struct Class {
    /// Their namespace.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Whether they are being deleted.
    pub leaving: bool,
    /// How many there are on each node.
    pub on: Counts,
    /// How many there are in each domain, by topology key.
    domains: BTreeMap<Arc<str>, Counts>,
}

/// How a placed pod's term speaks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speech {
    /// It must not be near them.
    Against,
    /// It must be near them.
    With,
    /// It wishes to be near them, with this weight (negative: far).
    Wish(i64),
}

/// A term that placed pods carry, and where they are.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The term.
    pub term: AffinityTerm,
    /// How it speaks.
    pub speech: Speech,
    /// How many pods carry it, per value of its topology key.
    pub counts: Counts,
    /// How many pods carry it, also where nodes lack the key.
    carriers: i64,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub struct PodIndex {
    classes: OrdMap<ClassKey, Arc<Class>>,
    carried: OrdMap<(Speech, Arc<str>), Arc<Carried>>,
    nodes: BTreeMap<Arc<str>, Counts>,
    images: Counts,
}

fn change(counts: &mut Counts, value: &str, by: i64) {
    match counts.get_mut(value) {
        Some(count) => {
            *count += by;
            if *count == 0 {
                counts.remove(value);
            }
        }
        None => {
            counts.insert(value.into(), by);
        }
    }
}

fn change_in(domains: &mut BTreeMap<Arc<str>, Counts>, key: &str, value: &str, by: i64) {
    if let Some(counts) = domains.get_mut(key) {
        change(counts, value, by);
        if counts.is_empty() {
            domains.remove(key);
        }
        return;
    }
    domains.insert(key.into(), Counts::unit(value.into(), by));
}

fn label<'a>(node: Option<&'a Node>, key: &str) -> Option<&'a str> {
    let labels = node?.metadata.labels.as_ref()?;
    labels.get(key).map(String::as_str)
}

impl Class {
    fn domains_of(&self, key: &str, nodes: &OrdMap<String, Arc<crate::snapshot::NodeInfo>>) -> Counts {
        let mut counts = Counts::new();
        for (name, count) in &self.on {
            if let Some(value) = nodes.get(&**name).and_then(|node| node.label(key)) {
                change(&mut counts, value, *count);
            }
        }
        counts
    }

    /// How many there are in each domain of a topology key. Keys that are asked for often are kept; others are counted now.
    pub fn per_domain(
        &self,
        key: &str,
        nodes: &OrdMap<String, Arc<crate::snapshot::NodeInfo>>,
    ) -> std::borrow::Cow<'_, Counts> {
        match self.domains.get(key) {
            Some(counts) => std::borrow::Cow::Borrowed(counts),
            None if KEPT.contains(&key) => std::borrow::Cow::Owned(Counts::new()),
            None => std::borrow::Cow::Owned(self.domains_of(key, nodes)),
        }
    }
}

/// The topology keys that classes are counted by as pods come and go.
const KEPT: [&str; 3] = [HOSTNAME, ZONE, "topology.kubernetes.io/region"];

impl PodIndex {
    /// Counts a pod on a node, or takes it out (`by` is 1 or -1).
    pub(crate) fn count(&mut self, pod: &PodInfo, name: &str, node: Option<&Node>, by: i64) {
        let labels = pod.pod.metadata.labels.clone().unwrap_or_default();
        let key: ClassKey = (pod.key.namespace.clone(), pod.is_terminating(), labels);
        let class = self.classes.entry(key.clone()).or_insert_with(|| {
            Arc::new(Class {
                namespace: key.0.clone(),
                leaving: key.1,
                labels: key.2.clone(),
                on: Counts::new(),
                domains: BTreeMap::new(),
            })
        });
        let class = Arc::make_mut(class);
        change(&mut class.on, name, by);
        for kept in KEPT {
            if let Some(value) = label(node, kept) {
                change_in(&mut class.domains, kept, value, by);
            }
        }
        if class.on.is_empty() {
            self.classes.remove(&key);
        }
        for (speech, term) in terms(pod) {
            self.count_term(speech, term, node, by);
        }
    }

    fn count_term(&mut self, speech: Speech, term: &AffinityTerm, node: Option<&Node>, by: i64) {
        let key = (speech, Arc::clone(&term.identity));
        let carried = self.carried.entry(key.clone()).or_insert_with(|| {
            Arc::new(Carried {
                term: term.clone(),
                speech,
                counts: Counts::new(),
                carriers: 0,
            })
        });
        let carried = Arc::make_mut(carried);
        carried.carriers += by;
        if let Some(value) = label(node, &term.topology_key) {
            change(&mut carried.counts, value, by);
        }
        if carried.carriers == 0 {
            self.carried.remove(&key);
        }
    }

    /// Counts a node among those of its domains, or takes it out.
    pub(crate) fn count_node(&mut self, node: &Node, images: &BTreeMap<String, i64>, by: i64) {
        for image in images.keys() {
            change(&mut self.images, image, by);
        }
        for kept in KEPT {
            if let Some(value) = label(Some(node), kept) {
                change_in(&mut self.nodes, kept, value, by);
            }
        }
    }

    /// Returns the nodes per value of a topology key, where that is kept.
    pub fn nodes_per_domain(&self, key: &str) -> Option<&Counts> {
        self.nodes.get(key)
    }

    /// Returns how many nodes have an image.
    pub fn nodes_with_image(&self, image: &str) -> i64 {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Visits the classes of placed pods.
    pub fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.values().map(|class| &**class)
    }

    /// Visits the classes of one namespace.
    pub fn classes_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Class> {
        let first: ClassKey = (namespace.to_owned(), false, BTreeMap::new());
        let range = self.classes.range(first..);
        range
            .map(|(_, class)| &**class)
            .take_while(move |class| class.namespace == namespace)
    }

    /// Visits the terms that placed pods carry.
    pub fn carried(&self) -> impl Iterator<Item = &Carried> {
        self.carried.values().map(|carried| &**carried)
    }
}

/// What a pod says of others.
fn terms(pod: &PodInfo) -> impl Iterator<Item = (Speech, &AffinityTerm)> {
    let against = pod.anti_affinity.iter().map(|term| (Speech::Against, term));
    let with = pod.affinity.iter().map(|term| (Speech::With, term));
    let wishes = pod.preferred.iter().map(|(weight, term)| (Speech::Wish(*weight), term));
    against.chain(with).chain(wishes)
}
