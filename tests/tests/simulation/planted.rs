//! The harness is proven by bugs that are planted from outside, one for each kind of fault: each must be caught.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use timonel_tests::sim::chaos::{self, NAME};
use timonel_tests::sim::{Component, Faults, invariants, simulate};

const SHORT: Duration = Duration::from_secs(60);

#[test]
fn a_store_that_forgets_what_it_acknowledged_is_caught() {
    simulate(1, async {
        let mut world = chaos::calm(1).await.expect("calm");
        let written = chaos::write(&world, 1).await.expect("acknowledged");
        world
            .crash_server_and_lose_acknowledged_writes(|key| !key.contains("written-"))
            .await;
        world.heal().await;
        let caught = invariants::acknowledged_writes_are_there(&world, &[written])
            .await
            .expect_err("it is caught");
        assert!(caught.contains("is lost"), "{caught}");
    });
}

#[test]
fn a_component_that_does_not_come_back_is_caught() {
    simulate(2, async {
        let mut world = chaos::calm(2).await.expect("calm");
        world.crash_component(Component::Controllers);
        chaos::roll(&world, 2).await;
        let caught = chaos::rest(&world, SHORT).await.expect_err("it is caught");
        assert!(caught.contains("old template"), "{caught}");
    });
}

#[test]
fn a_watch_that_swallows_events_is_caught() {
    simulate(3, async {
        let mut world = chaos::calm(3).await.expect("calm");
        world.set_faults(
            Component::Scheduler,
            Faults {
                swallowed_frames: 1000,
                ..Faults::default()
            },
        );
        chaos::roll(&world, 2).await;
        let caught = chaos::rest(&world, SHORT).await.expect_err("it is caught");
        assert!(caught.contains("not at rest"), "{caught}");
    });
}

#[test]
fn a_controller_that_acts_on_a_stale_cache_is_caught() {
    simulate(4, async {
        let mut world = chaos::calm(4).await.expect("calm");
        // What a ReplicaSet controller without read-your-own-writes does: it counts pods in a cache that does not show its last
        // creation yet, and creates again.
        let pods: Api<Pod> = Api::default_namespaced(world.user());
        let mut stale = pods.list(&ListParams::default()).await.expect("listed").items;
        let gone = stale.pop().expect("a pod");
        let name = gone.metadata.name.as_deref().expect("a name");
        world.crash_component(Component::Controllers);
        pods.delete(name, &DeleteParams::default()).await.expect("deleted");
        for round in 0..2 {
            let mut pod = Pod {
                spec: gone.spec.clone(),
                ..Pod::default()
            };
            pod.metadata.name = Some(format!("extra-{round}"));
            pod.metadata.labels.clone_from(&gone.metadata.labels);
            pod.metadata
                .owner_references
                .clone_from(&gone.metadata.owner_references);
            pods.create(&PostParams::default(), &pod).await.expect("created");
        }
        let caught = invariants::always(&world).await.expect_err("it is caught");
        assert!(caught.contains("4 live pods at once"), "{caught}");
    });
}

#[test]
fn a_node_that_keeps_running_what_was_deleted_is_caught() {
    simulate(5, async {
        let mut world = chaos::calm(5).await.expect("calm");
        let pods: Api<Pod> = Api::default_namespaced(world.user());
        let there = pods
            .list(&ListParams::default().fields("spec.nodeName=node-1"))
            .await
            .expect("listed");
        assert!(!there.items.is_empty(), "the scheduler spreads: node-1 has pods");
        // The kubelet is gone for good and nobody takes the machine's power: the containers run on.
        world.crash_component(Component::Kubelet(1));
        world.pass(SHORT).await;
        let caught = invariants::converged(&world, NAME).await.expect_err("it is caught");
        assert!(
            caught.contains("not ready") || caught.contains("still ending"),
            "the API shows that a node does not answer: {caught}"
        );
        // A user who believes that the machine is dead deletes its pods by force: replicas come elsewhere, and all looks well.
        for name in there.items.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
            let force = DeleteParams::default().grace_period(0);
            drop(pods.delete(name, &force).await);
        }
        world.pass(SHORT).await;
        invariants::converged(&world, NAME).await.expect("replaced elsewhere");
        let caught = invariants::nodes_run_what_was_asked(&world)
            .await
            .expect_err("it is caught");
        assert!(caught.contains("node-1 still runs"), "{caught}");
        // The kubelet comes back and stops what nobody asked for any more.
        world.start_component(Component::Kubelet(1));
        chaos::rest(&world, SHORT).await.expect("at rest");
    });
}
