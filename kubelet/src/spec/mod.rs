//! From a pod's spec to what the runtime is asked for: pure, except that the objects a spec refers to are handed in.

pub mod container;
pub mod dns;
pub mod env;
pub mod expansion;
pub mod fields;
pub mod hosts;
pub mod resources;
pub mod sandbox;
pub mod security;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};

/// What is wrong with a container's configuration; shown as `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What of the node a pod's containers are made with.
#[derive(Clone, Debug, Default)]
pub struct NodeSettings {
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node.
    pub node_ips: Vec<String>,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<String>,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Root of pods' cgroups, such as `/timonel/node-1`; empty for the top.
    pub cgroup_root: String,
    /// Folder of pods' logs.
    pub pod_logs: PathBuf,
    /// What pods may use, for `resourceFieldRef` without a limit.
    pub allocatable: BTreeMap<String, String>,
    /// Name servers and search domains of the node.
    pub host_dns: crate::runtime::DnsConfig,
}

/// The objects that a pod refers to.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// ConfigMaps by name; `None` for those that do not exist.
    pub config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets by name; `None` for those that do not exist.
    pub secrets: BTreeMap<String, Option<Arc<Secret>>>,
    /// Services of the pod's namespace, and `kubernetes` of `default`.
    pub services: Vec<Arc<Service>>,
}

/// Folder of a pod's logs: `<root>/<namespace>_<name>_<uid>`.
pub fn log_directory(settings: &NodeSettings, pod: &Pod) -> PathBuf {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    settings.pod_logs.join(format!(
        "{}_{}_{}",
        text(&meta.namespace),
        text(&meta.name),
        text(&meta.uid)
    ))
}
