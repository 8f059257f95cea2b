//! Stories told to the planner, and the law that it obeys.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::backoff::Limits;
use super::restart::spec_hash;
use super::*;
use crate::runtime::{ContainerRecord, ContainerState, SandboxRecord, SandboxState, labels};

const T0: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(T0 + seconds).unwrap()
}

/// A node with one pod, to which planned actions can be applied.
#[derive(Clone, Debug)]
struct Story {
    pod: Value,
    gone: bool,
    observed: Observed,
    now: i64,
    next: usize,
}

/// A pod with these containers, written as JSON.
fn story(containers: Value) -> Story {
    let pod = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": {"containers": containers, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30},
    });
    let limits = Limits {
        initial: Duration::from_secs(10),
        max: Duration::from_secs(300),
    };
    let memory = Memory {
        first_seen: Some(at(0)),
        ..Memory::default()
    };
    Story {
        pod,
        gone: false,
        now: 0,
        next: 0,
        observed: Observed {
            pod: None,
            last_pod: None,
            sandboxes: Vec::new(),
            containers: Vec::new(),
            probes: BTreeMap::new(),
            memory,
            node: NodeFacts {
                ips: vec!["10.0.0.1".into()],
                runtime: "containerd".into(),
                restart: limits,
                pull: limits,
                retry: Duration::from_secs(10),
            },
        },
    }
}

fn one() -> Story {
    story(json!([{"name": "main", "image": "app:1"}]))
}

impl Story {
    fn set(mut self, path: &str, value: Value) -> Self {
        let (parent, field) = path.rsplit_once('/').unwrap();
        self.pod.pointer_mut(parent).unwrap()[field] = value;
        self
    }

    fn pod(&self) -> Pod {
        serde_json::from_value(self.pod.clone()).unwrap()
    }

    fn observed(&self) -> Observed {
        let mut observed = self.observed.clone();
        let mut pod = self.pod();
        pod.status = observed.memory.reported.clone();
        let pod = Arc::new(pod);
        observed.pod = (!self.gone).then(|| Arc::clone(&pod));
        observed.last_pod = Some(pod);
        observed
    }

    fn plan(&self) -> PodPlan {
        plan_pod(&self.observed(), at(self.now))
    }

    /// Does to the model what the runtime, the volumes and the API server would do.
    fn apply(&mut self, action: &Action) {
        let now = at(self.now);
        let observed = &mut self.observed;
        match action {
            Action::PrepareVolumes => observed.memory.volumes = VolumeMemory::Ready,
            Action::RunSandbox { attempt } => observed.sandboxes.insert(
                0,
                SandboxRecord {
                    id: format!("s{attempt}"),
                    name: "web".into(),
                    namespace: "default".into(),
                    uid: "u1".into(),
                    attempt: *attempt,
                    state: SandboxState::Ready,
                    created_at: now,
                    ips: vec!["10.244.0.2".into()],
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                },
            ),
            Action::StopSandbox { id } => {
                for sandbox in observed.sandboxes.iter_mut().filter(|sandbox| sandbox.id == *id) {
                    sandbox.state = SandboxState::NotReady;
                    sandbox.ips.clear();
                }
                let inside: Vec<String> = observed
                    .containers
                    .iter()
                    .filter(|c| {
                        c.sandbox_id == *id
                            && matches!(c.state, ContainerState::Running { .. } | ContainerState::Unknown)
                    })
                    .map(|c| c.id.clone())
                    .collect();
                for id in inside {
                    self.exit_id(&id, 137);
                }
            }
            Action::RemoveSandbox { id } => {
                observed.sandboxes.retain(|sandbox| sandbox.id != *id);
                observed.containers.retain(|container| container.sandbox_id != *id);
            }
            Action::EnsureImage { container, attempt, .. } => {
                let image = self.image_of(container);
                let memory = ImageMemory {
                    attempt: *attempt,
                    image: image.clone(),
                    result: Ok(format!("sha256:{image}")),
                };
                self.observed.memory.images.insert(container.clone(), memory);
            }
            Action::StartContainer {
                container,
                attempt,
                sandbox,
                backoff,
                ..
            } => {
                if let Some(backoff) = backoff {
                    observed.memory.restart_backoff.insert(container.clone(), *backoff);
                }
                self.start(container, *attempt, &sandbox.clone());
            }
            Action::StopContainer { id, .. } => self.exit_id(id, 143),
            Action::RemoveContainer { id } => observed.containers.retain(|container| container.id != *id),
            Action::Announce { key, .. } => {
                observed.memory.announced.insert(key.clone());
            }
            Action::CleanUp => observed.memory.cleaned = true,
            Action::FinalizeDeletion => self.gone = true,
        }
    }

    fn image_of(&self, name: &str) -> String {
        let pod = self.pod();
        let spec = pod.spec.unwrap();
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.into_iter()
            .find(|c| c.name == name)
            .and_then(|c| c.image.clone())
            .unwrap_or_default()
    }

    fn start(&mut self, name: &str, attempt: u32, sandbox: &str) {
        self.next += 1;
        let pod = self.pod();
        let spec = pod.spec.unwrap();
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let hash = all
            .into_iter()
            .find(|c| c.name == name)
            .map(spec_hash)
            .unwrap_or_default();
        let record = ContainerRecord {
            id: format!("{name}-{}", self.next),
            sandbox_id: sandbox.into(),
            name: name.into(),
            pod_uid: "u1".into(),
            attempt,
            image: self.image_of(name),
            image_id: "sha256:1".into(),
            state: ContainerState::Running {
                started_at: at(self.now),
            },
            created_at: at(self.now),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([(labels::HASH.to_owned(), hash)]),
            log_path: String::new(),
        };
        self.observed.containers.insert(0, record);
    }

    fn exit_id(&mut self, id: &str, exit_code: i32) {
        let now = at(self.now);
        for container in self
            .observed
            .containers
            .iter_mut()
            .filter(|container| container.id == id)
        {
            container.state = ContainerState::Exited {
                started_at: Some(now),
                finished_at: now,
                exit_code,
                reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
                message: String::new(),
            };
        }
    }

    /// Ends the running container of that name.
    fn exits(mut self, name: &str, exit_code: i32) -> Self {
        let running = self
            .observed
            .containers
            .iter()
            .find(|c| c.name == name)
            .map(|c| c.id.clone());
        self.exit_id(&running.unwrap(), exit_code);
        self
    }

    fn probes(mut self, name: &str, view: ProbeView) -> Self {
        let id = self
            .observed
            .containers
            .iter()
            .find(|c| c.name == name)
            .map(|c| c.id.clone());
        self.observed.probes.insert(id.unwrap(), view);
        self
    }

    fn wait(mut self, seconds: i64) -> Self {
        self.now += seconds;
        self
    }

    fn deleted(self, grace: i64) -> Self {
        let when = at(self.now + grace).to_string();
        self.set("/metadata/deletionTimestamp", json!(when))
            .set("/metadata/deletionGracePeriodSeconds", json!(grace))
    }

    /// One round: report, then do everything that was planned.
    fn round(&mut self) -> Vec<Action> {
        let plan = self.plan();
        self.observed.memory.reported.clone_from(&plan.status);
        let actions = plan.actions.clone();
        for action in &actions {
            self.apply(action);
        }
        actions
    }

    fn settle(mut self) -> Self {
        for _ in 0..30 {
            if self.round().is_empty() && self.plan().actions.is_empty() {
                return self;
            }
        }
        panic!("never settles: {:#?}", self.plan());
    }

    fn power_cut(mut self) -> Self {
        let ids: Vec<String> = self.observed.containers.iter().map(|c| c.id.clone()).collect();
        for id in ids {
            self.exit_id(&id, 255);
        }
        for sandbox in &mut self.observed.sandboxes {
            sandbox.state = SandboxState::NotReady;
        }
        self.kubelet_restart()
    }

    fn kubelet_restart(mut self) -> Self {
        let reported = self.observed.memory.reported.take();
        self.observed.memory = Memory {
            first_seen: Some(at(self.now)),
            reported,
            ..Memory::default()
        };
        self.observed.probes.clear();
        self
    }
}

/// What the planner says, in few words.
fn tell(plan: &PodPlan) -> String {
    let mut text = format!("{:?}", plan.lifecycle);
    for action in &plan.actions {
        let words = match action {
            Action::Announce { event, .. } => format!("say {}: {}", event.reason, event.message),
            Action::StartContainer {
                container,
                attempt,
                backoff,
                ..
            } => {
                let wait = backoff.map_or(String::new(), |backoff| format!(", next wait {:?}", backoff.delay));
                format!("start {container} #{attempt}{wait}")
            }
            Action::StopContainer { id, grace, message, .. } => format!("stop {id} in {grace:?}: {message}"),
            Action::EnsureImage { container, attempt, .. } => format!("image for {container} #{attempt}"),
            other => format!("{other:?}"),
        };
        let _ = write!(text, "\n  do {words}");
    }
    if let Some(requeue) = plan.requeue {
        let _ = write!(text, "\n  again at {}s", requeue.as_second() - T0);
    }
    if let Some(status) = &plan.status {
        let _ = write!(text, "\n  phase {}", status.phase.as_deref().unwrap_or("?"));
        let all = status
            .init_container_statuses
            .iter()
            .flatten()
            .chain(status.container_statuses.iter().flatten());
        for container in all {
            let state = container.state.clone().unwrap_or_default();
            let words = if state.running.is_some() {
                "running".to_owned()
            } else if let Some(ended) = state.terminated {
                format!("terminated {} {}", ended.exit_code, ended.reason.unwrap_or_default())
            } else {
                let waiting = state.waiting.unwrap_or_default();
                format!(
                    "waiting {} {}",
                    waiting.reason.unwrap_or_default(),
                    waiting.message.unwrap_or_default()
                )
            };
            let _ = write!(
                text,
                "\n  {}: {} ready={} restarts={}",
                container.name,
                words.trim_end(),
                container.ready,
                container.restart_count
            );
        }
        for condition in status.conditions.iter().flatten().filter(|c| c.status != "True") {
            let _ = write!(
                text,
                "\n  not {}: {} {}",
                condition.type_,
                condition.reason.as_deref().unwrap_or_default(),
                condition.message.as_deref().unwrap_or_default()
            );
        }
    }
    text
}

#[track_caller]
fn check(story: &Story, expected: Expect) {
    expected.assert_eq(&tell(&story.plan()));
}

#[test]
fn a_new_pod_gets_volumes_a_sandbox_an_image_and_a_container_in_that_order() {
    let mut story = one();
    let mut order = Vec::new();
    loop {
        let actions = story.round();
        if actions.is_empty() {
            break;
        }
        order.push(actions);
    }
    let names: Vec<String> = order
        .iter()
        .flatten()
        .map(|action| {
            format!("{action:?}")
                .split([' ', '{'])
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(names, ["PrepareVolumes", "RunSandbox", "EnsureImage", "StartContainer"]);
    check(
        &story,
        expect![[r#"
        Running
          phase Running
          main: running ready=true restarts=0"#]],
    );
}

#[test]
fn what_is_not_there_yet_is_waiting() {
    check(
        &one(),
        expect![[r#"
        Volumes
          do PrepareVolumes
          phase Pending
          main: waiting ContainerCreating ready=false restarts=0
          not PodReadyToStartContainers:  
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
}

#[test]
fn a_container_that_ends_is_started_at_once_and_then_waits_twice_as_long_each_time() {
    let story = one().settle().wait(5).exits("main", 1).settle();
    let story = story.wait(1).exits("main", 1);
    check(
        &story,
        expect![[r#"
        Running
          do say BackOff: Back-off restarting failed container main in pod web_default(u1)
          again at 16s
          phase Running
          main: waiting CrashLoopBackOff back-off 10s restarting failed container=main pod=web_default(u1) ready=false restarts=1
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    let story = story.wait(9);
    check(
        &story,
        expect![[r#"
        Running
          do say BackOff: Back-off restarting failed container main in pod web_default(u1)
          again at 16s
          phase Running
          main: waiting CrashLoopBackOff back-off 10s restarting failed container=main pod=web_default(u1) ready=false restarts=1
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    let story = story.wait(1).settle().exits("main", 2);
    check(
        &story,
        expect![[r#"
        Running
          do say BackOff: Back-off restarting failed container main in pod web_default(u1)
          again at 36s
          phase Running
          main: waiting CrashLoopBackOff back-off 20s restarting failed container=main pod=web_default(u1) ready=false restarts=2
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
}

#[test]
fn never_means_never_and_on_failure_means_only_then() {
    let never = one().set("/spec/restartPolicy", json!("Never")).settle();
    check(
        &never.clone().exits("main", 0).settle(),
        expect![[r#"
        Terminated
          phase Succeeded
          main: terminated 0 Completed ready=false restarts=0
          not PodReadyToStartContainers:  
          not Ready: PodCompleted 
          not ContainersReady: PodCompleted "#]],
    );
    check(
        &never.exits("main", 1).settle(),
        expect![[r#"
        Terminated
          phase Failed
          main: terminated 1 Error ready=false restarts=0
          not PodReadyToStartContainers:  
          not Ready: PodFailed 
          not ContainersReady: PodFailed "#]],
    );
    let on_failure = one().set("/spec/restartPolicy", json!("OnFailure")).settle();
    check(
        &on_failure.exits("main", 0).settle(),
        expect![[r#"
        Terminated
          phase Succeeded
          main: terminated 0 Completed ready=false restarts=0
          not PodReadyToStartContainers:  
          not Ready: PodCompleted 
          not ContainersReady: PodCompleted "#]],
    );
}

fn with_probes() -> Story {
    story(json!([{
        "name": "main", "image": "app:1",
        "startupProbe": {"exec": {"command": ["a"]}},
        "livenessProbe": {"exec": {"command": ["b"]}, "terminationGracePeriodSeconds": 7},
        "readinessProbe": {"exec": {"command": ["c"]}},
    }]))
    .settle()
}

#[test]
fn a_startup_probe_holds_the_other_two_back() {
    let story = with_probes();
    let kinds = |story: &Story| story.plan().probes.iter().map(|task| task.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&story), [ProbeKind::Startup]);
    check(
        &story,
        expect![[r#"
        Running
          phase Running
          main: running ready=false restarts=0
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    let started = ProbeView {
        startup: Verdict::Passing,
        ..ProbeView::default()
    };
    let story = story.probes("main", started);
    assert_eq!(kinds(&story), [ProbeKind::Liveness, ProbeKind::Readiness]);
    check(
        &story,
        expect![[r#"
        Running
          phase Running
          main: running ready=false restarts=0
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    let ready = ProbeView {
        readiness: Verdict::Passing,
        ..started
    };
    check(
        &story.probes("main", ready),
        expect![[r#"
        Running
          phase Running
          main: running ready=true restarts=0"#]],
    );
}

#[test]
fn a_failed_liveness_probe_restarts_with_the_grace_period_of_the_probe() {
    let failing = ProbeView {
        startup: Verdict::Passing,
        liveness: Verdict::Failing,
        readiness: Verdict::Passing,
    };
    check(
        &with_probes().probes("main", failing),
        expect![[r#"
        Running
          do stop main-1 in 7s: Container main failed liveness probe, will be restarted
          phase Running
          main: running ready=true restarts=0"#]],
    );
    let failing = ProbeView {
        startup: Verdict::Failing,
        ..ProbeView::default()
    };
    check(
        &with_probes().probes("main", failing),
        expect![[r#"
        Running
          do stop main-1 in 30s: Container main failed startup probe, will be restarted
          phase Running
          main: running ready=false restarts=0
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
}

#[test]
fn a_restart_of_the_kubelet_touches_no_container_and_keeps_it_ready() {
    let ready = ProbeView {
        startup: Verdict::Passing,
        liveness: Verdict::Passing,
        readiness: Verdict::Passing,
    };
    let story = with_probes().probes("main", ready).settle().kubelet_restart();
    check(
        &story,
        expect![[r#"
        Running
          do PrepareVolumes
          phase Running
          main: running ready=true restarts=0"#]],
    );
}

#[test]
fn after_a_power_cut_the_sandbox_is_replaced_and_the_count_goes_on() {
    let story = one().settle().power_cut().settle();
    check(
        &story,
        expect![[r#"
        Running
          phase Running
          main: running ready=true restarts=1"#]],
    );
    assert_eq!(story.observed.sandboxes[0].attempt, 1);
}

fn with_init() -> Story {
    let init = json!([
        {"name": "one", "image": "i:1"},
        {"name": "side", "image": "s:1", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}},
        {"name": "two", "image": "i:2"},
    ]);
    one().set("/spec/initContainers", init)
}

#[test]
fn init_containers_run_in_order_and_a_sidecar_lets_the_next_go_when_it_has_started() {
    let story = with_init().settle();
    check(
        &story,
        expect![[r#"
        Initializing
          phase Pending
          one: running ready=false restarts=0
          side: waiting PodInitializing ready=false restarts=0
          two: waiting PodInitializing ready=false restarts=0
          main: waiting PodInitializing ready=false restarts=0
          not Initialized: ContainersNotInitialized containers with incomplete status: [one side two]
          not Ready: ContainersNotReady containers with unready status: [side main]
          not ContainersReady: ContainersNotReady containers with unready status: [side main]"#]],
    );
    let story = story.exits("one", 0).settle();
    check(
        &story,
        expect![[r#"
        Initializing
          phase Pending
          one: terminated 0 Completed ready=true restarts=0
          side: running ready=false restarts=0
          two: waiting PodInitializing ready=false restarts=0
          main: waiting PodInitializing ready=false restarts=0
          not Initialized: ContainersNotInitialized containers with incomplete status: [side two]
          not Ready: ContainersNotReady containers with unready status: [side main]
          not ContainersReady: ContainersNotReady containers with unready status: [side main]"#]],
    );
    let started = ProbeView {
        startup: Verdict::Passing,
        ..ProbeView::default()
    };
    let story = story.probes("side", started).settle();
    check(
        &story,
        expect![[r#"
        Initializing
          phase Pending
          one: terminated 0 Completed ready=true restarts=0
          side: running ready=true restarts=0
          two: running ready=false restarts=0
          main: waiting PodInitializing ready=false restarts=0
          not Initialized: ContainersNotInitialized containers with incomplete status: [two]
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    let story = story.exits("two", 0).settle();
    check(
        &story,
        expect![[r#"
        Running
          phase Running
          one: terminated 0 Completed ready=true restarts=0
          side: running ready=true restarts=0
          two: terminated 0 Completed ready=true restarts=0
          main: running ready=true restarts=0"#]],
    );
    let failed = with_init()
        .set("/spec/restartPolicy", json!("Never"))
        .settle()
        .exits("one", 4)
        .settle();
    check(
        &failed,
        expect![[r#"
            Terminated
              phase Failed
              one: terminated 4 Error ready=false restarts=0
              side: waiting PodInitializing ready=false restarts=0
              two: waiting PodInitializing ready=false restarts=0
              main: waiting PodInitializing ready=false restarts=0
              not PodReadyToStartContainers:  
              not Initialized: ContainersNotInitialized containers with incomplete status: [one side two]
              not Ready: PodFailed 
              not ContainersReady: PodFailed "#]],
    );
}

#[test]
fn a_deleted_pod_stops_its_containers_then_its_sidecars_then_its_sandbox_and_is_finalized() {
    let started = ProbeView {
        startup: Verdict::Passing,
        ..ProbeView::default()
    };
    let mut story = with_init()
        .settle()
        .exits("one", 0)
        .settle()
        .probes("side", started)
        .settle()
        .exits("two", 0)
        .settle()
        .deleted(20);
    let mut told = String::new();
    while !story.gone {
        let actions = story.plan();
        told.push_str(
            tell(&actions)
                .lines()
                .filter(|line| line.starts_with("  do"))
                .collect::<Vec<_>>()
                .join("\n")
                .as_str(),
        );
        told.push_str("\n-\n");
        story.round();
    }
    expect![[r#"
          do stop main-4 in 20s: Stopping container main
        -
          do stop side-2 in 20s: Stopping container side
        -
          do StopSandbox { id: "s0" }
        -

        -
          do FinalizeDeletion
        -
    "#]]
    .assert_eq(&told);
    check(&story.settle(), expect!["Gone"]);
}

#[test]
fn a_second_and_more_impatient_delete_shortens_the_grace_period() {
    let mut story = one().settle().deleted(30);
    story.observed.memory.busy.insert(Busy::Stop("main-1".into()));
    story.observed.memory.stop_by.insert("main-1".into(), at(30));
    assert!(story.plan().actions.is_empty());
    check(
        &story.deleted(1),
        expect![[r#"
        Terminating
          do stop main-1 in 1s: Stopping container main
          phase Running
          main: running ready=true restarts=0"#]],
    );
}

#[test]
fn a_pod_that_is_gone_from_the_api_is_removed_from_the_node() {
    let mut story = one().settle();
    story.gone = true;
    check(
        &story,
        expect![[r#"
        Removing
          do stop main-1 in 30s: Stopping container main"#]],
    );
    check(&story.settle(), expect!["Gone"]);
}

#[test]
fn a_deadline_ends_the_pod() {
    let story = one().set("/spec/activeDeadlineSeconds", json!(60)).settle();
    check(
        &story,
        expect![[r#"
        Running
          again at 60s
          phase Running
          main: running ready=true restarts=0"#]],
    );
    check(
        &story.wait(60).settle(),
        expect![[r#"
        Terminated
          phase Failed
          main: terminated 143 Error ready=false restarts=0
          not PodReadyToStartContainers:  
          not Ready: PodFailed 
          not ContainersReady: PodFailed "#]],
    );
}

#[test]
fn a_failed_pull_backs_off() {
    let mut story = one();
    story.round();
    story.round();
    let failure = super::observed::ImageFailure {
        reason: "ErrImagePull".into(),
        message: "no such host".into(),
        at: at(0),
    };
    let memory = ImageMemory {
        attempt: 0,
        image: "app:1".into(),
        result: Err(failure),
    };
    story.observed.memory.images.insert("main".into(), memory);
    let backoff = Backoff {
        delay: Duration::from_secs(10),
        since: at(0),
    };
    story.observed.memory.pull_backoff.insert("app:1".into(), backoff);
    check(
        &story,
        expect![[r#"
        Running
          again at 1s
          phase Pending
          main: waiting ErrImagePull no such host ready=false restarts=0
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    check(
        &story.clone().wait(2),
        expect![[r#"
        Running
          do say BackOff: Back-off pulling image "app:1"
          do say Failed: Error: ImagePullBackOff
          again at 10s
          phase Pending
          main: waiting ImagePullBackOff Back-off pulling image "app:1": ErrImagePull: no such host ready=false restarts=0
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
    check(
        &story.wait(10),
        expect![[r#"
        Running
          do image for main #0
          phase Pending
          main: waiting ContainerCreating ready=false restarts=0
          not Ready: ContainersNotReady containers with unready status: [main]
          not ContainersReady: ContainersNotReady containers with unready status: [main]"#]],
    );
}

#[derive(Clone, Debug)]
enum Step {
    Settle,
    Round,
    Wait(i64),
    Exit(usize, i32),
    Unknown(usize),
    PowerCut,
    KubeletRestart,
    Probe(usize, bool),
    Delete(i64),
    Gone,
    Policy(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Settle),
        3 => Just(Step::Round),
        3 => (0..400i64).prop_map(Step::Wait),
        4 => (0..3usize, prop_oneof![Just(0), Just(1), Just(137)]).prop_map(|(which, code)| Step::Exit(which, code)),
        1 => (0..3usize).prop_map(Step::Unknown),
        1 => Just(Step::PowerCut),
        1 => Just(Step::KubeletRestart),
        3 => (0..3usize, any::<bool>()).prop_map(|(which, good)| Step::Probe(which, good)),
        1 => (0..40i64).prop_map(Step::Delete),
        1 => Just(Step::Gone),
        1 => prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")].prop_map(Step::Policy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Apply a plan, observe again, and at last the plan is empty, whatever happened before.
    #[test]
    fn every_plan_settles(steps in proptest::collection::vec(step(), 0..14)) {
        let mut story = with_init();
        story.pod["spec"]["containers"][0]["livenessProbe"] = json!({"exec": {"command": ["b"]}});
        for step in steps {
            let pick = |story: &Story, which: usize| story.observed.containers.get(which).map(|c| c.id.clone());
            match step {
                Step::Settle => story = story.settle(),
                Step::Round => { story.round(); }
                Step::Wait(seconds) => story.now += seconds,
                Step::Exit(which, code) => if let Some(id) = pick(&story, which) { story.exit_id(&id, code); },
                Step::Unknown(which) => if let Some(container) = story.observed.containers.get_mut(which) {
                    container.state = ContainerState::Unknown;
                },
                Step::PowerCut => story = story.power_cut(),
                Step::KubeletRestart => story = story.kubelet_restart(),
                Step::Probe(which, good) => if let Some(id) = pick(&story, which) {
                    let verdict = if good { Verdict::Passing } else { Verdict::Failing };
                    story.observed.probes.insert(id, ProbeView { startup: verdict, liveness: verdict, readiness: verdict });
                },
                Step::Delete(grace) => story = story.deleted(grace),
                Step::Gone => story.gone = true,
                Step::Policy(policy) => story = story.set("/spec/restartPolicy", json!(policy)),
            }
        }
        let story = story.settle();
        let plan = story.plan();
        if story.gone {
            prop_assert_eq!(plan.lifecycle, Lifecycle::Gone);
        }
        let over = plan.status.as_ref().is_some_and(|status| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")));
        if over {
            let alive = story.observed.containers.iter().any(|c| matches!(c.state, ContainerState::Running { .. }));
            prop_assert!(!alive, "a pod that is over runs nothing");
        }
    }
}
