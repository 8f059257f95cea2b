//! Claims and volumes: what belongs to which class, what fits what, and the names that components agree on.
//!
//! The scheduler and the binder choose volumes by the same rules, so the rules are here.

mod fit;
mod local_path;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use crate::quantity::Quantity;

pub use fit::{Refused, fits_node, mismatch, smallest};
pub use local_path::{LOCAL_PATH, LOCAL_PATH_ROOT, NFS, is_folder_of_local_path, local_path_folder};

/// A claim that was bound to the end carries this annotation.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// What the binder or the scheduler chose by itself, may also be undone by itself.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The node that the scheduler chose for a claim's first consumer.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who provisioned a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who is to provision a volume for a claim; the older spelling, and the present one.
pub const PROVISIONERS: [&str; 2] = [
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
];
/// Nobody provisions for classes that name this one.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// The annotation that named the class before the field did.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn class<'a>(annotations: Option<&'a BTreeMap<String, String>>, field: Option<&'a String>) -> &'a str {
    let annotation = annotations.and_then(|all| all.get(CLASS));
    annotation.or(field).map_or("", String::as_str)
}

/// Returns the class of a claim; empty where it has none.
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    class(claim.metadata.annotations.as_ref(), field)
}

/// Returns the class of a volume; empty where it has none.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let field = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    class(volume.metadata.annotations.as_ref(), field)
}

/// Reads the amount of storage in a list of resources.
pub fn amount(list: Option<&BTreeMap<String, Wire>>) -> Quantity {
    list.and_then(|list| list.get("storage"))
        .map_or(Quantity::ZERO, Quantity::lenient)
}

/// Returns how much a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    amount(resources.and_then(|resources| resources.requests.as_ref()))
}

/// Returns how much a volume has.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

/// Tells whether an object carries an annotation.
pub fn is_annotated(annotations: Option<&BTreeMap<String, String>>, key: &str) -> bool {
    annotations.is_some_and(|all| all.contains_key(key))
}

/// Returns the name of the volume that a claim names, if it names one.
pub fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let name = claim.spec.as_ref()?.volume_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}

/// Tells whether a claim was bound to the end.
pub fn is_fully_bound(claim: &PersistentVolumeClaim) -> bool {
    volume_of(claim).is_some() && is_annotated(claim.metadata.annotations.as_ref(), BIND_COMPLETED)
}

/// Tells whether a volume's reference is to this claim; one without a uid was written by a person, and is to whoever has the name.
pub fn refers_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|reference| {
        let uid = reference.uid.as_deref().unwrap_or_default();
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
    })
}

/// Returns the name of the claim behind one of a pod's volumes: the one that it names, or the one that is made for it.
pub fn claim_behind(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(source.claim_name.clone());
    }
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name))
}

/// Tells whether a claim was made for a pod's ephemeral volume.
pub fn is_made_for(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == pod.metadata.uid.as_deref())
}

#[cfg(test)]
mod tests;
