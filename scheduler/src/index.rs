//! What placed pods mean to others, counted as pods come and go, so that no decision visits all pods.
//!
//! Pods of one namespace with the same labels are one [`Class`]: a selector is asked once per class. What is asked of them again
//! and again ([`Query`]) is answered once and kept from then on. Their affinity terms are kept once per distinct term
//! ([`Carried`]). Everything is persistent: a snapshot shares it, and changing it copies what changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use imbl::OrdMap;

use crate::counts::Counts;
use crate::pod_info::{AffinityTerm, PodInfo};
use crate::query::{Kept, Per, Query};
use crate::snapshot::{Namespaces, NodeInfo};
use crate::symbol::Symbol;

/// The node label that is a node's own domain.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// The node label of zones.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The node label of regions.
pub const REGION: &str = "topology.kubernetes.io/region";

/// The topology keys by which nodes are counted, and whose values nodes have at hand.
pub(crate) const KEYS: [&str; 3] = [HOSTNAME, ZONE, REGION];

/// Answers that are kept. Of more than these the one is given up that was asked for the longest time ago.
const KEPT: usize = 256;

/// Nodes by name.
pub type Nodes = OrdMap<String, Arc<NodeInfo>>;

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
    /// The kept answers that they are counted in. Some may be kept no more.
    kept: Vec<Symbol>,
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

/// The classes of one namespace.
type Classes = OrdMap<Symbol, Arc<Class>>;

/// The index.
#[derive(Clone, Debug, Default)]
pub struct PodIndex {
    classes: OrdMap<String, Classes>,
    carried: OrdMap<(Speech, Symbol), Arc<Carried>>,
    kept: OrdMap<Symbol, Arc<Kept>>,
    /// How many questions were asked.
    asked: u64,
    nodes: [Counts; KEYS.len()],
    images: Counts,
}

/// Equal for pods of one namespace that no selector can tell apart.
fn class_of(pod: &PodInfo) -> Symbol {
    let mut text = String::with_capacity(96);
    text.push_str(if pod.is_terminating() { "leaving" } else { "staying" });
    for (key, value) in pod.pod.metadata.labels.iter().flatten() {
        // Neither a key nor a value has such a character in it; a String takes what is written.
        let _ = write!(text, "\n{key}={value}");
    }
    Symbol::new(&text)
}

impl PodIndex {
    /// Counts a pod on a node, or takes it out (`by` is 1 or -1).
    pub(crate) fn count(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        self.count_in_class(pod, node, by);
        for (speech, term) in terms(pod) {
            self.count_term(speech, term, node, by);
        }
    }

    fn count_in_class(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        let (namespace, key) = (pod.key.namespace.as_str(), class_of(pod));
        if !self
            .classes
            .get(namespace)
            .is_some_and(|classes| classes.contains_key(&key))
        {
            let class = self.new_class(pod);
            let classes = self.classes.entry(namespace.to_owned()).or_default();
            classes.insert(key.clone(), Arc::new(class));
        }
        let Some(classes) = self.classes.get_mut(namespace) else {
            return;
        };
        if let Some(class) = classes.get_mut(&key) {
            let class = Arc::make_mut(class);
            class.on.change(&node.id, by);
            let kept = &mut self.kept;
            class.kept.retain(|identity| match kept.get_mut(identity) {
                Some(answer) => {
                    Arc::make_mut(answer).count(node, by);
                    true
                }
                None => false,
            });
            if class.on.is_empty() {
                classes.remove(&key);
            }
        }
        if classes.is_empty() {
            self.classes.remove(namespace);
        }
    }

    fn new_class(&self, pod: &PodInfo) -> Class {
        let mut class = Class {
            namespace: pod.key.namespace.clone(),
            labels: pod.pod.metadata.labels.clone().unwrap_or_default(),
            leaving: pod.is_terminating(),
            on: Counts::default(),
            kept: Vec::new(),
        };
        let unknown = Namespaces::new();
        let kept = self.kept.values();
        let kept = kept.filter(|kept| kept.query.selects(&class, &unknown));
        class.kept = kept.map(|kept| kept.query.identity.clone()).collect();
        class
    }

    fn count_term(&mut self, speech: Speech, term: &AffinityTerm, node: &NodeInfo, by: i64) {
        let key = (speech, term.identity.clone());
        let carried = self.carried.entry(key.clone()).or_insert_with(|| {
            Arc::new(Carried {
                term: term.clone(),
                speech,
                counts: Counts::default(),
                carriers: 0,
            })
        });
        let carried = Arc::make_mut(carried);
        carried.carriers += by;
        if let Some(domain) = node.domain(&term.topology_key) {
            carried.counts.change(&domain, by);
        }
        if carried.carriers == 0 {
            self.carried.remove(&key);
        }
    }

    /// Keeps the answer to a question from now on, as long as it is asked often enough.
    pub(crate) fn attend(&mut self, query: Query<'_>, nodes: &Nodes) {
        self.asked += 1;
        if let Some(kept) = self.kept.get_mut(&query.identity) {
            Arc::make_mut(kept).asked = self.asked;
            return;
        }
        if !query.can_be_kept() {
            return;
        }
        while self.kept.len() >= KEPT {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.asked);
            let Some(oldest) = oldest.map(|(identity, _)| identity.clone()) else {
                break;
            };
            self.kept.remove(&oldest);
        }
        let unknown = Namespaces::new();
        let counts = self.answer(&query, nodes, &unknown);
        let identity = query.identity.clone();
        let selected = self.meant(&query).filter(|(_, class)| query.selects(class, &unknown));
        let selected: Vec<(String, Symbol)> = selected
            .map(|(key, class)| (class.namespace.clone(), key.clone()))
            .collect();
        for (namespace, key) in selected {
            let class = self
                .classes
                .get_mut(&namespace)
                .and_then(|classes| classes.get_mut(&key));
            if let Some(class) = class.map(Arc::make_mut)
                && !class.kept.contains(&identity)
            {
                class.kept.push(identity.clone());
            }
        }
        let kept = Kept {
            query: query.into_owned(),
            counts,
            asked: self.asked,
        };
        self.kept.insert(identity, kept.shared());
    }

    /// Returns how many of the pods that are asked for are in each domain.
    pub(crate) fn counted<'a>(&'a self, query: &Query<'_>, nodes: &Nodes, namespaces: &Namespaces) -> Cow<'a, Counts> {
        match self.kept.get(&query.identity) {
            Some(kept) => Cow::Borrowed(&kept.counts),
            None => Cow::Owned(self.answer(query, nodes, namespaces)),
        }
    }

    /// Counts class by class.
    fn answer(&self, query: &Query<'_>, nodes: &Nodes, namespaces: &Namespaces) -> Counts {
        let mut counts = Counts::default();
        let selected = self.meant(query).filter(|(_, class)| query.selects(class, namespaces));
        for (name, count) in selected.flat_map(|(_, class)| class.on.iter()) {
            if query.per == Per::Node {
                counts.change(name, count);
            } else if let Some(domain) = nodes.get(name.as_str()).and_then(|node| query.domain(node)) {
                counts.change(&domain, count);
            }
        }
        counts
    }

    /// Visits the classes that a question may be about.
    fn meant<'a>(&'a self, query: &Query<'_>) -> Box<dyn Iterator<Item = (&'a Symbol, &'a Class)> + 'a> {
        let each = |classes: &'a Classes| classes.iter().map(|(key, class)| (key, &**class));
        match query.namespaces() {
            None => Box::new(self.classes.values().flat_map(each)),
            Some(namespaces) => {
                let there: Vec<&Classes> = namespaces.iter().filter_map(|name| self.classes.get(*name)).collect();
                Box::new(there.into_iter().flat_map(each))
            }
        }
    }

    /// Lets a node share the symbols of its domains and images with other nodes: where two are one, no texts are compared.
    pub(crate) fn share_symbols(&self, node: &mut NodeInfo) {
        node.share_symbols(
            |at, domain| self.nodes.get(at)?.known(domain).cloned(),
            |image| self.images.known(image).cloned(),
        );
    }

    /// Returns the symbol of an image as nodes have it, and how many have it; `None` where none has.
    pub fn image(&self, image: &Symbol) -> Option<(Symbol, i64)> {
        let known = self.images.known(image)?;
        Some((known.clone(), self.images.get(known)))
    }

    /// Counts a node among those of its domains, or takes it out.
    pub(crate) fn count_node(&mut self, node: &NodeInfo, by: i64) {
        for (image, _) in node.images.iter() {
            self.images.change(image, by);
        }
        for (key, nodes) in KEYS.iter().zip(&mut self.nodes) {
            if let Some(domain) = node.domain(key) {
                nodes.change(&domain, by);
            }
        }
    }

    /// Returns the nodes per value of a topology key, where that is kept.
    pub fn nodes_per_domain(&self, key: &str) -> Option<&Counts> {
        let at = KEYS.iter().position(|known| *known == key)?;
        self.nodes.get(at)
    }

    /// Visits the classes of placed pods.
    pub fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes
            .values()
            .flat_map(|classes| classes.values())
            .map(|class| &**class)
    }

    /// Visits the terms that placed pods carry.
    pub fn carried(&self) -> impl Iterator<Item = &Carried> {
        self.carried.values().map(|carried| &**carried)
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values().map(|kept| &**kept)
    }

    /// What counting gives, whatever is kept.
    #[cfg(test)]
    pub(crate) fn counted_anew(&self, query: &Query<'_>, nodes: &Nodes) -> Counts {
        self.answer(query, nodes, &Namespaces::new())
    }
}

/// What a pod says of others.
fn terms(pod: &PodInfo) -> impl Iterator<Item = (Speech, &AffinityTerm)> {
    let against = pod.anti_affinity.iter().map(|term| (Speech::Against, term));
    let with = pod.affinity.iter().map(|term| (Speech::With, term));
    let wishes = pod.preferred.iter().map(|(weight, term)| (Speech::Wish(*weight), term));
    against.chain(with).chain(wishes)
}
