//! Security contexts of a pod and its containers, the container's before the pod's.

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext as Wanted};

use super::ConfigError;
use crate::runtime::{ImageRecord, NamespaceMode, Seccomp, SecurityContext};

/// Paths of `/proc` and `/sys` that a container does not see.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Paths of `/proc` that a container cannot change.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Namespaces that the pod's containers share.
pub fn namespaces(pod: &Pod) -> (NamespaceMode, NamespaceMode, NamespaceMode) {
    let spec = pod.spec.clone().unwrap_or_default();
    let node = |wanted: Option<bool>| {
        if wanted == Some(true) {
            NamespaceMode::Node
        } else {
            NamespaceMode::Pod
        }
    };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    (node(spec.host_network), pid, node(spec.host_ipc))
}

/// Reads a system call filter.
pub fn seccomp(profile: Option<&SeccompProfile>) -> Seccomp {
    match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => Seccomp::RuntimeDefault,
        Some(("Localhost", Some(path))) => Seccomp::Localhost(path.clone()),
        _ => Seccomp::Unconfined,
    }
}

/// The supplemental groups of every container of the pod.
pub fn groups(of_pod: &PodSecurityContext) -> Vec<i64> {
    let mut groups: Vec<i64> = of_pod.fs_group.into_iter().collect();
    groups.extend(of_pod.supplemental_groups.iter().flatten());
    groups
}

/// Puts a container's privileges together.
///
/// # Errors
/// When it must not run as root and would.
pub fn context(pod: &Pod, container: &Container, image: Option<&ImageRecord>) -> Result<SecurityContext, ConfigError> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own: Wanted = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(of_pod.run_as_user);
    let non_root = own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
    let image_uid = image.and_then(|image| image.uid);
    let image_name = image.map_or(String::new(), |image| image.username.clone());
    if non_root {
        let key = crate::pod::pod_key(pod);
        match (user, image_uid, image_name.as_str()) {
            (Some(0), _, _) => {
                return Err(ConfigError(format!(
                    "container's runAsUser breaks non-root policy (pod: \"{key}\", container: {})",
                    container.name
                )));
            }
            (Some(_), _, _) => {}
            (None, None, "") | (None, Some(0), _) => {
                return Err(ConfigError(format!(
                    "container has runAsNonRoot and image will run as root (pod: \"{key}\", container: {})",
                    container.name
                )));
            }
            (None, None, name) => {
                return Err(ConfigError(format!(
                    "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root (pod: \"{key}\", container: {})",
                    container.name
                )));
            }
            (None, Some(_), _) => {}
        }
    }
    let privileged = own.privileged == Some(true);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked {
            Vec::new()
        } else {
            list.iter().map(|path| (*path).to_owned()).collect()
        }
    };
    let capabilities = own.capabilities.unwrap_or_default();
    let (network, pid, ipc) = namespaces(pod);
    Ok(SecurityContext {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        privileged,
        run_as_user: user.or(image_uid),
        run_as_username: image_name,
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        supplemental_groups: groups(&of_pod),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: seccomp(own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref())),
        network,
        pid,
        ipc,
    })
}
