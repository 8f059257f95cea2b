//! Deployments.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, count, name};
use super::super::common::{not_negative, workload_selector};
use super::super::pod;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, ensure, has, int, text, within};
use super::{OVER_HUNDRED, always_running_template, int_or_percent, is_zero, over_hundred_percent, wide_cells};

/// `deployments.apps`.
pub(crate) struct Deployments;

impl Strategy for Deployments {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            if let Some(strategy) = ensure(spec, "strategy") {
                default_text(strategy, "type", "RollingUpdate");
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = ensure(strategy, "rollingUpdate")
                {
                    default(rolling, "maxUnavailable", "25%");
                    default(rolling, "maxSurge", "25%");
                }
            }
            pod::default_template(spec);
        });
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "template"]
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        not_negative(
            spec,
            &[
                "replicas",
                "minReadySeconds",
                "revisionHistoryLimit",
                "progressDeadlineSeconds",
            ],
            &path,
            &mut errors,
        );
        workload_selector(spec, "deployment", &path, &mut errors);
        always_running_template(spec, "ReplicaSet", &path, &mut errors);
        strategy(at(spec, "strategy"), &path.child("strategy"), &mut errors);
        if let (Some(deadline), ready) = (
            int(spec, "progressDeadlineSeconds"),
            int(spec, "minReadySeconds").unwrap_or(0),
        ) && deadline <= ready
        {
            errors.push(FieldError::invalid(
                &path.child("progressDeadlineSeconds"),
                deadline,
                "must be greater than minReadySeconds",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        super::selector_immutable(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (path, mut errors) = (Path::new("status"), Vec::new());
        let (status, before) = (at(new, "status"), at(old, "status"));
        let fields = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        not_negative(status, &fields, &path, &mut errors);
        let counted = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        super::within_replicas(status, &counted, "readyReplicas", &path, &mut errors);
        super::not_decremented(status, before, "collisionCount", &path, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Ready"),
            Column::new("Up-to-date"),
            Column::new("Available"),
            Column::new("Age"),
            Column::wide("Containers"),
            Column::wide("Images"),
            Column::wide("Selector"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let ready = format!(
            "{}/{}",
            int(status, "readyReplicas").unwrap_or(0),
            int(spec, "replicas").unwrap_or(0)
        );
        let mut row = vec![
            name(object),
            json!(ready),
            count(status, "updatedReplicas"),
            count(status, "availableReplicas"),
            age(object, now),
        ];
        row.extend(wide_cells(object));
        row
    }
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let rolling = at(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if has(strategy, "rollingUpdate") => errors.push(FieldError::forbidden(
            &path.child("rollingUpdate"),
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        "Recreate" => {}
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(at(rolling, field), &path.child(field), errors);
            }
            let unavailable = at(rolling, "maxUnavailable");
            if is_zero(unavailable) && is_zero(at(rolling, "maxSurge")) {
                errors.push(FieldError::invalid(
                    &path.child("maxUnavailable"),
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
            if over_hundred_percent(unavailable) {
                errors.push(FieldError::invalid(
                    &path.child("maxUnavailable"),
                    unavailable.clone(),
                    OVER_HUNDRED,
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            &path.child("type"),
            other,
            &["Recreate", "RollingUpdate"],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}}});
        Deployments.default(&mut object);
        object
    }

    #[test]
    fn defaults_are_upstreams_and_valid() {
        let object = valid();
        assert_eq!(
            object["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(Deployments.validate(&object), []);
    }

    #[test]
    fn a_selector_must_match_the_template_and_never_changes() {
        let mut object = valid();
        object["spec"]["selector"]["matchLabels"]["app"] = json!("other");
        let words: Vec<String> = Deployments
            .validate_update(&object, &valid())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            words,
            [
                r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
                r#"spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable"#,
            ]
        );
    }

    #[test]
    fn surge_and_unavailable_may_not_both_be_zero() {
        let mut object = valid();
        object["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 0, "maxUnavailable": "0%"});
        assert!(
            Deployments.validate(&object)[0]
                .to_string()
                .ends_with("may not be 0 when `maxSurge` is 0")
        );
    }
}
