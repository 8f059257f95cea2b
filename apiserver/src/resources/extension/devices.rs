//! Devices (`resource.k8s.io`) and the smaller storage kinds: what their tables show and their selectors may name.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, name};
use super::super::common::immutable;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, has, list, text};

/// `resourceclaims.resource.k8s.io`.
pub(crate) struct ResourceClaims;

impl Strategy for ResourceClaims {
    fn has_generation(&self) -> bool {
        false
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        immutable(new, old, "spec", &Path::root(), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("State"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = at(object, "status");
        let mut states = Vec::new();
        if has(at(object, "metadata"), "deletionTimestamp") {
            states.push("deleted");
        }
        if has(status, "allocation") {
            states.push("allocated");
        } else if states.is_empty() {
            states.push("pending");
        }
        if !list(status, "reservedFor").is_empty() {
            states.push("reserved");
        }
        vec![name(object), json!(states.join(",")), age(object, now)]
    }
}

/// `resourceslices.resource.k8s.io`.
pub(crate) struct ResourceSlices;

impl Strategy for ResourceSlices {
    fn has_status(&self) -> bool {
        false
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (mut errors, path) = (self.validate(new), Path::new("spec"));
        let (new, old) = (at(new, "spec"), at(old, "spec"));
        for field in ["driver", "nodeName"] {
            immutable(new, old, field, &path, &mut errors);
        }
        immutable(
            at(new, "pool"),
            at(old, "pool"),
            "name",
            &path.child("pool"),
            &mut errors,
        );
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = at(object, "spec");
        vec![
            ("spec.nodeName", text(spec, "nodeName").to_owned()),
            ("spec.driver", text(spec, "driver").to_owned()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Node"),
            Column::new("Driver"),
            Column::new("Pool"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = at(object, "spec");
        let node = if has(spec, "nodeName") {
            text(spec, "nodeName")
        } else {
            "<unset>"
        };
        vec![
            name(object),
            json!(node),
            json!(text(spec, "driver")),
            json!(text(at(spec, "pool"), "name")),
            age(object, now),
        ]
    }
}

/// A kind whose table shows a name and an age.
pub(crate) struct Aged;

impl Strategy for Aged {
    fn has_status(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), age(object, now)]
    }
}

/// `volumeattributesclasses.storage.k8s.io`.
pub(crate) struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if text(object, "driverName").is_empty() {
            errors.push(FieldError::required(&Path::new("driverName"), ""));
        }
        if at(object, "parameters")
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
        {
            let detail = "must contain at least one key/value pair";
            errors.push(FieldError::required(&Path::new("parameters"), detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (field, words) in [
            ("driverName", "updates to driverName are forbidden."),
            ("parameters", "updates to parameters are forbidden."),
        ] {
            if at(new, field) != at(old, field) {
                errors.push(FieldError::forbidden(&Path::new(field), words));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("DriverName"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), json!(text(object, "driverName")), age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claims_state_is_told_in_words() {
        let state = |status: Value| {
            ResourceClaims.row(&json!({"metadata": {}, "status": status}), Timestamp::UNIX_EPOCH)[1].clone()
        };
        assert_eq!(state(Value::Null), "pending");
        assert_eq!(
            state(json!({"allocation": {}, "reservedFor": [{}]})),
            "allocated,reserved"
        );
        let class = |driver: &str| json!({"driverName": driver, "parameters": {"iops": "1"}});
        assert_eq!(VolumeAttributesClasses.validate(&class("d")), []);
        assert_eq!(VolumeAttributesClasses.validate(&json!({})).len(), 2);
        assert_eq!(
            VolumeAttributesClasses.validate_update(&class("e"), &class("d")).len(),
            1
        );
    }
}
