//! Tells the API server what became of a pod, and when it may forget it.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};

use super::Shared;

/// Conditions that only the kubelet writes.
const OWNED: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// Builds the strategic merge patch that leads from what the API server has to `new`. Conditions of others are left alone.
pub(super) fn patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Value {
    let as_map = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (before, after) = (as_map(old), as_map(new));
    let mut changed = Map::new();
    for (field, value) in &after {
        if before.get(field) == Some(value) {
            continue;
        }
        let value = match (field.as_str(), value) {
            ("conditions", Value::Array(list)) => conditions(list, before.get(field)),
            ("podIPs" | "hostIPs", Value::Array(list)) => {
                let mut whole = vec![json!({"$patch": "replace"})];
                whole.extend(list.iter().cloned());
                Value::Array(whole)
            }
            _ => value.clone(),
        };
        changed.insert(field.clone(), value);
    }
    for field in before.keys() {
        if !after.contains_key(field) {
            changed.insert(field.clone(), Value::Null);
        }
    }
    json!({"metadata": {"uid": uid}, "status": changed})
}

fn conditions(list: &[Value], before: Option<&Value>) -> Value {
    let known = |kind: &Value| {
        before
            .and_then(Value::as_array)
            .is_some_and(|old| old.iter().any(|c| c.get("type") == Some(kind)))
    };
    let own = list.iter().filter(|condition| {
        let kind = condition.get("type").and_then(Value::as_str).unwrap_or_default();
        OWNED.contains(&kind) || (kind == "PodScheduled" && !known(&json!(kind)))
    });
    let with_nulls = own.map(|condition| {
        let mut condition = condition.clone();
        if let Some(map) = condition.as_object_mut() {
            // Merging keeps what is not mentioned: what is gone has to be said.
            map.entry("reason").or_insert(Value::Null);
            map.entry("message").or_insert(Value::Null);
        }
        condition
    });
    Value::Array(with_nulls.collect())
}

/// The revision of the store at which an object was as it is.
pub(super) fn revision(pod: &Pod) -> u64 {
    let version = pod.metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Reports a status, and answers the revision at which the API took it. A pod that is gone, or another pod of that name, is no
/// error: there is nobody to tell.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub(super) async fn report(shared: &Shared, pod: &Pod, old: &PodStatus, new: &PodStatus) -> Result<u64, kube::Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let body = patch(uid, old, new);
    let result = pods(shared, pod)
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(body))
        .await;
    match result {
        Ok(told) => Ok(revision(&told)),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(revision(pod)),
        Err(error) => Err(error),
    }
}

/// Lets the API server forget a pod of which nothing runs any more.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub(super) async fn finalize(shared: &Shared, pod: &Pod) -> Result<(), kube::Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let options = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match pods(shared, pod).delete(name, &options).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

fn pods(shared: &Shared, pod: &Pod) -> Api<Pod> {
    Api::namespaced(
        shared.client.clone(),
        pod.metadata.namespace.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodCondition;

    use super::*;

    #[test]
    fn what_is_gone_is_said_and_what_belongs_to_others_is_not() {
        let condition = |kind: &str, status: &str, reason: Option<&str>| PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.map(str::to_owned),
            ..PodCondition::default()
        };
        let old = PodStatus {
            phase: Some("Pending".into()),
            message: Some("m".into()),
            conditions: Some(vec![
                condition("Ready", "False", Some("ContainersNotReady")),
                condition("Mine", "True", None),
            ]),
            ..PodStatus::default()
        };
        let new = PodStatus {
            phase: Some("Running".into()),
            conditions: Some(vec![condition("Ready", "True", None), condition("Mine", "True", None)]),
            ..PodStatus::default()
        };
        assert_eq!(
            patch("u", &old, &new),
            json!({"metadata": {"uid": "u"}, "status": {
                "phase": "Running",
                "message": null,
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}],
            }})
        );
    }
}
