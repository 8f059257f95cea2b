//! Our words to CRI's and back.

use jiff::Timestamp;

use super::{timestamp, wire};
use crate::runtime::{
    ContainerConfig, ContainerRecord, ContainerState, ContainerStats, ImageRecord, NamespaceMode, RuntimeError,
    SandboxConfig, Seccomp, labels,
};

/// Reads an error of the runtime.
pub(super) fn failed(status: tonic::Status) -> RuntimeError {
    match status.code() {
        tonic::Code::NotFound => RuntimeError::NotFound(status.message().to_owned()),
        tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => RuntimeError::Timeout(status.message().to_owned()),
        tonic::Code::Unavailable => RuntimeError::Unavailable(status.message().to_owned()),
        // tonic reports a connector that cannot connect as Unknown with the source's words.
        tonic::Code::Unknown if status.message().contains("transport error") => {
            RuntimeError::Unavailable(status.message().to_owned())
        }
        code => RuntimeError::Failed(format!("rpc error: code = {code:?} desc = {}", status.message())),
    }
}

/// Reads a time that must be there.
pub(super) fn no_sooner_than(nanos: i64) -> Timestamp {
    timestamp(nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn ips(network: Option<wire::PodSandboxNetworkStatus>) -> Vec<String> {
    let Some(network) = network else { return Vec::new() };
    std::iter::once(network.ip)
        .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
        .filter(|ip| !ip.is_empty())
        .collect()
}

pub(super) fn image_spec(image: &str) -> wire::ImageSpec {
    wire::ImageSpec {
        image: image.to_owned(),
        ..wire::ImageSpec::default()
    }
}

fn mode(mode: NamespaceMode) -> i32 {
    match mode {
        NamespaceMode::Pod => wire::NamespaceMode::Pod as i32,
        NamespaceMode::Container => wire::NamespaceMode::Container as i32,
        NamespaceMode::Node => wire::NamespaceMode::Node as i32,
    }
}

fn seccomp(seccomp: &Seccomp) -> Option<wire::SecurityProfile> {
    let (kind, path) = match seccomp {
        Seccomp::Unconfined => (wire::security_profile::ProfileType::Unconfined, String::new()),
        Seccomp::RuntimeDefault => (wire::security_profile::ProfileType::RuntimeDefault, String::new()),
        Seccomp::Localhost(path) => (wire::security_profile::ProfileType::Localhost, path.clone()),
    };
    Some(wire::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: path,
    })
}

fn int(value: Option<i64>) -> Option<wire::Int64Value> {
    value.map(|value| wire::Int64Value { value })
}

pub(super) fn sandbox_config(config: &SandboxConfig) -> wire::PodSandboxConfig {
    wire::PodSandboxConfig {
        metadata: Some(wire::PodSandboxMetadata {
            name: config.name.clone(),
            uid: config.uid.clone(),
            namespace: config.namespace.clone(),
            attempt: config.attempt,
        }),
        hostname: config.hostname.clone(),
        log_directory: config.log_directory.clone(),
        dns_config: config.dns.as_ref().map(|dns| wire::DnsConfig {
            servers: dns.servers.clone(),
            searches: dns.searches.clone(),
            options: dns.options.clone(),
        }),
        port_mappings: config
            .ports
            .iter()
            .map(|port| wire::PortMapping {
                protocol: wire::Protocol::from_str_name(&port.protocol).unwrap_or_default() as i32,
                container_port: port.container_port,
                host_port: port.host_port,
                host_ip: port.host_ip.clone(),
            })
            .collect(),
        labels: config.labels.clone().into_iter().collect(),
        annotations: config.annotations.clone().into_iter().collect(),
        linux: Some(wire::LinuxPodSandboxConfig {
            cgroup_parent: config.cgroup_parent.clone(),
            security_context: Some(wire::LinuxSandboxSecurityContext {
                namespace_options: Some(wire::NamespaceOption {
                    network: mode(config.network),
                    pid: mode(config.pid),
                    ipc: mode(config.ipc),
                    target_id: String::new(),
                }),
                run_as_user: int(config.run_as_user),
                // CRI refuses a group without a user.
                run_as_group: config.run_as_user.and(int(config.run_as_group)),
                readonly_rootfs: false,
                supplemental_groups: config.supplemental_groups.clone(),
                privileged: config.privileged,
                seccomp: seccomp(&config.seccomp),
                apparmor: None,
            }),
            sysctls: config.sysctls.clone().into_iter().collect(),
        }),
    }
}

pub(super) fn container_config(config: &ContainerConfig) -> wire::ContainerConfig {
    let security = &config.security;
    wire::ContainerConfig {
        metadata: Some(wire::ContainerMetadata {
            name: config.name.clone(),
            attempt: config.attempt,
        }),
        image: Some(wire::ImageSpec {
            image: config.image.clone(),
            user_specified_image: config.user_image.clone(),
            ..wire::ImageSpec::default()
        }),
        command: config.command.clone(),
        args: config.args.clone(),
        working_dir: config.working_dir.clone(),
        envs: config
            .env
            .iter()
            .map(|(key, value)| wire::KeyValue {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        mounts: config
            .mounts
            .iter()
            .map(|mount| wire::Mount {
                container_path: mount.container_path.clone(),
                host_path: mount.host_path.clone(),
                readonly: mount.readonly,
                selinux_relabel: false,
                propagation: match mount.propagation.as_str() {
                    "HostToContainer" => wire::MountPropagation::PropagationHostToContainer,
                    "Bidirectional" => wire::MountPropagation::PropagationBidirectional,
                    _ => wire::MountPropagation::PropagationPrivate,
                } as i32,
            })
            .collect(),
        devices: Vec::new(),
        labels: config.labels.clone().into_iter().collect(),
        annotations: config.annotations.clone().into_iter().collect(),
        log_path: config.log_path.clone(),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        linux: Some(wire::LinuxContainerConfig {
            resources: Some(wire::LinuxContainerResources {
                cpu_period: config.resources.cpu_period,
                cpu_quota: config.resources.cpu_quota,
                cpu_shares: config.resources.cpu_shares,
                memory_limit_in_bytes: config.resources.memory_limit,
                oom_score_adj: config.resources.oom_score_adj,
                ..wire::LinuxContainerResources::default()
            }),
            security_context: Some(wire::LinuxContainerSecurityContext {
                capabilities: Some(wire::Capability {
                    add_capabilities: security.add_capabilities.clone(),
                    drop_capabilities: security.drop_capabilities.clone(),
                }),
                privileged: security.privileged,
                namespace_options: Some(wire::NamespaceOption {
                    network: mode(security.network),
                    pid: mode(security.pid),
                    ipc: mode(security.ipc),
                    target_id: String::new(),
                }),
                run_as_user: int(security.run_as_user),
                run_as_username: if security.run_as_user.is_some() {
                    String::new()
                } else {
                    security.run_as_username.clone()
                },
                run_as_group: if security.run_as_user.is_some() || !security.run_as_username.is_empty() {
                    int(security.run_as_group)
                } else {
                    None
                },
                readonly_rootfs: security.readonly_rootfs,
                supplemental_groups: security.supplemental_groups.clone(),
                no_new_privs: security.no_new_privs,
                masked_paths: security.masked_paths.clone(),
                readonly_paths: security.readonly_paths.clone(),
                seccomp: seccomp(&security.seccomp),
                apparmor: None,
            }),
        }),
    }
}

pub(super) fn container(status: wire::ContainerStatus, sandbox_id: String) -> ContainerRecord {
    let metadata = status.metadata.unwrap_or_default();
    let state = match wire::ContainerState::try_from(status.state) {
        Ok(wire::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(wire::ContainerState::ContainerRunning) => ContainerState::Running {
            started_at: no_sooner_than(status.started_at),
        },
        Ok(wire::ContainerState::ContainerExited) => ContainerState::Exited {
            started_at: timestamp(status.started_at),
            finished_at: no_sooner_than(status.finished_at),
            exit_code: status.exit_code,
            reason: status.reason,
            message: status.message,
        },
        _ => ContainerState::Unknown,
    };
    let labels: std::collections::BTreeMap<String, String> = status.labels.into_iter().collect();
    ContainerRecord {
        id: status.id,
        sandbox_id,
        name: labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        pod_uid: labels.get(labels::POD_UID).cloned().unwrap_or_default(),
        attempt: metadata.attempt,
        image: status.image.unwrap_or_default().image,
        image_id: status.image_ref,
        state,
        created_at: no_sooner_than(status.created_at),
        labels,
        annotations: status.annotations.into_iter().collect(),
        log_path: status.log_path,
    }
}

pub(super) fn stats(stats: wire::ContainerStats) -> Option<ContainerStats> {
    let attributes = stats.attributes?;
    let cpu = stats.cpu.unwrap_or_default();
    Some(ContainerStats {
        id: attributes.id,
        name: attributes.labels.get(labels::CONTAINER_NAME).cloned()?,
        pod_uid: attributes.labels.get(labels::POD_UID).cloned()?,
        at: no_sooner_than(cpu.timestamp),
        cpu_nanos: cpu.usage_core_nano_seconds.map_or(0, |v| v.value),
        memory_bytes: stats.memory.and_then(|m| m.working_set_bytes).map_or(0, |v| v.value),
        disk_bytes: stats.writable_layer.and_then(|l| l.used_bytes).map_or(0, |v| v.value),
    })
}

pub(super) fn image(image: wire::Image) -> ImageRecord {
    ImageRecord {
        id: image.id,
        tags: image.repo_tags,
        digests: image.repo_digests,
        size: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
    }
}
