//! Volumes that no two pods may have at once: claims of one pod only, and disks that cannot be attached twice.
//!
//! Upstream: `pkg/scheduler/framework/plugins/volumerestrictions`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Volume;
use timonel_api::storage;

use super::{ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::volumes::claims_of;

const NAME: &str = "VolumeRestrictions";

#[derive(Debug)]
pub(super) struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded | ClusterEvent::PodGone | ClusterEvent::ClaimChanged
        )
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        // What is wrong with the claims themselves is VolumeBinding's to say.
        let claims = claims_of(pod, &snapshot.storage).unwrap_or_default();
        let alone: BTreeSet<String> = claims
            .iter()
            .filter(|claim| {
                let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
                modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
            })
            .filter_map(|claim| claim.metadata.name.clone())
            .collect();
        let disks: Vec<&Volume> = volumes(pod).filter(|volume| is_disk(volume)).collect();
        if alone.is_empty() && disks.is_empty() {
            return None;
        }
        let used = !alone.is_empty() && snapshot.pods().any(|(_, other)| uses_any(other, pod, &alone));
        Some(Box::new(Restricted { disks, used }))
    }
}

fn volumes(pod: &PodInfo) -> impl Iterator<Item = &Volume> {
    pod.spec().into_iter().flat_map(|spec| spec.volumes.iter().flatten())
}

fn uses_any(other: &PodInfo, pod: &PodInfo, claims: &BTreeSet<String>) -> bool {
    other.key.namespace == pod.key.namespace
        && other.uid != pod.uid
        && volumes(other).any(|volume| {
            let name = storage::claim_behind(&other.pod, volume);
            name.is_some_and(|name| claims.contains(&name))
        })
}

fn is_disk(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// Tells whether two volumes are one disk that cannot be attached for both. Several readers may share one, but for AWS' disks.
fn conflict(wanted: &Volume, present: &Volume) -> bool {
    let both = |one: Option<bool>, two: Option<bool>| one == Some(true) && two == Some(true);
    if let (Some(one), Some(two)) = (&wanted.gce_persistent_disk, &present.gce_persistent_disk) {
        return one.pd_name == two.pd_name && !both(one.read_only, two.read_only);
    }
    if let (Some(one), Some(two)) = (&wanted.aws_elastic_block_store, &present.aws_elastic_block_store) {
        return one.volume_id == two.volume_id;
    }
    if let (Some(one), Some(two)) = (&wanted.iscsi, &present.iscsi) {
        return one.iqn == two.iqn && !both(one.read_only, two.read_only);
    }
    if let (Some(one), Some(two)) = (&wanted.rbd, &present.rbd) {
        let shared = one.monitors.iter().any(|monitor| two.monitors.contains(monitor));
        let pool = |pool: &Option<String>| pool.clone().unwrap_or_else(|| "rbd".to_owned());
        let same = pool(&one.pool) == pool(&two.pool) && one.image == two.image;
        return shared && same && !both(one.read_only, two.read_only);
    }
    false
}

struct Restricted<'a> {
    disks: Vec<&'a Volume>,
    /// Another pod, on whatever node, has a claim that only one pod may have.
    used: bool,
}

impl Prepared for Restricted<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut present = node.pods.values().flat_map(|pod| volumes(pod));
        if !self.disks.is_empty() && present.any(|present| self.disks.iter().any(|wanted| conflict(wanted, present))) {
            return Err(Rejection::new(NAME, "node(s) had no available disk", true));
        }
        if self.used {
            let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
            return Err(Rejection::new(NAME, reason, true));
        }
        Ok(())
    }
}
