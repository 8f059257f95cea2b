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
fn always_running_template(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
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
        errors.push(FieldError::forbidden(
            &path,
            "activeDeadlineSeconds in this kind is not Supported",
        ));
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
