//! Nodes that have the pod's images already are better; an image that few nodes have counts less, so that pods do not flock.

use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared};
use crate::node_info::normalized_image;
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::symbol::Symbol;

/// Less than this much image is not worth a difference.
const MIN: i64 = 23 * 1024 * 1024;
/// Per container; more than this makes no further difference.
const MAX_PER_CONTAINER: i64 = 1000 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn wakes_on(&self, _: ClusterEvent) -> bool {
        false
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let spec = pod.spec()?;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let names: Vec<Symbol> = containers
            .filter_map(|container| Some(Symbol::new(&normalized_image(container.image.as_deref()?))))
            .collect();
        let total = snapshot.nodes.len().max(1) as f64;
        let count = i64::try_from(names.len()).unwrap_or(1).max(1);
        let spread = |name: Symbol| {
            let (known, nodes) = snapshot.index.image(&name)?;
            Some((known, nodes as f64 / total))
        };
        let images: Vec<(Symbol, f64)> = names.into_iter().filter_map(spread).collect();
        let max = MAX_PER_CONTAINER * count;
        // What no node has makes no difference between nodes.
        (!images.is_empty()).then(|| Box::new(Images { images, max }) as Box<dyn Prepared>)
    }
}

struct Images {
    images: Vec<(Symbol, f64)>,
    max: i64,
}

impl Prepared for Images {
    #[expect(clippy::cast_possible_truncation, reason = "image sizes are far below 2^53")]
    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let score = |node: &&NodeInfo| {
            let sizes = self.images.iter();
            let sum: i64 = sizes
                .filter_map(|(image, spread)| Some((node.images.size(image)? as f64 * spread) as i64))
                .sum();
            MAX_SCORE * (sum.clamp(MIN, self.max) - MIN) / (self.max - MIN)
        };
        feasible.iter().map(score).collect()
    }
}
