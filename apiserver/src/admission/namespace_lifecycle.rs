//! `NamespaceLifecycle`: nothing is made in a namespace that does not exist or is going away, and three namespaces never go.

use super::{AdmissionRequest, Context, Operation, Plugin, text};
use crate::error::{ApiError, Cause};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if request.is("", "namespaces", None) {
            if request.operation == Operation::Delete && IMMORTAL.contains(&request.name) {
                return Err(request.forbidden("this namespace may not be deleted"));
            }
            return Ok(());
        }
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        let review = request.resource.group == "authorization.k8s.io";
        if request.namespace.is_empty() || !changes || review {
            return Ok(());
        }
        let namespace = request.namespace;
        let Some(found) = context.reader.get("namespaces", "", namespace) else {
            return Err(ApiError::not_found("namespaces", namespace));
        };
        if request.operation == Operation::Create && text(&found["status"]["phase"]) == "Terminating" {
            return Err(ApiError::ForbiddenBecause {
                resource: request.resource.group_resource(),
                name: request.subject().to_owned(),
                reason: format!("unable to create new content in namespace {namespace} because it is being terminated"),
                causes: vec![Cause {
                    reason: "NamespaceTerminating".to_owned(),
                    message: format!("namespace {namespace} is being terminated"),
                    field: "metadata.namespace".to_owned(),
                }],
            });
        }
        Ok(())
    }
}
