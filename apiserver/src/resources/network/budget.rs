//! Pod disruption budgets.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, name};
use super::super::common::{OVER_HUNDRED, any_of, int_or_percent, label_selector, not_negative, over_hundred_percent};
use super::super::conditions::conditions;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, has, int};

/// `poddisruptionbudgets.policy`.
pub(crate) struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid(&path, spec.clone(), detail));
        }
        for field in ["minAvailable", "maxUnavailable"] {
            let (value, path) = (at(spec, field), path.child(field));
            int_or_percent(value, &path, &mut errors);
            if over_hundred_percent(value) {
                errors.push(FieldError::invalid(&path, value.clone(), OVER_HUNDRED));
            }
        }
        label_selector(at(spec, "selector"), &path.child("selector"), &mut errors);
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        any_of(spec, "unhealthyPodEvictionPolicy", &policies, &path, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let (path, status, mut errors) = (Path::new("status"), at(new, "status"), Vec::new());
        conditions(status, &path, &mut errors);
        let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        not_negative(status, &fields, &path, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Min Available"),
            Column::new("Max Unavailable"),
            Column::integer("Allowed Disruptions"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = at(object, "spec");
        let shown = |field: &str| match at(spec, field) {
            Value::Null => json!("N/A"),
            Value::String(text) => json!(text),
            other => json!(other.to_string()),
        };
        vec![
            name(object),
            shown("minAvailable"),
            shown("maxUnavailable"),
            json!(int(at(object, "status"), "disruptionsAllowed").unwrap_or(0)),
            age(object, now),
        ]
    }
}
