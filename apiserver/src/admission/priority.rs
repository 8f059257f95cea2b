//! `Priority`: a pod's priority class becomes a number, and nobody writes the number by hand.

use std::sync::Arc;

use serde_json::Value;

use super::{AdmissionRequest, Context, Operation, Plugin, text};
use crate::error::ApiError;

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";
const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) struct Priority;

impl Plugin for Priority {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !request.is("", "pods", None) {
            return Ok(());
        }
        match request.operation {
            Operation::Create => resolve(request, context),
            Operation::Update => {
                keep(request);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if !changes || !request.is("scheduling.k8s.io", "priorityclasses", None) {
            return Ok(());
        }
        if request.new_object()["globalDefault"] != true {
            return Ok(());
        }
        let others = context.reader.list(CLASSES, None);
        let default = others.iter().find(|class| class["globalDefault"] == true);
        match default.map(|class| text(&class["metadata"]["name"])) {
            Some(name) if name != text(&request.new_object()["metadata"]["name"]) => Err(request.forbidden(format!(
                "PriorityClass {name} is already marked as default. Only one default can exist"
            ))),
            _ => Ok(()),
        }
    }
}

/// Clients that do not know the fields would drop them in an update.
fn keep(request: &mut AdmissionRequest<'_>) {
    let (Some(pod), Some(old)) = (request.object.as_deref_mut(), request.old) else {
        return;
    };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}

fn resolve(request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
    let spec = &request.new_object()["spec"];
    let asked = text(&spec["priorityClassName"]);
    let class = if asked.is_empty() {
        default_class(context)
    } else {
        match context.reader.get(CLASSES, "", asked) {
            Some(class) => Some(class),
            None => return Err(request.forbidden(format!("no PriorityClass with name {asked} was found"))),
        }
    };
    let (priority, policy) = match &class {
        Some(class) => (
            class["value"].as_i64().unwrap_or(0),
            class["preemptionPolicy"].as_str().unwrap_or(PREEMPTS).to_owned(),
        ),
        None => (0, PREEMPTS.to_owned()),
    };
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return Err(request.forbidden(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return Err(request.forbidden(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let Some(pod) = request.object.as_deref_mut() {
        if let Some(class) = &class {
            pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
        }
        pod["spec"]["priority"] = priority.into();
        pod["spec"]["preemptionPolicy"] = policy.into();
    }
    Ok(())
}

/// Of several defaults (a race may make them) the lowest counts, as upstream.
fn default_class(context: &Context) -> Option<Arc<Value>> {
    let classes = context.reader.list(CLASSES, None);
    classes
        .into_iter()
        .filter(|class| class["globalDefault"] == true)
        .min_by_key(|class| class["value"].as_i64().unwrap_or(0))
}
