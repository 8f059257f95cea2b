//! Which pods go first when there are too many: the order of upstream's `ActivePodsWithRanks`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::resources::is_restartable_init;
use super::state::{is_active, is_ready, phase, ready_since};

/// The annotation with which a pod asks to be kept longer, or given up sooner, than its siblings.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What deleting a pod costs, as its annotation says; nothing where it says nothing or nonsense.
pub fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get(DELETION_COST));
    text.and_then(|text| parse_deletion_cost(text)).unwrap_or(0)
}

/// Reads a deletion cost as strictly as upstream: no plus sign, no leading zeros.
pub fn parse_deletion_cost(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = text == "0" || digits.starts_with(|c: char| ('1'..='9').contains(&c));
    plain.then(|| text.parse().ok()).flatten()
}

/// The most restarts of any container, and of any sidecar.
pub fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = pod.status.as_ref() else {
        return (0, 0);
    };
    let spec = pod.spec.as_ref();
    let sidecar = |name: &str| {
        let inits = spec.and_then(|spec| spec.init_containers.as_ref());
        inits.is_some_and(|inits| inits.iter().any(|c| c.name == name && is_restartable_init(c)))
    };
    let containers = status.container_statuses.iter().flatten();
    let sidecars = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|s| sidecar(&s.name));
    (
        containers.map(|s| s.restart_count).max().unwrap_or(0),
        sidecars.map(|s| s.restart_count).max().unwrap_or(0),
    )
}

/// For each pod, how many active pods among `related` share its node: pods that double up go first.
pub fn ranks_by_node(pods: &[&Pod], related: &[&Pod]) -> Vec<usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *counts.entry(node(pod)).or_default() += 1;
    }
    pods.iter()
        .map(|pod| counts.get(node(pod)).copied().unwrap_or(0))
        .collect()
}

/// Orders pods by how willingly they are given up: the indices of `pods`, first to go first.
///
/// Unassigned before assigned; pending before unknown before running; not ready before ready; lower deletion cost first; more
/// siblings on the node first; ready for a shorter time first (on a logarithmic scale, ties broken by uid); more restarts first;
/// younger first (logarithmically again).
pub fn deletion_order(pods: &[&Pod], ranks: &[usize], now: Timestamp) -> Vec<usize> {
    let keyed: Vec<Key<'_>> = pods
        .iter()
        .enumerate()
        .map(|(at, pod)| Key::of(pod, ranks.get(at).copied().unwrap_or(0), now))
        .collect();
    merge_sort((0..pods.len()).collect(), &|a, b| {
        keyed[a].before(&keyed[b]) == Ordering::Greater
    })
}

fn node(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

struct Key<'a> {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    rank: usize,
    ready_since: Option<Timestamp>,
    ready_age: i64,
    restarts: (i32, i32),
    created: Option<Timestamp>,
    age: i64,
    uid: &'a str,
}

impl<'a> Key<'a> {
    fn of(pod: &'a Pod, rank: usize, now: Timestamp) -> Self {
        let ready_since = ready_since(pod);
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Self {
            assigned: !node(pod).is_empty(),
            phase: match phase(pod) {
                "Unknown" => 1,
                "Running" => 2,
                _ => 0,
            },
            ready: is_ready(pod),
            cost: deletion_cost(pod),
            rank,
            ready_since,
            ready_age: logarithm(ready_since, now),
            restarts: restarts(pod),
            created,
            age: logarithm(created, now),
            uid: pod.metadata.uid.as_deref().unwrap_or_default(),
        }
    }

    /// `Less`: this one goes first.
    fn before(&self, other: &Self) -> Ordering {
        let plain = (self.assigned.cmp(&other.assigned))
            .then(self.phase.cmp(&other.phase))
            .then(self.ready.cmp(&other.ready))
            .then(self.cost.cmp(&other.cost))
            .then(other.rank.cmp(&self.rank));
        if plain != Ordering::Equal {
            return plain;
        }
        if self.ready && other.ready && self.ready_since != other.ready_since {
            return by_age(
                (self.ready_since, self.ready_age, self.uid),
                (other.ready_since, other.ready_age, other.uid),
            );
        }
        if self.restarts != other.restarts {
            return other.restarts.cmp(&self.restarts);
        }
        if self.created == other.created {
            return Ordering::Equal;
        }
        by_age(
            (self.created, self.age, self.uid),
            (other.created, other.age, other.uid),
        )
    }
}

/// Shorter first; what has no time at all comes first; within one power of two the uid decides.
fn by_age(a: (Option<Timestamp>, i64, &str), b: (Option<Timestamp>, i64, &str)) -> Ordering {
    match (a.0, b.0) {
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        _ => a.1.cmp(&b.1).then_with(|| a.2.cmp(b.2)),
    }
}

/// The power of two of an age in nanoseconds, -1 where there is none.
fn logarithm(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let age = since.map_or(0, |since| now.duration_since(since).as_nanos());
    if age <= 0 { -1 } else { i64::from(age.ilog2()) }
}

/// A stable sort that bears an order which is not transitive: equal times compare by restarts and unequal ones by uid, so three pods
/// may prefer each other in a circle, and the standard library's sorts may panic then.
fn merge_sort(items: Vec<usize>, greater: &impl Fn(usize, usize) -> bool) -> Vec<usize> {
    if items.len() < 2 {
        return items;
    }
    let mut left = items;
    let right = left.split_off(left.len() / 2);
    let (left, right) = (merge_sort(left, greater), merge_sort(right, greater));
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(&a), Some(&b)) = (left.peek(), right.peek()) {
        merged.extend(if greater(a, b) { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: Option<&str>, more: Value) -> Pod {
        let mut value = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": phase, "conditions": ready.map(|t| json!([{"type": "Ready", "status": "True", "lastTransitionTime": t}]))},
        });
        json_patch::merge(&mut value, &more);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let t = "2026-01-01T01:00:00Z";
        let expected = [
            pod("unassigned", "", "Pending", None, json!({})),
            pod("pending", "n1", "Pending", None, json!({})),
            pod("unknown", "n1", "Unknown", None, json!({})),
            pod("unready", "n1", "Running", None, json!({})),
            pod(
                "cheap",
                "n1",
                "Running",
                Some(t),
                json!({"metadata": {"annotations": {DELETION_COST: "-5"}}}),
            ),
            pod("doubled", "n1", "Running", Some(t), json!({})),
            pod("fresh", "n2", "Running", Some("2026-01-01T02:59:00Z"), json!({})),
            pod(
                "restarted",
                "n2",
                "Running",
                Some(t),
                json!({"status": {"containerStatuses":
                [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}}),
            ),
            pod(
                "younger",
                "n2",
                "Running",
                Some(t),
                json!({"metadata": {"creationTimestamp": "2026-01-01T02:59:00Z"}}),
            ),
            pod("steady", "n2", "Running", Some(t), json!({})),
        ];
        let mut pods: Vec<&Pod> = expected.iter().collect();
        pods.reverse();
        let ranks = ranks_by_node(&pods, &pods);
        let order = deletion_order(&pods, &ranks, "2026-01-01T03:00:00Z".parse().unwrap());
        let names: Vec<_> = order
            .iter()
            .map(|at| pods[*at].metadata.name.as_deref().unwrap())
            .collect();
        let wanted: Vec<_> = expected.iter().map(|p| p.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, wanted);
    }

    #[test]
    fn deletion_costs_are_read_strictly() {
        assert_eq!(parse_deletion_cost("-10"), Some(-10));
        for bad in ["+1", "01", "-0", "1.5", "", "3000000000"] {
            assert_eq!(parse_deletion_cost(bad), None, "{bad}");
        }
    }
}
