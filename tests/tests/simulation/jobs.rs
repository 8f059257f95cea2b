//! Jobs that complete exactly as often as they are asked to, while nodes and the controllers die around them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use timonel_kubelet::simulated::{Behaviour, Matcher};
use timonel_tests::sim::world::NODES;
use timonel_tests::sim::{Component, Faults, World, simulate};

const COMPLETIONS: usize = 6;
const PARALLELISM: usize = 2;

fn job(name: &str, mode: &str) -> Job {
    let pod = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [{"name": "c", "image": "work:1"}]});
    let spec = json!({"completions": COMPLETIONS, "parallelism": PARALLELISM, "completionMode": mode, "backoffLimit": 1000,
        "template": {"spec": pod}});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a Job")
}

/// What goes wrong in a life, by a number.
async fn strike(world: &mut World, dice: u64) {
    let node = u8::try_from(dice / 8 % u64::from(NODES)).expect("small") + 1;
    match dice % 8 {
        0 | 1 => world.crash_component(Component::Controllers),
        2 => world.power_cut(node),
        3 => world.crash_server(),
        4 => world.set_faults(
            Component::Controllers,
            Faults {
                lost_requests: 150,
                lost_answers: 250,
                ..Faults::default()
            },
        ),
        5 => {
            let stale = Faults {
                stale: Duration::from_secs(3),
                delay: Duration::from_millis(300),
                ..Faults::default()
            };
            world.set_faults(Component::Controllers, stale);
        }
        6 => {
            let killed = world.runtime(node).kill(&Matcher::default(), 1);
            world.tell(format!("{killed} containers of node-{node} are killed"));
        }
        _ => world.set_faults(
            Component::Controllers,
            Faults {
                cut_watches: 200,
                ..Faults::default()
            },
        ),
    }
}

async fn finished(world: &World, name: &str) -> Result<Job, String> {
    let jobs: Api<Job> = Api::default_namespaced(world.user());
    let job = jobs.get(name).await.map_err(|error| error.to_string())?;
    let status = job.status.clone().unwrap_or_default();
    let done = status
        .conditions
        .iter()
        .flatten()
        .any(|one| one.type_ == "Complete" && one.status == "True");
    if done {
        Ok(job)
    } else {
        Err(format!("{name} is not complete: {status:?}"))
    }
}

async fn live(seed: u64) -> Result<(), String> {
    let mut world = World::start(seed).await;
    for node in 1..=NODES {
        let ends = Behaviour {
            exits: Some((Duration::from_secs(4), 0)),
            ..Behaviour::default()
        };
        world.runtime(node).script(Matcher::image("work:1"), ends);
    }
    let jobs: Api<Job> = Api::default_namespaced(world.user());
    for (name, mode) in [("plain", "NonIndexed"), ("indexed", "Indexed")] {
        jobs.create(&PostParams::default(), &job(name, mode))
            .await
            .expect("created");
    }
    let rng = world.rng();
    for _ in 0..10 {
        strike(&mut world, rng.next_u64()).await;
        world.pass(Duration::from_millis(rng.next_u64() % 5000)).await;
        if rng.next_u64().is_multiple_of(2) {
            world.restart_server().await;
            for component in World::components() {
                world.start_component(component);
            }
        }
    }
    world.heal().await;
    // A killed pod is replaced after a pause that may have grown to ten minutes.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3600);
    for name in ["plain", "indexed"] {
        loop {
            match finished(&world, name).await {
                Ok(_) => break,
                Err(violation) if tokio::time::Instant::now() > deadline => {
                    return Err(format!("{violation}\n{}", world.story()));
                }
                Err(_) => world.pass(Duration::from_secs(1)).await,
            }
        }
    }
    let plain = finished(&world, "plain").await?;
    let indexed = finished(&world, "indexed").await?;
    let status = indexed.status.unwrap_or_default();
    if status.completed_indexes.as_deref() != Some("0-5") || status.succeeded != Some(6) {
        return Err(format!(
            "the indexes are counted wrongly: {status:?}\n{}",
            world.story()
        ));
    }
    let counted = usize::try_from(plain.status.unwrap_or_default().succeeded.unwrap_or(0)).unwrap_or(0);
    history(&world, counted)
        .await
        .map_err(|violation| format!("{violation}\n{}", world.story()))
}

/// What must hold at every moment: no more pods than the parallelism, one per index, no count that goes back; and in the end as many
/// are counted as there were.
async fn history(world: &World, counted: usize) -> Result<(), String> {
    let mut live: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut succeeded: BTreeSet<String> = BTreeSet::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for write in world.writes().await {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let at = |violation: String| Err(format!("revision {}: {violation}", write.revision));
        if write.key.starts_with("/registry/core/pods/") {
            live.remove(&write.key);
            let Some(pod) = write
                .value
                .as_deref()
                .and_then(|value| serde_json::from_str::<Value>(value).ok())
            else {
                continue;
            };
            let owner = text(&pod["metadata"]["ownerReferences"][0]["name"]);
            let phase = text(&pod["status"]["phase"]);
            if phase == "Succeeded" && owner == "plain" {
                succeeded.insert(text(&pod["metadata"]["uid"]));
            }
            let ended = ["Succeeded", "Failed"].contains(&phase.as_str());
            if ended || !pod["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let index = text(&pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]);
            live.insert(write.key.clone(), (owner.clone(), index.clone()));
            let of_job = live.values().filter(|(job, _)| *job == owner).count();
            if of_job > PARALLELISM {
                return at(format!("{owner} has {of_job} live pods at once"));
            }
            let of_index = live
                .values()
                .filter(|(job, other)| *job == owner && *other == index)
                .count();
            if !index.is_empty() && of_index > 1 {
                return at(format!("index {index} has {of_index} live pods"));
            }
        } else if write.key.starts_with("/registry/batch/jobs/") {
            let Some(job) = write
                .value
                .as_deref()
                .and_then(|value| serde_json::from_str::<Value>(value).ok())
            else {
                continue;
            };
            let now = job["status"]["succeeded"].as_u64().unwrap_or(0);
            let before = counts.insert(write.key.clone(), now).unwrap_or(0);
            if now < before {
                return at(format!("{}: {before} successes became {now}", write.key));
            }
        }
    }
    if succeeded.len() != counted || counted != COMPLETIONS {
        return Err(format!(
            "{} pods succeeded, {counted} are counted, {COMPLETIONS} were wanted",
            succeeded.len()
        ));
    }
    Ok(())
}

fn lives(seeds: std::ops::Range<u64>) {
    let failed: Vec<String> = seeds
        .filter_map(|seed| {
            simulate(seed, live(seed))
                .err()
                .map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn jobs_complete_exactly_while_everything_dies_1_of_2() {
    lives(1000..1006);
}

#[test]
fn jobs_complete_exactly_while_everything_dies_2_of_2() {
    lives(1006..1012);
}

#[test]
fn a_pod_too_many_is_caught() {
    simulate(12, async {
        let mut world = World::start(12).await;
        let jobs: Api<Job> = Api::default_namespaced(world.user());
        jobs.create(&PostParams::default(), &job("plain", "NonIndexed"))
            .await
            .expect("created");
        // What runs for ever fills the parallelism.
        world.pass(Duration::from_secs(20)).await;
        world.crash_component(Component::Controllers);
        history(&world, COMPLETIONS)
            .await
            .expect_err("nothing has succeeded yet");
        let pods: Api<Pod> = Api::default_namespaced(world.user());
        let there = pods.list(&ListParams::default()).await.expect("listed").items;
        assert_eq!(there.len(), PARALLELISM);
        let mut extra = Pod {
            spec: there[0].spec.clone(),
            ..Pod::default()
        };
        extra.metadata.name = Some("extra".to_owned());
        extra
            .metadata
            .owner_references
            .clone_from(&there[0].metadata.owner_references);
        pods.create(&PostParams::default(), &extra).await.expect("created");
        let caught = history(&world, COMPLETIONS).await.expect_err("it is caught");
        assert!(caught.contains("plain has 3 live pods at once"), "{caught}");
    });
}
