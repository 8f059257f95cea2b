//! What this node, its pods and its containers use.
//!
//! ```text
//! runtime (CRI, cgroups) + pods --observe--> Observed --+--> summary     /stats/summary
//! the sample before -----------> rate ----------------->+--> exposition  /metrics/resource, /metrics/cadvisor
//! ```
//!
//! Counters come from the runtime's port, so that a simulated node has them too. `usageNanoCores` is computed from this sample and
//! the one before (`rate`); whoever asks for the first time gets none.

pub(crate) mod cgroup;
pub(crate) mod exposition;
mod network;
pub(crate) mod rate;
pub(crate) mod summary;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use self::rate::{Rates, Sample};
use crate::node::{self, Disk};
use crate::runtime::{ContainerState, ContainerStats, GroupUsage, RuntimeError};
use crate::spec::resources;
use crate::worker::Shared;

/// The group of the whole machine.
const MACHINE: &str = "/";

/// Everything that there is to tell at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) node: String,
    pub(crate) at: Timestamp,
    /// When the machine was started.
    pub(crate) booted: Option<Timestamp>,
    pub(crate) memory_capacity: u64,
    pub(crate) machine: Option<GroupUsage>,
    pub(crate) machine_rate: Option<u64>,
    pub(crate) disk: Option<Disk>,
    pub(crate) pods: Vec<PodUsage>,
}

/// A pod and what it uses.
#[derive(Clone, Debug)]
pub(crate) struct PodUsage {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) group: Option<GroupUsage>,
    pub(crate) rate: Option<u64>,
    /// On the node's own network, which is counted as the node's.
    pub(crate) host_network: bool,
    pub(crate) containers: Vec<ContainerUsage>,
}

/// A container and what it uses.
#[derive(Clone, Debug)]
pub(crate) struct ContainerUsage {
    pub(crate) started: Option<Timestamp>,
    pub(crate) image: String,
    pub(crate) stats: ContainerStats,
    pub(crate) group: Option<GroupUsage>,
    pub(crate) rate: Option<u64>,
}

/// The samples that the next rates start from.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Rates>);

impl Memory {
    fn advance(&self, samples: Vec<(String, Sample)>) -> Rates {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *rates = rate::advance(&rates, samples);
        rates.clone()
    }
}

/// Looks at everything.
///
/// # Errors
/// When the runtime does not answer.
pub(crate) async fn observe(shared: &Shared) -> Result<Observed, RuntimeError> {
    let mut stats: BTreeMap<String, Vec<ContainerStats>> = BTreeMap::new();
    for container in shared.runtime.container_stats().await? {
        stats.entry(container.pod_uid.clone()).or_default().push(container);
    }
    let mut pods = pods(shared, stats);
    let at = shared.clock.now();
    let groups: Vec<String> = std::iter::once(MACHINE.to_owned())
        .chain(pods.iter().flat_map(|(group, pod)| {
            let below = pod
                .containers
                .iter()
                .map(move |container| below(group, &container.stats.id));
            std::iter::once(group.clone()).chain(below)
        }))
        .collect();
    let mut used = shared.runtime.group_usage(&groups, at).await;
    let mut samples = Vec::new();
    let sample = |group: &GroupUsage| {
        group.cpu_nanos.map(|cpu_nanos| Sample {
            at: group.at,
            cpu_nanos,
        })
    };
    let machine = used.remove(MACHINE);
    samples.extend(
        machine
            .as_ref()
            .and_then(sample)
            .map(|sample| (MACHINE.to_owned(), sample)),
    );
    for (group, pod) in &mut pods {
        pod.group = used.remove(group);
        samples.extend(
            pod.group
                .as_ref()
                .and_then(sample)
                .map(|sample| (group.clone(), sample)),
        );
        for container in &mut pod.containers {
            container.group = used.remove(&below(group, &container.stats.id));
            let (at, cpu_nanos) = (container.stats.at, container.stats.cpu_nanos);
            samples.push((container.stats.id.clone(), Sample { at, cpu_nanos }));
        }
    }
    let rates = shared.usage.advance(samples);
    let rate = |name: &str| rates.get(name).and_then(|rate| rate.nano_cores);
    for (group, pod) in &mut pods {
        pod.rate = rate(group);
        for container in &mut pod.containers {
            container.rate = rate(&container.stats.id);
        }
    }
    Ok(Observed {
        node: shared.config.node_name.clone(),
        at,
        booted: node::booted(&shared.config),
        memory_capacity: u64::try_from(shared.memory_bytes).unwrap_or_default(),
        machine_rate: rate(MACHINE),
        machine,
        disk: node::disk_of(&shared.config),
        pods: pods.into_iter().map(|(_, pod)| pod).collect(),
    })
}

/// A container's group: the runtime makes it in the pod's, under the container's id.
fn below(group: &str, id: &str) -> String {
    format!("{group}/{id}")
}

/// The pods of this node with their groups; nothing is measured yet.
fn pods(shared: &Shared, mut stats: BTreeMap<String, Vec<ContainerStats>>) -> Vec<(String, PodUsage)> {
    let snapshot = shared.relist.latest();
    let mut pods = Vec::new();
    for view in shared.all() {
        let Some(pod) = view.pod.as_ref() else { continue };
        let meta = &pod.metadata;
        let (Some(name), Some(namespace), Some(uid)) = (&meta.name, &meta.namespace, &meta.uid) else {
            continue;
        };
        let known = snapshot.pods.get(uid).map(Arc::clone).unwrap_or_default();
        let containers = stats.remove(uid).unwrap_or_default().into_iter().filter_map(|stats| {
            let record = known.containers.iter().find(|record| record.id == stats.id);
            let started = match record.map(|record| &record.state) {
                Some(ContainerState::Running { started_at }) => Some(*started_at),
                // The runtime also tells of what has ended and uses nothing any more.
                Some(ContainerState::Exited { .. } | ContainerState::Created) => return None,
                _ => None,
            };
            Some(ContainerUsage {
                started,
                image: record.map(|record| record.image.clone()).unwrap_or_default(),
                stats,
                group: None,
                rate: None,
            })
        });
        let status = view.status.as_ref().or(pod.status.as_ref());
        let mut containers: Vec<ContainerUsage> = containers.collect();
        containers.sort_by(|a, b| a.stats.name.cmp(&b.stats.name));
        let usage = PodUsage {
            name: name.clone(),
            namespace: namespace.clone(),
            uid: uid.clone(),
            started: status.and_then(|status| status.start_time.as_ref().map(|at| at.0)),
            group: None,
            rate: None,
            host_network: pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)),
            containers,
        };
        pods.push((resources::cgroup_parent(&shared.config.cgroup_root, pod), usage));
    }
    pods
}

/// Tells what the node uses, in the form of upstream's `/metrics/resource`. For whoever has a kubelet at hand rather than its HTTPS
/// API: the simulation.
///
/// # Errors
/// When the runtime does not answer.
pub async fn resource_metrics(shared: &Shared) -> Result<String, RuntimeError> {
    observe(shared).await.map(|observed| exposition::resource(&observed))
}

#[cfg(test)]
mod tests;
