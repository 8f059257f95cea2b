//! The privilege-escalation checks on roles and bindings. Upstream has them in the storage of the RBAC group; the rule is the same.

use super::{AdmissionRequest, Context, Operation, Plugin};
use crate::error::ApiError;

pub(super) struct RoleEscalation;

impl Plugin for RoleEscalation {
    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if !changes || request.resource.group != "rbac.authorization.k8s.io" || request.subresource.is_some() {
            return Ok(());
        }
        context.authorizer.check_escalation(
            request.user,
            request.resource.plural,
            request.namespace,
            request.new_object(),
            request.old,
        )
    }
}
