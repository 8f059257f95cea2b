//! `pods/eviction`: a deletion that disruption budgets may refuse.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Typed;
use serde_json::{Value, json};
use timonel_api::selector::LabelSelector;

use super::success;
use crate::error::{ApiError, Cause};
use crate::registry::{
    Answer, Caller, Change, DeleteOptions, Preconditions, Registry, Scope, Target, WriteOptions, meta_map, meta_time,
    parse_delete_options,
};

const RESOURCE: &str = "poddisruptionbudgets.policy";
/// More pods than this in `status.disruptedPods` mean that the disruption controller is not keeping up.
const DISRUPTED_LIMIT: usize = 2000;

/// Deletes a pod if its disruption budget allows.
pub(super) async fn evict(
    registry: &Registry,
    target: &Target,
    eviction: &Value,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Answer, ApiError> {
    let name = eviction["metadata"]["name"].as_str().unwrap_or_default();
    if !name.is_empty() && name != target.name {
        return Err(ApiError::bad_request(format!(
            "name in URL does not match name in Eviction object: {:?} vs {name:?}",
            target.name
        )));
    }
    let mut deletion = parse_delete_options(&eviction["deleteOptions"])?;
    deletion.dry_run |= options.dry_run;
    let pods = Target {
        subresource: None,
        ..target.clone()
    };
    let current = registry.current(&pods)?;
    let pod = current.value();
    if deletion.preconditions == Preconditions::default()
        && !free_to_go(&pod)
        && let Some(budget) = budget_of(registry, &pods, &pod)?
    {
        take(registry, &budget, &pods, &pod, &deletion, caller).await?;
    }
    // Whoever asks for one exact version of the pod must not be refused because we changed it.
    if !deletion.dry_run && deletion.preconditions.resource_version.is_none() {
        mark(registry, &pods, caller).await?;
    }
    registry.delete(&pods, &deletion, caller).await?;
    Ok(success())
}

/// Notes in the pod's status why it goes: a Job's failure policy may ask.
async fn mark(registry: &Registry, pods: &Target, caller: &Caller) -> Result<(), ApiError> {
    let change = |old: &Value| -> Result<Change, ApiError> {
        let mut new = old.clone();
        let conditions = meta_map(&mut new, "status")
            .entry("conditions")
            .or_insert_with(|| json!([]));
        if let Some(conditions) = conditions.as_array_mut() {
            let marked = |one: &Value| one["type"] == "DisruptionTarget";
            if conditions.iter().any(|one| marked(one) && one["status"] == "True") {
                return Ok(Change { value: old.clone() });
            }
            conditions.retain(|one| !marked(one));
            conditions.push(json!({
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
                "lastTransitionTime": meta_time(caller.now),
            }));
        }
        Ok(Change { value: new })
    };
    let status = Target {
        subresource: pods.info.subresource("status"),
        ..pods.clone()
    };
    let options = WriteOptions::default();
    registry
        .modify(&status, &options, caller, Scope::Status, &change)
        .await
        .map(|_| ())
}

/// Pods that do not count for a budget any more, or never did.
fn free_to_go(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed" | "Pending")
    ) || pod["metadata"]["deletionTimestamp"].is_string()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The one budget that selects a pod.
fn budget_of(registry: &Registry, pods: &Target, pod: &Value) -> Result<Option<Target>, ApiError> {
    let Some(slot) = registry.caches.slot(RESOURCE) else {
        return Ok(None);
    };
    let labels = pod["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let mut found = None;
    let snapshot = slot.cache.snapshot(registry.caches.applied());
    for (key, object) in &snapshot.objects {
        if key.namespace != pods.namespace {
            continue;
        }
        let selector: Typed = serde_json::from_value(object.value()["spec"]["selector"].clone()).unwrap_or_default();
        if !LabelSelector::from_typed(&selector).is_ok_and(|selector| selector.matches(&labels)) {
            continue;
        }
        if found.is_some() {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        let status = slot.info.subresource("status");
        found = Some(registry.target(slot.info, status, &key.namespace, &key.name)?);
    }
    Ok(found)
}

/// Takes one of the disruptions that a budget allows.
async fn take(
    registry: &Registry,
    budget: &Target,
    pods: &Target,
    pod: &Value,
    deletion: &DeleteOptions,
    caller: &Caller,
) -> Result<(), ApiError> {
    let change = |old: &Value| -> Result<Change, ApiError> {
        let status = &old["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or_default();
        let unready_may_go = match old["spec"]["unhealthyPodEvictionPolicy"].as_str() {
            Some("AlwaysAllow") => true,
            _ => number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0,
        };
        if !is_ready(pod) && unready_may_go {
            return Ok(Change { value: old.clone() });
        }
        let name = &budget.name;
        if number("observedGeneration") < old["metadata"]["generation"].as_i64().unwrap_or_default() {
            return Err(violation(
                format!("The disruption budget {name} is still being processed by the server."),
                10,
            ));
        }
        if number("disruptionsAllowed") < 0 {
            return Err(ApiError::forbidden(
                RESOURCE,
                name.as_str(),
                "pdb disruptions allowed is negative",
            ));
        }
        if status["disruptedPods"]
            .as_object()
            .is_some_and(|pods| pods.len() > DISRUPTED_LIMIT)
        {
            let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
            return Err(ApiError::forbidden(RESOURCE, name.as_str(), why));
        }
        if number("disruptionsAllowed") == 0 {
            return Err(violation(
                format!(
                    "The disruption budget {name} needs {} healthy pods and has {} currently",
                    number("desiredHealthy"),
                    number("currentHealthy")
                ),
                0,
            ));
        }
        let left = number("disruptionsAllowed") - 1;
        let mut new = old.clone();
        let status = meta_map(&mut new, "status");
        status.insert("disruptionsAllowed".to_owned(), left.into());
        let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
        if let Some(disrupted) = disrupted.as_object_mut() {
            disrupted.insert(pods.name.clone(), meta_time(caller.now).into());
        }
        Ok(Change { value: new })
    };
    let options = WriteOptions {
        dry_run: deletion.dry_run,
        ..WriteOptions::default()
    };
    registry
        .modify(budget, &options, caller, Scope::Status, &change)
        .await
        .map(|_| ())
}

fn violation(message: String, retry_after_seconds: u32) -> ApiError {
    ApiError::TooManyRequests {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".to_owned(),
        retry_after_seconds,
        causes: vec![Cause {
            reason: "DisruptionBudget".to_owned(),
            message,
            field: String::new(),
        }],
    }
}
