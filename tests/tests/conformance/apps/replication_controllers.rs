//! What the controllers do with ReplicationControllers.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::hollow::Hollow;
use crate::server::Server;

fn resources(server: &Server) -> [Resource; 2] {
    ["replicationcontrollers", "pods"].map(|plural| server.at("v1", plural).within("default"))
}

fn controller(replicas: u32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "selector": {"app": "web"},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

/// Replication Controller, adopt matching pods
#[test]
fn replication_controller_adopt_matching_pods() {
    let server = Server::control_plane();
    let [controllers, pods] = resources(&server);
    pods.create(json!({"metadata": {"name": "orphan", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}}));
    let controller = controllers.create(controller(1));
    let adopted = pods.until("the pod is adopted", "orphan", |pod| {
        pod["metadata"]["ownerReferences"][0]["uid"] == controller["metadata"]["uid"]
    });
    let owner = &adopted["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["apiVersion"]),
        (&json!("ReplicationController"), &json!("v1"))
    );
    assert_eq!(pods.names(""), ["orphan"], "the adopted pod is all that is wanted");
}

/// Replication Controller, release pods
#[test]
fn replication_controller_release_pods() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let [controllers, pods] = resources(&server);
    controllers.create(controller(1));
    controllers.until("the pod is ready", "web", |web| web["status"]["readyReplicas"] == 1);
    let name = pods.names("").pop().expect("a pod");
    pods.patch(&name, json!({"metadata": {"labels": {"app": "released"}}}));
    pods.until("the pod is released", &name, |pod| {
        pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    });
    eventually("another pod comes in its place", || {
        match pods.names("labelSelector=app%3Dweb").as_slice() {
            [other] if *other != name => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
}

/// Replication Controller, check for issues like exceeding allocated quota
#[test]
fn replication_controller_check_for_issues_like_exceeding_allocated_quota() {
    let server = Server::control_plane();
    let [controllers, pods] = resources(&server);
    let quotas = server.at("v1", "resourcequotas").within("default");
    quotas.create(json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}));
    controllers.create(controller(3));
    let failure = |web: &Value| {
        let conditions = web["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .into_iter()
            .find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True")
    };
    let failed = controllers.until("the failure is told", "web", |web| failure(web).is_some());
    let condition = failure(&failed).expect("a condition");
    assert_eq!(condition["reason"], "FailedCreate");
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(message.contains("exceeded quota"), "{message}");
    assert_eq!(pods.names("").len(), 2);
    controllers.patch("web/scale", json!({"spec": {"replicas": 2}}));
    controllers.until("the failure is over", "web", |web| failure(web).is_none());
}
