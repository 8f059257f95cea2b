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
use super::common;
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

/// A number or a percentage, as `maxSurge` takes it.
fn int_or_percent(value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            errors.push(FieldError::invalid(
                path,
                value.clone(),
                "must be greater than or equal to 0",
            ));
        }
        Value::String(percent) => {
            let digits = percent.strip_suffix('%').unwrap_or("");
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(path, percent.as_str(), detail));
            }
        }
        _ => {}
    }
}

/// Whether a number or percentage is zero.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(percent) => percent.trim_end_matches('%').parse::<i64>() == Ok(0),
        other => other.as_i64().unwrap_or(0) == 0,
    }
}

/// Whether it is a percentage over 100.
fn over_hundred_percent(value: &Value) -> bool {
    value
        .as_str()
        .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok())
        .is_some_and(|percent| percent > 100)
}

const OVER_HUNDRED: &str = "must not be greater than 100%";

fn selector_immutable(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    common::immutable(at(new, "spec"), at(old, "spec"), "selector", &Path::new("spec"), errors);
}
