//! `NodeRestriction`: what the Node authorizer lets a kubelet write is limited here to its own objects and to the fields that are its
//! business (<https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>).

use serde_json::Value;

use super::{AdmissionRequest, Context, Operation, Plugin, items, text};
use crate::authz::node_name;
use crate::error::ApiError;

const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn validate(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        let Some(node) = node_name(request.user) else {
            return Ok(());
        };
        if node.is_empty() {
            return Err(request.forbidden(format!(
                "could not determine node from user {:?}",
                request.user.username
            )));
        }
        match (request.resource.group, request.resource.plural, request.subresource) {
            ("", "pods", None) => pod(request, context, node),
            ("", "pods", Some("status")) => pod_status(request, node),
            ("", "pods", Some("eviction")) => eviction(request, context, node),
            ("", "nodes", _) => own_node(request, node),
            ("", "persistentvolumeclaims", Some("status")) => claim_status(request, node),
            ("", "serviceaccounts", Some("token")) => token(request, context, node),
            ("coordination.k8s.io", "leases", None) => same_name(
                request,
                node,
                "can only access node lease with the same name as the requesting node",
            ),
            ("storage.k8s.io", "csinodes", None) => same_name(
                request,
                node,
                "can only access CSINode with the same name as the requesting node",
            ),
            _ => Ok(()),
        }
    }
}

fn refuse(request: &AdmissionRequest<'_>, reason: impl Into<String>) -> Result<(), ApiError> {
    Err(request.forbidden(reason))
}

fn same_name(request: &AdmissionRequest<'_>, node: &str, reason: &str) -> Result<(), ApiError> {
    let named = match request.operation {
        Operation::Create => text(&request.new_object()["metadata"]["name"]),
        _ => request.name,
    };
    if named == node { Ok(()) } else { refuse(request, reason) }
}

fn pod(request: &AdmissionRequest<'_>, context: &Context, node: &str) -> Result<(), ApiError> {
    match request.operation {
        Operation::Create => mirror_pod(request, node),
        Operation::Delete => {
            let Some(pod) = context.reader.get("pods", request.namespace, request.name) else {
                return Err(ApiError::not_found("pods", request.name));
            };
            if text(&pod["spec"]["nodeName"]) == node {
                return Ok(());
            }
            refuse(
                request,
                format!("node {node:?} can only delete pods with spec.nodeName set to itself"),
            )
        }
        Operation::Update => refuse(
            request,
            format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"),
        ),
        Operation::Connect => Ok(()),
    }
}

fn mirror_pod(request: &AdmissionRequest<'_>, node: &str) -> Result<(), ApiError> {
    let pod = request.new_object();
    if !pod["metadata"]["annotations"][MIRROR].is_string() {
        return refuse(
            request,
            format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"),
        );
    }
    if text(&pod["spec"]["nodeName"]) != node {
        return refuse(
            request,
            format!("node {node:?} can only create pods with spec.nodeName set to itself"),
        );
    }
    let [owner] = items(&pod["metadata"]["ownerReferences"]) else {
        return refuse(
            request,
            format!("node {node:?} can only create pods with a single owner reference set to itself"),
        );
    };
    let itself = owner["apiVersion"] == "v1" && owner["kind"] == "Node" && owner["name"] == node;
    if !itself {
        return refuse(
            request,
            format!("node {node:?} can only create pods with an owner reference set to itself"),
        );
    }
    if owner["controller"] != true {
        return refuse(
            request,
            format!("node {node:?} can only create pods with a controller owner reference set to itself"),
        );
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse(
            request,
            format!("node {node:?} must not set blockOwnerDeletion on an owner reference"),
        );
    }
    let spec = &pod["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        return refuse(
            request,
            format!("node {node:?} can not create pods that reference a service account"),
        );
    }
    if let Some(what) = referenced(spec) {
        return refuse(
            request,
            format!("node {node:?} can not create pods that reference {what}"),
        );
    }
    Ok(())
}

/// What objects a pod refers to; a mirror pod that did would open them to its node.
fn referenced(spec: &Value) -> Option<&'static str> {
    let volumes = items(&spec["volumes"]);
    let projects = |field: &str| {
        volumes.iter().any(|volume| {
            items(&volume["projected"]["sources"])
                .iter()
                .any(|source| source[field].is_object())
        })
    };
    let mounts = |field: &str| volumes.iter().any(|volume| volume[field].is_object());
    let env = |one: &str, all: &str| {
        ["containers", "initContainers"].iter().any(|list| {
            items(&spec[*list]).iter().any(|container| {
                items(&container["env"])
                    .iter()
                    .any(|env| env["valueFrom"][one].is_object())
                    || items(&container["envFrom"]).iter().any(|from| from[all].is_object())
            })
        })
    };
    let pulls = !items(&spec["imagePullSecrets"]).is_empty();
    if pulls || mounts("secret") || projects("secret") || env("secretKeyRef", "secretRef") {
        Some("secrets")
    } else if mounts("configMap") || projects("configMap") || env("configMapKeyRef", "configMapRef") {
        Some("configmaps")
    } else if mounts("persistentVolumeClaim") || mounts("ephemeral") {
        Some("persistentvolumeclaims")
    } else if projects("serviceAccountToken") {
        Some("a service account token")
    } else if !items(&spec["resourceClaims"]).is_empty() {
        Some("resourceclaims")
    } else {
        None
    }
}

fn pod_status(request: &AdmissionRequest<'_>, node: &str) -> Result<(), ApiError> {
    let (new, old) = (request.new_object(), request.old.unwrap_or(&Value::Null));
    if text(&old["spec"]["nodeName"]) != node {
        return refuse(
            request,
            format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"),
        );
    }
    if new["metadata"]["labels"] != old["metadata"]["labels"] {
        return refuse(
            request,
            format!("node {node:?} cannot update labels through pod status"),
        );
    }
    if new["status"]["resourceClaimStatuses"] != old["status"]["resourceClaimStatuses"] {
        return refuse(request, format!("node {node:?} cannot update resource claim statuses"));
    }
    Ok(())
}

fn eviction(request: &AdmissionRequest<'_>, context: &Context, node: &str) -> Result<(), ApiError> {
    let Some(pod) = context.reader.get("pods", request.namespace, request.name) else {
        return Err(ApiError::not_found("pods", request.name));
    };
    if text(&pod["spec"]["nodeName"]) == node {
        return Ok(());
    }
    refuse(
        request,
        format!("node {node} can only evict pods with spec.nodeName set to itself"),
    )
}

fn own_node(request: &AdmissionRequest<'_>, node: &str) -> Result<(), ApiError> {
    let (new, old) = (request.new_object(), request.old.unwrap_or(&Value::Null));
    let named = match request.operation {
        Operation::Create => text(&new["metadata"]["name"]),
        _ => request.name,
    };
    if named != node {
        return refuse(
            request,
            format!("node {node:?} is not allowed to modify node {named:?}"),
        );
    }
    match request.operation {
        Operation::Create => {
            let labels = forbidden_labels(new, &Value::Null);
            if !labels.is_empty() {
                return refuse(
                    request,
                    format!(
                        "node {node:?} is not allowed to set the following labels: {}",
                        labels.join(", ")
                    ),
                );
            }
        }
        Operation::Update => {
            if !same_taints(new, old) {
                return refuse(request, format!("node {node:?} is not allowed to modify taints"));
            }
            if items(&new["metadata"]["ownerReferences"]) != items(&old["metadata"]["ownerReferences"]) {
                return refuse(
                    request,
                    format!("node {node:?} is not allowed to modify ownerReferences"),
                );
            }
            let labels = forbidden_labels(new, old);
            if !labels.is_empty() {
                return refuse(
                    request,
                    format!("is not allowed to modify labels: {}", labels.join(", ")),
                );
            }
        }
        _ => {}
    }
    Ok(())
}

fn same_taints(new: &Value, old: &Value) -> bool {
    items(&new["spec"]["taints"]) == items(&old["spec"]["taints"])
}

const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// The labels that differ between the two and are not a node's to set.
fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys = |labels: &Value| labels.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let mut all: Vec<String> = keys(new).into_iter().chain(keys(old)).flatten().collect();
    all.sort();
    all.dedup();
    all.retain(|key| new[key] != old[key] && is_forbidden(key));
    all
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    let kubelets = KUBELET_LABELS.contains(&label) || within("kubelet.kubernetes.io") || within("node.kubernetes.io");
    kubernetes && !kubelets
}

/// A node may report how far an expansion is, and nothing else of a claim.
fn claim_status(request: &AdmissionRequest<'_>, node: &str) -> Result<(), ApiError> {
    let without = |object: &Value| {
        let mut rest = object.clone();
        for field in [
            "capacity",
            "conditions",
            "allocatedResources",
            "allocatedResourceStatuses",
        ] {
            if let Some(status) = rest["status"].as_object_mut() {
                status.remove(field);
            }
        }
        if let Some(metadata) = rest["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        rest
    };
    let old = request.old.unwrap_or(&Value::Null);
    if without(request.new_object()) == without(old) {
        return Ok(());
    }
    refuse(
        request,
        format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"),
    )
}

fn token(request: &AdmissionRequest<'_>, context: &Context, node: &str) -> Result<(), ApiError> {
    let reference = &request.new_object()["spec"]["boundObjectRef"];
    if !reference.is_object() || text(&reference["apiVersion"]) != "v1" || text(&reference["kind"]) != "Pod" {
        return refuse(request, "node requested token not bound to a pod");
    }
    if text(&reference["name"]).is_empty() {
        return refuse(request, "node requested token with a pod binding without a name");
    }
    if text(&reference["uid"]).is_empty() {
        return refuse(request, "node requested token with a pod binding without a uid");
    }
    let Some(pod) = context.reader.get("pods", request.namespace, text(&reference["name"])) else {
        return Err(ApiError::not_found("pods", text(&reference["name"])));
    };
    if pod["metadata"]["uid"] != reference["uid"] {
        return refuse(
            request,
            format!(
                "the UID in the bound object reference ({}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                text(&reference["uid"]),
                text(&pod["metadata"]["uid"])
            ),
        );
    }
    if text(&pod["spec"]["nodeName"]) != node {
        return refuse(
            request,
            "node requested token bound to a pod scheduled on a different node",
        );
    }
    Ok(())
}
