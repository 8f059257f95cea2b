use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn volume(name: &str, size: &str, more: &Value) -> Arc<PersistentVolume> {
    let mut volume = json!({"metadata": {"name": name, "labels": {"tier": name}}, "status": {"phase": "Available"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}}});
    for (key, value) in more.as_object().unwrap() {
        volume["spec"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(volume).unwrap())
}

fn on(node: &str) -> Value {
    json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}})
}

fn claim() -> PersistentVolumeClaim {
    serde_json::from_value(json!({"metadata": {"name": "data", "namespace": "demo", "uid": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}))
    .unwrap()
}

fn chosen(volumes: &[Arc<PersistentVolume>], node: &str) -> Option<String> {
    let labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), node.to_owned())]);
    let found = smallest(&claim(), volumes.iter(), &labels, &BTreeSet::new());
    found.and_then(|volume| volume.metadata.name.clone())
}

#[test]
fn the_smallest_volume_that_the_node_reaches_is_chosen() {
    let volumes = [
        volume("large", "9Gi", &json!({})),
        volume("elsewhere", "2Gi", &on("n2")),
        volume("small", "1Gi", &json!({})),
        volume("here", "3Gi", &on("n1")),
    ];
    assert_eq!(chosen(&volumes, "n1").as_deref(), Some("here"));
    assert_eq!(chosen(&volumes, "n2").as_deref(), Some("elsewhere"));
    assert_eq!(chosen(&volumes, "n3").as_deref(), Some("large"));
}

#[test]
fn a_promised_volume_is_the_only_one_that_does() {
    let mut promised = on("n1");
    promised["claimRef"] = json!({"namespace": "demo", "name": "data", "uid": "c"});
    let volumes = [volume("small", "2Gi", &json!({})), volume("promised", "9Gi", &promised)];
    assert_eq!(chosen(&volumes, "n1").as_deref(), Some("promised"));
    assert_eq!(chosen(&volumes, "n2"), None, "it cannot be reached from here");
}

#[test]
fn only_a_plain_name_is_a_folder_of_local_path() {
    for (name, is) in [
        ("pvc-1_demo_data", true),
        ("../etc", false),
        ("pvc-1/../..", false),
        ("", false),
        ("..", false),
    ] {
        assert_eq!(is_folder_of_local_path(name), is, "{name}");
    }
    assert_eq!(
        local_path_folder("pvc-1", "demo", "data"),
        "/var/lib/timonel/local-path/pvc-1_demo_data"
    );
}
