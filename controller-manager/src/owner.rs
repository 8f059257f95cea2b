//! Owner references: who controls an object, and how to say so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Returns the reference to the controller of an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Tells whether the object with this uid controls another.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// Makes the reference that a controlled object carries.
pub(crate) fn controller_reference<K: kube::Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Returns an object's uid, empty where it has none.
pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// Returns an object's name, empty where it has none.
pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Returns an object's namespace, empty where it has none.
pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// Makes the patch that lets an owner adopt an object: its owner references with the new one.
pub(crate) fn adoption(meta: &ObjectMeta, owner: &OwnerReference) -> serde_json::Value {
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|other| other.uid != owner.uid);
    owners.push(owner.clone());
    serde_json::json!({"metadata": {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "ownerReferences": owners,
    }})
}

/// Makes the patch that releases an object from an owner.
pub(crate) fn release(meta: &ObjectMeta, uid: &str) -> serde_json::Value {
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|other| other.uid != uid);
    serde_json::json!({"metadata": {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "ownerReferences": (!owners.is_empty()).then_some(owners),
    }})
}
