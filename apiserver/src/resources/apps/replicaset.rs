//! ReplicaSets and ReplicationControllers.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, containers_and_images, count, labels, name};
use super::super::common::{not_negative, workload_selector};
use super::super::pod;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, ensure, entries, has, set, within};
use super::{always_running_template, wide_cells};

const COLUMNS: &[Column] = &[
    Column::name(),
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    Column::new("Age"),
    Column::wide("Containers"),
    Column::wide("Images"),
    Column::wide("Selector"),
];

fn counts(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (at(object, "spec"), at(object, "status"));
    vec![
        name(object),
        count(spec, "replicas"),
        count(status, "replicas"),
        count(status, "readyReplicas"),
        age(object, now),
    ]
}

/// `replicasets.apps`.
pub(crate) struct ReplicaSets;

impl Strategy for ReplicaSets {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default(spec, "replicas", 1);
            pod::default_template(spec);
        });
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::super::strategy::Context<'_>) {
        if let Some(status) = ensure(object, "status") {
            default(status, "replicas", 0);
        }
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "template"]
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        not_negative(spec, &["replicas", "minReadySeconds"], &path, &mut errors);
        workload_selector(spec, "replicaset", &path, &mut errors);
        always_running_template(spec, "ReplicaSet", &path, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        super::selector_immutable(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        replica_counts(new)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.replicas", count(at(object, "status"), "replicas").to_string())]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut row = counts(object, now);
        row.extend(wide_cells(object));
        row
    }
}

fn replica_counts(object: &Value) -> Vec<FieldError> {
    let (path, status, mut errors) = (Path::new("status"), at(object, "status"), Vec::new());
    let fields = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
    ];
    not_negative(status, &fields, &path, &mut errors);
    let counted = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    super::within_replicas(status, &counted, "readyReplicas", &path, &mut errors);
    errors
}

/// `replicationcontrollers`.
pub(crate) struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    fn default(&self, object: &mut Value) {
        let template_labels = at(at(at(at(object, "spec"), "template"), "metadata"), "labels").clone();
        within(object, "spec", |spec| {
            default(spec, "replicas", 1);
            if entries(spec, "selector").next().is_none() && template_labels.is_object() {
                set(spec, "selector", template_labels.clone());
            }
            pod::default_template(spec);
        });
        if template_labels.is_object()
            && let Some(metadata) = object.get_mut("metadata")
            && !has(metadata, "labels")
        {
            set(metadata, "labels", template_labels);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::super::strategy::Context<'_>) {
        if let Some(status) = ensure(object, "status") {
            default(status, "replicas", 0);
        }
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "template"]
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        not_negative(spec, &["replicas", "minReadySeconds"], &path, &mut errors);
        let template_labels = at(at(at(spec, "template"), "metadata"), "labels");
        if entries(spec, "selector").next().is_none() {
            errors.push(FieldError::required(&path.child("selector"), ""));
        } else if !entries(spec, "selector").all(|(key, value)| template_labels.get(key) == Some(value)) {
            errors.push(FieldError::invalid(
                &path.child("template").child("metadata").child("labels"),
                template_labels.clone(),
                "`selector` does not match template `labels`",
            ));
        }
        always_running_template(spec, "ReplicationController", &path, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        replica_counts(new)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut row = counts(object, now);
        row.extend(containers_and_images(at(at(object, "spec"), "template")));
        row.push(json!(labels(at(object, "spec"), "selector")));
        row
    }
}
