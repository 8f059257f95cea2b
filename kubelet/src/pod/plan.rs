//! `plan_pod`: from what was observed to what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};

use super::backoff::Backoff;
use super::containers::{self, Waiting};
use super::observed::{Busy, Observed, VolumeMemory};
use super::reason::Because;
use super::{status, terminate};
use crate::runtime::SandboxState;

/// Where a pod is in its life on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Its volumes are being set up.
    Volumes,
    /// Its sandbox is being made.
    Sandbox,
    /// Its init containers run.
    Initializing,
    /// Its containers run, or are being started.
    Running,
    /// Its containers are being stopped.
    Terminating,
    /// Nothing of it runs or ever will again.
    Terminated,
    /// The API has forgotten it; what is left is being removed.
    Removing,
    /// Nothing is left.
    Gone,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set up the pod's folders and volumes.
    PrepareVolumes,
    /// Make a sandbox.
    RunSandbox {
        /// Which sandbox of this pod this will be.
        attempt: u32,
    },
    /// Stop a sandbox.
    StopSandbox {
        /// Which.
        id: String,
    },
    /// Remove a sandbox.
    RemoveSandbox {
        /// Which.
        id: String,
    },
    /// Find or pull a container's image.
    EnsureImage {
        /// For which container.
        container: String,
        /// For which start.
        attempt: u32,
        /// Back-off to remember should it fail.
        backoff: Backoff,
    },
    /// Make and start a container.
    StartContainer {
        /// Which.
        container: String,
        /// How often it was restarted before.
        attempt: u32,
        /// In which sandbox.
        sandbox: String,
        /// Reference of its image.
        image: String,
        /// Back-off to remember, if this is a restart.
        backoff: Option<Backoff>,
    },
    /// Stop a container.
    StopContainer {
        /// Its name.
        container: String,
        /// Its id.
        id: String,
        /// How long it has.
        grace: Duration,
        /// For the event.
        message: String,
    },
    /// Remove a container that ended.
    RemoveContainer {
        /// Which.
        id: String,
    },
    /// Say something in an event, once.
    Announce {
        /// By which it is remembered.
        key: String,
        /// What.
        event: PodEvent,
    },
    /// Remove the pod's folders, volumes and logs.
    CleanUp,
    /// Tell the API server that it may forget the pod.
    FinalizeDeletion,
}

/// An event about a pod or one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// `Warning` instead of `Normal`?
    pub warning: bool,
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The container, if it is about one.
    pub container: Option<String>,
}

/// A kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Startup.
    Startup,
    /// Liveness.
    Liveness,
    /// Readiness.
    Readiness,
}

/// A probe that should be running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeTask {
    /// Container's name.
    pub container: String,
    /// Container's id.
    pub id: String,
    /// Which probe.
    pub kind: ProbeKind,
}

/// What to do for a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodPlan {
    /// Where the pod is in its life.
    pub lifecycle: Lifecycle,
    /// What to do now; they do not depend on each other.
    pub actions: Vec<Action>,
    /// Which probes should be running.
    pub probes: BTreeSet<ProbeTask>,
    /// What to report; `None` if the API has forgotten the pod.
    pub status: Option<PodStatus>,
    /// When to look again even if nothing happens.
    pub requeue: Option<Timestamp>,
    /// Why.
    pub because: Vec<Because>,
}

/// A plan in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
    pub(super) actions: Vec<Action>,
    pub(super) probes: BTreeSet<ProbeTask>,
    pub(super) waiting: BTreeMap<String, Waiting>,
    pub(super) requeue: Option<Timestamp>,
    pub(super) because: Vec<Because>,
}

impl Draft<'_> {
    pub(super) fn look_again(&mut self, at: Timestamp) {
        self.requeue = Some(self.requeue.map_or(at, |known| known.min(at)));
    }

    /// Adds an action unless the same is going on already.
    pub(super) fn act(&mut self, busy: &Busy, action: Action) {
        if !self.observed.is_busy(busy) {
            self.actions.push(action);
        }
    }

    pub(super) fn announce(&mut self, key: String, event: PodEvent) {
        if !self.observed.memory.announced.contains(&key) {
            self.actions.push(Action::Announce { key, event });
        }
    }

    fn finish(self, lifecycle: Lifecycle, status: Option<PodStatus>) -> PodPlan {
        PodPlan {
            lifecycle,
            actions: self.actions,
            probes: self.probes,
            status,
            requeue: self.requeue,
            because: self.because,
        }
    }
}

/// Decides what to do for one pod.
pub fn plan_pod(observed: &Observed, now: Timestamp) -> PodPlan {
    let mut draft = Draft {
        observed,
        now,
        actions: Vec::new(),
        probes: BTreeSet::new(),
        waiting: BTreeMap::new(),
        requeue: None,
        because: Vec::new(),
    };
    let Some(pod) = observed.pod.as_deref() else {
        draft.because.push(Because::Gone);
        let lifecycle = terminate::remove(&mut draft);
        return draft.finish(lifecycle, None);
    };
    let Some(spec) = pod.spec.as_ref() else {
        return draft.finish(Lifecycle::Terminated, None);
    };

    let ending = ending(&mut draft, pod, spec);
    let lifecycle = match ending {
        Some(grace) => terminate::stop(&mut draft, pod, spec, grace),
        None => run(&mut draft, pod, spec),
    };
    let mut status = status::project(&draft, pod, spec, lifecycle);
    let mut lifecycle = lifecycle;
    if lifecycle != Lifecycle::Terminating
        && lifecycle != Lifecycle::Terminated
        && status::is_terminal(status.phase.as_deref())
    {
        // The last container ended for good: what is left (the sandbox) is stopped.
        draft.because.push(Because::Completed);
        draft
            .actions
            .retain(|action| matches!(action, Action::RemoveContainer { .. } | Action::Announce { .. }));
        draft.probes.clear();
        draft.requeue = None;
        lifecycle = terminate::stop(&mut draft, pod, spec, terminate::spec_grace(spec));
        status = status::project(&draft, pod, spec, lifecycle);
    }
    if lifecycle == Lifecycle::Terminated
        && pod.metadata.deletion_timestamp.is_some()
        && observed.memory.reported.as_ref() == Some(&status)
    {
        draft.because.push(Because::Reported);
        draft.act(&Busy::Finalize, Action::FinalizeDeletion);
    }
    draft.finish(lifecycle, Some(status))
}

/// Whether the pod has to end, and how long its containers have.
fn ending(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec) -> Option<Duration> {
    if let Some(deleted) = &pod.metadata.deletion_timestamp {
        draft.because.push(Because::Deleted);
        // The API has already added the grace period to the timestamp.
        let left = deleted.0.duration_since(draft.now);
        return Some(Duration::try_from(left).unwrap_or_default());
    }
    if status::is_terminal(status::known_phase(draft.observed, pod)) || draft.observed.memory.terminal.is_some() {
        return Some(terminate::spec_grace(spec));
    }
    let seconds = spec.active_deadline_seconds?;
    let started = status::start_time(draft.observed, pod)?;
    let deadline = started + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    if draft.now < deadline {
        draft.look_again(deadline);
        return None;
    }
    draft.because.push(Because::DeadlineExceeded);
    draft.announce(
        "DeadlineExceeded".to_owned(),
        PodEvent {
            warning: false,
            reason: "DeadlineExceeded".to_owned(),
            message: status::DEADLINE_MESSAGE.to_owned(),
            container: None,
        },
    );
    Some(terminate::spec_grace(spec))
}

/// Brings the pod up and keeps it up.
fn run(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec) -> Lifecycle {
    let observed = draft.observed;
    containers::drop_old_ones(draft);
    match &observed.memory.volumes {
        VolumeMemory::Ready => {}
        VolumeMemory::Failed { message, retry_at } if *retry_at > draft.now => {
            draft.because.push(Because::VolumesFailed {
                message: message.clone(),
                retry_at: *retry_at,
            });
            draft.look_again(*retry_at);
            if observed.current_sandbox().is_none() {
                return Lifecycle::Volumes;
            }
        }
        _ => {
            draft.because.push(Because::VolumesPending);
            draft.act(&Busy::Volumes, Action::PrepareVolumes);
            if observed.current_sandbox().is_none() {
                return Lifecycle::Volumes;
            }
        }
    }
    let Some(sandbox) = observed.current_sandbox() else {
        return need_sandbox(draft, pod, spec);
    };
    for old in &observed.sandboxes[1..] {
        let id = old.id.clone();
        if old.state == SandboxState::Ready {
            draft.act(&Busy::StopSandbox(id.clone()), Action::StopSandbox { id });
        } else if !observed.containers.iter().any(|container| container.sandbox_id == id) {
            draft.act(&Busy::RemoveSandbox(id.clone()), Action::RemoveSandbox { id });
        }
    }
    if observed.memory.volumes != VolumeMemory::Ready {
        // Running containers are left alone; new ones wait for the volumes.
        containers::probe_only(draft, spec, &sandbox.id);
        return Lifecycle::Running;
    }
    let sandbox = sandbox.id.clone();
    if containers::init(draft, pod, spec, &sandbox) {
        containers::main(draft, pod, spec, &sandbox);
        Lifecycle::Running
    } else {
        Lifecycle::Initializing
    }
}

fn need_sandbox(draft: &mut Draft<'_>, pod: &Pod, spec: &PodSpec) -> Lifecycle {
    let observed = draft.observed;
    if observed.is_busy(&Busy::Sandbox) {
        return Lifecycle::Sandbox;
    }
    if !containers::any_left_to_run(observed, pod, spec) {
        return Lifecycle::Running;
    }
    let attempt = match observed.sandboxes.first() {
        None => {
            draft.because.push(Because::NoSandbox);
            0
        }
        Some(lost) => {
            draft.because.push(Because::SandboxLost {
                sandbox: lost.id.clone(),
            });
            draft.announce(
                format!("SandboxChanged/{}", lost.id),
                PodEvent {
                    warning: false,
                    reason: "SandboxChanged".to_owned(),
                    message: "Pod sandbox changed, it will be killed and re-created.".to_owned(),
                    container: None,
                },
            );
            // Whatever is left in it has to go before its successor comes.
            let left = observed.sandboxes.iter().filter(|sandbox| {
                sandbox.state == SandboxState::Ready
                    || observed.alive().any(|container| container.sandbox_id == sandbox.id)
            });
            let ids: Vec<String> = left.map(|sandbox| sandbox.id.clone()).collect();
            if !ids.is_empty() {
                for id in ids {
                    draft.act(&Busy::StopSandbox(id.clone()), Action::StopSandbox { id });
                }
                return Lifecycle::Sandbox;
            }
            lost.attempt + 1
        }
    };
    if let Some((_, at)) = &observed.memory.sandbox_failure {
        let retry_at = *at + observed.node.retry;
        if draft.now < retry_at {
            draft.because.push(Because::SandboxFailed { retry_at });
            draft.look_again(retry_at);
            return Lifecycle::Sandbox;
        }
    }
    draft.act(&Busy::Sandbox, Action::RunSandbox { attempt });
    Lifecycle::Sandbox
}
