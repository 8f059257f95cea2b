//! A CronJob in the night in which the clocks of its time zone are put forward, with controllers that are away when its time comes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use timonel_kubelet::simulated::{Behaviour, Matcher};
use timonel_tests::sim::world::NODES;
use timonel_tests::sim::{Component, World, simulate};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Every time for which a Job was ever started, in the order of the store's history.
async fn started(world: &World) -> Vec<String> {
    let mut started = Vec::new();
    for write in world
        .writes()
        .await
        .into_iter()
        .filter(|write| write.key.starts_with("/registry/batch/jobs/"))
    {
        let job: serde_json::Value = serde_json::from_str(write.value.as_deref().unwrap_or("{}")).expect("JSON");
        let time = job["metadata"]["annotations"][SCHEDULED]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !time.is_empty() && !started.contains(&time) {
            started.push(time);
        }
    }
    started
}

#[test]
fn a_night_without_an_hour_has_no_jobs_in_it_and_a_late_job_comes_once() {
    simulate(11, async {
        // In Berlin it is 1:58; two minutes later it will be three.
        let night: Timestamp = "2026-03-29T00:58:00Z".parse().expect("a time");
        let mut world = World::start_at(11, night).await;
        for node in 1..=NODES {
            let ends = Behaviour {
                exits: Some((Duration::from_secs(2), 0)),
                ..Behaviour::default()
            };
            world.runtime(node).script(Matcher::image("work:1"), ends);
        }
        let pod = json!({"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "work:1"}]});
        let cron: CronJob = serde_json::from_value(json!({"metadata": {"name": "tick"}, "spec": {
            "schedule": "*/5 2-3 * * *", "timeZone": "Europe/Berlin", "successfulJobsHistoryLimit": 2,
            "jobTemplate": {"spec": {"template": {"spec": pod}}}}}))
        .expect("a CronJob");
        let crons: Api<CronJob> = Api::default_namespaced(world.user());
        crons.create(&PostParams::default(), &cron).await.expect("created");

        world.pass(Duration::from_secs(180)).await;
        assert_eq!(
            started(&world).await,
            ["2026-03-29T03:00:00+02:00"],
            "{}",
            world.story()
        );
        // From 3:01 to 3:07 nobody is there.
        world.crash_component(Component::Controllers);
        world.pass(Duration::from_secs(360)).await;
        world.start_component(Component::Controllers);
        world.pass(Duration::from_secs(240)).await;
        let times = [
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:05:00+02:00",
            "2026-03-29T03:10:00+02:00",
        ];
        assert_eq!(started(&world).await, times, "{}", world.story());

        let jobs: Api<Job> = Api::default_namespaced(world.user());
        let kept = jobs.list(&ListParams::default()).await.expect("listed").items;
        assert_eq!(kept.len(), 2, "two are remembered: {kept:?}");
        let status = crons.get("tick").await.expect("there").status.unwrap_or_default();
        let last: Timestamp = "2026-03-29T01:10:00Z".parse().expect("a time");
        assert_eq!(status.last_schedule_time.map(|time| time.0), Some(last));
        assert!(status.last_successful_time.is_some_and(|time| time.0 >= last));
        assert!(status.active.is_none(), "all have ended: {:?}", status.active);
    });
}
