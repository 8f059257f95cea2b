//! Which volume fits a claim: by class, size, access modes, volume mode and labels; the smallest that fits.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use timonel_api::quantity::Quantity;
use timonel_api::selector::LabelSelector;

use crate::owner;

/// The annotation that named the class before the field did.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn amount(list: Option<&std::collections::BTreeMap<String, Wire>>) -> Quantity {
    list.and_then(|list| list.get("storage"))
        .map_or(Quantity::ZERO, Quantity::lenient)
}

/// The class of a claim; empty where it has none.
pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let annotation = claim.metadata.annotations.as_ref().and_then(|all| all.get(CLASS));
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotation.or(field).map_or("", String::as_str)
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let annotation = volume.metadata.annotations.as_ref().and_then(|all| all.get(CLASS));
    let field = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotation.or(field).map_or("", String::as_str)
}

/// Whether a volume's claim reference is to this claim; one without a uid was written by a person, and is to whoever has the name.
pub(super) fn refers_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|reference| {
        let uid = reference.uid.as_deref().unwrap_or_default();
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (uid.is_empty() || uid == owner::uid(&claim.metadata))
    })
}

/// Why a volume does not do for a claim that asks for it by name.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let (Some(offer), Some(wish)) = (&volume.spec, &claim.spec) else {
        return Some("it has no spec");
    };
    let requested = amount(
        wish.resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref()),
    );
    if amount(offer.capacity.as_ref()).nanos() < requested.nanos() {
        return Some("requested PV is too small");
    }
    if class_of_volume(volume) != class_of_claim(claim) {
        return Some("storageClassName does not match");
    }
    if !modes_agree(offer, wish) {
        return Some("incompatible volumeMode");
    }
    (!access_suffices(offer, wish)).then_some("incompatible accessMode")
}

fn modes_agree(offer: &PersistentVolumeSpec, wish: &PersistentVolumeClaimSpec) -> bool {
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    mode(&offer.volume_mode) == mode(&wish.volume_mode)
}

fn access_suffices(offer: &PersistentVolumeSpec, wish: &PersistentVolumeClaimSpec) -> bool {
    let offered = offer.access_modes.as_deref().unwrap_or_default();
    wish.access_modes.iter().flatten().all(|mode| offered.contains(mode))
}

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
    let size = |volume: &&Arc<PersistentVolume>| {
        let capacity = amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()));
        (capacity.nanos(), owner::name(&volume.metadata).to_owned())
    };
    volumes.iter().filter(fits).filter(free).min_by_key(size)
}
