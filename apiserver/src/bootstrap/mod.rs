//! The objects that every cluster starts with: namespaces, RBAC policy, priority classes, what joining nodes read.
//!
//! ```text
//! policy.txt --policy.rs--> roles and bindings --+
//! namespaces, priority classes, service range ---+--> objects() --> the server ensures them at each start
//! cluster-info, bootstrap token -----------------+
//! ```
//!
//! At each start, what is missing is made. What is there is left alone, but for RBAC objects, which regain rules and subjects that they
//! lack ([`reconcile`]) unless their `rbac.authorization.kubernetes.io/autoupdate` annotation is `false`; that is upstream's rule.

mod policy;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use timonel_api::storage::LOCAL_PATH;

/// What the objects say that differs from cluster to cluster.
#[derive(Clone, Debug, Default)]
pub struct BootstrapConfig {
    /// The cluster's authority, PEM.
    pub ca_pem: String,
    /// The URL that nodes reach the server under.
    pub server_url: String,
    /// The service ranges: `10.96.0.0/16`.
    pub service_cidrs: Vec<String>,
    /// Lets nodes join while it is valid.
    pub token: Option<BootstrapToken>,
}

/// A bootstrap token, `ID.SECRET`.
#[derive(Clone)]
pub struct BootstrapToken {
    /// Six lower-case letters or digits; public.
    pub id: String,
    /// Sixteen lower-case letters or digits.
    pub secret: String,
    /// When it ends, RFC 3339; never where it is `None`.
    pub expiration: Option<jiff::Timestamp>,
}

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootstrapToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl std::str::FromStr for BootstrapToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain =
            |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        text.split_once('.')
            .filter(|(id, secret)| plain(id, 6) && plain(secret, 16))
            .map(|(id, secret)| Self {
                id: id.to_owned(),
                secret: secret.to_owned(),
                expiration: None,
            })
            .ok_or_else(|| "the bootstrap token is not of the form \"\\A([a-z0-9]{6})\\.([a-z0-9]{16})\\z\"".to_owned())
    }
}

/// Makes all of them, in an order in which each can be created.
pub fn objects(config: &BootstrapConfig) -> Vec<Value> {
    let mut objects: Vec<Value> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    objects.extend(policy::objects());
    objects.push(priority_class(
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ));
    objects.push(priority_class(
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ));
    if !config.service_cidrs.is_empty() {
        objects.push(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": config.service_cidrs},
        }));
    }
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": config.ca_pem},
    }));
    objects.push(cluster_info(config));
    objects.extend(config.token.as_ref().map(token_secret));
    objects
}

fn priority_class(name: &str, value: i64, description: &str) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
        "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority",
    })
}

/// The class that claims get which name none: folders on the node of their first consumer. Only made in a cluster that is just being made:
/// who deletes or changes it means it.
pub fn default_storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": LOCAL_PATH, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    })
}

/// What a node that is not yet trusted, and does not yet trust, reads: the authority and the server's URL, signed with the token that
/// both sides know, as upstream's bootstrap signer does it
/// (<https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#configmap-signing>).
pub fn cluster_info(config: &BootstrapConfig) -> Value {
    let kubeconfig = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {}\n  name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
        STANDARD.encode(&config.ca_pem),
        config.server_url,
    );
    let mut data = json!({});
    if let Some(token) = &config.token {
        data[format!("jws-kubeconfig-{}", token.id)] = sign(&kubeconfig, token).into();
    }
    data["kubeconfig"] = kubeconfig.into();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": data,
    })
}

/// Signs the content of `cluster-info` with a token: a JWS whose payload is left out, HMAC-SHA-256, the token's id as key id.
pub fn sign(kubeconfig: &str, token: &BootstrapToken) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, token.id));
    let payload = URL_SAFE_NO_PAD.encode(kubeconfig);
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{}.{}", token.id, token.secret).as_bytes());
    let signature = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The Secret of a bootstrap token.
pub fn token_secret(token: &BootstrapToken) -> Value {
    let mut fields = vec![
        ("token-id", token.id.clone()),
        ("token-secret", token.secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("usage-bootstrap-signing", "true".to_owned()),
        (
            "auth-extra-groups",
            "system:bootstrappers:kubeadm:default-node-token".to_owned(),
        ),
    ];
    fields.extend(token.expiration.map(|at| ("expiration", at.to_string())));
    let mut data = json!({});
    for (key, value) in fields {
        data[key] = STANDARD.encode(value).into();
    }
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{}", token.id), "namespace": "kube-system"}, "data": data,
    })
}

/// What an object that is there should become; `None` where it is fine as it is.
pub fn reconcile(present: &Value, wanted: &Value) -> Option<Value> {
    let updates = present["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] != "false";
    match wanted["kind"].as_str() {
        Some("ClusterRole" | "Role" | "ClusterRoleBinding" | "RoleBinding") if updates => {}
        // The server's authority and URL are this server's to say.
        Some("ConfigMap") => {
            let mut next = present.clone();
            for (key, value) in wanted["data"].as_object().into_iter().flatten() {
                next["data"][key] = value.clone();
            }
            return (next != *present).then_some(next);
        }
        _ => return None,
    }
    let mut next = present.clone();
    // What an aggregated role holds is the aggregation controller's to say, once it is there.
    let aggregated = wanted["aggregationRule"].is_object();
    for list in ["rules", "subjects"] {
        if aggregated && list == "rules" {
            continue;
        }
        let present: Vec<Value> = next[list].as_array().cloned().unwrap_or_default();
        let missing: Vec<Value> = wanted[list]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|item| !present.contains(item))
            .cloned()
            .collect();
        if !missing.is_empty() {
            next[list] = [present, missing].concat().into();
        }
    }
    for map in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][map].as_object().into_iter().flatten() {
            if next["metadata"][map][key].is_null() {
                next["metadata"][map][key] = value.clone();
            }
        }
    }
    (next != *present).then_some(next)
}

#[cfg(test)]
mod tests;
