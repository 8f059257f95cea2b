//! The command line. Flags have upstream's names where they mean what upstream's mean.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::access::AccessArgs;
use crate::lab::{ImageCommand, LabCommand};
use crate::secrets::SecretsCommand;

/// A Kubernetes-compatible orchestrator.
#[derive(Debug, Parser)]
#[command(name = "timonel", version, about, propagate_version = true)]
pub enum Command {
    /// Runs the control plane in one process: API server, scheduler and controllers.
    Server(Box<ServerArgs>),
    /// Runs a node: kubelet, service proxy and DNS, over a containerd that runs already.
    Agent(Box<AgentArgs>),
    /// Runs the API server alone.
    Apiserver(Box<ApiserverArgs>),
    /// Runs the scheduler alone.
    Scheduler(SchedulerArgs),
    /// Runs the controllers alone.
    ControllerManager(ControllerManagerArgs),
    /// Runs the kubelet alone.
    Kubelet(KubeletArgs),
    /// Runs the service proxy alone.
    Proxy(ProxyArgs),
    /// Runs the DNS alone.
    Dns(DnsArgs),
    /// Runs a cluster of several machines on this one.
    Lab {
        /// What to do.
        #[command(subcommand)]
        command: LabCommand,
    },
    /// Works with container images.
    Image {
        /// What to do.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Rotates the keys that Secrets are encrypted with.
    Secrets {
        /// What to do.
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Prints the version.
    Version,
}

/// The store's engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StoreEngine {
    /// A B-tree in one file.
    #[default]
    Redb,
    /// A log-structured tree.
    Sled,
}

/// The API server's flags.
#[derive(Debug, Args)]
pub struct ApiserverArgs {
    /// Where the store, the keys and the kubeconfigs are.
    #[arg(long, default_value = "/var/lib/timonel/server")]
    pub data_dir: PathBuf,
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The address under which nodes and pods reach this server; by default the one it listens on, or that of the
    /// default route.
    #[arg(long)]
    pub advertise_address: Option<Ipv4Addr>,
    /// Further names and addresses that the server's certificate is good for.
    #[arg(long, value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Where services get their addresses.
    #[arg(long, default_value = "10.96.0.0/12")]
    pub service_cluster_ip_range: String,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The store's engine; fixed once the store exists.
    #[arg(long, value_enum, default_value_t)]
    pub store_engine: StoreEngine,
    /// For how many seconds history is kept: watches resume, lists continue and old states are read from it.
    #[arg(long, default_value_t = 7200)]
    pub history_seconds: u64,
    /// Give a new cluster the storage class `local-path`, for claims that name none.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub local_path_storage: bool,
    /// A token with which nodes may join: `[a-z0-9]{6}.[a-z0-9]{16}`.
    #[arg(long, env = "TIMONEL_BOOTSTRAP_TOKEN", hide_env_values = true)]
    pub bootstrap_token: Option<String>,
    /// Who is let in, and what is logged.
    #[command(flatten)]
    pub access: AccessArgs,
    /// What it takes on at a time.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// What the API server takes on at a time, and how long it lets itself be kept waiting.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Requests that only read, served at a time; 0 is no limit. Watches, logs and tunnels do not count, members of system:masters are
    /// always served, and a fifth as many places are kept for nodes and the control plane.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Requests that change something, served at a time; 0 is no limit.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long a request may take that is no watch and no stream: `60s`, `1m30s`.
    #[arg(long, default_value = "1m", value_parser = timonel_apiserver::http::parse_duration)]
    pub request_timeout: Duration,
    /// How long a client may leave unread what is sent to it, a watch's events too, until it is left; a second at least: `30s`, `1m`.
    #[arg(long, default_value = "1m", value_parser = timonel_apiserver::http::parse_duration)]
    pub stall_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection; 0 takes the default of 100.
    #[arg(long, default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
    /// Connections held at a time; by default as many as the process may have files open, at most 32768.
    #[arg(long)]
    pub max_connections: Option<usize>,
}

/// The control plane's flags.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The API server's.
    #[command(flatten)]
    pub api: ApiserverArgs,
    /// Where pods get their addresses: each node gets a part.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: String,
    /// The address of the cluster's DNS.
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: Ipv4Addr,
    /// The scheduler's KubeSchedulerConfiguration: profiles, plugins and their arguments.
    #[arg(long)]
    pub scheduler_config: Option<PathBuf>,
    /// Shorten the control plane's timings, so that the loss of a node plays out in seconds.
    #[arg(long)]
    pub lab_timings: bool,
}

/// How a component reaches the API server.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    /// The credentials and the server's address.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Work only while holding the component's lease.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
}

/// The scheduler's flags.
#[derive(Debug, Args)]
pub struct SchedulerArgs {
    /// The common ones.
    #[command(flatten)]
    pub common: ControllerArgs,
    /// A KubeSchedulerConfiguration: profiles, plugins and their arguments. What it says of leader election counts more than the flag.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// The controllers' flags.
#[derive(Debug, Args)]
pub struct ControllerManagerArgs {
    /// The common ones.
    #[command(flatten)]
    pub common: ControllerArgs,
    /// Where pods get their addresses.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: String,
    /// The certificate that signs nodes' certificates.
    #[arg(long, requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// The certificate that pods verify the API server by.
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    /// Shorten the timings.
    #[arg(long)]
    pub lab_timings: bool,
}

/// What a node says about itself.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The node's name; the host's by default.
    #[arg(long, visible_alias = "hostname-override")]
    pub node_name: Option<String>,
    /// The address under which other nodes reach it; that of the default route by default.
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// containerd's socket.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    pub container_runtime_endpoint: PathBuf,
    /// Where pods' volumes are.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// The address of the cluster's DNS.
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: Ipv4Addr,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Labels for the node when it registers: `key=value,...`.
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// Taints for the node when it registers: `key=value:Effect,...`.
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// Shorten the timings.
    #[arg(long)]
    pub lab_timings: bool,
}

/// A node's flags.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The API server's URL.
    #[arg(long)]
    pub server: String,
    /// The token to join with; not needed once the node has its certificate.
    #[arg(long, env = "TIMONEL_TOKEN", hide_env_values = true, default_value = "")]
    pub token: String,
    /// The certificate that the server is verified by.
    #[arg(long)]
    pub certificate_authority: PathBuf,
    /// Where the node's own keys are.
    #[arg(long, default_value = "/var/lib/timonel/agent")]
    pub data_dir: PathBuf,
    /// Resolvers for names outside the cluster.
    #[arg(long, value_delimiter = ',')]
    pub dns_forward: Vec<SocketAddr>,
    /// The node.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// The kubelet's flags.
#[derive(Debug, Args)]
pub struct KubeletArgs {
    /// The credentials and the server's address.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// The proxy's flags.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// The credentials and the server's address.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node's name; the host's by default.
    #[arg(long, visible_alias = "hostname-override")]
    pub node_name: Option<String>,
    /// Service addresses that a program on this node serves itself.
    #[arg(long, value_delimiter = ',')]
    pub served_here: Vec<Ipv4Addr>,
}

/// The DNS's flags.
#[derive(Debug, Args)]
pub struct DnsArgs {
    /// The credentials and the server's address.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Where to listen, over UDP and TCP.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:53")]
    pub listen: Vec<SocketAddr>,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Resolvers for names outside the cluster.
    #[arg(long, value_delimiter = ',')]
    pub dns_forward: Vec<SocketAddr>,
}
