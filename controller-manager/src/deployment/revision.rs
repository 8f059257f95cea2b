//! Revisions: which set is the new one, what it is called, and what its annotations remember.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::owner;

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that are not copied from the Deployment to its sets.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// The history annotation grows to this many bytes at most, as upstream.
const HISTORY_BYTES: usize = 2000;

/// Reads a number from an annotation.
pub(super) fn number(meta: &ObjectMeta, key: &str) -> Option<i64> {
    meta.annotations.as_ref()?.get(key)?.parse().ok()
}

/// Returns a set's revision; 0 where it has none.
pub(super) fn of(set: &ReplicaSet) -> i64 {
    number(&set.metadata, REVISION).unwrap_or(0)
}

fn without_hash(template: Option<&PodTemplateSpec>) -> PodTemplateSpec {
    let mut template = template.cloned().unwrap_or_default();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
        if *meta == ObjectMeta::default() {
            template.metadata = None;
        }
    }
    template
}

/// Finds the set that has the Deployment's template: the oldest, should there be several.
pub(super) fn find_new<'a>(deployment: &Deployment, sets: &[&'a Arc<ReplicaSet>]) -> Option<&'a Arc<ReplicaSet>> {
    let wanted = without_hash(deployment.spec.as_ref().map(|spec| &spec.template));
    let same =
        |set: &&&Arc<ReplicaSet>| without_hash(set.spec.as_ref().and_then(|spec| spec.template.as_ref())) == wanted;
    sets.iter().filter(same).min_by_key(|set| age(set)).copied()
}

/// What sets are ordered by: creation, then name.
pub(super) fn age(set: &ReplicaSet) -> (Option<jiff::Timestamp>, String) {
    let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, owner::name(&set.metadata).to_owned())
}

/// Hashes a template and a collision count.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let json = serde_json::to_value(without_hash(Some(template))).unwrap_or(Value::Null);
    crate::hash::letters(&json.to_string(), collisions)
}

/// Returns the annotations that the new set should have. `existing` is the set as it is, if there is one.
pub(super) fn annotations(
    deployment: &Deployment,
    existing: Option<&ReplicaSet>,
    revision: i64,
) -> BTreeMap<String, String> {
    let mut wanted = existing
        .and_then(|set| set.metadata.annotations.clone())
        .unwrap_or_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            wanted.insert(key.clone(), value.clone());
        }
    }
    let old = wanted.get(REVISION).cloned();
    if old.as_deref().and_then(|old| old.parse::<i64>().ok()).unwrap_or(0) < revision {
        wanted.insert(REVISION.into(), revision.to_string());
        if let Some(old) = old {
            let history = wanted.get(HISTORY).cloned().unwrap_or_default();
            let mut entries: Vec<&str> = history.split(',').filter(|entry| !entry.is_empty()).collect();
            entries.push(&old);
            while entries.len() > 1 && entries.join(",").len() > HISTORY_BYTES {
                entries.remove(0);
            }
            wanted.insert(HISTORY.into(), entries.join(","));
        }
    }
    wanted
}

/// Makes the new set.
pub(super) fn new_set(deployment: &Deployment, hash: &str, replicas: i32, surge: i32, revision: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let mut template = spec.template;
    let hashed = |labels: &mut BTreeMap<String, String>| labels.insert(HASH_LABEL.into(), hash.to_owned());
    let meta = template.metadata.get_or_insert_default();
    hashed(meta.labels.get_or_insert_default());
    let labels = meta.labels.clone();
    let mut selector = spec.selector;
    hashed(selector.match_labels.get_or_insert_default());
    let desired = spec.replicas.unwrap_or(1);
    let mut annotations = annotations(deployment, None, revision);
    annotations.insert(DESIRED.into(), desired.to_string());
    annotations.insert(MAX.into(), (desired + surge).to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner::name(&deployment.metadata))),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}
