//! Quality of service: which pods a node gives up first when memory runs out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use super::resources::{ResourceList, pod_level};
use crate::quantity::Quantity;

/// Every container has limits for CPU and memory, equal to its requests.
pub const GUARANTEED: &str = "Guaranteed";
/// Neither of the two others.
pub const BURSTABLE: &str = "Burstable";
/// No container requests or limits anything.
pub const BEST_EFFORT: &str = "BestEffort";

/// Computes the class from the spec, as upstream's `ComputePodQOS`.
pub fn qos_class(pod: &Pod) -> &'static str {
    let Some(spec) = pod.spec.as_ref() else {
        return BEST_EFFORT;
    };
    let mut requests = ResourceList::new();
    let mut limits = ResourceList::new();
    let mut guaranteed = true;
    let mut take = |resources: Option<&ResourceRequirements>| {
        gather(&mut requests, resources.and_then(|r| r.requests.as_ref()));
        let own = resources.and_then(|r| r.limits.as_ref());
        let limited = gather(&mut limits, own);
        guaranteed &= limited == 2;
    };
    let sets_pod_level = |r: &ResourceRequirements| {
        let names = r.requests.iter().flatten().chain(r.limits.iter().flatten());
        names.map(|(name, _)| name).any(|name| pod_level(name))
    };
    if let Some(resources) = spec.resources.as_ref().filter(|r| sets_pod_level(r)) {
        take(Some(resources));
    } else {
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.for_each(|container| take(container.resources.as_ref()));
    }
    if requests.is_empty() && limits.is_empty() {
        return BEST_EFFORT;
    }
    let equal = requests.iter().all(|(name, request)| limits.get(name) == Some(request));
    if guaranteed && equal && requests.len() == limits.len() {
        GUARANTEED
    } else {
        BURSTABLE
    }
}

/// Adds up CPU and memory; returns how many of the two were there and more than nothing.
fn gather(sum: &mut ResourceList, own: Option<&BTreeMap<String, Wire>>) -> usize {
    let mut found = 0;
    for (name, quantity) in own.into_iter().flatten() {
        let quantity = Quantity::lenient(quantity);
        if matches!(name.as_str(), "cpu" | "memory") && quantity.sign() > 0 {
            *sum.entry(name.clone()).or_default() += quantity;
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn classes_follow_from_requests_and_limits() {
        let class = |containers: Value| {
            qos_class(&serde_json::from_value::<Pod>(json!({"spec": {"containers": containers}})).unwrap())
        };
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(json!([{"name": "a"}])), BEST_EFFORT);
        assert_eq!(
            class(json!([{"name": "a", "resources": {"requests": {"cpu": "0"}}}])),
            BEST_EFFORT
        );
        assert_eq!(
            class(json!([{"name": "a", "resources": {"requests": both, "limits": both}}])),
            GUARANTEED
        );
        assert_eq!(
            class(json!([{"name": "a", "resources": {"requests": both}}])),
            BURSTABLE
        );
        assert_eq!(
            class(json!([{"name": "a", "resources": {"requests": both, "limits": both}}, {"name": "b"}])),
            BURSTABLE
        );
        assert_eq!(
            class(json!([{"name": "a", "resources": {"limits": {"cpu": "1"}}}])),
            BURSTABLE
        );
    }
}
