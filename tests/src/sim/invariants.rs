//! What must hold, always or in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use timonel_kubelet::runtime::{ContainerState, Runtime, labels};

use super::world::{NODES, World};

/// What was found to be wrong.
pub type Violation = String;

/// Follows all pods and remembers what must never happen.
#[derive(Clone, Debug, Default)]
pub struct Watcher(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Uid to node.
    bound: BTreeMap<String, String>,
    /// Live pods of a Deployment's label, by uid.
    live: BTreeSet<String>,
    most: usize,
    violations: Vec<Violation>,
}

impl Watcher {
    /// Starts to follow the pods of a label; more than `most` of them at once are a violation.
    pub fn start(world: &World, selector: &str, most: usize) -> Self {
        let watcher = Self::default();
        watcher.0.lock().unwrap_or_else(PoisonError::into_inner).most = most;
        let (api, selector, this): (Api<Pod>, _, _) = (Api::all(world.user()), selector.to_owned(), watcher.clone());
        tokio::spawn(async move {
            loop {
                // A watcher whose server is gone comes back: the list tells what it missed.
                if this.follow(&api, &selector).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        watcher
    }

    async fn follow(&self, api: &Api<Pod>, selector: &str) -> Result<(), kube::Error> {
        let list = api.list(&ListParams::default().labels(selector)).await?;
        let revision = list.metadata.resource_version.clone().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).live.clear();
        for pod in &list.items {
            self.saw(pod, false);
        }
        let mut events = Box::pin(api.watch(&WatchParams::default().labels(selector), &revision).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.saw(&pod, false),
                WatchEvent::Deleted(pod) => self.saw(&pod, true),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(_) => break,
            }
        }
        Ok(())
    }

    fn saw(&self, pod: &Pod, deleted: bool) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (uid, name) = (
            pod.metadata.uid.clone().unwrap_or_default(),
            pod.metadata.name.clone().unwrap_or_default(),
        );
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            let before = seen.bound.insert(uid.clone(), node.clone());
            if before.as_ref().is_some_and(|before| *before != node) {
                seen.violations
                    .push(format!("pod {name} was bound to {before:?} and then to {node}"));
            }
        }
        if deleted || pod.metadata.deletion_timestamp.is_some() {
            seen.live.remove(&uid);
        } else {
            seen.live.insert(uid);
        }
        if seen.live.len() > seen.most {
            let (count, most) = (seen.live.len(), seen.most);
            seen.violations.push(format!(
                "{count} live pods at once when {name} was there; at most {most} are allowed"
            ));
        }
    }

    /// What was found.
    pub fn violations(&self) -> Vec<Violation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).violations.clone()
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
