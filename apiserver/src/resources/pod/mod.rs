//! Pods, and the pod template that every workload kind embeds.

mod affinity;
mod annotations;
mod columns;
mod containers;
mod defaults;
mod dns;
mod environment;
mod ephemeral;
pub(crate) mod fields;
mod label_keys;
mod mounts;
mod overlaps;
mod resize;
mod restart;
mod security;
mod status;
mod sysctls;
mod template;
mod tolerations;
mod update;
mod volumes;
mod warnings;
mod whole;
mod windows;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

pub(crate) use self::defaults::{claim_spec, template as default_template};
pub(crate) use self::template::template as validate_template;
pub(crate) use self::tolerations::{effect as taint_effect, validate as validate_tolerations};
pub(crate) use self::warnings::{
    claim_spec as claim_warnings, template as template_warnings, volume_source as volume_warnings,
};
use super::strategy::{Column, Context, Strategy};
use super::value::{at, ensure, flag, int, list, set, text};

/// `pods`.
pub(super) struct Pods;

impl Strategy for Pods {
    fn default(&self, pod: &mut Value) {
        defaults::pod(pod);
    }

    fn prepare_create(&self, pod: &mut Value, _context: &Context<'_>) {
        let gated = !list(at(pod, "spec"), "schedulingGates").is_empty();
        if let Some(status) = ensure(pod, "status") {
            set(status, "phase", "Pending");
            if gated {
                set(
                    status,
                    "conditions",
                    json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}]),
                );
            }
        }
    }

    fn settle_create(&self, pod: &mut Value) {
        label_keys::merge(pod);
        // What limit ranges have filled in counts.
        let qos = qos_class(pod);
        if let Some(status) = ensure(pod, "status") {
            set(status, "qosClass", qos);
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        status::prepare(new, old);
    }

    fn validate_create(&self, pod: &Value) -> Vec<FieldError> {
        template::new_pod(pod)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        update::pod(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn validate_part_update(&self, part: &str, new: &Value, old: &Value) -> Vec<FieldError> {
        match part {
            "ephemeralcontainers" => update::ephemeral_containers(new, old),
            "resize" => resize::validate(new, old),
            _ => Vec::new(),
        }
    }

    fn warnings(&self, pod: &Value) -> Vec<String> {
        warnings::pod(pod)
    }

    /// People seldom update pods, and kubelets often do.
    fn update_warnings(&self, _new: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }

    fn default_grace_period(&self, pod: &Value) -> Option<i64> {
        let spec = at(pod, "spec");
        let ended = matches!(text(at(pod, "status"), "phase"), "Succeeded" | "Failed");
        // A pod that no node has taken, or whose containers have all ended, has nothing to wait for.
        if text(spec, "nodeName").is_empty() || ended {
            return Some(0);
        }
        match int(spec, "terminationGracePeriodSeconds").unwrap_or(30) {
            // As upstream: at once would be more than was meant.
            ..0 => Some(1),
            seconds => Some(seconds),
        }
    }

    fn selectable_fields(&self, pod: &Value) -> Vec<(&'static str, String)> {
        let (spec, status) = (at(pod, "spec"), at(pod, "status"));
        let pod_ip = list(status, "podIPs")
            .first()
            .map_or_else(|| text(status, "podIP"), |ip| text(ip, "ip"));
        vec![
            ("spec.nodeName", text(spec, "nodeName").to_owned()),
            ("spec.restartPolicy", text(spec, "restartPolicy").to_owned()),
            ("spec.schedulerName", text(spec, "schedulerName").to_owned()),
            ("spec.serviceAccountName", text(spec, "serviceAccountName").to_owned()),
            ("spec.hostNetwork", flag(spec, "hostNetwork").to_string()),
            ("status.phase", text(status, "phase").to_owned()),
            ("status.podIP", pod_ip.to_owned()),
            ("status.nominatedNodeName", text(status, "nominatedNodeName").to_owned()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }

    fn row(&self, pod: &Value, now: Timestamp) -> Vec<Value> {
        columns::row(pod, now)
    }
}

/// `podtemplates`.
pub(super) struct PodTemplates;

impl Strategy for PodTemplates {
    fn has_status(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        default_template(object);
    }

    fn template(&self) -> &'static [&'static str] {
        &["template"]
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        validate_template(at(object, "template"), &Path::new("template"))
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Containers"),
            Column::new("Images"),
            Column::new("Pod Labels"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let template = at(object, "template");
        let [containers, images] = super::cells::containers_and_images(template);
        let labels = super::cells::labels(at(template, "metadata"), "labels");
        vec![super::cells::name(object), containers, images, json!(labels)]
    }
}

/// Visits the containers of a pod spec, of all three kinds, with where each stands.
fn visit<'a>(spec: &'a Value, path: &Path, mut visit: impl FnMut(&'a Value, &Path)) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            visit(container, &path.child(field).index(index));
        }
    }
}

/// The quality-of-service class, by the rule of `timonel_api::pod`.
fn qos_class(pod: &Value) -> &'static str {
    Pod::deserialize(pod).map_or("BestEffort", |pod| timonel_api::pod::qos_class(&pod))
}
