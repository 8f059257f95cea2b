//! The Node object, built from what was observed: pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::machine::{Machine, Pressure};
use crate::config::Config;
use crate::runtime::{Condition, ImageRecord, RuntimeVersion};

/// The version of Kubernetes that this kubelet behaves as.
const VERSION: &str = "v1.36.0+timonel";
/// Upstream's default hard eviction threshold for memory.
const MEMORY_RESERVE: i64 = 100 << 20;
/// Upstream's default hard eviction threshold for disk, in percent.
const DISK_RESERVE_PERCENT: i64 = 10;
/// As many images as upstream reports.
const MOST_IMAGES: usize = 50;

/// What the node looks like now.
#[derive(Clone, Debug)]
pub(super) struct NodeObserved {
    pub(super) runtime: Option<RuntimeVersion>,
    /// The runtime's conditions, or why there are none.
    pub(super) conditions: Result<Vec<Condition>, String>,
    pub(super) relist: Option<String>,
    pub(super) images: Vec<ImageRecord>,
    pub(super) pressure: Pressure,
}

/// The labels that every node carries.
pub(super) fn labels(config: &Config, machine: &Machine) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = config.node_labels.iter().cloned().collect();
    for (key, value) in [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", machine.architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", machine.architecture),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = match rest.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (rest, None),
    };
    Some(Taint {
        key: key.to_owned(),
        value,
        effect: effect.to_owned(),
        time_added: None,
    })
}

/// The object with which a node registers.
pub(super) fn new_node(config: &Config, machine: &Machine, status: NodeStatus) -> Node {
    let taints: Vec<Taint> = config.register_taints.iter().filter_map(|text| taint(text)).collect();
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels(config, machine)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(taints).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    }
}

fn amounts(config: &Config, machine: &Machine) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
    let capacity = machine.capacity.unwrap_or(crate::config::Capacity {
        milli_cpu: 0,
        memory: 0,
        disk: 0,
    });
    let cpu = if capacity.milli_cpu % 1000 == 0 {
        (capacity.milli_cpu / 1000).to_string()
    } else {
        format!("{}m", capacity.milli_cpu)
    };
    let ki = |bytes: i64| format!("{}Ki", bytes / 1024);
    let list = |memory: String, disk: String| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpu.clone())),
            ("memory".to_owned(), Quantity(memory)),
            ("ephemeral-storage".to_owned(), Quantity(disk)),
            ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ])
    };
    let usable = (capacity.memory - MEMORY_RESERVE).max(0);
    let disk = capacity.disk / 100 * (100 - DISK_RESERVE_PERCENT);
    (
        list(ki(capacity.memory), ki(capacity.disk)),
        list(ki(usable), disk.to_string()),
    )
}

fn ready(observed: &NodeObserved) -> (bool, String) {
    let mut problems = Vec::new();
    match &observed.conditions {
        Err(error) => problems.push(format!("container runtime is down: {error}")),
        Ok(conditions) => {
            for (kind, what) in [
                ("RuntimeReady", "container runtime"),
                ("NetworkReady", "container runtime network"),
            ] {
                match conditions.iter().find(|condition| condition.kind == kind) {
                    Some(condition) if condition.status => {}
                    Some(condition) => problems.push(format!(
                        "{what} not ready: {kind}=false reason:{} message:{}",
                        condition.reason, condition.message
                    )),
                    None => problems.push(format!("{what} status check may not have completed yet")),
                }
            }
        }
    }
    problems.extend(
        observed
            .relist
            .as_ref()
            .map(|error| format!("PLEG is not healthy: {error}")),
    );
    match problems.len() {
        0 => (true, "kubelet is posting ready status".to_owned()),
        1 => (false, problems.remove(0)),
        _ => (false, format!("[{}]", problems.join(", "))),
    }
}

fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Projects the node's status. `old` is what was reported before, for times of transitions.
pub(super) fn status(
    config: &Config,
    machine: &Machine,
    observed: &NodeObserved,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let (capacity, allocatable) = amounts(config, machine);
    let now = seconds(now);
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let before = old
            .and_then(|old| old.conditions.as_ref())
            .and_then(|list| list.iter().find(|condition| condition.type_ == kind));
        let since = before
            .filter(|before| before.status == status)
            .and_then(|before| before.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        }
    };
    let short = |value: Option<i64>, least: i64| value.is_some_and(|value| value < least);
    let memory = short(observed.pressure.memory_available, MEMORY_RESERVE);
    let disk = short(observed.pressure.disk_available_percent, DISK_RESERVE_PERCENT);
    let pids = short(observed.pressure.pids_left_percent, 5);
    let pick =
        |bad: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| if bad { yes } else { no };
    let memory_words = pick(
        memory,
        (
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk_words = pick(
        disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pid_words = pick(
        pids,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let (is_ready, ready_message) = ready(observed);
    let ready_reason = if is_ready { "KubeletReady" } else { "KubeletNotReady" };
    let version = observed.runtime.clone().unwrap_or_default();
    let mut images: Vec<ContainerImage> = observed
        .images
        .iter()
        .map(|image| ContainerImage {
            names: Some(image.digests.iter().chain(&image.tags).cloned().collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect();
    images.sort_by(|a, b| (b.size_bytes, &a.names).cmp(&(a.size_bytes, &b.names)));
    images.truncate(MOST_IMAGES);
    NodeStatus {
        addresses: Some(vec![
            NodeAddress {
                type_: "InternalIP".to_owned(),
                address: config.node_ip.to_string(),
            },
            NodeAddress {
                type_: "Hostname".to_owned(),
                address: config.node_name.clone(),
            },
        ]),
        allocatable: Some(allocatable),
        capacity: Some(capacity),
        conditions: Some(vec![
            condition("MemoryPressure", memory, memory_words.0, memory_words.1),
            condition("DiskPressure", disk, disk_words.0, disk_words.1),
            condition("PIDPressure", pids, pid_words.0, pid_words.1),
            condition("Ready", is_ready, ready_reason, &ready_message),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(config.port),
            }),
        }),
        images: Some(images),
        node_info: Some(NodeSystemInfo {
            architecture: machine.architecture.to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!("{}://{}", version.name, version.version),
            kernel_version: machine.kernel.clone(),
            kubelet_version: VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// Whether two statuses say the same, but for when they were said.
pub(super) fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let without_time = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        status
    };
    without_time(a) == without_time(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_pod_network_says_so() {
        let config = Config::hollow("n", [10, 0, 0, 1].into());
        let machine = Machine::observe(&config);
        let mut observed = NodeObserved {
            runtime: None,
            conditions: Ok(Vec::new()),
            relist: None,
            images: Vec::new(),
            pressure: Pressure::default(),
        };
        let one = |kind: &str, status| Condition {
            kind: kind.into(),
            status,
            reason: "NetworkPluginNotReady".into(),
            message: "Network plugin returns error: cni plugin not initialized".into(),
        };
        observed.conditions = Ok(vec![one("RuntimeReady", true), one("NetworkReady", false)]);
        let status = status(&config, &machine, &observed, None, Timestamp::UNIX_EPOCH);
        let ready = status.conditions.unwrap().pop().unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_deref()),
            ("False", Some("KubeletNotReady"))
        );
        assert_eq!(
            ready.message.unwrap(),
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
        );
    }
}
