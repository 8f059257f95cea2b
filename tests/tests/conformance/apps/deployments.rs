//! What the controllers do with Deployments, on a node that is played.

use serde_json::{Value, json};

use crate::client::{Resource, eventually};
use crate::hollow::{BROKEN, Hollow};
use crate::server::Server;

struct Cluster {
    _node: Hollow,
    server: Server,
}

impl Cluster {
    fn start() -> Self {
        let server = Server::control_plane();
        Self {
            _node: Hollow::start(&server),
            server,
        }
    }

    fn deployments(&self) -> Resource {
        self.server.at("apps/v1", "deployments").within("default")
    }

    fn replica_sets(&self) -> Resource {
        self.server.at("apps/v1", "replicasets").within("default")
    }

    fn pods(&self) -> Resource {
        self.server.at("v1", "pods").within("default")
    }

    /// Creates a Deployment of pods of the image `i:1`.
    fn deploy(&self, replicas: u32, spec: Value) {
        let mut object = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]}}}});
        for (key, value) in spec.as_object().expect("fields") {
            object["spec"][key] = value.clone();
        }
        self.deployments().create(object);
    }

    fn image(&self, image: &str) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        self.deployments().strategic("web", &patch);
    }

    /// Waits until all replicas are of the newest template and ready.
    fn complete(&self, replicas: u32) -> Value {
        self.deployments().until("the rollout is complete", "web", |web| {
            let status = &web["status"];
            status["observedGeneration"] == web["metadata"]["generation"]
                && ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
                    .iter()
                    .all(|field| status[field] == replicas)
        })
    }

    /// Image and wanted replicas of each ReplicaSet, by image.
    fn sizes(&self) -> Vec<(String, u64)> {
        let mut sizes: Vec<(String, u64)> = self
            .replica_sets()
            .items("")
            .iter()
            .map(|set| {
                let image = set["spec"]["template"]["spec"]["containers"][0]["image"]
                    .as_str()
                    .expect("an image");
                (image.to_owned(), set["spec"]["replicas"].as_u64().expect("replicas"))
            })
            .collect();
        sizes.sort();
        sizes
    }

    #[track_caller]
    fn settles(&self, what: &str, expected: &[(&str, u64)]) {
        let expected: Vec<(String, u64)> = expected.iter().map(|(image, n)| ((*image).to_owned(), *n)).collect();
        eventually(what, || {
            let sizes = self.sizes();
            if sizes == expected {
                Ok(())
            } else {
                Err(format!("{sizes:?} instead of {expected:?}"))
            }
        });
    }
}

fn image_of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().expect("an image")
}

/// Deployment Recreate
#[test]
fn deployment_recreate() {
    let cluster = Cluster::start();
    cluster.deploy(2, json!({"strategy": {"type": "Recreate"}}));
    cluster.complete(2);
    let pods = cluster.pods();
    let mut watch = pods.watch(&format!("resourceVersion={}", pods.revision()));
    cluster.image("i:2");
    let (mut old, mut new) = (2, 0);
    while new < 2 {
        let event = watch.next();
        match (event.kind.as_str(), image_of(&event.object)) {
            ("DELETED", "i:1") => old -= 1,
            ("ADDED", "i:2") => {
                assert_eq!(old, 0, "no new pod comes while an old one is there");
                new += 1;
            }
            _ => {}
        }
    }
    cluster.complete(2);
    assert_eq!(cluster.sizes(), [("i:1".to_owned(), 0), ("i:2".to_owned(), 2)]);
}

/// Deployment RollingUpdate
#[test]
fn deployment_rollingupdate() {
    let cluster = Cluster::start();
    cluster.deploy(
        3,
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
    );
    cluster.complete(3);
    let pods = cluster.pods();
    let mut watch = pods.watch(&format!("resourceVersion={}", pods.revision()));
    cluster.image("i:2");
    let (mut standing, mut replaced) = (3, 0);
    while replaced < 3 {
        let event = watch.next();
        match event.kind.as_str() {
            "ADDED" => standing += 1,
            "DELETED" => {
                assert_eq!(image_of(&event.object), "i:1");
                standing -= 1;
                replaced += 1;
            }
            _ => {}
        }
        assert!((3..=5).contains(&standing), "{standing} pods stand");
    }
    cluster.complete(3);
    assert_eq!(cluster.sizes(), [("i:1".to_owned(), 0), ("i:2".to_owned(), 3)]);
    assert!(pods.items("").iter().all(|pod| image_of(pod) == "i:2"));
}

/// Deployment RevisionHistoryLimit
#[test]
fn deployment_revisionhistorylimit() {
    let cluster = Cluster::start();
    cluster.deploy(1, json!({"revisionHistoryLimit": 0}));
    cluster.complete(1);
    cluster.image("i:2");
    cluster.settles("the old replica set is cleaned up", &[("i:2", 1)]);
}

/// Deployment Rollover
#[test]
fn deployment_rollover() {
    let cluster = Cluster::start();
    cluster.deploy(
        3,
        json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
    );
    cluster.complete(3);
    // The first rollout cannot finish, and is rolled over by the next.
    cluster.image(BROKEN);
    cluster.settles("the rollout is under way", &[(BROKEN, 1), ("i:1", 3)]);
    cluster.image("i:3");
    cluster.complete(3);
    cluster.settles(
        "only the last template's pods are left",
        &[(BROKEN, 0), ("i:1", 0), ("i:3", 3)],
    );
}

/// Deployment Proportional Scaling
#[test]
fn deployment_proportional_scaling() {
    let cluster = Cluster::start();
    cluster.deploy(
        10,
        json!({"strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}),
    );
    cluster.complete(10);
    cluster.image(BROKEN);
    // Two may be unavailable: eight old ones stay. Three may be surplus: five new ones come, none of which is ever ready.
    cluster.settles("the rollout is stuck", &[(BROKEN, 5), ("i:1", 8)]);
    cluster
        .deployments()
        .patch("web/scale", json!({"spec": {"replicas": 30}}));
    // 33 in all, of which each set gets its share of the twenty that are new: 8/13 and 5/13.
    cluster.settles("both sets have grown", &[(BROKEN, 13), ("i:1", 20)]);
}

/// Deployment, completes the scaling of a Deployment subresource
#[test]
fn deployment_completes_the_scaling_of_a_deployment_subresource() {
    let cluster = Cluster::start();
    let deployments = cluster.deployments();
    cluster.deploy(1, json!({}));
    cluster.complete(1);
    assert!(
        cluster
            .pods()
            .items("")
            .iter()
            .all(|pod| pod["status"]["phase"] == "Running")
    );
    let scale = deployments.get("web/scale");
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&"Scale".into(), &"autoscaling/v1".into())
    );
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["replicas"]),
        (&1.into(), &1.into())
    );
    deployments.edit("web/scale", |scale| scale["spec"]["replicas"] = 2.into());
    assert_eq!(deployments.get("web")["spec"]["replicas"], 2);
    deployments.patch("web/scale", json!({"spec": {"replicas": 4}}));
    assert_eq!(deployments.get("web")["spec"]["replicas"], 4);
    cluster.complete(4);
    assert_eq!(deployments.get("web/scale")["status"]["replicas"], 4);
}

/// Deployment, completes the lifecycle of a Deployment
#[test]
fn deployment_completes_the_lifecycle_of_a_deployment() {
    let cluster = Cluster::start();
    let deployments = cluster.deployments();
    let mut watch = deployments.watch(&format!("resourceVersion={}", deployments.revision()));
    cluster.deploy(1, json!({}));
    watch.expect("ADDED", "web");
    cluster.complete(1);
    let patch = json!({"metadata": {"labels": {"patched": "true"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    deployments.strategic("web", &patch);
    assert_eq!(cluster.complete(2)["metadata"]["labels"]["patched"], "true");
    deployments.edit("web", |web| web["spec"]["replicas"] = 3.into());
    cluster.complete(3);
    let status = deployments.get("web/status");
    assert_eq!(status["status"]["availableReplicas"], 3);
    let condition = json!({"type": "E2E", "status": "True", "reason": "Said", "message": "Set from e2e test"});
    let mut conditions = status["status"]["conditions"].as_array().cloned().expect("conditions");
    conditions.push(condition);
    deployments.patch("web/status", json!({"status": {"conditions": conditions}}));
    let seen = deployments.get("web/status")["status"]["conditions"].clone();
    assert!(
        seen.as_array().expect("conditions").iter().any(|c| c["type"] == "E2E"),
        "{seen}"
    );
    deployments.delete("web");
    deployments.until_absent("web");
    watch.until("DELETED", "web");
}
