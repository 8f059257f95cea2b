//! `/stats/summary`: upstream's `Summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`). Fields that nobody measured are left out.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{ContainerUsage, Observed, PodUsage};
use crate::node::Disk;
use crate::runtime::{GroupUsage, InterfaceUsage, MemoryUsage};

/// Upstream's times have whole seconds.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Removes what is null: Go's `omitempty`.
fn dense(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> = map.into_iter().filter(|(_, value)| !value.is_null()).collect();
            kept.into()
        }
        other => other,
    }
}

fn cpu(at: Timestamp, total: Option<u64>, rate: Option<u64>) -> Value {
    match total {
        Some(total) => dense(json!({"time": time(at), "usageNanoCores": rate, "usageCoreNanoSeconds": total})),
        None => Value::Null,
    }
}

fn memory(at: Timestamp, memory: Option<&MemoryUsage>, capacity: Option<u64>) -> Value {
    let Some(memory) = memory else { return Value::Null };
    let limit = memory.limit.or(capacity);
    dense(json!({
        "time": time(at),
        "availableBytes": limit.map(|limit| limit.saturating_sub(memory.working_set)),
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.page_faults,
        "majorPageFaults": memory.major_page_faults,
    }))
}

fn interface(usage: &InterfaceUsage) -> Value {
    json!({
        "name": usage.name,
        "rxBytes": usage.rx_bytes,
        "rxErrors": usage.rx_errors,
        "txBytes": usage.tx_bytes,
        "txErrors": usage.tx_errors,
    })
}

/// The interface that counts first is `eth0`, as upstream's default; else the first by name.
fn network(at: Timestamp, interfaces: &[InterfaceUsage]) -> Value {
    let main = interfaces
        .iter()
        .find(|interface| interface.name == "eth0")
        .or_else(|| interfaces.first());
    let Some(main) = main else { return Value::Null };
    let mut network = interface(main);
    network["time"] = time(at).into();
    network["interfaces"] = interfaces.iter().map(interface).collect();
    network
}

fn disk(at: Timestamp, disk: Option<&Disk>) -> Value {
    let Some(disk) = disk else { return Value::Null };
    json!({
        "time": time(at),
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": disk.capacity.saturating_sub(disk.free),
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": disk.inodes.saturating_sub(disk.inodes_free),
    })
}

fn container(container: &ContainerUsage, node: Option<&Disk>) -> Value {
    let stats = &container.stats;
    let group = container.group.as_ref().and_then(|group| group.memory.as_ref());
    // The runtime knows the working set; the rest of it only the group does.
    let memory = match group {
        Some(_) => memory(stats.at, group, None),
        None => json!({"time": time(stats.at), "workingSetBytes": stats.memory_bytes}),
    };
    dense(json!({
        "name": stats.name,
        "startTime": container.started.map(time),
        "cpu": cpu(stats.at, Some(stats.cpu_nanos), container.rate),
        "memory": memory,
        "rootfs": dense(json!({
            "time": time(stats.at),
            "availableBytes": node.map(|disk| disk.available),
            "capacityBytes": node.map(|disk| disk.capacity),
            "usedBytes": stats.disk_bytes,
        })),
    }))
}

fn pod(pod: &PodUsage, node: Option<&Disk>) -> Value {
    let group = pod.group.as_ref();
    let at = group.map(|group| group.at);
    let of_group = |value: fn(Timestamp, &GroupUsage, &PodUsage) -> Value| match (at, group) {
        (Some(at), Some(group)) => value(at, group, pod),
        _ => Value::Null,
    };
    dense(json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.started.map(time),
        "containers": pod.containers.iter().map(|one| container(one, node)).collect::<Vec<_>>(),
        "cpu": of_group(|at, group, pod| cpu(at, group.cpu_nanos, pod.rate)),
        "memory": of_group(|at, group, _| memory(at, group.memory.as_ref(), None)),
        "network": of_group(|at, group, pod| {
            if pod.host_network { Value::Null } else { network(at, &group.interfaces) }
        }),
        "process_stats": of_group(|_, group, _| {
            group.processes.map_or(Value::Null, |count| json!({"process_count": count}))
        }),
    }))
}

/// Writes the summary. `only_cpu_and_memory` is the query parameter of that name.
pub(crate) fn summary(observed: &Observed, only_cpu_and_memory: bool) -> Value {
    let machine = observed.machine.as_ref();
    let capacity = Some(observed.memory_capacity).filter(|capacity| *capacity > 0);
    let node_disk = observed.disk.as_ref();
    let node = dense(json!({
        "nodeName": observed.node,
        "startTime": observed.booted.map(time),
        "cpu": machine.map_or(Value::Null, |machine| cpu(machine.at, machine.cpu_nanos, observed.machine_rate)),
        "memory": machine.map_or(Value::Null, |machine| memory(machine.at, machine.memory.as_ref(), capacity)),
        "network": machine.map_or(Value::Null, |machine| network(machine.at, &machine.interfaces)),
        "fs": disk(observed.at, node_disk),
    }));
    let pods: Vec<Value> = observed.pods.iter().map(|one| pod(one, node_disk)).collect();
    let mut summary = json!({"node": node, "pods": pods});
    if only_cpu_and_memory {
        strip(&mut summary);
    }
    summary
}

/// Leaves processor and memory, as upstream's `only_cpu_and_memory`.
fn strip(summary: &mut Value) {
    let bare = |value: &mut Value| {
        for field in ["network", "fs", "rootfs", "process_stats"] {
            if let Some(map) = value.as_object_mut() {
                map.remove(field);
            }
        }
    };
    bare(&mut summary["node"]);
    for pod in summary["pods"].as_array_mut().into_iter().flatten() {
        bare(pod);
        for container in pod["containers"].as_array_mut().into_iter().flatten() {
            bare(container);
        }
    }
}
