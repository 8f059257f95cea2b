//! A profile: which plugins decide about the pods of one `schedulerName`, and how much each counts.

use std::sync::Arc;
use std::time::Duration;

use crate::plugins::args::{Args, PreemptionArgs};
use crate::plugins::{self, Plugin};

/// Fewer nodes than this are always all looked at, as upstream.
const MIN_FEASIBLE: usize = 100;
/// The smallest share of nodes that is looked at, in percent, as upstream.
const MIN_PERCENTAGE: usize = 5;

/// A plugin in a profile.
#[derive(Clone, Debug)]
pub struct Enabled {
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Whether it filters.
    pub filters: bool,
    /// How much its scores count; `None` where it does not score.
    pub weight: Option<i64>,
}

/// How the pods of one scheduler name are scheduled.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Pods with this `spec.schedulerName` are meant.
    pub scheduler_name: String,
    /// The plugins, in the order in which they filter.
    pub plugins: Vec<Enabled>,
    /// Scheduling stops looking for nodes when this share of all of them can take the pod; 0 lets their number decide.
    pub percentage_of_nodes_to_score: usize,
    /// Whether extenders choose among nodes as well, so that one that can take the pod is not enough.
    pub extended: bool,
    /// Whether pods with gates wait (the SchedulingGates plugin).
    pub gates: bool,
    /// Whether room is made for pods that fit nowhere, and how (the DefaultPreemption plugin).
    pub preemption: Option<PreemptionArgs>,
    /// How long a pod waits for its volumes before it is scheduled anew; `None` where nobody binds volumes (the VolumeBinding plugin).
    pub volume_patience: Option<Duration>,
}

impl Default for Profile {
    fn default() -> Self {
        Self::new("default-scheduler", &Args::default())
    }
}

impl Profile {
    /// Makes upstream's default profile with arguments of one's own.
    pub fn new(scheduler_name: &str, args: &Args) -> Self {
        let enabled = |plugin: Arc<dyn Plugin>| Enabled {
            filters: true,
            weight: Some(plugin.weight()),
            plugin,
        };
        Self {
            scheduler_name: scheduler_name.to_owned(),
            plugins: plugins::build(args).into_iter().map(enabled).collect(),
            percentage_of_nodes_to_score: 0,
            extended: false,
            gates: true,
            preemption: Some(args.preemption.clone()),
            volume_patience: Some(args.volume_binding.patience()),
        }
    }

    /// How many nodes that can take a pod are enough, of so many. Upstream's `numFeasibleNodesToFind`.
    pub fn enough(&self, nodes: usize) -> usize {
        if !self.extended && self.plugins.iter().all(|enabled| enabled.weight.is_none()) {
            return 1;
        }
        if nodes < MIN_FEASIBLE {
            return nodes;
        }
        let percentage = match self.percentage_of_nodes_to_score {
            0 => 50usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE),
            given => given.min(100),
        };
        (nodes * percentage / 100).max(MIN_FEASIBLE)
    }
}
