//! The words of the port: plain data, independent of the wire that carries it.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Who answers behind the port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// For example `containerd`.
    pub name: String,
    /// For example `1.6.20`.
    pub version: String,
}

/// One condition of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// For example `NetworkReady`.
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// A word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Where a namespace comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespaceMode {
    /// One for the whole pod.
    #[default]
    Pod,
    /// One for each container.
    Container,
    /// The node's own.
    Node,
}

/// A port of the pod that is also a port of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port inside the pod.
    pub container_port: i32,
    /// Port of the node.
    pub host_port: i32,
    /// Address of the node, or empty for all.
    pub host_ip: String,
}

/// What goes into a sandbox's `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options such as `ndots:5`.
    pub options: Vec<String>,
}

/// How a container's system calls are filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Not at all.
    #[default]
    Unconfined,
    /// As the runtime sees fit.
    RuntimeDefault,
    /// By a profile file of the node.
    Localhost(String),
}

/// What a sandbox is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's uid.
    pub uid: String,
    /// Which sandbox of this pod this is, counted from 0.
    pub attempt: u32,
    /// Host name; empty for pods on the node's network.
    pub hostname: String,
    /// Folder of the containers' logs.
    pub log_directory: String,
    /// Name resolution; `None` leaves the node's.
    pub dns: Option<DnsConfig>,
    /// Ports of the node that lead into the pod.
    pub ports: Vec<PortMapping>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Parent of the pod's cgroups.
    pub cgroup_parent: String,
    /// Network namespace.
    pub network: NamespaceMode,
    /// PID namespace.
    pub pid: NamespaceMode,
    /// IPC namespace.
    pub ipc: NamespaceMode,
    /// Kernel parameters of the pod.
    pub sysctls: BTreeMap<String, String>,
    /// Whether any container of the pod is privileged.
    pub privileged: bool,
    /// User of the sandbox's own process.
    pub run_as_user: Option<i64>,
    /// Group of the sandbox's own process.
    pub run_as_group: Option<i64>,
    /// Supplemental groups.
    pub supplemental_groups: Vec<i64>,
    /// System call filter.
    pub seccomp: Seccomp,
}

/// Whether a sandbox is fit for use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// It runs.
    Ready,
    /// It ended, or never came up.
    NotReady,
}

/// A sandbox as the runtime knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRecord {
    /// Id.
    pub id: String,
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's uid.
    pub uid: String,
    /// Which sandbox of this pod this is.
    pub attempt: u32,
    /// Fit for use?
    pub state: SandboxState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Addresses, the first is the main one; empty on the node's network.
    pub ips: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A folder or file of the node inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Path inside the container.
    pub container_path: String,
    /// Path on the node.
    pub host_path: String,
    /// Read-only?
    pub readonly: bool,
    /// `None`, `HostToContainer` or `Bidirectional`.
    pub propagation: String,
}

/// Cgroup values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Length of a CPU period in microseconds.
    pub cpu_period: i64,
    /// CPU microseconds in a period; 0 means no limit.
    pub cpu_quota: i64,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Memory limit; 0 means none.
    pub memory_limit: i64,
    /// How readily the kernel kills this first.
    pub oom_score_adj: i64,
}

/// Privileges of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityContext {
    /// Capabilities to add.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop.
    pub drop_capabilities: Vec<String>,
    /// All privileges.
    pub privileged: bool,
    /// User id.
    pub run_as_user: Option<i64>,
    /// User name, if the image names one and no id is given.
    pub run_as_username: String,
    /// Group id.
    pub run_as_group: Option<i64>,
    /// Supplemental groups.
    pub supplemental_groups: Vec<i64>,
    /// Root file system read-only?
    pub readonly_rootfs: bool,
    /// No gain of privileges through setuid files.
    pub no_new_privs: bool,
    /// Paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths that are read-only.
    pub readonly_paths: Vec<String>,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Network namespace.
    pub network: NamespaceMode,
    /// PID namespace.
    pub pid: NamespaceMode,
    /// IPC namespace.
    pub ipc: NamespaceMode,
}

/// What a container is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Name in the pod's spec.
    pub name: String,
    /// How often it had been restarted before.
    pub attempt: u32,
    /// The image's reference as the runtime knows it.
    pub image: String,
    /// The image as the user wrote it.
    pub user_image: String,
    /// Entry point; empty for the image's.
    pub command: Vec<String>,
    /// Arguments; empty for the image's (if there is no command).
    pub args: Vec<String>,
    /// Working directory; empty for the image's.
    pub working_dir: String,
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Log file relative to the sandbox's log folder.
    pub log_path: String,
    /// Keep standard input open?
    pub stdin: bool,
    /// Close it after the first attach?
    pub stdin_once: bool,
    /// Allocate a terminal?
    pub tty: bool,
    /// Cgroup values.
    pub resources: Resources,
    /// Privileges.
    pub security: SecurityContext,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Ended.
    Exited {
        /// When it had started, if it ever did.
        started_at: Option<Timestamp>,
        /// When it ended.
        finished_at: Timestamp,
        /// Exit code; 128 + signal when killed.
        exit_code: i32,
        /// The runtime's reason: `Completed`, `Error`, `OOMKilled`, ...
        reason: String,
        /// The runtime's words, or the termination message.
        message: String,
    },
    /// The runtime lost track of it.
    Unknown,
}

/// A container as the runtime knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Id.
    pub id: String,
    /// Sandbox it belongs to.
    pub sandbox_id: String,
    /// Name in the pod's spec.
    pub name: String,
    /// The pod's uid (from the labels).
    pub pod_uid: String,
    /// How often it had been restarted before.
    pub attempt: u32,
    /// Image as the user wrote it.
    pub image: String,
    /// Image by digest.
    pub image_id: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its log file on the node.
    pub log_path: String,
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStats {
    /// Id.
    pub id: String,
    /// Name in the pod's spec.
    pub name: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// When this was measured.
    pub at: Timestamp,
    /// CPU nanoseconds since the start.
    pub cpu_nanos: u64,
    /// Working set in bytes.
    pub memory_bytes: u64,
    /// Bytes in the writable layer.
    pub disk_bytes: u64,
}

/// Result of a command that was waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Exit code.
    pub exit_code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// A command with streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Container.
    pub container_id: String,
    /// Command.
    pub command: Vec<String>,
    /// Terminal?
    pub tty: bool,
    /// Standard input?
    pub stdin: bool,
    /// Standard output?
    pub stdout: bool,
    /// Standard error?
    pub stderr: bool,
}

/// Streams of a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// Container.
    pub container_id: String,
    /// Terminal?
    pub tty: bool,
    /// Standard input?
    pub stdin: bool,
    /// Standard output?
    pub stdout: bool,
    /// Standard error?
    pub stderr: bool,
}

/// An image as the runtime knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRecord {
    /// Id (digest of its configuration).
    pub id: String,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// The image's user id.
    pub uid: Option<i64>,
    /// The image's user name, if it names one.
    pub username: String,
}

/// A question to a pod over its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkProbe {
    /// `GET` of a URL; 200 to 399 is success.
    Http {
        /// `http` or `https` (whose certificate is not checked).
        scheme: String,
        /// Host or address.
        host: String,
        /// Port.
        port: u16,
        /// Path with query.
        path: String,
        /// Extra headers.
        headers: Vec<(String, String)>,
    },
    /// A connection.
    Tcp {
        /// Host or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Host or address.
        host: String,
        /// Port.
        port: u16,
        /// Service name, often empty.
        service: String,
    },
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Good.
    Success {
        /// Output.
        output: String,
    },
    /// Bad.
    Failure {
        /// Output, for people.
        output: String,
    },
    /// The probe itself did not work; counts neither way.
    Error {
        /// What happened.
        message: String,
    },
}

impl ProbeOutcome {
    /// Whether it found all well.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success { .. })
    }
}
