//! The plugins: each looks at one concern. Adding one is a file, a line in [`build`] and one in `config::points`.
//!
//! A plugin is *prepared* once per pod (upstream's PreFilter and PreScore); what it prepared then filters and scores nodes.

pub mod args;
mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1::Node;

use crate::pod_info::PodInfo;
use crate::query::Query;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::symbol::Symbol;
use args::Args;

pub use node_affinity::matches_required as matches_node_affinity;
pub use volume_binding::Choice;
pub(crate) use volume_binding::choose as choose_volumes;

/// The best score that a plugin gives a node.
pub const MAX_SCORE: i64 = 100;

/// Something in the cluster that may make a pod schedulable that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterEvent {
    /// A node appeared.
    NodeAdded,
    /// A node is gone.
    NodeRemoved,
    /// A node's allocatable amounts changed.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints changed, or it was (un)cordoned.
    NodeTaints,
    /// A pod was placed on a node, or a placed pod's labels changed.
    PodPlaced,
    /// A placed pod is gone or has ended.
    PodGone,
    /// A claim appeared or changed.
    ClaimChanged,
    /// A volume appeared or changed.
    VolumeChanged,
    /// A storage class appeared or changed.
    ClassChanged,
    /// What CSI drivers say of a node changed, or what is attached to it.
    CsiNodeChanged,
    /// Namespaces, services or owners changed.
    Other,
}

/// What an event was about, where that is known.
#[derive(Clone, Debug)]
pub enum About {
    /// Nothing in particular: it may concern every pod.
    Anything,
    /// A node, before and after.
    Node {
        /// Before; `None` where it is new.
        old: Option<Arc<Node>>,
        /// After; `None` where it is gone.
        new: Option<Arc<Node>>,
    },
    /// A placed pod, before and after.
    Pod {
        /// Before; `None` where it is new.
        old: Option<Arc<PodInfo>>,
        /// After; `None` where it is gone.
        new: Option<Arc<PodInfo>>,
        /// Its node, as it is afterwards.
        node: Option<Arc<NodeInfo>>,
    },
}

/// What happened, and to what.
#[derive(Clone, Debug)]
pub struct Happened {
    /// What.
    pub event: ClusterEvent,
    /// To what.
    pub about: About,
}

impl From<ClusterEvent> for Happened {
    fn from(event: ClusterEvent) -> Self {
        Self {
            event,
            about: About::Anything,
        }
    }
}

/// One reason or several, in upstream's words. Nearly always one: thousands of nodes may be rejected in one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasons {
    /// One.
    One(Cow<'static, str>),
    /// Several.
    Several(Vec<Cow<'static, str>>),
}

impl std::ops::Deref for Reasons {
    type Target = [Cow<'static, str>];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl From<Vec<Cow<'static, str>>> for Reasons {
    fn from(several: Vec<Cow<'static, str>>) -> Self {
        Self::Several(several)
    }
}

/// More about a rejection, for people who ask why; put into words only for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// As it stands here.
    Text(String),
    /// A domain would have too many pods.
    Skew {
        /// The topology key.
        key: Box<str>,
        /// The domain.
        domain: Symbol,
        /// What its skew would be.
        skew: i64,
        /// What it may be.
        most: i64,
    },
}

impl std::fmt::Display for Detail {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Skew {
                key,
                domain,
                skew,
                most,
            } => {
                write!(out, "{key} {domain}: skew would be {skew}, at most {most}")
            }
        }
    }
}

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin that says so.
    pub plugin: &'static str,
    /// In upstream's words; these are counted in the event's message.
    pub reasons: Reasons,
    /// More for people who ask why; not part of upstream's message.
    pub detail: Option<Box<Detail>>,
    /// Whether removing pods from the node could help (upstream's `Unschedulable`, not `UnschedulableAndUnresolvable`).
    pub resolvable: bool,
}

impl Rejection {
    /// Says one reason.
    pub fn new(plugin: &'static str, reason: impl Into<Cow<'static, str>>, resolvable: bool) -> Self {
        Self {
            plugin,
            reasons: Reasons::One(reason.into()),
            detail: None,
            resolvable,
        }
    }
}

/// One concern of scheduling.
pub trait Plugin: Send + Sync + Debug {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// How much its scores count. Upstream's default weights.
    fn weight(&self) -> i64 {
        1
    }

    /// Whether a pod that this plugin rejected may be worth another look after such an event (upstream's `EventsToRegister`).
    fn wakes_on(&self, event: ClusterEvent) -> bool;

    /// Whether this very event may help this very pod (upstream's `QueueingHintFn`). Asked only where [`Self::wakes_on`] agrees.
    fn helps(&self, _pod: &PodInfo, _about: &About) -> bool {
        true
    }

    /// What it will ask of placed pods about such a pod again and again, so that the answers are kept as pods come and go.
    fn asks<'a>(&'a self, _pod: &'a PodInfo) -> Vec<Query<'a>> {
        Vec::new()
    }

    /// Works out what it needs about a pod; `None` when the pod is none of its concern.
    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>>;
}

/// A plugin that knows its pod.
pub trait Prepared {
    /// Says that no node will do, before any is looked at (an unschedulable PreFilter of upstream's).
    fn refusal(&self) -> Option<Rejection> {
        None
    }

    /// Names the only nodes that can do, where that is known beforehand (upstream's `PreFilterResult`).
    fn only(&self) -> Option<BTreeSet<String>> {
        None
    }

    /// Says whether a node can take the pod.
    ///
    /// # Errors
    /// The reasons, when it cannot.
    fn filter(&self, _node: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Scores the nodes that passed all filters, from 0 to [`MAX_SCORE`], in the order given; empty when it has no opinion.
    fn scores(&self, _feasible: &[&NodeInfo]) -> Vec<i64> {
        Vec::new()
    }
}

/// Makes every plugin, in upstream's order of filtering.
pub fn build(args: &Args) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(node_unschedulable::NodeUnschedulable),
        Arc::new(node_name::NodeName),
        Arc::new(taint_toleration::TaintToleration),
        Arc::new(node_affinity::NodeAffinity::new(&args.node_affinity)),
        Arc::new(node_ports::NodePorts),
        Arc::new(node_resources_fit::NodeResourcesFit::new(&args.fit)),
        Arc::new(volume_restrictions::VolumeRestrictions),
        Arc::new(node_volume_limits::NodeVolumeLimits),
        Arc::new(volume_binding::VolumeBinding),
        Arc::new(volume_zone::VolumeZone),
        Arc::new(pod_topology_spread::PodTopologySpread::new(&args.spread)),
        Arc::new(inter_pod_affinity::InterPodAffinity::new(&args.inter_pod_affinity)),
        Arc::new(balanced_allocation::BalancedAllocation::new(&args.balanced)),
        Arc::new(image_locality::ImageLocality),
    ]
}

/// Every plugin with upstream's default arguments.
pub fn all() -> &'static [Arc<dyn Plugin>] {
    static ALL: LazyLock<Vec<Arc<dyn Plugin>>> = LazyLock::new(|| build(&Args::default()));
    &ALL
}

/// Scales scores so that the highest is [`MAX_SCORE`]; `reverse` makes the lowest raw score the best. Upstream's
/// `DefaultNormalizeScore`.
fn normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { *score * MAX_SCORE / highest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// Reads a label of a node that may not be there.
fn node_label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}
