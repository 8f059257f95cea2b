//! `pods/binding`: the scheduler's word becomes the pod's `spec.nodeName`.

use serde_json::{Value, json};
use timonel_api::FieldError;
use timonel_api::Path;

use super::success;
use crate::error::ApiError;
use crate::registry::{Answer, Caller, Change, Registry, Scope, Target, WriteOptions, meta_map, meta_time};

/// Assigns a pod to a node.
pub(super) async fn bind(
    registry: &Registry,
    target: &Target,
    binding: &Value,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Answer, ApiError> {
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        let path = Path::new("target").child("kind");
        errors.push(FieldError::not_supported(&path, kind, &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required(&Path::new("target").child("name"), ""));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("Binding", target.name.as_str(), errors));
    }
    let refuse = |why: String| Err(ApiError::conflict("pods/binding", target.name.as_str(), why));
    let change = |old: &Value| -> Result<Change, ApiError> {
        let metadata = &old["metadata"];
        let name = &target.name;
        let uid = binding["metadata"]["uid"].as_str().unwrap_or_default();
        let actual = metadata["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && uid != actual {
            return refuse(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}"
            ));
        }
        if metadata["deletionTimestamp"].is_string() {
            return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(present) = old["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            return refuse(format!("pod {name} is already assigned to node {present:?}"));
        }
        if old["spec"]["schedulingGates"]
            .as_array()
            .is_some_and(|gates| !gates.is_empty())
        {
            return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        let mut new = old.clone();
        new["spec"]["nodeName"] = node.into();
        // It waits for no room any more.
        if let Some(status) = new["status"].as_object_mut() {
            status.remove("nominatedNodeName");
        }
        for field in ["annotations", "labels"] {
            let given = binding["metadata"][field].as_object().cloned().unwrap_or_default();
            if !given.is_empty() {
                meta_map(&mut new["metadata"], field).extend(given);
            }
        }
        scheduled(&mut new, caller);
        Ok(Change { value: new })
    };
    registry
        .modify(target, options, caller, Scope::Custom { desired: false }, &change)
        .await?;
    Ok(success())
}

/// Sets the PodScheduled condition, as upstream's binding does in the same write.
fn scheduled(pod: &mut Value, caller: &Caller) {
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": meta_time(caller.now),
    });
    let status = meta_map(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == "PodScheduled")
    {
        Some(present) if present["status"] == "True" => {}
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
}
