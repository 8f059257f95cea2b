//! The plugins: each looks at one concern. Adding one is a file and a line in [`all`].
//!
//! A plugin is *prepared* once per pod (upstream's PreFilter and PreScore); what it prepared then filters and scores nodes.

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

use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

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

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin that says so.
    pub plugin: &'static str,
    /// In upstream's words; these are counted in the event's message.
    pub reasons: Vec<String>,
    /// More for people who ask why; not part of upstream's message.
    pub detail: Option<String>,
    /// Whether removing pods from the node could help (upstream's `Unschedulable`, not `UnschedulableAndUnresolvable`).
    pub resolvable: bool,
    /// Whether it is about the pod and not about the node: no node can take it (upstream's PreFilter).
    pub of_pod: bool,
}

impl Rejection {
    fn new(plugin: &'static str, reason: impl Into<String>, resolvable: bool) -> Self {
        Self {
            plugin,
            reasons: vec![reason.into()],
            detail: None,
            resolvable,
            of_pod: false,
        }
    }

    /// No node can take the pod, and no preemption helps.
    fn of_pod(plugin: &'static str, reason: impl Into<String>) -> Self {
        Self {
            of_pod: true,
            ..Self::new(plugin, reason, false)
        }
    }
}

/// One concern of scheduling.
pub trait Plugin: Send + Sync {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// How much its scores count. Upstream's default weights.
    fn weight(&self) -> i64 {
        1
    }

    /// Whether a pod that this plugin rejected is worth another look after an event.
    fn wakes_on(&self, event: ClusterEvent) -> bool;

    /// Works out what it needs about a pod; `None` when the pod is none of its concern.
    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>>;
}

/// A plugin that knows its pod.
pub trait Prepared {
    /// Says why no node can take the pod, before any node is asked.
    fn refusal(&self) -> Option<Rejection> {
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

/// Every plugin, in upstream's order of filtering.
pub fn all() -> &'static [&'static dyn Plugin] {
    &[
        &node_unschedulable::NodeUnschedulable,
        &node_name::NodeName,
        &taint_toleration::TaintToleration,
        &node_affinity::NodeAffinity,
        &node_ports::NodePorts,
        &node_resources_fit::NodeResourcesFit,
        &volume_restrictions::VolumeRestrictions,
        &node_volume_limits::NodeVolumeLimits,
        &volume_binding::VolumeBinding,
        &volume_zone::VolumeZone,
        &pod_topology_spread::PodTopologySpread,
        &inter_pod_affinity::InterPodAffinity,
        &balanced_allocation::BalancedAllocation,
        &image_locality::ImageLocality,
    ]
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
