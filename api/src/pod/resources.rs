//! What a pod requests and what it is limited to (KEP-753 for sidecars, KEP-2837 for resources of the whole pod).
//!
//! Containers run together, so they add up. Init containers run one after the other, so the largest counts; but sidecars (init
//! containers that restart always) started before them keep running beside them, and beside the containers. Overhead comes on top.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use crate::quantity::Quantity;

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Reads the amounts of a typed object.
pub fn to_list(wire: Option<&BTreeMap<String, Wire>>) -> ResourceList {
    wire.into_iter()
        .flatten()
        .map(|(name, quantity)| (name.clone(), Quantity::lenient(quantity)))
        .collect()
}

/// Writes amounts as a typed object holds them.
pub fn to_wire(list: &ResourceList) -> BTreeMap<String, Wire> {
    list.iter()
        .map(|(name, quantity)| (name.clone(), quantity.to_wire()))
        .collect()
}

/// What one container requests.
pub fn container_requests(container: &Container) -> ResourceList {
    to_list(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// What one container is limited to.
pub fn container_limits(container: &Container) -> ResourceList {
    to_list(container.resources.as_ref().and_then(|r| r.limits.as_ref()))
}

/// Whether an init container is a sidecar.
pub fn is_restartable_init(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn add(sum: &mut ResourceList, more: &ResourceList) {
    for (name, quantity) in more {
        *sum.entry(name.clone()).or_default() += *quantity;
    }
}

fn raise(largest: &mut ResourceList, other: &ResourceList) {
    for (name, quantity) in other {
        let entry = largest.entry(name.clone()).or_insert(*quantity);
        *entry = (*entry).max(*quantity);
    }
}

fn aggregate(pod: &Pod, of: impl Fn(&Container) -> ResourceList) -> ResourceList {
    let Some(spec) = pod.spec.as_ref() else {
        return ResourceList::new();
    };
    let mut total = ResourceList::new();
    for container in &spec.containers {
        add(&mut total, &of(container));
    }
    let mut sidecars = ResourceList::new();
    let mut peak = ResourceList::new();
    for container in spec.init_containers.iter().flatten() {
        let mut own = of(container);
        if is_restartable_init(container) {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut peak, &own);
        }
    }
    raise(&mut total, &peak);
    total
}

/// Resources that may be set for the pod as a whole.
pub(super) fn pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn override_by_pod_level(
    total: &mut ResourceList,
    pod: &Pod,
    of: impl Fn(&ResourceRequirements) -> Option<&BTreeMap<String, Wire>>,
) {
    let resources = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    for (name, quantity) in resources.and_then(of).into_iter().flatten() {
        if pod_level(name) {
            total.insert(name.clone(), Quantity::lenient(quantity));
        }
    }
}

fn overhead(pod: &Pod) -> ResourceList {
    to_list(pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref()))
}

/// What a pod requests, overhead included: what a node must have left for it.
pub fn requests(pod: &Pod) -> ResourceList {
    requests_or(pod, &ResourceList::new())
}

/// What a pod requests, where a container that does not say counts as requesting `missing` (scoring does so).
pub fn requests_or(pod: &Pod, missing: &ResourceList) -> ResourceList {
    let mut total = aggregate(pod, |container| {
        let mut own = container_requests(container);
        for (name, quantity) in missing {
            own.entry(name.clone()).or_insert(*quantity);
        }
        own
    });
    override_by_pod_level(&mut total, pod, |r| r.requests.as_ref());
    add(&mut total, &overhead(pod));
    total
}

/// What a pod is limited to; overhead is added where there is a limit at all.
pub fn limits(pod: &Pod) -> ResourceList {
    let mut total = aggregate(pod, container_limits);
    override_by_pod_level(&mut total, pod, |r| r.limits.as_ref());
    for (name, quantity) in overhead(pod) {
        if let Some(limit) = total.get_mut(&name) {
            *limit += quantity;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(cpu: &str, restart: Option<&str>) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}, "restartPolicy": restart})
    }

    fn cpu(spec: Value) -> (String, String) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        (requests(&pod)["cpu"].to_string(), limits(&pod)["cpu"].to_string())
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_add_up() {
        let both = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(
            cpu(json!({"containers": [container("1", None), container("500m", None)]})),
            both("1500m")
        );
        let spec = json!({"containers": [container("1", None)], "initContainers": [container("3", None), container("2", None)]});
        assert_eq!(cpu(spec), both("3"));
        // A sidecar of 1 before an init container of 3: the peak is 4; after it, the containers need 1 + 1.
        let spec = json!({"containers": [container("1", None)],
            "initContainers": [container("1", Some("Always")), container("3", None)]});
        assert_eq!(cpu(spec), both("4"));
        let spec = json!({"containers": [container("1", None)], "overhead": {"cpu": "250m"},
            "initContainers": [container("3", None), container("2500m", Some("Always"))]});
        assert_eq!(cpu(spec), both("3750m"));
        let spec = json!({"containers": [container("1", None)], "resources": {"requests": {"cpu": "5"}, "limits": {"cpu": "6"}}});
        assert_eq!(cpu(spec), ("5".to_owned(), "6".to_owned()));
    }
}
