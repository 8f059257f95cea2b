//! Subresources through which only one part of an object may be written.

use serde_json::Value;

use crate::registry::{Target, meta_copy, meta_map};

/// The old object with that part of the new one which the target's subresource may write; `None` where the subresource is no such part.
pub(crate) fn narrow(target: &Target, old: &Value, new: &Value) -> Option<Value> {
    Some(
        match (target.slot.group_resource.as_str(), target.subresource_name()?) {
            ("namespaces", "finalize") => finalize(old, new),
            ("pods", "ephemeralcontainers") => ephemeral_containers(old, new),
            ("pods", "resize") => resize(old, new),
            ("certificatesigningrequests.certificates.k8s.io", "approval") => approval(old, new),
            _ => return None,
        },
    )
}

fn finalize(old: &Value, new: &Value) -> Value {
    let mut result = old.clone();
    let spec = meta_map(&mut result, "spec");
    match new["spec"]
        .get("finalizers")
        .filter(|finalizers| finalizers.as_array().is_some_and(|f| !f.is_empty()))
    {
        Some(finalizers) => {
            spec.insert("finalizers".to_owned(), finalizers.clone());
        }
        None => {
            spec.remove("finalizers");
        }
    }
    result
}

fn ephemeral_containers(old: &Value, new: &Value) -> Value {
    const FIELD: &str = "ephemeralContainers";
    let mut result = with_metadata(old, new);
    match new["spec"].get(FIELD) {
        Some(containers) => result["spec"][FIELD] = containers.clone(),
        None => {
            meta_map(&mut result, "spec").remove(FIELD);
        }
    }
    result
}

/// Takes what containers use. Where containers come, go or change their names, all of it is taken, for validation to refuse.
fn resize(old: &Value, new: &Value) -> Value {
    let list = |pod: &Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let mut result = with_metadata(old, new);
    for field in ["containers", "initContainers"] {
        let (mut before, after) = (list(old, field), list(new, field));
        let names = |all: &[Value]| all.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
        if names(&before) != names(&after) {
            result["spec"][field] = after.into();
            continue;
        }
        for (container, wanted) in before.iter_mut().zip(&after) {
            for part in ["resources", "resizePolicy"] {
                meta_copy(wanted, container, part);
            }
        }
        if !before.is_empty() {
            result["spec"][field] = before.into();
        }
    }
    let (wanted, kept) = (&new["spec"], &mut result["spec"]);
    meta_copy(wanted, kept, "resources");
    result
}

/// The old object with the new one's labels and annotations, as with a status.
fn with_metadata(old: &Value, new: &Value) -> Value {
    let mut result = old.clone();
    for field in ["labels", "annotations", "finalizers", "managedFields"] {
        meta_copy(&new["metadata"], &mut result["metadata"], field);
    }
    result
}

/// An approver writes the conditions, and labels and annotations as with a status.
fn approval(old: &Value, new: &Value) -> Value {
    let mut result = with_metadata(old, new);
    let conditions = new["status"]["conditions"].clone();
    let status = meta_map(&mut result, "status");
    if conditions.is_array() {
        status.insert("conditions".to_owned(), conditions);
    } else {
        status.remove("conditions");
    }
    result
}
