//! Which volume fits a claim: by class, size, access modes, volume mode, labels and node; the smallest that fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
};

use super::{capacity, class_of_claim, class_of_volume, refers_to, requested};
use crate::pod::matches_node_term;
use crate::selector::LabelSelector;

/// Why a volume does not do for a claim, in upstream's words.
pub type Refused = &'static str;

/// Says why a volume does not do for a claim that asks for it by name.
pub fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<Refused> {
    let (Some(offer), Some(wish)) = (&volume.spec, &claim.spec) else {
        return Some("it has no spec");
    };
    if capacity(volume).nanos() < requested(claim).nanos() {
        return Some("requested PV is too small");
    }
    if class_of_volume(volume) != class_of_claim(claim) {
        return Some("storageClassName does not match");
    }
    let offered = offer.volume_attributes_class_name.as_deref().unwrap_or_default();
    if offered != wish.volume_attributes_class_name.as_deref().unwrap_or_default() {
        return Some("volumeAttributesClassName does not match");
    }
    if !modes_agree(offer, wish) {
        return Some("incompatible volumeMode");
    }
    (!access_suffices(offer, wish)).then_some("incompatible accessMode")
}

fn modes_agree(offer: &PersistentVolumeSpec, wish: &PersistentVolumeClaimSpec) -> bool {
    offer.volume_mode.as_deref().unwrap_or("Filesystem") == wish.volume_mode.as_deref().unwrap_or("Filesystem")
}

fn access_suffices(offer: &PersistentVolumeSpec, wish: &PersistentVolumeClaimSpec) -> bool {
    let offered = offer.access_modes.as_deref().unwrap_or_default();
    wish.access_modes.iter().flatten().all(|mode| offered.contains(mode))
}

/// Tells whether a volume can be reached from a node with these labels. Names of nodes do not count: upstream looks at labels only.
pub fn fits_node(volume: &PersistentVolume, labels: &BTreeMap<String, String>) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else {
        return true;
    };
    let label = |key: &str| labels.get(key).map(String::as_str);
    let mut terms = required.node_selector_terms.iter();
    terms.any(|term| matches_node_term(term, "", &label, false))
}

/// Returns the volume that suits a claim best on a node: the one that is promised to it, else the smallest free one that fits.
///
/// Where the promised volume cannot be reached from the node, no other does either. `taken` are volumes that another claim of the
/// same pod was given just now.
pub fn smallest<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl Iterator<Item = &'a Arc<PersistentVolume>>,
    labels: &BTreeMap<String, String>,
    taken: &BTreeSet<String>,
) -> Option<&'a Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.map(|selector| LabelSelector::from_optional(Some(selector)));
    let name = |volume: &PersistentVolume| volume.metadata.name.clone().unwrap_or_default();
    let mut best: Option<(i128, String, &'a Arc<PersistentVolume>)> = None;
    for volume in volumes {
        let claimed = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        let promised = claimed && refers_to(volume, claim);
        if claimed && !promised
            || volume.metadata.deletion_timestamp.is_some()
            || taken.contains(&name(volume))
            || mismatch(volume, claim).is_some()
        {
            continue;
        }
        let reachable = fits_node(volume, labels);
        if promised {
            return reachable.then_some(volume);
        }
        let free = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available");
        let selected = selector
            .as_ref()
            .is_none_or(|selector| selector.matches_optional(volume.metadata.labels.as_ref()));
        if !free || !selected || !reachable {
            continue;
        }
        let rank = (capacity(volume).nanos(), name(volume));
        if best
            .as_ref()
            .is_none_or(|(size, name, _)| (rank.0, &rank.1) < (*size, name))
        {
            best = Some((rank.0, rank.1, volume));
        }
    }
    best.map(|(_, _, volume)| volume)
}
