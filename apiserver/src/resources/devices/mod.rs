//! Devices and who uses them (`resource.k8s.io`).

mod capacity;
mod claim;
mod parts;
mod slice;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::cells::{age, name};
use super::common::immutable;
use super::strategy::{Column, Context, Strategy};
use super::value::{at, default, default_text, each, entries, has, int, list, set, text, within};

/// `resourceclaims.resource.k8s.io`.
pub(super) struct ResourceClaims;

impl Strategy for ResourceClaims {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", default_claim);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        claim::spec(at(object, "spec"), &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(new, old, "spec", &Path::root(), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        claim::status(new, old)
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
pub(super) struct ResourceSlices;

impl Strategy for ResourceSlices {
    fn has_status(&self) -> bool {
        false
    }

    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        stamp_taints(object, context);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, context: &Context<'_>) {
        stamp_taints(new, context);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        slice::spec(at(object, "spec"), &Value::Null, &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        slice::spec(at(new, "spec"), at(old, "spec"), &Path::new("spec"), &mut errors);
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

/// Says of each taint since when it is there.
fn stamp_taints(object: &mut Value, context: &Context<'_>) {
    let now = crate::registry::meta_time(context.now);
    within(object, "spec", |spec| {
        each(spec, "devices", |device| {
            each(device, "taints", |taint| default(taint, "timeAdded", now.as_str()));
        });
    });
}

/// `resourceclaimtemplates.resource.k8s.io`.
pub(super) struct ResourceClaimTemplates;

impl Strategy for ResourceClaimTemplates {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |template| within(template, "spec", default_claim));
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, template, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        template_metadata(at(template, "metadata"), &path.child("metadata"), &mut errors);
        claim::spec(at(template, "spec"), &path.child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(new, old, "spec", &Path::root(), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        AGED
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), age(object, now)]
    }
}

/// What becomes a claim's metadata has labels and annotations only.
fn template_metadata(metadata: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (key, _) in entries(metadata, "annotations") {
        let sentences = timonel_api::names::qualified_name(&key.to_lowercase());
        super::common::wrong(&path.child("annotations"), key, sentences, errors);
    }
    errors.extend(super::common::labels(metadata, &path.child("labels")));
    let others = metadata.as_object().into_iter().flatten();
    for (field, _) in others.filter(|(field, value)| {
        !matches!(field.as_str(), "annotations" | "labels" | "creationTimestamp") && !value.is_null() && *value != ""
    }) {
        errors.push(FieldError::forbidden(&path.child(field), "cannot be set"));
    }
}

/// `deviceclasses.resource.k8s.io`.
pub(super) struct DeviceClasses;

impl Strategy for DeviceClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        device_class(object, &Value::Null)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        device_class(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        AGED
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), age(object, now)]
    }
}

/// Checks a class. What it had before is not measured again.
fn device_class(object: &Value, old: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let stored = |field: &str| !old.is_null() && at(spec, field) == at(at(old, "spec"), field);
    parts::selectors(spec, stored("selectors"), &path, &mut errors);
    let (configs, at_config) = (list(spec, "config"), path.child("config"));
    if parts::fits(configs, parts::MANY, &at_config, &mut errors) {
        for (index, config) in configs.iter().enumerate() {
            parts::configuration(config, stored("config"), &at_config.index(index), &mut errors);
        }
    }
    let resource = text(spec, "extendedResourceName");
    if has(spec, "extendedResourceName") && !is_extended_resource(resource) {
        let detail = "must be a valid extended resource name";
        errors.push(FieldError::invalid(
            &path.child("extendedResourceName"),
            resource,
            detail,
        ));
    }
    errors
}

/// Whether a name is that of a resource which is neither Kubernetes' own nor a request's prefix.
fn is_extended_resource(name: &str) -> bool {
    let foreign = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    foreign && timonel_api::names::qualified_name(&format!("requests.{name}")).is_empty()
}

const AGED: &[Column] = &[Column::name(), Column::new("Age")];

/// Fills in the defaults of a claim's spec.
fn default_claim(spec: &mut Value) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            within(request, "exactly", default_demand);
            each(request, "firstAvailable", default_demand);
        });
    });
}

fn default_demand(demand: &mut Value) {
    default_text(demand, "allocationMode", "ExactCount");
    if text(demand, "allocationMode") == "ExactCount" && int(demand, "count").unwrap_or(0) == 0 {
        set(demand, "count", 1);
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
    }

    #[test]
    fn a_template_makes_claims_with_labels_and_annotations() {
        let request = json!({"name": "a", "exactly": {"deviceClassName": "gpu"}});
        let mut template =
            json!({"spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [request]}}}});
        ResourceClaimTemplates.default(&mut template);
        let exactly = &template["spec"]["spec"]["devices"]["requests"][0]["exactly"];
        assert_eq!(
            exactly,
            &json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1})
        );
        assert_eq!(ResourceClaimTemplates.validate(&template), []);
        let mut other = template.clone();
        other["spec"]["metadata"]["name"] = json!("x");
        other["spec"]["spec"]["devices"]["requests"][0]["name"] = json!("A");
        let said: Vec<String> = ResourceClaimTemplates
            .validate(&other)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(said[0], "spec.metadata.name: Forbidden: cannot be set");
        assert!(
            said[1].starts_with("spec.spec.devices.requests[0].name: Invalid value: \"A\": a lowercase RFC 1123 label")
        );
        let said = ResourceClaimTemplates.validate_update(&other, &template);
        assert!(said[0].to_string().ends_with("field is immutable"));
    }

    #[test]
    fn a_class_is_not_measured_again_for_what_it_had() {
        let long = json!({"spec": {"selectors": [{"cel": {"expression": "x".repeat(20_000)}}], "extendedResourceName": "example.com/gpu"}});
        assert_eq!(DeviceClasses.validate(&long).len(), 1);
        assert_eq!(DeviceClasses.validate_update(&long, &long), []);
        let bad = json!({"spec": {"selectors": [{}], "config": [{}], "extendedResourceName": "cpu"}});
        let said: Vec<String> = DeviceClasses.validate(&bad).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "spec.selectors[0].cel: Required value",
                "spec.config[0].opaque: Required value",
                "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
            ]
        );
    }
}
