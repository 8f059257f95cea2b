//! Which pods stand behind a Service, and on which ports: what EndpointSlices and Endpoints both say.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use timonel_api::{ObjectKey, pod};
use timonel_client::Reader;
use timonel_client::runner::key_of;

use crate::owner;

/// A port of a Service as one pod has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: i32,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
}

/// A pod behind a Service.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) pod: Arc<Pod>,
    /// May get new connections.
    pub(crate) ready: bool,
    /// Passes its readiness probe, leaving or not.
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    pub(crate) ports: Vec<Port>,
}

impl Backend {
    /// Returns the pod's address of a family (`IPv4`, `IPv6`).
    pub(crate) fn address(&self, family: &str) -> Option<String> {
        let status = self.pod.status.as_ref()?;
        let listed = status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(&status.pod_ip);
        listed
            .filter(|ip| !ip.is_empty())
            .find(|ip| ip.contains(':') == (family == "IPv6"))
            .cloned()
    }

    /// Returns the reference that an endpoint carries.
    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference {
            kind: Some("Pod".into()),
            namespace: self.pod.metadata.namespace.clone(),
            name: self.pod.metadata.name.clone(),
            uid: self.pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }
    }

    /// Returns the node that the pod is on.
    pub(crate) fn node(&self) -> Option<String> {
        self.pod
            .spec
            .as_ref()?
            .node_name
            .clone()
            .filter(|name| !name.is_empty())
    }

    /// Returns the name that the pod has below a headless Service.
    pub(crate) fn hostname(&self, service: &Service) -> Option<String> {
        let spec = self.pod.spec.as_ref()?;
        let named = spec.subdomain.as_deref() == Some(owner::name(&service.metadata));
        spec.hostname.clone().filter(|hostname| named && !hostname.is_empty())
    }
}

/// Tells whether a Service chooses its pods by a selector; others bring their own endpoints.
pub(crate) fn selects(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName")
            && spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
    })
}

fn matches(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selects(service)
        && selector
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Returns the keys of the Services that a pod stands behind.
pub(crate) fn services_of(services: &Reader<Service>, pod: &Pod) -> Vec<ObjectKey> {
    let services = services.list_in(owner::namespace(&pod.metadata));
    services
        .iter()
        .filter(|service| matches(service, pod))
        .map(|service| key_of(&**service))
        .collect()
}

/// Returns the pods behind a Service, by name.
pub(crate) fn of(service: &Service, pods: &[Arc<Pod>]) -> Vec<Backend> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let publishes_all = spec.publish_not_ready_addresses.unwrap_or(false);
    let behind = pods
        .iter()
        .filter(|pod| matches(service, pod) && !pod::is_terminal(pod));
    let backend = |pod: &Arc<Pod>| {
        let terminating = pod::is_terminating(pod);
        let serving = pod::is_ready(pod);
        let mut ports: Vec<Port> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                Some(Port {
                    name: port.name.clone().unwrap_or_default(),
                    port: target(pod, port.target_port.as_ref(), port.port, &protocol)?,
                    app_protocol: port.app_protocol.clone(),
                    protocol,
                })
            })
            .collect();
        ports.sort();
        Backend {
            ready: publishes_all || (serving && !terminating),
            serving,
            terminating,
            ports,
            pod: Arc::clone(pod),
        }
    };
    behind
        .map(backend)
        .filter(|backend| backend.address("IPv4").or_else(|| backend.address("IPv6")).is_some())
        .collect()
}

/// Finds the number of a port that may be given by name.
fn target(pod: &Pod, target: Option<&IntOrString>, own: i32, protocol: &str) -> Option<i32> {
    match target {
        None => Some(own),
        Some(IntOrString::Int(0)) => Some(own),
        Some(IntOrString::Int(port)) => Some(*port),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|init| init.restart_policy.as_deref() == Some("Always"));
            let ports = spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten());
            ports
                .filter(|port| port.name.as_deref() == Some(name.as_str()))
                .find(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol)
                .map(|port| port.container_port)
        }
    }
}
