//! What the controllers do with CronJobs. Nobody waits for a full minute here: the schedule moves to a time that has just passed.

use jiff::SignedDuration;
use serde_json::{Value, json};
use timonel_client::{Clock as _, SystemClock};

use crate::client::{Resource, eventually};
use crate::server::Server;

/// A daily schedule whose time was so many minutes ago.
fn minutes_ago(minutes: i64) -> String {
    let time = SystemClock.now() - SignedDuration::from_mins(minutes);
    time.strftime("%M %H * * *").to_string()
}

struct Cluster {
    crons: Resource,
    jobs: Resource,
    events: Resource,
    _server: Server,
}

impl Cluster {
    /// Creates CronJobs that last started something three hours ago, and whose time was two hours ago.
    fn with(crons: &[(&str, &str, bool)]) -> Self {
        let server = Server::control_plane();
        let cluster = Self {
            crons: server.at("batch/v1", "cronjobs").within("default"),
            jobs: server.at("batch/v1", "jobs").within("default"),
            events: server.at("v1", "events").within("default"),
            _server: server,
        };
        for (name, policy, suspend) in crons {
            let pod = json!({"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i:1"}]});
            let template = json!({"spec": {"template": {"spec": pod}}});
            let spec = json!({"schedule": minutes_ago(120), "concurrencyPolicy": policy, "suspend": suspend, "jobTemplate": template});
            cluster.crons.create(json!({"metadata": {"name": name}, "spec": spec}));
            let last = SystemClock.now() - SignedDuration::from_hours(3);
            let last = last.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            cluster
                .crons
                .patch(&format!("{name}/status"), json!({"status": {"lastScheduleTime": last}}));
        }
        cluster
    }

    /// The Jobs of a CronJob, once there are so many and its status lists them as active.
    fn active(&self, name: &str, number: usize) -> Vec<String> {
        eventually("so many Jobs are active", || {
            let names: Vec<String> = self
                .jobs
                .names("")
                .into_iter()
                .filter(|job| job.starts_with(name))
                .collect();
            let active = self.crons.get(name)["status"]["active"].as_array().map_or(0, Vec::len);
            if names.len() == number && active == number {
                Ok(names)
            } else {
                Err(format!("{names:?}, {active} listed"))
            }
        })
    }

    /// Moves the schedule to an hour ago: the next time has come.
    fn goes_on(&self, name: &str) {
        self.crons.patch(name, json!({"spec": {"schedule": minutes_ago(60)}}));
    }

    fn hears(&self, reason: &str) -> Value {
        eventually("the event is there", || {
            let events = self.events.items("");
            let found = events
                .iter()
                .find(|event| event["reason"] == reason && event["involvedObject"]["kind"] == "CronJob");
            found.cloned().ok_or_else(|| format!("{events:?}"))
        })
    }
}

/// CronJob AllowConcurrent
#[test]
fn cronjob_allowconcurrent() {
    let cluster = Cluster::with(&[("tick", "Allow", false)]);
    let first = cluster.active("tick", 1);
    assert_eq!(
        cluster.hears("SuccessfulCreate")["message"],
        format!("Created job {}", first[0])
    );
    cluster.goes_on("tick");
    let both = cluster.active("tick", 2);
    assert!(both.contains(&first[0]), "{both:?}");
}

/// CronJob ForbidConcurrent
#[test]
fn cronjob_forbidconcurrent() {
    let cluster = Cluster::with(&[("tick", "Forbid", false)]);
    let first = cluster.active("tick", 1);
    cluster.goes_on("tick");
    cluster.hears("JobAlreadyActive");
    assert_eq!(cluster.active("tick", 1), first);
}

/// CronJob ReplaceConcurrent
#[test]
fn cronjob_replaceconcurrent() {
    let cluster = Cluster::with(&[("tick", "Replace", false)]);
    let first = cluster.active("tick", 1);
    cluster.goes_on("tick");
    cluster.jobs.until_absent(&first[0]);
    assert_ne!(cluster.active("tick", 1), first);
    cluster.hears("SuccessfulDelete");
}

/// CronJob Suspend
#[test]
fn cronjob_suspend() {
    let cluster = Cluster::with(&[("idle", "Allow", true), ("witness", "Allow", false)]);
    cluster.active("witness", 1);
    cluster.goes_on("idle");
    cluster.goes_on("witness");
    cluster.active("witness", 2);
    assert!(
        cluster.jobs.names("").iter().all(|job| job.starts_with("witness")),
        "what is suspended starts nothing"
    );
    cluster.crons.patch("idle", json!({"spec": {"suspend": false}}));
    cluster.active("idle", 1);
}
