//! The workload kinds: `apps/v1`, and ReplicationController, which is their ancestor.

mod daemonset;
mod deployment;
mod replicaset;
mod revision;
mod statefulset;

pub(super) use daemonset::DaemonSets;
pub(super) use deployment::Deployments;
pub(super) use replicaset::{ReplicaSets, ReplicationControllers};
pub(super) use revision::ControllerRevisions;
use serde_json::{Value, json};
pub(super) use statefulset::StatefulSets;
use timonel_api::{FieldError, Path};

use super::cells;
use super::common::{self, OVER_HUNDRED, int_or_percent, over_hundred_percent};
use super::pod;
use super::value::{at, text};

/// What the template of something that keeps pods running must say: it restarts always, and has no deadline.
///
/// `kind` is how upstream calls the kind.
fn always_running_template(spec: &Value, kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let template = at(spec, "template");
    let path = path.child("template");
    errors.extend(pod::validate_template(template, &path));
    let template_spec = at(template, "spec");
    let policy = text(template_spec, "restartPolicy");
    if ["OnFailure", "Never"].contains(&policy) {
        errors.push(FieldError::not_supported(
            &path.child("spec").child("restartPolicy"),
            policy,
            &["Always"],
        ));
    }
    if super::value::has(template_spec, "activeDeadlineSeconds") {
        let path = path.child("spec").child("activeDeadlineSeconds");
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path, detail));
    }
}

/// The wide cells of a workload: containers, images, selector.
fn wide_cells(object: &Value) -> [Value; 3] {
    let spec = at(object, "spec");
    let [containers, images] = cells::containers_and_images(at(spec, "template"));
    [containers, images, json!(cells::selector(at(spec, "selector")))]
}

/// Whether a number or percentage is zero.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(percent) => percent.trim_end_matches('%').parse::<i64>() == Ok(0),
        other => other.as_i64().unwrap_or(0) == 0,
    }
}

fn selector_immutable(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    common::immutable(at(new, "spec"), at(old, "spec"), "selector", &Path::new("spec"), errors);
}

/// Checks that a counter does not fall.
fn not_decremented(new: &Value, old: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let number = |status: &Value| super::value::int(status, field).unwrap_or(0);
    if number(new) < number(old) {
        let detail = "cannot be decremented";
        errors.push(FieldError::invalid(&path.child(field), number(new), detail));
    }
}

/// Checks that of the replicas none is counted twice, and that none is available without being ready. `ready` is how upstream calls
/// the ready ones of this kind.
fn within_replicas(status: &Value, counted: &[&str], ready: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let number = |field: &str| super::value::int(status, field).unwrap_or(0);
    let mut refuse = |field: &str, detail: String| {
        errors.push(FieldError::invalid(&path.child(field), number(field), detail));
    };
    for field in counted.iter().filter(|field| number(field) > number("replicas")) {
        refuse(field, "cannot be greater than status.replicas".to_owned());
    }
    if number("availableReplicas") > number("readyReplicas") {
        refuse("availableReplicas", format!("cannot be greater than {ready}"));
    }
}
