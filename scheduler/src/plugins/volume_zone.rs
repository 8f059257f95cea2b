//! Volumes that say by labels in which zone or region they are.
//!
//! Upstream: `pkg/scheduler/framework/plugins/volumezone`.

use timonel_api::storage;

use super::{ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::volumes::claims_of;

/// Labels of volumes and nodes that say where they are: the present name and the older one of each.
const TOPOLOGY: [[&str; 2]; 2] = [
    ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"],
    [
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/region",
    ],
];

#[derive(Debug)]
pub(super) struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        use ClusterEvent::{ClaimChanged, ClassChanged, NodeAdded, NodeLabels, VolumeChanged};
        matches!(
            event,
            NodeAdded | NodeLabels | ClaimChanged | VolumeChanged | ClassChanged
        )
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let claims = claims_of(pod, &snapshot.storage).unwrap_or_default();
        let mut places = Vec::new();
        for claim in &claims {
            let volume = storage::volume_of(claim).and_then(|name| snapshot.storage.volume(name));
            let labels = volume.and_then(|volume| volume.metadata.labels.as_ref());
            for names in TOPOLOGY {
                for name in names {
                    if let Some(value) = labels.and_then(|labels| labels.get(name)) {
                        // Regional disks are in several zones.
                        places.push((names, name, value.split("__").map(str::to_owned).collect()));
                    }
                }
            }
        }
        (!places.is_empty()).then(|| Box::new(Places(places)) as Box<dyn Prepared>)
    }
}

/// Each with both names of its label, the one that the volume has, and the values that will do.
struct Places(Vec<([&'static str; 2], &'static str, Vec<String>)>);

impl Prepared for Places {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if TOPOLOGY.iter().flatten().all(|name| node.label(name).is_none()) {
            // A node that does not say where it is has no constraints, as upstream.
            return Ok(());
        }
        let here = |(names, name, values): &([&str; 2], &str, Vec<String>)| {
            let value = node
                .label(name)
                .or_else(|| names.iter().find_map(|name| node.label(name)));
            value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
        };
        if self.0.iter().all(here) {
            return Ok(());
        }
        Err(Rejection::new(
            "VolumeZone",
            "node(s) had no available volume zone",
            false,
        ))
    }
}
