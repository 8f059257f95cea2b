//! What the controllers do with ReplicaSets, and the scales of other kinds.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::hollow::Hollow;
use crate::server::Server;

fn replica_set(replicas: u32) -> Value {
    json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]}}}})
}

fn sets(server: &Server) -> Resource {
    server.at("apps/v1", "replicasets").within("default")
}

fn ready(sets: &Resource, replicas: u32) {
    sets.until("the replicas are ready", "web", |web| {
        web["status"]["readyReplicas"] == replicas
    });
}

/// ReplicaSet, is created, Replaced and Patched
#[test]
fn replicaset_is_created_replaced_and_patched() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let (sets, pods) = (sets(&server), server.at("v1", "pods").within("default"));
    sets.create(replica_set(1));
    ready(&sets, 1);
    assert_eq!(pods.items("labelSelector=app%3Dweb")[0]["status"]["phase"], "Running");
    sets.edit("web", |web| web["spec"]["replicas"] = 2.into());
    ready(&sets, 2);
    assert_eq!(sets.get("web/scale")["spec"]["replicas"], 2);
    let patch = json!({"metadata": {"labels": {"patched": "true"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    sets.strategic("web", &patch);
    let seen = sets.get("web");
    assert_eq!(seen["metadata"]["labels"]["patched"], "true");
    assert_eq!(seen["spec"]["template"]["spec"]["containers"][0]["image"], "i:2");
    ready(&sets, 3);
}

/// ReplicaSet, completes the scaling of a ReplicaSet subresource
#[test]
fn replicaset_completes_the_scaling_of_a_replicaset_subresource() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let sets = sets(&server);
    sets.create(replica_set(1));
    ready(&sets, 1);
    assert_eq!(sets.get("web/scale")["spec"]["replicas"], 1);
    sets.edit("web/scale", |scale| scale["spec"]["replicas"] = 2.into());
    assert_eq!(sets.get("web")["spec"]["replicas"], 2);
    sets.patch("web/scale", json!({"spec": {"replicas": 4}}));
    assert_eq!(sets.get("web")["spec"]["replicas"], 4);
    ready(&sets, 4);
}

/// Replica Set, adopt matching pods and release non matching pods
#[test]
fn replica_set_adopt_matching_pods_and_release_non_matching_pods() {
    let server = Server::control_plane();
    let _node = Hollow::start(&server);
    let (sets, pods) = (sets(&server), server.at("v1", "pods").within("default"));
    pods.create(json!({"metadata": {"name": "orphan", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}}));
    let set = sets.create(replica_set(1));
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"];
    let adopted = pods.until("the pod is adopted", "orphan", owned);
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["controller"], true);
    assert_eq!(pods.names(""), ["orphan"], "the adopted pod is all that is wanted");
    pods.patch("orphan", json!({"metadata": {"labels": {"app": "released"}}}));
    pods.until("the pod is released", "orphan", |pod| {
        pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    });
    eventually("another pod comes in its place", || {
        let found = pods.items("labelSelector=app%3Dweb");
        if found.len() == 1 && owned(&found[0]) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

/// StatefulSet resource Replica scaling
#[test]
fn statefulset_resource_replica_scaling() {
    let server = Server::alone();
    let sets = server.at("apps/v1", "statefulsets").within("default");
    let mut set = replica_set(1);
    set["spec"]["serviceName"] = "web".into();
    sets.create(set);
    assert_eq!(sets.get("web/scale")["spec"]["replicas"], 1);
    sets.edit("web/scale", |scale| scale["spec"]["replicas"] = 2.into());
    assert_eq!(sets.get("web/scale")["spec"]["replicas"], 2);
    assert_eq!(sets.get("web")["spec"]["replicas"], 2);
}

fn controllers(server: &Server) -> Resource {
    server.at("v1", "replicationcontrollers").within("default")
}

fn controller(replicas: u32) -> Value {
    let mut object = replica_set(replicas);
    object["spec"]["selector"] = json!({"app": "web"});
    object
}

/// Replication Controller, get and update ReplicationController scale
#[test]
fn replication_controller_get_and_update_replicationcontroller_scale() {
    let server = Server::alone();
    let controllers = controllers(&server);
    controllers.create(controller(1));
    let scale = controllers.get("web/scale");
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&"Scale".into(), &"autoscaling/v1".into())
    );
    assert_eq!(scale["spec"]["replicas"], 1);
    controllers.edit("web/scale", |scale| scale["spec"]["replicas"] = 2.into());
    assert_eq!(controllers.get("web/scale")["spec"]["replicas"], 2);
    assert_eq!(controllers.get("web")["spec"]["replicas"], 2);
}

/// Replication Controller, lifecycle
#[test]
fn replication_controller_lifecycle() {
    let server = Server::alone();
    let everywhere = server.at("v1", "replicationcontrollers");
    let controllers = controllers(&server);
    let mut watch = controllers.watch(&format!("resourceVersion={}", controllers.revision()));
    controllers.create(controller(1));
    watch.expect("ADDED", "web");
    assert_eq!(controllers.get("web")["spec"]["replicas"], 1);
    controllers.strategic("web", &json!({"metadata": {"labels": {"patched": "true"}}}));
    assert_eq!(watch.expect("MODIFIED", "web")["metadata"]["labels"]["patched"], "true");
    assert_eq!(everywhere.names("labelSelector=patched%3Dtrue"), ["web"]);
    controllers.patch(
        "web/status",
        json!({"status": {"readyReplicas": 0, "availableReplicas": 0, "replicas": 1}}),
    );
    assert_eq!(controllers.get("web/status")["status"]["replicas"], 1);
    controllers.delete_collection("labelSelector=patched%3Dtrue");
    controllers.absent("web");
    watch.until("DELETED", "web");
}
