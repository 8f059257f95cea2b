//! Ending a pod: containers first, then sidecars in reverse order, then the sandbox; at last what is left on the node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::containers;
use super::observed::{Busy, Observed};
use super::plan::{Action, Draft, Lifecycle, ProbeKind, ProbeTask};
use super::restart::is_sidecar;
use crate::runtime::{ContainerRecord, ContainerState, SandboxState, labels};

/// The pod's own termination grace period.
pub(super) fn spec_grace(spec: &PodSpec) -> Duration {
    let seconds = spec.termination_grace_period_seconds.unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(1))
}

/// Stops everything of a pod that the API still has.
pub(super) fn stop(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec, grace: Duration) -> Lifecycle {
    let observed = draft.observed;
    let grace = grace.max(Duration::from_secs(1));
    let running: Vec<&ContainerRecord> = observed.alive().collect();
    let sidecars: Vec<&Container> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_sidecar(c))
        .collect();
    let is_sidecar_record = |record: &ContainerRecord| sidecars.iter().any(|sidecar| sidecar.name == record.name);
    let (last, first): (Vec<&ContainerRecord>, Vec<&ContainerRecord>) =
        running.iter().partition(|record| is_sidecar_record(record));

    if !first.is_empty() {
        for record in first {
            stop_one(draft, spec, record, grace);
        }
        keep_readiness(draft, pod, spec);
        return Lifecycle::Terminating;
    }
    // One sidecar at a time, the last one first: those that came earlier may be needed by those that came later.
    if let Some(record) = sidecars
        .iter()
        .rev()
        .find_map(|sidecar| last.iter().find(|record| record.name == sidecar.name))
    {
        stop_one(draft, spec, record, grace);
        return Lifecycle::Terminating;
    }
    sandboxes_and_rest(draft)
}

/// While it ends, a pod goes on telling whether it is ready; liveness and startup no longer matter.
fn keep_readiness(draft: &mut Draft<'_>, _pod: &Pod, spec: &PodSpec) {
    for container in &spec.containers {
        let Some(record) = draft.observed.named(&container.name).next() else {
            continue;
        };
        if container.readiness_probe.is_some() && matches!(record.state, ContainerState::Running { .. }) {
            draft.probes.insert(ProbeTask {
                container: container.name.clone(),
                id: record.id.clone(),
                kind: ProbeKind::Readiness,
            });
        }
    }
}

fn stop_one(draft: &mut Draft<'_>, spec: &PodSpec, record: &ContainerRecord, grace: Duration) {
    let observed = draft.observed;
    let container = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|container| container.name == record.name);
    let action = Action::StopContainer {
        container: record.name.clone(),
        id: record.id.clone(),
        grace,
        message: format!("Stopping container {}", record.name),
    };
    match container {
        // Being stopped already; only a shorter grace period (a second, more impatient delete) is news.
        _ if observed.is_busy(&Busy::Stop(record.id.clone())) => {
            let by = draft.now + grace;
            if observed
                .memory
                .stop_by
                .get(&record.id)
                .is_some_and(|known| by + Duration::from_secs(2) < *known)
            {
                draft.actions.push(action);
            }
        }
        Some(container) => {
            let message = format!("Stopping container {}", record.name);
            containers::stop(draft, container, record, grace, &message);
        }
        None => draft.actions.push(action),
    }
}

fn sandboxes_and_rest(draft: &mut Draft<'_>) -> Lifecycle {
    let observed = draft.observed;
    let ready: Vec<String> = observed
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.state == SandboxState::Ready)
        .map(|sandbox| sandbox.id.clone())
        .collect();
    if !ready.is_empty() {
        for id in ready {
            draft.act(&Busy::StopSandbox(id.clone()), Action::StopSandbox { id });
        }
        return Lifecycle::Terminating;
    }
    // Something that was begun before the end may still bring a container up.
    let begun = |busy: &Busy| matches!(busy, Busy::Sandbox | Busy::Start(_) | Busy::Image(_) | Busy::Volumes);
    if observed.memory.busy.iter().any(begun) {
        return Lifecycle::Terminating;
    }
    Lifecycle::Terminated
}

/// Removes everything of a pod that the API has forgotten.
pub(super) fn remove(draft: &mut Draft<'_>) -> Lifecycle {
    let observed = draft.observed;
    let grace = orphan_grace(observed);
    let running: Vec<&ContainerRecord> = observed.alive().collect();
    if !running.is_empty() {
        for record in running {
            let id = record.id.clone();
            if observed.is_busy(&Busy::Stop(id.clone()))
                && observed
                    .memory
                    .stop_by
                    .get(&id)
                    .is_none_or(|known| draft.now + grace + Duration::from_secs(2) >= *known)
            {
                continue;
            }
            draft.actions.push(Action::StopContainer {
                container: record.name.clone(),
                id,
                grace,
                message: format!("Stopping container {}", record.name),
            });
        }
        return Lifecycle::Removing;
    }
    if sandboxes_and_rest(draft) != Lifecycle::Terminated {
        return Lifecycle::Removing;
    }
    if observed.sandboxes.is_empty() && observed.containers.is_empty() {
        if observed.memory.cleaned {
            return Lifecycle::Gone;
        }
        draft.act(&Busy::CleanUp, Action::CleanUp);
        return Lifecycle::Removing;
    }
    for sandbox in &observed.sandboxes {
        let id = sandbox.id.clone();
        draft.act(&Busy::RemoveSandbox(id.clone()), Action::RemoveSandbox { id });
    }
    for container in &observed.containers {
        if !observed
            .sandboxes
            .iter()
            .any(|sandbox| sandbox.id == container.sandbox_id)
        {
            let id = container.id.clone();
            draft.act(&Busy::Remove(id.clone()), Action::RemoveContainer { id });
        }
    }
    Lifecycle::Removing
}

/// A pod that was deleted without grace gets one second; one that disappeared while nobody watched gets its own period.
fn orphan_grace(observed: &Observed) -> Duration {
    let last = observed.last_pod.as_deref();
    let seconds = last
        .and_then(|pod| pod.metadata.deletion_grace_period_seconds)
        .or_else(|| last.and_then(|pod| pod.spec.as_ref()?.termination_grace_period_seconds))
        .or_else(|| {
            let annotations = observed.containers.first().map(|container| &container.annotations)?;
            annotations.get(labels::POD_GRACE)?.parse().ok()
        })
        .unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(1))
}
