//! What an operator can choose.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::pod::backoff::Limits;

/// Everything that distinguishes this node from others.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object; also the host name label.
    pub node_name: String,
    /// Address under which the API server and other nodes reach this one.
    pub node_ip: IpAddr,
    /// Where volumes, certificates and state live.
    pub root_dir: PathBuf,
    /// Where containers' logs live. Log collectors expect `/var/log/pods`.
    pub pod_log_dir: PathBuf,
    /// The runtime's socket.
    pub containerd_socket: PathBuf,
    /// Where the network plugin's configuration is looked for; only reported on.
    pub cni_conf_dir: PathBuf,
    /// Parent of all pods' cgroups. Nodes that share one host's cgroup file system each need their own.
    pub cgroup_root: String,
    /// Addresses of the cluster's DNS; empty leaves pods the node's.
    pub cluster_dns: Vec<String>,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// The node's `resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Port of the HTTPS API.
    pub port: u16,
    /// Most pods that this node takes.
    pub max_pods: u32,
    /// Labels that the Node object gets when it is first registered.
    pub node_labels: Vec<(String, String)>,
    /// Taints `key=value:Effect` that the Node object gets when it is first registered.
    pub register_taints: Vec<String>,
    /// CPU and memory to report; `None` asks the machine. Hollow nodes set it.
    pub capacity: Option<Capacity>,
    /// A hollow node writes nothing to disk; used with the simulated runtime.
    pub hollow: bool,
    /// How fast things go.
    pub timings: Timings,
}

/// What a node claims to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of CPUs.
    pub milli_cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of disk.
    pub disk: i64,
}

/// How fast things go. The defaults are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Between two looks at the runtime. containerd 1.6 has no events, so this bounds how late a death is noticed.
    pub relist: Duration,
    /// Between two computations of the node's status; a change is reported at once.
    pub node_status: Duration,
    /// An unchanged node status is reported after this time all the same.
    pub node_status_report: Duration,
    /// Between two renewals of the node's Lease.
    pub lease_renew: Duration,
    /// How long a Lease holds.
    pub lease_duration: Duration,
    /// Back-off of containers that end.
    pub restart: Limits,
    /// Back-off of image pulls.
    pub pull: Limits,
    /// Wait before something else that failed is tried again.
    pub retry: Duration,
    /// Between two refreshes of a pod's configMaps, secrets and tokens.
    pub volume_refresh: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            relist: Duration::from_secs(1),
            node_status: Duration::from_secs(10),
            node_status_report: Duration::from_secs(300),
            lease_renew: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
            restart: Limits {
                initial: Duration::from_secs(10),
                max: Duration::from_secs(300),
            },
            pull: Limits {
                initial: Duration::from_secs(10),
                max: Duration::from_secs(300),
            },
            retry: Duration::from_secs(10),
            volume_refresh: Duration::from_secs(60),
        }
    }
}

impl Timings {
    /// A tenth of the waiting: for labs, where people watch.
    pub fn lab() -> Self {
        let limits = Limits {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
        };
        Self {
            node_status: Duration::from_secs(1),
            node_status_report: Duration::from_secs(30),
            lease_renew: Duration::from_secs(1),
            lease_duration: Duration::from_secs(4),
            restart: limits,
            pull: limits,
            retry: Duration::from_secs(2),
            volume_refresh: Duration::from_secs(10),
            ..Self::default()
        }
    }
}

impl Config {
    /// The defaults of a real node.
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr) -> Self {
        Self {
            node_name: node_name.into(),
            node_ip,
            root_dir: "/var/lib/kubelet".into(),
            pod_log_dir: "/var/log/pods".into(),
            containerd_socket: "/run/containerd/containerd.sock".into(),
            cni_conf_dir: "/etc/cni/net.d".into(),
            cgroup_root: String::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: "/etc/resolv.conf".into(),
            port: 10250,
            max_pods: 110,
            node_labels: Vec::new(),
            register_taints: Vec::new(),
            capacity: None,
            hollow: false,
            timings: Timings::default(),
        }
    }

    /// A node that exists only in a simulation.
    pub fn hollow(node_name: impl Into<String>, node_ip: IpAddr) -> Self {
        Self {
            hollow: true,
            capacity: Some(Capacity {
                milli_cpu: 4000,
                memory: 8 << 30,
                disk: 64 << 30,
            }),
            ..Self::new(node_name, node_ip)
        }
    }
}
