//! Paths within volumes: they lead down, never up and out.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::text;

/// Checks that a path has no `..` in it.
pub(crate) fn no_backsteps(target: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if target.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, target, "must not contain '..'"));
    }
}

/// Checks that a path is relative and has no `..` in it.
pub(crate) fn descending(target: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if target.starts_with('/') {
        errors.push(FieldError::invalid(path, target, "must be a relative path"));
    }
    no_backsteps(target, path, errors);
}

/// Checks that a path is relative, has no `..` in it and does not begin with what the kubelet keeps for itself.
pub(crate) fn not_reserved(target: &str, path: &Path, errors: &mut Vec<FieldError>) {
    descending(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") && target != ".." {
        errors.push(FieldError::invalid(path, target, "must not start with '..'"));
    }
}

/// Checks a `KeyToPath`.
pub(super) fn key_to_path(item: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    super::required(item, &["key", "path"], path, errors);
    not_reserved(text(item, "path"), &path.child("path"), errors);
    super::sources::file_mode(item, "mode", path, errors);
}
