//! What can be told plugins: the `args` of a profile's `pluginConfig`, with upstream's defaults.

use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};

/// The arguments of all plugins of one profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    /// NodeResourcesFit's.
    pub fit: FitArgs,
    /// NodeResourcesBalancedAllocation's.
    pub balanced: BalancedArgs,
    /// InterPodAffinity's.
    pub inter_pod_affinity: InterPodAffinityArgs,
    /// PodTopologySpread's.
    pub spread: SpreadArgs,
    /// NodeAffinity's.
    pub node_affinity: NodeAffinityArgs,
    /// DefaultPreemption's.
    pub preemption: PreemptionArgs,
    /// VolumeBinding's.
    pub volume_binding: VolumeBindingArgs,
}

/// A resource, and how much it counts in a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedResource {
    /// Its name.
    pub name: String,
    /// From 1 to 100.
    pub weight: i64,
}

/// CPU and memory, equally.
pub fn default_resources() -> Vec<WeightedResource> {
    let one = |name: &str| WeightedResource {
        name: name.to_owned(),
        weight: 1,
    };
    vec![one("cpu"), one("memory")]
}

/// A point of a function from utilization to score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapePoint {
    /// In percent.
    pub utilization: i64,
    /// From 0 to 10.
    pub score: i64,
}

/// Which nodes are better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Emptier ones.
    LeastAllocated,
    /// Fuller ones.
    MostAllocated,
    /// As a function says.
    RequestedToCapacityRatio(Vec<ShapePoint>),
}

/// `NodeResourcesFitArgs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FitArgs {
    /// Extended resources that are not looked at.
    pub ignored_resources: Vec<String>,
    /// Groups of extended resources (what stands before the slash) that are not looked at.
    pub ignored_resource_groups: Vec<String>,
    /// Which nodes are better.
    pub strategy: Strategy,
    /// By which resources.
    pub resources: Vec<WeightedResource>,
}

impl Default for FitArgs {
    fn default() -> Self {
        Self {
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            strategy: Strategy::LeastAllocated,
            resources: default_resources(),
        }
    }
}

/// `NodeResourcesBalancedAllocationArgs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancedArgs {
    /// Which resources should fill up evenly.
    pub resources: Vec<WeightedResource>,
}

impl Default for BalancedArgs {
    fn default() -> Self {
        Self {
            resources: default_resources(),
        }
    }
}

/// `InterPodAffinityArgs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterPodAffinityArgs {
    /// What a required affinity of a placed pod counts for in scores.
    pub hard_pod_affinity_weight: i64,
    /// Leave out what placed pods wish when the pod itself wishes nothing.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        Self {
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
        }
    }
}

/// `PodTopologySpreadArgs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpreadArgs {
    /// Constraints of pods that have none (`defaultingType: List`); `None` is the system's own.
    pub default_constraints: Option<Vec<TopologySpreadConstraint>>,
}

/// `NodeAffinityArgs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeAffinityArgs {
    /// Asked of nodes besides what pods ask.
    pub added_affinity: Option<NodeAffinity>,
}

/// `DefaultPreemptionArgs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreemptionArgs {
    /// How many of all nodes are tried at least, in percent.
    pub min_candidate_nodes_percentage: usize,
    /// How many nodes are tried at least.
    pub min_candidate_nodes_absolute: usize,
}

impl Default for PreemptionArgs {
    fn default() -> Self {
        Self {
            min_candidate_nodes_percentage: 10,
            min_candidate_nodes_absolute: 100,
        }
    }
}

/// `VolumeBindingArgs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeBindingArgs {
    /// How long binding a claim may take.
    pub bind_timeout_seconds: i64,
}

impl VolumeBindingArgs {
    /// How long binding a claim may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.bind_timeout_seconds.try_into().unwrap_or(0))
    }
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        Self {
            bind_timeout_seconds: 600,
        }
    }
}
