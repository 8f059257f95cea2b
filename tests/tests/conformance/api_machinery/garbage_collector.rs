//! Owners and what they own.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::server::Server;

fn resources(server: &Server) -> [Resource; 3] {
    [("apps/v1", "deployments"), ("apps/v1", "replicasets"), ("v1", "pods")]
        .map(|(version, plural)| server.at(version, plural).within("default"))
}

/// A Deployment of two replicas whose ReplicaSet and pods are there. No node runs the pods, which is of no concern here.
fn deployed(server: &Server) -> String {
    let [deployments, replica_sets, pods] = resources(server);
    deployments.create(json!({
        "metadata": {"name": "simpletest"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "gc-test"}},
            "template": {"metadata": {"labels": {"app": "gc-test"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:1"}]}}},
    }));
    eventually("two pods", || {
        let found = pods.names("").len();
        if found == 2 { Ok(()) } else { Err(format!("{found}")) }
    });
    replica_sets.names("").pop().expect("a replica set")
}

fn owners(object: &Value) -> usize {
    object["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len)
}

/// Garbage Collector, delete deployment,  propagation policy background
#[test]
fn garbage_collector_delete_deployment_propagation_policy_background() {
    let server = Server::control_plane();
    let [deployments, replica_sets, pods] = resources(&server);
    let replica_set = deployed(&server);
    deployments.delete_with("simpletest", &json!({"propagationPolicy": "Background"}));
    deployments.absent("simpletest");
    replica_sets.until_absent(&replica_set);
    eventually("no pods", || match pods.names("").as_slice() {
        [] => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// Garbage Collector, delete deployment, propagation policy orphan
#[test]
fn garbage_collector_delete_deployment_propagation_policy_orphan() {
    let server = Server::control_plane();
    let [deployments, replica_sets, pods] = resources(&server);
    let replica_set = deployed(&server);
    let before = pods.names("");
    deployments.delete_with("simpletest", &json!({"propagationPolicy": "Orphan"}));
    deployments.until_absent("simpletest");
    let orphan = replica_sets.get(&replica_set);
    assert_eq!(owners(&orphan), 0, "{orphan}");
    // Whoever deleted wrongly would have a while to do so.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(replica_sets.get(&replica_set)["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(pods.names(""), before);
}

/// Garbage Collector, dependency cycle
#[test]
fn garbage_collector_dependency_cycle() {
    let server = Server::control_plane();
    let pods = server.at("v1", "pods").within("default");
    let names = ["pod1", "pod2", "pod3"];
    let uids = names.map(|name| {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        pods.create(pod)["metadata"]["uid"].clone()
    });
    for (pod, owner) in [(0, 2), (1, 0), (2, 1)] {
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": names[owner], "uid": uids[owner],
            "controller": true, "blockOwnerDeletion": true});
        let patched = pods.patch(names[pod], json!({"metadata": {"ownerReferences": [reference]}}));
        assert_eq!(owners(&patched), 1);
    }
    pods.delete_with("pod1", &json!({"propagationPolicy": "Foreground"}));
    for name in names {
        pods.until_absent(name);
    }
}

/// The pods of a ReplicationController, all there.
fn replicated(server: &Server, name: &str, replicas: usize) -> (Value, [Resource; 2]) {
    let [controllers, pods] =
        ["replicationcontrollers", "pods"].map(|plural| server.at("v1", plural).within("default"));
    let made = controllers.create(json!({"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"app": "gc-test"},
        "template": {"metadata": {"labels": {"app": "gc-test"}},
            "spec": {"containers": [{"name": "nginx", "image": "nginx:1"}]}}}}));
    eventually("all pods", || match pods.names("").len() {
        found if found == replicas => Ok(()),
        found => Err(found.to_string()),
    });
    (made, [controllers, pods])
}

/// Garbage Collector, delete replication controller, propagation policy background
#[test]
fn garbage_collector_delete_replication_controller_propagation_policy_background() {
    let server = Server::control_plane();
    let (_, [controllers, pods]) = replicated(&server, "simpletest", 2);
    controllers.delete_with("simpletest", &json!({"propagationPolicy": "Background"}));
    controllers.absent("simpletest");
    eventually("no pods", || match pods.names("").as_slice() {
        [] => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// Garbage Collector, delete replication controller, after owned pods
#[test]
fn garbage_collector_delete_replication_controller_after_owned_pods() {
    let server = Server::control_plane();
    let (_, [controllers, pods]) = replicated(&server, "simpletest", 10);
    let mut watch = controllers.watch(&format!("resourceVersion={}", controllers.revision()));
    controllers.delete_with("simpletest", &json!({"propagationPolicy": "Foreground"}));
    while watch.next().kind != "DELETED" {}
    assert_eq!(pods.names(""), Vec::<String>::new(), "the owner goes last");
}

/// Garbage Collector, delete replication controller, propagation policy orphan
#[test]
fn garbage_collector_delete_replication_controller_propagation_policy_orphan() {
    let server = Server::control_plane();
    let (_, [controllers, pods]) = replicated(&server, "simpletest", 10);
    let before = pods.names("");
    controllers.delete_with("simpletest", &json!({"propagationPolicy": "Orphan"}));
    controllers.until_absent("simpletest");
    // Whoever deleted wrongly would have a while to do so.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let after = pods.items("");
    assert!(
        after
            .iter()
            .all(|pod| owners(pod) == 0 && pod["metadata"]["deletionTimestamp"].is_null())
    );
    assert_eq!(pods.names(""), before);
}

/// Garbage Collector, multiple owners
#[test]
fn garbage_collector_multiple_owners() {
    let server = Server::control_plane();
    let (_, [controllers, pods]) = replicated(&server, "to-be-deleted", 10);
    let mut stays = controllers.get("to-be-deleted");
    stays["metadata"] = json!({"name": "to-stay"});
    stays["spec"]["replicas"] = 0.into();
    stays["spec"]["selector"] = json!({"app": "other"});
    stays["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let stays = controllers.create(stays);
    let shared: Vec<String> = pods.names("").into_iter().take(5).collect();
    for name in &shared {
        pods.edit(name, |pod| {
            let owner = json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "to-stay",
                "uid": stays["metadata"]["uid"]});
            let owners = pod["metadata"]["ownerReferences"].as_array_mut().expect("an owner");
            if owners.len() == 1 {
                owners.push(owner);
            }
        });
    }
    controllers.delete_with("to-be-deleted", &json!({"propagationPolicy": "Foreground"}));
    controllers.until_absent("to-be-deleted");
    let left = pods.items("");
    assert_eq!(pods.names(""), shared);
    assert!(
        left.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_null()),
        "{left:?}"
    );
}
