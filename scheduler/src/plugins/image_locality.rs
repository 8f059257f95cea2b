//! Nodes that have the pod's images already are better; an image that few nodes have counts less, so that pods do not flock.

use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot, normalized_image};

/// Less than this much image is not worth a difference.
const MIN: i64 = 23 * 1024 * 1024;
/// Per container; more than this makes no further difference.
const MAX_PER_CONTAINER: i64 = 1000 * 1024 * 1024;

pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn wakes_on(&self, _: ClusterEvent) -> bool {
        false
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let spec = pod.spec()?;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let images: Vec<String> = containers
            .filter_map(|container| Some(normalized_image(container.image.as_deref()?)))
            .collect();
        Some(Box::new(Images { images, snapshot }))
    }
}

struct Images<'a> {
    images: Vec<String>,
    snapshot: &'a Snapshot,
}

impl Prepared for Images<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "image sizes are far below 2^53")]
    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let total = self.snapshot.nodes.len().max(1) as f64;
        let spread: Vec<f64> = self
            .images
            .iter()
            .map(|image| self.snapshot.nodes_with_image(image) as f64 / total)
            .collect();
        let max = MAX_PER_CONTAINER * i64::try_from(self.images.len()).unwrap_or(1).max(1);
        let score = |node: &&NodeInfo| {
            let sizes = self.images.iter().zip(&spread);
            let sum: i64 = sizes
                .filter_map(|(image, spread)| Some((*node.images.get(image)? as f64 * spread) as i64))
                .sum();
            MAX_SCORE * (sum.clamp(MIN, max) - MIN) / (max - MIN)
        };
        feasible.iter().map(score).collect()
    }
}
