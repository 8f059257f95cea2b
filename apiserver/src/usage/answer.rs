//! NodeMetrics and PodMetrics, made from samples for each answer, in metrics-server's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::quantity::{self, Format, Quantity};
use timonel_api::resources::ResourceInfo;
use timonel_api::{ObjectKey, Revision, duration};

use super::samples::{Samples, Used};
use super::{GROUP, Usage};
use crate::cache::{Filter, Object, Slot, encode};
use crate::error::ApiError;
use crate::reader::ObjectReader;
use crate::registry::{Answer, List, ListOptions, Target};

/// What a request is about.
pub(crate) fn target(info: &'static ResourceInfo, namespace: &str, name: &str) -> Target {
    Target {
        info,
        slot: Arc::new(Slot::new(info)),
        subresource: None,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// Writes thousand millionths of a core as a quantity.
pub(crate) fn cpu(nano_cores: u64) -> String {
    let text = format!("{nano_cores}n");
    quantity::canonical(&text).unwrap_or(text)
}

fn usage(used: &Used) -> Value {
    let memory = i64::try_from(used.memory).unwrap_or(i64::MAX);
    json!({
        "cpu": cpu(used.nano_cores),
        "memory": Quantity::from_units(memory, Format::BinarySi).to_wire().0,
    })
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The object's name and labels; it was made just now.
fn metadata(object: &Value, now: Timestamp) -> Value {
    let source = &object["metadata"];
    let mut metadata = json!({"name": source["name"], "creationTimestamp": time(now)});
    for field in ["namespace", "labels"] {
        if let Some(value) = source.get(field) {
            metadata[field] = value.clone();
        }
    }
    metadata
}

fn node_metrics(samples: &Samples, node: &Value, now: Timestamp) -> Option<Value> {
    let used = samples.node(node["metadata"]["name"].as_str()?)?;
    Some(json!({
        "kind": "NodeMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": metadata(node, now),
        "timestamp": time(used.at),
        "window": duration::print(used.window),
        "usage": usage(&used),
    }))
}

fn pod_metrics(samples: &Samples, pod: &Value, now: Timestamp) -> Option<Value> {
    let name = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let containers: BTreeMap<String, Used> = samples.pod(&ObjectKey::new(name("namespace"), name("name")))?;
    let earliest = containers.values().min_by_key(|used| used.at)?;
    let (at, window) = (time(earliest.at), duration::print(earliest.window));
    let each: Vec<Value> = containers
        .iter()
        .map(|(name, used)| json!({"name": name, "usage": usage(used)}))
        .collect();
    Some(json!({
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": metadata(pod, now),
        "timestamp": at,
        "window": window,
        "containers": each,
    }))
}

fn metrics(samples: &Samples, target: &Target, object: &Value, now: Timestamp) -> Option<Value> {
    if target.info.namespaced {
        pod_metrics(samples, object, now)
    } else {
        node_metrics(samples, object, now)
    }
}

/// Answers for one node or pod.
///
/// *Errors:* `NotFound`, of the object itself, or of its metrics.
pub(crate) fn get(
    usage: &Usage,
    reader: &dyn ObjectReader,
    target: &Target,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    let (resource, name) = (target.info.plural, target.name.as_str());
    let object = reader
        .get(resource, &target.namespace, name)
        .ok_or_else(|| ApiError::not_found(resource, name))?;
    let (kind, shown) = if target.info.namespaced {
        ("podmetrics", format!("{}/{name}", target.namespace))
    } else {
        ("nodemetrics", name.to_owned())
    };
    metrics(&usage.samples(), target, &object, now)
        .map(Answer::Value)
        .ok_or_else(|| ApiError::not_found(format!("{kind}.{GROUP}"), shown))
}

/// Answers for all nodes or pods that are meant and measured.
pub(crate) fn list(
    usage: &Usage,
    reader: &dyn ObjectReader,
    target: &Target,
    options: &ListOptions,
    revision: Revision,
    now: Timestamp,
) -> Result<List, ApiError> {
    let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let filter = Filter::in_namespace(namespace)
        .with_labels(&options.labels)?
        .with_fields(
            &options.fields,
            target.info.kind,
            &["metadata.name", "metadata.namespace"],
        )?;
    let internal = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
    let samples = usage.samples();
    let mut items = Vec::new();
    for object in reader.list(target.info.plural, namespace) {
        let Some(metrics) = metrics(&samples, target, &object, now) else {
            continue;
        };
        let bytes = encode(&metrics).map_err(|error| internal(&error))?;
        let object = Object::from_stored(&bytes, revision, &*target.slot).map_err(|error| internal(&error))?;
        if filter.matches(&object) {
            items.push(Arc::new(object));
        }
    }
    Ok(List {
        revision,
        items,
        continue_token: None,
        remaining: None,
    })
}
