//! Whether a container that ended is to run again.

use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest, Sha256};

/// Whether an init container is a sidecar: it starts in its turn and then goes on running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether the spec wants a container that ended with `exit_code` to run again.
///
/// A container's own `restartPolicyRules` and `restartPolicy` come before the pod's; an init container (not a sidecar)
/// treats `Always` like `OnFailure`, since its end is the point of it.
pub fn wants_restart(pod: &Pod, container: &Container, exit_code: i32, init: bool) -> bool {
    if init && exit_code == 0 && !is_sidecar(container) {
        return false;
    }
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        let hit = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if hit && rule.action == "Restart" {
            return true;
        }
    }
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    match container.restart_policy.as_deref().or(of_pod).unwrap_or("Always") {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// What of a container's spec may not change while it runs. A running container whose hash differs is replaced.
pub fn spec_hash(container: &Container) -> String {
    let mut hasher = Sha256::new();
    hasher.update(container.name.as_bytes());
    hasher.update([0]);
    hasher.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hasher
        .finalize()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
