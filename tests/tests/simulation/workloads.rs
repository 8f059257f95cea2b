//! Stories of a StatefulSet and a DaemonSet.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams};
use timonel_tests::sim::world::NODES;
use timonel_tests::sim::{Component, World, chaos, invariants, simulate, workloads};

const REST: Duration = Duration::from_secs(600);

/// Lets time pass, and looks all the while that no pod runs twice.
async fn watch_over(world: &World, time: Duration) -> Result<(), String> {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        workloads::one_of_each_identity(world).await?;
        world.pass(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// A StatefulSet is scaled and rolled while nodes lose power one after the other.
async fn scaled_and_rolled(seed: u64) -> Result<(), String> {
    let mut world = World::start(seed).await;
    let rng = world.rng();
    let a_while = || Duration::from_millis(500 + rng.next_u64() % 8000);
    workloads::create_stateful_set(&world, 3).await;
    workloads::rest(&world, true, false, REST).await?;
    for (step, replicas) in [5, 2, 4].into_iter().enumerate() {
        workloads::scale_stateful_set(&world, replicas).await;
        workloads::roll_stateful_set(&world, 2 + step as u64).await;
        watch_over(&world, a_while()).await?;
        let node = u8::try_from(rng.next_u64() % u64::from(NODES)).unwrap_or(0) + 1;
        world.power_cut(node);
        watch_over(&world, a_while()).await?;
        world.start_component(Component::Kubelet(node));
        watch_over(&world, a_while()).await?;
        workloads::rest(&world, true, false, REST)
            .await
            .map_err(|violation| format!("step {step}: {violation}\n{}", world.story()))?;
    }
    workloads::came_in_order(&world)
        .await
        .map_err(|violation| format!("{violation}\n{}", world.story()))
}

#[test]
fn a_stateful_set_is_scaled_and_rolled_in_order_while_nodes_die() {
    for seed in 0..3 {
        simulate(seed, scaled_and_rolled(seed)).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn a_daemon_set_follows_nodes_that_leave_and_join() {
    let outcome = simulate(11, async {
        let mut world = World::start(11).await;
        let nodes: Api<Node> = Api::all(world.user());
        workloads::create_daemon_set(&world).await;
        workloads::rest(&world, false, true, REST).await?;
        for node in [2, 3, 2] {
            world.power_cut(node);
            let name = format!("node-{node}");
            nodes
                .delete(&name, &DeleteParams::default())
                .await
                .map_err(|error| error.to_string())?;
            // Two nodes, two daemons: that of the node that left is collected.
            workloads::rest(&world, false, true, REST).await?;
            world.start_component(Component::Kubelet(node));
            let joined = tokio::time::timeout(REST, async {
                while !matches!(nodes.get_opt(&name).await, Ok(Some(_))) {
                    world.pass(Duration::from_millis(250)).await;
                }
            });
            joined.await.map_err(|_| format!("{name} does not join again"))?;
            workloads::rest(&world, false, true, REST).await?;
        }
        workloads::roll_daemon_set(&world, 2).await;
        workloads::rest(&world, false, true, REST).await
    });
    outcome.unwrap_or_else(|violation| panic!("{violation}"));
}

/// Everything that the seeds' lives have in store, for a StatefulSet and a DaemonSet.
async fn storm(seed: u64) -> Result<(), String> {
    let mut world = World::start(seed).await;
    let rng = world.rng();
    workloads::create_stateful_set(&world, 3).await;
    workloads::create_daemon_set(&world).await;
    workloads::rest(&world, true, true, REST).await?;
    let outcome: Result<(), String> = async {
        for strike in 0..8_u64 {
            match strike % 4 {
                1 => workloads::roll_stateful_set(&world, 2 + strike).await,
                2 => workloads::scale_stateful_set(&world, 1 + u32::try_from(rng.next_u64() % 4).unwrap_or(0)).await,
                3 => workloads::roll_daemon_set(&world, 2 + strike).await,
                _ => {}
            }
            chaos::strike_with(&mut world, rng.next_u64()).await;
            watch_over(&world, Duration::from_millis(rng.next_u64() % 4000)).await?;
            if rng.next_u64().is_multiple_of(3) {
                world.restart_server().await;
                for component in World::components() {
                    world.start_component(component);
                    world.set_cut(component, false);
                }
            }
        }
        world.heal().await;
        workloads::rest(&world, true, true, REST).await?;
        invariants::nodes_run_what_was_asked(&world).await
    }
    .await;
    outcome.map_err(|violation| format!("{violation}\n{}", world.story()))
}

#[test]
fn stateful_and_daemon_sets_come_to_rest_after_any_storm() {
    let failed: Vec<String> = (0..6)
        .filter_map(|seed| {
            simulate(seed, storm(seed))
                .err()
                .map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed:\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}
