//! A StatefulSet and a DaemonSet in the simulated cluster, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use timonel_kubelet::runtime::{ContainerState, Runtime, labels};

use super::chaos::insist;
use super::invariants::{self, Violation};
use super::world::{NODES, World};

/// The StatefulSet's name.
pub const SET: &str = "db";
/// The DaemonSet's name.
pub const DAEMON: &str = "log";

fn template(name: &str, version: u64) -> Value {
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 1});
    let container = json!({"name": name, "image": format!("{name}:{version}"), "readinessProbe": probe});
    json!({"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]}})
}

fn workload(name: &str, further: &Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}}, "template": template(name, 1)}});
    for (field, value) in further.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// Creates the StatefulSet.
///
/// # Panics
/// When the manifest is none.
pub async fn create_stateful_set(world: &World, replicas: u32) {
    let manifest = workload(SET, &json!({"replicas": replicas, "serviceName": SET}));
    let set: StatefulSet = serde_json::from_value(manifest).expect("a StatefulSet");
    let (api, params): (Api<StatefulSet>, _) = (Api::default_namespaced(world.user()), PostParams::default());
    insist(|| api.create(&params, &set)).await;
}

/// Creates the DaemonSet.
///
/// # Panics
/// When the manifest is none.
pub async fn create_daemon_set(world: &World) {
    let set: DaemonSet = serde_json::from_value(workload(DAEMON, &json!({}))).expect("a DaemonSet");
    let (api, params): (Api<DaemonSet>, _) = (Api::default_namespaced(world.user()), PostParams::default());
    insist(|| api.create(&params, &set)).await;
}

fn image_patch(name: &str, version: u64) -> Patch<Value> {
    let container = json!({"name": name, "image": format!("{name}:{version}")});
    Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [container]}}}}))
}

/// Starts the rolling update of the StatefulSet to another version.
pub async fn roll_stateful_set(world: &World, version: u64) {
    let (patch, params) = (image_patch(SET, version), PatchParams::default());
    let api: Api<StatefulSet> = Api::default_namespaced(world.user());
    insist(|| api.patch(SET, &params, &patch)).await;
}

/// Starts the rolling update of the DaemonSet to another version.
pub async fn roll_daemon_set(world: &World, version: u64) {
    let (patch, params) = (image_patch(DAEMON, version), PatchParams::default());
    let api: Api<DaemonSet> = Api::default_namespaced(world.user());
    insist(|| api.patch(DAEMON, &params, &patch)).await;
}

/// Gives the StatefulSet another size.
pub async fn scale_stateful_set(world: &World, replicas: u32) {
    let (patch, params) = (
        Patch::Merge(json!({"spec": {"replicas": replicas}})),
        PatchParams::default(),
    );
    let api: Api<StatefulSet> = Api::default_namespaced(world.user());
    insist(|| api.patch(SET, &params, &patch)).await;
}

fn image(spec: Option<&k8s_openapi::api::core::v1::PodSpec>) -> Option<&str> {
    spec?.containers.first()?.image.as_deref()
}

/// The pods of an application: all ready, of the newest template, and nothing is ending.
async fn pods_at_rest(world: &World, app: &str, newest: Option<&str>) -> Result<Vec<Pod>, Violation> {
    let pods: Api<Pod> = Api::default_namespaced(world.user());
    let found = pods.list(&ListParams::default().labels(&format!("app={app}"))).await;
    let found = found.map_err(|error| error.to_string())?.items;
    for pod in &found {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("pod {name} is still ending"));
        }
        if !timonel_api::pod::is_ready(pod) {
            return Err(format!("pod {name} is not ready"));
        }
        if image(pod.spec.as_ref()) != newest {
            return Err(format!("pod {name} is of an old template"));
        }
    }
    Ok(found)
}

/// The StatefulSet is as its spec says, and its status tells the same.
pub async fn stateful_set_at_rest(world: &World) -> Result<(), Violation> {
    let api: Api<StatefulSet> = Api::default_namespaced(world.user());
    let set = api.get(SET).await.map_err(|error| error.to_string())?;
    let spec = set.spec.as_ref().ok_or("no spec")?;
    let pods = pods_at_rest(world, SET, image(spec.template.spec.as_ref())).await?;
    let names: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
    let replicas = spec.replicas.unwrap_or(1);
    let wanted: Vec<String> = (0..replicas).map(|ordinal| format!("{SET}-{ordinal}")).collect();
    if names != wanted {
        return Err(format!("pods {names:?} instead of {wanted:?}"));
    }
    let status = set.status.clone().unwrap_or_default();
    let told = [
        Some(status.replicas),
        status.ready_replicas,
        status.available_replicas,
        status.current_replicas,
        status.updated_replicas,
    ];
    if told.iter().any(|count| count.unwrap_or(0) != replicas) {
        return Err(format!("the status tells {told:?}"));
    }
    if status.current_revision != status.update_revision || status.observed_generation != set.metadata.generation {
        return Err("the status is of an older revision".to_owned());
    }
    Ok(())
}

/// Each node has its daemon, and the status tells the same.
pub async fn daemon_set_at_rest(world: &World) -> Result<(), Violation> {
    let api: Api<DaemonSet> = Api::default_namespaced(world.user());
    let set = api.get(DAEMON).await.map_err(|error| error.to_string())?;
    let spec = set.spec.as_ref().ok_or("no spec")?;
    let pods = pods_at_rest(world, DAEMON, image(spec.template.spec.as_ref())).await?;
    let nodes: Api<Node> = Api::all(world.user());
    let nodes = nodes
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    let nodes: Vec<String> = nodes.items.into_iter().filter_map(|node| node.metadata.name).collect();
    let mut on: Vec<String> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect();
    on.sort();
    if on != nodes {
        return Err(format!("daemons on {on:?} instead of {nodes:?}"));
    }
    let status = set.status.clone().unwrap_or_default();
    let told = [
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.number_available.unwrap_or(0),
        status.updated_number_scheduled.unwrap_or(0),
    ];
    if told.iter().any(|count| usize::try_from(*count) != Ok(nodes.len())) {
        return Err(format!("the status tells {told:?} of {} nodes", nodes.len()));
    }
    Ok(())
}

/// Waits until the sets that there are have come to rest.
pub async fn rest(world: &World, stateful: bool, daemon: bool, within: Duration) -> Result<(), Violation> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let mut state = invariants::nodes_run_what_was_asked(world).await;
        if state.is_ok() && stateful {
            state = stateful_set_at_rest(world).await;
        }
        if state.is_ok() && daemon {
            state = daemon_set_at_rest(world).await;
        }
        match state {
            Ok(()) => return invariants::roles_suffice(world),
            Err(violation) if tokio::time::Instant::now() > deadline => {
                return Err(format!("not at rest after {within:?}: {violation}"));
            }
            Err(_) => world.pass(Duration::from_millis(250)).await,
        }
    }
}

/// No two nodes run a pod of the same identity at once.
pub async fn one_of_each_identity(world: &World) -> Result<(), Violation> {
    let mut running: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in 1..=NODES {
        let containers = world.runtime(node).list_containers().await;
        for container in containers.map_err(|error| error.to_string())? {
            let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
            let name = label(labels::POD_NAME);
            if matches!(container.state, ContainerState::Running { .. }) && name.starts_with(&format!("{SET}-")) {
                running.entry(name).or_default().insert(label(labels::POD_UID));
            }
        }
    }
    match running.iter().find(|(_, pods)| pods.len() > 1) {
        Some((name, pods)) => Err(format!("{name} runs {} times", pods.len())),
        None => Ok(()),
    }
}

/// What the history of the store must show:
///
/// - a pod of the StatefulSet is created only when all before it are there;
/// - a name is free before a pod gets it: the pod before it is gone, not merely going.
pub async fn came_in_order(world: &World) -> Result<(), Violation> {
    let prefix = format!("/registry/core/pods/default/{SET}-");
    let mut there: BTreeMap<u32, String> = BTreeMap::new();
    for write in world.writes().await {
        let ordinal = write
            .key
            .strip_prefix(&prefix)
            .and_then(|text| text.parse::<u32>().ok());
        let Some(ordinal) = ordinal else { continue };
        let Some(value) = &write.value else {
            there.remove(&ordinal);
            continue;
        };
        let pod: Value = serde_json::from_str(value).map_err(|error| format!("{}: {error}", write.key))?;
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        match there.insert(ordinal, uid.clone()) {
            Some(before) if before != uid => {
                return Err(format!(
                    "revision {}: {SET}-{ordinal} was replaced while it was there",
                    write.revision
                ));
            }
            Some(_) => {}
            None => {
                if let Some(missing) = (0..ordinal).find(|before| !there.contains_key(before)) {
                    return Err(format!(
                        "revision {}: {SET}-{ordinal} came before {SET}-{missing}",
                        write.revision
                    ));
                }
            }
        }
    }
    Ok(())
}
