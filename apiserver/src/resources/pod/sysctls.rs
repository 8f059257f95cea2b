//! Validation of a pod's sysctls.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{list, text};

/// The kernel's own limit of a path below `/proc/sys`.
const MAX_LENGTH: usize = 253;

/// Checks the names: `kernel.shmmax`, `net/ipv4/ip_forward`.
pub(super) fn validate(security_context: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in list(security_context, "sysctls").iter().enumerate() {
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
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || matches!(byte, b'-' | b'_'))
}
