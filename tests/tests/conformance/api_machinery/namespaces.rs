//! Namespaces and their end.

use serde_json::{Value, json};

use crate::client::eventually;
use crate::server::Server;

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn with_account(server: &Server, namespace: &str) {
    server.namespace(namespace);
    let accounts = server.at("v1", "serviceaccounts").within(namespace);
    eventually("the service account", || {
        if accounts.has("default") {
            Ok(())
        } else {
            Err(String::new())
        }
    });
}

/// Namespace, apply finalizer to a namespace
#[test]
fn namespace_apply_finalizer_to_a_namespace() {
    let server = Server::control_plane();
    let namespaces = server.at("v1", "namespaces");
    server.namespace("finalized");
    let fake = json!("e2e.example.com/fakeFinalizer");
    let finalizers = |namespace: &Value| namespace["spec"]["finalizers"].as_array().cloned().expect("finalizers");
    let path = "finalized/finalize";
    let namespace = namespaces.get("finalized");
    assert_eq!(finalizers(&namespace), [json!("kubernetes")]);
    let mut next = namespace.clone();
    next["spec"]["finalizers"] = json!(["kubernetes", fake]);
    server.put(&namespaces.path_of(path), &next).expect(200);
    assert!(finalizers(&namespaces.get("finalized")).contains(&fake));
    let mut next = namespaces.get("finalized");
    next["spec"]["finalizers"] = json!(["kubernetes"]);
    server.put(&namespaces.path_of(path), &next).expect(200);
    assert!(!finalizers(&namespaces.get("finalized")).contains(&fake));
}

/// Namespace, apply update to a namespace
#[test]
fn namespace_apply_update_to_a_namespace() {
    let server = Server::alone();
    let namespaces = server.at("v1", "namespaces");
    server.namespace("updated");
    let updated = namespaces.edit("updated", |namespace| {
        namespace["metadata"]["labels"]["updated"] = "true".into();
    });
    assert_eq!(updated["metadata"]["labels"]["updated"], "true");
    assert_eq!(namespaces.get("updated")["metadata"]["labels"]["updated"], "true");
}

/// Namespace, apply changes to a namespace status
#[test]
fn namespace_apply_changes_to_a_namespace_status() {
    let server = Server::control_plane();
    let namespaces = server.at("v1", "namespaces");
    server.namespace("observed");
    assert_eq!(namespaces.get("observed/status")["status"]["phase"], "Active");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "set by a test"});
    let patched = namespaces.patch(
        "observed/status",
        json!({"status": {"conditions": [condition("StatusPatch")]}}),
    );
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatch");
    assert_eq!(patched["status"]["conditions"][0]["message"], "set by a test");
    assert_eq!(patched["status"]["phase"], "Active");
    namespaces.edit("observed/status", |namespace| {
        let conditions = namespace["status"]["conditions"].as_array_mut().expect("conditions");
        conditions.push(condition("StatusUpdate"));
    });
    let seen = namespaces.get("observed");
    let kinds: Vec<&Value> = seen["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .map(|c| &c["type"])
        .collect();
    assert_eq!(kinds, ["StatusPatch", "StatusUpdate"]);
    assert_eq!(seen["status"]["phase"], "Active");
}

/// namespace-deletion-removes-pods
#[test]
fn namespace_deletion_removes_pods() {
    let server = Server::control_plane();
    let pods = server.at("v1", "pods").within("doomed");
    with_account(&server, "doomed");
    pods.create(pod("test-pod"));
    server.at("v1", "namespaces").delete("doomed");
    server.at("v1", "namespaces").until_absent("doomed");
    // The namespace of the same name that follows starts empty.
    server.namespace("doomed");
    assert!(pods.names("").is_empty());
}

/// namespace-deletion-removes-services
#[test]
fn namespace_deletion_removes_services() {
    let server = Server::control_plane();
    let services = server.at("v1", "services").within("doomed");
    server.namespace("doomed");
    services.create(json!({"metadata": {"name": "test-service"},
        "spec": {"selector": {"foo": "bar"}, "ports": [{"port": 80, "targetPort": 80}]}}));
    server.at("v1", "namespaces").delete("doomed");
    server.at("v1", "namespaces").until_absent("doomed");
    server.namespace("doomed");
    assert!(services.names("").is_empty());
}

/// Namespace patching
#[test]
fn namespace_patching() {
    let server = Server::alone();
    server.namespace("patched");
    let namespaces = server.at("v1", "namespaces");
    namespaces.strategic("patched", &json!({"metadata": {"labels": {"testLabel": "testValue"}}}));
    let seen = namespaces.get("patched");
    assert_eq!(seen["metadata"]["labels"]["testLabel"], "testValue");
    assert_eq!(seen["metadata"]["labels"]["kubernetes.io/metadata.name"], "patched");
}

/// Ordered Namespace Deletion
#[test]
fn ordered_namespace_deletion() {
    let server = Server::control_plane();
    let namespaces = server.at("v1", "namespaces");
    with_account(&server, "ordered");
    let (pods, maps) = (
        server.at("v1", "pods").within("ordered"),
        server.at("v1", "configmaps").within("ordered"),
    );
    let mut held = pod("held");
    held["metadata"]["finalizers"] = json!(["e2e.example.com/finalizer"]);
    pods.create(held);
    maps.create(json!({"metadata": {"name": "later"}, "data": {"a": "b"}}));
    namespaces.delete("ordered");
    pods.until("the pod is to go", "held", |pod| {
        pod["metadata"]["deletionTimestamp"].is_string()
    });
    namespaces.until("the namespace says what it waits for", "ordered", |namespace| {
        let conditions = namespace["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.iter().any(|c| {
            c["type"] == "NamespaceDeletionContentFailure"
                || c["type"] == "NamespaceContentRemaining" && c["status"] == "True"
        })
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(
        maps.get("later")["metadata"]["deletionTimestamp"].is_null(),
        "what pods may need stays as long as they do"
    );
    pods.patch("held", json!({"metadata": {"finalizers": null}}));
    namespaces.until_absent("ordered");
    server.namespace("ordered");
    assert!(maps.names("labelSelector=!x").iter().all(|name| name != "later"));
}
