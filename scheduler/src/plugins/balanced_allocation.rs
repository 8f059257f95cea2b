//! Nodes on which CPU and memory fill up evenly are better.

use super::args::{BalancedArgs, WeightedResource};
use super::{ClusterEvent, MAX_SCORE, Plugin, Prepared};
use crate::pod_info::PodInfo;
use crate::resources::Resource;
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct BalancedAllocation {
    resources: Vec<WeightedResource>,
}

impl BalancedAllocation {
    pub(super) fn new(args: &BalancedArgs) -> Self {
        Self {
            resources: args.resources.clone(),
        }
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn wakes_on(&self, _: ClusterEvent) -> bool {
        false
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        // A pod without requests changes no balance; upstream skips it too.
        let wants = |resource: &WeightedResource| pod.requests.get(&resource.name) > 0;
        self.resources.iter().any(wants).then(|| {
            Box::new(Wants {
                pod,
                resources: &self.resources,
            }) as Box<dyn Prepared>
        })
    }
}

struct Wants<'a> {
    pod: &'a PodInfo,
    resources: &'a [WeightedResource],
}

impl Prepared for Wants<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let requests = &self.pod.requests;
        let counted: Vec<(Resource<'_>, i64)> = self
            .resources
            .iter()
            .map(|resource| Resource::named(&resource.name))
            .map(|resource| (resource, requests.of(resource)))
            // A resource that only few pods ask for says nothing about a pod that does not.
            .filter(|(resource, wanted)| *wanted > 0 || !resource.is_scalar())
            .collect();
        let mut fractions = Vec::with_capacity(counted.len());
        let mut score = |node: &&NodeInfo| {
            fractions.clear();
            for (resource, wanted) in &counted {
                let capacity = node.allocatable.of(*resource);
                if capacity > 0 {
                    let used = node.requested.of(*resource) + wanted;
                    fractions.push((used as f64 / capacity as f64).min(1.0));
                }
            }
            ((1.0 - deviation(&fractions)) * MAX_SCORE as f64) as i64
        };
        feasible.iter().map(&mut score).collect()
    }
}

fn deviation(fractions: &[f64]) -> f64 {
    match fractions {
        [] | [_] => 0.0,
        [one, other] => (one - other).abs() / 2.0,
        more => {
            let mean = more.iter().sum::<f64>() / more.len() as f64;
            let squares: f64 = more.iter().map(|fraction| (fraction - mean).powi(2)).sum();
            (squares / more.len() as f64).sqrt()
        }
    }
}
