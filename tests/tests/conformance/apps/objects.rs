//! What the API does with workloads and budgets, and the eviction of pods.

use serde_json::{Value, json};

use crate::client::Resource;
use crate::kind::{Kind, includes};
use crate::server::Server;

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "e2e"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn workload(name: &str, replicas: Option<u32>) -> Value {
    let mut object = json!({"metadata": {"name": name, "labels": {"app": "e2e", "name": name}},
        "spec": {"selector": {"matchLabels": {"app": "e2e"}}, "template": template()}});
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

/// Reads, updates and patches a status, each of which the next read must show.
fn has_status(plural: &str, replicas: Option<u32>) {
    let server = Server::alone();
    let resource = server.at("apps/v1", plural).within("default");
    let mut watch = resource.watch(&format!(
        "labelSelector=name%3Dtest&resourceVersion={}",
        resource.revision()
    ));
    let mut made = workload("test", replicas);
    if plural == "statefulsets" {
        made["spec"]["serviceName"] = "e2e".into();
    }
    resource.create(made);
    watch.expect("ADDED", "test");
    let read = resource.get("test/status");
    assert_eq!(read["metadata"]["name"], "test");
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test"});
    resource.edit("test/status", |object| {
        object["status"]["conditions"] = json!([condition("StatusUpdate")])
    });
    includes(
        &watch.expect("MODIFIED", "test")["status"]["conditions"],
        &json!([condition("StatusUpdate")]),
    );
    includes(
        &resource.get("test")["status"]["conditions"],
        &json!([condition("StatusUpdate")]),
    );
    resource.patch(
        "test/status",
        json!({"status": {"conditions": [condition("StatusPatched")]}}),
    );
    includes(
        &watch.expect("MODIFIED", "test")["status"]["conditions"],
        &json!([condition("StatusPatched")]),
    );
    let seen = resource.get("test/status");
    includes(&seen["status"]["conditions"], &json!([condition("StatusPatched")]));
    assert_eq!(seen["spec"], read["spec"]);
}

/// DaemonSet, status sub-resource
#[test]
fn daemonset_status_sub_resource() {
    has_status("daemonsets", None);
}

/// Deployment, status sub-resource
#[test]
fn deployment_status_sub_resource() {
    has_status("deployments", Some(1));
}

/// ReplicaSet, status sub-resource
#[test]
fn replicaset_status_sub_resource() {
    has_status("replicasets", Some(1));
}

/// StatefulSet, status sub-resource
#[test]
fn statefulset_status_sub_resource() {
    has_status("statefulsets", Some(1));
}

fn collection(plural: &str, replicas: Option<u32>) -> (Server, Resource) {
    let server = Server::alone();
    let resource = server.at("apps/v1", plural).within("default");
    for name in ["one", "three", "two"] {
        resource.create(workload(name, replicas));
    }
    assert_eq!(
        server.at("apps/v1", plural).names("labelSelector=app%3De2e"),
        ["one", "three", "two"]
    );
    (server, resource)
}

/// DaemonSet, list and delete a collection of DaemonSets
#[test]
fn daemonset_list_and_delete_a_collection_of_daemonsets() {
    let (_server, sets) = collection("daemonsets", None);
    assert_eq!(sets.names("labelSelector=name%3Done"), ["one"]);
    sets.delete_collection("labelSelector=name%20in%20(one,two)");
    assert_eq!(sets.names(""), ["three"]);
}

/// ReplicaSet, list and delete a collection of ReplicaSets
#[test]
fn replicaset_list_and_delete_a_collection_of_replicasets() {
    let (_server, sets) = collection("replicasets", Some(2));
    assert_eq!(sets.names("labelSelector=name%3Done"), ["one"]);
    sets.delete_collection("labelSelector=name%20in%20(one,two)");
    assert_eq!(sets.names(""), ["three"]);
}

/// StatefulSet, list, patch and delete a collection of StatefulSets
#[test]
fn statefulset_list_patch_and_delete_a_collection_of_statefulsets() {
    let (_server, sets) = collection("statefulsets", Some(1));
    let patch = json!({"metadata": {"labels": {"patched": "true"}}, "spec": {"replicas": 2, "template": {"spec": {
        "terminationGracePeriodSeconds": 10, "containers": [{"name": "c", "image": "i:2"}]}}}});
    sets.strategic("one", &patch);
    let seen = sets.get("one");
    assert_eq!(seen["metadata"]["labels"]["patched"], "true");
    assert_eq!(seen["spec"]["replicas"], 2);
    assert_eq!(seen["spec"]["template"]["spec"]["containers"][0]["image"], "i:2");
    sets.delete_collection("labelSelector=patched%3Dtrue");
    assert_eq!(sets.names(""), ["three", "two"]);
}

/// CronJob API Operations
#[test]
fn cronjob_api_operations() {
    Kind {
        group: "batch",
        plural: "cronjobs",
        kind: "CronJob",
        namespaced: true,
        object: |_| {
            json!({"spec": {"schedule": "1 1 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i:1"}]}}}}}})
        },
        status: Some([
            json!({"lastScheduleTime": "2026-01-02T03:04:05Z"}),
            json!({"lastScheduleTime": "2026-01-03T03:04:05Z"}),
        ]),
        ..Kind::default()
    }
    .conforms();
}

fn jobs(server: &Server) -> Resource {
    server.at("batch/v1", "jobs").within("default")
}

fn job(name: &str, suspend: bool) -> Value {
    json!({"metadata": {"name": name, "labels": {"e2e-job": name}},
        "spec": {"suspend": suspend, "parallelism": 2, "completions": 4, "backoffLimit": 6, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}})
}

/// Jobs, apply changes to status
#[test]
fn jobs_apply_changes_to_status() {
    let server = Server::alone();
    let jobs = jobs(&server);
    jobs.create(job("e2e", false));
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"startTime": "2026-01-02T03:04:05Z", "active": 1}});
    jobs.patch("e2e/status", patch);
    let seen = jobs.get("e2e");
    assert_eq!(seen["metadata"]["annotations"]["patchedstatus"], "true");
    assert_eq!(seen["status"]["active"], 1);
    jobs.edit("e2e/status", |job| job["status"]["active"] = 2.into());
    let status = jobs.get("e2e/status")["status"].clone();
    assert_eq!(status["active"], 2);
    assert_eq!(status["startTime"], "2026-01-02T03:04:05Z");
}

/// Jobs, manage lifecycle
#[test]
fn jobs_manage_lifecycle() {
    let server = Server::alone();
    let everywhere = server.at("batch/v1", "jobs");
    let jobs = jobs(&server);
    jobs.create(job("e2e", true));
    jobs.strategic("e2e", &json!({"metadata": {"labels": {"patched": "true"}}}));
    assert_eq!(jobs.get("e2e")["metadata"]["labels"]["patched"], "true");
    jobs.edit("e2e", |job| job["metadata"]["annotations"] = json!({"updated": "true"}));
    assert_eq!(jobs.get("e2e")["metadata"]["annotations"]["updated"], "true");
    assert_eq!(everywhere.names("labelSelector=e2e-job%3De2e"), ["e2e"]);
    jobs.create(job("other", true));
    jobs.delete_collection("labelSelector=e2e-job%3De2e&propagationPolicy=Background");
    assert_eq!(everywhere.names(""), ["other"]);
}

fn budgets(server: &Server) -> Resource {
    server.at("policy/v1", "poddisruptionbudgets").within("default")
}

fn budget(name: &str, least: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"e2e": "budget"}},
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"foo": "bar"}}}})
}

/// PodDisruptionBudget: list and delete collection
#[test]
fn poddisruptionbudget_list_and_delete_collection() {
    let server = Server::alone();
    server.namespace("other");
    let everywhere = server.at("policy/v1", "poddisruptionbudgets");
    let (here, there) = (everywhere.within("default"), everywhere.within("other"));
    here.create(budget("one", json!(2)));
    here.create(budget("two", json!("50%")));
    there.create(budget("three", json!(1)));
    assert_eq!(everywhere.names("labelSelector=e2e%3Dbudget").len(), 3);
    assert_eq!(here.names("labelSelector=e2e%3Dbudget"), ["one", "two"]);
    here.delete_collection("labelSelector=e2e%3Dbudget");
    assert_eq!(everywhere.names(""), ["three"]);
}

/// PodDisruptionBudget: create, update, patch, and delete object
#[test]
fn poddisruptionbudget_create_update_patch_and_delete_object() {
    let server = Server::alone();
    let budgets = budgets(&server);
    budgets.create(budget("foo", json!("1%")));
    budgets.edit("foo", |budget| budget["spec"]["minAvailable"] = "2%".into());
    assert_eq!(budgets.get("foo")["spec"]["minAvailable"], "2%");
    budgets.strategic("foo", &json!({"spec": {"minAvailable": "3%"}}));
    assert_eq!(budgets.get("foo")["spec"]["minAvailable"], "3%");
    budgets.delete("foo");
    budgets.absent("foo");
}

/// PodDisruptionBudget: update and patch status
#[test]
fn poddisruptionbudget_update_and_patch_status() {
    let server = Server::alone();
    let budgets = budgets(&server);
    budgets.create(budget("foo", json!(1)));
    let time = "2026-01-02T03:04:05Z";
    budgets.edit("foo/status", |budget| {
        budget["status"]["disruptedPods"] = json!({"pod-1": time})
    });
    assert_eq!(
        budgets.get("foo/status")["status"]["disruptedPods"],
        json!({"pod-1": time})
    );
    budgets.patch("foo/status", json!({"status": {"disruptedPods": null}}));
    let seen = budgets.get("foo");
    assert!(
        seen["status"]["disruptedPods"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty),
        "{seen}"
    );
}

fn ready_pods(server: &Server, count: usize) -> Resource {
    let pods = server.at("v1", "pods").within("default");
    for number in 0..count {
        let name = format!("pod-{number}");
        pods.create(json!({"metadata": {"name": name, "labels": {"foo": "bar"}},
            "spec": {"nodeName": "played", "containers": [{"name": "c", "image": "i:1"}]}}));
        // The kubelet would say so.
        pods.patch(
            &format!("{name}/status"),
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
        );
    }
    pods
}

/// PodDisruptionBudget: Status updates
#[test]
fn poddisruptionbudget_status_updates() {
    let server = Server::control_plane();
    let budgets = budgets(&server);
    budgets.create(budget("foo", json!(1)));
    ready_pods(&server, 3);
    budgets.until("two disruptions are allowed", "foo", |budget| {
        budget["status"]["disruptionsAllowed"] == 2
    });
    let status = budgets.get("foo")["status"].clone();
    assert_eq!(status["expectedPods"], 3);
    assert_eq!(status["currentHealthy"], 3);
    assert_eq!(status["desiredHealthy"], 1);
}

/// PodDisruptionBudget: block an eviction until the PDB is updated to allow it
#[test]
fn poddisruptionbudget_block_an_eviction_until_the_pdb_is_updated_to_allow_it() {
    let server = Server::control_plane();
    let budgets = budgets(&server);
    let pods = ready_pods(&server, 3);
    budgets.create(budget("foo", json!(3)));
    budgets.until("the budget has counted", "foo", |budget| {
        budget["status"]["currentHealthy"] == 3
    });
    let evict = || {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "pod-0", "namespace": "default"}});
        server.post(&pods.path_of("pod-0/eviction"), &eviction)
    };
    let message = evict().refused(429, "TooManyRequests");
    assert!(message.contains("disruption budget"), "{message}");
    assert!(pods.get("pod-0")["metadata"]["deletionTimestamp"].is_null());
    budgets.patch("foo", json!({"spec": {"minAvailable": 2}}));
    budgets.until("one may go", "foo", |budget| {
        budget["status"]["disruptionsAllowed"] == 1
    });
    evict().ok();
    let answer = server.get(&pods.path_of("pod-0"));
    assert!(
        answer.status == 404 || answer.json()["metadata"]["deletionTimestamp"].is_string(),
        "{}",
        answer.text
    );
}
