//! Validation of the metrics that an autoscaler looks at.

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path};

use super::super::common::reference;
use super::super::value::{at, has, int, text};

/// The types, and the field that each is told by.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// Checks one metric: its type, that it says what its type needs and nothing else, and what it says.
pub(super) fn validate(metric: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(metric, "type");
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if kind.is_empty() {
        let detail = "must specify a metric source type";
        errors.push(FieldError::required(&path.child("type"), detail));
    }
    if expected.is_none() {
        let kinds = SOURCES.map(|(name, _)| name);
        errors.push(FieldError::not_supported(&path.child("type"), kind, &kinds));
    }
    let present: Vec<&str> = ORDER.into_iter().filter(|field| has(metric, field)).collect();
    // Only the first is looked into.
    if let Some(field) = present.first() {
        source(field, at(metric, field), &path.child(field), errors);
    }
    if let Some(field) = expected.filter(|field| !has(metric, field)) {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(&path.child(field), detail));
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|field| Some(*field) != expected) {
            let detail = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&path.child(field), detail));
        }
    }
}

/// In which upstream looks for them.
const ORDER: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

const EITHER: &str = "must set either a target value for metric or a per-pod target";

fn source(kind: &str, source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (goal, at_goal) = (at(source, "target"), path.child("target"));
    let set = |field: &str| has(goal, field);
    match kind {
        "object" | "external" | "pods" => {
            if kind == "object" {
                let (object, path) = (at(source, "describedObject"), path.child("describedObject"));
                reference(object, "kind", &path, errors);
                reference(object, "name", &path, errors);
            }
            let (metric, path) = (at(source, "metric"), path.child("metric"));
            if text(metric, "name").is_empty() {
                let detail = "must specify a metric name";
                errors.push(FieldError::required(&path.child("name"), detail));
            } else {
                reference(metric, "name", &path, errors);
            }
        }
        _ => {
            if kind == "containerResource" && text(source, "container").is_empty() {
                let detail = "must specify a container";
                errors.push(FieldError::required(&path.child("container"), detail));
            }
            if text(source, "name").is_empty() {
                let detail = "must specify a resource name";
                errors.push(FieldError::required(&path.child("name"), detail));
            }
        }
    }
    target(goal, &at_goal, errors);
    match kind {
        "pods" if !set("averageValue") => errors.push(FieldError::required(
            &at_goal.child("averageValue"),
            "must specify a positive target averageValue",
        )),
        "object" | "external" if !set("value") && !set("averageValue") => {
            errors.push(FieldError::required(&at_goal.child("averageValue"), EITHER));
        }
        "external" if set("value") && set("averageValue") => errors.push(FieldError::forbidden(
            &at_goal.child("value"),
            "may not set both a target value for metric and a per-pod target",
        )),
        "resource" | "containerResource" if !set("averageUtilization") && !set("averageValue") => {
            errors.push(FieldError::required(
                &at_goal.child("averageUtilization"),
                "must set either a target raw value or a target utilization",
            ));
        }
        "resource" | "containerResource" if set("averageUtilization") && set("averageValue") => {
            errors.push(FieldError::forbidden(
                &at_goal.child("averageValue"),
                "may not set both a target raw value and a target utilization",
            ));
        }
        _ => {}
    }
}

fn target(target: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(target, "type");
    if kind.is_empty() {
        let detail = "must specify a metric target type";
        errors.push(FieldError::required(&path.child("type"), detail));
    } else if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    for field in ["value", "averageValue"] {
        let amount = Quantity::parse(text(target, field));
        if has(target, field) && amount.is_ok_and(|amount| amount.sign() <= 0) {
            let value = at(target, field).clone();
            errors.push(FieldError::invalid(&path.child(field), value, "must be positive"));
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        errors.push(FieldError::invalid(&path, percent, "must be greater than 0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(metric: Value) -> Vec<String> {
        let mut errors = Vec::new();
        validate(&metric, &Path::new("m"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_metric_says_what_its_type_needs_and_nothing_else() {
        let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
        assert_eq!(said(json!({"type": "Resource", "resource": cpu})), Vec::<String>::new());
        assert_eq!(
            said(json!({"resource": cpu})),
            [
                "m.type: Required value: must specify a metric source type",
                "m.type: Unsupported value: \"\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
            ]
        );
        let queue = json!({"metric": {"name": "queue"}, "target": {"type": "Value", "value": "10"}});
        assert_eq!(
            said(json!({"type": "External", "external": queue, "resource": cpu})),
            ["m.resource: Forbidden: must populate the given metric source only"]
        );
        assert_eq!(
            said(json!({"type": "Object"})),
            ["m.object: Required value: must populate information for the given metric source"]
        );
        assert_eq!(
            said(json!({"type": "Pods", "pods": {"metric": {}, "target": {"type": "Most", "averageValue": "0"}}})),
            [
                "m.pods.metric.name: Required value: must specify a metric name",
                "m.pods.target.type: Invalid value: \"Most\": must be either Utilization, Value, or AverageValue",
                "m.pods.target.averageValue: Invalid value: \"0\": must be positive",
            ]
        );
        assert_eq!(
            said(
                json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "target": {"type": "Value"}}})
            ),
            [
                "m.containerResource.container: Required value: must specify a container",
                "m.containerResource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ]
        );
    }
}
