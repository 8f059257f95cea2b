//! What plugins ask of placed pods: how many of those that are selected are in each domain of a topology key.

use std::borrow::Cow;
use std::sync::Arc;

use timonel_api::selector::LabelSelector;

use crate::index::Class;
use crate::pod_info::AffinityTerm;
use crate::snapshot::{Namespaces, NodeInfo};
use crate::symbol::Symbol;

/// By what pods are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per<'a> {
    /// By the node that they are on.
    Node,
    /// By a label of their node; pods on nodes without it are not counted.
    Label(Cow<'a, str>),
}

/// Which pods are counted.
#[derive(Clone, Debug)]
pub enum Who<'a> {
    /// Those that all of these terms select.
    All(Cow<'a, [AffinityTerm]>),
    /// Those of a namespace that a selector selects and that are not leaving.
    Staying {
        /// The namespace.
        namespace: Cow<'a, str>,
        /// The selector.
        selector: Cow<'a, LabelSelector>,
    },
}

/// A question about placed pods. The [`crate::index::PodIndex`] keeps the answers to those that are asked again and again.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Equal for the same question.
    pub(crate) identity: Symbol,
    pub(crate) per: Per<'a>,
    pub(crate) who: Who<'a>,
}

impl<'a> Query<'a> {
    /// Asks for pods that all of these terms select, in the domains of one of them.
    pub fn selected(terms: &'a [AffinityTerm], per: &'a AffinityTerm) -> Self {
        let identity = match terms {
            [one] => one.identity.clone(),
            several => {
                let all: Vec<&str> = several.iter().map(|term| term.identity.as_str()).collect();
                Symbol::new(&format!("{} in {}", all.join(" and "), per.topology_key))
            }
        };
        Self {
            identity,
            per: Per::Label(Cow::Borrowed(&per.topology_key)),
            who: Who::All(Cow::Borrowed(terms)),
        }
    }

    /// Asks for the pods of a namespace that a selector selects, leaving ones left out.
    pub fn staying(namespace: &'a str, selector: Cow<'a, LabelSelector>, per: Per<'a>) -> Self {
        Self {
            identity: Symbol::new(&format!("staying {namespace} {selector:?} {per:?}")),
            per,
            who: Who::Staying {
                namespace: Cow::Borrowed(namespace),
                selector,
            },
        }
    }

    /// Tells whether pods of a class are counted. `namespaces` gives the labels of namespaces.
    pub(crate) fn selects(&self, class: &Class, namespaces: &Namespaces) -> bool {
        match &self.who {
            Who::All(terms) => terms
                .iter()
                .all(|term| term.selects(&class.namespace, Some(&class.labels), namespaces)),
            Who::Staying { namespace, selector } => {
                !class.leaving && class.namespace == **namespace && selector.matches(&class.labels)
            }
        }
    }

    /// Names the namespaces whose pods alone can be meant, where that is known without their labels.
    pub(crate) fn namespaces(&self) -> Option<Vec<&str>> {
        match &self.who {
            Who::All(terms) => terms.first()?.fixed_namespaces(),
            Who::Staying { namespace, .. } => Some(vec![namespace]),
        }
    }

    /// Whether the answer depends on pods and nodes alone, so that it can be kept as these change.
    pub(crate) fn can_be_kept(&self) -> bool {
        match &self.who {
            Who::All(terms) => terms.iter().all(|term| term.fixed_namespaces().is_some()),
            Who::Staying { .. } => true,
        }
    }

    /// In which domain a node's pods are counted.
    pub(crate) fn domain<'n>(&self, node: &'n NodeInfo) -> Option<Cow<'n, Symbol>> {
        match &self.per {
            Per::Node => Some(Cow::Borrowed(&node.id)),
            Per::Label(key) => node.domain(key),
        }
    }

    /// The same question, kept for longer than whoever asks it.
    pub(crate) fn into_owned(self) -> Query<'static> {
        Query {
            identity: self.identity,
            per: match self.per {
                Per::Node => Per::Node,
                Per::Label(key) => Per::Label(Cow::Owned(key.into_owned())),
            },
            who: match self.who {
                Who::All(terms) => Who::All(Cow::Owned(terms.into_owned())),
                Who::Staying { namespace, selector } => Who::Staying {
                    namespace: Cow::Owned(namespace.into_owned()),
                    selector: Cow::Owned(selector.into_owned()),
                },
            },
        }
    }
}

/// A question with its answer, kept as pods come and go.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) query: Query<'static>,
    pub(crate) counts: crate::counts::Counts,
    /// When it was asked last, counted in questions.
    pub(crate) asked: u64,
}

impl Kept {
    /// Counts pods on a node, or takes them out.
    pub(crate) fn count(&mut self, node: &NodeInfo, by: i64) {
        if let Some(domain) = self.query.domain(node) {
            self.counts.change(&domain, by);
        }
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}
