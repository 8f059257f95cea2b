//! A node with everything about it worked out once that plugins ask for again and again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::index::{HOSTNAME, KEYS, REGION, ZONE};
use crate::pod_info::PodInfo;
use crate::resources::Resources;
use crate::symbol::Symbol;

/// The images that a node has, by every name, with their sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images(Vec<(Symbol, i64)>);

impl Images {
    fn of(node: &Node) -> Self {
        let images = node.status.as_ref().and_then(|status| status.images.as_ref());
        let named = images.into_iter().flatten().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            let names = image.names.iter().flatten();
            names.map(move |name| (Symbol::new(&normalized_image(name)), size))
        });
        // Of a name that is there twice the last one counts.
        let named: BTreeMap<Symbol, i64> = named.collect();
        Self(named.into_iter().collect())
    }

    /// Returns the size of an image that is there.
    pub fn size(&self, name: &Symbol) -> Option<i64> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(name)).ok()?;
        self.0.get(at).map(|(_, size)| *size)
    }

    /// Visits the names with the sizes.
    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, i64)> {
        self.0.iter().map(|(name, size)| (name, *size))
    }
}

/// A node and what is on it, assumed pods included.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; `None` while only pods are known that say they run there.
    pub node: Option<Arc<Node>>,
    /// Its name.
    pub name: String,
    /// Its name, as things are counted by it.
    pub id: Symbol,
    /// The pods on it, by uid.
    pub pods: OrdMap<String, Arc<PodInfo>>,
    /// What they request together.
    pub requested: Resources,
    /// What they count for in scores together.
    pub scored: Resources,
    /// What the node can give.
    pub allocatable: Resources,
    /// The images that it has.
    pub images: Arc<Images>,
    /// Its values of [`KEYS`].
    domains: [Option<Symbol>; KEYS.len()],
    unschedulable: bool,
    tainted: bool,
}

impl NodeInfo {
    /// Makes a node of which only the name is known.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: Symbol::new(name),
            ..Self::default()
        }
    }

    /// Takes (or replaces) the node's own part.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        self.name = node.metadata.name.clone().unwrap_or_default();
        self.id = Symbol::new(&self.name);
        self.allocatable = Resources::from_wire(status.and_then(|status| status.allocatable.as_ref()));
        self.images = Arc::new(Images::of(&node));
        let labels = node.metadata.labels.as_ref();
        self.domains = KEYS.map(|key| labels?.get(key).map(|value| Symbol::new(value)));
        self.unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        self.tainted = spec
            .and_then(|spec| spec.taints.as_ref())
            .is_some_and(|taints| !taints.is_empty());
        self.node = Some(node);
    }

    /// Replaces symbols by equal ones that others have already.
    pub(crate) fn share_symbols(
        &mut self,
        domain: impl Fn(usize, &Symbol) -> Option<Symbol>,
        image: impl Fn(&Symbol) -> Option<Symbol>,
    ) {
        for (at, own) in self.domains.iter_mut().enumerate() {
            if let Some(own) = own
                && let Some(shared) = domain(at, own)
            {
                *own = shared;
            }
        }
        for (own, _) in &mut Arc::make_mut(&mut self.images).0 {
            if let Some(shared) = image(own) {
                *own = shared;
            }
        }
    }

    /// Forgets the node's own part; the pods stay.
    pub fn forget_node(&mut self) {
        *self = Self {
            pods: std::mem::take(&mut self.pods),
            requested: std::mem::take(&mut self.requested),
            scored: std::mem::take(&mut self.scored),
            ..Self::named(&self.name)
        };
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
        let labels = self.node.as_ref()?.metadata.labels.as_ref()?;
        labels.get(key).map(String::as_str)
    }

    /// Returns a node label as things are counted by it.
    pub fn domain(&self, key: &str) -> Option<Cow<'_, Symbol>> {
        let [hostname, zone, region] = &self.domains;
        let at_hand = match key {
            HOSTNAME => hostname,
            ZONE => zone,
            REGION => region,
            other => return self.label(other).map(|value| Cow::Owned(Symbol::new(value))),
        };
        at_hand.as_ref().map(Cow::Borrowed)
    }

    /// Tells whether the node has a label.
    pub fn has_label(&self, key: &str) -> bool {
        self.domain(key).is_some()
    }

    /// Returns the node's region and zone, both empty where it has none.
    pub fn zone(&self) -> (&str, &str) {
        (
            self.label(REGION).unwrap_or_default(),
            self.label(ZONE).unwrap_or_default(),
        )
    }

    /// Returns the node's taints.
    pub fn taints(&self) -> &[Taint] {
        if !self.tainted {
            return &[];
        }
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    /// Tells whether the node is cordoned.
    pub fn is_unschedulable(&self) -> bool {
        self.unschedulable
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
