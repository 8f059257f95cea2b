//! How many volumes of a CSI driver a node can have attached.
//!
//! Upstream: `pkg/scheduler/framework/plugins/nodevolumelimits`, for CSI volumes; those of drivers that were in upstream's tree once
//! are not translated.

use std::collections::{BTreeMap, BTreeSet};

use timonel_api::storage;

use super::{ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::volumes::Storage;

const NAME: &str = "NodeVolumeLimits";

#[derive(Debug)]
pub(super) struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        use ClusterEvent::{ClaimChanged, CsiNodeChanged, NodeAdded, PodGone, VolumeChanged};
        matches!(
            event,
            NodeAdded | PodGone | ClaimChanged | VolumeChanged | CsiNodeChanged
        )
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let wanted = attachable(pod, &snapshot.storage);
        let storage = &snapshot.storage;
        (!wanted.is_empty()).then(|| Box::new(Wanted { wanted, storage }) as Box<dyn Prepared>)
    }
}

/// A driver, and a volume of its; a claim without a volume stands for the one that it will get.
type Attachable = (String, String);

fn attachable(pod: &PodInfo, storage: &Storage) -> BTreeSet<Attachable> {
    let volumes = pod.spec().into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let name = storage::claim_behind(&pod.pod, volume)?;
            let claim = storage.claim(&pod.key.namespace, &name)?;
            match storage::volume_of(claim).and_then(|name| storage.volume(name)) {
                Some(volume) => {
                    let csi = volume.spec.as_ref()?.csi.as_ref()?;
                    Some((csi.driver.clone(), csi.volume_handle.clone()))
                }
                None => {
                    let class = storage.class(storage::class_of_claim(claim))?;
                    Some((class.provisioner.clone(), format!("{}/{name}", pod.key.namespace)))
                }
            }
        })
        .collect()
}

struct Wanted<'a> {
    wanted: BTreeSet<Attachable>,
    storage: &'a Storage,
}

impl Wanted<'_> {
    /// What is attached to a node, whether or not a pod on it says so.
    fn attached(&self, node: &NodeInfo) -> BTreeSet<Attachable> {
        let mut attached: BTreeSet<Attachable> = node
            .pods
            .values()
            .flat_map(|pod| attachable(pod, self.storage))
            .collect();
        attached.extend(self.storage.attachments.values().filter_map(|attachment| {
            let volume = attachment.spec.source.persistent_volume_name.as_deref()?;
            let csi = self.storage.volume(volume)?.spec.as_ref()?.csi.as_ref()?;
            (attachment.spec.node_name == node.name).then(|| (csi.driver.clone(), csi.volume_handle.clone()))
        }));
        attached
    }
}

impl Prepared for Wanted<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(csi) = self.storage.csi_node(&node.name) else {
            return Ok(());
        };
        let limits: BTreeMap<&str, i32> = csi
            .spec
            .drivers
            .iter()
            .filter_map(|driver| Some((driver.name.as_str(), driver.allocatable.as_ref()?.count?)))
            .collect();
        if !self
            .wanted
            .iter()
            .any(|(driver, _)| limits.contains_key(driver.as_str()))
        {
            return Ok(());
        }
        let attached = self.attached(node);
        for (driver, limit) in limits {
            let of_driver = |volumes: &BTreeSet<Attachable>| volumes.iter().filter(|(name, _)| name == driver).count();
            let more: BTreeSet<Attachable> = self.wanted.difference(&attached).cloned().collect();
            let added = of_driver(&more);
            if added > 0 && of_driver(&attached) + added > usize::try_from(limit).unwrap_or(0) {
                return Err(Rejection::new(NAME, "node(s) exceed max volume count", true));
            }
        }
        Ok(())
    }
}
