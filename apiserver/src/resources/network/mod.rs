//! Networking and discovery kinds, autoscalers and disruption budgets.

mod addresses;
mod autoscaler;
mod budget;
mod ingress;
mod metrics;
mod policy;
mod slices;

pub(super) use addresses::{IpAddresses, ServiceCidrs};
pub(crate) use addresses::{SERVICE_CIDR_FINALIZER, adopt_service_cidr, is_ready_service_cidr};
pub(super) use autoscaler::HorizontalPodAutoscalers;
pub(super) use budget::PodDisruptionBudgets;
pub(super) use ingress::{IngressClasses, Ingresses};
pub(super) use policy::NetworkPolicies;
pub(super) use slices::EndpointSlices;
