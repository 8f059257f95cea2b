//! The rules of `ObjectMeta` at an update.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::meta;
use crate::field::{FieldError, Path};

/// Checks that a field did not change.
pub fn immutable(new: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    if new == old {
        Vec::new()
    } else {
        vec![FieldError::invalid(path, new.clone(), "field is immutable")]
    }
}

/// Checks new metadata against old.
pub fn object_meta_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let finalizers = |meta: &ObjectMeta| meta.finalizers.clone().unwrap_or_default();
    if old.deletion_timestamp.is_some() {
        let before = finalizers(old);
        let mut extra: Vec<String> = finalizers(new)
            .into_iter()
            .filter(|name| !before.contains(name))
            .collect();
        extra.sort();
        if !extra.is_empty() {
            let list = extra
                .iter()
                .map(|name| format!("{name:?}"))
                .collect::<Vec<_>>()
                .join(", ");
            wrong.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
                ),
            ));
        }
    }
    if new.resource_version.as_deref().unwrap_or_default().is_empty() {
        wrong.push(FieldError::invalid(
            &path.child("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    if new.generation.unwrap_or(0) < old.generation.unwrap_or(0) {
        wrong.push(FieldError::invalid(
            &path.child("generation"),
            new.generation.unwrap_or(0),
            "must not be decremented",
        ));
    }
    let text = |value: &Option<String>| json!(value.as_deref().unwrap_or_default());
    for (field, new, old) in [
        ("name", text(&new.name), text(&old.name)),
        ("namespace", text(&new.namespace), text(&old.namespace)),
        ("uid", text(&new.uid), text(&old.uid)),
        (
            "creationTimestamp",
            json!(new.creation_timestamp),
            json!(old.creation_timestamp),
        ),
        (
            "deletionTimestamp",
            json!(new.deletion_timestamp),
            json!(old.deletion_timestamp),
        ),
        (
            "deletionGracePeriodSeconds",
            json!(new.deletion_grace_period_seconds),
            json!(old.deletion_grace_period_seconds),
        ),
    ] {
        wrong.extend(immutable(&new, &old, &path.child(field)));
    }
    wrong.extend(meta::shared(new, path));
    wrong.extend(meta::standard_finalizers(new, path));
    wrong
}
