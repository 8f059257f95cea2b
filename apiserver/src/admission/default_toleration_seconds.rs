//! `DefaultTolerationSeconds`: a pod stays for a while on a node that is not ready or not reachable, before it is evicted.

use serde_json::{Value, json};

use super::{AdmissionRequest, Context, Operation, Plugin, items, list_mut, text};
use crate::error::ApiError;

pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if !changes || !request.is("", "pods", None) {
            return Ok(());
        }
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        for (key, seconds) in [
            (
                "node.kubernetes.io/not-ready",
                context.config.not_ready_toleration_seconds,
            ),
            (
                "node.kubernetes.io/unreachable",
                context.config.unreachable_toleration_seconds,
            ),
        ] {
            let tolerates = |toleration: &Value| {
                let matches = |field: &str, wanted: &str| {
                    let value = text(&toleration[field]);
                    value.is_empty() || value == wanted
                };
                matches("key", key) && matches("effect", "NoExecute")
            };
            if items(&pod["spec"]["tolerations"]).iter().any(tolerates) {
                continue;
            }
            if let Some(tolerations) = list_mut(&mut pod["spec"]["tolerations"]) {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
                }));
            }
        }
        Ok(())
    }
}
