//! `PersistentVolumeClaimResize`: only a bound claim grows, and only where its class allows it.

use serde_json::Value;
use timonel_api::quantity::Quantity;

use super::{AdmissionRequest, Context, Operation, Plugin, text};
use crate::error::ApiError;

pub(super) struct PersistentVolumeClaimResize;

fn size(claim: &Value) -> Quantity {
    let asked = claim["spec"]["resources"]["requests"]["storage"].as_str();
    asked
        .and_then(|asked| Quantity::parse(asked).ok())
        .unwrap_or(Quantity::ZERO)
}

fn class(claim: &Value) -> &str {
    let annotation = text(&claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]);
    if annotation.is_empty() {
        text(&claim["spec"]["storageClassName"])
    } else {
        annotation
    }
}

impl Plugin for PersistentVolumeClaimResize {
    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if request.operation != Operation::Update || !request.is("", "persistentvolumeclaims", None) {
            return Ok(());
        }
        let (new, old) = (request.new_object(), request.old.unwrap_or(&Value::Null));
        if size(old).nanos() >= size(new).nanos() {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let name = class(new);
        let found = context.reader.get("storageclasses.storage.k8s.io", "", name);
        let allowed = found.is_some_and(|class| class["allowVolumeExpansion"] == true);
        if name.is_empty() || name != class(old) || !allowed {
            return Err(request.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ));
        }
        Ok(())
    }
}
