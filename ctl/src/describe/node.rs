//! Nodes, and what runs on them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use timonel_api::pod::{ResourceList, limits, requests};
use timonel_api::quantity::Quantity;

use super::Related;
use super::page::Page;
use super::values::{age, is_true, joined, list, or_none, or_unset, quantities, some, text, text_map, time};

pub(super) fn node(page: &mut Page, node: &Value, related: &Related) {
    page.field(0, "Name", text(node, "/metadata/name"));
    let mut roles: Vec<&str> = text_map(&node["metadata"]["labels"])
        .into_iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (key == "kubernetes.io/role").then_some(value),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    page.field(0, "Roles", or_none(&roles.join(",")));
    page.labels("", "Labels", &node["metadata"]["labels"]);
    page.annotations("", &node["metadata"]["annotations"]);
    page.field(0, "CreationTimestamp", time(node, "/metadata/creationTimestamp"));
    taints(page, list(node, "/spec/taints"));
    page.field(0, "Unschedulable", is_true(node, "/spec/unschedulable"));
    match &related.lease {
        Some(Ok(lease)) => {
            let at = |pointer: &str| {
                if some(lease, pointer).is_some() {
                    time(lease, pointer)
                } else {
                    "<unset>".to_owned()
                }
            };
            page.line(0, "Lease:");
            page.field(1, "HolderIdentity", or_unset(lease, "/spec/holderIdentity"));
            page.field(1, "AcquireTime", at("/spec/acquireTime"));
            page.field(1, "RenewTime", at("/spec/renewTime"));
        }
        Some(Err(why)) => page.field(0, "Lease", format_args!("Failed to get lease: {why}")),
        None => {}
    }
    conditions(page, node);
    page.line(0, "Addresses:");
    for address in list(node, "/status/addresses") {
        page.field(1, text(address, "/type"), text(address, "/address"));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let amounts = quantities(&node["status"][field]);
        if !amounts.is_empty() {
            page.line(0, format_args!("{title}:"));
        }
        for (name, amount) in amounts {
            page.field(1, &name, amount);
        }
    }
    page.line(0, "System Info:");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        page.field(1, title, node["status"]["nodeInfo"][field].as_str().unwrap_or(""));
    }
    for (title, value) in [
        ("PodCIDR", text(node, "/spec/podCIDR").to_owned()),
        ("PodCIDRs", joined(list(node, "/spec/podCIDRs"), ",")),
        ("ProviderID", text(node, "/spec/providerID").to_owned()),
    ] {
        if !value.is_empty() {
            page.field(0, title, value);
        }
    }
    match &related.pods {
        Some(pods) => pods_on(page, node, pods, related),
        None => page.field(0, "Pods", "not authorized"),
    }
}

fn taints(page: &mut Page, taints: &[Value]) {
    let mut sorted: Vec<&Value> = taints.iter().collect();
    sorted.sort_by_key(|taint| (text(taint, "/effect"), text(taint, "/key")));
    let lines: Vec<String> = sorted
        .into_iter()
        .map(
            |taint| match (text(taint, "/key"), text(taint, "/value"), text(taint, "/effect")) {
                (key, "", effect) => format!("{key}:{effect}"),
                (key, value, effect) => format!("{key}={value}:{effect}"),
            },
        )
        .collect();
    page.several("", "Taints", &lines);
}

fn conditions(page: &mut Page, node: &Value) {
    let conditions = list(node, "/status/conditions");
    if conditions.is_empty() {
        return;
    }
    page.line(0, "Conditions:");
    page.line(
        1,
        "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage",
    );
    page.line(
        1,
        "----\t------\t-----------------\t------------------\t------\t-------",
    );
    for condition in conditions {
        page.line(
            1,
            format_args!(
                "{} \t{} \t{} \t{} \t{} \t{}",
                text(condition, "/type"),
                text(condition, "/status"),
                time(condition, "/lastHeartbeatTime"),
                time(condition, "/lastTransitionTime"),
                text(condition, "/reason"),
                text(condition, "/message")
            ),
        );
    }
}

/// An amount, 0 where none is stated.
fn amount(list: &ResourceList, name: &str) -> Quantity {
    list.get(name).copied().unwrap_or_default()
}

/// `500m (25%)`
fn share(used: &Quantity, of: &Quantity) -> String {
    let whole = of.nanos();
    let percent = if whole == 0 { 0 } else { used.nanos() * 100 / whole };
    format!("{used} ({percent}%)")
}

fn pods_on(page: &mut Page, node: &Value, pods: &[Value], related: &Related) {
    let allocatable = ["allocatable", "capacity"]
        .iter()
        .map(|field| quantities(&node["status"][field]))
        .find(|amounts| !amounts.is_empty())
        .unwrap_or_default();
    let allocatable: BTreeMap<String, Quantity> = allocatable
        .into_iter()
        .filter_map(|(name, text)| Some((name, Quantity::parse(&text).ok()?)))
        .collect();
    page.line(0, format_args!("Non-terminated Pods:\t({} in total)", pods.len()));
    page.line(
        1,
        "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge",
    );
    page.line(
        1,
        "---------\t----\t\t------------\t----------\t---------------\t-------------\t---",
    );
    let (mut all_requests, mut all_limits) = (ResourceList::new(), ResourceList::new());
    for pod in pods {
        let typed: Pod = serde_json::from_value(pod.clone()).unwrap_or_default();
        let (requests, limits) = (requests(&typed), limits(&typed));
        let shares: Vec<String> = ["cpu", "memory"]
            .iter()
            .flat_map(|name| [(name, &requests), (name, &limits)])
            .map(|(name, list)| {
                share(
                    &amount(list, name),
                    &allocatable.get(*name).copied().unwrap_or_default(),
                )
            })
            .collect();
        page.line(
            1,
            format_args!(
                "{}\t{}\t\t{}\t{}",
                text(pod, "/metadata/namespace"),
                text(pod, "/metadata/name"),
                shares.join("\t"),
                age(pod, "/metadata/creationTimestamp", related.now)
            ),
        );
        for (total, own) in [(&mut all_requests, requests), (&mut all_limits, limits)] {
            for (name, quantity) in own {
                match total.get_mut(&name) {
                    Some(sum) => *sum += quantity,
                    None => {
                        total.insert(name, quantity);
                    }
                }
            }
        }
    }
    page.line(0, "Allocated resources:");
    page.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    page.line(1, "Resource\tRequests\tLimits");
    page.line(1, "--------\t--------\t------");
    const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    let huge_pages = allocatable.keys().filter(|name| name.starts_with("hugepages-"));
    for name in STANDARD.into_iter().chain(huge_pages.map(String::as_str)) {
        let of = allocatable.get(name).copied().unwrap_or_default();
        page.line(
            1,
            format_args!(
                "{name}\t{}\t{}",
                share(&amount(&all_requests, name), &of),
                share(&amount(&all_limits, name), &of)
            ),
        );
    }
    for name in allocatable.keys() {
        if !STANDARD.contains(&name.as_str()) && name != "pods" && !name.starts_with("hugepages-") {
            page.line(
                1,
                format_args!("{name}\t{}\t{}", amount(&all_requests, name), amount(&all_limits, name)),
            );
        }
    }
}
