//! Claims, volumes and the pods that need them in the simulated cluster, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use super::chaos::insist;
use super::invariants::Violation;
use super::workloads::SET;
use super::world::World;

/// Makes a class whose claims wait for their first consumer.
///
/// # Panics
/// When the manifest is none.
pub async fn create_class(world: &World, name: &str, provisioner: &str) {
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete"}))
    .expect("a StorageClass");
    let (api, params): (Api<StorageClass>, _) = (Api::all(world.user()), PostParams::default());
    insist(|| api.create(&params, &class)).await;
}

/// Makes a volume that only one node reaches.
///
/// # Panics
/// When the manifest is none.
pub async fn create_volume(world: &World, name: &str, class: &str, gibibytes: u32, node: &str) {
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}});
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"capacity": {"storage": format!("{gibibytes}Gi")}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": format!("/tmp/{name}")}, "nodeAffinity": affinity}}))
    .expect("a volume");
    let (api, params): (Api<PersistentVolume>, _) = (Api::all(world.user()), PostParams::default());
    insist(|| api.create(&params, &volume)).await;
}

/// Makes a claim for one gibibyte, and a pod that needs it.
///
/// # Panics
/// When the manifest is none.
pub async fn create_consumer(world: &World, name: &str, class: &str) {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}}))
    .expect("a claim");
    let (api, params): (Api<PersistentVolumeClaim>, _) = (Api::default_namespaced(world.user()), PostParams::default());
    insist(|| api.create(&params, &claim)).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "c", "image": "web:1"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]}}))
    .expect("a pod");
    let api: Api<Pod> = Api::default_namespaced(world.user());
    insist(|| api.create(&params, &pod)).await;
}

/// Creates the StatefulSet, each of whose pods has a claim of its own.
///
/// # Panics
/// When the manifest is none.
pub async fn create_stateful_set(world: &World, class: &str, replicas: u32) {
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 1});
    let container = json!({"name": SET, "image": format!("{SET}:1"), "readinessProbe": probe,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "resources": {"requests": {"storage": "1Gi"}}}});
    let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": SET}, "spec": {
        "replicas": replicas, "serviceName": SET, "selector": {"matchLabels": {"app": SET}}, "volumeClaimTemplates": [claim],
        "template": {"metadata": {"labels": {"app": SET}}, "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]}}}}))
    .expect("a StatefulSet");
    let (api, params): (Api<StatefulSet>, _) = (Api::default_namespaced(world.user()), PostParams::default());
    insist(|| api.create(&params, &set)).await;
}

/// Waits until every claim is bound and every pod that is there is ready.
pub async fn rest(world: &World, within: Duration) -> Result<(), Violation> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match at_rest(world).await {
            Ok(()) => return Ok(()),
            Err(violation) if tokio::time::Instant::now() > deadline => {
                return Err(format!("not at rest after {within:?}: {violation}"));
            }
            Err(_) => world.pass(Duration::from_millis(250)).await,
        }
    }
}

async fn at_rest(world: &World) -> Result<(), Violation> {
    let text = |error: kube::Error| error.to_string();
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.user());
    for claim in claims.list(&ListParams::default()).await.map_err(text)? {
        if !timonel_api::storage::is_fully_bound(&claim) {
            return Err(format!(
                "claim {} is not bound",
                claim.metadata.name.unwrap_or_default()
            ));
        }
    }
    let pods: Api<Pod> = Api::default_namespaced(world.user());
    for pod in pods.list(&ListParams::default()).await.map_err(text)? {
        if !timonel_api::pod::is_ready(&pod) || pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("pod {} is not ready", pod.metadata.name.unwrap_or_default()));
        }
    }
    Ok(())
}

/// What is known of claims and volumes at one revision of the store, by key.
#[derive(Default)]
struct Moment {
    claims: BTreeMap<String, Value>,
    volumes: BTreeMap<String, Value>,
    placed: BTreeSet<String>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What must hold at every moment, looked for in the order of the store's own history:
///
/// - a claim that names a volume never names another;
/// - no two claims name one volume, and no two volumes are bound to one claim;
/// - a pod gets a node only when its claims are bound, to volumes that this node reaches.
pub async fn bound_once(world: &World) -> Result<(), Violation> {
    let mut moment = Moment::default();
    for write in world.writes().await {
        let Some(rest) = write.key.strip_prefix("/registry/core/") else {
            continue;
        };
        let object: Value = match &write.value {
            Some(value) => serde_json::from_str(value).map_err(|error| format!("{}: {error}", write.key))?,
            None => Value::Null,
        };
        let checked = match rest.split('/').next() {
            Some("persistentvolumeclaims") => moment.claim(&write.key, object),
            Some("persistentvolumes") => moment.volume(&write.key, object),
            Some("pods") => moment.pod(&object),
            _ => Ok(()),
        };
        checked.map_err(|violation| format!("revision {}: {violation}", write.revision))?;
    }
    Ok(())
}

impl Moment {
    fn claim(&mut self, key: &str, claim: Value) -> Result<(), Violation> {
        let before = self.claims.remove(key);
        if claim.is_null() {
            return Ok(());
        }
        let (name, volume) = (
            text(&claim["metadata"]["name"]).to_owned(),
            text(&claim["spec"]["volumeName"]).to_owned(),
        );
        if let Some(before) = before.filter(|before| before["metadata"]["uid"] == claim["metadata"]["uid"]) {
            let named = text(&before["spec"]["volumeName"]);
            if !named.is_empty() && named != volume {
                return Err(format!("claim {name} named volume {named} and then {volume:?}"));
            }
        }
        let rival = self
            .claims
            .values()
            .find(|other| !volume.is_empty() && other["spec"]["volumeName"] == volume.as_str());
        if let Some(rival) = rival {
            let rival = text(&rival["metadata"]["name"]);
            return Err(format!("claims {rival} and {name} both name volume {volume}"));
        }
        self.claims.insert(key.to_owned(), claim);
        Ok(())
    }

    fn volume(&mut self, key: &str, volume: Value) -> Result<(), Violation> {
        self.volumes.remove(key);
        if volume.is_null() {
            return Ok(());
        }
        let holds = |volume: &Value| {
            let bound = volume["status"]["phase"] == "Bound";
            bound.then(|| text(&volume["spec"]["claimRef"]["uid"]).to_owned())
        };
        let claim = holds(&volume);
        if let Some(rival) = self
            .volumes
            .values()
            .find(|other| claim.is_some() && holds(other) == claim)
        {
            let (one, two) = (text(&rival["metadata"]["name"]), text(&volume["metadata"]["name"]));
            return Err(format!("volumes {one} and {two} are both bound to one claim"));
        }
        self.volumes.insert(key.to_owned(), volume);
        Ok(())
    }

    fn pod(&mut self, pod: &Value) -> Result<(), Violation> {
        let (Some(node), Some(uid)) = (pod["spec"]["nodeName"].as_str(), pod["metadata"]["uid"].as_str()) else {
            return Ok(());
        };
        if !self.placed.insert(uid.to_owned()) {
            return Ok(());
        }
        let name = text(&pod["metadata"]["name"]);
        for source in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let Some(wanted) = source["persistentVolumeClaim"]["claimName"].as_str() else {
                continue;
            };
            let claim = self.claims.values().find(|claim| claim["metadata"]["name"] == wanted);
            let volume = claim.map_or("", |claim| text(&claim["spec"]["volumeName"]));
            let Some(volume) = self.volumes.values().find(|other| other["metadata"]["name"] == volume) else {
                return Err(format!("pod {name} came to {node} before its claim {wanted} was bound"));
            };
            let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0];
            let reached = term["matchExpressions"][0]["values"].as_array();
            if reached.is_some_and(|nodes| !nodes.iter().any(|reached| reached == node)) {
                let volume = text(&volume["metadata"]["name"]);
                return Err(format!(
                    "pod {name} came to {node}, which does not reach volume {volume}"
                ));
            }
        }
        Ok(())
    }
}
