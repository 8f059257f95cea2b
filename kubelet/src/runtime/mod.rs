//! The port to whatever runs containers, modelled on CRI at the level that the pod planner needs.
//!
//! Two implementations: [`crate::cri`] (containerd over its socket) and [`crate::simulated`] (scripted, deterministic).
//! What a pod *is* is never stored here: sandboxes and containers carry labels and annotations (module [`labels`]), and a
//! kubelet that starts anew learns everything from listing them.

pub mod labels;
mod types;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use types::{
    AttachRequest, Condition, ContainerConfig, ContainerRecord, ContainerState, ContainerStats, DnsConfig, ExecRequest,
    ExecResult, ImageRecord, Mount, NamespaceMode, NetworkProbe, PortMapping, ProbeOutcome, Resources, RuntimeVersion,
    SandboxConfig, SandboxRecord, SandboxState, Seccomp, SecurityContext,
};
pub use usage::{GroupUsage, InterfaceUsage, MemoryUsage};

/// What went wrong when the runtime was asked for something.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuntimeError {
    /// The thing that was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The runtime cannot be reached at all.
    #[error("container runtime is down: {0}")]
    Unavailable(String),
    /// It took longer than it was given.
    #[error("{0}")]
    Timeout(String),
    /// The runtime refused or failed; its own words.
    #[error("{0}")]
    Failed(String),
}

/// Runs sandboxes and containers on this node.
///
/// *Guarantees.* Every method is idempotent where CRI demands it: stopping or removing what is gone succeeds.
///
/// *Cancel safety.* Dropping a future may leave the runtime finishing the request; the next listing shows what happened.
#[async_trait]
pub trait Runtime: Send + Sync + fmt::Debug + 'static {
    /// Tells who answers.
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError>;
    /// Tells `RuntimeReady`, `NetworkReady` and whatever else the runtime reports of itself.
    async fn status(&self) -> Result<Vec<Condition>, RuntimeError>;

    /// Makes and starts a sandbox; answers its id.
    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError>;
    /// Stops a sandbox and every container in it, and gives back its network.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// Removes a sandbox and its containers.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// Lists all sandboxes of this node with their addresses.
    async fn list_sandboxes(&self) -> Result<Vec<SandboxRecord>, RuntimeError>;

    /// Makes a container in a sandbox; answers its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox: &SandboxConfig,
    ) -> Result<String, RuntimeError>;
    /// Starts a container that was created.
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// Asks a container to end (its stop signal) and kills it after `grace`; returns when it has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError>;
    /// Removes a container and its log.
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// Lists all containers of this node in full.
    async fn list_containers(&self) -> Result<Vec<ContainerRecord>, RuntimeError>;
    /// Makes the runtime write to a new log file after a rotation.
    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError>;
    /// What running containers use now.
    async fn container_stats(&self) -> Result<Vec<ContainerStats>, RuntimeError>;
    /// What control groups use at `now`; `/` is the whole machine. Those that are not there are left out.
    async fn group_usage(&self, groups: &[String], now: Timestamp) -> BTreeMap<String, GroupUsage>;

    /// Runs a command in a container and waits for it, at most `timeout` (zero: as long as it takes).
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecResult, RuntimeError>;
    /// Prepares a command with streams; answers the URL at which the streams are.
    async fn exec(&self, request: &ExecRequest) -> Result<String, RuntimeError>;
    /// Prepares streams to a container's first process; answers their URL.
    async fn attach(&self, request: &AttachRequest) -> Result<String, RuntimeError>;
    /// Prepares connections to ports of a sandbox; answers their URL.
    async fn port_forward(&self, sandbox_id: &str, ports: &[u16]) -> Result<String, RuntimeError>;
    /// Asks something of a pod over its network, as a probe or a hook does.
    async fn probe_network(&self, container_id: &str, probe: &NetworkProbe, timeout: Duration) -> ProbeOutcome;

    /// Lists the images of this node.
    async fn list_images(&self) -> Result<Vec<ImageRecord>, RuntimeError>;
    /// Finds an image by any of its names.
    async fn image(&self, image: &str) -> Result<Option<ImageRecord>, RuntimeError>;
    /// Pulls an image; answers its reference.
    async fn pull_image(&self, image: &str, auth: Option<&ImageAuth>) -> Result<String, RuntimeError>;
    /// Removes an image.
    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError>;
}

/// Credentials for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageAuth {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
    /// The registry's address.
    pub server: String,
}
