//! What the planner looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::backoff::{Backoff, Limits};
use super::probes::ProbeView;
use crate::runtime::{ContainerRecord, ContainerState, SandboxRecord, SandboxState};

/// Everything that is known about one pod at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The pod as the API has it; `None` once it is gone from there.
    pub pod: Option<Arc<Pod>>,
    /// The pod as the API last had it, if this kubelet ever saw it.
    pub last_pod: Option<Arc<Pod>>,
    /// Its sandboxes, newest first.
    pub sandboxes: Vec<SandboxRecord>,
    /// Its containers, newest first.
    pub containers: Vec<ContainerRecord>,
    /// What the probes say, by container id.
    pub probes: BTreeMap<String, ProbeView>,
    /// What the worker remembers.
    pub memory: Memory,
    /// About the node.
    pub node: NodeFacts,
}

/// What of the node a pod's status or decisions depend on.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// The node's addresses.
    pub ips: Vec<String>,
    /// Prefix of container ids: `containerd`.
    pub runtime: String,
    /// Back-off of containers that end.
    pub restart: Limits,
    /// Back-off of image pulls.
    pub pull: Limits,
    /// Wait before something that failed for another reason is tried again.
    pub retry: Duration,
}

/// What a worker remembers between two plans. All of it may be lost with the kubelet without harm to running containers.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// When this kubelet first saw the pod.
    pub first_seen: Option<Timestamp>,
    /// How far the volumes are.
    pub volumes: VolumeMemory,
    /// Why the last sandbox could not be made, and when that was.
    pub sandbox_failure: Option<(String, Timestamp)>,
    /// What became of each container's image.
    pub images: BTreeMap<String, ImageMemory>,
    /// Back-off of pulls by image.
    pub pull_backoff: BTreeMap<String, Backoff>,
    /// Back-off of restarts by container.
    pub restart_backoff: BTreeMap<String, Backoff>,
    /// The last start of a container that failed.
    pub failures: BTreeMap<String, StartFailure>,
    /// What is going on right now.
    pub busy: BTreeSet<Busy>,
    /// By when containers that are being stopped will have ended.
    pub stop_by: BTreeMap<String, Timestamp>,
    /// What was said in events already.
    pub announced: BTreeSet<String>,
    /// The status that the API server has acknowledged.
    pub reported: Option<PodStatus>,
    /// Whether the pod's folders are gone.
    pub cleaned: bool,
    /// A verdict of this kubelet that ends the pod.
    pub terminal: Option<Terminal>,
}

/// Why this kubelet ended a pod before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// For `status.reason`.
    pub reason: String,
    /// For `status.message`.
    pub message: String,
}

/// How far a pod's volumes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VolumeMemory {
    /// Not set up since this kubelet runs.
    #[default]
    Unprepared,
    /// All there.
    Ready,
    /// Something is missing.
    Failed {
        /// What.
        message: String,
        /// When to look again.
        retry_at: Timestamp,
    },
}

/// What became of the image for one start of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageMemory {
    /// The start it was for.
    pub attempt: u32,
    /// The image as the user wrote it.
    pub image: String,
    /// Its reference, or why there is none.
    pub result: Result<String, ImageFailure>,
}

/// Why an image could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFailure {
    /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// Which start.
    pub attempt: u32,
    /// `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`, `PostStartHookError`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Something that is going on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Busy {
    /// Volumes are being set up.
    Volumes,
    /// A sandbox is being made.
    Sandbox,
    /// A sandbox is being stopped.
    StopSandbox(String),
    /// A sandbox is being removed.
    RemoveSandbox(String),
    /// A container's image is being looked for or pulled.
    Image(String),
    /// A container is being made and started (by name).
    Start(String),
    /// A container is being stopped (by id).
    Stop(String),
    /// A container is being removed (by id).
    Remove(String),
    /// Folders are being removed.
    CleanUp,
    /// The API server is being told to forget the pod.
    Finalize,
}

impl Observed {
    /// All containers of a name, newest first.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ContainerRecord> + 'a {
        self.containers.iter().filter(move |container| container.name == name)
    }

    /// The newest sandbox, if it is fit for use.
    pub(super) fn current_sandbox(&self) -> Option<&SandboxRecord> {
        self.sandboxes
            .first()
            .filter(|sandbox| sandbox.state == SandboxState::Ready && (self.host_network() || !sandbox.ips.is_empty()))
    }

    /// Whether the pod uses the node's network.
    pub(super) fn host_network(&self) -> bool {
        let pod = self.pod.as_ref().or(self.last_pod.as_ref());
        pod.and_then(|pod| pod.spec.as_ref())
            .and_then(|spec| spec.host_network)
            .unwrap_or(false)
    }

    /// Containers that run (or might).
    pub(super) fn alive(&self) -> impl Iterator<Item = &ContainerRecord> {
        self.containers.iter().filter(|container| {
            matches!(
                container.state,
                ContainerState::Running { .. } | ContainerState::Unknown
            )
        })
    }

    pub(super) fn is_busy(&self, busy: &Busy) -> bool {
        self.memory.busy.contains(busy)
    }
}
