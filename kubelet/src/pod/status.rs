//! What to say about a pod: phase, conditions, container statuses; from observation only.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::containers::{has_started, is_ready, post_start_pending};
use super::observed::Observed;
use super::plan::{Draft, Lifecycle};
use super::restart::{is_sidecar, wants_restart};
use crate::runtime::{ContainerRecord, ContainerState};

/// Upstream's words.
pub(super) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// `name_namespace(uid)`, as messages name a pod.
pub(crate) fn key(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// Whether a phase is final.
pub(super) fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// When this kubelet (or its forerunner) first saw the pod.
pub(super) fn start_time(observed: &Observed, pod: &Pod) -> Option<Timestamp> {
    let known = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    known.map(|time| time.0).or(observed.memory.first_seen)
}

/// The phase as last reported, which the informer's copy may not show yet.
pub(super) fn known_phase<'a>(observed: &'a Observed, pod: &'a Pod) -> Option<&'a str> {
    let reported = observed.memory.reported.as_ref().or(pod.status.as_ref());
    reported.and_then(|status| status.phase.as_deref())
}

/// What the API says about this very container.
pub(super) fn old_status<'a>(
    pod: &'a Pod,
    observed: &Observed,
    record: &ContainerRecord,
) -> Option<&'a ContainerStatus> {
    let id = format!("{}://{}", observed.node.runtime, record.id);
    named_status(pod, &record.name).filter(|status| status.container_id.as_deref() == Some(&id))
}

fn named_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .flatten()
        .chain(status.init_container_statuses.iter().flatten());
    all.into_iter().find(|known| known.name == name)
}

fn terminated(observed: &Observed, record: &ContainerRecord) -> Option<ContainerStateTerminated> {
    let ContainerState::Exited {
        started_at,
        finished_at,
        exit_code,
        reason,
        message,
    } = &record.state
    else {
        return None;
    };
    let default = if *exit_code == 0 { "Completed" } else { "Error" };
    Some(ContainerStateTerminated {
        container_id: Some(format!("{}://{}", observed.node.runtime, record.id)),
        exit_code: *exit_code,
        finished_at: Some(Time(seconds(*finished_at))),
        message: Some(message.clone()).filter(|message| !message.is_empty()),
        reason: Some(if reason.is_empty() {
            default.to_owned()
        } else {
            reason.clone()
        }),
        signal: None,
        started_at: Some(Time(started_at.map_or(Timestamp::UNIX_EPOCH, seconds))),
    })
}

/// The API's times have seconds; cutting them here keeps a status equal to itself after a round trip.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn waiting(reason: &str, message: Option<String>) -> ApiState {
    ApiState {
        waiting: Some(ContainerStateWaiting {
            message,
            reason: Some(reason.to_owned()),
        }),
        ..ApiState::default()
    }
}

fn container_status(
    draft: &Draft<'_>,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    init: bool,
) -> ContainerStatus {
    let observed = draft.observed;
    let mut named = observed.named(&container.name);
    let (newest, previous) = (named.next(), named.next());
    let old = named_status(pod, &container.name);
    let has_init = spec.init_containers.as_ref().is_some_and(|list| !list.is_empty());
    let not_yet = if has_init && !init {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    let not_yet = if init { "PodInitializing" } else { not_yet };
    let wait = draft.waiting.get(&container.name);

    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let Some(record) = newest else {
        let known = wait.map(|wait| waiting(&wait.reason, wait.message.clone()));
        status.state = Some(known.unwrap_or_else(|| waiting(not_yet, None)));
        if let Some(old) = old {
            // The runtime has forgotten what the API remembers.
            status.restart_count = old.restart_count;
            status.last_state = Some(ApiState {
                terminated: old.state.as_ref().and_then(|state| state.terminated.clone()),
                ..ApiState::default()
            })
            .filter(|state| state.terminated.is_some())
            .or_else(|| old.last_state.clone());
            status.container_id.clone_from(&old.container_id);
            status.image_id.clone_from(&old.image_id);
        }
        return status;
    };
    status.restart_count = i32::try_from(record.attempt).unwrap_or(i32::MAX);
    status.container_id = Some(format!("{}://{}", observed.node.runtime, record.id));
    status.image_id.clone_from(&record.image_id);
    if !record.image.is_empty() && !record.image.starts_with("sha256:") {
        status.image.clone_from(&record.image);
    }
    let before = previous.and_then(|record| terminated(observed, record)).or_else(|| {
        old.filter(|old| old.container_id == status.container_id)
            .and_then(|old| old.last_state.as_ref()?.terminated.clone())
    });
    let last = |terminated: Option<ContainerStateTerminated>| {
        terminated.map(|terminated| ApiState {
            terminated: Some(terminated),
            ..ApiState::default()
        })
    };
    status.last_state = last(before);
    match &record.state {
        ContainerState::Running { .. } if post_start_pending(observed, container) => {
            status.state = Some(waiting(not_yet, None));
        }
        ContainerState::Running { started_at } => {
            status.state = Some(ApiState {
                running: Some(ContainerStateRunning {
                    started_at: Some(Time(seconds(*started_at))),
                }),
                ..ApiState::default()
            });
            status.started = Some(has_started(observed, pod, container, record));
            status.ready = if init && !is_sidecar(container) {
                false
            } else {
                is_ready(observed, pod, container, record)
            };
        }
        ContainerState::Exited { exit_code, .. } => {
            let ended = terminated(observed, record);
            if let Some(wait) = wait {
                status.last_state = last(ended);
                status.state = Some(waiting(&wait.reason, wait.message.clone()));
            } else {
                status.ready = init && !is_sidecar(container) && *exit_code == 0;
                status.state = last(ended);
            }
        }
        ContainerState::Created | ContainerState::Unknown => {
            let known = wait.map(|wait| waiting(&wait.reason, wait.message.clone()));
            status.state = Some(known.unwrap_or_else(|| waiting(not_yet, None)));
        }
    }
    status
}

/// A container of a pod that has ended must have ended too, even if nobody saw it.
fn settle(status: &mut ContainerStatus) {
    status.ready = false;
    status.started = Some(false);
    let is_over = status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    if is_over {
        return;
    }
    status.state = Some(
        match status.last_state.as_ref().and_then(|state| state.terminated.clone()) {
            Some(terminated) => ApiState {
                terminated: Some(terminated),
                ..ApiState::default()
            },
            None => ApiState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: 137,
                    reason: Some("ContainerStatusUnknown".to_owned()),
                    message: Some("The container could not be located when the pod was terminated".to_owned()),
                    ..ContainerStateTerminated::default()
                }),
                ..ApiState::default()
            },
        },
    );
    status.last_state = None;
}

/// Settles what had its turn. What never had one because initialization failed goes on saying that it waits.
fn settle_all(spec: &PodSpec, init: &mut [ContainerStatus], main: &mut [ContainerStatus]) {
    let initialized = spec
        .init_containers
        .iter()
        .flatten()
        .zip(init.iter())
        .all(|(container, status)| {
            if is_sidecar(container) {
                status.container_id.is_some()
            } else {
                exit_code(status) == Some(0)
            }
        });
    let begun = initialized || main.iter().any(|status| status.container_id.is_some());
    let turns = init
        .iter()
        .rposition(|status| status.container_id.is_some())
        .map_or(0, |last| last + 1);
    for status in &mut init[..turns] {
        let done = exit_code(status) == Some(0);
        settle(status);
        status.ready = done;
    }
    for status in main.iter_mut().filter(|_| begun) {
        settle(status);
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let of = |state: &Option<ApiState>| state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
    of(&status.state)
}

fn phase(pod: &Pod, spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus], ended: bool) -> &'static str {
    let (mut pending_init, mut failed_init) = (0, 0);
    for (container, status) in spec.init_containers.iter().flatten().zip(init) {
        if is_sidecar(container) {
            if status.started != Some(true) && exit_code(status).is_none() {
                pending_init += 1;
            }
            continue;
        }
        match exit_code(status) {
            Some(0) => {}
            Some(code) => {
                pending_init += 1;
                if !wants_restart(pod, container, code, true) {
                    failed_init += 1;
                }
            }
            None => pending_init += 1,
        }
    }
    let (mut running, mut waits, mut stopped, mut succeeded, mut final_count) = (0, 0, 0, 0, 0);
    for (container, status) in spec.containers.iter().zip(main) {
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            running += 1;
        } else if let Some(over) = state.terminated {
            stopped += 1;
            succeeded += i32::from(over.exit_code == 0);
            final_count += i32::from(ended || !wants_restart(pod, container, over.exit_code, false));
        } else if status.last_state.as_ref().is_some_and(|last| last.terminated.is_some()) {
            stopped += 1;
        } else {
            waits += 1;
        }
    }
    if failed_init > 0 || (ended && pending_init > 0) {
        return "Failed";
    }
    let begun = running + stopped > 0;
    if pending_init > 0 && !begun {
        return "Pending";
    }
    if waits > 0 && !ended {
        return if begun && running > 0 { "Running" } else { "Pending" };
    }
    if running > 0 {
        return "Running";
    }
    if stopped > 0 && final_count == stopped {
        return if succeeded == stopped { "Succeeded" } else { "Failed" };
    }
    if stopped > 0 { "Running" } else { "Pending" }
}

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self {
            status: true,
            reason: None,
            message: None,
        }
    }

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self {
            status: false,
            reason: Some(reason),
            message,
        }
    }
}

fn listed(names: &[&str]) -> String {
    names.join(" ")
}

fn initialized(spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus], phase: &str) -> Verdict {
    let mut unready = Vec::new();
    for (container, status) in spec.init_containers.iter().flatten().zip(init) {
        let done = if is_sidecar(container) {
            status.started == Some(true)
        } else {
            exit_code(status) == Some(0)
        };
        if !done {
            unready.push(container.name.as_str());
        }
    }
    if phase == "Succeeded" && unready.is_empty() {
        return Verdict {
            status: true,
            reason: Some("PodCompleted"),
            message: None,
        };
    }
    // Once a main container has run, initialization has happened, whatever became of a sidecar since.
    let begun = main.iter().any(|status| status.container_id.is_some());
    if unready.is_empty() || begun {
        return Verdict::yes();
    }
    Verdict::no(
        "ContainersNotInitialized",
        Some(format!("containers with incomplete status: [{}]", listed(&unready))),
    )
}

fn containers_ready(spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus], phase: &str) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::no("PodCompleted", None),
        "Failed" => return Verdict::no("PodFailed", None),
        _ => {}
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .zip(init)
        .filter(|(container, _)| is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .map(|(_, status)| status)
        .chain(main)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    Verdict::no(
        "ContainersNotReady",
        Some(format!("containers with unready status: [{}]", listed(&unready))),
    )
}

fn ready(spec: &PodSpec, pod: &Pod, containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict {
            status: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let mut missing = Vec::new();
    for gate in spec.readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        let known = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .find(|c| c.type_ == *kind);
        match known {
            None => missing.push(format!(
                "corresponding condition of pod readiness gate \"{kind}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => missing.push(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Verdict::yes();
    }
    Verdict::no("ReadinessGatesNotReady", Some(missing.join(", ")))
}

fn condition(draft: &Draft<'_>, pod: &Pod, kind: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let recorded = draft.observed.memory.reported.as_ref().or(pod.status.as_ref());
    let old = recorded
        .and_then(|status| status.conditions.as_ref())
        .and_then(|list| list.iter().find(|condition| condition.type_ == kind));
    let since = match old {
        Some(old) if old.status == status => old.last_transition_time.clone(),
        _ => None,
    };
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_probe_time: None,
        last_transition_time: since.or_else(|| Some(Time(seconds(draft.now)))),
        observed_generation: pod.metadata.generation,
    }
}

/// Says what is so.
pub(super) fn project(draft: &Draft<'_>, pod: &Pod, spec: &PodSpec, lifecycle: Lifecycle) -> PodStatus {
    let observed = draft.observed;
    let ended = lifecycle == Lifecycle::Terminated;
    let all = |list: &[Container], init| -> Vec<ContainerStatus> {
        list.iter()
            .map(|container| container_status(draft, pod, spec, container, init))
            .collect()
    };
    let mut init = all(spec.init_containers.as_deref().unwrap_or_default(), true);
    let mut main = all(&spec.containers, false);
    if ended {
        settle_all(spec, &mut init, &mut main);
    }
    let mut old = pod.status.clone().unwrap_or_default();
    if let Some(reported) = &observed.memory.reported {
        old.phase.clone_from(&reported.phase);
        old.reason.clone_from(&reported.reason);
        old.message.clone_from(&reported.message);
        old.pod_ips.clone_from(&reported.pod_ips);
    }

    let deadline = spec.active_deadline_seconds.and_then(|limit| {
        let started = start_time(observed, pod)?;
        (draft.now.duration_since(started).as_secs() >= limit
            && !is_terminal(old.phase.as_deref())
            && pod.metadata.deletion_timestamp.is_none())
        .then_some(())
    });
    let (mut reason, mut message) = (None, None);
    let phase = if is_terminal(old.phase.as_deref()) {
        reason.clone_from(&old.reason);
        message.clone_from(&old.message);
        old.phase.clone().unwrap_or_default()
    } else if deadline.is_some() {
        reason = Some("DeadlineExceeded".to_owned());
        message = Some(DEADLINE_MESSAGE.to_owned());
        "Failed".to_owned()
    } else if let Some(terminal) = &observed.memory.terminal {
        reason = Some(terminal.reason.clone());
        message = Some(terminal.message.clone());
        "Failed".to_owned()
    } else {
        let phase = phase(pod, spec, &init, &main, ended);
        // While containers are being stopped a pod keeps its phase; it is over when they are.
        if lifecycle == Lifecycle::Terminating && is_terminal(Some(phase)) && pod.metadata.deletion_timestamp.is_some()
        {
            old.phase.clone().unwrap_or_else(|| "Running".to_owned())
        } else {
            phase.to_owned()
        }
    };

    let network_ready = observed.current_sandbox().is_some();
    let containers = containers_ready(spec, &init, &main, &phase);
    let pod_ready = ready(spec, pod, &containers);
    let mut conditions = vec![
        condition(
            draft,
            pod,
            "PodReadyToStartContainers",
            Verdict {
                status: network_ready,
                reason: None,
                message: None,
            },
        ),
        condition(draft, pod, "Initialized", initialized(spec, &init, &main, &phase)),
        condition(draft, pod, "Ready", pod_ready),
        condition(draft, pod, "ContainersReady", containers),
    ];
    let owned = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
    let mut scheduled = false;
    for other in old.conditions.iter().flatten() {
        scheduled |= other.type_ == "PodScheduled";
        if !owned.contains(&other.type_.as_str()) {
            conditions.push(other.clone());
        }
    }
    if !scheduled {
        conditions.push(condition(draft, pod, "PodScheduled", Verdict::yes()));
    }

    let host_ips: Vec<HostIP> = observed.node.ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect();
    let ips: Vec<String> = match observed.current_sandbox() {
        Some(_) if observed.host_network() => observed.node.ips.clone(),
        Some(sandbox) => sandbox.ips.clone(),
        // The last known address stays, for those who read logs.
        None => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    };
    PodStatus {
        phase: Some(phase),
        reason,
        message,
        conditions: Some(conditions),
        container_statuses: Some(main),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        host_ip: observed.node.ips.first().cloned(),
        host_ips: Some(host_ips).filter(|list| !list.is_empty()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|list| !list.is_empty()),
        qos_class: old
            .qos_class
            .clone()
            .or_else(|| Some(timonel_api::pod::qos_class(pod).to_owned())),
        start_time: start_time(observed, pod).map(|at| Time(seconds(at))),
        observed_generation: pod.metadata.generation,
        nominated_node_name: old.nominated_node_name.clone(),
        ephemeral_container_statuses: old.ephemeral_container_statuses.clone(),
        resize: old.resize.clone(),
        resource_claim_statuses: old.resource_claim_statuses.clone(),
        ..PodStatus::default()
    }
}
