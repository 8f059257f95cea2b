//! Who uses a claim, a volume or a class of attributes.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use timonel_client::runner::key_of;

use crate::owner;

/// Whether a pod uses a claim. One that has no node yet does not count: no kubelet starts a pod with a claim that is being deleted.
pub(super) fn pod_uses_claim(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = pod.spec.as_ref().filter(|_| timonel_api::pod::is_scheduled(pod)) else {
        return false;
    };
    let name = owner::name(&claim.metadata);
    let shut_down = timonel_api::pod::is_terminating(pod) && pod.metadata.deletion_grace_period_seconds == Some(0);
    spec.volumes.iter().flatten().any(|volume| {
        let named = volume
            .persistent_volume_claim
            .as_ref()
            .is_some_and(|source| source.claim_name == name);
        let made_for_it = || {
            let own = format!("{}-{}", owner::name(&pod.metadata), volume.name) == name;
            own && owner::is_controlled_by(&claim.metadata, owner::uid(&pod.metadata))
        };
        named || !shut_down && volume.ephemeral.is_some() && made_for_it()
    })
}

/// The claims that a pod names, of its own namespace.
pub(super) fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| match &volume.persistent_volume_claim {
        Some(source) => Some(source.claim_name.clone()),
        None => volume
            .ephemeral
            .as_ref()
            .map(|_| format!("{}-{}", owner::name(&pod.metadata), volume.name)),
    };
    volumes.filter_map(claim).collect()
}

/// Who uses a volume: the claim that it is bound to.
pub(super) fn user_of_volume(volume: &PersistentVolume) -> Option<String> {
    let phase = volume.status.as_ref()?.phase.as_deref();
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let name = claim.and_then(|claim| claim.name.clone()).unwrap_or_default();
    (phase == Some("Bound")).then_some(name)
}

/// The classes of attributes that a claim has, wants, or is being given.
pub(super) fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let status = claim.status.as_ref();
    let target = status.and_then(|status| {
        status
            .modify_volume_status
            .as_ref()?
            .target_volume_attributes_class_name
            .clone()
    });
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_attributes_class_name.clone());
    [wanted, current, target].into_iter().flatten().collect()
}

/// The class of attributes that a volume has.
pub(super) fn class_of_volume(volume: &PersistentVolume) -> Option<String> {
    volume.spec.as_ref()?.volume_attributes_class_name.clone()
}

/// Who among these uses a class.
pub(super) fn user_of_class<'a>(
    name: &str,
    mut claims: impl Iterator<Item = &'a PersistentVolumeClaim>,
    mut volumes: impl Iterator<Item = &'a PersistentVolume>,
) -> Option<String> {
    let claim = claims.find(|claim| classes_of_claim(claim).iter().any(|class| class == name));
    let claim = claim.map(|claim| format!("claim {}", key_of(claim)));
    claim.or_else(|| {
        let volume = volumes.find(|volume| class_of_volume(volume).as_deref() == Some(name));
        volume.map(|volume| format!("volume {}", key_of(volume)))
    })
}
