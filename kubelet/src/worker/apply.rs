//! Carries out what was planned. Each action is a task of its own; what came of it is an [`Effect`] on the worker's memory.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};

use super::start::{self, Start};
use super::{Shared, hooks, report};
use crate::cgroups;
use crate::pod::{Action, Backoff, Busy, ImageMemory, StartFailure, VolumeMemory};
use crate::spec::{hosts, log_directory, resources, sandbox};

/// The least time that a container has after its hook has used its grace period up.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// What came of an action.
#[derive(Debug)]
pub(super) enum Effect {
    Volumes(VolumeMemory),
    Sandbox(Result<(), String>),
    Image(String, ImageMemory, Backoff),
    Started(String, Option<StartFailure>),
    Cleaned(bool),
    Reported(Box<PodStatus>, Result<u64, String>),
    Finalized(Result<(), String>),
    /// Only the runtime changed.
    Nothing,
}

impl Effect {
    /// Whether the runtime has to be listed again before anything else is planned.
    pub(super) fn changes_runtime(&self) -> bool {
        matches!(self, Self::Sandbox(_) | Self::Started(..) | Self::Nothing)
    }
}

/// The thing that goes on while an action is carried out.
pub(super) fn busy(action: &Action) -> Option<Busy> {
    Some(match action {
        Action::PrepareVolumes => Busy::Volumes,
        Action::RunSandbox { .. } => Busy::Sandbox,
        Action::StopSandbox { id } => Busy::StopSandbox(id.clone()),
        Action::RemoveSandbox { id } => Busy::RemoveSandbox(id.clone()),
        Action::EnsureImage { container, .. } => Busy::Image(container.clone()),
        Action::StartContainer { container, .. } => Busy::Start(container.clone()),
        Action::StopContainer { id, .. } => Busy::Stop(id.clone()),
        Action::RemoveContainer { id } => Busy::Remove(id.clone()),
        Action::CleanUp => Busy::CleanUp,
        Action::FinalizeDeletion => Busy::Finalize,
        Action::Announce { .. } => return None,
    })
}

fn find<'a>(pod: Option<&'a Pod>, name: &str) -> Option<&'a Container> {
    let spec = pod?.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name)
}

/// Carries one action out. `pod` is the pod as last seen, if ever.
pub(super) async fn apply(shared: Arc<Shared>, uid: String, pod: Option<Arc<Pod>>, action: Action) -> Effect {
    match action {
        Action::PrepareVolumes => prepare(&shared, pod.as_deref()).await,
        Action::RunSandbox { attempt } => Effect::Sandbox(match pod.as_deref() {
            Some(pod) => run_sandbox(&shared, pod, attempt).await,
            None => Ok(()),
        }),
        Action::StopSandbox { id } => {
            let stopped = shared.runtime.stop_sandbox(&id).await;
            log(stopped, "stop a sandbox");
            Effect::Nothing
        }
        Action::RemoveSandbox { id } => {
            let removed = shared.runtime.remove_sandbox(&id).await;
            log(removed, "remove a sandbox");
            Effect::Nothing
        }
        Action::EnsureImage {
            container,
            attempt,
            backoff,
        } => {
            let Some((pod, wanted)) = pod.as_deref().and_then(|pod| Some((pod, find(Some(pod), &container)?))) else {
                return Effect::Nothing;
            };
            let result = start::image(&shared, pod, wanted).await;
            let memory = ImageMemory {
                attempt,
                image: wanted.image.clone().unwrap_or_default(),
                result,
            };
            Effect::Image(container, memory, backoff)
        }
        Action::StartContainer {
            container,
            attempt,
            sandbox,
            image,
            ..
        } => {
            let Some(wanted) = find(pod.as_deref(), &container).cloned() else {
                return Effect::Nothing;
            };
            let Some(pod) = pod else { return Effect::Nothing };
            let order = Start {
                pod,
                container: wanted,
                attempt,
                sandbox,
                image,
            };
            let failure = start::start(&shared, &order).await.err();
            Effect::Started(container, failure)
        }
        Action::StopContainer {
            container,
            id,
            grace,
            message,
        } => {
            stop(&shared, pod.as_deref(), &container, &id, grace, &message).await;
            Effect::Nothing
        }
        Action::RemoveContainer { id } => {
            log(shared.runtime.remove_container(&id).await, "remove a container");
            Effect::Nothing
        }
        Action::CleanUp => {
            let done = shared.volumes.tear_down(&uid).await;
            if !shared.config.hollow
                && let Some(pod) = pod.as_deref()
            {
                let settings = Arc::clone(&shared.settings);
                let logs = log_directory(&settings, pod);
                let _ = tokio::fs::remove_dir_all(&logs).await;
                let parent = resources::cgroup_parent(&settings.cgroup_root, pod);
                cgroups::remove(&parent).await;
            }
            if let Err(error) = &done {
                tracing::warn!(uid, error, "cannot clean up after a pod");
            }
            Effect::Cleaned(done.is_ok())
        }
        Action::FinalizeDeletion => {
            let Some(pod) = pod else { return Effect::Nothing };
            let done = report::finalize(&shared, &pod).await;
            Effect::Finalized(done.map_err(|error| timonel_client::chain(&error)))
        }
        Action::Announce { .. } => Effect::Nothing,
    }
}

fn log(result: Result<(), crate::runtime::RuntimeError>, what: &str) {
    if let Err(error) = result {
        tracing::warn!(%error, "cannot {what}");
    }
}

async fn prepare(shared: &Shared, pod: Option<&Pod>) -> Effect {
    let Some(pod) = pod else {
        return Effect::Volumes(VolumeMemory::Ready);
    };
    let settings = Arc::clone(&shared.settings);
    if !shared.config.hollow {
        let logs = log_directory(&settings, pod);
        if let Err(error) = tokio::fs::create_dir_all(&logs).await {
            return Effect::Volumes(failed(shared, format!("create {}: {error}", logs.display())));
        }
        cgroups::ensure(pod, &settings.cgroup_root).await;
    }
    match shared.volumes.set_up(pod, &settings).await {
        Ok(()) => Effect::Volumes(VolumeMemory::Ready),
        Err(error) => {
            shared.say(pod, None, true, "FailedMount", error.to_string());
            Effect::Volumes(failed(shared, error.to_string()))
        }
    }
}

fn failed(shared: &Shared, message: String) -> VolumeMemory {
    // Upstream starts at half a second and doubles to two minutes; a steady couple of seconds is as kind to the API server.
    let wait = shared.config.timings.retry.min(Duration::from_secs(2));
    VolumeMemory::Failed {
        message,
        retry_at: shared.clock.now() + wait,
    }
}

async fn run_sandbox(shared: &Shared, pod: &Pod, attempt: u32) -> Result<(), String> {
    let settings = Arc::clone(&shared.settings);
    let config = sandbox::sandbox(pod, attempt, &settings);
    if !shared.config.hollow {
        let made = tokio::fs::create_dir_all(&config.log_directory).await;
        made.map_err(|error| format!("create {}: {error}", config.log_directory))?;
    }
    let made = shared.runtime.run_sandbox(&config).await;
    if let Err(error) = made {
        let message = format!("Failed to create pod sandbox: {error}");
        shared.say(pod, None, true, "FailedCreatePodSandBox", message.clone());
        return Err(message);
    }
    if shared.config.hollow {
        return Ok(());
    }
    shared.relist.fresh().await;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let text = if host {
        let node = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
        hosts::render_of_node(pod, &node)
    } else {
        let (name, domain) = hosts::hostname(pod, &settings.cluster_domain);
        hosts::render(pod, &shared.pod_ips(pod), &name, domain.as_deref())
    };
    shared.volumes.write_hosts(uid, text).await
}

async fn stop(shared: &Shared, pod: Option<&Pod>, name: &str, id: &str, grace: Duration, message: &str) {
    let container = find(pod, name);
    if let Some(pod) = pod {
        shared.say(pod, Some(name), false, "Killing", message);
    }
    let began = tokio::time::Instant::now();
    let hook = container
        .and_then(|container| container.lifecycle.as_ref())
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let (Some(pod), Some(container), Some(hook)) = (pod, container, hook)
        && !grace.is_zero()
        && let Err(message) = hooks::run(shared, pod, container, id, hook, grace).await
    {
        shared.say(
            pod,
            Some(name),
            true,
            "FailedPreStopHook",
            format!("PreStopHook failed: {message}"),
        );
    }
    let left = grace.saturating_sub(began.elapsed()).max(LEAST_GRACE.min(grace));
    if let Err(error) = shared.runtime.stop_container(id, left).await {
        tracing::warn!(%error, container = name, "cannot stop a container");
        if let Some(pod) = pod {
            shared.say(
                pod,
                Some(name),
                true,
                "FailedKillPod",
                format!("error killing pod: {error}"),
            );
        }
        // Whatever it is, asking again at once will not help.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
