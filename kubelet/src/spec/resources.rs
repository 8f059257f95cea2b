//! Requests and limits to cgroup values, and the cgroup a pod belongs to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use timonel_api::quantity::Quantity;

use crate::runtime::Resources;

/// The kernel's bounds of `cpu.shares`.
const SHARES: (i64, i64) = (2, 262_144);
/// Length of a CPU period in microseconds.
const PERIOD: i64 = 100_000;
/// The kernel refuses a smaller quota.
const MIN_QUOTA: i64 = 1000;

fn milli_cpu(list: &BTreeMap<String, Wire>) -> Option<i64> {
    list.get("cpu").map(|wire| Quantity::lenient(wire).millis())
}

fn bytes(list: &BTreeMap<String, Wire>) -> Option<i64> {
    list.get("memory").map(|wire| Quantity::lenient(wire).value())
}

/// Weight for a request of so many thousandths of a CPU.
pub fn shares(milli: i64) -> i64 {
    if milli == 0 {
        return SHARES.0;
    }
    (milli * 1024 / 1000).clamp(SHARES.0, SHARES.1)
}

/// Quota for a limit of so many thousandths of a CPU; 0 means none.
pub fn quota(milli: i64) -> i64 {
    if milli == 0 {
        0
    } else {
        (milli * PERIOD / 1000).max(MIN_QUOTA)
    }
}

/// Cgroup values of a container. `capacity` is the node's memory in bytes.
pub fn resources(pod: &Pod, container: &Container, capacity: i64) -> Resources {
    let wanted = container.resources.clone().unwrap_or_default();
    let (requests, limits) = (wanted.requests.unwrap_or_default(), wanted.limits.unwrap_or_default());
    let limit = milli_cpu(&limits);
    let request = milli_cpu(&requests).or(limit).unwrap_or(0);
    Resources {
        cpu_period: PERIOD,
        cpu_quota: quota(limit.unwrap_or(0)),
        cpu_shares: shares(request),
        memory_limit: bytes(&limits).unwrap_or(0),
        oom_score_adj: oom_score(pod, bytes(&requests).or(bytes(&limits)).unwrap_or(0), capacity),
    }
}

/// How readily the kernel kills a container first: by class, and within `Burstable` the less the more it asked for.
fn oom_score(pod: &Pod, memory: i64, capacity: i64) -> i64 {
    match timonel_api::pod::qos_class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let score = 1000 - 1000 * memory / capacity.max(1);
            score.clamp(3, 999)
        }
    }
}

/// The cgroup of a pod: `<root>/kubepods[/burstable|/besteffort]/pod<uid>`.
pub fn cgroup_parent(root: &str, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let tier = match timonel_api::pod::qos_class(pod) {
        "Guaranteed" => "",
        "Burstable" => "/burstable",
        _ => "/besteffort",
    };
    format!("{}/kubepods{tier}/pod{uid}", root.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_quota_are_those_of_upstream() {
        assert_eq!((shares(0), shares(1), shares(100), shares(1000)), (2, 2, 102, 1024));
        assert_eq!(
            (quota(0), quota(5), quota(500), quota(2000)),
            (0, 1000, 50_000, 200_000)
        );
    }
}
