//! What a pod's sandbox is made from.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::{NodeSettings, dns, hosts, log_directory, resources, security};
use crate::runtime::{NamespaceMode, PortMapping, SandboxConfig, labels};

/// The labels by which everything of a pod is found again.
pub fn pod_labels(pod: &Pod) -> BTreeMap<String, String> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut all = meta.labels.clone().unwrap_or_default();
    all.insert(labels::POD_NAME.to_owned(), text(&meta.name));
    all.insert(labels::POD_NAMESPACE.to_owned(), text(&meta.namespace));
    all.insert(labels::POD_UID.to_owned(), text(&meta.uid));
    all
}

/// Builds the sandbox's configuration.
pub fn sandbox(pod: &Pod, attempt: u32, settings: &NodeSettings) -> SandboxConfig {
    let meta = &pod.metadata;
    let spec = pod.spec.clone().unwrap_or_default();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (network, pid, ipc) = security::namespaces(pod);
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = containers()
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            Some(PortMapping {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect();
    let privileged = containers().any(|container| {
        container
            .security_context
            .as_ref()
            .and_then(|context| context.privileged)
            == Some(true)
    });
    SandboxConfig {
        name: text(&meta.name),
        namespace: text(&meta.namespace),
        uid: text(&meta.uid),
        attempt,
        // containerd sets the host name of the node if it is given one for a pod on the node's network.
        hostname: if network == NamespaceMode::Node {
            String::new()
        } else {
            hosts::hostname(pod, &settings.cluster_domain).0
        },
        log_directory: log_directory(settings, pod).to_string_lossy().into_owned(),
        dns: Some(dns::dns(pod, settings)),
        ports: if network == NamespaceMode::Node {
            Vec::new()
        } else {
            ports
        },
        labels: pod_labels(pod),
        annotations: meta.annotations.clone().unwrap_or_default(),
        cgroup_parent: resources::cgroup_parent(&settings.cgroup_root, pod),
        network,
        pid,
        ipc,
        sysctls: of_pod
            .sysctls
            .iter()
            .flatten()
            .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
            .collect(),
        privileged,
        run_as_user: of_pod.run_as_user,
        run_as_group: of_pod.run_as_group,
        supplemental_groups: security::groups(&of_pod),
        seccomp: crate::runtime::Seccomp::RuntimeDefault,
    }
}
