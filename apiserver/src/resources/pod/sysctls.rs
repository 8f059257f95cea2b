//! Validation of a pod's sysctls.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, flag, list, text};

/// The kernel's own limit of a path below `/proc/sys`.
const MAX_LENGTH: usize = 253;

/// Checks the names: `kernel.shmmax`, `net/ipv4/ip_forward`; and that they are not the host's. `path` leads to the security context.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in list(at(spec, "securityContext"), "sysctls").iter().enumerate() {
        let name = text(sysctl, "name");
        let path = path.child("sysctls").index(index).child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if name.len() > MAX_LENGTH || !name.split(['.', '/']).all(is_segment) {
            errors.push(FieldError::invalid(
                &path,
                name,
                "must have at most 253 characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            ));
        } else if seen.contains(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(field) = shared(name).filter(|field| flag(spec, field)) {
            let detail = format!("may not be specified when '{field}' is true");
            errors.push(FieldError::invalid(&path, name, detail));
        }
        seen.insert(name);
    }
}

/// The field by which a pod shares with its host what a sysctl is about.
fn shared(name: &str) -> Option<&'static str> {
    // With slashes first, a dot is part of a name: `net/ipv4/conf/eno2.100`.
    let slashes = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let name = if slashes {
        name.replace('.', "_").replace('/', ".")
    } else {
        name.to_owned()
    };
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    if name == "kernel.sem" || ipc.iter().any(|prefix| name.starts_with(prefix)) {
        Some("hostIPC")
    } else {
        name.starts_with("net.").then_some("hostNetwork")
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || matches!(byte, b'-' | b'_'))
}
