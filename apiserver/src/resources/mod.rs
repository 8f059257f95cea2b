//! What is particular to each kind: defaults, validation, what a write may change, table columns.
//!
//! A file or folder per kind or small group of kinds, and one line each in [`strategy`]. The registry is generic and calls a
//! [`Strategy`]. Objects are JSON values here; [`value`] reads them, [`cells`] writes table cells, [`common`] holds the rules
//! that several kinds share. Everything is pure.

mod access;
mod amounts;
mod apps;
mod batch;
mod cells;
mod certificates;
mod common;
mod conditions;
mod core;
mod devices;
mod extension;
mod ip;
mod network;
mod node_selector;
mod pod;
pub mod strategy;
mod usage;
mod value;
mod volumes;
mod warnings;

pub(crate) use self::core::{cluster_ips, is_headless, needs_health_check};
pub(crate) use network::{SERVICE_CIDR_FINALIZER, adopt_service_cidr, is_ready_service_cidr};
pub use strategy::{Column, Context, Strategy};
pub(crate) use warnings::deprecated_resource;

/// A kind without particulars: everything is the trait's default behaviour.
struct Plain;

impl Strategy for Plain {}

/// Returns the strategy of a resource: `pods`, `deployments.apps`. Kinds without particulars share one.
pub fn strategy(resource: &str) -> &'static dyn Strategy {
    match resource {
        "pods" => &pod::Pods,
        "podtemplates" => &pod::PodTemplates,
        "componentstatuses" => &core::ComponentStatuses,
        "configmaps" => &core::ConfigMaps,
        "endpoints" => &core::Endpoints,
        "events" | "events.events.k8s.io" => &core::Events,
        "limitranges" => &core::LimitRanges,
        "namespaces" => &core::Namespaces,
        "nodes" => &core::Nodes,
        "persistentvolumeclaims" => &core::PersistentVolumeClaims,
        "persistentvolumes" => &core::PersistentVolumes,
        "replicationcontrollers" => &apps::ReplicationControllers,
        "resourcequotas" => &core::ResourceQuotas,
        "secrets" => &core::Secrets,
        "serviceaccounts" => &core::ServiceAccounts,
        "services" => &core::Services,
        "controllerrevisions.apps" => &apps::ControllerRevisions,
        "daemonsets.apps" => &apps::DaemonSets,
        "deployments.apps" => &apps::Deployments,
        "replicasets.apps" => &apps::ReplicaSets,
        "statefulsets.apps" => &apps::StatefulSets,
        "cronjobs.batch" => &batch::CronJobs,
        "jobs.batch" => &batch::Jobs,
        "horizontalpodautoscalers.autoscaling" => &network::HorizontalPodAutoscalers,
        "endpointslices.discovery.k8s.io" => &network::EndpointSlices,
        "ingresses.networking.k8s.io" => &network::Ingresses,
        "ingressclasses.networking.k8s.io" => &network::IngressClasses,
        "ipaddresses.networking.k8s.io" => &network::IpAddresses,
        "networkpolicies.networking.k8s.io" => &network::NetworkPolicies,
        "servicecidrs.networking.k8s.io" => &network::ServiceCidrs,
        "poddisruptionbudgets.policy" => &network::PodDisruptionBudgets,
        "certificatesigningrequests.certificates.k8s.io" => &certificates::CertificateSigningRequests,
        "leases.coordination.k8s.io" => &access::Leases,
        "clusterroles.rbac.authorization.k8s.io" => &access::Roles { cluster: true },
        "roles.rbac.authorization.k8s.io" => &access::Roles { cluster: false },
        "clusterrolebindings.rbac.authorization.k8s.io" => &access::RoleBindings { cluster: true },
        "rolebindings.rbac.authorization.k8s.io" => &access::RoleBindings { cluster: false },
        "priorityclasses.scheduling.k8s.io" => &access::PriorityClasses,
        "runtimeclasses.node.k8s.io" => &access::RuntimeClasses,
        "storageclasses.storage.k8s.io" => &core::StorageClasses,
        "csidrivers.storage.k8s.io" => &extension::CSI_DRIVERS,
        "csistoragecapacities.storage.k8s.io" => &extension::STORAGE_CAPACITIES,
        "csinodes.storage.k8s.io" => &extension::CSI_NODES,
        "volumeattachments.storage.k8s.io" => &extension::VOLUME_ATTACHMENTS,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io" => &extension::MUTATING_WEBHOOKS,
        "validatingwebhookconfigurations.admissionregistration.k8s.io" => &extension::VALIDATING_WEBHOOKS,
        "mutatingadmissionpolicies.admissionregistration.k8s.io" => &extension::MUTATING_POLICIES,
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io" => &extension::MUTATING_POLICY_BINDINGS,
        "validatingadmissionpolicies.admissionregistration.k8s.io" => &extension::VALIDATING_POLICIES,
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => &extension::VALIDATING_POLICY_BINDINGS,
        "flowschemas.flowcontrol.apiserver.k8s.io" => &extension::FLOW_SCHEMAS,
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io" => &extension::PRIORITY_LEVELS,
        "apiservices.apiregistration.k8s.io" => &extension::API_SERVICES,
        "customresourcedefinitions.apiextensions.k8s.io" => &extension::CustomResourceDefinitions,
        "volumeattributesclasses.storage.k8s.io" => &extension::VOLUME_ATTRIBUTES_CLASSES,
        "deviceclasses.resource.k8s.io" => &devices::DeviceClasses,
        "resourceclaims.resource.k8s.io" => &devices::ResourceClaims,
        "resourceclaimtemplates.resource.k8s.io" => &devices::ResourceClaimTemplates,
        "resourceslices.resource.k8s.io" => &devices::ResourceSlices,
        "nodes.metrics.k8s.io" => &usage::NodeMetrics,
        "pods.metrics.k8s.io" => &usage::PodMetrics,
        _ => &Plain,
    }
}
