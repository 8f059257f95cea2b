//! What every kind's metadata goes through: system fields, generation, checks.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Map, Value};
use timonel_api::{FieldError, Path, validation};

use super::Target;
use crate::error::ApiError;

/// A time as `metav1.Time` writes it: whole seconds, UTC.
pub(crate) fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The object's metadata, made if it is missing.
pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    static_map(object, "metadata")
}

/// A map within an object, made if it is missing or something else.
pub(crate) fn static_map<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let slot = &mut object[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object just now"),
    }
}

/// A text within the metadata; empty if missing.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The finalizers.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Whether deletion has begun.
pub(super) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Copies a field, or removes it where the source has none.
pub(crate) fn copy(from: &Value, to: &mut Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) if !value.is_null() => {
            to.insert(field.to_owned(), value.clone());
        }
        _ => {
            to.remove(field);
        }
    }
}

/// Checks a body's apiVersion and kind against what was addressed, and fills them in where they are missing.
pub(super) fn check_type(value: &mut Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let object = value
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("the object provided is unrecognized (must be a JSON object)"))?;
    let given = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (given_version, given_kind) = (given("apiVersion"), given("kind"));
    if !given_kind.is_empty() && given_kind != kind {
        let version = given_version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "{given_kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: the kind in the data ({given_kind}) does not match the expected kind ({kind})"
        )));
    }
    if !given_version.is_empty() && given_version != api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )));
    }
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(())
}

/// Reconciles the body's namespace with the request's.
pub(super) fn check_namespace(target: &Target, value: &mut Value) -> Result<(), ApiError> {
    let namespaced = target.info.namespaced;
    let metadata = metadata(value);
    if !namespaced {
        metadata.remove("namespace");
        return Ok(());
    }
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && given != target.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata.insert("namespace".to_owned(), target.namespace.as_str().into());
    Ok(())
}

/// Reconciles the body's name with the request's.
pub(super) fn check_name(target: &Target, value: &mut Value) -> Result<(), ApiError> {
    let given = text(value, "name");
    if given.is_empty() {
        return Err(ApiError::bad_request("name must be provided"));
    }
    if given != target.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            target.name
        )));
    }
    Ok(())
}

fn decode(value: &Value) -> Result<ObjectMeta, FieldError> {
    ObjectMeta::deserialize(&value["metadata"])
        .map_err(|error| FieldError::invalid(&Path::new("metadata"), value["metadata"].clone(), error.to_string()))
}

/// Everything that is wrong with a new object's metadata.
pub(super) fn validate(target: &Target, value: &Value) -> Vec<FieldError> {
    let strategy = target.slot.strategy;
    match decode(value) {
        Ok(metadata) => validation::object_meta(
            &metadata,
            target.info.namespaced,
            |name, prefix| strategy.validate_name(name, prefix),
            &Path::new("metadata"),
        ),
        Err(error) => vec![error],
    }
}

/// Everything that is wrong with an update of the metadata.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    match (decode(new), decode(old)) {
        (Ok(new), Ok(old)) => validation::object_meta_update(&new, &old, &Path::new("metadata")),
        (Err(error), _) | (_, Err(error)) => vec![error],
    }
}

/// Whether two objects differ in anything but metadata and status, which is what generation counts.
pub(super) fn desired_differs(new: &Value, old: &Value) -> bool {
    let relevant = |value: &Value| -> Map<String, Value> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    relevant(new) != relevant(old)
}

/// Whether two objects are the same but for who manages their fields, and for the revision.
pub(super) fn same(new: &Value, old: &Value) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        value
    };
    bare(new) == bare(old)
}
