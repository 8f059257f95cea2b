//! `ServiceAccount`: every pod runs as a service account that exists, and finds that account's token mounted unless it declines.

use serde_json::{Value, json};

use super::{AdmissionRequest, Context, Operation, Plugin, items, list_mut, text};
use crate::error::ApiError;

const VOLUME: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// What marks the token as one whose life may be extended; see `authn::tokens`.
const TOKEN_SECONDS: i64 = 3607;

pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        if is_mirror(request.new_object()) {
            return self.validate(request, context);
        }
        let namespace = request.namespace;
        let asked = text(&request.new_object()["spec"]["serviceAccountName"]);
        let name = if asked.is_empty() { "default" } else { asked }.to_owned();
        let Some(account) = context.reader.get("serviceaccounts", namespace, &name) else {
            return Err(request.forbidden(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            )));
        };
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let spec = &mut pod["spec"];
        spec["serviceAccountName"] = name.as_str().into();
        // The old name of the field, which upstream keeps in step.
        spec["serviceAccount"] = name.as_str().into();
        if items(&spec["imagePullSecrets"]).is_empty() && !items(&account["imagePullSecrets"]).is_empty() {
            spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        let wants = spec["automountServiceAccountToken"].as_bool();
        let offers = account["automountServiceAccountToken"].as_bool();
        if wants.or(offers).unwrap_or(true) {
            mount_token(spec, &format!("{VOLUME}{}", context.rng.suffix(5)));
        }
        Ok(())
    }

    fn validate(&self, request: &AdmissionRequest<'_>, _context: &Context) -> Result<(), ApiError> {
        let pod = request.new_object();
        if request.operation != Operation::Create || !request.is("", "pods", None) || !is_mirror(pod) {
            return Ok(());
        }
        if !text(&pod["spec"]["serviceAccountName"]).is_empty() {
            return Err(request.forbidden("a mirror pod may not reference service accounts"));
        }
        for volume in items(&pod["spec"]["volumes"]) {
            if volume["secret"].is_object() {
                return Err(request.forbidden("a mirror pod may not reference secrets"));
            }
            let token = |source: &Value| source["serviceAccountToken"].is_object();
            if items(&volume["projected"]["sources"]).iter().any(token) {
                return Err(request.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
            }
        }
        Ok(())
    }
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"][MIRROR].is_string()
}

/// Mounts the token into every container that has nothing at its path yet.
fn mount_token(spec: &mut Value, fresh_name: &str) {
    let present = items(&spec["volumes"])
        .iter()
        .find(|volume| volume["projected"].is_object() && text(&volume["name"]).starts_with(VOLUME))
        .map(|volume| text(&volume["name"]).to_owned());
    let name = present.as_deref().unwrap_or(fresh_name);
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let taken = items(&container["volumeMounts"])
                .iter()
                .any(|mount| text(&mount["mountPath"]) == MOUNT_PATH);
            if taken {
                continue;
            }
            needed = true;
            if let Some(mounts) = list_mut(&mut container["volumeMounts"]) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            }
        }
    }
    if present.is_some() || !needed {
        return;
    }
    if let Some(volumes) = list_mut(&mut spec["volumes"]) {
        volumes.push(json!({
            "name": name,
            "projected": {
                "defaultMode": 0o644,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                    ]}},
                ],
            },
        }));
    }
}
