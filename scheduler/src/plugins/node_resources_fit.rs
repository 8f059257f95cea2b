//! What a pod requests must fit into what is left of a node; by default emptier nodes are better (LeastAllocated).

use std::borrow::Cow;

use super::args::{FitArgs, ShapePoint, Strategy, WeightedResource};
use super::{About, ClusterEvent, MAX_SCORE, Plugin, Prepared, Reasons, Rejection};
use crate::pod_info::PodInfo;
use crate::resources::{Resource, Resources};
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
                allocatable.get("pods") > 0 && pod.requests.fits(&allocatable, &Resources::default())
            }
            About::Pod { node: Some(node), .. } => {
                pod.requests.fits(&node.allocatable, &node.requested)
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

/// What a node says that lacks a resource.
fn insufficient(name: &str) -> Cow<'static, str> {
    match name {
        "cpu" => Cow::Borrowed("Insufficient cpu"),
        "memory" => Cow::Borrowed("Insufficient memory"),
        "ephemeral-storage" => Cow::Borrowed("Insufficient ephemeral-storage"),
        other => Cow::Owned(format!("Insufficient {other}")),
    }
}

impl Wants<'_> {
    /// Says what is missing on a node that has not all of it.
    fn missing(&self, node: &NodeInfo, full: bool) -> Result<(), Rejection> {
        let mut reasons = Vec::new();
        let mut resolvable = true;
        if full {
            reasons.push(Cow::Borrowed("Too many pods"));
        }
        for (name, wanted) in self.pod.requests.each() {
            let allocatable = node.allocatable.get(name);
            if wanted > allocatable - node.requested.get(name) && !self.plugin.ignores(name) {
                reasons.push(insufficient(name));
                // Not even an empty node could take it.
                resolvable &= wanted <= allocatable;
            }
        }
        let reasons = match reasons.len() {
            0 => return Ok(()),
            1 => Reasons::One(reasons.swap_remove(0)),
            _ => Reasons::Several(reasons),
        };
        Err(Rejection {
            plugin: "NodeResourcesFit",
            reasons,
            detail: None,
            resolvable,
        })
    }
}

impl Prepared for Wants<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        let full = pods >= node.allocatable.of(Resource::Pods);
        if !full && self.pod.requests.fits(&node.allocatable, &node.requested) {
            return Ok(());
        }
        self.missing(node, full)
    }

    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let wanted = wanted(self.pod, &self.plugin.args.resources);
        let each = |score: &dyn Fn(&NodeInfo) -> i64| feasible.iter().map(|node| score(node)).collect();
        match &self.plugin.args.strategy {
            Strategy::LeastAllocated => each(&|node| weighted(&wanted, node, least)),
            Strategy::MostAllocated => each(&|node| weighted(&wanted, node, most)),
            Strategy::RequestedToCapacityRatio(shape) => each(&|node| by_shape(&wanted, node, shape)),
        }
    }
}

/// A resource that is scored, and how much of it the pod adds.
struct Wanted<'a> {
    resource: Resource<'a>,
    amount: i64,
    weight: i64,
}

/// The resources that say something about nodes for this pod: one that only few pods ask for says nothing about another.
fn wanted<'a>(pod: &PodInfo, resources: &'a [WeightedResource]) -> Vec<Wanted<'a>> {
    let wanted = resources.iter().map(|weighted| {
        let resource = Resource::named(&weighted.name);
        let amounts = if is_defaulted(resource) {
            &pod.scored
        } else {
            &pod.requests
        };
        Wanted {
            resource,
            amount: amounts.of(resource),
            weight: weighted.weight,
        }
    });
    wanted
        .filter(|wanted| wanted.amount > 0 || !wanted.resource.is_scalar())
        .collect()
}

/// Whether pods that do not ask for it are counted as if they did.
fn is_defaulted(resource: Resource<'_>) -> bool {
    matches!(resource, Resource::Cpu | Resource::Memory)
}

impl Wanted<'_> {
    /// How much a node has, and how much of it is used once the pod is there; `None` where it has nothing.
    fn usage(&self, node: &NodeInfo) -> Option<(i64, i64)> {
        let capacity = node.allocatable.of(self.resource);
        let used = if is_defaulted(self.resource) {
            node.scored.of(self.resource)
        } else {
            node.requested.of(self.resource)
        };
        (capacity > 0).then_some((capacity, used + self.amount))
    }
}

fn least(capacity: i64, used: i64) -> i64 {
    (capacity - used).max(0) * MAX_SCORE / capacity
}

fn most(capacity: i64, used: i64) -> i64 {
    used.min(capacity) * MAX_SCORE / capacity
}

fn weighted(wanted: &[Wanted<'_>], node: &NodeInfo, score: fn(i64, i64) -> i64) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for resource in wanted {
        if let Some((capacity, used)) = resource.usage(node) {
            sum += score(capacity, used) * resource.weight;
            weights += resource.weight;
        }
    }
    if weights == 0 { 0 } else { sum / weights }
}

#[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
fn by_shape(wanted: &[Wanted<'_>], node: &NodeInfo, shape: &[ShapePoint]) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for resource in wanted {
        let Some((capacity, used)) = resource.usage(node) else {
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
