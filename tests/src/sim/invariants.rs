//! What must hold, always or in the end.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use serde_json::Value;
use timonel_kubelet::runtime::{ContainerState, Runtime, labels};

use super::world::{NODES, World, Write};

/// What was found to be wrong.
pub type Violation = String;

/// What was true at one revision of the store.
#[derive(Default)]
struct Moment {
    /// Uid to node.
    bound: BTreeMap<String, String>,
    /// Key to (name, replicas asked for now, most replicas ever asked for) of the ReplicaSets.
    sets: BTreeMap<String, (String, u64, u64)>,
    /// Key to the ReplicaSet's name of the live pods: those that are not being deleted.
    live: BTreeMap<String, String>,
}

/// What must hold at every moment, looked for in the order of the store's own history:
///
/// - a pod is bound once;
/// - the ReplicaSets together ask for no more pods than the Deployment's replicas and surge (upstream's own bound: it counts what is
///   asked for, since a ReplicaSet that was told to shrink needs a moment);
/// - a ReplicaSet never has more live pods than it was ever asked for.
///
/// A controller whose write took effect without an answer acts on a cache that does not show it yet; upstream's do the same and put
/// it right later. So every unanswered write widens both bounds by one.
pub async fn always(world: &World, most: u64) -> Result<(), Violation> {
    let mut moment = Moment::default();
    for write in world.writes().await {
        moment
            .goes_on(&write, most, world.unanswered())
            .map_err(|violation| format!("revision {}: {violation}", write.revision))?;
    }
    Ok(())
}

impl Moment {
    fn goes_on(&mut self, write: &Write, most: u64, unanswered: usize) -> Result<(), Violation> {
        let (is_pod, is_set) = (
            write.key.starts_with("/registry/core/pods/"),
            write.key.starts_with("/registry/apps/replicasets/"),
        );
        if !is_pod && !is_set {
            return Ok(());
        }
        let Some(value) = &write.value else {
            self.live.remove(&write.key);
            self.sets.remove(&write.key);
            return Ok(());
        };
        let object: Value = serde_json::from_str(value).map_err(|error| format!("{}: {error}", write.key))?;
        if is_set {
            self.set(write, &object, most + unanswered as u64)
        } else {
            self.pod(write, &object, unanswered)
        }
    }

    fn set(&mut self, write: &Write, set: &Value, most: u64) -> Result<(), Violation> {
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let ever = self
            .sets
            .get(&write.key)
            .map_or(wanted, |(_, _, ever)| wanted.max(*ever));
        self.sets.insert(write.key.clone(), (name, wanted, ever));
        let total: u64 = self.sets.values().map(|(_, wanted, _)| wanted).sum();
        if total > most {
            return Err(format!(
                "the ReplicaSets ask for {total} pods; at most {most} are allowed"
            ));
        }
        Ok(())
    }

    fn pod(&mut self, write: &Write, pod: &Value, unanswered: usize) -> Result<(), Violation> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (uid, name) = (text(&pod["metadata"]["uid"]), text(&pod["metadata"]["name"]));
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            let before = self.bound.insert(uid, node.to_owned());
            if let Some(before) = before.filter(|before| before != node) {
                return Err(format!("pod {name} was bound to {before} and then to {node}"));
            }
        }
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            self.live.remove(&write.key);
            return Ok(());
        }
        let owner = text(&pod["metadata"]["ownerReferences"][0]["name"]);
        self.live.insert(write.key.clone(), owner.clone());
        let count = self.live.values().filter(|set| **set == owner).count();
        let ever = self
            .sets
            .values()
            .find(|(set, _, _)| *set == owner)
            .map_or(0, |(_, _, ever)| *ever);
        let bound = usize::try_from(ever).unwrap_or(usize::MAX) + unanswered;
        if count > bound {
            return Err(format!(
                "{owner:?} has {count} live pods at once when {name} was there; at most {bound} are allowed"
            ));
        }
        Ok(())
    }
}

/// A Deployment is as its spec says: so many pods, all ready, all of the newest template, and its status tells the same.
pub async fn converged(world: &World, name: &str) -> Result<(), Violation> {
    let text = |error: kube::Error| error.to_string();
    let deployments: Api<Deployment> = Api::default_namespaced(world.user());
    let pods: Api<Pod> = Api::default_namespaced(world.user());
    let deployment = deployments.get(name).await.map_err(text)?;
    let spec = deployment.spec.as_ref().ok_or("no spec")?;
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let image = |spec: Option<&k8s_openapi::api::core::v1::PodSpec>| {
        spec.and_then(|spec| spec.containers.first())
            .and_then(|container| container.image.clone())
    };
    let newest = image(spec.template.spec.as_ref());
    let found = pods
        .list(&ListParams::default().labels(&format!("app={name}")))
        .await
        .map_err(text)?
        .items;
    for pod in &found {
        let pod_name = pod.metadata.name.as_deref().unwrap_or("");
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("pod {pod_name} is still ending"));
        }
        if !timonel_api::pod::is_ready(pod) {
            return Err(format!("pod {pod_name} is not ready"));
        }
        if image(pod.spec.as_ref()) != newest {
            return Err(format!("pod {pod_name} is of an old template"));
        }
    }
    if found.len() != wanted {
        return Err(format!("{} pods instead of {wanted}", found.len()));
    }
    let status = deployment.status.unwrap_or_default();
    let told = [
        status.replicas,
        status.ready_replicas,
        status.updated_replicas,
        status.available_replicas,
    ];
    if told
        .iter()
        .any(|count| usize::try_from(count.unwrap_or(0)) != Ok(wanted))
    {
        return Err(format!("the status tells {told:?}"));
    }
    if status.observed_generation != deployment.metadata.generation {
        return Err("the status is of an older generation".to_owned());
    }
    Ok(())
}

/// What runs on the nodes is what the API says, each container once.
pub async fn nodes_run_what_was_asked(world: &World) -> Result<(), Violation> {
    let pods: Api<Pod> = Api::all(world.user());
    let wanted = pods
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?
        .items;
    let uids: BTreeSet<&str> = wanted.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    for node in 1..=NODES {
        let mut seen = BTreeSet::new();
        let containers = world
            .runtime(node)
            .list_containers()
            .await
            .map_err(|error| error.to_string())?;
        for container in containers
            .iter()
            .filter(|c| matches!(c.state, ContainerState::Running { .. }))
        {
            let uid = container.labels.get(labels::POD_UID).map_or("", String::as_str);
            if !uids.contains(uid) {
                return Err(format!(
                    "node-{node} still runs {} of a pod that is gone",
                    container.name
                ));
            }
            if !seen.insert((uid.to_owned(), container.name.clone())) {
                return Err(format!("node-{node} runs {} of pod {uid} twice", container.name));
            }
        }
    }
    Ok(())
}

/// No controller asked for something that its own service account may not do.
pub fn roles_suffice(world: &World) -> Result<(), Violation> {
    let ours =
        |text: &&String| text.contains("system:serviceaccount:kube-system:") || text.contains("controller-manager");
    match world.refused().iter().find(ours) {
        Some(refused) => Err(format!("a controller was refused: {refused}")),
        None => Ok(()),
    }
}

/// Every write that a user was told had happened is there.
pub async fn acknowledged_writes_are_there(world: &World, acknowledged: &[String]) -> Result<(), Violation> {
    let maps: Api<ConfigMap> = Api::default_namespaced(world.user());
    for name in acknowledged {
        match maps.get_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(format!("configmap {name} was acknowledged and is lost")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
