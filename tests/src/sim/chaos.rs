//! What a seed does to a world: a rolling update, and faults of every kind while it goes on.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use timonel_kubelet::simulated::Matcher;

use super::invariants::{self, Violation};
use super::link::Faults;
use super::world::{NODES, World};

/// How long a healed world may take to come to rest. Nothing in it waits for longer than a minute.
const REST: Duration = Duration::from_secs(180);
/// How many faults a seed strikes with.
const STRIKES: usize = 12;

/// The Deployment under test.
pub const NAME: &str = "web";
/// How many pods it asks for.
pub const REPLICAS: u64 = 3;

/// The manifest of the Deployment, in a version.
pub fn deployment(version: u64) -> Deployment {
    let container = json!({"name": "web", "image": format!("web:{version}"), "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}});
    serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": NAME}},
                 "template": {"metadata": {"labels": {"app": NAME}}, "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]}}}}))
    .expect("a Deployment")
}

/// Tries until the server takes it, as a patient user does.
pub async fn insist<T, F: Future<Output = kube::Result<T>>>(mut act: impl FnMut() -> F) -> Option<T> {
    for _ in 0..50 {
        match act().await {
            Ok(value) => return Some(value),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => return None,
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    None
}

/// Waits until a Deployment has converged.
pub async fn rest(world: &World, within: Duration) -> Result<(), Violation> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let state = match invariants::converged(world, NAME).await {
            Ok(()) => invariants::nodes_run_what_was_asked(world).await,
            Err(violation) => Err(violation),
        };
        match state {
            Ok(()) => return Ok(()),
            Err(violation) if tokio::time::Instant::now() > deadline => {
                return Err(format!("not at rest after {within:?}: {violation}"));
            }
            // Looking costs more than the cluster's own work in that time.
            Err(_) => world.pass(Duration::from_secs(1)).await,
        }
    }
}

/// Starts a world with the Deployment at rest in it.
pub async fn calm(seed: u64) -> Result<World, Violation> {
    let world = World::start(seed).await;
    let api: Api<Deployment> = Api::default_namespaced(world.user());
    let (params, first) = (PostParams::default(), deployment(1));
    insist(|| api.create(&params, &first)).await;
    rest(&world, REST).await?;
    Ok(world)
}

/// Starts the rolling update to another version.
pub async fn roll(world: &World, version: u64) {
    let api: Api<Deployment> = Api::default_namespaced(world.user());
    let container = json!({"name": "web", "image": format!("web:{version}")});
    let params = PatchParams::default();
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
    insist(|| api.patch(NAME, &params, &patch)).await;
}

/// Lives through one seed: everything that must hold is checked. Returns the history beside the verdict.
pub async fn live(seed: u64) -> (String, Result<(), Violation>) {
    let mut world = match calm(seed).await {
        Ok(calm) => calm,
        Err(violation) => {
            return (
                String::new(),
                Err(format!("seed {seed}: before any fault: {violation}")),
            );
        }
    };
    let outcome = storm(&mut world).await;
    let outcome = outcome.map_err(|violation| format!("seed {seed}: {violation}\n{}", world.story()));
    (world.history().await, outcome)
}

async fn storm(world: &mut World) -> Result<(), Violation> {
    let mut acknowledged = Vec::new();
    let rng = world.rng();
    for strike in 0..STRIKES {
        if strike % 4 == 1 {
            roll(world, 2 + strike as u64).await;
        }
        acknowledged.extend(write(world, strike).await);
        strike_with(world, rng.next_u64()).await;
        world.pass(Duration::from_millis(rng.next_u64() % 4000)).await;
        if rng.next_u64().is_multiple_of(3) {
            world.restart_server().await;
            for component in World::components() {
                world.start_component(component);
                world.set_cut(component, false);
            }
        }
    }
    world.heal().await;
    rest(world, REST).await?;
    invariants::acknowledged_writes_are_there(world, &acknowledged).await?;
    invariants::roles_suffice(world)?;
    invariants::always(world).await
}

/// Writes something and returns its name if the server said that it has it.
pub async fn write(world: &World, number: usize) -> Option<String> {
    let maps: Api<ConfigMap> = Api::default_namespaced(world.user());
    let map = ConfigMap {
        metadata: kube::core::ObjectMeta {
            name: Some(format!("written-{number}")),
            ..Default::default()
        },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map)
        .await
        .ok()
        .and_then(|map| map.metadata.name)
}

/// Does one bad thing to the world, as the dice say.
pub async fn strike_with(world: &mut World, dice: u64) {
    let components = World::components();
    let component = components[usize::try_from(dice / 64).unwrap_or(0) % components.len()];
    let node = u8::try_from(dice / 64 % u64::from(NODES)).unwrap_or(0) + 1;
    match dice % 9 {
        0 => world.crash_component(component),
        1 => world.crash_server(),
        2 => world.power_cut(node),
        3 => world.set_cut(component, true),
        4 => world.set_faults(
            component,
            Faults {
                lost_requests: 200,
                lost_answers: 200,
                ..Faults::default()
            },
        ),
        5 => world.set_faults(
            component,
            Faults {
                cut_watches: 200,
                ..Faults::default()
            },
        ),
        6 => world.set_faults(
            component,
            Faults {
                stale: Duration::from_secs(3),
                delay: Duration::from_millis(300),
                ..Faults::default()
            },
        ),
        7 => {
            let killed = world.runtime(node).kill(&Matcher::default(), 1);
            world.tell(format!("{killed} containers of node-{node} are killed"));
        }
        _ => {
            let pods: Api<Pod> = Api::default_namespaced(world.user());
            if let Ok(list) = pods.list(&ListParams::default()).await
                && let Some(name) = list.items.first().and_then(|pod| pod.metadata.name.clone())
            {
                let deleted = pods.delete(&name, &DeleteParams::default()).await.is_ok();
                world.tell(format!("a user deletes pod {name}: {deleted}"));
            }
        }
    }
}
