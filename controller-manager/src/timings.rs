//! How long things take.

use std::time::Duration;

/// Every period and patience of the controllers. The defaults are upstream's; a lab shortens them.
#[derive(Clone, Debug)]
pub struct Timings {
    /// How long a node may stay silent before it counts as not ready. Upstream (1.36): 50 s.
    pub node_monitor_grace: Duration,
    /// The same for a node that has never reported. Upstream: 60 s.
    pub node_startup_grace: Duration,
    /// How often silent nodes are looked at. Upstream: 5 s.
    pub node_monitor_period: Duration,
    /// From how many nodes of a zone pods are driven away per second. Upstream: 0.1.
    pub node_eviction_rate: f64,
    /// The same while many nodes of a large zone are lost. Upstream: 0.01.
    pub secondary_node_eviction_rate: f64,
    /// Which share of a zone's nodes must be lost for that. Upstream: 0.55.
    pub unhealthy_zone_threshold: f64,
    /// A zone is large with more nodes than this; a smaller one evicts nobody while many are lost. Upstream: 50.
    pub large_cluster_threshold: usize,
    /// The longest pause between attempts of any controller. Upstream: 1000 s.
    pub max_backoff: Duration,
    /// How often pods are looked through for garbage. Upstream: 20 s.
    pub pod_gc_period: Duration,
    /// How long a node must be gone before its pods go too. Upstream: 40 s.
    pub pod_gc_quarantine: Duration,
    /// How many terminated pods are kept. Upstream: 12500.
    pub terminated_pod_threshold: usize,
    /// How soon a namespace that is being emptied is looked at again.
    pub namespace_retry: Duration,
    /// How long a signed certificate is valid. Upstream: one year.
    pub certificate_duration: Duration,
    /// How long an eviction that a disruption budget granted may stay unseen. Upstream: 2 minutes.
    pub disruption_timeout: Duration,
    /// How often autoscalers look at their metrics. Upstream: 15 s.
    pub autoscaler_period: Duration,
    /// For how long the highest recommendation holds before less is done. Upstream: 5 minutes.
    pub autoscaler_stabilization: Duration,
    /// For how long after its start a pod's use of processors says little. Upstream: 5 minutes.
    pub autoscaler_cpu_initialization: Duration,
    /// A pod that was not ready for longer than this after its start was ready once. Upstream: 30 s.
    pub autoscaler_initial_readiness: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            node_monitor_grace: Duration::from_secs(50),
            node_startup_grace: Duration::from_secs(60),
            node_monitor_period: Duration::from_secs(5),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_threshold: 50,
            max_backoff: Duration::from_secs(1000),
            pod_gc_period: Duration::from_secs(20),
            pod_gc_quarantine: Duration::from_secs(40),
            terminated_pod_threshold: 12_500,
            namespace_retry: Duration::from_secs(1),
            certificate_duration: Duration::from_secs(365 * 24 * 3600),
            disruption_timeout: Duration::from_secs(120),
            autoscaler_period: Duration::from_secs(15),
            autoscaler_stabilization: Duration::from_secs(300),
            autoscaler_cpu_initialization: Duration::from_secs(300),
            autoscaler_initial_readiness: Duration::from_secs(30),
        }
    }
}

impl Timings {
    /// The lab's: the story of a dead node fits in half a minute.
    pub fn lab() -> Self {
        Self {
            node_monitor_grace: Duration::from_secs(6),
            node_startup_grace: Duration::from_secs(10),
            node_monitor_period: Duration::from_secs(1),
            node_eviction_rate: 1.0,
            secondary_node_eviction_rate: 0.1,
            max_backoff: Duration::from_secs(10),
            pod_gc_period: Duration::from_secs(2),
            pod_gc_quarantine: Duration::from_secs(4),
            namespace_retry: Duration::from_millis(300),
            autoscaler_stabilization: Duration::from_secs(60),
            ..Self::default()
        }
    }
}
