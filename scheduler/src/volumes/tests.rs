use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::decide::decide;
use crate::plugins::choose_volumes;
use crate::snapshot::{NodeInfo, Snapshot};

fn typed<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// Two nodes, `n1` in zone `a` and `n2` in zone `b`, and what is there of storage.
#[derive(Default)]
struct World(Snapshot);

fn world() -> World {
    let mut world = World::default();
    for (name, zone) in [("n1", "a"), ("n2", "b")] {
        let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone});
        let mut info = NodeInfo::default();
        info.set_node(typed(json!({
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "9"}}})));
        world.0.nodes.insert(name.to_owned(), Arc::new(info));
    }
    world.class("late", "timonel.dev/local-path", "WaitForFirstConsumer", json!(null))
}

impl World {
    fn class(mut self, name: &str, provisioner: &str, mode: &str, topologies: Value) -> Self {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, "allowedTopologies": topologies});
        self.0.storage.classes.insert(ObjectKey::cluster(name), typed(class));
        self
    }

    fn claim(mut self, name: &str, class: &str, more: Value) -> Self {
        let mut claim = json!({
            "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}"), "resourceVersion": "5"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "2Gi"}}}});
        json_merge(&mut claim, &more);
        self.0.storage.claims.insert(ObjectKey::new("demo", name), typed(claim));
        self
    }

    fn bound(self, name: &str, volume: &str) -> Self {
        let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": volume}});
        self.claim(name, "late", bound)
    }

    fn volume(mut self, name: &str, size: &str, node: Option<&str>, more: Value) -> Self {
        let mut volume = json!({
            "metadata": {"name": name, "resourceVersion": "5"}, "status": {"phase": "Available"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late", "capacity": {"storage": size}}});
        if let Some(node) = node {
            volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}});
        }
        json_merge(&mut volume, &more);
        self.0.storage.volumes.insert(ObjectKey::cluster(name), typed(volume));
        self
    }

    fn csi_node(mut self, name: &str, limit: i32) -> Self {
        let node = json!({"metadata": {"name": name}, "spec": {"drivers": [{"name": "csi", "nodeID": name, "allocatable": {"count": limit}}]}});
        self.0.storage.csi_nodes.insert(ObjectKey::cluster(name), typed(node));
        self
    }

    fn running(mut self, node: &str, pod: PodInfo) -> Self {
        Arc::make_mut(self.0.nodes.get_mut(node).unwrap()).add_pod(Arc::new(pod));
        self
    }
}

fn json_merge(base: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        match (base[key].is_object(), value.is_object()) {
            (true, true) => json_merge(&mut base[key], value),
            _ => base[key] = value.clone(),
        }
    }
}

fn pod_with(name: &str, volumes: Value) -> PodInfo {
    let pod = json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}")},
        "spec": {"containers": [{"name": "c", "image": "demo:1.0"}], "volumes": volumes}});
    PodInfo::new(typed(pod), None)
}

fn pod(claims: &[&str]) -> PodInfo {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    pod_with("p", volumes.into())
}

/// The node and what is chosen there, or why there is none.
#[track_caller]
fn check(pod: &PodInfo, world: &World, expected: Expect) {
    let decision = decide(pod, &world.0, 0);
    let Some(node) = &decision.node else {
        return expected.assert_eq(&decision.message());
    };
    let name = |meta: &kube::core::ObjectMeta| meta.name.clone().unwrap_or_default();
    let mut said = vec![node.clone()];
    if let Some(choice) = choose_volumes(pod, &world.0, node) {
        let bindings = choice.bindings.iter();
        said.extend(
            bindings.map(|(claim, volume)| format!("{} gets {}", name(&claim.metadata), name(&volume.metadata))),
        );
        said.extend(
            choice
                .provisions
                .iter()
                .map(|claim| format!("{} is made", name(&claim.metadata))),
        );
    }
    expected.assert_eq(&said.join(", "));
}

#[test]
fn what_is_wrong_with_a_claim_is_said_of_the_pod_and_not_of_nodes() {
    let at = "2026-01-01T00:00:00Z";
    let world = world()
        .class("now", "timonel.dev/nfs", "Immediate", json!(null))
        .claim("unbound", "now", json!({}))
        .claim("classless", "", json!({}))
        .claim("leaving", "now", json!({"metadata": {"deletionTimestamp": at}}))
        .claim(
            "lost",
            "now",
            json!({"spec": {"volumeName": "pv"}, "status": {"phase": "Lost"}}),
        )
        .claim("p-own", "now", json!({}));
    for (name, expected) in [
        (
            "unbound",
            expect!["0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."],
        ),
        (
            "classless",
            expect!["0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."],
        ),
        (
            "none",
            expect![[r#"0/2 nodes are available: persistentvolumeclaim "none" not found."#]],
        ),
        (
            "leaving",
            expect![[r#"0/2 nodes are available: persistentvolumeclaim "leaving" is being deleted."#]],
        ),
        (
            "lost",
            expect![[
                r#"0/2 nodes are available: persistentvolumeclaim "lost" bound to non-existent persistentvolume "pv"."#
            ]],
        ),
    ] {
        check(&pod(&[name]), &world, expected);
    }
    let own = |name: &str| {
        pod_with(
            "p",
            json!([{"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]),
        )
    };
    check(
        &own("own"),
        &world,
        expect!["0/2 nodes are available: PVC demo/p-own was not created for pod demo/p (pod is not owner)."],
    );
    check(
        &own("new"),
        &world,
        expect![[
            r#"0/2 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim "p-new"."#
        ]],
    );
}

#[test]
fn a_pod_follows_its_volume() {
    let world = world()
        .volume("here", "2Gi", Some("n2"), json!({}))
        .volume("nowhere", "2Gi", Some("n9"), json!({}))
        .bound("data", "here")
        .bound("far", "nowhere")
        .bound("gone", "missing");
    check(&pod(&["data"]), &world, expect!["n2"]);
    check(
        &pod(&["far"]),
        &world,
        expect!["0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."],
    );
    check(
        &pod(&["gone"]),
        &world,
        expect![
            "0/2 nodes are available: 2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)."
        ],
    );
}

#[test]
fn claims_of_a_first_consumer_get_the_smallest_volumes_that_the_node_reaches() {
    let world = world()
        .class(
            "static",
            "kubernetes.io/no-provisioner",
            "WaitForFirstConsumer",
            json!(null),
        )
        .claim("small", "static", json!({}))
        .claim(
            "large",
            "static",
            json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}),
        );
    let of = |class: &str| json!({"spec": {"storageClassName": class}});
    check(
        &pod(&["small"]),
        &world,
        expect!["0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."],
    );
    let world = world
        .volume("nine", "9Gi", Some("n2"), of("static"))
        .volume("four", "4Gi", Some("n2"), of("static"))
        .volume("five", "5Gi", Some("n1"), of("static"));
    check(
        &pod(&["large", "small"]),
        &world,
        expect!["n2, small gets four, large gets nine"],
    );
}

#[test]
fn what_fits_nothing_is_made_where_the_class_allows_it() {
    let zone_b = json!([{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["b"]}]}]);
    let world = world()
        .class("zonal", "timonel.dev/local-path", "WaitForFirstConsumer", zone_b)
        .claim("data", "zonal", json!({}))
        .claim(
            "sent",
            "late",
            json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}}),
        );
    check(&pod(&["data"]), &world, expect!["n2, data is made"]);
    check(&pod(&["sent"]), &world, expect!["n1, sent is made"]);
    check(
        &pod(&["sent", "data"]),
        &world,
        expect!["0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."],
    );
}

#[test]
fn a_claim_of_one_pod_only_is_not_given_to_a_second() {
    let alone = json!({"spec": {"accessModes": ["ReadWriteOncePod"], "volumeName": "pv"}, "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}});
    let world = world()
        .volume("pv", "2Gi", None, json!({}))
        .claim("data", "late", alone);
    let mut first = pod(&["data"]);
    first.uid = "uid-first".to_owned();
    let world = world.running("n1", first);
    check(
        &pod(&["data"]),
        &world,
        expect![
            "0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."
        ],
    );
}

#[test]
fn a_disk_is_attached_to_a_node_once() {
    let disk = |read_only: bool| json!([{"name": "d", "gcePersistentDisk": {"pdName": "disk", "readOnly": read_only}}]);
    let world = world()
        .running("n1", pod_with("a", disk(false)))
        .running("n2", pod_with("b", disk(true)));
    check(
        &pod_with("p", disk(false)),
        &world,
        expect!["0/2 nodes are available: 2 node(s) had no available disk."],
    );
    check(&pod_with("p", disk(true)), &world, expect!["n2"]);
}

#[test]
fn a_volume_that_says_its_zone_is_reached_from_there() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
    let world = world()
        .volume("b", "2Gi", None, zone("b__c"))
        .volume("d", "2Gi", None, zone("d"))
        .bound("in-b", "b")
        .bound("in-d", "d");
    check(&pod(&["in-b"]), &world, expect!["n2"]);
    check(
        &pod(&["in-d"]),
        &world,
        expect!["0/2 nodes are available: 2 node(s) had no available volume zone."],
    );
}

#[test]
fn a_node_takes_as_many_volumes_as_its_driver_says() {
    let csi = |handle: &str| json!({"spec": {"csi": {"driver": "csi", "volumeHandle": handle}}});
    let mut other = pod(&["one"]);
    other.uid = "uid-other".to_owned();
    let world = world()
        .volume("one", "2Gi", None, csi("h1"))
        .volume("two", "2Gi", None, csi("h2"))
        .bound("one", "one")
        .bound("two", "two")
        .csi_node("n1", 1)
        .csi_node("n2", 0)
        .running("n1", other);
    check(&pod(&["one"]), &world, expect!["n1"]);
    check(
        &pod(&["two"]),
        &world,
        expect!["0/2 nodes are available: 2 node(s) exceed max volume count."],
    );
}

#[test]
fn what_was_assumed_holds_until_the_cache_moves_on() {
    let world = world().claim("data", "late", json!({}));
    let claim = Arc::clone(world.0.storage.claim("demo", "data").unwrap());
    let assumed = Arc::new(send_to(&claim, "n1"));
    let selected = |storage: &Storage| {
        let claim = storage.claim("demo", "data").unwrap();
        claim
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(storage::SELECTED_NODE))
            .cloned()
    };
    let mut storage = world.0.storage.clone();
    lay_over(&mut storage.claims, &assumed);
    assert_eq!(selected(&storage).as_deref(), Some("n1"));
    let newer = world.claim("data", "late", json!({"metadata": {"resourceVersion": "6"}}));
    let mut storage = newer.0.storage.clone();
    lay_over(&mut storage.claims, &assumed);
    assert_eq!(selected(&storage), None, "the cache knows better");
}
