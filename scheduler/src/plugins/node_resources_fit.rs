//! What a pod requests must fit into what is left of a node; by default emptier nodes are better (LeastAllocated).

use super::args::{FitArgs, ShapePoint, Strategy, WeightedResource};
use super::balanced_allocation::is_scalar;
use super::{About, ClusterEvent, MAX_SCORE, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::resources::Resources;
use crate::snapshot::{NodeInfo, Snapshot};

/// The best score of a point of a shape.
const MAX_SHAPE_SCORE: i64 = 10;

#[derive(Debug)]
pub(super) struct NodeResourcesFit {
    args: FitArgs,
}

impl NodeResourcesFit {
    pub(super) fn new(args: &FitArgs) -> Self {
        Self { args: args.clone() }
    }

    fn ignores(&self, name: &str) -> bool {
        // Only resources of somebody's own domain can be ignored.
        let Some((group, _)) = name.split_once('/') else {
            return false;
        };
        self.args.ignored_resources.iter().any(|ignored| ignored == name)
            || self.args.ignored_resource_groups.iter().any(|ignored| ignored == group)
    }
}

/// Whether nothing but `used` on it keeps a node from having this much left.
fn has_room(wanted: &Resources, allocatable: &Resources, used: &Resources) -> bool {
    wanted
        .each()
        .all(|(name, wanted)| wanted <= allocatable.get(name) - used.get(name))
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded | ClusterEvent::NodeAllocatable | ClusterEvent::PodGone
        )
    }

    /// Upstream wakes on every pod that goes; here only on one after which its node has room, for every later one is told as well.
    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        match about {
            About::Node { new: Some(new), .. } => {
                let allocatable = new.status.as_ref().and_then(|status| status.allocatable.as_ref());
                let allocatable = Resources::from_wire(allocatable);
                allocatable.get("pods") > 0 && has_room(&pod.requests, &allocatable, &Resources::default())
            }
            About::Pod { node: Some(node), .. } => {
                has_room(&pod.requests, &node.allocatable, &node.requested)
                    && i64::try_from(node.pods.len()).unwrap_or(i64::MAX) < node.allocatable.get("pods")
            }
            _ => true,
        }
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        Some(Box::new(Wants { pod, plugin: self }))
    }
}

struct Wants<'a> {
    pod: &'a PodInfo,
    plugin: &'a NodeResourcesFit,
}

impl Prepared for Wants<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut reasons = Vec::new();
        let mut resolvable = true;
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        if pods >= node.allocatable.get("pods") {
            reasons.push("Too many pods".into());
        }
        for (name, wanted) in self.pod.requests.each() {
            let allocatable = node.allocatable.get(name);
            if wanted > allocatable - node.requested.get(name) && !self.plugin.ignores(name) {
                reasons.push(format!("Insufficient {name}").into());
                // Not even an empty node could take it.
                resolvable &= wanted <= allocatable;
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Rejection {
            plugin: "NodeResourcesFit",
            reasons,
            detail: None,
            resolvable,
        })
    }

    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let resources = &self.plugin.args.resources;
        let score: Box<dyn Fn(&NodeInfo) -> i64> = match &self.plugin.args.strategy {
            Strategy::LeastAllocated => Box::new(|node| weighted(self.pod, node, resources, least)),
            Strategy::MostAllocated => Box::new(|node| weighted(self.pod, node, resources, most)),
            Strategy::RequestedToCapacityRatio(shape) => Box::new(|node| by_shape(self.pod, node, resources, shape)),
        };
        feasible.iter().map(|node| score(node)).collect()
    }
}

/// How much of a resource a node has, and how much of it is used once the pod is there; `None` where it says nothing.
fn usage(pod: &PodInfo, node: &NodeInfo, name: &str) -> Option<(i64, i64)> {
    let capacity = node.allocatable.get(name);
    let (used, wanted) = match name {
        "cpu" | "memory" => (node.scored.get(name), pod.scored.get(name)),
        _ => (node.requested.get(name), pod.requests.get(name)),
    };
    (capacity > 0 && (wanted > 0 || !is_scalar(name))).then_some((capacity, used + wanted))
}

fn least(capacity: i64, used: i64) -> i64 {
    (capacity - used).max(0) * MAX_SCORE / capacity
}

fn most(capacity: i64, used: i64) -> i64 {
    used.min(capacity) * MAX_SCORE / capacity
}

fn weighted(pod: &PodInfo, node: &NodeInfo, resources: &[WeightedResource], score: fn(i64, i64) -> i64) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for resource in resources {
        if let Some((capacity, used)) = usage(pod, node, &resource.name) {
            sum += score(capacity, used) * resource.weight;
            weights += resource.weight;
        }
    }
    if weights == 0 { 0 } else { sum / weights }
}

#[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
fn by_shape(pod: &PodInfo, node: &NodeInfo, resources: &[WeightedResource], shape: &[ShapePoint]) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for resource in resources {
        let Some((capacity, used)) = usage(pod, node, &resource.name) else {
            continue;
        };
        let utilization = if used > capacity { 100 } else { used * 100 / capacity };
        let score = along(shape, utilization);
        // Upstream leaves out what scores nothing.
        if score > 0 {
            sum += score * resource.weight;
            weights += resource.weight;
        }
    }
    if weights == 0 {
        0
    } else {
        (sum as f64 / weights as f64).round() as i64
    }
}

/// Where the line through the points is, from 0 to 100.
fn along(shape: &[ShapePoint], utilization: i64) -> i64 {
    let score = |point: &ShapePoint| point.score * (MAX_SCORE / MAX_SHAPE_SCORE);
    let mut before: Option<&ShapePoint> = None;
    for point in shape {
        if utilization <= point.utilization {
            let Some(before) = before else { return score(point) };
            let run = (point.utilization - before.utilization).max(1);
            return score(before) + (score(point) - score(before)) * (utilization - before.utilization) / run;
        }
        before = Some(point);
    }
    before.map_or(0, score)
}
