//! Validation of a pod's volumes.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::value::{at, int, list, text};

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks the volumes and returns their names, which mounts may use.
pub(super) fn validate<'a>(volumes: &'a [Value], path: &Path, errors: &mut Vec<FieldError>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            let wrong = names::label(name, false);
            errors.extend(
                wrong
                    .into_iter()
                    .map(|m| FieldError::invalid(&path.child("name"), name, m)),
            );
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        source(volume, &path, errors);
    }
    seen
}

fn source(volume: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kinds: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| key.as_str() != "name" && !value.is_null())
        .map(|(key, _)| key)
        .collect();
    if kinds.is_empty() {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    for extra in kinds.iter().skip(1) {
        errors.push(FieldError::forbidden(
            &path.child(extra),
            "may not specify more than 1 volume type",
        ));
    }
    let Some(kind) = kinds.first() else { return };
    let (path, source) = (path.child(kind), at(volume, kind));
    match kind.as_str() {
        "hostPath" => {
            if text(source, "path").is_empty() {
                errors.push(FieldError::required(&path.child("path"), ""));
            } else if text(source, "path").split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid(
                    &path.child("path"),
                    text(source, "path"),
                    "must not contain '..'",
                ));
            }
            if !HOST_PATH_TYPES.contains(&text(source, "type")) {
                errors.push(FieldError::not_supported(
                    &path.child("type"),
                    text(source, "type"),
                    &HOST_PATH_TYPES,
                ));
            }
        }
        "secret" => named(source, "secretName", &path, errors),
        "configMap" => named(source, "name", &path, errors),
        "persistentVolumeClaim" => named(source, "claimName", &path, errors),
        "nfs" => {
            for field in ["server", "path"] {
                if text(source, field).is_empty() {
                    errors.push(FieldError::required(&path.child(field), ""));
                }
            }
        }
        _ => {}
    }
    if let Some(mode) = int(source, "defaultMode")
        && !(0..=0o777).contains(&mode)
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(&path.child("defaultMode"), mode, detail));
    }
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(index);
        let target = text(item, "path");
        if target.is_empty() {
            errors.push(FieldError::required(&path.child("path"), ""));
        } else if target.starts_with('/') {
            errors.push(FieldError::invalid(
                &path.child("path"),
                target,
                "must be a relative path",
            ));
        } else if target.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(
                &path.child("path"),
                target,
                "must not contain '..'",
            ));
        }
        if kind.as_str() != "downwardAPI" && text(item, "key").is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        }
    }
}

fn named(source: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if text(source, field).is_empty() {
        errors.push(FieldError::required(&path.child(field), ""));
    }
}
