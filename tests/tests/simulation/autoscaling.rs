//! A workload that grows under load, comes to rest, and shrinks when the load is gone.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use timonel_api::quantity::Quantity;
use timonel_kubelet::simulated::{Behaviour, Matcher};
use timonel_tests::sim::world::NODES;
use timonel_tests::sim::{Component, World, simulate};

/// What each container requests, in thousandths of a CPU.
const REQUEST: u64 = 100;

fn load(world: &World, milli_cpu: u64) {
    for node in 1..=NODES {
        let busy = Behaviour {
            milli_cpu,
            memory_bytes: 32 << 20,
            ..Behaviour::default()
        };
        world.runtime(node).script(Matcher::image("web:1"), busy);
    }
}

async fn create(world: &World) {
    let container = json!({"name": "web", "image": "web:1", "resources": {"requests": {"cpu": format!("{REQUEST}m")}}});
    let deployment: Deployment = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}},
    }}))
    .expect("a Deployment");
    let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 6,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
    }}))
    .expect("an autoscaler");
    let params = PostParams::default();
    let deployments: Api<Deployment> = Api::default_namespaced(world.user());
    deployments.create(&params, &deployment).await.expect("created");
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::default_namespaced(world.user());
    autoscalers.create(&params, &autoscaler).await.expect("created");
}

async fn replicas(world: &World) -> i32 {
    let deployments: Api<Deployment> = Api::default_namespaced(world.user());
    let deployment = deployments.get("web").await.expect("there");
    deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

async fn autoscaler(world: &World) -> HorizontalPodAutoscaler {
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::default_namespaced(world.user());
    autoscalers.get("web").await.expect("there")
}

/// Waits for a number of replicas.
async fn reaches(world: &World, wanted: i32, within: Duration) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let now = replicas(world).await;
        if now == wanted {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let status = autoscaler(world).await.status;
            return Err(format!("{now} replicas instead of {wanted}: {status:#?}"));
        }
        world.pass(Duration::from_secs(1)).await;
    }
}

async fn get(world: &World, path: &str) -> Result<Value, String> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    world.user().request(request).await.map_err(|error| error.to_string())
}

async fn life(seed: u64) -> Result<(), String> {
    let world = World::start(seed).await;
    create(&world).await;
    // Twice what is wanted of each, whatever their number: more and more are asked for, until there may be no more.
    load(&world, REQUEST);
    reaches(&world, 6, Duration::from_secs(900)).await?;
    let limited = autoscaler(&world).await.status.unwrap_or_default();
    let metrics = get(
        &world,
        "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dweb",
    )
    .await?;
    let cpu = metrics["items"][0]["containers"][0]["usage"]["cpu"]
        .as_str()
        .unwrap_or_default();
    // Times have milliseconds, so the rate is not exact.
    let measured = Quantity::parse(cpu).map_err(|error| format!("{error}: {metrics:#}"))?;
    if !(99..=101).contains(&measured.millis()) {
        return Err(format!("a pod uses {cpu}: {metrics:#}"));
    }
    let nodes = get(&world, "/apis/metrics.k8s.io/v1beta1/nodes").await?;
    if nodes["items"].as_array().map(Vec::len) != Some(usize::from(NODES)) {
        return Err(format!("not every node is measured: {nodes:#}"));
    }
    // Half of the request is just what is wanted: nothing changes.
    load(&world, REQUEST / 2);
    world.pass(Duration::from_secs(600)).await;
    if replicas(&world).await != 6 {
        return Err(format!("{} replicas at rest", replicas(&world).await));
    }
    load(&world, 1);
    reaches(&world, 1, Duration::from_secs(900)).await?;
    let events: Api<Event> = Api::default_namespaced(world.user());
    let events = events
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    let told = |wanted: &str| {
        let mut events = events.items.iter();
        events.any(|event| {
            event.reason.as_deref() == Some("SuccessfulRescale") && event.message.as_deref() == Some(wanted)
        })
    };
    for wanted in [
        "New size: 2; reason: cpu resource utilization (percentage of request) above target",
        "New size: 1; reason: All metrics below target",
    ] {
        if !told(wanted) {
            return Err(format!("nobody told {wanted:?}"));
        }
    }
    if limited.current_metrics.is_none() {
        return Err(format!("the status shows no metrics: {limited:#?}"));
    }
    Ok(())
}

#[test]
fn a_busy_deployment_grows_rests_and_shrinks() {
    for seed in 0..2 {
        simulate(seed, life(seed)).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

/// A controller manager that starts anew remembers nothing, and does not scale down at once because of that.
async fn forgetful() -> Result<(), String> {
    let mut world = World::start(7).await;
    create(&world).await;
    load(&world, REQUEST);
    reaches(&world, 6, Duration::from_secs(900)).await?;
    load(&world, 1);
    world.crash_component(Component::Controllers);
    world.pass(Duration::from_secs(120)).await;
    world.start_component(Component::Controllers);
    world.pass(Duration::from_secs(45)).await;
    if replicas(&world).await != 6 {
        return Err(format!("{} replicas right after a restart", replicas(&world).await));
    }
    reaches(&world, 1, Duration::from_secs(600)).await
}

#[test]
fn a_controller_that_starts_anew_does_not_scale_down_at_once() {
    simulate(7, forgetful()).unwrap_or_else(|violation| panic!("{violation}"));
}

/// What is lost with a node is not measured; the autoscaler does not shrink what it cannot see.
async fn a_lost_node() -> Result<(), String> {
    let mut world = World::start(9).await;
    create(&world).await;
    load(&world, REQUEST);
    reaches(&world, 6, Duration::from_secs(900)).await?;
    load(&world, REQUEST / 2);
    world.pass(Duration::from_secs(120)).await;
    world.power_cut(1);
    world.pass(Duration::from_secs(20)).await;
    world.start_component(Component::Kubelet(1));
    world.pass(Duration::from_secs(300)).await;
    let pods: Api<Pod> = Api::default_namespaced(world.user());
    let running = pods
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    let ready = running
        .items
        .iter()
        .filter(|pod| timonel_api::pod::is_ready(pod))
        .count();
    let replicas = replicas(&world).await;
    if (replicas, ready) != (6, 6) {
        return Err(format!("{replicas} replicas, {ready} ready"));
    }
    Ok(())
}

#[test]
fn a_node_that_dies_and_comes_back_does_not_shrink_the_workload() {
    simulate(9, a_lost_node()).unwrap_or_else(|violation| panic!("{violation}"));
}
