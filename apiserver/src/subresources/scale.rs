//! `scale`: workloads seen as a number of replicas (`autoscaling/v1` Scale).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Typed;
use serde_json::{Map, Value, json};
use timonel_api::decode::Decoded;
use timonel_api::selector::LabelSelector;
use timonel_api::{FieldError, Path};

use crate::error::ApiError;
use crate::registry::{
    Answer, Caller, Change, PatchKind, Registry, Scope, Target, WriteOptions, accept_as, apply_patch_as,
};

/// The Scale of a workload.
fn of(workload: &Value) -> Value {
    let source = &workload["metadata"];
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = source.get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let selector = &workload["spec"]["selector"];
    // A ReplicationController's selector is the map itself.
    let typed = if workload["kind"] == "ReplicationController" {
        json!({"matchLabels": selector})
    } else {
        selector.clone()
    };
    let typed: Typed = serde_json::from_value(typed).unwrap_or_default();
    let selector = LabelSelector::from_typed(&typed)
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": workload["spec"]["replicas"].as_i64().unwrap_or_default()},
        "status": {
            "replicas": workload["status"]["replicas"].as_i64().unwrap_or_default(),
            "selector": selector,
        },
    })
}

fn answer(answer: &Answer) -> Answer {
    Answer::Value(of(&answer.value()))
}

/// What the workload becomes when its Scale becomes `scale`.
fn scaled(target: &Target, old: &Value, scale: &Value) -> Result<Change, ApiError> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid(
            "Scale.autoscaling",
            target.name.as_str(),
            vec![error],
        ));
    }
    let mut new = old.clone();
    new["spec"]["replicas"] = replicas.into();
    for field in ["resourceVersion", "uid"] {
        new["metadata"][field] = scale["metadata"][field].as_str().unwrap_or_default().into();
    }
    Ok(Change { value: new })
}

/// Reads a Scale.
pub(crate) async fn get(registry: &Registry, target: &Target) -> Result<Answer, ApiError> {
    registry.get(target, "").await.map(|workload| answer(&workload))
}

/// Replaces a Scale.
pub(crate) async fn update(
    registry: &Registry,
    target: &Target,
    body: Decoded,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Answer, ApiError> {
    let scale = accept_as("autoscaling", "v1", "Scale", body, options, caller)?;
    let change = |old: &Value| scaled(target, old, &scale);
    write(registry, target, options, caller, &change).await
}

/// Patches a Scale.
pub(crate) async fn patch(
    registry: &Registry,
    target: &Target,
    kind: PatchKind,
    body: &[u8],
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Answer, ApiError> {
    let change = |old: &Value| -> Result<Change, ApiError> {
        let shown = of(old);
        let mut scale = apply_patch_as("autoscaling", "v1", "Scale", kind, body, &shown, options, caller)?;
        if scale["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"] {
            scale["metadata"]["resourceVersion"] = "".into();
        }
        scaled(target, old, &scale)
    };
    write(registry, target, options, caller, &change).await
}

async fn write(
    registry: &Registry,
    target: &Target,
    options: &WriteOptions,
    caller: &Caller,
    change: &(dyn Fn(&Value) -> Result<Change, ApiError> + Send + Sync),
) -> Result<Answer, ApiError> {
    let workload = registry
        .modify(target, options, caller, Scope::Custom { desired: true }, change)
        .await?;
    Ok(answer(&workload))
}
