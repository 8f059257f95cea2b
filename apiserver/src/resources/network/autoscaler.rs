//! Horizontal pod autoscalers, in the v2 shape.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::amounts::read;
use super::super::cells::{age, name};
use super::super::common::{NOT_NEGATIVE, any_of, not_negative, reference};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, ensure, has, int, list, set, text, within};
use super::metrics;

/// The longest windows, in seconds.
const STABILIZATION: i64 = 3600;
const PERIOD: i64 = 1800;

fn default_rules(rules: &mut Value, policies: &[(&str, i64)]) {
    default_text(rules, "selectPolicy", "Max");
    if !has(rules, "policies") {
        let policies = policies
            .iter()
            .map(|(kind, value)| json!({"type": kind, "value": value, "periodSeconds": 15}));
        set(rules, "policies", policies.collect::<Vec<Value>>());
    }
}

fn rules(rules: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let at_window = path.child("stabilizationWindowSeconds");
    match int(rules, "stabilizationWindowSeconds") {
        Some(window) if window < 0 => errors.push(FieldError::invalid(
            &at_window,
            window,
            "must be greater than or equal to zero",
        )),
        Some(window) if window > STABILIZATION => {
            let detail = format!("must be less than or equal to {STABILIZATION}");
            errors.push(FieldError::invalid(&at_window, window, detail));
        }
        _ => {}
    }
    if let Some(tolerance) = read(at(rules, "tolerance")).filter(|tolerance| tolerance.sign() < 0) {
        let path = path.child("tolerance");
        errors.push(FieldError::invalid(&path, tolerance.to_string(), NOT_NEGATIVE));
    }
    any_of(rules, "selectPolicy", &["Disabled", "Max", "Min"], path, errors);
    let at_policies = path.child("policies");
    if list(rules, "policies").is_empty() {
        errors.push(FieldError::required(&at_policies, "must specify at least one Policy"));
    }
    for (index, policy) in list(rules, "policies").iter().enumerate() {
        let path = at_policies.index(index);
        let (kind, kinds) = (text(policy, "type"), ["Percent", "Pods"]);
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(&path.child("type"), kind, &kinds));
        }
        for field in ["value", "periodSeconds"] {
            let number = int(policy, field).unwrap_or(0);
            if number <= 0 {
                errors.push(FieldError::invalid(
                    &path.child(field),
                    number,
                    "must be greater than zero",
                ));
            }
            if field == "periodSeconds" && number > PERIOD {
                let detail = format!("must be less than or equal to {PERIOD}");
                errors.push(FieldError::invalid(&path.child(field), number, detail));
            }
        }
    }
}

/// `horizontalpodautoscalers.autoscaling`, in the v2 shape.
pub(crate) struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default(spec, "minReplicas", 1);
            if list(spec, "metrics").is_empty() {
                let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
                set(spec, "metrics", json!([cpu]));
            }
            within(spec, "behavior", |behavior| {
                if let Some(rules) = ensure(behavior, "scaleUp") {
                    default(rules, "stabilizationWindowSeconds", 0);
                    default_rules(rules, &[("Pods", 4), ("Percent", 100)]);
                }
                if let Some(rules) = ensure(behavior, "scaleDown") {
                    default_rules(rules, &[("Percent", 100)]);
                }
            });
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let (min, max) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
        if let Some(min) = min.filter(|min| *min < 1) {
            let detail = "must be greater than or equal to 1";
            errors.push(FieldError::invalid(&path.child("minReplicas"), min, detail));
        }
        let at_max = path.child("maxReplicas");
        if max < 1 {
            errors.push(FieldError::invalid(&at_max, max, "must be greater than 0"));
        }
        if min.is_some_and(|min| max < min) {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(FieldError::invalid(&at_max, max, detail));
        }
        let (target, at_target) = (at(spec, "scaleTargetRef"), path.child("scaleTargetRef"));
        reference(target, "kind", &at_target, &mut errors);
        reference(target, "name", &at_target, &mut errors);
        for (index, metric) in list(spec, "metrics").iter().enumerate() {
            metrics::validate(metric, &path.child("metrics").index(index), &mut errors);
        }
        let (behavior, path) = (at(spec, "behavior"), path.child("behavior"));
        for direction in ["scaleUp", "scaleDown"] {
            if has(behavior, direction) {
                rules(at(behavior, direction), &path.child(direction), &mut errors);
            }
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let fields = ["currentReplicas", "desiredReplicas"];
        not_negative(at(new, "status"), &fields, &Path::new("status"), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Reference"),
            Column::new("Targets"),
            Column::new("MinPods"),
            Column::new("MaxPods"),
            Column::new("Replicas"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let target = at(spec, "scaleTargetRef");
        let targets: Vec<String> = list(spec, "metrics")
            .iter()
            .zip(0..)
            .map(|(metric, i)| shown_metric(metric, status, i))
            .collect();
        vec![
            name(object),
            json!(format!("{}/{}", text(target, "kind"), text(target, "name"))),
            json!(if targets.is_empty() {
                "<none>".to_owned()
            } else {
                targets.join(", ")
            }),
            json!(int(spec, "minReplicas").map_or("<unset>".to_owned(), |n| n.to_string())),
            json!(int(spec, "maxReplicas").unwrap_or(0)),
            json!(int(status, "currentReplicas").unwrap_or(0)),
            age(object, now),
        ]
    }
}

fn shown_metric(metric: &Value, status: &Value, index: usize) -> String {
    let resource = at(metric, "resource");
    let current = at(
        at(
            list(status, "currentMetrics").get(index).unwrap_or(&Value::Null),
            "resource",
        ),
        "current",
    );
    if resource.is_null() {
        return format!("<unknown>/{}", text(metric, "type"));
    }
    let (label, target) = (text(resource, "name"), at(resource, "target"));
    if let Some(goal) = int(target, "averageUtilization") {
        let now = int(current, "averageUtilization").map_or("<unknown>".to_owned(), |n| format!("{n}%"));
        return format!("{label}: {now}/{goal}%");
    }
    let now = text(current, "averageValue");
    format!(
        "{label}: {}/{}",
        if now.is_empty() { "<unknown>" } else { now },
        text(target, "averageValue")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: Value) -> Vec<String> {
        let errors = HorizontalPodAutoscalers.validate(&json!({"spec": spec}));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn behavior_is_filled_in_and_bounded() {
        let mut object = json!({"spec": {
            "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        }});
        HorizontalPodAutoscalers.default(&mut object);
        assert_eq!(said(object["spec"].clone()), Vec::<String>::new());
        let behavior = &object["spec"]["behavior"];
        assert_eq!(behavior["scaleDown"]["policies"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            behavior["scaleUp"],
            json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]})
        );
        let bad = json!({
            "minReplicas": 5, "maxReplicas": 3, "scaleTargetRef": {"kind": "", "name": "a/b"},
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "tolerance": "-0.1", "selectPolicy": "Best", "policies": [
                {"type": "Pods", "value": 0, "periodSeconds": 1801}]}},
        });
        assert_eq!(
            said(bad),
            [
                "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "spec.behavior.scaleUp.tolerance: Invalid value: \"-100m\": must be greater than or equal to 0",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Best\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ]
        );
    }
}
