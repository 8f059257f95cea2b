//! What the controllers do with StatefulSets.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::hollow::{Hollow, say_ready};
use crate::server::Server;

/// A control plane, a node that plays along, and a StatefulSet `web`.
struct Cluster {
    server: Server,
    _node: Hollow,
}

impl Cluster {
    fn start(replicas: u32, spec: Value) -> Self {
        let server = Server::control_plane();
        let node = Hollow::start(&server);
        let cluster = Self { server, _node: node };
        let mut set = json!({"metadata": {"name": "web"}, "spec": {
            "replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]}}}});
        let given = spec.as_object().cloned().unwrap_or_default();
        set["spec"].as_object_mut().expect("a spec").extend(given);
        cluster.sets().create(set);
        cluster
    }

    fn sets(&self) -> Resource {
        self.server.at("apps/v1", "statefulsets").within("default")
    }

    fn pods(&self) -> Resource {
        self.server.at("v1", "pods").within("default")
    }

    fn scale(&self, replicas: u32) {
        self.sets().patch("web/scale", json!({"spec": {"replicas": replicas}}));
    }

    fn image(&self, image: &str) {
        self.sets().edit("web", |set| {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
        });
    }

    fn partition(&self, at: u32) {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": at}});
        self.sets().patch("web", json!({"spec": {"updateStrategy": strategy}}));
    }

    fn ready(&self, replicas: u32) -> Value {
        self.sets().until("the replicas are ready", "web", |set| {
            let status = &set["status"];
            let count = |field: &str| status[field].as_u64().unwrap_or(0);
            status["observedGeneration"] == set["metadata"]["generation"]
                && count("readyReplicas") == u64::from(replicas)
                && count("replicas") == u64::from(replicas)
        })
    }

    /// The images of the pods, by ordinal.
    fn images(&self) -> Vec<String> {
        let pods = self.pods().items("labelSelector=app%3Dweb");
        let image = |pod: &Value| {
            pod["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        pods.iter().map(image).collect()
    }

    #[track_caller]
    fn settles(&self, what: &str, images: &[&str]) {
        eventually(what, || {
            let found = self.images();
            let set = self.sets().get("web");
            let ready = set["status"]["readyReplicas"].as_u64().unwrap_or(0);
            if found == images && ready == images.len() as u64 {
                Ok(())
            } else {
                Err(format!("{found:?}, {ready} ready, instead of {images:?}"))
            }
        });
    }

    /// Says of all pods that they are not ready, and waits until the controller knows.
    fn break_all(&self, names: &[&str]) {
        for name in names {
            say_ready(&self.pods(), name, false);
        }
        self.sets().until("the controller knows", "web", |set| {
            set["status"]["readyReplicas"].as_u64().unwrap_or(0) == 0
        });
    }
}

/// Follows pods until so many have been added or deleted; returns their names in order.
fn follow(pods: &Resource, from: &str, kind: &str, count: usize) -> Vec<String> {
    let mut watch = pods.watch(&format!("resourceVersion={from}"));
    let mut names = Vec::new();
    while names.len() < count {
        let event = watch.next();
        if event.kind == kind {
            names.push(event.object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    names
}

/// StatefulSet, Scaling
#[test]
fn statefulset_scaling() {
    let cluster = Cluster::start(1, json!({}));
    let pods = cluster.pods();
    cluster.ready(1);
    let from = pods.revision();
    cluster.break_all(&["web-0"]);
    cluster.scale(3);
    // Whoever does not wait has a while to show it.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(pods.names(""), ["web-0"], "nothing comes after a pod that is not ready");
    say_ready(&pods, "web-0", true);
    cluster.ready(3);
    assert_eq!(follow(&pods, &from, "ADDED", 2), ["web-1", "web-2"]);
    let all = ["web-0", "web-1", "web-2"];
    cluster.break_all(&all);
    let from = pods.revision();
    cluster.scale(0);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(pods.names(""), all, "nothing goes before pods that are not ready");
    for name in all {
        say_ready(&pods, name, true);
    }
    cluster.ready(0);
    assert_eq!(follow(&pods, &from, "DELETED", 3), ["web-2", "web-1", "web-0"]);
}

/// StatefulSet, Burst Scaling
#[test]
fn statefulset_burst_scaling() {
    let cluster = Cluster::start(1, json!({"podManagementPolicy": "Parallel"}));
    let pods = cluster.pods();
    cluster.ready(1);
    cluster.break_all(&["web-0"]);
    cluster.scale(3);
    eventually("all come although one is not ready", || match pods.names("") {
        names if names == ["web-0", "web-1", "web-2"] => Ok(()),
        names => Err(format!("{names:?}")),
    });
    say_ready(&pods, "web-0", true);
    cluster.ready(3);
    cluster.break_all(&["web-0", "web-1", "web-2"]);
    cluster.scale(0);
    eventually("all go although none is ready", || match pods.names("").as_slice() {
        [] => Ok(()),
        names => Err(format!("{names:?}")),
    });
}

/// StatefulSet, Recreate Failed Pod
#[test]
fn statefulset_recreate_failed_pod() {
    let cluster = Cluster::start(1, json!({}));
    let pods = cluster.pods();
    cluster.ready(1);
    let before = pods.get("web-0");
    pods.patch(
        "web-0/status",
        json!({"status": {"phase": "Failed", "reason": "Evicted"}}),
    );
    let uid = &before["metadata"]["uid"];
    eventually("another pod of the same name", || match pods.items("").as_slice() {
        [pod] if pod["metadata"]["uid"] != *uid && pod["metadata"]["name"] == "web-0" => Ok(()),
        found => Err(format!("{found:?}")),
    });
    cluster.ready(1);
}

/// StatefulSet, Rolling Update
#[test]
fn statefulset_rolling_update() {
    let cluster = Cluster::start(3, json!({}));
    let pods = cluster.pods();
    let first = cluster.ready(3)["status"].clone();
    assert_eq!(first["currentRevision"], first["updateRevision"]);
    let revision = |object: &Value| object["metadata"]["labels"]["controller-revision-hash"].clone();
    assert!(
        pods.items("")
            .iter()
            .all(|pod| revision(pod) == first["currentRevision"])
    );
    let from = pods.revision();
    let mut told = cluster.sets().watch(&format!("resourceVersion={from}"));
    cluster.image("i:2");
    loop {
        let status = told.next().object["status"].clone();
        if status["currentRevision"] == first["currentRevision"] && status["updateRevision"] != first["updateRevision"]
        {
            break;
        }
    }
    assert_eq!(follow(&pods, &from, "DELETED", 3), ["web-2", "web-1", "web-0"]);
    cluster.settles("all pods are new", &["i:2", "i:2", "i:2"]);
    let second = cluster.sets().until("the update is over", "web", |set| {
        set["status"]["currentRevision"] == set["status"]["updateRevision"] && set["status"]["updatedReplicas"] == 3
    });
    assert_ne!(second["status"]["currentRevision"], first["currentRevision"]);
    cluster.image("i:1");
    cluster.settles("all pods are as before", &["i:1", "i:1", "i:1"]);
    cluster.sets().until("the first revision is back", "web", |set| {
        set["status"]["currentRevision"] == first["currentRevision"]
    });
    let revisions = cluster.server.at("apps/v1", "controllerrevisions").within("default");
    assert_eq!(revisions.names("").len(), 2, "a rollback is no new revision");
}

/// StatefulSet, Rolling Update with Partition
#[test]
fn statefulset_rolling_update_with_partition() {
    let cluster = Cluster::start(
        3,
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}),
    );
    let pods = cluster.pods();
    cluster.ready(3);
    let uids = || -> Vec<Value> {
        pods.items("")
            .iter()
            .map(|pod| pod["metadata"]["uid"].clone())
            .collect()
    };
    let before = uids();
    cluster.image("i:2");
    cluster.sets().until("the update is seen", "web", |set| {
        set["status"]["currentRevision"] != set["status"]["updateRevision"]
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(uids(), before, "nothing is beyond the partition");
    cluster.partition(2);
    cluster.settles("a canary", &["i:1", "i:1", "i:2"]);
    for name in ["web-0", "web-2"] {
        let old = pods.get(name)["metadata"]["uid"].clone();
        pods.delete(name);
        eventually("the pod comes back", || match pods.items("") {
            found if found.len() == 3 && found.iter().all(|pod| pod["metadata"]["uid"] != old) => Ok(()),
            found => Err(format!("{found:?}")),
        });
        cluster.settles("each at its revision", &["i:1", "i:1", "i:2"]);
    }
    cluster.partition(1);
    cluster.settles("one more", &["i:1", "i:2", "i:2"]);
    cluster.partition(0);
    cluster.settles("all of them", &["i:2", "i:2", "i:2"]);
    cluster.sets().until("the update is over", "web", |set| {
        set["status"]["currentRevision"] == set["status"]["updateRevision"]
    });
}
