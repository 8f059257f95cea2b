//! Subresources through which only one part of an object may be written.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use crate::error::ApiError;
use crate::registry::{Target, meta_copy, meta_map};

/// The old object with that part of the new one which the target's subresource may write; `None` where the subresource is no such part.
pub(crate) fn narrow(target: &Target, old: &Value, new: &Value) -> Option<Result<Value, ApiError>> {
    let result = match (target.slot.group_resource.as_str(), target.subresource_name()?) {
        ("namespaces", "finalize") => Ok(finalize(old, new)),
        ("pods", "ephemeralcontainers") => ephemeral_containers(target, old, new),
        ("pods", "resize") => Ok(resize(old, new)),
        ("certificatesigningrequests.certificates.k8s.io", "approval") => Ok(approval(old, new)),
        _ => return None,
    };
    Some(result)
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

fn ephemeral_containers(target: &Target, old: &Value, new: &Value) -> Result<Value, ApiError> {
    const FIELD: &str = "ephemeralContainers";
    let list = |pod: &Value| pod["spec"][FIELD].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old), list(new));
    let path = Path::new("spec").child(FIELD);
    let kept = |container: &Value| {
        let same = after.iter().find(|other| other["name"] == container["name"]);
        same.is_some_and(|same| same == container)
    };
    let mut errors = Vec::new();
    for container in before.iter().filter(|container| !kept(container)) {
        let name = container["name"].as_str().unwrap_or_default();
        errors.push(FieldError::forbidden(
            &path,
            format!("existing ephemeral containers {name:?} may not be removed or changed"),
        ));
    }
    let containers = |field: &str| old["spec"][field].as_array().cloned().unwrap_or_default();
    let taken: Vec<Value> = [containers("containers"), containers("initContainers")].concat();
    for (at, container) in after.iter().enumerate() {
        let path = path.index(at);
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        if container["image"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&path.child("image"), ""));
        }
        let twice = after[..at].iter().any(|other| other["name"] == container["name"]);
        if twice || taken.iter().any(|other| other["name"] == container["name"]) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(target.qualified_kind(), target.name.as_str(), errors));
    }
    let mut result = old.clone();
    result["spec"][FIELD] = after.into();
    Ok(result)
}

fn resize(old: &Value, new: &Value) -> Value {
    let mut result = old.clone();
    for field in ["containers", "initContainers"] {
        let wanted = new["spec"][field].as_array().cloned().unwrap_or_default();
        for container in result
            .pointer_mut(&format!("/spec/{field}"))
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(wanted) = wanted.iter().find(|wanted| wanted["name"] == container["name"]) else {
                continue;
            };
            for part in ["resources", "resizePolicy"] {
                if let Some(value) = wanted.get(part) {
                    container[part] = value.clone();
                }
            }
        }
    }
    result
}

/// An approver writes the conditions, and labels and annotations as with a status.
fn approval(old: &Value, new: &Value) -> Value {
    let mut result = old.clone();
    for field in ["labels", "annotations", "finalizers", "managedFields"] {
        meta_copy(&new["metadata"], &mut result["metadata"], field);
    }
    let conditions = new["status"]["conditions"].clone();
    let status = meta_map(&mut result, "status");
    if conditions.is_array() {
        status.insert("conditions".to_owned(), conditions);
    } else {
        status.remove("conditions");
    }
    result
}
