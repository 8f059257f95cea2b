//! sig-storage: the API's part.

use serde_json::{Value, json};

use crate::client::Resource;
use crate::kind::Kind;
use crate::server::Server;

fn storage(server: &Server, plural: &str) -> Resource {
    server.at("storage.k8s.io/v1", plural)
}

fn label(resource: &Resource, name: &str, value: &str) {
    resource.patch(name, json!({"metadata": {"labels": {"e2e": value}}}));
    assert_eq!(resource.get(name)["metadata"]["labels"]["e2e"], value);
}

fn relabel(resource: &Resource, name: &str, value: &str) {
    resource.edit(name, |object| object["metadata"]["labels"]["e2e"] = value.into());
    assert_eq!(resource.get(name)["metadata"]["labels"]["e2e"], value);
}

/// Create, read, patch, list, delete; then create another, read, update, and delete it as a collection.
fn lifecycle(resource: &Resource, make: impl Fn(&str) -> Value) {
    let first = resource.create(make("first"));
    let read = resource.get("first");
    assert_eq!(read["metadata"]["name"], "first");
    assert_eq!(read["metadata"]["uid"], first["metadata"]["uid"]);
    label(resource, "first", "patched");
    assert_eq!(resource.names("labelSelector=e2e%3Dpatched"), ["first"]);
    resource.delete("first");
    resource.until_absent("first");
    resource.create(make("second"));
    assert_eq!(resource.get("second")["metadata"]["name"], "second");
    relabel(resource, "second", "updated");
    resource.delete_collection("labelSelector=e2e%3Dupdated");
    resource.until_absent("second");
}

/// CSIDriver, lifecycle
#[test]
fn csidriver_lifecycle() {
    let server = Server::alone();
    let drivers = storage(&server, "csidrivers");
    for name in ["one.example.com", "two.example.com"] {
        drivers
            .create(json!({"metadata": {"name": name, "labels": {"suite": "csi"}}, "spec": {"attachRequired": false}}));
    }
    label(&drivers, "one.example.com", "patched");
    relabel(&drivers, "two.example.com", "updated");
    assert_eq!(
        drivers.names("labelSelector=suite%3Dcsi"),
        ["one.example.com", "two.example.com"]
    );
    drivers.delete("one.example.com");
    drivers.absent("one.example.com");
    drivers.delete_collection("labelSelector=suite%3Dcsi");
    drivers.absent("two.example.com");
}

/// CSIInlineVolumes should support Pods with inline volumes
#[test]
fn csiinlinevolumes_should_support_pods_with_inline_volumes() {
    let server = Server::alone().with_service_account();
    storage(&server, "csidrivers").create(json!({
        "metadata": {"name": "inline.example.com", "labels": {"security.kubernetes.io/csi-ephemeral-volume-profile": "restricted"}},
        "spec": {"attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": ["Ephemeral"]},
    }));
    let pods = server.at("v1", "pods").within("default");
    let volume = json!({"name": "inline", "csi": {"driver": "inline.example.com", "volumeAttributes": {"a": "b"}}});
    pods.create(json!({
        "metadata": {"name": "with-volume"},
        "spec": {"containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "inline", "mountPath": "/mnt"}]}],
            "volumes": [volume]},
    }));
    let read = pods.get("with-volume");
    assert!(
        read["spec"]["volumes"].as_array().expect("volumes").contains(&volume),
        "{read}"
    );
    assert_eq!(pods.names(""), ["with-volume"]);
    label(&pods, "with-volume", "patched");
    pods.delete("with-volume");
    pods.absent("with-volume");
}

/// CSINode, lifecycle
#[test]
fn csinode_lifecycle() {
    let server = Server::alone();
    lifecycle(
        &storage(&server, "csinodes"),
        |name| json!({"metadata": {"name": name}, "spec": {"drivers": [{"name": "one.example.com", "nodeID": name, "topologyKeys": []}]}}),
    );
}

/// CSIStorageCapacity API
#[test]
fn csistoragecapacity_api() {
    Kind {
        group: "storage.k8s.io",
        plural: "csistoragecapacities",
        kind: "CSIStorageCapacity",
        namespaced: true,
        object: |_| json!({"storageClassName": "e2e", "capacity": "10Gi", "nodeTopology": {"matchLabels": {"zone": "a"}}}),
        ..Kind::default()
    }
    .conforms();
}

fn immutability(plural: &str) {
    let server = Server::alone();
    let resource = server.at("v1", plural).within("default");
    // "dmFsdWU=" is base64, so that both kinds take it.
    resource.create(json!({"metadata": {"name": "fixed"}, "data": {"key": "dmFsdWU="}}));
    let updated = resource.edit("fixed", |object| object["data"]["key"] = "b3RoZXI=".into());
    assert_eq!(updated["data"]["key"], "b3RoZXI=");
    let marked = resource.edit("fixed", |object| object["immutable"] = true.into());
    assert_eq!(marked["immutable"], true);
    let mut changed = marked.clone();
    changed["data"]["key"] = "dmFsdWU=".into();
    let message = resource.try_update(&changed).refused(422, "Invalid");
    assert!(
        message.contains("field is immutable when `immutable` is set"),
        "{message}"
    );
    for unmarked in [json!(false), Value::Null] {
        let mut changed = marked.clone();
        changed["immutable"] = unmarked;
        resource.try_update(&changed).refused(422, "Invalid");
    }
    assert_eq!(resource.get("fixed")["data"]["key"], "b3RoZXI=");
    relabel(&resource, "fixed", "still");
    resource.delete("fixed");
    resource.absent("fixed");
}

/// ConfigMap Volume, immutability
#[test]
fn configmap_volume_immutability() {
    immutability("configmaps");
}

/// Secrets Volume, immutability
#[test]
fn secrets_volume_immutability() {
    immutability("secrets");
}

/// PersistentVolumes(Claims), apply changes to a pv/pvc status
#[test]
fn persistentvolumes_claims_apply_changes_to_a_pv_pvc_status() {
    let server = Server::alone();
    let volumes = server.at("v1", "persistentvolumes");
    let claims = server.at("v1", "persistentvolumeclaims").within("default");
    volumes.create(json!({
        "metadata": {"name": "volume", "labels": {"e2e": "pv"}},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "e2e",
            "csi": {"driver": "e2e.example.com", "volumeHandle": "e2e"}},
    }));
    claims.create(json!({
        "metadata": {"name": "claim"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "e2e", "resources": {"requests": {"storage": "1Gi"}}},
    }));
    assert_eq!(volumes.names("labelSelector=e2e%3Dpv"), ["volume"]);
    assert_eq!(claims.names(""), ["claim"]);
    let phase = |resource: &Resource, name: &str| resource.get(&format!("{name}/status"))["status"]["phase"].clone();
    assert!(
        ["Pending", "Bound"]
            .iter()
            .any(|valid| phase(&claims, "claim") == *valid),
        "{}",
        claims.get("claim")
    );
    assert!(
        ["Pending", "Available", "Bound"]
            .iter()
            .any(|valid| phase(&volumes, "volume") == *valid),
        "{}",
        volumes.get("volume")
    );
    let condition = |message: &str| {
        json!({"type": "E2E", "status": "True", "reason": "Set", "message": message,
            "lastProbeTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z"})
    };
    claims.patch(
        "claim/status",
        json!({"status": {"conditions": [condition("patched")]}}),
    );
    assert_eq!(
        claims.get("claim")["status"]["conditions"],
        json!([condition("patched")])
    );
    volumes.patch(
        "volume/status",
        json!({"status": {"reason": "E2E", "message": "patched"}}),
    );
    assert_eq!(volumes.get("volume")["status"]["reason"], "E2E");
    assert_eq!(volumes.get("volume")["status"]["message"], "patched");
    claims.edit("claim/status", |claim| {
        claim["status"]["conditions"] = json!([condition("updated")])
    });
    assert_eq!(
        claims.get("claim")["status"]["conditions"],
        json!([condition("updated")])
    );
    volumes.edit("volume/status", |volume| volume["status"]["message"] = "updated".into());
    assert_eq!(volumes.get("volume")["status"]["message"], "updated");
}

/// StorageClass, lifecycle
#[test]
fn storageclass_lifecycle() {
    let server = Server::alone();
    lifecycle(
        &storage(&server, "storageclasses"),
        |name| json!({"metadata": {"name": name}, "provisioner": "e2e.example.com", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
    );
}

fn attachment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"attacher": "e2e.example.com", "nodeName": "e2e-node",
        "source": {"persistentVolumeName": format!("pv-{name}")}}})
}

/// VolumeAttachment, apply changes to a volumeattachment status
#[test]
fn volumeattachment_apply_changes_to_a_volumeattachment_status() {
    let server = Server::alone();
    let attachments = storage(&server, "volumeattachments");
    attachments.create(attachment("va"));
    label(&attachments, "va", "patched");
    assert_eq!(attachments.get("va/status")["status"]["attached"], false);
    attachments.patch("va/status", json!({"status": {"attached": true}}));
    assert_eq!(attachments.get("va")["status"]["attached"], true);
    attachments.edit("va/status", |object| object["status"]["attached"] = false.into());
    assert_eq!(attachments.get("va")["status"]["attached"], false);
    attachments.delete("va");
    attachments.absent("va");
}

/// VolumeAttachment, lifecycle
#[test]
fn volumeattachment_lifecycle() {
    let server = Server::alone();
    let attachments = storage(&server, "volumeattachments");
    attachments.create(attachment("first"));
    assert_eq!(attachments.get("first")["metadata"]["name"], "first");
    label(&attachments, "first", "patched");
    assert_eq!(attachments.names("labelSelector=e2e%3Dpatched"), ["first"]);
    attachments.delete("first");
    attachments.absent("first");
    for name in ["second", "third"] {
        attachments.create(attachment(name));
        relabel(&attachments, name, "updated");
    }
    attachments.delete_collection("labelSelector=e2e%3Dupdated");
    attachments.absent("second");
    attachments.absent("third");
}

/// VolumeAttributesClass, lifecycle
#[test]
fn volumeattributesclass_lifecycle() {
    let server = Server::control_plane();
    lifecycle(
        &storage(&server, "volumeattributesclasses"),
        |name| json!({"metadata": {"name": name}, "driverName": "example.com/driver", "parameters": {"iops": "100"}}),
    );
}

/// PersistentVolumes(Claims), lifecycle
#[test]
fn persistentvolumes_claims_lifecycle() {
    let server = Server::control_plane();
    let (volumes, claims) = (
        server.at("v1", "persistentvolumes"),
        server.at("v1", "persistentvolumeclaims").within("default"),
    );
    let amount = json!({"storage": "1Gi"});
    // What they ask for does not match: each lives by itself.
    lifecycle(&volumes, |name| {
        let spec = json!({"capacity": amount, "accessModes": ["ReadWriteOnce"], "storageClassName": "of-volumes",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/tmp/nobody"}});
        json!({"metadata": {"name": name}, "spec": spec})
    });
    lifecycle(&claims, |name| {
        let spec = json!({"resources": {"requests": amount}, "accessModes": ["ReadWriteOnce"], "storageClassName": "of-claims"});
        json!({"metadata": {"name": name}, "spec": spec})
    });
}
