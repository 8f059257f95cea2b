//! What must hold, always or in the end: a file for each.
//!
//! ```text
//! every write of the store, in its order --> history::read --> each Invariant, which keeps what it needs
//!                                                          \-> what is wrong, at which revision, and who wrote that
//! ```
//!
//! An invariant is a file with an [`Invariant`], and a line in [`all`].

pub mod addresses;
pub mod daemons;
pub mod floor;
pub mod history;
pub mod identity;
pub mod indexes;
pub mod node_name;
pub mod order;
pub mod orphans;
pub mod quota;
pub mod replicas;
pub mod surge;
pub mod volumes;

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use timonel_kubelet::runtime::{ContainerState, Runtime, labels};

pub use history::Invariant;

use super::world::{NODES, World};

/// What was found to be wrong.
pub type Violation = String;

/// All that must hold at every moment.
///
/// A controller whose write took effect without an answer acts on a cache that does not show it yet; upstream's do the same and put
/// it right later. So every `unanswered` write widens the bounds on numbers by one.
pub fn all(unanswered: usize) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(node_name::NodeName::default()),
        Box::new(surge::Surge::with_slack(unanswered)),
        Box::new(floor::Floor::with_slack(unanswered)),
        Box::new(replicas::Replicas::with_slack(unanswered)),
        Box::new(identity::Identity),
        Box::new(order::Order::default()),
        Box::new(indexes::Indexes::default()),
        Box::new(volumes::Volumes),
        Box::new(addresses::Addresses),
        Box::new(quota::Quota),
        Box::new(daemons::Daemons { unanswered }),
    ]
}

/// Everything that must hold at every moment held at every moment.
///
/// # Errors
/// The first violation: what it breaks, at which revision, and who wrote that.
pub async fn always(world: &World) -> Result<(), Violation> {
    history::read(&world.writes().await, &mut all(world.unanswered()))
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
