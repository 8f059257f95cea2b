//! `TaintNodesByCondition`: a new node takes no pods until it has reported that it is ready.

use serde_json::json;

use super::{AdmissionRequest, Context, Plugin, items, list_mut, text};
use crate::error::ApiError;

const TAINT: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, _context: &Context) -> Result<(), ApiError> {
        if !request.creates("", "nodes") {
            return Ok(());
        }
        if let Some(node) = request.object.as_deref_mut() {
            let has = items(&node["spec"]["taints"])
                .iter()
                .any(|taint| text(&taint["key"]) == TAINT && text(&taint["effect"]) == "NoSchedule");
            if !has && let Some(taints) = list_mut(&mut node["spec"]["taints"]) {
                taints.push(json!({"key": TAINT, "effect": "NoSchedule"}));
            }
        }
        Ok(())
    }
}
