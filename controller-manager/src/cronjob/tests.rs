use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde_json::{Value, json};
use timonel_client::law::settles_within;

use super::plan::{Action, Observed, plan};
use crate::owner;

/// A CronJob `tick` (uid `c`) that was created at midnight.
fn cron(spec: Value, status: Value) -> Observed {
    let mut whole = json!({
        "metadata": {"name": "tick", "namespace": "demo", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"schedule": "0 * * * *", "concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}},
        "status": status,
    });
    for (key, value) in spec.as_object().unwrap() {
        whole["spec"][key] = value.clone();
    }
    let cron: CronJob = serde_json::from_value(whole).unwrap();
    Observed {
        cron: Arc::new(cron),
        jobs: Vec::new(),
        gone: Default::default(),
        told: Default::default(),
    }
}

/// A Job that was started for a time; `end` is the condition that it ended with.
fn job(at: &str, end: Option<&str>) -> Arc<Job> {
    let time: Timestamp = at.parse().unwrap();
    let name = format!("tick-{}", time.as_second() / 60);
    let conditions: Vec<Value> = end
        .map(|end| json!({"type": end, "status": "True"}))
        .into_iter()
        .collect();
    let job = json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{at}"),
            "annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": at},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "c", "controller": true}]},
        "spec": {"template": {}},
        "status": {"startTime": at, "conditions": conditions, "completionTime": (end == Some("Complete")).then_some(at)},
    });
    Arc::new(serde_json::from_value(job).unwrap())
}

fn active(at: &str) -> Value {
    let job = job(at, None);
    json!({"kind": "Job", "namespace": "demo", "name": job.metadata.name, "uid": job.metadata.uid})
}

fn with(mut seen: Observed, jobs: &[Arc<Job>]) -> Observed {
    seen.jobs = jobs.to_vec();
    seen
}

fn render(action: &Action) -> String {
    match action {
        Action::Tell(what) => format!("tell {what:?}"),
        Action::SetStatus { status, say } => {
            let active: Vec<&str> = status
                .active
                .iter()
                .flatten()
                .filter_map(|job| job.name.as_deref())
                .collect();
            let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
                time.as_ref().map(|time| time.0.to_string())
            };
            let said: String = say.iter().map(|what| format!("\n  say {what:?}")).collect();
            format!(
                "status active={active:?} last={} successful={}{said}",
                time(&status.last_schedule_time).unwrap_or_default(),
                time(&status.last_successful_time).unwrap_or_default()
            )
        }
        Action::Delete(job) => format!("delete {}", owner::name(&job.metadata)),
        Action::Create(job) => {
            let annotations = job.metadata.annotations.clone().unwrap_or_default();
            format!(
                "create {} for {}",
                owner::name(&job.metadata),
                annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"]
            )
        }
    }
}

#[track_caller]
fn check(seen: &Observed, now: &str, expected: Expect) {
    let plan = plan(seen, now.parse().unwrap());
    let mut lines: Vec<String> = plan.actions.iter().map(render).collect();
    lines.extend(plan.requeue.map(|wait| format!("again in {wait:?}")));
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn a_job_starts_when_its_time_comes_and_not_before() {
    check(
        &cron(json!({}), json!({})),
        "2026-01-01T00:59:59Z",
        expect!["again in 1.1s"],
    );
    check(
        &cron(json!({}), json!({})),
        "2026-01-01T01:00:00.1Z",
        expect![[r#"
        create tick-29453820 for 2026-01-01T01:00:00Z
        again in 3600s"#]],
    );
    check(
        &cron(json!({"suspend": true}), json!({})),
        "2026-01-01T01:00:00.1Z",
        expect![[""]],
    );
}

#[test]
fn a_started_job_is_noted_by_its_name_whoever_started_it() {
    let seen = with(cron(json!({}), json!({})), &[job("2026-01-01T01:00:00Z", None)]);
    check(
        &seen,
        "2026-01-01T01:00:01Z",
        expect![[r#"
        status active=["tick-29453820"] last=2026-01-01T01:00:00Z successful=
        again in 3599.1s"#]],
    );
    let status = json!({"active": [active("2026-01-01T01:00:00Z")], "lastScheduleTime": "2026-01-01T01:00:00Z"});
    let seen = with(
        cron(json!({}), status.clone()),
        &[job("2026-01-01T01:00:00Z", Some("Complete"))],
    );
    check(
        &seen,
        "2026-01-01T01:30:00Z",
        expect![[r#"
        status active=[] last=2026-01-01T01:00:00Z successful=2026-01-01T01:00:00Z
          say Completed { job: "tick-29453820", how: "Complete" }
        again in 1800.1s"#]],
    );
    let mut seen = cron(json!({}), status);
    seen.gone.insert("uid-2026-01-01T01:00:00Z".into());
    check(
        &seen,
        "2026-01-01T01:30:00Z",
        expect![[r#"
        status active=[] last=2026-01-01T01:00:00Z successful=
          say Missing { job: "tick-29453820" }
        again in 1800.1s"#]],
    );
}

#[test]
fn concurrency_is_allowed_forbidden_or_ended() {
    let status = json!({"active": [active("2026-01-01T01:00:00Z")], "lastScheduleTime": "2026-01-01T01:00:00Z"});
    for (policy, expected) in [
        (
            "Allow",
            expect![[r#"
            create tick-29453880 for 2026-01-01T02:00:00Z
            again in 3600s"#]],
        ),
        (
            "Forbid",
            expect![[r#"
            tell AlreadyActive { at: 2026-01-01T02:00:00Z }
            again in 3600s"#]],
        ),
        (
            "Replace",
            expect![[r#"
            status active=[] last=2026-01-01T01:00:00Z successful=
            delete tick-29453820
            create tick-29453880 for 2026-01-01T02:00:00Z
            again in 3600s"#]],
        ),
    ] {
        let seen = cron(json!({"concurrencyPolicy": policy}), status.clone());
        check(
            &with(seen, &[job("2026-01-01T01:00:00Z", None)]),
            "2026-01-01T02:00:00.1Z",
            expected,
        );
    }
}

#[test]
fn of_missed_times_only_the_last_is_made_up_for_and_none_after_its_deadline() {
    let status = json!({"lastScheduleTime": "2026-01-01T01:00:00Z"});
    check(
        &cron(json!({}), status.clone()),
        "2026-01-01T05:20:00Z",
        expect![[r#"
        create tick-29454060 for 2026-01-01T05:00:00Z
        again in 2400.1s"#]],
    );
    check(
        &cron(json!({}), status.clone()),
        "2026-01-09T05:20:00Z",
        expect![[r#"
        tell TooManyMissed
        create tick-29465580 for 2026-01-09T05:00:00Z
        again in 2400.1s"#]],
    );
    check(
        &cron(json!({"startingDeadlineSeconds": 600}), status.clone()),
        "2026-01-01T05:20:00Z",
        expect!["again in 2400.1s"],
    );
    check(
        &cron(json!({"startingDeadlineSeconds": 1201}), status),
        "2026-01-01T05:20:00Z",
        expect![[r#"
            create tick-29454060 for 2026-01-01T05:00:00Z
            again in 2400.1s"#]],
    );
}

#[test]
fn a_time_zone_decides_what_the_time_is() {
    let zone = json!({"schedule": "30 2 * * *", "timeZone": "Europe/Berlin"});
    let status = json!({"lastScheduleTime": "2026-03-28T01:30:00Z"});
    // The clocks jump from 2:00 to 3:00 on the 29th: no Job that day.
    check(
        &cron(zone.clone(), status.clone()),
        "2026-03-29T23:59:00Z",
        expect!["again in 1860.1s"],
    );
    check(
        &cron(zone, status),
        "2026-03-30T00:30:00.1Z",
        expect![[r#"
        create tick-29580510 for 2026-03-30T02:30:00+02:00
        again in 86400s"#]],
    );
    check(
        &cron(json!({"timeZone": "Europe/Atlantis"}), json!({})),
        "2026-01-01T05:00:00Z",
        expect![[r#"tell UnknownTimeZone { zone: "Europe/Atlantis" }"#]],
    );
    check(
        &cron(json!({"schedule": "0 0 31 2 *"}), json!({})),
        "2026-01-01T05:00:00Z",
        expect![[
            r#"tell Invalid { schedule: "0 0 31 2 *", error: "time difference between two schedules is less than 1 second" }"#
        ]],
    );
    check(
        &cron(json!({"schedule": "nonsense"}), json!({})),
        "2026-01-01T05:00:00Z",
        expect![[
            r#"tell Unparseable { schedule: "nonsense", error: "expected exactly 5 fields, found 1: [nonsense]" }"#
        ]],
    );
}

#[test]
fn a_clock_that_goes_back_starts_nothing_twice() {
    let status = json!({"lastScheduleTime": "2026-01-01T05:00:00Z"});
    check(
        &cron(json!({}), status),
        "2026-01-01T03:20:00Z",
        expect!["again in 9600.1s"],
    );
}

#[test]
fn the_oldest_of_too_many_finished_jobs_go() {
    let times = ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z"];
    let status = json!({"lastScheduleTime": times[2], "lastSuccessfulTime": times[2]});
    let limits = json!({"successfulJobsHistoryLimit": 1});
    let jobs: Vec<Arc<Job>> = times.iter().map(|at| job(at, Some("Complete"))).collect();
    check(
        &with(cron(limits, status), &jobs),
        "2026-01-01T03:30:00Z",
        expect![[r#"
            delete tick-29453820
            delete tick-29453880
            again in 1800.1s"#]],
    );
}

fn apply(seen: &mut Observed, action: &Action) {
    match action {
        Action::Tell(what) => {
            seen.told.insert(what.clone());
        }
        Action::SetStatus { status, .. } => Arc::make_mut(&mut seen.cron).status = Some((**status).clone()),
        Action::Delete(job) => seen.jobs.retain(|other| other.metadata.uid != job.metadata.uid),
        Action::Create(job) => {
            let mut job = (**job).clone();
            job.metadata.uid = Some(format!("uid-{}", owner::name(&job.metadata)));
            seen.jobs.push(Arc::new(job));
        }
    }
}

#[test]
fn plans_come_to_rest_at_every_hour_of_a_day_whatever_the_policy() {
    for policy in ["Allow", "Forbid", "Replace"] {
        for deadline in [None, Some(60), Some(100_000)] {
            let spec =
                json!({"concurrencyPolicy": policy, "startingDeadlineSeconds": deadline, "schedule": "*/7 * * * *"});
            let mut seen = cron(spec, json!({}));
            for hour in 0..24 {
                let now: Timestamp = format!("2026-01-01T{hour:02}:{:02}:30Z", hour * 2).parse().unwrap();
                let rounds = settles_within(3, &mut seen, |seen| plan(seen, now).actions, apply);
                assert!(rounds.is_ok(), "{policy} {deadline:?} {now}: {}", rounds.unwrap_err());
                let mut times: Vec<&str> = seen.jobs.iter().map(|job| owner::name(&job.metadata)).collect();
                times.sort_unstable();
                times.dedup();
                assert_eq!(times.len(), seen.jobs.len(), "no time is served twice");
                if policy != "Allow" {
                    assert!(seen.jobs.len() <= 1, "one at a time");
                }
            }
        }
    }
}
