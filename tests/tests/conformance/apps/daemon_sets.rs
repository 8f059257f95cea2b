//! What the controllers do with DaemonSets, and the revisions that they keep.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::hollow::{self, BROKEN, Hollow};
use crate::server::Server;

const NODES: [&str; 2] = ["n1", "n2"];
const IMAGE: &str = "i:1";

fn resources(server: &Server) -> [Resource; 3] {
    [
        ("apps/v1", "daemonsets"),
        ("apps/v1", "controllerrevisions"),
        ("v1", "pods"),
    ]
    .map(|(version, plural)| server.at(version, plural).within("default"))
}

fn daemon_set() -> Value {
    json!({"metadata": {"name": "log"}, "spec": {
        "selector": {"matchLabels": {"app": "log"}},
        "template": {"metadata": {"labels": {"app": "log"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": IMAGE}]}}}})
}

fn image_of(object: &Value) -> &str {
    object["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// Waits until each of these nodes has one pod of this image that runs, and there is no other pod. Returns them by node.
#[track_caller]
fn one_on_each(pods: &Resource, nodes: &[&str], image: &str) -> Vec<Value> {
    eventually("one running pod on each node", || {
        let mut found = pods.items("labelSelector=app%3Dlog");
        found.sort_by_key(|pod| pod["spec"]["nodeName"].to_string());
        let on: Vec<&str> = found
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        let fine = |pod: &Value| {
            pod["status"]["phase"] == "Running"
                && pod["metadata"]["deletionTimestamp"].is_null()
                && image_of(pod) == image
        };
        if on == nodes && found.len() == nodes.len() && found.iter().all(fine) {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    })
}

/// DaemonSet-Creation
#[test]
fn daemonset_creation() {
    let server = Server::control_plane();
    let _nodes = Hollow::start_all(&server, &NODES);
    let [sets, _, pods] = resources(&server);
    sets.create(daemon_set());
    let first = one_on_each(&pods, &NODES, IMAGE);
    pods.delete(first[0]["metadata"]["name"].as_str().expect("a name"));
    let second = eventually("another pod on the first node", || {
        let found = one_on_each(&pods, &NODES, IMAGE);
        if found[0]["metadata"]["uid"] == first[0]["metadata"]["uid"] {
            return Err("the old one".to_owned());
        }
        Ok(found)
    });
    assert_eq!(
        second[1]["metadata"]["uid"], first[1]["metadata"]["uid"],
        "the other stays"
    );
    let status = sets.until("the status tells of both", "log", |set| {
        set["status"]["numberAvailable"] == 2
    });
    assert_eq!(status["status"]["desiredNumberScheduled"], 2);
    assert_eq!(status["status"]["updatedNumberScheduled"], 2);
}

/// DaemonSet-NodeSelection
#[test]
fn daemonset_node_selection() {
    let server = Server::control_plane();
    let _nodes = Hollow::start_all(&server, &NODES);
    let [sets, _, pods] = resources(&server);
    let nodes = server.at("v1", "nodes");
    let mut set = daemon_set();
    set["spec"]["template"]["spec"]["nodeSelector"] = json!({"color": "blue"});
    sets.create(set);
    sets.until("it was looked at", "log", |set| {
        set["status"]["observedGeneration"] == 1
    });
    one_on_each(&pods, &[], IMAGE);
    nodes.patch("n1", json!({"metadata": {"labels": {"color": "blue"}}}));
    one_on_each(&pods, &["n1"], IMAGE);
    nodes.patch("n1", json!({"metadata": {"labels": {"color": "green"}}}));
    one_on_each(&pods, &[], IMAGE);
    sets.patch(
        "log",
        json!({"spec": {"template": {"spec": {"nodeSelector": {"color": "green"}}}}}),
    );
    one_on_each(&pods, &["n1"], IMAGE);
    // A node that joins is one more; an affinity does the same as a selector.
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "color", "operator": "In", "values": ["green", "red"]}]}]}}});
    let spec = json!({"nodeSelector": null, "affinity": affinity});
    sets.patch("log", json!({"spec": {"template": {"spec": spec}}}));
    nodes.patch("n2", json!({"metadata": {"labels": {"color": "red"}}}));
    one_on_each(&pods, &NODES, IMAGE);
}

/// DaemonSet-FailedPodCreation
#[test]
fn daemonset_failed_pod_creation() {
    let server = Server::control_plane();
    let _nodes = Hollow::start_all(&server, &NODES);
    let [sets, _, pods] = resources(&server);
    sets.create(daemon_set());
    let failed = one_on_each(&pods, &NODES, IMAGE).swap_remove(0);
    let name = failed["metadata"]["name"].as_str().expect("a name");
    pods.patch(&format!("{name}/status"), json!({"status": {"phase": "Failed"}}));
    pods.until_absent(name);
    one_on_each(&pods, &NODES, IMAGE);
    let events = server.at("v1", "events").within("default");
    eventually("the failure is told", || {
        let reasons: Vec<_> = events.items("").iter().map(|event| event["reason"].clone()).collect();
        if reasons.contains(&json!("FailedDaemonPod")) {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    });
}

/// DaemonSet-RollingUpdate
#[test]
fn daemonset_rolling_update() {
    let server = Server::control_plane();
    let _nodes = Hollow::start_all(&server, &NODES);
    let [sets, revisions, pods] = resources(&server);
    sets.create(daemon_set());
    one_on_each(&pods, &NODES, IMAGE);
    let first = revisions.items("labelSelector=app%3Dlog");
    assert_eq!((first.len(), &first[0]["revision"]), (1, &json!(1)));
    let mut watch = pods.watch(&format!("resourceVersion={}", pods.revision()));
    sets.edit("log", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2".into()
    });
    let (mut standing, mut replaced) = (2, 0);
    while replaced < 2 {
        let event = watch.next();
        match event.kind.as_str() {
            "ADDED" => standing += 1,
            "DELETED" => {
                assert_eq!(standing, 2, "one pod goes at a time");
                (standing, replaced) = (standing - 1, replaced + 1);
            }
            _ => {}
        }
    }
    let updated = one_on_each(&pods, &NODES, "i:2");
    let all = revisions.items("labelSelector=app%3Dlog");
    assert_eq!(all.len(), 2);
    let newest = all.iter().find(|one| one["revision"] == 2).expect("a second revision");
    for pod in &updated {
        let hash = |object: &Value| object["metadata"]["labels"]["controller-revision-hash"].clone();
        assert_eq!(hash(pod), hash(newest));
    }
}

/// DaemonSet-Rollback
#[test]
fn daemonset_rollback() {
    let server = Server::control_plane();
    let _nodes = Hollow::start_all(&server, &NODES);
    let [sets, _, pods] = resources(&server);
    let kubectl = server.kubectl();
    sets.create(daemon_set());
    let before = one_on_each(&pods, &NODES, IMAGE);
    sets.edit("log", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = BROKEN.into()
    });
    let untouched = eventually("a new pod that does not run", || {
        let found = pods.items("labelSelector=app%3Dlog");
        let broken = found.iter().filter(|pod| image_of(pod) == BROKEN).count();
        let old = found
            .iter()
            .find(|pod| image_of(pod) == IMAGE && pod["metadata"]["deletionTimestamp"].is_null());
        match old {
            Some(old) if broken == 1 && found.len() == 2 => Ok(old["metadata"]["uid"].clone()),
            _ => Err(format!("{found:?}")),
        }
    });
    kubectl.run(&["rollout", "undo", "daemonset/log"]);
    let after = one_on_each(&pods, &NODES, IMAGE);
    assert!(before.iter().any(|pod| pod["metadata"]["uid"] == untouched));
    assert!(
        after.iter().any(|pod| pod["metadata"]["uid"] == untouched),
        "what ran all the time was not restarted: {after:?}"
    );
    kubectl.run(&["rollout", "status", "daemonset/log", "--timeout=30s"]);
}

/// ControllerRevision, resource lifecycle
#[test]
fn controllerrevision_resource_lifecycle() {
    let server = Server::control_plane();
    let [sets, revisions, _] = resources(&server);
    let set = sets.create(daemon_set());
    let found = |count: usize| {
        eventually("so many revisions", || {
            let found = revisions.items("labelSelector=app%3Dlog");
            if found.len() == count {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
    };
    let first = found(1).swap_remove(0);
    let name = first["metadata"]["name"].as_str().expect("a name");
    revisions.patch(name, json!({"metadata": {"labels": {"patched": "yes"}}}));
    assert_eq!(revisions.names("labelSelector=patched%3Dyes"), [name]);
    let mut data = first["data"].clone();
    data["spec"]["template"]["spec"]["containers"][0]["image"] = "i:0".into();
    revisions.create(json!({"metadata": {"name": "log-by-hand", "labels": {"app": "log"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "log", "uid": set["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true}]}, "data": data, "revision": 2}));
    found(2);
    // What the set says now is the newest again.
    revisions.until("the set's own revision is the last", name, |one| one["revision"] == 3);
    revisions.delete("log-by-hand");
    found(1);
    revisions.edit(name, |one| one["metadata"]["labels"]["updated"] = "yes".into());
    assert_eq!(revisions.names("labelSelector=updated%3Dyes"), [name]);
    sets.patch(
        "log",
        json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3}}}}),
    );
    found(2);
    revisions.delete_collection("labelSelector=updated%3Dyes");
    assert_eq!(found(1)[0]["revision"], 4);
}

// The scheduler binds a daemon's pod to a node that nobody else may use.
#[test]
fn a_daemon_comes_to_a_cordoned_node() {
    let server = Server::control_plane();
    let [sets, _, pods] = resources(&server);
    hollow::node(&server, "n1", &json!({}), 4);
    server
        .at("v1", "nodes")
        .patch("n1", json!({"spec": {"unschedulable": true}}));
    sets.create(daemon_set());
    eventually("a pod is bound", || {
        let found = pods.items("labelSelector=app%3Dlog");
        if found.len() == 1 && found[0]["spec"]["nodeName"] == "n1" {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}
