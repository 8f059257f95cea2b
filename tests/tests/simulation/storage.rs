//! Claims find volumes, and pods their volumes, whatever breaks meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use timonel_tests::sim::{Component, World, chaos, invariants, simulate, storage, workloads};

const REST: Duration = Duration::from_secs(900);
const LOCAL_PATH: &str = "timonel.dev/local-path";
const NOBODY: &str = "kubernetes.io/no-provisioner";

/// Strikes, and lets a while pass after each.
async fn strikes(world: &mut World, count: usize) {
    let rng = world.rng();
    for _ in 0..count {
        chaos::strike_with(world, rng.next_u64()).await;
        world.pass(Duration::from_millis(rng.next_u64() % 4000)).await;
        if rng.next_u64().is_multiple_of(3) {
            world.restart_server().await;
            for component in World::components() {
                world.start_component(component);
                world.set_cut(component, false);
            }
        }
    }
}

/// Nine volumes, three on each node, and as many pods that run after them while everything breaks.
async fn a_run_for_volumes(seed: u64) -> Result<(), String> {
    let mut world = World::start(seed).await;
    storage::create_class(&world, "static", NOBODY).await;
    for number in 0..9_u32 {
        let node = format!("node-{}", number % 3 + 1);
        storage::create_volume(&world, &format!("pv-{number}"), "static", 1 + number % 4, &node).await;
    }
    let outcome = async {
        for number in 0..9 {
            storage::create_consumer(&world, &format!("run-{number}"), "static").await;
            strikes(&mut world, 1).await;
        }
        world.heal().await;
        // Pods that were deleted on the way never come back; their claims may wait for ever. Each gets a consumer again.
        for number in 0..9 {
            storage::create_consumer(&world, &format!("run-{number}"), "static").await;
        }
        storage::rest(&world, REST).await?;
        invariants::nodes_run_what_was_asked(&world).await?;
        storage::bound_once(&world).await
    }
    .await;
    outcome.map_err(|violation: String| format!("{violation}\n{}", world.story()))
}

/// A StatefulSet whose volumes are made for it is scaled up and down while everything breaks.
async fn a_set_with_folders(seed: u64) -> Result<(), String> {
    let mut world = World::start(seed).await;
    let rng = world.rng();
    storage::create_class(&world, "local-path", LOCAL_PATH).await;
    storage::create_stateful_set(&world, "local-path", 2).await;
    let outcome = async {
        for _ in 0..4 {
            strikes(&mut world, 2).await;
            workloads::scale_stateful_set(&world, 1 + u32::try_from(rng.next_u64() % 4).unwrap_or(0)).await;
        }
        world.heal().await;
        workloads::rest(&world, true, false, REST).await?;
        invariants::nodes_run_what_was_asked(&world).await?;
        storage::bound_once(&world).await
    }
    .await;
    outcome.map_err(|violation: String| format!("{violation}\n{}", world.story()))
}

fn none_fails(seeds: std::ops::Range<u64>, mut life: impl FnMut(u64) -> Result<(), String>) {
    let failed: Vec<String> = seeds
        .filter_map(|seed| life(seed).err().map(|violation| format!("seed {seed}: {violation}")))
        .collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed:\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

#[test]
fn every_claim_gets_one_volume_whatever_breaks() {
    none_fails(0..6, |seed| simulate(seed, a_run_for_volumes(seed)));
}

#[test]
fn volumes_are_made_once_whatever_breaks() {
    none_fails(0..6, |seed| simulate(seed, a_set_with_folders(seed)));
}

#[test]
fn a_pod_that_comes_back_goes_where_its_volume_is() {
    simulate(21, async {
        let mut world = World::start(21).await;
        storage::create_class(&world, "local-path", LOCAL_PATH).await;
        storage::create_stateful_set(&world, "local-path", 1).await;
        workloads::rest(&world, true, false, REST).await.expect("at rest");
        let pods: Api<Pod> = Api::default_namespaced(world.user());
        let node = async || {
            let pod = pods.get("db-0").await.expect("there");
            pod.spec.and_then(|spec| spec.node_name).expect("placed")
        };
        let first = node().await;
        let number = first.trim_start_matches("node-").parse().expect("a number");
        world.power_cut(number);
        // Until the control plane knows: before that, the pod would be sent there again.
        world.pass(Duration::from_secs(30)).await;
        pods.delete("db-0", &DeleteParams::default().grace_period(0))
            .await
            .expect("deleted");
        world.pass(Duration::from_secs(60)).await;
        let waiting = pods.get("db-0").await.expect("made again");
        let placed = waiting.spec.and_then(|spec| spec.node_name);
        assert_eq!(placed, None, "its volume is on a node that is down");
        world.start_component(Component::Kubelet(number));
        workloads::rest(&world, true, false, REST).await.expect("at rest again");
        assert_eq!(node().await, first);
        storage::bound_once(&world).await.expect("bound once");
    });
}

#[test]
fn a_claim_grows_where_its_class_allows_it() {
    simulate(22, async {
        let world = World::start(22).await;
        storage::create_class(&world, "local-path", LOCAL_PATH).await;
        storage::create_consumer(&world, "grows", "local-path").await;
        storage::rest(&world, REST).await.expect("at rest");
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.user());
        let more = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}));
        let params = PatchParams::default();
        let refused = claims
            .patch("grows", &params, &more)
            .await
            .expect_err("its class does not allow it");
        assert!(
            refused
                .to_string()
                .contains("only dynamically provisioned pvc can be resized"),
            "{refused}"
        );
        let classes: Api<k8s_openapi::api::storage::v1::StorageClass> = Api::all(world.user());
        let allow = Patch::Merge(json!({"allowVolumeExpansion": true}));
        classes.patch("local-path", &params, &allow).await.expect("allowed now");
        claims.patch("grows", &params, &more).await.expect("accepted");
        world.pass(Duration::from_secs(5)).await;
        let claim = claims.get("grows").await.expect("there");
        let status = claim.status.expect("a status");
        assert_eq!(status.capacity.expect("a capacity")["storage"].0, "3Gi");
        assert_eq!(status.conditions, None, "it is not being resized any more");
        let volumes: Api<PersistentVolume> = Api::all(world.user());
        let volume = volumes
            .get(&claim.spec.and_then(|spec| spec.volume_name).expect("bound"))
            .await
            .expect("there");
        assert_eq!(
            volume.spec.and_then(|spec| spec.capacity).expect("a capacity")["storage"].0,
            "3Gi"
        );
    });
}

/// A calm world with two pods and their volumes.
async fn calm(seed: u64) -> World {
    let world = World::start(seed).await;
    storage::create_class(&world, "local-path", LOCAL_PATH).await;
    for name in ["one", "two"] {
        storage::create_consumer(&world, name, "local-path").await;
    }
    storage::rest(&world, REST).await.expect("at rest");
    storage::bound_once(&world).await.expect("bound once");
    world
}

#[test]
fn a_volume_that_is_given_away_twice_is_caught() {
    simulate(23, async {
        let world = calm(23).await;
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(world.user());
        let volume = claims
            .get("one")
            .await
            .expect("there")
            .spec
            .and_then(|spec| spec.volume_name);
        // What a binder does that does not look whether the volume is another's.
        let mut thief = claims.get("two").await.expect("there");
        thief.metadata = kube::core::ObjectMeta {
            name: Some("thief".to_owned()),
            ..Default::default()
        };
        thief.spec.as_mut().expect("a spec").volume_name = volume;
        claims.create(&Default::default(), &thief).await.expect("created");
        let caught = storage::bound_once(&world).await.expect_err("it is caught");
        assert!(caught.contains("claims one and thief both name volume"), "{caught}");
    });
}

#[test]
fn a_scheduler_that_does_not_look_at_volumes_is_caught() {
    simulate(24, async {
        let mut world = calm(24).await;
        let pods: Api<Pod> = Api::default_namespaced(world.user());
        let pod = pods.list(&ListParams::default()).await.expect("listed").items.remove(0);
        let (name, spec) = (pod.metadata.name.expect("a name"), pod.spec.expect("a spec"));
        world.crash_component(Component::Scheduler);
        pods.delete(&name, &DeleteParams::default()).await.expect("deleted");
        world.pass(Duration::from_secs(30)).await;
        let elsewhere = if spec.node_name.as_deref() == Some("node-1") {
            "node-2"
        } else {
            "node-1"
        };
        let mut blind = Pod {
            spec: Some(spec),
            ..Pod::default()
        };
        blind.metadata.name = Some("blind".to_owned());
        blind.spec.as_mut().expect("a spec").node_name = Some(elsewhere.to_owned());
        pods.create(&Default::default(), &blind).await.expect("created");
        let caught = storage::bound_once(&world).await.expect_err("it is caught");
        assert!(caught.contains("which does not reach volume"), "{caught}");
    });
}
