//! Who a pod of a StatefulSet is: its name, number, labels and storage.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};

use super::claims;
use crate::history::REVISION_LABEL;
use crate::{owner, template};

pub(super) const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// Returns the number of a pod's name; none where the pod is not one of the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, number) = owner::name(&pod.metadata).rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    (digits && parent == owner::name(&set.metadata))
        .then(|| number.parse().ok())
        .flatten()
}

/// Returns the first ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    let spec = set.spec.as_ref();
    let ordinals = spec.and_then(|spec| spec.ordinals.as_ref());
    ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0)
}

/// Returns how many pods the set should have.
pub(super) fn replicas(set: &StatefulSet) -> i32 {
    let spec = set.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0)
}

/// Whether an ordinal is one of those that the set should have.
pub(super) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    let index = i64::from(ordinal) - i64::from(start(set));
    (0..i64::from(replicas(set))).contains(&index)
}

/// Returns the revision that a pod is of.
pub(super) fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    let revision = labels.and_then(|labels| labels.get(REVISION_LABEL));
    revision.map_or("", String::as_str)
}

/// Makes the pod with an ordinal.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let namespace = owner::namespace(&set.metadata);
    let mut pod = template::pod_for(namespace, owner::controller_reference(set), template);
    let name = format!("{}-{ordinal}", owner::name(&set.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.to_owned(), name.clone());
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    pod.metadata.name = Some(name.clone());
    let service = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = service.filter(|service| !service.is_empty());
    let templates = claims::templates(set);
    let claimed = templates.iter().map(|claim| Volume {
        name: owner::name(&claim.metadata).to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claims::name(set, claim, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    });
    // A claim takes the place of a volume of its name in the template.
    let given = spec.volumes.take().unwrap_or_default();
    let given = given.into_iter().filter(|volume| {
        !templates
            .iter()
            .any(|claim| owner::name(&claim.metadata) == volume.name)
    });
    let volumes: Vec<Volume> = claimed.chain(given).collect();
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod
}

/// Whether a pod carries the labels of its name and number.
pub(super) fn is_labelled(pod: &Pod, ordinal: i32) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let label = |key| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    label(NAME_LABEL) == Some(owner::name(&pod.metadata)) && label(INDEX_LABEL) == Some(ordinal.to_string().as_str())
}
