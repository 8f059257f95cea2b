use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Value, json};

use super::*;
use crate::field::Path;
use crate::names;

fn meta(value: Value) -> ObjectMeta {
    serde_json::from_value(value).unwrap()
}

fn created(value: Value) -> Vec<String> {
    let wrong = object_meta(&meta(value), true, names::subdomain, &Path::new("metadata"));
    wrong.iter().map(ToString::to_string).collect()
}

fn updated(new: Value, old: Value) -> Vec<String> {
    let wrong = object_meta_update(&meta(new), &meta(old), &Path::new("metadata"));
    wrong.iter().map(ToString::to_string).collect()
}

#[test]
fn good_metadata_passes() {
    assert!(
        created(
            json!({"name": "a", "namespace": "b", "labels": {"app.kubernetes.io/name": "x"},
        "annotations": {"Example.COM/Thing": "any text"}, "finalizers": ["example.com/f", "orphan"]})
        )
        .is_empty()
    );
}

#[test]
fn every_error_is_gathered() {
    let wrong = created(
        json!({"name": "nginx_pod", "labels": {"a b": "c d"}, "finalizers": ["mine"],
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "1", "controller": true},
            {"apiVersion": "apps/", "kind": "", "name": "x", "uid": "2", "controller": true}],
        "managedFields": [{"operation": "Sing"}]}),
    );
    let starts = [
        "metadata.name: Invalid value: \"nginx_pod\": a lowercase RFC 1123 subdomain must",
        "metadata.namespace: Required value",
        "metadata.labels: Invalid value: \"a b\": name part must consist",
        "metadata.labels: Invalid value: \"c d\": a valid label must be",
        "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\"",
        "metadata.ownerReferences.apiVersion: Invalid value: \"apps/\": version must not be empty",
        "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
        "metadata.ownerReferences: Invalid value: [{",
        "metadata.managedFields[0].operation: Invalid value: \"Sing\": must be `Apply` or `Update`",
        "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name",
    ];
    assert_eq!(wrong.len(), starts.len(), "{wrong:#?}");
    for (wrong, start) in wrong.iter().zip(starts) {
        assert!(wrong.starts_with(start), "{wrong}");
    }
}

#[test]
fn what_identifies_an_object_cannot_change() {
    let old = json!({"name": "a", "namespace": "n", "uid": "1", "resourceVersion": "5", "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let mut new = old.clone();
    assert!(updated(new.clone(), old.clone()).is_empty());
    new["uid"] = json!("2");
    new["generation"] = json!(1);
    new["resourceVersion"] = json!("");
    new["finalizers"] = json!(["example.com/b", "example.com/a"]);
    assert_eq!(
        updated(new, old),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/a\", \"example.com/b\"}",
            "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
            "metadata.generation: Invalid value: 1: must not be decremented",
            "metadata.uid: Invalid value: \"2\": field is immutable",
        ]
    );
}

#[test]
fn selectors_are_checked_with_their_paths() {
    let selector: LabelSelector = serde_json::from_value(json!({"matchExpressions": [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "-", "operator": "Like", "values": ["x y"]}]}))
    .unwrap();
    let wrong = label_selector(
        &selector,
        LabelSelectorOptions::default(),
        &Path::new("spec").child("selector"),
    );
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
    assert_eq!(
        wrong[0],
        "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
    );
    assert_eq!(
        wrong[2],
        "spec.selector.matchExpressions[2].operator: Invalid value: \"Like\": not a valid selector operator"
    );
}
