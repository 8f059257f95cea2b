//! What `describe` prints: a page per kind, with kubectl's layout.
//!
//! ```text
//! commands/describe: object + related objects + events  -->  page::<kind> (pure)  -->  tabs aligned  -->  stdout
//! ```

mod batch;
mod config;
mod containers;
mod events;
mod generic;
mod network;
mod node;
mod page;
mod pod;
mod policy;
mod rbac;
mod scaling;
mod storage;
mod values;
mod volumes;
mod workloads;

use jiff::Timestamp;
use serde_json::Value;

pub(crate) use events::{by_time, interval};
pub(crate) use rbac::rows as rule_rows;

use page::Page;

/// What a description needs besides the object; commands/describe gathers it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Related {
    /// Pods of a controller, on a node, or that use a claim; `None` when they may not be seen.
    pub(crate) pods: Option<Vec<Value>>,
    /// ReplicaSets of a Deployment.
    pub(crate) replica_sets: Vec<Value>,
    /// EndpointSlices of a Service, or of the Services behind an Ingress.
    pub(crate) slices: Vec<Value>,
    /// Services behind an Ingress.
    pub(crate) services: Vec<Value>,
    /// A node's Lease, or why it is not known.
    pub(crate) lease: Option<Result<Value, String>>,
    /// ResourceQuotas of a namespace.
    pub(crate) quotas: Vec<Value>,
    /// LimitRanges of a namespace.
    pub(crate) limit_ranges: Vec<Value>,
    /// Events of the object; `None` when they are not wanted.
    pub(crate) events: Option<Vec<Value>>,
    /// The present, for ages.
    pub(crate) now: Timestamp,
}

/// Describes an object of a group and kind.
pub(crate) fn describe(group: &str, kind: &str, object: &Value, related: &Related) -> String {
    let mut page = Page::default();
    let p = &mut page;
    let mut with_events = true;
    match (group, kind) {
        ("", "Pod") => pod::pod(p, object, related),
        ("", "Node") => node::node(p, object, related),
        ("apps", "Deployment") => workloads::deployment(p, object, related),
        ("apps", "ReplicaSet") => workloads::replica_set(p, object, related),
        ("", "ReplicationController") => workloads::replication_controller(p, object, related),
        ("apps", "StatefulSet") => workloads::stateful_set(p, object, related),
        ("apps", "DaemonSet") => workloads::daemon_set(p, object, related),
        ("batch", "Job") => batch::job(p, object),
        ("batch", "CronJob") => batch::cron_job(p, object),
        ("", "Service") => network::service(p, object, related),
        ("", "Endpoints") => network::endpoints(p, object),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(p, object),
        ("networking.k8s.io", "Ingress") => network::ingress(p, object, related),
        ("networking.k8s.io", "IngressClass") => network::ingress_class(p, object),
        ("networking.k8s.io", "NetworkPolicy") => {
            with_events = false;
            policy::network_policy(p, object);
        }
        ("", "Namespace") => {
            with_events = false;
            config::namespace(p, object, related);
        }
        ("", "ConfigMap") => config::config_map(p, object),
        ("", "Secret") => {
            with_events = false;
            config::secret(p, object);
        }
        ("", "ServiceAccount") => config::service_account(p, object),
        ("", "ResourceQuota") => {
            with_events = false;
            config::quota(p, object);
        }
        ("", "LimitRange") => {
            with_events = false;
            config::limit_range(p, object);
        }
        ("", "PersistentVolume") => storage::persistent_volume(p, object, related),
        ("", "PersistentVolumeClaim") => storage::claim(p, object, related),
        ("storage.k8s.io", "StorageClass") => storage::storage_class(p, object),
        ("storage.k8s.io", "CSINode") => storage::csi_node(p, object),
        ("autoscaling", "HorizontalPodAutoscaler") => scaling::autoscaler(p, object),
        ("policy", "PodDisruptionBudget") => policy::disruption_budget(p, object),
        ("scheduling.k8s.io", "PriorityClass") => policy::priority_class(p, object),
        ("certificates.k8s.io", "CertificateSigningRequest") => policy::signing_request(p, object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            with_events = false;
            rbac::role(p, object);
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            with_events = false;
            rbac::binding(p, object);
        }
        _ => generic::any(p, object),
    }
    if with_events && let Some(events) = &related.events {
        events::table(p, events, related.now);
    }
    page.finish()
}

#[cfg(test)]
mod tests;
