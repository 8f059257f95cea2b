//! The claims of a StatefulSet's pods, and who takes them along when it goes.
//!
//! Upstream: KEP-1847. With `whenDeleted: Delete` the set controls the claims, with `whenScaled: Delete` a pod that is beyond the last
//! ordinal controls its own; the garbage collector does the rest.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::owner;

/// Returns the templates of the claims that each pod has.
pub(super) fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    let spec = set.spec.as_ref();
    spec.and_then(|spec| spec.volume_claim_templates.as_deref())
        .unwrap_or_default()
}

/// Returns the name of a pod's claim.
pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!(
        "{}-{}-{ordinal}",
        owner::name(&template.metadata),
        owner::name(&set.metadata)
    )
}

/// Whether a claim of this name would be one of the set's.
pub(super) fn is_of(set: &StatefulSet, name: &str) -> bool {
    let Some((stem, number)) = name.rsplit_once('-') else {
        return false;
    };
    let own = owner::name(&set.metadata);
    number.bytes().all(|digit| digit.is_ascii_digit())
        && templates(set).iter().any(|template| {
            let rest = stem.strip_prefix(owner::name(&template.metadata));
            rest.and_then(|rest| rest.strip_prefix('-')) == Some(own)
        })
}

/// Makes the claims of the pod with an ordinal.
pub(super) fn of_pod(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let spec = set.spec.as_ref();
    let selected = spec
        .and_then(|spec| spec.selector.match_labels.clone())
        .unwrap_or_default();
    let make = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(name(set, template, ordinal));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        claim.metadata.labels.get_or_insert_default().extend(selected.clone());
        claim.status = None;
        claim
    };
    templates(set).iter().map(make).collect()
}

/// When the claims go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) deleted_with_set: bool,
    pub(super) deleted_with_scale: bool,
}

impl Policy {
    pub(super) fn of(set: &StatefulSet) -> Self {
        let spec = set.spec.as_ref();
        let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
        let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
        Self {
            deleted_with_set: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            deleted_with_scale: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }
}

fn refers(reference: &OwnerReference, kind: &str, name: &str) -> bool {
    reference.kind == kind && reference.name == name
}

/// Returns the owners that a claim should have, where they are not those that it has. `condemned` tells whether the pod is beyond the
/// last ordinal. A claim that somebody else controls is left alone.
pub(super) fn owners(
    set: &StatefulSet,
    pod: &Pod,
    condemned: bool,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let policy = Policy::of(set);
    let with_pod = policy.deleted_with_scale && condemned;
    let with_set = policy.deleted_with_set && !with_pod;
    let (set_name, pod_name) = (owner::name(&set.metadata), owner::name(&pod.metadata));
    let is_set = |one: &OwnerReference| refers(one, "StatefulSet", set_name);
    let is_pod = |one: &OwnerReference| refers(one, "Pod", pod_name);
    let found = claim.metadata.owner_references.clone().unwrap_or_default();
    let foreign = |one: &OwnerReference| one.controller == Some(true) && !is_set(one) && !is_pod(one);
    if found.iter().any(foreign) {
        return None;
    }
    let mut wanted: Vec<OwnerReference> = found
        .iter()
        .filter(|one| !is_set(one) && !is_pod(one))
        .cloned()
        .collect();
    if with_set {
        wanted.push(owner::controller_reference(set));
    }
    if with_pod {
        wanted.push(owner::controller_reference(pod));
    }
    (wanted != found).then_some(wanted)
}

/// Whether a claim still belongs to an earlier pod of its name, with which it is about to be collected.
pub(super) fn is_stale(set: &StatefulSet, pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = owner::name(&pod.metadata);
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut earlier = owners.filter(|one| refers(one, "Pod", name) && one.uid != owner::uid(&pod.metadata));
    Policy::of(set).deleted_with_scale && earlier.next().is_some()
}
