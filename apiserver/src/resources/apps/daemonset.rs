//! DaemonSets.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, count, labels, name};
use super::super::common::{not_negative, workload_selector};
use super::super::pod;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, ensure, set, text, within};
use super::{always_running_template, int_or_percent, is_zero, wide_cells};

/// Counts how often the template changed: what was `spec.templateGeneration` before `apps/v1`.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn set_template_generation(object: &mut Value, generation: i64) {
    within(object, "metadata", |meta| {
        if let Some(annotations) = ensure(meta, "annotations") {
            set(annotations, TEMPLATE_GENERATION, generation.to_string());
        }
    });
}

/// `daemonsets.apps`.
pub(crate) struct DaemonSets;

impl Strategy for DaemonSets {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default(spec, "revisionHistoryLimit", 10);
            if let Some(strategy) = ensure(spec, "updateStrategy") {
                default_text(strategy, "type", "RollingUpdate");
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = ensure(strategy, "rollingUpdate")
                {
                    default(rolling, "maxUnavailable", 1);
                    default(rolling, "maxSurge", 0);
                }
            }
            pod::default_template(spec);
        });
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::super::strategy::Context<'_>) {
        if let Some(status) = ensure(object, "status") {
            for field in [
                "currentNumberScheduled",
                "desiredNumberScheduled",
                "numberMisscheduled",
                "numberReady",
            ] {
                default(status, field, 0);
            }
        }
        set_template_generation(object, 1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &super::super::strategy::Context<'_>) {
        let template = |object| at(at(object, "spec"), "template");
        let before = at(at(at(old, "metadata"), "annotations"), TEMPLATE_GENERATION);
        let before: i64 = before.as_str().and_then(|text| text.parse().ok()).unwrap_or(1);
        let changed = template(new) != template(old);
        set_template_generation(new, before + i64::from(changed));
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "template"]
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        workload_selector(spec, "daemonset", &path, &mut errors);
        always_running_template(spec, "DaemonSet", &path, &mut errors);
        not_negative(spec, &["minReadySeconds", "revisionHistoryLimit"], &path, &mut errors);
        let (strategy, path) = (at(spec, "updateStrategy"), path.child("updateStrategy"));
        match text(strategy, "type") {
            "OnDelete" => {}
            "RollingUpdate" => {
                let (rolling, path) = (at(strategy, "rollingUpdate"), path.child("rollingUpdate"));
                for field in ["maxUnavailable", "maxSurge"] {
                    int_or_percent(at(rolling, field), &path.child(field), &mut errors);
                }
                let (unavailable, surge) = (at(rolling, "maxUnavailable"), at(rolling, "maxSurge"));
                if !is_zero(unavailable) && !is_zero(surge) {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.push(FieldError::invalid(&path.child("maxSurge"), surge.clone(), detail));
                }
                if is_zero(unavailable) && is_zero(surge) {
                    let detail = "cannot be 0 when maxSurge is 0";
                    errors.push(FieldError::required(&path.child("maxUnavailable"), detail));
                }
            }
            other => errors.push(FieldError::not_supported(
                &path.child("type"),
                other,
                &["OnDelete", "RollingUpdate"],
            )),
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
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        not_negative(status, &fields, &path, &mut errors);
        super::not_decremented(status, before, "collisionCount", &path, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::integer("Desired"),
            Column::integer("Current"),
            Column::integer("Ready"),
            Column::integer("Up-to-date"),
            Column::integer("Available"),
            Column::new("Node Selector"),
            Column::new("Age"),
            Column::wide("Containers"),
            Column::wide("Images"),
            Column::wide("Selector"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = at(object, "status");
        let mut row = vec![
            name(object),
            count(status, "desiredNumberScheduled"),
            count(status, "currentNumberScheduled"),
            count(status, "numberReady"),
            count(status, "updatedNumberScheduled"),
            count(status, "numberAvailable"),
            json!(labels(at(at(at(object, "spec"), "template"), "spec"), "nodeSelector")),
            age(object, now),
        ];
        row.extend(wide_cells(object));
        row
    }
}
