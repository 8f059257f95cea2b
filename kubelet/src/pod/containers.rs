//! Which containers to start, restart, stop or leave alone while the pod is to run.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::backoff::Backoff;
use super::observed::{Busy, Observed};
use super::plan::{Action, Draft, PodEvent, ProbeKind, ProbeTask};
use super::probes::Verdict;
use super::reason::Because;
use super::restart::{is_sidecar, spec_hash, wants_restart};
use super::status::{key, old_status};
use super::terminate::spec_grace;
use crate::runtime::{ContainerRecord, ContainerState, labels};

/// Why a container is not running, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: Option<String>,
}

/// How long a failed pull shows as `ErrImagePull` before it shows as `ImagePullBackOff`.
const FRESH: Duration = Duration::from_secs(1);

/// Keeps, of every name, the newest container and the one before it (for `lastState` and `logs --previous`).
pub(super) fn drop_old_ones(draft: &mut Draft<'_>) {
    let mut seen: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    for container in &draft.observed.containers {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        if *count > 2 && !matches!(container.state, ContainerState::Running { .. }) {
            let id = container.id.clone();
            draft.act(&Busy::Remove(id.clone()), Action::RemoveContainer { id });
        }
    }
}

/// Whether there is anything that a (new) sandbox would be for.
pub(super) fn any_left_to_run(observed: &Observed, pod: &Pod, spec: &PodSpec) -> bool {
    spec.containers
        .iter()
        .any(|container| match observed.named(&container.name).next() {
            Some(ContainerRecord {
                state: ContainerState::Exited { exit_code, .. },
                ..
            }) => wants_restart(pod, container, *exit_code, false),
            _ => true,
        })
}

/// Only keeps the probes of running containers going.
pub(super) fn probe_only(draft: &mut Draft<'_>, spec: &PodSpec, sandbox: &str) {
    let observed = draft.observed;
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        if let Some(record) = observed.named(&container.name).next()
            && record.sandbox_id == sandbox
            && matches!(record.state, ContainerState::Running { .. })
        {
            want_probes(draft, container, record);
        }
    }
}

/// Brings the init containers forward; answers whether the main containers may run.
pub(super) fn init(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec, sandbox: &str) -> bool {
    let observed = draft.observed;
    // Once a main container was made in this sandbox, initialization is over for good.
    let past = spec.containers.iter().any(|container| {
        observed
            .named(&container.name)
            .any(|record| record.sandbox_id == sandbox)
    });
    for container in spec.init_containers.iter().flatten() {
        let newest = observed.named(&container.name).next();
        let here = newest.filter(|record| record.sandbox_id == sandbox);
        let sidecar = is_sidecar(container);
        if past && !sidecar {
            continue;
        }
        match here.map(|record| (record, &record.state)) {
            Some((record, ContainerState::Running { .. } | ContainerState::Unknown)) => {
                if sidecar {
                    keep(draft, pod, spec, container, record);
                    if past || has_started(observed, pod, container, record) {
                        continue;
                    }
                }
                draft.because.push(Because::InitializingBy {
                    container: container.name.clone(),
                });
                return false;
            }
            Some((_, ContainerState::Exited { exit_code, .. })) if !wants_restart(pod, container, *exit_code, true) => {
                if *exit_code == 0 || past {
                    continue;
                }
                // It failed for good: the pod has failed, which the status says.
                return false;
            }
            _ => {
                start(draft, pod, container, newest, sandbox);
                if past {
                    continue;
                }
                draft.because.push(Because::InitializingBy {
                    container: container.name.clone(),
                });
                return false;
            }
        }
    }
    true
}

/// Starts, restarts, watches the main containers.
pub(super) fn main(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec, sandbox: &str) {
    for container in &spec.containers {
        let newest = draft.observed.named(&container.name).next();
        match newest.map(|record| (record, &record.state)) {
            Some((record, ContainerState::Running { .. } | ContainerState::Unknown))
                if record.sandbox_id == sandbox =>
            {
                keep(draft, pod, spec, container, record);
            }
            Some((record, ContainerState::Running { .. } | ContainerState::Unknown)) => {
                stop(draft, container, record, spec_grace(spec), "Stopping container");
            }
            Some((_, ContainerState::Exited { exit_code, .. }))
                if !wants_restart(pod, container, *exit_code, false) => {}
            _ => start(draft, pod, container, newest, sandbox),
        }
    }
}

fn verdicts(observed: &Observed, id: &str) -> super::ProbeView {
    observed.probes.get(id).copied().unwrap_or_default()
}

/// Whether a running container counts as started.
pub(super) fn has_started(observed: &Observed, pod: &Pod, container: &Container, record: &ContainerRecord) -> bool {
    if !matches!(record.state, ContainerState::Running { .. }) || post_start_pending(observed, container) {
        return false;
    }
    if container.startup_probe.is_none() {
        return true;
    }
    match verdicts(observed, &record.id).startup {
        Verdict::Passing => true,
        Verdict::Failing => false,
        // After a restart of the kubelet: what the API knows about this very container still holds.
        Verdict::Unknown => old_status(pod, observed, record).is_some_and(|status| status.started == Some(true)),
    }
}

/// Whether a running container counts as ready.
pub(super) fn is_ready(observed: &Observed, pod: &Pod, container: &Container, record: &ContainerRecord) -> bool {
    if !has_started(observed, pod, container, record) {
        return false;
    }
    if container.readiness_probe.is_none() {
        return true;
    }
    match verdicts(observed, &record.id).readiness {
        Verdict::Passing => true,
        Verdict::Failing => false,
        Verdict::Unknown => old_status(pod, observed, record).is_some_and(|status| status.ready),
    }
}

/// Whether the container's `postStart` hook is still running: until then it shows as being created.
pub(super) fn post_start_pending(observed: &Observed, container: &Container) -> bool {
    container
        .lifecycle
        .as_ref()
        .is_some_and(|lifecycle| lifecycle.post_start.is_some())
        && observed.is_busy(&Busy::Start(container.name.clone()))
}

fn want_probes(draft: &mut Draft<'_>, container: &Container, record: &ContainerRecord) {
    let observed = draft.observed;
    if observed.is_busy(&Busy::Start(container.name.clone())) {
        return;
    }
    let Some(pod) = observed.pod.as_deref() else { return };
    let mut want = |kind| {
        draft.probes.insert(ProbeTask {
            container: container.name.clone(),
            id: record.id.clone(),
            kind,
        });
    };
    if container.startup_probe.is_some() && !has_started(observed, pod, container, record) {
        want(ProbeKind::Startup);
        return;
    }
    if container.liveness_probe.is_some() {
        want(ProbeKind::Liveness);
    }
    if container.readiness_probe.is_some() {
        want(ProbeKind::Readiness);
    }
}

/// Watches over a running container.
fn keep(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec, container: &Container, record: &ContainerRecord) {
    let observed = draft.observed;
    if observed.is_busy(&Busy::Start(container.name.clone())) {
        return;
    }
    let known = record.annotations.get(labels::HASH);
    if known.is_some_and(|hash| *hash != spec_hash(container)) {
        draft.because.push(Because::SpecChanged {
            container: container.name.clone(),
        });
        let message = format!("Container {} definition changed, will be restarted", container.name);
        stop(draft, container, record, spec_grace(spec), &message);
        return;
    }
    let view = verdicts(observed, &record.id);
    let failing = [
        ("startup", view.startup, container.startup_probe.as_ref()),
        ("liveness", view.liveness, container.liveness_probe.as_ref()),
    ]
    .into_iter()
    .find_map(|(name, verdict, probe)| (verdict == Verdict::Failing).then_some((name, probe?)));
    if let Some((name, probe)) = failing {
        draft.because.push(Because::ProbeFailed {
            container: container.name.clone(),
            probe: name,
        });
        let grace = probe
            .termination_grace_period_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or_else(|| spec_grace(spec), Duration::from_secs);
        let again = if wants_restart(pod, container, 137, false) {
            ", will be restarted"
        } else {
            ""
        };
        let message = format!("Container {} failed {name} probe{again}", container.name);
        stop(draft, container, record, grace, &message);
        return;
    }
    want_probes(draft, container, record);
}

pub(super) fn stop(
    draft: &mut Draft<'_>,
    container: &Container,
    record: &ContainerRecord,
    grace: Duration,
    message: &str,
) {
    let id = record.id.clone();
    let action = Action::StopContainer {
        container: container.name.clone(),
        id: id.clone(),
        grace,
        message: message.to_owned(),
    };
    draft.act(&Busy::Stop(id), action);
}

/// Takes the next step towards a running container, or says why it has to wait.
fn start(draft: &mut Draft<'_>, pod: &Pod, container: &Container, newest: Option<&ContainerRecord>, sandbox: &str) {
    let (observed, now) = (draft.observed, draft.now);
    let memory = &observed.memory;
    let name = &container.name;
    if observed.is_busy(&Busy::Start(name.clone())) || observed.is_busy(&Busy::Image(name.clone())) {
        return;
    }
    let exited = newest.and_then(|record| match &record.state {
        ContainerState::Exited {
            finished_at, exit_code, ..
        } => Some((*finished_at, *exit_code)),
        _ => None,
    });
    let attempt = match newest {
        Some(record) => record.attempt + 1,
        None => remembered_restarts(pod, name),
    };
    draft.because.push(match exited {
        Some((_, exit_code)) => Because::Exited {
            container: name.clone(),
            exit_code,
        },
        None => Because::NeverStarted {
            container: name.clone(),
        },
    });

    let entry = memory.restart_backoff.get(name).copied();
    let limits = observed.node.restart;
    if let Some((finished_at, _)) = exited
        && let Some(until) = Backoff::wait_until(entry, finished_at, now, limits)
    {
        crash_loop(draft, pod, container, attempt, entry, until);
        return;
    }
    if let Some(failure) = memory.failures.get(name).filter(|failure| failure.attempt == attempt) {
        let until = failure.at + observed.node.retry;
        if now < until {
            draft.because.push(Because::StartFailed {
                container: name.clone(),
                until,
            });
            draft.waiting.insert(
                name.clone(),
                Waiting {
                    reason: failure.reason.clone(),
                    message: Some(failure.message.clone()),
                },
            );
            draft.look_again(until);
            return;
        }
    }
    let Some(image) = image(draft, container, attempt) else {
        return;
    };
    let backoff = exited.map(|(finished_at, _)| Backoff::next(entry, finished_at, now, limits));
    draft.act(
        &Busy::Start(name.clone()),
        Action::StartContainer {
            container: name.clone(),
            attempt,
            sandbox: sandbox.to_owned(),
            image,
            backoff,
        },
    );
}

/// The restart count goes on from the API's status if the runtime has forgotten the container (its disk was lost).
fn remembered_restarts(pod: &Pod, name: &str) -> u32 {
    let Some(status) = &pod.status else { return 0 };
    let all = status
        .container_statuses
        .iter()
        .flatten()
        .chain(status.init_container_statuses.iter().flatten());
    all.into_iter()
        .find(|known| known.name == name && known.container_id.is_some())
        .map_or(0, |known| u32::try_from(known.restart_count).unwrap_or_default() + 1)
}

fn crash_loop(
    draft: &mut Draft<'_>,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    entry: Option<Backoff>,
    until: jiff::Timestamp,
) {
    let name = &container.name;
    let delay = entry.map_or(Duration::ZERO, |entry| entry.delay);
    let whole = key(pod);
    draft.because.push(Because::CrashLoop {
        container: name.clone(),
        until,
    });
    draft.waiting.insert(
        name.clone(),
        Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: Some(format!(
                "back-off {} restarting failed container={name} pod={whole}",
                go_duration(delay)
            )),
        },
    );
    draft.look_again(until);
    draft.announce(
        format!("BackOff/{name}/{attempt}"),
        PodEvent {
            warning: true,
            reason: "BackOff".to_owned(),
            message: format!("Back-off restarting failed container {name} in pod {whole}"),
            container: Some(name.clone()),
        },
    );
}

/// The image's reference, or the step towards it.
fn image(draft: &mut Draft<'_>, container: &Container, attempt: u32) -> Option<String> {
    let (observed, now) = (draft.observed, draft.now);
    let name = &container.name;
    let image = container.image.clone().unwrap_or_default();
    let entry = observed.memory.pull_backoff.get(&image).copied();
    let limits = observed.node.pull;
    let known = observed
        .memory
        .images
        .get(name)
        .filter(|known| known.attempt == attempt && known.image == image);
    match known.map(|known| &known.result) {
        Some(Ok(reference)) => return Some(reference.clone()),
        Some(Err(failure)) => {
            let pull = failure.reason == "ErrImagePull";
            let until = if pull {
                Backoff::wait_until(entry, failure.at, now, limits)
            } else {
                Some(failure.at + observed.node.retry).filter(|until| now < *until)
            };
            if let Some(until) = until {
                image_waits(draft, container, &image, attempt, failure, until);
                return None;
            }
        }
        None => {
            // Another start of the same image may have failed just now.
            if let Some(until) = entry.and_then(|entry| Backoff::wait_until(Some(entry), entry.since, now, limits)) {
                draft.waiting.insert(
                    name.clone(),
                    Waiting {
                        reason: "ImagePullBackOff".to_owned(),
                        message: Some(format!("Back-off pulling image \"{image}\"")),
                    },
                );
                draft.look_again(until);
                return None;
            }
        }
    }
    draft.because.push(Because::ImageNeeded {
        container: name.clone(),
        image,
    });
    draft.act(
        &Busy::Image(name.clone()),
        Action::EnsureImage {
            container: name.clone(),
            attempt,
            backoff: Backoff::next(entry, now, now, limits),
        },
    );
    None
}

fn image_waits(
    draft: &mut Draft<'_>,
    container: &Container,
    image: &str,
    attempt: u32,
    failure: &super::observed::ImageFailure,
    until: jiff::Timestamp,
) {
    let name = &container.name;
    let backing_off = failure.reason == "ErrImagePull" && draft.now >= failure.at + FRESH;
    if failure.reason == "ErrImagePull" && !backing_off {
        draft.look_again(failure.at + FRESH);
    }
    let waiting = if backing_off {
        let message = format!(
            "Back-off pulling image \"{image}\": {}: {}",
            failure.reason, failure.message
        );
        draft.announce(
            format!("PullBackOff/{name}/{attempt}/{}", failure.at),
            PodEvent {
                warning: false,
                reason: "BackOff".to_owned(),
                message: format!("Back-off pulling image \"{image}\""),
                container: Some(name.clone()),
            },
        );
        draft.announce(
            format!("PullBackOffError/{name}/{attempt}/{}", failure.at),
            PodEvent {
                warning: true,
                reason: "Failed".to_owned(),
                message: "Error: ImagePullBackOff".to_owned(),
                container: Some(name.clone()),
            },
        );
        Waiting {
            reason: "ImagePullBackOff".to_owned(),
            message: Some(message),
        }
    } else {
        Waiting {
            reason: failure.reason.clone(),
            message: Some(failure.message.clone()),
        }
    };
    draft.waiting.insert(name.clone(), waiting);
    draft.because.push(Because::PullBackOff {
        container: name.clone(),
        until,
    });
    draft.look_again(until);
}

/// Prints a duration as Go does: `10s`, `1m20s`, `5m0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}
