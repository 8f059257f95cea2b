//! Validation of volumes: what pods mount, what persistent volumes stand for, and what claims ask for.
//!
//! ```text
//! pod/volumes.rs (a pod's own) --+
//! volume.rs (PersistentVolumes) -+--> sources.rs: one rule per kind of source; projected.rs, paths.rs: files within them
//! claim.rs (claims and their templates)
//! ```
//!
//! Rules, paths and words: upstream's pkg/apis/core/validation.

mod block;
pub(crate) mod claim;
pub(crate) mod paths;
mod projected;
mod sources;
#[cfg(test)]
mod tests;
pub(crate) mod volume;

use serde_json::Value;
use timonel_api::{FieldError, Path};

pub(crate) use self::sources::{Within, one_source};
use super::value::{has, list, text};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The two ways in which a pod sees a volume.
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// Checks the access modes of a volume or a claim.
fn access_modes(spec: &Value, path: &Path, none: &str, errors: &mut Vec<FieldError>) {
    let (modes, path) = (list(spec, "accessModes"), path.child("accessModes"));
    if modes.is_empty() {
        errors.push(FieldError::required(&path, none));
    }
    let known = |mode: &&Value| MODES.iter().any(|known| *mode == known);
    for mode in modes.iter().filter(|mode| !known(mode)) {
        errors.push(FieldError::not_supported(&path, mode.clone(), &MODES));
    }
    let alone = |mode: &&Value| *mode == "ReadWriteOncePod";
    if modes.iter().any(|mode| alone(&mode)) && modes.iter().filter(known).any(|mode| !alone(&mode)) {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

/// Checks fields that have to be there.
fn required(object: &Value, fields: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    for field in fields {
        let empty = text(object, field).is_empty() && list(object, field).is_empty();
        if empty {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
}

/// Checks that a field did not change; upstream's path is the field's alone.
fn unchanged(new: &Value, old: &Value, field: &str, errors: &mut Vec<FieldError>) {
    super::common::immutable(new, old, field, &Path::root(), errors);
}

fn is_set(object: &Value, field: &str) -> bool {
    has(object, field) && !text(object, field).is_empty()
}
