use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_client::law::settles_within;
use timonel_client::runner::Plan;

use super::backoff::Backoff;
use super::facts::{INDEX, TRACKING};
use super::plan::{Action, Because, Say, plan};
use super::{Observed, new_pod, orphans};
use crate::owner;

const START: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// A Job `crunch` (uid `j`) that started an hour ago, and its pods.
struct World(Observed);

fn job(spec: Value) -> World {
    let mut job: Job = serde_json::from_value(json!({
        "metadata": {"name": "crunch", "namespace": "demo", "uid": "j", "generation": 1},
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"job": "crunch"}},
            "template": {"metadata": {"labels": {"job": "crunch"}}, "spec": {"containers": [], "restartPolicy": "Never"}},
        },
        "status": {"startTime": START},
    }))
    .unwrap();
    let mut whole = serde_json::to_value(&job).unwrap();
    for (key, value) in spec.as_object().unwrap() {
        whole["spec"][key] = value.clone();
    }
    job.spec = serde_json::from_value(whole["spec"].take()).unwrap();
    World(Observed {
        job: Arc::new(job),
        pods: Vec::new(),
        backoff: Some(Backoff::default()),
    })
}

impl World {
    fn status(mut self, status: Value) -> Self {
        let mut whole = json!({"startTime": START});
        for (key, value) in status.as_object().unwrap() {
            whole[key] = value.clone();
        }
        Arc::make_mut(&mut self.0.job).status = serde_json::from_value(whole).unwrap();
        self
    }
    fn unstarted(mut self) -> Self {
        Arc::make_mut(&mut self.0.job).status = None;
        self
    }
    fn pods(mut self, pods: &[Value]) -> Self {
        self.0.pods = pods
            .iter()
            .map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap()))
            .collect();
        self
    }
}

/// A running pod that is tracked; `more` overrides metadata and status.
fn pod(name: &str, phase: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "demo", "uid": format!("uid-{name}"), "labels": {"job": "crunch"},
            "annotations": {}, "finalizers": [TRACKING], "creationTimestamp": START,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "crunch", "uid": "j", "controller": true}],
        },
        "spec": {"containers": [], "nodeName": "n1"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" },
            "lastTransitionTime": START}]},
    })
}

fn of_index(index: u32, name: &str, phase: &str) -> Value {
    let mut pod = pod(name, phase);
    pod["metadata"]["annotations"][INDEX] = index.to_string().into();
    pod
}

fn untracked(mut pod: Value) -> Value {
    pod["metadata"]["finalizers"] = json!([]);
    pod
}

fn leaving(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = START.into();
    pod
}

fn exited(mut pod: Value, code: i32) -> Value {
    pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:30:00Z"}}}]);
    pod
}

fn failed_times(mut pod: Value, counted: u32) -> Value {
    pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = counted.to_string().into();
    pod
}

fn status_line(status: &JobStatus) -> String {
    let mut line = format!(
        "status active={} ready={} terminating={} succeeded={} failed={}",
        status.active.unwrap_or(0),
        status.ready.unwrap_or(0),
        status.terminating.unwrap_or(0),
        status.succeeded.unwrap_or(0),
        status.failed.unwrap_or(0),
    );
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    for (name, list) in [("uncounted+", uncounted.succeeded), ("uncounted-", uncounted.failed)] {
        if let Some(list) = list {
            line += &format!(" {name}{}", list.join(","));
        }
    }
    for (name, text) in [
        ("completed", &status.completed_indexes),
        ("failed", &status.failed_indexes),
    ] {
        if let Some(text) = text {
            line += &format!(" {name}[{text}]");
        }
    }
    for condition in status.conditions.iter().flatten() {
        line += &format!(
            " {}={}({})",
            condition.type_,
            condition.status,
            condition.reason.as_deref().unwrap_or("")
        );
    }
    line
}

fn render(action: &Action) -> String {
    let name = |pod: &Pod| owner::name(&pod.metadata).to_owned();
    match action {
        Action::Adopt(pod) => format!("adopt {}", name(pod)),
        Action::Release(pod) => format!("release {}", name(pod)),
        Action::Delete { pod, uncounted } => {
            format!("delete {}{}", name(pod), if *uncounted { " uncounted" } else { "" })
        }
        Action::Create(pods) => {
            let each = pods.iter().map(|new| match (new.index, new.failures) {
                (None, _) => " -".to_owned(),
                (Some(index), None) => format!(" {index}"),
                (Some(index), Some((counted, ignored))) => format!(" {index}({counted}+{ignored})"),
            });
            format!("create{}", each.collect::<String>())
        }
        Action::SetStatus { status, say } => {
            let said: String = say.iter().map(|what| format!("\n  say {what:?}")).collect();
            status_line(status) + &said
        }
        Action::Remember(backoff) => format!("remember {} failures", backoff.failures),
        Action::RemoveFinalizer(pod) => format!("let go {}", name(pod)),
    }
}

fn text(plan: &Plan<Action, Because>) -> String {
    let mut lines: Vec<String> = plan.actions.iter().map(render).collect();
    lines.extend(plan.requeue.map(|after| format!("again in {after:?}")));
    lines.join("\n")
}

#[track_caller]
fn check(world: &World, expected: Expect) {
    expected.assert_eq(&text(&plan(&world.0, now())));
}

#[test]
fn starts_pods_up_to_the_parallelism_and_no_more_than_are_missing() {
    check(
        &job(json!({"parallelism": 3, "completions": 8})).unstarted(),
        expect![[r#"
            create - - -
            status active=0 ready=0 terminating=0 succeeded=0 failed=0"#]],
    );
    check(
        &job(json!({"parallelism": 3, "completions": 5}))
            .status(json!({"succeeded": 3}))
            .pods(&[pod("a", "Running")]),
        expect![[r#"
            create -
            status active=1 ready=1 terminating=0 succeeded=3 failed=0"#]],
    );
    check(
        &job(json!({"parallelism": 2, "completions": null})),
        expect![[r#"
        create - -
        status active=0 ready=0 terminating=0 succeeded=0 failed=0"#]],
    );
}

#[test]
fn a_queue_of_work_starts_nobody_after_the_first_success() {
    let pods = [pod("a", "Running"), untracked(pod("b", "Succeeded"))];
    check(
        &job(json!({"parallelism": 3, "completions": null}))
            .status(json!({"succeeded": 1}))
            .pods(&pods),
        expect!["status active=1 ready=1 terminating=0 succeeded=1 failed=0"],
    );
}

#[test]
fn a_pod_is_counted_in_three_steps() {
    check(
        &job(json!({})).pods(&[pod("a", "Succeeded")]),
        expect![[r#"
        status active=0 ready=0 terminating=0 succeeded=0 failed=0 uncounted+uid-a SuccessCriteriaMet=True(CompletionsReached)
        let go a"#]],
    );
    let listed = json!({"uncountedTerminatedPods": {"succeeded": ["uid-a"]}});
    check(
        &job(json!({})).status(listed.clone()).pods(&[pod("a", "Succeeded")]),
        expect![[r#"
            status active=0 ready=0 terminating=0 succeeded=0 failed=0 uncounted+uid-a SuccessCriteriaMet=True(CompletionsReached)
            let go a"#]],
    );
    check(
        &job(json!({}))
            .status(listed.clone())
            .pods(&[untracked(pod("a", "Succeeded"))]),
        expect![
            "status active=0 ready=0 terminating=0 succeeded=1 failed=0 SuccessCriteriaMet=True(CompletionsReached)"
        ],
    );
    check(
        &job(json!({})).status(listed),
        expect![
            "status active=0 ready=0 terminating=0 succeeded=1 failed=0 SuccessCriteriaMet=True(CompletionsReached)"
        ],
    );
}

#[test]
fn a_job_is_complete_when_nothing_is_left_to_count_or_to_end() {
    let met = json!([{"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached"}]);
    let status =
        json!({"succeeded": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}, "conditions": met});
    check(
        &job(json!({}))
            .status(status.clone())
            .pods(&[untracked(pod("a", "Succeeded"))]),
        expect![[r#"
            status active=0 ready=0 terminating=0 succeeded=1 failed=0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)
              say Completed"#]],
    );
    check(
        &job(json!({}))
            .status(status.clone())
            .pods(&[untracked(leaving(pod("a", "Running")))]),
        expect![
            "status active=0 ready=0 terminating=1 succeeded=1 failed=0 SuccessCriteriaMet=True(CompletionsReached)"
        ],
    );
    check(
        &job(json!({"completions": 0})),
        expect![
            "status active=0 ready=0 terminating=0 succeeded=0 failed=0 SuccessCriteriaMet=True(CompletionsReached)"
        ],
    );
}

#[test]
fn failed_pods_are_replaced_after_a_pause_that_grows() {
    let world = job(json!({})).pods(&[exited(pod("a", "Failed"), 1)]);
    check(
        &world,
        expect![[r#"
        create -
        status active=0 ready=0 terminating=0 succeeded=0 failed=0 uncounted-uid-a
        remember 1 failures
        let go a"#]],
    );
    let mut waiting =
        job(json!({})).status(json!({"failed": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}));
    waiting.0.backoff = Some(Backoff {
        failures: 2,
        last: Some(now() - Duration::from_secs(5)),
    });
    check(&waiting, expect!["again in 15s"]);
    waiting.0.backoff = None;
    let waiting = waiting.pods(&[untracked(exited(pod("a", "Failed"), 1))]);
    check(
        &waiting,
        expect![[r#"
        create -
        remember 1 failures"#]],
    );
}

#[test]
fn too_many_failures_end_a_job_and_stop_what_runs() {
    let pods = [exited(pod("a", "Failed"), 1), pod("b", "Running")];
    check(
        &job(json!({"backoffLimit": 0, "parallelism": 2, "completions": 2})).pods(&pods),
        expect![[r#"
            delete b
            status active=1 ready=1 terminating=0 succeeded=0 failed=0 uncounted-uid-a,uid-b FailureTarget=True(BackoffLimitExceeded)
            remember 1 failures
            let go a
            let go b"#]],
    );
    let target = json!([{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]);
    let status = json!({"failed": 2, "ready": 0, "uncountedTerminatedPods": {}, "conditions": target});
    check(
        &job(json!({"backoffLimit": 0})).status(status),
        expect![[r#"
        status active=0 ready=0 terminating=0 succeeded=0 failed=2 FailureTarget=True(BackoffLimitExceeded) Failed=True(BackoffLimitExceeded)
          say Failed { reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" }"#]],
    );
}

#[test]
fn restarts_inside_of_pods_count_against_the_limit() {
    let mut restarted = pod("a", "Running");
    restarted["status"]["containerStatuses"] =
        json!([{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": {}}]);
    let mut world = job(json!({"backoffLimit": 2})).pods(&[restarted]);
    check(
        &world,
        expect!["status active=1 ready=1 terminating=0 succeeded=0 failed=0"],
    );
    let spec = Arc::make_mut(&mut world.0.job).spec.as_mut().unwrap();
    spec.template.spec.as_mut().unwrap().restart_policy = Some("OnFailure".into());
    check(
        &world,
        expect![[r#"
        delete a
        status active=1 ready=1 terminating=0 succeeded=0 failed=0 uncounted-uid-a FailureTarget=True(BackoffLimitExceeded)
        let go a"#]],
    );
}

#[test]
fn a_deadline_ends_a_job() {
    check(
        &job(json!({"activeDeadlineSeconds": 3600})).pods(&[pod("a", "Running")]),
        expect![[r#"
            delete a
            status active=1 ready=1 terminating=0 succeeded=0 failed=0 uncounted-uid-a FailureTarget=True(DeadlineExceeded)
            let go a"#]],
    );
    check(
        &job(json!({"activeDeadlineSeconds": 3660})).pods(&[pod("a", "Running")]),
        expect![[r#"
            status active=1 ready=1 terminating=0 succeeded=0 failed=0
            again in 60s"#]],
    );
}

#[test]
fn every_index_gets_one_pod() {
    let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 3});
    let pods = [
        of_index(0, "a", "Running"),
        of_index(2, "b", "Succeeded"),
        of_index(3, "c", "Failed"),
    ];
    check(
        &job(spec.clone())
            .status(json!({"completedIndexes": "1", "succeeded": 1}))
            .pods(&pods),
        expect![[r#"
            create 3 4
            status active=1 ready=1 terminating=0 succeeded=2 failed=0 uncounted-uid-c completed[1,2]
            let go b
            let go c"#]],
    );
    let twice = [
        of_index(0, "a", "Pending"),
        of_index(0, "b", "Running"),
        of_index(7, "c", "Running"),
    ];
    check(
        &job(spec).pods(&twice),
        expect![[r#"
        delete a uncounted
        delete c uncounted
        status active=3 ready=2 terminating=0 succeeded=0 failed=0"#]],
    );
}

#[test]
fn an_index_may_fail_without_the_job() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX});
    let first = failed_times(exited(of_index(0, "a", "Failed"), 1), 0);
    check(
        &job(spec.clone()).pods(&[first.clone(), of_index(1, "b", "Running")]),
        expect![[r#"
            create 0(1+0)
            status active=1 ready=1 terminating=0 succeeded=0 failed=0 failed[]"#]],
    );
    let second = failed_times(exited(of_index(0, "c", "Failed"), 1), 1);
    check(
        &job(spec.clone()).pods(&[first, second.clone(), of_index(1, "b", "Running")]),
        expect![[r#"
            status active=1 ready=1 terminating=0 succeeded=0 failed=0 uncounted-uid-a,uid-c failed[0]
            let go a
            let go c"#]],
    );
    let both = [second.clone(), of_index(1, "b", "Succeeded")];
    check(
        &job(spec).pods(&both),
        expect![[r#"
        status active=0 ready=0 terminating=0 succeeded=1 failed=0 uncounted-uid-c completed[1] failed[0] FailureTarget=True(FailedIndexes)
        let go c
        let go b"#]],
    );
    let most = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1, "maxFailedIndexes": 0, "backoffLimit": i32::MAX});
    check(
        &job(most).pods(&[second]),
        expect![[r#"
        status active=0 ready=0 terminating=0 succeeded=0 failed=0 uncounted-uid-c failed[0] FailureTarget=True(MaxFailedIndexesExceeded)
        let go c"#]],
    );
}

#[test]
fn a_failure_policy_judges_failed_pods() {
    let rules = json!({"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1]}},
    ]});
    let spec = json!({"podFailurePolicy": rules, "backoffLimit": 0});
    let mut disrupted = exited(pod("a", "Failed"), 42);
    disrupted["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
    check(
        &job(spec.clone()).pods(&[disrupted]),
        expect![[r#"
        create -
        status active=0 ready=0 terminating=0 succeeded=0 failed=0
        remember 1 failures
        let go a"#]],
    );
    check(
        &job(spec.clone()).pods(&[exited(pod("a", "Failed"), 42)]),
        expect![[r#"
            status active=0 ready=0 terminating=0 succeeded=0 failed=0 uncounted-uid-a FailureTarget=True(PodFailurePolicy)
            remember 1 failures
            let go a"#]],
    );
    check(
        &job(spec).pods(&[leaving(pod("a", "Running"))]),
        expect!["status active=0 ready=0 terminating=1 succeeded=0 failed=0"],
    );
}

#[test]
fn a_success_policy_ends_a_job_early() {
    let rules = json!({"rules": [{"succeededIndexes": "0,2", "succeededCount": 1}]});
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "successPolicy": rules});
    check(
        &job(spec).pods(&[of_index(0, "a", "Running"), of_index(2, "b", "Succeeded")]),
        expect![[r#"
            delete a
            status active=1 ready=1 terminating=0 succeeded=1 failed=0 completed[2] SuccessCriteriaMet=True(SuccessPolicy)
            let go a
            let go b"#]],
    );
}

#[test]
fn a_suspended_job_runs_nothing_and_starts_afresh() {
    check(
        &job(json!({"suspend": true})).unstarted(),
        expect![[r#"
        status active=0 ready=0 terminating=0 succeeded=0 failed=0 Suspended=True(JobSuspended)
          say Suspended"#]],
    );
    check(
        &job(json!({"suspend": true})).pods(&[pod("a", "Running")]),
        expect![[r#"
            delete a uncounted
            status active=1 ready=1 terminating=0 succeeded=0 failed=0 Suspended=True(JobSuspended)
              say Suspended"#]],
    );
    let suspended =
        json!([{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]);
    let world = job(json!({})).status(json!({"conditions": suspended}));
    check(
        &world,
        expect![[r#"
        create -
        status active=0 ready=0 terminating=0 succeeded=0 failed=0 Suspended=False(JobResumed)
          say Resumed"#]],
    );
    let resumed = plan(&world.0, now())
        .actions
        .into_iter()
        .find_map(|action| match action {
            Action::SetStatus { status, .. } => status.start_time,
            _ => None,
        });
    assert_eq!(resumed, Some(Time(now())), "the deadline counts from the resumption");
}

#[test]
fn orphans_are_adopted_and_strangers_released_before_anything_else() {
    let mut orphan = pod("a", "Running");
    orphan["metadata"]["ownerReferences"] = json!([]);
    let mut stranger = pod("b", "Running");
    stranger["metadata"]["labels"] = json!({});
    check(
        &job(json!({"parallelism": 3})).pods(&[orphan, stranger]),
        expect![[r#"
        adopt a
        release b"#]],
    );
}

#[test]
fn jobs_of_others_and_finished_ones_are_left_alone() {
    check(
        &job(json!({"managedBy": "example.com/other"})).pods(&[pod("a", "Running")]),
        expect![[""]],
    );
    check(
        &job(json!({}))
            .status(json!({"conditions": [{"type": "Failed", "status": "True"}]}))
            .pods(&[pod("a", "Failed")]),
        expect![[""]],
    );
}

#[test]
fn pods_that_nobody_will_count_are_let_go() {
    let world = job(json!({}));
    let orphan = |pod: Value, job: Option<&Arc<Job>>| {
        let observed = orphans::Observed {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            job: job.cloned(),
        };
        format!("{:?}", orphans::plan(&observed).because)
    };
    let mut alone = pod("a", "Running");
    alone["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(orphan(alone, None), "[HasNoController]");
    assert_eq!(orphan(pod("a", "Running"), None), "[JobIsGone { job: \"crunch\" }]");
    assert_eq!(orphan(pod("a", "Running"), Some(&world.0.job)), "[]");
    let ended = world.status(json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    assert_eq!(
        orphan(pod("a", "Running"), Some(&ended.0.job)),
        "[JobHasEnded { job: \"crunch\" }]"
    );
    let elsewhere = job(json!({"managedBy": "example.com/other"}));
    assert_eq!(orphan(pod("a", "Running"), Some(&elsewhere.0.job)), "[]");
}

/// What the API server and the caches make of an action.
fn apply(seen: &mut Observed, action: &Action) {
    let same = |pod: &Pod, other: &Arc<Pod>| other.metadata.uid == pod.metadata.uid;
    match action {
        Action::Adopt(pod) | Action::Release(pod) => {
            let adopt = matches!(action, Action::Adopt(_));
            let reference = owner::controller_reference(&*seen.job);
            for other in seen.pods.iter_mut().filter(|other| same(pod, other)) {
                Arc::make_mut(other).metadata.owner_references = adopt.then(|| vec![reference.clone()]);
                Arc::make_mut(other).metadata.finalizers = adopt.then(|| vec![TRACKING.to_owned()]);
            }
        }
        Action::Delete { pod, uncounted } => {
            for other in seen.pods.iter_mut().filter(|other| same(pod, other)) {
                Arc::make_mut(other).metadata.deletion_timestamp = Some(Time(now()));
            }
            if *uncounted {
                seen.pods.retain(|other| !same(pod, other));
            }
        }
        Action::Create(pods) => {
            for new in pods {
                let mut pod = new_pod::build(&seen.job, new);
                let number = seen.pods.len();
                pod.metadata.name = Some(format!("new-{number}"));
                pod.metadata.uid = Some(format!("uid-new-{number}"));
                seen.pods.push(Arc::new(pod));
            }
        }
        Action::SetStatus { status, .. } => Arc::make_mut(&mut seen.job).status = Some((**status).clone()),
        Action::Remember(backoff) => seen.backoff = Some(*backoff),
        Action::RemoveFinalizer(pod) => {
            for other in seen.pods.iter_mut().filter(|other| same(pod, other)) {
                Arc::make_mut(other).metadata.finalizers = None;
            }
            // Whoever was asked to go and is held by nobody is gone.
            seen.pods
                .retain(|other| other.metadata.deletion_timestamp.is_none() || other.metadata.finalizers.is_some());
        }
    }
}

fn any_pod() -> impl Strategy<Value = (u32, &'static str, bool, bool, i32)> {
    let phases = prop_oneof![Just("Pending"), Just("Running"), Just("Failed"), Just("Succeeded")];
    (
        0..5_u32,
        phases,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.8),
        prop_oneof![Just(1), Just(42)],
    )
}

proptest! {
    #[test]
    fn plans_come_to_rest_and_count_every_pod_once(
        pods in prop::collection::vec(any_pod(), 0..7),
        (parallelism, completions, limit) in (0..4, prop::option::of(0..5), 0..4),
        (is_indexed, per_index, suspend, with_policy) in (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), any::<bool>()),
    ) {
        let mut spec = json!({"parallelism": parallelism, "completions": completions, "backoffLimit": limit, "suspend": suspend});
        if is_indexed && completions.is_some() {
            spec["completionMode"] = "Indexed".into();
            if per_index {
                spec["backoffLimitPerIndex"] = 1.into();
                spec["backoffLimit"] = i32::MAX.into();
            }
        }
        if with_policy {
            spec["podFailurePolicy"] = json!({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}]});
        }
        let built: Vec<Value> = pods.iter().enumerate().map(|(at, (index, phase, going, tracked, code))| {
            let mut pod = of_index(*index, &format!("p{at}"), phase);
            if *phase == "Failed" {
                pod = exited(pod, *code);
            }
            // Of pods that are being deleted, only those are still there that something holds.
            if *going && *tracked {
                pod = leaving(pod);
            }
            if *tracked { pod } else { untracked(pod) }
        }).collect();
        let mut seen = job(spec).pods(&built).0;
        let fresh = |phase: &str| built.iter().filter(|pod| pod["status"]["phase"] == phase && pod["metadata"]["finalizers"][0].is_string()).count();
        let (succeeded, failed) = (fresh("Succeeded"), fresh("Failed"));
        let rounds = settles_within(6, &mut seen, |seen| plan(seen, now()).actions, apply);
        prop_assert!(rounds.is_ok(), "{}", rounds.unwrap_err());
        let status = seen.job.status.clone().unwrap();
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        prop_assert!(uncounted.succeeded.is_none() && uncounted.failed.is_none(), "{status:?}");
        if !is_indexed || completions.is_none() {
            prop_assert_eq!(usize::try_from(status.succeeded.unwrap_or(0)).unwrap(), succeeded);
            if !with_policy {
                prop_assert!(usize::try_from(status.failed.unwrap_or(0)).unwrap() >= failed);
            }
        }
    }
}

#[test]
fn what_is_said_at_the_end_is_upstreams() {
    let target = json!([{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "late"}]);
    let world = job(json!({})).status(json!({"conditions": target}));
    let said = plan(&world.0, now())
        .actions
        .into_iter()
        .find_map(|action| match action {
            Action::SetStatus { say, .. } => Some(say),
            _ => None,
        });
    assert_eq!(
        said,
        Some(vec![Say::Failed {
            reason: "DeadlineExceeded".into(),
            message: "late".into()
        }])
    );
}
