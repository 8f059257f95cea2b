//! Which volume a claim gets that does not wait for its first consumer. What fits at all is `timonel_api::storage`'s to say.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use timonel_api::selector::LabelSelector;
use timonel_api::storage::{capacity, mismatch, refers_to};

use crate::owner;

/// The volume that suits a claim best.
pub(super) fn best<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    only_prebound: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let fits = |volume: &&Arc<PersistentVolume>| {
        volume.metadata.deletion_timestamp.is_none() && mismatch(volume, claim).is_none()
    };
    let prebound = volumes.iter().filter(fits).find(|volume| refers_to(volume, claim));
    if prebound.is_some() || only_prebound {
        return prebound;
    }
    let free = |volume: &&Arc<PersistentVolume>| {
        let taken = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let labels = volume.metadata.labels.as_ref();
        let selected =
            selector.is_none_or(|selector| LabelSelector::from_optional(Some(selector)).matches_optional(labels));
        !taken && phase == Some("Available") && selected
    };
    let size = |volume: &&Arc<PersistentVolume>| (capacity(volume).nanos(), owner::name(&volume.metadata).to_owned());
    volumes.iter().filter(fits).filter(free).min_by_key(size)
}
