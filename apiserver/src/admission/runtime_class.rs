//! `RuntimeClass`: a pod's runtime class adds its overhead and its scheduling constraints.

use serde_json::Value;

use super::{AdmissionRequest, Context, Plugin, items, list_mut, text};
use crate::error::ApiError;

pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let spec = &request.new_object()["spec"];
        let name = text(&spec["runtimeClassName"]);
        if name.is_empty() {
            if spec["overhead"].is_object() {
                return Err(request
                    .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"));
            }
            return Ok(());
        }
        let Some(class) = context.reader.get("runtimeclasses.node.k8s.io", "", name) else {
            return Err(request.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")));
        };
        let overhead = &class["overhead"]["podFixed"];
        let given = &spec["overhead"];
        if given.is_object() && given != overhead {
            return Err(request.forbidden(if overhead.is_object() {
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            } else {
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            }));
        }
        let selector = class["scheduling"]["nodeSelector"].as_object();
        for (key, value) in selector.into_iter().flatten() {
            let present = &spec["nodeSelector"][key];
            if present.is_string() && present != value {
                return Err(request.forbidden(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(present)
                )));
            }
        }
        if let Some(pod) = request.object.as_deref_mut() {
            if overhead.is_object() {
                pod["spec"]["overhead"] = overhead.clone();
            }
            for (key, value) in selector.into_iter().flatten() {
                pod["spec"]["nodeSelector"][key] = value.clone();
            }
            add_tolerations(&mut pod["spec"], items(&class["scheduling"]["tolerations"]));
        }
        Ok(())
    }
}

fn add_tolerations(spec: &mut Value, tolerations: &[Value]) {
    if tolerations.is_empty() {
        return;
    }
    if let Some(present) = list_mut(&mut spec["tolerations"]) {
        for toleration in tolerations {
            if !present.contains(toleration) {
                present.push(toleration.clone());
            }
        }
    }
}
