//! Horizontal pod autoscalers, in the v2 shape.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, name};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, int, list, set, text, within};

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
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let (min, max) = (
            int(spec, "minReplicas").unwrap_or(1),
            int(spec, "maxReplicas").unwrap_or(0),
        );
        if min < 1 {
            errors.push(FieldError::invalid(
                &path.child("minReplicas"),
                min,
                "must be greater than or equal to 1",
            ));
        }
        if max < 1 {
            errors.push(FieldError::invalid(
                &path.child("maxReplicas"),
                max,
                "must be greater than 0",
            ));
        } else if max < min {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(FieldError::invalid(&path.child("maxReplicas"), max, detail));
        }
        for field in ["kind", "name"] {
            if text(at(spec, "scaleTargetRef"), field).is_empty() {
                errors.push(FieldError::required(&path.child("scaleTargetRef").child(field), ""));
            }
        }
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
