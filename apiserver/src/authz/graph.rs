//! What a pod refers to, and through it what its node may read.
//!
//! Upstream keeps a graph up to date from informers; here the edges are found when asked for, in the pods of the one namespace that the
//! question is about, so there is no second copy of the truth that could lag behind.

use serde_json::Value;

use crate::reader::ObjectReader;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Mirror pods are what a node says about itself: they grant it nothing.
fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
}

/// Says whether some pod of `namespace` that is bound to `node` satisfies `refers`.
fn some_pod(reader: &dyn ObjectReader, node: &str, namespace: &str, refers: impl Fn(&Value) -> bool) -> bool {
    reader
        .list_where("pods", Some(namespace), "spec.nodeName", node)
        .iter()
        .any(|pod| text(&pod["spec"]["nodeName"]) == node && !is_mirror(pod) && refers(pod))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| items(&pod["spec"][list]))
}

fn volumes(pod: &Value) -> &[Value] {
    items(&pod["spec"]["volumes"])
}

fn refers_to_config_map(pod: &Value, name: &str) -> bool {
    let through_env = containers(pod).any(|container| {
        items(&container["envFrom"])
            .iter()
            .any(|from| text(&from["configMapRef"]["name"]) == name)
            || items(&container["env"])
                .iter()
                .any(|env| text(&env["valueFrom"]["configMapKeyRef"]["name"]) == name)
    });
    through_env
        || volumes(pod).iter().any(|volume| {
            text(&volume["configMap"]["name"]) == name
                || items(&volume["projected"]["sources"])
                    .iter()
                    .any(|source| text(&source["configMap"]["name"]) == name)
        })
}

/// The volume sources whose `secretRef.name` (CSI: `nodePublishSecretRef.name`) is a secret of the pod's namespace.
const SECRET_VOLUMES: [&str; 6] = ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "storageos"];

fn refers_to_secret(pod: &Value, name: &str) -> bool {
    let through_env = containers(pod).any(|container| {
        items(&container["envFrom"])
            .iter()
            .any(|from| text(&from["secretRef"]["name"]) == name)
            || items(&container["env"])
                .iter()
                .any(|env| text(&env["valueFrom"]["secretKeyRef"]["name"]) == name)
    });
    through_env
        || items(&pod["spec"]["imagePullSecrets"])
            .iter()
            .any(|pull| text(&pull["name"]) == name)
        || volumes(pod).iter().any(|volume| {
            text(&volume["secret"]["secretName"]) == name
                || text(&volume["azureFile"]["secretName"]) == name
                || text(&volume["csi"]["nodePublishSecretRef"]["name"]) == name
                || text(&volume["iscsi"]["secretRef"]["name"]) == name
                || SECRET_VOLUMES
                    .iter()
                    .any(|kind| text(&volume[*kind]["secretRef"]["name"]) == name)
                || items(&volume["projected"]["sources"])
                    .iter()
                    .any(|source| text(&source["secret"]["name"]) == name)
        })
}

fn refers_to_claim(pod: &Value, claim: &str) -> bool {
    let pod_name = text(&pod["metadata"]["name"]);
    volumes(pod).iter().any(|volume| {
        text(&volume["persistentVolumeClaim"]["claimName"]) == claim
            || volume["ephemeral"].is_object()
                && claim
                    .strip_prefix(pod_name)
                    .and_then(|rest| rest.strip_prefix('-'))
                    .is_some_and(|rest| rest == text(&volume["name"]))
    })
}

/// A claim that a pod of the node uses.
pub(super) fn claim(reader: &dyn ObjectReader, node: &str, namespace: &str, name: &str) -> bool {
    some_pod(reader, node, namespace, |pod| refers_to_claim(pod, name))
}

/// A volume whose claim a pod of the node uses.
pub(super) fn volume(reader: &dyn ObjectReader, node: &str, name: &str) -> bool {
    reader.get("persistentvolumes", "", name).is_some_and(|volume| {
        let claimed = &volume["spec"]["claimRef"];
        claimed.is_object() && claim(reader, node, text(&claimed["namespace"]), text(&claimed["name"]))
    })
}

/// A config map that a pod of the node uses.
pub(super) fn config_map(reader: &dyn ObjectReader, node: &str, namespace: &str, name: &str) -> bool {
    some_pod(reader, node, namespace, |pod| refers_to_config_map(pod, name))
}

/// A secret that a pod of the node uses, by itself or through a volume's driver.
pub(super) fn secret(reader: &dyn ObjectReader, node: &str, namespace: &str, name: &str) -> bool {
    const DRIVER_REFS: [&str; 3] = ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];
    some_pod(reader, node, namespace, |pod| refers_to_secret(pod, name))
        || reader.list("persistentvolumes", None).iter().any(|volume| {
            DRIVER_REFS.iter().any(|field| {
                let secret = &volume["spec"]["csi"][*field];
                text(&secret["name"]) == name && text(&secret["namespace"]) == namespace
            }) && self::volume(reader, node, text(&volume["metadata"]["name"]))
        })
}

/// A service account that a pod of the node runs as.
pub(super) fn service_account(reader: &dyn ObjectReader, node: &str, namespace: &str, name: &str) -> bool {
    some_pod(reader, node, namespace, |pod| {
        text(&pod["spec"]["serviceAccountName"]) == name
    })
}

/// A pod that is bound to the node.
pub(super) fn pod(reader: &dyn ObjectReader, node: &str, namespace: &str, name: &str) -> bool {
    reader
        .get("pods", namespace, name)
        .is_some_and(|pod| text(&pod["spec"]["nodeName"]) == node)
}

/// An attachment of a volume to the node.
pub(super) fn attachment(reader: &dyn ObjectReader, node: &str, name: &str) -> bool {
    reader
        .get("volumeattachments.storage.k8s.io", "", name)
        .is_some_and(|attachment| text(&attachment["spec"]["nodeName"]) == node)
}

/// A resource claim of a pod of the node.
pub(super) fn resource_claim(reader: &dyn ObjectReader, node: &str, namespace: &str, name: &str) -> bool {
    some_pod(reader, node, namespace, |pod| {
        items(&pod["spec"]["resourceClaims"])
            .iter()
            .any(|claim| text(&claim["resourceClaimName"]) == name)
            || items(&pod["status"]["resourceClaimStatuses"])
                .iter()
                .any(|claim| text(&claim["resourceClaimName"]) == name)
    })
}
